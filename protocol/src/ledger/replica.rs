//! A ledger's process over a store that others write to as well: an existing replicated engine, to which an append is
//! one transaction, a compare-and-set on the end of the log (SPEC J3).
//!
//! ```text
//! time  process A                 store                        process B
//!  1    Append{onto 7, [a]} ---->
//!  2                              the log ends at 7: written, and ends at 8
//!  3    <---- no answer in time: Unknown
//!  4                                                       <---- append(2, 7, [claim]) of a peer
//!  5                              <------------------------------ Append{onto 7, [claim]}
//!  6                              it ends at 8 --------------->   Refused{8}: Conflict, to be answered at once
//!  7    Append{onto 7, [a]} ---->
//!  8    <---- Refused{8}: the last batch is this very one, so it is Appended
//! ```
//!
//! # Why nobody is told what is no longer so
//!
//! What this process knows of the log may be old: others write, too. So it is good for one thing only, to plan a
//! transaction, which compares the end of the log with it and is refused if that is no longer so. Every other answer is
//! drawn from a linearizable look at the store, or from a transaction, that was begun after the call came: one that is
//! written shows where the log ends as well as one that is refused. So where appends come in one after the other, no
//! question costs a look of its own, and no append waits for one. While the outcome of a transaction is unknown nothing
//! else is planned and nobody is answered; the same transaction is tried again until the store says what became of it, or
//! declines it (DESIGN R2).
//!
//! # The lease
//!
//! Whether a term is being renewed is a matter of liveness only, and needs no look: processes give each other
//! [signs](Sign), and each counts time from the last one that it was given.

use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CallId, HighWaterMark, LedgerCall, LedgerConfig, LedgerFault, LedgerReply, LedgerRequest, LedgerStatus, Tail,
    Verdict, Word,
    judge::{Asker, Compared, Judge, Ruling},
};
use crate::{
    id::{Epoch, Life, Position},
    record::Batch,
    snapshot::ChunkId,
};

/// What the store holds, as a linearizable look or a refused transaction found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Found {
    /// The log of this run, which ends here.
    Tail(Tail),
    /// No run, or another one. It was wiped, or it is another store.
    Foreign,
    /// This run, and an end of the log that cannot be read. Another version has written it, or somebody else.
    Unreadable,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out, and is durable.
    Written,
    /// It was not carried out: the log does not end where it was to be continued. This is what was there instead, read
    /// in the same transaction.
    Refused(Found),
    /// The store takes no such batch at the moment, since it is full, or never, since the batch is too large for it. This
    /// attempt will not be carried out any more, but may have been before the store said this (an earlier one, whose outcome
    /// is unknown, may yet be). So this is what a linearizable look found that was begun afterwards.
    Declined(Found),
    /// Nobody can say. It may have been carried out, may yet be, or never.
    Unknown,
}

/// What ledger processes tell each other of a term. Signs may be lost and come late; no safety property depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sign {
    /// The holder of this epoch has renewed its term.
    Renewed(Epoch),
    /// Another peer has claimed in vain while the term of this epoch was being renewed.
    Contested(Epoch),
}

/// What can happen to a ledger's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaInput {
    /// A call from a peer.
    Call {
        /// The driver's id for the call.
        id: CallId,
        /// The call itself.
        call: LedgerCall,
    },
    /// What the last [`ReplicaEffect::Look`] found.
    Looked(Found),
    /// What became of the last [`ReplicaEffect::Append`].
    Settled(Outcome),
    /// Another process has given a sign. What this one has given, its driver keeps from it.
    Sign(Sign),
    /// Somebody has appended, perhaps this process, and then the log ended here.
    Appended(Tail),
    /// It sees signs and appends from now on.
    WatchBegun,
    /// It no longer sees signs and appends. A term counts as renewed for as long as that lasts, so a driver that cannot
    /// bring it to an end in time should take no more calls: their callers turn to another process.
    WatchLost,
    /// The lease timer has fired.
    LeaseFired,
}

