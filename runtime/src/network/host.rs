//! A process that hosts peers: what comes in. One listener serves all of its peers and the tools that look at them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bazaar_protocol::{
    id::{Incarnation, Life, PeerId},
    input::Input,
    message::Envelope,
};
use futures::StreamExt;
use tarpc::{
    context,
    server::{self, BaseChannel, Channel},
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use crate::network::{
    directory::Addresses,
    hello::{self, Credentials, Purpose, Refusal, Stranger},
    link::{self, Links},
    service::{Gone, HostInfo, HostTools, PeerInfo, PeerLink, PeerStatus},
    settings::Settings,
    task::{Task, lock},
    wire::{Frames, Wire, that_fit},
};

/// How long a tool waits for a driver to say how its peer is.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

/// How many calls of one tool are dealt with at the same time.
const TOOL_CALLS: usize = 4;

/// "How is your peer?" The driver answers when it comes to it.
pub type StatusRequest = oneshot::Sender<PeerStatus>;

/// What a driver gives for its peer to be reached.
#[derive(Debug)]
pub struct Resident {
    /// The peer's life. Its incarnation is durable: a link's hello is something the peer sends (DESIGN R7).
    pub life: Life,
    /// Whom it has links to.
    pub neighbours: BTreeSet<PeerId>,
    /// Where to put [`Input::Received`], [`Input::LinkUp`] and [`Input::LinkDown`]. The driver must keep draining it; when it
    /// is full, neighbours wait.
    pub inbox: mpsc::Sender<Input>,
    /// Where tools ask how the peer is.
    pub status: mpsc::Sender<StatusRequest>,
}

/// Why a peer cannot move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// It is here already. Drop its former [`Links`] first.
    #[error("peer {0} is hosted here already")]
    AlreadyHosted(PeerId),
}

/// The network side of a process that hosts peers. Dropping it closes the listener and everything that came in.
#[derive(Debug)]
pub struct Host {
    shared: Arc<Shared>,
    address: SocketAddr,
    _listening: Task,
}

