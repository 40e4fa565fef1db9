//! The office: claiming it, holding it, leaving it. Here the election's hint meets the ledger's authority (DESIGN 3).
//!
//! ```text
//!          Stand               head read              Appended
//!   Out ----------> Reading -------------> Claiming -----------> Holding
//!    ^                 ^----- Conflict -------/                     |
//!    \------ Yield, Fenced, LeaseActive or silent for too long, resigned --/
//! ```
//!
//! Who stepped down never takes that term up again: the state that knew its batch in flight is gone, so a reply that
//! comes later settles nothing (DESIGN R2).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    books::Books,
    clock::Clock,
    config::{Limits, Terms, Timeouts},
    effect::{Departure, Note},
    election::Eligibility,
    id::{Epoch, Life, PeerId, Position},
    input::Timer,
    ledger::{Echo, HighWaterMark, LedgerAnswer, LedgerReply, LedgerRequest, LedgerStatus, Verdict},
    message::{ClientMessage, TraderMessage},
    reading::Reading,
    record::{Batch, Entry, Record},
    snapshot::ChunkId,
    trader::Trader,
};

/// The timers of an office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeTimer {
    /// The ledger has not answered; ask again.
    Retry,
    /// The ledger has not answered for so long that the office is given up (SPEC B9).
    GiveUp,
    /// The trader renews its term and shows that it lives.
    Renewal,
}

impl From<OfficeTimer> for Timer {
    fn from(timer: OfficeTimer) -> Timer {
        match timer {
            OfficeTimer::Retry => Timer::LedgerRetry,
            OfficeTimer::GiveUp => Timer::LedgerGiveUp,
            OfficeTimer::Renewal => Timer::Renewal,
        }
    }
}

/// What can happen to an office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeInput {
    /// The peer has started.
    Started,
    /// The election says: take office.
    Stand,
    /// The election says: leave it.
    Yield,
    /// The ledger can be reached.
    LedgerUp,
    /// The ledger cannot be reached.
    LedgerDown,
    /// The ledger answers.
    Reply(LedgerReply),
    /// Somebody names an epoch. Whoever does has it from its durable claim; a short term may send nothing else.
    Heard(Epoch),
    /// The trader of an epoch lives, and tells of durable books.
    Heartbeat {
        /// The trader.
        from: PeerId,
        /// Its epoch, and a durable head.
        seen: HighWaterMark,
    },
    /// One of its timers fires.
    Fired(OfficeTimer),
    /// A client says something.
    Client(PeerId, ClientMessage),
}

/// What an office wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeEffect {
    /// Ask the ledger.
    Ask(LedgerRequest),
    /// Say this to a client. All of it is durable.
    Tell(PeerId, TraderMessage),
    /// Say to everybody that the trader of this epoch lives.
    Heartbeat {
        /// Its epoch.
        epoch: Epoch,
        /// A durable head.
        head: Position,
    },
    /// The office is held from here on.
    Granted(Epoch),
    /// The office is left, or is not to be had.
    Vacated {
        /// The epoch that was given back.
        resigned: Option<Epoch>,
    },
    /// Whether this peer may stand.
    Eligibility(Eligibility),
    /// The trader of this epoch lives; what that means for this office has been said before.
    LeaderLives {
        /// Its epoch.
        epoch: Epoch,
        /// Who it is.
        leader: PeerId,
    },
    /// Start a timer afresh.
    Arm(OfficeTimer, core::time::Duration),
    /// Stop a timer.
    Disarm(OfficeTimer),
    /// Something to tell people.
    Note(Note),
}

/// What surrounds an office: its configuration and what it may look at or move.
#[derive(Debug)]
pub struct OfficeContext<'a> {
    /// All waits.
    pub timeouts: &'a Timeouts,
    /// The terms of trade.
    pub terms: &'a Terms,
    /// How many sales the books keep.
    pub limits: &'a Limits,
    /// The peer's clock.
    pub clock: &'a mut Clock,
    /// Whether the peer has neighbours and hears none of them.
    pub isolated: bool,
}

