//! Peers talk only to their neighbours (SPEC A2). This is checked against the kernel's own list of sockets and does not
//! rely on what the program says of itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bazaar::{Bazaar, note, process_event, until};
use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::processes::report::ProcessEvent;
use nix::sys::signal::Signal;

const LISTEN: &str = "0A";

/// A line of /proc/net/tcp.
#[derive(Clone, Debug)]
struct Socket {
    local: String,
    remote: String,
    state: String,
    inode: u64,
}

/// All TCP sockets of this machine.
fn sockets() -> Vec<Socket> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            found.push(Socket {
                local: words[1].to_owned(),
                remote: words[2].to_owned(),
                state: words[3].to_owned(),
                inode: words[9].parse().unwrap(),
            });
        }
    }
    found
}

/// Which sockets a process has open.
fn inodes_of(pid: i32) -> BTreeSet<u64> {
    // The process, or one of its files, may be gone by now.
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// A process of the bazaar: the ledger, or one identified by the peers it hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Ledger,
    Peers(BTreeSet<u32>),
}

/// Who is connected to whom, judging by the sockets that lead to a listener of the bazaar.
fn connections(bazaar: &Bazaar) -> BTreeSet<(Party, Party)> {
    let mut parties: BTreeMap<i32, Party> = BTreeMap::new();
    for (pid, words) in bazaar.processes() {
        if words.iter().any(|word| word == "ledger") {
            parties.insert(pid, Party::Ledger);
        } else if let Some(at) = words.iter().position(|word| word == "--id") {
            parties.insert(pid, Party::Peers(words[at + 1].split(',').map(|id| id.parse().unwrap()).collect()));
        }
    }
    let all = sockets();
    let of: BTreeMap<i32, BTreeSet<u64>> = parties.keys().map(|pid| (*pid, inodes_of(*pid))).collect();
    let owner = |socket: &Socket| {
        // A socket that belongs to nobody, such as one that is closing, has no inode.
        of.iter().find(|(_, inodes)| socket.inode != 0 && inodes.contains(&socket.inode)).map(|(pid, _)| &parties[pid])
    };
    let listeners: BTreeMap<String, Party> = all
        .iter()
        .filter(|socket| socket.state == LISTEN)
        .filter_map(|socket| Some((socket.local.clone(), owner(socket)?.clone())))
        .collect();
    for address in listeners.keys() {
        // 127.0.0.0/8, as the kernel writes it.
        let host = address.split(':').next().unwrap();
        assert!(host.len() == 8 && host.ends_with("7F"), "somebody listens on {address}, beyond this machine");
    }
    all.iter()
        .filter(|socket| socket.state != LISTEN)
        .filter_map(|socket| Some((owner(socket)?.clone(), listeners.get(&socket.remote)?.clone())))
        .collect()
}

/// Whether two processes may be connected, given the peers they host.
fn are_neighbours(graph: &BTreeMap<u32, BTreeSet<u32>>, a: &BTreeSet<u32>, b: &BTreeSet<u32>) -> bool {
    a.iter().any(|id| graph[id].iter().any(|neighbour| b.contains(neighbour)))
}

/// Looks at the sockets and checks that none exists that must not.
#[track_caller]
fn look(bazaar: &Bazaar, graph: &BTreeMap<u32, BTreeSet<u32>>) -> BTreeSet<(Party, Party)> {
    let found = connections(bazaar);
    for connection in &found {
        match connection {
            (Party::Peers(a), Party::Peers(b)) => {
                assert!(are_neighbours(graph, a, b), "{a:?} is connected to {b:?}, and none of them are neighbours");
            }
            (Party::Peers(_), Party::Ledger) => {}
            (Party::Ledger, to) => panic!("the ledger must connect to nobody, and is connected to {to:?}"),
        }
    }
    found
}

/// Every connection that must be there once all are up: both ways between neighbours, and from everybody to the ledger.
fn expected(graph: &BTreeMap<u32, BTreeSet<u32>>, shares: &[BTreeSet<u32>]) -> BTreeSet<(Party, Party)> {
    let mut expected = BTreeSet::new();
    for a in shares {
        expected.insert((Party::Peers(a.clone()), Party::Ledger));
        for b in shares.iter().filter(|b| *b != a && are_neighbours(graph, a, b)) {
            expected.insert((Party::Peers(a.clone()), Party::Peers(b.clone())));
        }
    }
    expected
}

