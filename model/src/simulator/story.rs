//! A history in words: what people would want to know of all of it, and its last steps one by one.

use std::collections::VecDeque;

use bazaar_protocol::{
    effect::{Effect, Note},
    input::Input,
    ledger::{LedgerAnswer, LedgerCall},
    message::Route,
};

use super::plan::Fault;
use crate::subject::words;

/// How many of the last steps are kept.
const KEPT: usize = 80;

/// What is remembered of a history.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Faults, elections and changes of trader.
    chapters: Vec<String>,
    /// The last steps.
    steps: VecDeque<String>,
}

/// A time as it is told.
fn at(now: u64) -> String {
    format!("{:>4}.{:06}", now / 1_000_000_000, now / 1_000 % 1_000_000)
}

impl Story {
    /// Faults, elections and changes of trader, in order.
    #[must_use]
    pub fn chapters(&self) -> &[String] {
        &self.chapters
    }

    /// The last steps, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &str> {
        self.steps.iter().map(String::as_str)
    }

    fn step(&mut self, words: String) {
        if self.steps.len() >= KEPT {
            self.steps.pop_front();
        }
        self.steps.push_back(words);
    }

    pub(super) fn remark(&mut self, now: u64, what: &str) {
        self.chapters.push(format!("{} {what}", at(now)));
        self.step(format!("{} {what}", at(now)));
    }

    pub(super) fn fault(&mut self, now: u64, fault: &Fault) {
        let words = fault.to_string();
        // The time is said already.
        let what = words.split_once(" s ").map_or(words.as_str(), |(_, what)| what);
        self.remark(now, what);
    }

    pub(super) fn input(&mut self, now: u64, peer: usize, input: &Input) {
        let what = match input {
            Input::Received { from, envelope } => {
                let way = match envelope.route {
                    Route::Flood { to: None, .. } => "flood".to_owned(),
                    Route::Flood { to: Some(to), .. } => format!("flooded unicast to peer {to}"),
                    Route::Direct { to, .. } => format!("unicast to peer {to}"),
                };
                let says = words::says(&envelope.body);
                format!("receives from peer {from} a {way} of peer {}: \"{says}\"", envelope.source)
            }
            Input::LinkUp(neighbour) => format!("has a link to peer {neighbour}"),
            Input::LinkDown(neighbour) => format!("has lost the link to peer {neighbour}"),
            Input::Fired(timer) => format!("has waited long enough: {timer:?}"),
            Input::LedgerUp => "can reach the ledger".to_owned(),
            Input::LedgerDown => "cannot reach the ledger any more".to_owned(),
            Input::Resign => "is asked to resign".to_owned(),
            Input::Ledger(reply) => {
                let what = match &reply.answer {
                    LedgerAnswer::Status => "how things stand".to_owned(),
                    LedgerAnswer::Chunk { id, of, .. } => format!("chunk {} of {of} of a snapshot", id.index + 1),
                    LedgerAnswer::Records { from, records } => format!("{} records from {from}", records.len()),
                    LedgerAnswer::Append { echo, verdict } => {
                        format!("of its append for epoch {} at {}: {verdict:?}", echo.epoch, echo.position)
                    }
                };
                format!("hears from the ledger {what}")
            }
            Input::Written(_) => "has written to its disk".to_owned(),
            Input::Chose { choice, pick } => format!("has chosen its {choice:?} {pick}"),
        };
        self.step(format!("{} peer {peer} {what}", at(now)));
    }

    pub(super) fn effect(&mut self, now: u64, peer: usize, effect: &Effect) {
        match effect {
            Effect::Send { to, envelope } => {
                let how = match envelope.route {
                    Route::Flood { to: None, .. } => "floods".to_owned(),
                    Route::Flood { to: Some(whom), .. } => format!("floods to peer {whom}"),
                    Route::Direct { to: whom, .. } => format!("sends to peer {whom}"),
                };
                let says = words::says(&envelope.body);
                let whose = if envelope.source.0 as usize == peer {
                    String::new()
                } else {
                    format!(" for peer {}", envelope.source)
                };
                self.step(format!("{}   peer {peer} {how}{whose}, over peer {to}: \"{says}\"", at(now)));
            }
            Effect::Ledger(call) => {
                let what = words::asks(&call.request);
                self.step(format!("{}   peer {peer} asks the ledger: {what}", at(now)));
            }
            Effect::Write { .. }
            | Effect::Arm { .. }
            | Effect::Disarm(_)
            | Effect::Choose { .. }
            | Effect::Stop(_)
            | Effect::Note { .. } => {}
        }
    }

    pub(super) fn call(&mut self, now: u64, call: &LedgerCall) {
        let what = words::asks(&call.request);
        self.step(format!("{} the ledger takes a call of peer {}: {what}", at(now), call.caller.peer));
    }

    pub(super) fn note(&mut self, now: u64, peer: usize, note: &Note) {
        let words = format!("{} peer {peer} {note}", at(now));
        match note {
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::ElectionWon
            | Note::TookOffice { .. }
            | Note::SteppedDown { .. }
            | Note::Unseated { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. }
            | Note::BooksRefused { .. } => self.chapters.push(words.clone()),
            Note::Recognised { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::Bought { .. }
            | Note::Unavailable { .. }
            | Note::ResumedRequest { .. }
            | Note::Recalled { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::SoldOut { .. }
            | Note::LeftOver { .. }
            | Note::ResumedAccount { .. } => {}
        }
        self.step(words);
    }
}