/// What a ledger's process wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaEffect {
    /// Look what the store holds, linearizably, beginning now; look again until it answers, then report
    /// [`ReplicaInput::Looked`]. At most one look or append is in progress.
    Look,
    /// One transaction: if the store holds this run, and its log ends at `onto`, write `batch` and its end; otherwise
    /// read what it holds. Report [`ReplicaInput::Settled`]. While it is certain that nothing has reached the store, try
    /// again; after [`Outcome::Unknown`] this asks for the same once more, so pause before it. Two attempts can do no more
    /// than one: the log does not end at `onto` any more when the first was carried out.
    Append {
        /// Where the log must end, for the batch to be written.
        onto: Tail,
        /// The batch.
        batch: Batch,
    },
    /// Answer a call.
    Reply {
        /// The call to answer.
        id: CallId,
        /// The reply to it.
        reply: LedgerReply,
    },
    /// Answer a read with what the store holds below `word.status.head`, at one moment at which it holds this run, and its
    /// log reaches that far. If there is no such moment, or a newer snapshot has taken the place of some of it, the call is
    /// not answered, and its caller will ask again.
    Read {
        /// The call to answer.
        id: CallId,
        /// What the reply says in any case.
        word: Word,
        /// The first position wanted.
        from: Position,
        /// The chunk of a snapshot to continue with; `None` to begin.
        chunk: Option<ChunkId>,
    },
    /// Give all processes a sign.
    Give(Sign),
    /// Start the lease timer afresh.
    ArmLease(Duration),
    /// Too many calls are waiting, or the store has declined an append. The call is not answered; its caller will ask again.
    Drop(CallId),
    /// As [`LedgerEffect::Refuse`](super::LedgerEffect::Refuse).
    Refuse(CallId),
    /// Acknowledged records are gone. The process no longer answers anything, and its operator must investigate.
    Fail(ReplicaFault),
}

/// Why a ledger's process has stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaFault {
    /// A peer has seen more than the store holds.
    Gone(LedgerFault),
    /// The store held more a while ago, or something else.
    Shrunk {
        /// What this process has seen in it.
        seen: HighWaterMark,
        /// What it holds.
        holds: HighWaterMark,
    },
    /// The store does not hold this run.
    Foreign,
    /// The end of the log that the store holds cannot be read.
    Unreadable,
}

/// The machine of a ledger's process over a replicated store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replica {
    judge: Judge,
    /// Whether it sees what other processes do.
    watches: bool,
    state: State,
}

/// Calls, in the order in which they came.
type Queue = VecDeque<(CallId, LedgerCall)>;

/// Those who are `asking` are answered by what is under way, and had called before it began; those who are `waiting` called
/// later, so that it may show them what is no longer so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Ready,
    /// A look is under way.
    Looking {
        asking: Queue,
        waiting: Queue,
        /// Where the log ended that was known when it began. It may find no more than that, though more is known by now.
        known: Tail,
    },
    /// A transaction is under way, or its outcome is unknown.
    Appending {
        append: Append,
        asking: Queue,
        waiting: Queue,
    },
    Failed,
}

/// An append that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Append {
    id: CallId,
    asker: Asker,
    seen: HighWaterMark,
    batch: Batch,
    /// Where the log must end.
    onto: Tail,
}

impl Append {
    /// The call that led to it.
    fn into_call(self) -> (CallId, LedgerCall) {
        let Append { id, asker: Asker { caller, heard }, seen, batch, onto: _ } = self;
        (id, LedgerCall { caller, seen, heard, request: LedgerRequest::Append(batch) })
    }
}

impl Replica {
    /// A process that knows nothing yet, and looks.
    #[must_use]
    pub fn start(config: LedgerConfig) -> (Replica, Vec<ReplicaEffect>) {
        let state = State::Looking { asking: Queue::new(), waiting: Queue::new(), known: Tail::default() };
        let replica = Replica { judge: Judge::over(config, Tail::default()), watches: false, state };
        (replica, alloc::vec![ReplicaEffect::Look])
    }

    /// The state of the fence when this process last heard of it. It is durable, and may be old: nobody must be told of it
    /// who has not called.
    #[must_use]
    pub fn known_status(&self) -> LedgerStatus {
        self.judge.status()
    }

    /// Whether a claim would meet `LeaseActive` here.
    #[must_use]
    pub fn is_lease_active(&self) -> bool {
        self.judge.is_live()
    }

    /// Whether it found acknowledged records to be gone; it then no longer answers anything.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// The append that it has put to the store and that is not settled: who asks for it, and the batch.
    #[must_use]
    pub fn appending(&self) -> Option<(Life, &Batch)> {
        match &self.state {
            State::Appending { append, .. } => Some((append.asker.caller, &append.batch)),
            State::Ready | State::Looking { .. } | State::Failed => None,
        }
    }

