//! `bazaar-model simulate`: very many random histories in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bazaar_model::{
    protocol::{
        config::Ordering as Serving,
        graph::{Graph, MOST_PEERS},
        invariant::Property,
        random::SplitMix64,
        text::number,
    },
    simulator::{
        history::{Outcome, Record, shrink, simulate},
        meter::{Operation, Tally},
        plan::{FaultKind, LONGEST, Millis, Network, Plan, SHORTEST, Schedule, Think},
        table::{FIRST_KILL, Order, Row, Section, Size, Turnover, legend, measure},
    },
};
use jiff::fmt::friendly::SpanParser;
use serde::Serialize;

use super::{
    NOT_COMPLETE, about, mutants,
    output::{complain, read_text, stdout, write_json},
    progress::Progress,
    threads_or_all, usage,
};

#[derive(Debug, clap::Args)]
pub struct SimulateArguments {
    /// The seeds to simulate: one, or a range such as 0..1000 (the last one is not included). Default: 0..100; with
    /// `--table`, which takes one: 0.
    #[arg(long, value_name = "N|A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// How many peers: numbers and ranges such as 3..12 (both included), from which each seed draws one; with `--table`,
    /// the numbers to compare (default: 3..12, with `--table` 2,10,100).
    #[arg(long, value_name = "N|A..B", value_delimiter = ',', value_parser = peers)]
    peers: Vec<RangeInclusive<u32>>,
    /// The network: `random`, `line`, `ring`, or a file with a JSON adjacency list, which also says how many
    /// peers there are. Of several, each seed draws one (default: random; with `--table` line,ring,random).
    #[arg(long, value_name = "FILE|line|ring|random", value_delimiter = ',')]
    network: Vec<String>,
    /// How long a buyer thinks before its next request, such as 300ms or 2s; 0s: not at all. With 50ms..2s buyers
    /// differ, and each draws its own. With `--table`, those to compare. (Default: 300ms; in half of the seeds
    /// 50ms..2s.)
    #[arg(long, value_name = "TIME|A..B", value_delimiter = ',', value_parser = think)]
    think: Vec<Think>,
    /// With `--table`: the orders to compare, `stable` or `smallest-open` (default: stable). Without it, half of the
    /// seeds have each.
    #[arg(long, value_name = "ORDER", value_delimiter = ',', value_parser = ordering, requires = "table")]
    ordering: Vec<Serving>,
    /// With `--table`: how long after the last wave a trader may ask for promises again, to compare; 0s: with its
    /// heartbeats only (default: 0s).
    #[arg(long, value_name = "TIME", value_delimiter = ',', value_parser = duration, requires = "table")]
    wave: Vec<Duration>,
    /// With `--table`: how often the trader changes, to compare: `never`, `resigns` or `killed` (default: all).
    #[arg(long, value_name = "HOW", value_delimiter = ',', value_parser = turnover, requires = "table")]
    turnover: Vec<Turnover>,
    /// How long each history is in virtual time, such as 90s or 2h; its last minute is without faults (default: 120s).
    /// With `--table`, how long is counted (default: 60s).
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    span: Option<Duration>,
    /// Without any faults.
    #[arg(long)]
    quiet: bool,
    /// Fail if a history has fewer outcomes than this: it would show little. Histories in which fewer than three peers are
    /// left do not count.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "table", value_parser = |text: &str| number(text, &(0..=u64::MAX)))]
    floor: u64,
    /// Pass over violations of these properties, such as A9, since they are known.
    #[arg(long, value_name = "PROPERTY", value_delimiter = ',', value_parser = property, conflicts_with = "table")]
    without: Vec<Property>,
    /// Print what size costs instead, as a table by the number of peers: with one trader, with traders that resign, and
    /// with the trader killed once a minute.
    #[arg(long, conflicts_with = "save")]
    table: bool,
    /// With `--table`: print a Markdown page, such as `docs/scale.md`.
    #[arg(long, requires = "table")]
    markdown: bool,
    /// The number of threads (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, &(1..=u16::MAX)))]
    threads: Option<u16>,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Write the history of a violation to this file, for `replay` (default: violation.json).
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

fn property(text: &str) -> Result<Property, String> {
    let named = |property: &Property| property.to_string().eq_ignore_ascii_case(text);
    let all = || Property::ALL.map(|property| property.to_string()).join(", ");
    Property::ALL.into_iter().find(named).ok_or_else(|| format!("{text:?} is no property; there are {}", all()))
}

fn think(text: &str) -> Result<Think, String> {
    let millis = |text: &str| Ok::<_, String>(Millis(duration(text)?.as_millis() as u64));
    let think = match text.split_once("..") {
        Some((least, most)) => Think { least: millis(least)?, most: millis(most)? },
        None => millis(text).map(|time| Think { least: time, most: time })?,
    };
    if think.most < think.least {
        return Err(format!("there is no time in {text}; the second must not be shorter"));
    }
    Ok(think)
}

fn ordering(text: &str) -> Result<Serving, String> {
    let named = |ordering: &Serving| ordering.name() == text;
    let both = [Serving::Stable, Serving::SmallestOpen];
    both.into_iter().find(named).ok_or_else(|| format!("{text:?} is no order; there are stable and smallest-open"))
}

fn turnover(text: &str) -> Result<Turnover, String> {
    match text {
        "never" => Ok(Turnover::Never),
        "resigns" => Ok(Turnover::Resigns),
        "killed" => Ok(Turnover::Killed),
        _ => Err(format!("{text:?} is not how often a trader changes; there are never, resigns and killed")),
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is neither a seed below {} nor a range of seeds such as 0..1000", u64::MAX);
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let range = match text.split_once("..") {
        Some((first, end)) => number(first)?..number(end)?,
        None => number(text).and_then(|seed| Ok(seed..seed.checked_add(1).ok_or_else(wrong)?))?,
    };
    if range.is_empty() {
        return Err(format!("there is no seed in {text}; the second number must be larger"));
    }
    Ok(range)
}

fn peers(text: &str) -> Result<RangeInclusive<u32>, String> {
    let number = |text: &str| {
        let number = text.parse::<u32>().ok().filter(|number| (1..=MOST_PEERS).contains(number));
        number.ok_or_else(|| format!("{text:?} is not a number of peers, 1 to {MOST_PEERS}"))
    };
    let range = match text.split_once("..") {
        Some((least, most)) => number(least)?..=number(most)?,
        None => number(text).map(|peers| peers..=peers)?,
    };
    if range.is_empty() {
        return Err(format!("there is no number in {text}; the second must not be smaller"));
    }
    Ok(range)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 300ms, 1.5s, 5min or 1h30m");
    // The crate would also take a sign, and the durations of ISO 8601.
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with("ago");
    let time = SpanParser::new().parse_unsigned_duration(text).ok().filter(|_| is_plain).ok_or_else(wrong)?;
    if time > LONGEST {
        return Err(format!("{text:?} is too long; at most {}h", LONGEST.as_secs() / 3_600));
    }
    Ok(time)
}

fn networks(arguments: &SimulateArguments, otherwise: &[Network]) -> io::Result<Vec<Network>> {
    let SimulateArguments { network: names, peers, .. } = arguments;
    if names.is_empty() {
        return Ok(otherwise.to_vec());
    }
    let networks: Vec<Network> = names.iter().map(|name| network(name)).collect::<io::Result<_>>()?;
    if !peers.is_empty() && networks.iter().all(|network| matches!(network, Network::Given(_))) {
        return Err(io::Error::other("leave out --peers: the file of the network says how many there are"));
    }
    Ok(networks)
}

/// The network of this name, or of this file.
pub fn network(name: &str) -> io::Result<Network> {
    Ok(match name {
        "random" => Network::Random,
        "line" => Network::Line,
        "ring" => Network::Ring,
        file => {
            let path = Path::new(file);
            let text = read_text(path).map_err(|error| {
                let what = format!("{error}; a network is random, line, ring, or a file with an adjacency list");
                about(path, &io::Error::new(error.kind(), what))
            })?;
            let graph = Graph::parsed(serde_json::from_str(&text)).map_err(io::Error::other);
            Network::Given(graph.map_err(|error| about(path, &error))?)
        }
    })
}

/// The histories to simulate, seed by seed.
struct Campaign<'a> {
    arguments: &'a SimulateArguments,
    peers: Vec<RangeInclusive<u32>>,
    networks: Vec<Network>,
    span: Duration,
}

impl<'a> Campaign<'a> {
    /// # Errors
    /// A network cannot be read, or the histories are too short.
    fn of(arguments: &'a SimulateArguments) -> io::Result<Campaign<'a>> {
        let span = arguments.span.unwrap_or(SPAN);
        if span < SHORTEST {
            return Err(io::Error::other(format!(
                "--for {span:?} is too short: a history takes at least {SHORTEST:?}, of which the last minute is \
                 without faults"
            )));
        }
        let peers = if arguments.peers.is_empty() { vec![3..=12] } else { arguments.peers.clone() };
        let networks = networks(arguments, &[Network::Random])?;
        Ok(Campaign { arguments, peers, networks, span })
    }

    fn plan(&self, seed: u64) -> Plan {
        let mut random = SplitMix64::new(seed, "peers");
        // Not empty, and neither is any range.
        let range = self.peers[random.index(self.peers.len())].clone();
        let spread = u64::from(range.end() - range.start()) + 1;
        // At most the end of the range.
        let drawn = range.start() + random.below(spread) as u32;
        let network = self.networks[random.index(self.networks.len())].clone();
        let peers = match &network {
            Network::Given(graph) => graph.len(),
            Network::Random | Network::Line | Network::Ring => drawn,
        };
        let SimulateArguments { think, quiet, without, .. } = self.arguments;
        let think = think.as_slice();
        let think = if think.is_empty() { &THINK } else { think };
        let think = think[SplitMix64::new(seed, "think").index(think.len())];
        let without = without.iter().copied().collect();
        Plan { seed, peers, network, think, span: self.span, quiet: *quiet, without }
    }

    /// The command that repeats one seed.
    fn command(&self, plan: &Plan) -> String {
        let mut command = format!("bazaar-model simulate --seeds {}", plan.seed);
        let flag = |name: &str, values: Vec<String>| {
            if values.is_empty() { String::new() } else { format!(" --{name} {}", values.join(",")) }
        };
        let range = |range: &RangeInclusive<u32>| format!("{}..{}", range.start(), range.end());
        command += &flag("peers", self.arguments.peers.iter().map(range).collect());
        command += &flag("network", self.arguments.network.clone());
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        command += &flag("think", self.arguments.think.iter().map(Think::to_string).collect());
        command += &flag("for", self.arguments.span.map(millis).into_iter().collect());
        command += &flag("without", self.arguments.without.iter().map(Property::to_string).collect());
        command + if self.arguments.quiet { " --quiet" } else { "" }
    }
}

/// How long buyers think, each in half of the seeds.
const THINK: [Think; 2] =
    [Think { least: Millis(300), most: Millis(300) }, Think { least: Millis(50), most: Millis(2_000) }];

/// The results of all seeds together.
#[derive(Default)]
struct Sum {
    tally: Tally,
    seeds: u64,
    nanos: u128,
    /// The fewest outcomes that a history without a violation had, and its seed; of three or more peers, which come back.
    fewest: Option<(u64, u64)>,
    compared: u64,
    /// In how many seeds each kind of fault was on.
    on: BTreeMap<FaultKind, u64>,
    failed: Option<(Schedule, Outcome)>,
    differs: Option<u64>,
}

impl Sum {
    fn add(&mut self, schedule: Schedule, outcome: Outcome, again: Option<Outcome>) {
        self.seeds += 1;
        self.tally.add(&outcome.tally);
        self.nanos += u128::from(outcome.nanos);
        let kinds: BTreeSet<FaultKind> = schedule.kinds().collect();
        for kind in &kinds {
            *self.on.entry(*kind).or_default() += 1;
        }
        let (seed, peers) = (schedule.plan.seed, schedule.plan.peers);
        if let Some(again) = again {
            self.compared += 1;
            if again != outcome {
                self.differs = Some(self.differs.map_or(seed, |other| other.min(seed)));
            }
        }
        if outcome.violation.is_some() {
            // The smallest seed, so that the result does not depend on the threads.
            if self.failed.as_ref().is_none_or(|(other, _)| seed < other.plan.seed) {
                self.failed = Some((schedule, outcome));
            }
            return;
        }
        // With fewer than three peers nobody trades, and one that is left alone does not.
        if peers < 3 || kinds.contains(&FaultKind::PermanentCrash) {
            return;
        }
        let few = (outcome.tally.outcomes(), seed);
        self.fewest = Some(self.fewest.map_or(few, |other| other.min(few)));
    }

