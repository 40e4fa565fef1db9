//! How a peer is set up. A configuration is checked once, by [`Config::check`], and trusted from then on.

use alloc::{collections::BTreeSet, vec::Vec};
use core::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    election::turns_before,
    id::{Item, PeerId, Units},
    money::{Commission, Price},
};

/// A peer's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// This peer's id, below `peers`.
    pub me: PeerId,
    /// How many peers there are; their ids run from 0 to `peers - 1`.
    pub peers: u32,
    /// The peers it has links to; at most three (SPEC A1).
    pub neighbours: BTreeSet<PeerId>,
    /// What it does when it is not in office.
    pub role: Role,
    /// The peer that calls the first election (SPEC B2).
    pub first_caller: PeerId,
    /// All waits of the protocol; the same at every peer and at the ledger.
    pub timeouts: Timeouts,
    /// The terms of trade.
    pub terms: Terms,
    /// How busy buyers and sellers are.
    pub pace: Pace,
    /// How many ticks ahead the clock is written; at least 1 (DESIGN R10).
    pub clock_range: u64,
    /// The bounds on what is kept, sent and held back; the same at every peer and at the ledger.
    pub limits: Limits,
}

/// What a peer does in the bazaar (SPEC A7).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It buys only.
    Buyer(Wishes),
    /// It sells only.
    Seller(Offers),
    /// It both buys and sells.
    Both(Wishes, Offers),
}

impl Role {
    /// What it wants, if it is a buyer.
    #[must_use]
    pub fn wishes(&self) -> Option<&Wishes> {
        match self {
            Role::Buyer(wishes) | Role::Both(wishes, _) => Some(wishes),
            Role::Seller(_) => None,
        }
    }

    /// What it offers, if it is a seller.
    #[must_use]
    pub fn offers(&self) -> Option<&Offers> {
        match self {
            Role::Seller(offers) | Role::Both(_, offers) => Some(offers),
            Role::Buyer(_) => None,
        }
    }
}

/// What a buyer wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wishes {
    /// The items it chooses from; at least one.
    pub items: Vec<Item>,
    /// How many units of an item it wants at a time; at least 1.
    pub quantity: Units,
}

/// What a seller offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offers(
    /// What it can deposit; at least one offer. It starts with the first and picks another when that is sold out.
    pub Vec<Offer>,
);

/// Goods that a seller can deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// The item.
    pub item: Item,
    /// How many units it deposits at a time; at least 1.
    pub count: Units,
    /// The price of one unit.
    pub price: Price,
}

/// In which order requests are served. The first claim fixes it for the life of the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// Of the requests that are open together, the one with the smallest stamp first (SPEC C4).
    #[default]
    SmallestOpen,
    /// Outcomes stand in the log in the order of their requests' stamps, over all terms; no request is served after one
    /// that it happened before (SPEC C5). A request waits until every buyer that has a seat was heard past its stamp.
    Stable,
}

impl Ordering {
    /// Its name in configurations and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ordering::SmallestOpen => "smallest-open",
            Ordering::Stable => "stable",
        }
    }
}

/// The terms of trade; the same at every peer of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The trader's share of each sale (SPEC D6).
    pub commission: Commission,
    /// The number of sales after which a trader resigns; at least 1 (SPEC B6).
    pub resign_after: u32,
    /// The most records in a batch, from 2 (a last sale and its resignation are one step) to [`Terms::LARGEST_BATCH`]
    /// (DESIGN R5).
    pub batch_limit: u32,
    /// In which order requests are served, in books that have no claim yet; afterwards the books say.
    pub ordering: Ordering,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms::DEFAULT
    }
}

impl Terms {
    /// The terms of the reference: 20 % for the trader, which resigns after 40 sales.
    pub const DEFAULT: Terms = Terms {
        commission: Commission::TWENTY_PERCENT,
        resign_after: 40,
        batch_limit: 256,
        ordering: Ordering::SmallestOpen,
    };

