//! The Bully election (Garcia-Molina 1982), as a hint: it says who should stand for office and who should yield it, and
//! is never asked whether anybody *is* in office. That is decided by whatever grants epochs; here, by the ledger
//! (DESIGN 3).
//!
//! It knows nothing of the bazaar. This elects the highest of three peers whose messages all arrive:
//!
//! ```
//! use std::collections::VecDeque;
//! use std::time::Duration;
//! use bazaar_protocol::election::*;
//! use bazaar_protocol::id::{Epoch, PeerId};
//!
//! let second = Duration::from_secs(1);
//! let waits = Waits { turn: second, stagger: second, answer: second, victory: second, suspicion: second };
//! let mut peers: Vec<Election> = (0..3).map(|id| Election::new(PeerId(id), 3)).collect();
//! let mut wire = VecDeque::new(); // (from, to or everybody, message)
//!
//! let mut happen = |peers: &mut Vec<Election>, id: usize, input: ElectionInput| {
//!     let mut todo = VecDeque::from([(id, input)]);
//!     while let Some((id, input)) = todo.pop_front() {
//!         for effect in peers[id].step(&waits, input) {
//!             match effect {
//!                 ElectionEffect::Tell(to, message) => wire.push_back((id, Some(to), message)),
//!                 ElectionEffect::TellAll(message) => wire.push_back((id, None, message)),
//!                 // Here it is granted on the spot. In production this is a compare-and-set somewhere durable.
//!                 ElectionEffect::Stand => todo.push_back((id, ElectionInput::Granted(Epoch(1)))),
//!                 ElectionEffect::Yield => todo.push_back((id, ElectionInput::Vacated { resigned: None })),
//!                 ElectionEffect::Heard(_) | ElectionEffect::Arm(_) | ElectionEffect::Event(_) => {}
//!             }
//!         }
//!         if todo.is_empty() {
//!             if let Some((from, to, message)) = wire.pop_front() {
//!                 for id in (0..peers.len()).filter(|id| *id != from && to.is_none_or(|to| to.0 as usize == *id)) {
//!                     todo.push_back((id, ElectionInput::Received(PeerId(from as u32), message)));
//!                 }
//!             }
//!         }
//!     }
//! };
//!
//! for id in 0..3 {
//!     happen(&mut peers, id, ElectionInput::Eligibility(Eligibility::Eligible));
//! }
//! happen(&mut peers, 0, ElectionInput::Fired); // peer 0's turn: it calls, is answered, and waits
//! happen(&mut peers, 2, ElectionInput::Fired); // nobody is higher than peer 2: it stands
//! assert!(peers[2].is_leading());
//! assert_eq!(peers[0].leader(), Some((Epoch(1), PeerId(2))));
//! assert_eq!(peers[1].leader(), Some((Epoch(1), PeerId(2))));
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, PeerId, Position};

/// What peers say to each other in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElectionMessage {
    /// "Election": is anybody higher than I am?
    Call,
    /// "Anyone?": is anybody eligible? Asked by a peer that is not (DESIGN 3, lone survivor).
    Anyone,
    /// "Ok": I am higher; leave it to me. To "Anyone?": I am eligible.
    Answer,
    /// "I hear this leader": the reply to a call that is not needed (DESIGN R6).
    Leader {
        /// The leader's epoch.
        epoch: Epoch,
        /// The leader.
        leader: PeerId,
    },
    /// "Won": I hold this epoch.
    Coordinator {
        /// The epoch that was won.
        epoch: Epoch,
    },
    /// "Resigned": I held this epoch and have given it back.
    Resigned {
        /// The epoch that was given back.
        epoch: Epoch,
    },
}

/// Whether a peer may stand for office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Eligibility {
    /// It may stand.
    Eligible,
    /// It held the last epoch and resigned it, so it stands only if nobody else can (SPEC B6).
    Resigned,
    /// The ledger does not answer it: it starts nothing and answers nothing (SPEC B9).
    Unreachable,
    /// It hears no neighbour, but others have the office or claimed it from this one: it left it to them. As long as it
    /// hears none of them it stands only once nothing has been written for as long as any of the others could take to
    /// claim; otherwise it would be back before them, and nobody could trade with it. If nobody has by then, they may
    /// all be gone (DESIGN R6).
    Isolated {
        /// How far the books reach, as it last heard; whenever that changes, somebody else is at work, and it waits anew.
        head: Position,
    },
}

impl Eligibility {
    /// Whether it could not serve, since nobody that matters would hear it. It calls nobody and answers nobody; it
    /// stands only where it is isolated, and then late.
    #[must_use]
    pub fn is_cut_off(self) -> bool {
        match self {
            Eligibility::Unreachable | Eligibility::Isolated { .. } => true,
            Eligibility::Eligible | Eligibility::Resigned => false,
        }
    }
}

