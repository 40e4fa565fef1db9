//! What happened, for people and programs (SPEC H1): one event per line, as text or as JSON.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use bazaar_protocol::{
    clock::Time,
    config::{Ordering as Order, Role},
    effect::Note,
    id::{Epoch, Item, PeerId},
    text::{counted, visible},
    words::{self, Names as _},
};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::fold::{Folds, Together, Told};
use crate::{
    config::BazaarConfig,
    network::service::Hand,
    processes::supervise::{Process, briefly},
    schema::{NoteLine, Schema as _},
    system::output::{self, OutputError},
};

/// One event. Its JSON is an [`EventLine`](crate::schema::EventLine).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, by the wall clock of the machine it happened on.
    pub time: jiff::Timestamp,
    /// The peer it happened at; `None` for an event of a process.
    pub peer: Option<PeerId>,
    /// That peer's Lamport clock (SPEC C6).
    pub clock: Option<Time>,
    /// The epoch of the trader that peer knows of, if any.
    pub epoch: Option<Epoch>,
    /// What happened, and to whom.
    pub what: What,
}

/// What happened, to a peer or to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A note from a peer's machine.
    Peer(Note),
    /// Something that happened to a process.
    Process(ProcessEvent),
}

impl What {
    /// The kind of event, as JSON names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            What::Peer(note) => NoteLine::kind_of(note),
            What::Process(event) => event.into(),
        }
    }
}

/// What happens to the processes of a run. This is also its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case", tag = "event", content = "data", deny_unknown_fields)]
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
    /// A process has ended although nobody asked it to, or not as it was asked to.
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
    /// A process of the ledger accepts connections.
    LedgerReady {
        /// The process: `the ledger` or, where it has several, such as `ledger 2`.
        process: String,
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
    /// The store that the processes of the ledger share does not answer one of them, declines to write, or holds damaged
    /// history.
    StoreTroubled {
        /// The process: `the ledger` or, where it has several, such as `ledger 2`.
        process: String,
        /// What is wrong, and what to do about it where that is known.
        what: String,
    },
    /// That is over.
    StoreWell {
        /// The process: `the ledger` or, where it has several, such as `ledger 2`.
        process: String,
    },
    /// The configuration asks for another order than the books were opened with; the books win (SPEC C5).
    OrderingDiffers {
        /// The order in which the books are kept.
        books: Order,
        /// The order that the configuration of this process asks for.
        configured: Order,
    },
    /// A process is about to be paused by hand (`bazaar pause`).
    Paused {
        /// The process, such as `peer 3`.
        process: String,
    },
    /// A process that was paused by hand goes on (`bazaar resume`).
    Resumed {
        /// The process, such as `peer 3`.
        process: String,
    },
    /// The trader is asked to give the office back by hand (`bazaar resign`).
    AskedToResign {
        /// The peer, such as `peer 3`.
        process: String,
    },
    /// A peer's link to a neighbour was cut by hand (`bazaar cut`).
    LinkCut {
        /// The peer, such as `peer 3`.
        process: String,
        /// The neighbour, which the peer no longer reaches.
        neighbour: PeerId,
    },
    /// A peer's link that was cut by hand is healed (`bazaar heal`).
    LinkHealed {
        /// The peer, such as `peer 3`.
        process: String,
        /// The neighbour.
        neighbour: PeerId,
    },
    /// A process has stopped because it must not continue, or is not started again because it panics.
    Failed {
        /// The process, such as `peer 3`.
        process: String,
        /// How it ended, in words.
        reason: String,
    },
}

impl ProcessEvent {
    /// What is done to a process by hand, as an event.
    #[must_use]
    pub fn by_hand(process: Process, hand: Hand) -> ProcessEvent {
        let process = process.to_string();
        match hand {
            Hand::Paused => ProcessEvent::Paused { process },
            Hand::Resumed => ProcessEvent::Resumed { process },
        }
    }

