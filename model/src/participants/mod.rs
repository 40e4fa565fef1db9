//! Participants and the ledger, without an overlay: the subject of [`election`],
//! [`trading`] and [`order`].
//!
//! [`World`] is a state, [`Action`] a step; [`step`] takes a step, [`canon`] says when two states are the same,
//! [`fair`] what becomes of a state once faults stop, and [`words`] puts all of it in words and pictures. As in a
//! process, [`Participant`](bazaar_protocol::participant::Participant) decides which machine is told of what; in a
//! scenario without elections the adversary decides who stands for office and who yields.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    clock::Time,
    config::{self, Config, Limits, Offer, Offers, Ordering, Pace, Terms, Timeouts, Wishes},
    id::{Item, PeerId, Units},
    invariant::{Property, Violation},
    ledger::{LedgerCall, LedgerReply},
    money::{Commission, Price},
    participant::{Leadership, Parts, Readings},
    record::Batch,
};

use crate::{
    subject::known::Known,
    subject::picture::{Lane, LaneKind, Mark},
    subject::{Met, Subject},
};

pub mod canon;
mod checks;
pub mod election;
pub mod fair;
pub mod order;
pub mod replicated;
pub mod several;
pub mod step;
pub mod trading;
pub mod words;
pub mod world;

pub use world::{Action, Budget, World};

/// Peers and a ledger, set up in one way, with what the adversary may do to them.
#[derive(Clone, Debug)]
pub struct Participants {
    /// The peers, by id.
    pub cast: Vec<Role>,
    /// The id of the first peer; the others count up from it.
    pub first_id: u32,
    /// The terms of trade.
    pub terms: Terms,
    /// What all clocks show when everything starts; at least 1.
    pub start: Time,
    /// With how many heartbeats in a row that find it unheard a buyer loses its seat; at least 1.
    pub heartbeats: u32,
    /// What is in the log when everything starts.
    pub prologue: Vec<Batch>,
    /// When messages arrive and timers fire.
    pub timing: Timing,
    /// What the adversary may do.
    pub budget: Budget,
    /// What every state must converge to once faults stop; `None` where convergence is not checked.
    pub convergence: Option<Convergence>,
    /// Whether reads of the ledger and their answers are under way as messages are; otherwise asking and hearing the
    /// answer is one step.
    pub slow_reads: bool,
    /// Reading records in the store of several ledgers is a step of its own.
    pub reads_apart: bool,
    /// Whether buyers hear each other's clock multicasts; otherwise a multicast, which carries nothing but a reading, is
    /// lost.
    pub multicasts: bool,
    /// Whether a heartbeat that asks buyers to promise raises their clocks, as the trader's clock does in a whole peer.
    /// Where it does not, each promises as little as it can, and there are fewer states.
    pub asking_raises_clocks: bool,
    /// The limits that decide something. Where no call may wait in the ledger while it writes, calls wait on their way
    /// to it.
    pub limits: Limits,
    /// Only violations of this property count; with `None`, violations of any.
    pub only: Option<Property>,
    /// Whether all calls and replies stay under way for ever, even those that can no longer have an effect on any
    /// machine. They cost states; two scenarios keep them.
    pub keeps_all: bool,
    /// How many ledger processes share a replicated store; 1: a ledger that has its store to itself.
    pub ledgers: usize,
    /// Whether others may append between a process's look at the store and its hearing what that found; otherwise looking
    /// and hearing is one step.
    pub slow_looks: bool,
    /// Whether several ledgers see, sooner or later, what the others append and renew; otherwise they never do.
    pub signs: bool,
    /// How the harness breaks what it runs. It breaks something only in the tests that show that the checks can fail.
    pub tampering: Tampering,
}

/// When messages arrive and timers fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Whenever the adversary likes, in any order: a message may arrive once, often, late or never; an armed timer may
    /// fire at any moment, as often as the budget allows; any machine may be left without a step for any length of
    /// time.
    Free,
    /// Messages and calls take no time, and timers run for as long as they say: everything under way arrives, once and
    /// in any order, before time passes; then the timer that is due first fires, and timers due together fire in any
    /// order. So a timer fires only when what it waits for can no longer arrive (DESIGN 5, Y1 and Y2).
    Synchronous,
}

/// What must hold once faults have stopped (L1-L3), and what stays broken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convergence {
    /// The most steps of the fair schedule that it may take.
    pub within: usize,
    /// How long it must last: a leader that soon follows another does not count.
    pub lasting: Duration,
    /// The cut that is never healed.
    pub cut: Cut,
}

