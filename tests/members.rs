//! Members that run twice, from a lost or an old store, or with a bug (SPEC I5, I8).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bazaar::{Answer, Bazaar, copy, free_port, note, until};
use bazaar_protocol::{
    account::{BuyerStatus, Seat},
    clock::{Stamp, Time},
    effect::{Durable, Note},
    election::ElectionMessage,
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, Sequence, Units},
    ledger::{HighWaterMark, LedgerCall, LedgerReply, LedgerRequest},
    message::{Body, ClientMessage, Envelope, FloodId, Route, TraderMessage},
    record::Request,
};
use bazaar_runtime::{
    config::ledger::LedgerId,
    config::{BazaarConfig, RawConfig},
    network::{
        directory::Registration,
        hello::{self, Purpose},
        service::{LedgerDoorClient, LedgerRefusal, PeerLinkClient, within},
        settings::Settings,
        wire::Wire,
    },
    processes::report::{Event, ProcessEvent, What},
    store::PeerStore,
    tools::access::{credentials, ledger_address},
};
use nix::sys::signal::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// Buyers and sellers that have no need of the last peer, which does both: started by hand, or not at all.
fn by_hand() -> Bazaar {
    let bazaar = Bazaar::new("peers = 5\n");
    let (ledger, key) = (free_port("127.0.0.1"), "5a".repeat(32));
    let roles = ["seller", "seller", "buyer", "buyer", "both"];
    let peers: String = (0..5).map(|id| format!("[[peer]]\nid = {id}\nrole = \"{}\"\n", roles[id as usize])).collect();
    let config = format!(
        "name = \"members\"\nkey = \"{key}\"\npeers = 5\nseed = 7\ndir = \"run\"\n[ledger]\naddress = \
         \"127.0.0.1:{ledger}\"\n[goods]\nitems = [\"fish\"]\n[terms]\nordering = \"smallest-open\"\n[timeouts]\n\
         first_call = \"300ms\"\n[waits]\ndeposit_after = \"50ms\"\ntrade_after = \"100ms\"\nthink = \"50ms\"\n{peers}"
    );
    for machine in ["here", "there"] {
        fs::create_dir(bazaar.home().join(machine)).unwrap();
        fs::write(bazaar.home().join(machine).join("market.toml"), &config).unwrap();
    }
    bazaar
}

fn member(bazaar: &Bazaar, machine: &str, args: &[&str]) -> Command {
    let mut command = bazaar::bazaar();
    command.args(args).arg("--json").arg("--config").arg(bazaar.home().join(machine).join("market.toml"));
    command
}

fn start(bazaar: &mut Bazaar, args: &[&str]) -> i32 {
    let command = member(bazaar, "here", args);
    bazaar.start_with(command) as i32
}

fn status(bazaar: &Bazaar) -> Value {
    until("the bazaar reports its status", || {
        let dir = bazaar.home().join("here/run");
        let answer = bazaar::ask(&["status", "--json", "--dir", dir.to_str().unwrap()]);
        (answer.code == Some(0)).then(|| answer.json())
    })
}

/// SPEC I5.
#[test]
fn of_a_peer_that_is_started_twice_the_second_is_refused_and_told_of_the_first() {
    assert!((0..5).any(|_| a_twin_is_refused()), "the first hung each time");
}

