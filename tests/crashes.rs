//! Processes die, hang and come back under load (SPEC B5, D3, D7; DESIGN 5). Each time there are further sales, the
//! audit holds, no sale is lost, and nothing that anybody was told is missing from the books.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    process::Stdio,
};

use bazaar::{Bazaar, copy, note, process_event, until};
use bazaar_protocol::{
    clock::Time,
    effect::{Departure, Note},
    id::{Incarnation, PeerId},
};
use bazaar_runtime::processes::report::{Event, ProcessEvent};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Eight peers with three neighbours each, whose buyers always want something; traders come and go.
const MARKET: &str = r#"
peers = 8
seed = 7
[terms]
resign_after = 30
[waits]
deposit_after = "50ms"
trade_after = "150ms"
think = "50ms"
"#;

/// Traders that stay until something happens to them.
const LONG_TERMS: &str = r#"
peers = 8
seed = 7
[terms]
resign_after = 100000
[waits]
deposit_after = "50ms"
trade_after = "150ms"
think = "50ms"
"#;

const RESTART: [&str; 2] = ["--restart-after", "500ms"];

/// How many sales show that trade goes on.
const SOME: usize = 12;

/// A bazaar in which all eight peers have begun their first lives and something is sold.
fn trading(market: &str) -> Bazaar {
    let bazaar = Bazaar::run(market, &RESTART);
    bazaar.wait_for("all have joined", 0, |events| {
        let joined = events.iter().filter(|event| matches!(note(event), Some(Note::Joined { .. })));
        (joined.filter_map(|event| event.peer).collect::<BTreeSet<PeerId>>().len() == 8).then_some(())
    });
    bazaar.wait_for_purchases(0, SOME);
    bazaar
}

/// Waits for further sales, and checks that nothing is lost: neither the `before` sales nor what anybody was told.
#[track_caller]
fn goes_on(bazaar: &Bazaar, from: usize, before: usize) {
    bazaar.wait_for_purchases(from, SOME);
    // A buyer may be told late of a sale that was counted before.
    until("as many more are in the books", || (bazaar.sales().len() >= before + SOME).then_some(()));
    let after = bazaar.check();
    assert!(after >= before + SOME, "{after} sales after {before} and {SOME} more");
}

/// Waits until a killed peer has joined again, in its second life.
#[track_caller]
fn is_back(bazaar: &Bazaar, from: usize, peer: PeerId) {
    let back = bazaar.wait_for_event("the killed peer is back", from, |event| {
        event.peer == Some(peer) && matches!(note(event), Some(Note::Joined { .. }))
    });
    assert_eq!(note(&back), Some(&Note::Joined { incarnation: Incarnation(2) }));
}

#[track_caller]
fn died(bazaar: &Bazaar, from: usize, pid: i32) {
    bazaar.wait_for_event("the supervisor reports the death", from, |event| {
        matches!(process_event(event), Some(ProcessEvent::ProcessDied { pid: dead, how, .. })
            if *dead as i32 == pid && how.contains('9'))
    });
}

#[test]
fn a_killed_trader_is_replaced_and_comes_back_as_another_life() {
    let mut bazaar = trading(LONG_TERMS);
    let before = bazaar.check();
    let trader = bazaar.trader();
    let term = bazaar.page("terms").iter().rposition(|term| term["trader"] == trader.0).unwrap();
    let from = bazaar.now();
    let pid = bazaar.pid_of(trader);
    bazaar.signal(pid, Signal::SIGKILL);
    died(&bazaar, from, pid);
    let (_, epoch) = bazaar.wait_for_trader(from);
    assert!(epoch.0 >= 2);
    is_back(&bazaar, from, trader);
    goes_on(&bazaar, bazaar.now(), before);
    bazaar.stop();
    let terms = bazaar.page("terms");
    assert_eq!(terms[term]["trader"], trader.0);
    assert!(terms[term]["replaced_by"].is_u64(), "{}", terms[term]);
    assert!(bazaar.summary()["restarts"] == 1 && bazaar.summary()["deaths"].as_array().unwrap().len() == 1);
    bazaar.check();
}

#[test]
fn a_killed_relay_is_gone_around_and_comes_back() {
    let mut bazaar = trading(LONG_TERMS);
    let before = bazaar.check();
    let trader = bazaar.trader();
    let graph = bazaar.graph();
    // A neighbour of the trader that relays what others say.
    let relay = graph[&trader.0].iter().find(|id| graph[id].len() > 1).copied().map(PeerId).unwrap();
    assert!(stay_connected(&graph, relay.0), "the others have paths left");
    let from = bazaar.now();
    let pid = bazaar.pid_of(relay);
    bazaar.signal(pid, Signal::SIGKILL);
    died(&bazaar, from, pid);
    is_back(&bazaar, from, relay);
    goes_on(&bazaar, from, before);
    bazaar.stop();
    bazaar.check();
    let bought: BTreeSet<PeerId> = purchases_of(&bazaar, from);
    assert!(bought.iter().any(|buyer| *buyer != relay), "peers other than the relay bought: {bought:?}");
}

