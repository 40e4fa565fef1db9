//! Durations as people write them: numbers with units, `500ms`, `1.5s`, `2m`, `1h30m`; and ranges, `50ms..2s`.

use std::{ops::RangeInclusive, time::Duration};

use jiff::fmt::friendly::SpanParser;

/// The longest duration that is accepted: a day. Adding up a few of them stays far from an overflow.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The units that are written, the largest first, each with its milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration. Each message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is not made of numbers with units.
    #[error("not a duration; write numbers with units (h, m, s or ms), such as \"500ms\", \"1.5s\" or \"1h30m\"")]
    Malformed,
    /// It is a number without a unit, and not 0.
    #[error("a duration needs a unit; write \"{0}ms\", \"{0}s\", \"{0}m\" or \"{0}h\"")]
    NoUnit(String),
    /// It is not a whole number of milliseconds.
    #[error("too fine; the shortest step is a millisecond, \"1ms\"")]
    TooFine,
    /// It is longer than [`LONGEST`].
    #[error("too long; the longest duration is \"24h\"")]
    TooLong,
    /// It is a range whose end is before its start.
    #[error("a range goes from the shorter to the longer duration; write \"{0}\"")]
    Reversed(String),
    /// It is a range, and one of its ends is not a duration.
    #[error("at \"{text}\": {error}; a range is two durations, such as \"50ms..2s\"")]
    End {
        /// The end as written.
        text: String,
        /// What is wrong with it.
        error: Box<DurationError>,
    },
}

/// Reads a duration. `0` needs no unit.
///
/// # Errors
/// Says what is wrong with `text`, and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    // A sign means nothing here.
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.ends_with("ago") {
        return Err(DurationError::Malformed);
    }
    if let Ok(number) = text.parse::<f64>() {
        return if number == 0.0 { Ok(Duration::ZERO) } else { Err(DurationError::NoUnit(text.to_owned())) };
    }
    let duration = match DURATIONS.parse_unsigned_duration(text) {
        Ok(duration) => duration,
        // Of texts that are made like durations, those that do not fit are too long.
        Err(_) if is_too_long(text) => return Err(DurationError::TooLong),
        Err(_) => return Err(DurationError::Malformed),
    };
    if duration > LONGEST {
        Err(DurationError::TooLong)
    } else if !duration.as_nanos().is_multiple_of(1_000_000) {
        Err(DurationError::TooFine)
    } else {
        Ok(duration)
    }
}

const DURATIONS: SpanParser = SpanParser::new();

/// Whether a text would be a duration if its numbers were not so large.
fn is_too_long(text: &str) -> bool {
    let ones: String = text.chars().map(|c| if c.is_ascii_digit() { '1' } else { c }).collect();
    let mut short = String::new();
    for c in ones.chars() {
        if c != '1' || !short.ends_with('1') {
            short.push(c);
        }
    }
    DURATIONS.parse_unsigned_duration(&short).is_ok()
}

/// Reads a range of durations, `50ms..2s`, to which both ends belong. A single duration is a range of that one.
///
/// # Errors
/// Says what is wrong with `text`, and what would be right.
pub fn parse_range(text: &str) -> Result<RangeInclusive<Duration>, DurationError> {
    let Some((from, to)) = text.split_once("..") else {
        let only = parse_duration(text)?;
        return Ok(only..=only);
    };
    let end = |text: &str| {
        let text = text.trim();
        parse_duration(text).map_err(|error| DurationError::End { text: text.to_owned(), error: Box::new(error) })
    };
    let range = end(from)?..=end(to)?;
    if range.is_empty() {
        let (from, to) = range.into_inner();
        return Err(DurationError::Reversed(format_range(&(to..=from))));
    }
    Ok(range)
}

/// Writes a range so that [`parse_range`] reads it back: as a single duration if it holds only one.
#[must_use]
pub fn format_range(range: &RangeInclusive<Duration>) -> String {
    let (from, to) = (format_duration(*range.start()), format_duration(*range.end()));
    if from == to { from } else { format!("{from}..{to}") }
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
    fn numbers_with_units_are_durations() {
        let read = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(read("1.5s"), 1_500);
        assert_eq!(read("1h30m"), 5_400_000);
        assert_eq!(read("1h 30m 5s"), 5_405_000);
        assert_eq!(read("0.25h"), 900_000);
        assert_eq!(read("2 minutes"), 120_000);
        assert_eq!(read("500ms"), 500);
        assert_eq!(read(" 20 s "), 20_000);
        assert_eq!(read("2m"), 120_000);
        assert_eq!(read("24h"), LONGEST.as_millis());
        assert_eq!(read("0"), 0);
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        let refused = |text| parse_duration(text).unwrap_err().to_string();
        for malformed in ["", "s", "-1s", "1s ago", "30s1m", "1.5h30m", "fast", "½s", "5 days", "PT1S", "1s1s", "inf s"]
        {
            assert_eq!(parse_duration(malformed), Err(DurationError::Malformed), "{malformed}");
        }
        assert_eq!(refused("5"), "a duration needs a unit; write \"5ms\", \"5s\", \"5m\" or \"5h\"");
        assert_eq!(refused("1.5"), "a duration needs a unit; write \"1.5ms\", \"1.5s\", \"1.5m\" or \"1.5h\"");
        assert_eq!(refused("1.5ms"), "too fine; the shortest step is a millisecond, \"1ms\"");
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

    #[test]
    fn a_range_goes_from_the_shorter_to_the_longer_duration() {
        let millis = Duration::from_millis;
        assert_eq!(parse_range("50ms..2s"), Ok(millis(50)..=millis(2_000)));
        assert_eq!(parse_range(" 0 .. 1 m "), Ok(millis(0)..=millis(60_000)));
        assert_eq!(parse_range("2s"), Ok(millis(2_000)..=millis(2_000)));
        assert_eq!(format_range(&(millis(50)..=millis(2_000))), "50ms..2s");
        assert_eq!(format_range(&(millis(50)..=millis(50))), "50ms");
    }

    #[test]
    fn a_wrong_range_is_refused_with_what_would_be_right() {
        let refused = |text| parse_range(text).unwrap_err().to_string();
        let reversed = "a range goes from the shorter to the longer duration; write \"50ms..2s\"";
        assert_eq!(refused("2s..50ms"), reversed);
        let right = "a range is two durations, such as \"50ms..2s\"";
        assert!(refused("50ms..").starts_with("at \"\": not a duration; write numbers with units"));
        assert_eq!(
            refused("50..2s"),
            format!("at \"50\": a duration needs a unit; write \"50ms\", \"50s\", \"50m\" or \"50h\"; {right}")
        );
        for wrong in ["..", "..2s", "50ms...2s", "50ms..never", "1s..2s..3s", "1s..25h"] {
            assert!(refused(wrong).ends_with(right), "{wrong}: {}", refused(wrong));
        }
        assert_eq!(parse_range("fast"), Err(DurationError::Malformed));
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