    /// How many calls wait for the store.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.state {
            State::Looking { asking, waiting, .. } | State::Appending { asking, waiting, .. } => {
                asking.len().saturating_add(waiting.len())
            }
            State::Ready | State::Failed => 0,
        }
    }

    /// Takes one input. Cannot fail; there is an answer to anything a peer can send.
    pub fn step(&mut self, input: ReplicaInput) -> Vec<ReplicaEffect> {
        let mut step = Step { replica: self, effects: Vec::new() };
        if !step.replica.has_failed() {
            step.take(input);
        }
        step.effects
    }
}

/// One step in progress.
struct Step<'a> {
    replica: &'a mut Replica,
    effects: Vec<ReplicaEffect>,
}

impl Step<'_> {
    fn take(&mut self, input: ReplicaInput) {
        match input {
            ReplicaInput::Call { id, call } => self.on_call(id, call),
            ReplicaInput::Looked(found) => self.on_looked(found),
            ReplicaInput::Settled(outcome) => self.on_settled(outcome),
            ReplicaInput::Sign(sign) => self.on_sign(sign),
            ReplicaInput::Appended(tail) => self.on_appended(tail),
            ReplicaInput::WatchBegun => {
                self.replica.watches = true;
                self.renew();
            }
            // From now on it does not see what others renew.
            ReplicaInput::WatchLost => {
                self.replica.watches = mutant!(false; BlindLeaseRunsOut => self.replica.watches);
                self.renew();
            }
            ReplicaInput::LeaseFired if self.replica.watches => self.replica.judge.run_out(),
            ReplicaInput::LeaseFired => {}
        }
    }

    // Calls.

    fn on_call(&mut self, id: CallId, call: LedgerCall) {
        if Judge::is_absurd(&call) {
            return self.effects.push(ReplicaEffect::Refuse(id));
        }
        let has_room = self.replica.waiting() < self.replica.judge.config.limits.waiting_calls as usize;
        match &mut self.replica.state {
            State::Ready => self.begin(Queue::from([(id, call)])),
            State::Looking { .. } | State::Appending { .. } if mutant!(!has_room; QueueWithoutBound => false) => {
                self.effects.push(ReplicaEffect::Drop(id));
            }
            // What the look finds may be older than this call.
            State::Looking { asking: _asking, waiting, .. } => {
                mutant!(waiting; LateCallJoinsLook => _asking).push_back((id, call));
            }
            // So may the transaction, whatever becomes of it.
            State::Appending { asking: _asking, waiting, .. } => {
                mutant!(waiting; LateCallJoinsAppend => _asking).push_back((id, call));
            }
            State::Failed => {}
        }
    }

    /// Begins with these calls, when nothing is asked of the store: with the first batch of them, if it leads to an append,
    /// which shows the others where the log ends; or with a look. No batch goes before one that came earlier, so that no
    /// claim is granted that a renewal before it keeps out.
    fn begin(&mut self, calls: Queue) {
        self.replica.state = State::Ready;
        let mut asking = mutant!(calls; AnswersFromMemory | FenceFromMemory => self.answer_from_memory(calls));
        let is_batch =
            |(_, (_, call)): &(usize, &(CallId, LedgerCall))| matches!(call.request, LedgerRequest::Append(_));
        let first = asking.iter().enumerate().find(is_batch);
        let planned = first.and_then(|(at, (id, call))| Some((at, self.planned(*id, call)?)));
        if let Some((at, append)) = planned {
            asking.remove(at);
            self.attempt(append, asking);
        } else if !asking.is_empty() {
            let known = self.replica.judge.durable;
            self.replica.state = State::Looking { asking, waiting: Queue::new(), known };
            self.effects.push(ReplicaEffect::Look);
        }
    }

    /// The append that a call leads to if, as far as is known here, it must be put to the store. If that is old, the store
    /// refuses it.
    fn planned(&self, id: CallId, call: &LedgerCall) -> Option<Append> {
        let judge = &self.replica.judge;
        let LedgerRequest::Append(batch) = &call.request else { return None };
        let is_to_be_written = !judge.is_behind(call.seen) && judge.clone().rule(call.caller, batch).verdict.is_none();
        is_to_be_written.then(|| Append {
            id,
            asker: Asker::of(call),
            seen: call.seen,
            batch: batch.clone(),
            onto: judge.durable,
        })
    }

    // Looks.

    fn on_looked(&mut self, found: Found) {
        let (asking, waiting, known) = match &mut self.replica.state {
            State::Looking { asking, waiting, known } => (core::mem::take(asking), core::mem::take(waiting), *known),
            State::Ready | State::Appending { .. } | State::Failed => return,
        };
        self.replica.state = State::Ready;
        if self.learn(found, known) {
            self.answer_all(asking, waiting);
        }
    }

    /// Answers from what has just been found those who are `asking`, and begins with whoever is left and with those who are
    /// `waiting`.
    fn answer_all(&mut self, asking: Queue, mut waiting: Queue) {
        let mut unwritten = Queue::new();
        for (id, call) in asking {
            if !self.answer(id, &call) {
                unwritten.push_back((id, call));
            }
            if self.replica.has_failed() {
                return;
            }
        }
        unwritten.append(&mut waiting);
        self.begin(unwritten);
    }

    /// Answers a call from what has just been found. `false`: it leads to an append, which must be put to the store.
    fn answer(&mut self, id: CallId, call: &LedgerCall) -> bool {
        let asker = Asker::of(call);
        if !self.covers(id, call.caller, call.seen) {
            return true;
        }
        match &call.request {
            LedgerRequest::Status => {
                let reply = self.replica.judge.shown(asker);
                self.effects.push(ReplicaEffect::Reply { id, reply });
            }
            LedgerRequest::Read { from, chunk } => {
                let word = self.replica.judge.word(asker, self.replica.known_status());
                self.effects.push(ReplicaEffect::Read { id, word, from: *from, chunk: *chunk });
            }
            LedgerRequest::Append(batch) => {
                let ruling = self.replica.judge.rule(asker.caller, batch);
                if ruling.verdict.is_none() {
                    return false;
                }
                self.settle(id, asker, batch, ruling, false);
            }
        }
        true
    }

    /// Whether the books hold what a caller has seen. If they do not, its call is refused, or all is over.
    fn covers(&mut self, id: CallId, caller: Life, seen: HighWaterMark) -> bool {
        match self.replica.judge.compare(caller, seen) {
            Compared::Covered => return true,
            Compared::MadeUp => self.effects.push(ReplicaEffect::Refuse(id)),
            Compared::Gone(fault) => self.fail(ReplicaFault::Gone(fault)),
        }
        false
    }

    // Appends.

    /// Puts an append to the store, once more if it was there before.
    fn attempt(&mut self, append: Append, asking: Queue) {
        self.effects.push(ReplicaEffect::Append { onto: append.onto, batch: append.batch.clone() });
        self.replica.state = State::Appending { append, asking, waiting: Queue::new() };
    }

    fn on_settled(&mut self, outcome: Outcome) {
        let (append, mut asking, waiting) = match core::mem::replace(&mut self.replica.state, State::Ready) {
            State::Appending { append, asking, waiting } => (append, asking, waiting),
            other @ (State::Ready | State::Looking { .. } | State::Failed) => {
                self.replica.state = other;
                return;
            }
        };
        let own = append.onto.after(&append.batch);
        let found = match outcome {
            Outcome::Written => Found::Tail(own),
            Outcome::Refused(found) | Outcome::Declined(found) => found,
            Outcome::Unknown => {
                mutant!(UnknownIsRefused => return self.take_for_refused(append, asking, waiting));
                mutant!(UnknownForgotten => return self.forget(append, asking, waiting));
                // Whoever has called by now called before it is tried again.
                asking.extend(waiting);
                return self.attempt(append, asking);
            }
        };
        if found == Found::Tail(own) {
            let ruling = self.replica.judge.written(&append.batch);
            self.settle(append.id, append.asker, &append.batch, ruling, outcome == Outcome::Written);
        } else if !self.learn(found, append.onto) {
            return;
        } else if matches!(outcome, Outcome::Declined(_)) && found == Found::Tail(append.onto) {
            // An earlier attempt, of which nothing is known, may still be carried out. Its caller asks again, after a pause.
            mutant!(DeclinedIsRefused => return self.take_for_refused(append, asking, waiting));
            self.effects.push(ReplicaEffect::Drop(append.id));
        } else {
            asking.push_front(append.into_call());
        }
        self.answer_all(asking, waiting);
    }

    /// Answers an append. `is_new`: the others see by themselves that it was written just now.
    fn settle(&mut self, id: CallId, asker: Asker, batch: &Batch, ruling: Ruling, is_new: bool) {
        let Ruling { verdict, lease } = ruling;
        self.arm(lease);
        let Some(verdict) = verdict else { return };
        // A renewal, a batch that is sent again or a claim that was kept out leaves no trace in the log.
        let epoch = self.replica.known_status().epoch();
        let sign = match verdict {
            Verdict::Appended { .. } if !is_new => {
                mutant!(Some(Sign::Renewed(epoch)); RenewalNotTold => None)
            }
            Verdict::LeaseActive => mutant!(Some(Sign::Contested(epoch)); ContestedNotTold => None),
            Verdict::Appended { .. } | Verdict::Fenced | Verdict::Conflict => None,
        };
        self.effects.extend(sign.map(ReplicaEffect::Give));
        let reply = self.replica.judge.settled(asker, batch, verdict);
        self.effects.push(ReplicaEffect::Reply { id, reply });
    }

    // What the store holds, and what others do.

    /// Takes note of what the store held after a moment at which its log was `known` to end there. `false`: it has lost
    /// something, and all is over.
    fn learn(&mut self, found: Found, known: Tail) -> bool {
        match found {
            Found::Foreign => self.fail(ReplicaFault::Foreign),
            Found::Unreadable => self.fail(ReplicaFault::Unreadable),
            Found::Tail(tail) if is_another(tail, known) => {
                let secret = self.replica.judge.config.secret;
                let (seen, holds) = (known.status.seen(secret), tail.status.seen(secret));
                self.fail(ReplicaFault::Shrunk { seen, holds });
            }
            Found::Tail(tail) => self.advance(tail),
        }
        !self.replica.has_failed()
    }

    /// Somebody has appended. Whatever comes in the way of an append of its own, a process learns from the outcome.
    fn on_appended(&mut self, tail: Tail) {
        if !matches!(self.replica.state, State::Appending { .. }) {
            self.advance(tail);
        }
    }

    /// The log ended here at some moment.
    fn advance(&mut self, tail: Tail) {
        let known = self.replica.judge.durable;
        // Another log is noticed by the next look.
        let is_further = tail.status.head > known.status.head && !is_another(tail, known);
        if mutant!(is_further; ShrunkLogServed => tail != known) {
            let lease = self.replica.judge.advance(tail);
            self.arm(lease);
        }
    }

    fn on_sign(&mut self, sign: Sign) {
        let latest = self.replica.known_status().epoch();
        match sign {
            Sign::Renewed(epoch) if epoch == latest => {
                let lease = self.replica.judge.renewed_elsewhere();
                self.arm(lease);
            }
            Sign::Contested(epoch) if epoch == latest => self.replica.judge.contest(),
            // Of another term; what this process does not know yet, it learns from the log.
            Sign::Renewed(_) | Sign::Contested(_) => {}
        }
    }

    fn renew(&mut self) {
        let lease = self.replica.judge.renew();
        self.arm(lease);
    }

    fn arm(&mut self, lease: Option<Duration>) {
        self.effects.extend(lease.map(ReplicaEffect::ArmLease));
    }

    fn fail(&mut self, fault: ReplicaFault) {
        self.replica.state = State::Failed;
        self.effects.push(ReplicaEffect::Fail(fault));
    }
}

/// Whether a log that ends like this cannot be the same as one that was known to end like that, or what came of it.
fn is_another(tail: Tail, known: Tail) -> bool {
    let (now, then) = (tail.status, known.status);
    // An epoch that was granted is in every longer log. Where a log was known to end, a batch ends for ever; if only one has
    // come since, that is seen by its chain, and of more than one it is not known.
    let is_continued = tail.last.is_some_and(|last| {
        last.position > then.head || (last.position == then.head && tail.chain == known.chain_with(last.digest))
    });
    let is_it = now.epoch() >= then.epoch() && (tail == known || (now.head > then.head && is_continued));
    mutant!(!is_it; ShrunkLogServed => false)
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
