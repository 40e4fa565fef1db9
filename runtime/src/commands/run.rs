//! `bazaar run`.

use std::{path::Path, process::ExitCode};

use bazaar_protocol::{
    id::{PeerId, Position},
    ledger::replica::Found,
    text::{agreeing, counted},
};
use bazaar_runtime::{
    config::run_dir::{self, Fresh, RunDir, config_file},
    config::{BazaarConfig, ConfigError, RawConfig},
    processes::{
        own_etcd::OwnEtcd,
        report::{Event, Form, Names, ProcessEvent, say},
        supervise::{self, Plan, RunError, Supervised, shares},
    },
    schema::Schema as _,
    store::etcd::InitError,
    system::{limits, output},
    tools::access::{Run as RunAccess, books_in_etcd},
};
use serde_json::json;

use super::cli::Run;
use super::{
    Failure, block_on,
    books::{self, Audited, TermLine},
    runs_dir,
};

pub fn run(flags: &Run) -> Result<ExitCode, Failure> {
    let file = flags.config.as_deref().map(RawConfig::read).transpose()?;
    let Some(dir) = &flags.dir else {
        // What is wrong with the flags is said before a directory is made for them.
        let mut tried = file.clone().unwrap_or_default();
        overlay(&mut tried, flags)?;
        admit(&tried.check()?, flags, runs_dir())?;
        let fresh = Fresh::below(runs_dir())?;
        let ended = run_in(fresh.path(), file, flags);
        if ended.is_nothing {
            fresh.undo();
        }
        return ended.result;
    };
    run_in(dir, file, flags).result
}

/// How a run ended.
struct Ended {
    result: Result<ExitCode, Failure>,
    /// Whether it failed at its start, so that there is nothing to look at and nothing to continue.
    is_nothing: bool,
}

fn run_in(dir: &Path, file: Option<RawConfig>, flags: &Run) -> Ended {
    let is_known = run_dir::config_file(dir).exists();
    let seed = flags.seed.or_else(|| (file.is_none() && !is_known).then(|| u64::from(rand::random::<u16>())));
    let saved = RawConfig::read(&run_dir::config_file(dir)).ok().filter(|_| OwnEtcd::is_in(dir));
    let file = match &saved {
        // The flag says where the books are, not the file.
        Some(saved) if flags.etcd => file.map(|file| file.with_books_of(saved)),
        Some(_) | None => file,
    };
    let own = saved.and_then(|saved| saved.check().ok());
    let ask = |raw: &mut RawConfig| {
        overlay(raw, flags)?;
        seed.map_or(Ok(()), |seed| raw.set("--seed", &format!("seed = {seed}")))
    };
    let admit = |config: &BazaarConfig| {
        own.as_ref().map_or(Ok(()), |own| no_other_etcd(config, own))?;
        admit(config, flags, dir)
    };
    let mut taken = match RunDir::take(dir, file, ask, admit) {
        Ok(taken) => taken,
        Err(failure) => return Ended { result: Err(failure), is_nothing: true },
    };
    let ended = run_taken(dir, &mut taken, flags);
    if ended.is_nothing {
        taken.discard();
    }
    ended
}