    /// The largest batch limit for which a batch fits a frame of 64 KiB, whatever its records are.
    pub const LARGEST_BATCH: u32 = Limits::FRAME;
}

/// How busy buyers and sellers are. Every wait may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pace {
    /// How long after recognising a trader a seller makes its first deposit with it.
    pub deposit_after: Duration,
    /// How long after recognising a trader a buyer makes its first new request, so that sellers have deposited by then
    /// (SPEC E2).
    pub trade_after: Duration,
    /// How long after an outcome a buyer makes its next request. `None`: it never requests anything.
    pub think: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::DEFAULT
    }
}

impl Pace {
    /// A brisk bazaar that can still be followed by eye: a buyer makes about three requests a second.
    pub const DEFAULT: Pace = Pace {
        deposit_after: Duration::from_millis(100),
        trade_after: Duration::from_millis(400),
        think: Some(Duration::from_millis(300)),
    };
}

/// All waits of the protocol (DESIGN 3, "Timeouts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timeouts {
    /// How long the first caller waits after its start before it calls the first election.
    pub first_call: Duration,
    /// How long a message takes to cross the network, at most: after this time the next peer calls an election if none
    /// has (SPEC B2).
    pub stagger: Duration,
    /// How long a candidate waits for a higher peer's answer (SPEC B3).
    pub answer: Duration,
    /// How long an answered candidate waits for a coordinator (SPEC B3).
    pub victory: Duration,
    /// How long a trader may be silent before it is suspected (SPEC B5).
    pub suspicion: Duration,
    /// How often a trader renews its term and sends a heartbeat.
    pub renewal: Duration,
    /// How long a term stays active at the ledger after its holder's last append.
    pub lease: Duration,
    /// How long a peer waits for the ledger's reply before it repeats the call.
    pub retry: Duration,
    /// How long a winner or trader waits for the ledger before it gives the office up (SPEC B9).
    pub give_up_after: Duration,
    /// How long a buyer or seller waits for the trader's answer before it asks again.
    pub resend: Duration,
    /// How long after the last one a trader whose next request waits sends a wave of its own to ask buyers for their
    /// promises (SPEC C5). Zero: its heartbeats alone ask.
    pub wave: Duration,
    /// How long a link may be quiet before the neighbour gets an envelope of its own for a clock multicast (SPEC C2);
    /// it gets one after this time or twice this time.
    pub clock_interval: Duration,
}

/// An inequality that a timeout table violates. The message names both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError {
    smaller: (&'static str, Duration),
    /// How many times the smaller one counts.
    times: u32,
    plus: Option<(&'static str, Duration)>,
    larger: (&'static str, Duration),
    strict: bool,
    because: &'static str,
}

impl TimeoutError {
    /// The names of the entries that do not fit together.
    pub fn entries(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.smaller), self.plus, Some(self.larger)].into_iter().flatten().map(|(name, _)| name)
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = if self.strict { "below" } else { "at most" };
        let Self { smaller, times, plus, larger, because, .. } = self;
        if *times > 1 {
            write!(f, "{times} times ")?;
        }
        write!(f, "{} ({:?})", smaller.0, smaller.1)?;
        if let Some((name, duration)) = plus {
            write!(f, " + {name} ({duration:?})")?;
        }
        write!(f, " must be {relation} {} ({:?}): {because}", larger.0, larger.1)
    }
}

impl core::error::Error for TimeoutError {}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts::DEFAULT
    }
}

/// How many crossings of the network a peer waits for answers to a wave.
const GATHER: u32 = 3;

impl Timeouts {
    /// The default table, for peers on one machine or in one rack. A crashed trader is replaced in about three seconds.
    pub const DEFAULT: Timeouts = Timeouts::in_units_of(Duration::from_millis(100));

