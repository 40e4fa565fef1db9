//! The peers that a process hosts, as its listener and its links know them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bazaar_protocol::{
    id::{Incarnation, Life, PeerId},
    input::Input,
    message::Envelope,
};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::network::{
    ceiling,
    door::Door,
    hello::{Purpose, Refusal},
    refusals::{Reason, Refusals},
    service::{Gone, Hand, HandRefusal, PeerStatus},
    task::lock,
};

/// The most envelopes that are delivered together. A receiver takes all of them or none.
pub(crate) const MAX_BATCH: usize = 64;

/// What a tool wants of a hosted peer. Its driver answers when it gets to it.
#[derive(Debug)]
pub enum Request {
    /// "How is your peer?"
    Status(oneshot::Sender<PeerStatus>),
    /// "Cut its link to this neighbour, until it is healed."
    Cut {
        /// The neighbour.
        to: PeerId,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), HandRefusal>>,
    },
    /// "Heal all of its links that were cut." The answer are the neighbours to which they lead.
    Heal(oneshot::Sender<Vec<PeerId>>),
    /// "Give the office back."
    Resign(oneshot::Sender<Result<(), HandRefusal>>),
    /// "Write down that this was done to your process."
    Hand {
        /// What was done.
        hand: Hand,
        /// Answered once it is in the log.
        answer: oneshot::Sender<()>,
    },
}

/// What a driver provides so that its peer can be reached.
#[derive(Debug)]
pub struct HostedPeer {
    /// The peer's life. Its incarnation must be durable: a link's hello is something the peer sends (DESIGN R7).
    pub life: Life,
    /// The peers it has links to.
    pub neighbours: BTreeSet<PeerId>,
    /// Where to put [`Input::Received`], [`Input::LinkUp`] and [`Input::LinkDown`]. The driver must keep draining it;
    /// when it is full, neighbours wait.
    pub inbox: mpsc::Sender<Input>,
    /// Where tools' requests go.
    pub requests: mpsc::Sender<Request>,
}

/// Why a process does not host a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// It hosts this peer already. Drop its former [`Links`](crate::network::link::Links) first.
    #[error("peer {0} is already hosted here")]
    AlreadyHosted(PeerId),
}

/// What the listener and all links of a process share.
#[derive(Debug)]
pub(crate) struct HostedPeers {
    pub(crate) door: Door,
    peers: Mutex<BTreeMap<PeerId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    life: Life,
    inbox: mpsc::Sender<Input>,
    requests: mpsc::Sender<Request>,
    neighbours: BTreeMap<PeerId, Neighbour>,
}

#[derive(Debug, Default)]
struct Neighbour {
    /// The latest life that has connected.
    latest: Incarnation,
    /// Dropping this ends its connection: a neighbour that connects again has given up the former one.
    connection: Option<oneshot::Sender<()>>,
    /// Notified when it connects or is hosted here.
    came: Arc<Notify>,
}

/// Where a neighbour is, as far as this process knows.
#[derive(Debug)]
pub(crate) enum Hosted {
    Here(mpsc::Sender<Input>),
    NotNeighbours,
    Elsewhere,
}

impl HostedPeers {
    pub(crate) fn new(door: Door) -> HostedPeers {
        HostedPeers { door, peers: Mutex::default() }
    }

    /// Adds a peer to those hosted here.
    ///
    /// # Errors
    /// When it is already hosted here.
    pub(crate) fn insert(&self, peer: &HostedPeer) -> Result<(), HostError> {
        let HostedPeer { life, neighbours, inbox, requests } = peer;
        let mut peers = lock(&self.peers);
        if peers.contains_key(&life.peer) {
            return Err(HostError::AlreadyHosted(life.peer));
        }
        // Hosted neighbours that look for it need not wait for their next attempt.
        for other in peers.values() {
            other.neighbours.get(&life.peer).inspect(|neighbour| neighbour.came.notify_one());
        }
        let neighbours = neighbours.iter().map(|id| (*id, Neighbour::default())).collect();
        let entry = Entry { life: *life, inbox: inbox.clone(), requests: requests.clone(), neighbours };
        peers.insert(life.peer, entry);
        Ok(())
    }

    pub(crate) fn hosted(&self, peer: PeerId, seeker: PeerId) -> Hosted {
        match lock(&self.peers).get(&peer) {
            Some(entry) if entry.neighbours.contains_key(&seeker) => Hosted::Here(entry.inbox.clone()),
            Some(_) => Hosted::NotNeighbours,
            None => Hosted::Elsewhere,
        }
    }

