//! A network of hosts for the suites: each host is a network namespace with an address of its own, and a router between
//! them loses what it is told to lose (SPEC J4).
//!
//! Every host has a network to itself, so that all packets between two of them pass through the router: one nftables
//! rule there is a cut in one direction, and no host takes part in it. Nobody is told of a cut; packets just do not
//! arrive, and a TCP connection over it is open at both ends until somebody misses the other.
//!
//! The addresses may be the same in every test and process, since only the namespaces' names are the machine's.

use std::{
    collections::BTreeMap,
    env,
    io::Write as _,
    net::Ipv4Addr,
    process::{self, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use serde_json::Value;

/// The first two bytes of every address; the others are the host's number and its place in its own network.
const NETWORK: [u8; 2] = [10, 77];

/// `ip netns add` makes a directory and mounts when it is first used, and two at once get in each other's way.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NAMES: AtomicU32 = AtomicU32::new(0);

/// The namespaces of a test, which are removed when this is dropped. What runs in them has to be stopped before.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: u8,
    /// All that were made, so that a network that was only begun is removed as well.
    namespaces: Vec<String>,
}

impl Network {
    /// A network of this many hosts, numbered from 1. Where no namespaces or rules can be made, `None`, with a message
    /// that bypasses libtest's capture, or a failure if `BAZAAR_NAMESPACES_REQUIRED` is set.
    pub fn new(test: &str, hosts: u8) -> Option<Network> {
        let name = format!("bazaar-{}-{}", process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        let mut network = Network { name, hosts, namespaces: Vec::new() };
        let made = network.make_router().and_then(|()| (1..=hosts).try_for_each(|host| network.make_host(host)));
        if let Err(why) = made {
            assert!(env::var_os("BAZAAR_NAMESPACES_REQUIRED").is_none(), "namespaces are required here; {why}");
            // libtest captures the output of the printing macros but not this.
            let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: no namespaces here ({why})");
            return None;
        }
        Some(network)
    }

    /// The address of a host.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        assert!((1..=self.hosts).contains(&host), "there is no host {host}");
        let [a, b] = NETWORK;
        Ipv4Addr::new(a, b, host, 2)
    }

    /// What a command line begins with that is run on this host.
    pub fn on(&self, host: u8) -> Vec<String> {
        inside(&self.name_of(host))
    }

    /// Does something in a thread that is on this host: what it opens or starts, threads too, is there.
    pub fn do_on<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name_of(host))).expect("the namespace");
        let work = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("it may enter the namespace");
            work()
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// From now on, nothing that one host sends arrives at the other.
    pub fn cut(&self, from: u8, to: u8) {
        let rule = format!("ip saddr {} ip daddr {} counter drop", self.address(from), self.address(to));
        let between = format!("comment \"{} and {}\"", from.min(to), from.max(to));
        self.nft(&format!("add rule inet cuts forward {rule} {between}"));
    }

    /// Cuts two hosts off from each other.
    pub fn part(&self, one: u8, other: u8) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Cuts a host off from all others.
    pub fn isolate(&self, host: u8) {
        (1..=self.hosts).filter(|other| *other != host).for_each(|other| self.part(host, other));
    }

    /// Takes a host off the network at once, as when its machine is lost: nobody hears that a connection has ended.
    pub fn unplug(&self, host: u8) {
        run(&self.name_of(host), &["ip", "link", "delete", "eth0"]);
    }

    /// Puts a new machine in the place of one that was unplugged, with its address. Nothing may run there any more.
    pub fn replace(&mut self, host: u8) {
        let name = self.name_of(host);
        done(Command::new("ip").args(["netns", "delete", &name])).unwrap_or_else(|why| panic!("{why}"));
        self.namespaces.retain(|other| *other != name);
        self.make_host(host).unwrap_or_else(|why| panic!("{why}"));
    }

    /// How many packets have been lost so far, by the hosts between which they were. Of two hosts that are cut off from
    /// each other, one may have nothing to say, since it hears nothing that it could answer.
    pub fn lost(&self) -> BTreeMap<String, u64> {
        let listed: Value = serde_json::from_str(&self.nft("list chain inet cuts forward")).expect("JSON");
        let mut lost = BTreeMap::new();
        for rule in listed["nftables"].as_array().expect("a list").iter().filter_map(|it| it["rule"].as_object()) {
            let counter = rule["expr"].as_array().expect("expressions").iter().find_map(|it| it["counter"].as_object());
            let packets = counter.expect("each rule counts")["packets"].as_u64().expect("a count");
            *lost.entry(rule["comment"].as_str().expect("a comment").to_owned()).or_default() += packets;
        }
        lost
    }

    /// Takes all cuts back. Each must have lost something: one that has not has tested nothing.
    #[track_caller]
    pub fn heal(&self) {
        let lost = self.lost();
        assert!(!lost.is_empty() && lost.values().all(|packets| *packets > 0), "a cut has cut nothing: {lost:?}");
        self.nft("flush chain inet cuts forward");
    }

    fn name_of(&self, host: u8) -> String {
        assert!((1..=self.hosts).contains(&host), "there is no host {host}");
        format!("{}-host{host}", self.name)
    }

    fn router(&self) -> String {
        format!("{}-router", self.name)
    }

    /// # Errors
    /// In words, when namespaces cannot be made here, or nftables cannot be used in them; so it is for the hosts.
    fn make_router(&mut self) -> Result<(), String> {
        let router = self.router();
        self.make_namespace(&router)?;
        let rules = "add table inet cuts; add chain inet cuts forward { type filter hook forward priority 0 ; }";
        try_run(&router, &["nft", rules])?;
        try_run(&router, &["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).map(drop)
    }

    fn make_host(&mut self, host: u8) -> Result<(), String> {
        let (name, router, up) = (self.name_of(host), self.router(), format!("up{host}"));
        let ([a, b], here) = (NETWORK, self.address(host));
        let gateway = Ipv4Addr::new(a, b, host, 1);
        self.make_namespace(&name)?;
        // Made inside, so that the machine's own namespace never sees them.
        try_run(&router, &["ip", "link", "add", &up, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        for (namespace, link, address) in [(&router, up.as_str(), gateway), (&name, "eth0", here)] {
            try_run(namespace, &["ip", "address", "add", &format!("{address}/24"), "dev", link])?;
            try_run(namespace, &["ip", "link", "set", link, "up"])?;
        }
        try_run(&name, &["ip", "link", "set", "lo", "up"])?;
        try_run(&name, &["ip", "route", "add", "default", "via", &gateway.to_string()]).map(drop)
    }

    fn make_namespace(&mut self, name: &str) -> Result<(), String> {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        done(Command::new("ip").args(["netns", "add", name]))?;
        self.namespaces.push(name.to_owned());
        Ok(())
    }

    fn nft(&self, command: &str) -> String {
        run(&self.router(), &["nft", "--json", command])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.namespaces.iter().rev() {
            let gone = done(Command::new("ip").args(["netns", "delete", name]));
            if let Err(why) = gone
                && !thread::panicking()
            {
                panic!("{why}");
            }
        }
    }
}

fn inside(namespace: &str) -> Vec<String> {
    ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec()
}

#[track_caller]
fn run(namespace: &str, words: &[&str]) -> String {
    try_run(namespace, words).unwrap_or_else(|why| panic!("{why}"))
}

fn try_run(namespace: &str, words: &[&str]) -> Result<String, String> {
    done(Command::new("ip").args(&inside(namespace)[1..]).args(words))
}

fn done(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
