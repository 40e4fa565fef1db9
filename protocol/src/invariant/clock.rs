//! Clocks, one step at a time (S7).

use alloc::format;

use super::{Property, Violation};
use crate::{
    clock::{Stamp, Time},
    id::PeerId,
};

/// S7: whatever a peer goes through, including a crash, its clock does not go back (SPEC C3). `before` and `after` are
/// readings of one peer; after a crash `before` is the highest that anybody can have seen.
///
/// # Errors
/// When it went back.
pub fn a_clock_never_goes_back(before: Time, after: Time) -> Result<(), Violation> {
    if after < before {
        return Err(Violation::off_the_log(Property::S7, format!("the clock went back from {before} to {after}")));
    }
    Ok(())
}

/// S7: a message that is merged is received later than it was sent (Lamport 1978, clock condition). `received` is the
/// receiver's clock right after the receive.
///
/// # Errors
/// When it is not later.
pub fn a_receive_is_later_than_its_send(sent: Time, received: Time) -> Result<(), Violation> {
    if received <= sent {
        let what = format!("a message sent at {sent} was received at {received}");
        return Err(Violation::off_the_log(Property::S7, what));
    }
    Ok(())
}

/// S7: no clock leaves a peer above the bound it has durably written, so that a restart resumes above everything that
/// was sent (DESIGN R10). `sent` is any clock in what leaves: an envelope's, a request's stamp, a record's in an
/// append.
///
/// # Errors
/// When it is above.
pub fn nothing_is_sent_above_the_written_bound(sent: Time, bound: Time) -> Result<(), Violation> {
    if sent > bound {
        let what = format!("a clock of {sent} was sent while only {bound} is durable");
        return Err(Violation::off_the_log(Property::S7, what));
    }
    Ok(())
}

/// C2: once it is quiet, a peer's clock is at least every clock that was multicast.
///
/// # Errors
/// When the highest multicast has not reached it.
pub fn every_multicast_has_been_heard(peer: PeerId, clock: Time, multicast: Time) -> Result<(), Violation> {
    if clock < multicast {
        let what = format!("peer {peer}'s clock is at {clock}, but a clock of {multicast} was multicast");
        return Err(Violation::off_the_log(Property::C2, what));
    }
    Ok(())
}

/// F12: a wave has been answered, and nothing of it was lost or late. `heard` is a buyer's furthest promise that has
/// reached the trader, 0 if none has, and `made` what the buyer has promised to the wave.
///
/// # Errors
/// When the promise has not reached the trader.
pub fn every_promise_has_been_heard(buyer: PeerId, heard: Time, made: Time) -> Result<(), Violation> {
    if heard < made {
        let what = format!("buyer {buyer} has promised {made}, but the trader has heard {heard}");
        return Err(Violation::off_the_log(Property::F12, what));
    }
    Ok(())
}

/// F12: the answers to waves, each hop of each counted, are at most one of each other peer to each wave.
///
/// # Errors
/// When there are more.
pub fn a_wave_is_answered_in_few_envelopes(answers: usize, most: usize) -> Result<(), Violation> {
    if answers > most {
        let what = format!("{answers} envelopes have answered waves, {most} at most");
        return Err(Violation::off_the_log(Property::F12, what));
    }
    Ok(())
}

/// S7: whatever happened before an event is stamped before it, as (time, peer) (Lamport 1978, clock condition).
/// `earlier` is what happened before `later`, by a chain of events within peers and of messages: all of it, or the last
/// of each peer. It includes the same peer's last event, so that no stamp is used twice.
///
/// # Errors
/// When one of them has the same stamp or a later one.
pub fn what_happened_before_is_stamped_before(
    earlier: impl IntoIterator<Item = Stamp>,
    later: Stamp,
) -> Result<(), Violation> {
    let place = |stamp: &Stamp| (stamp.time.0, stamp.peer.0);
    if let Some(wrong) = earlier.into_iter().find(|earlier| place(earlier) >= place(&later)) {
        let what = format!(
            "peer {} stamped {} something that happened before what peer {} stamped {}",
            wrong.peer, wrong.time, later.peer, later.time
        );
        return Err(Violation::off_the_log(Property::S7, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(time: u64, peer: u32) -> Stamp {
        Stamp { time: Time(time), peer: PeerId(peer) }
    }

    #[test]
    fn what_happened_before_may_have_the_same_time_at_a_smaller_peer_only() {
        assert!(what_happened_before_is_stamped_before([stamp(3, 1), stamp(2, 7)], stamp(3, 2)).is_ok());
        assert!(what_happened_before_is_stamped_before([stamp(2, 1), stamp(3, 7)], stamp(3, 2)).is_err());
        assert!(what_happened_before_is_stamped_before([stamp(3, 2)], stamp(3, 2)).is_err(), "used twice");
    }
}
