//! The network between processes, over loopback sockets (SPEC A2, A4; DESIGN 4): what is delivered, who is kept out,
//! and what is noticed when a process disappears.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bazaar_protocol::{
    account::{BuyerAccount, Outcome, QueueKey, Seat, SellerAccount},
    account::{DepositStatus, SellerStatus},
    clock::{Stamp, Time},
    config::{Limits, Terms},
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    input::Input,
    ledger::{HighWaterMark, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, LedgerStatus, Secret, Word},
    message::{Body, Envelope, FloodId, Promise, Route, TraderMessage},
    money::{Cents, Price},
    record::{Batch, Entry, Record, Request, Sale},
};
use bazaar_runtime::{
    network::service::within,
    network::{
        directory::{Addresses, Directory, RegisterError, Registration, Unavailable},
        hello::{self, AcceptError, ConnectError, Credentials, MAGIC, Purpose, Refusal, RunId, RunKey, VERSION},
        host::Host,
        hosted::{self, HostedPeer},
        ledger_client::LedgerClient,
        ledger_service::{Fence, LedgerJob, LedgerServer, StoreAccess},
        link::{Links, Outbound},
        refusals::{Counts, Reason, Refusals},
        service::{LedgerDoorClient, LedgerRefusal, LinkStatus, PeerInfo, PeerLinkClient, PeerStatus},
        settings::Settings,
        wire::{self, MAX_FRAME, Wire},
    },
    tools,
};
use ends::{PEERS, SOON, credentials, life, settings, soon};
use futures::{SinkExt, StreamExt, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::bytes::Bytes;

fn heartbeat(source: u32, clock: u64) -> Envelope {
    let body = Body::Heartbeat { epoch: Epoch(1), waits: None };
    let route = Route::Direct { to: PeerId(9), hops: 1 };
    Envelope { source: PeerId(source), clock: Time(clock), route, body, multicast: Time(0) }
}

/// Waits for the input that `wanted` picks, and skips what comes before it.
async fn input<T>(inbox: &mut mpsc::Receiver<Input>, mut wanted: impl FnMut(Input) -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(found) = wanted(inbox.recv().await.expect("the inbox is open")) {
                return found;
            }
        }
    })
    .await
}

async fn up(inbox: &mut mpsc::Receiver<Input>, neighbour: u32) {
    input(inbox, |input| (input == Input::LinkUp(PeerId(neighbour))).then_some(())).await;
}

async fn down(inbox: &mut mpsc::Receiver<Input>, neighbour: u32) {
    input(inbox, |input| (input == Input::LinkDown(PeerId(neighbour))).then_some(())).await;
}

async fn received(inbox: &mut mpsc::Receiver<Input>) -> (PeerId, Envelope) {
    input(inbox, |input| if let Input::Received { from, envelope } = input { Some((from, envelope)) } else { None })
        .await
}

fn registration(life: Life, address: SocketAddr) -> Registration {
    Registration { life, instance: 1, address: address.to_string(), pid: std::process::id(), host: "localhost".into() }
}

/// A peer without a machine: its links, and the inputs that a driver would feed it.
struct Peer {
    links: Links,
    inbox: mpsc::Receiver<Input>,
    requests: mpsc::Receiver<hosted::Request>,
}

impl Peer {
    fn settle(host: &Host, life: Life, neighbours: &[u32], addresses: &Arc<dyn Addresses>) -> Peer {
        Peer::with_room(host, life, neighbours, addresses, 1_024)
    }

    fn with_room(host: &Host, life: Life, neighbours: &[u32], addresses: &Arc<dyn Addresses>, room: usize) -> Peer {
        let (inbox, received) = mpsc::channel(room);
        let (requests, asked) = mpsc::channel(4);
        let neighbours = neighbours.iter().copied().map(PeerId).collect::<BTreeSet<_>>();
        let links = host.settle(HostedPeer { life, neighbours, inbox, requests }, addresses).unwrap();
        Peer { links, inbox: received, requests: asked }
    }

    fn link(&self, neighbour: u32) -> LinkStatus {
        self.links.status().into_iter().find(|link| link.neighbour == PeerId(neighbour)).unwrap()
    }
}

async fn listen() -> Host {
    Host::listen("127.0.0.1:0", credentials(), settings()).await.unwrap()
}

fn directory() -> (Arc<Mutex<Directory>>, Arc<dyn Addresses>) {
    let directory = Arc::new(Mutex::new(Directory::default()));
    (Arc::clone(&directory), directory)
}

/// Peers 0 and 1, which are neighbours, in a process each.
async fn pair() -> (Host, Peer, Host, Peer, Arc<Mutex<Directory>>, Arc<dyn Addresses>) {
    let (directory, addresses) = directory();
    let (host_a, host_b) = (listen().await, listen().await);
    directory.lock().unwrap().register(registration(life(0, 1), host_a.address())).unwrap();
    directory.lock().unwrap().register(registration(life(1, 1), host_b.address())).unwrap();
    let mut a = Peer::settle(&host_a, life(0, 1), &[1], &addresses);
    let mut b = Peer::settle(&host_b, life(1, 1), &[0], &addresses);
    up(&mut a.inbox, 1).await;
    up(&mut b.inbox, 0).await;
    (host_a, a, host_b, b, directory, addresses)
}

/// Checks that a host still serves its neighbours: a new connection, as peer 0, delivers to peer 1.
async fn still_serves(host: &Host, peer: &mut Peer, clock: u64) {
    let purpose = Purpose::Link { from: life(0, 1), to: PeerId(1) };
    let frames = soon(hello::connect(host.address(), &credentials(), purpose, &settings())).await.unwrap();
    let client = PeerLinkClient::new(tarpc::client::Config::default(), Wire::new(frames, "test")).spawn();
    soon(client.deliver(within(SOON), vec![heartbeat(0, clock)])).await.unwrap().unwrap();
    assert_eq!(received(&mut peer.inbox).await, (PeerId(0), heartbeat(0, clock)));
}

/// A process that hosts only peer 1, whose neighbour is peer 0.
async fn lone() -> (Host, Peer) {
    let (_, addresses) = directory();
    let host = listen().await;
    let peer = Peer::settle(&host, life(1, 1), &[0], &addresses);
    (host, peer)
}

