//! The scenario as stateright sees it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use protocol::{
    id::PeerId,
    input::Timer,
    invariant,
    ledger::{LedgerAnswer, LedgerReply, Verdict},
    message::{Body, ClientMessage, TraderMessage},
    record::{Batch, Entry},
};
use stateright::{Model, Property};

use crate::{
    scenario::Scenario,
    sighting::Logbook,
    world::{Action, Mail, World},
};

/// The graph of a scenario.
#[derive(Debug)]
pub struct Bazaar {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// What its steps have shown so far.
    pub logbook: Logbook,
    /// How many states have had all their steps tried. A search that has ended with fewer than it found is not complete.
    pub expanded: AtomicU64,
}

impl Bazaar {
    /// The graph of this scenario, unexplored.
    #[must_use]
    pub fn new(scenario: Scenario) -> Bazaar {
        Bazaar { scenario: Arc::new(scenario), logbook: Logbook::default(), expanded: AtomicU64::new(0) }
    }
}

/// One `always` for each property, by what the first violation of a state names.
macro_rules! properties {
    ($($name:ident)*) => {
        vec![$(Property::always(stringify!($name), |_, world: &World| {
            world.violation.as_ref().is_none_or(|found| found.property != invariant::Property::$name)
        }),)*]
    };
}

impl Model for Bazaar {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::first(&self.scenario)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.expanded.fetch_add(1, Ordering::Relaxed);
        world.actions(&self.scenario, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let (next, sightings) = world.after(&self.scenario, action);
        self.logbook.add(sightings);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Bazaar>> {
        properties!(S1 S2 S3 S4 S5 S6 S7 S8 S11 S12 S13 B6 B7)
    }

    fn format_action(&self, action: &Action) -> String {
        Words(&self.scenario).action(action)
    }
}

/// Steps in words.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a Scenario);

impl Words<'_> {
    /// A step as a sentence.
    #[must_use]
    pub fn action(self, action: &Action) -> String {
        let name = |peer: &PeerId| self.0.name_of(*peer);
        match action {
            Action::Stand(peer) => format!("{} is made to stand for the office", name(peer)),
            Action::Yield(peer) => format!("{} is made to leave the office", name(peer)),
            Action::Fire(peer, timer) => {
                let what = match timer {
                    Timer::Election => "election timer fires",
                    Timer::LedgerRetry => "ledger retry timer fires",
                    Timer::LedgerPatience => "patience with the ledger ends",
                    Timer::Renewal => "renewal timer fires",
                    Timer::Buyer => "buyer's timer fires: it wants something",
                    Timer::Seller => "seller's timer fires: it asks what was sold",
                    Timer::ClockInterval => "clock interval ends",
                };
                format!("{}'s {what}", name(peer))
            }
            Action::Pick(peer, pick) => format!("{} picks number {pick}", name(peer)),
            Action::Tick(peer) => format!("{}'s clock rises by itself", name(peer)),
            Action::Consult(peer) => format!("{} asks the ledger and hears the answer", name(peer)),
            Action::Arrive(peer, mail) => {
                format!("{} hears from {}: {}", name(peer), name(&mail.from), self.mail(mail))
            }
            Action::Take(call) => {
                format!(
                    "the ledger takes from {} ({}): {}",
                    name(&call.caller.peer),
                    call.caller.incarnation,
                    batch(&call.batch)
                )
            }
            Action::Sync => "what the ledger has written becomes durable, and it answers".to_owned(),
            Action::Answer(peer, reply) => format!("{} hears from the ledger: {}", name(peer), verdict(reply)),
            Action::LeaseRunsOut => "the lease runs out".to_owned(),
            Action::Crash(peer) => format!("{} crashes", name(peer)),
            Action::Restart(peer) => format!("{} comes back", name(peer)),
            Action::CrashLedger { kept: true } => {
                "the ledger crashes and comes back with all it has written".to_owned()
            }
            Action::CrashLedger { kept: false } => "the ledger crashes and comes back with what was durable".to_owned(),
        }
    }

    fn mail(self, mail: &Mail) -> String {
        let body = match &mail.body {
            Body::Election(message) => format!("{message:?}"),
            Body::Heartbeat { epoch, .. } => format!("I live, in epoch {epoch}"),
            Body::Clock => "my clock".to_owned(),
            Body::Client(ClientMessage::Request(request)) => format!(
                "request {} for {} of item {}, after {:?}",
                number(request.id.sequence.0),
                request.quantity,
                request.item,
                request.previous.map(|previous| number(previous.0)),
            ),
            Body::Client(ClientMessage::Deposit(deposit)) => format!(
                "deposit {} of {} of item {}, after {:?}",
                number(deposit.id.number.0),
                deposit.count,
                deposit.item,
                deposit.previous.map(|previous| number(previous.0)),
            ),
            Body::Client(ClientMessage::AskSales { after }) => format!("what was sold after {after:?}?"),
            Body::Trader(TraderMessage::Buyer(standing)) => format!(
                "open is {:?}, last was {:?}",
                standing.open.as_ref().map(|open| number(open.id.sequence.0)),
                standing.last.as_ref().map(|(last, _)| number(last.0)),
            ),
            Body::Trader(TraderMessage::Seller(standing)) => format!(
                "deposit {:?}, {} sales, {} earned",
                standing.deposit.as_ref().map(|deposit| (number(deposit.number.0), deposit.left.0)),
                standing.sales,
                standing.earned,
            ),
        };
        format!("\"{body}\" (clock {})", mail.clock)
    }
}

fn number(n: u64) -> String {
    format!("{}.{}", n >> 32, n & u64::from(u32::MAX))
}

fn batch(batch: &Batch) -> String {
    let records: Vec<String> = batch
        .records
        .iter()
        .map(|record| {
            let what = match &record.entry {
                Entry::Claimed { epoch, .. } => format!("claim of epoch {epoch}"),
                Entry::Deposited(deposit) => format!("deposit {}", number(deposit.id.number.0)),
                Entry::Admitted(request) => {
                    format!("request {} of peer {}", number(request.id.sequence.0), request.id.buyer)
                }
                Entry::Sold(sale) => format!("sale to peer {}", sale.request.buyer),
                Entry::Refused { request } => format!("refusal to peer {}", request.buyer),
                Entry::Resigned => "resignation".to_owned(),
            };
            format!("{what} at {}", record.stamp.time)
        })
        .collect();
    let what = if records.is_empty() { "a renewal".to_owned() } else { records.join(", ") };
    format!("epoch {}, position {}: {what}", batch.epoch, batch.position)
}

fn verdict(reply: &LedgerReply) -> String {
    let LedgerAnswer::Append { echo, verdict } = &reply.answer else { return "an answer".to_owned() };
    let what = match verdict {
        Verdict::Appended { head, contested: false } => format!("appended, up to {head}"),
        Verdict::Appended { head, contested: true } => format!("appended, up to {head}, and contested"),
        Verdict::Fenced => "fenced".to_owned(),
        Verdict::Conflict => "conflict".to_owned(),
        Verdict::Held => "held by another".to_owned(),
    };
    format!("{what} (epoch {}, position {}, batch {:?})", echo.epoch, echo.position, echo.digest)
}
