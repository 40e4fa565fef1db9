//! A whole bazaar in memory: real peers, the real ledger over a store that can lose power, and everything between them
//! (links, calls, disks, timers) in the hands of a schedule. After every step every property that applies is checked.
//!
//! An [`Action`] is what a schedule is made of. Its numbers are taken modulo what is there, so that any list of actions
//! is a schedule, and a shorter list still is one: that is what makes a failing list shrink. What an action came down to
//! is written into [`World::history`].

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use protocol::{
    books::Books,
    clock::Time,
    config::{Config, Limits, Offer, Offers, Pace, Role, Terms, Timeouts, Wishes},
    effect::{Departure, Durable, Effect, Effects, Note},
    election::{ElectionMessage, Eligibility},
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Units},
    input::{Choice, Input, Timer, WriteId},
    invariant::{
        AuditTerms, LogAudit, a_clock_never_goes_back, a_receive_is_later_than_its_send,
        an_epoch_is_spoken_for_by_its_holder, nothing_is_sent_above_the_written_bound,
        nothing_is_sent_to_a_non_neighbour, the_books_equal_the_fold_of_the_log,
        whatever_a_client_was_told_is_in_the_log,
    },
    ledger::{
        CallId, Ledger, LedgerAnswer, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply, LedgerRequest,
        LedgerStatus, PartId, Store, Verdict,
    },
    message::{Body, ClientMessage, Envelope, FloodId, Route, TraderMessage},
    money::{Cents, Commission, Price},
    peer::Peer,
    record::{Batch, Deposit, Entry, Record, Request},
    store::MemoryStore,
};

/// What a step may find: nothing, or the sentence that does not hold.
pub type Checked = Result<(), String>;

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub links: BTreeSet<(u32, u32)>,
    pub roles: Vec<Role>,
    pub terms: Terms,
    pub clock_range: u64,
    pub clock_interval: Duration,
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
    patience: Duration::from_millis(1_000),
    resend: Duration::from_millis(700),
};

/// Few calls may wait, so that some are dropped.
pub const LIMITS: Limits = Limits { waiting_calls: 16, ..Limits::DEFAULT };

impl Setup {
    pub fn peers(&self) -> u32 {
        self.roles.len() as u32
    }

    pub fn neighbours(&self, of: u32) -> BTreeSet<PeerId> {
        let ends = self.links.iter().filter(|(a, b)| *a == of || *b == of);
        ends.map(|(a, b)| PeerId(if *a == of { *b } else { *a })).collect()
    }

    fn config(&self, of: u32) -> Config {
        Config {
            me: PeerId(of),
            peers: self.peers(),
            neighbours: self.neighbours(of),
            role: self.roles[of as usize].clone(),
            first_caller: PeerId(2),
            timeouts: TIMEOUTS,
            terms: self.terms,
            pace: Pace {
                deposit_after: Duration::ZERO,
                trade_after: Duration::from_millis(20),
                think: Some(Duration::from_millis(30)),
                clock_interval: self.clock_interval,
            },
            clock_range: self.clock_range,
            limits: LIMITS,
        }
    }
}

/// A connected graph of `n` peers, none with more than three neighbours: a random tree and some more links.
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

pub fn setups() -> impl Strategy<Value = Setup> {
    let shape = (3..=7_u32).prop_flat_map(|n| (graphs(n), vec(roles(), n as usize)));
    let terms = (2..=6_u32, 2..=5_u32);
    (shape, terms, 2..=8_u64, prop_oneof![Just(0), Just(100)]).prop_map(
        |((links, roles), (batch_limit, resign_after), clock_range, interval)| Setup {
            links,
            roles,
            terms: Terms { commission: Commission::TWENTY_PERCENT, resign_after, batch_limit },
            clock_range,
            clock_interval: Duration::from_millis(interval),
        },
    )
}

/// One thing a schedule can do. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Let so many things take their fair course, without time passing.
    Flow(u8),
    /// Let the timer that is due first fire.
    Tick,
    /// Let any armed timer fire, however early.
    Fire(u16),
    /// Hand over any envelope, in whatever order.
    Deliver(u16),
    /// Lose an envelope.
    Drop(u16),
    /// Double an envelope.
    Double(u16),
    /// Something that was delivered long ago comes once more.
    Replay(u16),
    /// Any call reaches the ledger.
    Call(u16),
    /// Any reply reaches its peer.
    Reply(u16),
    /// Lose a call.
    DropCall(u16),
    /// Lose a reply.
    DropReply(u16),
    /// A call comes to the ledger once more, however late.
    ReplayCall(u16),
    /// A reply comes once more, however late.
    ReplayReply(u16),
    /// The ledger's disk goes on: write, then sync, then say so.
    Persist,
    /// The ledger's store answers a read, whatever else it is at.
    Read(u16),
    /// The lease timer fires, however early.
    Lease,
    /// A peer's disk goes on.
    Written(u16),
    /// A peer's choice is made.
    Choose(u16),
    /// A link is cut, in one direction or both.
    Cut { link: u16, both: bool, told: bool },
    /// A cut is healed.
    Heal { link: u16, told: bool },
    /// A peer learns how its link to a neighbour is.
    Report { link: u16 },
    /// A peer is told that a link is down that is not (a connection was reset).
    Reset { link: u16 },
    /// A peer stops, one time in three the one in office; so many of its unfinished writes survive.
    Crash { peer: u16, survive: u8, told: bool },
    /// A peer that stopped starts again.
    Restart { peer: u16 },
    /// A peer does nothing for a while.
    Pause { peer: u16 },
    /// It goes on.
    Resume { peer: u16 },
    /// The ledger stops; so many of its unsynced batches survive. `midway`: while it writes what it was called for, if
    /// anybody calls for something.
    LedgerCrash { kept: u8, midway: bool },
    /// The ledger starts again.
    LedgerRestart,
    /// The store keeps a snapshot.
    Snapshot,
    /// A peer cannot reach the ledger.
    LedgerCut { peer: u16, told: bool },
    /// It can again.
    LedgerHeal { peer: u16, told: bool },
}

/// How rough a schedule is: the weight of faults against progress.
#[derive(Clone, Copy, Debug)]
pub struct Roughness {
    pub network: u32,
    pub crashes: u32,
    pub order: u32,
}

