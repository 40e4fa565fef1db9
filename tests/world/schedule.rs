//! What a schedule is made of, how it is drawn, and what each action does.

use bazaar_protocol::{
    id::PeerId,
    input::Input,
    invariant::Checked,
    ledger::{LedgerCall, LedgerRequest},
};
use proptest::prelude::*;

use super::World;

/// One thing that a schedule can do. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Let so many things happen in fair order, without time passing.
    Flow(u8),
    /// The same, while the ledger's disk hangs.
    FlowAside(u8),
    /// Fire the timer that is due first.
    Tick,
    /// Fire any armed timer, however early.
    Fire(u16),
    /// Deliver any envelope, in whatever order.
    Deliver(u16),
    /// Lose an envelope.
    Drop(u16),
    /// Duplicate an envelope.
    Double(u16),
    /// Something that was delivered long ago arrives once more.
    Replay(u16),
    /// Any call reaches the ledger.
    Call(u16),
    /// Any reply reaches its peer.
    Reply(u16),
    /// Lose a call.
    DropCall(u16),
    /// Lose a reply.
    DropReply(u16),
    /// A call reaches the ledger once more, however late.
    ReplayCall(u16),
    /// A reply arrives once more, however late.
    ReplayReply(u16),
    /// The ledger's disk makes progress: write, then sync, then report.
    Persist,
    /// The ledger's store answers a read, whatever else is happening.
    Read(u16),
    /// The lease timer fires, however early.
    Lease,
    /// A peer's disk makes progress.
    Written(u16),
    /// A peer's choice is answered.
    Choose(u16),
    /// A link is cut, in one direction or both.
    Cut { link: u16, both: bool, told: bool },
    /// A cut is healed.
    Heal { link: u16, told: bool },
    /// A peer learns whether its link to a neighbour is up.
    Report { link: u16 },
    /// A peer is told that a link is down although it is not (a connection was reset).
    Reset { link: u16 },
    /// A peer stops, one time in three the one in office; so many of its unfinished writes survive.
    Crash { peer: u16, survive: u8, told: bool },
    /// A peer that stopped starts again.
    Restart { peer: u16 },
    /// A peer does nothing for a while.
    Pause { peer: u16 },
    /// A paused peer resumes.
    Resume { peer: u16 },
    /// The ledger stops; so many of its unsynced batches survive. `midway`: in the middle of writing what it was called
    /// for, if anybody calls for something.
    LedgerCrash { kept: u8, midway: bool },
    /// The ledger starts again.
    LedgerRestart,
    /// The store takes a snapshot.
    Snapshot,
    /// A peer can no longer reach the ledger.
    LedgerCut { peer: u16, told: bool },
    /// A peer can reach the ledger again.
    LedgerHeal { peer: u16, told: bool },
}

/// How a schedule ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// All faults stop, and everybody recovers.
    Recovery,
    /// An old image of the ledger, with so many of its batches, is put back while it is down. The peers whose bits are
    /// set restart meanwhile.
    PutBack { batches: u16, restarts: u8 },
}

pub fn endings() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => Just(Ending::Recovery),
        1 => any::<(u16, u8)>().prop_map(|(batches, restarts)| Ending::PutBack { batches, restarts }),
    ]
}

/// How rough a schedule is: the weight of faults against progress.
#[derive(Clone, Copy, Debug)]
pub struct Roughness {
    pub network: u32,
    pub crashes: u32,
    pub order: u32,
}

