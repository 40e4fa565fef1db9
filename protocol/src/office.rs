//! The office: claiming it, holding it, leaving it. Here the election's hint meets the ledger's authority (DESIGN 3).
//!
//! ```text
//!          Stand               head read              Appended
//!   Out ----------> Reading -------------> Claiming -----------> Holding
//!    ^                 ^----- Conflict -------/                     |
//!    \------ Yield, Fenced, LeaseActive or silent for too long, resigned --/
//! ```
//!
//! A peer that steps down never resumes that term. The state that knew its batch was in flight is gone, so a later
//! reply settles nothing (DESIGN R2).

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    books::Books,
    clock::{Clock, Time},
    config::{Limits, Terms, Timeouts},
    effect::{Departure, Note},
    election::Eligibility,
    id::{Epoch, Life, PeerId, Position},
    input::Timer,
    ledger::{Echo, HighWaterMark, LedgerAnswer, LedgerReply, LedgerRequest, LedgerStatus, Term, Verdict, Word},
    message::{ClientMessage, Promise, TermSaid, TraderMessage},
    reading::Reading,
    record::{Batch, Entry, Record, Request},
    snapshot::ChunkId,
    trader::Trader,
};

/// The timers of an office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeTimer {
    /// The ledger has not answered; ask again.
    Retry,
    /// The ledger has been silent for so long that the peer gives the office up (SPEC B9).
    GiveUp,
    /// The trader renews its term and shows that it is alive.
    Renewal,
    /// The trader's next request still waits for buyers (SPEC C5).
    Wave,
}

impl From<OfficeTimer> for Timer {
    fn from(timer: OfficeTimer) -> Timer {
        match timer {
            OfficeTimer::Retry => Timer::LedgerRetry,
            OfficeTimer::GiveUp => Timer::LedgerGiveUp,
            OfficeTimer::Renewal => Timer::Renewal,
            OfficeTimer::Wave => Timer::Wave,
        }
    }
}

/// What can happen to an office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeInput {
    /// The peer has started.
    Started,
    /// The election asks this peer to take office.
    Stand,
    /// The election asks it to leave the office.
    Yield,
    /// Somebody wants the trader to give the office back, before its number of sales.
    Resign,
    /// The ledger has become reachable.
    LedgerUp,
    /// The ledger has become unreachable.
    LedgerDown,
    /// A reply from the ledger.
    Reply(LedgerReply),
    /// Another peer has named an epoch. Unless it has a bug it knows that epoch from a durable claim, and after a short term
    /// this may be all that is ever heard of it.
    Heard(Epoch),
    /// The trader of an epoch is alive.
    Heartbeat {
        /// The trader that sent the heartbeat.
        from: PeerId,
        /// The trader's epoch.
        epoch: Epoch,
    },
    /// One of its timers has fired.
    Fired(OfficeTimer),
    /// A message from a client.
    Client(PeerId, ClientMessage),
    /// Buyers answer a wave.
    Promises(Vec<(PeerId, Promise)>),
}

/// What an office wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OfficeEffect {
    /// Call the ledger.
    Ask(LedgerRequest),
    /// Send this to a client. Everything in it is durable.
    Tell(PeerId, TraderMessage),
    /// Tell every peer that the trader of this epoch is alive.
    Heartbeat {
        /// The epoch this peer holds.
        epoch: Epoch,
        /// The place of the next request, if that waits for buyers (SPEC C5).
        waits: Option<Time>,
    },
    /// Ask all buyers for their promises (SPEC C5).
    Wave,
    /// This peer now holds the office.
    Granted(Epoch),
    /// The office was left, or could not be had.
    Vacated {
        /// The epoch that was given back, if one was.
        resigned: Option<Epoch>,
    },
    /// The ledger has said that nobody was granted a later epoch than this, and somebody had named one when it was asked.
    Refuted {
        /// The latest epoch; 0 before the first.
        latest: Epoch,
        /// Whether its holder has resigned it.
        ended: bool,
    },
    /// Whether this peer may stand.
    Eligibility(Eligibility),
    /// The trader of this epoch is alive. The effects before this one have already dealt with what that means for this
    /// office.
    LeaderLives {
        /// The trader's epoch.
        epoch: Epoch,
        /// The trader.
        leader: PeerId,
    },
    /// Start a timer afresh.
    Arm(OfficeTimer, Duration),
    /// Stop a timer.
    Disarm(OfficeTimer),
    /// An event that people may want to read about.
    Note(Note),
}

