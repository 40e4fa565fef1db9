//! The stable order (SPEC C5; DESIGN F1-F12): which buyers are waited for, how far each was heard, and what may be written.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{Plan, Requests, Trader};
use crate::{
    account::QueueKey,
    books::Ahead,
    clock::{Clock, Time},
    config::{Ordering, Terms},
    id::{Incarnation, Life, PeerId},
    message::Promise,
    record::{Entry, Record, Request},
};

/// What a trader knows of buyers beside the books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Order {
    /// What buyers have promised, of each the furthest.
    promises: BTreeMap<PeerId, Heard>,
    /// Those of them that have no seat in the life that promises.
    standing: BTreeSet<PeerId>,
    levels: Levels,
    /// The lives that ask for seats, by a request that is their first or because they have lost theirs.
    joining: BTreeMap<PeerId, Incarnation>,
    /// For how many heartbeats in a row a buyer that is waited for has not been heard.
    silences: BTreeMap<PeerId, u32>,
    /// The buyers that are to lose their seats.
    silent: BTreeSet<PeerId>,
}

impl Order {
    /// A life asks for a seat.
    pub(super) fn join(&mut self, buyer: PeerId, incarnation: Incarnation) {
        let joins = self.joining.entry(buyer).or_default();
        *joins = incarnation.max(*joins);
    }
}

/// How far the buyers with a seat were heard of which no request waits: what they ask for next is stamped above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Levels {
    of_buyer: BTreeMap<PeerId, Time>,
    in_order: BTreeSet<(Time, PeerId)>,
}

impl Levels {
    fn set(&mut self, buyer: PeerId, level: Option<Time>) {
        let known = match level {
            Some(level) => self.of_buyer.insert(buyer, level),
            None => self.of_buyer.remove(&buyer),
        };
        if known != level {
            self.in_order.extend(level.map(|level| (level, buyer)));
            known.map(|known| self.in_order.remove(&(known, buyer)));
        }
    }

    fn least(&self) -> Option<Time> {
        self.in_order.first().map(|(level, _)| *level)
    }
}

/// The furthest promise of a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Heard {
    incarnation: Incarnation,
    above: Time,
}

impl Trader {
    /// Takes a request that waits for the next batch, or longer.
    pub(super) fn hold(&mut self, request: Request) {
        let (buyer, (incarnation, _)) = (request.id.buyer, request.id.sequence.split());
        // The first that a life asks for seats it.
        if self.books.ordering() == Some(Ordering::Stable) && self.books.is_first(&request) {
            self.order.join(buyer, incarnation);
        }
        self.requests.put(request);
        self.heed(buyer);
    }

    pub(super) fn may_be_seated(&self, buyer: PeerId, incarnation: Incarnation) -> bool {
        let account = self.books.buyers().get(&buyer);
        self.books.ordering() == Some(Ordering::Stable)
            && account.is_none_or(|account| account.may_be_seated(incarnation))
    }

    /// What the trader itself asked for before it claimed the office. In the stable order a trader's request that was not
    /// admitted by the end of its term never is (SPEC C5), so it is admitted first of all; it is served when its place
    /// comes, whoever is in office then.
    pub fn take_own(&mut self, request: &Request) {
        let is_stable = self.books.ordering() == Some(Ordering::Stable);
        if is_stable && request.id.buyer == self.me && self.books.is_admissible(request) {
            self.requests.put(request.clone());
            self.heed(self.me);
        }
    }

    /// Takes the promises of buyers, which need no answer.
    pub fn on_promises(&mut self, promises: Vec<(PeerId, Promise)>) {
        for (buyer, promise) in promises {
            self.hear(buyer);
            self.on_promise(buyer, promise);
        }
    }

    /// A buyer has said how far it is. What it says as a seller does not count.
    pub(super) fn hear(&mut self, buyer: PeerId) {
        self.order.silences.remove(&buyer);
        self.order.silent.remove(&buyer);
    }

    fn on_promise(&mut self, from: PeerId, Promise { incarnation, above, open }: Promise) {
        if !self.may_trade(from) {
            return;
        }
        if let Some(request) = open.filter(|request| request.id.buyer == from && self.books.is_admissible(request)) {
            self.hold(request);
        }
        let heard = Heard { incarnation, above };
        let furthest = self.order.promises.entry(from).or_insert(heard);
        *furthest = heard.max(*furthest);
        self.heed(from);
    }

    /// Brings up to date what is known of a buyer whose account, request or promise has changed.
    pub(super) fn heed(&mut self, buyer: PeerId) {
        if self.books.ordering() != Some(Ordering::Stable) {
            return;
        }
        self.order.levels.set(buyer, self.level(buyer));
        if self.order.promises.get(&buyer).is_some_and(|heard| self.may_be_seated(buyer, heard.incarnation)) {
            self.order.standing.insert(buyer);
        } else {
            self.order.standing.remove(&buyer);
        }
    }