pub fn actions(rough: Roughness) -> impl Strategy<Value = Action> {
    let (n, c, o) = (rough.network, rough.crashes, rough.order);
    let any = any::<u16>;
    let steps = prop_oneof![
        40 => (1..60_u8).prop_map(Action::Flow),
        30 => Just(Action::Tick),
        o => any().prop_map(Action::Fire),
        2 * o => any().prop_map(Action::Deliver),
        2 * o => any().prop_map(Action::Call),
        o => any().prop_map(Action::Reply),
        3 * o => Just(Action::Persist),
        2 * o => any().prop_map(Action::Read),
        o => any().prop_map(Action::Written),
        o => any().prop_map(Action::Choose),
    ];
    let network = prop_oneof![
        3 => any().prop_map(Action::Drop),
        3 => any().prop_map(Action::Double),
        4 => any().prop_map(Action::Replay),
        2 => any().prop_map(Action::DropCall),
        2 => any().prop_map(Action::DropReply),
        3 => any().prop_map(Action::ReplayCall),
        3 => any().prop_map(Action::ReplayReply),
        2 => (any(), proptest::bool::ANY, proptest::bool::ANY).prop_map(|(link, both, told)| Action::Cut { link, both, told }),
        3 => (any(), proptest::bool::ANY).prop_map(|(link, told)| Action::Heal { link, told }),
        2 => any().prop_map(|link| Action::Report { link }),
        1 => any().prop_map(|link| Action::Reset { link }),
        2 => (any(), proptest::bool::ANY).prop_map(|(peer, told)| Action::LedgerCut { peer, told }),
        3 => (any(), proptest::bool::ANY).prop_map(|(peer, told)| Action::LedgerHeal { peer, told }),
    ];
    let crashes = prop_oneof![
        3 => (any(), 0..3_u8, proptest::bool::ANY).prop_map(|(peer, survive, told)| Action::Crash { peer, survive, told }),
        4 => any().prop_map(|peer| Action::Restart { peer }),
        2 => any().prop_map(|peer| Action::Pause { peer }),
        3 => any().prop_map(|peer| Action::Resume { peer }),
        2 => (0..2_u8, proptest::bool::ANY).prop_map(|(kept, midway)| Action::LedgerCrash { kept, midway }),
        3 => Just(Action::LedgerRestart),
        2 => Just(Action::Snapshot),
        2 => Just(Action::Lease),
    ];
    prop_oneof![100 => steps, n => network, c => crashes]
}

/// What has happened, added up. A suite that did nothing must not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub steps: u64,
    pub elections_won: u64,
    pub offices: u64,
    pub sales: u64,
    pub refusals: u64,
    pub deposits: u64,
    pub admissions: u64,
    pub fenced: u64,
    pub conflicts: u64,
    pub held_claims: u64,
    pub resent: u64,
    pub crashes: u64,
    pub ledger_crashes: u64,
    pub lost_batches: u64,
    pub kept_batches: u64,
    pub resignations: u64,
    pub duplicates: u64,
    pub write_aheads: u64,
    pub recalled: u64,
    pub resumed: u64,
    pub snapshots_read: u64,
    pub isolated: u64,
    pub silent: u64,
    pub inherited: u64,
    pub converged: u64,
    pub firings_to_converge: u64,
}

impl Stats {
    pub fn add(&mut self, more: &Stats) {
        let most = self.firings_to_converge.max(more.firings_to_converge);
        for (sum, more) in self.all_mut().into_iter().zip(more.clone().all_mut()) {
            *sum += *more;
        }
        self.firings_to_converge = most;
    }

    fn all_mut(&mut self) -> [&mut u64; 26] {
        [
            &mut self.steps,
            &mut self.elections_won,
            &mut self.offices,
            &mut self.sales,
            &mut self.refusals,
            &mut self.deposits,
            &mut self.admissions,
            &mut self.fenced,
            &mut self.conflicts,
            &mut self.held_claims,
            &mut self.resent,
            &mut self.crashes,
            &mut self.ledger_crashes,
            &mut self.lost_batches,
            &mut self.kept_batches,
            &mut self.resignations,
            &mut self.duplicates,
            &mut self.write_aheads,
            &mut self.recalled,
            &mut self.resumed,
            &mut self.snapshots_read,
            &mut self.isolated,
            &mut self.silent,
            &mut self.inherited,
            &mut self.converged,
            &mut self.firings_to_converge,
        ]
    }
}

#[derive(Debug)]
struct Node {
    config: Config,
    peer: Option<Peer>,
    paused: bool,
    durable: Durable,
    writes: VecDeque<(WriteId, Durable)>,
    timers: BTreeMap<Timer, Duration>,
    choices: Vec<(Choice, u32)>,
    reaches_ledger: bool,
    /// An append of it was confirmed since its renewal timer fired last.
    renewed: bool,
    /// The largest clock of it that ever left it.
    sent: Time,
    /// The floods this life was handed.
    floods: BTreeSet<FloodId>,
    /// What it wrote itself, perhaps in a former life, and was handed again to pass on.
    own: BTreeSet<(Time, Body)>,
    /// The requests this life was told the outcome of, and the last sale.
    concluded: BTreeSet<RequestId>,
    last_sale: Option<SaleNumber>,
    /// The books that were compared last.
    compared: Option<(Epoch, Position)>,
}

#[derive(Clone, Debug)]
struct Flying {
    from: PeerId,
    to: PeerId,
    envelope: Envelope,
}

#[derive(Clone, Debug)]
enum Persisting {
    Asked(Batch),
    Written,
    Synced,
}

/// How many delivered things are remembered to come again.
const REMEMBERED: usize = 200;

#[derive(Debug)]
pub struct World {
    setup: Setup,
    nodes: Vec<Node>,
    flying: Vec<Flying>,
    cut: BTreeSet<(PeerId, PeerId)>,
    calls: Vec<LedgerCall>,
    replies: Vec<LedgerReply>,
    reads: Vec<(Life, LedgerStatus, Position, Option<PartId>)>,
    ledger: Option<Ledger>,
    store: MemoryStore,
    persisting: Option<Persisting>,
    lease: Option<Duration>,
    now: Duration,
    picks: u32,

    past_envelopes: VecDeque<Flying>,
    past_calls: VecDeque<LedgerCall>,
    past_replies: VecDeque<LedgerReply>,

    audit: LogAudit,
    audited: usize,
    log: Vec<Record>,
    holders: BTreeMap<Epoch, Life>,
    status_at: BTreeMap<Position, LedgerStatus>,
    books: Books,
    books_at: BTreeMap<Position, Books>,
    decided: (BTreeSet<Request>, BTreeSet<Deposit>),

    pub stats: Stats,
    /// What happened, line by line; kept when asked for.
    pub history: Option<Vec<String>>,
}

