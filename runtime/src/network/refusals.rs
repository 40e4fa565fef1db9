//! What a process refuses of all that comes in: counted by reason, and reported without flooding the log (SPEC I7).
//!
//! The first refusal of a reason is reported at once. Those that follow within a second are reported together when it is
//! over, in one line with their number and the last of them. So there is at most one line per reason and second, however
//! many refusals there are, and each is in some line and in the counters, which `bazaar status` shows.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    network::{
        hello::{AcceptError, Refusal},
        task::{Task, lock},
    },
    tls::{
        certificate::Untimely,
        handshake::{CertificateFault, HandshakeError},
    },
};

/// Why something that came in was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A connection on which no hello came in time.
    Silent,
    /// A connection that had not said who it is when its place was needed for another.
    CrowdedOut,
    /// A connection that said something else than a hello, or ended before its hello was complete.
    NoHello,
    /// A hello in another version.
    Version,
    /// A hello for another run.
    Run,
    /// A hello whose author does not know the run's key.
    Key,
    /// A member asks for a peer that is not hosted here.
    NotHere,
    /// A member asks for a peer that is not its neighbour.
    NotNeighbours,
    /// An earlier life of a peer that has since connected in a later one.
    OldLife,
    /// A member asks for something that is served elsewhere.
    WrongDoor,
    /// A member calls itself a peer that the configuration does not have.
    NoSuchPeer,
    /// A member sent a frame that cannot be understood, or is too long.
    BadFrame,
    /// A member called in the name of another.
    OtherName,
    /// A member named a number that cannot be true (SPEC I8).
    Implausible,
    /// A connection could not be accepted, usually because the process has too many files open.
    NotAccepted,
    /// A member that speaks without TLS where TLS is spoken.
    Plain,
    /// A connection with TLS where none is spoken.
    Tls,
    /// A connection with TLS that shows no certificate.
    NoCertificate,
    /// A connection with a certificate that has expired.
    CertificateExpired,
    /// A connection with a certificate that is not valid yet.
    CertificateNotYetValid,
    /// A connection with a certificate that another authority has issued.
    CertificateForeign,
    /// A connection with a certificate that is revoked.
    CertificateRevoked,
    /// A member that says that it is another than its certificate says, or whose certificate is no member's.
    CertificateOfAnother,
    /// A connection with a certificate that cannot be used for any other reason.
    CertificateUnusable,
    /// A connection whose other side has not accepted the certificate that was shown to it.
    CertificateRejected,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Silent => "silent",
            Reason::CrowdedOut => "crowded out",
            Reason::NoHello => "no hello",
            Reason::Version => "another version",
            Reason::Run => "another run",
            Reason::Key => "wrong key",
            Reason::NotHere => "peer not here",
            Reason::NotNeighbours => "not neighbours",
            Reason::OldLife => "earlier life",
            Reason::WrongDoor => "wrong door",
            Reason::NoSuchPeer => "no such peer",
            Reason::BadFrame => "bad frame",
            Reason::OtherName => "in another's name",
            Reason::Implausible => "absurd number",
            Reason::NotAccepted => "cannot accept",
            Reason::Plain => "without TLS",
            Reason::Tls => "with TLS",
            Reason::NoCertificate => "no certificate",
            Reason::CertificateExpired => "certificate expired",
            Reason::CertificateNotYetValid => "certificate not valid yet",
            Reason::CertificateForeign => "foreign certificate",
            Reason::CertificateRevoked => "certificate revoked",
            Reason::CertificateOfAnother => "another's certificate",
            Reason::CertificateUnusable => "unusable certificate",
            Reason::CertificateRejected => "rejects our certificate",
        })
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Reason {
        match refusal {
            Refusal::Version { .. } => Reason::Version,
            Refusal::Run { .. } => Reason::Run,
            Refusal::Key => Reason::Key,
            Refusal::NotHere(_) => Reason::NotHere,
            Refusal::NotNeighbours { .. } => Reason::NotNeighbours,
            Refusal::OldLife { .. } => Reason::OldLife,
            Refusal::WrongDoor { .. } => Reason::WrongDoor,
            Refusal::NoSuchPeer { .. } => Reason::NoSuchPeer,
            Refusal::NoSuchLife(_) => Reason::Implausible,
            Refusal::Garbled => Reason::NoHello,
            Refusal::OfAnother { .. } | Refusal::OfNobody { .. } => Reason::CertificateOfAnother,
        }
    }
}