/// One peer's way into the office and out of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Office {
    me: Life,
    eligibility: Eligibility,
    /// The head of the books that the eligibility was last judged by.
    judged: Position,
    seen: HighWaterMark,
    state: State,
}

/// Where a peer stands with the office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Out,
    Reading(Reading),
    Claiming { books: Books, claim: Batch, held: bool },
    Holding { epoch: Epoch, trader: Trader, in_flight: Option<Batch>, renewed: bool, contested: bool },
}

impl Office {
    /// The office as a new life of a peer sees it: out of it, and unreachable until the ledger is heard.
    #[must_use]
    pub fn new(me: Life, seen: HighWaterMark) -> Office {
        Office { me, eligibility: Eligibility::Unreachable, judged: Position(0), seen, state: State::Out }
    }

    /// The epoch it holds. Only then does it serve.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            State::Holding { epoch, .. } => Some(*epoch),
            State::Out | State::Reading(_) | State::Claiming { .. } => None,
        }
    }

    /// The trade, while it holds the office.
    #[must_use]
    pub fn trader(&self) -> Option<&Trader> {
        match &self.state {
            State::Holding { trader, .. } => Some(trader),
            State::Out | State::Reading(_) | State::Claiming { .. } => None,
        }
    }

    /// The books, as far as it has read them, or as it serves from them.
    #[must_use]
    pub fn books(&self) -> Option<&Books> {
        match &self.state {
            State::Out => None,
            State::Reading(reading) => Some(reading.books()),
            State::Claiming { books, .. } => Some(books),
            State::Holding { trader, .. } => Some(trader.books()),
        }
    }

    /// What it wants to read next: from which position, and which chunk of a snapshot.
    #[must_use]
    pub fn wanted(&self) -> Option<(Position, Option<ChunkId>)> {
        match &self.state {
            State::Reading(reading) => Some(reading.wanted()),
            State::Out | State::Claiming { .. } | State::Holding { .. } => None,
        }
    }

    /// The append whose answer it waits for.
    #[must_use]
    pub fn in_flight(&self) -> Option<&Batch> {
        match &self.state {
            State::Holding { in_flight, .. } => in_flight.as_ref(),
            State::Claiming { claim, .. } => Some(claim),
            State::Out | State::Reading(_) => None,
        }
    }

    /// Whether it stands: it reads the books or claims.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Claiming { .. })
    }

    /// Whether its claim was answered last that another's term is being renewed.
    #[must_use]
    pub fn met_lease(&self) -> bool {
        matches!(self.state, State::Claiming { held: true, .. })
    }

    /// The furthest durable books it knows of.
    #[must_use]
    pub fn seen(&self) -> HighWaterMark {
        self.seen
    }

    /// Takes one input. Cannot fail.
    pub fn step(&mut self, ctx: &mut OfficeContext<'_>, input: OfficeInput) -> Vec<OfficeEffect> {
        let mut step = Step { office: self, ctx, effects: Vec::new() };
        match input {
            OfficeInput::Started | OfficeInput::LedgerUp => step.ask_again(),
            OfficeInput::Stand => step.on_stand(),
            OfficeInput::Yield => step.on_yield(),
            OfficeInput::LedgerDown => step.on_ledger_down(),
            OfficeInput::Reply(reply) => step.on_reply(reply),
            OfficeInput::Heard(epoch) => step.on_heard(HighWaterMark { epoch, head: Position(0) }),
            OfficeInput::Heartbeat { from, seen } => step.on_heartbeat(from, seen),
            OfficeInput::Fired(OfficeTimer::Retry) => step.on_retry(),
            OfficeInput::Fired(OfficeTimer::GiveUp) => step.on_give_up(),
            OfficeInput::Fired(OfficeTimer::Renewal) => step.on_renewal(),
            OfficeInput::Client(from, message) => step.on_client(from, message),
        }
        step.effects
    }
}

