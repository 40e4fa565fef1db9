//! How a peer is set up. A configuration is checked once, by [`Config::check`], and trusted from there on.

use alloc::{collections::BTreeSet, vec::Vec};
use core::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    id::{Item, PeerId, Units},
    money::{Commission, Price},
};

/// A peer's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// Who it is.
    pub me: PeerId,
    /// How many peers there are; their ids run from 0 to one below.
    pub peers: u32,
    /// Whom it has links to; at most three (SPEC A1).
    pub neighbours: BTreeSet<PeerId>,
    /// What it does when it is not the trader.
    pub role: Role,
    /// Who calls the first election (SPEC B2).
    pub first_caller: PeerId,
    /// All waits of the protocol.
    pub timeouts: Timeouts,
    /// The terms of trade.
    pub terms: Terms,
    /// How busy buyers and sellers are.
    pub pace: Pace,
    /// How far ahead the clock is written; at least 1 (DESIGN R10).
    pub clock_range: u64,
}

/// What a peer does in the bazaar (SPEC A7).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It buys.
    Buyer(Wishes),
    /// It sells.
    Seller(Offers),
    /// It does both.
    Both(Wishes, Offers),
}

impl Role {
    /// What it wants, if it buys.
    #[must_use]
    pub fn wishes(&self) -> Option<&Wishes> {
        match self {
            Role::Buyer(wishes) | Role::Both(wishes, _) => Some(wishes),
            Role::Seller(_) => None,
        }
    }

    /// What it offers, if it sells.
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
    /// The items it picks from; at least one.
    pub items: Vec<Item>,
    /// How many of an item it wants at a time; at least 1.
    pub quantity: Units,
}

/// What a seller offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offers(
    /// What it can deposit; at least one. The first is what it starts with; when that is sold out it picks another.
    pub Vec<Offer>,
);

/// Goods a seller can deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// What it is.
    pub item: Item,
    /// How many it deposits at a time; at least 1.
    pub count: Units,
    /// What one unit costs.
    pub price: Price,
}

/// The terms of trade; the same at every peer of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The trader's share (SPEC D6).
    pub commission: Commission,
    /// After how many sales a trader resigns; at least 1 (SPEC B6).
    pub resign_after: u32,
    /// How many records a batch holds at most, from 2 (a last sale and its resignation are one step) to
    /// [`Terms::LARGEST_BATCH`] (DESIGN R5).
    pub batch_limit: u32,
}

impl Terms {
    /// The largest batch that fits a frame of 64 KiB whatever its records are.
    pub const LARGEST_BATCH: u32 = 512;
}

/// How busy buyers and sellers are. All of it may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pace {
    /// From recognising a trader to the first deposit with it.
    pub deposit_after: Duration,
    /// From recognising a trader to the first new request to it, so that sellers have deposited by then (SPEC E2).
    pub trade_after: Duration,
    /// From a buyer's outcome to its next request. `None`: it never asks for anything.
    pub think: Option<Duration>,
    /// The least time between two multicasts of a buyer's clock (SPEC C2).
    pub clock_interval: Duration,
}

/// All waits of the protocol (DESIGN 3, "Timeouts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the start to the first election, for whoever calls it.
    pub first_call: Duration,
    /// Over how long peers that want to call an election are spread, by id (SPEC B2).
    pub stagger: Duration,
    /// How long a candidate waits for a higher peer's answer (SPEC B3).
    pub answer: Duration,
    /// How long an answered candidate waits for a coordinator (SPEC B3).
    pub victory: Duration,
    /// How long a trader may be silent before it is suspected (SPEC B5).
    pub suspicion: Duration,
    /// How often a trader renews its term and sends a heartbeat.
    pub renewal: Duration,
    /// How long a term stays live at the ledger after its holder's last append.
    pub lease: Duration,
    /// How long a call to the ledger waits before it is sent again.
    pub retry: Duration,
    /// How long a winner or trader waits for the ledger before it gives up (SPEC B9).
    pub patience: Duration,
    /// How long a buyer or seller waits before it asks the trader again.
    pub resend: Duration,
}