    /// The table of [`Timeouts::DEFAULT`] with `unit` in place of each tenth of a second: a faster or slower bazaar
    /// whose inequalities hold. It is for tests, and for networks on which a message takes longer: choose `unit` a few
    /// times as long as a message and its answer take. From a nanosecond to a day.
    #[must_use]
    pub const fn in_units_of(unit: Duration) -> Timeouts {
        Timeouts {
            first_call: unit.saturating_mul(8),
            stagger: unit,
            answer: unit.saturating_mul(4),
            victory: unit.saturating_mul(20),
            suspicion: unit.saturating_mul(18),
            renewal: unit.saturating_mul(3),
            lease: unit.saturating_mul(15),
            retry: unit.saturating_mul(3),
            give_up_after: unit.saturating_mul(14),
            resend: unit.saturating_mul(8),
            wave: Duration::ZERO,
            clock_interval: unit.saturating_mul(5),
        }
    }

    /// How many heartbeats a trader sends within the time after which a silent peer is suspected.
    #[must_use]
    pub fn heartbeats_before_suspicion(&self) -> u32 {
        let heartbeats = self.suspicion.as_nanos().div_ceil(self.renewal.as_nanos().max(1));
        u32::try_from(heartbeats).unwrap_or(u32::MAX)
    }

    /// How long a peer waits at least for its neighbours' answers to a wave before it gives its own without them (SPEC
    /// C5): a wave crosses the network in this time and its answers come back, even if they take half as long again.
    #[must_use]
    pub fn gather(&self) -> Duration {
        self.stagger.saturating_mul(GATHER)
    }

    /// Checks the inequalities of the table, for a bazaar of `peers` peers.
    ///
    /// # Errors
    /// Names the first inequality that does not hold.
    pub fn check(&self, peers: u32) -> Result<(), TimeoutError> {
        let zero = ("zero", Duration::ZERO);
        let [answer, victory] = [("answer", self.answer), ("victory", self.victory)];
        let [renewal, lease] = [("renewal", self.renewal), ("lease", self.lease)];
        let [retry, give_up_after] = [("retry", self.retry), ("give_up_after", self.give_up_after)];
        let [stagger, suspicion] = [("stagger", self.stagger), ("suspicion", self.suspicion)];
        let (below, at_most) = (true, false);
        // An append just after a heartbeat renews the lease, and the next heartbeat may be the one that is missed.
        if self.lease.saturating_add(self.renewal) > self.suspicion {
            return Err(TimeoutError {
                smaller: lease,
                times: 1,
                plus: Some(renewal),
                larger: suspicion,
                strict: at_most,
                because: "the lease must not be the last to run out",
            });
        }
        let times = turns_before(peers.saturating_sub(1));
        if self.stagger.saturating_mul(times) >= self.victory {
            let because = "even the last of all peers must get its turn before one that was answered asks again";
            return Err(TimeoutError { smaller: stagger, times, plus: None, larger: victory, strict: below, because });
        }
        if self.gather().saturating_add(self.renewal) >= self.suspicion {
            let because =
                "a silent neighbour must not keep others' promises from the trader until they lose their seats";
            return Err(TimeoutError {
                smaller: stagger,
                times: GATHER,
                plus: Some(renewal),
                larger: suspicion,
                strict: below,
                because,
            });
        }
        let rules = [
            (zero, answer, below, "a candidate must leave time for an answer"),
            (zero, renewal, below, "a trader that renews without a pause does nothing else"),
            (zero, retry, below, "a call repeated without a pause is a flood"),
            (zero, ("resend", self.resend), below, "a request repeated without a pause is a flood"),
            (zero, ("clock_interval", self.clock_interval), below, "clocks told without a pause are a flood"),
            (answer, victory, below, "a winner must have time to learn that it won, and to claim"),
            (retry, give_up_after, below, "a lost reply must be asked for again before the office is given up"),
            (renewal, lease, below, "a term must be renewed before it runs out"),
            (give_up_after, lease, at_most, "a trader must give up before its term can be given to another"),
        ];
        rules
            .into_iter()
            .find(|(smaller, larger, strict, _)| smaller.1 > larger.1 || (*strict && smaller.1 == larger.1))
            .map_or(Ok(()), |(smaller, larger, strict, because)| {
                Err(TimeoutError { smaller, times: 1, plus: None, larger, strict, because })
            })
    }
}

