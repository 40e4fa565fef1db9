//! How a bazaar is set up. A file and flags are read into a [`RawConfig`]; [`RawConfig::check`] turns it into a
//! [`BazaarConfig`] once, or says what is wrong, where, and what would be right. Nothing behind it checks again.

mod document;
pub mod duration;
pub mod ledger;
pub mod picture;
mod read;
pub mod run_dir;
mod text;

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

pub use bazaar_protocol::cast::NoTrade;
use bazaar_protocol::{
    cast::{self, Assortment, Kind},
    config::{Config, Limits, Offers, Ordering, Pace, Role, Terms, TimeoutError, Timeouts},
    graph::Graph,
    id::{Item, PeerId, Units},
    ledger::{LedgerConfig, Secret},
    money::Price,
    text::{self as encoding, NotText},
};

pub use self::{
    document::Place,
    read::{format_price, parse_ordering, parse_price},
    text::{commented_default, init_text},
};
use self::{
    document::{Section, Table},
    ledger::{LedgerSettings, LedgerStore},
};
use crate::{config::picture::Label, network::hello::RunId, tls::certificate::Serial};

/// The file that a configuration is read from when none is named.
pub const DEFAULT_FILE: &str = "bazaar.toml";

/// What is wrong with a configuration: where, which key, what was written, and what would be right. Correct it there.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("{}: cannot be read: {error}", .file.display())]
    Unreadable {
        /// The file, as it was named.
        file: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The file is no text, or in another encoding.
    #[error("{}: {error}", .file.display())]
    NotText {
        /// The file, as it was named.
        file: PathBuf,
        /// Where, and what to do.
        error: NotText,
    },
    /// The text is not TOML.
    #[error("{place}: this is not TOML: {message}")]
    Syntax {
        /// Where in the text.
        place: Place,
        /// The parser's message.
        message: String,
    },
    /// An unknown key, most often a slip.
    #[error("{place}: {key}: there is no such key; {right}")]
    UnknownKey {
        /// Where it is written.
        place: Place,
        /// The key as written.
        key: String,
        /// What may have been meant.
        right: String,
    },
    /// A value that the key cannot have.
    #[error("{place}: {key} = {value}: {right}")]
    Value {
        /// Where it is written.
        place: Place,
        /// The key, with its table or its owner.
        key: String,
        /// Its value, or the part of it that is wrong, as written.
        value: String,
        /// What would be right.
        right: String,
    },
    /// A key that must be there is not.
    #[error("{}{key} is missing: {right}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Missing {
        /// Where it would belong, if that is known.
        place: Option<Place>,
        /// The key, with its table or its owner.
        key: String,
        /// What would be right.
        right: String,
    },
    /// Timeouts that do not fit together (DESIGN 3).
    #[error("{}{pair}: {error}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Timeouts {
        /// Where the one that was set is written; the last of them if several were.
        place: Option<Place>,
        /// All of them, with their values.
        pair: String,
        /// The inequality that they break.
        error: Box<TimeoutError>,
    },
    /// One peer's configuration fails the protocol's own check.
    #[error("peer {peer}: {error}")]
    Peer {
        /// The peer whose configuration it is.
        peer: PeerId,
        /// What the protocol's check says.
        error: Box<bazaar_protocol::config::ConfigError>,
    },
}

/// How fast everything goes, in one word. Individual waits can still be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// As slow as the system this one is modelled on, so that one can read along.
    Reference,
    /// Elections within a minute, sales within seconds.
    #[default]
    Brisk,
    /// Buyers and sellers never wait; for measuring.
    FlatOut,
}

impl Speed {
    /// All presets, the slowest first.
    pub const ALL: [Speed; 3] = [Speed::Reference, Speed::Brisk, Speed::FlatOut];

