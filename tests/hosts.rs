//! A bazaar on several hosts (SPEC J4): one configuration with certificates, one command on each host, and a network
//! between them that is cut in two, cut in one direction, and slow.
//!
//! The ledger is on the first host, and the peers are on the others. Each host has the configuration and the
//! certificates of its own members, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;
mod network;
#[path = "../runtime/src/commands/bench/proxy.rs"]
#[allow(dead_code)]
mod proxy;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddrV4, UdpSocket},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use bazaar::{Answer, Bazaar, ask, bazaar_inside, note, until};
use bazaar_protocol::{
    effect::{Departure, Note},
    id::{Epoch, PeerId},
};
use bazaar_runtime::processes::report::Event;
use network::Network;
use nix::sys::signal::Signal;
use proxy::Proxy;
use serde_json::Value;

const LEDGER: u8 = 1;
const LEDGER_PORT: u16 = 7_000;
const PEER_PORT: u16 = 7_001;
/// How much above a member's port its proxy listens.
const PROXIED: u16 = 1_000;

/// Who is on each host with peers, and who is whose neighbour.
type Layout = (&'static [&'static [u32]], &'static str);

/// Two hosts with three peers each: everybody has a neighbour on the other host and two on its own.
const TWO: Layout = (
    &[&[0, 1, 2], &[3, 4, 5]],
    "0 = [1, 2, 3], 1 = [0, 2, 4], 2 = [0, 1, 5], 3 = [4, 5, 0], 4 = [3, 5, 1], 5 = [3, 4, 2]",
);
/// Three hosts with two peers each: there is a way around every cut between two of them.
const THREE: Layout =
    (&[&[0, 1], &[2, 3], &[4, 5]], "0 = [1, 5], 1 = [0, 2], 2 = [1, 3], 3 = [2, 4], 4 = [3, 5], 5 = [4, 0]");
/// The peer with the highest id, which is the first trader, has a host to itself.
const ALONE: Layout =
    (&[&[0, 1, 2, 3, 4], &[5]], "0 = [1, 5], 1 = [0, 2], 2 = [1, 3], 3 = [2, 4], 4 = [3, 5], 5 = [4, 0]");

/// How many purchases show that trade goes on.
const SOME: usize = 12;
/// How many lost packets show that members try again and again.
const TRIES: u64 = 20;

const LEDGER_SILENT: Note = Note::SteppedDown { reason: Departure::LedgerSilent };
const ISOLATED: Note = Note::SteppedDown { reason: Departure::Isolated };

/// A bazaar on hosts of its own. The processes end before the namespaces do.
struct Hosts {
    bazaar: Bazaar,
    network: Network,
    shares: &'static [&'static [u32]],
    /// The process that runs on each host.
    pids: BTreeMap<u8, i32>,
    proxies: Vec<(u8, Proxy)>,
}

impl Hosts {
    /// A bazaar that trades; `None` where there can be no hosts.
    fn start(test: &str, layout: Layout) -> Option<Hosts> {
        let mut hosts = Hosts::prepare(test, layout, 0)?;
        hosts.run();
        Some(hosts)
    }

