//! What a scenario is made of, and the catalogue of those there are.

use protocol::{
    config::{Offer, Offers, Terms, Wishes},
    id::{Item, PeerId, Units},
    ledger::{LedgerCall, LedgerReply},
    money::{Commission, Price},
};

use crate::{election, sighting::Sighting, trading, world::Budget};

/// One scenario: who is there, what the adversary may do, and what came of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What runs, in a line.
    pub about: &'static str,
    /// Its bounds, and why they suffice for what it is to show.
    pub bounds: &'static str,
    /// The peers, by id.
    pub cast: Vec<Role>,
    /// The terms of trade.
    pub terms: Terms,
    /// What the adversary may do.
    pub budget: Budget,
    /// What must be met on the way, or the scenario shows nothing.
    pub sightings: Vec<Sighting>,
    /// How many unique states it has. Another number means that the machines, or the model, do something else than when it
    /// was recorded: look at it, then record it anew.
    pub states: usize,
    /// How the harness breaks what it runs. Nothing, but in tests that the checks can fail.
    pub tampering: Tampering,
}

/// What a peer is in a scenario.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// What it is called.
    pub title: &'static str,
    /// It takes part in elections.
    pub elects: bool,
    /// It can hold the office.
    pub trades: bool,
    /// What it buys.
    pub buys: Option<Wishes>,
    /// How many requests it thinks of.
    pub wishes: u8,
    /// It thinks of the first at once, and asks before anything else happens.
    pub eager: bool,
    /// Nothing it is told arrives. What it is told is checked when it is said, so this leaves out only what it would make of
    /// it: nothing, where it has no more wishes and no more deposits to think of.
    pub deaf: bool,
    /// What it sells. It deposits the first at once.
    pub sells: Option<Offers>,
    /// How many deposits it thinks of after the first.
    pub deposits: u8,
    /// It may crash.
    pub crashes: bool,
}

/// Changes what the ledger answers to a call.
pub type Tamper = fn(&LedgerCall, LedgerReply) -> LedgerReply;

/// How the harness breaks the ledger from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tampering {
    /// Its answers to appends, but for those it gives on becoming durable, go through this.
    pub reply: Option<Tamper>,
    /// It answers as soon as a batch is written.
    pub answers_before_sync: bool,
}

impl Scenario {
    /// The peers' ids.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.cast.len() as u32).map(PeerId)
    }

    /// What a peer is.
    #[must_use]
    pub fn role(&self, peer: PeerId) -> &Role {
        &self.cast[peer.0 as usize]
    }

    /// Whether peers elect who stands; otherwise the adversary says.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.cast.iter().any(|role| role.elects)
    }

    /// How a peer is called in a trace.
    #[must_use]
    pub fn name_of(&self, peer: PeerId) -> String {
        format!("{} {peer}", self.role(peer).title)
    }
}

impl Role {
    /// A peer that takes part in elections and can hold the office.
    #[must_use]
    pub fn elector() -> Role {
        Role { title: "peer", elects: true, trades: true, crashes: true, ..Role::default() }
    }

    /// A peer that stands and yields whenever the adversary says so.
    #[must_use]
    pub fn trader() -> Role {
        Role { title: "trader", trades: true, crashes: true, ..Role::default() }
    }

    /// A peer that buys one unit at a time, so many times.
    #[must_use]
    pub fn buyer(items: &[Item], wishes: u8) -> Role {
        let buys = Some(Wishes { items: items.to_vec(), quantity: Units(1) });
        Role { title: "buyer", buys, wishes, ..Role::default() }
    }

    /// A peer that deposits so many units of the first item, and so many times again of any of the others.
    #[must_use]
    pub fn seller(items: &[Item], count: u32, deposits: u8) -> Role {
        let offer = |item: &Item| Offer { item: *item, count: Units(count), price: Price(99) };
        Role { title: "seller", sells: Some(Offers(items.iter().map(offer).collect())), deposits, ..Role::default() }
    }

    /// The same, but its first request is made at the start.
    #[must_use]
    pub fn eager(self) -> Role {
        Role { eager: true, ..self }
    }

    /// The same, but nothing it is told arrives.
    #[must_use]
    pub fn deaf(self) -> Role {
        Role { deaf: true, ..self }
    }

    /// The same, but it does not crash.
    #[must_use]
    pub fn immortal(self) -> Role {
        Role { crashes: false, ..self }
    }

    /// The same, but it may crash.
    #[must_use]
    pub fn mortal(self) -> Role {
        Role { crashes: true, ..self }
    }
}

/// Terms under which nobody resigns and a batch holds so many records.
#[must_use]
pub fn terms(batch_limit: u32) -> Terms {
    Terms { commission: Commission::TWENTY_PERCENT, resign_after: 1_000, batch_limit }
}

/// All scenarios, in the order in which they are checked.
#[must_use]
pub fn all() -> Vec<Scenario> {
    election::scenarios().into_iter().chain(trading::scenarios()).collect()
}

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