/// A run with an etcd of its own keeps its books there.
fn no_other_etcd(asked: &BazaarConfig, own: &BazaarConfig) -> Result<(), Failure> {
    let endpoints = |config: &BazaarConfig| config.ledger().etcd().map(|etcd| etcd.endpoints.clone());
    if endpoints(asked).is_some() && endpoints(asked) != endpoints(own) {
        return Err(Failure::Usage(
            "this run has an etcd of its own, and [ledger.etcd] names another: leave that out, or give another --dir"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Refuses what cannot be run, or not on this machine, before anything is made for it.
fn admit(config: &BazaarConfig, flags: &Run, dir: &Path) -> Result<(), Failure> {
    let peers = config.peers();
    if let Some(processes) = flags.processes.filter(|processes| *processes > peers) {
        return Err(Failure::Usage(format!(
            "--processes {processes}: every process hosts a peer, so that there are at most as many as peers, {peers}"
        )));
    }
    flags.shown.check(config)?;
    limits::check_run(config.graph(), &shares_of(config, flags), |processes| shares(peers, processes))?;
    Ok(limits::check_room(dir, peers)?)
}

fn shares_of(config: &BazaarConfig, flags: &Run) -> Vec<Vec<PeerId>> {
    shares(config.peers(), flags.processes.map_or(usize::MAX, |processes| processes as usize))
}

/// Starts the run's own cluster of etcd if it is to have one, and makes the books if they are to be in etcd, once. A start
/// that was interrupted before they were made is continued by the next.
async fn prepare_books(taken: &mut RunDir, flags: &Run) -> Result<Option<OwnEtcd>, Failure> {
    let (is_made, is_in_etcd) = (taken.has_books(), taken.config().ledger().etcd().is_some());
    let has_own = OwnEtcd::is_in(taken.path());
    if flags.etcd && is_in_etcd && !has_own {
        return Err(Failure::Usage(
            "--etcd starts a cluster of the run's own, and [ledger.etcd] names another: leave one of them out"
                .to_owned(),
        ));
    }
    if flags.etcd && !taken.is_new() && !has_own {
        let what = "--etcd: this run has kept its books somewhere else from its beginning; give another --dir";
        return Err(Failure::Usage(what.to_owned()));
    }
    let own = if flags.etcd || has_own { Some(OwnEtcd::start(taken.path()).await?) } else { None };
    if let Some(own) = own.as_ref().filter(|_| !is_in_etcd) {
        let settings = own.settings(taken.config().ledger())?;
        taken.set_ledger(settings)?;
    }
    if let Some(store) = books_in_etcd(taken.config())?.filter(|_| !is_made) {
        match store.init().await {
            // By `init --books`, or by another start of this run: its key is in what says whose they are.
            Ok(()) | Err(InitError::Exists { found: Found::Tail(_), .. }) => taken.note_books()?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(own)
}

fn run_taken(dir: &Path, taken: &mut RunDir, flags: &Run) -> Ended {
    let restart_after = flags.restart_after.0;
    let mut own = None;
    let result = block_on(async {
        own = prepare_books(taken, flags).await?;
        Ok(())
    });
    if let Err(failure) = result {
        return Ended { result: Err(failure), is_nothing: taken.is_new() && !taken.has_books() };
    }
    let config = taken.config();
    let form = flags.shown.form();
    let plan = Plan {
        program: std::env::current_exe().unwrap_or_else(|_| "bazaar".into()),
        dir: taken.path().to_owned(),
        config: config_file(taken.path()),
        ledgers: config.ledger().processes.len(),
        shares: shares_of(config, flags),
        length: flags.length,
        purchases: flags.purchases,
        restart_after,
        form,
        filter: flags.shown.filter(),
        names: Names::of(config),
    };
    let show = |event: &Event| {
        if plan.filter.shows(event) {
            form.print(&plan.names, event);
        }
    };
    let tell = |what| show(&Event::now(what));
    form.begin();
    tell(ProcessEvent::RunStarted {
        dir: output::shown(dir),
        peers: config.peers(),
        processes: plan.shares.len(),
        seed: config.seed(),
    });
    if let Err(doubt) = config.trade_is_possible() {
        tell(ProcessEvent::TradeDoubtful { reason: doubt.to_string() });
    }
    let mut is_nothing = false;
    let result = block_on(async {
        let mut tell = |event: &Event| show(event);
        let supervised = supervise::supervise(&plan, &mut tell, std::future::pending());
        let (ended, result) = match &mut own {
            None => supervised.await,
            Some(own) => tokio::select! {
                ended = supervised => ended,
                never = own.keep(restart_after, show) => match never {},
            },
        };
        let summary = Summary::of(taken.path(), config, &ended).await;
        let is_empty = summary.as_ref().map_or(!ended.has_served, |summary| summary.audit.report.totals.records == 0);
        // Books in etcd stay there, and the key to them is in the directory.
        is_nothing =
            taken.is_new() && !taken.has_books() && is_empty && result.as_ref().is_err_and(RunError::is_explained);
        if let Ok(summary) = &summary
            && !is_nothing
        {
            // Also if the run could not finish: it shows how far it got.
            say(summary.shown(form, config));
        }
        let is_sound = match &summary {
            Ok(summary) => summary.audit.is_clean(),
            Err(failure) => !failure.is_about_books(),
        };
        match result {
            Ok(()) => summary.map(|_| if is_sound { ExitCode::SUCCESS } else { ExitCode::from(1) }),
            Err(error) if is_sound => Err(error.into()),
            Err(error) => Err(Failure::Unsound(error.to_string())),
        }
    });
    Ended { result, is_nothing }
}

fn overlay(raw: &mut RawConfig, flags: &Run) -> Result<(), ConfigError> {
    if let Some(peers) = &flags.peers {
        raw.set_number("--peers", "peers", peers)?;
    }
    if let Some(seed) = flags.seed {
        raw.set("--seed", &format!("seed = {seed}"))?;
    }
    if let Some(pace) = flags.pace {
        raw.set_text("--pace", "pace", pace.name())?;
    }
    if let Some(ordering) = flags.ordering {
        raw.set_text("--ordering", "terms.ordering", ordering.name())?;
    }
    if let Some(sales) = &flags.resign_after {
        raw.set_number("--resign-after", "terms.resign_after", sales)?;
    }
    Ok(())
}

/// The summary of a run.
#[derive(Debug)]
struct Summary {
    dir: String,
    terms: Vec<TermLine>,
    restarts: usize,
    deaths: Vec<Event>,
    audit: Audited,
}

impl Summary {
    async fn of(dir: &std::path::Path, config: &BazaarConfig, ended: &Supervised) -> Result<Summary, Failure> {
        let log = RunAccess::at(dir)?.log().await?;
        Ok(Summary {
            dir: output::shown(dir),
            terms: books::terms(&log.kept),
            restarts: ended.restarts,
            deaths: ended.deaths.clone(),
            audit: Audited { report: books::audit_of(&log.kept, config), gone: log.gone },
        })
    }

    fn shown(&self, form: Form, config: &BazaarConfig) -> String {
        match form {
            Form::Json => format!("{}\n", self.json(&Names::of(config))),
            Form::Text | Form::Quiet => self.text(config),
        }
    }

    /// The last line of a run's JSON, which has the form of an event.
    fn json(&self, names: &Names) -> serde_json::Value {
        let deaths: Vec<_> = self.deaths.iter().map(|death| death.show(names)).collect();
        let terms: Vec<_> = self.terms.iter().map(TermLine::json).collect();
        let data = json!({
            "dir": self.dir, "terms": terms, "restarts": self.restarts, "deaths": deaths,
            "audit": self.audit.json(),
        });
        json!({ "time": jiff::Timestamp::now(), "event": "summary", "data": data })
    }

    fn text(&self, config: &BazaarConfig) -> String {
        use std::fmt::Write as _;
        let names = Names::of(config);
        let totals = &self.audit.report.totals;
        let mut text = String::from("\n");
        // Writing to a string cannot fail.
        if totals.first_record > Position(0) {
            let _ = writeln!(text, "from record {} on:", totals.first_record);
        }
        let _ = writeln!(
            text,
            "{}, {}, {} open\n{} paid = {} to sellers + {} commission",
            counted(totals.sales, "purchase"),
            counted(totals.refusals, "refusal"),
            counted(totals.open, "request"),
            totals.paid,
            totals.earned,
            totals.commission
        );
        for term in &self.terms {
            let _ = writeln!(text, "  {}", term.text(&names));
        }
        if !self.deaths.is_empty() {
            let _ = writeln!(
                text,
                "{} died, {} {} started again",
                counted(self.deaths.len(), "process"),
                self.restarts,
                agreeing(self.restarts, "was", "were")
            );
        }
        let _ = write!(text, "{}", self.audit.verdict());
        let _ = writeln!(text, "everything is in {}", self.dir);
        text
    }
}