    /// The same of a process that is named by some of its peers ([`briefly`]).
    fn briefly(mut self) -> ProcessEvent {
        match &mut self {
            ProcessEvent::ProcessStarted { process, .. }
            | ProcessEvent::ProcessDied { process, .. }
            | ProcessEvent::Restarting { process, .. }
            | ProcessEvent::Paused { process }
            | ProcessEvent::Resumed { process }
            | ProcessEvent::AskedToResign { process }
            | ProcessEvent::LinkCut { process, .. }
            | ProcessEvent::LinkHealed { process, .. }
            | ProcessEvent::Failed { process, .. } => *process = briefly(process),
            ProcessEvent::RunStarted { .. }
            | ProcessEvent::TradeDoubtful { .. }
            | ProcessEvent::LedgerReady { .. }
            | ProcessEvent::LogCut { .. }
            | ProcessEvent::StoreTroubled { .. }
            | ProcessEvent::StoreWell { .. }
            | ProcessEvent::OrderingDiffers { .. } => {}
        }
        self
    }
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
    /// The items that a peer buys, and those that it sells.
    #[must_use]
    pub fn goods(&self, peer: PeerId) -> (Vec<Item>, Vec<Item>) {
        let role = self.roles.get(peer.0 as usize);
        let buys = role.and_then(Role::wishes).map(|wishes| wishes.items.clone());
        let sells = role.and_then(Role::offers).map(|offers| offers.0.iter().map(|offer| offer.item).collect());
        (buys.unwrap_or_default(), sells.unwrap_or_default())
    }

    /// What a peer buys and sells, in words.
    #[must_use]
    pub fn role(&self, peer: PeerId) -> String {
        self.role_with(peer, ", ")
    }

    /// The same in the fewest columns: within 36 if all goods are fish, salt and boar.
    fn role_briefly(&self, peer: PeerId) -> String {
        self.role_with(peer, "/")
    }

    fn role_with(&self, peer: PeerId, separator: &str) -> String {
        let list = |items: &[Item]| items.iter().map(|item| self.item(*item)).collect::<Vec<_>>().join(separator);
        let (buys, sells) = self.goods(peer);
        match (buys.is_empty(), sells.is_empty()) {
            (false, true) => format!("buys {}", list(&buys)),
            (true, false) => format!("sells {}", list(&sells)),
            (false, false) if BTreeSet::from_iter(&buys) == BTreeSet::from_iter(&sells) => {
                format!("buys and sells {}", list(&buys))
            }
            (false, false) => format!("buys {}; sells {}", list(&buys), list(&sells)),
            (true, true) => "unknown".to_owned(),
        }
    }

    /// The names in this bazaar.
    #[must_use]
    pub fn of(config: &BazaarConfig) -> Names {
        Names {
            items: config.goods().items.clone(),
            roles: config.members().map(|member| member.role.clone()).collect(),
        }
    }

    /// The event that a line of JSON shows; `None` if it shows none.
    #[must_use]
    pub fn event(&self, line: &str) -> Option<Event> {
        Event::read(serde_json::from_str(line).ok()?, self)
    }

    /// One line of text for an event with all there is to say, without the line break: for the log.
    #[must_use]
    pub fn line(&self, event: &Event) -> String {
        let time = local(event.time);
        let (on, off, dim_on, dim_off) = styles(&event.what);
        match (event.peer, &event.what) {
            (Some(peer), What::Peer(note)) => {
                let clock = event.clock.unwrap_or_default();
                let epoch = event.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
                let name = self.speaker(peer, note);
                let said = self.with_role(peer, note, note.told(self).to_string());
                format!("{dim_on}{time} clock {clock:>5} epoch {epoch:>2}{dim_off}  {on}{name:<9} {said}{off}")
            }
            (_, What::Peer(note)) => format!("{dim_on}{time}{dim_off}  {note:?}"),
            (_, What::Process(event)) => {
                format!("{dim_on}{time} {:<20}{dim_off}  {on}{}{off}", "", visible(&process_text(event)))
            }
        }
    }

    /// The same for a screen: within 80 columns where it can be.
    #[must_use]
    pub fn short_line(&self, event: &Event) -> String {
        match (event.peer, &event.what) {
            (Some(peer), What::Peer(note)) => {
                let has_come = matches!(note, Note::Joined { incarnation } if incarnation.0 == 1);
                let joined = || format!("joined: {}", self.role_briefly(peer));
                let said = if has_come { joined() } else { note.told_briefly(self).to_string() };
                columns(event, &self.speaker(peer, note), &said)
            }
            (_, What::Peer(note)) => columns(event, "", &note.to_string()),
            (_, What::Process(process)) => of_process(event, &visible(&process_text(&process.clone().briefly()))),
        }
    }