/// What can happen to an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElectionInput {
    /// The peer has started.
    Started {
        /// Whether it calls the very first election (SPEC B2).
        calls_first: bool,
    },
    /// The election's timer has fired.
    Fired,
    /// A message from another peer.
    Received(PeerId, ElectionMessage),
    /// The leader of this epoch has itself shown that it is alive.
    Heard {
        /// The leader's epoch.
        epoch: Epoch,
        /// The leader.
        leader: PeerId,
    },
    /// Whatever grants epochs has said that there is no later one than this, and a later one had been named. Leaders of
    /// real ones are heard again (SPEC I8).
    Refuted {
        /// The latest epoch that was granted; 0 before the first.
        latest: Epoch,
        /// Whether its leader has given it back.
        ended: bool,
    },
    /// This peer's eligibility, whenever it changes.
    Eligibility(Eligibility),
    /// The office was granted to this peer, which is standing for it.
    Granted(Epoch),
    /// The office was lost, given back, or could not be had.
    Vacated {
        /// The epoch it gave back voluntarily, if it did.
        resigned: Option<Epoch>,
    },
}

/// What an election wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElectionEffect {
    /// Send this to one peer.
    Tell(PeerId, ElectionMessage),
    /// Send this to everybody else.
    TellAll(ElectionMessage),
    /// Somebody has named this epoch; they can only know it from whatever granted it.
    Heard(Epoch),
    /// Start the timer afresh. Each phase has its own wait; only a peer that is standing or leading has none.
    Arm(Duration),
    /// Try to take office; answer with `Granted` or `Vacated`.
    Stand,
    /// Leave the office, or give up trying; answer with `Vacated`.
    Yield,
    /// An event that people may want to know of.
    Event(ElectionEvent),
}

/// Events in an election that people may want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElectionEvent {
    /// This peer has called an election.
    Called,
    /// This peer has asked whether anybody is eligible.
    AskedForAnyone,
    /// This peer has not heard the leader for too long.
    Suspected(PeerId),
    /// This peer recognises a leader.
    Recognised(PeerId),
}

/// How long an election waits in each of its phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waits {
    /// Until the first caller's turn.
    pub turn: Duration,
    /// How long a call takes to cross the network, at most: the least time between the turns of two peers, as long as
    /// the first few of them still call.
    pub stagger: Duration,
    /// For an answer from a higher peer.
    pub answer: Duration,
    /// For a coordinator, once a higher peer has answered.
    pub victory: Duration,
    /// For a sign of life from the leader, before it is suspected.
    pub suspicion: Duration,
}

/// One peer's part in the election of a leader among `peers` peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Election {
    me: PeerId,
    peers: u32,
    eligibility: Eligibility,
    /// The lowest epoch whose leader may still be in office.
    floor: Epoch,
    phase: Phase,
}

/// The phase of an election. It decides what the timer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Knows no leader; calls when its turn comes, unless somebody else does first.
    Onset,
    /// Has answered a lower peer and knows no leader; calls when its turn comes, unless a higher peer does first.
    Roused,
    /// Has called; stands unless a higher peer answers in time.
    Calling,
    /// Not eligible, and asking for anyone who is; stands if nobody answers.
    Asking,
    /// A higher peer has answered; calls again unless a coordinator appears in time.
    Waiting,
    /// Standing: trying to take office.
    Standing,
    /// In office.
    Leading {
        /// The epoch it holds.
        epoch: Epoch,
    },
    /// Follows a leader; suspects it after a silence.
    Following {
        /// The leader's epoch.
        epoch: Epoch,
        /// The leader it follows.
        leader: PeerId,
        /// Whether it heard the leader itself. Hearsay is not passed on; otherwise two peers could keep a dead leader
        /// alive by telling each other about it.
        directly: bool,
    },
}

impl Election {
    /// The election of `me` among the peers 0 to `peers - 1`. It neither calls nor stands until
    /// [`ElectionInput::Eligibility`] says that it is [eligible](Eligibility::Eligible): only whatever grants epochs
    /// can say so. Messages from any other peer are ignored; a `me` that is not among the peers never calls.
    #[must_use]
    pub fn new(me: PeerId, peers: u32) -> Election {
        let eligibility = mutant!(Eligibility::Unreachable; UnreachableCompetes => Eligibility::Eligible);
        Election { me, peers, eligibility, floor: Epoch(0), phase: Phase::Onset }
    }

    /// The leader it follows, or itself in office.
    #[must_use]
    pub fn leader(&self) -> Option<(Epoch, PeerId)> {
        match self.phase {
            Phase::Following { epoch, leader, .. } => Some((epoch, leader)),
            Phase::Leading { epoch } => Some((epoch, self.me)),
            Phase::Onset | Phase::Roused | Phase::Calling | Phase::Asking | Phase::Waiting | Phase::Standing => None,
        }
    }