impl World {
    pub fn new(setup: Setup, keep_history: bool) -> Result<World, String> {
        let terms = AuditTerms {
            commission: Some(setup.terms.commission),
            resign_after: Some(setup.terms.resign_after),
            batch_limit: Some(setup.terms.batch_limit),
        };
        let nodes = (0..setup.peers()).map(|id| Node {
            config: setup.config(id),
            peer: None,
            paused: false,
            durable: Durable::default(),
            writes: VecDeque::new(),
            timers: BTreeMap::new(),
            choices: Vec::new(),
            reaches_ledger: true,
            renewed: false,
            sent: Time(0),
            floods: BTreeSet::new(),
            own: BTreeSet::new(),
            concluded: BTreeSet::new(),
            last_sale: None,
            compared: None,
        });
        let mut world = World {
            nodes: nodes.collect(),
            setup,
            flying: Vec::new(),
            cut: BTreeSet::new(),
            calls: Vec::new(),
            replies: Vec::new(),
            reads: Vec::new(),
            ledger: None,
            store: MemoryStore::default(),
            persisting: None,
            lease: None,
            now: Duration::ZERO,
            picks: 0,
            past_envelopes: VecDeque::new(),
            past_calls: VecDeque::new(),
            past_replies: VecDeque::new(),
            audit: LogAudit::new(terms),
            audited: 0,
            log: Vec::new(),
            holders: BTreeMap::new(),
            status_at: BTreeMap::from([(Position(0), LedgerStatus::default())]),
            books: Books::default(),
            books_at: BTreeMap::from([(Position(0), Books::default())]),
            decided: Default::default(),
            stats: Stats::default(),
            history: keep_history.then(Vec::new),
        };
        world.start_ledger()?;
        for id in world.ids() {
            world.start(id)?;
        }
        for (a, b) in world.directed_links() {
            world.report(a, b)?;
        }
        Ok(world)
    }

    // --- What there is.

    pub fn ids(&self) -> Vec<PeerId> {
        (0..self.setup.peers()).map(PeerId).collect()
    }

    fn node(&mut self, id: PeerId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.nodes[id.0 as usize].peer.as_ref()
    }

    fn acts(&self, id: PeerId) -> bool {
        let node = &self.nodes[id.0 as usize];
        node.peer.is_some() && !node.paused
    }

    fn directed_links(&self) -> Vec<(PeerId, PeerId)> {
        let links = self.setup.links.iter();
        links.flat_map(|(a, b)| [(PeerId(*a), PeerId(*b)), (PeerId(*b), PeerId(*a))]).collect()
    }

    fn works(&self, a: PeerId, b: PeerId) -> bool {
        self.peer(b).is_some() && !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    pub fn log(&self) -> &[Record] {
        &self.log
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(line());
        }
    }

    // --- What a schedule does.

    pub fn act(&mut self, action: Action) -> Checked {
        self.tell(|| format!("# {action:?}"));
        match action {
            Action::Flow(n) => {
                for _ in 0..n {
                    if !self.flow()? {
                        break;
                    }
                }
                Ok(())
            }
            Action::Tick => self.tick().map(drop),
            Action::Fire(pick) => {
                let armed = self.armed();
                choose(&armed, pick).map_or(Ok(()), |(_, id, timer)| self.fire(*id, *timer))
            }
            Action::Deliver(pick) => match self.pick_flying(pick) {
                Some(nth) => self.deliver(nth),
                None => Ok(()),
            },
            Action::Drop(pick) => {
                if let Some(nth) = index(&self.flying, pick) {
                    self.flying.remove(nth);
                }
                Ok(())
            }
            Action::Double(pick) => {
                if let Some(nth) = index(&self.flying, pick) {
                    self.stats.duplicates += 1;
                    self.flying.push(self.flying[nth].clone());
                }
                Ok(())
            }
            Action::Replay(pick) => {
                if let Some(past) = nth_of(&self.past_envelopes, pick) {
                    self.stats.duplicates += 1;
                    self.flying.push(past);
                    return self.deliver(self.flying.len() - 1);
                }
                Ok(())
            }
            Action::Call(pick) => index(&self.calls, pick).map_or(Ok(()), |nth| self.call(nth)),
            Action::Reply(pick) => {
                let ready: Vec<usize> = self.ready_replies();
                choose(&ready, pick).map_or(Ok(()), |nth| self.reply(*nth))
            }
            Action::DropCall(pick) => {
                if let Some(nth) = index(&self.calls, pick) {
                    self.calls.remove(nth);
                }
                Ok(())
            }
            Action::DropReply(pick) => {
                if let Some(nth) = index(&self.replies, pick) {
                    self.replies.remove(nth);
                }
                Ok(())
            }
            Action::ReplayCall(pick) => {
                if let Some(past) = nth_of(&self.past_calls, pick) {
                    self.stats.duplicates += 1;
                    self.calls.push(past);
                    return self.call(self.calls.len() - 1);
                }
                Ok(())
            }
            Action::ReplayReply(pick) => {
                if let Some(past) = nth_of(&self.past_replies, pick) {
                    self.stats.duplicates += 1;
                    self.replies.push(past);
                    let nth = self.replies.len() - 1;
                    if self.acts(self.replies[nth].to.peer) {
                        return self.reply(nth);
                    }
                }
                Ok(())
            }
            Action::Persist => self.persist().map(drop),
            Action::Read(pick) => index(&self.reads, pick).map_or(Ok(()), |nth| self.answer_read(nth)),
            Action::Lease => {
                if self.lease.take().is_some() {
                    return self.give_ledger(LedgerInput::LeaseFired);
                }
                Ok(())
            }
            Action::Written(pick) => {
                let writing: Vec<PeerId> =
                    self.ids().into_iter().filter(|id| self.acts(*id) && !self.node(*id).writes.is_empty()).collect();
                choose(&writing, pick).map_or(Ok(()), |id| self.written(*id))
            }
            Action::Choose(pick) => {
                let choosing: Vec<PeerId> =
                    self.ids().into_iter().filter(|id| self.acts(*id) && !self.node(*id).choices.is_empty()).collect();
                choose(&choosing, pick).map_or(Ok(()), |id| self.chosen(*id, u32::from(pick)))
            }
            Action::Cut { link, both, told } => {
                let links = self.directed_links();
                let Some((a, b)) = choose(&links, link).copied() else { return Ok(()) };
                self.cut.insert((a, b));
                if both {
                    self.cut.insert((b, a));
                }
                if told {
                    self.report(a, b)?;
                    self.report(b, a)?;
                }
                Ok(())
            }
            Action::Heal { link, told } => {
                let cut: Vec<_> = self.cut.iter().copied().collect();
                let Some((a, b)) = choose(&cut, link).copied() else { return Ok(()) };
                self.cut.remove(&(a, b));
                self.cut.remove(&(b, a));
                if told {
                    self.report(a, b)?;
                    self.report(b, a)?;
                }
                Ok(())
            }
            Action::Report { link } => {
                let links = self.directed_links();
                choose(&links, link).copied().map_or(Ok(()), |(a, b)| self.report(a, b))
            }
            Action::Reset { link } => {
                let links = self.directed_links();
                match choose(&links, link).copied() {
                    Some((a, b)) if self.acts(a) => self.give(a, Input::LinkDown(b)),
                    Some(_) | None => Ok(()),
                }
            }
            Action::Crash { peer, survive, told } => {
                let holder = self.books.term().map(|term| term.holder.peer).filter(|_| peer % 3 == 0);
                let id = holder.unwrap_or(PeerId(u32::from(peer) % self.setup.peers()));
                self.crash(id, survive as usize);
                if told {
                    for neighbour in self.setup.neighbours(id.0) {
                        self.report(neighbour, id)?;
                    }
                }
                Ok(())
            }
            Action::Restart { peer } => {
                let down: Vec<_> = self.ids().into_iter().filter(|id| self.peer(*id).is_none()).collect();
                choose(&down, peer).map_or(Ok(()), |id| self.restart(*id))
            }
            Action::Pause { peer } => {
                let id = PeerId(u32::from(peer) % self.setup.peers());
                self.node(id).paused = true;
                Ok(())
            }
            Action::Resume { peer } => {
                let paused: Vec<_> = self.ids().into_iter().filter(|id| self.node(*id).paused).collect();
                if let Some(id) = choose(&paused, peer) {
                    self.node(*id).paused = false;
                }
                Ok(())
            }
            Action::LedgerCrash { kept, midway } => {
                let writes = |call: &LedgerCall| matches!(&call.request, LedgerRequest::Append(batch) if !batch.records.is_empty());
                for _ in 0..if midway { 40 } else { 0 } {
                    if matches!(self.persisting, Some(Persisting::Written)) {
                        break;
                    }
                    match self.calls.iter().position(writes) {
                        Some(nth) if self.persisting.is_none() => self.call(nth)?,
                        Some(_) | None if self.flow()? => {}
                        Some(_) | None => drop(self.tick()?),
                    }
                }
                self.crash_ledger(kept as usize)
            }
            Action::LedgerRestart if self.ledger.is_none() => self.start_ledger(),
            Action::LedgerRestart => Ok(()),
            Action::Snapshot => {
                self.store.take_snapshot();
                Ok(())
            }
            Action::LedgerCut { peer, told } => {
                let id = PeerId(u32::from(peer) % self.setup.peers());
                self.node(id).reaches_ledger = false;
                if told { self.give(id, Input::LedgerDown) } else { Ok(()) }
            }
            Action::LedgerHeal { peer, told } => {
                let away: Vec<_> = self.ids().into_iter().filter(|id| !self.node(*id).reaches_ledger).collect();
                let Some(id) = choose(&away, peer).copied() else { return Ok(()) };
                self.node(id).reaches_ledger = true;
                if told { self.give(id, Input::LedgerUp) } else { Ok(()) }
            }
        }
    }