#[tokio::test]
async fn neighbours_deliver_both_ways_in_order() {
    let (_host_a, mut a, _host_b, mut b, ..) = pair().await;
    for clock in 0..500 {
        a.links.send(PeerId(1), heartbeat(0, clock));
        b.links.send(PeerId(0), heartbeat(1, clock));
    }
    for clock in 0..500 {
        assert_eq!(received(&mut b.inbox).await, (PeerId(0), heartbeat(0, clock)));
        assert_eq!(received(&mut a.inbox).await, (PeerId(1), heartbeat(1, clock)));
    }
    soon(async {
        while a.link(1).counts.delivered < 500 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.link(1).counts.lost + a.link(1).counts.overflowed, 0);
}

#[tokio::test]
async fn strangers_are_told_why_they_are_refused_and_neighbours_are_still_served() {
    let (host, mut peer) = lone().await;
    let link = |from: Life, to: u32| Purpose::Link { from, to: PeerId(to) };
    let other_key = Credentials { key: RunKey::from_bytes([2; 32]), ..credentials() };
    let other_run = Credentials { run: RunId(2), ..credentials() };
    still_serves(&host, &mut peer, 0).await;
    let cases = [
        (other_key, link(life(0, 1), 1), Refusal::Key),
        (other_run, link(life(0, 1), 1), Refusal::Run { ours: RunId(1), yours: RunId(2) }),
        (credentials(), link(life(0, 1), 5), Refusal::NotHere(PeerId(5))),
        (credentials(), link(life(2, 1), 1), Refusal::NotNeighbours { from: PeerId(2), to: PeerId(1) }),
        (credentials(), link(life(0, 0), 1), Refusal::OldLife { latest: Incarnation(1) }),
        (
            credentials(),
            Purpose::Ledger { from: life(0, 1) },
            Refusal::WrongDoor { wanted: "the ledger".into(), this: "a process of peers".into() },
        ),
    ];
    for (credentials, purpose, expected) in cases {
        match soon(hello::connect(host.address(), &credentials, purpose, &settings())).await {
            Err(ConnectError::Refused(refusal)) => assert_eq!(refusal, expected),
            other => panic!("expected {expected:?}, got {other:?}"),
        }
        still_serves(&host, &mut peer, 1).await;
    }
    let reasons =
        [Reason::Key, Reason::Run, Reason::NotHere, Reason::NotNeighbours, Reason::OldLife, Reason::WrongDoor];
    assert_eq!(refused_at(&host).await, reasons.map(|reason| (reason, 1)).into(), "each is counted");
}

/// What a host has refused so far, as it tells a tool.
async fn refused_at(host: &Host) -> Counts {
    let tool = soon(tools::host(PeerId(0), host.address(), &credentials(), &settings())).await.unwrap();
    soon(tool.status(within(SOON), None)).await.unwrap().door.refused
}

/// The opening as bytes, so that a change to it is noticed and raises [`VERSION`].
async fn hello_of_version(address: SocketAddr, version: u16) -> Vec<u8> {
    let mut frames = wire::frames(TcpStream::connect(address).await.unwrap(), MAX_FRAME);
    let challenge = soon(frames.next()).await.unwrap().unwrap();
    let (magic, spoken, _nonce): ([u8; 8], u16, [u8; 32]) = wire::decode(&challenge).unwrap();
    assert_eq!((magic, spoken), (MAGIC, VERSION));
    let hello = wire::encode(&(version, RunId(1), [7_u8; 32], Purpose::Tool)).unwrap();
    frames.send(wire::encode(&(hello.to_vec(), [0_u8; 32])).unwrap()).await.unwrap();
    soon(frames.next()).await.unwrap().unwrap().to_vec()
}

/// Opens a connection as a tool.
async fn knock(address: SocketAddr) -> Result<(), ConnectError> {
    hello::connect(address, &credentials(), Purpose::Tool, &settings()).await.map(drop)
}

#[tokio::test]
async fn another_version_is_refused_by_either_side() {
    let (host, mut peer) = lone().await;
    let answer = hello_of_version(host.address(), VERSION + 1).await;
    // A verdict is the welcome or, second, a refusal.
    let (kind, refusal): (u32, Refusal) = wire::decode(&answer).unwrap();
    assert_eq!((kind, refusal), (1, Refusal::Version { ours: VERSION, yours: VERSION + 1 }));
    still_serves(&host, &mut peer, 1).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = async {
        let mut frames = wire::frames(listener.accept().await.unwrap().0, MAX_FRAME);
        frames.send(wire::encode(&(MAGIC, VERSION + 1, "something new")).unwrap()).await.unwrap();
        frames
    };
    let (result, _frames) = soon(async { tokio::join!(knock(address), acceptor) }).await;
    let expected = Refusal::Version { ours: VERSION + 1, yours: VERSION };
    assert!(matches!(result, Err(ConnectError::Refused(refusal)) if refusal == expected));
}

#[tokio::test]
async fn an_acceptor_that_does_not_know_the_key_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let impostor = async {
        let mut frames = wire::frames(listener.accept().await.unwrap().0, MAX_FRAME);
        frames.send(wire::encode(&(MAGIC, VERSION, [0_u8; 32])).unwrap()).await.unwrap();
        frames.next().await.unwrap().unwrap();
        frames.send(wire::encode(&(0_u32, [0_u8; 32])).unwrap()).await.unwrap();
        frames
    };
    let (result, _frames) = soon(async { tokio::join!(knock(address), impostor) }).await;
    assert!(matches!(result, Err(ConnectError::Impostor)), "{result:?}");

    let elsewhere = async {
        let mut stream = listener.accept().await.unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (result, _stream) = soon(async { tokio::join!(knock(address), elsewhere) }).await;
    assert!(matches!(result, Err(ConnectError::NotBazaar)), "{result:?}");
}

#[tokio::test]
async fn garbage_and_silence_are_closed_with_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let frame = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let cases: [(Vec<u8>, &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "no hello: a frame of more than 512 bytes"),
        (frame(&[0xff; 100]), "refused: the hello cannot be understood"),
        (frame(&[]), "refused: the hello cannot be understood"),
        (vec![0xff; 100_000], "no hello: a frame of more than 512 bytes"),
        (Vec::new(), "nothing was said within 600ms"),
    ];
    for (bytes, expected) in cases {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // If this cannot be written, the connection is already closed, which is good enough.
        let _ = stream.write_all(&bytes).await;
        let result = soon(hello::accept(accepted, &credentials(), &settings(), |_| Ok(()))).await;
        let error: AcceptError = result.map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), expected);
        let mut rest = Vec::new();
        // The connection ends, one way or another.
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
}