    /// Its name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Speed::Reference => "reference",
            Speed::Brisk => "brisk",
            Speed::FlatOut => "flat-out",
        }
    }

    /// Its timeouts, which pass [`Timeouts::check`].
    #[must_use]
    pub fn timeouts(self) -> Timeouts {
        let millis = Duration::from_millis;
        match self {
            Speed::Reference => Timeouts {
                first_call: millis(4_000),
                stagger: millis(500),
                answer: millis(5_000),
                victory: millis(10_000),
                suspicion: millis(6_000),
                renewal: millis(1_000),
                lease: millis(5_000),
                retry: millis(1_000),
                give_up_after: millis(4_000),
                resend: millis(3_000),
                wave: Duration::ZERO,
                clock_interval: millis(1_000),
            },
            Speed::Brisk | Speed::FlatOut => Timeouts::DEFAULT,
        }
    }

    /// The waits of its buyers and sellers.
    #[must_use]
    pub fn waits(self) -> Waits {
        let millis = Duration::from_millis;
        let (deposit_after, trade_after, think) = match self {
            Speed::Reference => (millis(15_000), millis(25_000), Some(millis(10_000))),
            Speed::Brisk => (Pace::DEFAULT.deposit_after, Pace::DEFAULT.trade_after, Pace::DEFAULT.think),
            Speed::FlatOut => (Duration::ZERO, Duration::ZERO, Some(Duration::ZERO)),
        };
        Waits { deposit_after, trade_after, think: think.map_or(Think::Never, Think::always) }
    }

    /// How far ahead its peers write their clocks to disk. Where nobody waits, clocks run on by tens of thousands of ticks a
    /// second, and all of them alike.
    #[must_use]
    pub fn clock_range(self) -> u64 {
        match self {
            Speed::Reference | Speed::Brisk => Config::CLOCK_RANGE,
            Speed::FlatOut => 64 * Config::CLOCK_RANGE,
        }
    }

    /// Its terms of trade. The stable order waits for the slowest buyer, so that where only speed counts, it is not the
    /// default (SPEC C5).
    #[must_use]
    pub fn terms(self) -> Terms {
        let ordering = match self {
            Speed::Reference | Speed::Brisk => Ordering::Stable,
            Speed::FlatOut => Ordering::SmallestOpen,
        };
        Terms { ordering, ..Terms::DEFAULT }
    }
}

/// How long buyers and sellers wait. Every wait may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// How long after recognising a trader a seller makes its first deposit with it.
    pub deposit_after: Duration,
    /// How long after recognising a trader a buyer makes its first new request.
    pub trade_after: Duration,
    /// How long after an outcome a buyer makes its next request.
    pub think: Think,
}

/// How long after an outcome a buyer makes its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Think {
    /// Nobody ever requests anything.
    Never,
    /// Each buyer has a time of its own, drawn once for the whole run.
    Within {
        /// The shortest that is drawn, in whole milliseconds.
        shortest: Duration,
        /// The longest that is drawn, at least the shortest.
        longest: Duration,
    },
}

impl Think {
    /// The same time for all buyers.
    #[must_use]
    pub fn always(think: Duration) -> Think {
        Think::Within { shortest: think, longest: think }
    }

    /// The time of one buyer in the run with this seed; `None`: it never requests anything.
    #[must_use]
    pub fn of(self, peer: PeerId, seed: u64) -> Option<Duration> {
        let Think::Within { shortest, longest } = self else { return None };
        Some(cast::think_time(peer, seed, shortest..=longest))
    }
}

