//! What buyers and sellers have in common: their doors.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{effect::Note, input::Choice, message::ClientMessage};

/// What can happen to a client. `S` is its status in the books, `T` its timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientInput<S, T> {
    /// There is a trader to turn to: another one, or the same for a new epoch.
    TraderKnown,
    /// There is none, or the peer is in office itself and does not trade (SPEC B7, B8).
    TraderGone,
    /// One of its timers fires.
    Fired(T),
    /// Its choice is made.
    Chose(u32),
    /// The trader tells how it stands. All of it is durable, whenever it was sent.
    Told(S),
}

/// What a client wants done. `T` is its timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientEffect<T> {
    /// Say this to the trader.
    Tell(ClientMessage),
    /// Tell everybody the clock (SPEC C2).
    MulticastClock,
    /// Start a timer afresh.
    Arm(T, Duration),
    /// Pick one of so many.
    Choose(Choice, u32),
    /// Something to tell people.
    Note(Note),
}
