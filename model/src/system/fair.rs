//! What becomes of a state once faults stop: the fair schedule (DESIGN 5, L1-L3, C2), in virtual time.
//!
//! There are no more faults and no more new requests. Cuts are healed, except for the one that stays; crashed peers
//! come back or stay away for good. Everything under way arrives, and every peer learns the state of its connections;
//! then the timer that is due first fires. A buyer that was not told how its last request ended makes one more request,
//! since it learns that by asking. Whether the bazaar has converged is asked whenever all is quiet. The
//! schedule is one of many; the check is that its number of steps is bounded from every state.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    id::{Epoch, PeerId},
    input::Timer,
    invariant::{Property, Settled, Violation, is_untold},
};

use super::{
    Convergence, Opening, System, Way,
    step::Step,
    words,
    world::{Action, Budget, Live, Node, World},
};
use crate::{participants::world::Plans, subject::picture::Mark};

/// No buyer has any more requests, and a seller that is sold out deposits other goods (SPEC D8).
const AFTERWARDS: Plans = Plans { wishes: 0, deposits: u8::MAX };

/// The most steps that the way to the beginning of a scenario may take.
const OPENING: usize = 10_000;

/// Follows the fair schedule until the bazaar has converged and that has lasted, and returns the number of steps it
/// took.
///
/// # Errors
/// What is missing, if the bazaar has not converged within the stated number of steps.
pub fn converges(setup: &System, world: &World, convergence: Convergence) -> Result<usize, Violation> {
    let mut step = Step::on(setup, world.clone());
    step.stop_faults(convergence);
    let together = together(setup, &step.world, convergence.cut);
    if together.is_empty() {
        return Ok(0);
    }
    // The epoch in which all was well at the last look, and for how long it has been well.
    let mut well: Option<(Epoch, Duration)> = None;
    let mut steps = 0;
    let endless = |what: &str| Violation { property: Property::L1, position: None, what: what.to_owned() };
    let missing = loop {
        let is_quiet = step.flow(&mut steps, convergence.within).is_some();
        if let Some(violation) = &step.world.violation {
            return Err(Violation::clone(violation));
        }
        let missing = step.missing(&together, convergence.cut);
        if !is_quiet {
            break missing.unwrap_or_else(|| endless("every message causes another"));
        }
        let epoch = step.world.ledger.status().epoch();
        let since = match (&missing, well) {
            (Some(_), _) => None,
            (None, Some((same, since))) if same == epoch => Some(since),
            (None, Some(_) | None) => Some(Duration::ZERO),
        };
        if since.is_some_and(|since| since >= convergence.lasting) {
            return Ok(steps);
        }
        let passes = if steps < convergence.within { step.tick(false) } else { None };
        let Some((time, _)) = passes else {
            break missing.unwrap_or_else(|| endless("no leader lasts: one follows another"));
        };
        well = since.map(|since| (epoch, since + time));
        steps += 1;
    };
    Err(Violation { what: format!("{}, after {steps} steps", missing.what), ..missing })
}

/// The first steps of the fair schedule, in words and as a picture shows them.
pub fn follow(setup: &System, world: &World, convergence: Convergence, steps: usize) -> Vec<(String, Vec<Mark>)> {
    let mut step = Step::on(setup, world.clone());
    step.stop_faults(convergence);
    // Cuts, healed connections and restarts are shown with the first step.
    let mut changed = words::connections(setup, world, &step.world);
    let mut followed = Vec::new();
    while followed.len() < steps {
        let before = step.world.clone();
        let action = match step.next() {
            Some(action) => {
                step.act(&action);
                action
            }
            None => match step.tick(false) {
                Some((_, action)) => action,
                None => break,
            },
        };
        step.world.violation = None;
        changed.extend(words::happenings(setup, &before, &action, &step.world));
        followed.push((words::sentence(setup, &before, &action, &step.world), std::mem::take(&mut changed)));
    }
    followed
}

