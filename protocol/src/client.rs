//! What buyers and sellers have in common: their inputs and effects.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    effect::Note,
    id::PeerId,
    input::Choice,
    message::{ClientMessage, Promise},
};

/// What can happen to a client. `S` is its status in the books, `T` its timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientInput<S, T> {
    /// There is a trader to turn to: a different one, or the same one for a new epoch.
    TraderKnown,
    /// There is no trader, or the peer is in office itself and does not trade (SPEC B7, B8).
    TraderGone,
    /// A trader's wave asks for a promise (SPEC C5).
    Asked(PeerId),
    /// One of its timers has fired.
    Fired(T),
    /// The index it was given for its choice, from 0.
    Chose(u32),
    /// The trader reports its status. All of it is durable, whenever it was sent.
    Told(S),
}

/// What a client wants done. `T` is its timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientEffect<T> {
    /// Send this to the trader.
    Tell(ClientMessage),
    /// Answer the wave of this trader.
    Promise(PeerId, Promise),
    /// Multicast the clock to everybody (SPEC C2).
    MulticastClock,
    /// Start a timer afresh.
    Arm(T, Duration),
    /// Make this choice, among so many options.
    Choose(Choice, u32),
    /// An event that people may want to read about.
    Note(Note),
}
