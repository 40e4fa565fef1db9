//! Lamport's logical clock, written ahead so that it never goes back across a crash (SPEC C1, C3; DESIGN R10).

use core::{
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

use crate::id::PeerId;

/// A reading of a Lamport clock.
///
/// It is hashed as an `i64`, and nothing else in this crate is. So a hasher can tell readings from everything else and
/// treat all readings of a state relative to one another (they are only ever compared, raised to the larger, and
/// incremented), as the models do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Hash for Time {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i64(self.0 as i64);
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A reading together with the peer whose clock it is. Stamps are totally ordered by (time, peer) (SPEC C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The clock reading.
    pub time: Time,
    /// The peer whose clock it was.
    pub peer: PeerId,
}

/// A peer's Lamport clock.
///
/// The clock is *written ahead*: [`Clock::bound`] is durable, and nothing above it may be sent on the clock's behalf.
/// After a restart the clock resumes at the bound, above everything it can have sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clock {
    peer: PeerId,
    now: Time,
    bound: Time,
}

impl Clock {
    /// A reading further ahead of one's own than this is absurd, and the message that carries it is refused: at a
    /// million ticks a second it is 12 days ahead.
    pub const MAX_LEAD: u64 = 1 << 40;

    /// The clock of `peer`, resuming at the durable bound of its former lives; 0 for a first life.
    #[must_use]
    pub fn resume(peer: PeerId, bound: Time) -> Clock {
        Clock { peer, now: mutant!(bound; ClockResumesAtZero => Time(0)), bound }
    }

    /// The current reading.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The highest reading that may be sent: the last bound known to be durable.
    #[must_use]
    pub fn bound(&self) -> Time {
        self.bound
    }

    /// A local event or a send: the clock advances by one. The stamp is unique, since no reading is used twice.
    pub fn tick(&mut self) -> Stamp {
        self.now.0 += 1;
        Stamp { time: self.now, peer: self.peer }
    }

    /// A message stamped `sent` has been received at its destination: max + 1 (Lamport 1978, IR2).
    pub fn receive(&mut self, sent: Time) {
        let latest = mutant!(self.now.max(sent); ReceiveIgnoresSender => self.now);
        self.now = Time(latest.0 + mutant!(1; ReceiveWithoutPlusOne => 0));
    }

    /// Something stamped `read` was read, like the books on taking office. That is no event of its own, so there is no
    /// + 1.
    pub fn catch_up(&mut self, read: Time) {
        self.now = self.now.max(read);
    }

    /// Whether `sent` is at most [`Clock::MAX_LEAD`] ahead of this clock.
    #[must_use]
    pub fn is_plausible(&self, sent: Time) -> bool {
        Clock::is_plausible_at(self.now, sent)
    }

    /// Whether `sent` is at most [`Clock::MAX_LEAD`] ahead of a clock at `now`.
    #[must_use]
    pub fn is_plausible_at(now: Time, sent: Time) -> bool {
        sent.0 <= now.0.saturating_add(Self::MAX_LEAD)
    }

    /// A bound has become durable.
    pub fn extend(&mut self, bound: Time) {
        self.bound = self.bound.max(bound);
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_comes_after_its_send_even_when_the_receiver_is_ahead() {
        let mut clock = Clock::resume(PeerId(1), Time(10));
        clock.receive(Time(4));
        assert_eq!(clock.now(), Time(11));
        clock.receive(Time(20));
        assert_eq!(clock.now(), Time(21));
    }

    #[test]
    fn a_restarted_clock_resumes_above_everything_it_can_have_sent() {
        let mut clock = Clock::resume(PeerId(1), Time(0));
        clock.extend(Time(8));
        let sent = clock.tick();
        assert!(Clock::resume(PeerId(1), clock.bound()).tick() > sent);
    }

    #[test]
    fn equal_times_are_ordered_by_peer() {
        assert!(Stamp { time: Time(3), peer: PeerId(2) } < Stamp { time: Time(3), peer: PeerId(10) });
    }
}