    /// Whether it holds the office, as far as it has been told.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. })
    }

    /// Whether it is running for office: it has called, asked for anyone, or is standing.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Calling | Phase::Asking | Phase::Standing)
    }

    /// Its current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it may stand, as it was last told.
    #[must_use]
    pub fn eligibility(&self) -> Eligibility {
        self.eligibility
    }

    /// Takes one input. Cannot fail.
    pub fn step(&mut self, waits: &Waits, input: ElectionInput) -> Vec<ElectionEffect> {
        if !self.is_among_peers(&input) {
            return Vec::new();
        }
        let mut step = Step { election: self, waits, effects: Vec::new() };
        match input {
            ElectionInput::Started { calls_first } => step.on_started(calls_first),
            ElectionInput::Fired => step.on_fired(),
            ElectionInput::Received(from, message) => step.on_message(from, message),
            ElectionInput::Heard { epoch, leader } => {
                mutant!(OldHeartbeatAccepted => step.lower_floor(epoch));
                step.on_leader(epoch, leader, true);
            }
            ElectionInput::Refuted { latest, ended } => step.on_refuted(latest, ended),
            ElectionInput::Eligibility(eligibility) => step.on_eligibility(eligibility),
            ElectionInput::Granted(epoch) => step.on_granted(epoch),
            ElectionInput::Vacated { resigned } => step.on_vacated(resigned),
        }
        step.effects
    }
}

impl Election {
    /// Whether every peer that an input names is one of its peers.
    fn is_among_peers(&self, input: &ElectionInput) -> bool {
        let (from, named) = match input {
            ElectionInput::Received(from, ElectionMessage::Leader { leader, .. }) => (Some(*from), Some(*leader)),
            ElectionInput::Received(from, _) => (Some(*from), None),
            ElectionInput::Heard { leader, .. } => (None, Some(*leader)),
            ElectionInput::Started { .. }
            | ElectionInput::Fired
            | ElectionInput::Refuted { .. }
            | ElectionInput::Eligibility(_)
            | ElectionInput::Granted(_)
            | ElectionInput::Vacated { .. } => (None, None),
        };
        from.into_iter().chain(named).chain([self.me]).all(|peer| peer.0 < self.peers)
    }
}

/// One step in progress.
struct Step<'a> {
    election: &'a mut Election,
    waits: &'a Waits,
    effects: Vec<ElectionEffect>,
}

