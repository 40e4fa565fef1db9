//! `bazaar run`.

use std::process::ExitCode;

use bazaar_protocol::invariant::AuditReport;
use bazaar_runtime::{
    config::run_dir::{self, RunDir, config_file},
    config::{BazaarConfig, ConfigError, RawConfig},
    processes::{
        report::{Event, Form, ProcessEvent, say},
        supervise::{self, Plan, Supervised, shares},
    },
    tools::access::Run as RunAccess,
};
use serde::Serialize;

use super::cli::Run;
use super::{
    Failure, block_on,
    books::{self, TermLine},
    member::names,
    runs_dir,
};

pub fn run(flags: &Run) -> Result<ExitCode, Failure> {
    let file = flags.config.as_deref().map(RawConfig::read).transpose()?;
    let is_new = flags.dir.is_none();
    // Errors in the flags are reported before a directory is made for them.
    let mut tried = file.clone().unwrap_or_default();
    overlay(&mut tried, flags)?;
    if is_new {
        tried.check()?;
    }
    let dir = match &flags.dir {
        Some(dir) => dir.clone(),
        None => run_dir::fresh(runs_dir())?,
    };
    let is_known = run_dir::config_file(&dir).exists();
    let seed = flags.seed.or_else(|| (file.is_none() && !is_known).then(|| u64::from(rand::random::<u16>())));
    let taken = RunDir::take(&dir, file, |raw| {
        overlay(raw, flags)?;
        seed.map_or(Ok(()), |seed| raw.set("--seed", &format!("seed = {seed}")))
    })?;
    let config = taken.config();
    let form = match (flags.json, flags.quiet) {
        (true, _) => Form::Json,
        (false, true) => Form::Quiet,
        (false, false) => Form::Text,
    };
    let plan = Plan {
        program: std::env::current_exe().unwrap_or_else(|_| "bazaar".into()),
        dir: taken.path().to_owned(),
        config: config_file(taken.path()),
        shares: shares(config.peers(), flags.processes.map_or(usize::MAX, |n| n as usize)),
        length: flags.length,
        purchases: flags.purchases,
        restart_after: flags.restart_after.0,
        form,
        names: names(config),
    };
    let tell = |what| form.print(&plan.names, &Event::now(what));
    tell(ProcessEvent::RunStarted {
        dir: dir.display().to_string(),
        peers: config.peers(),
        processes: plan.shares.len(),
        seed: config.seed(),
    });
    if let Err(doubt) = config.trade_is_possible() {
        tell(ProcessEvent::TradeDoubtful { reason: doubt.to_string() });
    }
    block_on(async {
        let (ended, result) = supervise::supervise(&plan).await;
        // If the run could not finish, that is what counts, and the summary shows how far it got.
        let summary = match (Summary::of(taken.path(), config, &ended).await, result) {
            (Ok(summary), Ok(())) => summary,
            (Ok(summary), Err(error)) => {
                say(summary.shown(form, config)?);
                return Err(error.into());
            }
            (Err(_), Err(error)) => return Err(error.into()),
            (Err(failure), Ok(())) => return Err(failure),
        };
        say(summary.shown(form, config)?);
        Ok(if summary.audit.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
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
    if let Some(sales) = &flags.resign_after {
        raw.set_number("--resign-after", "terms.resign_after", sales)?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct SummaryLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The summary of a run.
#[derive(Debug, Serialize)]
struct Summary {
    dir: String,
    terms: Vec<TermLine>,
    restarts: usize,
    deaths: Vec<Event>,
    audit: AuditReport,
}

impl Summary {
    async fn of(dir: &std::path::Path, config: &BazaarConfig, ended: &Supervised) -> Result<Summary, Failure> {
        let log = RunAccess::at(dir)?.log().await?;
        Ok(Summary {
            dir: dir.display().to_string(),
            terms: books::terms(&log),
            restarts: ended.restarts,
            deaths: ended.deaths.clone(),
            audit: books::audited(&log, config),
        })
    }

    fn shown(&self, form: Form, config: &BazaarConfig) -> Result<String, Failure> {
        match form {
            Form::Json => {
                let line = serde_json::to_string(&SummaryLine { event: "summary", summary: self });
                Ok(line.map_err(|error| Failure::Stuck(error.to_string()))? + "\n")
            }
            Form::Text | Form::Quiet => Ok(self.text(config)),
        }
    }

    fn text(&self, config: &BazaarConfig) -> String {
        use std::fmt::Write as _;
        let names = names(config);
        let totals = &self.audit.totals;
        let mut text = String::from("\n");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} purchases, {} refusals, {} requests open; {} paid = {} to sellers + {} commission",
            totals.sales, totals.refusals, totals.open, totals.paid, totals.earned, totals.commission
        );
        for term in &self.terms {
            let _ = writeln!(text, "  {}", term.text(&names));
        }
        if !self.deaths.is_empty() {
            let _ = writeln!(text, "{} processes died, {} were started again", self.deaths.len(), self.restarts);
        }
        let _ = write!(text, "{}", books::verdict(&self.audit));
        let _ = writeln!(text, "everything is in {}", self.dir);
        text
    }
}