/// The secret that the members of a run share (DESIGN 4). It is never printed; [`Key::to_hex`] is for the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A random key.
    #[must_use]
    pub fn random() -> Key {
        Key(rand::random())
    }

    /// Reads what [`Key::to_hex`] gives; `None` unless `text` is 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Key> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        if digits.len() == 64 { bytes.try_into().ok().map(Key) } else { None }
    }

    /// The key as 64 hexadecimal digits, for the configuration file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// By what a ledger of this run knows its own word again, also one whose store was lost.
    #[must_use]
    pub fn ledger_secret(&self) -> Secret {
        let [a, b, c, d, e, f, g, h, ..] = blake3::derive_key("trading post: the seal of a ledger", &self.0);
        Secret(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What is right where an address is wanted.
const HOST_AND_PORT: &str = "must be \"host:port\", such as \"192.168.0.7:7000\", \"[::1]:7000\" or \"miraculix:7000\"";

/// Where a member can be reached: a host, by name or number, and a port. `host:port`, `[::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Reads an address, `host:port`. The port is from 1 to 65535.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (host, port) = host_and_port(text)?;
        if port == Some(0) || port.is_none() {
            return Err("the port must be from 1 to 65535".to_owned());
        }
        if is_wildcard(host) {
            return Err(format!(
                "{host} stands for every address of whichever machine uses it, so that nobody can be reached there; write \
                 the address or the name at which the others reach this machine, and {host} into `listen`"
            ));
        }
        check_host(host)?;
        Ok(Address(text.to_owned()))
    }

    /// `host:port`, as sockets take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

/// Where a member listens: as an [`Address`], but it may also stand for every address of the machine, and the port may
/// be 0 for any free one. It is never told to others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen(String);

impl Listen {
    /// Reads where to listen, `host:port`.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Listen, String> {
        let (host, port) = host_and_port(text)?;
        if port.is_none() {
            return Err("the port must be from 0 (any free one) to 65535".to_owned());
        }
        check_host(host)?;
        Ok(Listen(text.to_owned()))
    }

    /// `host:port`, as sockets take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as an address that others are told, if it can be one.
    #[must_use]
    pub fn as_address(&self) -> Option<Address> {
        Address::parse(&self.0).ok()
    }

    /// Whether it stands for every address of the machine.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.rsplit_once(':').is_some_and(|(host, _)| is_wildcard(host))
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether it takes any free port.
    #[must_use]
    pub fn is_any_port(&self) -> bool {
        host_and_port(&self.0).is_ok_and(|(_, port)| port == Some(0))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two parts of `host:port`; the port is `None` if it is above all ports.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = text.rsplit_once(':').ok_or(HOST_AND_PORT)?;
    if !(1..=5).contains(&port.len()) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HOST_AND_PORT.to_owned());
    }
    Ok((host, port.parse().ok()))
}

fn check_host(host: &str) -> Result<(), String> {
    if host.starts_with('[') && host.contains('%') {
        return Err(
            "an address with a zone, such as %eth0, means something on one machine only, and is not supported; \
                    give one that others can use"
                .to_owned(),
        );
    }
    if is_host(host) { Ok(()) } else { Err(HOST_AND_PORT.to_owned()) }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().is_ok(),
        None if ends_in_a_number(host) => host.parse::<Ipv4Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    }
}

fn is_loopback(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_wildcard(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_unspecified(),
        Ok(IpAddr::V6(v6)) => v6.is_unspecified() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_unspecified()),
        Err(_) => false,
    }
}

/// Whether a system takes this for an IPv4 address in one of its old spellings, in which `0` and `0x0` are wildcards,
/// unless it is one in the common spelling.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What is traded, and the ranges that a seed draws from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goods {
    /// The names of the items; an [`Item`] is an index into them. At least one.
    pub items: Vec<String>,
    /// How many units a seller deposits at a time, unless its own offers say otherwise.
    pub units: Units,
    /// The lowest price that is drawn.
    pub lowest_price: Price,
    /// The highest price that is drawn.
    pub highest_price: Price,
    /// How many units a buyer wants at a time, unless its own entry says otherwise.
    pub quantity: Units,
}

impl Default for Goods {
    fn default() -> Goods {
        let Assortment { units, lowest_price, highest_price, quantity, .. } = Assortment::DEFAULT;
        let items = ["fish", "salt", "boar"].map(str::to_owned).to_vec();
        Goods { items, units, lowest_price, highest_price, quantity }
    }
}

impl Goods {
    /// What roles are drawn from.
    fn assortment(&self) -> Assortment {
        let Goods { units, lowest_price, highest_price, quantity, .. } = *self;
        // At most MOST_ITEMS, which fits.
        Assortment { items: self.items.len() as u16, units, lowest_price, highest_price, quantity }
    }

    fn find(&self, name: &str) -> Result<Item, String> {
        let found = self.items.iter().position(|item| item == name);
        // At most MOST_ITEMS, which fits.
        found
            .map(|index| Item(index as u16))
            .ok_or_else(|| format!("unknown item \"{name}\"; the items are {} (goods.items)", self.items.join(", ")))
    }
}

