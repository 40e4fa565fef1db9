//! What happened, for people and programs (SPEC H1): one event a line, as text or as JSON.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use bazaar_protocol::{
    clock::Time,
    config::Role,
    effect::Note,
    id::{Epoch, Item, PeerId},
    words::{self, Names as _},
};
use serde::{Deserialize, Serialize};

/// One event. As JSON it is one object a line: `time`, where they apply `peer`, `clock` and `epoch`, then `event` and
/// what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the wall clock of the machine it happened on.
    pub time: jiff::Timestamp,
    /// At which peer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<PeerId>,
    /// That peer's Lamport clock (SPEC C6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock: Option<Time>,
    /// The epoch of the trader that peer knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<Epoch>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum What {
    /// To a peer of the protocol.
    Peer(Note),
    /// To a process.
    Process(ProcessEvent),
}

/// What happens to the processes of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum ProcessEvent {
    /// A run starts, or goes on.
    RunStarted {
        /// Its directory.
        dir: String,
        /// How many peers.
        peers: u32,
        /// In how many processes.
        processes: usize,
        /// Its seed.
        seed: u64,
    },
    /// The run cannot trade, or not under every trader.
    TradeDoubtful {
        /// Why.
        reason: String,
    },
    /// A process was started.
    ProcessStarted {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
    },
    /// A process has ended though nobody asked it to.
    ProcessDied {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
        /// How it ended.
        how: String,
    },
    /// A process that died will be started again.
    Restarting {
        /// Which.
        process: String,
        /// In how long, in milliseconds.
        after_ms: u64,
    },
    /// The ledger serves.
    LedgerReady {
        /// Where.
        address: String,
        /// How many records it holds.
        records: u64,
    },
    /// On opening, a torn end of the log was cut off. Nothing in it was acknowledged.
    LogCut {
        /// What was cut.
        what: String,
    },
    /// A process stops because it must not go on.
    Failed {
        /// Which.
        process: String,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn now(what: ProcessEvent) -> Event {
        Event { time: jiff::Timestamp::now(), peer: None, clock: None, epoch: None, what: What::Process(what) }
    }

    /// A peer's note of now.
    #[must_use]
    pub fn noted(peer: PeerId, clock: Time, epoch: Option<Epoch>, note: Note) -> Event {
        let time = jiff::Timestamp::now();
        Event { time, peer: Some(peer), clock: Some(clock), epoch, what: What::Peer(note) }
    }
}

/// How peers and goods are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The goods, by [`Item`].
    pub items: Vec<String>,
    /// The peers, by id.
    pub roles: Vec<Role>,
}

impl words::Names for Names {
    /// A good's name, as configured.
    fn item(&self, item: Item) -> String {
        self.items.get(usize::from(item.0)).cloned().unwrap_or_else(|| format!("item {item}"))
    }

    /// A peer's name by its role: "buyer 3", "seller 4".
    fn peer(&self, peer: PeerId) -> String {
        match self.roles.get(peer.0 as usize) {
            Some(Role::Buyer(_)) => format!("buyer {peer}"),
            Some(Role::Seller(_)) => format!("seller {peer}"),
            Some(Role::Both(..)) | None => format!("peer {peer}"),
        }
    }
}

impl Names {
    /// What a peer does.
    #[must_use]
    pub fn role(&self, peer: PeerId) -> String {
        let list = |items: Vec<Item>| items.iter().map(|item| self.item(*item)).collect::<Vec<_>>().join(", ");
        match self.roles.get(peer.0 as usize) {
            Some(Role::Buyer(wishes)) => format!("buys {}", list(wishes.items.clone())),
            Some(Role::Seller(offers)) => format!("sells {}", list(offers.0.iter().map(|o| o.item).collect())),
            Some(Role::Both(wishes, offers)) => format!(
                "buys {}; sells {}",
                list(wishes.items.clone()),
                list(offers.0.iter().map(|offer| offer.item).collect())
            ),
            None => "unknown".to_owned(),
        }
    }

    /// One line of text for an event, without the line break.
    #[must_use]
    pub fn line(&self, event: &Event) -> String {
        let time = event.time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f");
        let style = style_of(&event.what);
        let (on, off) = (style.render(), style.render_reset());
        let dim = Style::new().dimmed();
        let (dim_on, dim_off) = (dim.render(), dim.render_reset());
        match (event.peer, &event.what) {
            (Some(peer), What::Peer(note)) => {
                let clock = event.clock.unwrap_or_default();
                let epoch = event.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
                let name = self.speaker(peer, note);
                let said = self.note(peer, note);
                format!("{dim_on}{time} clock {clock:>5} epoch {epoch:>2}{dim_off}  {on}{name:<9} {said}{off}")
            }
            (_, What::Peer(note)) => format!("{dim_on}{time}{dim_off}  {note:?}"),
            (_, What::Process(event)) => {
                format!("{dim_on}{time} {:<20}{dim_off}  {on}{}{off}", "", process_text(event))
            }
        }
    }