impl Step<'_> {
    fn on_started(&mut self, calls_first: bool) {
        if calls_first {
            self.enter(Phase::Onset, self.waits.turn);
        } else {
            // A leader that is already in office shows itself within the suspicion time.
            self.enter(Phase::Onset, self.after_suspicion());
        }
    }

    fn on_fired(&mut self) {
        match self.election.phase {
            Phase::Following { leader, .. } => {
                self.effects.push(ElectionEffect::Event(ElectionEvent::Suspected(leader)));
                self.enter(Phase::Onset, self.once_others_miss_it_too());
            }
            Phase::Onset | Phase::Roused | Phase::Waiting => self.call(),
            // Garcia-Molina 1982, Bully: no higher peer has answered in time.
            Phase::Calling => self.stand(),
            Phase::Asking => mutant!(self.stand(); LoneSurvivorWaits => self.call()),
            // The office has timers of its own; it will answer `Stand`, and is not hurried.
            Phase::Standing | Phase::Leading { .. } => {}
        }
    }

    fn call(&mut self) {
        match self.election.eligibility {
            // SPEC B1: there is no higher peer to ask.
            Eligibility::Eligible if self.is_highest() => {
                self.effects.push(ElectionEffect::Event(ElectionEvent::Called));
                self.stand();
            }
            Eligibility::Eligible => {
                self.effects.push(ElectionEffect::Event(ElectionEvent::Called));
                self.effects.push(ElectionEffect::TellAll(ElectionMessage::Call));
                self.enter(Phase::Calling, self.waits.answer);
            }
            Eligibility::Resigned => {
                self.effects.push(ElectionEffect::Event(ElectionEvent::AskedForAnyone));
                self.effects.push(ElectionEffect::TellAll(ElectionMessage::Anyone));
                self.enter(Phase::Asking, self.waits.victory);
            }
            // It has waited for a turn of its own; the others may have given a claim up just before, and need as long, an
            // election and another claim.
            Eligibility::Isolated { .. } if self.election.phase != Phase::Waiting => {
                self.enter(Phase::Waiting, self.waits.suspicion.saturating_add(self.waits.victory));
            }
            // Nobody hears it, so there is nobody to ask.
            Eligibility::Isolated { .. } => mutant!(
                self.stand();
                IsolatedForGood => self.enter(Phase::Onset, self.after_answer())
            ),
            Eligibility::Unreachable => self.enter(Phase::Onset, self.after_answer()),
        }
    }

    fn stand(&mut self) {
        self.election.phase = Phase::Standing;
        mutant!(AnnouncesOnWinning => self.announce(self.election.floor.next()));
        self.effects.push(ElectionEffect::Stand);
    }

    fn on_message(&mut self, from: PeerId, message: ElectionMessage) {
        if let ElectionMessage::Leader { epoch, .. }
        | ElectionMessage::Coordinator { epoch }
        | ElectionMessage::Resigned { epoch } = message
            && mutant!(true; ResignationUnheard => message != (ElectionMessage::Resigned { epoch }))
        {
            self.effects.push(ElectionEffect::Heard(epoch));
        }
        match message {
            ElectionMessage::Call => self.on_call(from),
            ElectionMessage::Anyone => self.on_anyone(from),
            ElectionMessage::Answer => self.on_answer(),
            ElectionMessage::Leader { epoch, leader } => {
                self.on_leader(epoch, leader, mutant!(false; HearsayPassedOn => true));
            }
            ElectionMessage::Coordinator { epoch } => {
                mutant!(OldCoordinatorAccepted => self.lower_floor(epoch));
                self.on_leader(epoch, from, true);
            }
            ElectionMessage::Resigned { epoch } => {
                mutant!(OldCoordinatorAccepted => self.lower_floor(epoch));
                self.on_resigned(epoch);
            }
        }
    }

    /// SPEC B1: ids are compared as numbers.
    fn is_higher(&self, other: PeerId) -> bool {
        let me = self.election.me;
        mutant!(
            other > me;
            IdsComparedAsText => alloc::format!("{other}") > alloc::format!("{me}"),
            IdsComparedByLastDigit => other.0 % 10 > me.0 % 10
        )
    }

    fn is_highest(&self) -> bool {
        mutant!(self.election.me.0.saturating_add(1) >= self.election.peers; IdsComparedAsText | IdsComparedByLastDigit =>
                !(0..self.election.peers).any(|id| self.is_higher(PeerId(id))))
    }

    fn on_call(&mut self, from: PeerId) {
        if self.refer_to_leader(from) {
            return;
        }
        if self.is_higher(from) {
            match self.election.phase {
                // A higher peer is running for office: leave it to that one.
                Phase::Onset | Phase::Roused | Phase::Calling | Phase::Asking | Phase::Following { .. } => {
                    self.enter(Phase::Waiting, self.waits.victory);
                }
                // The wait is not restarted, or two peers that call in turn could keep it waiting for ever. And a claim
                // in flight is not withdrawn: it may have been granted already, and compare-and-set decides between the
                // two.
                Phase::Waiting | Phase::Standing | Phase::Leading { .. } => {}
            }
            return;
        }
        match (self.election.eligibility, self.election.phase) {
            // Garcia-Molina 1982, Bully: answer the lower peer, and run for office oneself.
            (Eligibility::Eligible, Phase::Onset | Phase::Following { .. }) => {
                self.answer(from);
                self.enter(Phase::Roused, self.turn_of_highest());
            }
            // Its turn is not put off, or peers that ask again and again could keep it from coming for ever.
            (Eligibility::Eligible, Phase::Roused) => {
                self.answer(from);
            }
            (Eligibility::Eligible, Phase::Calling | Phase::Asking | Phase::Waiting | Phase::Standing) => {
                self.answer(from);
            }
            // Somebody is eligible; there is no need to stand in for them.
            (Eligibility::Resigned, Phase::Asking) => self.enter(Phase::Waiting, self.waits.victory),
            (Eligibility::Eligible, Phase::Leading { .. })
            | (Eligibility::Resigned | Eligibility::Unreachable | Eligibility::Isolated { .. }, _) => {}
        }
    }

    fn on_anyone(&mut self, from: PeerId) {
        if self.refer_to_leader(from) || self.election.eligibility != Eligibility::Eligible {
            return;
        }
        self.answer(from);
        if matches!(self.election.phase, Phase::Onset | Phase::Following { .. }) {
            self.enter(Phase::Roused, self.turn_of_highest());
        }
    }

    fn answer(&mut self, to: PeerId) {
        self.effects.push(ElectionEffect::Tell(to, ElectionMessage::Answer));
    }

    /// DESIGN R6: a peer that hears the leader says so and does not join. A peer that follows by hearsay, or is asked
    /// by the very leader it follows (which must have restarted), knows no better.
    fn refer_to_leader(&mut self, asker: PeerId) -> bool {
        mutant!(JoinsEveryElection => if !self.election.is_leading() { return false });
        match self.election.phase {
            Phase::Following { epoch, leader, directly: true } if leader != asker => {
                self.effects.push(ElectionEffect::Tell(asker, ElectionMessage::Leader { epoch, leader }));
                true
            }
            Phase::Leading { epoch } => {
                let leader = self.election.me;
                self.effects.push(ElectionEffect::Tell(asker, ElectionMessage::Leader { epoch, leader }));
                true
            }
            Phase::Following { .. }
            | Phase::Onset
            | Phase::Roused
            | Phase::Calling
            | Phase::Asking
            | Phase::Waiting
            | Phase::Standing => false,
        }
    }

    fn on_answer(&mut self) {
        mutant!(AnswerIgnored => return);
        if matches!(self.election.phase, Phase::Calling | Phase::Asking) {
            self.enter(Phase::Waiting, self.waits.victory);
        }
    }

    fn on_leader(&mut self, epoch: Epoch, leader: PeerId, directly: bool) {
        if epoch < self.election.floor || leader == self.election.me {
            return;
        }
        match self.election.phase {
            // SPEC B4: only a higher epoch deposes.
            Phase::Leading { epoch: mine } if mutant!(epoch <= mine; HigherEpochIgnored => true) => return,
            // The very leader it is about to replace. The claim may have been granted already, so a late heartbeat does
            // not withdraw it; if that leader is alive, it renews its term, and the claim is refused.
            Phase::Standing if epoch == self.election.floor => return,
            Phase::Leading { .. } | Phase::Standing => self.effects.push(ElectionEffect::Yield),
            Phase::Following { epoch: known, directly: true, .. }
                if mutant!(
                    known == epoch && !directly;
                    StaleHearsayBelieved => false
                ) =>
            {
                return;
            }
            Phase::Onset
            | Phase::Roused
            | Phase::Calling
            | Phase::Asking
            | Phase::Waiting
            | Phase::Following { .. } => {}
        }
        if self.election.leader() != Some((epoch, leader)) {
            self.effects.push(ElectionEffect::Event(ElectionEvent::Recognised(leader)));
        }
        self.election.floor = epoch;
        self.enter(Phase::Following { epoch, leader, directly }, self.waits.suspicion);
    }

    fn on_resigned(&mut self, epoch: Epoch) {
        if epoch < self.election.floor {
            return;
        }
        self.election.floor = epoch.next();
        match self.election.phase {
            Phase::Following { .. } => self.enter(Phase::Onset, self.turn_of_lowest()),
            // SPEC B4: any message of a higher epoch deposes.
            Phase::Leading { epoch: mine } if mutant!(epoch > mine; HigherEpochIgnored => false) => {
                self.effects.push(ElectionEffect::Yield);
                self.enter(Phase::Onset, self.turn_of_lowest());
            }
            Phase::Onset
            | Phase::Roused
            | Phase::Calling
            | Phase::Asking
            | Phase::Waiting
            | Phase::Standing
            | Phase::Leading { .. } => {}
        }
    }

    /// Of what was named, only epochs up to the latest exist.
    fn on_refuted(&mut self, latest: Epoch, ended: bool) {
        if self.election.is_leading() {
            // What it holds was granted; if that is over, its next write or renewal tells it.
            return;
        }
        let floor = if ended { latest.next() } else { latest };
        self.election.floor = self.election.floor.min(floor);
        if let Phase::Following { epoch, leader, .. } = self.election.phase
            && epoch > latest
        {
            self.effects.push(ElectionEffect::Event(ElectionEvent::Suspected(leader)));
            self.enter(Phase::Onset, self.turn_of_lowest());
        }
    }

    fn on_eligibility(&mut self, eligibility: Eligibility) {
        mutant!(ResignedCompetes => if eligibility == Eligibility::Resigned { return self.compete() });
        mutant!(UnreachableCompetes => if eligibility.is_cut_off() { return self.compete() });
        self.election.eligibility = eligibility;
        let runs = matches!(self.election.phase, Phase::Roused | Phase::Calling | Phase::Asking | Phase::Waiting);
        if mutant!(eligibility.is_cut_off() && runs; UnreachableRunsOn => false) {
            self.enter(Phase::Onset, self.after_suspicion());
        }
    }

    fn on_granted(&mut self, epoch: Epoch) {
        if !matches!(self.election.phase, Phase::Standing) {
            return;
        }
        let is_over = epoch < self.election.floor;
        if mutant!(is_over; OverGrantTaken => false) {
            // The answer to its claim came late: somebody has already said that the granted epoch is over (SPEC B4).
            self.effects.push(ElectionEffect::Yield);
            return;
        }
        self.election.floor = epoch;
        self.election.phase = Phase::Leading { epoch };
        self.announce(epoch);
    }

    fn announce(&mut self, epoch: Epoch) {
        self.effects.push(ElectionEffect::TellAll(ElectionMessage::Coordinator { epoch }));
    }

    fn on_vacated(&mut self, resigned: Option<Epoch>) {
        if let Some(epoch) = resigned {
            self.effects.push(ElectionEffect::TellAll(ElectionMessage::Resigned { epoch }));
            self.election.floor = self.election.floor.max(epoch.next());
        }
        if matches!(self.election.phase, Phase::Standing | Phase::Leading { .. }) {
            self.enter(Phase::Onset, self.after_suspicion());
        }
    }

    fn enter(&mut self, phase: Phase, wait: Duration) {
        self.election.phase = phase;
        self.effects.push(ElectionEffect::Arm(wait));
    }

    /// Its turn when it calls because the leader is gone: the lowest peer goes first (SPEC B2).
    fn turn_of_lowest(&self) -> Duration {
        self.turn(self.election.me.0)
    }

    /// Its turn, and before it a moment for the others: a sign of life reaches all peers at nearly the same time, and so
    /// they miss the next one at nearly the same time. Whoever calls before the last of them does is told by that one that
    /// the leader is there, follows it again, and has missed its turn.
    fn once_others_miss_it_too(&self) -> Duration {
        let moment = self.waits.stagger / 4;
        self.turn_of_lowest().saturating_add(moment)
    }

    /// As long as a leader takes to show itself, and then its turn.
    fn after_suspicion(&self) -> Duration {
        self.waits.suspicion.saturating_add(self.turn_of_lowest())
    }

    /// As long as an answer takes, and then its turn.
    fn after_answer(&self) -> Duration {
        self.waits.answer.saturating_add(self.turn_of_lowest())
    }

    /// Its turn when it runs because a lower peer called: the highest goes first, so that it is usually the only one.
    fn turn_of_highest(&self) -> Duration {
        self.turn(self.election.peers.saturating_sub(self.election.me.0.saturating_add(1)))
    }

    fn turn(&self, rank: u32) -> Duration {
        self.waits.stagger.saturating_mul(turns_before(rank))
    }
}