/// One step under way.
struct Step<'a, 'b> {
    office: &'a mut Office,
    ctx: &'a mut OfficeContext<'b>,
    effects: Vec<OfficeEffect>,
}

impl Step<'_, '_> {
    fn on_stand(&mut self) {
        match &self.office.state {
            State::Out => {
                self.office.state = State::Reading(Reading::on(Books::keeping(self.ctx.limits.sales_kept)));
                self.arm(OfficeTimer::GiveUp, self.ctx.timeouts.give_up_after);
                self.effects.push(OfficeEffect::Note(Note::ElectionWon));
                self.ask_again();
            }
            State::Reading(_) | State::Claiming { .. } => {}
            State::Holding { epoch, .. } => self.effects.push(OfficeEffect::Granted(*epoch)),
        }
    }

    fn on_retry(&mut self) {
        mutant!(AppendNotRepeated => if self.office.trader().is_some() { return });
        self.ask_again();
    }

    fn on_yield(&mut self) {
        match &self.office.state {
            State::Out => self.effects.push(OfficeEffect::Vacated { resigned: None }),
            State::Reading(_) | State::Claiming { .. } | State::Holding { .. } => {
                self.step_down(Departure::Deposed);
            }
        }
    }

    /// Asks the ledger what is to be asked now, whether for the first time or again, and starts the retry timer.
    fn ask_again(&mut self) {
        let request = match &mut self.office.state {
            State::Out if self.office.eligibility.is_cut_off() => Some(LedgerRequest::Status),
            State::Out => None,
            State::Reading(reading) => {
                let (from, chunk) = reading.wanted();
                Some(LedgerRequest::Read { from, chunk })
            }
            State::Claiming { claim, held, .. } => {
                // What counts is the answer to the last time it was asked.
                *held = false;
                Some(LedgerRequest::Append(claim.clone()))
            }
            State::Holding { in_flight, .. } => in_flight.clone().map(LedgerRequest::Append),
        };
        if let Some(request) = request {
            self.effects.push(OfficeEffect::Ask(mutant!(request; ReadsOnFromHead => self.skip_to_head(request))));
            self.arm(OfficeTimer::Retry, self.ctx.timeouts.retry);
        }
    }

    fn on_ledger_down(&mut self) {
        match &self.office.state {
            State::Out => self.fall_silent(),
            // The give-up timer decides; the ledger may be back before it fires (SPEC B9).
            State::Reading(_) | State::Claiming { .. } | State::Holding { .. } => {}
        }
    }

    /// SPEC B9, DESIGN R6: nothing has come of it for the stated time.
    fn on_give_up(&mut self) {
        mutant!(NeverGivesUp => return);
        match &self.office.state {
            State::Out => {}
            State::Claiming { held: true, .. } => self.step_down(Departure::LeaseActive),
            State::Holding { in_flight: None, .. } => {}
            State::Reading(_) | State::Claiming { held: false, .. } | State::Holding { in_flight: Some(_), .. } => {
                self.step_down(Departure::LedgerSilent);
                mutant!(self.fall_silent(); SilenceForgotten => {});
            }
        }
    }

    /// The ledger does not answer: not eligible until it does.
    fn fall_silent(&mut self) {
        if !self.office.eligibility.is_cut_off() {
            self.effects.push(OfficeEffect::Note(Note::LedgerSilent));
            self.set_eligibility(Eligibility::Unreachable);
        }
        self.ask_again();
    }

    fn set_eligibility(&mut self, eligibility: Eligibility) {
        self.office.eligibility = eligibility;
        self.effects.push(OfficeEffect::Eligibility(eligibility));
    }