    /// How this event reads together with others that happen in the same moment to others.
    pub(crate) fn together(&self, event: &Event) -> Option<Together> {
        let peers = |said: String| {
            let before = event.peer;
            Some(Together { id: before?.0, before, who: "{n} peers".to_owned(), said })
        };
        // Which of its words come first does not matter.
        let trader = |note: &Note, buyer: &PeerId, said: &str| {
            let who = self.speaker(event.peer?, note);
            Some(Together { id: buyer.0, before: None, who, said: said.to_owned() })
        };
        match &event.what {
            What::Peer(Note::Joined { incarnation }) if incarnation.0 == 1 => {
                let role = self.role_briefly(event.peer?).replace("buys ", "buy ").replace("sells ", "sell ");
                peers(format!("joined: {role}"))
            }
            What::Peer(Note::ElectionCalled) => peers("call an election".to_owned()),
            What::Peer(Note::TraderSuspected { trader }) => {
                peers(format!("have not heard trader {trader} for too long"))
            }
            What::Peer(Note::Recognised { trader }) => {
                peers(format!("recognise {} as coordinator", self.peer(*trader)))
            }
            What::Peer(Note::LedgerHeard) => peers("hear the ledger".to_owned()),
            What::Peer(Note::LedgerSilent) => peers("do not hear the ledger".to_owned()),
            What::Peer(note @ Note::Seated { buyer, .. }) => trader(note, buyer, "gives {n} buyers seats"),
            What::Peer(note @ Note::Unseated { buyer, .. }) => {
                trader(note, buyer, "takes the seats of {n} buyers: not heard")
            }
            What::Process(ProcessEvent::ProcessStarted { process, pid }) if process.starts_with("peer") => {
                let (who, said) = (String::new(), "started {n} processes of peers".to_owned());
                Some(Together { id: *pid, before: None, who, said })
            }
            What::Peer(_) | What::Process(_) => None,
        }
    }

    /// The line for several events that read together, of which this is the latest.
    pub(crate) fn line_together(latest: &Event, together: &Together, count: usize) -> String {
        let [who, said] = [&together.who, &together.said].map(|text| text.replace("{n}", &count.to_string()));
        match latest.what {
            What::Peer(_) => columns(latest, &who, &said),
            What::Process(_) => of_process(latest, &said),
        }
    }

    /// The name a line begins with: a peer says what it does in office as the trader.
    fn speaker(&self, peer: PeerId, note: &Note) -> String {
        match note {
            Note::TookOffice { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Unseated { .. }
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
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. }
            | Note::BooksRefused { .. } => self.peer(peer),
        }
    }

    fn with_role(&self, me: PeerId, note: &Note, told: String) -> String {
        if matches!(note, Note::Joined { .. }) { format!("{told}: {}", self.role(me)) } else { told }
    }
}

/// What stands above the columns of [`Names::short_line`].
const HEAD: &str = "time         clock epoch  who";

fn columns(event: &Event, who: &str, said: &str) -> String {
    let (on, off, dim_on, dim_off) = styles(&event.what);
    let time = local(event.time);
    let clock = event.clock.map_or_else(String::new, |clock| clock.to_string());
    let epoch = event.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    format!("{dim_on}{time} {clock:>5} {epoch:>5}{dim_off}  {on}{who:<9} {said}{off}")
}

fn of_process(event: &Event, said: &str) -> String {
    let (on, off, dim_on, dim_off) = styles(&event.what);
    format!("{dim_on}{}{dim_off}  {on}{said}{off}", local(event.time))
}