/// What a configuration says about one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it buys and sells.
    pub role: Role,
    /// Where the others reach it. `None`: where it listens.
    pub address: Option<Address>,
    /// Where it listens. `None`: at its address or, without one, on this machine, on any free port.
    pub listen: Option<Listen>,
}

/// The certificates of a run (SPEC J1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The directory with the authority's certificate and those of the members that run on this machine.
    pub dir: PathBuf,
    /// The serial numbers of certificates that are no longer accepted.
    pub revoked: BTreeSet<Serial>,
}

/// A checked configuration of a whole bazaar, with everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BazaarConfig {
    name: String,
    seed: u64,
    dir: PathBuf,
    key: Option<Key>,
    speed: Speed,
    first_caller: PeerId,
    clock_range: u64,
    ledger: LedgerSettings,
    tls: Option<TlsSettings>,
    graph: Graph,
    goods: Goods,
    terms: Terms,
    waits: Waits,
    timeouts: Timeouts,
    limits: Limits,
    members: Vec<Member>,
}

/// The values where nothing is written.
mod defaults {
    use bazaar_protocol::id::PeerId;

    pub(super) const NAME: &str = "bazaar";
    pub(super) const PEERS: u32 = 10;
    pub(super) const SEED: u64 = 1;
    pub(super) const DIR: &str = "bazaar-data";

    /// Peer 2 calls the first election (SPEC B2), or peer 0 where there is no peer 2.
    pub(super) fn first_caller(peers: u32) -> PeerId {
        PeerId(if peers < 3 { 0 } else { 2 })
    }
}

/// A configuration as written: a file, and what flags say on top of it.
#[derive(Clone, Debug, Default)]
pub struct RawConfig {
    table: Table,
}

impl RawConfig {
    /// An empty configuration: all defaults.
    #[must_use]
    pub fn new() -> RawConfig {
        RawConfig::default()
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML.
    pub fn read(file: &Path) -> Result<RawConfig, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { file: file.to_owned(), error };
        let bytes = std::fs::read(file).map_err(unreadable)?;
        let not_text = |error| ConfigError::NotText { file: file.to_owned(), error };
        RawConfig::parse(encoding::decode(&bytes).map_err(not_text)?, file)
    }

    /// Parses a text. Errors name `file`, and relative paths start from its directory.
    ///
    /// # Errors
    /// When it is not TOML.
    pub fn parse(text: &str, file: &Path) -> Result<RawConfig, ConfigError> {
        Ok(RawConfig { table: document::parse(text, &Place::file(file))? })
    }

    /// Overrides what is written so far with what a flag says; errors will name the flag. `assignment` is TOML:
    /// `set("--peers", "peers = 20")`, `set("--set", "terms.commission = 1000")`.
    ///
    /// # Errors
    /// When the assignment is not TOML.
    pub fn set(&mut self, flag: &str, assignment: &str) -> Result<(), ConfigError> {
        document::overlay(&mut self.table, document::parse(assignment, &Place::flag(flag))?);
        Ok(())
    }

    /// [`RawConfig::set`] for a text, which is quoted as needed: `set_text("--dir", "dir", "/tmp/x")`.
    ///
    /// # Errors
    /// When `key` is not a TOML key.
    pub fn set_text(&mut self, flag: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        self.set(flag, &format!("{key} = {}", document::quoted(text)))
    }

    /// [`RawConfig::set`] for what should be a number: `set_number("--peers", "peers", "20")`. If it is not one, the
    /// check will say so.
    ///
    /// # Errors
    /// When `key` is not a TOML key.
    pub fn set_number(&mut self, flag: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        match text.parse::<i128>() {
            Ok(number) => self.set(flag, &format!("{key} = {number}")),
            Err(_) => self.set_text(flag, key, text),
        }
    }

    /// The same with the network and the peers left open, to be drawn again.
    pub(crate) fn without_what_was_drawn(&self) -> RawConfig {
        let mut table = self.table.clone();
        table.retain(|key, _| !matches!(key.as_str(), "graph" | "peer"));
        RawConfig { table }
    }