/// The bounds on what is sent in one piece, what is kept to be told again, and what is dropped. They are the same at
/// every peer and at the ledger of a run: a seller infers from them whether it was told of all the sales that are still
/// kept, and a reader infers which chunk of a snapshot comes next. So they may change only while nothing is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The maximum weight of a snapshot chunk ([`SnapshotChunk::weight`](crate::snapshot::SnapshotChunk::weight)); a
    /// heavier entry is a chunk on its own. From 1 to [`Limits::FRAME`].
    pub chunk_weight: u32,
    /// The most records in one answer to a read; from 1 to [`Limits::FRAME`].
    pub read_records: u32,
    /// How many of each seller's latest sales the books keep to be told again; a seller that missed more adopts its
    /// account from the books (SPEC D7). A seller that misses nothing is told of every sale, however few are kept. At
    /// least 1, and few enough that the account fits in one frame.
    pub sales_kept: u32,
    /// How many floods of one origin can be told apart when they arrive out of order; an older one counts as already
    /// taken. From 1 to a million.
    pub flood_window: u32,
    /// How many effects a peer holds back while a write is not yet durable. Anything beyond that is dropped, as it
    /// might be on its way. From 1 to a million.
    pub held_back: u32,
    /// How many calls wait in the ledger while it writes. A call beyond that is dropped, and its caller asks again, so
    /// 0 works too. At most a million.
    pub waiting_calls: u32,
}

/// The permitted range of one entry of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRange {
    /// The entry's name.
    pub name: &'static str,
    /// The smallest permitted value.
    pub least: u32,
    /// The largest permitted value.
    pub most: u32,
    because: &'static str,
}

/// An entry of a table of limits that is out of range. The message names the entry, the range and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitError {
    range: LimitRange,
    value: u32,
}

impl LimitError {
    /// The name of the entry that is out of range.
    #[must_use]
    pub fn entry(&self) -> &'static str {
        self.range.name
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitRange { name, least, most, because } = self.range;
        write!(f, "{name} ({}) must be from {least} to {most}: {because}", self.value)
    }
}

impl core::error::Error for LimitError {}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

impl Limits {
    /// The default limits.
    pub const DEFAULT: Limits = Limits {
        chunk_weight: 256,
        read_records: 512,
        sales_kept: 32,
        flood_window: 256,
        held_back: 4_096,
        waiting_calls: 4_096,
    };

    /// The smallest permitted value of each, so that a test can reach all of them.
    pub const LEAST: Limits =
        Limits { chunk_weight: 1, read_records: 1, sales_kept: 1, flood_window: 1, held_back: 1, waiting_calls: 0 };

    /// How many records, or how much snapshot ([`SnapshotChunk::weight`](crate::snapshot::SnapshotChunk::weight)), fits
    /// in a frame of 64 KiB whatever the records are.
    pub const FRAME: u32 = 512;

    /// What a seller's account weighs without its sales.
    pub(crate) const ACCOUNT_WEIGHT: u32 = 2;

