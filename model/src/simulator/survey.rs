//! What a history costs, for the table of sizes.

use std::collections::BTreeMap;

use bazaar_protocol::{
    account::QueueKey,
    effect::Note,
    id::RequestId,
    message::{Body, Envelope},
    participant::ParticipantEffect,
    record::{Batch, Entry},
};

use super::meter::EnvelopeKind;

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
    /// Messages of elections, one for each recipient.
    election_messages: u64,
}

impl Survey {
    pub(super) fn envelope(&mut self, kind: EnvelopeKind, envelope: &Envelope) {
        let size = postcard::serialize_with_flavor(envelope, postcard::ser_flavors::Size::default());
        // An envelope contains nothing that postcard cannot represent.
        self.bytes[kind as usize] += size.unwrap_or(0) as u64;
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
        }
    }

    /// What a participant says, of which `others` hear what is said to all.
    pub(super) fn said(&mut self, said: &[ParticipantEffect], others: u64) {
        for effect in said {
            if let ParticipantEffect::Tell { body: Body::Election(_), .. } = effect {
                self.election_messages += 1;
            } else if let ParticipantEffect::TellAll { body: Body::Election(_), .. } = effect {
                self.election_messages += others;
            }
        }
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

    /// The messages of elections, one for each recipient, as in a mesh of all peers.
    #[must_use]
    pub fn election_messages(&self) -> u64 {
        self.election_messages
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

fn quantile(values: &[u64], share: f64) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    // Below the length, and not negative.
    let nth = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(nth).copied()
}