    /// The same with the books on the disk of one process of the ledger, the first if there are several, wherever they are
    /// now.
    #[must_use]
    pub fn with_books_on_disk(mut self) -> RawConfig {
        let Some(document::Value::Table(ledger)) = self.table.get_mut("ledger").map(|entry| &mut entry.value) else {
            return self;
        };
        if let Some(document::Value::List(processes)) = ledger.remove("process").map(|entry| entry.value)
            && let Some(document::Value::Table(first)) = processes.into_iter().next().map(|entry| entry.value)
        {
            ledger.extend(first);
        }
        ledger.retain(|key, _| !matches!(key.as_str(), "store" | "etcd"));
        self
    }

    /// The same with the books where those of the other one are, kept by as many processes, unless it says itself that they
    /// are in etcd. An address of its ledger is that of the first process.
    #[must_use]
    pub fn with_books_of(mut self, other: &RawConfig) -> RawConfig {
        let Some(theirs) = other.table.get("ledger") else { return self };
        let mine = self.table.entry("ledger".to_owned()).or_insert_with(|| document::Entry {
            place: theirs.place.clone(),
            value: document::Value::Table(document::Table::new()),
        });
        let (document::Value::Table(mine), document::Value::Table(theirs)) = (&mut mine.value, &theirs.value) else {
            return self;
        };
        let is_on_disk =
            |store: &document::Entry| matches!(&store.value, document::Value::Text(text) if text == "sled");
        if !mine.get("store").is_none_or(is_on_disk) || mine.contains_key("etcd") || mine.contains_key("process") {
            return self;
        }
        for key in ["store", "etcd", "process"] {
            mine.extend(theirs.get_key_value(key).map(|(key, entry)| (key.clone(), entry.clone())));
        }
        if theirs.contains_key("process") {
            let addresses = ["address", "listen"].map(|key| mine.remove_entry(key));
            if let Some(document::Value::List(processes)) = mine.get_mut("process").map(|entry| &mut entry.value)
                && let Some(document::Value::Table(first)) = processes.first_mut().map(|entry| &mut entry.value)
            {
                first.extend(addresses.into_iter().flatten());
            }
        }
        self
    }

    /// Checks everything and decides everything that was left open.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check(&self) -> Result<BazaarConfig, ConfigError> {
        let top = Section::open("", String::new(), None, &self.table)?;
        let name = top.text("name", read::checked_name)?.unwrap_or(defaults::NAME).to_owned();
        let seed = top.number("seed", 0..=u64::MAX)?.unwrap_or(defaults::SEED);
        let key = top.text("key", |text| {
            Key::from_hex(text).ok_or_else(|| "must be 64 hexadecimal digits; `bazaar init` makes a key".to_owned())
        })?;
        let speed = top.text("pace", read::speed)?.unwrap_or_default();
        let clock_range = top.number("clock_range", 1..=1_000_000)?.unwrap_or(speed.clock_range());
        let (ledger, distant_ledger) = ledger::read(&top.section("ledger")?)?;
        let tls = if top.has("tls") { Some(read::tls(&top.section("tls")?)?) } else { None };
        let terms = read::terms(&top.section("terms")?, speed)?;
        let waits = read::waits(&top.section("waits")?, speed)?;
        let limits = read::limits(&top.section("limits")?)?;
        let goods = read::goods(&top.section("goods")?)?;
        let graph = read::graph(&top, seed)?;
        let timeouts = read::timeouts(&top.section("timeouts")?, speed, graph.len())?;
        let last = graph.len() - 1;
        let first_caller = top.small("first_caller", 0..=last)?.map_or(defaults::first_caller(graph.len()), PeerId);
        let (members, distant) = read::members(&top, graph.len(), seed, &goods)?;
        if let Some((place, address)) = distant.or(distant_ledger) {
            let missing = |key: &str, right: &str| ConfigError::Missing {
                place: Some(place.clone()),
                key: key.to_owned(),
                right: format!("{address} is not this machine; {right}"),
            };
            for (id, process) in ledger.ids().zip(&ledger.processes) {
                if process.address.is_none() && id.is_only() {
                    return Err(missing("ledger.address", "say at which host:port it finds the ledger"));
                } else if process.address.is_none() {
                    let key = format!("address of ledger process {}", id.number());
                    return Err(missing(&key, "say at which host:port peers there find that process"));
                }
            }
            if key.is_none() {
                return Err(missing("key", "all machines need the same one; `bazaar init` makes one"));
            }
        }
        let dir = match top.path("dir", "a directory")? {
            Some(dir) => dir,
            // Without a working directory it cannot be made absolute, and stays as it is.
            None => std::path::absolute(defaults::DIR).unwrap_or_else(|_| defaults::DIR.into()),
        };
        let config = BazaarConfig {
            name,
            seed,
            dir,
            key,
            speed,
            first_caller,
            clock_range,
            ledger,
            tls,
            graph,
            goods,
            terms,
            waits,
            timeouts,
            limits,
            members,
        };
        for peer in config.graph.peers() {
            if let Some(error) = config.peer(peer).and_then(|peer| peer.check().err()) {
                return Err(ConfigError::Peer { peer, error: Box::new(error) });
            }
        }
        Ok(config)
    }
}