    /// Waits until `neighbour` connects to `peer`, which is hosted here, or is hosted here itself.
    pub(crate) async fn neighbour_came(&self, peer: PeerId, neighbour: PeerId) {
        let door = |entry: &Entry| entry.neighbours.get(&neighbour).map(|door| Arc::clone(&door.came));
        let came = lock(&self.peers).get(&peer).and_then(door);
        match came {
            Some(came) => came.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The latest life of `neighbour` that has connected to `peer`, which is hosted here; 0 if none has.
    pub(crate) fn latest(&self, peer: PeerId, neighbour: PeerId) -> Incarnation {
        let peers = lock(&self.peers);
        peers.get(&peer).and_then(|entry| entry.neighbours.get(&neighbour)).map_or(Incarnation(0), |door| door.latest)
    }

    pub(crate) fn remove(&self, life: Life) {
        let mut peers = lock(&self.peers);
        if peers.get(&life.peer).is_some_and(|entry| entry.life == life) {
            peers.remove(&life.peer);
        }
    }

    /// Decides whether to let in a connector that knows the key.
    pub(crate) fn admit(&self, purpose: Purpose) -> Result<Admitted, Refusal> {
        match purpose {
            Purpose::Tool => Ok(Admitted::Tool),
            Purpose::Ledger { .. } => {
                let this = "a process of peers".to_owned();
                Err(Refusal::WrongDoor { wanted: "the ledger".to_owned(), this })
            }
            Purpose::Link { from, to } => {
                let mut peers = lock(&self.peers);
                let entry = peers.get_mut(&to).ok_or(Refusal::NotHere(to))?;
                let stranger = Refusal::NotNeighbours { from: from.peer, to };
                let neighbour = entry.neighbours.get_mut(&from.peer).ok_or(stranger)?;
                if from.incarnation < neighbour.latest {
                    return Err(Refusal::OldLife { latest: neighbour.latest });
                }
                let (connection, replaced) = oneshot::channel();
                neighbour.latest = from.incarnation;
                neighbour.connection = Some(connection);
                neighbour.came.notify_one();
                Ok(Admitted::Link { from: from.peer, inbox: entry.inbox.clone(), replaced })
            }
        }
    }

    /// Where requests to a peer's driver go; `None` if it is not hosted here.
    pub(crate) fn requests_to(&self, peer: PeerId) -> Option<mpsc::Sender<Request>> {
        lock(&self.peers).get(&peer).map(|entry| entry.requests.clone())
    }

    /// The hosted peers above `after`, each with where requests to its driver go.
    pub(crate) fn hosted_after(&self, after: Option<PeerId>) -> Vec<(PeerId, mpsc::Sender<Request>)> {
        let peers = lock(&self.peers);
        let above = peers.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        above.map(|(id, entry)| (*id, entry.requests.clone())).collect()
    }
}

/// A connector that was let in.
#[derive(Debug)]
pub(crate) enum Admitted {
    Link { from: PeerId, inbox: mpsc::Sender<Input>, replaced: oneshot::Receiver<()> },
    Tool,
}

/// SPEC I8: every envelope is looked at here before it gets into a driver's inbox.
fn is_let_in(from: PeerId, envelope: &Envelope, refusals: &Refusals) -> bool {
    let above = ceiling::above(envelope.furthest());
    if let Some(reading) = &above {
        let detail = format_args!("an envelope of peer {} from peer {from}: {reading}", envelope.source);
        refusals.refuse(Reason::Implausible, detail);
    }
    above.is_none()
}

/// Puts an envelope from a neighbour into a driver's inbox if there is room at once; gives it back if not.
pub(crate) fn put_now(
    inbox: &mpsc::Sender<Input>,
    from: PeerId,
    envelope: Envelope,
    refusals: &Refusals,
) -> Option<Envelope> {
    let Ok(place) = inbox.try_reserve() else { return Some(envelope) };
    if is_let_in(from, &envelope, refusals) {
        place.send(Input::Received { from, envelope });
    }
    None
}

/// Puts envelopes from a neighbour into a driver's inbox, waiting for room. If this is dropped midway, all of a batch
/// has been handed over or none of it: there is room for all before the first goes in, and nothing waits in between. (A
/// batch beyond [`MAX_BATCH`] or the inbox's size, which no link sends, is split.)
pub(crate) async fn put(
    inbox: &mpsc::Sender<Input>,
    from: PeerId,
    mut envelopes: Vec<Envelope>,
    refusals: &Refusals,
) -> Result<(), Gone> {
    envelopes.retain(|envelope| is_let_in(from, envelope, refusals));
    if envelopes.is_empty() {
        // A driver that does not drain its inbox counts as absent.
        return inbox.reserve().await.map(drop).map_err(|_| Gone);
    }
    while !envelopes.is_empty() {
        let size = envelopes.len().min(MAX_BATCH).min(inbox.max_capacity());
        let places = inbox.reserve_many(size).await.map_err(|_| Gone)?;
        for (place, envelope) in places.zip(envelopes.drain(..size)) {
            place.send(Input::Received { from, envelope });
        }
    }
    Ok(())
}
