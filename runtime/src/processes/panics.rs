//! Processes that panic. A panic is a fault in the program, and another start may only meet it again: what one member
//! sent, or what is on disk, is still there.

use std::{collections::BTreeSet, time::Duration};

use super::supervise::Process;

/// The exit code of a process that has panicked.
pub(super) const PANICKED: i32 = 101;

/// A process that lives longer than this before it panics has done some work, and is started again.
const SHORT_LIFE: Duration = Duration::from_secs(30);

/// Which processes have panicked in a short life, the last time they lived.
#[derive(Debug, Default)]
pub(super) struct Panics(BTreeSet<Process>);

impl Panics {
    /// Notes that a process has ended after it `lived` for so long. Says whether it must not be started again: this and
    /// the life before were short, and both ended in a panic.
    pub(super) fn note(&mut self, process: &Process, code: Option<i32>, lived: Duration) -> bool {
        if code != Some(PANICKED) || lived > SHORT_LIFE {
            self.0.remove(process);
            return false;
        }
        !self.0.insert(process.clone())
    }
}

/// Picks what a process said when it panicked out of the lines of its standard error.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// Where it panicked, while its words are still to come.
    place: Option<String>,
    said: Option<String>,
}

impl LastWords {
    pub(super) fn hear(&mut self, line: &str) {
        const PANIC: &str = " panicked at ";
        if let Some(place) = self.place.take() {
            self.said = Some(format!("{line} (at {place})"));
        } else if line.starts_with("thread ")
            && let Some((_, place)) = line.split_once(PANIC)
        {
            self.place = Some(place.trim_end_matches(':').to_owned());
        }
    }

    /// What was said at the last panic, and where it was.
    pub(super) fn said(self) -> Option<String> {
        self.said.or(self.place)
    }
}

#[cfg(test)]
mod tests {
    use bazaar_protocol::id::PeerId;

    use super::*;
    use crate::config::ledger::LedgerId;

    #[test]
    fn two_panics_in_a_row_in_short_lives_are_enough_and_anything_between_them_counts_anew() {
        let (peer, short) = (Process::Peers(vec![PeerId(3)]), Duration::from_secs(1));
        let mut panics = Panics::default();
        assert!(!panics.note(&peer, Some(PANICKED), short));
        assert!(!panics.note(&Process::Ledger(LedgerId::ONLY), Some(PANICKED), short), "each counts by itself");
        assert!(!panics.note(&peer, None, short), "killed");
        assert!(!panics.note(&peer, Some(PANICKED), short));
        assert!(!panics.note(&peer, Some(PANICKED), SHORT_LIFE * 2));
        assert!(!panics.note(&peer, Some(PANICKED), short));
        assert!(panics.note(&peer, Some(PANICKED), short));
    }

    #[test]
    fn the_last_words_are_the_message_and_its_place() {
        let mut words = LastWords::default();
        for line in [
            "warning: something",
            "",
            "thread 'main' (17) panicked at protocol/src/journal.rs:91:20:",
            "attempt to add with overflow",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ] {
            words.hear(line);
        }
        assert_eq!(words.said().as_deref(), Some("attempt to add with overflow (at protocol/src/journal.rs:91:20)"));
        assert_eq!(LastWords::default().said(), None);
    }
}