impl BazaarConfig {
    /// The name of the run, which all its members share.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many peers there are, from 1 to 10,000.
    #[must_use]
    pub fn peers(&self) -> u32 {
        self.graph.len()
    }

    /// The seed that the graph, the roles and the buyers' times to think were drawn with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The directory where the run keeps its files, as an absolute path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same in another directory, which need not have a name that is text.
    #[must_use]
    pub fn in_dir(mut self, dir: &Path) -> BazaarConfig {
        // Without a working directory it cannot be made absolute, and stays as it is.
        self.dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        self
    }

    /// The same, with its members, its certificates and the cluster of its books where `other` says that they are. Where
    /// it says nothing, nothing has changed. What either of them says is revoked stays revoked.
    #[must_use]
    pub fn at_addresses_of(mut self, other: &BazaarConfig) -> BazaarConfig {
        self.ledger.move_to(&other.ledger);
        for (was, now) in self.members.iter_mut().zip(&other.members) {
            if now.address.is_some() || now.listen.is_some() {
                (was.address, was.listen) = (now.address.clone(), now.listen.clone());
            }
        }
        if let Some(now) = &other.tls {
            let was = self.tls.get_or_insert_with(|| now.clone());
            was.dir.clone_from(&now.dir);
            was.revoked.extend(now.revoked.iter().cloned());
        }
        self
    }