    /// The kinds that were on in [`OFTEN`] seeds and never had an effect.
    fn idle(&self) -> Vec<&'static str> {
        let idle = self.on.iter().filter(|(kind, seeds)| **seeds >= OFTEN && self.tally.faults(**kind) == 0);
        idle.map(|(kind, _)| kind.name()).collect()
    }
}

/// The seeds by default.
const SEEDS: Range<u64> = 0..100;

/// One in so many seeds is simulated twice.
const TWICE: u64 = 100;

/// A fault that is on in so many seeds has had an effect in some. In one alone it may come to nothing: a link that is
/// down anyway is cut, or no message happens to be lost.
const OFTEN: u64 = 10;

/// Among so many seeds there are networks in which nobody resigns. Among fewer, everybody may.
const SUFFICE: u64 = 100;

/// How long a history is by default.
const SPAN: Duration = Duration::from_secs(120);

/// Simulates, and says what came of it.
///
/// # Errors
/// A file cannot be read or written, or the arguments describe nothing that can be simulated.
pub fn run(arguments: &SimulateArguments) -> io::Result<ExitCode> {
    if arguments.table {
        return table(arguments);
    }
    let campaign = Campaign::of(arguments)?;
    let threads = threads_or_all(arguments.threads);
    let seeds = arguments.seeds.clone().unwrap_or(SEEDS);
    let next = AtomicU64::new(seeds.start);
    let stops = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let begun = Instant::now();
    let progress = Progress::through(seeds.clone().count());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stops.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    let schedule = Schedule::draw(campaign.plan(seed));
                    let outcome = simulate(schedule.clone());
                    let again = seed.is_multiple_of(TWICE).then(|| simulate(schedule.clone()));
                    if outcome.violation.is_some() {
                        stops.store(true, Ordering::Relaxed);
                    }
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(schedule, outcome, again);
                    progress.tell(&so_far(&sum, begun));
                    progress.end();
                }
            });
        }
    });
    drop(progress);
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&campaign, &sum, begun.elapsed())
}