    fn next_random(&mut self) -> u32 {
        self.picks = self.picks.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.picks >> 16
    }

    /// The next thing that is bound to happen without time passing, if there is one.
    pub fn flow(&mut self) -> Result<bool, String> {
        for id in self.ids() {
            if self.acts(id) {
                if !self.node(id).writes.is_empty() {
                    return self.written(id).map(|()| true);
                }
                if !self.node(id).choices.is_empty() {
                    let pick = self.next_random();
                    return self.chosen(id, pick).map(|()| true);
                }
            }
        }
        if self.persist()? {
            return Ok(true);
        }
        if !self.reads.is_empty() {
            return self.answer_read(0).map(|()| true);
        }
        if !self.calls.is_empty() {
            return self.call(0).map(|()| true);
        }
        if let Some(nth) = self.ready_replies().first() {
            return self.reply(*nth).map(|()| true);
        }
        match self.pick_flying(0) {
            Some(nth) => self.deliver(nth).map(|()| true),
            None => Ok(false),
        }
    }

    /// Fires what is due first: a timer of a peer, or the lease.
    fn tick(&mut self) -> Result<bool, String> {
        let first = self.armed().into_iter().min();
        match (first, self.lease) {
            (Some((due, _, _)), Some(lease)) if lease < due => self.fire_lease(lease).map(|()| true),
            (None, Some(lease)) => self.fire_lease(lease).map(|()| true),
            (Some((due, id, timer)), _) => {
                self.now = self.now.max(due);
                self.fire(id, timer).map(|()| true)
            }
            (None, None) => Ok(false),
        }
    }

    fn fire_lease(&mut self, due: Duration) -> Checked {
        self.now = self.now.max(due);
        self.lease = None;
        if self.ledger.is_some() { self.give_ledger(LedgerInput::LeaseFired) } else { Ok(()) }
    }

    fn armed(&self) -> Vec<(Duration, PeerId, Timer)> {
        let nodes = self.nodes.iter().filter(|node| node.peer.is_some() && !node.paused);
        nodes.flat_map(|node| node.timers.iter().map(|(timer, due)| (*due, node.config.me, *timer))).collect()
    }

    fn fire(&mut self, id: PeerId, timer: Timer) -> Checked {
        self.node(id).timers.remove(&timer);
        self.give(id, Input::Fired(timer))
    }

    fn pick_flying(&self, pick: u16) -> Option<usize> {
        let ready: Vec<usize> = (0..self.flying.len())
            .filter(|nth| !self.nodes[self.flying[*nth].to.0 as usize].paused)
            .take(pick as usize + 1)
            .collect();
        index(&ready, pick).map(|nth| ready[nth])
    }

    fn deliver(&mut self, nth: usize) -> Checked {
        let flying = self.flying.remove(nth);
        if self.nodes[flying.to.0 as usize].paused {
            self.flying.push(flying);
            return Ok(());
        }
        remember(&mut self.past_envelopes, flying.clone());
        self.give(flying.to, Input::Received { from: flying.from, envelope: flying.envelope })
    }