    /// Writes the configuration, in which everybody is to be reached so much above the port where it listens, and gives
    /// each host its share.
    fn prepare(test: &str, (shares, graph): Layout, above: u16) -> Option<Hosts> {
        let network = Network::new(test, shares.len() as u8 + 1)?;
        let at = |host, port| {
            let address = |port| SocketAddrV4::new(network.address(host), port);
            format!("address = \"{}\"\nlisten = \"{}\"\n", address(port + above), address(port))
        };
        let peer = |(host, id): (u8, &u32)| format!("[[peer]]\nid = {id}\nrole = \"both\"\n{}", at(host, PEER_PORT));
        let peers: String = (LEDGER + 1..)
            .zip(shares)
            .flat_map(|(host, share)| share.iter().map(move |id| (host, id)))
            .map(peer)
            .collect();
        let (ledger, key) = (at(LEDGER, LEDGER_PORT), "5a".repeat(32));
        let config = format!(
            "name = \"hosts\"\nkey = \"{key}\"\npeers = 6\nseed = 7\n[goods]\nitems = [\"fish\"]\n\
             [graph]\nadjacency = {{ {graph} }}\n[terms]\nresign_after = 100000\n[timeouts]\nfirst_call = \"300ms\"\n\
             [waits]\ndeposit_after = \"50ms\"\ntrade_after = \"100ms\"\nthink = \"50ms\"\n[ledger]\n{ledger}{peers}"
        );
        let mut bazaar = Bazaar::new(&config);
        bazaar.ask_inside(network.on(LEDGER));
        let all = bazaar.home().join("all");
        let given = bazaar.home().join("given.toml");
        ask(&["init", "--tls", text(&all), "--config", text(&given)]).ends(0);
        let hosts = Hosts { bazaar, network, shares, pids: BTreeMap::new(), proxies: Vec::new() };
        hosts.give(&all, LEDGER, &["ledger".to_owned(), "tools".to_owned()]);
        for (host, share) in hosts.peers() {
            hosts.give(&all, host, &share.iter().map(|id| format!("peer-{id}")).collect::<Vec<_>>());
        }
        Some(hosts)
    }

    /// Copies what a host with these members needs.
    fn give(&self, all: &Path, host: u8, members: &[String]) {
        let dir = self.dir(host);
        fs::create_dir_all(dir.join("tls")).unwrap();
        let certificates = members.iter().flat_map(|member| [format!("tls/{member}.pem"), format!("tls/{member}.key")]);
        for file in ["bazaar.toml".to_owned(), "tls/ca.pem".to_owned()].into_iter().chain(certificates) {
            fs::copy(all.join(&file), dir.join(&file)).unwrap();
        }
    }

    /// One command on each host.
    fn run(&mut self) {
        self.start_on(LEDGER);
        self.peers().for_each(|(host, _)| self.start_on(host));
        self.bazaar.wait_for_purchases(0, SOME);
        self.agree();
    }

    fn start_on(&mut self, host: u8) {
        let mut command = bazaar_inside(&self.network.on(host));
        match self.peers().find(|(other, _)| *other == host) {
            Some((_, share)) => {
                let ids: Vec<String> = share.iter().map(u32::to_string).collect();
                command.args(["peer", "--id", &ids.join(",")])
            }
            None => command.arg("ledger"),
        };
        command.arg("--json").arg("--config").arg(self.dir(host).join("bazaar.toml"));
        self.pids.insert(host, self.bazaar.start_with(command) as i32);
    }

    /// Kills the process on a host.
    fn kill(&mut self, host: u8) {
        self.bazaar.end(self.pids[&host], Signal::SIGKILL);
    }

    /// The directory that a host has. The ledger's is the one that the suite's tools ask about.
    fn dir(&self, host: u8) -> PathBuf {
        if host == LEDGER { self.bazaar.dir() } else { self.bazaar.home().join(format!("host-{host}")) }
    }

    /// The hosts with peers, and who they are.
    fn peers(&self) -> impl Iterator<Item = (u8, &'static [u32])> + use<> {
        (LEDGER + 1..).zip(self.shares.iter().copied())
    }

    fn host_of(&self, peer: PeerId) -> u8 {
        self.peers().find(|(_, share)| share.contains(&peer.0)).expect("each peer has a host").0
    }

    /// A host with peers that is not this one.
    fn other(&self, host: u8) -> u8 {
        self.peers().map(|(other, _)| other).find(|other| *other != host).expect("there are several")
    }

    /// Everybody hears all neighbours and the ledger, and knows the same trader, who has the office. Returns that one.
    #[track_caller]
    fn agree(&self) -> (PeerId, Epoch) {
        until("all know the same trader", || {
            let status = self.bazaar.status();
            let agreed = agreed(&status)?;
            self.links(&status)?.values().all(|up| *up).then_some(agreed)
        })
    }

