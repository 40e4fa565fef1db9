//! How a world is set up, and how the set-up is drawn.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    config::{Config, Limits, Offer, Offers, Ordering, Pace, Role, Terms, Timeouts, Wishes},
    id::{Item, PeerId, Units},
    ledger::{LedgerConfig, Secret},
    money::{Commission, Price},
};
use proptest::{collection::vec, prelude::*};

/// The set-up of a world.
#[derive(Clone, Debug)]
pub struct Setup {
    pub links: BTreeSet<(u32, u32)>,
    pub roles: Vec<Role>,
    pub terms: Terms,
    pub clock_range: u64,
    pub limits: Limits,
}

pub const TIMEOUTS: Timeouts = Timeouts {
    first_call: Duration::from_millis(500),
    stagger: Duration::from_millis(300),
    answer: Duration::from_millis(400),
    victory: Duration::from_millis(1_500),
    suspicion: Duration::from_millis(1_500),
    renewal: Duration::from_millis(300),
    lease: Duration::from_millis(1_200),
    retry: Duration::from_millis(250),
    give_up_after: Duration::from_millis(1_000),
    resend: Duration::from_millis(700),
    wave: Duration::from_millis(70),
    clock_interval: Duration::from_millis(100),
};

impl Setup {
    pub fn peers(&self) -> u32 {
        self.roles.len() as u32
    }

    pub fn neighbours(&self, of: PeerId) -> BTreeSet<PeerId> {
        let ends = self.links.iter().filter(|(a, b)| *a == of.0 || *b == of.0);
        ends.map(|(a, b)| PeerId(if *a == of.0 { *b } else { *a })).collect()
    }

    pub fn config(&self, of: PeerId) -> Config {
        Config {
            me: of,
            peers: self.peers(),
            neighbours: self.neighbours(of),
            role: self.roles[of.0 as usize].clone(),
            first_caller: PeerId(2),
            timeouts: TIMEOUTS,
            terms: self.terms,
            pace: Pace {
                deposit_after: Duration::ZERO,
                trade_after: Duration::from_millis(20),
                think: Some(Duration::from_millis(30)),
            },
            clock_range: self.clock_range,
            limits: self.limits,
        }
    }

    pub fn ledger(&self) -> LedgerConfig {
        LedgerConfig { lease: TIMEOUTS.lease, limits: self.limits, secret: Secret::default() }
    }
}

/// A connected graph of `n` peers, none with more than three neighbours: a random tree and a few more links.
pub fn graphs(n: u32) -> impl Strategy<Value = BTreeSet<(u32, u32)>> {
    (vec(any::<u16>(), n as usize), vec((0..n, 0..n), 0..n as usize)).prop_map(move |(parents, more)| {
        let mut links = BTreeSet::new();
        let mut degree = vec![0; n as usize];
        for child in 1..n {
            let open: Vec<u32> = (0..child).filter(|parent| degree[*parent as usize] < 3).collect();
            let parent = open[parents[child as usize] as usize % open.len()];
            links.insert((parent, child));
            degree[parent as usize] += 1;
            degree[child as usize] += 1;
        }
        for (a, b) in more {
            let (a, b) = (a.min(b), a.max(b));
            if a != b && degree[a as usize] < 3 && degree[b as usize] < 3 && links.insert((a, b)) {
                degree[a as usize] += 1;
                degree[b as usize] += 1;
            }
        }
        links
    })
}

fn roles() -> impl Strategy<Value = Role> {
    let wishes = (1..=2_u16, 1..=2_u32)
        .prop_map(|(items, quantity)| Wishes { items: (0..items).map(Item).collect(), quantity: Units(quantity) });
    let offer = (0..2_u16, 1..=4_u32, 1..999_u32).prop_map(|(item, count, price)| Offer {
        item: Item(item),
        count: Units(count),
        price: Price(price),
    });
    let offers = vec(offer, 1..3).prop_map(Offers);
    prop_oneof![
        2 => wishes.clone().prop_map(Role::Buyer),
        2 => offers.clone().prop_map(Role::Seller),
        3 => (wishes, offers).prop_map(|(wishes, offers)| Role::Both(wishes, offers)),
    ]
}

/// Small limits, each of which makes a difference now and then, or the default.
fn limits() -> impl Strategy<Value = Limits> {
    let or_default = |small: std::ops::RangeInclusive<u32>, most: u32| prop_oneof![2 => small, 1 => Just(most)];
    let all = Limits::DEFAULT;
    (
        or_default(1..=8, all.chunk_weight),
        or_default(1..=8, all.read_records),
        or_default(1..=3, all.sales_kept),
        or_default(1..=8, all.flood_window),
        or_default(4..=12, all.held_back),
        or_default(0..=3, all.waiting_calls),
    )
        .prop_map(|(chunk_weight, read_records, sales_kept, flood_window, held_back, waiting_calls)| Limits {
            chunk_weight,
            read_records,
            sales_kept,
            flood_window,
            held_back,
            waiting_calls,
        })
}

pub fn setups() -> impl Strategy<Value = Setup> {
    let shape = (3..=7_u32).prop_flat_map(|n| (graphs(n), vec(roles(), n as usize)));
    let ordering = prop_oneof![Just(Ordering::SmallestOpen), Just(Ordering::Stable)];
    let terms = (2..=6_u32, 2..=5_u32, ordering);
    (shape, terms, 2..=8_u64, limits()).prop_map(
        |((links, roles), (batch_limit, resign_after, ordering), clock_range, limits)| Setup {
            links,
            roles,
            terms: Terms { commission: Commission::TWENTY_PERCENT, resign_after, batch_limit, ordering },
            clock_range,
            limits,
        },
    )
}