pub fn actions(rough: Roughness) -> impl Strategy<Value = Action> {
    let (n, c, o) = (rough.network, rough.crashes, rough.order);
    let (any, flag) = (any::<u16>, any::<bool>);
    let steps = prop_oneof![
        40 => (1..60_u8).prop_map(Action::Flow),
        5 => (1..60_u8).prop_map(Action::FlowAside),
        30 => Just(Action::Tick),
        o => any().prop_map(Action::Fire),
        2 * o => any().prop_map(Action::Deliver),
        2 * o => any().prop_map(Action::Call),
        o => any().prop_map(Action::Reply),
        3 * o => Just(Action::Persist),
        2 * o => any().prop_map(Action::Read),
        o => any().prop_map(Action::Written),
        o => any().prop_map(Action::Choose),
    ];
    let network = prop_oneof![
        3 => any().prop_map(Action::Drop),
        3 => any().prop_map(Action::Double),
        4 => any().prop_map(Action::Replay),
        2 => any().prop_map(Action::DropCall),
        2 => any().prop_map(Action::DropReply),
        3 => any().prop_map(Action::ReplayCall),
        3 => any().prop_map(Action::ReplayReply),
        2 => (any(), flag(), flag()).prop_map(|(link, both, told)| Action::Cut { link, both, told }),
        3 => (any(), flag()).prop_map(|(link, told)| Action::Heal { link, told }),
        2 => any().prop_map(|link| Action::Report { link }),
        1 => any().prop_map(|link| Action::Reset { link }),
        2 => (any(), flag()).prop_map(|(peer, told)| Action::LedgerCut { peer, told }),
        3 => (any(), flag()).prop_map(|(peer, told)| Action::LedgerHeal { peer, told }),
    ];
    let crashes = prop_oneof![
        3 => (any(), 0..3_u8, flag()).prop_map(|(peer, survive, told)| Action::Crash { peer, survive, told }),
        4 => any().prop_map(|peer| Action::Restart { peer }),
        2 => any().prop_map(|peer| Action::Pause { peer }),
        3 => any().prop_map(|peer| Action::Resume { peer }),
        2 => (0..2_u8, flag()).prop_map(|(kept, midway)| Action::LedgerCrash { kept, midway }),
        3 => Just(Action::LedgerRestart),
        2 => Just(Action::Snapshot),
        2 => Just(Action::Lease),
    ];
    prop_oneof![100 => steps, n => network, c => crashes]
}

impl World {
    pub fn end(&mut self, ending: Ending) -> Checked {
        self.tell(|| format!("# {ending:?}"));
        match ending {
            Ending::Recovery => self.converge(),
            Ending::PutBack { batches, restarts } => self.notice(batches, restarts),
        }
    }

