//! Replays a history from a file step by step, in words and as a picture.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bazaar_protocol::text::counted;

use crate::{
    catalogue::{self, Visitor},
    pictures::diagram,
    search::{
        history::{CannotBeTaken, History},
        trace::Trace,
    },
    subject::Subject,
};

/// What to show of a history.
#[derive(Clone, Copy, Debug)]
pub struct Show<'a> {
    /// The file to draw it into, if any.
    pub svg: Option<&'a Path>,
    /// The step after which to stop and show the state; `None` for all steps.
    pub step: Option<usize>,
}

/// Why a history cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file names a scenario that does not exist; it may be from another version.
    #[error("it belongs to scenario {0:?}, which does not exist")]
    NoSuchScenario(String),
    /// A step cannot be read as a step of the scenario.
    #[error("step {nth} is not a step of scenario {scenario}: {source}")]
    NoSuchStep {
        /// The number of the step, from 1.
        nth: usize,
        /// The name of the scenario.
        scenario: String,
        /// What is wrong with the step.
        source: serde_json::Error,
    },
    /// A step cannot be taken at its place: the machines or the model behave differently from when the file was
    /// written.
    #[error(
        "step {nth} cannot be taken at that point; the file was changed, or is from another \
             version{}",
        said(words)
    )]
    CannotBeTaken {
        /// The number of the step, from 1.
        nth: usize,
        /// The sentence in the file.
        words: String,
    },
    /// The history has fewer steps. Give a smaller number.
    #[error("--step {asked}: the history has {}", counted(*.steps, "step"))]
    NoSuchNumber {
        /// The number that was asked for.
        asked: usize,
        /// The number of steps in the history.
        steps: usize,
    },
    /// It does not end as the file says: the protocol or the model has changed since.
    #[error("it does not end as the file says: {0}")]
    EndsOtherwise(String),
    /// The picture cannot be written.
    #[error("{}: {source}", file.display())]
    Picture {
        /// The file to write.
        file: PathBuf,
        /// Why it cannot be written.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it says: {words}") }
}

/// Replays a history and shows it. The caller has switched on the mutant that the history names, if it names one.
///
/// # Errors
/// It is not a history of its scenario, or does not end as the file says; see [`ReplayError`].
pub fn replay(trace: &Trace, show: Show<'_>, out: &mut dyn Write) -> Result<(), ReplayError> {
    let Some(scenario) = catalogue::named(&trace.scenario) else {
        return Err(ReplayError::NoSuchScenario(trace.scenario.clone()));
    };
    scenario.at(trace.extent).with(Replay { trace, show, out })
}

struct Replay<'a> {
    trace: &'a Trace,
    show: Show<'a>,
    out: &'a mut dyn Write,
}

impl Visitor for Replay<'_> {
    type Output = Result<(), ReplayError>;

    fn visit<S: Subject>(self, subject: &S) -> Result<(), ReplayError> {
        let Replay { trace, show, out } = self;
        // A history looked for one property, so a violation of another on the way does not end it.
        let only = trace.violation.as_ref().map(|violation| subject.only(violation.property));
        let subject = only.as_ref().unwrap_or(subject);
        let scenario = || trace.scenario.clone();
        let steps = trace.actions(subject).map_err(|(nth, source)| ReplayError::NoSuchStep {
            nth,
            scenario: scenario(),
            source,
        })?;
        let history = History::replay(subject, &steps).map_err(|CannotBeTaken { nth }| {
            let words = trace.words.get(nth - 1).cloned().unwrap_or_default();
            ReplayError::CannotBeTaken { nth, words }
        })?;
        let upto = show.step.unwrap_or(steps.len());
        if upto > steps.len() {
            return Err(ReplayError::NoSuchNumber { asked: upto, steps: steps.len() });
        }
        let shown = history.upto(upto);
        writeln!(out, "scenario {}", trace.scenario)?;
        if let Some(mutant) = &trace.mutant {
            writeln!(out, "mutant {mutant}")?;
        }
        for (nth, sentence) in (1..).zip(shown.sentences()) {
            writeln!(out, "{nth:>4}. {sentence}")?;
        }
        if show.step.is_none() && !trace.afterwards.is_empty() {
            writeln!(out, "once faults stop:")?;
            for words in &trace.afterwards {
                writeln!(out, "      {words}")?;
            }
        }
        writeln!(out, "\nafter step {upto}:\n{}", subject.portrait(shown.last()))?;
        if let Some(file) = show.svg {
            let title = trace
                .mutant
                .as_deref()
                .map_or(trace.scenario.clone(), |mutant| format!("{} with {mutant}", trace.scenario));
            fs::write(file, diagram::history(&shown, Some(&title)))
                .map_err(|source| ReplayError::Picture { file: file.to_owned(), source })?;
            writeln!(out, "\ndrawn: {}", file.display())?;
        }
        if show.step.is_none() {
            let found = history.wrong();
            if found.as_ref().map(|found| found.property) != trace.violation.as_ref().map(|said| said.property) {
                let says = |violation: Option<&bazaar_protocol::invariant::Violation>| {
                    violation.map_or("nothing is violated".to_owned(), ToString::to_string)
                };
                let (said, found) = (says(trace.violation.as_ref()), says(found.as_ref()));
                return Err(ReplayError::EndsOtherwise(format!("the file says: {said}; here: {found}")));
            }
        }
        Ok(())
    }
}