fn so_far(sum: &Sum, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    let hours = sum.nanos as f64 / 3.6e12;
    let (pace, outcomes) = (hours * 60.0 / seconds, sum.tally.outcomes());
    format!("{hours:.1} h simulated, {pace:.1} h a minute, {outcomes} outcomes")
}

/// The numbers of peers that are compared by default.
const SIZES: [u32; 3] = [2, 10, 100];

/// How long is counted by default.
const COUNTED: Duration = Duration::from_secs(60);

/// Simulates networks of several sizes and prints what each costs.
fn table(arguments: &SimulateArguments) -> io::Result<ExitCode> {
    let mut sizes: Vec<u32> = Vec::new();
    for range in &arguments.peers {
        if range.start() != range.end() {
            return Err(io::Error::other("--table compares numbers of peers, such as --peers 10,100, and no ranges"));
        }
        sizes.push(*range.start());
    }
    if sizes.is_empty() {
        sizes = SIZES.to_vec();
    }
    let networks = networks(arguments, &[Network::Line, Network::Ring, Network::Random])?;
    let seed = match &arguments.seeds {
        Some(seeds) if seeds.end - seeds.start > 1 => {
            return Err(io::Error::other("--table takes one seed, such as --seeds 4, and no range"));
        }
        Some(seeds) => seeds.start,
        None => 0,
    };
    let span = arguments.span.unwrap_or(COUNTED);
    if span.is_zero() || (span <= FIRST_KILL && !arguments.quiet) {
        let what =
            format!("--for {span:?} is too short: the trader is killed after {FIRST_KILL:?}, unless --quiet is given");
        return Err(io::Error::other(what));
    }
    let thinks = if arguments.think.is_empty() { THINK[..1].to_vec() } else { arguments.think.clone() };
    let orderings = if arguments.ordering.is_empty() { vec![Serving::Stable] } else { arguments.ordering.clone() };
    let waves = if arguments.wave.is_empty() { vec![Duration::ZERO] } else { arguments.wave.clone() };
    let orders = orderings.iter().flat_map(|ordering| {
        // Nobody promises anything in the other order.
        let waves = if *ordering == Serving::Stable { waves.as_slice() } else { &[Duration::ZERO] };
        waves.iter().map(|wave| Order { ordering: *ordering, wave: Millis(wave.as_millis() as u64) })
    });
    let orders: Vec<Order> = orders.collect();
    let turnovers = if arguments.turnover.is_empty() { Turnover::ALL.to_vec() } else { arguments.turnover.clone() };
    let is_asked = |turnover: &&Turnover| **turnover != Turnover::Killed || !arguments.quiet;
    let mut tasks: Vec<Size> = Vec::new();
    for network in &networks {
        let sizes = match network {
            Network::Given(graph) => &[graph.len()],
            Network::Random | Network::Line | Network::Ring => sizes.as_slice(),
        };
        for turnover in turnovers.iter().filter(is_asked) {
            for (think, order) in thinks.iter().flat_map(|think| orders.iter().map(move |order| (*think, *order))) {
                let (network, turnover) = (network.clone(), *turnover);
                let size = |peers: &u32| Size { peers: *peers, network: network.clone(), think, order, turnover, span };
                tasks.extend(sizes.iter().map(size));
            }
        }
    }
    let rows: Mutex<Vec<Option<Result<Row, String>>>> = Mutex::new(vec![None; tasks.len()]);
    // The largest first, so that no thread begins one when the others are done.
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|nth| std::cmp::Reverse(tasks[*nth].peers));
    let next = AtomicU64::new(0);
    let progress = Progress::through(tasks.len());
    thread::scope(|scope| {
        for _ in 0..threads_or_all(arguments.threads) {
            scope.spawn(|| {
                while let Some(nth) = order.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let size = &tasks[*nth];
                    let Size { peers, network, turnover, .. } = size;
                    progress.tell(&format!("{peers} peers, {network}, {turnover}"));
                    let row = measure(size, seed);
                    progress.end();
                    let row = row.map_err(|violation| format!("{} peers, {}: {violation}", size.peers, size.network));
                    rows.lock().unwrap_or_else(PoisonError::into_inner)[*nth] = Some(row);
                }
            });
        }
    });
    drop(progress);
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rows: Result<Vec<Row>, String> = rows.into_iter().flatten().collect();
    match rows {
        Ok(rows) => print_table(arguments, &rows).map(|()| ExitCode::SUCCESS),
        Err(violation) => {
            complain(&format!("VIOLATED {violation}"));
            Ok(ExitCode::from(1))
        }
    }
}

