//! `bazaar-model simulate`: very many random histories in virtual time.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, IsTerminal, Write},
    ops::RangeInclusive,
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
        config::Pace,
        graph::{Graph, MOST_PEERS},
        random::SplitMix64,
    },
    simulator::{
        history::{Outcome, Record, shrink, simulate},
        meter::{Operation, Tally},
        plan::{FaultKind, Network, Plan, SHORTEST, Schedule},
    },
};
use serde::Serialize;

use super::{NOT_COMPLETE, about, mutants, stdout, threads_or_all, usage, write};

#[derive(Debug, clap::Args)]
pub struct SimulateArguments {
    /// The seeds to simulate: one, or a range such as 0..1000 (the last one is not included).
    #[arg(long, value_name = "N|A..B", default_value = "0..100", value_parser = seeds)]
    seeds: std::ops::Range<u64>,
    /// How many peers: one number, or a range such as 3..12 (the last one included) from which each seed draws.
    #[arg(long, value_name = "N|A..B", default_value = "3..12", value_parser = peers)]
    peers: RangeInclusive<u32>,
    /// Who is whose neighbour: `random`, `line`, `ring`, or a file with a JSON adjacency list, which also says how many
    /// peers there are.
    #[arg(long, value_name = "FILE|line|ring|random", default_value = "random")]
    network: String,
    /// How long a buyer thinks before its next request, such as 300ms or 2s; 0s: not at all.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    think: Option<Duration>,
    /// How long each history is in virtual time, such as 120s or 2h. The last minute is without faults.
    #[arg(long = "for", value_name = "TIME", default_value = "120s", value_parser = duration)]
    span: Duration,
    /// Without any faults.
    #[arg(long)]
    quiet: bool,
    /// The number of threads (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Write the history of a violation to this file, for `replay`.
    #[arg(long, value_name = "FILE", default_value = "violation.json")]
    save: PathBuf,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || format!("{text:?} is neither a seed nor a range of seeds such as 0..1000");
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let range = match text.split_once("..") {
        Some((first, end)) => number(first)?..number(end)?,
        None => number(text).and_then(|seed| Ok(seed..seed.checked_add(1).ok_or_else(wrong)?))?,
    };
    if range.is_empty() {
        Err(format!("there is no seed in {text}; the second number must be larger"))
    } else {
        Ok(range)
    }
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
    if range.is_empty() { Err(format!("{text} is empty; the second number must not be smaller")) } else { Ok(range) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 300ms, 2s, 5min or 1h");
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..unit].parse().map_err(|_| wrong())?;
    let millis = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

fn network(name: &str) -> io::Result<Network> {
    Ok(match name {
        "random" => Network::Random,
        "line" => Network::Line,
        "ring" => Network::Ring,
        file => {
            let path = Path::new(file);
            let text = fs::read_to_string(path).map_err(|error| {
                let what = format!("{error}; a network is random, line, ring, or a file with an adjacency list");
                about(path, &io::Error::new(error.kind(), what))
            })?;
            let graph = Graph::parsed(serde_json::from_str(&text)).map_err(io::Error::other);
            Network::Given(graph.map_err(|error| about(path, &error))?)
        }
    })
}

/// What is simulated, seed by seed.
struct Campaign<'a> {
    arguments: &'a SimulateArguments,
    network: Network,
}

impl Campaign<'_> {
    fn plan(&self, seed: u64) -> Plan {
        let range = &self.arguments.peers;
        let spread = u64::from(range.end() - range.start()) + 1;
        let peers = match &self.network {
            Network::Given(graph) => graph.len(),
            // At most the end of the range.
            Network::Random | Network::Line | Network::Ring => {
                range.start() + SplitMix64::new(seed, "peers").below(spread) as u32
            }
        };
        Plan {
            seed,
            peers,
            network: self.network.clone(),
            think: self.arguments.think.or(Pace::DEFAULT.think).unwrap_or_default(),
            span: self.arguments.span,
            quiet: self.arguments.quiet,
        }
    }

    /// The command that repeats one seed.
    fn command(&self, plan: &Plan) -> String {
        let SimulateArguments { network, think, span, quiet, .. } = self.arguments;
        let mut command = format!("bazaar-model simulate --seeds {} --network {network}", plan.seed);
        if !matches!(plan.network, Network::Given(_)) {
            command += &format!(" --peers {}", plan.peers);
        }
        if let Some(think) = think {
            command += &format!(" --think {}ms", think.as_millis());
        }
        command += &format!(" --for {}ms", span.as_millis());
        if *quiet {
            command += " --quiet";
        }
        command
    }
}

