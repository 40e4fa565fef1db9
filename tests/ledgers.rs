//! Several processes of one ledger: a peer turns to another when its own is gone or of no use, and what is registered
//! with one of them is known to all (SPEC I5, J3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bazaar_protocol::{
    id::{Epoch, Life, PeerId, Position},
    input::Input,
    ledger::{HighWaterMark, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, LedgerStatus, Secret, Word},
};
use bazaar_runtime::{
    config::{
        RawConfig,
        ledger::LedgerId,
        run_dir::{RunDir, RunDirError, ledger_dir, pid_file},
    },
    network::{
        directory::{Entry, RegisterError, Registration},
        hello::Credentials,
        ledger_client::LedgerClient,
        ledger_service::{Fence, LedgerJob, LedgerServer, StoreAccess},
        refusals::Refusals,
        settings::Settings,
    },
    system::process::ProcessMark,
    tools::access::{AccessError, Ledgers, Run, key_of},
};
use ends::{PEERS, credentials, life, settings, soon};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};

fn registration(life: Life, instance: u64) -> Registration {
    Registration { life, instance, address: "127.0.0.1:4711".into(), pid: 1, host: "here".into() }
}

/// What all processes share: of each peer the latest registration, in place of a store.
type Registered = Arc<Mutex<Vec<Registration>>>;

/// A process of the ledger whose every word is at the head that it is named by. While it is `mute`, it answers nothing.
struct Ledger {
    server: LedgerServer,
    head: u64,
    mute: Arc<Mutex<bool>>,
    /// How many calls, signs of life among them, its driver was given.
    calls: Arc<AtomicUsize>,
}

impl Ledger {
    async fn start(head: u64, registered: &Registered) -> Ledger {
        Ledger::start_with(settings(), head, registered).await
    }

    async fn start_with(settings: Settings, head: u64, registered: &Registered) -> Ledger {
        Ledger::listen("127.0.0.1:0", settings, head, registered, credentials()).await
    }

    async fn listen(
        address: &str,
        settings: Settings,
        head: u64,
        registered: &Registered,
        credentials: Credentials,
    ) -> Ledger {
        let (jobs, mut asked) = mpsc::channel(16);
        let (mute, calls) = (Arc::new(Mutex::new(false)), Arc::new(AtomicUsize::new(0)));
        let (registered, is_mute, given) = (Arc::clone(registered), Arc::clone(&mute), Arc::clone(&calls));
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(job) = asked.recv().await {
                given.fetch_add(usize::from(matches!(job, LedgerJob::Call { .. })), Ordering::Relaxed);
                // A process that is halted does not even say that a call will not be answered.
                if *is_mute.lock().unwrap() {
                    unanswered.extend(matches!(job, LedgerJob::Call { .. }).then_some(job));
                    continue;
                }
                match job {
                    LedgerJob::Call { call, reply } => drop(reply.send(Ok(reply_to(&call, head)))),
                    LedgerJob::Register { registration, reply } => {
                        drop(reply.send(enter(&mut registered.lock().unwrap(), registration)));
                    }
                    LedgerJob::Info { reply } => {
                        drop(reply.send(Fence { status: status(head), live: true, trouble: None }));
                    }
                    LedgerJob::Log { .. } | LedgerJob::Hand { .. } => {}
                }
            }
        });
        let server = LedgerServer::listen(address, credentials, settings, PEERS, jobs, StoreAccess::Shared).await;
        Ledger { server: server.unwrap(), head, mute, calls }
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

fn status(head: u64) -> LedgerStatus {
    LedgerStatus { head: Position(head), ..LedgerStatus::default() }
}

fn reply_to(call: &LedgerCall, head: u64) -> LedgerReply {
    LedgerReply { word: Word::of(call.caller, call.heard, status(head), Secret(5)), answer: LedgerAnswer::Status }
}

/// A client that knows these addresses, and its inbox.
fn client(
    me: Registration,
    addresses: impl Fn() -> Vec<Option<SocketAddr>> + Send + Sync + 'static,
) -> (LedgerClient, mpsc::Receiver<Input>) {
    client_with(settings(), me, addresses)
}

fn client_with(
    settings: Settings,
    me: Registration,
    addresses: impl Fn() -> Vec<Option<SocketAddr>> + Send + Sync + 'static,
) -> (LedgerClient, mpsc::Receiver<Input>) {
    let (inbox, received) = mpsc::channel(64);
    let texts = move || addresses().into_iter().map(|address| address.map(|address| address.to_string())).collect();
    let refusals = Refusals::none_yet();
    (LedgerClient::open(credentials(), settings, me, Box::new(texts), inbox, refusals), received)
}