    fn on_reply(&mut self, reply: LedgerReply) {
        // A reply to a former life tells nothing that this one has asked.
        let is_mine = mutant!(
            reply.to == self.office.me;
            SettledByPosition | SettledByAnything => reply.to.peer == self.office.me.peer
        );
        if !is_mine {
            return;
        }
        self.office.seen.raise(reply.status.seen());
        self.learn_eligibility(reply.status);
        match reply.answer {
            LedgerAnswer::Status => {
                // A late status of long ago leaves it unable; then it goes on asking, or it would stay so for ever.
                if matches!(self.office.state, State::Out) && !self.office.eligibility.is_cut_off() {
                    self.effects.push(OfficeEffect::Disarm(OfficeTimer::Retry));
                }
            }
            answer @ (LedgerAnswer::Chunk { .. } | LedgerAnswer::Records { .. }) => self.on_read(answer, reply.status),
            LedgerAnswer::Append { echo, verdict } => self.on_verdict(echo, verdict),
        }
    }

    /// The very trader whose term it wants to end lives, and the ledger has said that it renews that term: let it be.
    /// Without that word the claim may have been granted already, and is not given up.
    fn on_heartbeat(&mut self, from: PeerId, seen: HighWaterMark) {
        self.on_heard(seen);
        if let State::Claiming { claim, held: true, .. } = &self.office.state
            && seen.epoch.next() == claim.epoch
        {
            self.step_down(Departure::LeaseActive);
        }
        self.effects.push(OfficeEffect::LeaderLives { epoch: seen.epoch, leader: from });
    }

    // Who resigned sits out one term, and asks the ledger nothing meanwhile: that this term has begun it hears from
    // whoever speaks of it. Or one after the other would be out for good, and who is the highest would no longer matter
    // (DESIGN 3).
    fn on_heard(&mut self, seen: HighWaterMark) {
        let known = self.office.seen.epoch;
        self.office.seen.raise(seen);
        let has_begun = mutant!(self.office.seen.epoch > known; ResignedForGood => false);
        if self.office.eligibility == Eligibility::Resigned && has_begun {
            self.set_eligibility(Eligibility::Eligible);
        }
    }

    /// The ledger is heard. Who resigned the last term is not eligible for the next (DESIGN 3).
    fn learn_eligibility(&mut self, status: LedgerStatus) {
        // A late reply of an older state must not undo what a newer one told.
        if status.head < self.office.judged {
            return;
        }
        self.office.judged = status.head;
        let left = Eligibility::Isolated { left: status.epoch() };
        let has_left = mutant!(self.office.eligibility == left; IsolatedReturns => false);
        if self.ctx.isolated && has_left {
            return;
        }
        let resigned = status.term.is_some_and(|term| {
            term.ended && term.holder.peer == self.office.me.peer && term.epoch == self.office.seen.epoch
        });
        let sits_out = mutant!(resigned; ResignedStaysEligible => false);
        let eligibility = if sits_out { Eligibility::Resigned } else { Eligibility::Eligible };
        if eligibility != self.office.eligibility {
            if self.office.eligibility.is_cut_off() {
                self.effects.push(OfficeEffect::Note(Note::LedgerHeard));
            }
            let learns_that_it_resigned = resigned && self.office.eligibility == Eligibility::Eligible;
            self.set_eligibility(eligibility);
            // A former life's last batch may land after this one was told that it may stand.
            if learns_that_it_resigned && self.office.is_standing() {
                self.step_down(Departure::SitsOut);
            }
        }
    }

    fn on_read(&mut self, answer: LedgerAnswer, status: LedgerStatus) {
        let State::Reading(reading) = &mut self.office.state else { return };
        match reading.take(answer) {
            Ok(went_on) => {
                if mutant!(went_on; GivesUpWhileAnswered => false) {
                    self.arm(OfficeTimer::GiveUp, self.ctx.timeouts.give_up_after);
                }
            }
            Err(error) => {
                self.effects.push(OfficeEffect::Note(Note::BooksRefused { position: error.position }));
                self.step_down(Departure::BooksDamaged);
                return;
            }
        }
        let State::Reading(reading) = &self.office.state else { return };
        if reading.books().position() >= status.head {
            mutant!(TermResumedAfterRestart => if self.resume_term() { return });
            self.claim();
        } else {
            self.ask_again();
        }
    }

