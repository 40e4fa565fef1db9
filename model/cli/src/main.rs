//! `bazaar-model`: checks the trading post's protocol in every schedule.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use bazaar_model::{
    catalogue::{self, Entry},
    search::{
        check::{Outcome, Progress, Report, check},
        trace::Trace,
    },
    subject::scenario::{Extent, Recorded},
};
use bazaar_model_mutants::{search::mutants::WITHIN, subject::scenario::Family};
use clap::{Parser, Subcommand};
use serde::Serialize;

mod gallery;
mod journal;
mod mutants;
mod simulate;
mod table;

use journal::Journal;

/// The exit code if nothing is violated but not everything was shown.
const NOT_COMPLETE: u8 = 3;

/// Checks the trading post's protocol exhaustively, within stated bounds.
///
/// Exit codes: 0 all properties hold and all checks are complete, 1 a property is violated, 2 wrong usage, 3 nothing is
/// violated but a check is not complete or counts a different number of states than recorded.
#[derive(Debug, Parser)]
#[command(name = "bazaar-model", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check scenarios: every reachable state, every step from it.
    Check(CheckArguments),
    /// Break the protocol, one safety line at a time, and check that the expected property fails.
    Mutants(MutantsArguments),
    /// Walk through a scenario in a browser, with stateright's Explorer, on this machine only.
    Explore(ExploreArguments),
    /// Simulate whole bazaars in virtual time, one history per seed, with faults, and check every property.
    Simulate(simulate::SimulateArguments),
    /// Replay a history written by `check`, `mutants` or `simulate`, step by step in words, and draw it.
    Replay(ReplayArguments),
    /// List the scenarios: what runs, the adversary, the bounds and why they suffice, the number of states.
    List {
        /// Print a Markdown page with the mutants too: `docs/models.md`.
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// The scenarios to check; all of them if none is named (see `bazaar-model list`).
    scenarios: Vec<String>,
    /// Go a step further: larger budgets, or more peers (`list` says which). Takes long; with a journal it can be
    /// interrupted.
    #[arg(long)]
    thorough: bool,
    /// Write each report to this file as soon as it is ready, and check only the scenarios that do not already hold in
    /// it, so that the same command resumes after an interruption. Says what is left at the start and on Ctrl-C.
    /// Ignores reports written by another build of this program.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The number of threads that search (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the reports as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write the history of each violation to this directory, as `SCENARIO.json`, for `replay`.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write the numbers of states that were found to this file (`model/recorded.json`). Find out first why they
    /// changed, and build again afterwards.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct MutantsArguments {
    /// The mutants to try; all of them if none is named.
    mutants: Vec<String>,
    /// List the mutants: what is broken, which property must fail, in which scenario, after how many steps.
    #[arg(long)]
    list: bool,
    /// Show what this model catches on its own: for each mutant, the first of the model's scenarios in which any
    /// property fails, smaller scenarios first.
    #[arg(long, value_name = "MODEL", value_parser = family, conflicts_with_all = ["gallery", "save", "json", "list"])]
    model: Option<Family>,
    /// Look for the mutants with the simulator instead: for each, the first seed in whose history anything is violated.
    /// Says of those that it misses why.
    #[arg(long, conflicts_with_all = ["gallery", "save", "json", "list", "model"])]
    simulate: bool,
    /// With `--simulate`: how many seeds are tried.
    #[arg(long, value_name = "N", default_value_t = WITHIN, requires = "simulate")]
    seeds: u64,
    /// With `--model`: skip scenarios with more states than this, which would take hours.
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "model")]
    up_to: usize,
    /// Write the gallery of defeats to this directory: one page, and a picture and a history of each instructive
    /// mutant.
    #[arg(long, value_name = "DIR")]
    gallery: Option<PathBuf>,
    /// Write the shortest history of each mutant to this directory, as `NAME.json`, for `replay`.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// The number of threads that check the unmutated machine (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the findings as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ExploreArguments {
    /// The scenario to explore; `bazaar-model list` says which are small enough to be searched in seconds.
    scenario: String,
    /// Break the protocol with this mutant (see `bazaar-model mutants --list`).
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Where to listen: a loopback address and a port; port 0 means any free port.
    #[arg(long, default_value = "127.0.0.1:3000")]
    address: String,
}

