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
    door::{Door, Stranger},
    hello::Credentials,
    hosted::{Admitted, HostError, HostedPeer, HostedPeers, Request, put},
    link::Links,
    refusals::Refusals,
    service::{Gone, Hand, HandRefusal, HostInfo, HostTools, PeerInfo, PeerLink, PeerLinkRequest, PeerLinkResponse},
    settings::Settings,
    task::Task,
    wire::{Answerer, Wire, that_fit},
};

/// How long to wait for a driver to do what a tool asks.
const DRIVER_TIMEOUT: Duration = Duration::from_millis(500);

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
        let shared = Arc::new(HostedPeers::new(Door::new(credentials, settings)));
        let serving = Arc::clone(&shared);
        let listening = async move {
            let serve = |stranger| receive(Arc::clone(&serving), stranger);
            serving.door.accept_all(listener, serve).await;
        };
        Ok(Host { shared, address, _listening: Task::spawn(listening) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its process refuses; to be shared by all of it.
    #[must_use]
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.shared.door.refusals
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
    let introduced = shared.door.introduce(stranger, |purpose| shared.admit(purpose)).await;
    match introduced {
        Some((frames, purpose, Admitted::Link { from, inbox, replaced })) => {
            let wire = Wire::new(frames, purpose.to_string()).reporting_to(&shared.door.refusals);
            let refusals = Arc::clone(&shared.door.refusals);
            let listening = listen_to(wire, Inlet { from, inbox: inbox.clone(), refusals });
            tokio::select! {
                () = listening => {}
                _ = replaced => {}
                // The peer is gone; its neighbour must know at once.
                () = inbox.closed() => {}
            }
        }
        Some((frames, purpose, Admitted::Tool)) => {
            let wire = Wire::new(frames, purpose.to_string()).reporting_to(&shared.door.refusals);
            let channel = BaseChannel::with_defaults(wire);
            let calls = channel.execute(ToolDoor { shared }.serve());
            calls.for_each_concurrent(TOOL_CALLS, |call| call).await;
        }
        None => {}
    }
}

/// Takes what a neighbour delivers, one call after another. This keeps envelopes in order, and a neighbour that does
/// not wait for answers takes up no more room than one that does.
async fn listen_to(wire: Answerer<PeerLinkRequest, PeerLinkResponse>, inlet: Inlet) {
    let config = server::Config { pending_response_buffer: 4 };
    let channel = BaseChannel::new(config, wire);
    channel.execute(inlet.serve()).for_each(|call| call).await;
}

#[derive(Clone, Debug)]
struct Inlet {
    from: PeerId,
    inbox: mpsc::Sender<Input>,
    refusals: Arc<Refusals>,
}

impl PeerLink for Inlet {
    async fn deliver(self, _: context::Context, envelopes: Vec<Envelope>) -> Result<(), Gone> {
        put(&self.inbox, self.from, envelopes, &self.refusals).await
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
        let ask = |(id, driver): (PeerId, mpsc::Sender<Request>)| async move {
            match ask(&driver, Request::Status).await {
                Ok(status) => PeerInfo::Well(Box::new(status)),
                Err(_) => PeerInfo::NoAnswer(id),
            }
        };
        let peers = futures::future::join_all(peers.into_iter().map(ask)).await;
        let door = self.shared.door.status();
        let peers = that_fit(&door, peers);
        HostInfo { more: peers.len() < all, peers, door }
    }

    async fn cut(self, _: context::Context, of: PeerId, to: PeerId) -> Result<(), HandRefusal> {
        let driver = self.shared.requests_to(of).ok_or(HandRefusal::NotHere(of))?;
        ask(&driver, |answer| Request::Cut { to, answer }).await?
    }

    async fn heal(self, _: context::Context, of: PeerId) -> Result<Vec<PeerId>, HandRefusal> {
        let driver = self.shared.requests_to(of).ok_or(HandRefusal::NotHere(of))?;
        ask(&driver, Request::Heal).await
    }

    async fn resign(self, _: context::Context, of: PeerId) -> Result<(), HandRefusal> {
        let driver = self.shared.requests_to(of).ok_or(HandRefusal::NotHere(of))?;
        ask(&driver, Request::Resign).await?
    }

    async fn hand(self, _: context::Context, hand: Hand) {
        let drivers = self.shared.hosted_after(None);
        // It is done whether or not every driver can write it down.
        let told = drivers.iter().map(|(_, driver)| ask(driver, move |answer| Request::Hand { hand, answer }));
        futures::future::join_all(told).await;
    }
}

/// Gives a driver a request and waits for its answer, but not for long: it may hang.
async fn ask<T>(
    driver: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, HandRefusal> {
    let (tell, answer) = oneshot::channel();
    let asked = async {
        driver.send(request(tell)).await.ok()?;
        answer.await.ok()
    };
    timeout(DRIVER_TIMEOUT, asked).await.ok().flatten().ok_or(HandRefusal::NoAnswer)
}
