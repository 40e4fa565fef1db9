//! Connections for the tools that people use.

pub mod access;

use bazaar_protocol::id::PeerId;
use tarpc::client;
use tokio::net::ToSocketAddrs;

use crate::{
    network::{
        hello::{self, ConnectError, Credentials, Purpose},
        service::{HostToolsClient, LedgerToolsClient},
        settings::Settings,
        wire::Wire,
    },
    tls::Identity,
};

/// Opens a tool's connection to the ledger's process.
///
/// # Errors
/// See [`ConnectError`].
pub async fn ledger(
    address: impl ToSocketAddrs,
    credentials: &Credentials,
    settings: &Settings,
) -> Result<LedgerToolsClient, ConnectError> {
    let frames = hello::connect(address, credentials, Purpose::Tool, settings).await?;
    Ok(LedgerToolsClient::new(client::Config::default(), Wire::new(frames, "the ledger")).spawn())
}

/// Opens a tool's connection to the process that hosts a peer.
///
/// # Errors
/// See [`ConnectError`].
pub async fn host(
    peer: PeerId,
    address: impl ToSocketAddrs,
    credentials: &Credentials,
    settings: &Settings,
) -> Result<HostToolsClient, ConnectError> {
    let frames = hello::connect_to(Identity::Peer(peer), address, credentials, Purpose::Tool, settings).await?;
    Ok(HostToolsClient::new(client::Config::default(), Wire::new(frames, "the peer's process")).spawn())
}
