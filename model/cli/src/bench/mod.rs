//! `bazaar-model bench`: how fast the models are searched, and what a state takes, beside stateright's Paxos.

mod paxos;

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use bazaar_model::{
    catalogue::Entry,
    search::check::{Report, resident},
    subject::scenario::Extent,
};
use serde::Serialize;
use stateright::{Checker as _, Model as _};

use crate::{
    chosen,
    output::{complain, stdout, write_json},
    table, usage,
};

/// How many clients Paxos has, and how many states that makes.
const CLIENTS: usize = 3;
const STATES: usize = 1_194_428;

/// How many scenarios are measured if none is named: the largest.
const LARGEST: usize = 8;

#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    /// The scenarios to measure; if none is named, the eight largest, and the largest of each model.
    scenarios: Vec<String>,
    /// Paxos with two clients, and the smallest scenarios: checks only that it works; the figures mean nothing.
    #[arg(long, conflicts_with = "scenarios")]
    quick: bool,
    /// Write the figures into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How fast a model was searched.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// The scenario; Paxos, which is none of ours, is called "paxos".
    pub scenario: String,
    pub model: String,
    pub states: usize,
    pub seconds: f64,
    pub states_per_second: f64,
    pub bytes_per_state: Option<u64>,
    /// Its rate, by that of Paxos.
    pub to_paxos: f64,
}

pub fn bench(BenchArguments { scenarios, quick, json }: &BenchArguments) -> io::Result<ExitCode> {
    let mut chosen = match chosen(scenarios) {
        Ok(chosen) => chosen,
        Err(unknown) => return Ok(usage(&unknown)),
    };
    if scenarios.is_empty() {
        chosen = worth_measuring(chosen, *quick);
    }
    let clients = if *quick { 2 } else { CLIENTS };
    complain(&format!("paxos, {clients} clients"));
    let paxos = paxos(clients)?;
    let mut rates = vec![paxos.clone()];
    for scenario in &chosen {
        complain(scenario.name);
        let report = check(scenario)?;
        rates.push(Rate {
            scenario: report.scenario.clone(),
            model: report.family.to_string(),
            states: report.states,
            seconds: report.seconds,
            states_per_second: report.rate(),
            bytes_per_state: report.bytes_per_state,
            to_paxos: report.rate() / paxos.states_per_second,
        });
    }
    table::rates(&mut stdout(), &rates)?;
    if let Some(file) = json {
        write_json(file, &rates)?;
    }
    stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The largest of all, and the largest of each model.
fn worth_measuring(mut all: Vec<Entry>, quick: bool) -> Vec<Entry> {
    let states = |scenario: &Entry| scenario.recorded(Extent::Default).unwrap_or_default();
    all.sort_by_key(|scenario| (std::cmp::Reverse(states(scenario)), scenario.name));
    if quick {
        return all.split_off(all.len().saturating_sub(3));
    }
    let mut models = Vec::new();
    let mut nth = 0;
    all.retain(|scenario| {
        let is_largest_of_its_model = !models.contains(&scenario.family);
        models.push(scenario.family);
        nth += 1;
        nth <= LARGEST || is_largest_of_its_model
    });
    all
}

fn paxos(clients: usize) -> io::Result<Rate> {
    let before = resident();
    let mut most = before;
    let begun = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut checker = paxos::model(clients).checker().threads(threads).spawn_dfs();
    let workers = checker.handles();
    while !workers.iter().all(thread::JoinHandle::is_finished) {
        thread::sleep(Duration::from_millis(20));
        most = most.max(resident());
    }
    let seconds = begun.elapsed().as_secs_f64();
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("the search of Paxos has panicked"))?;
    }
    let states = checker.unique_state_count();
    if clients == CLIENTS && states != STATES {
        return Err(io::Error::other(format!("Paxos has {states} states instead of {STATES}: it is not stateright's")));
    }
    Ok(Rate {
        scenario: "paxos".to_owned(),
        model: format!("stateright's, {clients} clients"),
        states,
        seconds,
        states_per_second: states as f64 / seconds,
        bytes_per_state: most.zip(before).map(|(most, before)| most.saturating_sub(before) / states.max(1) as u64),
        to_paxos: 1.0,
    })
}

/// Checks a scenario in a process of its own, so that it does not get the memory of the one before.
fn check(scenario: &Entry) -> io::Result<Report> {
    let mut command = Command::new(env::current_exe()?);
    let done =
        command.args(["check", scenario.name, "--json"]).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let reports: Result<Vec<Report>, _> = serde_json::from_slice(&done.stdout);
    let report = reports.ok().and_then(|reports| reports.into_iter().next());
    report.filter(|_| done.status.success()).ok_or_else(|| {
        io::Error::other(format!("{} does not hold or is not complete: bazaar-model check {0}", scenario.name))
    })
}
