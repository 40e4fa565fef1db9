//! `bazaar-model`: checks the trading post's protocol, every schedule of it.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};
use model::{
    check::{Outcome, Progress, Report, check},
    scenario::{self, Extent, Recorded, Scenario},
};

mod table;

/// Checks the trading post's protocol exhaustively, within stated bounds.
///
/// Exit codes: 0 all hold and all is complete, 1 something is violated, 2 wrong usage, 3 not complete.
#[derive(Debug, Parser)]
#[command(name = "bazaar-model", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check scenarios: every state that can be reached, every step from it.
    Check(CheckArguments),
    /// List the scenarios: what runs, the adversary, the bounds and why they suffice, how many states.
    List,
}

#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// Which; all when none is named (see `bazaar-model list`).
    scenarios: Vec<String>,
    /// Go one step further in every budget. Takes up to an hour.
    #[arg(long)]
    thorough: bool,
    /// How many threads search; as many as there are processors when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the reports as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write the numbers of states that were found into this file (`model/recorded.json`), after you have looked at why they
    /// changed; then build again.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check(arguments) => check_all(&arguments),
        Command::List => list(),
    };
    match done {
        Ok(code) => code,
        // Whoever reads us may have heard enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => usage(&error.to_string()),
    }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}

fn list() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for scenario in scenario::all() {
        table::describe(&mut out, &scenario)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(arguments: &CheckArguments) -> io::Result<ExitCode> {
    let CheckArguments { scenarios, thorough, threads, json, record } = arguments;
    let chosen: Vec<Scenario> = if scenarios.is_empty() {
        scenario::all()
    } else {
        let mut chosen = Vec::new();
        for name in scenarios {
            match scenario::named(name) {
                Some(scenario) => chosen.push(scenario),
                None => return Ok(usage(&unknown_scenario(name))),
            }
        }
        chosen
    };
    let extent = if *thorough { Extent::Thorough } else { Extent::Default };
    let threads = threads.map(usize::from).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let mut reports = Vec::new();
    for scenario in &chosen {
        let mut telling = Telling::new(scenario.name);
        reports.push(check(scenario, extent, threads, |progress| telling.tell(progress)));
        telling.end();
    }
    if let Some(file) = record {
        let mut recorded = Recorded::compiled_in();
        for report in &reports {
            recorded.record(report.scenario, report.extent, report.states);
        }
        let text = serde_json::to_string_pretty(&recorded).map_err(io::Error::other)?;
        fs::write(file, text + "\n")
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    }
    let mut out = io::stdout().lock();
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports).map_err(io::Error::other)?)?;
    } else {
        table::reports(&mut out, &reports)?;
        if scenarios.is_empty() {
            table::matrix(&mut out, &reports)?;
        }
    }
    Ok(verdict(&reports))
}

fn unknown_scenario(name: &str) -> String {
    format!("there is no scenario {name:?}; `bazaar-model list` names them all")
}

fn verdict(reports: &[Report]) -> ExitCode {
    let has = |verdict| reports.iter().any(|report| report.verdict == verdict);
    if has(Outcome::Violated) {
        ExitCode::from(1)
    } else if has(Outcome::Incomplete) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

/// Progress: one line that is overwritten on a terminal, a line now and then elsewhere.
struct Telling {
    scenario: &'static str,
    is_terminal: bool,
    next: Duration,
}

impl Telling {
    fn new(scenario: &'static str) -> Telling {
        let is_terminal = io::stderr().is_terminal();
        let next = if is_terminal { Duration::ZERO } else { Duration::from_secs(5) };
        Telling { scenario, is_terminal, next }
    }

    fn tell(&mut self, Progress { states, depth, elapsed }: Progress) {
        if elapsed < self.next {
            return;
        }
        let (every, before, after) = if self.is_terminal { (200, "\r\x1b[K", "") } else { (5_000, "", "\n") };
        self.next = elapsed + Duration::from_millis(every);
        let seconds = elapsed.as_secs_f64();
        // Progress that cannot be shown is no reason to stop.
        let _ =
            write!(io::stderr(), "{before}{}: {states} states, depth {depth}, {seconds:.1} s{after}", self.scenario);
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
