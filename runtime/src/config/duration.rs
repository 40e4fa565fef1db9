//! Durations as people write them: a whole number and a unit, `500ms`, `20s`, `2m`, `1h`.

use std::time::Duration;

/// The longest duration that is accepted: a day. Adding up a few of them stays far from an overflow.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The units, the largest first, each with its milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration. Each message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is not a whole number followed by a unit.
    #[error("not a duration; write a whole number and a unit (ms, s, m or h), such as \"500ms\" or \"20s\"")]
    Malformed,
    /// It is a number without a unit, and not 0.
    #[error("a duration needs a unit; write \"{0}ms\", \"{0}s\", \"{0}m\" or \"{0}h\"")]
    NoUnit(String),
    /// The unit is not one of those known.
    #[error("\"{0}\" is not a unit of time; the units are ms, s, m and h")]
    UnknownUnit(String),
    /// It is longer than [`LONGEST`].
    #[error("too long; the longest duration is \"24h\"")]
    TooLong,
}

/// Reads a duration. `0` needs no unit.
///
/// # Errors
/// Says what is wrong with `text`, and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || !unit.chars().all(char::is_alphabetic) {
        return Err(DurationError::Malformed);
    }
    // The only thing that can be wrong with a number made of digits is too many of them.
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    if unit.is_empty() {
        return if number == 0 { Ok(Duration::ZERO) } else { Err(DurationError::NoUnit(number.to_string())) };
    }
    let Some((_, millis)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit(unit.to_owned()));
    };
    let duration = number.checked_mul(millis).map(Duration::from_millis).ok_or(DurationError::TooLong)?;
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// Writes a duration so that [`parse_duration`] reads it back, in the largest unit that fits without a fraction.
/// Anything finer than a millisecond is dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0ms".to_owned();
    }
    UNITS
        .into_iter()
        .find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)))
        .map_or_else(String::new, |(name, unit)| format!("{}{name}", millis / u128::from(unit)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers_with_a_unit_are_durations() {
        let read = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(read("500ms"), 500);
        assert_eq!(read(" 20 s "), 20_000);
        assert_eq!(read("2m"), 120_000);
        assert_eq!(read("24h"), LONGEST.as_millis());
        assert_eq!(read("0"), 0);
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        let refused = |text| parse_duration(text).unwrap_err().to_string();
        for malformed in ["", "s", "-1s", "1.5s", "1m30s", "fast", "½s"] {
            assert_eq!(parse_duration(malformed), Err(DurationError::Malformed), "{malformed}");
        }
        assert_eq!(refused("5"), "a duration needs a unit; write \"5ms\", \"5s\", \"5m\" or \"5h\"");
        assert_eq!(refused("5 days"), "\"days\" is not a unit of time; the units are ms, s, m and h");
        for long in ["25h", "86400001ms", "18446744073709551615h", "99999999999999999999ms"] {
            assert_eq!(refused(long), "too long; the longest duration is \"24h\"");
        }
    }

    #[test]
    fn a_duration_is_written_in_the_largest_whole_unit() {
        let written = |millis| format_duration(Duration::from_millis(millis));
        assert_eq!([written(0), written(1_500), written(20_000)], ["0ms", "1500ms", "20s"]);
        assert_eq!([written(90_000), written(120_000), written(86_400_000)], ["90s", "2m", "24h"]);
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(millis in 0..=86_400_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,30}|[0-9]{0,30}[a-z]{0,3}") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert!(duration <= LONGEST);
            }
        }
    }
}