fn local(time: jiff::Timestamp) -> impl std::fmt::Display {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// The colours of an event's words and of what stands before them, each with its end.
fn styles(
    what: &What,
) -> (impl std::fmt::Display, impl std::fmt::Display, impl std::fmt::Display, impl std::fmt::Display) {
    let (style, dim) = (style_of(what), Style::new().dimmed());
    (style.render(), style.render_reset(), dim.render(), dim.render_reset())
}

fn process_text(event: &ProcessEvent) -> String {
    match event {
        ProcessEvent::RunStarted { dir, peers, processes, seed } => {
            format!("{dir}: {} in {}, seed {seed}", counted(*peers, "peer"), counted(*processes, "process"))
        }
        ProcessEvent::TradeDoubtful { reason } => reason.clone(),
        ProcessEvent::ProcessStarted { process, pid } => format!("started {process} (pid {pid})"),
        ProcessEvent::ProcessDied { process, pid, how } => format!("{process} (pid {pid}) died: {how}"),
        ProcessEvent::Restarting { process, after_ms } => {
            format!("will start {process} again in {:.1} s", *after_ms as f64 / 1_000.0)
        }
        ProcessEvent::LedgerReady { process, address, records } => {
            format!("{process} serves at {address}, {}", counted(*records, "record"))
        }
        ProcessEvent::LogCut { what } => format!("the ledger cut off what was never acknowledged: {what}"),
        ProcessEvent::StoreTroubled { process, what } => format!("the store of {process} is in trouble: {what}"),
        ProcessEvent::StoreWell { process } => format!("the store of {process} is well again"),
        ProcessEvent::OrderingDiffers { books, configured } => format!(
            "the books were opened with the order {0} and keep it; the configuration asks for {1}: write \
             terms.ordering = \"{0}\" there, or give another --dir",
            books.name(),
            configured.name()
        ),
        ProcessEvent::Paused { process } => format!("{process} is paused by hand"),
        ProcessEvent::Resumed { process } => format!("{process} goes on, resumed by hand"),
        ProcessEvent::AskedToResign { process } => format!("{process} is asked to resign by hand"),
        ProcessEvent::LinkCut { process, neighbour } => format!("{process} is cut off from peer {neighbour} by hand"),
        ProcessEvent::LinkHealed { process, neighbour } => {
            format!("{process} may reach peer {neighbour} again, by hand")
        }
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
            Note::SteppedDown { .. } | Note::TraderSuspected { .. } | Note::Unseated { .. } => {
                colour(AnsiColor::Magenta)
            }
            // Late (SPEC C5).
            Note::Admitted { stamp, place, .. } if stamp != place => colour(AnsiColor::Magenta),
            Note::Bought { .. } | Note::Recalled { .. } => colour(AnsiColor::Green),
            Note::Earned { .. } | Note::Registered { .. } | Note::ResumedAccount { .. } => colour(AnsiColor::Cyan),
            Note::Unavailable { .. } | Note::SoldOut { .. } | Note::LeftOver { .. } => colour(AnsiColor::Blue),
            Note::LedgerSilent
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. }
            | Note::BooksRefused { .. } => colour(AnsiColor::Red),
            Note::Joined { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::ResumedRequest { .. }
            | Note::LedgerHeard => Style::new(),
        },
        What::Process(event) => match event {
            ProcessEvent::ProcessDied { .. }
            | ProcessEvent::Failed { .. }
            | ProcessEvent::LogCut { .. }
            | ProcessEvent::StoreTroubled { .. } => colour(AnsiColor::Red).bold(),
            ProcessEvent::Paused { .. } | ProcessEvent::LinkCut { .. } | ProcessEvent::AskedToResign { .. } => {
                colour(AnsiColor::Magenta).bold()
            }
            ProcessEvent::Resumed { .. } | ProcessEvent::LinkHealed { .. } | ProcessEvent::StoreWell { .. } => {
                Style::new().bold()
            }
            ProcessEvent::TradeDoubtful { .. } | ProcessEvent::OrderingDiffers { .. } => colour(AnsiColor::Red),
            ProcessEvent::RunStarted { .. } | ProcessEvent::Restarting { .. } => Style::new().bold(),
            ProcessEvent::ProcessStarted { .. } | ProcessEvent::LedgerReady { .. } => Style::new(),
        },
    }
}

/// Which events are printed. The logs have all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The kinds of events, as JSON names them; empty: all.
    pub kinds: BTreeSet<String>,
    /// The peers that they are of; empty: all, and what happens to processes.
    pub peers: BTreeSet<PeerId>,
}

