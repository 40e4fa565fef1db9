//! `bazaar-model`: checks the trading post's protocol in every schedule.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
};

use bazaar_model::{
    catalogue::{self, Entry},
    protocol::text::{number, visible},
    search::{
        check::{Outcome, Report, check},
        trace::Trace,
    },
    subject::scenario::{Extent, Recorded},
};
use bazaar_model_mutants::{search::mutants::WITHIN, subject::scenario::Family};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

mod bench;
mod elections;
mod gallery;
mod journal;
mod mutants;
mod output;
mod progress;
mod simulate;
mod table;

use journal::Journal;
use output::{complain, has_lost, lose, lost, read_text, stdout, write_json};
use progress::Progress;

/// The exit code if nothing is violated but not everything was shown.
const NOT_COMPLETE: u8 = 3;

/// Checks the trading post's protocol exhaustively, within stated bounds.
///
/// Exit codes: 0 all properties hold and all checks are complete, 1 a property is violated, 2 wrong usage, 3 nothing is
/// violated but a check is not complete, or counts other states than are recorded, or none are.
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
    /// Count what an election costs in simulated bazaars, by the number of peers and by who calls, beside Bully's best
    /// and worst case.
    Elections(elections::ElectionsArguments),
    /// Replay a history written by `check`, `mutants` or `simulate`, step by step in words, and draw it.
    Replay(ReplayArguments),
    /// List the scenarios, or describe some: what runs, the adversary, the bounds and why they suffice, the number of
    /// states.
    List(ListArguments),
    /// Measure how fast the models are searched and what a state takes, beside stateright's Paxos.
    Bench(bench::BenchArguments),
    /// Print a completion script for a shell: `bazaar-model completions bash`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual, a page for each command.
    Man {
        /// The directory to write it into; it is made if there is none.
        directory: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// The scenarios to describe; if none is named, all are listed, with a line or two for each.
    scenarios: Vec<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print a Markdown page with the mutants too: `docs/models.md`.
    #[arg(long, conflicts_with = "scenarios")]
    markdown: bool,
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
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, &(1..=u16::MAX)))]
    threads: Option<u16>,
    /// Print the reports as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Print also how often each input was tried in each role.
    #[arg(long, conflicts_with = "json")]
    matrix: bool,
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
    #[arg(long, value_name = "N", default_value_t = WITHIN, requires = "simulate", value_parser = |text: &str| number(text, &(1..=u64::MAX)))]
    seeds: u64,
    /// With `--model`: skip scenarios with more states than this, which would take hours.
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "model", value_parser = |text: &str| number(text, &(1..=usize::MAX)))]
    up_to: usize,
    /// Write the gallery of defeats to this directory: one page, and a picture and a history of each instructive
    /// mutant.
    #[arg(long, value_name = "DIR")]
    gallery: Option<PathBuf>,
    /// Write the shortest history of each mutant to this directory, as `NAME.json`, for `replay`.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// The number of threads that check the unmutated machine (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, &(1..=u16::MAX)))]
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
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, &(0..=usize::MAX)))]
    step: Option<usize>,
}

fn family(name: &str) -> Result<Family, String> {
    let named = Family::ALL.iter().find(|family| family.to_string() == name);
    let all = || Family::ALL.map(|family| family.to_string()).join(", ");
    named.copied().ok_or_else(|| format!("the models are {}", all()))
}