/// What an office is given in a step: its configuration, and the state outside it that it may read or change.
#[derive(Debug)]
pub struct OfficeContext<'a> {
    /// Every wait of the protocol.
    pub timeouts: &'a Timeouts,
    /// The terms of trade.
    pub terms: &'a Terms,
    /// The limits of the run; the office uses the number of sales kept.
    pub limits: &'a Limits,
    /// The peer's clock.
    pub clock: &'a mut Clock,
    /// What the peer asks for as a buyer.
    pub asking: Option<&'a Request>,
    /// Whether the peer has neighbours but none that it can hear.
    pub isolated: bool,
}

/// One peer's way into the office and out of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Office {
    me: Life,
    eligibility: Eligibility,
    /// It heard no neighbour while others had the office or claimed it, and leaves it to them until it hears one.
    withdrawn: bool,
    /// The head of the books by which its eligibility was last judged.
    judged: Position,
    /// The furthest durable books that the ledger itself has told of.
    seen: HighWaterMark,
    /// The latest term in those books, as the ledger has told this life.
    term: Option<Term>,
    /// Somebody has named an epoch that nobody was granted. As long as the ledger answers, no epoch is believed that it has
    /// not told of itself (SPEC I8).
    doubts: bool,
    /// The latest epoch that anybody has named. A member may have named one that does not exist, so nothing of it becomes
    /// durable or is shown to the ledger as seen (SPEC I8).
    latest: Epoch,
    state: State,
}

/// What a peer currently has to do with the office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Out,
    Reading(Reading),
    Claiming { books: Books, claim: Batch, lease_active: bool },
    Holding { epoch: Epoch, trader: Trader, in_flight: Option<Batch>, renewed: bool, contested: bool, asks: bool },
}

impl Office {
    /// The office at the start of a new life: out of office, and unreachable until it hears from the ledger.
    #[must_use]
    pub fn new(me: Life, seen: HighWaterMark) -> Office {
        let eligibility = Eligibility::Unreachable;
        Office {
            me,
            eligibility,
            withdrawn: false,
            judged: Position(0),
            seen,
            term: None,
            doubts: false,
            latest: seen.epoch,
            state: State::Out,
        }
    }

    /// The epoch it holds. It serves only while it holds one.
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

    /// The books it has read so far, or serves from.
    #[must_use]
    pub fn books(&self) -> Option<&Books> {
        match &self.state {
            State::Out => None,
            State::Reading(reading) => Some(reading.books()),
            State::Claiming { books, .. } => Some(books),
            State::Holding { trader, .. } => Some(trader.books()),
        }
    }

    /// What it wants to read next: the position, and the chunk of a snapshot if it is in the middle of one.
    #[must_use]
    pub fn wanted(&self) -> Option<(Position, Option<ChunkId>)> {
        match &self.state {
            State::Reading(reading) => Some(reading.wanted()),
            State::Out | State::Claiming { .. } | State::Holding { .. } => None,
        }
    }

    /// The append whose answer it is waiting for.
    #[must_use]
    pub fn in_flight(&self) -> Option<&Batch> {
        match &self.state {
            State::Holding { in_flight, .. } => in_flight.as_ref(),
            State::Claiming { claim, .. } => Some(claim),
            State::Out | State::Reading(_) => None,
        }
    }

