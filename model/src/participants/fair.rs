//! What becomes of a state once faults stop: the fair schedule (DESIGN 5, L1-L3).
//!
//! There are no more faults and no more new requests, but a seller that is sold out deposits something else. Everything
//! under way arrives, each message once; then the timer that is due first fires. Where the adversary decides who leads,
//! a peer that can is told to stand for office whenever nobody does. Whether the bazaar has converged is
//! asked whenever all is quiet. Crashed peers stay away where a leader is looked for, and are back where clients are to
//! be told. The schedule is one of many; the check is that its number of steps is bounded from every state.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    id::{Epoch, PeerId},
    input::Timer,
    invariant::{Property, Settled, Violation, is_untold},
    ledger::LedgerRequest,
};

use super::{
    Convergence, Cut, Participants, Timing,
    several::ProcessAction,
    step::Step,
    words,
    world::{Action, Budget, Live, Mail, Plans, State, World},
};
use crate::{subject::known::Known, subject::ledger::Ledgers, subject::picture::Mark, subject::shared::Shared};

/// No buyer has any more requests; no seller runs out of deposits.
const NO_WISHES: Plans = Plans { wishes: 0, deposits: u8::MAX };

/// Follows the fair schedule until the bazaar has converged, or is where it is known to converge from, and returns the
/// number of steps that it takes.
///
/// # Errors
/// What is missing, if the bazaar has not converged within the stated number of steps.
pub fn converges(
    setup: &Participants,
    world: &World,
    convergence: Convergence,
    known: &Known,
) -> Result<usize, Violation> {
    // From here on, whatever is sent arrives once.
    let setup = Participants { timing: Timing::Synchronous, ..setup.clone() };
    let mut step = Step::on(&setup, world.clone());
    step.cut = convergence.cut;
    step.stop_faults();
    // The epoch in which all was well at the last look, and for how long it has been well.
    let mut well: Option<(Epoch, Duration)> = None;
    let mut passed = Vec::new();
    for steps in 0..convergence.within {
        // Everything on which the next step and the next look depend.
        passed.push(step.digest_with(well));
        let more = passed.last().and_then(|digest| known.steps_from(*digest));
        if let Some(more) = more.filter(|more| steps + more < convergence.within) {
            known.keep(&passed, more);
            return Ok(steps + more);
        }
        let is_quiet = step.world.is_quiet_but_for(convergence.cut);
        if is_quiet {
            let epoch = step.world.ledger.status().epoch();
            well = match (step.missing(), well) {
                (Some(_), _) => None,
                (None, Some((same, since))) if same == epoch => Some((epoch, since)),
                (None, Some(_) | None) => Some((epoch, Duration::ZERO)),
            };
            if well.is_some_and(|(_, since)| since >= convergence.lasting) {
                known.keep(&passed, 0);
                return Ok(steps);
            }
        }
        let passes = step.world.next_instant().filter(|_| is_quiet);
        if step.advance().is_none() {
            break;
        }
        if let (Some((_, since)), Some(time)) = (&mut well, passes) {
            *since += time;
        }
        if let Some(violation) = &step.world.violation {
            return Err(Violation::clone(violation));
        }
    }
    let missing = step.missing().unwrap_or_else(|| {
        let (property, what) = if setup.is_elected() {
            (Property::L1, "no leader lasts: one follows another")
        } else {
            (Property::L2, "not everything is settled")
        };
        Violation { property, position: None, what: what.to_owned() }
    });
    Err(Violation { what: format!("{}, after {} steps", missing.what, convergence.within), ..missing })
}

/// The first steps of the fair schedule, in words and as a picture shows them.
pub fn follow(setup: &Participants, world: &World, convergence: Convergence, steps: usize) -> Vec<(String, Vec<Mark>)> {
    let setup = Participants { timing: Timing::Synchronous, ..setup.clone() };
    let mut step = Step::on(&setup, world.clone());
    step.cut = convergence.cut;
    step.stop_faults();
    let mut followed = Vec::new();
    // The cut is shown with the first step.
    let mut stays_cut = words::stays_cut(&setup, convergence.cut);
    while followed.len() < steps {
        let before = step.world.clone();
        let Some(action) = step.advance() else { break };
        step.world.violation = None;
        if let Some(action) = action {
            let words = words::sentence(&setup, &before, &action, &step.world);
            stays_cut.extend(words::marks(&setup, &before, &action, &step.world));
            followed.push((words, std::mem::take(&mut stays_cut)));
        }
    }
    followed
}