/// SPEC I7. All come from one source, so the oldest goes.
#[tokio::test]
async fn a_member_gets_in_at_once_however_many_strangers_are_silent() {
    let (_, addresses) = directory();
    let few = Settings { strangers: 2, handshake: SOON * 4, ..settings() };
    let host = Host::listen("127.0.0.1:0", credentials(), few).await.unwrap();
    let mut peer = Peer::settle(&host, life(1, 1), &[0], &addresses);
    let mut silent = Vec::new();
    for _ in 0..9 {
        silent.push(TcpStream::connect(host.address()).await.unwrap());
    }
    // None of the strangers runs out of time before this has ended.
    still_serves(&host, &mut peer, 1).await;
    let refused = refused_at(&host).await;
    assert!(refused[&Reason::CrowdedOut] >= 7, "{refused:?}");
    for mut stream in silent.drain(..7) {
        let mut challenge = Vec::new();
        soon(stream.read_to_end(&mut challenge)).await.unwrap();
        assert!(!challenge.is_empty(), "the oldest were shown out");
    }
}

/// A machine that is lost closes no connection, and nothing is said to it that it would have to acknowledge.
#[tokio::test]
async fn the_kernel_watches_over_connections_that_say_nothing() {
    let (host, _peer) = lone().await;
    let _silent = soon(hello::connect(host.address(), &credentials(), Purpose::Tool, &settings())).await.unwrap();
    let local = format!(":{:04X}", host.address().port());
    let is_watched = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Established, at the acceptor's end; its next timer is that of keepalive.
        sockets.any(|words| words[1].ends_with(&local) && words[3] == "01" && words[5].starts_with("02:"))
    };
    soon(async {
        // As long as its last word is not acknowledged, another timer comes first.
        while !is_watched() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nonsense_after_the_hello_ends_only_that_connection() {
    let (host, mut peer) = lone().await;
    let purpose = Purpose::Link { from: life(0, 1), to: PeerId(1) };
    // An ask with a length far beyond the frame; one with bytes to spare; an unknown kind of message; too long a frame.
    let endless = wire::encode(&(0_u32, 1_u64, 1_u32, 0_u32, u64::MAX)).unwrap();
    let trailing = wire::encode(&(0_u32, 1_u64, 1_u32, 0_u32, 0_u64, "more")).unwrap();
    let unknown = wire::encode(&(9_u32, 1_u64)).unwrap();
    let too_long = Bytes::from(vec![0_u8; MAX_FRAME + 1]);
    for bytes in [endless, trailing, unknown, too_long] {
        let mut frames = soon(hello::connect(host.address(), &credentials(), purpose, &settings())).await.unwrap();
        frames.codec_mut().set_max_frame_length(usize::MAX);
        frames.send(bytes).await.unwrap();
        let end = soon(frames.next()).await;
        assert!(end.is_none() || matches!(end, Some(Err(_))), "{end:?}");
        still_serves(&host, &mut peer, 1).await;
    }
    assert_eq!(refused_at(&host).await, Counts::from([(Reason::BadFrame, 4)]));
}

#[tokio::test]
async fn a_call_that_would_wait_forever_is_served() {
    // Decoded as the library's own message, its deadline would overflow.
    let (host, mut peer) = lone().await;
    let purpose = Purpose::Link { from: life(0, 1), to: PeerId(1) };
    let mut frames = soon(hello::connect(host.address(), &credentials(), purpose, &settings())).await.unwrap();
    frames.send(wire::encode(&(0_u32, 1_u64, u32::MAX, 0_u32, vec![heartbeat(0, 3)])).unwrap()).await.unwrap();
    assert_eq!(received(&mut peer.inbox).await.1, heartbeat(0, 3));
    assert!(soon(frames.next()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_neighbour_that_restarts_elsewhere_is_found_through_the_directory() {
    let (_host_a, mut a, host_b, b, directory, addresses) = pair().await;
    drop((b, host_b));
    down(&mut a.inbox, 1).await;
    let host_b = listen().await;
    directory.lock().unwrap().register(registration(life(1, 2), host_b.address())).unwrap();
    let mut b = Peer::settle(&host_b, life(1, 2), &[0], &addresses);
    up(&mut a.inbox, 1).await;
    up(&mut b.inbox, 0).await;
    a.links.send(PeerId(1), heartbeat(0, 7));
    assert_eq!(received(&mut b.inbox).await, (PeerId(0), heartbeat(0, 7)));
}

/// A directory that can become unreachable.
struct Fleeting(Arc<Mutex<Directory>>, AtomicBool);

impl Addresses for Fleeting {
    fn address(&self, of: PeerId, seeker: PeerId) -> BoxFuture<'static, Result<Option<String>, Unavailable>> {
        if self.1.load(Ordering::Relaxed) { self.0.address(of, seeker) } else { Box::pin(async { Err(Unavailable) }) }
    }
}

#[tokio::test]
async fn without_a_directory_a_neighbour_is_looked_for_where_it_last_was() {
    let (directory, known) = directory();
    let fleeting = Arc::new(Fleeting(Arc::clone(&directory), AtomicBool::new(true)));
    let addresses: Arc<dyn Addresses> = fleeting.clone();
    let (host_a, host_b) = (listen().await, listen().await);
    directory.lock().unwrap().register(registration(life(1, 1), host_b.address())).unwrap();
    let mut a = Peer::settle(&host_a, life(0, 1), &[1], &addresses);
    let b = Peer::settle(&host_b, life(1, 1), &[0], &known);
    up(&mut a.inbox, 1).await;
    fleeting.1.store(false, Ordering::Relaxed);
    drop(b);
    down(&mut a.inbox, 1).await;
    let _b = Peer::settle(&host_b, life(1, 2), &[0], &known);
    up(&mut a.inbox, 1).await;
}

#[tokio::test]
async fn a_neighbour_that_connects_is_connected_to_at_once() {
    let (directory, addresses) = directory();
    let patient = Settings { backoff_min: SOON * 4, backoff_max: SOON * 4, ..settings() };
    let host_a = Host::listen("127.0.0.1:0", credentials(), patient).await.unwrap();
    let mut a = Peer::settle(&host_a, life(0, 1), &[1], &addresses);
    assert!(
        timeout(settings().keepalive, a.inbox.recv()).await.is_err(),
        "it has tried in vain and now waits for long"
    );
    directory.lock().unwrap().register(registration(life(0, 1), host_a.address())).unwrap();
    let host_b = listen().await;
    directory.lock().unwrap().register(registration(life(1, 1), host_b.address())).unwrap();
    let mut b = Peer::settle(&host_b, life(1, 1), &[0], &addresses);
    up(&mut b.inbox, 0).await;
    up(&mut a.inbox, 1).await;
}

#[tokio::test]
async fn a_neighbours_new_connection_ends_its_former_one() {
    let (host, mut peer) = lone().await;
    let purpose = Purpose::Link { from: life(0, 1), to: PeerId(1) };
    let mut former = soon(hello::connect(host.address(), &credentials(), purpose, &settings())).await.unwrap();
    still_serves(&host, &mut peer, 1).await;
    assert!(soon(former.next()).await.is_none());
}

#[tokio::test]
async fn a_neighbour_that_falls_silent_counts_as_down_within_the_bound() {
    let (directory, addresses) = directory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registered = registration(life(1, 1), listener.local_addr().unwrap());
    directory.lock().unwrap().register(registered).unwrap();
    let host = listen().await;
    let mut a = Peer::settle(&host, life(0, 1), &[1], &addresses);
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let (_frames, purpose, ()) = soon(hello::accept(stream, &credentials(), &settings(), |_| Ok(()))).await.unwrap();
    assert_eq!(purpose, Purpose::Link { from: life(0, 1), to: PeerId(1) });
    up(&mut a.inbox, 1).await;
    a.links.send(PeerId(1), heartbeat(0, 1));
    down(&mut a.inbox, 1).await;
    assert_eq!(a.link(1).counts.lost, 1);
    assert!(!a.link(1).up);
}

#[tokio::test]
async fn an_idle_neighbour_that_answers_stays_up() {
    let (_host_a, mut a, _host_b, _b, ..) = pair().await;
    // Long enough for a link without keepalives, or with unanswered ones, to be given up.
    assert!(timeout(settings().silence * 3, a.inbox.recv()).await.is_err());
    assert!(a.link(1).up);
}

#[tokio::test]
async fn a_neighbour_that_answers_the_connection_but_not_the_hello_never_comes_up() {
    let (directory, addresses) = directory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    directory.lock().unwrap().register(registration(life(1, 1), listener.local_addr().unwrap())).unwrap();
    let host = listen().await;
    let mut a = Peer::settle(&host, life(0, 1), &[1], &addresses);
    let first = soon(listener.accept()).await.unwrap();
    let second = soon(listener.accept()).await.unwrap();
    assert!(a.inbox.try_recv().is_err(), "it tries again, and nothing is reported");
    drop((first, second));
}

#[tokio::test]
async fn a_full_inbox_holds_its_neighbour_back_and_what_does_not_fit_is_counted() {
    let (directory, addresses) = directory();
    let (host_a, host_b) = (listen().await, listen().await);
    directory.lock().unwrap().register(registration(life(0, 1), host_a.address())).unwrap();
    directory.lock().unwrap().register(registration(life(1, 1), host_b.address())).unwrap();
    let mut a = Peer::settle(&host_a, life(0, 1), &[1], &addresses);
    let mut b = Peer::with_room(&host_b, life(1, 1), &[0], &addresses, 8);
    up(&mut a.inbox, 1).await;
    up(&mut b.inbox, 0).await;
    for clock in 0..3_000 {
        a.links.send(PeerId(1), heartbeat(0, clock));
    }
    // 1,024 wait; nothing is on its way yet, since the link's task has not run.
    assert_eq!(a.link(1).counts.overflowed, 3_000 - 1_024);
    // The driver of B is stuck: the link goes down.
    down(&mut a.inbox, 1).await;
    assert_eq!(a.link(1).counts.lost + a.link(1).counts.delivered, 1_024);
    // B drains its inbox again: what had got in is a prefix, in order, and the link comes up.
    assert_eq!(received(&mut b.inbox).await, (PeerId(0), heartbeat(0, 0)));
    let (sender, waiting) = tokio::sync::oneshot::channel::<()>();
    let drain = async {
        let mut clocks = vec![0];
        let mut waiting = waiting;
        loop {
            tokio::select! {
                input = b.inbox.recv() => if let Some(Input::Received { envelope, .. }) = input {
                    clocks.push(envelope.clock.0);
                },
                _ = &mut waiting => return clocks,
            }
        }
    };
    let work = async {
        up(&mut a.inbox, 1).await;
        a.links.send(PeerId(1), heartbeat(0, 9_999));
        while a.link(1).counts.delivered == 0 {
            tokio::task::yield_now().await;
        }
        drop(sender);
    };
    let (clocks, ()) = soon(async { tokio::join!(drain, work) }).await;
    assert_eq!(clocks.last(), Some(&9_999));
    assert!(clocks.is_sorted(), "{clocks:?}");
}

#[tokio::test]
async fn two_peers_that_flood_each_other_make_progress() {
    let (_host_a, mut a, _host_b, mut b, ..) = pair().await;
    // Each driver sends two envelopes for each that it takes: more than the links can carry.
    let (mut from_a, mut from_b) = (0_u64, 0_u64);
    a.links.send(PeerId(1), heartbeat(0, 0));
    b.links.send(PeerId(0), heartbeat(1, 0));
    soon(async {
        while from_a < 20_000 || from_b < 20_000 {
            tokio::select! {
                input = b.inbox.recv() => if let Some(Input::Received { .. }) = input {
                    from_a += 1;
                    b.links.send(PeerId(0), heartbeat(1, from_a));
                    b.links.send(PeerId(0), heartbeat(1, from_a));
                },
                input = a.inbox.recv() => if let Some(Input::Received { .. }) = input {
                    from_b += 1;
                    a.links.send(PeerId(1), heartbeat(0, from_b));
                    a.links.send(PeerId(1), heartbeat(0, from_b));
                },
            }
        }
    })
    .await;
    assert!(a.link(1).counts.overflowed > 0, "more was sent than fits");
    assert_eq!(a.link(1).counts.lost, 0, "and the link stayed up");
}

/// Knows no addresses, and remembers who was looked for.
#[derive(Debug, Default)]
struct Asked(Mutex<BTreeSet<PeerId>>);

impl Addresses for Asked {
    fn address(&self, of: PeerId, _: PeerId) -> BoxFuture<'static, Result<Option<String>, Unavailable>> {
        self.0.lock().unwrap().insert(of);
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[tokio::test]
async fn neighbours_in_one_process_need_no_socket() {
    let asked = Arc::new(Asked::default());
    let addresses: Arc<dyn Addresses> = asked.clone();
    let host = listen().await;
    // Nobody can connect to this process, so what arrives comes another way.
    let mut a = Peer::settle(&host, life(0, 1), &[1], &addresses);
    let mut b = Peer::settle(&host, life(1, 1), &[0], &addresses);
    up(&mut a.inbox, 1).await;
    up(&mut b.inbox, 0).await;
    a.links.send(PeerId(1), heartbeat(0, 1));
    b.links.send(PeerId(0), heartbeat(1, 2));
    assert_eq!(received(&mut b.inbox).await, (PeerId(0), heartbeat(0, 1)));
    assert_eq!(received(&mut a.inbox).await, (PeerId(1), heartbeat(1, 2)));
    drop(b);
    down(&mut a.inbox, 1).await;
    let mut b = Peer::settle(&host, life(1, 2), &[0], &addresses);
    up(&mut a.inbox, 1).await;
    a.links.send(PeerId(1), heartbeat(0, 3));
    assert_eq!(received(&mut b.inbox).await, (PeerId(0), heartbeat(0, 3)));
}

#[tokio::test]
async fn only_neighbours_are_ever_looked_for() {
    let asked = Arc::new(Asked::default());
    let addresses: Arc<dyn Addresses> = asked.clone();
    let host = listen().await;
    let a = Peer::settle(&host, life(0, 1), &[1, 2], &addresses);
    let wanted = BTreeSet::from([PeerId(1), PeerId(2)]);
    for _ in 0..10 {
        a.links.send(PeerId(3), heartbeat(0, 1));
        soon(async {
            while *asked.0.lock().unwrap() != wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // A peer in the same process that is not a neighbour is not handed anything either.
    let mut c = Peer::settle(&host, life(3, 1), &[], &addresses);
    a.links.send(PeerId(3), heartbeat(0, 1));
    tokio::task::yield_now().await;
    assert!(c.inbox.try_recv().is_err());
    assert_eq!(*asked.0.lock().unwrap(), wanted);
}

fn status_call(caller: Life) -> LedgerCall {
    LedgerCall { caller, seen: HighWaterMark::default(), heard: Epoch(0), request: LedgerRequest::Status }
}

fn reply_to(call: &LedgerCall) -> LedgerReply {
    let word = Word::of(call.caller, call.heard, LedgerStatus::default(), Secret::default());
    LedgerReply { word, answer: LedgerAnswer::Status }
}

/// A ledger that answers everything at once.
async fn ledger() -> LedgerServer {
    let (jobs, mut driver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(job) = driver.recv().await {
            match job {
                LedgerJob::Call { call, reply } => drop(reply.send(Ok(reply_to(&call)))),
                LedgerJob::Log { reply, .. } => drop(reply.send(Vec::new())),
                LedgerJob::Hand { reply, .. } => drop(reply.send(())),
                LedgerJob::Register { reply, .. } => drop(reply.send(Ok(()))),
                LedgerJob::Info { reply } => {
                    let _ = reply.send(Fence { status: LedgerStatus::default(), live: true, trouble: None });
                }
            }
        }
    });
    LedgerServer::listen("127.0.0.1:0", credentials(), settings(), PEERS, jobs, sole()).await.unwrap()
}

/// A ledger that has its store to itself, and tells this.
fn sole() -> StoreAccess {
    StoreAccess::Sole { status: fence(), secret: Secret(5) }
}

/// What the ledger tells with every sign of life, which tells it apart from other answers.
fn fence() -> watch::Receiver<LedgerStatus> {
    watch::channel(LedgerStatus { head: Position(7), ..LedgerStatus::default() }).1
}

/// What arrives apart from signs of life.
async fn beside_signs_of_life(inbox: &mut mpsc::Receiver<Input>) -> Option<Input> {
    loop {
        match inbox.recv().await {
            Some(Input::Ledger(reply)) if reply.word.status == *fence().borrow() => {}
            other => return other,
        }
    }
}

fn client_of(
    address: &Arc<Mutex<Option<SocketAddr>>>,
    life: Life,
    listens: SocketAddr,
) -> (LedgerClient, mpsc::Receiver<Input>) {
    let (inbox, received) = mpsc::channel(64);
    let address = Arc::clone(address);
    let address = Box::new(move || vec![address.lock().unwrap().map(|address| address.to_string())]);
    let client = LedgerClient::open(
        credentials(),
        settings(),
        registration(life, listens),
        address,
        inbox,
        Refusals::none_yet(),
    );
    (client, received)
}

#[tokio::test]
async fn a_peer_registers_calls_the_ledger_and_finds_it_again_elsewhere() {
    let server = ledger().await;
    let address = Arc::new(Mutex::new(None));
    let here: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    let (client, mut inbox) = client_of(&address, life(0, 1), here);
    let addresses = client.addresses();
    assert_eq!(addresses.address(PeerId(0), PeerId(0)).await, Err(Unavailable));
    *address.lock().unwrap() = Some(server.address());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    assert_eq!(soon(addresses.address(PeerId(0), PeerId(0))).await, Ok(Some(here.to_string())));
    assert_eq!(soon(addresses.address(PeerId(7), PeerId(0))).await, Ok(None));
    client.call(status_call(life(0, 1)));
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::Ledger(reply_to(&status_call(life(0, 1))))));

    let entries = |server: &LedgerServer| server.directory().lock().unwrap().entries(None).collect::<Vec<_>>();
    assert!(entries(&server)[0].connected);
    drop(server);
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerDown));
    client.call(status_call(life(0, 1)));
    assert_eq!(client.dropped(), 1);
    let server = ledger().await;
    *address.lock().unwrap() = Some(server.address());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    assert_eq!(entries(&server)[0].registration.address, here.to_string());
    drop(client);
    soon(async {
        while entries(&server)[0].connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_ledger_that_falls_silent_counts_as_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Arc::new(Mutex::new(Some(listener.local_addr().unwrap())));
    let (client, mut inbox) = client_of(&address, life(0, 1), listener.local_addr().unwrap());
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let (mut frames, _, ()) = soon(hello::accept(stream, &credentials(), &settings(), |_| Ok(()))).await.unwrap();
    // It takes the registration (the third kind of call), and then says nothing more.
    frames.next().await.unwrap().unwrap();
    let registered: Result<(), RegisterError> = Ok(());
    let answer = wire::encode(&(0_u64, 0_u32, 2_u32, registered)).unwrap();
    frames.send(answer).await.unwrap();
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    assert!(client.is_up());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerDown));
}

#[tokio::test]
async fn a_call_in_another_peers_name_is_refused() {
    let server = ledger().await;
    let purpose = Purpose::Ledger { from: life(0, 2) };
    let frames = soon(hello::connect(server.address(), &credentials(), purpose, &settings())).await.unwrap();
    let client = LedgerDoorClient::new(tarpc::client::Config::default(), Wire::new(frames, "test")).spawn();
    let call = status_call(life(0, 2));
    assert_eq!(client.call(within(SOON), call.clone()).await.unwrap(), Err(LedgerRefusal::NotRegistered));
    for caller in [life(1, 2), life(0, 1)] {
        let foreign = registration(caller, server.address());
        assert_eq!(client.register(within(SOON), foreign).await.unwrap(), Err(RegisterError::NotYours));
    }
    client.register(within(SOON), registration(life(0, 2), server.address())).await.unwrap().unwrap();
    for caller in [life(1, 2), life(0, 1)] {
        assert_eq!(client.call(within(SOON), status_call(caller)).await.unwrap(), Err(LedgerRefusal::NotYou));
    }
    assert_eq!(client.call(within(SOON), call.clone()).await.unwrap(), Ok(reply_to(&call)));
    let tool = soon(tools::ledger(server.address(), &credentials(), &settings())).await.unwrap();
    let refused = soon(tool.status(within(SOON), None)).await.unwrap().unwrap().door.refused;
    assert_eq!(refused, Counts::from([(Reason::OtherName, 4)]));
}

// SPEC I8.
#[tokio::test]
async fn a_batch_that_names_an_absurd_clock_is_refused() {
    let server = ledger().await;
    let purpose = Purpose::Ledger { from: life(0, 1) };
    let frames = soon(hello::connect(server.address(), &credentials(), purpose, &settings())).await.unwrap();
    let client = LedgerDoorClient::new(tarpc::client::Config::default(), Wire::new(frames, "test")).spawn();
    client.register(within(SOON), registration(life(0, 1), server.address())).await.unwrap().unwrap();
    for (reading, is_fine) in [(5, true), (1 << 60, false), (u64::MAX, false)] {
        let stamp = Stamp { time: Time(reading), peer: PeerId(0) };
        let records = vec![Record { stamp, entry: Entry::Resigned }];
        let batch = Batch { epoch: Epoch(1), position: Position(0), records };
        let call = LedgerCall { request: LedgerRequest::Append(batch), ..status_call(life(0, 1)) };
        let answer = client.call(within(SOON), call).await.unwrap();
        assert_eq!(answer.err(), (!is_fine).then_some(LedgerRefusal::ClockAbsurd));
    }
}

// SPEC I5: both are told.
#[tokio::test]
async fn of_two_processes_of_a_peer_one_is_refused_for_good_and_told_of_the_other() {
    let server = ledger().await;
    let address = Arc::new(Mutex::new(Some(server.address())));
    let here: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    let (first, mut inbox) = client_of(&address, life(0, 3), here);
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    let of = |incarnation, instance| Registration { instance, ..registration(life(0, incarnation), here) };
    let open = |registration| {
        let address = Arc::clone(&address);
        let address = Box::new(move || vec![address.lock().unwrap().map(|address| address.to_string())]);
        let (inbox, received) = mpsc::channel(64);
        let refusals = Refusals::none_yet();
        (LedgerClient::open(credentials(), settings(), registration, address, inbox, refusals), received)
    };
    let by = || Box::new(of(3, 1));
    for incarnation in [2, 3] {
        let (twin, _inbox) = open(of(incarnation, 2));
        assert_eq!(soon(twin.refused()).await, RegisterError::Outlived { by: by() });
    }
    let (later, _inbox) = open(of(4, 2));
    assert_eq!(soon(later.refused()).await, RegisterError::Taken { by: by() });
    assert!(first.is_up(), "it has noticed nothing");

    // A later life that comes when the first is not heard has its place, and the first is told when it is back.
    drop(first);
    let (later, mut inbox) = open(of(4, 2));
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    let (first, _inbox) = client_of(&address, life(0, 3), here);
    assert_eq!(soon(first.refused()).await, RegisterError::Outlived { by: Box::new(of(4, 2)) });
    assert!(later.is_up());
}

/// SPEC I7, I8. Otherwise a member with a wrong number would have a place in the directory and in the books, and one in a
/// life that nobody can have got to could never come back.
#[tokio::test]
async fn a_peer_that_the_configuration_does_not_have_and_a_life_that_nobody_has_are_refused_by_the_ledger() {
    let server = ledger().await;
    for peer in [PEERS, u32::MAX] {
        let purpose = Purpose::Ledger { from: life(peer, 1) };
        let refused = soon(hello::connect(server.address(), &credentials(), purpose, &settings())).await;
        let expected = Refusal::NoSuchPeer { peer: PeerId(peer), peers: PEERS };
        assert!(matches!(refused, Err(ConnectError::Refused(refusal)) if refusal == expected));
    }
    let absurd = Incarnation(Incarnation::MOST.0 + 1);
    let purpose = Purpose::Ledger { from: Life { peer: PeerId(0), incarnation: absurd } };
    let refused = soon(hello::connect(server.address(), &credentials(), purpose, &settings())).await;
    assert!(matches!(refused, Err(ConnectError::Refused(refusal)) if refusal == Refusal::NoSuchLife(absurd)));
    let last = Purpose::Ledger { from: life(PEERS - 1, 1) };
    assert!(soon(hello::connect(server.address(), &credentials(), last, &settings())).await.is_ok());
}

#[tokio::test]
async fn a_job_that_is_not_answered_costs_the_caller_nothing_but_the_answer() {
    let (jobs, mut driver) = mpsc::channel(16);
    let server = LedgerServer::listen("127.0.0.1:0", credentials(), settings(), PEERS, jobs, sole()).await.unwrap();
    let address = Arc::new(Mutex::new(Some(server.address())));
    let (client, mut inbox) = client_of(&address, life(0, 1), server.address());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    client.call(status_call(life(0, 1)));
    drop(soon(driver.recv()).await.unwrap());
    client.call(status_call(life(0, 1)));
    let Some(LedgerJob::Call { call, reply }) = soon(driver.recv()).await else { panic!("no call") };
    reply.send(Ok(reply_to(&call))).unwrap();
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::Ledger(reply_to(&status_call(life(0, 1))))));
    assert_eq!(client.dropped(), 1);
}

/// SPEC I8. A peer with neighbours that are gone asks for their addresses again and again, and must still hear the ledger's
/// word of the epochs that were named to it.
#[tokio::test]
async fn lookups_do_not_hold_up_the_signs_of_life() {
    let server = ledger().await;
    let address = Arc::new(Mutex::new(Some(server.address())));
    let (client, mut inbox) = client_of(&address, life(0, 1), server.address());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    client.tell_heard(Epoch(9));
    let addresses = client.addresses();
    let lookups = async {
        loop {
            assert!(addresses.address(PeerId(1), PeerId(0)).await.is_ok());
        }
    };
    let heard = async {
        let mut words = 0;
        while words < 2 {
            let Some(Input::Ledger(reply)) = inbox.recv().await else { panic!("no sign of life") };
            words += u32::from(reply.word.heard == Epoch(9));
        }
    };
    tokio::select! {
        () = lookups => {}
        () = soon(heard) => {}
    }
}

#[tokio::test]
async fn a_slow_disk_does_not_make_the_ledger_seem_down() {
    let (jobs, mut driver) = mpsc::channel(16);
    let server = LedgerServer::listen("127.0.0.1:0", credentials(), settings(), PEERS, jobs, sole()).await.unwrap();
    let address = Arc::new(Mutex::new(Some(server.address())));
    let (client, mut inbox) = client_of(&address, life(0, 1), server.address());
    assert_eq!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::LedgerUp));
    client.call(status_call(life(0, 1)));
    let job = soon(driver.recv()).await.unwrap();
    assert!(
        timeout(settings().silence * 2, beside_signs_of_life(&mut inbox)).await.is_err(),
        "the call waits, and the ledger is up"
    );
    let LedgerJob::Call { call, reply } = job else { panic!("no call") };
    reply.send(Ok(reply_to(&call))).unwrap();
    assert!(matches!(soon(beside_signs_of_life(&mut inbox)).await, Some(Input::Ledger(_))));
}