/// SPEC A9: a hundred processes, of which the one next to the trader dies. Those that had their paths through it find
/// others within seconds, and from then on nothing but broadcasts is flooded.
#[test]
fn a_hundred_peers_lose_the_relay_beside_their_trader_and_flood_no_unicast_for_long() {
    let market = "peers = 100\nseed = 5\n[terms]\nresign_after = 100000\n";
    let mut bazaar = Bazaar::run(market, &[]);
    bazaar.wait_for_purchases(0, 200);
    let graph = bazaar.graph();
    // What its trader has given to each of its neighbours that is a relay for others so far.
    let relays = |trader: PeerId| -> BTreeMap<u32, u64> {
        let links = until("the trader answers", || {
            bazaar.status()["peers"][trader.0 as usize]["links"].as_array().filter(|links| !links.is_empty()).cloned()
        });
        let given = |link: &Value| Some((link["neighbour"].as_u64()? as u32, link["counts"]["given"].as_u64()?));
        links.iter().filter_map(given).filter(|(id, _)| graph[id].len() > 1 && stay_connected(&graph, *id)).collect()
    };
    // All envelopes so far, those that belonged to the flood of a message for one peer, and those that were lost, as the
    // survivors count them.
    let counts = |killed: Option<PeerId>| {
        let survives = |peer: &&Value| killed.is_none_or(|killed| peer["peer"] != killed.0);
        let links: Vec<Value> = until("all survivors answer", || {
            let status = bazaar.status();
            let mut survivors = status["peers"].as_array()?.iter().filter(survives);
            survivors.try_fold(Vec::new(), |links, peer| Some([links, peer["links"].as_array()?.clone()].concat()))
        });
        assert!(links.len() >= 150, "{} links", links.len());
        ["given", "flooded", "lost"]
            .map(|name| links.iter().map(|link| link["counts"][name].as_u64().unwrap()).sum::<u64>())
    };
    // Whoever has a message for a client of the relay before another path has shown itself floods it. It may be that
    // nobody has. Paths that have moved away from a relay do not come back, so that it is the one with most of them.
    let mut kills = 0;
    let mut has_flooded = false;
    while !has_flooded {
        assert!(kills < 10, "nothing was flooded after {kills} deaths of a relay: are floods for one peer counted?");
        let trader = bazaar.trader();
        let earlier = relays(trader);
        bazaar.wait_for_purchases(bazaar.now(), 100);
        let lately = relays(trader).into_iter().map(|(id, given)| (given.saturating_sub(earlier[&id]), id));
        let relay = PeerId(lately.max().unwrap().1);
        let (before, from, pid) = (counts(Some(relay)), bazaar.now(), bazaar.pid_of(relay));
        bazaar.signal(pid, Signal::SIGKILL);
        died(&bazaar, from, pid);
        bazaar.wait_for_purchases(bazaar.now(), 200);
        has_flooded = counts(Some(relay))[1] > before[1];
        kills += 1;
    }
    // A machine on which a hundred processes hang together for seconds breaks links and deposes traders, and what is
    // flooded then is as it should be: what counts is a time in which nothing of the kind happens.
    let is_disturbed = |event: &Event| {
        matches!(note(event), Some(Note::TraderSuspected { .. } | Note::ElectionCalled | Note::LedgerSilent))
    };
    let mut disturbed = 0;
    let [given, flooded] = loop {
        assert!(disturbed < 5, "something happened each time");
        // What breaks just before the window is found again within it.
        let (quiet, first) = (bazaar.now(), counts(None));
        bazaar.wait_for_purchases(quiet, 1_000);
        let (from, settled) = (bazaar.now(), counts(None));
        // Long enough for paths that spoil each other to meet: with those, floods end now and then, and come back.
        bazaar.wait_for_purchases(from, 1_500);
        let after = counts(None);
        // What disturbed it has been told by then.
        bazaar.wait_for_purchases(bazaar.now(), 200);
        if after[2] == first[2] && !bazaar.events()[quiet..].iter().any(is_disturbed) {
            break [0, 1].map(|nth| after[nth] - settled[nth]);
        }
        disturbed += 1;
    };
    assert!(given > 15_000, "{given} envelopes");
    assert_eq!(flooded, 0, "of {given} envelopes, so many belonged to floods for one peer");
    bazaar.stop();
    bazaar.check();
}