/// Whether it was seen; not if the first hung for so long that nobody heard it, and a later life was let in instead.
fn a_twin_is_refused() -> bool {
    let mut bazaar = by_hand();
    let mut pids = vec![start(&mut bazaar, &["ledger"])];
    for id in ["0", "2", "3", "4"] {
        pids.push(start(&mut bazaar, &["peer", "--id", id]));
    }
    bazaar.wait_for_purchases(0, 2);
    let first = pids[1].to_string();
    let entry = |bazaar: &Bazaar| {
        let peer = status(bazaar)["peers"][0].clone();
        (peer["pid"].as_i64(), peer["address"].clone(), peer["ledger"] == true)
    };
    let is_its = |(pid, _, is_up): &(Option<i64>, Value, bool)| (*pid, *is_up) == (Some(i64::from(pids[1])), true);
    let before = until("the first is entered", || Some(entry(&bazaar)).filter(is_its));

    // The same directory: nothing in it says afterwards that the first must not go on.
    Answer::of(member(&bazaar, "here", &["peer", "--id", "0"])).refused(3, &["peer 0", "is in use"]);
    assert!(!bazaar.home().join("here/run/peer-0/left").exists());
    // Another directory, and so the same first life.
    let twin = Answer::of(member(&bazaar, "there", &["peer", "--id", "0"]));
    twin.refused(3, &["peer 0", "life 1 of it has registered before", &format!("process {first}"), "rejoin 0"]);
    // Or a later one, which has to wait as long as the first is heard.
    let dir = bazaar.home().join("there/run/peer-0/store");
    let durable = Durable { incarnation: Incarnation(9), ..Durable::default() };
    PeerStore::open(&dir).unwrap().save(&durable).unwrap();
    let errors = bazaar.home().join("twin");
    let mut later = member(&bazaar, "there", &["peer", "--id", "0"]);
    let mut twin = later.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap()).spawn().unwrap();
    let ended = until("the twin is refused, or let in", || match twin.try_wait().unwrap() {
        Some(ended) => Some(Some(ended)),
        None => (!bazaar.processes().contains_key(&pids[1])).then_some(None),
    });
    let Some(ended) = ended else {
        twin.kill().unwrap();
        twin.wait().unwrap();
        return false;
    };
    let errors = fs::read_to_string(errors).unwrap();
    assert_eq!(ended.code(), Some(3), "{errors}");
    for part in ["peer 0", "it runs already", &format!("process {first}"), "stop that process first"] {
        assert!(errors.contains(part), "no {part:?} in: {errors}");
    }
    until("the ledger counts it", || {
        (status(&bazaar)["doors"][0]["refused"]["old_life"].as_u64() > Some(0)).then_some(())
    });
    // Nor is a life beside the first let in by force.
    let there = bazaar.home().join("there/run");
    bazaar::ask(&["rejoin", "0", "--dir", there.to_str().unwrap()]).refused(3, &["is running", &first]);

    until("the entry of the first stands", || (entry(&bazaar) == before).then_some(()));
    bazaar.wait_for_purchases(bazaar.now(), 2);
    for pid in pids.iter().rev() {
        bazaar.signal(*pid, Signal::SIGTERM);
    }
    bazaar.assert_nobody_is_left();
    true
}

/// Every run here has another trader, the highest first: with so many, peer 0 hardly ever is one, and buys in each.
const MARKET: &str = "peers = 10\nseed = 7\n[[peer]]\nid = 0\nrole = \"buyer\"\n[terms]\nresign_after = 100000\n[timeouts]\nfirst_call = \"300ms\"\n[waits]\n\
    deposit_after = \"50ms\"\ntrade_after = \"100ms\"\nthink = \"50ms\"\n";

/// Waits until this buyer buys something more.
fn buys(bazaar: &Bazaar, buyer: PeerId) {
    let from = bazaar.now();
    let is_purchase = |event: &Event| event.peer == Some(buyer) && matches!(note(event), Some(Note::Bought { .. }));
    until("it buys something", || {
        if bazaar.status()["trader"] == buyer.0 {
            // All others hung, and it was elected. It sits out the next term.
            bazaar.ask(&["resign"]);
        }
        bazaar.events()[from..].iter().any(is_purchase).then_some(())
    });
}