#[track_caller]
fn all_neighbours_are_connected(bazaar: &Bazaar, graph: &BTreeMap<u32, BTreeSet<u32>>, shares: &[BTreeSet<u32>]) {
    let expected = expected(graph, shares);
    until("all neighbours are connected", || expected.is_subset(&look(bazaar, graph)).then_some(()));
}

/// Looks whenever something has happened, until `is` holds and it has looked ten times.
#[track_caller]
fn look_until(bazaar: &Bazaar, graph: &BTreeMap<u32, BTreeSet<u32>>, is: impl Fn(&Bazaar) -> bool) {
    let mut looks = 0;
    while looks < 10 || !is(bazaar) {
        look(bazaar, graph);
        looks += 1;
        let seen = bazaar.now();
        bazaar.wait_for("anything", seen, |events| (events.len() >= 2).then_some(()));
    }
}

const MARKET: &str = r#"
[terms]
resign_after = 12
[waits]
deposit_after = "50ms"
trade_after = "150ms"
think = "50ms"
"#;

#[test]
fn no_process_is_connected_to_a_non_neighbour_through_elections_and_a_restart() {
    let mut bazaar = Bazaar::run(&format!("peers = 10\nseed = 7\n{MARKET}"), &["--restart-after", "500ms"]);
    bazaar.wait_for("all have joined", 0, |events| {
        (events.iter().filter(|event| matches!(note(event), Some(Note::Joined { .. }))).count() == 10).then_some(())
    });
    let graph = bazaar.graph();
    let shares: Vec<BTreeSet<u32>> = graph.keys().map(|id| BTreeSet::from([*id])).collect();
    let pairs = expected(&graph, &shares).len();
    assert!(pairs < 10 * 9, "there are pairs that must not be connected");
    let elections = |bazaar: &Bazaar| {
        bazaar.events().iter().filter(|event| matches!(note(event), Some(Note::TookOffice { .. }))).count()
    };
    look_until(&bazaar, &graph, |bazaar| elections(bazaar) >= 3);
    all_neighbours_are_connected(&bazaar, &graph, &shares);

    let from = bazaar.now();
    let trader = bazaar.trader();
    bazaar.signal(bazaar.pid_of(trader), Signal::SIGKILL);
    let before = elections(&bazaar);
    look_until(&bazaar, &graph, |bazaar| {
        let events = bazaar.events();
        let back = events[from..]
            .iter()
            .any(|event| event.peer == Some(trader) && matches!(note(event), Some(Note::LedgerHeard)));
        back && elections(bazaar) > before
    });
    all_neighbours_are_connected(&bazaar, &graph, &shares);
    bazaar.wait_for_purchases(bazaar.now(), 5);
    look(&bazaar, &graph);
    bazaar.stop();
}

/// On a ring of twelve in four processes, the first and the third host no neighbours, nor do the second and the fourth.
#[test]
fn processes_that_host_several_peers_are_connected_only_if_some_of_them_are_neighbours() {
    let ring: Vec<String> = (0..12).map(|id| format!("{id} = [{}, {}]", (id + 11) % 12, (id + 1) % 12)).collect();
    let config = format!("peers = 12\nseed = 7\n{MARKET}[graph]\nadjacency = {{ {} }}\n", ring.join(", "));
    let mut bazaar = Bazaar::run(&config, &["--processes", "4"]);
    let started = bazaar.wait_for_event("the run starts", 0, |event| {
        matches!(process_event(event), Some(ProcessEvent::RunStarted { .. }))
    });
    let Some(ProcessEvent::RunStarted { processes, .. }) = process_event(&started) else { unreachable!() };
    assert_eq!(*processes, 4);
    bazaar.wait_for_purchases(0, 5);
    let graph = bazaar.graph();
    let shares: Vec<BTreeSet<u32>> = (0..4).map(|share| (0..12).filter(|id| id % 4 == share).collect()).collect();
    assert_eq!(expected(&graph, &shares).len(), 4 + 8, "four to the ledger, and both ways along a ring of four");
    all_neighbours_are_connected(&bazaar, &graph, &shares);
    let from = bazaar.now();
    look_until(&bazaar, &graph, |bazaar| bazaar.now() > from + 100);
    assert_ne!(bazaar.pid_of(PeerId(0)), bazaar.pid_of(PeerId(1)));
    assert_eq!(bazaar.pid_of(PeerId(0)), bazaar.pid_of(PeerId(4)));
    bazaar.stop();
}