fn print_table(arguments: &SimulateArguments, rows: &[Row]) -> io::Result<()> {
    let mut out = stdout();
    if arguments.json {
        return writeln!(out, "{}", serde_json::to_string_pretty(rows).map_err(io::Error::other)?);
    }
    if arguments.markdown {
        let command: Vec<String> = std::env::args().skip(1).collect();
        writeln!(out, "# What size costs\n")?;
        writeln!(out, "Written by `cargo run --release --bin bazaar-model -- {}`.\n", command.join(" "))?;
        writeln!(
            out,
            "Simulated, in virtual time: a hop takes a millisecond, or as much less as lets a message cross the"
        )?;
        writeln!(out, "network within 100 ms; an envelope keeps a link busy for 5 µs, an input a peer for 10 µs; the")?;
        writeln!(out, "ledger is a millisecond away and syncs in 0.25 ms. Counted after ten seconds.\n")?;
        writeln!(out, "{}", legend())?;
    }
    let section = |row: &Row| format!("{}, {}, {}, thinking {}", row.network, row.turnover, row.order, row.think);
    let mut begun: Option<String> = None;
    for row in rows {
        let title = section(row);
        if begun.replace(title.clone()).as_ref() == Some(&title) {
            continue;
        }
        let of_section = rows.iter().filter(|row| section(row) == title).collect();
        writeln!(out, "{}{title}\n", if arguments.markdown { "## " } else { "" })?;
        writeln!(out, "{}", Section::new(of_section, arguments.markdown))?;
    }
    Ok(())
}

