//! Faults by hand on a run that is going on: processes that are paused, links that are cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::fs;

use bazaar::{Bazaar, note, process_event, until};
use bazaar_protocol::{
    effect::{Departure, Note},
    id::PeerId,
};
use bazaar_runtime::processes::report::{Event, ProcessEvent};
use serde_json::Value;

/// On a ring there is a way around every cut.
const RING: &str = "0 = [1, 3], 1 = [0, 2], 2 = [1, 3], 3 = [2, 0]";
/// Whoever is left can hear each other.
const COMPLETE: &str = "0 = [1, 2, 3], 1 = [0, 2, 3], 2 = [0, 1, 3], 3 = [0, 1, 2]";

fn run(adjacency: &str, processes: &str) -> Bazaar {
    let config = format!(
        "peers = 4\nseed = 7\n[graph]\nadjacency = {{ {adjacency} }}\n[terms]\nresign_after = 100000\n[timeouts]\nfirst_call = \"300ms\"\n[waits]\n\
         deposit_after = \"50ms\"\ntrade_after = \"100ms\"\nthink = \"50ms\"\n"
    );
    Bazaar::run(&config, &["--processes", processes])
}

fn log_of(bazaar: &Bazaar, whose: &str) -> String {
    fs::read_to_string(bazaar.dir().join(whose).join("log")).unwrap()
}

#[test]
fn a_trader_that_is_asked_to_resign_does_as_after_its_last_sale_and_its_log_says_who_wanted_it() {
    let mut bazaar = run(COMPLETE, "2");
    bazaar.wait_for_purchases(0, 3);
    let (from, trader) = (bazaar.now(), bazaar.trader());
    let said = bazaar.ask(&["resign"]).ends(0).out;
    assert!(said.contains(&format!("asked: peer {trader} gives the office back")), "{said}");
    bazaar.wait_for_event("it says who wanted it", from, |event| {
        let process = format!("peer {trader}");
        matches!(process_event(event), Some(ProcessEvent::AskedToResign { process: asked }) if *asked == process)
    });
    bazaar.wait_for_event("it resigns", from, |event| {
        let resigned = Note::SteppedDown { reason: Departure::Resigned };
        event.peer == Some(trader) && note(event) == Some(&resigned)
    });
    bazaar.wait_for_trader(from);
    bazaar.wait_for_purchases(bazaar.now(), 3);
    bazaar.stop();
    let terms = bazaar.page("terms");
    let resigned = terms.iter().position(|term| term["trader"] == trader.0 && term["ended"] == "resigned").unwrap();
    assert_ne!(terms[resigned + 1]["trader"], trader.0, "it sits out the next term");
    for gone in [&["resign"][..], &["heal"], &["cut", "0", "1"], &["pause", "trader"]] {
        bazaar.ask(gone).refused(3, &["the run has ended"]);
    }
}

#[test]
fn a_paused_trader_is_replaced_and_follows_the_new_one_when_it_is_resumed() {
    let mut bazaar = run(COMPLETE, "2");
    bazaar.wait_for_purchases(0, 3);
    let (from, trader) = (bazaar.now(), bazaar.trader());
    let (pid, other) = (bazaar.pid_of(trader), PeerId((trader.0 + 2) % 4));
    assert_eq!(bazaar.pid_of(other), pid);
    let mut both = [trader.0, other.0];
    both.sort_unstable();
    let said = bazaar.ask(&["pause", "trader"]).ends(0).out;
    let hosts = format!("it hosts the peers {},{}", both[0], both[1]);
    assert!(said.contains(&format!("paused the trader, peer {trader} (pid {pid})")) && said.contains(&hosts), "{said}");
    for peer in both {
        let log = log_of(&bazaar, &format!("peer-{peer}"));
        assert!(log.contains(&format!("peer {peer} is paused by hand")), "{log}");
    }
    until("it has stopped", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
    });
    bazaar.ask(&["pause", &trader.to_string()]).refused(3, &["is paused already"]);
    let rows = bazaar.ask(&["status"]).ends(0).out;
    let is_paused = |peer: u32| rows.lines().any(|row| row.trim_start().starts_with(&format!("{peer}  paused ")));
    assert!(both.iter().all(|peer| is_paused(*peer)), "{rows}");
    let (successor, _) = bazaar.wait_for_trader(from);
    assert!(!both.contains(&successor.0));
    let said = bazaar.ask(&["resume", "trader"]).ends(0).out;
    assert!(said.contains(&format!("peer {trader} (pid {pid})")), "{said}");
    bazaar.wait_for_event("it leaves the office", from, |event| {
        event.peer == Some(trader) && matches!(note(event), Some(Note::SteppedDown { .. }))
    });
    bazaar.wait_for_event("it says that it was resumed", from, |event| {
        matches!(process_event(event), Some(ProcessEvent::Resumed { process }) if *process == format!("peer {trader}"))
    });
    bazaar.ask(&["resume", &trader.to_string()]).refused(3, &["is not paused"]);
    bazaar.ask(&["resume", "trader"]).refused(3, &["no process of a peer that was trader is paused"]);

    let pid = bazaar.ledger_pid();
    assert_eq!(bazaar.ask(&["pause", "ledger"]).ends(0).out, format!("paused the ledger (pid {pid})\n"));
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(people.contains("THE LEDGER CANNOT BE REACHED"), "{people}");
    assert_eq!(bazaar.ask(&["resume", "ledger"]).ends(0).out, format!("resumed the ledger (pid {pid})\n"));
    let log = log_of(&bazaar, "ledger");
    assert!(log.contains("the ledger is paused by hand") && log.contains("the ledger goes on"), "{log}");
    bazaar.wait_for_purchases(bazaar.now(), 3);
    // What it said of its term when it woke up was late, and nobody's bug.
    let refuses = |event: &&Event| matches!(note(event), Some(Note::TermRefused { .. }));
    assert_eq!(bazaar.events().iter().find(refuses), None);
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(!people.contains("absurd"), "{people}");
    bazaar.ask(&["pause", "4"]).refused(2, &["there is no peer 4", "from 0 to 3"]);
    bazaar.check();
    bazaar.stop();
}

