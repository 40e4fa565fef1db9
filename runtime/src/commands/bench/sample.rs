//! Measured times, and what is said of them.

use std::time::Duration;

use serde_json::json;

/// Times, the shortest first.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<Duration>);

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Sample {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Sample(times)
    }
}

impl Sample {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn times(&self) -> &[Duration] {
        &self.0
    }

    /// All of both.
    #[must_use]
    pub fn and(&self, other: &Sample) -> Sample {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// The time that so many of a hundred do not exceed; zero where there is none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or_default()
    }

    /// The time in the middle.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        self.0.iter().sum::<Duration>() / count
    }

    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    /// What stands above [`Sample::cells`].
    pub const HEAD: [&'static str; 5] = ["mean", "p50", "p90", "p99", "max"];

    pub fn cells(&self) -> [String; 5] {
        [self.mean(), self.median(), self.percentile(90), self.percentile(99), self.longest()].map(shown)
    }

    /// All of it in microseconds.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "count": self.len(),
            "mean_us": micros(self.mean()),
            "p50_us": micros(self.median()),
            "p90_us": micros(self.percentile(90)),
            "p99_us": micros(self.percentile(99)),
            "max_us": micros(self.longest()),
        })
    }
}

/// A time as people read it, with three digits that count.
pub fn shown(time: Duration) -> String {
    let millis = millis(time);
    match millis {
        ..0.9995 => format!("{:.0} µs", millis * 1e3),
        ..9.995 => format!("{millis:.2} ms"),
        ..99.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// How many times as long one time is as another, as people read it.
pub fn times(time: Duration, baseline: Duration) -> String {
    format!("{:.1}", ratio(time, baseline))
}

pub fn ratio(time: Duration, baseline: Duration) -> f64 {
    time.as_secs_f64() / baseline.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let sample: Sample = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!([50, 90, 99, 100].map(|percent| sample.percentile(percent).as_millis()), [100, 180, 198, 200]);
        assert_eq!(sample.mean(), Duration::from_micros(100_500));
        let one: Sample = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!([1, 50, 100].map(|percent| one.percentile(percent).as_millis()), [7; 3]);
        assert_eq!((Sample::default().median(), Sample::default().mean()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn times_are_shown_with_three_digits_that_count() {
        let shown_of =
            [145, 999, 1_000, 9_994, 9_996, 99_949, 99_951, 1_234_567].map(|n| shown(Duration::from_micros(n)));
        assert_eq!(shown_of, ["145 µs", "999 µs", "1.00 ms", "9.99 ms", "10.0 ms", "99.9 ms", "100 ms", "1.23 s"]);
    }
}
