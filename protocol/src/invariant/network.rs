//! The overlay (S10, A2).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};

use super::{Property, Violation};
use crate::{
    id::{Incarnation, Life, PeerId},
    message::FloodId,
};

/// S10: a peer hands envelopes to its direct neighbours and to nobody else (SPEC A2). `neighbours` are `from`'s.
///
/// # Errors
/// When `to` is not among them.
pub fn nothing_is_sent_to_a_non_neighbour(
    from: PeerId,
    to: PeerId,
    neighbours: &BTreeSet<PeerId>,
) -> Result<(), Violation> {
    if !neighbours.contains(&to) {
        let what = format!("peer {from} sent to peer {to}, which is not its neighbour");
        return Err(Violation::off_the_log(Property::S10, what));
    }
    Ok(())
}

/// S10: each life of a receiver is given a flood at most once, however many paths it arrives by. `delivered` is
/// everything that was delivered, and to whom; a peer's own broadcast counts as delivered to itself.
///
/// # Errors
/// When a life was given the same flood twice.
pub fn a_flood_is_delivered_at_most_once(
    delivered: impl IntoIterator<Item = (Life, FloodId)>,
) -> Result<(), Violation> {
    let mut once = BTreeSet::new();
    for (receiver, flood) in delivered {
        if !once.insert((receiver, flood)) {
            let what = format!(
                "flood {} of peer {} (incarnation {}) was delivered twice to peer {} (incarnation {})",
                flood.number, flood.origin, flood.incarnation, receiver.peer, receiver.incarnation
            );
            return Err(Violation::off_the_log(Property::S10, what));
        }
    }
    Ok(())
}

/// S10: what is meant for one peer is delivered to no other. `to` is whom it is meant for; `None`: everybody.
///
/// # Errors
/// When `at` is another.
pub fn nothing_is_delivered_to_another(at: PeerId, to: Option<PeerId>) -> Result<(), Violation> {
    match to {
        Some(to) if to != at => {
            let what = format!("a message for peer {to} was delivered to peer {at}");
            Err(Violation::off_the_log(Property::S10, what))
        }
        Some(_) | None => Ok(()),
    }
}

/// A2: a flood that reaches a peer for the first time is new there, however late it arrives and whatever is missing
/// before it. Three kinds may be dropped nevertheless: the peer's own; those from a life of their origin when a later
/// life has been heard there; and those below the `window`, which more than that many floods of the same life with
/// higher numbers have preceded ([`Limits::flood_window`](crate::config::Limits::flood_window)). Ask this about a flood
/// that `receiver` has dropped; `handed` is what this life of it was handed before.
///
/// # Errors
/// When the flood is new and none of these apply.
pub fn a_new_flood_is_dropped_only_below_the_window(
    receiver: PeerId,
    flood: FloodId,
    handed: &BTreeSet<FloodId>,
    window: u32,
) -> Result<(), Violation> {
    let last_of_life = FloodId { number: u64::MAX, ..flood };
    let next_life = FloodId { incarnation: flood.incarnation.next(), number: 0, ..flood };
    let is_former = handed.range(next_life..).next().is_some_and(|later| later.origin == flood.origin);
    if handed.contains(&flood) || is_former {
        return Ok(());
    }
    let later = handed.range(flood..=last_of_life).count() as u64;
    dropped_below_the_window(receiver, flood, later, window)
}

/// The same for a flood of the latest life of its origin that was not handed before; `later` ones of it were.
fn dropped_below_the_window(receiver: PeerId, flood: FloodId, later: u64, window: u32) -> Result<(), Violation> {
    if flood.origin == receiver || later > u64::from(window) {
        return Ok(());
    }
    let what = format!(
        "flood {} of peer {} (incarnation {}) came to peer {receiver} for the first time, after {later} later ones, \
         and was dropped",
        flood.number, flood.origin, flood.incarnation
    );
    Err(Violation::off_the_log(Property::A2, what))
}

/// A set of floods. The numbers of one life of one origin are kept as ranges, since nearly all of them arrive: so it
/// takes room for what is missing, not for what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Floods(BTreeMap<(PeerId, Incarnation), Vec<(u64, u64)>>);

impl Floods {
    /// Whether it contains this flood.
    pub(super) fn contains(&self, flood: FloodId) -> bool {
        let ranges = self.0.get(&(flood.origin, flood.incarnation));
        ranges.is_some_and(|ranges| {
            let at = ranges.partition_point(|(_, last)| *last < flood.number);
            ranges.get(at).is_some_and(|(first, _)| *first <= flood.number)
        })
    }

