//! What follows the death of a trader, as its successor and the others tell it.

use std::time::Duration;

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::processes::report::Event;

use super::market::note;

/// What a peer has said, and when, counted from 1970.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Duration,
    pub peer: PeerId,
    pub note: Note,
}

impl Said {
    /// `None` for an event of a process.
    pub fn of(event: &Event) -> Option<Said> {
        let (note, at) = note(event)?;
        Some(Said { at, peer: event.peer?, note: note.clone() })
    }
}

/// When a trader was killed, and when another had its place.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    pub killed: Duration,
    suspected: Duration,
    won: Duration,
    pub took_office: Duration,
    pub trader: PeerId,
}

impl Recovery {
    /// What its parts are called in JSON, and in words.
    pub const PARTS: [(&'static str, &'static str); 3] = [
        ("detection", "detection: a peer misses it"),
        ("election", "election: another has won"),
        ("claim_and_books", "claim and books: it is in office"),
    ];

    /// What followed a kill, by what was said, in order of time; `None` if something of it was not.
    pub fn of(killed: Duration, said: &[Said]) -> Option<Recovery> {
        let after = after(killed, said);
        let suspected = after.iter().find(|said| matches!(said.note, Note::TraderSuspected { .. }))?.at;
        let office = after.iter().find(|said| said.at >= suspected && matches!(said.note, Note::TookOffice { .. }))?;
        let is_its_win = |said: &&Said| said.peer == office.peer && said.note == Note::ElectionWon;
        let won = after.iter().filter(|said| said.at <= office.at).rfind(is_its_win)?.at;
        Some(Recovery { killed, suspected, won, took_office: office.at, trader: office.peer })
    }

    pub fn parts(&self) -> [Duration; 3] {
        let Recovery { killed, suspected, won, took_office, .. } = *self;
        [(killed, suspected), (suspected, won), (won, took_office)].map(|(from, to)| to.saturating_sub(from))
    }
}

/// What was said after that, of what was said in order of time.
pub fn after(time: Duration, said: &[Said]) -> &[Said] {
    &said[said.partition_point(|said| said.at <= time)..]
}