/// A fault that stays for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing stays cut.
    Nothing,
    /// This peer and the ledger do not hear each other.
    FromLedger(PeerId),
    /// The ledger hears this peer and cannot answer it.
    AnswersOfLedger(PeerId),
    /// This peer neither hears any other peer nor is heard by one; all others hear each other, and the ledger hears
    /// everybody.
    FromOverlay(PeerId),
    /// Nobody hears the ledger.
    Ledger,
    /// The first answer to every append is lost, renewals included.
    FirstAnswers,
    /// Every answer to a read arrives [`SLOW`] after the question.
    SlowReads,
    /// Nothing stays cut, but a member with a bug tells everybody, again and again, that it leads in an epoch that nobody
    /// was granted, and shows the ledger that it has seen that epoch. The ledger tells everybody how it is as often, as a
    /// driver does with every sign of life.
    Liar,
}

/// How long a read takes where reads are slow for good: longer than half the time a peer waits for an answer.
pub const SLOW: Duration = Duration::from_millis(500);

/// The address of the peer that holds the office, in a scenario without elections.
pub(crate) const OFFICE: PeerId = PeerId(9_999);

/// What a peer is and does in a scenario.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// The word before its id in a history.
    pub title: &'static str,
    /// Whether it takes part in elections.
    pub elects: bool,
    /// Whether it can hold the office.
    pub trades: bool,
    /// What it buys, if it buys.
    pub buys: Option<Wishes>,
    /// How many requests it makes.
    pub wishes: u8,
    /// Whether it makes its first request before anything else happens.
    pub eager: bool,
    /// Whether nothing it is told arrives. What it is told is checked when it is said, so this leaves out only its
    /// reaction, and it has none where it has no more requests and no more deposits to make.
    pub deaf: bool,
    /// What it sells, if it sells. It deposits the first offer at once.
    pub sells: Option<Offers>,
    /// How many deposits it makes after the first.
    pub deposits: u8,
    /// Whether it may crash.
    pub crashes: bool,
    /// How far its clock is ahead of all others when everything starts.
    pub ahead: u64,
    /// Whether it stands for office in vain: only while a trader holds a request back, whose lease does not run out.
    pub stands_in_vain: bool,
}

/// A change to the ledger's answer to a call.
pub type Tamper = fn(&LedgerCall, LedgerReply) -> LedgerReply;

/// How the harness breaks the ledger from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tampering {
    /// Changes its answers to appends, except those it gives when a batch becomes durable.
    pub reply: Option<Tamper>,
    /// It answers as soon as a batch is written, before the sync.
    pub answers_before_sync: bool,
}

impl Participants {
    /// Peers under terms by which nobody resigns and a batch holds up to `batch_limit` records; no faults yet.
    #[must_use]
    pub fn new(cast: Vec<Role>, batch_limit: u32) -> Participants {
        Participants {
            cast,
            first_id: 0,
            start: Time(1),
            heartbeats: TIMEOUTS.heartbeats_before_suspicion(),
            prologue: Vec::new(),
            terms: Terms {
                commission: Commission::TWENTY_PERCENT,
                resign_after: 1_000,
                batch_limit,
                ordering: Ordering::SmallestOpen,
            },
            timing: Timing::Free,
            budget: Budget::default(),
            convergence: None,
            slow_reads: false,
            reads_apart: false,
            multicasts: false,
            asking_raises_clocks: true,
            limits: Limits { waiting_calls: 0, ..Limits::DEFAULT },
            only: None,
            keeps_all: false,
            ledgers: 1,
            slow_looks: false,
            signs: false,
            tampering: Tampering::default(),
        }
    }

    /// The same setup with batches of so many records.
    #[must_use]
    pub fn in_batches_of(self, batch_limit: u32) -> Participants {
        Participants { terms: Terms { batch_limit, ..self.terms }, ..self }
    }

    /// The same setup with this budget.
    #[must_use]
    pub fn with(&self, budget: Budget) -> Participants {
        Participants { budget, ..self.clone() }
    }