/// SPEC I5: an older copy of a peer's directory used numbers again and never got an answer; one that was lost likewise.
#[test]
fn a_peer_with_an_old_or_a_lost_store_stops_and_is_let_in_again_by_hand() {
    let mut bazaar = Bazaar::run(MARKET, &[]);
    let buyer = PeerId(0);
    buys(&bazaar, buyer);
    bazaar.stop();
    let (dir, old) = (bazaar.dir().join(format!("peer-{buyer}")), bazaar.home().join("old"));
    copy(&dir, &old);
    for _ in 0..2 {
        bazaar.start(&[]);
        buys(&bazaar, buyer);
        bazaar.stop();
    }
    let id = buyer.to_string();
    for is_lost in [false, true] {
        fs::remove_dir_all(&dir).unwrap();
        if !is_lost {
            copy(&old, &dir);
        }
        let run = bazaar.dir();
        let run = run.to_str().unwrap();
        for page in [["books", "terms"].as_slice(), &["audit"], &["status"]] {
            let told = bazaar::ask(&[page, &["--dir", run]].concat()).ends(0).err;
            assert_eq!(told.contains("peer 0: its store is an old copy, of life 1"), !is_lost, "{told}");
        }
        // It is left out, the others go on, those of its process as well, and the run says so when it ends.
        let (from, said) = (bazaar.now(), bazaar.errors().len());
        bazaar.start(if is_lost { &["--processes", "2"] } else { &[] });
        let peer = format!("peer {id}");
        bazaar.wait_for_event(
            "it is left out",
            from,
            |event| matches!(&event.what, What::Process(ProcessEvent::Failed { process, .. }) if *process == peer),
        );
        bazaar.wait_for_purchases(bazaar.now(), 3);
        until("the status of the peer says why it is not there", || {
            let peer = bazaar.status()["peers"][0].clone();
            peer["why"].as_str()?.contains("this store is an old copy").then_some(())
        });
        if is_lost {
            let mate = bazaar.pid_of(PeerId(2));
            assert_eq!(bazaar.pid_of(PeerId(4)), mate, "the others of its process are there");
        }
        bazaar.signal(bazaar.supervisor(), Signal::SIGINT);
        assert_eq!(bazaar.wait_for_end().code(), Some(3));
        let errors = bazaar.errors()[said..].to_owned();
        let ending = if is_lost { "not everybody stopped cleanly" } else { "not started again" };
        let parts = ["others know of", "this store is an old copy", &format!("bazaar rejoin {id}"), ending];
        for part in parts {
            assert!(errors.contains(part), "no {part:?} in: {errors}");
        }
        let run = bazaar.dir();
        let told = bazaar::ask(&["rejoin", &id, "--dir", run.to_str().unwrap()]).ends(0).out;
        assert!(told.contains("the books: life") && told.contains("will begin life"), "{told}");
        bazaar.start(&[]);
        buys(&bazaar, buyer);
        bazaar.stop();
        bazaar.check();
    }
}