    /// The certificates; `None`: connections are not encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsSettings> {
        self.tls.as_ref()
    }

    /// The same with these certificates.
    #[must_use]
    pub fn with_tls(self, tls: TlsSettings) -> BazaarConfig {
        BazaarConfig { tls: Some(tls), ..self }
    }

    /// The same with its books somewhere else, and other processes that keep them.
    #[must_use]
    pub fn with_ledger(self, ledger: LedgerSettings) -> BazaarConfig {
        BazaarConfig { ledger, ..self }
    }

    /// The run's secret, if it has one yet.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The run's secret; a random one is made up if there was none.
    pub fn ensure_key(&mut self) -> Key {
        *self.key.get_or_insert_with(Key::random)
    }

    /// The same without its secret and its certificates.
    #[must_use]
    pub fn without_key(&self) -> BazaarConfig {
        BazaarConfig { key: None, tls: None, ..self.clone() }
    }

    /// The preset that the waits started from.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// The network: who is whose neighbour.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is traded, and the ranges that were drawn from.
    #[must_use]
    pub fn goods(&self) -> &Goods {
        &self.goods
    }

    /// The terms of trade: commission, resignation, size of a batch.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The protocol's waits, which pass [`Timeouts::check`].
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The buyers' and sellers' waits.
    #[must_use]
    pub fn waits(&self) -> Waits {
        self.waits
    }

    /// The bounds that affect a decision.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How the ledger's processes are set up, as opposed to [their machine](BazaarConfig::ledger_config).
    #[must_use]
    pub fn ledger(&self) -> &LedgerSettings {
        &self.ledger
    }

    /// How the keys of everything that this run keeps in etcd begin; `None` if its books are not there, or it has no key
    /// yet. Where none is written it follows from the key, which no two runs have in common, however they are called; all
    /// members of a run have it, on whichever machine, and it says nothing about the key.
    #[must_use]
    pub fn etcd_prefix(&self) -> Option<String> {
        let LedgerStore::Etcd(etcd) = &self.ledger.store else { return None };
        if let Some(prefix) = &etcd.prefix {
            return Some(prefix.clone());
        }
        let digest = blake3::derive_key("trading post: where in etcd the books of a run are", self.key?.as_bytes());
        let of_run: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Some(format!("/bazaar/{}-{of_run}/", self.name))
    }

    /// Whose books these are, as a store says it that could hold others' as well. It follows from the key, which no two runs
    /// have in common; all members of a run have it. `None` where there is no key yet.
    #[must_use]
    pub fn books_id(&self) -> Option<RunId> {
        let digest = blake3::derive_key("trading post: whose books in etcd are", self.key?.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Some(RunId(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }

    /// The ledger machine's configuration. Its secret is that of the key; see [`BazaarConfig::ensure_key`].
    #[must_use]
    pub fn ledger_config(&self) -> LedgerConfig {
        let secret = self.key.map(|key| key.ledger_secret()).unwrap_or_default();
        LedgerConfig { lease: self.timeouts.lease, limits: self.limits, secret }
    }

    /// All members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.iter()
    }

    /// One member; `None` if the bazaar has no such peer.
    #[must_use]
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.members.get(peer.0 as usize)
    }

    /// The configuration of one peer's machine, which passes [`Config::check`]; `None` if the bazaar has no such peer.
    #[must_use]
    pub fn peer(&self, peer: PeerId) -> Option<Config> {
        let Waits { deposit_after, trade_after, think } = self.waits;
        Some(Config {
            me: peer,
            peers: self.peers(),
            neighbours: self.graph.neighbours(peer).iter().copied().collect(),
            role: self.member(peer)?.role.clone(),
            first_caller: self.first_caller,
            timeouts: self.timeouts,
            terms: self.terms,
            pace: Pace { deposit_after, trade_after, think: think.of(peer, self.seed) },
            clock_range: self.clock_range,
            limits: self.limits,
        })
    }

    /// Where the others reach a peer, if that is fixed.
    #[must_use]
    pub fn address_of(&self, peer: PeerId) -> Option<&Address> {
        self.member(peer)?.address.as_ref()
    }

    /// An item's name; `item N` if it has none.
    #[must_use]
    pub fn item_name(&self, item: Item) -> String {
        self.goods.items.get(usize::from(item.0)).cloned().unwrap_or_else(|| format!("item {item}"))
    }

    /// A role in words, with all that it sells: "buyer", "seller of fish, salt", "buyer and seller of boar".
    #[must_use]
    pub fn role_name(&self, role: &Role) -> String {
        let goods =
            |offers: &Offers| offers.0.iter().map(|offer| self.item_name(offer.item)).collect::<Vec<_>>().join(", ");
        match role {
            Role::Buyer(_) => "buyer".to_owned(),
            Role::Seller(offers) => format!("seller of {}", goods(offers)),
            Role::Both(_, offers) => format!("buyer and seller of {}", goods(offers)),
        }
    }

    /// What a [picture](picture::Picture) says about each peer.
    #[must_use]
    pub fn labels(&self) -> Vec<Label> {
        let label = |member: &Member| Label { kind: Kind::from(&member.role), text: self.role_name(&member.role) };
        self.members().map(label).collect()
    }

    /// Whether a buyer and a seller of something it wants remain, whoever is trader (SPEC A7). From three peers on, the
    /// roles that are drawn ensure it; those given by hand need not.
    ///
    /// # Errors
    /// Says why not, to be shown as a warning.
    pub fn trade_is_possible(&self) -> Result<(), NoTrade> {
        let roles: Vec<Role> = self.members.iter().map(|member| member.role.clone()).collect();
        cast::check(&roles)
    }
}