#[derive(Debug, clap::Args)]
struct ReplayArguments {
    /// The file with the history, as JSON.
    file: PathBuf,
    /// Draw the history as a sequence diagram into this file. Not for simulated histories.
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// Stop after this step and show the state there. Not for simulated histories.
    #[arg(long, value_name = "N")]
    step: Option<usize>,
}

fn family(name: &str) -> Result<Family, String> {
    let named = Family::ALL.iter().find(|family| family.to_string() == name);
    let all = || Family::ALL.map(|family| family.to_string()).join(", ");
    named.copied().ok_or_else(|| format!("the models are {}", all()))
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check(arguments) => check_all(&arguments),
        Command::Mutants(arguments) => mutants::hunt(&arguments),
        Command::Explore(arguments) => explore(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Replay(arguments) => replay(&arguments),
        Command::List { markdown } => list(markdown),
    };
    match done {
        Ok(code) => code,
        Err(error) => usage(&error.to_string()),
    }
}

/// Standard output. The reader may have closed it early: that stops no check and changes no verdict.
fn stdout() -> impl Write {
    struct Output(io::Stdout);
    impl Write for Output {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            match self.0.write(text) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(text.len()),
                other => other,
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            match self.0.flush() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        }
    }
    Output(io::stdout())
}

fn usage(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}