#[tokio::test]
async fn tools_see_the_ledger_and_the_hosts_and_nothing_else() {
    let server = ledger().await;
    for peer in 0..3_000 {
        let registration = registration(life(peer, 1), server.address());
        server.directory().lock().unwrap().register(registration).unwrap();
    }
    let tool = soon(tools::ledger(server.address(), &credentials(), &settings())).await.unwrap();
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let after = seen.last().copied();
        let info = soon(tool.status(within(SOON), after)).await.unwrap().unwrap();
        assert!(info.live);
        seen.extend(info.entries.iter().map(|entry| entry.registration.life.peer));
        pages += 1;
        if !info.more {
            break;
        }
    }
    assert!(seen.iter().map(|peer| peer.0).eq(0..3_000), "every entry once");
    assert!(pages > 1, "that many do not fit one answer");
    let read = soon(tool.log(within(SOON), Position(3))).await.unwrap().unwrap();
    assert_eq!(read, Vec::new());
    tool.detour(within(SOON), PeerId(1), PeerId(0), Some("proxy:1".into())).await.unwrap();
    let told = server.directory().lock().unwrap().address(PeerId(1), PeerId(0));
    assert_eq!(told.as_deref(), Some("proxy:1"));

    let (host, mut well) = lone().await;
    let (_, addresses) = directory();
    let _stuck = Peer::settle(&host, life(4, 1), &[], &addresses);
    let tool = soon(tools::host(PeerId(0), host.address(), &credentials(), &settings())).await.unwrap();
    let driver = async {
        let Some(hosted::Request::Status(answer)) = well.requests.recv().await else { panic!("no request") };
        answer
            .send(PeerStatus {
                id: PeerId(1),
                incarnation: Incarnation(1),
                pid: 1,
                role: "buys fish".into(),
                links: well.links.status(),
                ledger: false,
                clock: Time(3),
                trader: None,
                epoch: Some(Epoch(u64::MAX)),
                in_office: false,
                waiting: 0,
                ordering: None,
                seats: Vec::new(),
                waits: None,
                trouble: None,
            })
            .unwrap();
    };
    let (info, ()) = soon(async { tokio::join!(tool.status(within(SOON), None), driver) }).await;
    let info = info.unwrap();
    assert!(!info.more);
    assert!(matches!(&info.peers[0], PeerInfo::Well(status) if status.clock == Time(3) && !status.links[0].up));
    assert_eq!(info.peers[1], PeerInfo::NoAnswer(PeerId(4)));

    let purpose = Purpose::Link { from: life(0, 1), to: PeerId(1) };
    let refused = soon(hello::connect(server.address(), &credentials(), purpose, &settings())).await;
    assert!(matches!(refused, Err(ConnectError::Refused(Refusal::WrongDoor { .. }))), "{refused:?}");
}

