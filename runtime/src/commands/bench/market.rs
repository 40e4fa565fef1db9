//! A bazaar of real processes that is measured: its configuration, its run, and what its peers say meanwhile.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{
    config::{
        BazaarConfig, RawConfig,
        run_dir::{RunDir, config_file},
    },
    processes::{
        report::{Event, Filter, Form, Names, What},
        supervise::{Plan, Supervised, shares, supervise},
    },
    system::limits,
};

use super::Failure;

/// What to run, and what to hear of it.
pub struct Market {
    /// Where the run keeps everything.
    pub dir: PathBuf,
    /// Its configuration, in TOML.
    pub config: String,
    /// How many processes host its peers; `None`: one each.
    pub processes: Option<usize>,
    /// Which kinds of events are told.
    pub kinds: &'static [&'static str],
    /// Of which peers; none: of all.
    pub of: Vec<PeerId>,
    /// How long after its death a process is started again; `None`: none is to die.
    pub restart_after: Option<Duration>,
    /// How long it runs at most.
    pub at_most: Duration,
}

/// A bazaar in a directory of its own, ready to run.
pub struct Ready {
    plan: Plan,
    // Keeps others from running there.
    _taken: RunDir,
}

impl Market {
    pub fn prepare(self) -> Result<Ready, Failure> {
        let Market { dir, config, processes, kinds, of, restart_after, at_most } = self;
        let raw = RawConfig::parse(&config, Path::new("the experiment"))?;
        let admit = |config: &BazaarConfig| -> Result<(), Failure> {
            let share = |processes| shares(config.peers(), processes);
            limits::check_run(config.graph(), &share(processes.unwrap_or(usize::MAX)), share)?;
            Ok(limits::check_room(&dir, config.peers())?)
        };
        let taken = RunDir::take(&dir, Some(raw), |_| Ok(()), admit)?;
        let plan = Plan {
            program: std::env::current_exe().unwrap_or_else(|_| "bazaar".into()),
            config: config_file(&dir),
            dir,
            shares: shares(taken.config().peers(), processes.unwrap_or(usize::MAX)),
            length: Some(at_most),
            purchases: None,
            restart_after,
            form: Form::Json,
            filter: Filter { kinds: kinds.iter().map(ToString::to_string).collect(), peers: of.into_iter().collect() },
            names: Names::of(taken.config()),
        };
        Ok(Ready { plan, _taken: taken })
    }
}

impl Ready {
    pub fn dir(&self) -> &Path {
        &self.plan.dir
    }

    /// Runs it until `hear` has heard enough.
    ///
    /// # Errors
    /// When it could not run, or `hear` had not heard enough when its time was up or somebody interrupted it.
    pub async fn run(&self, mut hear: impl FnMut(&Event) -> ControlFlow<()>) -> Result<Supervised, Failure> {
        let mut is_enough = false;
        let mut hear = |event: &Event| {
            let flow = hear(event);
            is_enough |= flow.is_break();
            flow
        };
        let (ended, result) = supervise(&self.plan, &mut hear).await;
        result?;
        if !is_enough {
            let length = self.plan.length.unwrap_or_default();
            return Err(Failure::Stuck(format!(
                "interrupted, or the bazaar in {} did not get there within {length:?}; see its logs",
                self.plan.dir.display()
            )));
        }
        Ok(ended)
    }
}

/// A peer's note, and when it was made, counted from 1970.
pub fn note(event: &Event) -> Option<(&Note, Duration)> {
    match &event.what {
        What::Peer(note) => Some((note, since_1970(event.time))),
        What::Process(_) => None,
    }
}

pub fn since_1970(time: jiff::Timestamp) -> Duration {
    Duration::try_from(time.duration_since(jiff::Timestamp::UNIX_EPOCH)).unwrap_or_default()
}