/// Shows a simulated history from a file, if the text is one. `None` if it is something else.
pub fn replay(text: &str, file: &Path, svg: Option<&Path>, step: Option<usize>) -> Option<io::Result<ExitCode>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    value.get("simulation")?;
    Some(replay_record(text, file, svg.is_some() || step.is_some()))
}

fn replay_record(text: &str, file: &Path, is_drawn: bool) -> io::Result<ExitCode> {
    let wrong = |what: &str| Ok(usage(&format!("{}: {what}", file.display())));
    if is_drawn {
        return wrong("it is a simulated history, which is shown in words only; leave out --svg and --step");
    }
    let record: Record = match serde_json::from_str(text) {
        Ok(record) => record,
        Err(error) => return wrong(&format!("not a simulated history: {error}")),
    };
    let mut out = stdout();
    let replayed = match &record.mutant {
        None => record.replay(&mut out).map_err(|error| error.to_string()),
        Some(mutant) => {
            if let Err(unknown) = mutants::switch(mutant) {
                return wrong(&unknown);
            }
            let record: bazaar_model_mutants::simulator::history::Record =
                serde_json::from_str(text).map_err(io::Error::other)?;
            record.replay(&mut out).map_err(|error| error.to_string())
        }
    };
    match replayed {
        Ok(()) if record.violation.is_some() => Ok(ExitCode::from(1)),
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => wrong(&error),
    }
}