fn client_of(me: Registration, processes: &[&Ledger]) -> (LedgerClient, mpsc::Receiver<Input>) {
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
            if let Input::Ledger(reply) = inbox.recv().await.expect("the inbox is open")
                && reply.word.status.head == Position(head)
            {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn peers_are_spread_over_the_processes_and_pass_over_one_whose_address_is_not_known() {
    let registered = Registered::default();
    let (one, two) = (Ledger::start(1, &registered).await, Ledger::start(2, &registered).await);
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
    let one = Ledger::start(1, &registered).await;
    let (client, mut inbox) = client_of(registration(life(0, 1), 1), &[&one]);
    client.tell_heard(Epoch(3));
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    let Some(Input::Ledger(reply)) = soon(inbox.recv()).await else { panic!("no sign of life") };
    assert_eq!(reply, reply_to(&status_call(life(0, 1)), one.head));
}

#[tokio::test]
async fn a_peer_goes_on_to_another_process_when_its_own_is_gone_and_both_may_go_and_come_back() {
    let registered = Registered::default();
    let (one, two) = (Ledger::start(1, &registered).await, Ledger::start(2, &registered).await);
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
    let _one = Ledger::listen(&first, settings(), 3, &registered, credentials()).await;
    assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
    client.call(status_call(life(0, 1)));
    word_of(&mut inbox, 3).await;
}

/// A process that is up is of no use while its store does not answer.
#[tokio::test]
async fn a_peer_goes_on_when_the_store_of_its_process_does_not_answer() {
    let registered = Registered::default();
    let (one, two) = (Ledger::start(1, &registered).await, Ledger::start(2, &registered).await);
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

/// So a trader whose process of the ledger halts finds another one before it gives up the office.
#[tokio::test]
async fn one_of_several_that_does_not_answer_a_call_is_asked_for_a_sign_of_life_before_that_is_given_up() {
    // By itself, a sign of life is asked for only after the call was given up.
    let patient = Settings {
        keepalive: Duration::from_secs(6),
        silence: Duration::from_secs(20),
        call: Duration::from_millis(3_500),
        ..settings()
    };
    for (several, given_up) in [(true, 0), (false, 1)] {
        let registered = Registered::default();
        let one = Ledger::start_with(patient, 1, &registered).await;
        let two = Ledger::start_with(patient, 2, &registered).await;
        let processes = [&one, &two].into_iter().take(if several { 2 } else { 1 });
        let addresses: Vec<_> = processes.map(|process| Some(process.server.address())).collect();
        let (client, mut inbox) = client_with(patient, registration(life(0, 1), 1), move || addresses.clone());
        assert_eq!(next_change(&mut inbox).await, Input::LedgerUp);
        one.set_mute(true);
        client.call(status_call(life(0, 1)));
        soon(async {
            while one.calls.load(Ordering::Relaxed) < 2 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(client.dropped(), given_up, "several: {several}");
    }
}

/// As a process that is paused: connections are accepted, and nobody says anything.
#[tokio::test]
async fn a_peer_goes_on_from_a_process_that_says_nothing_at_all() {
    let registered = Registered::default();
    let two = Ledger::start(2, &registered).await;
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
    let (one, two) = (Ledger::start(1, &registered).await, Ledger::start(2, &registered).await);
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

#[tokio::test]
async fn tools_ask_all_processes_and_name_those_that_do_not_answer() {
    let home = tempfile::tempdir().unwrap();
    let key = format!("key = \"{}\"\n", "5a".repeat(32));
    let of_run = key_of(&RawConfig::parse(&key, Path::new("x")).unwrap().check().unwrap()).unwrap();
    let registered = Registered::default();
    let (any, dir) = ("127.0.0.1:0", home.path().join("run"));
    let one = Ledger::listen(any, settings(), 1, &registered, of_run.clone()).await;
    let two = Ledger::listen(any, settings(), 2, &registered, of_run).await;
    let addresses = [one.server.address(), two.server.address()];
    let text = key
        + "ledger.store = \"etcd\"\nledger.etcd.endpoints = [\"http://127.0.0.1:1\"]\n"
        + &addresses.map(|address| format!("[[ledger.process]]\naddress = \"{address}\"\n")).concat();
    let raw = RawConfig::parse(&text, Path::new("x")).unwrap();
    drop(RunDir::take(&dir, Some(raw), |_| Ok(()), |_| Ok::<_, RunDirError>(())).unwrap());
    let run = Run::at(&dir).unwrap();

    // Each knows who is connected to it.
    let (early, late) = (registration(life(0, 5), 1), registration(life(0, 6), 2));
    one.server.directory().lock().unwrap().register(early).unwrap();
    two.server.directory().lock().unwrap().learn(late.clone());
    one.server.directory().lock().unwrap().learn(registration(life(1, 1), 1));
    two.server.directory().lock().unwrap().register(registration(life(1, 1), 1)).unwrap();
    let info = soon(run.ledger_info()).await.unwrap();
    assert_eq!(info.status.head, Position(2), "what is furthest counts");
    let told = |entry: &Entry| (entry.registration.life, entry.connected);
    assert_eq!(info.entries.iter().map(told).collect::<Vec<_>>(), [(late.life, false), (life(1, 1), true)]);

    let second = |Ledgers { answers, .. }: &Ledgers| answers.iter().map(|answer| answer.id.number()).eq([2]);
    one.set_mute(true);
    assert!(soon(run.ledger()).await.is_ok());
    let mute = soon(run.ledgers()).await.unwrap();
    assert!(second(&mute), "{mute:?}");
    drop(one);
    let gone = soon(run.ledgers()).await.unwrap();
    let (id, why) = &gone.silent[0];
    assert!(second(&gone) && id.to_string() == "ledger 1", "{gone:?}");
    assert!(why.starts_with(&format!("{}: cannot connect", addresses[0])), "{why}");
    drop(two);
    for error in [soon(run.ledger()).await.unwrap_err(), soon(run.ledgers()).await.unwrap_err()] {
        let error = error.to_string();
        for (id, address) in (1..).zip(addresses) {
            assert!(error.contains(&format!("ledger {id}: {address}: cannot connect")), "{error}");
        }
    }
    // What is in etcd is looked for there, and not on disk.
    assert!(matches!(soon(run.log()).await, Err(AccessError::Cluster(_))));
}

/// What `bazaar` says when it refuses something, and its exit code.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bazaar")).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_process_of_the_ledger_is_named_by_its_number_where_there_are_several() {
    let home = tempfile::tempdir().unwrap();
    let (file, dir) = (home.path().join("market.toml"), home.path().join("run"));
    let ledger = |process| refused(&["ledger", "--config", file.to_str().unwrap(), "--process", process]);
    let kill = |whom| refused(&["kill", whom, "--dir", dir.to_str().unwrap()]);
    let says = |(code, said): (Option<i32>, String), expected: i32, part: &str| {
        assert!(code == Some(expected) && said.contains(part), "{part:?}: {code:?} {said}");
    };
    let alone = format!("key = \"{}\"\ndir = \"run\"\n", "5a".repeat(32));
    std::fs::write(&file, &alone).unwrap();
    says(ledger("2"), 2, "--process 2: there is no such process; the ledger has one process");
    says(ledger("0"), 2, "--process");
    let etcd = "ledger.store = \"etcd\"\nledger.etcd.endpoints = [\"http://127.0.0.1:1\"]\n";
    let two = format!("{alone}{etcd}[[ledger.process]]\n[[ledger.process]]\n");
    std::fs::write(&file, &two).unwrap();
    says(ledger("3"), 2, "--process 3: there is no such process; the processes of the ledger are numbered from 1 to 2");
    assert!(!dir.exists(), "nothing is made for what is refused");

    let raw = RawConfig::parse(&two, Path::new("x")).unwrap();
    drop(RunDir::take(&dir, Some(raw), |_| Ok(()), |_| Ok::<_, RunDirError>(())).unwrap());
    says(kill("ledger-3"), 2, "there is no ledger-3 in this run; it has ledger-1, ledger-2");
    says(kill("ledger-2"), 3, "ledger 2 has no running process on this machine");
    says(kill("ledger"), 3, "the ledger has no running process on this machine");
    // Both seem to be this process, which must not be killed.
    for id in LedgerId::all(2) {
        let member = ledger_dir(&dir, id);
        std::fs::create_dir_all(&member).unwrap();
        ProcessMark::of_this().unwrap().leave(&pid_file(&member)).unwrap();
    }
    says(kill("ledger"), 2, "several processes of the ledger run here; say which: ledger-1, ledger-2");
    // Whichever goes on, the run has not ended.
    std::fs::remove_file(pid_file(&ledger_dir(&dir, LedgerId::ONLY))).unwrap();
    assert!(Run::at(&dir).unwrap().lives_here(), "ledger-2 goes on");
}