impl World {
    fn is_quiet_but_for(&self, cut: Cut) -> bool {
        let is_done = |live: &Live| {
            let hears = !matches!(cut, Cut::Ledger)
                && cut != Cut::FromLedger(live.id())
                && cut != Cut::AnswersOfLedger(live.id());
            (live.question.is_none() || !hears) && live.choice.is_none()
        };
        self.mail.is_empty()
            && self.calls.is_empty()
            && self.replies.is_empty()
            && !self.ledger.is_writing()
            && self.are_processes_quiet()
            && self.lives().all(is_done)
    }
}

impl Step<'_> {
    fn stop_faults(&mut self) {
        self.world.budget = Budget::default();
        for peer in self.setup.ids() {
            let place = self.setup.place(peer);
            self.world.peers[place].change(|peer| match &mut peer.state {
                State::Up(live) => live.plans = NO_WISHES,
                State::Down { plans, .. } => *plans = NO_WISHES,
            });
        }
        if !self.setup.is_elected() {
            for peer in self.setup.ids() {
                self.start(peer);
            }
        }
        // Nothing passes a cut any more.
        let cut = self.cut;
        let is_cut = |peer: PeerId| cut == Cut::FromOverlay(peer);
        self.world.mail.change(|bag| bag.retain(|mail| !is_cut(mail.from) && !mail.to.is_some_and(is_cut)));
        let hears =
            |peer: PeerId| cut != Cut::Ledger && cut != Cut::FromLedger(peer) && cut != Cut::AnswersOfLedger(peer);
        self.world.calls.change(|calls| {
            calls.retain(|call| cut != Cut::Ledger && cut != Cut::FromLedger(call.caller.peer));
        });
        self.world.replies.change(|replies| replies.retain(|reply| hears(reply.reply.word.to.peer)));
        for peer in self.setup.ids().filter(|peer| !hears(*peer)) {
            self.live(peer, |live| live.question = None);
        }
        // The lease starts now at the latest: where timing was free, how much of it is left is unknown.
        for (lease, is_active) in self.world.leases.iter_mut().zip(self.world.ledger.leases()) {
            if is_active && lease.is_none() {
                *lease = Some(super::TIMEOUTS.lease);
            }
        }
        self.prune();
    }

    /// One step of the fair schedule, or `None` if there is nothing left to do. A message that arrives nowhere is a
    /// step without an action.
    fn advance(&mut self) -> Option<Option<Action>> {
        self.prune();
        let action = match self.arriving() {
            Some(Err(mail)) => {
                self.world.mail.change(|bag| bag.take(&mail));
                return Some(None);
            }
            Some(Ok(action)) => action,
            None => self.due()?,
        };
        self.act(&action);
        Some(Some(action))
    }

    /// What happens next without time passing: a message arrives, perhaps nowhere; the ledger acts; the ledger is
    /// asked.
    fn arriving(&self) -> Option<Result<Action, Shared<Mail>>> {
        if let Some(mail) = self.world.mail.iter().next() {
            let listener = self.setup.ids().find(|peer| self.world.is_heard_by(self.setup, mail, *peer));
            return Some(listener.map(|listener| Action::Arrive(listener, mail.clone())).ok_or_else(|| mail.clone()));
        }
        let acts = match &self.world.ledger {
            Ledgers::One(ledger) if ledger.is_unsynced() => Some(Action::Sync),
            Ledgers::One(ledger) if ledger.is_unanswered() => Some(Action::Confirm),
            Ledgers::One(_) => self.world.calls.iter().next().map(|call| Action::Take(call.clone())),
            Ledgers::Several(cluster) => self.world.next_of_processes(cluster),
        };
        if let Some(action) = acts {
            return Some(Ok(action));
        }
        if let Some(reply) = self.world.replies.iter().next() {
            return Some(Ok(Action::Answer(reply.reply.word.to.peer, reply.clone())));
        }
        let picks = self.world.lives().find(|live| live.choice.is_some());
        if let Some(live) = picks {
            return Some(Ok(Action::Pick(live.id(), 0)));
        }
        let is_slow = self.cut == Cut::SlowReads;
        let asks = |live: &&Live| match live.question {
            Some(LedgerRequest::Status) => true,
            Some(LedgerRequest::Read { .. }) => !is_slow,
            Some(LedgerRequest::Append(_)) | None => false,
        };
        self.world.lives().find(asks).map(|live| Ok(self.world.consults(live.id())))
    }

    /// What happens when all is quiet: where nobody elects, a peer stands for office; a buyer that was not told asks
    /// again; time passes.
    fn due(&mut self) -> Option<Action> {
        let stands = if self.setup.is_elected() { None } else { self.who_stands() };
        let asks = self.untold().map(|peer| Action::Fire(peer, Timer::Buyer));
        let told = || if self.cut == Cut::Liar { self.next_told() } else { None };
        stands.map(Action::Stand).or(asks).or_else(told).or_else(|| self.slow_answer()).or_else(|| self.next_timer())
    }

    /// Before time passes the ledger tells each peer how it is, as the driver's answer to a sign of life does, and then a
    /// member with a bug tells that peer of an epoch that nobody was granted.
    fn next_told(&mut self) -> Option<Action> {
        let (peer, lies) = (self.told / 2, self.told % 2 == 1);
        let Some(peer) = self.world.lives().nth(peer).map(Live::id) else {
            self.told = 0;
            return None;
        };
        self.told += 1;
        if lies {
            return Some(Action::Lie(peer));
        }
        self.live(peer, |live| {
            live.question.get_or_insert(LedgerRequest::Status);
        });
        Some(Action::Consult(peer))
    }

    /// Where reads are slow, an answer comes after [`SLOW`](super::SLOW) unless a timer is due before that.
    fn slow_answer(&mut self) -> Option<Action> {
        let reads = |live: &&Live| matches!(live.question, Some(LedgerRequest::Read { .. }));
        let reader = self.world.lives().find(reads).map(Live::id).filter(|_| self.cut == Cut::SlowReads);
        let Some(reader) = reader else {
            self.reading = Duration::ZERO;
            return None;
        };
        let left = super::SLOW.saturating_sub(self.reading);
        match self.world.next_instant().filter(|next| *next < left) {
            Some(next) => {
                self.reading += next;
                None
            }
            None => {
                self.reading = Duration::ZERO;
                self.elapse(Some(left));
                Some(Action::Consult(reader))
            }
        }
    }

    /// Where there is no election: a peer that can stand for office, if nobody holds the office or stands.
    fn who_stands(&self) -> Option<PeerId> {
        let is_busy = |live: &Live| live.participant.office().is_some_and(|office| office.is_standing());
        let in_office = self.world.traders().map(|(_, epoch)| epoch).max();
        // A peer that was deposed and does not know it yet is no longer the trader.
        if in_office == Some(self.world.ledger.status().epoch()) || self.world.lives().any(is_busy) {
            return None;
        }
        let can = |live: &&Live| live.participant.office().is_some() && live.epoch().is_none();
        self.world.lives().find(can).map(Live::id)
    }

    /// A buyer that was not told how its last request ended and is not asking.
    fn untold(&self) -> Option<PeerId> {
        let books = self.world.observer.log().books();
        let is_untold = |live: &&Live| {
            live.may_want() && live.timers.contains_key(&Timer::Buyer) && is_untold(&live.participant, books)
        };
        self.world.lives().find(is_untold).map(Live::id)
    }

    fn next_timer(&self) -> Option<Action> {
        // A buyer with no more requests has nothing to decide.
        let counts = |live: &Live, timer: Timer| timer != Timer::Buyer || !live.may_want();
        let timers = self.world.lives().flat_map(|live| {
            let armed = live.timers.iter().filter(|(timer, _)| counts(live, **timer));
            armed.map(|(timer, wait)| (*wait, Some((live.id(), *timer))))
        });
        let timers = timers.map(|(wait, timer)| (wait, timer, 0));
        let leases = (0..).zip(&self.world.leases).filter_map(|(at, lease)| Some(((*lease)?, None, at)));
        let (_, next, at) = timers.chain(leases).min()?;
        Some(match (next, &self.world.ledger) {
            (Some((peer, timer)), _) => Action::Fire(peer, timer),
            (None, Ledgers::One(_)) => Action::LeaseRunsOut,
            (None, Ledgers::Several(_)) => Action::At(at, ProcessAction::LeaseRunsOut),
        })
    }

    /// What is still missing.
    fn missing(&self) -> Option<Violation> {
        let unheard = match self.cut {
            Cut::FromLedger(peer) | Cut::AnswersOfLedger(peer) => BTreeSet::from([peer]),
            Cut::Nothing | Cut::FromOverlay(_) | Cut::Ledger | Cut::FirstAnswers | Cut::SlowReads | Cut::Liar => {
                BTreeSet::new()
            }
        };
        let settled = Settled {
            live: self.world.lives().map(|live| &live.participant).collect(),
            together: self.setup.ids().filter(|peer| self.cut != Cut::FromOverlay(*peer)).collect(),
            unheard,
            deaf: self.setup.ids().filter(|peer| self.setup.role(*peer).is_some_and(|role| role.deaf)).collect(),
            status: self.world.ledger.status(),
            books: self.world.observer.log().books(),
        };
        let found = if self.cut == Cut::Ledger {
            settled.nobody_leads_without_the_ledger()
        } else if self.setup.is_elected() {
            settled.there_is_one_trader_that_all_know()
        } else {
            settled.everybody_was_told().and_then(|()| settled.every_seller_has_goods())
        };
        found.err()
    }
}
