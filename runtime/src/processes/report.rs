//! What happened, for people and programs (SPEC H1): one event per line, as text or as JSON.

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

/// One event. As JSON it is one object per line: `time`; `peer`, `clock` and `epoch` where they apply; then `event` and
/// its own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, by the wall clock of the machine it happened on.
    pub time: jiff::Timestamp,
    /// The peer it happened at; `None` for an event of a process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<PeerId>,
    /// That peer's Lamport clock (SPEC C6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock: Option<Time>,
    /// The epoch of the trader that peer knows of, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<Epoch>,
    /// What happened, and to whom.
    #[serde(flatten)]
    pub what: What,
}

/// What happened, to a peer or to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum What {
    /// A note from a peer's machine.
    Peer(Note),
    /// Something that happened to a process.
    Process(ProcessEvent),
}

/// What happens to the processes of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum ProcessEvent {
    /// A run starts or is continued.
    RunStarted {
        /// The run's directory.
        dir: String,
        /// How many peers it has.
        peers: u32,
        /// How many processes host them.
        processes: usize,
        /// The seed of its graph and roles.
        seed: u64,
    },
    /// The run cannot trade, or not under every trader.
    TradeDoubtful {
        /// Why, as a sentence.
        reason: String,
    },
    /// The supervisor has started a process.
    ProcessStarted {
        /// The process, such as `peer 3`.
        process: String,
        /// Its process id.
        pid: u32,
    },
    /// A process has ended although nobody asked it to.
    ProcessDied {
        /// The process, such as `peer 3`.
        process: String,
        /// Its process id.
        pid: u32,
        /// How it ended: its exit status or signal, in words.
        how: String,
    },
    /// A process that died will be restarted.
    Restarting {
        /// The process, such as `peer 3`.
        process: String,
        /// After how many milliseconds.
        after_ms: u64,
    },
    /// The ledger accepts connections.
    LedgerReady {
        /// Where, `host:port`.
        address: String,
        /// How many records it holds.
        records: u64,
    },
    /// On opening, a torn end of the log was cut off. None of it was ever acknowledged.
    LogCut {
        /// What was cut off, as a sentence.
        what: String,
    },
    /// A process has stopped because it must not continue.
    Failed {
        /// The process, such as `peer 3`.
        process: String,
        /// How it ended, in words.
        reason: String,
    },
}

impl Event {
    /// An event of a process, at the current time.
    #[must_use]
    pub fn now(what: ProcessEvent) -> Event {
        Event { time: jiff::Timestamp::now(), peer: None, clock: None, epoch: None, what: What::Process(what) }
    }

    /// A peer's note, at the current time.
    #[must_use]
    pub fn noted(peer: PeerId, clock: Time, epoch: Option<Epoch>, note: Note) -> Event {
        let time = jiff::Timestamp::now();
        Event { time, peer: Some(peer), clock: Some(clock), epoch, what: What::Peer(note) }
    }
}

/// What peers and goods are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The names of the goods, by [`Item`].
    pub items: Vec<String>,
    /// The roles of the peers, by id.
    pub roles: Vec<Role>,
}

impl words::Names for Names {
    /// An item's name as configured; `item N` if it has none.
    fn item(&self, item: Item) -> String {
        self.items.get(usize::from(item.0)).cloned().unwrap_or_else(|| format!("item {item}"))
    }

    /// A peer's name, which tells its role: "buyer 3", "seller 4", or "peer 5" for one that does both.
    fn peer(&self, peer: PeerId) -> String {
        match self.roles.get(peer.0 as usize) {
            Some(Role::Buyer(_)) => format!("buyer {peer}"),
            Some(Role::Seller(_)) => format!("seller {peer}"),
            Some(Role::Both(..)) | None => format!("peer {peer}"),
        }
    }
}

impl Names {
    /// What a peer buys and sells, in words.
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

    /// The name a line begins with: a peer says what it does in office as the trader.
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
            | Note::LeftOver { .. }
            | Note::ResumedAccount { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::ClockRefused { .. }
            | Note::PeerUnknown { .. }
            | Note::BooksRefused { .. } => self.peer(peer),
        }
    }

    fn note(&self, me: PeerId, note: &Note) -> String {
        let told = note.told(self);
        if matches!(note, Note::Joined { .. }) { format!("{told}: {}", self.role(me)) } else { told.to_string() }
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
            Note::Unavailable { .. } | Note::SoldOut { .. } | Note::LeftOver { .. } => colour(AnsiColor::Blue),
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

/// The log of one peer or of the ledger: plain lines of text in its own directory.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log at `path` to append to it, or creates it.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> io::Result<Log> {
        OpenOptions::new().create(true).append(true).open(path).map(Log)
    }

    /// Appends an event as one line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, names: &Names, event: &Event) -> io::Result<()> {
        let mut line = anstream::adapter::strip_str(&names.line(event)).to_string();
        line.push('\n');
        self.0.write_all(line.as_bytes())
    }
}

/// How events go to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people; coloured if the output is a terminal and colours are not switched off.
    Text,
    /// For programs: one JSON object per line.
    Json,
    /// No events at all.
    Quiet,
}

impl Form {
    /// Prints an event, without waiting for it to be read ([`say`]).
    pub fn print(self, names: &Names, event: &Event) {
        let mut line = String::new();
        match self {
            Form::Text => line.push_str(&names.line(event)),
            Form::Json => {
                // An event's map keys are strings, and JSON has all of its values, so it always serializes.
                let json = serde_json::to_string(event).unwrap_or_default();
                let _ = write!(line, "{json}");
            }
            Form::Quiet => return,
        }
        line.push('\n');
        say(line);
    }
}

/// How many lines may wait for a slow reader of standard output. Further lines are dropped and counted: no reader may
/// hold up the bazaar, and the logs have everything.
const LINES: usize = 65_536;

/// The thread that writes to standard output.
static PRINTER: OnceLock<Printer> = OnceLock::new();

struct Printer {
    lines: SyncSender<Line>,
    dropped: AtomicU64,
}

enum Line {
    Text(String),
    /// Answered once everything before it has been written.
    Flush(SyncSender<()>),
}

/// Prints text on standard output without waiting for it to be read.
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

/// Waits until everything printed has been read, but no longer than `at_most`, and reports on standard error how many
/// lines were dropped. To be called before the process ends.
pub fn flush(at_most: Duration) {
    let Some(printer) = PRINTER.get() else { return };
    let (done, is_done) = sync_channel(1);
    if printer.lines.try_send(Line::Flush(done)).is_ok() {
        let _ = is_done.recv_timeout(at_most);
    }
    let dropped = printer.dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!("{dropped} lines were dropped: nobody read standard output");
        let _ = writeln!(anstream::stderr(), "{dropped} lines were dropped: nobody read standard output");
    }
}

/// The events in a file or stream of JSON lines. Lines that are not events are skipped: a killed process may have left
/// half a line.
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
    fn half_a_line_is_skipped_and_the_next_is_read() {
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
