//! The journal of a check: the report of each scenario, in a file as soon as it is there. A check that was interrupted
//! goes on from it.
//!
//! Only what this very build has found to hold is believed. Its executable holds the machines, the model and the
//! recorded numbers, so a digest of it says whether they are still the same.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use bazaar_model::{
    catalogue::Entry,
    protocol::digest::Digest,
    search::check::{Outcome, Report},
    subject::scenario::Extent,
};
use serde::{Deserialize, Serialize};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{NOT_COMPLETE, about, write};

/// The file's content; of reports of another build, not even the form is known.
#[derive(Serialize, Deserialize)]
struct Content<R> {
    /// The digest of the executable that wrote it.
    program: String,
    reports: Vec<R>,
}

/// The journal of this process. It is written by whoever checks, and read when the process is interrupted.
pub struct Journal(Arc<Mutex<Pages>>);

/// What stands in it, and what is to be checked.
struct Pages {
    file: PathBuf,
    extent: Extent,
    /// The scenarios' names.
    chosen: Vec<&'static str>,
    content: Content<Report>,
}

impl Journal {
    /// Reads what stands in the file, if it is there, says what is left of the chosen, and says so again when the
    /// process is interrupted or told to end; that ends it.
    ///
    /// # Errors
    /// The file is no journal, or cannot be read or written.
    pub fn open(file: &Path, chosen: &[Entry], extent: Extent) -> io::Result<Journal> {
        let pages = Pages::read(file, chosen, extent, program()?)?;
        // That it cannot be written shows here, not after the first hour.
        pages.write()?;
        tell(&pages.says());
        let journal = Journal(Arc::new(Mutex::new(pages)));
        let ours = Journal(Arc::clone(&journal.0));
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // Held to the end, so that no writing is cut short.
                let pages = ours.lock();
                tell(&format!("\ninterrupted; {}; the same command goes on from there", pages.says()));
                process::exit(NOT_COMPLETE.into());
            }
        });
        Ok(journal)
    }

    /// The report of a scenario that holds and so is not checked again.
    pub fn done(&self, scenario: &str) -> Option<Report> {
        self.lock().done(scenario).cloned()
    }

    /// Takes a report in, and writes it. That it cannot be written is said and is no reason to stop.
    pub fn add(&self, report: &Report) {
        let mut pages = self.lock();
        let is_of_another = |other: &Report| (&other.scenario, other.extent) != (&report.scenario, report.extent);
        pages.content.reports.retain(is_of_another);
        pages.content.reports.push(report.clone());
        if let Err(error) = pages.write() {
            tell(&format!("warning: {} is not in the journal: {error}", report.scenario));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn read(file: &Path, chosen: &[Entry], extent: Extent, program: String) -> io::Result<Pages> {
        let bad = |error| {
            let what = "not a journal of `check --journal`; name another file, or remove this one";
            about(file, &io::Error::new(io::ErrorKind::InvalidData, format!("{what} ({error})")))
        };
        let mut reports = Vec::new();
        match fs::read_to_string(file) {
            Ok(text) => {
                let content: Content<serde_json::Value> = serde_json::from_str(&text).map_err(bad)?;
                if content.program == program {
                    reports = content
                        .reports
                        .into_iter()
                        .map(serde_json::from_value)
                        .collect::<Result<_, _>>()
                        .map_err(bad)?;
                } else {
                    let (file, old) = (file.display(), content.reports.len());
                    let why = "are of another build of this program, so they are not believed";
                    tell(&format!("{file}: its {old} reports {why}"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(about(file, &error)),
        }
        let chosen = chosen.iter().map(|scenario| scenario.name).collect();
        Ok(Pages { file: file.to_owned(), extent, chosen, content: Content { program, reports } })
    }

    fn done(&self, scenario: &str) -> Option<&Report> {
        let is_it = |report: &&Report| report.scenario == scenario && report.extent == self.extent;
        self.content.reports.iter().find(is_it).filter(|report| report.verdict == Outcome::Holds)
    }

    /// What holds, and what is left.
    fn says(&self) -> String {
        let left: Vec<_> = self.chosen.iter().copied().filter(|name| self.done(name).is_none()).collect();
        let all = self.chosen.len();
        let what = if left.is_empty() { "nothing is left".to_owned() } else { format!("left: {}", left.join(", ")) };
        format!("{}: {} of {all} scenarios are done and hold; {what}", self.file.display(), all - left.len())
    }

    /// Replaces the file as a whole: whatever happens meanwhile, what stands there can be read.
    fn write(&self) -> io::Result<()> {
        let part = self.file.with_added_extension("part");
        write(&part, &self.content)?;
        fs::File::open(&part).and_then(|written| written.sync_all()).map_err(|error| about(&part, &error))?;
        fs::rename(&part, &self.file).map_err(|error| about(&self.file, &error))
    }
}

/// Whoever listened may have gone: that stops no check, and keeps no interrupted one from ending.
fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// A digest of the program that runs.
fn program() -> io::Result<String> {
    let file = env::current_exe()?;
    let bytes = fs::read(&file).map_err(|error| about(&file, &error))?;
    Ok(format!("{:?}", Digest::of(&bytes)))
}