fn main() -> ExitCode {
    // A limit on the size of files makes a write fail, which is reported, instead of ending the process.
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()) {
        complain(&format!("warning: a limit on the size of files will end this process unsaid: {error}"));
    }
    let done = match Arguments::try_parse() {
        Ok(arguments) => run(arguments.command),
        Err(error) if error.use_stderr() => {
            // It quotes what was given, which must not control the terminal. Made visible, it is as wrong as it was.
            let given = env::args_os().map(|arg| visible(&arg.to_string_lossy()));
            let error = Arguments::try_parse_from(given).err().filter(clap::Error::use_stderr).unwrap_or(error);
            // If nobody can be told, the exit code still says it.
            let _ = error.print();
            return ExitCode::from(2);
        }
        Err(help) => {
            let help = help.render();
            let help = if io::stdout().is_terminal() { help.ansi().to_string() } else { help.to_string() };
            write!(stdout(), "{help}").map(|()| ExitCode::SUCCESS)
        }
    };
    match (lost(), done) {
        (Some(lost), done) => {
            complain(&format!("error: {lost}"));
            // That something is violated matters more.
            done.ok().filter(|code| *code == ExitCode::from(1)).unwrap_or(ExitCode::from(NOT_COMPLETE))
        }
        (None, Ok(code)) => code,
        (None, Err(error)) => usage(&error.to_string()),
    }
}

fn run(command: Command) -> io::Result<ExitCode> {
    match command {
        Command::Check(arguments) => check_all(&arguments),
        Command::Mutants(arguments) => mutants::hunt(&arguments),
        Command::Explore(arguments) => explore(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Elections(arguments) => elections::run(&arguments),
        Command::Replay(arguments) => replay(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Completions { shell } => completions(shell),
        Command::Man { directory } => man(&directory),
    }
}

fn completions(shell: Shell) -> io::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "bazaar-model", &mut script);
    stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn man(directory: &Path) -> io::Result<ExitCode> {
    let write = || {
        fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Arguments::command(), directory)
    };
    write().map_err(|error| lose(&directory.display().to_string(), &error))?;
    let [into, page] = [directory, &directory.join("bazaar-model.1")].map(|path| visible(&path.display().to_string()));
    writeln!(stdout(), "wrote the manual into {into}; now: man {page}")?;
    Ok(ExitCode::SUCCESS)
}

fn usage(what: &str) -> ExitCode {
    complain(&format!("error: {what}"));
    ExitCode::from(2)
}

/// The scenarios of these names; all if there are none. The error is the message for the first that does not exist.
fn chosen(names: &[String]) -> Result<Vec<Entry>, String> {
    if names.is_empty() {
        return Ok(catalogue::all());
    }
    names.iter().map(|name| catalogue::named(name).ok_or_else(|| unknown_scenario(name))).collect()
}

fn list(ListArguments { scenarios, json, markdown }: &ListArguments) -> io::Result<ExitCode> {
    let mut out = stdout();
    let chosen = match chosen(scenarios) {
        Ok(chosen) => chosen,
        Err(unknown) => return Ok(usage(&unknown)),
    };
    if *json {
        let all: Vec<_> = chosen.iter().map(table::Described::of).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all).map_err(io::Error::other)?)?;
    } else if *markdown {
        table::page(&mut out)?;
    } else if scenarios.is_empty() {
        table::overview(&mut out, &chosen)?;
    } else {
        for scenario in &chosen {
            table::describe(&mut out, &table::Described::of(scenario))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(arguments: &CheckArguments) -> io::Result<ExitCode> {
    let CheckArguments { scenarios, thorough, journal, threads, json, matrix, record, save } = arguments;
    let chosen = match chosen(scenarios) {
        Ok(chosen) => chosen,
        Err(unknown) => return Ok(usage(&unknown)),
    };
    let extent = if *thorough { Extent::Thorough } else { Extent::Default };
    let threads = threads_or_all(*threads);
    let journal = journal.as_ref().map(|file| Journal::open(file, &chosen, extent)).transpose()?;
    let mut reports = Vec::new();
    let mut progress = Progress::through(chosen.len());
    for scenario in &chosen {
        if let Some(report) = journal.as_ref().and_then(|journal| journal.done(scenario.name)) {
            reports.push(report);
            progress.end();
            continue;
        }
        progress.begin(scenario.name);
        let report = check(scenario, extent, threads, &mut |far| progress.at(scenario.name, far));
        progress.end();
        if let Some(journal) = &journal {
            journal.add(&report);
        }
        reports.push(report);
    }
    drop(progress);
    let mut out = stdout();
    let is_whole = scenarios.is_empty() && !thorough;
    let gaps = if is_whole { table::gaps(&reports) } else { Vec::new() };
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reports).map_err(io::Error::other)?)?;
    } else {
        table::reports(&mut out, &reports)?;
        if *matrix {
            table::matrix(&mut out, &reports)?;
        }
        table::verdict(&mut out, &reports, is_whole.then_some(gaps.as_slice()))?;
    }
    if let Some(directory) = save {
        for (report, trace) in reports.iter().filter_map(|report| Some((report, report.counterexample.as_ref()?))) {
            write_json(&directory.join(format!("{}.json", report.scenario)), trace)?;
        }
    }
    if let Some(file) = record {
        write_json(file, &recorded(file, &reports)?)?;
    }
    Ok(verdict(&reports, gaps.len()))
}

