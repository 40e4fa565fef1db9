//! Clocks, one step at a time (S7).

use alloc::format;

use super::{Property, Violation};
use crate::clock::Time;

/// S7: whatever a peer goes through, a crash included, its clock does not fall (SPEC C3). `before` and `after` are
/// readings of one peer; after a crash `before` is the highest that anybody can have seen.
///
/// # Errors
/// When it fell.
pub fn a_clock_never_goes_back(before: Time, after: Time) -> Result<(), Violation> {
    if after < before {
        return Err(Violation::off_the_log(Property::S7, format!("the clock went back from {before} to {after}")));
    }
    Ok(())
}

/// S7: a message that is merged is received later than it was sent (Lamport 1978, clock condition). `received` is the
/// receiver's clock right after.
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

/// S7: no clock leaves a peer above the bound it has durably written, so that a restart resumes above all that was
/// sent (DESIGN R10). `sent` is any clock in what leaves: an envelope's, a request's stamp, a record's in an append.
///
/// # Errors
/// When it is above.
pub fn nothing_is_sent_above_the_written_bound(sent: Time, bound: Time) -> Result<(), Violation> {
    if sent > bound {
        let what = format!("a clock of {sent} was sent while no more than {bound} is written");
        return Err(Violation::off_the_log(Property::S7, what));
    }
    Ok(())
}