    // DESIGN R1: the claim's position is what has been read, so the fence moves only if nothing came in between.
    fn claim(&mut self) {
        let State::Reading(reading) = &mut self.office.state else { return };
        let books = core::mem::take(reading).into_books();
        // DESIGN R10: whoever takes office stamps above all that it takes over.
        mutant!(self.ctx.clock.catch_up(books.latest()); NoCatchUp => {});
        let epoch = books.epoch().next();
        let entry = Entry::Claimed { epoch, holder: self.office.me };
        let records = alloc::vec![Record { stamp: self.ctx.clock.tick(), entry }];
        let position = mutant!(books.position(); ClaimsAtHeardHead => self.office.seen.head);
        let claim = Batch { epoch, position, records };
        self.office.state = State::Claiming { books, claim, held: false };
        self.ask_again();
        mutant!(ServesWhileClaiming => self.take_office());
    }

    fn on_verdict(&mut self, echo: Echo, verdict: Verdict) {
        // DESIGN R2: nothing but the echo says what is settled.
        let is_settled = |batch| {
            let asked = Echo::of(self.office.me, batch);
            mutant!(
                echo == asked;
                SettledByPosition => (echo.epoch, echo.position) == (asked.epoch, asked.position),
                SettledByAnything => true
            )
        };
        if !self.office.in_flight().is_some_and(is_settled) {
            return;
        }
        mutant!(
            ClaimsUnread | BatchMovedToHead => if verdict == Verdict::Conflict && self.move_to_head() { return }
        );
        mutant!(FencedTraderStays => if verdict == Verdict::Fenced && self.drop_batch() { return });
        match (&mut self.office.state, mutant!(verdict; ConflictIsSuccess => mutants::not_in_conflict(verdict))) {
            (State::Claiming { .. }, Verdict::Appended { .. }) => self.take_office(),
            (State::Claiming { books, .. }, Verdict::Conflict) => {
                // Somebody wrote since: read on and claim again (DESIGN R1).
                let books = core::mem::take(books);
                self.office.state = State::Reading(Reading::on(books));
                self.arm(OfficeTimer::GiveUp, self.ctx.timeouts.give_up_after);
                self.ask_again();
            }
            // The retry timer repeats the claim until the give-up timer fires.
            (State::Claiming { held, .. }, Verdict::LeaseActive) => *held = true,
            (State::Claiming { .. } | State::Holding { .. }, Verdict::Fenced) => self.step_down(Departure::Deposed),
            (State::Holding { .. }, Verdict::Appended { contested, .. }) => self.on_appended(contested),
            (State::Holding { .. }, Verdict::Conflict | Verdict::LeaseActive) => self.step_down(Departure::Overtaken),
            (State::Out | State::Reading(_), _) => {}
        }
    }

    fn take_office(&mut self) {
        let State::Claiming { books, claim, .. } = &mut self.office.state else { return };
        let claim = claim.clone();
        let mut trader = Trader::new(self.office.me.peer, core::mem::take(books));
        // A claim follows the very books it was planned on: it applies.
        if trader.on_appended(&claim).is_err() {
            self.step_down(Departure::BooksDamaged);
            return;
        }
        self.hold(claim.epoch, trader);
    }

