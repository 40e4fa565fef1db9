//! What size costs: one row of numbers for a number of peers, a network, and how often the trader changes.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    time::Duration,
};

use bazaar_protocol::{config::Ordering, invariant::Violation};
use serde::{Serialize, Serializer};

use super::{
    meter::{EnvelopeKind, Operation},
    plan::{AFTER_FAULTS, Conditions, Fault, Millis, Network, Noise, Plan, Schedule, Think, What, diameter},
    survey::Survey,
    world::World,
};

/// How long a network runs before anything is counted.
pub const WARM_UP: Duration = Duration::from_secs(10);

/// How long after the counting begins the trader is killed for the first time; then it is killed once a minute.
pub const FIRST_KILL: Duration = Duration::from_secs(10);

/// How long a killed trader is away.
const AWAY: Millis = Millis(20_000);

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many peers there are.
    pub peers: u32,
    /// Who is whose neighbour.
    pub network: Network,
    /// How long buyers think.
    pub think: Think,
    /// In which order requests are served, and how often buyers are asked for promises.
    pub order: Order,
    /// How often the trader changes.
    pub turnover: Turnover,
    /// How long is counted, in virtual time.
    pub span: Duration,
}

/// In which order requests are served, and how often buyers are asked for promises between two heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The order.
    pub ordering: Ordering,
    /// How long after the last wave another may follow; zero: heartbeats alone ask.
    #[serde(rename = "wave_ms")]
    pub wave: Millis,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ordering.name())?;
        if self.wave.0 > 0 { write!(f, ", a wave every {} ms", self.wave.0) } else { Ok(()) }
    }
}

/// How often the trader changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turnover {
    /// Never: nobody resigns, and nobody is killed.
    Never,
    /// The trader resigns after 40 sales.
    Resigns,
    /// Nobody resigns, but the trader is killed once a minute.
    Killed,
}

impl Turnover {
    /// All of them, the quietest first.
    pub const ALL: [Turnover; 3] = [Turnover::Never, Turnover::Resigns, Turnover::Killed];
}

impl fmt::Display for Turnover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Turnover::Never => "one trader",
            Turnover::Resigns => "the trader resigns after 40 sales",
            Turnover::Killed => "the trader is killed once a minute",
        })
    }
}

/// What it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// How many peers there are.
    pub peers: u32,
    /// Who is whose neighbour.
    pub network: String,
    /// The hops between the two peers furthest apart.
    pub diameter: u32,
    /// How long buyers think.
    pub think: Think,
    /// In which order requests are served.
    pub order: Order,
    /// How often the trader changes.
    pub turnover: Turnover,
    /// Outcomes a second.
    #[serde(rename = "outcomes_per_second")]
    pub outcomes: f64,
    /// Envelopes for each outcome, by kind, in the order of [`EnvelopeKind::ALL`].
    #[serde(serialize_with = "by_kind")]
    pub envelopes: [f64; EnvelopeKind::ALL.len()],
    /// Bytes for each outcome, by kind, as the runtime writes them, without frames.
    #[serde(serialize_with = "by_kind")]
    pub bytes: [f64; EnvelopeKind::ALL.len()],
    /// The most envelopes on one direction of a link in one second.
    pub peak: u32,
    /// Envelopes for which a link or an inbox had no room, for each outcome.
    pub overflowed: f64,
    /// How many elections were called for each term.
    pub callers: Option<f64>,
    /// How often the trader was killed.
    pub kills: usize,
    /// The usual time without a trader after a kill, in milliseconds.
    #[serde(rename = "vacancy_ms")]
    pub vacancy: Option<f64>,
    /// The longest.
    #[serde(rename = "longest_vacancy_ms")]
    pub longest_vacancy: Option<f64>,
    /// How long half of the requests waited at most, in milliseconds.
    #[serde(rename = "p50_ms")]
    pub p50: Option<f64>,
    /// How long 99 % of them waited at most, in milliseconds.
    #[serde(rename = "p99_ms")]
    pub p99: Option<f64>,
    /// The share of outcomes after one of a later-stamped request.
    pub overtaken: f64,
    /// How many requests were late (SPEC C5).
    pub late: u64,
    /// The unicasts that were flooded, for each that was sent.
    pub detours: f64,
}

/// In JSON, each has the name of its kind.
fn by_kind<S: Serializer>(of_each: &[f64; EnvelopeKind::ALL.len()], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(EnvelopeKind::ALL.iter().zip(of_each))
}

