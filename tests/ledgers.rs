//! Several processes of one ledger: a peer turns to another when its own is gone or of no use, and what is registered
//! with one of them is known to all (SPEC I5, J3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bazaar_protocol::{
    id::{Epoch, Incarnation, Life, PeerId, Position},
    input::Input,
    ledger::{HighWaterMark, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, LedgerStatus, Secret, Word},
};
use bazaar_runtime::network::{
    directory::{RegisterError, Registration},
    hello::{Credentials, RunId, RunKey},
    ledger_client::LedgerClient,
    ledger_service::{LedgerJob, LedgerServer, StoreAccess},
    refusals::Refusals,
    settings::Settings,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

/// Far more than anything here takes, so that a busy machine does not decide the outcome.
const SOON: Duration = Duration::from_secs(30);

const PEERS: u32 = 8;

fn settings() -> Settings {
    Settings {
        keepalive: Duration::from_millis(100),
        silence: Duration::from_millis(600),
        handshake: Duration::from_millis(600),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        ..Settings::default()
    }
}

fn credentials() -> Credentials {
    Credentials { run: RunId(1), key: RunKey::from_bytes([1; 32]), tls: None }
}

fn life(peer: u32, incarnation: u32) -> Life {
    Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) }
}

fn registration(life: Life, instance: u64) -> Registration {
    Registration { life, instance, address: "127.0.0.1:4711".into(), pid: 1, host: "here".into() }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it did not happen")
}

/// What all processes share: of each peer the latest registration, in place of a store.
type Registered = Arc<Mutex<Vec<Registration>>>;

/// A process of the ledger whose every word is at the head that it is named by. While its store is `mute`, it answers
/// nothing.
struct Process {
    server: LedgerServer,
    head: u64,
    mute: Arc<Mutex<bool>>,
}

impl Process {
    async fn start(head: u64, registered: &Registered) -> Process {
        Process::listen("127.0.0.1:0", head, registered).await
    }

    async fn listen(address: &str, head: u64, registered: &Registered) -> Process {
        let (jobs, mut asked) = mpsc::channel(16);
        let mute = Arc::new(Mutex::new(false));
        let (registered, is_mute) = (Arc::clone(registered), Arc::clone(&mute));
        tokio::spawn(async move {
            while let Some(job) = asked.recv().await {
                // A job that is dropped is not answered.
                if *is_mute.lock().unwrap() {
                    continue;
                }
                match job {
                    LedgerJob::Call { call, reply } => drop(reply.send(Ok(reply_to(&call, head)))),
                    LedgerJob::Register { registration, reply } => {
                        drop(reply.send(enter(&mut registered.lock().unwrap(), registration)));
                    }
                    LedgerJob::Log { .. } | LedgerJob::Hand { .. } | LedgerJob::Info { .. } => {}
                }
            }
        });
        let server = LedgerServer::listen(address, credentials(), settings(), PEERS, jobs, StoreAccess::Shared).await;
        Process { server: server.unwrap(), head, mute }
    }

    fn set_mute(&self, mute: bool) {
        *self.mute.lock().unwrap() = mute;
    }

    /// Whether a peer is connected to it.
    fn has(&self, peer: u32) -> bool {
        let directory = self.server.directory().lock().unwrap();
        directory.entries(None).any(|entry| entry.registration.life.peer == PeerId(peer) && entry.connected)
    }
}

/// What a driver does with a store: the latest life of a peer stays, and a life is of one process only.
fn enter(registered: &mut Vec<Registration>, new: Registration) -> Result<(), Registration> {
    let known = registered.iter_mut().find(|known| known.life.peer == new.life.peer);
    match known {
        Some(known) if known.life.incarnation > new.life.incarnation => Err(known.clone()),
        Some(known) if known.life == new.life && known.instance != new.instance => Err(known.clone()),
        Some(known) => {
            *known = new;
            Ok(())
        }
        None => {
            registered.push(new);
            Ok(())
        }
    }
}

fn status_call(caller: Life) -> LedgerCall {
    LedgerCall { caller, seen: HighWaterMark::default(), heard: Epoch(3), request: LedgerRequest::Status }
}

fn reply_to(call: &LedgerCall, head: u64) -> LedgerReply {
    let status = LedgerStatus { head: Position(head), ..LedgerStatus::default() };
    LedgerReply { word: Word::of(call.caller, call.heard, status, Secret(5)), answer: LedgerAnswer::Status }
}

/// A client that knows these addresses, and its inbox.
fn client(
    me: Registration,
    addresses: impl Fn() -> Vec<Option<SocketAddr>> + Send + Sync + 'static,
) -> (LedgerClient, mpsc::Receiver<Input>) {
    let (inbox, received) = mpsc::channel(64);
    let texts = move || addresses().into_iter().map(|address| address.map(|address| address.to_string())).collect();
    let refusals = Refusals::none_yet();
    (LedgerClient::open(credentials(), settings(), me, Box::new(texts), inbox, refusals), received)
}

fn client_of(me: Registration, processes: &[&Process]) -> (LedgerClient, mpsc::Receiver<Input>) {
    let addresses: Vec<_> = processes.iter().map(|process| Some(process.server.address())).collect();
    client(me, move || addresses.clone())
}

/// Waits until the ledger is up or down, whichever is next.
async fn next_change(inbox: &mut mpsc::Receiver<Input>) -> Input {
    soon(async {
        loop {
            let input = inbox.recv().await.expect("the inbox is open");
            if matches!(input, Input::LedgerUp | Input::LedgerDown) {
                return input;
            }
        }
    })
    .await
}