    fn call(&mut self, nth: usize) -> Checked {
        let call = self.calls.remove(nth);
        remember(&mut self.past_calls, call.clone());
        if self.ledger.is_none() || !self.node(call.caller.peer).reaches_ledger {
            return Ok(());
        }
        let is_write = matches!(&call.request, LedgerRequest::Append(batch) if !batch.records.is_empty());
        let was_persisting = self.persisting.is_some();
        let replies = self.replies.len();
        self.give_ledger(LedgerInput::Call { id: CallId(0), call })?;
        let settled = self.replies.get(replies).map(|reply| &reply.answer);
        if let (true, false, Some(LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. })) =
            (is_write, was_persisting, settled)
        {
            self.stats.resent += 1;
        }
        Ok(())
    }

    fn ready_replies(&self) -> Vec<usize> {
        (0..self.replies.len()).filter(|nth| !self.nodes[self.replies[*nth].to.peer.0 as usize].paused).collect()
    }

    fn reply(&mut self, nth: usize) -> Checked {
        let reply = self.replies.remove(nth);
        remember(&mut self.past_replies, reply.clone());
        let to = reply.to.peer;
        if self.node(to).reaches_ledger { self.give(to, Input::Ledger(reply)) } else { Ok(()) }
    }

    fn answer_read(&mut self, nth: usize) -> Checked {
        let (to, status, from, part) = self.reads.remove(nth);
        let Ok(answer) = self.store.read(from, part, status.head);
        if matches!(answer, LedgerAnswer::Part { .. }) {
            self.stats.snapshots_read += 1;
        }
        if let LedgerAnswer::Records { from, records } = &answer {
            let durable = self.log.get(from.0 as usize..from.0 as usize + records.len());
            if durable != Some(records) || *from > status.head || from.plus(records.len()) > status.head {
                return Err(format!("R3: records from {from} were shown that are not durable"));
            }
        }
        self.replies.push(LedgerReply { to, status, answer });
        Ok(())
    }

    fn persist(&mut self) -> Result<bool, String> {
        match self.persisting.take() {
            None => Ok(false),
            Some(Persisting::Asked(batch)) => {
                let Ok(()) = self.store.append(&batch);
                self.persisting = Some(Persisting::Written);
                Ok(true)
            }
            Some(Persisting::Written) => {
                let Ok(()) = self.store.sync();
                self.persisting = Some(Persisting::Synced);
                self.audit()?;
                Ok(true)
            }
            Some(Persisting::Synced) => self.give_ledger(LedgerInput::Persisted).map(|()| true),
        }
    }

    fn written(&mut self, id: PeerId) -> Checked {
        let Some((write, durable)) = self.node(id).writes.pop_front() else { return Ok(()) };
        self.node(id).durable = durable;
        self.give(id, Input::Written(write))
    }

    fn chosen(&mut self, id: PeerId, pick: u32) -> Checked {
        let (choice, among) = self.node(id).choices.remove(0);
        if among == 0 {
            return Err(format!("peer {id} must choose among nothing"));
        }
        self.give(id, Input::Chose { choice, pick: pick % among })
    }

    fn report(&mut self, a: PeerId, b: PeerId) -> Checked {
        let input = if self.works(a, b) { Input::LinkUp(b) } else { Input::LinkDown(b) };
        if self.acts(a) { self.give(a, input) } else { Ok(()) }
    }

    fn crash(&mut self, id: PeerId, survive: usize) {
        let node = self.node(id);
        if node.peer.take().is_none() {
            return;
        }
        // An unfinished write may have reached the disk or not, but none without those before it.
        if let Some((_, durable)) = node.writes.iter().take(survive).next_back() {
            node.durable = *durable;
        }
        node.writes.clear();
        node.timers.clear();
        node.choices.clear();
        node.paused = false;
        self.stats.crashes += 1;
        self.tell(|| format!("peer {id} crashes"));
    }

    fn restart(&mut self, id: PeerId) -> Checked {
        self.start(id)?;
        for neighbour in self.setup.neighbours(id.0) {
            self.report(id, neighbour)?;
            self.report(neighbour, id)?;
        }
        Ok(())
    }

    fn start(&mut self, id: PeerId) -> Checked {
        let node = self.node(id);
        let (peer, effects) = Peer::recover(node.config.clone(), node.durable).map_err(|error| error.to_string())?;
        let (sent, resumed) = (node.sent, peer.clock().now());
        node.peer = Some(peer);
        node.paused = false;
        node.floods.clear();
        node.concluded.clear();
        node.last_sale = None;
        node.compared = None;
        node.renewed = false;
        self.tell(|| format!("peer {id} starts"));
        a_clock_never_goes_back(sent, resumed).map_err(|violation| violation.to_string())?;
        self.carry_out(id, effects)
    }

    fn start_ledger(&mut self) -> Checked {
        let config = LedgerConfig { lease: TIMEOUTS.lease, limits: LIMITS };
        let (ledger, effects) = Ledger::recover(config, self.store.tail());
        self.ledger = Some(ledger);
        self.audit()?;
        self.carry_out_ledger(effects)
    }

    fn crash_ledger(&mut self, kept: usize) -> Checked {
        if self.ledger.take().is_some() {
            self.stats.ledger_crashes += 1;
            let (written, synced) = (self.store.batches().len(), self.store.durable().len());
            self.store.crash(kept);
            let left = self.store.durable().len();
            self.stats.kept_batches += (left - synced) as u64;
            self.stats.lost_batches += (written - left) as u64;
            (self.persisting, self.lease) = (None, None);
            self.reads.clear();
            self.tell(|| String::from("the ledger crashes"));
        }
        self.audit()
    }

    // --- What steps do.

    pub fn give(&mut self, id: PeerId, input: Input) -> Checked {
        if self.node(id).peer.is_none() {
            return Ok(());
        }
        self.stats.steps += 1;
        self.tell(|| format!("peer {id} <- {input:?}"));
        let node = self.node(id);
        let Some(peer) = &mut node.peer else { return Ok(()) };
        let (before, in_office) = (peer.clock().now(), peer.office().epoch().is_some());
        let arrival = if let Input::Received { envelope, .. } = &input { Some(envelope.clone()) } else { None };
        if let Some(envelope) = arrival.as_ref().filter(|envelope| envelope.source == id) {
            node.own.insert((envelope.clock, envelope.body.clone()));
        }
        let was_written = matches!(input, Input::Written(_));
        if let Input::Ledger(LedgerReply { to, answer: LedgerAnswer::Append { verdict, .. }, .. }) = &input {
            node.renewed |= *to == peer.view().me && matches!(verdict, Verdict::Appended { .. });
        }
        let renewed = input != Input::Fired(Timer::Renewal) || std::mem::take(&mut node.renewed);
        let effects = peer.step(input);
        let beats = |effect: &Effect| matches!(effect, Effect::Send { envelope: Envelope { source, body: Body::Heartbeat { .. }, .. }, .. } if *source == id);
        if !renewed && effects.iter().any(beats) {
            return Err(format!("R6: peer {id} sends a heartbeat, and no renewal was confirmed since the last"));
        }
        let after = peer.clock().now();
        let released = effects.iter().any(|effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_)));
        if was_written && released {
            self.stats.write_aheads += 1;
        }
        a_clock_never_goes_back(before, after).map_err(|violation| violation.to_string())?;
        if let Some(envelope) = arrival {
            self.check_arrival(id, &envelope, in_office, (before, after), &effects)?;
        }
        self.carry_out(id, effects)?;
        self.check_peer(id)
    }

    fn check_arrival(
        &mut self,
        id: PeerId,
        envelope: &Envelope,
        in_office: bool,
        (before, after): (Time, Time),
        effects: &Effects,
    ) -> Checked {
        let mut delivered = match envelope.route {
            Route::Flood { to, .. } => to.is_none_or(|to| to == id),
            Route::Direct { to, .. } => to == id,
        };
        if let Route::Flood { id: flood, .. } = envelope.route {
            let node = self.node(id);
            let former =
                node.floods.iter().any(|known| known.origin == flood.origin && known.incarnation > flood.incarnation);
            if !node.floods.insert(flood) {
                // S10: what comes a second time has no effect at all.
                if before != after || !effects.is_empty() {
                    return Err(format!("S10: {flood:?} was taken twice by peer {id}"));
                }
                delivered = false;
            }
            delivered &= flood.origin != id && !former;
        }
        if delivered && !(in_office && envelope.body == Body::Clock) {
            a_receive_is_later_than_its_send(envelope.clock, after).map_err(|violation| violation.to_string())?;
        }
        Ok(())
    }

    fn carry_out(&mut self, id: PeerId, effects: Effects) -> Checked {
        for effect in effects {
            match effect {
                Effect::Send { to, envelope } => {
                    self.check_send(id, to, &envelope)?;
                    self.tell(|| format!("  peer {id} -> peer {to}: {envelope:?}"));
                    if !self.cut.contains(&(id, to)) {
                        self.flying.push(Flying { from: id, to, envelope });
                    }
                }
                Effect::Ledger(call) => {
                    self.check_spoken(id)?;
                    if let LedgerRequest::Append(batch) = &call.request {
                        for record in &batch.records {
                            self.check_stamp(id, record.stamp.time)?;
                        }
                    }
                    self.tell(|| format!("  peer {id} -> ledger: {:?}", call.request));
                    if self.node(id).reaches_ledger {
                        self.calls.push(call);
                    }
                }
                Effect::Write { id: write, durable } => self.node(id).writes.push_back((write, durable)),
                Effect::Arm { timer, after } => {
                    // Buyers are people: they do not all think equally long, or the same ones would always be first.
                    let unsteady = if timer == Timer::Buyer { u64::from(self.next_random() % 60) } else { 0 };
                    let due = self.now + after + Duration::from_millis(unsteady);
                    self.node(id).timers.insert(timer, due);
                }
                Effect::Disarm(timer) => {
                    self.node(id).timers.remove(&timer);
                }
                Effect::Choose { choice, among } => self.node(id).choices.push((choice, among)),
                Effect::Note { note, .. } => {
                    self.tell(|| format!("  peer {id}: {note:?}"));
                    self.check_note(id, note)?;
                }
            }
        }
        let Some(peer) = &self.nodes[id.0 as usize].peer else { return Ok(()) };
        if let Some(request) = peer.buyer().and_then(|buyer| buyer.asking()) {
            self.decided.0.insert(request.clone());
        }
        if let Some(deposit) = peer.seller().and_then(|seller| seller.depositing()) {
            self.decided.1.insert(deposit.clone());
        }
        Ok(())
    }

    /// R7: a life speaks only once it is durable.
    fn check_spoken(&mut self, id: PeerId) -> Checked {
        let node = self.node(id);
        let life = node.peer.as_ref().map(|peer| peer.view().me.incarnation);
        if life != Some(node.durable.incarnation) {
            return Err(format!("R7: peer {id} speaks in life {life:?}, but {:?} is durable", node.durable));
        }
        Ok(())
    }

    fn check_stamp(&mut self, id: PeerId, sent: Time) -> Checked {
        let node = self.node(id);
        node.sent = node.sent.max(sent);
        nothing_is_sent_above_the_written_bound(sent, node.durable.clock_bound).map_err(|v| v.to_string())
    }

    fn check_send(&mut self, id: PeerId, to: PeerId, envelope: &Envelope) -> Checked {
        let neighbours = &self.nodes[id.0 as usize].config.neighbours;
        nothing_is_sent_to_a_non_neighbour(id, to, neighbours).map_err(|violation| violation.to_string())?;
        self.check_spoken(id)?;
        let node = self.node(id);
        if envelope.source != id || node.own.contains(&(envelope.clock, envelope.body.clone())) {
            return Ok(());
        }
        self.check_stamp(id, envelope.clock)?;
        let Some(me) = self.peer(id).map(|peer| peer.view().me) else { return Ok(()) };
        match &envelope.body {
            Body::Heartbeat { epoch, .. }
            | Body::Election(ElectionMessage::Coordinator { epoch } | ElectionMessage::Resigned { epoch }) => {
                self.check_holder(*epoch, me)
            }
            Body::Trader(told) => {
                if !self.holders.values().any(|holder| *holder == me) {
                    return Err(format!("S1: {me:?} serves and holds no epoch"));
                }
                let client = match envelope.route {
                    Route::Flood { to, .. } => to,
                    Route::Direct { to, .. } => Some(to),
                };
                let client = client.ok_or("a standing was told to everybody")?;
                self.check_told(told, client)
            }
            Body::Client(ClientMessage::Request(request)) => {
                self.check_stamp(id, request.stamp.time.min(envelope.clock))
            }
            Body::Client(ClientMessage::Deposit(deposit)) => {
                self.check_stamp(id, deposit.stamp.time.min(envelope.clock))
            }
            Body::Client(ClientMessage::AskSales { .. })
            | Body::Clock
            | Body::Election(
                ElectionMessage::Call
                | ElectionMessage::Anyone
                | ElectionMessage::Answer
                | ElectionMessage::Leader { .. },
            ) => Ok(()),
        }
    }

    fn check_holder(&self, epoch: Epoch, speaker: Life) -> Checked {
        if self.holders.get(&epoch) == Some(&speaker) {
            return Ok(());
        }
        an_epoch_is_spoken_for_by_its_holder(epoch, speaker, &self.log).map_err(|violation| violation.to_string())
    }

    fn check_told(&self, told: &TraderMessage, client: PeerId) -> Checked {
        whatever_a_client_was_told_is_in_the_log(told, client, &self.log).map_err(|violation| violation.to_string())
    }

    /// S4, S11 at the clients' end: what they understood is in the log, and they understand it once.
    fn check_note(&mut self, id: PeerId, note: Note) -> Checked {
        let in_log = |log: &[Record], wanted: &Entry| log.iter().any(|record| record.entry == *wanted);
        match note {
            Note::ElectionWon => self.stats.elections_won += 1,
            Note::TookOffice { inherited } => {
                self.stats.offices += 1;
                self.stats.inherited += u64::from(inherited);
            }
            Note::SteppedDown { reason: Departure::Isolated } => self.stats.isolated += 1,
            Note::SteppedDown { reason: Departure::LedgerSilent } => self.stats.silent += 1,
            Note::SteppedDown { reason: Departure::BooksDamaged } | Note::BooksRefused { .. } => {
                return Err(format!("S12: peer {id} cannot fold the books"));
            }
            Note::Bought { sale } => {
                if !in_log(&self.log, &Entry::Sold(sale.clone())) {
                    return Err(format!("S11: peer {id} believes in a purchase that is in no book: {sale:?}"));
                }
                self.conclude(id, sale.request)?;
            }
            Note::Unavailable { request, .. } => {
                if !in_log(&self.log, &Entry::Refused { request }) {
                    return Err(format!("S11: peer {id} believes in a refusal that is in no book: {request:?}"));
                }
                self.conclude(id, request)?;
            }
            Note::Recalled { request, .. } => {
                self.stats.recalled += 1;
                self.conclude(id, request)?;
            }
            Note::ResumedRequest { .. } => self.stats.resumed += 1,
            Note::Earned { sale, total, .. } => {
                if !in_log(&self.log, &Entry::Sold(sale.clone())) {
                    return Err(format!("S11: peer {id} believes in a sale that is in no book: {sale:?}"));
                }
                let earned: Cents = self
                    .log
                    .iter()
                    .filter_map(|record| if let Entry::Sold(other) = &record.entry { Some(other) } else { None })
                    .filter(|other| other.deposit.seller == id && other.number <= sale.number)
                    .map(|other| other.earned)
                    .sum();
                if earned != total {
                    return Err(format!(
                        "S4: peer {id} counts {total}, its sales up to {} earned {earned}",
                        sale.number
                    ));
                }
                let node = self.node(id);
                if node.last_sale >= Some(sale.number) {
                    return Err(format!("S4: sale {} has its effect at peer {id} twice", sale.number));
                }
                node.last_sale = Some(sale.number);
            }
            Note::Registered { deposit, .. } => {
                let booked = self
                    .log
                    .iter()
                    .any(|record| matches!(&record.entry, Entry::Deposited(other) if other.id == deposit));
                if !booked {
                    return Err(format!("S11: peer {id} believes that {deposit:?} counts"));
                }
            }
            Note::ResumedAccount { sales, .. } => self.node(id).last_sale = Some(SaleNumber(sales)),
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::SoldOut { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::ClockRefused { .. } => {}
        }
        Ok(())
    }

    fn conclude(&mut self, id: PeerId, request: RequestId) -> Checked {
        if !self.node(id).concluded.insert(request) {
            return Err(format!("S4: peer {id} learns the outcome of {request:?} twice"));
        }
        Ok(())
    }

    /// S1, S12: who holds the office is who the log says, and serves from what the log says.
    fn check_peer(&mut self, id: PeerId) -> Checked {
        let Some(peer) = self.peer(id) else { return Ok(()) };
        let view = peer.view();
        let compared = match (view.office, view.books) {
            (Some(epoch), Some(books)) => {
                self.check_holder(epoch, view.me)?;
                let now = (epoch, books.position());
                if self.nodes[id.0 as usize].compared != Some(now)
                    && self.books_at.get(&books.position()) != Some(books)
                {
                    the_books_equal_the_fold_of_the_log(books, &self.log).map_err(|violation| violation.to_string())?;
                    return Err(format!("S12: peer {id} serves from books that end inside a batch"));
                }
                Some(now)
            }
            (None, None) => None,
            (office, _) => return Err(format!("S12: peer {id} has office {office:?} and books or not")),
        };
        self.node(id).compared = compared;
        Ok(())
    }

    fn give_ledger(&mut self, input: LedgerInput) -> Checked {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        self.stats.steps += 1;
        let line = self.history.is_some().then(|| format!("ledger <- {input:?}"));
        let effects = ledger.step(input);
        if let (Some(history), Some(line)) = (&mut self.history, line) {
            history.push(line);
        }
        self.carry_out_ledger(effects)
    }

    fn carry_out_ledger(&mut self, effects: Vec<LedgerEffect>) -> Checked {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => {
                    if self.persisting.is_some() {
                        return Err(String::from("R2: two batches are under way at the ledger"));
                    }
                    self.persisting = Some(Persisting::Asked(batch));
                }
                LedgerEffect::Reply { reply, .. } => {
                    self.tell(|| format!("  ledger -> peer {}: {:?}", reply.to.peer, reply.answer));
                    self.check_status(&reply.status)?;
                    if let LedgerAnswer::Append { verdict, .. } = &reply.answer {
                        match verdict {
                            Verdict::Appended { .. } => {}
                            Verdict::Fenced => self.stats.fenced += 1,
                            Verdict::Conflict => self.stats.conflicts += 1,
                            Verdict::Held => self.stats.held_claims += 1,
                        }
                    }
                    self.replies.push(reply);
                }
                LedgerEffect::Read { to, status, from, part, .. } => {
                    self.check_status(&status)?;
                    self.reads.push((to, status, from, part));
                }
                LedgerEffect::ArmLease(after) => self.lease = Some(self.now + after),
                LedgerEffect::Drop(_) => {}
                LedgerEffect::Fail(fault) => return Err(format!("R3: acknowledged records are gone: {fault:?}")),
            }
        }
        Ok(())
    }

    /// R3: whatever the ledger says of its state was durable.
    fn check_status(&self, status: &LedgerStatus) -> Checked {
        if self.status_at.get(&status.head) != Some(status) {
            return Err(format!("R3: the ledger shows {status:?}, which was never durable"));
        }
        Ok(())
    }

    /// Every property of the log, for each batch that has become durable.
    fn audit(&mut self) -> Checked {
        while let Some(batch) = self.store.durable().get(self.audited).cloned() {
            self.tell(|| format!("  durable: {batch:?}"));
            self.audited += 1;
            self.audit.observe_batch(&batch).map_err(|violation| violation.to_string())?;
            for record in batch.records {
                self.books.apply(&record).map_err(|error| format!("S12: {error}"))?;
                match &record.entry {
                    Entry::Claimed { epoch, holder } => {
                        self.holders.insert(*epoch, *holder);
                    }
                    Entry::Deposited(deposit) => {
                        self.stats.deposits += 1;
                        if !self.decided.1.contains(deposit) {
                            return Err(format!("S5: nobody decided {deposit:?}"));
                        }
                    }
                    Entry::Admitted(request) => {
                        self.stats.admissions += 1;
                        if !self.decided.0.contains(request) {
                            return Err(format!("S13: nobody decided {request:?}"));
                        }
                    }
                    Entry::Sold(_) => self.stats.sales += 1,
                    Entry::Refused { .. } => self.stats.refusals += 1,
                    Entry::Resigned => self.stats.resignations += 1,
                }
                self.log.push(record);
            }
            self.books_at.insert(self.books.position(), self.books.clone());
            let status = self.store.durable()[..self.audited].iter().fold(Default::default(), tail_after).status;
            self.status_at.insert(status.head, status);
            let report = self.audit.report();
            if let Some(violation) = report.violations().next() {
                return Err(violation.to_string());
            }
        }
        Ok(())
    }

    // --- Convergence (L1, L2).

    /// How many timers may fire from the end of all faults until one trader is known to all, what was accepted is dealt
    /// with and everybody concerned knows.
    pub const PATIENCE: u64 = 600;

    /// Ends all faults: cuts are healed, everybody is up, and everybody knows.
    pub fn heal(&mut self) -> Checked {
        self.tell(|| String::from("# all faults end"));
        self.cut.clear();
        if self.ledger.is_none() {
            self.start_ledger()?;
        }
        for id in self.ids() {
            self.node(id).paused = false;
            if self.peer(id).is_none() {
                self.start(id)?;
            }
        }
        for (a, b) in self.directed_links() {
            self.report(a, b)?;
        }
        for id in self.ids() {
            if !std::mem::replace(&mut self.node(id).reaches_ledger, true) {
                self.give(id, Input::LedgerUp)?;
            }
        }
        Ok(())
    }

    /// Everything that is under way arrives.
    pub fn settle(&mut self) -> Checked {
        for _ in 0..100_000 {
            if !self.flow()? {
                return Ok(());
            }
        }
        Err(String::from("L1: messages breed messages for ever"))
    }

    /// From here on nothing fails: within [`World::PATIENCE`] firings there is one trader whom all know, whatever was
    /// accepted has its outcome, and buyers and sellers know all that concerns them. Then everybody gets on with it.
    pub fn converge(&mut self) -> Checked {
        self.heal()?;
        let pending: Vec<RequestId> = self.books.queue().map(|request| request.id).collect();
        let mut why = String::new();
        for firing in 0..Self::PATIENCE {
            self.settle()?;
            match self.has_converged(&pending) {
                Ok(()) => {
                    self.stats.converged += 1;
                    self.stats.firings_to_converge = firing;
                    return self.gets_on();
                }
                Err(reason) => why = reason,
            }
            if !self.tick()? {
                return Err(format!("L1: nothing is armed any more; {why}"));
            }
        }
        Err(format!("L1, L2: after {} firings {why}", Self::PATIENCE))
    }

    fn has_converged(&self, pending: &[RequestId]) -> Checked {
        let term = self.books.term().filter(|term| !term.ended).ok_or("nobody holds the office")?;
        let known = (term.epoch, term.holder.peer);
        for id in self.ids() {
            let view = self.peer(id).ok_or("a peer is down")?.view();
            if view.leader != Some(known) {
                return Err(format!("peer {id} follows {:?}, not {known:?}", view.leader));
            }
            if view.office.is_some() != (id == known.1) {
                return Err(format!("peer {id} has office {:?}", view.office));
            }
            // DESIGN 3: whether a peer may stand is a fold of the books, and a resigned one sits out one term only.
            if view.eligibility != Eligibility::Eligible {
                return Err(format!("peer {id} is {:?} in a term that is not its own resigned one", view.eligibility));
            }
        }
        if let Some(request) = self.books.queue().find(|request| pending.contains(&request.id)) {
            return Err(format!("{:?} waits", request.id));
        }
        for id in self.ids().into_iter().filter(|id| *id != known.1) {
            let Some(peer) = self.peer(id) else { continue };
            if let (Some(buyer), Some(booked)) = (peer.buyer(), self.books.buyers().get(&id)) {
                let last = booked.last.as_ref().map(|(sequence, _)| *sequence);
                if buyer.known() != last {
                    return Err(format!("buyer {id} knows {:?}, booked is {last:?}", buyer.known()));
                }
            }
            if let (Some(seller), Some(booked)) = (peer.seller(), self.books.sellers().get(&id)) {
                let told = seller.account().unwrap_or_default();
                if (told.sales, told.earned) != (booked.sales, booked.earned) {
                    return Err(format!("seller {id} knows {told:?}, booked is {booked:?}"));
                }
            }
        }
        Ok(())
    }

    /// Every buyer gets another outcome, and every seller has goods with the traders.
    fn gets_on(&mut self) -> Checked {
        let mut waiting: BTreeMap<PeerId, _> =
            self.ids().into_iter().filter_map(|id| Some((id, self.peer(id)?.buyer()?.known()))).collect();
        let mut without: BTreeSet<PeerId> =
            self.ids().into_iter().filter(|id| self.peer(*id).is_some_and(|peer| peer.seller().is_some())).collect();
        for _ in 0..Self::PATIENCE {
            waiting.retain(|id, before| {
                self.peer(*id).and_then(Peer::buyer).is_some_and(|buyer| buyer.known() <= *before)
            });
            without.retain(|id| self.books.sellers().get(id).is_none());
            // The trader itself does not trade (SPEC B7), and where nobody sells anything it may stay for ever.
            let trader = self.books.term().map(|term| term.holder.peer);
            if waiting.keys().chain(&without).all(|id| Some(*id) == trader) {
                return Ok(());
            }
            self.tick()?;
            self.settle()?;
        }
        Err(format!("L2: after {} firings buyers {waiting:?} wait, sellers {without:?} have no goods", Self::PATIENCE))
    }
}

fn tail_after(tail: protocol::ledger::Tail, batch: &Batch) -> protocol::ledger::Tail {
    tail.after(batch)
}

fn index<T>(all: &[T], pick: u16) -> Option<usize> {
    (pick as usize).checked_rem(all.len())
}

fn choose<T>(all: &[T], pick: u16) -> Option<&T> {
    index(all, pick).map(|nth| &all[nth])
}

fn nth_of<T: Clone>(all: &VecDeque<T>, pick: u16) -> Option<T> {
    (pick as usize).checked_rem(all.len()).map(|nth| all[nth].clone())
}

fn remember<T>(past: &mut VecDeque<T>, thing: T) {
    if past.len() == REMEMBERED {
        past.pop_front();
    }
    past.push_back(thing);
}

/// A life, for tests that need one.
pub fn life(peer: u32, incarnation: u32) -> Life {
    Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) }
}