impl From<&AcceptError> for Reason {
    fn from(error: &AcceptError) -> Reason {
        match error {
            AcceptError::Wire(_) => Reason::NoHello,
            AcceptError::Silent(_) => Reason::Silent,
            AcceptError::Refused(refusal) => Reason::from(refusal),
            AcceptError::Plain => Reason::Plain,
            AcceptError::UnexpectedTls => Reason::Tls,
            AcceptError::Tls(error) => Reason::from(error),
        }
    }
}

impl From<&HandshakeError> for Reason {
    fn from(error: &HandshakeError) -> Reason {
        match error {
            HandshakeError::Certificate { fault, .. } => match fault {
                CertificateFault::Untimely(Untimely::Expired { .. }) => Reason::CertificateExpired,
                CertificateFault::Untimely(Untimely::NotYet { .. }) => Reason::CertificateNotYetValid,
                CertificateFault::Foreign => Reason::CertificateForeign,
                CertificateFault::Revoked => Reason::CertificateRevoked,
                CertificateFault::OfAnother(_) => Reason::CertificateOfAnother,
                CertificateFault::Unusable(_) => Reason::CertificateUnusable,
            },
            HandshakeError::NoCertificate => Reason::NoCertificate,
            HandshakeError::Rejected { .. } => Reason::CertificateRejected,
            HandshakeError::NotTls | HandshakeError::Io(_) | HandshakeError::Other(_) => Reason::NoHello,
        }
    }
}

/// How many refusals there were for each reason; a reason without any is not in it.
pub type Counts = BTreeMap<Reason, u64>;

/// The refusals of one process.
#[derive(Debug)]
pub struct Refusals {
    shared: Arc<Shared>,
    _reporting: Task,
}

#[derive(Debug, Default)]
struct Shared {
    tallies: Mutex<Tallies>,
    /// Notified when a line is withheld and none was before.
    withheld: Notify,
}

impl Refusals {
    /// Nothing was refused yet. To be called within the process's runtime.
    #[must_use]
    pub fn none_yet() -> Arc<Refusals> {
        let shared = Arc::<Shared>::default();
        Arc::new(Refusals { _reporting: Task::spawn(report(Arc::clone(&shared))), shared })
    }

    /// Counts a refusal and reports it, now or together with others of its second.
    pub fn refuse(&self, reason: Reason, detail: impl fmt::Display) {
        if self.count(reason, &detail) {
            tracing::warn!("refused ({reason}): {detail}");
        }
    }

    /// Counts a refusal. If it gives `true`, the caller reports it; otherwise it will be reported together with others
    /// of its second.
    #[must_use]
    pub fn count(&self, reason: Reason, detail: &impl fmt::Display) -> bool {
        let mut tallies = lock(&self.shared.tallies);
        let is_idle = tallies.due().is_none();
        let is_first = tallies.add(reason, detail, Instant::now());
        if !is_first && is_idle {
            self.shared.withheld.notify_one();
        }
        is_first
    }

    /// How many there were so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.shared.tallies).0.iter().map(|(reason, tally)| (*reason, tally.count)).collect()
    }
}

impl Drop for Refusals {
    fn drop(&mut self) {
        // The last second may not be over.
        write(&lock(&self.shared.tallies).take(|_| true, Instant::now()));
    }
}

/// Reports what was withheld, whenever a second is over.
async fn report(shared: Arc<Shared>) {
    loop {
        let due = lock(&shared.tallies).due();
        match due {
            None => shared.withheld.notified().await,
            Some(due) => {
                sleep_until(due).await;
                let now = Instant::now();
                write(&lock(&shared.tallies).take(|due| due <= now, now));
            }
        }
    }
}

