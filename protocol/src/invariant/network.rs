//! The overlay (S10).

use alloc::{collections::BTreeSet, format};

use super::{Property, Violation};
use crate::{
    id::{Life, PeerId},
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
        let what = format!("peer {from} sent to peer {to}, which is no neighbour of it");
        return Err(Violation::off_the_log(Property::S10, what));
    }
    Ok(())
}

/// S10: each life of a receiver is given a flood at most once, by however many paths it comes. `delivered` is all that
/// was delivered, with to whom.
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
