//! Lamport's logical clock, written ahead so that it never goes back across a crash (SPEC C1, C3; DESIGN R10).

use core::{
    fmt,
    hash::{Hash, Hasher},
    time::Duration,
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

impl Time {
    /// The reading that is `ticks` later.
    #[must_use]
    pub fn plus(self, ticks: u64) -> Time {
        Time(self.0.saturating_add(ticks))
    }

    /// The next reading.
    #[must_use]
    pub fn next(self) -> Time {
        self.plus(1)
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
    /// The highest reading of all; every other is absurd, wherever it comes from (SPEC I8). At a million ticks a second
    /// it is 146,000 years ahead, and a clock that is raised to it can still tick for longer.
    ///
    /// How far a reading is ahead of one's own clock says nothing: a life that begins late is far behind all others, and
    /// a member with a bug that raises one clock must not have that peer refused by all the rest.
    pub const MOST: Time = Time(1 << 62);

    /// How much a clock may have read by the end of 2025.
    const HEAD_START: u64 = 1 << 51;

    /// By how much the ceiling rises in a second.
    const CEILING_RATE: u64 = 1 << 24;

    /// The highest reading that a driver may let in from elsewhere (SPEC I8), `since_2026` after the start of that year by
    /// its wall clock; no time at all if it is before.
    ///
    /// No clock gets there by honest work: the ceiling begins where a million ticks a second lead in 71 years, and
    /// rises by 16.7 million a second. A member with a bug raises the clocks no further than that, and from there on the
    /// others still have those 16.7 million ticks a second.
    #[must_use]
    pub fn ceiling(since_2026: Duration) -> Time {
        // It rises with every microsecond: whoever has just been raised to it is below it when its answer arrives.
        let risen = since_2026.as_micros().saturating_mul(u128::from(Self::CEILING_RATE)) / 1_000_000;
        Time(Self::HEAD_START.saturating_add(u64::try_from(risen).unwrap_or(u64::MAX))).min(Self::MOST)
    }

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
        self.now = self.now.next();
        Stamp { time: self.now, peer: self.peer }
    }

    /// A message stamped `sent` has been received at its destination: max + 1 (Lamport 1978, IR2).
    pub fn receive(&mut self, sent: Time) {
        let latest = mutant!(self.now.max(sent); ReceiveIgnoresSender => self.now);
        self.now = mutant!(latest.next(); ReceiveWithoutPlusOne => latest);
    }

    /// Something stamped `read` was read, like the books on taking office. That is no event of its own, so there is no
    /// + 1.
    pub fn catch_up(&mut self, read: Time) {
        self.now = self.now.max(read);
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

    // SPEC I8. Where it rose once a second, a member that sat at it muted all others for most of that second.
    #[test]
    fn the_ceiling_rises_faster_than_clocks_tick_at_any_moment() {
        let at = |micros| Clock::ceiling(Duration::from_micros(micros)).0;
        for micros in [0, 1, 999_999, 86_400_000_000] {
            assert!((16..=17).contains(&(at(micros + 1) - at(micros))), "{micros}");
        }
        assert_eq!(Clock::ceiling(Duration::MAX), Clock::MOST);
    }

    #[test]
    fn equal_times_are_ordered_by_peer() {
        assert!(Stamp { time: Time(3), peer: PeerId(2) } < Stamp { time: Time(3), peer: PeerId(10) });
    }
}