    /// Waits until all links between two hosts are down and all others up. Returns the trader that everybody still
    /// knows, if there is one.
    #[track_caller]
    fn lose_touch(&self, one: u8, other: u8) -> Option<(PeerId, Epoch)> {
        until("all links between the two hosts are down, and no others", || {
            let status = self.bazaar.status();
            let links = self.links(&status)?;
            let is_cut = |[from, to]: &[PeerId; 2]| {
                let ends = [self.host_of(*from), self.host_of(*to)];
                ends == [one, other] || ends == [other, one]
            };
            let is_so = links.keys().any(is_cut) && links.iter().all(|(ends, up)| *up != is_cut(ends));
            is_so.then(|| agreed(&status))
        })
    }

    /// Whether each link is up, by its ends; `None` unless every peer says so.
    fn links(&self, status: &Value) -> Option<BTreeMap<[PeerId; 2], bool>> {
        let mut found = BTreeMap::new();
        for peer in status["peers"].as_array()? {
            for link in peer["links"].as_array()? {
                let ends = [peer["peer"].as_u64()?, link["neighbour"].as_u64()?].map(|id| PeerId(id as u32));
                found.insert(ends, link["up"].as_bool()?);
            }
        }
        Some(found)
    }

    /// Waits until so many purchases have been made on this host since event number `from`.
    #[track_caller]
    fn wait_for_purchases_on(&self, host: u8, from: usize, count: usize) {
        let is_here = |event: &Event| event.peer.is_some_and(|peer| self.host_of(peer) == host);
        self.bazaar.wait_for(&format!("{count} purchases on host {host}"), from, |events| {
            let bought =
                events.iter().filter(|event| matches!(note(event), Some(Note::Bought { .. })) && is_here(event));
            (bought.count() >= count).then_some(())
        });
    }

    /// Waits until somebody on this host says this.
    #[track_caller]
    fn wait_for_note_on(&self, host: u8, from: usize, said: &Note) {
        self.bazaar.wait_for_event(&format!("somebody on host {host} says {said:?}"), from, |event| {
            note(event) == Some(said) && event.peer.is_some_and(|peer| self.host_of(peer) == host)
        });
    }

    /// Waits until the cuts have lost so many packets more.
    fn keep_trying(&self, packets: u64) {
        let lost = || self.network.lost().values().sum::<u64>();
        let before = lost();
        until("members try to reach each other", || (lost() >= before + packets).then_some(()));
    }

    /// Heals the network; then everybody must come to know one trader, and everybody else must buy again.
    #[track_caller]
    fn heal(&self) -> (PeerId, Epoch) {
        self.network.heal();
        let agreed = self.agree();
        self.trade_everywhere();
        self.bazaar.check();
        agreed
    }

    /// Waits for purchases on every host with peers.
    #[track_caller]
    fn trade_everywhere(&self) {
        let from = self.bazaar.now();
        for (host, _) in self.peers() {
            self.wait_for_purchases_on(host, from, SOME);
        }
    }

    /// Who took office since event number `from`.
    fn took_office(&self, from: usize) -> Vec<(PeerId, Epoch)> {
        let took = |event: &Event| match note(event) {
            Some(Note::TookOffice { .. }) => Some((event.peer?, event.epoch?)),
            Some(_) | None => None,
        };
        self.bazaar.events()[from..].iter().filter_map(took).collect()
    }