fn stay_connected(graph: &BTreeMap<u32, BTreeSet<u32>>, without: u32) -> bool {
    let Some(start) = graph.keys().find(|id| **id != without) else { return true };
    let (mut reached, mut next) = (BTreeSet::from([*start]), vec![*start]);
    while let Some(id) = next.pop() {
        next.extend(graph[&id].iter().filter(|id| **id != without && reached.insert(**id)));
    }
    reached.len() == graph.len() - 1
}

fn purchases_of(bazaar: &Bazaar, from: usize) -> BTreeSet<PeerId> {
    let events = bazaar.events();
    let bought = events[from..].iter().filter(|event| matches!(note(event), Some(Note::Bought { .. })));
    bought.filter_map(|event| event.peer).collect()
}

#[test]
fn a_killed_ledger_comes_back_with_all_its_books() {
    let mut bazaar = trading(MARKET);
    for _ in 0..2 {
        let before = bazaar.check();
        let log = bazaar.log();
        let from = bazaar.now();
        let pid = bazaar.ledger_pid();
        bazaar.signal(pid, Signal::SIGKILL);
        died(&bazaar, from, pid);
        let ready = bazaar.wait_for_event("the ledger serves again", from, |event| {
            matches!(process_event(event), Some(ProcessEvent::LedgerReady { .. }))
        });
        let Some(ProcessEvent::LedgerReady { records, .. }) = process_event(&ready) else { unreachable!() };
        assert!(*records >= log.len() as u64, "{records} records after the crash, {} before", log.len());
        goes_on(&bazaar, bazaar.now(), before);
        assert_eq!(bazaar.log()[..log.len()], log, "what was in the books before the crash");
    }
    bazaar.stop();
    bazaar.check();
}

#[test]
fn everything_is_killed_at_once_and_the_same_run_goes_on() {
    let mut bazaar = trading(MARKET);
    let graph = bazaar.graph();
    let configured = std::fs::read_to_string(bazaar.dir().join("bazaar.toml")).unwrap();
    bazaar.kill_everything();
    let before = bazaar.check();
    let (log, accounts) = (bazaar.log(), bazaar.page("accounts"));
    let clocks: BTreeMap<PeerId, Time> =
        bazaar.events().iter().filter_map(|event| Some((event.peer?, event.clock?))).collect();
    let from = bazaar.now();

    bazaar.start(&RESTART);
    bazaar.wait_for("all peers are back", from, |events| {
        let joined: BTreeMap<PeerId, (Incarnation, Time)> = events
            .iter()
            .filter_map(|event| match note(event) {
                Some(Note::Joined { incarnation }) => Some((event.peer?, (*incarnation, event.clock?))),
                _ => None,
            })
            .collect();
        for (peer, (incarnation, clock)) in &joined {
            assert_eq!(*incarnation, Incarnation(2), "the life of peer {peer}");
            assert!(*clock >= clocks[peer], "peer {peer} starts with a clock of {clock}, it had {}", clocks[peer]);
        }
        (joined.len() == 8).then_some(())
    });
    goes_on(&bazaar, from, before);
    bazaar.stop();

    assert_eq!(bazaar.graph(), graph);
    assert_eq!(std::fs::read_to_string(bazaar.dir().join("bazaar.toml")).unwrap(), configured);
    let longer = bazaar.log();
    assert!(longer.len() > log.len());
    assert_eq!(longer[..log.len()], log, "what was in the books before");
    let later = bazaar.page("accounts");
    for account in accounts {
        let now = later.iter().find(|now| now["peer"] == account["peer"]).unwrap();
        for kept in ["units_bought", "paid_cents", "sales", "earned_cents", "sales_in_office", "commission_cents"] {
            assert!(now[kept].as_u64() >= account[kept].as_u64(), "{kept}: {now} after {account}");
        }
    }
    bazaar.check();
}

#[test]
fn a_trader_that_hangs_is_replaced_and_steps_down_when_it_wakes_up() {
    let mut bazaar = trading(LONG_TERMS);
    let before = bazaar.check();
    let trader = bazaar.trader();
    let from = bazaar.now();
    let pid = bazaar.pid_of(trader);
    bazaar.signal(pid, Signal::SIGSTOP);
    let (next, epoch) = bazaar.wait_for_trader(from);
    assert_ne!(next, trader, "another peer takes over");
    goes_on(&bazaar, bazaar.now(), before);

    let (woken, before) = (bazaar.now(), bazaar.check());
    bazaar.signal(pid, Signal::SIGCONT);
    let left = bazaar.wait_for_event("the old trader steps down", woken, |event| {
        event.peer == Some(trader) && matches!(note(event), Some(Note::SteppedDown { .. }))
    });
    let Some(Note::SteppedDown { reason }) = note(&left) else { unreachable!() };
    assert_ne!(*reason, Departure::Resigned);
    bazaar.wait_for_event("the old trader recognises a new one", woken, |event| {
        event.peer == Some(trader) && event.epoch >= Some(epoch) && matches!(note(event), Some(Note::Recognised { .. }))
    });
    goes_on(&bazaar, bazaar.now(), before);
    bazaar.stop();
    // Nothing it had begun before it hung was added to the books after it was replaced.
    let epochs: Vec<u64> = bazaar.log().iter().map(|(epoch, _)| epoch.0).collect();
    assert!(epochs.is_sorted());
    bazaar.check();
}