    /// Whether it is standing: reading the books, or claiming.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Claiming { .. })
    }

    /// Whether the last answer to its claim was that another peer's term is being renewed.
    #[must_use]
    pub fn met_lease(&self) -> bool {
        matches!(self.state, State::Claiming { lease_active: true, .. })
    }

    /// The furthest durable books that the ledger has told it of.
    #[must_use]
    pub fn seen(&self) -> HighWaterMark {
        self.seen
    }

    /// Who holds the latest term, as the ledger has told it; `None` if that was resigned, or it has not been told.
    #[must_use]
    pub fn holder(&self) -> Option<PeerId> {
        self.term.filter(|term| !term.ended).map(|term| term.holder.peer)
    }

    /// The latest epoch that anybody has named to it.
    #[must_use]
    pub fn latest(&self) -> Epoch {
        self.latest
    }

    /// Whether somebody has named an epoch to it that nobody was granted, so that it believes the ledger only.
    #[must_use]
    pub fn doubts(&self) -> bool {
        self.doubts
    }

    /// Whether the ledger's word contradicts this message about a term, or is waited for.
    #[must_use]
    pub fn disbelieves(&self, said: &TermSaid) -> bool {
        let is_unheard_of = self.doubts && said.epoch > self.seen.epoch;
        mutant!(is_unheard_of || said.is_contradicted(self.term); BelievesLiars => false)
    }

    /// Whether what it disbelieves may have been true: the term is over, by the ledger's word.
    #[must_use]
    pub fn finds_late(&self, said: &TermSaid) -> bool {
        said.is_late(self.term)
    }

    /// Takes one input. Cannot fail.
    pub fn step(&mut self, ctx: &mut OfficeContext<'_>, input: OfficeInput) -> Vec<OfficeEffect> {
        let mut step = Step { office: self, ctx, effects: Vec::new() };
        match input {
            OfficeInput::Started | OfficeInput::LedgerUp => step.ask_again(),
            OfficeInput::Stand => step.on_stand(),
            OfficeInput::Yield => step.on_yield(),
            OfficeInput::Resign => step.on_resign(),
            OfficeInput::LedgerDown => step.on_ledger_down(),
            OfficeInput::Reply(reply) => step.on_reply(reply),
            OfficeInput::Heard(epoch) => step.on_heard(epoch),
            OfficeInput::Heartbeat { from, epoch } => step.on_heartbeat(from, epoch),
            OfficeInput::Fired(OfficeTimer::Retry) => step.on_retry(),
            OfficeInput::Fired(OfficeTimer::GiveUp) => step.on_give_up(),
            OfficeInput::Fired(OfficeTimer::Renewal) => step.on_renewal(),
            OfficeInput::Fired(OfficeTimer::Wave) => step.on_wave(),
            OfficeInput::Client(from, message) => step.on_client(from, message),
            OfficeInput::Promises(promises) => step.on_promises(promises),
        }
        step.ask_for_promises();
        step.effects
    }
}

