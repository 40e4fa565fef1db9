//! What happened, in numbers.

use std::hash::{Hash, Hasher};

use bazaar_protocol::{
    effect::Note,
    message::{Body, Envelope, Route},
};
use serde::Serialize;

use super::plan::FaultKind;

/// The kinds of envelopes, for what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvelopeKind {
    /// A buyer's clock.
    Clock,
    /// What clients and traders tell each other.
    Trade,
    /// The trader is alive.
    Heartbeat,
    /// A wave that is not a heartbeat, or the answer to one.
    Promise,
    /// A message of the election.
    Election,
    /// A unicast of any content that is being flooded.
    FloodedUnicast,
}

impl EnvelopeKind {
    /// All kinds.
    pub const ALL: [EnvelopeKind; 6] = [
        EnvelopeKind::Clock,
        EnvelopeKind::Trade,
        EnvelopeKind::Heartbeat,
        EnvelopeKind::Promise,
        EnvelopeKind::Election,
        EnvelopeKind::FloodedUnicast,
    ];

    /// The kind of an envelope.
    #[must_use]
    pub fn of(envelope: &Envelope) -> EnvelopeKind {
        if let Route::Flood { to: Some(_), .. } = envelope.route {
            return EnvelopeKind::FloodedUnicast;
        }
        match envelope.body {
            Body::Clock => EnvelopeKind::Clock,
            Body::Client(_) | Body::Trader(_) => EnvelopeKind::Trade,
            Body::Heartbeat { .. } => EnvelopeKind::Heartbeat,
            Body::Wave | Body::Promises { .. } => EnvelopeKind::Promise,
            Body::Election(_) => EnvelopeKind::Election,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A buyer has asked for something.
    Request,
    /// A request was filled, durably.
    Sale,
    /// A request was refused, durably.
    Refusal,
    /// A deposit was booked, durably.
    Deposit,
    /// A peer has called an election.
    Call,
    /// A peer has taken office.
    Term,
    /// A trader has resigned, durably.
    Resignation,
    /// A peer has started again.
    Restart,
    /// The ledger has started again.
    LedgerRestart,
    /// The ledger has answered a read with a chunk of a snapshot.
    Snapshot,
    /// Once the faults had stopped, there was one trader that all knew. Nothing is asked of peers that no link connects
    /// any more.
    Settled,
    /// Once the network was quiet, a unicast was sent that must find its path (A9).
    QuietUnicast,
    /// A network was quiet in which nobody resigns, so that nobody may call an election (L4).
    QuietTerm,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 13] = [
        Operation::Request,
        Operation::Sale,
        Operation::Refusal,
        Operation::Deposit,
        Operation::Call,
        Operation::Term,
        Operation::Resignation,
        Operation::Restart,
        Operation::LedgerRestart,
        Operation::Snapshot,
        Operation::Settled,
        Operation::QuietUnicast,
        Operation::QuietTerm,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Request => "requests",
            Operation::Sale => "sales",
            Operation::Refusal => "refusals",
            Operation::Deposit => "deposits",
            Operation::Call => "elections called",
            Operation::Term => "terms",
            Operation::Resignation => "resignations",
            Operation::Restart => "peers restarted",
            Operation::LedgerRestart => "ledger restarted",
            Operation::Snapshot => "snapshots read",
            Operation::Settled => "networks settled",
            Operation::QuietUnicast => "unicasts while quiet",
            Operation::QuietTerm => "nobody may resign",
        }
    }

    /// What a note of a peer says was done.
    #[must_use]
    pub fn noted(note: &Note) -> Option<Operation> {
        match note {
            Note::ElectionCalled | Note::AskedForAnyone => Some(Operation::Call),
            Note::TookOffice { .. } => Some(Operation::Term),
            Note::Wanted { .. } => Some(Operation::Request),
            Note::Joined { .. }
            | Note::TraderSuspected { .. }
            | Note::ElectionWon
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Unseated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Bought { .. }
            | Note::Unavailable { .. }
            | Note::ResumedRequest { .. }
            | Note::Recalled { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::SoldOut { .. }
            | Note::LeftOver { .. }
            | Note::ResumedAccount { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. }
            | Note::BooksRefused { .. } => None,
        }
    }
}

/// Counts of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    faults: [u64; FaultKind::ALL.len()],
    operations: [u64; Operation::ALL.len()],
    envelopes: [u64; EnvelopeKind::ALL.len()],
    /// Steps of peers and of the ledger.
    pub steps: u64,
    /// Envelopes for which a link or an inbox had no room.
    pub overflowed: u64,
    /// Clocks that a newer one in the same queue replaced.
    pub superseded: u64,
    /// Unicasts that were sent, flooded or not.
    pub unicasts: u64,
    /// Unicasts that a peer has begun to flood.
    pub detours: u64,
}

impl Tally {
    /// Counts a fault that had its effect.
    pub fn fault(&mut self, kind: FaultKind) {
        self.faults[kind as usize] += 1;
    }

    /// Counts an operation.
    pub fn operation(&mut self, operation: Operation) {
        self.operations[operation as usize] += 1;
    }

    /// Counts an envelope that is put on a link.
    pub fn envelope(&mut self, kind: EnvelopeKind) {
        self.envelopes[kind as usize] += 1;
    }

    /// How often a fault had its effect.
    #[must_use]
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize]
    }

    /// How often something was done.
    #[must_use]
    pub fn operations(&self, operation: Operation) -> u64 {
        self.operations[operation as usize]
    }

    /// How many envelopes of a kind were put on links.
    #[must_use]
    pub fn envelopes(&self, kind: EnvelopeKind) -> u64 {
        self.envelopes[kind as usize]
    }

    /// How many requests have an outcome.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.operations(Operation::Sale) + self.operations(Operation::Refusal)
    }

    /// Adds what happened in another history.
    pub fn add(&mut self, other: &Tally) {
        let add = |mine: &mut [u64], theirs: &[u64]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        add(&mut self.faults, &other.faults);
        add(&mut self.operations, &other.operations);
        add(&mut self.envelopes, &other.envelopes);
        self.steps += other.steps;
        self.overflowed += other.overflowed;
        self.superseded += other.superseded;
        self.unicasts += other.unicasts;
        self.detours += other.detours;
    }
}

/// A digest that runs along a history: two histories with equal ones are the same, byte for byte. Multiply and rotate,
/// a word at a time; it need not withstand anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running(u64);

impl Running {
    /// Takes in the next part of the history.
    pub fn take(&mut self, part: &impl Hash) {
        part.hash(self);
    }

    /// The digest so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl Hasher for Running {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_digest_depends_on_every_part_and_on_their_order() {
        let of = |parts: &[u64]| {
            let mut running = Running::default();
            parts.iter().for_each(|part| running.take(part));
            running.value()
        };
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
    }
}