#[test]
fn every_message_that_the_limits_allow_fits_one_frame() {
    let (peer, item, many) = (PeerId(u32::MAX), Item(u16::MAX), u64::MAX);
    let stamp = Stamp { time: Time(many), peer };
    let sale = Sale {
        request: RequestId { buyer: peer, sequence: Sequence(many) },
        deposit: DepositId { seller: peer, number: DepositNumber(many) },
        number: SaleNumber(many),
        item,
        quantity: Units(u32::MAX),
        price: Price(u32::MAX),
        commission: Cents(many.into()),
        earned: Cents(many.into()),
    };
    // The largest message to a seller, and the largest chunk of a snapshot: one account.
    let deposit = DepositStatus {
        number: DepositNumber(many),
        item,
        count: Units(u32::MAX),
        left: Units(u32::MAX),
        price: Price(u32::MAX),
        leftover: true,
    };
    // Of a batch all of whose records are sales of one seller, that seller is told in one message.
    let sold = vec![sale.clone(); Terms::LARGEST_BATCH as usize];
    let most = 510;
    assert!(Limits { sales_kept: most, ..Limits::DEFAULT }.check().is_ok());
    assert!(Limits { sales_kept: most + 1, ..Limits::DEFAULT }.check().is_err());
    let recent = vec![sale.clone(); most as usize];
    let (sales, earned) = (SaleNumber(many), Cents(u128::MAX));
    let account =
        SellerAccount { deposit: Some(deposit.clone()), clock: Time(many), sales, earned, recent: recent.clone() };
    let told = SellerStatus { deposit: Some(deposit), sales, earned, recent: sold };
    let envelope = Envelope {
        source: peer,
        clock: Time(many),
        route: Route::Flood {
            id: FloodId { origin: peer, incarnation: Incarnation(u32::MAX), number: many },
            to: Some(peer),
        },
        body: Body::Trader(TraderMessage::Seller(told)),
        multicast: Time(many),
    };
    assert!(wire::size_of(&envelope) <= wire::MAX_BODY);
    // As many promises as an answer to a wave takes, each with a request (SPEC C5).
    let id = RequestId { buyer: peer, sequence: Sequence(many) };
    let request = Request { id, previous: Some(Sequence(many)), item, quantity: Units(u32::MAX), stamp };
    let promise = Promise { incarnation: Incarnation(u32::MAX), above: Time(many), open: Some(request) };
    let body = Body::Promises { promises: vec![(peer, promise); Limits::FRAME as usize], more: true };
    assert!(wire::size_of(&Envelope { body, ..envelope }) <= wire::MAX_BODY);
    // What surrounds the answer to a read: the reader, the state of the fence, and the kind of answer.
    let head = 128;
    assert!(wire::size_of(&account) + head <= wire::MAX_BODY);
    let record = Record { stamp, entry: Entry::Sold(sale.clone()) };
    assert!(wire::size_of(&vec![record; Limits::FRAME as usize]) + head <= wire::MAX_BODY);
    let buyer = BuyerAccount {
        open: Some(QueueKey { time: Time(many), id: RequestId { buyer: peer, sequence: Sequence(many) } }),
        last: Some((Sequence(many), Outcome::Sold(sale))),
        bought: many,
        spent: Cents(u128::MAX),
        seat: Some(Seat { incarnation: Incarnation(u32::MAX), is_taken: true, changes: u32::MAX }),
        bound: Time(many),
    };
    // Each account weighs two.
    assert!(wire::size_of(&vec![(0_u8, peer, buyer); Limits::FRAME as usize / 2]) + head <= wire::MAX_BODY);
}