/// One step in progress.
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

    /// The next append is the resignation. Whatever else waits is asked of the next trader.
    fn on_resign(&mut self) {
        let State::Holding { trader, .. } = &mut self.office.state else { return };
        trader.resign();
        self.append_next();
    }

    /// Sends the ledger whatever question is due now, for the first time or again, and starts the retry timer.
    fn ask_again(&mut self) {
        let request = match &mut self.office.state {
            State::Out if self.office.eligibility.is_cut_off() => Some(LedgerRequest::Status),
            State::Out => None,
            State::Reading(reading) => {
                let (from, chunk) = reading.wanted();
                Some(LedgerRequest::Read { from, chunk })
            }
            State::Claiming { claim, lease_active, .. } => {
                // Only the answer to the latest attempt counts.
                *lease_active = false;
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
            State::Out => {
                self.fall_silent();
                self.ask_again();
            }
            // The give-up timer decides; the ledger may be back before it fires (SPEC B9).
            State::Reading(_) | State::Claiming { .. } | State::Holding { .. } => {}
        }
    }

    /// SPEC B9, DESIGN R6: the stated time has passed without success.
    fn on_give_up(&mut self) {
        mutant!(NeverGivesUp => return);
        match &self.office.state {
            State::Out => {}
            State::Claiming { lease_active: true, .. } => self.step_down(Departure::LeaseActive),
            State::Holding { in_flight: None, .. } => {}
            State::Reading(_)
            | State::Claiming { lease_active: false, .. }
            | State::Holding { in_flight: Some(_), .. } => {
                mutant!(self.fall_silent(); SilenceForgotten => {});
                self.step_down(Departure::LedgerSilent);
            }
        }
    }

    /// The ledger does not answer, so this peer is not eligible until it does. Out of office, it asks.
    fn fall_silent(&mut self) {
        if self.office.eligibility != Eligibility::Unreachable {
            // Nothing but what others say is left to go by.
            self.office.doubts = false;
            self.effects.push(OfficeEffect::Note(Note::LedgerSilent));
            self.set_eligibility(Eligibility::Unreachable);
        }
    }

    fn set_eligibility(&mut self, eligibility: Eligibility) {
        self.office.eligibility = eligibility;
        self.effects.push(OfficeEffect::Eligibility(eligibility));
    }

    fn on_reply(&mut self, reply: LedgerReply) {
        // A reply to a former life answers nothing that this one has asked.
        let is_mine = mutant!(
            reply.word.to == self.office.me;
            SettledByPosition | SettledByAnything => reply.word.to.peer == self.office.me.peer
        );
        if !is_mine {
            return;
        }
        self.learn(&reply.word);
        self.learn_eligibility(reply.word.status);
        match reply.answer {
            LedgerAnswer::Status => {
                // A stale status leaves it ineligible. It must keep asking, or it would stay ineligible for ever.
                if matches!(self.office.state, State::Out) && !self.office.eligibility.is_cut_off() {
                    self.effects.push(OfficeEffect::Disarm(OfficeTimer::Retry));
                }
            }
            answer @ (LedgerAnswer::Chunk { .. } | LedgerAnswer::Records { .. }) => {
                self.on_read(answer, reply.word.status)
            }
            LedgerAnswer::Append { echo, verdict } => self.on_verdict(echo, verdict),
        }
    }

    /// How far the books have got, and what that says of what others have named.
    fn learn(&mut self, word: &Word) {
        let Word { heard, status, seen, .. } = *word;
        if self.office.seen.is_beyond(seen) {
            // A late reply.
            return;
        }
        self.office.seen = seen;
        self.office.term = status.term;
        self.office.latest = self.office.latest.max(status.epoch());
        // What is named was granted before, and it was named before the ledger was asked.
        if mutant!(heard > status.epoch(); BelievesInNoSuchEpoch => false) {
            self.office.latest = status.epoch();
            if !self.office.doubts {
                self.office.doubts = true;
                self.effects.push(OfficeEffect::Note(Note::NoSuchEpoch { epoch: heard, latest: status.epoch() }));
            }
            let ended = status.term.is_some_and(|term| term.ended);
            self.effects.push(OfficeEffect::Refuted { latest: status.epoch(), ended });
        }
    }

    /// The ledger has said that the trader whose term this peer wants to end is renewing it, and here is a sign that
    /// this trader is alive: give up the claim. Without the ledger's word the claim may have been granted already, so
    /// it is not given up.
    fn on_heartbeat(&mut self, from: PeerId, epoch: Epoch) {
        self.on_heard(epoch);
        if let State::Claiming { claim, lease_active: true, .. } = &self.office.state
            && epoch.next() == claim.epoch
        {
            self.step_down(Departure::LeaseActive);
        }
        self.effects.push(OfficeEffect::LeaderLives { epoch, leader: from });
    }

    // A peer that resigned sits out one term and does not query the ledger meanwhile; it learns that the next term has
    // begun from any peer that names its epoch. Otherwise the peers would drop out one after another for good, and it
    // would no longer matter which is the highest (DESIGN 3).
    fn on_heard(&mut self, epoch: Epoch) {
        let has_begun = mutant!(epoch > self.office.latest; ResignedForGood => false);
        self.office.latest = self.office.latest.max(epoch);
        if self.office.eligibility == Eligibility::Resigned && has_begun {
            self.set_eligibility(Eligibility::Eligible);
        }
    }

    /// The ledger has answered. A peer that resigned the last term is not eligible for the next (DESIGN 3).
    fn learn_eligibility(&mut self, status: LedgerStatus) {
        // A late reply with an older state must not undo what a newer one said.
        if status.head < self.office.judged {
            return;
        }
        self.office.judged = status.head;
        self.office.withdrawn &= self.ctx.isolated;
        let resigned = status.term.is_some_and(|term| {
            term.ended && term.holder.peer == self.office.me.peer && term.epoch == self.office.latest
        });
        let sits_out = mutant!(resigned; ResignedStaysEligible => false);
        let eligibility = if self.office.withdrawn {
            Eligibility::Isolated { head: status.head }
        } else if sits_out {
            Eligibility::Resigned
        } else {
            Eligibility::Eligible
        };
        if eligibility != self.office.eligibility {
            if self.office.eligibility == Eligibility::Unreachable {
                self.effects.push(OfficeEffect::Note(Note::LedgerHeard));
            }
            let learns_that_it_resigned = resigned && self.office.eligibility == Eligibility::Eligible;
            self.set_eligibility(eligibility);
            // A former life's last batch may land after this life was told that it may stand.
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

    // DESIGN R1: the claim's position is the end of what was read, so the fence moves only if nothing was appended
    // since.
    fn claim(&mut self) {
        let State::Reading(reading) = &mut self.office.state else { return };
        let books = core::mem::take(reading).into_books();
        // DESIGN R10: a peer that takes office stamps above everything it takes over.
        mutant!(self.ctx.clock.catch_up(books.latest()); NoCatchUp => {});
        let epoch = books.epoch().next();
        let ordering = books.ordering().unwrap_or(self.ctx.terms.ordering);
        let entry = Entry::Claimed { epoch, holder: self.office.me, ordering };
        let records = alloc::vec![Record { stamp: self.ctx.clock.tick(), entry }];
        let position = mutant!(books.position(); ClaimsAtHeardHead => self.office.seen.head);
        let claim = Batch { epoch, position, records };
        self.office.state = State::Claiming { books, claim, lease_active: false };
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
                // Somebody has written since: read on and claim again (DESIGN R1).
                let books = core::mem::take(books);
                self.office.state = State::Reading(Reading::on(books));
                self.arm(OfficeTimer::GiveUp, self.ctx.timeouts.give_up_after);
                self.ask_again();
            }
            (State::Claiming { .. }, Verdict::LeaseActive) if self.ctx.isolated => self.withdraw(),
            // The retry timer repeats the claim until the give-up timer fires.
            (State::Claiming { lease_active, .. }, Verdict::LeaseActive) => *lease_active = true,
            (State::Claiming { .. } | State::Holding { .. }, Verdict::Fenced) => self.step_down(Departure::Deposed),
            (State::Holding { .. }, Verdict::Appended { contested, .. }) => self.on_appended(contested),
            (State::Holding { .. }, Verdict::Conflict | Verdict::LeaseActive) => self.step_down(Departure::Overtaken),
            (State::Out | State::Reading(_), _) => {}
        }
    }

    fn take_office(&mut self) {
        let State::Claiming { books, claim, .. } = &mut self.office.state else { return };
        let claim = claim.clone();
        if self.office.seen.epoch > claim.epoch {
            // The answer comes late: the ledger has told of a later term since.
            self.step_down(Departure::Deposed);
            return;
        }
        let mut trader = Trader::new(self.office.me.peer, core::mem::take(books));
        // A claim follows the very books it was planned on, so it applies.
        if trader.on_appended(&claim).is_err() {
            self.step_down(Departure::BooksDamaged);
            return;
        }
        let claimed = claim.records.first().map(|record| record.stamp);
        if let Some(own) = self.ctx.asking.filter(|own| Some(own.stamp) < claimed) {
            trader.take_own(own);
        }
        self.hold(claim.epoch, trader);
    }

    fn hold(&mut self, epoch: Epoch, trader: Trader) {
        let inherited = trader.books().term().map_or(0, |term| term.inherited);
        self.office.withdrawn = false;
        // The ledger has granted it and told of no later one, whatever was said before.
        self.office.latest = epoch;
        self.office.state =
            State::Holding { epoch, trader, in_flight: None, renewed: true, contested: false, asks: false };
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::Retry));
        self.effects.push(OfficeEffect::Disarm(OfficeTimer::GiveUp));
        self.effects.push(OfficeEffect::Granted(epoch));
        // The note comes after that, so that it carries the new epoch.
        self.effects.push(OfficeEffect::Note(Note::TookOffice { inherited }));
        self.arm(OfficeTimer::Renewal, self.ctx.timeouts.renewal);
        self.append_next();
    }

    fn on_appended(&mut self, is_contested: bool) {
        let State::Holding { epoch, trader, in_flight, renewed, contested, .. } = &mut self.office.state else {
            return;
        };
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

    /// Appends the next batch, if there is one and nothing is in flight (DESIGN R2: one append at a time).
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

    // DESIGN R6: a heartbeat is sent only after a renewal confirmed since the last one.
    fn on_renewal(&mut self) {
        let State::Holding { epoch, trader, in_flight, renewed, contested, .. } = &mut self.office.state else {
            return;
        };
        if mutant!(*contested && self.ctx.isolated; ContestedAndIsolatedStays => false) {
            self.withdraw();
            return;
        }
        if mutant!(core::mem::take(renewed); HeartbeatWithoutRenewal => true) {
            self.effects.push(OfficeEffect::Heartbeat { epoch: *epoch, waits: trader.waits() });
            trader.count_silence(self.ctx.timeouts.heartbeats_before_suspicion());
        }
        if in_flight.is_none() {
            let records = trader.plan(self.ctx.terms, self.ctx.clock);
            self.append(records);
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

    fn on_promises(&mut self, promises: Vec<(PeerId, Promise)>) {
        let State::Holding { trader, .. } = &mut self.office.state else { return };
        trader.on_promises(promises);
        self.append_next();
    }

    fn on_wave(&mut self) {
        let State::Holding { trader, asks, .. } = &mut self.office.state else { return };
        *asks = false;
        if trader.waits().is_some() {
            self.effects.push(OfficeEffect::Wave);
        }
    }

    /// Starts the timer of the next wave, if one is due.
    fn ask_for_promises(&mut self) {
        let wave = self.ctx.timeouts.wave;
        let State::Holding { trader, asks, .. } = &mut self.office.state else { return };
        if wave > Duration::ZERO && !*asks && trader.waits().is_some() {
            *asks = true;
            self.arm(OfficeTimer::Wave, wave);
        }
    }

    /// DESIGN R6: it hears no neighbour, so nobody could trade with it, and somebody else is there for the office. It
    /// asks the ledger from time to time how far that one has got.
    fn withdraw(&mut self) {
        self.office.withdrawn = true;
        self.set_eligibility(Eligibility::Isolated { head: self.office.judged });
        self.step_down(Departure::Isolated);
    }

    fn step_down(&mut self, reason: Departure) {
        self.leave(reason, None);
    }

    fn leave(&mut self, reason: Departure, resigned: Option<Epoch>) {
        self.office.state = State::Out;
        mutant!(ClockResetOnStepDown => self.ctx.clock.reset());
        for timer in [OfficeTimer::Retry, OfficeTimer::GiveUp, OfficeTimer::Renewal, OfficeTimer::Wave] {
            self.effects.push(OfficeEffect::Disarm(timer));
        }
        self.effects.push(OfficeEffect::Note(Note::SteppedDown { reason }));
        self.effects.push(OfficeEffect::Vacated { resigned });
        // Out of office, a peer that is cut off asks the ledger until it is not.
        if mutant!(self.office.eligibility.is_cut_off(); AsksNoMore => false) {
            self.ask_again();
        }
    }

    fn arm(&mut self, timer: OfficeTimer, after: Duration) {
        self.effects.push(OfficeEffect::Arm(timer, after));
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