fn list(markdown: bool) -> io::Result<ExitCode> {
    let mut out = stdout();
    if markdown {
        table::page(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    for scenario in catalogue::all() {
        table::describe(&mut out, &scenario)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(arguments: &CheckArguments) -> io::Result<ExitCode> {
    let CheckArguments { scenarios, thorough, journal, threads, json, record, save } = arguments;
    let chosen: Vec<Entry> = if scenarios.is_empty() {
        catalogue::all()
    } else {
        let mut chosen = Vec::new();
        for name in scenarios {
            match catalogue::named(name) {
                Some(scenario) => chosen.push(scenario),
                None => return Ok(usage(&unknown_scenario(name))),
            }
        }
        chosen
    };
    let extent = if *thorough { Extent::Thorough } else { Extent::Default };
    let threads = threads_or_all(*threads);
    let journal = journal.as_ref().map(|file| Journal::open(file, &chosen, extent)).transpose()?;
    let mut reports = Vec::new();
    for scenario in &chosen {
        if let Some(report) = journal.as_ref().and_then(|journal| journal.done(scenario.name)) {
            reports.push(report);
            continue;
        }
        let mut telling = Telling::new(scenario.name);
        let report = check(scenario, extent, threads, |progress| telling.tell(progress));
        telling.end();
        if let Some(journal) = &journal {
            journal.add(&report);
        }
        reports.push(report);
    }
    let mut out = stdout();
    let mut gaps = 0;
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports).map_err(io::Error::other)?)?;
    } else {
        table::reports(&mut out, &reports)?;
        if scenarios.is_empty() && !thorough {
            gaps = table::matrix(&mut out, &reports)?;
        }
    }
    if let Some(directory) = save {
        for (report, trace) in reports.iter().filter_map(|report| Some((report, report.counterexample.as_ref()?))) {
            write(&directory.join(format!("{}.json", report.scenario)), trace)?;
        }
    }
    if let Some(file) = record {
        write(file, &recorded(file, &reports)?)?;
    }
    Ok(verdict(&reports, gaps))
}

/// The contents of the file, updated with the numbers of the checks that are complete and found no violation.
fn recorded(file: &Path, reports: &[Report]) -> io::Result<Recorded> {
    let mut recorded = match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| about(file, &error.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Recorded::default(),
        Err(error) => return Err(about(file, &error)),
    };
    for report in reports {
        if matches!(report.verdict, Outcome::Holds | Outcome::CountedDifferently) {
            recorded.record(&report.scenario, report.extent, report.states);
        } else {
            eprintln!("warning: {} is not recorded: it does not hold or is not complete", report.scenario);
        }
    }
    Ok(recorded)
}

fn threads_or_all(threads: Option<u16>) -> usize {
    threads.map(usize::from).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Writes a value as JSON, creating the directory if it does not exist.
fn write(file: &Path, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(what).map_err(io::Error::other)?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(|error| about(directory, &error))?;
    }
    fs::write(file, text + "\n").map_err(|error| about(file, &error))
}

fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn explore(ExploreArguments { scenario, mutant, address }: &ExploreArguments) -> io::Result<ExitCode> {
    let mut out = stdout();
    // The same code twice: over the protocol, and over the build with a mutant switched on.
    let served = match mutant {
        None => {
            let Some(found) = catalogue::named(scenario) else { return Ok(usage(&unknown_scenario(scenario))) };
            let explore =
                bazaar_model::pictures::explore::Explore::of(&found, Extent::Default, None, address, &mut out);
            found.case.with(explore).map_err(|error| error.to_string())
        }
        Some(mutant) => {
            if let Err(unknown) = mutants::switch(mutant) {
                return Ok(usage(&unknown));
            }
            let Some(found) = bazaar_model_mutants::catalogue::named(scenario) else {
                return Ok(usage(&unknown_scenario(scenario)));
            };
            let extent = bazaar_model_mutants::subject::scenario::Extent::Default;
            let explore =
                bazaar_model_mutants::pictures::explore::Explore::of(&found, extent, Some(mutant), address, &mut out);
            found.case.with(explore).map_err(|error| error.to_string())
        }
    };
    Ok(served.map_or_else(|error| usage(&error), |()| ExitCode::SUCCESS))
}

fn replay(ReplayArguments { file, svg, step }: &ReplayArguments) -> io::Result<ExitCode> {
    let text = fs::read_to_string(file).map_err(|error| about(file, &error))?;
    if let Some(done) = simulate::replay(&text, file, svg.as_deref(), *step) {
        return done;
    }
    let trace: Trace = match serde_json::from_str(&text) {
        Ok(trace) => trace,
        Err(error) => return Ok(usage(&format!("{}: not a history: {error}", file.display()))),
    };
    let mut out = stdout();
    let replayed = match &trace.mutant {
        None => {
            let show = bazaar_model::pictures::replay::Show { svg: svg.as_deref(), step: *step };
            bazaar_model::pictures::replay::replay(&trace, show, &mut out).map_err(|error| error.to_string())
        }
        Some(mutant) => {
            if let Err(unknown) = mutants::switch(mutant) {
                return Ok(usage(&format!("{}: {unknown}", file.display())));
            }
            let trace = serde_json::from_str(&text).map_err(io::Error::other)?;
            let show = bazaar_model_mutants::pictures::replay::Show { svg: svg.as_deref(), step: *step };
            bazaar_model_mutants::pictures::replay::replay(&trace, show, &mut out).map_err(|error| error.to_string())
        }
    };
    match replayed {
        // The history was replayed, and it shows a violation.
        Ok(()) if trace.violation.is_some() && step.is_none() => Ok(ExitCode::from(1)),
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(usage(&format!("{}: {error}", file.display()))),
    }
}

fn unknown_scenario(name: &str) -> String {
    format!("there is no scenario {name:?}; `bazaar-model list` lists all of them")
}

fn verdict(reports: &[Report], gaps: usize) -> ExitCode {
    let has = |verdict| reports.iter().any(|report| report.verdict == verdict);
    if has(Outcome::Violated) {
        ExitCode::from(1)
    } else if has(Outcome::Incomplete) || has(Outcome::CountedDifferently) || gaps > 0 {
        ExitCode::from(NOT_COMPLETE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Reports progress: on a terminal one line that is overwritten, elsewhere a line every few seconds.
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
        // If progress cannot be shown, the check still goes on.
        let _ =
            write!(io::stderr(), "{before}{}: {states} states, depth {depth}, {seconds:.1} s{after}", self.scenario);
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