/// The contents of the file, updated with the numbers of the checks that are complete and found no violation.
fn recorded(file: &Path, reports: &[Report]) -> io::Result<Recorded> {
    let mut recorded = match read_text(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| about(file, &error.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Recorded::default(),
        Err(error) => return Err(about(file, &error)),
    };
    for report in reports {
        if matches!(report.verdict, Outcome::Holds | Outcome::CountedDifferently | Outcome::NotRecorded) {
            recorded.record(&report.scenario, report.extent, report.states);
        } else {
            complain(&format!("warning: {} is not recorded: it does not hold or is not complete", report.scenario));
        }
    }
    Ok(recorded)
}

fn threads_or_all(threads: Option<u16>) -> usize {
    threads.map(usize::from).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
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
            explore.run(&found.case).map_err(|error| error.to_string())
        }
        Some(mutant) => {
            let on = match mutants::switch(mutant) {
                Ok(on) => on,
                Err(unknown) => return Ok(usage(&unknown)),
            };
            let Some(found) = bazaar_model_mutants::catalogue::named(scenario) else {
                return Ok(usage(&unknown_scenario(scenario)));
            };
            let extent = bazaar_model_mutants::subject::scenario::Extent::Default;
            let explore =
                bazaar_model_mutants::pictures::explore::Explore::of(&found, extent, Some(on), address, &mut out);
            explore.run(&found.case).map_err(|error| error.to_string())
        }
    };
    Ok(served.map_or_else(|error| usage(&error), |()| ExitCode::SUCCESS))
}

fn replay(ReplayArguments { file, svg, step }: &ReplayArguments) -> io::Result<ExitCode> {
    let text = read_text(file).map_err(|error| about(file, &error))?;
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
            bazaar_model::pictures::replay::replay(&trace, show, &mut out).map_err(|error| {
                use bazaar_model::pictures::replay::ReplayError;
                if let ReplayError::Picture { file, source } = &error {
                    lose(&file.display().to_string(), source);
                }
                error.to_string()
            })
        }
        Some(mutant) => {
            if let Err(unknown) = mutants::switch(mutant) {
                return Ok(usage(&format!("{}: {unknown}", file.display())));
            }
            let trace = serde_json::from_str(&text).map_err(io::Error::other)?;
            let show = bazaar_model_mutants::pictures::replay::Show { svg: svg.as_deref(), step: *step };
            bazaar_model_mutants::pictures::replay::replay(&trace, show, &mut out).map_err(|error| {
                use bazaar_model_mutants::pictures::replay::ReplayError;
                if let ReplayError::Picture { file, source } = &error {
                    lose(&file.display().to_string(), source);
                }
                error.to_string()
            })
        }
    };
    match replayed {
        // The history was replayed, and it shows a violation.
        Ok(()) if trace.violation.is_some() && step.is_none() => Ok(ExitCode::from(1)),
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The file that is read is not to blame.
        Err(_) if has_lost() => Ok(ExitCode::from(NOT_COMPLETE)),
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
    } else if [Outcome::Incomplete, Outcome::CountedDifferently, Outcome::NotRecorded].into_iter().any(has) || gaps > 0
    {
        ExitCode::from(NOT_COMPLETE)
    } else {
        ExitCode::SUCCESS
    }
}
