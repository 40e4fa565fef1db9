//! A peer's links to its neighbours: the outgoing side.
//!
//! Each pair of neighbours has two connections, one in each direction, and each peer keeps its own alive. At A, "the
//! link to B is up" therefore means that A's connection to B is open and B answers over it.
//!
//! The driver waits for nothing here: [`Links::send`] only puts an envelope into a bounded queue, and what does not fit
//! is dropped and counted. A neighbour whose inbox is full does not answer; its sender's queue fills up and drops. Two
//! peers that flood each other therefore lose envelopes but never block each other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bazaar_protocol::{
    id::{Incarnation, Life, PeerId},
    input::Input,
    message::{Body, Envelope, Route},
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tarpc::client;
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    network::{
        directory::{Addresses, Unavailable},
        hello::{self, ConnectError, Purpose},
        hosted::{Hosted, HostedPeers, MAX_BATCH, put, put_now},
        refusals::Refusals,
        service::{HandRefusal, LinkCounts, LinkStatus, PeerLinkClient, within},
        settings::Backoff,
        task::{Task, lock},
        wire::{self, Frames, MAX_BODY, Wire},
    },
    system::output::complain,
};

/// Carries a peer's envelopes to its neighbours. The driver hands every
/// [`Effect::Send`](bazaar_protocol::effect::Effect::Send) to one of these, so this is where a nemesis can step in.
pub trait Outbound: Send + Sync {
    /// Takes an envelope for a neighbour. It may be lost, duplicated or late; this neither waits nor fails.
    fn send(&self, to: PeerId, envelope: Envelope);
}

/// The links of one hosted peer. Dropping them takes the peer off the host: nothing more goes out or comes in.
#[derive(Debug)]
pub struct Links {
    life: Life,
    links: BTreeMap<PeerId, (Arc<Outbox>, Task)>,
    shared: Arc<HostedPeers>,
}

impl Links {
    pub(crate) fn open(
        shared: &Arc<HostedPeers>,
        life: Life,
        neighbours: &BTreeSet<PeerId>,
        inbox: &mpsc::Sender<Input>,
        addresses: &Arc<dyn Addresses>,
    ) -> Links {
        let link = |to: &PeerId| {
            let outbox = Arc::new(Outbox::new(shared.door.settings.queue));
            let link = Link {
                from: life,
                to: *to,
                outbox: Arc::clone(&outbox),
                inbox: inbox.clone(),
                addresses: Arc::clone(addresses),
                shared: Arc::clone(shared),
                last_address: None,
            };
            (*to, (outbox, Task::spawn(link.run())))
        };
        Links { life, links: neighbours.iter().map(link).collect(), shared: Arc::clone(shared) }
    }

    /// Cuts the link to a neighbour, until [`Links::heal`]. Says whether it was whole before.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn cut(&self, to: PeerId) -> Result<bool, HandRefusal> {
        let (outbox, _) = self.links.get(&to).ok_or(HandRefusal::NotNeighbours)?;
        Ok(outbox.cut.send_if_modified(|cut| !std::mem::replace(cut, true)))
    }

    /// Heals all links that were cut, and returns to whom they lead.
    #[must_use]
    pub fn heal(&self) -> Vec<PeerId> {
        let is_healed = |outbox: &Outbox| outbox.cut.send_if_modified(std::mem::take);
        self.links.iter().filter(|(_, (outbox, _))| is_healed(outbox)).map(|(to, _)| *to).collect()
    }

    /// The status of each link, in order of the neighbours' ids.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let life = |neighbour| self.shared.latest(self.life.peer, neighbour);
        self.links.iter().map(|(neighbour, (outbox, _))| outbox.status(*neighbour, life(*neighbour))).collect()
    }
}

impl Outbound for Links {
    fn send(&self, to: PeerId, envelope: Envelope) {
        match self.links.get(&to) {
            Some((outbox, _)) => outbox.push(self.life.peer, envelope, &self.shared.door.refusals),
            // SPEC A2: there is no link to anybody else, and none is opened.
            None => tracing::error!(from = %self.life.peer, %to, "an envelope for a peer that is not a neighbour"),
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.shared.remove(self.life);
    }
}

/// The envelopes that wait for a link.
#[derive(Debug)]
struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    /// Whether the link was cut by hand.
    cut: watch::Sender<bool>,
}

