//! What makes a scenario worth running. A model that never met any of this would prove nothing.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

macro_rules! landmarks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that happens in a step. stateright's `sometimes` speaks of states, so each of these would cost a
        /// bit of history in every state; they are noted at the steps instead. All steps from all states are tried, so
        /// what is noted does not depend on the order of the search.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Landmark {
            $($(#[$doc])* $name,)*
        }

        impl Landmark {
            /// All there are.
            pub const ALL: &'static [Landmark] = &[$(Landmark::$name,)*];
        }

        impl fmt::Display for Landmark {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Landmark::$name => $text,)* })
            }
        }
    };
}

landmarks! {
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
    /// A claim meets an active lease.
    ClaimMetLease = "a claim meets an active lease",
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
    /// A restarted seller finds what its former life sold, or a buyer how its former life's request ended.
    Resumed = "a restarted client adopts what its former life left",
    /// A restarted buyer is told of a request of its former life that waits.
    ResumedRequest = "a restarted buyer waits for its former life's request",
    /// A seller has missed more sales than are kept to be told.
    MissedTooMuch = "a seller missed more sales than are kept, and takes over its account",
    /// A peer that called is answered by a higher one.
    Answered = "a higher peer answers a call",
    /// A peer that resigned stands since nobody else could.
    LoneSurvivor = "a peer that resigned stands since nobody else answers",
    /// A peer learns while it stands that its former life resigned.
    SatOut = "a peer learns while it stands that it has resigned",
    /// Who hears the leader says so to one that calls.
    ReferredToLeader = "a call is answered with the leader's name",
    /// A trader leaves since it hears no neighbour and is contested.
    Isolated = "a trader that hears no neighbour leaves its contested office",
    /// A trader deals with the request it made before it took office.
    ServedItself = "a trader deals with its own request of before",
    /// A new trader reads the books from a snapshot.
    ReadSnapshot = "books are read from a snapshot",
    /// A snapshot comes in more than one chunk.
    SeveralChunks = "a snapshot comes in several chunks",
    /// A chunk of another snapshot comes than the one that was being read.
    OtherSnapshot = "a snapshot is replaced by a later one while it is read",
    /// A read is answered with fewer records than there are.
    CutRead = "a read is cut, and goes on",
    /// A peer that stands hears of a later head than it has read.
    HeadOvertook = "a peer that stands hears of records that it has not read",
    /// A call comes while the ledger writes, and waits there.
    CallWaited = "a call waits in the ledger while it writes",
    /// A call comes while as many wait as the ledger has room for.
    CallDropped = "a call finds no room in the ledger",
    /// An old image of the ledger is put back.
    OldImage = "an old image of the ledger is put back",
    /// A peer that has seen more stops it.
    OldImageNoticed = "a peer that has seen more stops an old image of the ledger",
    /// A peer that has called an election loses the ledger.
    LedgerLostInElection = "the ledger is lost to a peer that runs for office",
    /// A batch of which the first record lies below the written bound and the last above it.
    BoundCrossed = "a batch of several records crosses the written bound",
    /// A journal holds as much as it may, and drops what comes.
    JournalFull = "a full journal drops what comes",
    /// A flood comes so late that its number is below the window.
    BelowWindow = "a flood comes too late to be told from those that were taken",
    /// A flood comes after a later one of its origin and is taken, though an earlier one is missing for good.
    AfterGap = "a late flood is taken though an earlier one is missing for good",
    /// A request is in the queue when a batch has become durable.
    Split = "a queue is left over for the next batch",
    /// A message arrives after a later one of the same sender.
    Overtaken = "a message is overtaken by a later one",
    /// A message arrives that is in its receiver's past already.
    ReceivedAgain = "a message comes that is known of already",
    /// What is sent has a clock above the written bound.
    HeldBack = "a send waits until its clock is written",
    /// A crash while something waits for the written bound.
    HeldLost = "a crash takes along what waited to be sent",
    /// A crash between asking for a write and its being durable.
    BoundLost = "a crash loses a bound that was being written",
    /// A crash between a write's being durable and being told of it.
    BoundKept = "a crash leaves a bound that nobody was told of",
    /// A crash of a clock that stood above the written bound.
    Undone = "a crash undoes what lay above the written bound",
    /// A clock is raised by what was read.
    CaughtUp = "a clock catches up with what was read",
    /// The same reading at two peers.
    SameReading = "two peers stamp the same reading",
    /// A flood comes by a second way.
    FloodDropped = "a flood that was taken already is dropped",
    /// A flood comes first from a neighbour that is no nearer to its source.
    LongWay = "a flood comes by a longer way first",
    /// A unicast is handed on by a relay.
    PathFollowed = "a relay hands a unicast on along a path",
    /// A unicast is flooded by who wrote it.
    PathUnknown = "a unicast without a way is flooded at its source",
    /// A unicast is flooded by a relay.
    WentAround = "a relay floods a unicast that has no way on",
    /// A unicast has used up its hops.
    LeftCircle = "a unicast that goes in a circle is flooded at last",
    /// A link that is thought up leads to nobody.
    HandedToDead = "something is handed to a dead neighbour",
    /// A live peer is not reached, since no path is left.
    CutOff = "a live peer is cut off",
    /// A flood of a former life comes where a later life was heard.
    FormerLife = "a flood of a former life comes after one of the next",
    /// A link loses something.
    LostOnLink = "a message is lost on a link",
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
}

/// The landmarks of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landmarks(u128);

impl Landmarks {
    /// Notes one.
    pub fn note(&mut self, landmark: Landmark) {
        self.0 |= 1 << landmark as u32;
    }

    /// Notes all of these.
    pub fn join(&mut self, other: Landmarks) {
        self.0 |= other.0;
    }

    /// Whether it was noted.
    #[must_use]
    pub fn has(self, landmark: Landmark) -> bool {
        self.0 & (1 << landmark as u32) != 0
    }
}

/// The landmarks of a whole search, from all of its threads.
#[derive(Debug, Default)]
pub struct Coverage([AtomicU64; 2]);

impl Coverage {
    /// Adds those of one step.
    pub fn add(&self, Landmarks(new): Landmarks) {
        for (half, new) in self.0.iter().zip([new as u64, (new >> 64) as u64]) {
            if half.load(Ordering::Relaxed) & new != new {
                half.fetch_or(new, Ordering::Relaxed);
            }
        }
    }

    /// All so far.
    pub fn all(&self) -> Landmarks {
        let [low, high] = self.0.each_ref().map(|half| u128::from(half.load(Ordering::Relaxed)));
        Landmarks(low | high << 64)
    }
}