    /// Checks the books while the ledger is there, stops every process, and checks them again as they are on the disk.
    #[track_caller]
    fn end(mut self, sales: usize) {
        let before = self.bazaar.check();
        assert!(before >= sales, "{before} sales: this has tested next to nothing");
        for pid in self.pids.values().rev() {
            self.bazaar.signal(*pid, Signal::SIGTERM);
        }
        self.bazaar.assert_nobody_is_left();
        let ends = self.bazaar.statuses();
        let is_well = |status: &&ExitStatus| status.code() == Some(0);
        assert_eq!(ends.iter().filter(is_well).count(), self.pids.len(), "{ends:?}: {}", self.bazaar.errors());
        assert!(self.bazaar.check() >= before);
        // No term was anybody else's as well, in the books or in what peers said of themselves.
        let mut traders: BTreeMap<Epoch, BTreeSet<PeerId>> = BTreeMap::new();
        for term in self.bazaar.page("terms") {
            let (trader, epoch) = (term["trader"].as_u64().unwrap(), term["epoch"].as_u64().unwrap());
            traders.entry(Epoch(epoch)).or_default().insert(PeerId(trader as u32));
        }
        for (trader, epoch) in self.took_office(0) {
            traders.entry(epoch).or_default().insert(trader);
        }
        assert!(!traders.is_empty() && traders.values().all(|of| of.len() == 1), "{traders:?}");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for (host, proxy) in std::mem::take(&mut self.proxies) {
            // It wakes its own listener up, which takes a thread that is where it listens.
            self.network.do_on(host, move || drop(proxy));
        }
    }
}

