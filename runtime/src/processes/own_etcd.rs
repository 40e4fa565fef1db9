//! A cluster of etcd that a run has of its own, on the same machine, for trying (`bazaar run --etcd`). Whoever wants to be
//! safe from the loss of a machine has one on several machines, and names it in the configuration.

use std::{path::Path, time::Duration};

use bazaar_etcd::{
    Endpoints,
    cluster::{Cluster, ClusterError, Plan},
};
use tokio::time::{Instant, sleep};

use crate::{
    config::{
        ledger::{EtcdSettings, LedgerProcess, LedgerSettings, LedgerStore},
        run_dir::etcd_dir,
    },
    processes::report::{Event, ProcessEvent},
};

/// How many nodes there are: as few as can do without one.
const NODES: usize = 3;

/// How many processes of the ledger there are: as few as can do without one.
const LEDGERS: usize = 2;

/// How long after a node could not be started it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether a node has ended.
const LOOKING: Duration = Duration::from_millis(100);

/// A run's own cluster. Its nodes end when it is dropped.
#[derive(Debug)]
pub struct OwnEtcd(Cluster);

impl OwnEtcd {
    /// Whether a run has one, running or not.
    #[must_use]
    pub fn is_in(run: &Path) -> bool {
        etcd_dir(run).is_dir()
    }

    /// Starts it, with what it holds if it was there before, and waits until it answers.
    ///
    /// # Errors
    /// As for [`Cluster::start`].
    pub async fn start(run: &Path) -> Result<OwnEtcd, ClusterError> {
        Ok(OwnEtcd(Cluster::start(Plan::new(etcd_dir(run), NODES), None).await?))
    }

    /// Where the books are that are kept in it, and by how many processes.
    ///
    /// # Errors
    /// Never, for nodes that have started.
    pub fn settings(&self, ledger: &LedgerSettings) -> Result<LedgerSettings, ClusterError> {
        let etcd = EtcdSettings {
            endpoints: Endpoints::parse(self.0.endpoints())?,
            prefix: None,
            user: None,
            ca: None,
            identity: None,
            history: EtcdSettings::HISTORY,
        };
        // The one that there was may have been given an address.
        let mut processes = ledger.processes.clone();
        processes.resize(LEDGERS, LedgerProcess::default());
        Ok(LedgerSettings { store: LedgerStore::Etcd(etcd), processes, ..ledger.clone() })
    }

    /// Starts nodes again that have ended, so long after that; `None`: never. Tells of it. Does not return.
    pub async fn keep(&mut self, restart_after: Option<Duration>, tell: impl Fn(&Event)) -> std::convert::Infallible {
        let tell = |what| tell(&Event::now(what));
        for node in 0..NODES {
            if let Some(pid) = self.0.pid(node) {
                tell(ProcessEvent::ProcessStarted { process: name(node), pid });
            }
        }
        let mut due: Vec<(Instant, usize)> = Vec::new();
        loop {
            for (node, pid, how) in self.0.ended() {
                tell(ProcessEvent::ProcessDied { process: name(node), pid, how: how.to_string() });
                if let Some(after) = restart_after {
                    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    tell(ProcessEvent::Restarting { process: name(node), after_ms });
                    due.push((Instant::now() + after, node));
                }
            }
            let now = Instant::now();
            let mut failed = Vec::new();
            for (_, node) in due.extract_if(.., |(at, _)| *at <= now) {
                match self.0.restart(node) {
                    Ok(()) => {
                        if let Some(pid) = self.0.pid(node) {
                            tell(ProcessEvent::ProcessStarted { process: name(node), pid });
                        }
                    }
                    Err(error) => {
                        tell(ProcessEvent::Failed { process: name(node), reason: error.to_string() });
                        failed.push(node);
                    }
                }
            }
            due.extend(failed.drain(..).map(|node| (now + AGAIN, node)));
            sleep(LOOKING).await;
        }
    }
}

fn name(node: usize) -> String {
    format!("etcd {}", node + 1)
}
