//! Landmarks: the events that make a scenario worth running. A scenario that met none of them would prove nothing.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

macro_rules! landmarks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that happens in a step. stateright's `sometimes` is about states, so each landmark would cost a
        /// bit of history in every state; landmarks are noted at the steps instead. All steps from all states are
        /// tried, so what is noted does not depend on the order of the search.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Landmark {
            $($(#[$doc])* $name,)*
        }

        impl Landmark {
            /// Every landmark, in order of declaration.
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
    TookOffice = "a peer takes office",
    /// A claim of epoch 2 is confirmed.
    SecondEpoch = "a second epoch begins",
    /// A claim of epoch 3 is confirmed.
    ThirdEpoch = "a third epoch begins",
    /// A trader's append is answered with `Fenced`.
    TraderFenced = "a trader is fenced",
    /// A claim is answered with `Conflict`.
    ClaimConflict = "a claim is refused with Conflict",
    /// A claim is answered with `LeaseActive`.
    ClaimMetLease = "a claim is refused because the lease is active",
    /// A claim is answered with `Fenced`.
    ClaimFenced = "a claim is refused with Fenced",
    /// A trader is told that its term is contested.
    Contested = "a trader learns that its term is contested",
    /// The ledger is sent a batch that it has already appended, and says so.
    Resent = "a batch is settled by resending",
    /// A batch lands after the trader that wrote it has left or died.
    LateAppend = "an append lands after its writer has gone",
    /// The ledger crashes between write and sync; the batch is lost.
    LostUnsynced = "a crash between write and sync loses the batch",
    /// The ledger crashes between sync and answer; the batch survives unanswered.
    KeptUnanswered = "a crash before the answer leaves the batch in the log",
    /// A peer in office crashes.
    TraderCrashed = "a trader crashes",
    /// A crashed peer starts its next life.
    Restarted = "a peer restarts",
    /// A peer steps down because it has heard nothing from the ledger for too long.
    LedgerSilent = "the ledger is silent for too long",
    /// A peer in office hears of a higher epoch from another peer.
    Deposed = "a higher epoch deposes a trader",
    /// A renewal is confirmed and a heartbeat goes out.
    Heartbeat = "a heartbeat is sent",
    /// A request that is already in the books is answered from them.
    FromTheBooks = "a request is answered from the books",
    /// A new trader finds requests waiting.
    Inherited = "a new trader inherits a queue",
    /// The timer fires while a neighbour has not answered a wave.
    AnsweredWithout = "a peer answers a wave without a neighbour that is silent",
    /// A buyer promises that what it asks for from now on is stamped later.
    Promised = "a buyer promises to ask for nothing stamped earlier",
    /// A buyer is seated, so that nothing is served before it was heard.
    Seated = "a buyer is seated",
    /// A buyer that was not heard for too long loses its seat.
    Unseated = "a buyer that is not heard loses its seat",
    /// A request waits until another buyer has been heard past it.
    Held = "a request is held until another buyer was heard past it",
    /// A request comes after its place was passed.
    Late = "a request comes late",
    /// A request of another peer ends in a sale.
    Sold = "something is sold",
    /// A request of another peer is refused.
    Refused = "a request is refused",
    /// A seller learns that its deposit is sold out.
    SoldOut = "a seller's stock is sold out",
    /// A seller learns that its deposit has too little left.
    LeftOver = "a seller takes back what is left of a deposit",
    /// A seller makes another deposit after its first.
    DepositedAgain = "a seller's second deposit counts",
    /// A trader has made the sales of its term and leaves.
    Resigned = "a trader resigns",
    /// A restarted seller finds what its former life sold, or a buyer how its former life's request ended.
    Resumed = "a restarted client adopts what its former life left",
    /// A restarted buyer is told that a request of its former life is still waiting.
    ResumedRequest = "a restarted buyer waits for its former life's request",
    /// A seller has missed more sales than the trader keeps in order to repeat them.
    MissedTooMuch = "a seller missed more sales than are kept, and takes over its account",
    /// A trader tells a seller at once of more sales than the books keep.
    ToldMoreThanKept = "a seller is told at once of more sales than are kept",
    /// A peer that called an election is answered by a higher one.
    Answered = "a higher peer answers a call",
    /// A peer that resigned stands for office because nobody else can.
    LoneSurvivor = "a peer that resigned stands because nobody else answers",
    /// A peer learns while it stands for office that its former life resigned.
    SatOut = "a peer learns while it stands that it has resigned",
    /// A peer that hears the leader refers a caller to it.
    ReferredToLeader = "a call is answered with the leader's name",
    /// A trader leaves because it hears no neighbour and its term is contested.
    Isolated = "a trader that hears no neighbour leaves its contested office",
    /// A trader settles a request that it made before it took office.
    ServedItself = "a trader settles its own earlier request",
    /// A new trader reads the books from a snapshot.
    ReadSnapshot = "books are read from a snapshot",
    /// A snapshot is sent in more than one chunk.
    SeveralChunks = "a snapshot comes in several chunks",
    /// A chunk arrives that belongs to another snapshot than the one being read.
    OtherSnapshot = "a later snapshot replaces the one being read",
    /// A read is answered with fewer records than there are.
    CutRead = "a read is cut short and continued",
    /// A peer that was told of an epoch that does not exist learns that from the ledger.
    NoSuchEpoch = "what the ledger says ends what was told of an epoch that does not exist",
    /// Somebody wants a trader to resign while the ledger has not answered its last append.
    DismissedInFlight = "a trader is asked to resign while an append is in flight",
    /// A member with a bug shows the ledger a mark that no ledger has given.
    MarkRefused = "the ledger is shown more than it holds, and has shown it to nobody",
    /// A peer that stands for office hears of a later head than it has read.
    HeadOvertook = "a peer that stands hears of records that it has not read",
    /// A call comes while the ledger writes, and waits there.
    CallWaited = "a call waits in the ledger while it writes",
    /// A call comes when as many calls are waiting as the ledger has room for.
    CallDropped = "a call finds no room in the ledger",
    /// An old image of the ledger is put back.
    OldImage = "an old image of the ledger is put back",
    /// A peer that has seen a later head stops the ledger.
    OldImageNoticed = "a peer that has seen more stops an old image of the ledger",
    /// One of several ledgers is not told whether its append was carried out.
    OutcomeUnknown = "a ledger does not learn what became of its append",
    /// An append that its ledger took for unknown was carried out, and is found to be the last.
    OutcomeFound = "an append of unknown outcome is found in the log",
    /// The store of several ledgers says that it is full.
    StoreFull = "a full store declines an append, which it may have carried out",
    /// An append that a full store has declined is not carried out, and not answered.
    AppendDeclined = "an append that a full store declined is not in the log",
    /// One of several ledgers puts a snapshot in place of records.
    BaseMoved = "a snapshot takes the place of records in a store of several ledgers",
    /// One of several ledgers has written a snapshot, and finds that another has moved the base.
    BaseMovedByAnother = "a ledger that has written a snapshot finds that another has moved the base",
    /// The store no longer holds what a read asks for.
    ReadTooLate = "a read finds that the store no longer holds what it asks for",
    /// An append of which nobody waits to hear is carried out.
    StrayWritten = "an append is carried out of which nobody waits to hear",
    /// One of several ledgers finds that another has appended meanwhile.
    OtherGotInFirst = "another ledger has appended where this one was about to",
    /// One of several ledgers answers a call from what became of another's append, and needs no look for it.
    AppendToldOthers = "what becomes of an append answers a call that came before it was tried",
    /// One of several ledgers sees that a term was renewed at another.
    RenewedElsewhere = "a ledger sees that a term was renewed at another",
    /// One of several ledgers stops because the store no longer holds what it held.
    StoreLost = "a ledger finds its store wiped or put back, and stops",
    /// A peer that has called an election loses the ledger.
    LedgerLostInElection = "a peer loses the ledger while it runs for office",
    /// The first record of a batch is stamped below the written bound, the last one above it.
    BoundCrossed = "a batch of several records crosses the written bound",
    /// A journal holds as much as it may, and drops what comes next.
    JournalFull = "a full journal drops what comes",
    /// A flood arrives so late that its number is below the window.
    BelowWindow = "a flood comes too late to be told from those already accepted",
    /// A flood that arrives after a later one of its origin is accepted, though an earlier one is missing for good.
    AfterGap = "a late flood is accepted though an earlier one is missing for good",
    /// A request is still in the queue when a batch becomes durable.
    Split = "part of a queue is left for the next batch",
    /// A message arrives after a later one from the same sender.
    Overtaken = "a message is overtaken by a later one",
    /// A message arrives that is already in its receiver's past.
    ReceivedAgain = "a message arrives that its receiver already knows of",
    /// A message waits because its clock reading is above the written bound.
    HeldBack = "a send waits until its clock is written",
    /// A clock crashes while a message waits for the written bound.
    HeldLost = "a crash loses a message that waited to be sent",
    /// A clock crashes after it asked for a write and before the write is durable.
    BoundLost = "a crash loses a bound that was being written",
    /// A clock crashes after a write is durable and before it is told so.
    BoundKept = "a crash leaves a durable bound that nobody was told of",
    /// A clock crashes while it is above the written bound.
    Undone = "a crash undoes what lay above the written bound",
    /// A clock is raised by a stamp that its peer has read.
    CaughtUp = "a clock catches up with what was read",
    /// Two peers stamp with the same reading.
    SameReading = "two peers stamp the same reading",
    /// A flood arrives by a second route.
    FloodDropped = "a flood that was already accepted is dropped",
    /// A flood first arrives from a neighbour that is no nearer to its source.
    LongWay = "a flood arrives first by a longer route",
    /// A relay forwards a unicast to the next hop.
    PathFollowed = "a relay forwards a unicast along a path",
    /// The sender of a unicast floods it because it knows no path.
    PathUnknown = "a unicast without a path is flooded at its source",
    /// A relay floods a unicast because it knows no next hop that is up.
    WentAround = "a relay floods a unicast whose path has ended",
    /// A peer neither forwards nor floods a unicast for a neighbour whose link is down.
    EndedBeside = "a unicast for a neighbour that is gone is not flooded",
    /// A unicast has used up its hops.
    LeftCircle = "a unicast that goes in a circle is flooded in the end",
    /// A link that is believed to be up leads to a dead peer.
    HandedToDead = "something is sent to a dead neighbour",
    /// A live peer is not reached because no path is left.
    CutOff = "a live peer is cut off",
    /// A flood of a former life arrives where a later life has been heard.
    FormerLife = "a flood of a former life comes after one of the next",
    /// A link loses a message.
    LostOnLink = "a message is lost on a link",
    /// A peer forwards a message that is for another peer, or for everybody.
    Relayed = "a peer relays",
    /// An envelope leaves for a clock multicast alone.
    ToldOfClock = "a neighbour is told of a clock multicast by an envelope of its own",
    /// A flood reaches a peer a second time, by another route or duplicated.
    RepeatedFlood = "a flood arrives a second time",
    /// A cut drops what is under way on a connection.
    DroppedByCut = "a cut drops what is under way",
    /// A peer learns that a connection no longer works.
    NoticedCut = "a peer learns that a connection is down",
    /// A connection that was cut works again.
    Healed = "a cut is healed",
    /// A crash loses a write that a peer had asked for.
    LostWrite = "a crash loses what a peer had asked to be written",
}

/// The landmarks of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landmarks(u128);

impl Landmarks {
    /// Adds one landmark.
    pub fn note(&mut self, landmark: Landmark) {
        self.0 |= 1 << landmark as u32;
    }

    /// Adds all of the other's landmarks.
    pub fn join(&mut self, other: Landmarks) {
        self.0 |= other.0;
    }

    /// Whether this landmark has been noted.
    #[must_use]
    pub fn has(self, landmark: Landmark) -> bool {
        self.0 & (1 << landmark as u32) != 0
    }
}

/// The landmarks of a whole search, from all of its threads.
#[derive(Debug, Default)]
pub struct Coverage([AtomicU64; 2]);

impl Coverage {
    /// Adds the landmarks of one step.
    pub fn add(&self, Landmarks(new): Landmarks) {
        for (half, new) in self.0.iter().zip([new as u64, (new >> 64) as u64]) {
            if half.load(Ordering::Relaxed) & new != new {
                half.fetch_or(new, Ordering::Relaxed);
            }
        }
    }

    /// The landmarks met so far.
    pub fn all(&self) -> Landmarks {
        let [low, high] = self.0.each_ref().map(|half| u128::from(half.load(Ordering::Relaxed)));
        Landmarks(low | high << 64)
    }
}
