//! `bazaar-model`: checks the trading post's protocol, every schedule of it.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};
use model::{
    check::{Outcome, Progress, Report, check},
    scenario::{self, Scenario},
};

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
    Check {
        /// Which; all when none is named (see `bazaar-model list`).
        scenarios: Vec<String>,
        /// How many threads search; as many as there are processors when not given.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        threads: Option<u16>,
        /// Print the reports as JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// List the scenarios: what runs, the bounds and why they suffice, how many states.
    List,
}

fn main() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Check { scenarios, threads, json } => {
            let threads =
                threads.map(usize::from).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
            match chosen(&scenarios) {
                Ok(scenarios) => check_all(scenarios, threads, json),
                Err(unknown) => {
                    eprintln!("error: there is no scenario {unknown:?}; `bazaar-model list` names them all");
                    return ExitCode::from(2);
                }
            }
        }
        Command::List => list(),
    };
    // Whoever reads us may have heard enough.
    code.unwrap_or(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>, String> {
    if names.is_empty() {
        return Ok(scenario::all());
    }
    names.iter().map(|name| scenario::named(name).ok_or_else(|| name.clone())).collect()
}

fn list() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for scenario in scenario::all() {
        writeln!(out, "{} ({} states)", scenario.name, scenario.states)?;
        writeln!(out, "  {}", scenario.about)?;
        writeln!(out, "  {}\n", scenario.bounds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(scenarios: Vec<Scenario>, threads: usize, json: bool) -> io::Result<ExitCode> {
    let mut reports = Vec::new();
    for scenario in scenarios {
        let name = scenario.name;
        let mut telling = Telling::new(name);
        reports.push(check(scenario, threads, |progress| telling.tell(progress)));
        telling.end();
    }
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&reports).map_err(io::Error::other)?)?;
    } else {
        print(&reports)?;
    }
    let has = |verdict| reports.iter().any(|report| report.verdict == verdict);
    Ok(if has(Outcome::Violated) {
        ExitCode::from(1)
    } else if has(Outcome::Incomplete) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
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

fn print(reports: &[Report]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<20} {:>9} {:>6} {:>8} {:>9} {:>8}  verdict",
        "scenario", "states", "depth", "seconds", "states/s", "B/state"
    )?;
    for report in reports {
        let bytes = report.bytes_per_state.map_or("-".to_owned(), |bytes| bytes.to_string());
        let verdict = match report.verdict {
            Outcome::Holds => "all hold, complete".to_owned(),
            Outcome::Violated => {
                let property = report.counterexample.as_ref().map(|found| found.violation.property.to_string());
                format!("VIOLATED {}", property.unwrap_or_default())
            }
            Outcome::Incomplete => format!("NOT COMPLETE (recorded: {} states)", report.expected),
        };
        writeln!(
            out,
            "{:<20} {:>9} {:>6} {:>8.1} {:>9.0} {:>8}  {verdict}",
            report.scenario,
            report.states,
            report.depth,
            report.seconds,
            report.rate(),
            bytes
        )?;
        for missing in &report.missing {
            writeln!(out, "  never met: {missing}")?;
        }
    }
    for (report, found) in reports.iter().filter_map(|report| Some((report, report.counterexample.as_ref()?))) {
        writeln!(out, "\n{}: {}", report.scenario, found.violation)?;
        for (nth, words) in (1..).zip(&found.words) {
            writeln!(out, "{nth:>4}. {words}")?;
        }
    }
    Ok(())
}
