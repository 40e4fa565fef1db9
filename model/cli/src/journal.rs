//! The journal of a check: a file to which each scenario's report is written as soon as it is ready. A check that was
//! interrupted resumes from it.
//!
//! Only reports of this very build count. The executable contains the machines, the model and the recorded numbers, so
//! its digest shows whether they are still the same.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use bazaar_model::{
    catalogue::Entry,
    pictures::explore::stop_signals,
    protocol::{
        digest::Digest,
        text::{agreeing, counted},
    },
    search::check::{Outcome, Report},
    subject::scenario::Extent,
};
use serde::{Deserialize, Serialize};
use signal_hook::iterator::Signals;

use super::{
    NOT_COMPLETE, about,
    output::{complain, read_text, write_json},
};

/// The content of the file, generic over the reports because those of another build may have any form.
#[derive(Serialize, Deserialize)]
struct Content<R> {
    /// The digest of the executable that wrote it.
    program: String,
    reports: Vec<R>,
}

/// The journal of this process. The check writes it; an interruption reads it.
pub struct Journal(Arc<Mutex<Pages>>);

/// The content of the journal, and what is to be checked.
struct Pages {
    file: PathBuf,
    extent: Extent,
    /// The names of the chosen scenarios.
    chosen: Vec<&'static str>,
    content: Content<Report>,
}

impl Journal {
    /// Reads the file if it exists and says which of the chosen scenarios are left. Says so again when the process is
    /// interrupted or terminated, and ends the process.
    ///
    /// # Errors
    /// The file is not a journal, or cannot be read or written.
    pub fn open(file: &Path, chosen: &[Entry], extent: Extent) -> io::Result<Journal> {
        let pages = Pages::read(file, chosen, extent, program()?)?;
        // If it cannot be written, that shows here and not after the first hour.
        pages.write()?;
        complain(&pages.says());
        let journal = Journal(Arc::new(Mutex::new(pages)));
        let ours = Journal(Arc::clone(&journal.0));
        let mut signals = Signals::new(stop_signals())?;
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // Held until the process ends, so that no write is cut short.
                let pages = ours.lock();
                complain(&format!("\ninterrupted; {}; the same command resumes from there", pages.says()));
                process::exit(NOT_COMPLETE.into());
            }
        });
        Ok(journal)
    }

    /// The report of a scenario that already holds and is not checked again.
    pub fn done(&self, scenario: &str) -> Option<Report> {
        self.lock().done(scenario).cloned()
    }

    /// Adds a report and writes the file. If it cannot be written, says so and carries on.
    pub fn add(&self, report: &Report) {
        let mut pages = self.lock();
        let is_of_another = |other: &Report| (&other.scenario, other.extent) != (&report.scenario, report.extent);
        pages.content.reports.retain(is_of_another);
        pages.content.reports.push(report.clone());
        if let Err(error) = pages.write() {
            complain(&format!("warning: {} is not in the journal: {error}", report.scenario));
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
        match read_text(file) {
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
                    let be = agreeing(old, "is", "are");
                    complain(&format!(
                        "{file}: its {} {be} from another build of this program and {be} ignored",
                        counted(old, "report")
                    ));
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

    /// How many scenarios hold, and which are left.
    fn says(&self) -> String {
        let left: Vec<_> = self.chosen.iter().copied().filter(|name| self.done(name).is_none()).collect();
        let all = self.chosen.len();
        let what = if left.is_empty() { "nothing is left".to_owned() } else { format!("left: {}", left.join(", ")) };
        format!(
            "{}: {} of {} {}; {what}",
            self.file.display(),
            all - left.len(),
            counted(all, "scenario"),
            agreeing(all, "is done and holds", "are done and hold")
        )
    }

    /// Replaces the file as a whole, so that it can be read no matter when the process dies.
    fn write(&self) -> io::Result<()> {
        write_json(&self.file, &self.content)
    }
}

/// A digest of the running program's executable.
fn program() -> io::Result<String> {
    let file = env::current_exe()?;
    let bytes = fs::read(&file).map_err(|error| about(&file, &error))?;
    Ok(format!("{:?}", Digest::of(&bytes)))
}
