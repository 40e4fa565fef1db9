//! A bazaar of real processes that is measured: its configuration, its run, and what its peers say meanwhile.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bazaar_etcd::Client;
use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{
    config::{
        BazaarConfig, RawConfig,
        run_dir::{RunDir, config_file, peer_dir, pid_file},
    },
    processes::{
        own_etcd::OwnEtcd,
        report::{Event, Filter, Form, Names, ProcessEvent, What},
        supervise::{Plan, shares, supervise},
    },
    system::{
        limits,
        process::{ProcessMark, Signal},
    },
    tools::access::{Run, books_in_etcd},
};
use tokio::sync::{Mutex, Notify};

use super::{super::books::Audited, Failure, block_on, not_interrupted, stuck};

/// How many records of the books of all bazaars were audited so far, and hold.
static AUDITED: AtomicU64 = AtomicU64::new(0);

/// How many records were audited since this was last asked.
pub fn audited() -> u64 {
    AUDITED.swap(0, Ordering::Relaxed)
}

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
    /// Where the books are, if not on the disk of the ledger's process.
    own: Mutex<Option<OwnEtcd>>,
    // Keeps others from running there.
    taken: RunDir,
}

impl Market {
    /// Makes its directory.
    ///
    /// # Errors
    /// When it cannot run here, or somebody has interrupted this.
    pub fn prepare(self) -> Result<Ready, Failure> {
        let (plan, taken) = self.plan()?;
        Ok(Ready { plan, own: Mutex::new(None), taken })
    }

    /// The same with its books in an etcd of its own, and two processes of the ledger.
    ///
    /// # Errors
    /// Also when there is no etcd here.
    pub fn prepare_in_etcd(self) -> Result<Ready, Failure> {
        let (mut plan, mut taken) = self.plan()?;
        let own = block_on(async {
            let own = OwnEtcd::start(taken.path()).await?;
            taken.set_ledger(own.settings(taken.config().ledger())?)?;
            if let Some(store) = books_in_etcd(taken.config())? {
                store.init().await?;
            }
            Ok(own)
        })?;
        plan.ledgers = taken.config().ledger().processes.len();
        Ok(Ready { plan, own: Mutex::new(Some(own)), taken })
    }

    fn plan(self) -> Result<(Plan, RunDir), Failure> {
        not_interrupted()?;
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
            ledgers: taken.config().ledger().processes.len(),
            shares: shares(taken.config().peers(), processes.unwrap_or(usize::MAX)),
            length: Some(at_most),
            purchases: None,
            restart_after,
            form: Form::Json,
            filter: Filter { kinds: kinds.iter().map(ToString::to_string).collect(), peers: of.into_iter().collect() },
            names: Names::of(taken.config()),
        };
        Ok((plan, taken))
    }
}

impl Ready {
    pub fn dir(&self) -> &Path {
        &self.plan.dir
    }

    /// A client of the etcd that its books are in, as its ledgers have it.
    ///
    /// # Errors
    /// When they are not in one.
    pub fn etcd(&self) -> Result<Client, Failure> {
        let store = books_in_etcd(self.taken.config())?;
        let store = store.ok_or_else(|| Failure::Stuck("the books are not in etcd".to_owned()))?;
        Ok(store.client().clone())
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &BazaarConfig {
        self.taken.config()
    }

    /// Runs it until `until` is ready, and gives what that gives.
    ///
    /// # Errors
    /// When it could not run, or its books do not hold, or `until` fails or was not ready when its time was up or somebody interrupted this; and when
    /// a process has died that was not to.
    pub async fn run<T>(
        &self,
        mut hear: impl FnMut(&Event),
        until: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let (since, mut reached) = (Instant::now(), None);
        let has_died = Notify::new();
        let hear = RefCell::new(|event: &Event| {
            if self.plan.restart_after.is_none() && death(event).is_some() {
                has_died.notify_one();
            }
            hear(event);
        });
        let tell = |event: &Event| (hear.borrow_mut())(event);
        let enough = async {
            tokio::select! {
                ready = until => reached = Some(ready),
                () = has_died.notified() => {}
            }
        };
        let (ended, result) = {
            let mut told = tell;
            let supervised = supervise(&self.plan, &mut told, enough);
            match &mut *self.own.lock().await {
                None => supervised.await,
                Some(own) => tokio::select! {
                    ended = supervised => ended,
                    never = own.keep(self.plan.restart_after, tell) => match never {},
                },
            }
        };
        result?;
        let dir = self.plan.dir.display();
        if let Some(died) = ended.deaths.iter().find_map(death).filter(|_| self.plan.restart_after.is_none()) {
            return Err(Failure::Stuck(format!("in the bazaar in {dir}, {died}; see its logs")));
        }
        let length = self.plan.length.unwrap_or_default();
        match reached {
            Some(Ok(reached)) => {
                self.audit().await?;
                Ok(reached)
            }
            Some(failed) => failed,
            None if since.elapsed() < length => Err(Failure::Interrupted),
            None => {
                Err(Failure::Stuck(format!("the bazaar in {dir} did not get there within {length:?}; see its logs")))
            }
        }
    }

    /// A figure of books that do not hold would be worth nothing.
    async fn audit(&self) -> Result<(), Failure> {
        let audited = Audited::of(&Run::at(self.dir())?).await?;
        if audited.is_clean() {
            AUDITED.fetch_add(audited.report.totals.records, Ordering::Relaxed);
            return Ok(());
        }
        Err(Failure::Unsound(format!("the books in {}: {}", self.dir().display(), audited.verdict())))
    }

    /// Runs it until `hear` has heard enough.
    ///
    /// # Errors
    /// As [`Ready::run`].
    pub async fn listen(&self, mut hear: impl FnMut(&Event) -> ControlFlow<()>) -> Result<(), Failure> {
        let enough = Notify::new();
        let until = async {
            enough.notified().await;
            Ok(())
        };
        let hear = |event: &Event| {
            if hear(event).is_break() {
                enough.notify_one();
            }
        };
        self.run(hear, until).await
    }
}

impl Ready {
    /// Kills the process of a peer, and says when.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&self, peer: Option<PeerId>) -> Result<Duration, Failure> {
        let mark = peer.and_then(|peer| ProcessMark::read(&pid_file(&peer_dir(self.dir(), peer))));
        let mark = mark.ok_or_else(|| Failure::Stuck("the trader's process is not known".to_owned()))?;
        let now = since_1970(jiff::Timestamp::now());
        mark.send(Signal::KILL).map_err(stuck("kill the trader"))?;
        Ok(now)
    }
}

/// Which process has died, and how, if this is what an event says.
fn death(event: &Event) -> Option<String> {
    match &event.what {
        What::Process(ProcessEvent::ProcessDied { process, how, .. }) => Some(format!("{process} died: {how}")),
        What::Peer(_) | What::Process(_) => None,
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
