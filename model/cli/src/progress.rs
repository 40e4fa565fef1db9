//! How far a long command is: on a terminal a line that is overwritten and cleared away, elsewhere a line every few
//! seconds, or nothing.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use bazaar_model::search::check;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::complain;

/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// The progress through so many things. Dropped, it leaves nothing on the terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    next: Duration,
}

impl Progress {
    /// Before the first of so many.
    pub fn through(things: usize) -> Progress {
        // Without a terminal, indicatif draws nothing.
        let bar = ProgressBar::new(things as u64);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} done, {elapsed}: {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, is_terminal: io::stderr().is_terminal(), next: EVERY }
    }

    /// The next one begins.
    pub fn begin(&mut self, name: &str) {
        self.next = EVERY;
        self.tell(name);
    }

    /// Says on a terminal what is going on.
    pub fn tell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// How far the search of this one is.
    pub fn at(&mut self, name: &str, progress: check::Progress) {
        let check::Progress { states, depth, elapsed } = progress;
        let far = format!("{name}: {states} states, depth {depth}, {:.1} s", elapsed.as_secs_f64());
        if self.is_terminal {
            self.tell(&far);
        } else if elapsed >= self.next {
            self.next = elapsed + EVERY;
            complain(&far);
        }
    }

    /// This one is done.
    pub fn end(&self) {
        self.bar.inc(1);
    }

    /// Prints something meanwhile, without the line of progress in it.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