    /// The ids of the peers, in the order of the cast.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (self.first_id..self.first_id + self.cast.len() as u32).map(PeerId)
    }

    /// The place of a peer in the cast.
    #[must_use]
    pub fn place(&self, peer: PeerId) -> usize {
        (peer.0 - self.first_id) as usize
    }

    /// The role of a peer; `None` for one outside the cast, such as the customers of a former trader.
    #[must_use]
    pub fn role(&self, peer: PeerId) -> Option<&Role> {
        self.cast.get(usize::try_from(peer.0.checked_sub(self.first_id)?).ok()?)
    }

    fn counts(&self, found: &Violation) -> bool {
        self.only.is_none_or(|property| property == found.property)
    }

    /// The configuration of a peer.
    fn config(&self, peer: PeerId, role: &Role) -> Config {
        let Role { buys, sells, .. } = role;
        let nothing = Wishes { items: vec![Item::FISH], quantity: Units(1) };
        let think = buys.as_ref().map(|_| Duration::ZERO);
        Config {
            me: peer,
            peers: self.first_id + self.cast.len() as u32,
            neighbours: BTreeSet::new(),
            role: match (buys.clone(), sells.clone()) {
                (Some(wishes), Some(offers)) => config::Role::Both(wishes, offers),
                (None, Some(offers)) => config::Role::Seller(offers),
                (wishes, None) => config::Role::Buyer(wishes.unwrap_or(nothing)),
            },
            // SPEC B2: one of them calls the first election.
            first_caller: PeerId(self.first_id),
            timeouts: Timeouts { suspicion: TIMEOUTS.renewal * self.heartbeats, ..TIMEOUTS },
            terms: self.terms,
            pace: Pace { deposit_after: Duration::ZERO, trade_after: Duration::ZERO, think },
            clock_range: 1,
            limits: self.limits,
        }
    }

    /// Whether the peers elect; otherwise the adversary decides who stands for office.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.cast.iter().any(|role| role.elects)
    }

    /// The name of a peer in a history.
    #[must_use]
    pub fn name_of(&self, peer: PeerId) -> String {
        format!("{} {peer}", self.role(peer).map_or("customer", |role| role.title))
    }

    /// The name of a ledger in a history.
    #[must_use]
    pub fn ledger_name(&self, at: usize) -> String {
        if self.ledgers == 1 { "ledger".to_owned() } else { format!("ledger {}", letter(at)) }
    }

    fn is_synchronous(&self) -> bool {
        self.timing == Timing::Synchronous
    }

    /// Whether it matters how long a timer runs. It does not where any timer may fire at any moment and convergence is
    /// not checked.
    fn waits_matter(&self) -> bool {
        self.is_synchronous() || self.convergence.is_some()
    }
}

/// A ledger process's letter: A is the first.
fn letter(at: usize) -> char {
    u32::try_from(at).ok().and_then(|at| char::from_u32('A' as u32 + at)).unwrap_or('?')
}

impl Role {
    /// The parts of its participant.
    fn parts(&self) -> Parts {
        Parts {
            leadership: if self.elects { Leadership::Elected } else { Leadership::Outside(OFFICE) },
            office: self.trades,
            clients: self.buys.is_some() || self.sells.is_some(),
            readings: Readings::OfWhatIsStamped,
        }
    }

    /// A peer that takes part in elections and can hold the office.
    #[must_use]
    pub fn elector() -> Role {
        Role { title: "peer", elects: true, trades: true, crashes: true, ..Role::default() }
    }

    /// A peer that stands for office and yields whenever the adversary says so.
    #[must_use]
    pub fn trader() -> Role {
        Role { title: "trader", trades: true, crashes: true, ..Role::default() }
    }

    /// A peer that buys one unit at a time, `wishes` times.
    #[must_use]
    pub fn buyer(items: &[Item], wishes: u8) -> Role {
        let buys = Some(Wishes { items: items.to_vec(), quantity: Units(1) });
        Role { title: "buyer", buys, wishes, ..Role::default() }
    }

    /// A peer that deposits `count` units of the first item, and then `deposits` times more, of any of the others.
    #[must_use]
    pub fn seller(items: &[Item], count: u32, deposits: u8) -> Role {
        let offer = |item: &Item| Offer { item: *item, count: Units(count), price: Price(99) };
        Role { title: "seller", sells: Some(Offers(items.iter().map(offer).collect())), deposits, ..Role::default() }
    }

    /// A peer that both buys and sells, with one deposit.
    #[must_use]
    pub fn both(items: &[Item], wishes: u8, count: u32) -> Role {
        let Role { sells, .. } = Role::seller(items, count, 0);
        Role { title: "dealer", sells, ..Role::buyer(items, wishes) }
    }

    /// The same, but it can also hold the office.
    #[must_use]
    pub fn and_trader(self) -> Role {
        Role { title: "trader", trades: true, ..self }
    }

    /// The same, but it can only stand for office, and in vain.
    #[must_use]
    pub fn and_candidate(self) -> Role {
        Role { trades: true, stands_in_vain: true, ..self }
    }

