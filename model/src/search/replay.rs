//! A history from a file, taken again step by step: in words, and as a picture.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

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
    /// Where to draw it.
    pub svg: Option<&'a Path>,
    /// The step after which to stop and show the state; all of them when not given.
    pub step: Option<usize>,
}

/// Why a history cannot be taken again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file names a scenario that is not there; it is of another version, perhaps.
    #[error("it is of a scenario {0:?}, and there is none of this name")]
    NoSuchScenario(String),
    /// A step does not read as one of the scenario's.
    #[error("step {nth} is no step of scenario {scenario}: {source}")]
    NoSuchStep {
        /// Which, from 1.
        nth: usize,
        /// Of which scenario.
        scenario: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A step cannot be taken where it stands: the machines, or the model, do something else than when it was written.
    #[error("step {nth} cannot be taken there; the file was changed, or is of another version{}", said(words))]
    CannotBeTaken {
        /// Which, from 1.
        nth: usize,
        /// What it says.
        words: String,
    },
    /// There are fewer steps.
    #[error("--step {asked}: the history has {steps} steps")]
    NoSuchNumber {
        /// Which was asked for.
        asked: usize,
        /// How many there are.
        steps: usize,
    },
    /// It does not end as the file says: the protocol or the model has changed since.
    #[error("it does not end as the file says: {0}")]
    EndsOtherwise(String),
    /// The picture cannot be written.
    #[error("{}: {source}", file.display())]
    Picture {
        /// Where to.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What there is to say cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it says: {words}") }
}

/// Takes a history again and shows it. Whatever is broken in the protocol has been broken by whoever calls.
///
/// # Errors
/// When it is not a history of its scenario, or does not end as it says; see [`ReplayError`].
pub fn replay(trace: &Trace, show: Show<'_>, out: &mut impl Write) -> Result<(), ReplayError> {
    let Some(scenario) = catalogue::named(&trace.scenario) else {
        return Err(ReplayError::NoSuchScenario(trace.scenario.clone()));
    };
    scenario.at(trace.extent).with(Replay { trace, show, out })
}

struct Replay<'a, W> {
    trace: &'a Trace,
    show: Show<'a>,
    out: W,
}

impl<W: Write> Visitor for Replay<'_, W> {
    type Output = Result<(), ReplayError>;

    fn visit<S: Subject>(self, subject: &S) -> Result<(), ReplayError> {
        let Replay { trace, show, mut out } = self;
        // Where one property was looked for, a violation of another on the way does not end the history.
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
                return Err(ReplayError::EndsOtherwise(format!("there {said}, here {found}")));
            }
        }
        Ok(())
    }
}