    /// What the trader does in office it says as the trader.
    fn speaker(&self, peer: PeerId, note: &Note) -> String {
        match note {
            Note::TookOffice { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Sold { .. }
            | Note::Refused { .. } => format!("trader {peer}"),
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::ElectionWon
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Wanted { .. }
            | Note::Bought { .. }
            | Note::Unavailable { .. }
            | Note::ResumedRequest { .. }
            | Note::Recalled { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::SoldOut { .. }
            | Note::ResumedAccount { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::ClockRefused { .. }
            | Note::PeerUnknown { .. }
            | Note::BooksRefused { .. } => self.peer(peer),
        }
    }

    fn note(&self, me: PeerId, note: &Note) -> String {
        match note {
            Note::Joined { .. } => format!("{}: {}", note.told(self), self.role(me)),
            note => note.told(self).to_string(),
        }
    }
}

fn process_text(event: &ProcessEvent) -> String {
    match event {
        ProcessEvent::RunStarted { dir, peers, processes, seed } => {
            format!("a bazaar of {peers} peers in {processes} processes and the ledger, seed {seed}, in {dir}")
        }
        ProcessEvent::TradeDoubtful { reason } => reason.clone(),
        ProcessEvent::ProcessStarted { process, pid } => format!("started {process} (pid {pid})"),
        ProcessEvent::ProcessDied { process, pid, how } => format!("{process} (pid {pid}) died: {how}"),
        ProcessEvent::Restarting { process, after_ms } => {
            format!("will start {process} again in {:.1} s", *after_ms as f64 / 1_000.0)
        }
        ProcessEvent::LedgerReady { address, records } => format!("the ledger serves at {address}, {records} records"),
        ProcessEvent::LogCut { what } => format!("the ledger cut off what was never acknowledged: {what}"),
        ProcessEvent::Failed { process, reason } => format!("{process} cannot go on: {reason}"),
    }
}

fn style_of(what: &What) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match what {
        What::Peer(note) => match note {
            Note::TookOffice { .. } => colour(AnsiColor::Yellow).bold(),
            Note::ElectionCalled | Note::ElectionWon | Note::Recognised { .. } | Note::AskedForAnyone => {
                colour(AnsiColor::Yellow)
            }
            Note::SteppedDown { .. } | Note::TraderSuspected { .. } => colour(AnsiColor::Magenta),
            Note::Bought { .. } | Note::Recalled { .. } => colour(AnsiColor::Green),
            Note::Earned { .. } | Note::Registered { .. } | Note::ResumedAccount { .. } => colour(AnsiColor::Cyan),
            Note::Unavailable { .. } | Note::SoldOut { .. } => colour(AnsiColor::Blue),
            Note::LedgerSilent | Note::ClockRefused { .. } | Note::PeerUnknown { .. } | Note::BooksRefused { .. } => {
                colour(AnsiColor::Red)
            }
            Note::Joined { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::ResumedRequest { .. }
            | Note::LedgerHeard => Style::new(),
        },
        What::Process(event) => match event {
            ProcessEvent::ProcessDied { .. } | ProcessEvent::Failed { .. } | ProcessEvent::LogCut { .. } => {
                colour(AnsiColor::Red).bold()
            }
            ProcessEvent::TradeDoubtful { .. } => colour(AnsiColor::Red),
            ProcessEvent::RunStarted { .. } | ProcessEvent::Restarting { .. } => Style::new().bold(),
            ProcessEvent::ProcessStarted { .. } | ProcessEvent::LedgerReady { .. } => Style::new(),
        },
    }
}

/// A log of one peer or of the ledger: the lines of text, plain, in its own directory.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log at `path` to go on at its end.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> io::Result<Log> {
        OpenOptions::new().create(true).append(true).open(path).map(Log)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, names: &Names, event: &Event) -> io::Result<()> {
        let mut line = anstream::adapter::strip_str(&names.line(event)).to_string();
        line.push('\n');
        self.0.write_all(line.as_bytes())
    }
}

/// In which form events go to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people; coloured where the output is a terminal and colours are not switched off.
    Text,
    /// For programs: one JSON object a line.
    Json,
    /// Not at all.
    Quiet,
}