    /// The same, but it makes its first request before anything else happens.
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

    /// The same, but its clock is ahead of all others when everything starts.
    #[must_use]
    pub fn ahead_by(self, ahead: u64) -> Role {
        Role { ahead, ..self }
    }

    /// The same, but it asks for `quantity` units at a time.
    #[must_use]
    pub fn by(mut self, quantity: u32) -> Role {
        if let Some(wishes) = &mut self.buys {
            wishes.quantity = Units(quantity);
        }
        self
    }
}

/// How long each timer runs. Where timing is free, no schedule depends on it; where timing is synchronous, and on the
/// fair schedule, timers run exactly that long. The proportions are those of `bazaar run`, rounded so that there are
/// few different instants.
pub const TIMEOUTS: Timeouts = {
    const fn tenths(n: u64) -> Duration {
        Duration::from_millis(100 * n)
    }
    Timeouts {
        first_call: tenths(3),
        stagger: tenths(3),
        answer: tenths(3),
        victory: tenths(12),
        suspicion: tenths(15),
        renewal: tenths(3),
        lease: tenths(12),
        retry: tenths(2),
        give_up_after: tenths(8),
        resend: tenths(6),
        wave: Duration::ZERO,
        clock_interval: tenths(5),
    }
};

impl Subject for Participants {
    type State = World;
    type Action = Action;

    fn first(&self) -> World {
        World::first(self)
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(self, actions);
    }

    fn after(&self, world: &World, action: &Action) -> (World, Met) {
        world.after(self, action)
    }

    fn only(&self, property: Property) -> Participants {
        Participants { only: Some(property), ..self.clone() }
    }

    fn violation<'a>(&self, world: &'a World) -> Option<&'a Violation> {
        world.violation.as_deref()
    }

    fn stuck(&self, world: &World, known: &Known) -> Option<Violation> {
        let convergence = self.convergence?;
        let counts = |found: &Violation| self.counts(found);
        if world.violation.is_some() {
            return None;
        }
        fair::converges(self, world, convergence, known).err().filter(counts)
    }

    fn afterwards(&self, world: &World, steps: usize) -> Vec<(String, Vec<Mark>)> {
        let Some(convergence) = self.convergence else { return Vec::new() };
        fair::follow(self, world, convergence, steps)
    }

    fn properties(&self) -> Vec<Property> {
        use Property::{
            B4, B5, B6, B7, B9, C5, D7, D8, L1, L2, L3, R1, R2, R3, R5, S1, S2, S3, S4, S5, S6, S7, S8, S9, S11, S12,
            S13, S14, S15, Y1, Y2,
        };
        let safety = if self.is_elected() {
            vec![S1, S2, S7, R1, R2, R3, B4, B5, B6, B9]
        } else {
            vec![S1, S2, S3, S4, S5, S6, S7, S8, S11, S12, S13, R1, R2, R3, R5, B6, B7, D7, D8]
        };
        let is_in_order = self.terms.ordering == Ordering::Stable && !self.is_elected();
        let in_order = if is_in_order { vec![S9, S14, C5] } else { Vec::new() };
        let synchronous = if self.is_synchronous() { vec![Y1, Y2] } else { Vec::new() };
        let liveness = match self.convergence {
            Some(Convergence { cut: Cut::Ledger, .. }) => vec![B9],
            Some(_) if self.is_elected() => vec![L1, L3],
            Some(_) => vec![L2],
            None => Vec::new(),
        };
        let several = if self.ledgers > 1 { vec![S15] } else { Vec::new() };
        [safety, several, in_order, synchronous, liveness].concat()
    }

    fn adversary(&self) -> String {
        words::adversary(self)
    }

    fn sentence(&self, before: &World, action: &Action, after: &World) -> String {
        words::sentence(self, before, action, after)
    }

    fn portrait(&self, world: &World) -> String {
        words::portrait(self, world)
    }

    fn lanes(&self, _: &World) -> Vec<Lane> {
        let peers = self.ids().map(|peer| Lane { name: self.name_of(peer), kind: LaneKind::Peer });
        let ledgers = (0..self.ledgers).map(|at| Lane { name: self.ledger_name(at), kind: LaneKind::Ledger });
        peers.chain(ledgers).collect()
    }

    fn opening(&self) -> Vec<Mark> {
        words::opening(self, &self.first())
    }

    fn marks(&self, before: &World, action: &Action, after: &World) -> Vec<Mark> {
        words::marks(self, before, action, after)
    }
}