/// The trader that everybody knows, the ledger and that one, too; and everybody hears the ledger.
fn agreed(status: &Value) -> Option<(PeerId, Epoch)> {
    let (trader, epoch) = (status["trader"].as_u64()?, status["epoch"].as_u64()?);
    let agrees = |peer: &&Value| peer["trader"] == trader && peer["epoch"] == epoch && peer["ledger"] == true;
    let agreeing = status["peers"].as_array()?.iter().filter(agrees).count();
    (agreeing == 6).then_some((PeerId(trader as u32), Epoch(epoch)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The suite's own tool: a cut loses what one host sends to another, all of that, and nothing else.
#[test]
fn a_cut_loses_packets_in_its_direction_only_until_it_is_healed() {
    let test = "a_cut_loses_packets_in_its_direction_only_until_it_is_healed";
    let Some(network) = Network::new(test, 3) else { return };
    let socket = |host| {
        let socket = network.do_on(host, || UdpSocket::bind((network.address(host), 9)).unwrap());
        socket.set_read_timeout(Some(bazaar::DEADLINE)).unwrap();
        socket
    };
    let sockets = [1, 2, 3].map(socket);
    let at = |host: u8| &sockets[usize::from(host) - 1];
    let send = |from, to, word: u8| at(from).send_to(&[word], (network.address(to), 9)).unwrap();
    // What is sent first arrives first: whatever arrives says what has not.
    let hears = |host| {
        let mut word = [0];
        let (_, sender) = at(host).recv_from(&mut word).unwrap();
        (sender.ip(), word[0])
    };
    network.cut(1, 2);
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 2), (3, 1), (2, 3)] {
        send(from, to, 1);
    }
    assert_eq!(hears(2), (network.address(3).into(), 1));
    for (host, others) in [(1, [2, 3]), (3, [1, 2])] {
        let heard: BTreeSet<_> = others.map(|_| hears(host)).into();
        assert_eq!(heard, others.map(|other| (network.address(other).into(), 1)).into());
    }
    network.isolate(3);
    send(3, 1, 2);
    send(1, 3, 2);
    send(3, 2, 2);
    let lost = [("1 and 2", 1), ("1 and 3", 2), ("2 and 3", 1)].map(|(of, packets)| (of.to_owned(), packets)).into();
    until("all of them are lost", || (network.lost() == lost).then_some(()));
    network.heal();
    for (from, to) in [(1, 2), (3, 1), (1, 3)] {
        send(from, to, 3);
        assert_eq!(hears(to), (network.address(from).into(), 3));
    }
    assert!(network.lost().is_empty());
}

/// The ledger knows one trader, whose term is renewed as long as it is reached: the others find out that they cannot
/// have the office, and nobody takes it away.
#[test]
fn two_hosts_that_are_cut_off_from_each_other_keep_one_trader_and_recover() {
    let test = "two_hosts_that_are_cut_off_from_each_other_keep_one_trader_and_recover";
    let Some(hosts) = Hosts::start(test, TWO) else { return };
    let before = hosts.agree();
    let (near, from) = (hosts.host_of(before.0), hosts.bazaar.now());
    let far = hosts.other(near);
    hosts.network.part(near, far);
    hosts.lose_touch(near, far);
    hosts.wait_for_purchases_on(near, hosts.bazaar.now(), SOME);
    // It claims the office, in vain, until it hears of the trader again.
    hosts.wait_for_note_on(far, from, &Note::ElectionWon);
    hosts.wait_for_purchases_on(near, hosts.bazaar.now(), SOME);
    assert_eq!(hosts.took_office(from), [], "the trader is there all the time");
    assert_eq!(hosts.heal(), before, "who comes back leaves a healthy trader alone");
    hosts.end(5 * SOME);
}

/// DESIGN R6: a trader whom no buyer reaches makes room although it could go on renewing its term.
#[test]
fn a_trader_that_is_alone_on_its_host_makes_room_for_one_that_others_reach() {
    let test = "a_trader_that_is_alone_on_its_host_makes_room_for_one_that_others_reach";
    let Some(hosts) = Hosts::start(test, ALONE) else { return };
    let (trader, epoch) = hosts.agree();
    assert_eq!(trader, PeerId(5));
    let (here, start) = (hosts.host_of(trader), hosts.bazaar.now());
    let there = hosts.other(here);
    hosts.network.part(here, there);
    hosts.wait_for_note_on(here, start, &ISOLATED);
    let (next, later) = hosts.bazaar.wait_for_trader(start);
    assert!(hosts.host_of(next) == there && later > epoch);
    hosts.wait_for_purchases_on(there, hosts.bazaar.now(), SOME);
    assert_eq!(hosts.heal(), (next, later));
    assert_eq!(hosts.took_office(start), [(next, later)]);
    hosts.end(4 * SOME);
}

/// With a third host between them, there is a way around: all three go on buying, and nobody misses the trader.
#[test]
fn a_cut_between_two_hosts_is_gone_around_by_a_third() {
    let test = "a_cut_between_two_hosts_is_gone_around_by_a_third";
    let Some(hosts) = Hosts::start(test, THREE) else { return };
    let before = hosts.agree();
    let (near, start) = (hosts.host_of(before.0), hosts.bazaar.now());
    let far = hosts.other(near);
    hosts.network.part(near, far);
    assert_eq!(hosts.lose_touch(near, far), Some(before));
    hosts.trade_everywhere();
    assert_eq!(hosts.lose_touch(near, far), Some(before));
    assert_eq!(hosts.heal(), before);
    assert_eq!(hosts.took_office(start), []);
    hosts.end(7 * SOME);
}

/// What one host sends no longer arrives at the other, which is still heard. That is worse than a cut in both
/// directions: what is sent arrives, but no acknowledgement of it comes back.
#[test]
fn hosts_of_which_one_no_longer_hears_the_other_lose_touch_and_recover() {
    let test = "hosts_of_which_one_no_longer_hears_the_other_lose_touch_and_recover";
    let Some(hosts) = Hosts::start(test, TWO) else { return };
    let mut before = hosts.agree();
    for is_trader_heard in [true, false] {
        let near = hosts.host_of(before.0);
        let far = hosts.other(near);
        let (from, to) = if is_trader_heard { (far, near) } else { (near, far) };
        let start = hosts.bazaar.now();
        hosts.network.cut(from, to);
        hosts.lose_touch(near, far);
        hosts.wait_for_note_on(far, start, &Note::ElectionWon);
        hosts.wait_for_purchases_on(near, hosts.bazaar.now(), SOME);
        assert_eq!(hosts.took_office(start), []);
        let after = hosts.heal();
        assert_eq!(after, before);
        before = after;
    }
    hosts.end(7 * SOME);
}

/// Without the ledger there is no sale, and no term begins.
#[test]
fn while_the_ledgers_host_is_cut_off_nothing_is_sold_and_nobody_takes_office() {
    let test = "while_the_ledgers_host_is_cut_off_nothing_is_sold_and_nobody_takes_office";
    let Some(hosts) = Hosts::start(test, TWO) else { return };
    let (trader, _) = hosts.agree();
    let start = hosts.bazaar.now();
    hosts.network.isolate(LEDGER);
    hosts.wait_for_note_on(hosts.host_of(trader), start, &LEDGER_SILENT);
    // What was sold just before is being told until now.
    hosts.keep_trying(TRIES);
    let (quiet, log) = (hosts.bazaar.now(), hosts.bazaar.log());
    hosts.keep_trying(2 * TRIES);
    let sold = |event: &&Event| {
        matches!(
            note(event),
            Some(Note::Sold { .. } | Note::Bought { .. } | Note::Earned { .. } | Note::TookOffice { .. })
        )
    };
    assert_eq!(hosts.bazaar.events()[quiet..].iter().find(sold), None);
    assert_eq!(hosts.bazaar.log(), log, "the books are as they were");
    hosts.bazaar.check();
    assert_eq!(hosts.took_office(start), []);
    let (_, epoch) = hosts.heal();
    assert_eq!(hosts.took_office(start).iter().filter(|(_, of)| *of == epoch).count(), 1);
    hosts.end(3 * SOME);
}

/// An append may have become durable although its trader never hears of it. Whoever is elected next finds it in the
/// books and tells the buyer.
#[test]
fn a_trader_that_no_longer_hears_the_ledger_is_replaced_and_its_host_goes_on_buying() {
    let test = "a_trader_that_no_longer_hears_the_ledger_is_replaced_and_its_host_goes_on_buying";
    let Some(hosts) = Hosts::start(test, TWO) else { return };
    let (mut trader, _) = hosts.agree();
    for is_heard_there in [true, false] {
        let here = hosts.host_of(trader);
        let start = hosts.bazaar.now();
        if is_heard_there {
            hosts.network.cut(LEDGER, here);
        } else {
            hosts.network.cut(here, LEDGER);
        }
        // By itself, unless it is so slow that it hears of the next term first.
        hosts.bazaar.wait_for_event("it leaves the office", start, |event| {
            event.peer == Some(trader) && matches!(note(event), Some(Note::SteppedDown { .. }))
        });
        let (next, _) = hosts.bazaar.wait_for_trader(start);
        assert_ne!(hosts.host_of(next), here, "whoever does not hear the ledger cannot stand");
        hosts.wait_for_purchases_on(here, hosts.bazaar.now(), SOME);
        hosts.bazaar.check();
        (trader, _) = hosts.heal();
        assert_eq!(trader, next);
    }
    hosts.end(7 * SOME);
}

/// Nobody over there hears it, nor does the ledger: it is no trader any more, whatever it believes.
#[test]
fn a_trader_whose_host_is_cut_off_is_replaced_and_follows_the_new_one() {
    let test = "a_trader_whose_host_is_cut_off_is_replaced_and_follows_the_new_one";
    let Some(hosts) = Hosts::start(test, TWO) else { return };
    let before = hosts.agree();
    let (here, start) = (hosts.host_of(before.0), hosts.bazaar.now());
    hosts.network.isolate(here);
    hosts.wait_for_note_on(here, start, &LEDGER_SILENT);
    let (next, epoch) = hosts.bazaar.wait_for_trader(start);
    assert!(hosts.host_of(next) != here && epoch > before.1);
    let from = hosts.bazaar.now();
    hosts.wait_for_purchases_on(hosts.host_of(next), from, SOME);
    assert_eq!(hosts.took_office(start), [(next, epoch)]);
    hosts.bazaar.check();
    assert_eq!(hosts.heal(), (next, epoch));
    hosts.end(4 * SOME);
}

/// Nobody is told that a connection has ended whose process dies while its host is cut off: what comes back meets one
/// that seems to be open, at the ledger and at every neighbour.
#[test]
fn whoever_is_killed_and_started_again_while_cut_off_is_let_in_again() {
    let test = "whoever_is_killed_and_started_again_while_cut_off_is_let_in_again";
    let Some(mut hosts) = Hosts::start(test, TWO) else { return };
    let (trader, _) = hosts.agree();
    let (here, start) = (hosts.host_of(trader), hosts.bazaar.now());
    hosts.network.isolate(here);
    hosts.kill(here);
    hosts.start_on(here);
    hosts.bazaar.wait_for_event("it lives a second time", start, |event| {
        event.peer == Some(trader) && matches!(note(event), Some(Note::Joined { .. }))
    });
    let (next, _) = hosts.bazaar.wait_for_trader(start);
    assert_ne!(hosts.host_of(next), here);
    assert_eq!(hosts.heal().0, next);

    let start = hosts.bazaar.now();
    hosts.network.isolate(LEDGER);
    hosts.kill(LEDGER);
    hosts.start_on(LEDGER);
    hosts.wait_for_note_on(hosts.host_of(next), start, &LEDGER_SILENT);
    hosts.heal();
    hosts.end(5 * SOME);
}

/// SPEC I5: of a machine that is lost, the ledger and the neighbours hear nothing, not even that it is gone.
#[test]
fn peers_whose_machine_is_lost_rejoin_on_a_new_one() {
    let test = "peers_whose_machine_is_lost_rejoin_on_a_new_one";
    let Some(mut hosts) = Hosts::start(test, TWO) else { return };
    let (trader, _) = hosts.agree();
    let (lost, start) = (hosts.host_of(trader), hosts.bazaar.now());
    hosts.network.unplug(lost);
    hosts.kill(lost);
    hosts.network.replace(lost);
    let share = hosts.peers().find(|(host, _)| *host == lost).unwrap().1;
    for id in share {
        fs::remove_dir_all(hosts.dir(lost).join(format!("peer-{id}"))).unwrap();
    }
    // Whoever lets peers in again needs the tools' certificate.
    hosts.give(&hosts.bazaar.home().join("all"), lost, &["tools".to_owned()]);
    let (next, _) = hosts.bazaar.wait_for_trader(start);
    for id in share {
        let mut rejoin = bazaar_inside(&hosts.network.on(lost));
        rejoin.args(["rejoin", &id.to_string(), "--dir", text(&hosts.dir(lost))]);
        let told = Answer::of(rejoin).ends(0).out;
        let neighbour = format!("peer {}: life 1", (id + 3) % 6);
        assert!(told.contains("the directory: life 1") && told.contains(&neighbour), "{told}");
    }
    hosts.start_on(lost);
    assert_eq!(hosts.agree().0, next);
    hosts.trade_everywhere();
    hosts.end(3 * SOME);
}

/// Every way from host to host takes 50 ms, to the ledger and back as well: the others know everybody by a proxy's
/// address.
#[test]
fn hosts_that_are_far_from_each_other_trade() {
    const DELAY: Duration = Duration::from_millis(50);
    let test = "hosts_that_are_far_from_each_other_trade";
    let Some(mut hosts) = Hosts::prepare(test, TWO, PROXIED) else { return };
    for (host, port) in (LEDGER..).zip([LEDGER_PORT, PEER_PORT, PEER_PORT]) {
        let address = hosts.network.address(host);
        let to = SocketAddrV4::new(address, port).to_string();
        let proxy = hosts.network.do_on(host, || Proxy::start((address, port + PROXIED), to, DELAY).unwrap());
        hosts.proxies.push((host, proxy));
    }
    hosts.run();
    hosts.trade_everywhere();
    let carried: Vec<u64> = hosts.proxies.iter().map(|(_, proxy)| proxy.carried()).collect();
    assert!(carried.iter().all(|bytes| *bytes > 10_000), "there is another way: {carried:?}");
    hosts.end(3 * SOME);
}