    fn levels_are_up_to_date(&self) -> bool {
        self.books.buyers().keys().all(|buyer| self.level(*buyer) == self.order.levels.of_buyer.get(buyer).copied())
    }

    /// How far a buyer was heard, if it is waited for.
    fn level(&self, buyer: PeerId) -> Option<Time> {
        let account = self.books.buyers().get(&buyer)?;
        let seat = account.seated()?;
        let held = self.requests.of_buyer.get(&buyer).filter(|request| self.books.is_admissible(request));
        let waits = account.open.is_some() || held.is_some();
        let of_seat = |heard: &&Heard| mutant!(heard.incarnation == seat; NewLifeOnOldSeat => true);
        let promise = self.order.promises.get(&buyer).filter(of_seat);
        mutant!(SeatsForgotten => {
            promise?;
        });
        let level = account.bound.max(promise.map_or(Time(0), |heard| heard.above));
        (mutant!(buyer != self.me; WaitsForItself => true) && !waits).then_some(level)
    }

    /// The place of the next request, if it waits until buyers were heard past it (SPEC C5).
    #[must_use]
    pub fn waits(&self) -> Option<Time> {
        if self.books.ordering() != Some(Ordering::Stable) {
            return None;
        }
        let held = self.requests.first(&self.books).map(|(key, _)| key);
        let next = held.into_iter().chain(self.books.first_place()).min()?.time;
        self.order.levels.least().is_some_and(|level| level < next).then_some(next)
    }

    /// The buyers for which the next request waits: those with a seat that were not heard past its place, and of which no
    /// request waits itself. The trader does not wait for itself.
    pub fn awaited(&self) -> impl Iterator<Item = PeerId> + '_ {
        let next = self.waits().unwrap_or_default();
        self.order.levels.in_order.iter().take_while(move |(level, _)| *level < next).map(|(_, buyer)| *buyer)
    }

    /// A heartbeat has gone out. A buyer that is waited for and was not heard before the last of `most` of them in a row,
    /// at least one, loses its seat.
    pub fn count_silence(&mut self, most: u32) {
        let before = core::mem::take(&mut self.order.silences);
        self.order.silences = self
            .awaited()
            .map(|buyer| (buyer, before.get(&buyer).map_or(1, |count| count.saturating_add(1))))
            .collect();
        // It knows that it is alive.
        mutant!(WaitsForItself => self.order.silences.retain(|buyer, _| *buyer != self.me));
        mutant!(WaitsForTheDead => return);
        self.order
            .silent
            .extend(self.order.silences.iter().filter(|(_, count)| **count >= most).map(|(buyer, _)| *buyer));
    }

    /// The next batch in the stable order: the waiting deposits, the trader's own request, the seats that are lost and
    /// taken, then, from the smallest place on, admissions with their outcomes, up to the first place past which some buyer
    /// was not heard.
    pub(super) fn plan_in_order(&mut self, terms: &Terms, clock: &mut Clock) -> Vec<Record> {
        let has_ended = self.books.term().is_none_or(|term| term.ended);
        if has_ended {
            return Vec::new();
        }
        debug_assert!(mutant!(self.levels_are_up_to_date(); UnseatingNotWritten => true));
        let Trader { me, books, requests, deposits, order, resigns: _ } = self;
        let limit = terms.batch_limit as usize;
        let plan = Plan { me: *me, terms, ahead: Ahead::of(Arc::make_mut(books)), limit, records: Vec::new() };
        let mut next = Next { plan, requests, order, taken: Vec::new() };
        next.plan.book(deposits, clock);
        next.admit_own(clock);
        next.unseat(clock);
        for candidate in next.candidates() {
            next.seat(candidate, clock);
        }
        next.serve(clock);
        let (records, taken) = next.finish();
        taken.into_iter().for_each(|buyer| self.heed(buyer));
        records
    }
}

/// A batch being planned in the stable order.
struct Next<'a> {
    plan: Plan<'a>,
    requests: &'a mut Requests,
    order: &'a mut Order,
    /// The buyers whose requests are planned now.
    taken: Vec<PeerId>,
}

/// A life that wants a seat.
struct Candidate {
    buyer: PeerId,
    incarnation: Incarnation,
    /// What it has promised, if that is why.
    promised: Option<Time>,
}

