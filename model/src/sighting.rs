//! What makes a scenario worth running. A model that never met any of this would prove nothing.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

macro_rules! sightings {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that happens in a step. stateright's `sometimes` speaks of states, so each of these would cost a bit of
        /// history in every state; they are noted at the steps instead. All steps from all states are tried, so what is
        /// noted does not depend on the order of the search.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Sighting {
            $($(#[$doc])* $name,)*
        }

        impl Sighting {
            /// All there are.
            pub const ALL: &'static [Sighting] = &[$(Sighting::$name,)*];
        }

        impl fmt::Display for Sighting {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Sighting::$name => $text,)* })
            }
        }
    };
}

sightings! {
    /// A claim is confirmed.
    TookOffice = "somebody takes office",
    /// A claim of epoch 2 is confirmed.
    SecondEpoch = "a second epoch is held",
    /// A claim of epoch 3 is confirmed.
    ThirdEpoch = "a third epoch is held",
    /// A trader's append meets `Fenced`.
    TraderFenced = "a trader is fenced",
    /// A claim meets `Conflict`.
    ClaimConflict = "a claim meets Conflict",
    /// A claim meets `Held`.
    ClaimHeld = "a claim meets Held",
    /// A claim meets `Fenced`.
    ClaimFenced = "a claim meets Fenced",
    /// A trader is told that its term is contested.
    Contested = "a trader learns that its term is contested",
    /// The ledger is asked again for what it has appended already, and says so.
    Resent = "a batch is settled by resending",
    /// What a trader appended lands after that trader has left or died.
    LateAppend = "an append lands after its writer has gone",
    /// The ledger crashes between write and sync; the batch is lost.
    LostUnsynced = "a crash between write and sync loses the batch",
    /// The ledger crashes between write and sync; the batch survives unanswered.
    KeptUnanswered = "a crash before the answer leaves the batch",
    /// A peer in office crashes.
    TraderCrashed = "a trader crashes",
    /// A crashed peer comes back.
    Restarted = "a peer restarts",
    /// A peer steps down since nothing came of the ledger.
    LedgerSilent = "the ledger is silent for too long",
    /// A peer in office is told of a higher epoch by a peer.
    Deposed = "a higher epoch deposes a trader",
    /// A renewal is confirmed and a heartbeat goes out.
    Heartbeat = "a heartbeat is sent",
    /// A request that stands in the books already is answered from them.
    FromTheBooks = "a request is answered from the books",
    /// A new trader finds requests waiting.
    Inherited = "a new trader inherits a queue",
    /// Something is sold.
    Sold = "something is sold",
    /// A request is refused.
    Refused = "a request is refused",
    /// A seller learns that its deposit is sold out.
    SoldOut = "a seller's stock is sold out",
    /// A deposit follows a sold-out one.
    DepositedAgain = "a second deposit of a seller counts",
    /// A trader resigns at its last sale.
    Resigned = "a trader resigns",
    /// A restarted buyer or seller finds what its former life left.
    Resumed = "a restarted client adopts what its former life left",
    /// A peer that called is answered by a higher one.
    Answered = "a higher peer answers a call",
    /// A peer that resigned stands since nobody else could.
    LoneSurvivor = "a peer that resigned stands since nobody else answers",
    /// Who hears the leader says so to one that calls.
    ReferredToLeader = "a call is answered with the leader's name",
    /// A trader leaves since it hears no neighbour and is contested.
    Isolated = "a trader that hears no neighbour leaves its contested office",
    /// A trader serves the request it made before it took office.
    ServedItself = "a trader serves its own request of before",
    /// A new trader reads the books from a snapshot.
    ReadSnapshot = "books are read from a snapshot",
    /// A request is in the queue when a batch has become durable.
    Split = "a queue is left over for the next batch",
    /// A peer hands on what is for somebody else, or for everybody.
    Relayed = "a peer relays",
    /// A flood comes to a peer a second time, by another way or doubled.
    RepeatedFlood = "a flood comes a second time",
    /// A message to one peer is flooded, since the way is unknown or down.
    Detour = "a message to one is flooded since its way is unknown or down",
    /// A cut drops what is under way.
    DroppedByCut = "a cut drops what is under way",
    /// A peer learns that a connection works no longer.
    NoticedCut = "a peer learns that a connection is down",
    /// A connection that was cut is whole again.
    Healed = "a cut is healed",
    /// A crash loses a write of a peer.
    LostWrite = "a crash loses what a peer had asked to be written",
    /// Something is held back until a clock bound is written.
    HeldBack = "something waits for a write before it is sent",
}

/// The sightings of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sightings(u64);

impl Sightings {
    /// Notes one.
    pub fn note(&mut self, sighting: Sighting) {
        self.0 |= 1 << sighting as u32;
    }

    /// Whether it was noted.
    #[must_use]
    pub fn has(self, sighting: Sighting) -> bool {
        self.0 & (1 << sighting as u32) != 0
    }
}

/// The sightings of a whole search, from all of its threads.
#[derive(Debug, Default)]
pub struct Logbook(AtomicU64);

impl Logbook {
    /// Adds those of one step.
    pub fn add(&self, sightings: Sightings) {
        if self.0.load(Ordering::Relaxed) & sightings.0 != sightings.0 {
            self.0.fetch_or(sightings.0, Ordering::Relaxed);
        }
    }

    /// All so far.
    pub fn all(&self) -> Sightings {
        Sightings(self.0.load(Ordering::Relaxed))
    }
}