mod hostile {
    use bazaar_runtime::network::service::{
        LedgerDoorRequest, LedgerDoorResponse, LedgerToolsResponse, PeerLinkRequest,
    };
    use bazaar_runtime::network::wire::Readable;
    use proptest::prelude::*;
    use tarpc::{ClientMessage, Response};

    use super::*;

    /// Decodes the bytes as everything that is ever decoded: nothing may panic.
    fn decode_as_everything(bytes: &[u8]) {
        let _ = ClientMessage::<PeerLinkRequest>::from_frame(bytes);
        let _ = ClientMessage::<LedgerDoorRequest>::from_frame(bytes);
        let _ = Response::<LedgerDoorResponse>::from_frame(bytes);
        let _ = Response::<LedgerToolsResponse>::from_frame(bytes);
        let _ = wire::decode::<Vec<Envelope>>(bytes);
        let _ = wire::decode::<Refusal>(bytes);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            decode_as_everything(&bytes);
        }

        #[test]
        fn a_damaged_message_is_refused_or_understood(
            clocks in proptest::collection::vec(any::<u64>(), 0..40),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let envelopes = clocks.iter().map(|clock| heartbeat(0, *clock)).collect::<Vec<_>>();
            let mut bytes = wire::encode(&(0_u32, 1_u64, 1_u32, 0_u32, envelopes)).unwrap().to_vec();
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            decode_as_everything(&bytes);
            bytes.truncate(cut.index(bytes.len() + 1));
            decode_as_everything(&bytes);
        }

        #[test]
        fn a_message_comes_back_as_it_was(clocks in proptest::collection::vec(any::<u64>(), 0..100)) {
            let envelopes = clocks.iter().map(|clock| heartbeat(0, *clock)).collect::<Vec<_>>();
            let bytes = wire::encode(&envelopes).unwrap();
            prop_assert_eq!(bytes.len(), wire::size_of(&envelopes));
            prop_assert_eq!(wire::decode::<Vec<Envelope>>(&bytes).unwrap(), envelopes);
        }
    }

    #[test]
    fn a_frame_of_the_smallest_envelopes_costs_a_bounded_multiple_of_its_size() {
        let smallest = Envelope {
            source: PeerId(0),
            clock: Time(0),
            route: Route::Direct { to: PeerId(0), hops: 0 },
            body: Body::Clock,
            multicast: Time(0),
        };
        let many = MAX_FRAME / wire::size_of(&smallest) - 1;
        let bytes = wire::encode(&vec![smallest; many]).unwrap();
        let decoded = wire::decode::<Vec<Envelope>>(&bytes).unwrap();
        assert!(decoded.capacity() * size_of::<Envelope>() <= 4 * 1_024 * 1_024);
    }
}