    pub fn act(&mut self, action: Action) -> Checked {
        self.tell(|| format!("# {action:?}"));
        match action {
            Action::Flow(n) => {
                for _ in 0..n {
                    if !self.flow()? {
                        break;
                    }
                }
            }
            Action::FlowAside(n) => {
                for _ in 0..n {
                    if !self.flow_aside()? {
                        break;
                    }
                }
            }
            Action::Tick => drop(self.tick()?),
            Action::Fire(n) => {
                let mut armed: Vec<_> = self.armed().collect();
                armed.sort();
                if let Some((_, id, timer)) = one(armed, n) {
                    self.fire(id, timer)?;
                }
            }
            Action::Deliver(n) => {
                let is_ready = |(_, flying): &(usize, &super::Flying)| !self.is_paused(flying.to);
                let ready = self.envelopes.iter().enumerate().filter(is_ready);
                if let Some(nth) = one(ready.map(|(nth, _)| nth), n) {
                    self.deliver(nth)?;
                }
            }
            Action::Drop(n) => self.envelopes.lose(n),
            Action::Double(n) => {
                let is_doubled = self.envelopes.double(n);
                self.count_duplicate(is_doubled);
            }
            Action::Replay(n) => {
                let is_again = self.envelopes.again(n);
                self.count_duplicate(is_again);
                let to = self.envelopes.iter().last().map(|flying| flying.to);
                if is_again && to.is_some_and(|to| !self.is_paused(to)) {
                    self.deliver(self.envelopes.len() - 1)?;
                }
            }
            Action::Call(n) => {
                if let Some(nth) = one(0..self.calls.len(), n) {
                    self.call(nth)?;
                }
            }
            Action::Reply(n) => {
                let replies = self.replies.iter().enumerate();
                let ready = replies.filter(|(_, reply)| !self.is_paused(reply.word.to.peer)).map(|(nth, _)| nth);
                if let Some(nth) = one(ready, n) {
                    self.reply(nth)?;
                }
            }
            Action::DropCall(n) => self.calls.lose(n),
            Action::DropReply(n) => self.replies.lose(n),
            Action::ReplayCall(n) => {
                let is_again = self.calls.again(n);
                self.count_duplicate(is_again);
                if is_again {
                    self.call(self.calls.len() - 1)?;
                }
            }
            Action::ReplayReply(n) => {
                let is_again = self.replies.again(n);
                self.count_duplicate(is_again);
                let to = self.replies.iter().last().map(|reply| reply.word.to.peer);
                if is_again && to.is_some_and(|to| self.acts(to)) {
                    self.reply(self.replies.len() - 1)?;
                }
            }
            Action::Persist => drop(self.persist()?),
            Action::Read(n) => {
                if let Some(nth) = one(0..self.ledger.reads().len(), n) {
                    self.answer_read(nth)?;
                }
            }
            Action::Lease => self.end_lease(),
            Action::Written(n) => {
                let writes = |id: &PeerId| self.acts(*id) && !self.nodes[id.0 as usize].writes.is_empty();
                if let Some(id) = one(self.ids().filter(writes), n) {
                    self.written(id)?;
                }
            }
            Action::Choose(n) => {
                let chooses = |id: &PeerId| self.acts(*id) && !self.nodes[id.0 as usize].choices.is_empty();
                if let Some(id) = one(self.ids().filter(chooses), n) {
                    self.chosen(id, 0, u32::from(n))?;
                }
            }
            Action::Cut { link, both, told } => {
                if let Some((a, b)) = one(self.directed_links(), link) {
                    self.cut.insert((a, b));
                    if both {
                        self.cut.insert((b, a));
                    }
                    self.report_both(told, a, b)?;
                }
            }
            Action::Heal { link, told } => {
                if let Some((a, b)) = one(self.cut.iter().copied(), link) {
                    self.cut.remove(&(a, b));
                    self.cut.remove(&(b, a));
                    self.report_both(told, a, b)?;
                }
            }
            Action::Report { link } => {
                if let Some((a, b)) = one(self.directed_links(), link) {
                    self.report(a, b)?;
                }
            }
            Action::Reset { link } => {
                if let Some((a, b)) = one(self.directed_links(), link).filter(|(a, _)| self.acts(*a)) {
                    self.give(a, Input::LinkDown(b))?;
                }
            }
            Action::Crash { peer, survive, told } => {
                let holder = self.observer.log().books().term().map(|term| term.holder.peer);
                let id = holder.filter(|_| peer % 3 == 0).unwrap_or(self.nth_id(peer));
                self.crash(id, survive as usize);
                for neighbour in self.setup.neighbours(id).into_iter().filter(|_| told) {
                    self.report(neighbour, id)?;
                }
            }
            Action::Restart { peer } => {
                if let Some(id) = one(self.ids().filter(|id| self.peer(*id).is_none()), peer) {
                    self.start(id)?;
                    for neighbour in self.setup.neighbours(id) {
                        self.report_both(true, id, neighbour)?;
                    }
                }
            }
            Action::Pause { peer } => {
                let id = self.nth_id(peer);
                self.node(id).paused = true;
            }
            Action::Resume { peer } => {
                if let Some(id) = one(self.ids().filter(|id| self.is_paused(*id)), peer) {
                    self.node(id).paused = false;
                }
            }
            Action::LedgerCrash { kept, midway } => {
                if midway {
                    self.go_on_until_it_writes()?;
                }
                self.crash_ledger(kept as usize)?;
            }
            Action::LedgerRestart => {
                if self.ledger.machine().is_none() {
                    self.start_ledger()?;
                }
            }
            Action::Snapshot => self.ledger.take_snapshot(),
            Action::LedgerCut { peer, told } => {
                let id = self.nth_id(peer);
                self.node(id).reaches_ledger = false;
                if told {
                    self.give(id, Input::LedgerDown)?;
                }
            }
            Action::LedgerHeal { peer, told } => {
                let away = self.ids().filter(|id| !self.nodes[id.0 as usize].reaches_ledger);
                if let Some(id) = one(away, peer) {
                    self.node(id).reaches_ledger = true;
                    if told {
                        self.give(id, Input::LedgerUp)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count_duplicate(&mut self, is_one: bool) {
        self.stats.add("duplicates", usize::from(is_one));
    }

    fn report_both(&mut self, told: bool, a: PeerId, b: PeerId) -> Checked {
        if told {
            self.report(a, b)?;
            self.report(b, a)?;
        }
        Ok(())
    }

    /// Until the ledger has written something that is not durable yet, but only for a while.
    fn go_on_until_it_writes(&mut self) -> Checked {
        let writes =
            |call: &LedgerCall| matches!(&call.request, LedgerRequest::Append(batch) if !batch.records.is_empty());
        for _ in 0..40 {
            if self.ledger.is_unsynced() {
                break;
            }
            match self.calls.iter().position(writes) {
                Some(nth) if !self.ledger.is_writing() => self.call(nth)?,
                Some(_) | None if self.flow()? => {}
                Some(_) | None => drop(self.tick()?),
            }
        }
        Ok(())
    }
}

fn one<T>(all: impl IntoIterator<Item = T>, pick: u16) -> Option<T> {
    let all: Vec<T> = all.into_iter().collect();
    let nth = usize::from(pick).checked_rem(all.len())?;
    all.into_iter().nth(nth)
}