impl Outbox {
    fn new(room: usize) -> Outbox {
        let queue = Mutex::new(Queue { room, ..Queue::default() });
        Outbox { queue, filled: Notify::new(), cut: watch::Sender::new(false) }
    }

    fn push(&self, from: PeerId, envelope: Envelope, refusals: &Refusals) {
        let mut queue = lock(&self.queue);
        queue.count(&envelope);
        let envelope = match *self.cut.borrow() {
            true => envelope,
            false => match queue.hand_over_at_once(from, envelope, refusals) {
                Some(envelope) => envelope,
                None => return,
            },
        };
        queue.push(envelope);
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until the link is cut, or whole again.
    async fn becomes(&self, cut: bool) {
        // The sender lives as long as the outbox, so this does not fail.
        let _ = self.cut.subscribe().wait_for(|now| *now == cut).await;
    }

    fn status(&self, neighbour: PeerId, life: Incarnation) -> LinkStatus {
        let queue = lock(&self.queue);
        let waiting = u32::try_from(queue.waiting.len()).unwrap_or(u32::MAX);
        LinkStatus { neighbour, life, up: queue.up, cut: *self.cut.borrow(), waiting, counts: queue.counts }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Envelope>,
    room: usize,
    up: bool,
    counts: LinkCounts,
    /// The neighbour's inbox while the link is up, if it is hosted by this process.
    neighbour: Option<mpsc::Sender<Input>>,
    /// Whether some have been taken out and wait for room in that inbox. Others must not overtake them.
    is_handing_over: bool,
}

impl Queue {
    fn count(&mut self, envelope: &Envelope) {
        self.counts.given += 1;
        self.counts.clocks += u64::from(envelope.body == Body::Clock);
        self.counts.flooded += u64::from(matches!(envelope.route, Route::Flood { to: Some(_), .. }));
        self.counts.elections += u64::from(matches!(envelope.body, Body::Election(_)));
    }

    /// Gives an envelope to a neighbour in this process, if there is room and none waits before it; gives it back if not.
    fn hand_over_at_once(&mut self, from: PeerId, envelope: Envelope, refusals: &Refusals) -> Option<Envelope> {
        let neighbour = self.neighbour.as_ref().filter(|_| self.waiting.is_empty() && !self.is_handing_over);
        let Some(neighbour) = neighbour else { return Some(envelope) };
        let left = put_now(neighbour, from, envelope, refusals);
        self.counts.delivered += u64::from(left.is_none());
        left
    }

    fn push(&mut self, envelope: Envelope) {
        if !self.up {
            self.counts.lost += 1;
            return;
        }
        // SPEC C2: a link never has two clocks waiting.
        if let Some(older) = self.waiting.iter().position(|other| envelope.supersedes(other)) {
            self.waiting.remove(older);
            self.counts.superseded += 1;
        }
        if self.waiting.len() < self.room {
            self.waiting.push_back(envelope);
        } else {
            self.counts.overflowed += 1;
        }
    }

    /// What goes out next: as many envelopes as fit a frame, at least one; `None` when nothing waits.
    fn pop_batch(&mut self) -> Option<Vec<Envelope>> {
        let mut batch = Vec::new();
        let mut room = MAX_BODY;
        while let Some(next) = self.waiting.front() {
            let size = wire::size_of(next);
            if size > MAX_BODY {
                tracing::error!("an envelope of {size} bytes does not fit a frame; it is dropped");
                self.waiting.pop_front();
                self.counts.oversized += 1;
                continue;
            }
            if batch.len() == MAX_BATCH || size > room {
                break;
            }
            room -= size;
            batch.extend(self.waiting.pop_front());
        }
        if batch.is_empty() { None } else { Some(batch) }
    }

    fn open(&mut self, way: &Way) {
        self.up = true;
        self.neighbour = match way {
            Way::Inbox(inbox) => Some(inbox.clone()),
            Way::Connection(_) => None,
        };
    }

    /// The link is down: what waits is lost. The overlay's floods go around it.
    fn close(&mut self) {
        self.up = false;
        self.neighbour = None;
        self.counts.lost += self.waiting.len() as u64;
        self.waiting = VecDeque::new();
    }
}

/// Why a link cannot be opened. The link tries again.
#[derive(Debug, Error)]
enum OpenError {
    #[error("peer {0} has not registered")]
    Unknown(PeerId),
    #[error(transparent)]
    Directory(#[from] Unavailable),
    #[error("{address}: {error}")]
    Connect { address: String, error: ConnectError },
    #[error("peers {0} and {1} are not neighbours")]
    NotNeighbours(PeerId, PeerId),
}

impl OpenError {
    /// Whether somebody has to do something about it. Nobody has to where another member is at the address: the peer
    /// has stopped, or its port was used again, and the directory knows more once the peer is back.
    fn is_about_certificates(&self) -> bool {
        match self {
            OpenError::Connect { error, .. } => error.is_about_certificates() && !error.is_another_member(),
            OpenError::Unknown(_) | OpenError::Directory(_) | OpenError::NotNeighbours(..) => false,
        }
    }
}

/// Why a link went down.
#[derive(Debug, Error)]
enum Down {
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the neighbour is gone")]
    Gone,
    #[error("cut by hand")]
    Cut,
}

/// How a neighbour is reached while the link is up.
#[derive(Debug)]
enum Way {
    /// It is hosted by another process.
    Connection(Frames),
    /// It is hosted by this process.
    Inbox(mpsc::Sender<Input>),
}

#[derive(Debug)]
struct Link {
    from: Life,
    to: PeerId,
    outbox: Arc<Outbox>,
    inbox: mpsc::Sender<Input>,
    addresses: Arc<dyn Addresses>,
    shared: Arc<HostedPeers>,
    last_address: Option<String>,
}

impl std::fmt::Debug for dyn Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Addresses")
    }
}

impl Link {
    /// Keeps the link alive until the driver's inbox is closed.
    async fn run(mut self) {
        let (me, to) = (self.from.peer, self.to);
        let settings = self.shared.door.settings;
        let mut backoff = Backoff::new(&settings);
        let mut complaint = String::new();
        loop {
            tokio::select! {
                () = self.outbox.becomes(false) => {}
                () = self.inbox.closed() => return,
            }
            match self.open().await {
                Ok(way) => {
                    complaint.clear();
                    tracing::debug!(%me, %to, "link up");
                    lock(&self.outbox.queue).open(&way);
                    if self.inbox.send(Input::LinkUp(to)).await.is_err() {
                        return;
                    }
                    let why = match way {
                        Way::Connection(frames) => self.carry(frames, &mut backoff).await,
                        Way::Inbox(inbox) => {
                            let before = lock(&self.outbox.queue).counts.delivered;
                            let why = self.hand_over(&inbox).await;
                            if lock(&self.outbox.queue).counts.delivered > before {
                                backoff.reset();
                            }
                            why
                        }
                    };
                    tracing::debug!(%me, %to, "link down: {why}");
                    lock(&self.outbox.queue).close();
                    if self.inbox.send(Input::LinkDown(to)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Once per reason, since attempts repeat.
                    let text = error.to_string();
                    if text != complaint {
                        if error.is_about_certificates() {
                            tracing::warn!(%me, %to, "no link: {text}");
                            complain(&format!("warning: peer {me} has no link to peer {to}: {text}"));
                        } else {
                            tracing::debug!(%me, %to, "no link: {text}");
                        }
                        complaint = text;
                    }
                }
            }
            tokio::select! {
                () = sleep(backoff.wait()) => {}
                // The neighbour has just connected to us: it is there.
                () = self.shared.neighbour_came(self.from.peer, to) => {}
                () = self.inbox.closed() => return,
            }
        }
    }

    async fn open(&mut self) -> Result<Way, OpenError> {
        match self.shared.hosted(self.to, self.from.peer) {
            Hosted::Here(inbox) => return Ok(Way::Inbox(inbox)),
            Hosted::NotNeighbours => return Err(OpenError::NotNeighbours(self.from.peer, self.to)),
            Hosted::Elsewhere => {}
        }
        let settings = &self.shared.door.settings;
        let address = match self.addresses.address(self.to, self.from.peer).await {
            Ok(Some(address)) => address,
            Ok(None) => return Err(OpenError::Unknown(self.to)),
            // The ledger cannot be reached; the neighbour may still be where it was.
            Err(unavailable) => self.last_address.clone().ok_or(unavailable)?,
        };
        let purpose = Purpose::Link { from: self.from, to: self.to };
        match hello::connect(&address, &self.shared.door.credentials, purpose, settings).await {
            Ok(frames) => {
                self.last_address = Some(address);
                Ok(Way::Connection(frames))
            }
            Err(error) => Err(OpenError::Connect { address, error }),
        }
    }

    /// Carries envelopes over a connection until it no longer works. Only a few deliveries are under way at a time;
    /// envelopes that arrive meanwhile go out together in the next one.
    async fn carry(&self, frames: Frames, backoff: &mut Backoff) -> Down {
        let settings = &self.shared.door.settings;
        let answer_timeout = settings.answer_timeout();
        let wire = Wire::new(frames, format!("peer {}", self.to)).reporting_to(&self.shared.door.refusals);
        let connection = PeerLinkClient::new(client::Config::default(), wire);
        let client = connection.client;
        let mut dispatch = pin!(connection.dispatch);
        let mut under_way = FuturesUnordered::new();
        let mut idle = pin!(sleep_until(Instant::now() + settings.keepalive));
        let mut cut = pin!(self.outbox.becomes(true));
        let deliver = |batch: Vec<Envelope>| {
            let size = batch.len() as u64;
            // The library's own deadline is later than ours, since it would abort the other side's handler.
            let call = client.deliver(within(answer_timeout * 4), batch);
            timeout(answer_timeout, call).map(move |answer| (answer, size)).boxed()
        };
        let mut on_the_way = 0;
        let why = loop {
            while under_way.len() < settings.window.max(1) {
                let Some(batch) = lock(&self.outbox.queue).pop_batch() else { break };
                on_the_way += batch.len() as u64;
                under_way.push(deliver(batch));
            }
            tokio::select! {
                ended = &mut dispatch => break match ended {
                    Ok(()) => Down::Closed,
                    Err(error) => Down::Broken(error.to_string()),
                },
                Some((answer, size)) = under_way.next() => match answer {
                    Ok(Ok(Ok(()))) => {
                        on_the_way -= size;
                        lock(&self.outbox.queue).counts.delivered += size;
                        backoff.reset();
                        idle.as_mut().reset(Instant::now() + settings.keepalive);
                    }
                    Ok(Ok(Err(_gone))) => break Down::Gone,
                    Ok(Err(client::RpcError::Shutdown)) => break Down::Closed,
                    Ok(Err(error)) => break Down::Broken(error.to_string()),
                    Err(_elapsed) => break Down::Silent(answer_timeout),
                },
                () = self.outbox.filled.notified(), if under_way.len() < settings.window.max(1) => {}
                () = &mut idle, if under_way.is_empty() => under_way.push(deliver(Vec::new())),
                () = &mut cut => break Down::Cut,
                () = self.inbox.closed() => break Down::Gone,
            }
        };
        lock(&self.outbox.queue).counts.lost += on_the_way;
        why
    }

    /// Carries to a neighbour in the same process what could not be handed over at once.
    async fn hand_over(&self, neighbour: &mpsc::Sender<Input>) -> Down {
        let answer_timeout = self.shared.door.settings.answer_timeout();
        loop {
            if *self.outbox.cut.borrow() {
                return Down::Cut;
            }
            let batch = {
                let mut queue = lock(&self.outbox.queue);
                let batch = queue.pop_batch();
                queue.is_handing_over = batch.is_some();
                batch
            };
            let Some(batch) = batch else {
                tokio::select! {
                    () = self.outbox.filled.notified() => continue,
                    () = neighbour.closed() => return Down::Gone,
                    () = self.inbox.closed() => return Down::Gone,
                    () = self.outbox.becomes(true) => return Down::Cut,
                }
            };
            let size = batch.len() as u64;
            let result =
                timeout(answer_timeout, put(neighbour, self.from.peer, batch, &self.shared.door.refusals)).await;
            let mut queue = lock(&self.outbox.queue);
            queue.is_handing_over = false;
            match result {
                Ok(Ok(())) => queue.counts.delivered += size,
                Ok(Err(_gone)) => {
                    queue.counts.lost += size;
                    return Down::Gone;
                }
                Err(_elapsed) => {
                    queue.counts.lost += size;
                    return Down::Silent(answer_timeout);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use bazaar_protocol::{
        clock::Time,
        message::{Body, Route},
    };

    use crate::{
        network::refusals::Refusals,
        tls::{
            Identity,
            handshake::{CertificateFault, HandshakeError},
        },
    };

    use super::*;

    /// A peer that was stopped in an ordinary way is no alarm; a certificate that somebody has to renew is one.
    #[test]
    fn another_member_at_an_address_is_no_alarm() {
        let alarms = |fault| {
            let error = HandshakeError::Certificate { facts: String::new(), fault }.into();
            OpenError::Connect { address: "a:1".to_owned(), error }.is_about_certificates()
        };
        assert!(!alarms(CertificateFault::OfAnother(Identity::Peer(PeerId(1)))));
        assert!(alarms(CertificateFault::Foreign) && alarms(CertificateFault::Revoked));
    }

    fn envelope(source: u32, clock: u64, body: Body) -> Envelope {
        let route = Route::Direct { to: PeerId(9), hops: 1 };
        Envelope { source: PeerId(source), clock: Time(clock), route, body, multicast: Time(clock) }
    }

    fn heartbeat(source: u32, clock: u64) -> Envelope {
        envelope(source, clock, Body::Heartbeat { epoch: bazaar_protocol::id::Epoch(1), waits: None })
    }

    fn queue(room: usize) -> Queue {
        Queue { room, up: true, ..Queue::default() }
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_it() {
        let mut queue = queue(2);
        for clock in 1..=3 {
            queue.push(heartbeat(0, clock));
        }
        assert_eq!(queue.waiting, [heartbeat(0, 1), heartbeat(0, 2)]);
        assert_eq!(queue.counts.overflowed, 1);
    }

    #[test]
    fn a_newer_clock_replaces_an_older_one_even_in_a_full_queue_but_goes_to_the_end() {
        let mut queue = queue(2);
        queue.push(envelope(0, 1, Body::Clock));
        queue.push(heartbeat(0, 2));
        queue.push(envelope(0, 3, Body::Clock));
        assert_eq!(queue.waiting, [heartbeat(0, 2), envelope(0, 3, Body::Clock)]);
        assert_eq!((queue.counts.superseded, queue.counts.overflowed), (1, 0));
    }

    #[test]
    fn nothing_waits_for_a_link_that_is_down() {
        let mut queue = queue(9);
        queue.push(heartbeat(0, 1));
        queue.close();
        queue.push(heartbeat(0, 2));
        assert!(queue.waiting.is_empty());
        assert_eq!(queue.counts.lost, 2);
    }

    #[test]
    fn a_batch_fits_a_frame_and_keeps_the_order() {
        let mut queue = queue(1_024);
        for clock in 0..1_000 {
            queue.push(heartbeat(0, clock));
        }
        let mut clocks = Vec::new();
        while let Some(batch) = queue.pop_batch() {
            assert!(batch.len() <= MAX_BATCH);
            assert!(wire::size_of(&batch) <= wire::MAX_FRAME);
            clocks.extend(batch.iter().map(|envelope| envelope.clock.0));
        }
        assert!(clocks.iter().copied().eq(0..1_000));
    }

    #[tokio::test]
    async fn a_handover_that_is_cut_short_has_handed_over_nothing() {
        let (inbox, mut driver) = mpsc::channel(4);
        inbox.try_send(Input::LedgerUp).unwrap();
        let batch = (0..4).map(|clock| heartbeat(0, clock)).collect::<Vec<_>>();
        let refusals = Refusals::none_yet();
        assert!(timeout(Duration::from_millis(20), put(&inbox, PeerId(0), batch, &refusals)).await.is_err());
        assert_eq!(driver.recv().await, Some(Input::LedgerUp));
        assert!(driver.try_recv().is_err(), "there was room for three of four, and none went in");
    }
}
