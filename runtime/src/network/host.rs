//! The incoming side of a process that hosts peers. One listener serves all of its peers and the tools that inspect
//! them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bazaar_protocol::{id::PeerId, input::Input, message::Envelope};
use futures::StreamExt;
use tarpc::{
    context,
    server::{self, BaseChannel, Channel},
};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::network::{
    directory::Addresses,
    hello::{self, Credentials, Purpose, Stranger},
    hosted::{Admitted, HostError, HostedPeer, HostedPeers, StatusRequest, put},
    link::Links,
    service::{Gone, HostInfo, HostTools, PeerInfo, PeerLink},
    settings::Settings,
    task::Task,
    wire::{Frames, Wire, that_fit},
};

/// How long to wait for a driver to report its peer's status to a tool.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// How many calls of one tool are handled at the same time.
const TOOL_CALLS: usize = 4;

/// The network side of a process that hosts peers. Dropping it closes the listener and all incoming connections.
#[derive(Debug)]
pub struct Host {
    shared: Arc<HostedPeers>,
    address: SocketAddr,
    _listening: Task,
}

impl Host {
    /// Starts to listen. Port 0 takes any free port; see [`Host::address`].
    ///
    /// # Errors
    /// When it cannot listen on the address.
    pub async fn listen(address: impl ToSocketAddrs, credentials: Credentials, settings: Settings) -> io::Result<Host> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(HostedPeers::new(credentials, settings));
        let serving = Arc::clone(&shared);
        let serve = move |stranger| receive(Arc::clone(&serving), stranger);
        Ok(Host { shared, address, _listening: Task::spawn(hello::accept_all(listener, settings, serve)) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hosts a peer: from now on its neighbours can connect to it, and its own links are kept alive. `addresses` tells
    /// where its neighbours can be reached.
    ///
    /// # Errors
    /// When the peer is already hosted here.
    pub fn settle(&self, peer: HostedPeer, addresses: &Arc<dyn Addresses>) -> Result<Links, HostError> {
        self.shared.insert(&peer)?;
        let HostedPeer { life, neighbours, inbox, .. } = peer;
        Ok(Links::open(&self.shared, life, &neighbours, &inbox, addresses))
    }
}

async fn receive(shared: Arc<HostedPeers>, stranger: Stranger) {
    let introduced =
        stranger.introduce_itself(&shared.credentials, &shared.settings, |purpose| shared.admit(purpose)).await;
    match introduced {
        Some((frames, purpose, Admitted::Link { from, inbox, replaced })) => {
            let listening = listen_to(frames, purpose, Inlet { from, inbox: inbox.clone() });
            tokio::select! {
                () = listening => {}
                _ = replaced => {}
                // The peer is gone; its neighbour must know at once.
                () = inbox.closed() => {}
            }
        }
        Some((frames, purpose, Admitted::Tool)) => {
            let channel = BaseChannel::with_defaults(Wire::new(frames, purpose.to_string()));
            let calls = channel.execute(ToolDoor { shared }.serve());
            calls.for_each_concurrent(TOOL_CALLS, |call| call).await;
        }
        None => {}
    }
}

/// Takes what a neighbour delivers, one call after another. This keeps envelopes in order, and a neighbour that does
/// not wait for answers takes up no more room than one that does.
async fn listen_to(frames: Frames, purpose: Purpose, inlet: Inlet) {
    let config = server::Config { pending_response_buffer: 4 };
    let channel = BaseChannel::new(config, Wire::new(frames, purpose.to_string()));
    channel.execute(inlet.serve()).for_each(|call| call).await;
}

#[derive(Clone, Debug)]
struct Inlet {
    from: PeerId,
    inbox: mpsc::Sender<Input>,
}

impl PeerLink for Inlet {
    async fn deliver(self, _: context::Context, envelopes: Vec<Envelope>) -> Result<(), Gone> {
        put(&self.inbox, self.from, envelopes).await
    }
}

#[derive(Clone, Debug)]
struct ToolDoor {
    shared: Arc<HostedPeers>,
}

impl HostTools for ToolDoor {
    async fn status(self, _: context::Context, after: Option<PeerId>) -> HostInfo {
        let peers = self.shared.hosted_after(after);
        let all = peers.len();
        let ask = |(id, status): (PeerId, mpsc::Sender<StatusRequest>)| async move {
            let (request, answer) = oneshot::channel();
            // The channel is full: the driver has not got to the last requests yet.
            if status.try_send(request).is_err() {
                return PeerInfo::NoAnswer(id);
            }
            match timeout(STATUS_TIMEOUT, answer).await {
                Ok(Ok(status)) => PeerInfo::Well(Box::new(status)),
                Ok(Err(_)) | Err(_) => PeerInfo::NoAnswer(id),
            }
        };
        let peers = that_fit(futures::future::join_all(peers.into_iter().map(ask)).await);
        HostInfo { more: peers.len() < all, peers }
    }
}