/// After how many others a peer has its turn to call. Each of the first three calls alone, so that its call has crossed
/// the network before the next turn. When all of those are gone, several share a turn, twice as many each time:
/// otherwise the last of a thousand peers would wait for a thousand turns.
#[must_use]
pub fn turns_before(rank: u32) -> u32 {
    match rank {
        0 | 1 => rank,
        // Below 33 in any case.
        _ => (u32::BITS + 1).saturating_sub(rank.saturating_sub(1).leading_zeros()),
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const WAITS: Waits = Waits {
        turn: Duration::from_millis(1),
        stagger: Duration::from_millis(10),
        answer: Duration::from_millis(100),
        victory: Duration::from_millis(200),
        suspicion: Duration::from_millis(300),
    };

    fn eligible(id: u32, peers: u32) -> Election {
        let mut election = Election::new(PeerId(id), peers);
        election.step(&WAITS, ElectionInput::Eligibility(Eligibility::Eligible));
        election
    }

    fn following(id: u32, peers: u32, epoch: Epoch, leader: PeerId) -> Election {
        let mut election = eligible(id, peers);
        election.step(&WAITS, ElectionInput::Heard { epoch, leader });
        election
    }

    #[test]
    fn words_of_and_about_a_peer_that_does_not_exist_are_ignored() {
        let before = following(1, 3, Epoch(3), PeerId(2));
        let mut election = before.clone();
        let inputs = [
            ElectionInput::Received(PeerId(3), ElectionMessage::Call),
            ElectionInput::Received(PeerId(3), ElectionMessage::Coordinator { epoch: Epoch(9) }),
            ElectionInput::Received(PeerId(0), ElectionMessage::Leader { epoch: Epoch(9), leader: PeerId(3) }),
            ElectionInput::Heard { epoch: Epoch(9), leader: PeerId(3) },
        ];
        for input in inputs {
            assert_eq!(election.step(&WAITS, input), [], "{input:?}");
        }
        assert_eq!(election, before);
    }

    /// The effects of a message, except the epoch that it passes on.
    fn say(election: &mut Election, from: u32, message: ElectionMessage) -> Vec<ElectionEffect> {
        let mut effects = election.step(&WAITS, ElectionInput::Received(PeerId(from), message));
        effects.retain(|effect| !matches!(effect, ElectionEffect::Heard(_)));
        effects
    }

    #[test]
    fn a_named_epoch_is_passed_on_whether_or_not_its_leader_is_followed() {
        let mut leader = eligible(2, 3);
        leader.step(&WAITS, ElectionInput::Fired);
        leader.step(&WAITS, ElectionInput::Granted(Epoch(4)));
        for message in [
            ElectionMessage::Coordinator { epoch: Epoch(3) },
            ElectionMessage::Resigned { epoch: Epoch(3) },
            ElectionMessage::Leader { epoch: Epoch(3), leader: PeerId(1) },
        ] {
            let effects = leader.step(&WAITS, ElectionInput::Received(PeerId(1), message));
            assert_eq!(effects, [ElectionEffect::Heard(Epoch(3))]);
        }
    }

    #[test]
    fn ids_are_compared_as_numbers() {
        // SPEC B1: as text "9" > "10".
        let mut ten = eligible(10, 11);
        assert!(
            say(&mut ten, 9, ElectionMessage::Call).contains(&ElectionEffect::Tell(PeerId(9), ElectionMessage::Answer))
        );
        let mut nine = eligible(9, 11);
        assert!(
            !say(&mut nine, 10, ElectionMessage::Call)
                .contains(&ElectionEffect::Tell(PeerId(10), ElectionMessage::Answer))
        );
    }

    // Found by the random schedules: peers that resigned and asked again and again kept an eligible one from its turn.
    #[test]
    fn a_turn_is_not_put_off_by_further_calls() {
        let mut roused = eligible(2, 4);
        let effects = say(&mut roused, 0, ElectionMessage::Call);
        assert_eq!((roused.phase(), effects.last()), (Phase::Roused, Some(&ElectionEffect::Arm(WAITS.stagger))));
        for message in [ElectionMessage::Call, ElectionMessage::Anyone] {
            let answer = ElectionEffect::Tell(PeerId(1), ElectionMessage::Answer);
            assert_eq!(say(&mut roused, 1, message), [answer]);
        }
        roused.step(&WAITS, ElectionInput::Fired);
        assert_eq!(roused.phase(), Phase::Calling);
    }

    // SPEC B2: usually one peer calls.
    #[test]
    fn the_first_turns_are_far_enough_apart_and_the_last_not_too_late() {
        let turns: Vec<u32> = (0..10).map(turns_before).collect();
        assert_eq!(turns, [0, 1, 2, 3, 3, 4, 4, 4, 4, 5]);
        assert_eq!(turns_before(9_999), 15);
    }

    // Found by `bazaar bench failover`: the first to miss the trader followed it again, and the election began a turn later.
    #[test]
    fn who_misses_the_leader_calls_when_the_others_have_missed_it_too() {
        let mut first = following(0, 4, Epoch(3), PeerId(3));
        let effects = first.step(&WAITS, ElectionInput::Fired);
        assert_eq!(effects.last(), Some(&ElectionEffect::Arm(WAITS.stagger / 4)));
        let mut next = following(1, 4, Epoch(3), PeerId(3));
        let effects = next.step(&WAITS, ElectionInput::Fired);
        assert_eq!(effects.last(), Some(&ElectionEffect::Arm(WAITS.stagger + WAITS.stagger / 4)));
        // Not where all were told at the same time.
        let mut told = following(0, 4, Epoch(3), PeerId(3));
        let effects = say(&mut told, 3, ElectionMessage::Resigned { epoch: Epoch(3) });
        assert_eq!(effects, [ElectionEffect::Arm(Duration::ZERO)]);
    }

    #[test]
    fn a_candidate_stands_only_when_nobody_higher_answers() {
        let mut alone = eligible(1, 3);
        alone.step(&WAITS, ElectionInput::Fired);
        assert_eq!(alone.step(&WAITS, ElectionInput::Fired), vec![ElectionEffect::Stand]);

        let mut answered = eligible(1, 3);
        answered.step(&WAITS, ElectionInput::Fired);
        say(&mut answered, 2, ElectionMessage::Answer);
        assert_eq!(answered.phase(), Phase::Waiting);
        answered.step(&WAITS, ElectionInput::Fired);
        assert_eq!(answered.phase(), Phase::Calling, "it calls again when no coordinator appears");
    }

    #[test]
    fn a_peer_that_hears_the_leader_refers_a_caller_to_it() {
        let mut follower = following(1, 4, Epoch(3), PeerId(2));
        let effects = say(&mut follower, 0, ElectionMessage::Call);
        let leader = ElectionMessage::Leader { epoch: Epoch(3), leader: PeerId(2) };
        assert_eq!(effects, vec![ElectionEffect::Tell(PeerId(0), leader)]);
    }

    #[test]
    fn hearsay_of_a_leader_is_not_passed_on() {
        let mut told = eligible(1, 4);
        say(&mut told, 3, ElectionMessage::Leader { epoch: Epoch(3), leader: PeerId(2) });
        assert_eq!(told.leader(), Some((Epoch(3), PeerId(2))));
        let effects = say(&mut told, 0, ElectionMessage::Call);
        assert!(effects.contains(&ElectionEffect::Tell(PeerId(0), ElectionMessage::Answer)));
    }

    #[test]
    fn a_leader_that_calls_has_restarted_and_no_longer_leads() {
        let mut follower = following(1, 4, Epoch(3), PeerId(3));
        say(&mut follower, 3, ElectionMessage::Call);
        assert_eq!(follower.phase(), Phase::Waiting);
    }

    #[test]
    fn a_higher_epoch_deposes_and_a_lower_one_does_not() {
        let mut leader = eligible(2, 3);
        leader.step(&WAITS, ElectionInput::Fired);
        leader.step(&WAITS, ElectionInput::Granted(Epoch(4)));
        assert!(leader.is_leading());
        assert_eq!(say(&mut leader, 1, ElectionMessage::Coordinator { epoch: Epoch(3) }), vec![]);
        let effects = say(&mut leader, 1, ElectionMessage::Coordinator { epoch: Epoch(5) });
        assert_eq!(effects[0], ElectionEffect::Yield);
        assert_eq!(leader.leader(), Some((Epoch(5), PeerId(1))));
    }

    #[test]
    fn a_resigned_peer_answers_no_call_and_stands_only_when_nobody_answers() {
        let mut resigned = Election::new(PeerId(2), 3);
        resigned.step(&WAITS, ElectionInput::Eligibility(Eligibility::Resigned));
        assert_eq!(say(&mut resigned, 0, ElectionMessage::Call), vec![]);
        let effects = resigned.step(&WAITS, ElectionInput::Fired);
        assert!(effects.contains(&ElectionEffect::TellAll(ElectionMessage::Anyone)));
        assert_eq!(resigned.step(&WAITS, ElectionInput::Fired), vec![ElectionEffect::Stand]);
    }

    #[test]
    fn an_epoch_that_was_given_back_no_longer_has_a_leader() {
        let mut follower = following(1, 3, Epoch(3), PeerId(2));
        say(&mut follower, 2, ElectionMessage::Resigned { epoch: Epoch(3) });
        assert_eq!(follower.leader(), None);
        follower.step(&WAITS, ElectionInput::Heard { epoch: Epoch(3), leader: PeerId(2) });
        assert_eq!(follower.leader(), None, "a late heartbeat of the epoch that is over");
    }

    // SPEC I8.
    #[test]
    fn an_epoch_that_is_refuted_is_forgotten_and_so_is_its_leader() {
        let lied_to = || {
            let mut election = following(2, 3, Epoch(9), PeerId(1));
            election.step(&WAITS, ElectionInput::Fired);
            election.step(&WAITS, ElectionInput::Fired);
            election
        };
        let hears = |election: &mut Election, epoch| {
            election.step(&WAITS, ElectionInput::Vacated { resigned: None });
            election.step(&WAITS, ElectionInput::Heard { epoch: Epoch(epoch), leader: PeerId(0) });
            election.leader() == Some((Epoch(epoch), PeerId(0)))
        };
        let refute = |election: &mut Election, latest, ended| {
            election.step(&WAITS, ElectionInput::Refuted { latest: Epoch(latest), ended })
        };
        assert!(!hears(&mut lied_to(), 3), "it knows no better");
        for (latest, ended) in [(3, false), (8, false), (3, true)] {
            let mut election = lied_to();
            assert_eq!(refute(&mut election, latest, ended), []);
            assert_eq!(hears(&mut election, latest), !ended, "{latest}");
            assert!(hears(&mut election, latest + 1));
        }
        // Or its own claim is granted.
        let mut election = lied_to();
        refute(&mut election, 3, false);
        election.step(&WAITS, ElectionInput::Granted(Epoch(4)));
        assert!(election.is_leading());
        assert_eq!(refute(&mut election, 3, false), [], "it has been told before");
        assert!(election.is_leading());
        // Whoever follows nobody follows nobody then.
        let mut election = following(1, 3, Epoch(9), PeerId(2));
        let told = refute(&mut election, 8, false);
        assert_eq!(told.first(), Some(&ElectionEffect::Event(ElectionEvent::Suspected(PeerId(2)))));
        assert_eq!((election.leader(), election.phase()), (None, Phase::Onset));
        // And who follows a real leader goes on.
        let mut election = following(1, 3, Epoch(3), PeerId(2));
        say(&mut election, 0, ElectionMessage::Resigned { epoch: Epoch(9) });
        election.step(&WAITS, ElectionInput::Refuted { latest: Epoch(3), ended: false });
        assert!(hears(&mut election, 3));
    }

    #[test]
    fn a_claim_in_flight_is_not_withdrawn_for_a_late_heartbeat_of_the_previous_leader() {
        let mut standing = following(2, 3, Epoch(3), PeerId(1));
        standing.step(&WAITS, ElectionInput::Fired);
        standing.step(&WAITS, ElectionInput::Fired);
        assert_eq!(standing.phase(), Phase::Standing);
        assert_eq!(standing.step(&WAITS, ElectionInput::Heard { epoch: Epoch(3), leader: PeerId(1) }), vec![]);
        let effects = standing.step(&WAITS, ElectionInput::Heard { epoch: Epoch(4), leader: PeerId(0) });
        assert_eq!(effects[0], ElectionEffect::Yield);
    }

    // Found by the model: the peer followed the trader of an epoch that it knew to be over, if that trader was heard
    // late.
    #[test]
    fn a_peer_granted_an_epoch_that_is_already_over_does_not_lead_and_forgets_no_later_one() {
        let mut late = eligible(2, 3);
        late.step(&WAITS, ElectionInput::Fired);
        assert_eq!(say(&mut late, 1, ElectionMessage::Resigned { epoch: Epoch(5) }), vec![]);
        assert_eq!(late.step(&WAITS, ElectionInput::Granted(Epoch(4))), vec![ElectionEffect::Yield]);
        late.step(&WAITS, ElectionInput::Vacated { resigned: None });
        assert_eq!(say(&mut late, 1, ElectionMessage::Coordinator { epoch: Epoch(5) }), vec![]);
        assert_eq!(late.leader(), None);
    }

    #[test]
    fn a_resignation_from_a_higher_epoch_deposes() {
        let mut leader = eligible(2, 3);
        leader.step(&WAITS, ElectionInput::Fired);
        leader.step(&WAITS, ElectionInput::Granted(Epoch(4)));
        let effects = say(&mut leader, 1, ElectionMessage::Resigned { epoch: Epoch(5) });
        assert_eq!(effects[0], ElectionEffect::Yield);
        assert!(!leader.is_leading());
    }

    // DESIGN R6, L3. Found by the simulator: it never stood again, though all others had died.
    #[test]
    fn a_peer_that_left_in_isolation_stands_when_the_others_have_had_the_time() {
        let mut alone = eligible(2, 3);
        alone.step(&WAITS, ElectionInput::Fired);
        alone.step(&WAITS, ElectionInput::Granted(Epoch(4)));
        alone.step(&WAITS, ElectionInput::Vacated { resigned: None });
        alone.step(&WAITS, ElectionInput::Eligibility(Eligibility::Isolated { head: Position(4) }));
        let effects = alone.step(&WAITS, ElectionInput::Fired);
        assert_eq!(effects, [ElectionEffect::Arm(WAITS.suspicion + WAITS.victory)]);
        assert_eq!(alone.step(&WAITS, ElectionInput::Fired), [ElectionEffect::Stand]);
    }

    #[test]
    fn a_peer_that_cannot_reach_the_ledger_starts_no_election() {
        let mut unable = Election::new(PeerId(2), 3);
        let effects = unable.step(&WAITS, ElectionInput::Fired);
        assert!(matches!(effects[..], [ElectionEffect::Arm(_)]), "{effects:?}");
    }
}
