//! The highest clock reading that is let in from elsewhere, by the wall clock of this machine ([`Clock::ceiling`]).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use bazaar_protocol::clock::{Clock, Time};

/// From 1970 to 2026.
const START: Duration = Duration::from_secs(1_767_225_600);

/// A reading above the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Above {
    reading: Time,
    ceiling: Time,
}

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Above { reading, ceiling } = self;
        write!(f, "the clock reading {reading} in it is above {ceiling}, the most by this machine's date")
    }
}

/// The reading, if it is above the ceiling.
pub(crate) fn above(reading: Time) -> Option<Above> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ceiling = Clock::ceiling(since_1970.saturating_sub(START));
    (reading > ceiling).then_some(Above { reading, ceiling })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_readings_are_below_the_ceiling_and_those_of_a_member_with_a_bug_are_not() {
        assert_eq!(above(Time(1 << 51)), None);
        assert!(above(Clock::MOST).is_some());
        let text = above(Time(u64::MAX)).map(|above| above.to_string()).unwrap_or_default();
        assert!(text.starts_with("the clock reading 18446744073709551615 in it is above 2"), "{text}");
    }
}
