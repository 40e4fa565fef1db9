//! `bazaar bench`: what this build does on this machine, beside what the machine does by itself (SPEC F).
//!
//! Every experiment runs real processes in a directory of its own, below one that is removed afterwards. What people and
//! programs read of it is a [`Finding`].

mod baseline;
mod distance;
mod election;
mod failover;
mod latency;
mod market;
mod outages;
mod plot;
mod proxy;
mod recovery;
mod replicated;
mod sample;
mod scale;
mod throughput;

use std::{
    fmt::Display,
    fs,
    path::Path,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bazaar_etcd::cluster::{self, ClusterError};
use bazaar_runtime::system::{
    files,
    output::{self, OutputError, Reader},
    signals,
};
use serde_json::json;

use self::{baseline::Baseline, sample::shown};
use super::{
    Failure, block_on,
    cli::{Bench, Experiment},
    print,
    table::table,
};

/// Names and pictures.
type Plots = Vec<(String, String)>;

/// Rows of figures below what they are.
struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// What an experiment has found.
struct Finding {
    name: &'static str,
    title: String,
    tables: Vec<Table>,
    /// What else is to be said, in sentences.
    notes: Vec<String>,
    plots: Plots,
    json: serde_json::Value,
}

impl Finding {
    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("\n{}\n", self.title);
        for Table { head, rows } in &self.tables {
            let _ = write!(text, "\n{}", table(head, rows));
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

pub fn bench(flags: &Bench) -> Result<ExitCode, Failure> {
    let wanted: Vec<Experiment> = match &*flags.experiments {
        [] => Experiment::ALL.into_iter().filter(|one| can_run(*one)).collect(),
        some => Experiment::ALL.into_iter().filter(|one| some.contains(one)).collect(),
    };
    if let Some(plots) = &flags.plots {
        fs::create_dir_all(plots).map_err(stuck(&format!("create {}", output::shown(plots))))?;
    }
    // Said now, rather than when there is something to write.
    if flags.png {
        plot::can_render()?;
    }
    if let Some(file) = &flags.json {
        let dir = files::dir_of(file);
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("--json: there is no directory {}", output::shown(dir))));
        }
        if file.is_dir() {
            return Err(Failure::Usage(format!("--json: {} is a directory; give a file", output::shown(file))));
        }
    }
    let mark = signals::stop_mark().map_err(super::no_signals)?;
    INTERRUPTED.get_or_init(|| mark);
    let parent = flags.dir.as_deref().unwrap_or(Path::new("."));
    let dir = tempfile::Builder::new().prefix("bazaar-bench-").tempdir_in(parent);
    let dir = dir.map_err(|error| Failure::Usage(format!("cannot measure in {}: {error}", output::shown(parent))))?;
    if baseline::is_in_memory(dir.path()) {
        say("warning: this directory is in memory, where nothing is ever synced; give a --dir on a disk");
    }
    let measured = measure(flags, &wanted, dir.path());
    if let Err(Failure::Run(_) | Failure::Stuck(_) | Failure::Access(_) | Failure::Unsound(_)) = &measured {
        // For whoever looks for the reason.
        say(&format!("what was measured last is in {}", output::shown(&dir.keep())));
        return measured;
    }
    let name = output::shown(dir.path());
    dir.close().map_err(|error| OutputError { name, error })?;
    measured
}

/// Whether what an experiment needs is here; if not, it is said.
fn can_run(experiment: Experiment) -> bool {
    let is_here = !matches!(experiment, Experiment::Outages | Experiment::Replicated) || cluster::program().is_some();
    if !is_here {
        say(&format!("SKIPPED {}: {}", experiment.name(), ClusterError::NoProgram));
    }
    is_here
}

/// Measures these, and prints, writes and draws what each finds as soon as it has.
fn measure(flags: &Bench, wanted: &[Experiment], dir: &Path) -> Result<ExitCode, Failure> {
    say("baseline");
    let baseline = Baseline::measure(dir, if flags.quick { 100 } else { 2_000 })?;
    let mut found = serde_json::Map::new();
    for experiment in wanted {
        let mut finding = match experiment {
            Experiment::Baseline => baseline.finding(),
            Experiment::Latency => latency::latency(dir, flags.quick, &baseline)?,
            Experiment::Reelection => latency::reelection(dir, flags.quick, &baseline)?,
            Experiment::Throughput => throughput::throughput(dir, flags.quick, &baseline)?,
            Experiment::Failover => failover::failover(dir, flags.quick, &baseline)?,
            Experiment::Outages => outages::outages(dir, flags.quick, &baseline)?,
            Experiment::Replicated => replicated::replicated(dir, flags.quick, &baseline)?,
            Experiment::Election => election::election(dir, flags.quick, &baseline)?,
            Experiment::Distance => distance::distance(dir, flags.quick, &baseline)?,
            Experiment::Scale => scale::scale(dir, flags.quick, &baseline)?,
        };
        match market::audited() {
            0 => {}
            records => finding.notes.push(format!("Audited afterwards: {records} records, and all of it holds.")),
        }
        let reader = print(&finding.text())?;
        if let Some(plots) = &flags.plots {
            for (name, svg) in &finding.plots {
                let file = plots.join(format!("{name}.svg"));
                write(&file, svg)?;
                say(&format!("wrote {}", output::shown(&file)));
                if flags.png {
                    let png = file.with_extension("png");
                    plot::render(&file, &png)?;
                    say(&format!("wrote {}", output::shown(&png)));
                }
            }
        }
        found.insert(finding.name.to_owned(), finding.json);
        if let Some(file) = &flags.json {
            let all = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "quick": flags.quick,
                "machine": machine(),
                "baseline": baseline.finding().json,
                "experiments": found,
            });
            write(file, &(serde_json::to_string_pretty(&all).map_err(stuck("make JSON"))? + "\n"))?;
        }
        if reader == Reader::Gone && flags.json.is_none() && flags.plots.is_none() {
            // Nobody would ever see the others.
            return Ok(ExitCode::SUCCESS);
        }
        not_interrupted()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Set once somebody wants this to stop.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// # Errors
/// When somebody wants this to stop.
fn not_interrupted() -> Result<(), Failure> {
    let is_interrupted = INTERRUPTED.get().is_some_and(|mark| mark.load(Ordering::Relaxed));
    if is_interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(file, text).map_err(|error| OutputError { name: output::shown(file), error })?)
}

/// What the figures are of.
fn machine() -> serde_json::Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cores": cores, "cpu": model, "kernel": kernel.trim() })
}

/// Says on standard error what is being done, for whoever waits.
fn say(what: &str) {
    output::complain(what);
}

/// What could not be done, as a failure.
fn stuck<E: Display>(what: &str) -> impl FnOnce(E) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Stuck(format!("cannot {what}: {error}"))
}