fn write(withheld: &[(Reason, Withheld)]) {
    for (reason, Withheld { count, last }) in withheld {
        tracing::warn!("refused ({reason}): {count} more; the last: {last}");
    }
}

/// The longest time for which a line is withheld.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Tallies(BTreeMap<Reason, Tally>);

#[derive(Debug)]
struct Tally {
    count: u64,
    /// When the last line was written.
    reported: Instant,
    withheld: Option<Withheld>,
}

/// Refusals that were counted and not reported yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Withheld {
    count: u64,
    last: String,
}

impl Tallies {
    /// Counts a refusal, and says whether it is to be reported at once.
    fn add(&mut self, reason: Reason, detail: &impl fmt::Display, now: Instant) -> bool {
        let Some(tally) = self.0.get_mut(&reason) else {
            self.0.insert(reason, Tally { count: 1, reported: now, withheld: None });
            return true;
        };
        tally.count = tally.count.saturating_add(1);
        match &mut tally.withheld {
            None if tally.reported + SECOND <= now => {
                tally.reported = now;
                return true;
            }
            None => tally.withheld = Some(Withheld { count: 1, last: detail.to_string() }),
            Some(Withheld { count, last }) => {
                *count = count.saturating_add(1);
                *last = detail.to_string();
            }
        }
        false
    }

    /// When the next line is due; `None` if none is withheld.
    fn due(&self) -> Option<Instant> {
        let withheld = self.0.values().filter(|tally| tally.withheld.is_some());
        withheld.map(|tally| tally.reported + SECOND).min()
    }

    /// Takes out the withheld lines whose due time `is_due`. They count as written at `now`.
    fn take(&mut self, is_due: impl Fn(Instant) -> bool, now: Instant) -> Vec<(Reason, Withheld)> {
        let due = self.0.iter_mut().filter(|(_, tally)| is_due(tally.reported + SECOND));
        due.filter_map(|(reason, tally)| {
            let withheld = tally.withheld.take()?;
            tally.reported = now;
            Some((*reason, withheld))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_most_a_line_per_reason_and_second_and_none_is_lost() {
        let start = Instant::now();
        let mut tallies = Tallies::default();
        let (mut lines, mut told) = (0_u64, 0_u64);
        // Ten refusals of each of two reasons in each of fifty tenths of a second.
        for tenth in 0..50 {
            let now = start + SECOND / 10 * tenth;
            for _ in 0..10 {
                for reason in [Reason::Key, Reason::Silent] {
                    let is_reported = u64::from(tallies.add(reason, &tenth, now));
                    lines += is_reported;
                    told += is_reported;
                }
            }
            for (_, withheld) in tallies.take(|due| due <= now, now) {
                lines += 1;
                told += withheld.count;
            }
        }
        assert!(lines <= 2 * 5, "{lines} lines in five seconds");
        told += tallies.take(|_| true, start).iter().map(|(_, withheld)| withheld.count).sum::<u64>();
        assert_eq!(told, 1_000);
        assert_eq!(tallies.0.values().map(|tally| tally.count).sum::<u64>(), 1_000);
        assert_eq!(tallies.due(), None);
    }

    #[test]
    fn a_refusal_after_a_quiet_second_is_reported_at_once_and_withheld_ones_name_the_last() {
        let start = Instant::now();
        let mut tallies = Tallies::default();
        assert!(tallies.add(Reason::Key, &"a", start));
        assert!(tallies.add(Reason::Run, &"a", start), "another reason has lines of its own");
        assert!(!tallies.add(Reason::Key, &"b", start));
        assert!(!tallies.add(Reason::Key, &"c", start));
        assert_eq!(tallies.due(), Some(start + SECOND));
        let now = start + SECOND;
        let withheld = Withheld { count: 2, last: "c".to_owned() };
        assert_eq!(tallies.take(|due| due <= now, now), [(Reason::Key, withheld)]);
        assert!(!tallies.add(Reason::Key, &"d", now), "the line above was this second's");
        assert_eq!(tallies.take(|_| true, now).len(), 1);
        assert!(tallies.add(Reason::Key, &"e", now + SECOND));
    }
}