/// SPEC I8: one frame of a member with a bug stopped everybody for good. Here it says all it can, to a neighbour of the
/// peer that it is.
#[test]
fn a_member_that_names_absurd_epochs_clocks_and_numbers_stops_nobody() {
    let mut bazaar = by_hand();
    let mut pids = vec![start(&mut bazaar, &["ledger"])];
    for id in ["0", "1", "2", "3"] {
        pids.push(start(&mut bazaar, &["peer", "--id", id]));
    }
    bazaar.wait_for_purchases(0, 2);

    let config = RawConfig::read(&bazaar.home().join("here/market.toml")).unwrap().check().unwrap();
    let (me, epoch) = (PeerId(4), Epoch(status(&bazaar)["epoch"].as_u64().unwrap()));
    let neighbour = config.graph().neighbours(me).iter().next().unwrap();
    let address = until("the neighbour has an address", || {
        Some(status(&bazaar)["peers"][neighbour.0 as usize]["address"].as_str()?.to_owned())
    });
    let life = Life { peer: me, incarnation: Incarnation(1) };
    let counted = |at_least: u64| {
        until("all of it is counted", || {
            let status = status(&bazaar);
            let count = |door: &Value| door["refused"]["implausible"].as_u64().unwrap_or(0);
            let all: u64 = status["doors"].as_array()?.iter().map(count).sum();
            (all >= at_least).then_some(())
        });
    };

    // The neighbour counts what it refused, each of it, and names the member.
    let absurd = absurd();
    let refused = absurd.len() as u64;
    say(&config, life, *neighbour, &address, absurd);
    counted(refused);
    let trace = fs::read_to_string(bazaar.home().join(format!("here/run/peer-{neighbour}/trace"))).unwrap();
    let is_named = |line: &str| line.contains("refused (absurd number)") && line.contains("of peer 4");
    assert!(trace.lines().any(is_named), "the member is named: {trace}");
    // And of steps that are plausible, those above the ceiling. All go on; so do those that start again.
    say(&config, life, *neighbour, &address, plausible(epoch));
    counted(refused + 100);
    bazaar.wait_for_purchases(bazaar.now(), 5);
    // It shows the ledger that it has seen more than there is: nobody but it is refused.
    assert_eq!(show_more_than_there_is(&config, life, &bazaar), Err(LedgerRefusal::MadeUp));
    let ledger = fs::read_to_string(bazaar.home().join("here/run/ledger/trace")).unwrap();
    assert!(ledger.lines().any(|line| line.contains("a call of peer 4: it says that it has seen epoch 1")), "{ledger}");
    // However long it goes on to say that it leads, the others find their trader, and believe the ledger.
    let liar = Liar::begin(&config, life, *neighbour, &address, epoch);
    bazaar.wait_for_event("the ledger is believed", 0, |event| matches!(note(event), Some(Note::NoSuchEpoch { .. })));
    until("it has lied for longer than anybody waits for a trader", || (liar.lies() >= 30).then_some(()));
    bazaar.wait_for_purchases(bazaar.now(), 10);
    liar.end();
    let seller = pids.pop().unwrap();
    bazaar.end(seller, Signal::SIGKILL);
    pids.push(start(&mut bazaar, &["peer", "--id", "3"]));
    bazaar.wait_for_purchases(bazaar.now(), 5);
    let clocks: Vec<u64> = until("all of them answer", || {
        status(&bazaar)["peers"].as_array()?.iter().take(4).map(|peer| peer["clock"].as_u64()).collect()
    });
    for clock in clocks {
        assert!(clock < 1 << 52, "room for centuries is left: {clock}");
        assert!(clock > 1 << 50, "nobody is left behind by the one that was raised: {clock}");
    }
    for pid in pids.iter().rev() {
        bazaar.signal(*pid, Signal::SIGTERM);
    }
    bazaar.assert_nobody_is_left();
}

/// What cannot be true: each a body, and the clock that it carries.
fn absurd() -> Vec<(Body, u64)> {
    let asks = |sequence: u64, time: u64| {
        let id = RequestId { buyer: PeerId(4), sequence: Sequence(sequence) };
        let stamp = Stamp { time: Time(time), peer: PeerId(4) };
        let request = Request { id, previous: None, item: Item(0), quantity: Units(1), stamp };
        Body::Client(ClientMessage::Request(request))
    };
    vec![
        (heartbeat(u64::MAX), 1),
        (heartbeat(u64::MAX - 1), 1),
        (Body::Election(ElectionMessage::Coordinator { epoch: Epoch(u64::MAX) }), 1),
        (Body::Election(ElectionMessage::Resigned { epoch: Epoch(u64::MAX) }), 1),
        (Body::Heartbeat { epoch: Epoch(1), waits: Some(Time(u64::MAX)) }, 1),
        (asks(1 << 32, u64::MAX), 1),
        (asks(u64::MAX, 1), 1),
        (Body::Clock, u64::MAX),
        (Body::Clock, u64::MAX / 2),
    ]
}

/// What can be true and is not: an epoch that is five too high, which is believed for a while, the word of a trader that is
/// none, and clocks that rise in steps, further than any may.
fn plausible(epoch: Epoch) -> Vec<(Body, u64)> {
    let won = Body::Election(ElectionMessage::Coordinator { epoch: Epoch(epoch.0 + 5) });
    // Whoever were told this by the trader would have to stop.
    let seat = Some(Seat { incarnation: Incarnation(7), is_taken: true, changes: 1 });
    let later = Body::Trader(TraderMessage::Buyer(BuyerStatus { seat, ..BuyerStatus::default() }));
    let steps = (1..=3_000_u64).map(|step| (Body::Clock, step << 40));
    [(heartbeat(epoch.0 + 5), 1), (won, 1), (later, 1)].into_iter().chain(steps).collect()
}

fn heartbeat(epoch: u64) -> Body {
    Body::Heartbeat { epoch: Epoch(epoch), waits: None }
}