impl Host {
    /// Listens. Port 0 takes any that is free; see [`Host::address`].
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(address: impl ToSocketAddrs, credentials: Credentials, settings: Settings) -> io::Result<Host> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { credentials, settings, residents: Mutex::default() });
        let serving = Arc::clone(&shared);
        let serve = move |stranger| receive(Arc::clone(&serving), stranger);
        Ok(Host { shared, address, _listening: Task::spawn(hello::accept_all(listener, settings, serve)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a peer move in: from now on its neighbours are let through to it, and its own links are kept alive.
    /// `addresses` says where the neighbours live.
    ///
    /// # Errors
    /// When it is here already.
    pub fn settle(&self, resident: Resident, addresses: &Arc<dyn Addresses>) -> Result<Links, HostError> {
        let Resident { life, neighbours, inbox, status } = resident;
        let mut residents = lock(&self.shared.residents);
        if residents.contains_key(&life.peer) {
            return Err(HostError::AlreadyHosted(life.peer));
        }
        // Those here that look for it need not wait for their next attempt.
        for other in residents.values() {
            other.neighbours.get(&life.peer).inspect(|neighbour| neighbour.came.notify_one());
        }
        let doors = neighbours.iter().map(|id| (*id, Neighbour::default())).collect();
        residents.insert(life.peer, Residence { life, inbox: inbox.clone(), status, neighbours: doors });
        drop(residents);
        Ok(Links::open(&self.shared, life, &neighbours, &inbox, addresses))
    }
}

/// What the listener and all links of a process know together.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) credentials: Credentials,
    pub(crate) settings: Settings,
    residents: Mutex<BTreeMap<PeerId, Residence>>,
}

#[derive(Debug)]
struct Residence {
    life: Life,
    inbox: mpsc::Sender<Input>,
    status: mpsc::Sender<StatusRequest>,
    neighbours: BTreeMap<PeerId, Neighbour>,
}

#[derive(Debug, Default)]
struct Neighbour {
    /// The latest life that has connected.
    latest: Incarnation,
    /// Its connection. It ends when this is dropped: a neighbour that connects again has given up the former one.
    connection: Option<oneshot::Sender<()>>,
    /// It has just connected.
    came: Arc<Notify>,
}

/// Where a neighbour is, as this process knows it.
#[derive(Debug)]
pub(crate) enum Hosted {
    Here(mpsc::Sender<Input>),
    NotNeighbours,
    Elsewhere,
}

impl Shared {
    pub(crate) fn hosted(&self, peer: PeerId, seeker: PeerId) -> Hosted {
        match lock(&self.residents).get(&peer) {
            Some(residence) if residence.neighbours.contains_key(&seeker) => Hosted::Here(residence.inbox.clone()),
            Some(_) => Hosted::NotNeighbours,
            None => Hosted::Elsewhere,
        }
    }

    /// Waits until a neighbour connects to a peer that is hosted here, or moves in.
    pub(crate) async fn neighbour_came(&self, peer: PeerId, neighbour: PeerId) {
        let door = |residence: &Residence| residence.neighbours.get(&neighbour).map(|door| Arc::clone(&door.came));
        let came = lock(&self.residents).get(&peer).and_then(door);
        match came {
            Some(came) => came.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn remove(&self, life: Life) {
        let mut residents = lock(&self.residents);
        if residents.get(&life.peer).is_some_and(|residence| residence.life == life) {
            residents.remove(&life.peer);
        }
    }

    /// Decides about a connector that knows the key.
    fn admit(&self, purpose: Purpose) -> Result<Admitted, Refusal> {
        match purpose {
            Purpose::Tool => Ok(Admitted::Tool),
            Purpose::Ledger { .. } => {
                let this = "a process of peers".to_owned();
                Err(Refusal::WrongDoor { wanted: "the ledger".to_owned(), this })
            }
            Purpose::Link { from, to } => {
                let mut residents = lock(&self.residents);
                let residence = residents.get_mut(&to).ok_or(Refusal::NotHere(to))?;
                let stranger = Refusal::NotNeighbours { from: from.peer, to };
                let neighbour = residence.neighbours.get_mut(&from.peer).ok_or(stranger)?;
                if from.incarnation < neighbour.latest {
                    return Err(Refusal::OldLife { latest: neighbour.latest });
                }
                let (connection, replaced) = oneshot::channel();
                neighbour.latest = from.incarnation;
                neighbour.connection = Some(connection);
                neighbour.came.notify_one();
                Ok(Admitted::Link { from: from.peer, inbox: residence.inbox.clone(), replaced })
            }
        }
    }

    /// Hosted peers above `after`, with where to ask how they are.
    fn residents_after(&self, after: Option<PeerId>) -> Vec<(PeerId, mpsc::Sender<StatusRequest>)> {
        let residents = lock(&self.residents);
        let above = residents.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        above.map(|(id, residence)| (*id, residence.status.clone())).collect()
    }
}

#[derive(Debug)]
enum Admitted {
    Link { from: PeerId, inbox: mpsc::Sender<Input>, replaced: oneshot::Receiver<()> },
    Tool,
}

async fn receive(shared: Arc<Shared>, stranger: Stranger) {
    let introduced =
        stranger.introduce_itself(&shared.credentials, &shared.settings, |purpose| shared.admit(purpose)).await;
    match introduced {
        Some((frames, purpose, Admitted::Link { from, inbox, replaced })) => {
            let listening = listen_to(frames, purpose, Inlet { from, inbox: inbox.clone() });
            tokio::select! {
                () = listening => {}
                _ = replaced => {}
                // The peer has gone; its neighbour shall know at once.
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

/// Takes what a neighbour delivers, one call after the other: so envelopes stay in order, and a neighbour that does not
/// wait for answers takes no more room than one that does.
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
        link::put(&self.inbox, self.from, envelopes).await
    }
}

#[derive(Clone, Debug)]
struct ToolDoor {
    shared: Arc<Shared>,
}

impl HostTools for ToolDoor {
    async fn status(self, _: context::Context, after: Option<PeerId>) -> HostInfo {
        let residents = self.shared.residents_after(after);
        let all = residents.len();
        let ask = |(id, status): (PeerId, mpsc::Sender<StatusRequest>)| async move {
            let (request, answer) = oneshot::channel();
            // A full channel: the driver has not come to the last requests yet.
            if status.try_send(request).is_err() {
                return PeerInfo::NoAnswer(id);
            }
            match timeout(STATUS_PATIENCE, answer).await {
                Ok(Ok(status)) => PeerInfo::Well(Box::new(status)),
                Ok(Err(_)) | Err(_) => PeerInfo::NoAnswer(id),
            }
        };
        let peers = that_fit(futures::future::join_all(residents.into_iter().map(ask)).await);
        HostInfo { more: peers.len() < all, peers }
    }
}