/// An inequality that a timeout table breaks. Its text names both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError {
    smaller: (&'static str, Duration),
    plus: Option<(&'static str, Duration)>,
    larger: (&'static str, Duration),
    strict: bool,
    because: &'static str,
}

impl TimeoutError {
    /// The entries that do not fit together.
    pub fn entries(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.smaller), self.plus, Some(self.larger)].into_iter().flatten().map(|(name, _)| name)
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = if self.strict { "below" } else { "at most" };
        let Self { smaller, plus, larger, because, .. } = self;
        write!(f, "{} ({:?})", smaller.0, smaller.1)?;
        if let Some((name, duration)) = plus {
            write!(f, " + {name} ({duration:?})")?;
        }
        write!(f, " must be {relation} {} ({:?}): {because}", larger.0, larger.1)
    }
}

impl core::error::Error for TimeoutError {}

impl Timeouts {
    /// Checks the table's inequalities.
    ///
    /// # Errors
    /// Names the first inequality that does not hold.
    pub fn check(&self) -> Result<(), TimeoutError> {
        let zero = ("zero", Duration::ZERO);
        let [answer, victory] = [("answer", self.answer), ("victory", self.victory)];
        let [renewal, lease] = [("renewal", self.renewal), ("lease", self.lease)];
        let [retry, patience] = [("retry", self.retry), ("patience", self.patience)];
        let [stagger, suspicion] = [("stagger", self.stagger), ("suspicion", self.suspicion)];
        let (below, at_most) = (true, false);
        // An append just after a heartbeat renews the lease, and the next heartbeat may be the one that is missed.
        if self.lease.saturating_add(self.renewal) > self.suspicion {
            return Err(TimeoutError {
                smaller: lease,
                plus: Some(renewal),
                larger: suspicion,
                strict: at_most,
                because: "the lease must not be the last to run out",
            });
        }
        let rules = [
            (zero, answer, below, "a candidate must leave time for an answer"),
            (zero, renewal, below, "a trader that renews without a pause does nothing else"),
            (zero, retry, below, "a call repeated without a pause is a flood"),
            (zero, ("resend", self.resend), below, "a request repeated without a pause is a flood"),
            (answer, victory, below, "a winner must have time to learn that it won, and to claim"),
            (stagger, victory, below, "a higher peer must get its turn before a lower one asks again"),
            (retry, patience, below, "a lost reply must be asked for again before the office is given up"),
            (renewal, lease, below, "a term must be renewed before it runs out"),
            (patience, lease, at_most, "a trader must give up before its term can be given to another"),
        ];
        rules
            .into_iter()
            .find(|(smaller, larger, strict, _)| smaller.1 > larger.1 || (*strict && smaller.1 == larger.1))
            .map_or(Ok(()), |(smaller, larger, strict, because)| {
                Err(TimeoutError { smaller, plus: None, larger, strict, because })
            })
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The peer's id, or a neighbour's, or the first caller's, is not below the number of peers.
    NoSuchPeer(PeerId),
    /// It is its own neighbour.
    OwnNeighbour,
    /// More than three neighbours.
    TooManyNeighbours(usize),
    /// Something that must be at least 1 is 0, or a list that must not be empty is; the name of it.
    Nothing(&'static str),
    /// A batch limit below 2 or above [`Terms::LARGEST_BATCH`].
    BatchLimit(u32),
    /// The timeout table's inequalities do not hold.
    Timeouts(TimeoutError),
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
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
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
        self.timeouts.check().map_err(ConfigError::Timeouts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TIMEOUTS;

    #[test]
    fn a_table_whose_inequalities_hold_is_accepted() {
        assert_eq!(TIMEOUTS.check(), Ok(()));
    }

    #[test]
    fn a_broken_inequality_is_named_with_both_sides() {
        let broken = Timeouts { lease: Duration::from_millis(1_201), ..TIMEOUTS };
        let error = broken.check().expect_err("the lease runs out last");
        assert!(error.entries().eq(["lease", "renewal", "suspicion"]));
        assert_eq!(
            alloc::format!("{error}"),
            "lease (1.201s) + renewal (300ms) must be at most suspicion (1.5s): the lease must not be the last to run out"
        );
    }
}
