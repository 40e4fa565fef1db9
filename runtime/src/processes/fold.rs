//! Many peers often say the same in one moment: that they recognise the new trader, say. For people that is one line,
//! "9 peers recognise buyer 9". The lines of any one peer keep their order.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bazaar_protocol::id::PeerId;

use super::report::{Event, Names};

/// A moment ends when nothing has been added to it for this long.
const QUIET: Duration = Duration::from_millis(100);

/// A moment lasts no longer than this.
const LONGEST: Duration = Duration::from_millis(400);

/// How an event reads together with others: in both texts, `{n}` stands for their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Together {
    /// What tells it from the others: the number of a peer, or of a process.
    pub id: u32,
    /// The peer whose next line must come after it, if there is one.
    pub before: Option<PeerId>,
    /// Who says it, such as "{n} peers".
    pub who: String,
    /// What they say.
    pub said: String,
}

/// An event for people: on a line of its own, or together with others.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its own line.
    pub line: String,
    /// How it reads together with others, if it does.
    pub together: Option<Together>,
    /// The event.
    pub event: Event,
}

/// Events that read together and are not printed yet.
#[derive(Debug)]
struct Fold {
    together: Together,
    ids: BTreeSet<u32>,
    before: BTreeSet<PeerId>,
    line: String,
    latest: Event,
    began: Instant,
    added: Instant,
}

impl Fold {
    fn due(&self) -> Instant {
        (self.added + QUIET).min(self.began + LONGEST)
    }

    fn text(&self) -> String {
        match self.ids.len() {
            0 | 1 => format!("{}\n", self.line),
            count => format!("{}\n", Names::line_together(&self.latest, &self.together, count)),
        }
    }
}

/// The moments that have not ended, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Folds(Vec<Fold>);

impl Folds {
    /// When the next moment ends; `None` if there is none.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().map(Fold::due).min()
    }

    /// Takes an event and its own line: writes it, or keeps it for a moment to see whether others say the same.
    pub fn take(&mut self, Told { line, together, event }: Told, mut write: impl FnMut(&str)) {
        let goes_with = |fold: &Fold| {
            together.as_ref().is_some_and(|with| (&with.who, &with.said) == (&fold.together.who, &fold.together.said))
        };
        // Processes are started before their peers say anything.
        let comes_after =
            |fold: &Fold| event.peer.is_some_and(|peer| fold.before.contains(&peer) || fold.latest.peer.is_none());
        self.end_those(|fold| !goes_with(fold) && comes_after(fold), &mut write);
        let now = Instant::now();
        let open = self.0.iter().position(goes_with);
        match (open.and_then(|nth| self.0.get_mut(nth)), together) {
            (Some(fold), Some(together)) => {
                fold.ids.insert(together.id);
                fold.before.extend(together.before);
                (fold.line, fold.latest, fold.added) = (line, event, now);
            }
            (None, Some(together)) => self.0.push(Fold {
                ids: BTreeSet::from([together.id]),
                before: together.before.into_iter().collect(),
                line,
                latest: event,
                together,
                began: now,
                added: now,
            }),
            (_, None) => write(&format!("{line}\n")),
        }
    }

    /// Writes the moments that have ended.
    pub fn end_due(&mut self, mut write: impl FnMut(&str)) {
        let now = Instant::now();
        self.end_those(|fold| fold.due() <= now, &mut write);
    }

    /// Writes all of them.
    pub fn end(&mut self, mut write: impl FnMut(&str)) {
        self.end_those(|_| true, &mut write);
    }

    fn end_those(&mut self, is_over: impl Fn(&Fold) -> bool, write: &mut impl FnMut(&str)) {
        for fold in self.0.extract_if(.., |fold| is_over(fold)) {
            write(&fold.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use bazaar_protocol::{clock::Time, effect::Note, id::Epoch};

    use super::*;
    use crate::processes::report::ProcessEvent;

    fn noted((peer, note): &(u32, Note)) -> Event {
        Event::noted(PeerId(*peer), Time(7), Some(Epoch(1)), note.clone())
    }

    /// What people read, without the columns before who speaks.
    fn printed(events: impl IntoIterator<Item = Event>) -> Vec<String> {
        let names = Names::default();
        let mut folds = Folds::default();
        let mut lines = Vec::new();
        let mut write = |text: &str| {
            let line = strip_str(text).to_string();
            lines.push(line.get(26..).filter(|_| line.contains(" 7     1 ")).unwrap_or(&line[14..]).to_owned());
        };
        for event in events {
            let (line, together) = (names.short_line(&event), names.together(&event));
            folds.take(Told { line, together, event }, &mut write);
        }
        folds.end(&mut write);
        lines
    }

    fn recognises(trader: u32) -> Note {
        Note::Recognised { trader: PeerId(trader) }
    }

    #[test]
    fn what_many_say_in_one_moment_is_one_line() {
        let mut events: Vec<(u32, Note)> = (0..9).map(|peer| (peer, recognises(9))).collect();
        // Once more by one of them, and of somebody else by another.
        events.push((3, recognises(9)));
        events.push((12, recognises(11)));
        let said = ["9 peers   recognise peer 9 as coordinator\n", "peer 12   recognises peer 11 as coordinator\n"];
        assert_eq!(printed(events.iter().map(noted)), said);
    }

    #[test]
    fn a_peers_lines_stay_in_order() {
        let events = [(1, Note::ElectionCalled), (2, Note::ElectionCalled), (2, Note::ElectionWon), (1, recognises(2))];
        let said = [
            "2 peers   call an election\n",
            "peer 2    won the election and claims the office\n",
            "peer 1    recognises peer 2 as coordinator\n",
        ];
        assert_eq!(printed(events.iter().map(noted)), said);
    }

    #[test]
    fn processes_are_started_before_their_peers_say_anything() {
        let started =
            |id: u32| Event::now(ProcessEvent::ProcessStarted { process: format!("peer {id}"), pid: 100 + id });
        let events = [started(1), started(2), noted(&(1, Note::LedgerHeard)), noted(&(2, Note::LedgerHeard))];
        let said = ["started 2 processes of peers\n", "2 peers   hear the ledger\n"];
        assert_eq!(printed(events), said);
    }
}