    /// Adds a flood.
    pub(super) fn insert(&mut self, flood: FloodId) {
        let (number, ranges) = (flood.number, self.0.entry((flood.origin, flood.incarnation)).or_default());
        // The first range that does not end below the number; usually the last, or none.
        let at = ranges.partition_point(|(_, last)| *last < number);
        if ranges.get(at).is_some_and(|(first, _)| *first <= number) {
            return;
        }
        let follows = at.checked_sub(1).is_some_and(|before| ranges[before].1.checked_add(1) == Some(number));
        let precedes = ranges.get(at).is_some_and(|(first, _)| number.checked_add(1) == Some(*first));
        match (follows, precedes) {
            (true, true) => {
                ranges[at - 1].1 = ranges[at].1;
                ranges.remove(at);
            }
            (true, false) => ranges[at - 1].1 = number,
            (false, true) => ranges[at].0 = number,
            (false, false) => ranges.insert(at, (number, number)),
        }
    }

    /// Like [`a_new_flood_is_dropped_only_below_the_window`], with this set as what was handed.
    pub(super) fn a_new_one_is_dropped_only_below_the_window(
        &self,
        receiver: PeerId,
        flood: FloodId,
        window: u32,
    ) -> Result<(), Violation> {
        let next_life = (flood.origin, flood.incarnation.next());
        let is_former = self.0.range(next_life..).next().is_some_and(|((origin, _), _)| *origin == flood.origin);
        if self.contains(flood) || is_former {
            return Ok(());
        }
        let ranges = self.0.get(&(flood.origin, flood.incarnation));
        let later = ranges.into_iter().flatten().filter(|(first, _)| *first > flood.number);
        let later = later.map(|(first, last)| last - first + 1).sum();
        dropped_below_the_window(receiver, flood, later, window)
    }
}

/// A2: a broadcast that is over has reached both ends of a link or neither, and therefore everybody whom a path
/// connects with its source. `reached` is everybody who has it, including the source. `links` are the sound links:
/// those that both ends considered up when it was sent, and that have lost nothing of it and not been down since.
/// # Errors
/// When one end has it and the other has not.
pub fn a_broadcast_reaches_both_ends_of_a_link_or_neither(
    reached: &BTreeSet<PeerId>,
    links: impl IntoIterator<Item = (PeerId, PeerId)>,
) -> Result<(), Violation> {
    for (one, other) in links {
        let (has, lacks) = if reached.contains(&one) { (one, other) } else { (other, one) };
        if reached.contains(&has) && !reached.contains(&lacks) {
            let what =
                format!("a broadcast reached peer {has} but not peer {lacks}, although the link between them is up");
            return Err(Violation::off_the_log(Property::A2, what));
        }
    }
    Ok(())
}

/// A2: a unicast that was lost nowhere and never arrived can only have ended at a peer that nothing connects with its
/// destination `to`. `at` is the last peer that had it with a path to follow: the relay that flooded it, if one did.
/// `links` are the sound ones, as for [`a_broadcast_reaches_both_ends_of_a_link_or_neither`].
///
/// # Errors
/// When a path over such links connects the two.
pub fn a_unicast_ends_only_where_no_path_is_left(
    at: PeerId,
    to: PeerId,
    links: impl IntoIterator<Item = (PeerId, PeerId)>,
) -> Result<(), Violation> {
    let links: BTreeSet<_> = links.into_iter().collect();
    let mut connected = BTreeSet::from([at]);
    loop {
        let before = connected.len();
        for (one, other) in &links {
            if connected.contains(one) || connected.contains(other) {
                connected.extend([*one, *other]);
            }
        }
        if connected.contains(&to) {
            let what =
                format!("a unicast for peer {to} ended with peer {at}, although there is still a path between them");
            return Err(Violation::off_the_log(Property::A2, what));
        }
        if connected.len() == before {
            return Ok(());
        }
    }
}

/// A9: after the last fault a unicast for a peer that its sender has heard since is not flooded. Ask this about a unicast
/// that the peer `at` floods; `was_heard` says whether its sender has heard the destination `to` since.
///
/// # Errors
/// When it has.
pub fn whoever_was_heard_since_is_reached_without_a_flood(
    at: PeerId,
    to: PeerId,
    was_heard: bool,
) -> Result<(), Violation> {
    if was_heard {
        let what = format!("peer {at} floods a message for peer {to}, which its sender has heard since the last fault");
        return Err(Violation::off_the_log(Property::A9, what));
    }
    Ok(())
}