    fn hold(&mut self, epoch: Epoch, trader: Trader) {
        let inherited = trader.books().term().map_or(0, |term| term.inherited);
        self.office.state = State::Holding { epoch, trader, in_flight: None, renewed: true, contested: false };
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::Retry));
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::GiveUp));
        self.effects.push(OfficeEffect::Granted(epoch));
        // After that, so that the note carries the new epoch.
        self.effects.push(OfficeEffect::Note(Note::TookOffice { inherited }));
        self.arm(OfficeTimer::Renewal, self.ctx.timeouts.renewal);
        self.append_next();
    }

    fn on_appended(&mut self, is_contested: bool) {
        let State::Holding { epoch, trader, in_flight, renewed, contested } = &mut self.office.state else { return };
        let Some(batch) = in_flight.take() else { return };
        let epoch = *epoch;
        *renewed = true;
        *contested = is_contested;
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::Retry));
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::GiveUp));
        match trader.on_appended(&batch) {
            Ok(told) => {
                self.effects.extend(told.notes.into_iter().map(OfficeEffect::Note));
                self.effects.extend(told.messages.into_iter().map(|(to, message)| OfficeEffect::Tell(to, message)));
            }
            Err(error) => {
                self.effects.push(OfficeEffect::Note(Note::BooksRefused { position: error.position }));
                self.step_down(Departure::BooksDamaged);
                return;
            }
        }
        if mutant!(batch.resigns(); ServesAfterResigning => false) {
            let eligibility = mutant!(Eligibility::Resigned; ResignedStaysEligible => Eligibility::Eligible);
            self.office.judged = batch.end();
            self.office.eligibility = eligibility;
            self.effects.push(OfficeEffect::Eligibility(eligibility));
            self.leave(Departure::Resigned, Some(epoch));
        } else {
            self.append_next();
        }
    }

    /// Appends what there is to append, if nothing is in flight (DESIGN R2: one append at a time).
    fn append_next(&mut self) {
        let State::Holding { trader, in_flight: None, .. } = &mut self.office.state else { return };
        let records = trader.plan(self.ctx.terms, self.ctx.clock);
        if !records.is_empty() {
            self.append(records);
        }
    }

    fn append(&mut self, records: Vec<Record>) {
        let State::Holding { epoch, trader, in_flight, .. } = &mut self.office.state else { return };
        let batch = Batch { epoch: *epoch, position: trader.books().position(), records };
        mutant!(ToldWhenPlanned => self.effects.extend(mutants::told_of(trader, &batch)));
        *in_flight = Some(batch);
        self.arm(OfficeTimer::GiveUp, self.ctx.timeouts.give_up_after);
        self.ask_again();
    }

    // DESIGN R6: a heartbeat only after a renewal confirmed since the last.
    fn on_renewal(&mut self) {
        let State::Holding { epoch, trader, in_flight, renewed, contested } = &mut self.office.state else { return };
        if mutant!(*contested && self.ctx.isolated; ContestedAndIsolatedStays => false) {
            let left = *epoch;
            self.step_down(Departure::Isolated);
            self.set_eligibility(Eligibility::Isolated { left });
            self.ask_again();
            return;
        }
        if mutant!(core::mem::take(renewed); HeartbeatWithoutRenewal => true) {
            self.effects.push(OfficeEffect::Heartbeat { epoch: *epoch, head: trader.books().position() });
        }
        if in_flight.is_none() {
            self.append(Vec::new());
        }
        self.arm(OfficeTimer::Renewal, self.ctx.timeouts.renewal);
    }

    fn on_client(&mut self, from: PeerId, message: ClientMessage) {
        let State::Holding { trader, .. } = &mut self.office.state else { return };
        if let Some(answer) = trader.on_client(from, message) {
            self.effects.push(OfficeEffect::Tell(from, answer));
        }
        self.append_next();
    }

    fn step_down(&mut self, reason: Departure) {
        self.leave(reason, None);
    }

    fn leave(&mut self, reason: Departure, resigned: Option<Epoch>) {
        self.office.state = State::Out;
        mutant!(ClockResetOnStepDown => self.ctx.clock.reset());
        for timer in [OfficeTimer::Retry, OfficeTimer::GiveUp, OfficeTimer::Renewal] {
            self.effects.push(OfficeEffect::Disarm(timer));
        }
        self.effects.push(OfficeEffect::Note(Note::SteppedDown { reason }));
        self.effects.push(OfficeEffect::Vacated { resigned });
    }

    fn arm(&mut self, timer: OfficeTimer, after: core::time::Duration) {
        self.effects.push(OfficeEffect::Arm(timer, after));
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