/// The live peers that hear each other while `cut` stays: the only group of more than one, or the only peer that is
/// alive. Empty where nothing can be demanded of anybody: all are alone, and each may rightly believe that it is the
/// last.
fn together(setup: &System, world: &World, cut: Option<Way>) -> BTreeSet<PeerId> {
    let mut groups: Vec<BTreeSet<PeerId>> = Vec::new();
    for live in world.lives() {
        let mut group = BTreeSet::from([live.id()]);
        groups.retain(|other| {
            let touches = |(one, two): &(u32, u32)| {
                let way = Way::between(PeerId(*one), PeerId(*two));
                let is_cut = cut.is_some_and(|cut| cut == way || cut == way.back());
                let (one, two) = (PeerId(*one), PeerId(*two));
                !is_cut && (other.contains(&one) && two == live.id() || other.contains(&two) && one == live.id())
            };
            let is_joined = setup.links.iter().any(touches);
            if is_joined {
                group.extend(other);
            }
            !is_joined
        });
        groups.push(group);
    }
    let is_alone = groups.len() == 1;
    groups.into_iter().find(|group| is_alone || group.len() > 1).unwrap_or_default()
}

impl Step<'_> {
    fn stop_faults(&mut self, Convergence { cut, restarts, .. }: Convergence) {
        self.is_timed = true;
        self.world.budget = Budget::default();
        for node in &mut self.world.nodes {
            node.change(|node| match node {
                Node::Up(live) => live.plans = AFTERWARDS,
                Node::Down { plans, .. } => *plans = AFTERWARDS,
            });
        }
        let ways: Vec<Way> = self.setup.ways().collect();
        for way in ways {
            if cut.is_some_and(|cut| cut == way || cut == way.back()) {
                self.cut(way);
            } else {
                self.heal(way);
            }
        }
        if restarts {
            for peer in self.setup.ids() {
                self.start(peer);
            }
        }
        // The lease starts now at the latest: where timing was free, how much of it is left is unknown.
        if self.world.ledger.is_lease_active() && self.world.lease.is_none() {
            self.world.lease = Some(super::TIMEOUTS.lease);
        }
    }

    /// Follows the fair schedule to where the scenario begins and the adversary takes over.
    pub(super) fn open(&mut self) {
        self.is_timed = true;
        let opening = self.setup.opening;
        let plans: Vec<Plans> = self.setup.cast.iter().map(|member| member.plans).collect();
        self.plan(|_| Plans::default());
        let mut steps = 0;
        while self.flow(&mut steps, OPENING).is_some() && !self.has_opened(opening) && steps < OPENING {
            if self.tick(opening == Opening::InOffice).is_none() {
                break;
            }
            steps += 1;
        }
        self.is_timed = self.setup.waits_matter();
        self.plan(|peer| plans.get(peer.0 as usize).copied().unwrap_or_default());
        if !self.is_timed {
            self.world.lease = None;
            for peer in self.setup.ids() {
                self.live(peer, |live| {
                    for wait in live.timers.values_mut().filter(|wait| !wait.is_zero()) {
                        *wait = super::step::SOME_TIME;
                    }
                });
            }
        }
    }

    fn plan(&mut self, plans: impl Fn(PeerId) -> Plans) {
        for peer in self.setup.ids() {
            let plans = plans(peer);
            self.live(peer, |live| live.plans = plans);
        }
    }

    fn has_opened(&self, opening: Opening) -> bool {
        let all: BTreeSet<PeerId> = self.setup.ids().collect();
        if self.settled(&all, None).there_is_one_trader_that_all_know().is_err() {
            return false;
        }
        let has_deposited = |live: &Live| {
            let booked = self.world.observer.log().books().sellers().contains_key(&live.id());
            live.peer.seller().is_none() || live.epoch().is_some() || booked
        };
        match opening {
            Opening::AtTheStart | Opening::InOffice => true,
            Opening::Deposited => self.world.lives().all(has_deposited),
        }
    }

    /// Lets everything under way arrive, until only the passing of time can change anything. `None` if that takes more
    /// than `within` steps or a property is violated on the way.
    fn flow(&mut self, steps: &mut usize, within: usize) -> Option<()> {
        while *steps < within && self.world.violation.is_none() {
            let Some(action) = self.next() else { return Some(()) };
            self.act(&action);
            *steps += 1;
        }
        self.next().is_none().then_some(())
    }

    /// The next step that takes no time, if there is one.
    fn next(&self) -> Option<Action> {
        let world = &self.world;
        for live in world.lives() {
            let peer = live.id();
            if let Some(place) = live.places().find(|place| world.is_news(self.setup, live, *place)) {
                return Some(Action::Notice(peer, place));
            }
            if !live.writes.is_empty() {
                return Some(Action::Persist(peer));
            }
            if live.synced.is_some() {
                return Some(Action::Confirm(peer));
            }
            if let Some((choice, _)) = live.choices.iter().find(|(choice, _)| live.may_choose(**choice)) {
                return Some(Action::Pick(peer, *choice, 0));
            }
        }
        let mut ways = self.setup.ways().zip(&world.channels);
        let next = ways.find(|(_, channel)| channel.queue.front().is_some_and(|next| world.is_taken(self.setup, next)));
        match next {
            Some((way, _)) => Some(Action::Arrive(way)),
            None if !world.ledger.reads().is_empty() => Some(Action::Read(0)),
            None if world.ledger.is_unsynced() => Some(Action::Sync),
            None if world.ledger.is_unanswered() => Some(Action::Answer),
            None => None,
        }
    }

    /// Lets the timer that is due first fire, if one is armed, and returns how long that took and the step. While all
    /// are `idle`, nobody deposits.
    fn tick(&mut self, idle: bool) -> Option<(Duration, Action)> {
        let untold = self.untold();
        let counts = |live: &Live, timer: Timer, wait: Duration| match timer {
            // A buyer with no more requests has nothing to decide.
            Timer::Buyer => !wait.is_zero() || Some(live.id()) == untold,
            Timer::Seller => !wait.is_zero() || !idle,
            Timer::Election
            | Timer::LedgerRetry
            | Timer::LedgerGiveUp
            | Timer::Renewal
            | Timer::Wave
            | Timer::Gather
            | Timer::ClockInterval => true,
        };
        let timers = self.world.lives().flat_map(|live| {
            let armed = live.timers.iter().filter(|(timer, wait)| counts(live, **timer, **wait));
            armed.map(|(timer, wait)| (*wait, Some((live.id(), *timer))))
        });
        let next = timers.chain(self.world.lease.map(|wait| (wait, None))).min();
        let (wait, due) = next?;
        self.elapse(wait);
        let action = due.map_or(Action::LeaseRunsOut, |(peer, timer)| Action::Fire(peer, timer));
        match due {
            Some((peer, timer)) => {
                if timer == Timer::Buyer && Some(peer) == untold {
                    self.live(peer, |live| live.plans.wishes = 1);
                }
                self.fire(peer, timer);
            }
            None => self.act(&Action::LeaseRunsOut),
        }
        Some((wait, action))
    }

    fn elapse(&mut self, time: Duration) {
        if time.is_zero() {
            return;
        }
        for peer in self.setup.ids() {
            self.live(peer, |live| live.timers.values_mut().for_each(|wait| *wait = wait.saturating_sub(time)));
        }
        self.world.lease = self.world.lease.map(|lease| lease.saturating_sub(time));
    }

    /// A buyer that was not told how its last request ended and is not asking.
    fn untold(&self) -> Option<PeerId> {
        let books = self.world.observer.log().books();
        let is_untold = |live: &&Live| {
            let asks = live.participant().buyer().is_some_and(|buyer| buyer.asking().is_some());
            let is_free = !asks && live.epoch().is_none() && live.choices.is_empty();
            is_free && is_untold(live.participant(), books)
        };
        self.world.lives().find(is_untold).map(Live::id)
    }

    /// What is still missing among the peers that hear each other.
    fn missing(&self, together: &BTreeSet<PeerId>, cut: Option<Way>) -> Option<Violation> {
        let settled = self.settled(together, cut);
        let found = settled.there_is_one_trader_that_all_know();
        let found = found.and_then(|()| settled.everybody_was_told());
        let found = found.and_then(|()| settled.every_seller_has_goods());
        let live = self.world.lives().map(Live::participant);
        let together: Vec<_> = live.filter(|participant| together.contains(&participant.me().peer)).collect();
        found.and_then(|()| self.world.observer.on_quiet(&together)).err()
    }

    fn settled(&self, together: &BTreeSet<PeerId>, cut: Option<Way>) -> Settled<'_> {
        let is_unheard = |peer: &PeerId| cut.is_some_and(|cut| [cut, cut.back()].contains(&Way::to_ledger(*peer)));
        Settled {
            live: self.world.lives().map(Live::participant).collect(),
            together: together.clone(),
            unheard: self.setup.ids().filter(is_unheard).collect(),
            deaf: BTreeSet::new(),
            status: self.world.ledger.status(),
            books: self.world.observer.log().books(),
        }
    }
}