/// A9: what is meant for a neighbour whose link is down is not flooded by the peer `at` beside it.
///
/// # Errors
/// When `at` floods a message for `to`, and `to` is such a neighbour.
pub fn nothing_is_flooded_for_a_neighbour_that_is_gone(at: PeerId, to: PeerId, is_gone: bool) -> Result<(), Violation> {
    if is_gone {
        let what = format!("peer {at} floods a message for its neighbour {to}, to which its link is down");
        return Err(Violation::off_the_log(Property::A9, what));
    }
    Ok(())
}

/// A2: a unicast follows the paths it finds for at most `limit` hops, so that it does not go in circles for ever.
/// `walked` is how many hops it has taken so far.
///
/// # Errors
/// When it has taken more.
pub fn a_unicast_goes_in_no_circle_for_ever(walked: u32, limit: u32) -> Result<(), Violation> {
    if walked > limit {
        let what = format!("a unicast has gone {walked} hops without being flooded");
        return Err(Violation::off_the_log(Property::A2, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links(pairs: &[(u32, u32)]) -> BTreeSet<(PeerId, PeerId)> {
        pairs.iter().map(|(one, other)| (PeerId(*one), PeerId(*other))).collect()
    }

    #[test]
    fn a_flood_may_be_dropped_that_came_before_or_is_stale_or_below_the_window() {
        let flood = |origin, incarnation, number| FloodId {
            origin: PeerId(origin),
            incarnation: Incarnation(incarnation),
            number,
        };
        let late = flood(0, 1, 2);
        let may_drop = |receiver, handed: &[FloodId], window| {
            let handed = handed.iter().copied().collect();
            a_new_flood_is_dropped_only_below_the_window(PeerId(receiver), late, &handed, window).is_ok()
        };
        assert!(!may_drop(1, &[], 1) && may_drop(0, &[], 1), "only its own");
        assert!(may_drop(1, &[late], 1), "it came before");
        assert!(may_drop(1, &[flood(0, 2, 1)], 1), "its origin is in a later life");
        assert!(
            !may_drop(1, &[flood(0, 1, 1), flood(2, 2, 1), flood(0, 1, 3)], 1),
            "another peer's, an earlier one, a later one"
        );
        assert!(may_drop(1, &[flood(0, 1, 3), flood(0, 1, 5)], 1), "two later ones: too many for a window of one");
        assert!(!may_drop(1, &[flood(0, 1, 3), flood(0, 1, 5)], 2));
    }

    proptest! {
        #[test]
        fn floods_kept_as_ranges_answer_like_a_set_of_them(
            numbers in proptest::collection::vec((0..2_u32, 1..3_u32, 1..12_u64), 0..40),
            window in 0..4_u32,
        ) {
            let (mut set, mut floods) = (BTreeSet::new(), Floods::default());
            for (origin, incarnation, number) in numbers {
                let flood = FloodId { origin: PeerId(origin), incarnation: Incarnation(incarnation), number };
                prop_assert_eq!(floods.contains(flood), set.contains(&flood));
                let kept = floods.a_new_one_is_dropped_only_below_the_window(PeerId(0), flood, window);
                prop_assert_eq!(kept, a_new_flood_is_dropped_only_below_the_window(PeerId(0), flood, &set, window));
                floods.insert(flood);
                set.insert(flood);
            }
            // The same set is the same value, whatever the order was.
            let mut sorted = Floods::default();
            set.iter().for_each(|flood| sorted.insert(*flood));
            prop_assert_eq!(sorted, floods);
        }
    }

    #[test]
    fn a_broadcast_may_miss_whom_only_a_broken_link_connects() {
        let reached = BTreeSet::from([PeerId(0), PeerId(1)]);
        assert!(a_broadcast_reaches_both_ends_of_a_link_or_neither(&reached, links(&[(0, 1), (2, 3)])).is_ok());
        assert!(a_broadcast_reaches_both_ends_of_a_link_or_neither(&reached, links(&[(2, 1)])).is_err());
    }

    #[test]
    fn a_unicast_may_end_where_no_path_is_left() {
        assert!(a_unicast_ends_only_where_no_path_is_left(PeerId(0), PeerId(3), links(&[(0, 1), (2, 3)])).is_ok());
        assert!(
            a_unicast_ends_only_where_no_path_is_left(PeerId(0), PeerId(3), links(&[(2, 3), (1, 2), (0, 1)])).is_err()
        );
    }
}