    /// Every entry: its permitted range and its value.
    #[must_use]
    pub fn entries(&self) -> [(LimitRange, u32); 6] {
        const MILLION: u32 = 1_000_000;
        let entry = |name, value, least, most, because| (LimitRange { name, least, most, because }, value);
        [
            entry("chunk_weight", self.chunk_weight, 1, Limits::FRAME, "a chunk of a snapshot must fit one frame"),
            entry(
                "read_records",
                self.read_records,
                1,
                Limits::FRAME,
                "a read must go on, and its answer fit one frame",
            ),
            entry(
                "sales_kept",
                self.sales_kept,
                1,
                Limits::FRAME - Limits::ACCOUNT_WEIGHT,
                "a sale must be told again when its notice is lost, and a seller's account fit one frame",
            ),
            entry("flood_window", self.flood_window, 1, MILLION, "two floods that change places must both be taken"),
            entry("held_back", self.held_back, 1, MILLION, "what is said while a write is under way waits for it"),
            entry("waiting_calls", self.waiting_calls, 0, MILLION, "calls that wait are kept in memory"),
        ]
    }

    /// Checks that each entry is within its range.
    ///
    /// # Errors
    /// Names the first entry that is not.
    pub fn check(&self) -> Result<(), LimitError> {
        let wrong = self.entries().into_iter().find(|(range, value)| !(range.least..=range.most).contains(value));
        wrong.map_or(Ok(()), |(range, value)| Err(LimitError { range, value }))
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The id of the peer, of a neighbour, or of the first caller is not below the number of peers.
    NoSuchPeer(PeerId),
    /// The peer is listed as its own neighbour.
    OwnNeighbour,
    /// There are more than three neighbours.
    TooManyNeighbours(usize),
    /// Names something that is 0 and must be at least 1, or a list that is empty and must not be.
    Nothing(&'static str),
    /// A batch limit below 2 or above [`Terms::LARGEST_BATCH`].
    BatchLimit(u32),
    /// The timeout table's inequalities do not hold.
    Timeouts(TimeoutError),
    /// A limit is out of its range.
    Limits(LimitError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NoSuchPeer(id) => write!(f, "there is no peer {id}: ids run from 0 to one below `peers`"),
            ConfigError::OwnNeighbour => write!(f, "a peer is not its own neighbour"),
            ConfigError::TooManyNeighbours(n) => write!(f, "a peer has at most 3 neighbours, not {n}"),
            ConfigError::Nothing(what) => write!(f, "{what} must not be empty or 0"),
            ConfigError::BatchLimit(n) => {
                write!(f, "batch_limit is {n}, but must be from 2 (a last sale and its resignation are one step) ")?;
                write!(f, "to {} (a batch must fit one frame)", Terms::LARGEST_BATCH)
            }
            ConfigError::Timeouts(error) => fmt::Display::fmt(error, f),
            ConfigError::Limits(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// How many ticks ahead a clock is written by default.
    pub const CLOCK_RANGE: u64 = 1_024;

    /// The configuration of one of `peers` peers with defaults for everything else; peer 0 calls the first election.
    #[must_use]
    pub fn new(me: PeerId, peers: u32, neighbours: impl IntoIterator<Item = PeerId>, role: Role) -> Config {
        Config {
            me,
            peers,
            neighbours: neighbours.into_iter().collect(),
            role,
            first_caller: PeerId(0),
            timeouts: Timeouts::DEFAULT,
            terms: Terms::DEFAULT,
            pace: Pace::DEFAULT,
            clock_range: Config::CLOCK_RANGE,
            limits: Limits::DEFAULT,
        }
    }

    /// Checks everything that the protocol relies on.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let named = self.neighbours.iter().chain([&self.me, &self.first_caller]);
        if let Some(id) = named.into_iter().find(|id| id.0 >= self.peers) {
            return Err(ConfigError::NoSuchPeer(*id));
        }
        if self.neighbours.contains(&self.me) {
            return Err(ConfigError::OwnNeighbour);
        }
        if self.neighbours.len() > 3 {
            return Err(ConfigError::TooManyNeighbours(self.neighbours.len()));
        }
        let empty = [
            ("clock_range", self.clock_range == 0),
            ("resign_after", self.terms.resign_after == 0),
            ("a buyer's items", self.role.wishes().is_some_and(|wishes| wishes.items.is_empty())),
            ("a buyer's quantity", self.role.wishes().is_some_and(|wishes| wishes.quantity.0 == 0)),
            ("a seller's offers", self.role.offers().is_some_and(|offers| offers.0.is_empty())),
            ("an offer's count", self.role.offers().is_some_and(|offers| offers.0.iter().any(|o| o.count.0 == 0))),
        ];
        if let Some((what, _)) = empty.into_iter().find(|(_, is_empty)| *is_empty) {
            return Err(ConfigError::Nothing(what));
        }
        if !(2..=Terms::LARGEST_BATCH).contains(&self.terms.batch_limit) {
            return Err(ConfigError::BatchLimit(self.terms.batch_limit));
        }
        self.timeouts.check(self.peers).map_err(ConfigError::Timeouts)?;
        self.limits.check().map_err(ConfigError::Limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TIMEOUTS;

    #[test]
    fn a_table_whose_inequalities_hold_is_accepted() {
        assert_eq!(TIMEOUTS.check(3), Ok(()));
    }

    #[test]
    fn the_default_table_and_any_multiple_of_it_are_accepted() {
        for unit in [Duration::from_nanos(1), Duration::from_millis(100), Duration::from_secs(24 * 60 * 60)] {
            assert_eq!(Timeouts::in_units_of(unit).check(10_000), Ok(()));
        }
        assert_eq!(Timeouts::default(), Timeouts::in_units_of(Duration::from_millis(100)));
    }

    #[test]
    fn a_broken_inequality_is_named_with_both_sides() {
        let broken = Timeouts { lease: Duration::from_millis(1_201), ..TIMEOUTS };
        let error = broken.check(3).expect_err("the lease runs out last");
        assert!(error.entries().eq(["lease", "renewal", "suspicion"]));
        assert_eq!(
            alloc::format!("{error}"),
            "lease (1.201s) + renewal (300ms) must be at most suspicion (1.5s): the lease must not be the last to run \
             out"
        );
    }

    #[test]
    fn limits_are_accepted_from_the_least_to_the_most_they_may_be() {
        let least = Limits::LEAST;
        let most = Limits {
            chunk_weight: 512,
            read_records: 512,
            sales_kept: 510,
            flood_window: 1_000_000,
            held_back: 1_000_000,
            waiting_calls: 1_000_000,
        };
        for limits in [least, Limits::DEFAULT, most] {
            assert_eq!(limits.check(), Ok(()));
        }
        assert!(least.entries().iter().all(|(range, value)| range.least == *value));
        assert!(most.entries().iter().all(|(range, value)| range.most == *value));
    }

    #[test]
    fn a_limit_out_of_its_range_is_named_with_the_range_and_the_reason() {
        let fine = Limits::DEFAULT;
        let wrong = [
            (
                Limits { chunk_weight: 0, ..fine },
                "chunk_weight (0) must be from 1 to 512: a chunk of a snapshot must fit one frame",
            ),
            (
                Limits { read_records: 513, ..fine },
                "read_records (513) must be from 1 to 512: a read must go on, and its answer fit one frame",
            ),
            (
                Limits { sales_kept: 511, ..fine },
                "sales_kept (511) must be from 1 to 510: a sale must be told again when its notice is lost, and a \
                 seller's account fit one frame",
            ),
            (
                Limits { flood_window: 0, ..fine },
                "flood_window (0) must be from 1 to 1000000: two floods that change places must both be taken",
            ),
            (
                Limits { held_back: 0, ..fine },
                "held_back (0) must be from 1 to 1000000: what is said while a write is under way waits for it",
            ),
            (
                Limits { waiting_calls: 1_000_001, ..fine },
                "waiting_calls (1000001) must be from 0 to 1000000: calls that wait are kept in memory",
            ),
        ];
        for (limits, text) in wrong {
            let error = limits.check().expect_err(text);
            assert_eq!(alloc::format!("{error}"), text);
            assert!(text.starts_with(error.entry()));
        }
    }
}
