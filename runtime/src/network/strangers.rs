//! The connections that have not yet said who they are, and who of them has to go when there are too many (SPEC I7).
//!
//! Everybody is let in, since a member looks like a stranger until its hello. There are [`Settings::strangers`] places.
//! Once all are taken, a newcomer gets the place of the stranger that has been there longest *of the source with the most
//! places*. A source that sends thousands therefore pushes out its own, and nobody from a source that sends few. On one
//! source the oldest goes first: a member needs a place for a round trip only, and loses it only if as many strangers as
//! there are places arrive from its own source within that time.
//!
//! [`Settings::strangers`]: crate::network::settings::Settings::strangers

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use crate::network::task::lock;

/// Where strangers come from: one address, or one network of IPv6, in which a single machine has as many addresses as it
/// likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Source {
        const NETWORK: u128 = u128::MAX << 64;
        Source(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        })
    }
}

/// How many strangers have come before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival(u64);

/// Who has a place.
#[derive(Debug)]
struct Table {
    room: usize,
    arrivals: u64,
    taken: usize,
    /// Never holds a source without places.
    sources: BTreeMap<Source, BTreeSet<Arrival>>,
}

impl Table {
    fn new(room: usize) -> Table {
        Table { room: room.max(1), arrivals: 0, taken: 0, sources: BTreeMap::new() }
    }

    /// Gives a newcomer a place. If there was none left, also returns who has lost its place to it.
    fn arrive(&mut self, source: Source) -> (Arrival, Option<(Source, Arrival)>) {
        let victim = if self.taken < self.room { None } else { self.victim(source) };
        if let Some((source, arrival)) = victim {
            self.leave(source, arrival);
        }
        self.arrivals += 1;
        let arrival = Arrival(self.arrivals);
        self.sources.entry(source).or_default().insert(arrival);
        self.taken += 1;
        (arrival, victim)
    }

    /// The oldest of the source with the most places. Among equals it is the newcomer's own source, so that nobody loses
    /// a place to a source that has as many, and otherwise the source of the oldest.
    fn victim(&self, newcomer: Source) -> Option<(Source, Arrival)> {
        let oldest = self.sources.iter().filter_map(|(source, places)| Some((*source, places.len(), *places.first()?)));
        oldest
            .max_by_key(|(source, places, oldest)| (*places, *source == newcomer, Reverse(*oldest)))
            .map(|(source, _, oldest)| (source, oldest))
    }

    fn leave(&mut self, source: Source, arrival: Arrival) {
        let Some(places) = self.sources.get_mut(&source) else { return };
        self.taken -= usize::from(places.remove(&arrival));
        if places.is_empty() {
            self.sources.remove(&source);
        }
    }
}

/// The strangers at a listener.
#[derive(Clone, Debug)]
pub(crate) struct Strangers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    table: Table,
    /// Dropping one of these shows its stranger out.
    stay: BTreeMap<Arrival, oneshot::Sender<()>>,
}

impl Strangers {
    pub(crate) fn new(room: usize) -> Strangers {
        Strangers(Arc::new(Mutex::new(State { table: Table::new(room), stay: BTreeMap::new() })))
    }

    /// How many there are at the moment.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(lock(&self.0).table.taken).unwrap_or(u32::MAX)
    }

    /// Gives a newcomer a place, which it keeps until it drops this or is shown out.
    pub(crate) fn arrive(&self, from: IpAddr) -> Place {
        let source = Source::from(from);
        let (stay, shown_out) = oneshot::channel();
        let mut state = lock(&self.0);
        let (arrival, victim) = state.table.arrive(source);
        state.stay.insert(arrival, stay);
        if let Some((_, victim)) = victim {
            state.stay.remove(&victim);
        }
        Place { strangers: self.clone(), source, arrival, shown_out, took_anothers: victim.is_some() }
    }
}

/// A place among the strangers. Dropping it leaves the place to somebody else.
#[derive(Debug)]
pub(crate) struct Place {
    strangers: Strangers,
    source: Source,
    arrival: Arrival,
    shown_out: oneshot::Receiver<()>,
    /// Whether somebody had to go for it.
    pub(crate) took_anothers: bool,
}

impl Place {
    /// Waits until the place is needed for another.
    pub(crate) async fn is_lost(&mut self) {
        // Nothing is ever sent, so this ends when the sender is dropped.
        let _ = (&mut self.shown_out).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.strangers.0);
        state.table.leave(self.source, self.arrival);
        state.stay.remove(&self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(address: [u8; 4]) -> Source {
        IpAddr::from(address).into()
    }

    #[test]
    fn on_one_source_the_oldest_goes_first() {
        let mut table = Table::new(2);
        let here = source([127, 0, 0, 1]);
        let (first, _) = table.arrive(here);
        let (second, lost) = table.arrive(here);
        assert_eq!(lost, None);
        let (_, lost) = table.arrive(here);
        assert_eq!(lost, Some((here, first)));
        table.leave(here, second);
        assert_eq!(table.arrive(here).1, None, "a place that was left is free");
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one_source() {
        let at = |text: &str| Source::from(text.parse::<IpAddr>().ok().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        assert_eq!(at("2001:db8:1:2::7"), at("2001:db8:1:2:ffff::1"));
        assert_ne!(at("2001:db8:1:2::7"), at("2001:db8:1:3::7"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"), "the same machine, however it is written");
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u8),
        Leave(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few sources, one of which sends most.
        let from = prop_oneof![4 => Just(0_u8), 1 => 1_u8..5];
        let step =
            prop_oneof![4 => from.prop_map(Step::Arrive), 1 => any::<prop::sample::Index>().prop_map(Step::Leave)];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn only_the_source_with_the_most_places_ever_loses_one_and_only_when_all_are_taken(
            room in 1_usize..12,
            steps in steps(),
        ) {
            let mut table = Table::new(room);
            let mut here: Vec<(Source, Arrival)> = Vec::new();
            for step in steps {
                match step {
                    Step::Leave(which) if !here.is_empty() => {
                        let (source, arrival) = here.remove(which.index(here.len()));
                        table.leave(source, arrival);
                    }
                    Step::Leave(_) => {}
                    Step::Arrive(from) => {
                        let newcomer = source([10, 0, 0, from]);
                        let places = |of: Source| here.iter().filter(|(source, _)| *source == of).count();
                        let (arrival, lost) = table.arrive(newcomer);
                        prop_assert_eq!(lost.is_some(), here.len() == room);
                        if let Some((loser, victim)) = lost {
                            let most = here.iter().map(|(source, _)| places(*source)).max();
                            prop_assert_eq!(Some(places(loser)), most);
                            prop_assert!(loser == newcomer || places(loser) > places(newcomer));
                            let oldest = here.iter().filter(|(source, _)| *source == loser).map(|(_, at)| *at).min();
                            prop_assert_eq!(Some(victim), oldest);
                            here.retain(|stranger| *stranger != (loser, victim));
                        }
                        here.push((newcomer, arrival));
                    }
                }
                prop_assert_eq!(table.taken, here.len());
                prop_assert!(here.len() <= room);
                prop_assert_eq!(table.sources.values().map(BTreeSet::len).sum::<usize>(), here.len());
            }
        }
    }
}
