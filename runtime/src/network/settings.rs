//! The waits and bounds of connections. They are the network's own; the protocol's are in
//! [`Timeouts`](bazaar_protocol::config::Timeouts).

use std::time::Duration;

/// How links and connections behave. Usually the same in all processes of a run, but nothing relies on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a connection may be idle before its owner asks whether the other side is there.
    pub keepalive: Duration,
    /// How long the other side may be silent before the link counts as down. Must be above `keepalive`; three times as
    /// long is a good choice.
    pub silence: Duration,
    /// How long the opening of a connection may take, from the first byte to the welcome.
    pub handshake: Duration,
    /// How long to wait for the ledger's reply to a call.
    pub call: Duration,
    /// The first wait before a broken connection is opened again. Later waits double, each with jitter.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How many envelopes may wait for a link; further ones are dropped and counted.
    pub queue: usize,
    /// How many deliveries may be under way on a link at the same time. What waits meanwhile goes out as one batch.
    pub window: usize,
    /// How many connections that have not yet said who they are a process has at the same time. When one more comes,
    /// the oldest of the source with the most goes (`network::strangers`). A member therefore gets in with its first
    /// attempt, unless as many strangers as this come from its own source (one address, or one network of IPv6) within
    /// the round trip that its hello takes; and it tries again within `backoff_max`.
    pub strangers: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keepalive: Duration::from_millis(500),
            silence: Duration::from_millis(1_500),
            handshake: Duration::from_secs(2),
            call: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            queue: 1_024,
            window: 4,
            strangers: 256,
        }
    }
}

impl Settings {
    /// How long one call on an idle link may take, so that keepalive and call together stay within `silence`.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.silence.saturating_sub(self.keepalive).max(self.keepalive / 2)
    }
}

/// The waits between attempts. They double from the first to the longest, and each is shortened at random by up to
/// half, so that peers that lost the same neighbour do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(settings: &Settings) -> Backoff {
        Backoff::between(settings.backoff_min, settings.backoff_max)
    }

    pub(crate) fn between(min: Duration, max: Duration) -> Backoff {
        Backoff { next: min, min, max }
    }

    /// The other side has answered: the next wait is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2).min(self.max);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_an_answer() {
        let settings = Settings {
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(300),
            ..Settings::default()
        };
        let mut backoff = Backoff::new(&settings);
        for whole in [50, 100, 200, 300, 300, 300] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(whole) / 2 && wait <= Duration::from_millis(whole), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(50));
    }
}