/// What came of all seeds.
#[derive(Default)]
struct Sum {
    tally: Tally,
    seeds: u64,
    nanos: u128,
    /// The fewest outcomes that a history without a violation had, and its seed.
    fewest: Option<(u64, u64)>,
    compared: u64,
    /// The kinds of faults that were on in some seed.
    on: BTreeSet<FaultKind>,
    failed: Option<(Schedule, Outcome)>,
    differs: Option<u64>,
}

impl Sum {
    fn add(&mut self, schedule: Schedule, outcome: Outcome, again: Option<Outcome>) {
        self.seeds += 1;
        self.tally.add(&outcome.tally);
        self.nanos += u128::from(outcome.nanos);
        self.on.extend(schedule.kinds());
        let seed = schedule.plan.seed;
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
        let few = (outcome.tally.outcomes(), seed);
        self.fewest = Some(self.fewest.map_or(few, |other| other.min(few)));
    }

    /// The kinds that were on and never had an effect.
    fn idle(&self) -> Vec<&'static str> {
        let idle = self.on.iter().filter(|kind| self.tally.faults(**kind) == 0);
        idle.map(|kind| kind.name()).collect()
    }
}

/// One in so many seeds is simulated twice.
const TWICE: u64 = 100;

pub fn run(arguments: &SimulateArguments) -> io::Result<ExitCode> {
    if arguments.span < SHORTEST {
        return Ok(usage(&format!(
            "--for {:?} is too short: a history takes at least {SHORTEST:?}, of which the last minute is without faults",
            arguments.span
        )));
    }
    let campaign = Campaign { network: network(&arguments.network)?, arguments };
    let threads = threads_or_all(arguments.threads);
    let next = AtomicU64::new(arguments.seeds.start);
    let stops = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stops.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !arguments.seeds.contains(&seed) {
                        break;
                    }
                    let schedule = Schedule::draw(campaign.plan(seed));
                    let outcome = simulate(schedule.clone());
                    let again = (seed % TWICE == 0).then(|| simulate(schedule.clone()));
                    if outcome.violation.is_some() {
                        stops.store(true, Ordering::Relaxed);
                    }
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(schedule, outcome, again);
                    progress(&sum, begun);
                }
            });
        }
    });
    if io::stderr().is_terminal() {
        // If progress cannot be shown, the simulation still goes on.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&campaign, &sum, begun.elapsed())
}

fn progress(sum: &Sum, begun: Instant) {
    if io::stderr().is_terminal() {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let hours = sum.nanos as f64 / 3.6e12;
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{} seeds, {hours:.1} h simulated, {:.1} h a minute, {} outcomes",
            sum.seeds,
            hours * 60.0 / seconds,
            sum.tally.outcomes()
        );
    }
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
    hours: f64,
    hours_a_minute: f64,
    fewest_outcomes: Option<u64>,
    operations: Vec<(&'a str, u64)>,
    faults: Vec<(&'a str, u64)>,
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
    if let Some((_, record)) = &failed {
        write(&arguments.save, record)?;
    }
    let idle = sum.idle();
    let mut out = stdout();
    if arguments.json {
        let report = Report {
            seeds: sum.seeds,
            compared: sum.compared,
            hours,
            hours_a_minute: hours * 60.0 / seconds,
            fewest_outcomes: sum.fewest.map(|(outcomes, _)| outcomes),
            operations: Operation::ALL.map(|one| (one.name(), sum.tally.operations(one))).to_vec(),
            faults: FaultKind::ALL.map(|one| (one.name(), sum.tally.faults(one))).to_vec(),
            idle: idle.clone(),
            violation: failed.as_ref().map(|(_, record)| record.clone()),
            command: failed.as_ref().map(|(command, _)| command.clone()),
            differs: sum.differs,
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    } else {
        writeln!(
            out,
            "{} seeds, {hours:.2} simulated hours in {seconds:.1} s ({:.1} hours a minute), {} steps; {} seeds twice",
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
            writeln!(out, "shown: bazaar-model replay {}", arguments.save.display())?;
        }
    }
    if let Some(seed) = sum.differs {
        eprintln!("error: seed {seed} gave two different histories");
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    if failed.is_some() {
        return Ok(ExitCode::from(1));
    }
    if !idle.is_empty() {
        eprintln!("error: these faults were on and never happened: {}", idle.join(", "));
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    if sum.tally.outcomes() == 0 && campaign.plan(arguments.seeds.start).peers >= 3 {
        eprintln!("error: no request had an outcome, so nothing was shown");
        return Ok(ExitCode::from(NOT_COMPLETE));
    }
    Ok(ExitCode::SUCCESS)
}
