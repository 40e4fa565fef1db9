//! The command line as a contract: names, exit codes, and what is said when something is wrong (SPEC A5, A6, A8, D10,
//! H1, H4).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;
mod documented;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use bazaar::{Answer, Bazaar, QUICK, ask, bazaar, deposit, free_port, note, process_event, processes_below, until};
use bazaar_protocol::{
    books::Books,
    clock::{Clock, Stamp, Time},
    config::{Ordering, Terms},
    effect::Note,
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, RequestId, Sequence, Units},
    message::ClientMessage,
    money::{Cents, Price},
    record::{Batch, Deposit, Entry, Record, Request},
    store::Store as _,
    trader::Trader,
};
use bazaar_runtime::{
    processes::report::{Event, ProcessEvent},
    store::{LedgerOptions, SledLedger},
};
use documented::assert_documented;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A run that has sold something and ended.
fn ended() -> Bazaar {
    let mut bazaar = Bazaar::run(QUICK, &["--purchases", "5"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
    bazaar
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// ------------------------------------------------------------------------------------------------------- for people

#[test]
fn every_command_explains_itself() {
    assert!(ask(&["--version"]).ends(0).out.starts_with("bazaar 0."));
    let help = ask(&["--help"]).ends(0).out;
    let commands = [
        "run", "init", "ledger", "peer", "status", "kill", "pause", "resume", "cut", "heal", "books", "audit",
        "backup", "restore", "graph", "cert",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        let help = ask(&[command, "--help"]).ends(0).out;
        assert!(help.contains("Example"), "no example of {command}: {help}");
    }
    assert!(help.contains("Exit codes"));
    ask(&[]).ends(2);
}

#[test]
fn unknown_commands_flags_and_values_are_refused_as_wrong_usage() {
    ask(&["sell"]).refused(2, &["sell"]);
    ask(&["run", "--pears", "3"]).refused(2, &["--pears", "--peers"]);
    ask(&["run", "--for", "soon"]).refused(2, &["soon", "--for"]);
    ask(&["run", "--for", "5"]).refused(2, &["--for"]);
    ask(&["run", "--pace", "hasty"]).refused(2, &["hasty", "reference, brisk, flat-out"]);
    ask(&["run", "--ordering", "fair"]).refused(2, &["fair", "\"stable\" or \"smallest-open\""]);
    ask(&["run", "--restart-after", "later"]).refused(2, &["later", "never"]);
    ask(&["run", "--processes", "0"]).refused(2, &["--processes"]);
    ask(&["run", "--purchases", "0"]).refused(2, &["--purchases"]);
    ask(&["run", "--only", "sold,weather"]).refused(2, &["weather", "no such kind of event", "took_office"]);
    ask(&["run", "--peers", "3", "--peer", "3"]).refused(2, &["--peer 3", "no such peer", "from 0 to 2"]);
    ask(&["run", "--json", "--quiet"]).refused(2, &["--json", "--quiet"]);
    ask(&["books", "debts"]).refused(2, &["debts", "stock", "accounts"]);
    ask(&["kill", "obelix"]).refused(2, &["obelix", "`trader`, `ledger`, or a peer's id"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar"));
    command.args(["--color", "pink", "init"]);
    Answer::of(command).refused(2, &["pink", "auto", "always", "never"]);
}

#[test]
fn init_writes_a_configuration_that_runs() {
    let mut bazaar = Bazaar::new("");
    let file = bazaar.home().join("market.toml");
    let said = ask(&["init", text(&file)]).ends(0);
    assert!(said.out.contains(text(&file)), "{}", said.out);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds a key");
    let written = fs::read_to_string(&file).unwrap();
    for parameter in ["peers = 10", "resign_after = 40", "commission = 2000", "#suspicion = \"1800ms\"", "[graph]"] {
        assert!(written.contains(parameter), "{parameter} is not in {written}");
    }
    // What only makes a run is not ignored where a file is written.
    for (flag, value) in [("--peers", "6"), ("--days", "9"), ("--config", text(&file))] {
        let other = file.with_extension("other");
        ask(&["init", text(&other), flag, value]).refused(2, &[flag, "cannot be used with"]);
        assert!(!other.exists());
        ask(&["init", flag, value]).refused(2, &["--tls"]);
    }
    ask(&["init", text(&file)]).refused(2, &[text(&file), "exists already"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    ask(&["init", "/proc/nowhere/market.toml"]).refused(2, &["/proc/nowhere/market.toml"]);
    // Without a file it goes to standard output; no two keys are the same.
    let printed = ask(&["init"]).ends(0).out;
    assert!(printed.contains("[timeouts]") && printed != written);

    let dir = bazaar.dir();
    let mut command = bazaar::bazaar();
    command.args(["run", "--json", "--peers", "3", "--for", "1s", "--config", text(&file), "--dir", text(&dir)]);
    bazaar.start_with(command);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
}

#[test]
fn a_network_is_drawn_the_same_each_time_and_nobody_has_more_than_three_neighbours() {
    let json = ask(&["graph", "--peers", "20", "--seed", "7", "--format", "json"]).ends(0);
    assert_eq!(ask(&["graph", "--peers", "20", "--seed", "7", "--format", "json"]).ends(0).out, json.out);
    assert_ne!(ask(&["graph", "--peers", "20", "--seed", "8", "--format", "json"]).ends(0).out, json.out);
    let network = json.json();
    assert_eq!(network.as_object().unwrap().len(), 20);
    assert!(network.as_object().unwrap().values().all(|ids| (1..=3).contains(&ids.as_array().unwrap().len())));
    assert!(ask(&["graph", "--peers", "20", "--format", "dot"]).ends(0).out.starts_with("graph "));
    assert!(ask(&["graph", "--peers", "20"]).ends(0).out.contains("<svg"));
    ask(&["graph", "--peers", "0"]).refused(2, &["--peers", "from 1 to 10000"]);
    ask(&["graph", "--seed", "3"]).refused(2, &["--peers"]);
}

#[test]
fn the_output_is_coloured_when_asked_for_and_plain_in_a_pipe() {
    let home = TempDir::new().unwrap();
    let run = |colour: &str, dir: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar"));
        command.args(["--color", colour, "run", "--peers", "1", "--for", "1s", "--dir"]).arg(home.path().join(dir));
        command.args(more);
        Answer::of(command).ends(0)
    };
    assert!(run("always", "a", &[]).out.contains("\x1b["));
    let plain = run("auto", "b", &[]);
    assert!(!plain.out.contains('\x1b') && plain.out.contains("joined: "), "{}", plain.out);
    let quiet = run("auto", "c", &["--quiet"]);
    assert!(!quiet.out.contains("joined") && quiet.out.contains("the audit holds"), "{}", quiet.out);
}

// --------------------------------------------------------------------------------------------------------- looking

#[test]
fn a_run_can_be_inspected_and_its_processes_killed() {
    let mut bazaar = Bazaar::run(QUICK, &["--restart-after", "500ms"]);
    bazaar.wait_for_purchases(0, 3);
    let status = bazaar.status();
    assert_eq!(status["peers"].as_array().unwrap().len(), 4);
    let peer = &until("peer 1 is up", || {
        let status = bazaar.status();
        status["peers"][1]["pid"].is_u64().then_some(status)
    })["peers"][1];
    assert_eq!(peer["pid"], bazaar.pid_of(PeerId(1)));
    assert!(peer["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{peer}");
    assert_eq!(peer["links"].as_array().unwrap().len(), bazaar.graph()[&1].len());
    assert_documented(&bazaar.status(), &[]);
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(people.contains("epoch") && people.contains("neighbours"), "{people}");
    until("status says who has a seat", || {
        let status = bazaar.status();
        let seats = status["seats"].as_array()?.len();
        let people = bazaar.ask(&["status"]).ends(0).out;
        let says = people.contains(&format!("order stable: {seats} buyer")) && people.contains("life 1");
        (status["ordering"] == "stable" && seats > 0 && says).then_some(())
    });

    for page in ["stock", "queue", "sales", "accounts", "terms", "log"] {
        assert_documented(&bazaar.page(page).into(), &[]);
        assert!(!bazaar.ask(&["books", page]).ends(0).out.is_empty());
    }
    assert!(bazaar.ask(&["audit"]).ends(0).out.contains("the audit holds"));
    assert!(bazaar.ask(&["graph", "--format", "json"]).ends(0).json()["0"].is_array());
    assert!(bazaar.ask(&["graph"]).ends(0).out.contains("<svg"));

    let from = bazaar.now();
    let trader = bazaar.trader();
    let pid = bazaar.pid_of(trader);
    let said = bazaar.ask(&["kill", "trader"]).ends(0).out;
    assert!(said.contains(&format!("killed the trader, peer {trader} (pid {pid})")), "{said}");
    bazaar.wait_for_trader(from);
    bazaar.wait_for_purchases(bazaar.now(), 2);
    let who_is_down = |status: &serde_json::Value| -> Vec<serde_json::Value> {
        status["peers"].as_array().unwrap().iter().filter(|peer| peer["up"] == false).cloned().collect()
    };
    until("the killed trader is back", || who_is_down(&bazaar.status()).is_empty().then_some(()));
    let (from, pid) = (bazaar.now(), bazaar.ledger_pid());
    assert_eq!(bazaar.ask(&["kill", "ledger"]).ends(0).out, format!("killed the ledger (pid {pid})\n"));
    bazaar.wait_for_event("the ledger is back", from, |event| {
        matches!(process_event(event), Some(ProcessEvent::LedgerReady { .. }))
    });
    // The directory begins anew with it; the peers have lived all the time.
    let down = who_is_down(&bazaar.status());
    assert!(down.is_empty(), "living peers are shown as down: {down:?}");
    bazaar.wait_for_purchases(bazaar.now(), 2);
    let pid = bazaar.pid_of(PeerId(0));
    let said = bazaar.ask(&["kill", "0"]).ends(0).out;
    assert!(said.contains(&format!("killed peer 0 (pid {pid})")), "{said}");
    bazaar.ask(&["kill", "4"]).refused(2, &["there is no peer 4", "from 0 to 3"]);
    bazaar.check();
    bazaar.stop();

    bazaar.ask(&["kill", "trader"]).refused(3, &["the run has ended"]);
    bazaar.ask(&["kill", "0"]).refused(3, &["peer 0", "no running process"]);
    let last = bazaar.ask(&["status"]).ends(0).out;
    assert!(last.contains("the run has ended; the last trader was ") && last.contains(" commission\n"), "{last}");
    let last = bazaar.ask(&["status", "--json"]).ends(0).json();
    assert_eq!((&last["phase"], &last["records"]), (&"ended".into(), &bazaar.log().len().into()), "{last}");
    assert_documented(&last, &[]);
    let watched = bazaar.ask(&["status", "--watch"]).ends(0).out;
    assert!(watched.contains("the run has ended") && !watched.contains('\x1b'), "{watched}");
}

#[test]
fn the_books_of_an_ended_run_can_be_read_and_agree_with_each_other() {
    let bazaar = ended();
    let (log, sales) = (bazaar.log(), bazaar.sales());
    assert_eq!(bazaar.page("sales").len(), sales.len());
    assert!(sales.len() >= 5);
    let mut places: BTreeMap<RequestId, (Time, Time)> = BTreeMap::new();
    for (_, record) in &log {
        if let Entry::Admitted { request, place } = &record.entry {
            places.insert(request.id, (request.stamp.time, *place));
        }
    }
    for (line, sale) in bazaar.page("sales").iter().zip(&sales) {
        let (stamp, place) = places[&sale.request];
        assert_eq!((&line["stamp"], &line["place"]), (&stamp.0.into(), &place.0.into()), "{line}");
        assert_eq!(line["late"], stamp != place, "{line}");
    }
    let stock: u64 = bazaar.page("stock").iter().map(|deposit| deposit["units_left"].as_u64().unwrap()).sum();
    let deposited: u64 = log.iter().filter_map(|(_, record)| deposit(record)).map(|d| u64::from(d.count.0)).sum();
    assert_eq!(stock, deposited - sales.iter().map(|sale| u64::from(sale.quantity.0)).sum::<u64>());
    let sum = |key: &str| bazaar.page("accounts").iter().map(|account| account[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("paid_cents"), sum("earned_cents") + sum("commission_cents"));
    assert_eq!(bazaar.page("terms").len(), bazaar.summary()["terms"].as_array().unwrap().len());
    let audit = bazaar.ask(&["audit", "--json"]).ends(0).json();
    assert_eq!(audit["totals"]["records"], log.len());
    assert_eq!(audit, bazaar.summary()["audit"]);
    assert_documented(&bazaar.summary(), &[]);
    for property in ["S1", "S2", "S3", "S4", "S5", "S6", "S8"] {
        assert!(
            audit["verdicts"].as_array().unwrap().iter().any(|verdict| verdict["property"] == property),
            "{property}"
        );
    }
}

/// Adds a term of peer 3 to a log, in which peer 0 buys a million of `price` from peer 1 or 2, so many times.
fn sell_more(log: &mut Vec<Batch>, sales: u32, price: Price) {
    let mut books = Books::default();
    log.iter().flat_map(|batch| &batch.records).for_each(|record| books.apply(record).unwrap());
    let (me, item, million) = (PeerId(3), Item(0), Units(1_000_000));
    let mut clock = Clock::resume(me, books.latest());
    let (epoch, terms) = (books.epoch().next(), Terms { resign_after: sales, ..Terms::DEFAULT });
    let claim =
        Entry::Claimed { epoch, holder: Life { peer: me, incarnation: Incarnation(1) }, ordering: terms.ordering };
    let mut trader = Trader::new(me, books);
    let mut records = vec![Record { stamp: clock.tick(), entry: claim }];
    while !records.is_empty() {
        let batch = Batch { epoch, position: trader.books().position(), records };
        trader.on_appended(&batch).unwrap();
        log.push(batch);
        for seller in [PeerId(1), PeerId(2)] {
            let previous = trader.books().seller_status(seller, None).deposit.map(|deposit| deposit.number);
            let id = DepositId { seller, number: DepositNumber(previous.map_or(1, |last| last.0 + 1)) };
            let stamp = Stamp { time: clock.tick().time, peer: seller };
            let deposit = Deposit { id, previous, item, count: million, price, stamp };
            trader.on_client(seller, ClientMessage::Deposit(deposit));
        }
        let buyer = PeerId(0);
        let previous = trader.books().buyer_status(buyer).last.map(|(sequence, _)| sequence);
        let id = RequestId { buyer, sequence: Sequence(previous.map_or(1, |last| last.0 + 1)) };
        let stamp = Stamp { time: clock.tick().time, peer: buyer };
        let request = Request { id, previous, item, quantity: million, stamp };
        trader.on_client(buyer, ClientMessage::Request(request));
        records = trader.plan(&terms, &mut clock);
    }
}

/// SPEC C5. The first claim fixes the order, also for buyers that are set up for another one.
#[test]
fn the_books_keep_the_order_that_they_were_opened_with_and_a_run_says_so() {
    for (books, configured) in [(Ordering::Stable, Ordering::SmallestOpen), (Ordering::SmallestOpen, Ordering::Stable)]
    {
        let mut bazaar = Bazaar::run(QUICK, &["--ordering", books.name(), "--purchases", "3"]);
        assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
        let differs = format!("terms.ordering: was \"{}\", now \"{}\"", books.name(), configured.name());
        bazaar
            .ask(&["run", "--for", "1s", "--ordering", configured.name()])
            .refused(2, &["other parameters", &differs]);

        let file = bazaar.dir().join("bazaar.toml");
        let line = |ordering: Ordering| format!("ordering = \"{}\"\n", ordering.name());
        let saved = fs::read_to_string(&file).unwrap();
        assert!(saved.contains(&line(books)), "{saved}");
        fs::write(&file, saved.replace(&line(books), &line(configured))).unwrap();
        let (from, sold) = (bazaar.now(), bazaar.sales().len());
        bazaar.start(&["--purchases", &(sold + 3).to_string()]);
        assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());

        let said = ProcessEvent::OrderingDiffers { books, configured };
        let events = bazaar.events().split_off(from);
        let at = events.iter().position(|event| process_event(event) == Some(&said)).expect("it is said");
        let sells = |event: &Event| matches!(note(event), Some(Note::Sold { .. }));
        assert!(events[..at].iter().all(|event| !sells(event)), "it is said at the start");
        assert!(events[at..].iter().any(sells), "trade goes on");
        for (epoch, record) in bazaar.log() {
            if let Entry::Claimed { ordering, .. } = record.entry {
                assert_eq!(ordering, books, "epoch {epoch}");
            }
        }
        bazaar.check();
        let verdict = bazaar.ask(&["audit"]).ends(0).out;
        assert!(verdict.contains(&format!("order {}: ", books.name())), "{verdict}");
        let ledger = fs::read_to_string(bazaar.dir().join("ledger/log")).unwrap();
        let right = format!("terms.ordering = \"{}\"", books.name());
        assert!(ledger.contains("the books were opened with the order") && ledger.contains(&right), "{ledger}");
    }
}

// SPEC D8: three sales leave one of each deposit, too little for anybody.
#[test]
fn the_market_goes_on_when_something_is_left_of_every_deposit() {
    let goods = "[goods]\nitems = [\"fish\"]\nunits = 10\nquantity = 3\n";
    let mut bazaar = Bazaar::run(&format!("{QUICK}{goods}").replace("peers = 4", "peers = 5"), &["--purchases", "30"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
    let sales = bazaar.sales();
    assert!(sales.len() >= 30 && sales.iter().all(|sale| sale.quantity == Units(3)));
    let log = bazaar.log();
    let named = log.iter().filter(|(_, record)| matches!(record.entry, Entry::Refused { leftover: Some(_), .. }));
    assert!(named.count() >= 3, "it went on for another reason");
    let said = bazaar.ask(&["books", "log"]).ends(0).out;
    assert!(said.contains("has too little left"), "{said}");
    let totals = &bazaar.ask(&["audit", "--json"]).ends(0).json()["totals"];
    let [deposited, sold, left, returned] =
        ["deposited", "sold", "left", "returned"].map(|units| totals[&format!("units_{units}")].as_u64().unwrap());
    assert_eq!(deposited, sold + left + returned);
    assert!(returned >= 2, "{totals}");
    bazaar.check();
}

// SPEC D6: after 4,295 of the largest orders an account no longer fits in 64 bits.
#[test]
fn the_largest_amounts_that_a_configuration_accepts_stop_nothing() {
    let goods = "[goods]\nitems = [\"gold\"]\nunits = 1000000\nquantity = 1000000\n";
    let prices = "lowest_price = \"42949672.95\"\nhighest_price = \"42949672.95\"\n";
    let terms = "[terms]\nresign_after = 4300\nordering = \"smallest-open\"\n";
    let peers = "[[peer]]\nid = 0\nrole = \"buyer\"\n[[peer]]\nid = 1\nrole = \"seller\"\n";
    let mut bazaar = Bazaar::run(&format!("{QUICK}{goods}{prices}{terms}{peers}"), &["--purchases", "2"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
    let store = bazaar.dir().join("ledger/store");
    let mut batches: Vec<Batch> = {
        let ledger = SledLedger::open(&store, LedgerOptions::default()).unwrap();
        ledger.verified_batches().unwrap().collect::<Result<_, _>>().unwrap()
    };
    let had = batches.len();
    sell_more(&mut batches, 4_300, Price(u32::MAX));
    {
        let mut ledger = SledLedger::open(&store, LedgerOptions::default()).unwrap();
        batches[had..].iter().for_each(|batch| ledger.append(batch).unwrap());
        ledger.sync().unwrap();
    }
    let before = bazaar.sales().len();
    bazaar.start(&["--purchases", "4310"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());

    let sales = bazaar.sales();
    assert!(sales.len() > before, "the market goes on");
    let paid = |sales: usize| Cents(4_294_967_295 * 1_000_000 * sales as u128);
    assert!(sales.iter().all(|sale| sale.paid() == paid(1)));
    let cents = |value: &serde_json::Value| serde_json::from_value::<Cents>(value.clone()).unwrap();
    let accounts = bazaar.page("accounts");
    let sum = |key: &str| accounts.iter().map(|account| cents(&account[key])).sum::<Cents>();
    assert_eq!(sum("paid_cents"), paid(sales.len()));
    assert_eq!(sum("earned_cents").plus(sum("commission_cents")), paid(sales.len()));
    assert!(accounts[0]["paid_cents"].is_string(), "more than 64 bits hold: {}", accounts[0]);
    for page in ["stock", "queue", "sales", "accounts", "terms", "log"] {
        bazaar.page(page);
        bazaar.ask(&["books", page]).ends(0);
    }
    assert!(bazaar.ask(&["books", "accounts"]).ends(0).out.contains(&format!("{} spent", paid(sales.len()))));
    assert!(bazaar.ask(&["audit"]).ends(0).out.contains("the audit holds"));
    let totals = &bazaar.ask(&["audit", "--json"]).ends(0).json()["totals"];
    assert_eq!((cents(&totals["paid_cents"]), totals["sales"].as_u64()), (paid(sales.len()), Some(sales.len() as u64)));
    assert_eq!(totals, &bazaar.summary()["audit"]["totals"]);
}

#[test]
fn status_shows_the_peers_while_the_ledger_is_down() {
    let mut bazaar = Bazaar::run(QUICK, &["--restart-after", "never"]);
    bazaar.wait_for_purchases(0, 1);
    bazaar.signal(bazaar.ledger_pid(), Signal::SIGKILL);
    let status = until("status says that there is no ledger", || {
        let status = bazaar.ask(&["status", "--json"]).ends(0).json();
        (status["phase"] == "no_ledger").then_some(status)
    });
    assert!(status["peers"].as_array().unwrap().iter().all(|peer| peer["up"] == true), "{status}");
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(people.contains("THE LEDGER CANNOT BE REACHED") && people.contains("4 of 4 peers are up"), "{people}");
    bazaar.stop();
}

/// What is printed is chosen; the logs have everything, in full.
#[test]
fn a_run_prints_the_events_that_are_asked_for_and_logs_all_of_them() {
    let only = ["--only", "wanted,bought", "--peer", "2"];
    let mut bazaar = Bazaar::run(QUICK, &only);
    bazaar.wait_for("peer 2 wants and buys", 0, |events| (events.len() >= 4).then_some(()));
    bazaar.stop();
    let events = bazaar.events();
    let is_asked_for = |event: &Event| {
        event.peer == Some(PeerId(2)) && matches!(note(event), Some(Note::Wanted { .. } | Note::Bought { .. }))
    };
    assert!(events.iter().all(is_asked_for), "{events:?}");
    let log = |peer: u32| fs::read_to_string(bazaar.dir().join(format!("peer-{peer}/log"))).unwrap();
    let logs: String = (0..4).map(log).collect();
    for part in ["joined the bazaar: ", "\"I am the new coordinator\"", ", keeping ", " in all), "] {
        assert!(logs.contains(part), "{part:?} is not in {logs}");
    }
}

#[test]
fn commands_without_a_directory_are_about_the_newest_run() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let here = |args: &[&str]| {
        let mut command = bazaar();
        command.args(args).current_dir(home.path());
        Answer::of(command)
    };
    here(&["audit"]).refused(2, &["no run below ./bazaar-runs/", "--dir"]);
    for peers in ["1", "2"] {
        let said = here(&["run", "--peers", peers, "--for", "1s"]).ends(0).out;
        assert!(said.contains("bazaar-runs/"), "{said}");
        let network = here(&["graph", "--format", "json"]).ends(0).json();
        assert_eq!(network.as_object().unwrap().len().to_string(), peers, "the newest has as many peers");
        here(&["audit"]).ends(0);
    }
    assert!(processes_below(home.path()).is_empty());
}

#[test]
fn an_audit_fails_with_the_record_when_a_sale_pays_too_little_commission() {
    let bazaar = ended();
    let store = bazaar.dir().join("ledger/store");
    let mut batches: Vec<Batch> = {
        let ledger = SledLedger::open(&store, LedgerOptions::default()).unwrap();
        ledger.verified_batches().unwrap().collect::<Result<_, _>>().unwrap()
    };
    // What no honest trader writes: everything goes to the seller.
    let (position, sale) = batches
        .iter_mut()
        .find_map(|batch| {
            let position = batch.position;
            let mut nth = (0_u64..).zip(&mut batch.records);
            nth.find_map(|(nth, record)| match &mut record.entry {
                Entry::Sold(sale) => Some((position.0 + nth, sale)),
                Entry::Claimed { .. }
                | Entry::Deposited(_)
                | Entry::Admitted { .. }
                | Entry::Refused { .. }
                | Entry::Resigned
                | Entry::Seated { .. }
                | Entry::Unseated { .. } => None,
            })
        })
        .unwrap();
    (sale.earned, sale.commission) = (sale.paid(), Cents(0));
    fs::remove_dir_all(&store).unwrap();
    {
        let mut ledger = SledLedger::open(&store, LedgerOptions::default()).unwrap();
        for batch in &batches {
            ledger.append(batch).unwrap();
        }
        ledger.sync().unwrap();
    }
    let said = bazaar.ask(&["audit"]).ends(1).out;
    assert!(said.contains("VIOLATED") && said.contains("S6"), "{said}");
    assert!(said.contains(&position.to_string()), "record {position} is not named: {said}");
    let report = bazaar.ask(&["audit", "--json"]).ends(1).json();
    let failed: Vec<_> =
        report["verdicts"].as_array().unwrap().iter().filter(|verdict| verdict["holds"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["property"]), (1, &"S6".into()), "{failed:?}");
}

#[test]
fn a_damaged_store_is_read_whole_or_refused_with_the_last_intact_record() {
    let mut bazaar = ended();
    let records = bazaar.log().len();
    let file = bazaar.dir().join("ledger/store/log/db");
    let intact = fs::read(&file).unwrap();
    let used: Vec<usize> = (0..intact.len()).filter(|at| intact[*at] != 0).collect();
    let steps = 24;
    for step in 0..steps {
        let at = used[used.len() * step / steps];
        let mut damaged = intact.clone();
        damaged[at] ^= 0x10;
        fs::write(&file, &damaged).unwrap();
        let answer = bazaar.ask(&["audit"]);
        match answer.code {
            Some(0) => assert!(answer.out.contains(&format!("{records} records")), "{}", answer.out),
            Some(1) => {
                let last = ["the last intact record is ", "no record of it is intact"];
                assert!(last.iter().any(|last| answer.err.contains(last)), "byte {at}: {}", answer.err);
                answer.refused(1, &["damaged at record ", text(&bazaar.dir()), "`bazaar restore FILE --replace`"]);
            }
            _ => panic!("byte {at}: {:?} {} {}", answer.code, answer.out, answer.err),
        }
    }
    // Looking at it has repaired nothing, and nobody trades on it.
    fs::write(&file, &intact).unwrap();
    let head = bazaar.dir().join("ledger/store/head");
    let intact_head = fs::read(&head).unwrap();
    let batches = bazaar_runtime::store::read_acknowledged(&bazaar.dir().join("ledger/store")).unwrap();
    bazaar.damage(&batches[batches.len() / 2]);
    let damaged = fs::read(&file).unwrap();
    bazaar.start(&[]);
    let code = bazaar.wait_for_end().code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}: {}", bazaar.errors());
    let said = bazaar.errors();
    assert!(said.contains("damaged") && said.contains("acknowledged") && said.contains(text(&bazaar.dir())), "{said}");
    assert!(fs::read(&file).unwrap() == damaged, "trying to open it has changed nothing either");
    fs::write(&file, intact).unwrap();
    fs::write(&head, intact_head).unwrap();
    bazaar.ask(&["audit"]).ends(0);
}

// ------------------------------------------------------------------------------------------------------- bad input

#[test]
fn a_wrong_configuration_is_refused_with_key_value_line_and_what_would_be_right() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("wrong.toml");
    let dir = home.path().join("run");
    let cases: [(&str, &[&str]); 16] = [
        ("peers = 0", &["1: peers = 0", "from 1 to 10000"]),
        ("\npeers = -3", &["2: peers = -3", "from 1 to 10000"]),
        (
            "peers = 4\n[graph]\nadjacency = { 0 = [1], 1 = [0], 2 = [3], 3 = [2] }",
            &["3: ", "graph.adjacency", "connected"],
        ),
        (
            "peers = 5\n[graph]\nadjacency = { 0 = [1, 2, 3, 4], 1 = [0], 2 = [0], 3 = [0], 4 = [0] }",
            &["3: ", "graph.adjacency", "4 neighbours", "more than 3"],
        ),
        ("[[peer]]\nid = 1\nrole = \"thief\"", &["3: ", "role", "thief", "buyer"]),
        ("[[peer]]\nid = 1\nrole = \"buyer\"\nwants = [\"gold\"]", &["4: ", "gold", "fish, salt, boar"]),
        ("[[peer]]\nid = 99", &["2: ", "99", "from 0 to 9"]),
        (
            "[[peer]]\nid = 1\nrole = \"seller\"\noffers = [{ item = \"fish\", price = \"-1.00\" }]",
            &["4: ", "price", "-1.00"],
        ),
        (
            "[[peer]]\nid = 1\nrole = \"seller\"\noffers = [{ item = \"fish\", price = \"99999999999999999999.00\" }]",
            &["4: ", "price", "99999999999999999999.00"],
        ),
        ("[goods]\nlowest_price = \"5.00\"\nhighest_price = \"4.00\"", &["price"]),
        ("[timeouts]\nrenewal = \"2s\"", &["2: ", "renewal", "lease"]),
        ("[timeouts]\nanswer = \"3s\"", &["2: ", "answer", "victory"]),
        ("[timeouts]\nsuspicion = \"1s\"", &["2: ", "suspicion", "lease"]),
        ("[terms]\nresign_afterwards = 3", &["2: ", "resign_afterwards", "resign_after"]),
        ("peers = ", &["1", "not TOML"]),
        ("[waits]\nthink = 300", &["2: ", "think", "\"300ms\""]),
    ];
    for (config, parts) in cases {
        fs::write(&file, config).unwrap();
        let answer = ask(&["run", "--config", text(&file), "--dir", text(&dir), "--for", "1s"]);
        let answer = answer.refused(2, parts);
        assert!(answer.err.contains("wrong.toml"), "the file is not named: {}", answer.err);
        assert!(!dir.exists(), "nothing is created for a run that cannot start: {config}");
    }
    let run = |flags: &[&str]| ask(&[&["run", "--dir", text(&dir)], flags].concat());
    run(&["--peers", "0"]).refused(2, &["--peers", "0", "from 1 to 10000"]);
    run(&["--peers", "many"]).refused(2, &["--peers", "many"]);
    run(&["--resign-after", "0"]).refused(2, &["--resign-after", "0", "from 1"]);
    run(&["--config", "/nowhere.toml"]).refused(2, &["/nowhere.toml"]);
    assert!(!dir.exists());
}

#[test]
fn a_directory_that_a_run_cannot_use_is_refused_and_left_as_it_is() {
    let home = TempDir::new().unwrap();
    let run = |dir: &Path, flags: &[&str]| {
        ask(&[&["run", "--peers", "1", "--for", "1s", "--dir", text(dir)], flags].concat())
    };

    let a_file = home.path().join("a-file");
    fs::write(&a_file, "kept").unwrap();
    run(&a_file, &[]).refused(2, &[text(&a_file), "--dir"]);
    run(&a_file.join("below"), &[]).refused(2, &[text(&a_file), "--dir"]);
    assert_eq!(fs::read_to_string(&a_file).unwrap(), "kept");
    run(Path::new("/proc/bazaar"), &[]).refused(2, &["/proc/bazaar", "--dir"]);

    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter"), "kept").unwrap();
    run(&foreign, &[]).refused(2, &[text(&foreign), "holds no run"]);
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    let dir = home.path().join("run");
    run(&dir, &[]).ends(0);
    run(&dir, &["--seed", "12345"]).refused(2, &[text(&dir), "other parameters", "seed", "12345"]);
    ask(&["run", "--peers", "3", "--dir", text(&dir)]).refused(2, &[text(&dir), "other parameters", "peers"]);
    run(&dir, &[]).ends(0);
    fs::write(dir.join("format"), "bazaar run 999\n").unwrap();
    run(&dir, &[]).refused(2, &[text(&dir), "another version", "bazaar run 999"]);
    for command in [&["audit"][..], &["status"], &["books", "log"], &["kill", "0"], &["graph"]] {
        ask(&[command, &["--dir", text(&dir)]].concat()).refused(2, &["another version"]);
        ask(&[command, &["--dir", text(&foreign)]].concat()).refused(2, &[text(&foreign), "there is no run"]);
    }
}

#[test]
fn a_directory_of_a_run_that_has_not_ended_is_refused() {
    let mut bazaar = Bazaar::run("peers = 1", &[]);
    bazaar.wait_for_event("it runs", 0, |event| matches!(note(event), Some(Note::Joined { .. })));
    bazaar.ask(&["run", "--for", "1s"]).refused(2, &[text(&bazaar.dir()), "in use by a run that has not ended"]);
    // A second process of a running peer is refused as well, and so is a second ledger.
    let config = bazaar.dir().join("bazaar.toml");
    ask(&["peer", "--config", text(&config), "--id", "0"]).refused(3, &["peer 0", "in use"]);
    ask(&["ledger", "--config", text(&config)]).refused(3, &["in use"]);
    ask(&["peer", "--config", text(&config), "--id", "1"]).refused(2, &["--id 1", "no such peer"]);
    ask(&["peer", "--config", text(&config), "--id", "0,0"]).refused(2, &["peer 0 twice"]);
    bazaar.stop();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for place in [format!("[ledger]\naddress = \"{address}\""), format!("[[peer]]\nid = 0\naddress = \"{address}\"")] {
        let mut bazaar = Bazaar::run(&format!("peers = 1\n{place}\n"), &[]);
        assert_eq!(bazaar.wait_for_end().code(), Some(3));
        let said = bazaar.errors();
        assert!(said.contains(&address.to_string()) && said.contains("another address"), "{said}");
    }
}

// --------------------------------------------------------------------------------------------------------- running

#[test]
fn one_and_two_peers_run_without_trade_and_say_so_and_three_trade() {
    for peers in ["1", "2"] {
        let mut bazaar = Bazaar::run("", &["--peers", peers, "--for", "3s"]);
        assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
        let said = bazaar.wait_for_event("that no trade is possible", 0, |event| {
            matches!(process_event(event), Some(ProcessEvent::TradeDoubtful { .. }))
        });
        let Some(ProcessEvent::TradeDoubtful { reason }) = process_event(&said) else { unreachable!() };
        assert!(reason.contains("no trade is possible") && reason.contains("at least 3"), "{reason}");
        assert_eq!(bazaar.check(), 0);
    }
    let mut bazaar = Bazaar::run("", &["--peers", "3", "--seed", "7"]);
    bazaar.wait_for_purchases(0, 2);
    bazaar.stop();
    bazaar.check();
}

#[test]
fn fifty_peers_live_in_eight_processes() {
    let mut bazaar = Bazaar::run("", &["--peers", "50", "--processes", "8", "--seed", "7"]);
    bazaar.wait_for_purchases(0, 30);
    let hosts = bazaar.processes().into_values().filter(|words| words.iter().any(|word| word == "--id")).count();
    assert_eq!(hosts, 8);
    let dirs = (0..50).filter(|id| bazaar.dir().join(format!("peer-{id}/store")).is_dir()).count();
    assert_eq!(dirs, 50, "each peer has its own files");
    let said = bazaar.ask(&["kill", "3"]).ends(0).out;
    assert!(said.contains("3,11,19,27,35,43"), "it names the peers that go down with it: {said}");
    bazaar.stop();
    assert!(bazaar.check() >= 30);
}

#[test]
fn a_run_ends_after_so_many_purchases() {
    let mut bazaar = Bazaar::run(QUICK, &["--purchases", "7"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
    assert!(bazaar.summary()["audit"]["totals"]["sales"].as_u64() >= Some(7));
    assert!(bazaar.check() >= 7);
    // The number is that of the books, not of this start: they hold so many already.
    bazaar.start(&["--purchases", "7"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
}

#[test]
fn ctrl_c_and_sigterm_end_a_run_with_a_summary_and_leave_no_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let home = TempDir::with_prefix("bazaar-test-").unwrap();
        let file = home.path().join("market.toml");
        fs::write(&file, QUICK).unwrap();
        let mut command = bazaar();
        let dir = home.path().join("run");
        command.args(["run", "--config", text(&file), "--dir", text(&dir)]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        until("something is sold", || {
            let sales = ask(&["books", "sales", "--json", "--dir", text(&dir)]);
            (sales.code == Some(0) && !sales.json().as_array().unwrap().is_empty()).then_some(())
        });
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}: {said}{}", String::from_utf8_lossy(&output.stderr));
        for part in [" purchase", " refusal", " to sellers + ", "was trader", "the audit holds", text(&dir)] {
            assert!(said.contains(part), "{part:?} is not in the summary after {signal}: {said}");
        }
        let left = processes_below(home.path());
        assert!(left.is_empty(), "left after {signal}: {left:?}");
    }
}

/// SPEC A6: two machines, each with its own directory, and the same file on both. Here they are two loopback addresses.
#[test]
fn two_machines_worth_of_peers_started_by_hand_trade_with_each_other() {
    const MACHINES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];
    let mut bazaar = Bazaar::new("");
    let peers: String = (0..6)
        .map(|id| {
            let host = MACHINES[usize::from(id >= 3)];
            // The sellers are on one machine, the buyers on the other, and one peer on each does both.
            let role = if id % 3 == 2 {
                "both"
            } else if id < 3 {
                "seller"
            } else {
                "buyer"
            };
            format!("[[peer]]\nid = {id}\naddress = \"{host}:{}\"\nrole = \"{role}\"\n", free_port(host))
        })
        .collect();
    let ledger = free_port(MACHINES[0]);
    let key = "5a".repeat(32);
    let config = format!(
        "name = \"two-machines\"\nkey = \"{key}\"\npeers = 6\nseed = 7\ndir = \"run\"\n\
         [ledger]\naddress = \"127.0.0.1:{ledger}\"\n[goods]\nitems = [\"fish\"]\n\
         [waits]\nthink = \"50ms\"\n{peers}"
    );
    let machines: Vec<PathBuf> = ["machine-1", "machine-2"].iter().map(|name| bazaar.home().join(name)).collect();
    for machine in &machines {
        fs::create_dir(machine).unwrap();
        fs::write(machine.join("market.toml"), &config).unwrap();
    }
    let member = |bazaar: &mut Bazaar, machine: usize, args: &[&str]| {
        let mut command = bazaar::bazaar();
        command.args(args).arg("--json").arg("--config").arg(machines[machine].join("market.toml"));
        bazaar.start_with(command) as i32
    };
    let mut pids = vec![member(&mut bazaar, 0, &["ledger"])];
    pids.push(member(&mut bazaar, 0, &["peer", "--id", "0"]));
    pids.push(member(&mut bazaar, 0, &["peer", "--id", "1"]));
    pids.push(member(&mut bazaar, 0, &["peer", "--id", "2"]));
    for id in ["3", "4", "5"] {
        pids.push(member(&mut bazaar, 1, &["peer", "--id", id]));
    }
    bazaar.wait_for("a purchase across machines, told to both", 0, |events| {
        let across = |note: Option<&Note>| match note {
            Some(Note::Bought { sale }) if sale.request.buyer >= PeerId(3) && sale.deposit.seller < PeerId(3) => {
                Some(sale.request)
            }
            _ => None,
        };
        let bought: BTreeSet<_> = events.iter().filter_map(|event| across(note(event))).collect();
        let earned = events.iter().filter_map(|event| match note(event) {
            Some(Note::Earned { sale, .. }) => Some(sale.request),
            _ => None,
        });
        earned.into_iter().any(|request| bought.contains(&request)).then_some(())
    });
    // Each machine has its own peers' files; the books can be read from either.
    for machine in &machines {
        let dir = machine.join("run");
        ask(&["audit", "--dir", text(&dir)]).ends(0);
        let status = ask(&["status", "--json", "--dir", text(&dir)]).ends(0).json();
        assert!(status["peers"][4]["address"].as_str().unwrap().starts_with("127.0.0.2:"), "{status}");
    }
    assert!(machines[0].join("run/peer-1").is_dir() && !machines[1].join("run/peer-1").exists());
    // Peers first, the ledger last, each stopped cleanly.
    for pid in pids.iter().rev() {
        bazaar.signal(*pid, Signal::SIGTERM);
    }
    bazaar.assert_nobody_is_left();
    let books = ask(&["books", "log", "--json", "--dir", text(&machines[0].join("run"))]).ends(0).json();
    assert!(books.as_array().unwrap().iter().any(|line| line["event"] == "sold"));
}

/// An idle bazaar is small. This checks its memory, which does not depend on how busy the machine is; `tools/idle.sh`
/// measures how idle the processors are. Most of it is the program, mapped from its file and shared by all processes, with
/// TLS and a client of etcd in it.
#[test]
fn each_process_of_an_idle_bazaar_takes_less_than_5_megabytes_of_its_own() {
    let mut bazaar = Bazaar::run("peers = 10\nseed = 7\n[waits]\nthink = \"never\"\n", &[]);
    bazaar.wait_for("all peers know the trader, and all sellers have deposited", 0, |events| {
        let know = events.iter().filter(|event| matches!(note(event), Some(Note::Recognised { .. })));
        let know: BTreeSet<PeerId> = know.filter_map(|event| event.peer).collect();
        let sells = events.iter().any(|event| matches!(note(event), Some(Note::Registered { .. })));
        (know.len() >= 9 && sells && events.iter().any(|event| event.epoch >= Some(Epoch(1)))).then_some(())
    });
    // A second of being idle, in which the links' keepalives go round.
    let from = std::time::Instant::now();
    until("a second has passed", || (from.elapsed().as_secs() >= 1).then_some(()));
    let processes = bazaar.processes();
    assert_eq!(processes.len(), 12);
    for (pid, words) in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kilobytes = |what: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
            line.trim().trim_end_matches("kB").trim().parse().unwrap()
        };
        let (resident, own) = (kilobytes("VmRSS:"), kilobytes("RssAnon:"));
        assert!(own < 5_000 && resident < 20_000, "{resident} kB resident, {own} kB of its own: {words:?}");
    }
    bazaar.stop();
}
