//! Clusters for tests, and waiting with a bound.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::{env, io::Write as _, time::Duration};

use bazaar_etcd::{
    Client, Compare, Endpoints, KeyValue, Keys, Op, Range, Revision, Settings, Txn,
    cluster::{self, Cluster, Plan},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The longest that anything here may take.
pub const BOUND: Duration = Duration::from_secs(60);

/// Running nodes, and the directory that goes with them.
pub struct Etcd {
    // Before the directory, so that nobody writes into it any more when it is removed.
    pub cluster: Cluster,
    _dir: TempDir,
}

/// Whether there is an etcd here. If not, it says so past libtest's capture, or fails if `BAZAAR_ETCD_REQUIRED` is set.
pub fn is_here(test: &str) -> bool {
    if cluster::program().is_some() {
        return true;
    }
    assert!(env::var_os("BAZAAR_ETCD_REQUIRED").is_none(), "etcd is required here, and is not in PATH");
    // libtest captures the output of the printing macros but not this.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: no etcd here");
    false
}

impl Etcd {
    /// A cluster of this many nodes; `None` where there is no etcd.
    pub async fn start(test: &str, nodes: usize) -> Option<Etcd> {
        Etcd::start_with(test, nodes, |_| {}).await
    }

    pub async fn start_with(test: &str, nodes: usize, change: impl FnOnce(&mut Plan)) -> Option<Etcd> {
        if !is_here(test) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let mut plan = Plan::new(dir.path().join("etcd"), nodes);
        change(&mut plan);
        let cluster = Cluster::start(plan, None).await.unwrap_or_else(|error| panic!("{error}"));
        Some(Etcd { cluster, _dir: dir })
    }

    /// Settings for this cluster. A single node has no other to turn to, but perhaps a slow disk.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(Endpoints::parse(self.cluster.endpoints()).unwrap());
        if self.cluster.endpoints().len() == 1 {
            settings.deadline = BOUND / 3;
        }
        settings
    }

    pub fn client(&self) -> Client {
        Client::new(&self.settings()).unwrap()
    }

    /// The node that leads.
    pub async fn leader(&self) -> usize {
        let client = self.client();
        eventually("a leader", async || {
            for node in 0..self.cluster.endpoints().len() {
                if let Ok(status) = client.status(node).await
                    && status.leader == Some(status.member)
                {
                    return Some(node);
                }
            }
            None
        })
        .await
    }
}

/// Waits until something is there, asking again and again, at most for [`BOUND`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let ends = Instant::now() + BOUND;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < ends, "not within {BOUND:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A key as it is now.
pub async fn get(client: &Client, key: &str) -> Option<KeyValue> {
    let range = Range::now(Keys::one(key));
    eventually("a read", async || client.range(range.clone()).await.ok()).await.items.pop()
}

/// The value of a key.
pub async fn value(client: &Client, key: &str) -> Option<String> {
    get(client, key).await.map(|kv| String::from_utf8(kv.value).unwrap())
}

/// The cluster's revision.
pub async fn revision(client: &Client) -> Revision {
    let range = Range::now(Keys::one("nothing"));
    eventually("a read", async || client.range(range.clone()).await.ok()).await.revision
}

/// The transaction that a log is appended with: if the head has this value, write the batch and the new head; otherwise
/// say what the head is.
pub fn append(head: Option<&str>, batch: &str, next: &str) -> Txn {
    let compare = match head {
        Some(head) => Compare::Value { key: b"head".to_vec(), value: head.into() },
        None => Compare::Absent { key: b"head".to_vec() },
    };
    let put = |key: String, value: &str| Op::Put { key: key.into_bytes(), value: value.into() };
    Txn {
        compare: vec![compare],
        then: vec![put(format!("batch/{next}"), batch), put("head".to_owned(), next)],
        otherwise: vec![Op::Get(Keys::one("head"))],
    }
}