/// The result, for programs.
#[derive(Serialize)]
struct Report<'a> {
    seeds: u64,
    compared: u64,
    simulated_hours: f64,
    hours_per_minute: f64,
    fewest_outcomes: Option<u64>,
    operations: BTreeMap<&'a str, u64>,
    faults: BTreeMap<&'a str, u64>,
    idle: Vec<&'a str>,
    violation: Option<Record>,
    command: Option<String>,
    differs: Option<u64>,
}

fn report(campaign: &Campaign<'_>, sum: &Sum, took: Duration) -> io::Result<ExitCode> {
    let arguments = campaign.arguments;
    let seconds = took.as_secs_f64().max(0.001);
    let hours = sum.nanos as f64 / 3.6e12;
    let failed = sum.failed.as_ref().map(|(schedule, outcome)| {
        let shrunk = match &outcome.violation {
            Some(violation) => shrink(schedule.clone(), violation.property),
            None => schedule.clone(),
        };
        let outcome = simulate(shrunk.clone());
        (campaign.command(&schedule.plan), Record::of(shrunk, None, &outcome))
    });
    let save = arguments.save.clone().unwrap_or_else(|| PathBuf::from("violation.json"));
    let idle = sum.idle();
    let mut out = stdout();
    if arguments.json {
        let report = Report {
            seeds: sum.seeds,
            compared: sum.compared,
            simulated_hours: hours,
            hours_per_minute: hours * 60.0 / seconds,
            fewest_outcomes: sum.fewest.map(|(outcomes, _)| outcomes),
            operations: Operation::ALL.map(|one| (one.name(), sum.tally.operations(one))).into(),
            faults: FaultKind::ALL.map(|one| (one.name(), sum.tally.faults(one))).into(),
            idle: idle.clone(),
            violation: failed.as_ref().map(|(_, record)| record.clone()),
            command: failed.as_ref().map(|(command, _)| command.clone()),
            differs: sum.differs,
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    } else {
        writeln!(
            out,
            "{} seeds, {hours:.2} simulated hours in {seconds:.1} s ({:.1} hours a minute), {} steps; simulated twice: {}",
            sum.seeds,
            hours * 60.0 / seconds,
            sum.tally.steps,
            sum.compared
        )?;
        for operation in Operation::ALL {
            writeln!(out, "{:>22} {:>12}", operation.name(), sum.tally.operations(operation))?;
        }
        if let Some((outcomes, seed)) = sum.fewest {
            writeln!(out, "{:>22} {outcomes:>12} (seed {seed})", "fewest outcomes")?;
        }
        for kind in FaultKind::ALL {
            writeln!(out, "{:>22} {:>12}", kind.name(), sum.tally.faults(kind))?;
        }
        if let Some((command, record)) = &failed {
            if let Some(violation) = &record.violation {
                writeln!(out, "\nVIOLATED {violation}")?;
            }
            writeln!(out, "seed {}; what is left of its faults:", record.simulation.plan.seed)?;
            for fault in &record.faults {
                writeln!(out, "  {fault}")?;
            }
            writeln!(out, "  {:?}; the faults stop at {}", record.simulation.noise, record.simulation.faults_stop)?;
            writeln!(out, "again: {command}")?;
            writeln!(out, "shown: bazaar-model replay {}", save.display())?;
        }
    }
    if let Some(seed) = sum.differs {
        complain(&format!("error: seed {seed} gave two different histories"));
    }
    if let Some((_, record)) = &failed {
        // Last, so that nothing above is lost where it cannot be written; that is said at the end.
        let _ = write_json(&save, record);
        return Ok(ExitCode::from(1));
    }
    if sum.differs.is_some() {
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    if !idle.is_empty() {
        complain(&format!(
            "error: these faults were on in {OFTEN} seeds or more and never happened: {}",
            idle.join(", ")
        ));
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    let done = |operation| sum.tally.operations(operation);
    let settled = done(Operation::Settled);
    if settled < sum.seeds {
        let of = sum.seeds;
        complain(&format!(
            "error: only {settled} of {of} networks settled; of the others nothing was asked at the end"
        ));
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    let asked = [Operation::QuietUnicast, Operation::QuietTerm];
    if let Some(never) = asked.into_iter().find(|one| done(*one) == 0 && sum.seeds >= SUFFICE && sum.fewest.is_some()) {
        complain(&format!("error: never \"{}\", so A9 and L4 were hardly asked", never.name()));
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    if let Some((outcomes, seed)) = sum.fewest.filter(|(outcomes, _)| *outcomes < arguments.floor) {
        complain(&format!(
            "error: seed {seed} had {outcomes} outcomes, fewer than {}, so it shows little",
            arguments.floor
        ));
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    Ok(ExitCode::SUCCESS)
}