impl Form {
    /// Prints an event, without waiting for it to be read ([`say`]).
    pub fn print(self, names: &Names, event: &Event) {
        let mut line = String::new();
        match self {
            Form::Text => line.push_str(&names.line(event)),
            Form::Json => {
                // An event has no map keys but strings and no values that JSON lacks: it always serializes.
                let json = serde_json::to_string(event).unwrap_or_default();
                let _ = write!(line, "{json}");
            }
            Form::Quiet => return,
        }
        line.push('\n');
        say(line);
    }
}

/// How many lines may wait for a reader of standard output that is slow. What comes beyond that is dropped and counted:
/// nobody's output may hold up the bazaar, and the logs have it all.
const LINES: usize = 65_536;

/// The thread that writes to standard output.
static PRINTER: OnceLock<Printer> = OnceLock::new();

struct Printer {
    lines: SyncSender<Line>,
    dropped: AtomicU64,
}

enum Line {
    Text(String),
    /// Everything before it has been written.
    Flush(SyncSender<()>),
}

/// Says a text on standard output, without waiting for it to be read.
pub fn say(text: String) {
    let printer = PRINTER.get_or_init(|| {
        let (lines, said) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in said {
                match line {
                    // A reader that has gone away is no reason to stop the bazaar.
                    Line::Text(text) => drop(anstream::stdout().write_all(text.as_bytes())),
                    Line::Flush(done) => {
                        let _ = anstream::stdout().flush();
                        let _ = done.try_send(());
                    }
                }
            }
        });
        Printer { lines, dropped: AtomicU64::new(0) }
    });
    if printer.lines.try_send(Line::Text(text)).is_err() {
        printer.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until what was said has been read, at most `at_most`, and says on the error output what was dropped. To be
/// called before the process ends.
pub fn flush(at_most: Duration) {
    let Some(printer) = PRINTER.get() else { return };
    let (done, is_done) = sync_channel(1);
    if printer.lines.try_send(Line::Flush(done)).is_ok() {
        let _ = is_done.recv_timeout(at_most);
    }
    let dropped = printer.dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!("{dropped} lines were dropped: nobody read the standard output");
        let _ = writeln!(anstream::stderr(), "{dropped} lines were dropped: nobody read the standard output");
    }
}

/// The events in a file or stream of JSON lines. Lines that are no events are left out: a process that was killed may
/// have left half of one.
pub fn read_events(reader: impl io::Read) -> impl Iterator<Item = Event> {
    BufReader::new(reader).lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bazaar_protocol::{
        effect::Departure,
        id::{DepositId, DepositNumber, RequestId, SaleNumber, Sequence, Units},
        money::{Cents, Price},
        record::Sale,
    };

    fn sale() -> Sale {
        Sale {
            request: RequestId { buyer: PeerId(0), sequence: Sequence((1 << 32) + 1) },
            deposit: DepositId { seller: PeerId(1), number: DepositNumber((1 << 32) + 1) },
            number: SaleNumber(1),
            item: Item::BOAR,
            quantity: Units(1),
            price: Price(900),
            commission: Cents(180),
            earned: Cents(720),
        }
    }

    #[test]
    fn an_event_survives_its_own_json() {
        let events = [
            Event::noted(PeerId(0), Time(7), Some(Epoch(2)), Note::Bought { sale: sale() }),
            Event::noted(PeerId(0), Time(7), None, Note::ElectionCalled),
            Event::noted(PeerId(0), Time(9), None, Note::SteppedDown { reason: Departure::LeaseActive }),
            Event::now(ProcessEvent::ProcessDied { process: "peer 3".into(), pid: 17, how: "signal 9".into() }),
        ];
        let lines: String = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        assert_eq!(read_events(lines.as_bytes()).collect::<Vec<_>>(), events);
    }

    #[test]
    fn half_a_line_is_left_out_and_the_next_is_read() {
        let whole = serde_json::to_string(&Event::noted(PeerId(0), Time(7), None, Note::ElectionCalled)).unwrap();
        let lines = format!("{}\n{whole}\n", &whole[..whole.len() / 2]);
        assert_eq!(read_events(lines.as_bytes()).count(), 1);
    }

    #[test]
    fn a_line_shows_clock_and_epoch_and_is_plain_when_stripped() {
        let names = Names { items: ["fish", "salt", "boar"].map(String::from).to_vec(), roles: Vec::new() };
        let event = Event::noted(PeerId(0), Time(7), Some(Epoch(2)), Note::Bought { sale: sale() });
        let line = anstream::adapter::strip_str(&names.line(&event)).to_string();
        assert!(line.ends_with("clock     7 epoch  2  peer 0    purchased 1 boar from peer 1 for 9.00"), "{line}");
    }
}