/// Waits for a word of this process.
async fn word_of(inbox: &mut mpsc::Receiver<Input>, head: u64) {
    soon(async {
        loop {
            match inbox.recv().await.expect("the inbox is open") {
                Input::Ledger(reply) if reply.word.status.head == Position(head) => return,
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn peers_are_spread_over_the_processes_and_pass_over_one_whose_address_is_not_known() {
    let registered = Registered::default();
    let (one, two) = (Process::start(1, &registered).await, Process::start(2, &registered).await);
    for peer in 0..4 {
        let (_client, mut inbox) = client_of(registration(life(peer, 1), 1), &[&one, &two]);
        assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
        assert_eq!((one.has(peer), two.has(peer)), (peer % 2 == 0, peer % 2 == 1), "peer {peer}");
    }
    let there = Some(two.server.address());
    let (_client, mut inbox) = client(registration(life(4, 1), 1), move || vec![None, there]);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    assert!(two.has(4));
}

/// With several, what one of them last said may be old: a sign of life takes a call.
#[tokio::test]
async fn a_sign_of_life_of_one_of_several_is_asked_of_its_driver() {
    let registered = Registered::default();
    let one = Process::start(1, &registered).await;
    let (client, mut inbox) = client_of(registration(life(0, 1), 1), &[&one]);
    client.tell_heard(Epoch(3));
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    let Some(Input::Ledger(reply)) = soon(inbox.recv()).await else { panic!("no sign of life") };
    assert_eq!(reply, reply_to(&status_call(life(0, 1)), one.head));
}

#[tokio::test]
async fn a_peer_goes_on_to_another_process_when_its_own_is_gone_and_both_may_go_and_come_back() {
    let registered = Registered::default();
    let (one, two) = (Process::start(1, &registered).await, Process::start(2, &registered).await);
    let (client, mut inbox) = client_of(registration(life(0, 1), 1), &[&one, &two]);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    word_of(&mut inbox, 1).await;
    let first = one.server.address().to_string();
    drop(one);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerDown);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    client.call(status_call(life(0, 1)));
    word_of(&mut inbox, 2).await;
    drop(two);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerDown);
    assert!(!client.is_up());
    client.call(status_call(life(0, 1)));
    assert_eq!(client.dropped(), 1, "no call waits for a ledger");
    // It finds whichever comes back, however often it has asked in vain.
    let _one = Process::listen(&first, 3, &registered).await;
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    client.call(status_call(life(0, 1)));
    word_of(&mut inbox, 3).await;
}

/// A process that is up is of no use while its store does not answer.
#[tokio::test]
async fn a_peer_goes_on_when_the_store_of_its_process_does_not_answer() {
    let registered = Registered::default();
    let (one, two) = (Process::start(1, &registered).await, Process::start(2, &registered).await);
    let (client, mut inbox) = client_of(registration(life(0, 1), 1), &[&one, &two]);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    word_of(&mut inbox, 1).await;
    one.set_mute(true);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerDown);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    word_of(&mut inbox, 2).await;
    // Nor is it registered where it would find no store: it is not told that the ledger is up until there is one.
    two.set_mute(true);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerDown);
    assert!(timeout(settings().silence * 3, inbox.recv()).await.is_err(), "nothing is up or answers");
    one.set_mute(false);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    word_of(&mut inbox, 1).await;
    assert!(client.is_up());
}

/// As a process that is paused: connections are accepted, and nobody says anything.
#[tokio::test]
async fn a_peer_goes_on_from_a_process_that_says_nothing_at_all() {
    let registered = Registered::default();
    let two = Process::start(2, &registered).await;
    let paused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = vec![Some(paused.local_addr().unwrap()), Some(two.server.address())];
    let (_client, mut inbox) = client(registration(life(0, 1), 1), move || addresses.clone());
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    word_of(&mut inbox, 2).await;
}

/// SPEC I5.
#[tokio::test]
async fn a_life_is_of_one_process_of_its_peer_whichever_ledger_it_registers_with() {
    let registered = Registered::default();
    let (one, two) = (Process::start(1, &registered).await, Process::start(2, &registered).await);
    let first = registration(life(0, 5), 1);
    let (first_client, mut inbox) = client_of(first.clone(), &[&one]);
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    let by = |registration: &Registration| RegisterError::Outlived { by: Box::new(registration.clone()) };
    for incarnation in [4, 5] {
        let (twin, _inbox) = client_of(registration(life(0, incarnation), 2), &[&two]);
        assert_eq!(soon(twin.refused()).await, by(&first));
    }
    // The other ledger has learned of it that way, and says where it is.
    let there = two.server.directory().lock().unwrap().address(PeerId(0), PeerId(1));
    assert_eq!(there.as_ref(), Some(&first.address));

    // A later life takes its place. Once the first ledger is told, it hangs up, and lets the earlier life in no more.
    let later = registration(life(0, 6), 2);
    let (later_client, mut later_inbox) = client_of(later.clone(), &[&two]);
    assert_eq!(next_change(&mut later_inbox).await, Input::LedgerUp);
    assert!(one.server.directory().lock().unwrap().learn(later.clone()));
    assert_eq!(next_change(&mut inbox).await, Input::LedgerDown);
    assert_eq!(soon(first_client.refused()).await, by(&later));
    assert!(later_client.is_up());
}
