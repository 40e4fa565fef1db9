//! A small subject for the tests of whatever looks at subjects: two peers claim the office from a ledger. If it is
//! broken, the ledger accepts a second claim of the same epoch.

use std::fmt::Write as _;

use bazaar_protocol::invariant::{Property, Violation};
use serde::{Deserialize, Serialize};

use crate::{
    subject::landmark::Landmark,
    subject::picture::{Lane, LaneKind, Mark},
    subject::{Met, Subject},
};

#[derive(Clone, Debug)]
pub struct Fixture {
    pub is_broken: bool,
}

pub const LANDMARKS: [Landmark; 6] = [
    Landmark::TookOffice,
    Landmark::SecondEpoch,
    Landmark::ClaimFenced,
    Landmark::TraderCrashed,
    Landmark::Restarted,
    // Never met.
    Landmark::Sold,
];

const LEDGER: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    peers: [Peer; 2],
    /// The holder of each epoch; epochs count from 1.
    log: Vec<usize>,
    sent: Vec<Message>,
    timers: u8,
    crashes: u8,
    cuts: u8,
    is_cut: bool,
    violation: Option<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Peer {
    Idle,
    Trader(u64),
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Message {
    peer: usize,
    says: Says,
    is_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Says {
    Claim(u64),
    Appended(u64),
    Fenced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Fire(usize),
    Deliver(usize),
    Lose(usize),
    Crash(usize),
    Restart(usize),
    Cut,
    Heal,
}

impl Message {
    fn label(self) -> String {
        match self.says {
            Says::Claim(epoch) => format!("claim epoch {epoch}"),
            Says::Appended(epoch) => format!("appended, epoch {epoch}"),
            Says::Fenced => "fenced".to_owned(),
        }
    }

    fn to(self) -> usize {
        match self.says {
            Says::Claim(_) => LEDGER,
            Says::Appended(_) | Says::Fenced => self.peer,
        }
    }

    fn from(self) -> usize {
        if self.to() == LEDGER { self.peer } else { LEDGER }
    }
}

impl State {
    fn send(&mut self, peer: usize, says: Says) {
        let message = Message { peer, says, is_lost: false };
        if !self.sent.contains(&message) {
            self.sent.push(message);
        }
    }
}

impl Subject for Fixture {
    type State = State;
    type Action = Action;

    fn first(&self) -> State {
        State {
            peers: [Peer::Idle; 2],
            log: Vec::new(),
            sent: Vec::new(),
            timers: 3,
            crashes: 1,
            cuts: 1,
            is_cut: false,
            violation: None,
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        for peer in 0..2 {
            if state.peers[peer] == Peer::Down {
                actions.push(Action::Restart(peer));
                continue;
            }
            if state.timers > 0 {
                actions.push(Action::Fire(peer));
            }
            if state.crashes > 0 {
                actions.push(Action::Crash(peer));
            }
        }
        for (nth, message) in state.sent.iter().enumerate() {
            let is_cut = state.is_cut && message.peer == 0;
            if !message.is_lost && !is_cut && (message.to() == LEDGER || state.peers[message.peer] != Peer::Down) {
                actions.push(Action::Deliver(nth));
            }
            if !message.is_lost && is_cut {
                actions.push(Action::Lose(nth));
            }
        }
        match (state.is_cut, state.cuts) {
            (true, _) => actions.push(Action::Heal),
            (false, 0) => {}
            (false, _) => actions.push(Action::Cut),
        }
    }

    fn after(&self, state: &State, action: &Action) -> (State, Met) {
        let mut next = state.clone();
        let mut met = Met::default();
        match *action {
            Action::Fire(peer) => {
                next.timers -= 1;
                next.send(peer, Says::Claim(state.log.len() as u64 + 1));
            }
            Action::Deliver(nth) => {
                let Message { peer, says, .. } = state.sent[nth];
                match says {
                    Says::Claim(epoch) => {
                        let held = state.log.len() as u64;
                        if epoch == held + 1 {
                            next.log.push(peer);
                            next.send(peer, Says::Appended(epoch));
                            met.landmarks.note(Landmark::TookOffice);
                            if epoch == 2 {
                                met.landmarks.note(Landmark::SecondEpoch);
                            }
                        } else if state.log[epoch as usize - 1] == peer {
                            next.send(peer, Says::Appended(epoch));
                        } else if self.is_broken {
                            next.violation = Some(Violation {
                                property: Property::S1,
                                position: None,
                                what: format!("epoch {epoch} is held by peer 1 and by peer 2"),
                            });
                        } else {
                            next.send(peer, Says::Fenced);
                            met.landmarks.note(Landmark::ClaimFenced);
                        }
                    }
                    Says::Appended(epoch) => next.peers[peer] = Peer::Trader(epoch),
                    Says::Fenced => next.peers[peer] = Peer::Idle,
                }
            }
            Action::Lose(nth) => next.sent[nth].is_lost = true,
            Action::Crash(peer) => {
                next.crashes -= 1;
                if state.peers[peer] != Peer::Idle {
                    met.landmarks.note(Landmark::TraderCrashed);
                }
                next.peers[peer] = Peer::Down;
            }
            Action::Restart(peer) => {
                next.peers[peer] = Peer::Idle;
                met.landmarks.note(Landmark::Restarted);
            }
            Action::Cut => {
                next.cuts -= 1;
                next.is_cut = true;
            }
            Action::Heal => next.is_cut = false,
        }
        (next, met)
    }

    fn violation<'a>(&self, state: &'a State) -> Option<&'a Violation> {
        state.violation.as_ref()
    }

    fn properties(&self) -> Vec<Property> {
        vec![Property::S1, Property::S2]
    }

    fn adversary(&self) -> String {
        "3 timers, 1 crash, 1 cut".to_owned()
    }

    fn sentence(&self, state: &State, action: &Action, _: &State) -> String {
        let name = |peer| format!("peer {}", peer + 1);
        match *action {
            Action::Fire(peer) => format!("{}'s timer fires: it claims epoch {}", name(peer), state.log.len() + 1),
            Action::Deliver(nth) => {
                let message = state.sent[nth];
                if message.to() == LEDGER {
                    format!("the ledger receives {}'s \"{}\"", name(message.peer), message.label())
                } else {
                    format!("{} receives the ledger's \"{}\"", name(message.peer), message.label())
                }
            }
            Action::Lose(nth) => format!("the cut link loses \"{}\"", state.sent[nth].label()),
            Action::Crash(peer) => format!("{} crashes", name(peer)),
            Action::Restart(peer) => format!("{} restarts", name(peer)),
            Action::Cut => "the link from peer 1 to the ledger is cut".to_owned(),
            Action::Heal => "the link from peer 1 to the ledger works again".to_owned(),
        }
    }

    fn portrait(&self, state: &State) -> String {
        let mut text = String::new();
        for (nth, peer) in (1..).zip(state.peers) {
            let _ = match peer {
                Peer::Idle => writeln!(text, "peer {nth}: out of office"),
                Peer::Trader(epoch) => writeln!(text, "peer {nth}: thinks it is trader of epoch {epoch}"),
                Peer::Down => writeln!(text, "peer {nth}: down"),
            };
        }
        for (epoch, peer) in (1..).zip(&state.log) {
            let _ = writeln!(text, "log: epoch {epoch} is held by peer {}", peer + 1);
        }
        for message in state.sent.iter().filter(|message| !message.is_lost) {
            let _ = writeln!(text, "under way, peer {}: {}", message.peer + 1, message.label());
        }
        let State { timers, crashes, cuts, .. } = state;
        let link = if state.is_cut { "cut" } else { "up" };
        let _ = writeln!(text, "link of peer 1: {link}");
        let _ = writeln!(text, "left: {timers} timers, {crashes} crashes, {cuts} cuts");
        let _ = match &state.violation {
            None => write!(text, "holds: S1, S2"),
            Some(violation) => write!(text, "violated: {violation}"),
        };
        text
    }

    fn lanes(&self, _: &State) -> Vec<Lane> {
        let lane = |name: &str, kind| Lane { name: name.to_owned(), kind };
        vec![lane("peer 1", LaneKind::Peer), lane("peer 2", LaneKind::Peer), lane("the ledger", LaneKind::Ledger)]
    }

    fn marks(&self, before: &State, action: &Action, after: &State) -> Vec<Mark> {
        let mut marks = Vec::new();
        match *action {
            Action::Fire(at) => marks.push(Mark::Timer { at, label: "election timer".to_owned() }),
            Action::Deliver(nth) => {
                marks.push(Mark::Arrived { at: before.sent[nth].to(), message: nth as u64 });
                if after.log.len() > before.log.len() {
                    marks.push(Mark::Happened { at: LEDGER, label: "write and sync".to_owned() });
                }
            }
            Action::Lose(nth) => marks.push(Mark::Lost { message: nth as u64 }),
            Action::Crash(at) => marks.push(Mark::Crashed { at }),
            Action::Restart(at) => marks.push(Mark::Restarted { at }),
            Action::Cut => marks.push(Mark::Cut { from: 0, to: LEDGER }),
            Action::Heal => marks.push(Mark::Healed { from: 0, to: LEDGER }),
        }
        for at in 0..2 {
            match (before.peers[at], after.peers[at]) {
                (was, Peer::Trader(epoch)) if was != Peer::Trader(epoch) => {
                    marks.push(Mark::TookOffice { at, epoch });
                }
                (Peer::Trader(_), Peer::Idle) => {
                    marks.push(Mark::LeftOffice { at, label: "steps down".to_owned() });
                }
                (_, Peer::Idle | Peer::Trader(_) | Peer::Down) => {}
            }
        }
        for (nth, message) in after.sent.iter().enumerate().skip(before.sent.len()) {
            let (from, to) = (message.from(), Some(message.to()));
            marks.push(Mark::Sent { from, to, message: nth as u64, label: message.label() });
        }
        if let Some(violation) = &after.violation {
            marks.push(Mark::Violated { at: Some(LEDGER), label: violation.to_string() });
        }
        marks
    }
}