/// What this life floods as its message of this number.
fn flooded(life: Life, number: u64, (body, clock): (Body, u64)) -> Envelope {
    let id = FloodId { origin: life.peer, incarnation: life.incarnation, number };
    Envelope {
        source: life.peer,
        clock: Time(clock),
        route: Route::Flood { id, to: None },
        multicast: if body == Body::Clock { Time(clock) } else { Time(0) },
        body,
    }
}

/// A slow machine may take its time to welcome the member.
fn patient() -> Settings {
    Settings { handshake: SOON, ..Settings::default() }
}

/// A link to a neighbour, as the member of this life has it.
async fn link(config: &BazaarConfig, life: Life, to: PeerId, address: &str) -> PeerLinkClient {
    let (credentials, settings) = (credentials(config).unwrap(), patient());
    let frames = hello::connect(address, &credentials, Purpose::Link { from: life, to }, &settings).await.unwrap();
    PeerLinkClient::new(tarpc::client::Config::default(), Wire::new(frames, "a peer")).spawn()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Delivers this to a neighbour, as the member of this life.
fn say(config: &BazaarConfig, life: Life, to: PeerId, address: &str, said: Vec<(Body, u64)>) {
    let said: Vec<Envelope> = (1..).zip(said).map(|(number, said)| flooded(life, number, said)).collect();
    runtime().block_on(async {
        let client = link(config, life, to, address).await;
        for envelopes in said.chunks(32) {
            client.deliver(within(SOON), envelopes.to_vec()).await.unwrap().unwrap();
        }
    });
}

/// Says again and again that it leads, in an epoch that nobody was granted, as often as a trader would.
struct Liar {
    over: Arc<AtomicBool>,
    lies: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Liar {
    fn begin(config: &BazaarConfig, life: Life, to: PeerId, address: &str, epoch: Epoch) -> Liar {
        let (config, address) = (config.clone(), address.to_owned());
        let (over, lies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, told) = (Arc::clone(&over), Arc::clone(&lies));
        let lie = move || {
            runtime().block_on(async {
                let client = link(&config, life, to, &address).await;
                let mut heartbeats = tokio::time::interval(config.timeouts().renewal);
                while !is_over.load(Ordering::Relaxed) {
                    heartbeats.tick().await;
                    let number = 1_000_000 + told.fetch_add(1, Ordering::Relaxed);
                    // And in turn, as one that has not set the field.
                    let named = if number % 2 == 0 { epoch.0 + 5 } else { 0 };
                    let lie = flooded(life, number, (heartbeat(named), 1));
                    client.deliver(within(SOON), vec![lie]).await.unwrap().unwrap();
                }
            });
        };
        Liar { over, lies, thread: thread::spawn(lie) }
    }

    /// How often it has said so by now.
    fn lies(&self) -> u64 {
        self.lies.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Calls the ledger with a mark that no ledger has given.
fn show_more_than_there_is(config: &BazaarConfig, life: Life, bazaar: &Bazaar) -> Result<LedgerReply, LedgerRefusal> {
    let seen = HighWaterMark { epoch: Epoch(1), head: Position(u64::MAX), ..HighWaterMark::default() };
    let call = LedgerCall { caller: life, seen, heard: Epoch(0), request: LedgerRequest::Status };
    let address = ledger_address(config, &bazaar.home().join("here/run"), LedgerId::ONLY).unwrap();
    let (pid, host) = (std::process::id(), "localhost".to_owned());
    let registration = Registration { life, instance: 1, address: "127.0.0.1:1".to_owned(), pid, host };
    runtime().block_on(async {
        let (credentials, settings) = (credentials(config).unwrap(), patient());
        let purpose = Purpose::Ledger { from: life };
        let frames = hello::connect(&address, &credentials, purpose, &settings).await.unwrap();
        let client = LedgerDoorClient::new(tarpc::client::Config::default(), Wire::new(frames, "the ledger")).spawn();
        client.register(within(SOON), registration).await.unwrap().unwrap();
        client.call(within(SOON), call).await.unwrap()
    })
}
