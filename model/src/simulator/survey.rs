//! What a history costs, for the table of sizes.

use std::collections::BTreeMap;

use bazaar_protocol::{
    account::QueueKey,
    effect::Note,
    election::ElectionMessage,
    id::RequestId,
    message::{Body, Envelope},
    participant::ParticipantEffect,
    record::{Batch, Entry},
};

use super::{meter::EnvelopeKind, world::Node};

/// What is measured along a history, from a certain time on.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    bytes: [u64; EnvelopeKind::ALL.len()],
    /// How long each request waited, in nanoseconds.
    waits: Vec<u64>,
    /// Where each open request stands.
    places: BTreeMap<RequestId, QueueKey>,
    /// The largest place served.
    served: Option<QueueKey>,
    outcomes: u64,
    overtaken: u64,
    /// How many requests came after their places had been passed.
    late: u64,
    /// When the trader was last killed, if nobody has taken office since.
    killed: Option<u64>,
    /// How long there was no trader, each time.
    vacancies: Vec<u64>,
    /// When a peer first suspected the trader, and when one first called an election.
    suspected: Option<u64>,
    called: Option<u64>,
    /// When a peer last won one.
    won: Option<u64>,
    /// Messages of elections, one for each recipient.
    election_messages: u64,
    /// The envelopes on links that carried them.
    election_envelopes: u64,
}

impl Survey {
    pub(super) fn envelope(&mut self, kind: EnvelopeKind, envelope: &Envelope) {
        let size = postcard::serialize_with_flavor(envelope, postcard::ser_flavors::Size::default());
        // An envelope contains nothing that postcard cannot represent.
        self.bytes[kind as usize] += size.unwrap_or(0) as u64;
        self.election_envelopes += u64::from(matches!(envelope.body, Body::Election(_)));
    }

    pub(super) fn waited(&mut self, nanos: u64) {
        self.waits.push(nanos);
    }

    pub(super) fn killed(&mut self, now: u64) {
        self.killed.get_or_insert(now);
    }

    /// The end: a trader that was killed and has no successor yet counts as well.
    pub(super) fn up_to(mut self, now: u64) -> Survey {
        self.took_office(now);
        self
    }

    pub(super) fn took_office(&mut self, now: u64) {
        self.vacancies.extend(self.killed.take().map(|killed| now - killed));
    }

    pub(super) fn noted(&mut self, note: &Note, now: u64) {
        if let Note::TraderSuspected { .. } = note {
            self.suspected.get_or_insert(now);
        } else if let Note::ElectionCalled = note {
            self.called.get_or_insert(now);
        } else if let Note::ElectionWon = note {
            self.won = Some(now);
        }
    }

    /// Peer `nth` of `peers` has said this of an election.
    pub(super) fn spoken(&mut self, spoken: Spoken, nth: usize, peers: &[Node]) {
        if spoken == Spoken::default() {
            return;
        }
        let live = peers.iter().filter(|node| node.peer.is_some()).count();
        let (higher, others) = (peers.len() - nth - 1, live.saturating_sub(1));
        self.election_messages += spoken.calls * higher as u64 + spoken.results * others as u64 + spoken.replies;
    }

    pub(super) fn batch(&mut self, batch: &Batch) {
        for record in &batch.records {
            let id = match &record.entry {
                Entry::Admitted { request, place } => {
                    self.late += u64::from(request.is_late_at(*place));
                    self.places.insert(request.id, QueueKey::of(request));
                    continue;
                }
                Entry::Sold(sale) => sale.request,
                Entry::Refused { request, .. } => *request,
                Entry::Claimed { .. }
                | Entry::Deposited(_)
                | Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Resigned => continue,
            };
            let Some(place) = self.places.remove(&id) else { continue };
            self.outcomes += 1;
            self.overtaken += u64::from(self.served.is_some_and(|served| place < served));
            self.served = self.served.max(Some(place));
        }
    }

    /// The bytes of the envelopes of a kind, as the runtime would write them, without frames.
    #[must_use]
    pub fn bytes(&self, kind: EnvelopeKind) -> u64 {
        self.bytes[kind as usize]
    }

    /// The wait that this share of all requests did not exceed, in nanoseconds.
    #[must_use]
    pub fn wait(&self, share: f64) -> Option<u64> {
        quantile(&self.waits, share)
    }

    /// When a peer first suspected the trader.
    #[must_use]
    pub fn first_suspicion(&self) -> Option<u64> {
        self.suspected
    }

    /// When a peer first called an election.
    #[must_use]
    pub fn first_call(&self) -> Option<u64> {
        self.called
    }

    /// When a peer last won an election.
    #[must_use]
    pub fn last_win(&self) -> Option<u64> {
        self.won
    }

    /// The messages of elections as Bully counts them: a call for each peer that is higher, a reply for the caller, and
    /// one for each living peer that is told of a result.
    #[must_use]
    pub fn election_messages(&self) -> u64 {
        self.election_messages
    }

    /// The envelopes on links that carried them, in floods or not.
    #[must_use]
    pub fn election_envelopes(&self) -> u64 {
        self.election_envelopes
    }

    /// How often a trader was killed while there was one.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.vacancies.len()
    }

    /// The longest time without a trader after one was killed, in nanoseconds.
    #[must_use]
    pub fn longest_vacancy(&self) -> Option<u64> {
        self.vacancies.iter().max().copied()
    }

    /// The usual time without a trader after one was killed, in nanoseconds.
    #[must_use]
    pub fn usual_vacancy(&self) -> Option<u64> {
        quantile(&self.vacancies, 0.5)
    }

    /// How many requests were admitted late (SPEC C5).
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// The share of outcomes that came after one of a later-stamped request.
    #[must_use]
    pub fn overtaken(&self) -> f64 {
        self.overtaken as f64 / self.outcomes.max(1) as f64
    }
}

/// How many messages of each kind a participant has sent of an election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    calls: u64,
    results: u64,
    replies: u64,
}

impl Spoken {
    pub(super) fn of(said: &[ParticipantEffect]) -> Spoken {
        let mut spoken = Spoken::default();
        for effect in said {
            if let ParticipantEffect::Tell { body: Body::Election(_), .. } = effect {
                spoken.replies += 1;
            } else if let ParticipantEffect::TellAll { body: Body::Election(message), .. } = effect {
                let is_call = *message == ElectionMessage::Call;
                *(if is_call { &mut spoken.calls } else { &mut spoken.results }) += 1;
            }
        }
        spoken
    }
}

fn quantile(values: &[u64], share: f64) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    // Below the length, and not negative.
    let nth = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(nth).copied()
}