impl Next<'_> {
    fn admit_own(&mut self, clock: &mut Clock) {
        let me = self.plan.me;
        if self.plan.room() > 0
            && let Some(own) = self.requests.take(me)
        {
            self.taken.push(me);
            // Its first may not be late: it is asked for anew once this peer is out of office.
            if !self.is_passed_first(&own) {
                self.plan.admit(Some(own), clock);
            }
        }
    }

    fn unseat(&mut self, clock: &mut Clock) {
        let Order { promises, standing, levels, silences, silent, .. } = &mut *self.order;
        while self.plan.room() > 0
            && let Some(buyer) = silent.pop_first()
        {
            if levels.of_buyer.contains_key(&buyer) {
                levels.set(buyer, None);
                mutant!(UnseatingNotWritten => continue);
                self.plan.write(clock, Entry::Unseated { buyer });
            }
            silences.remove(&buyer);
            // What it promised before must not seat it again: it has to be heard anew.
            mutant!(promises.remove(&buyer); OldPromiseSeats => None);
            mutant!(standing.remove(&buyer); OldPromiseSeats => standing.insert(buyer));
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let Order { promises, standing, joining, .. } = &*self.order;
        let joins = joining.iter().map(|(buyer, life)| Candidate { buyer: *buyer, incarnation: *life, promised: None });
        let promised = standing.iter().filter_map(|buyer| {
            let Heard { incarnation, above } = *promises.get(buyer)?;
            Some(Candidate { buyer: *buyer, incarnation, promised: Some(above) })
        });
        joins.chain(promised).collect()
    }

    /// Seats a life, if it may be seated now. A life that joins is seated by its first request, if that is in time. Otherwise
    /// it asks for nothing, and for nothing anew, before it has heard of its seat: later than anything so far.
    fn seat(&mut self, Candidate { buyer, incarnation, promised }: Candidate, clock: &mut Clock) {
        let account = self.plan.ahead.buyers().get(&buyer);
        let may_be = mutant!(
            account.is_none_or(|account| account.may_be_seated(incarnation));
            NewLifeOnOldSeat => account.is_none_or(|account| account.seat.is_none())
        );
        if !may_be {
            self.order.joining.remove(&buyer);
            return;
        }
        let held = self.requests.of_buyer.get(&buyer);
        let is_passed = held.is_some_and(|request| self.is_passed_first(request));
        let is_its_first = |request: &&Request| {
            self.plan.ahead.is_first(request) && !is_passed && request.id.sequence.split().0 == incarnation
        };
        let asked = held.filter(is_its_first).filter(|_| promised.is_none());
        let above = promised.or(asked.map(|request| request.stamp.time));
        let above = above.unwrap_or(clock.now().next());
        let below = |floor: QueueKey| above < floor.time;
        let is_behind = mutant!(self.plan.ahead.floor().is_some_and(below); SeatBelowFloor => false);
        if is_behind || self.plan.room() < 2 {
            return;
        }
        // What it asked for before it promised comes first; the seat says that nothing of the kind is under way. A first
        // request that came too late is made anew.
        if held.is_some_and(|request| request.stamp.time <= above) {
            let held = self.requests.take(buyer);
            self.plan.admit(held.filter(|_| !is_passed), clock);
            self.taken.push(buyer);
        }
        self.plan.write(clock, Entry::Seated { buyer: Life { peer: buyer, incarnation }, above });
        self.order.joining.remove(&buyer);
        // Of a former life it is stale now.
        let held = self.requests.of_buyer.get(&buyer);
        if held.is_some_and(|request| !self.plan.ahead.is_admissible(request)) {
            self.requests.take(buyer);
            self.taken.push(buyer);
        }
        let is_open = self.plan.ahead.buyers().get(&buyer).is_some_and(|account| account.open.is_some());
        let waits = is_open || self.requests.of_buyer.contains_key(&buyer);
        self.order.levels.set(buyer, (!waits).then_some(above));
    }

    /// Adds admissions with their outcomes, from the smallest place on, as far as all buyers were heard.
    fn serve(&mut self, clock: &mut Clock) {
        let may_admit = mutant!(
            true;
            InheritedBarrierKept => self.plan.ahead.term().is_some_and(|term| term.inherited == 0)
        );
        let barrier = self.order.levels.least();
        while self.plan.room() > 0 {
            let held = self.requests.first(&self.plan.ahead).filter(|_| may_admit);
            let first = self.plan.ahead.first_place();
            let Some(next) = held.map(|(place, _)| place).into_iter().chain(first).min() else { break };
            let is_before =
                |barrier: Time| mutant!(barrier < next.time; ServedAtThePromise => barrier.0 + 1 < next.time.0);
            if barrier.is_some_and(is_before) {
                break;
            }
            if let Some((_, buyer)) = held.filter(|(place, _)| *place == next) {
                // Admission and outcome are one step, unless they never fit a batch together.
                let needed = if self.plan.is_last_sale() { 3 } else { 2 };
                if self.plan.room() < needed && !self.plan.records.is_empty() {
                    break;
                }
                self.taken.push(buyer);
                if !self.plan.admit(self.requests.take(buyer), clock) {
                    break;
                }
            }
            if !self.plan.serve_one(clock) {
                break;
            }
        }
    }

    /// The records, and the buyers whose requests are planned. The books are as they were.
    fn finish(self) -> (Vec<Record>, Vec<PeerId>) {
        (self.plan.records, self.taken)
    }

    /// Whether this is a request of a life that never had a seat, and its place was passed: it would be late without having
    /// lost anything.
    fn is_passed_first(&self, request: &Request) -> bool {
        let ahead = &self.plan.ahead;
        mutant!(ahead.is_passed(QueueKey::of(request)) && ahead.is_first(request); FirstIsLate => false)
    }
}