#[test]
fn when_the_supervisor_is_killed_every_process_stops_on_its_own() {
    let mut bazaar = trading(MARKET);
    let before = bazaar.check();
    bazaar.kill_supervisor();
    bazaar.wait_for_end();
    assert!(bazaar.check() >= before);
    // The directory is free for the next run.
    let from = bazaar.now();
    bazaar.start(&RESTART);
    goes_on(&bazaar, from, before);
    bazaar.stop();
}

/// The processes of the killed supervisor are still stopping when the next one starts its own.
#[test]
fn a_run_goes_on_at_once_after_its_supervisor_was_killed() {
    let mut bazaar = trading(MARKET);
    let before = bazaar.check();
    bazaar.kill_supervisor();
    let old: BTreeSet<i32> = bazaar.processes().into_keys().collect();
    let from = bazaar.now();
    bazaar.start(&RESTART);
    goes_on(&bazaar, from, before);
    until("the previous processes are gone", || {
        old.is_disjoint(&bazaar.processes().into_keys().collect()).then_some(())
    });
    bazaar.stop();
    bazaar.check();
}

/// DESIGN 3, "What a store must promise": the peers remember how far the books had got, even across a stop.
#[test]
fn an_old_copy_of_the_books_is_refused_every_time_it_is_tried() {
    let mut bazaar = trading(MARKET);
    bazaar.stop();
    let (store, old, right) =
        (bazaar.dir().join("ledger/store"), bazaar.home().join("old"), bazaar.home().join("right"));
    copy(&store, &old);
    bazaar.start(&RESTART);
    bazaar.wait_for_purchases(bazaar.now(), SOME);
    bazaar.stop();
    let before = bazaar.check();
    copy(&store, &right);
    for _ in 0..2 {
        fs::remove_dir_all(&store).unwrap();
        copy(&old, &store);
        bazaar.start(&RESTART);
        assert_eq!(bazaar.wait_for_end().code(), Some(1));
        assert!(bazaar.errors().contains("acknowledged records are gone"), "{}", bazaar.errors());
    }
    fs::remove_dir_all(&store).unwrap();
    copy(&right, &store);
    let from = bazaar.now();
    bazaar.start(&RESTART);
    goes_on(&bazaar, from, before);
    bazaar.stop();
}

/// DESIGN R7, R8: a peer that started again with its first life would reuse numbers.
#[test]
fn a_peer_whose_store_is_gone_does_not_start_from_scratch() {
    let mut bazaar = trading(MARKET);
    bazaar.stop();
    fs::remove_dir_all(bazaar.dir().join("peer-3/store")).unwrap();
    let from = bazaar.now();
    bazaar.start(&RESTART);
    // The others go on without it.
    bazaar.wait_for_event(
        "it is left out",
        from,
        |event| matches!(process_event(event), Some(ProcessEvent::Failed { process, .. }) if process == "peer 3"),
    );
    bazaar.wait_for_purchases(bazaar.now(), 3);
    bazaar.signal(bazaar.supervisor(), Signal::SIGINT);
    assert_eq!(bazaar.wait_for_end().code(), Some(3));
    let errors = bazaar.errors();
    assert!(errors.contains("peer 3: its log says that it has lived before"), "{errors}");
}

#[test]
fn an_output_that_nobody_reads_does_not_hold_up_the_run_which_says_in_the_end_that_it_was_lost() {
    let bazaar = Bazaar::new(MARKET);
    let mut command = bazaar::bazaar();
    command.arg("run").arg("--json").arg("--dir").arg(bazaar.dir()).arg("--pace").arg("flat-out");
    command.arg("--config").arg(bazaar.home().join("given.toml"));
    // Far more than a pipe takes before somebody reads it.
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    until("it has sold a lot", || {
        let sales = bazaar.dir().join("ledger/address").exists().then(|| bazaar.sales().len());
        (sales >= Some(600)).then_some(())
    });
    bazaar.signal(run.id() as i32, Signal::SIGTERM);
    let status = until("it ends", || run.try_wait().unwrap());
    assert_eq!(status.code(), Some(3));
    let mut errors = String::new();
    run.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("nobody reads it, and its last lines are lost"), "{errors}");
    bazaar.assert_nobody_is_left();
}