pub(super) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Simulates a network of this size and counts.
///
/// # Errors
/// The violation that stopped it.
pub fn measure(size: &Size, seed: u64) -> Result<Row, Violation> {
    let Size { peers, network, think, order, turnover, span } = size.clone();
    let whole = |duration: Duration| Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let mut faults = Vec::new();
    let mut next = WARM_UP + FIRST_KILL;
    while turnover == Turnover::Killed && next < WARM_UP + span {
        faults.push(Fault { at: whole(next), what: What::CrashTrader { lasts: AWAY } });
        next += Duration::from_secs(60);
    }
    let end = WARM_UP + span;
    // Nothing is judged before the faults stop, and by then the counting is over.
    let faults_stop = end + Duration::from_secs(1);
    let plan = Plan {
        seed,
        peers,
        network: network.clone(),
        think,
        span: faults_stop + AFTER_FAULTS,
        quiet: turnover != Turnover::Killed,
        without: BTreeSet::new(),
    };
    let schedule = Schedule { plan, noise: Noise::default(), faults, faults_stop: whole(faults_stop) };
    let graph = schedule.graph();
    let mut conditions = Conditions::fixed(&graph);
    conditions.terms.ordering = order.ordering;
    conditions.wave = Duration::from_millis(order.wave.0);
    if turnover != Turnover::Resigns {
        conditions.terms.resign_after = u32::MAX;
    }
    let mut world = World::under(schedule, &graph, conditions);
    let survey = world.count(WARM_UP, end)?;
    let tally = world.tally();
    let per_outcome = |count: u64| count as f64 / tally.outcomes().max(1) as f64;
    let terms = tally.operations(Operation::Term);
    Ok(Row {
        peers,
        network: network.to_string(),
        diameter: diameter(&graph),
        think,
        order,
        turnover,
        outcomes: tally.outcomes() as f64 / span.as_secs_f64(),
        envelopes: EnvelopeKind::ALL.map(|kind| per_outcome(tally.envelopes(kind))),
        bytes: EnvelopeKind::ALL.map(|kind| per_outcome(survey.bytes(kind))),
        peak: world.peak(),
        overflowed: per_outcome(tally.overflowed),
        callers: (terms > 0).then(|| tally.operations(Operation::Call) as f64 / terms as f64),
        kills: survey.kills(),
        vacancy: survey.usual_vacancy().map(millis),
        longest_vacancy: survey.longest_vacancy().map(millis),
        p50: survey.wait(0.5).map(millis),
        p99: survey.wait(0.99).map(millis),
        overtaken: survey.overtaken(),
        late: survey.late(),
        detours: tally.detours as f64 / tally.unicasts.max(1) as f64,
    })
}

impl World {
    /// Runs up to `upto` and counts from `from` on.
    fn count(&mut self, from: Duration, upto: Duration) -> Result<Survey, Violation> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.run_up_to(nanos(from));
        self.begin_survey();
        self.run_up_to(nanos(upto));
        match self.violation() {
            Some(violation) => Err(violation.clone()),
            None => Ok(self.end_survey()),
        }
    }
}

/// The names of the columns, and what they mean.
const COLUMNS: [(&str, &str); 23] = [
    ("peers", "how many peers"),
    ("hops", "between the two that are furthest apart"),
    ("outcomes/s", "requests that got an outcome, a second of virtual time"),
    ("envelopes", "put on links for each outcome, all together: each hop counts"),
    ("clock", "of these, buyers' clocks"),
    ("trade", "requests, deposits, and what the trader answers"),
    ("heartbeat", "the trader is alive"),
    ("promise", "buyers' promises, and waves that ask for them"),
    ("election", "messages of elections"),
    ("flooded", "unicasts that were flooded, because no path was known"),
    ("bytes", "for each outcome, without frames"),
    ("by kind", "of these, those of clocks, trade, heartbeats, promises, elections, and flooded unicasts"),
    ("peak", "the most envelopes on one direction of a link in a second"),
    ("dropped", "for each outcome, because a link or an inbox was full"),
    ("callers", "elections called for each term"),
    ("kills", "how often the trader was killed"),
    ("vacant ms", "the usual time without a trader after a kill"),
    ("longest ms", "the longest time without a trader after a kill"),
    ("p50 ms", "how long half of the requests waited at most"),
    ("p99 ms", "how long 99 % of them waited at most"),
    ("overtaken %", "outcomes after one of a later-stamped request"),
    ("late", "requests that came after their places had been passed, in the stable order"),
    ("detours %", "unicasts that were flooded, of those that were sent"),
];

impl Row {
    fn cells(&self) -> [String; COLUMNS.len()] {
        let number = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        let maybe = |value: Option<f64>| value.map_or("–".to_owned(), number);
        let [clock, trade, heartbeat, promise, election, flooded] = self.envelopes.map(number);
        [
            self.peers.to_string(),
            self.diameter.to_string(),
            number(self.outcomes),
            number(self.envelopes.iter().sum()),
            clock,
            trade,
            heartbeat,
            promise,
            election,
            flooded,
            number(self.bytes.iter().sum()),
            self.bytes.map(|bytes| format!("{bytes:.0}")).join(" / "),
            self.peak.to_string(),
            number(self.overflowed),
            maybe(self.callers),
            self.kills.to_string(),
            maybe(self.vacancy),
            maybe(self.longest_vacancy),
            maybe(self.p50),
            maybe(self.p99),
            number(self.overtaken * 100.0),
            self.late.to_string(),
            number(self.detours * 100.0),
        ]
    }
}

/// Rows of one network and turnover, below the names of the columns.
#[derive(Debug)]
pub struct Section<'a> {
    rows: Vec<&'a Row>,
    is_markdown: bool,
}

impl<'a> Section<'a> {
    /// A section of these rows.
    #[must_use]
    pub fn new(rows: Vec<&'a Row>, is_markdown: bool) -> Section<'a> {
        Section { rows, is_markdown }
    }
}

impl fmt::Display for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = COLUMNS.map(|(name, _)| name.to_owned());
        let cells: Vec<[String; COLUMNS.len()]> = self.rows.iter().map(|row| row.cells()).collect();
        if self.is_markdown {
            writeln!(f, "| {} |", head.join(" | "))?;
            writeln!(f, "|{}", "--:|".repeat(COLUMNS.len()))?;
            return cells.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")));
        }
        let width = |column: usize| {
            let cells = cells.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        for row in [&head].into_iter().chain(&cells) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:>width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What the columns mean, as a list.
#[must_use]
pub fn legend() -> String {
    let mut text = String::new();
    for (name, meaning) in COLUMNS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- **{name}**: {meaning}");
    }
    text
}