/// From whom to whom a link leads.
type Direction = [u64; 2];

/// The links of all peers that are not up, and those that are cut.
fn broken(status: &Value) -> Option<(Vec<Direction>, Vec<Direction>)> {
    let (mut down, mut cut) = (Vec::new(), Vec::new());
    for peer in status["peers"].as_array()? {
        for link in peer["links"].as_array()? {
            let pair = [peer["peer"].as_u64()?, link["neighbour"].as_u64()?];
            down.extend((link["up"] == false).then_some(pair));
            cut.extend((link["cut"] == true).then_some(pair));
        }
    }
    Some((down, cut))
}

#[test]
fn a_link_that_is_cut_stays_down_in_the_directions_that_were_cut_until_it_is_healed() {
    let mut bazaar = run(RING, "2");
    bazaar.wait_for_purchases(0, 3);
    let becomes = |bazaar: &Bazaar, expected: &[Direction]| {
        until("the links are as they should be", || {
            let (down, cut) = broken(&bazaar.status())?;
            (down == expected && cut == expected).then_some(())
        });
    };
    becomes(&bazaar, &[]);
    let from = bazaar.now();
    let said = bazaar.ask(&["cut", "0", "1", "--one-way"]).ends(0).out;
    assert!(said.contains("peer 0 no longer reaches peer 1, which still reaches 0"), "{said}");
    becomes(&bazaar, &[[0, 1]]);
    bazaar.ask(&["cut", "0", "1"]).ends(0);
    becomes(&bazaar, &[[0, 1], [1, 0]]);
    let cuts = bazaar.wait_for("both say so", from, |events| {
        let cuts = events.iter().filter(|event| matches!(process_event(event), Some(ProcessEvent::LinkCut { .. })));
        (cuts.clone().count() >= 2).then(|| cuts.count())
    });
    assert_eq!(cuts, 2, "what was cut before is not cut again");
    assert!(log_of(&bazaar, "peer-0").contains("peer 0 is cut off from peer 1 by hand"));
    until("people are told of both", || {
        let people = bazaar.ask(&["status"]).ends(0).out;
        (people.contains("1 (cut)") && people.contains("0 (cut)")).then_some(())
    });
    // The long way around.
    bazaar.wait_for_purchases(bazaar.now(), 3);
    becomes(&bazaar, &[[0, 1], [1, 0]]);

    let said = bazaar.ask(&["heal"]).ends(0).out;
    assert_eq!(said, "healed: peer 0 may reach peer 1 again\nhealed: peer 1 may reach peer 0 again\n");
    becomes(&bazaar, &[]);
    assert_eq!(bazaar.ask(&["heal"]).ends(0).out, "nothing was cut\n");
    assert!(log_of(&bazaar, "peer-1").contains("peer 1 may reach peer 0 again, by hand"));
    bazaar.ask(&["cut", "0", "2"]).refused(2, &["0 and 2 are not neighbours", "those of 0 are 1,3"]);
    bazaar.ask(&["cut", "0", "7"]).refused(2, &["there is no peer 7"]);
    bazaar.wait_for_purchases(bazaar.now(), 3);
    bazaar.check();
    bazaar.stop();
}

/// Neighbours that one process hosts have no connection between them, and can be cut off from each other all the same.
#[test]
fn neighbours_in_one_process_can_be_cut_off_too() {
    let mut bazaar = run(RING, "1");
    bazaar.wait_for_purchases(0, 3);
    bazaar.ask(&["cut", "2", "3"]).ends(0);
    until("the link is down", || {
        let (down, cut) = broken(&bazaar.status())?;
        (down == [[2, 3], [3, 2]] && cut == down).then_some(())
    });
    bazaar.wait_for_purchases(bazaar.now(), 3);
    bazaar.ask(&["heal"]).ends(0);
    until("the link is up", || (broken(&bazaar.status())?.0.is_empty()).then_some(()));
    bazaar.stop();
}
