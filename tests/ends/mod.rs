//! What suites of connections within one process share: quick settings, credentials, and patience.
#![allow(dead_code)] // Each suite uses its share.

use std::time::Duration;

use bazaar_protocol::id::{Incarnation, Life, PeerId};
use bazaar_runtime::network::{
    hello::{Credentials, RunId, RunKey},
    settings::Settings,
};
use tokio::time::timeout;

/// Far more than anything here takes, so that a busy machine does not decide the outcome.
pub const SOON: Duration = Duration::from_secs(30);

/// How many peers the ledger's process is told that there are.
pub const PEERS: u32 = 8;

pub fn settings() -> Settings {
    Settings {
        keepalive: Duration::from_millis(100),
        silence: Duration::from_millis(600),
        handshake: Duration::from_millis(600),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        ..Settings::default()
    }
}

pub fn credentials() -> Credentials {
    Credentials { run: RunId(1), key: RunKey::from_bytes([1; 32]), tls: None }
}

pub fn life(peer: u32, incarnation: u32) -> Life {
    Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) }
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it did not happen")
}