impl Filter {
    /// Whether it is printed.
    #[must_use]
    pub fn shows(&self, event: &Event) -> bool {
        let is_of = self.peers.is_empty() || event.peer.is_some_and(|peer| self.peers.contains(&peer));
        is_of && (self.kinds.is_empty() || self.kinds.contains(event.what.kind()))
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
    /// Prints what stands above the events, if people read them.
    pub fn begin(self) {
        if self == Form::Text {
            let dim = Style::new().dimmed();
            say(format!("{}{HEAD}{}\n", dim.render(), dim.render_reset()));
        }
    }

    /// Prints an event, without waiting for it to be read ([`say`]). For people, what many peers say in one moment
    /// becomes one line.
    pub fn print(self, names: &Names, event: &Event) {
        match self {
            Form::Text => send(Line::Event(Box::new(Told {
                line: names.short_line(event),
                together: names.together(event),
                event: event.clone(),
            }))),
            // An event's map keys are strings, and JSON has all of its values, so it always serializes.
            Form::Json => say(serde_json::to_string(&event.show(names)).unwrap_or_default() + "\n"),
            Form::Quiet => {}
        }
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
    /// The first line that could not be written, if one could not.
    failure: Mutex<Option<OutputError>>,
}

enum Line {
    Text(String),
    /// An event for people. In a box, since there is room for all lines from the start.
    Event(Box<Told>),
    /// Answered once everything before it has been written.
    Flush(SyncSender<()>),
}

impl Printer {
    fn start() -> Printer {
        let (lines, said) = sync_channel(LINES);
        std::thread::spawn(move || print_all(&said));
        Printer { lines, dropped: AtomicU64::new(0), failure: Mutex::default() }
    }
}

/// Says at once that the output is incomplete: the bazaar goes on, perhaps for days, and its end will say so again.
fn note_failure(error: OutputError) {
    let mut failure = PRINTER.get_or_init(Printer::start).failure.lock().unwrap_or_else(PoisonError::into_inner);
    if failure.is_none() {
        output::complain(&format!("warning: {error}; the bazaar goes on, and its logs have what is missing here"));
        *failure = Some(error);
    }
}

/// Prints text on standard output without waiting for it to be read.
pub fn say(text: String) {
    send(Line::Text(text));
}

fn send(line: Line) {
    let printer = PRINTER.get_or_init(Printer::start);
    if printer.lines.try_send(line).is_err() {
        printer.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Prints what comes, until nobody can send any more.
fn print_all(said: &Receiver<Line>) {
    let write = |text: &str| {
        if let Err(error) = output::print(text) {
            note_failure(error);
        }
    };
    let mut folds = Folds::default();
    loop {
        let line = match folds.due() {
            None => said.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => said.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match line {
            Ok(Line::Event(told)) => folds.take(*told, write),
            Ok(Line::Text(text)) => {
                folds.end(write);
                write(&text);
            }
            Ok(Line::Flush(done)) => {
                folds.end(write);
                let _ = done.try_send(());
            }
            Err(RecvTimeoutError::Timeout) => folds.end_due(write),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits until everything printed has been read, but no longer than `at_most`, and reports on standard error how many
/// lines were dropped. To be called before the process ends.
///
/// # Errors
/// When some of it could not be written, or was not read in time.
pub fn flush(at_most: Duration) -> Result<(), OutputError> {
    let Some(printer) = PRINTER.get() else { return Ok(()) };
    let (done, is_done) = sync_channel(1);
    let asked = printer.lines.try_send(Line::Flush(done));
    let is_read = asked.is_ok() && is_done.recv_timeout(at_most).is_ok();
    let dropped = printer.dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!("lines dropped, since nobody read standard output: {dropped}");
        output::complain(&format!("lines dropped, since nobody read standard output: {dropped}"));
    }
    match printer.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure),
        None if is_read => Ok(()),
        None => {
            let error = io::Error::new(io::ErrorKind::TimedOut, "nobody reads it, and its last lines are lost");
            Err(OutputError { name: "standard output".to_owned(), error })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anstream::adapter::strip_str;

    use super::*;
    use bazaar_protocol::{
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
    fn a_line_shows_clock_and_epoch_and_is_plain_when_stripped() {
        let names = Names { items: ["fish", "salt", "boar"].map(String::from).to_vec(), roles: Vec::new() };
        let event = Event::noted(PeerId(0), Time(7), Some(Epoch(2)), Note::Bought { sale: sale() });
        let line = strip_str(&names.line(&event)).to_string();
        assert!(line.ends_with("clock     7 epoch  2  peer 0    purchased 1 boar from peer 1 for 9.00"), "{line}");
        let short = strip_str(&names.short_line(&event)).to_string();
        assert!(short.ends_with("     7     2  peer 0    purchased 1 boar from peer 1 for 9.00"), "{short}");
        assert_eq!(HEAD.find("who"), short.find("peer 0"), "it stands below its head");
    }
}
