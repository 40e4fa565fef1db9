//! The world of one history: peers with their disks and timers, links, the ledger, and what is still to happen.
//!
//! Everything happens at a time, one after another. A step of a machine takes no time itself; it keeps its peer busy for
//! a while, and what arrives meanwhile waits in the peer's inbox.

use std::collections::VecDeque;

use bazaar_protocol::{
    archive::Archive,
    config::Config,
    effect::Durable,
    graph::Graph,
    id::PeerId,
    input::{Input, Timer, WriteId},
    invariant::{Checked, Observer, Rules, Violation},
    ledger::{LedgerCall, LedgerConfig, LedgerReply, Secret},
    message::Envelope,
    peer::Peer,
    random::SplitMix64,
    store::MemoryStore,
};

use super::{
    events::Events,
    meter::{Running, Tally},
    plan::{AFTER_FAULTS, Conditions, DRAIN, Noise, SETTLE, Schedule},
    story::Story,
    survey::Survey,
};

/// How long a link may be silent before both ends take it for down, as in the runtime.
pub(super) const SILENCE: u64 = 1_500_000_000;

/// How many envelopes wait for a link, and how many inputs for a peer, as in the runtime.
pub(super) const CAPACITY: usize = 1_024;

/// The same while there is congestion, so that it shows in small networks.
const CONGESTED_CAPACITY: usize = 2;

/// Up to so many peers, it is followed what each of them can know of the open requests.
const CAUSES: u32 = 64;

/// Later than everything.
pub(super) const NEVER: u64 = u64::MAX;

/// Something that happens at a certain time.
#[derive(Debug)]
pub(super) enum Event {
    /// An envelope arrives over a link, in the connection in which it was sent.
    Arrive { link: u32, generation: u32, envelope: Envelope },
    /// A link is free for the next envelope.
    Depart { link: u32 },
    /// A peer is free for the next input.
    Work { peer: u32, life: u32 },
    /// A timer is due, unless it was armed again.
    Timer { peer: u32, life: u32, timer: Timer },
    /// A peer's write is durable.
    Durable { peer: u32, life: u32, id: WriteId, durable: Durable },
    /// A peer learns that its write is durable.
    Written { peer: u32, life: u32, id: WriteId },
    /// A peer starts.
    Start { peer: u32 },
    /// A peer that stood still goes on.
    Resume { peer: u32, life: u32 },
    /// A link that nothing came through for long enough is considered down.
    Notice { pair: u32, token: u32 },
    /// A link that is down is tried again.
    Reconnect { pair: u32 },
    /// The same for a peer's connection to the ledger.
    NoticeLedger { peer: u32, token: u32 },
    /// A peer's connection to the ledger that is down is tried again.
    ReconnectLedger { peer: u32 },
    /// A call reaches the ledger.
    Call { peer: u32, generation: u32, call: LedgerCall },
    /// The ledger is free for a call.
    Take { life: u32, call: LedgerCall },
    /// A reply reaches a peer.
    Reply { peer: u32, generation: u32, reply: LedgerReply },
    /// The ledger's next step in writing a batch.
    LedgerWrite { life: u32 },
    /// The same.
    LedgerSync { life: u32 },
    /// The same.
    LedgerAnswer { life: u32 },
    /// The ledger's store answers a read.
    LedgerRead { life: u32 },
    /// The ledger's lease runs out, unless it was armed again.
    Lease { life: u32 },
    /// The ledger starts.
    StartLedger,
    /// A fault begins.
    Fault { nth: u32 },
    /// A fault ends.
    Mend { nth: u32 },
    /// The faults stop.
    Heal,
    /// Is there one trader that all know?
    Sample,
    /// By now there must have been, and from now on the network is quiet.
    Quiet,
    /// The buyers stop.
    Drain,
    /// By now everybody must have been told.
    End,
}

/// How far a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Anything may go wrong.
    Faults,
    /// Nothing goes wrong any more; there need not be a trader yet.
    Settling,
    /// Nothing has gone wrong for long.
    Quiet,
    /// And nobody wants anything new.
    Draining,
}

/// What waits for a peer.
#[derive(Debug)]
// Nearly all of them are inputs; a box for each would cost more than the space of the few timers.
#[allow(clippy::large_enum_variant)]
pub(super) enum Job {
    Input(Input),
    /// A timer that was due; it may have been armed again meanwhile.
    Due(Timer),
}

/// When a timer fires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) due: u64,
    /// The one event for it that counts; others are left over.
    pub(super) queued: u64,
}

pub(super) const DISARMED: Timing = Timing { due: NEVER, queued: NEVER };

/// How many timers there are.
pub(super) const TIMERS: usize = 9;

pub(super) fn slot(timer: Timer) -> usize {
    match timer {
        Timer::Election => 0,
        Timer::LedgerRetry => 1,
        Timer::LedgerGiveUp => 2,
        Timer::Renewal => 3,
        Timer::Buyer => 4,
        Timer::Seller => 5,
        Timer::Wave => 6,
        Timer::Gather => 7,
        Timer::ClockInterval => 8,
    }
}

/// A peer, up or down, and what is around it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: Config,
    /// The machine; `None` while it is down.
    pub(super) peer: Option<Peer>,
    /// How often it has crashed; what was meant for an earlier life is lost.
    pub(super) life: u32,
    pub(super) disk: Durable,
    pub(super) disk_free: u64,
    pub(super) timers: [Timing; TIMERS],
    pub(super) inbox: VecDeque<Job>,
    /// Whether an event will take the next job.
    pub(super) is_called: bool,
    pub(super) free: u64,
    pub(super) paused_until: u64,
    pub(super) slowness: u64,
    /// Its outgoing links, by neighbour.
    pub(super) links: Vec<(PeerId, u32)>,
    pub(super) ledger: Line,
    /// Since when it wants something, if it does.
    pub(super) wants_since: u64,
    /// The number of the last unicast that it turned into a flood, in this life.
    pub(super) last_detour: u64,
    /// Whether it is gone for good.
    pub(super) is_gone: bool,
}

impl Node {
    pub(super) fn is_paused(&self, now: u64) -> bool {
        self.paused_until > now
    }
}

/// A peer's connection to the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) is_up: bool,
    /// What was sent in an earlier connection is lost.
    pub(super) generation: u32,
    pub(super) token: u32,
    pub(super) is_impeded: bool,
    /// How many faults hold up its calls, and the replies to it.
    pub(super) cuts: [u32; 2],
    /// When the last call and the last reply arrive: the next come later.
    pub(super) last: [u64; 2],
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) latency: u64,
    pub(super) free: u64,
    pub(super) last: u64,
    pub(super) waiting: VecDeque<Envelope>,
    /// How many faults cut it.
    pub(super) cuts: u32,
    /// Whether it is cut for good.
    pub(super) is_gone: bool,
    /// The second that is being counted, the envelopes in it, and the most there were in any.
    pub(super) second: u64,
    pub(super) in_second: u32,
    pub(super) peak: u32,
}

/// Both directions of a link; link `2 n` and `2 n + 1` are pair `n`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub(super) is_up: bool,
    /// What was sent in an earlier connection is lost.
    pub(super) generation: u32,
    pub(super) token: u32,
    pub(super) is_impeded: bool,
}

/// The ledger, and what is around it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) archive: Archive,
    pub(super) is_up: bool,
    pub(super) life: u32,
    pub(super) free: u64,
    pub(super) lease: Timing,
}

/// A stream of random numbers for each purpose, so that what is switched off changes nothing else.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) loss: SplitMix64,
    pub(super) duplication: SplitMix64,
    pub(super) reordering: SplitMix64,
    pub(super) stalls: SplitMix64,
    pub(super) latency: SplitMix64,
    pub(super) disks: SplitMix64,
    pub(super) choices: SplitMix64,
    pub(super) connections: SplitMix64,
}

impl Streams {
    fn of(seed: u64) -> Streams {
        let stream = |purpose| SplitMix64::new(seed, purpose);
        Streams {
            loss: stream("loss"),
            duplication: stream("duplication"),
            reordering: stream("reordering"),
            stalls: stream("stalls"),
            latency: stream("latency"),
            disks: stream("disks"),
            choices: stream("choices"),
            connections: stream("connections"),
        }
    }
}

/// A number between two, both included.
pub(super) fn between(random: &mut SplitMix64, (least, most): (u64, u64)) -> u64 {
    least + random.below(most.saturating_sub(least) + 1)
}

/// Whether something with this chance in a million happens.
pub(super) fn happens(random: &mut SplitMix64, chance: u32) -> bool {
    chance > 0 && random.below(1_000_000) < u64::from(chance)
}

/// One history in progress.
#[derive(Debug)]
pub struct World {
    pub(super) schedule: Schedule,
    pub(super) conditions: Conditions,
    pub(super) noise: Noise,
    /// How many envelopes wait for a link, and how many inputs for a peer.
    pub(super) capacity: usize,
    pub(super) now: u64,
    pub(super) events: Events<Event>,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) pairs: Vec<Pair>,
    pub(super) site: Site,
    pub(super) observer: Observer,
    pub(super) tally: Tally,
    pub(super) running: Running,
    pub(super) streams: Streams,
    pub(super) phase: Phase,
    /// When the quiet phase began.
    pub(super) quiet_since: u64,
    /// Whether there was one trader that all knew since the faults stopped.
    pub(super) has_settled: bool,
    /// When a resignation last became durable.
    pub(super) resigned_at: Option<u64>,
    /// The last peer that took office, and when.
    pub(super) took_office: (usize, u64),
    /// What a driver answers at once.
    pub(super) answers: VecDeque<(usize, Input)>,
    pub(super) violation: Option<Violation>,
    pub(super) story: Option<Story>,
    pub(super) survey: Option<Survey>,
}

impl World {
    /// The world in which a history begins.
    #[must_use]
    pub fn new(schedule: Schedule) -> World {
        let graph = schedule.graph();
        let conditions = Conditions::draw(&schedule.plan, &graph);
        World::under(schedule, &graph, conditions)
    }

    /// The same under given conditions.
    pub(super) fn under(schedule: Schedule, graph: &Graph, conditions: Conditions) -> World {
        let configs = schedule.configs(graph, &conditions);
        let timeouts = configs.first().map(|config| config.timeouts).unwrap_or_default();
        let seed = schedule.plan.seed;
        let mut streams = Streams::of(seed);
        let mut links = Vec::new();
        let mut pairs = Vec::new();
        let mut outgoing: Vec<Vec<(PeerId, u32)>> = vec![Vec::new(); graph.len() as usize];
        for (one, other) in graph.links() {
            for (from, to) in [(one, other), (other, one)] {
                outgoing[from.0 as usize].push((to, links.len() as u32));
                links.push(Link {
                    from: from.0,
                    to: to.0,
                    latency: between(&mut streams.latency, conditions.hop),
                    free: 0,
                    last: 0,
                    waiting: VecDeque::new(),
                    cuts: 0,
                    is_gone: false,
                    second: 0,
                    in_second: 0,
                    peak: 0,
                });
            }
            pairs.push(Pair::default());
        }
        let nodes = configs.into_iter().zip(outgoing).map(|(config, links)| Node {
            config,
            peer: None,
            life: 0,
            disk: Durable::default(),
            disk_free: 0,
            timers: [DISARMED; TIMERS],
            inbox: VecDeque::new(),
            is_called: false,
            free: 0,
            paused_until: 0,
            slowness: 1,
            links,
            ledger: Line::default(),
            wants_since: NEVER,
            last_detour: 0,
            is_gone: false,
        });
        let Conditions { terms, limits, snapshot_every, .. } = conditions;
        let store = MemoryStore::snapshotting(limits, snapshot_every);
        let archive = Archive::new(LedgerConfig { lease: timeouts.lease, limits, secret: Secret::default() }, store);
        let rules =
            Rules { terms, limits, is_synchronous: false, follows_causes: schedule.plan.peers <= CAUSES, only: None };
        let mut world = World {
            noise: schedule.noise,
            capacity: if schedule.noise.congestion > 0 { CONGESTED_CAPACITY } else { CAPACITY },
            conditions,
            now: 0,
            events: Events::default(),
            nodes: nodes.collect(),
            links,
            pairs,
            site: Site { archive, is_up: false, life: 0, free: 0, lease: DISARMED },
            observer: Observer::new(rules),
            tally: Tally::default(),
            running: Running::default(),
            streams,
            phase: Phase::Faults,
            quiet_since: NEVER,
            has_settled: false,
            resigned_at: None,
            took_office: (0, 0),
            answers: VecDeque::new(),
            violation: None,
            story: None,
            survey: None,
            schedule,
        };
        world.prepare();
        world
    }

    /// Puts everything into the queue that is known from the beginning.
    fn prepare(&mut self) {
        self.events.push(0, Event::StartLedger);
        for peer in 0..self.nodes.len() as u32 {
            let at = self.streams.connections.below(100_000_000);
            self.events.push(at, Event::Start { peer });
        }
        for (nth, fault) in (0..).zip(&self.schedule.faults) {
            self.events.push(fault.at.nanos(), Event::Fault { nth });
        }
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(NEVER);
        let (stop, end) = (self.schedule.faults_stop.nanos(), nanos(self.schedule.plan.span));
        // A history whose tail was cut off to shrink it ends as all do.
        let end = end.min(stop.saturating_add(nanos(AFTER_FAULTS))).max(if self.schedule.is_quiet() { end } else { 0 });
        self.events.push(stop, Event::Heal);
        self.events.push(stop + nanos(SETTLE), Event::Quiet);
        self.events.push(end - nanos(DRAIN), Event::Drain);
        self.events.push(end, Event::End);
    }

    /// Lets everything happen, up to the end or to the first violation.
    pub fn run(&mut self) {
        while self.violation.is_none()
            && let Some((at, event)) = self.events.pop()
        {
            self.now = at;
            if matches!(event, Event::End) {
                self.end();
                break;
            }
            self.happen(event);
        }
    }

    /// Lets happen what happens up to this time, or to the first violation.
    pub(super) fn run_up_to(&mut self, time: u64) {
        while self.violation.is_none() && self.events.next().is_some_and(|at| at <= time) {
            let Some((at, event)) = self.events.pop() else { break };
            self.now = at;
            self.happen(event);
        }
    }

    /// Counts from here on.
    pub(super) fn begin_survey(&mut self) {
        self.survey = Some(Survey::default());
        self.tally = Tally::default();
        for link in &mut self.links {
            (link.peak, link.in_second) = (0, 0);
        }
    }

    /// What was measured.
    pub(super) fn end_survey(&mut self) -> Survey {
        self.survey.take().map(|survey| survey.up_to(self.now)).unwrap_or_default()
    }

    /// The most envelopes that one direction of a link was given in a second.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.links.iter().map(|link| link.peak).max().unwrap_or(0)
    }

    /// Like [`World::run`], and tells what happens.
    #[must_use]
    pub fn tell(&mut self) -> Story {
        self.story = Some(Story::default());
        self.run();
        self.story.take().unwrap_or_default()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { link, generation, envelope } => self.arrive(link, generation, envelope),
            Event::Depart { link } => self.depart(link),
            Event::Work { peer, life } => self.work(peer as usize, life),
            Event::Timer { peer, life, timer } => self.ring(peer as usize, life, timer),
            Event::Durable { peer, life, id, durable } => {
                let node = &mut self.nodes[peer as usize];
                if node.life == life && node.peer.is_some() {
                    node.disk = durable;
                    self.events.push(self.now + 10_000, Event::Written { peer, life, id });
                }
            }
            Event::Written { peer, life, id } => {
                if self.nodes[peer as usize].life == life {
                    self.offer(peer as usize, Job::Input(Input::Written(id)));
                }
            }
            Event::Start { peer } => self.start(peer as usize),
            Event::Resume { peer, life } => {
                let node = &self.nodes[peer as usize];
                if node.life == life && !node.is_paused(self.now) {
                    self.relieve_peer(peer as usize);
                }
            }
            Event::Notice { pair, token } => self.notice(pair, token),
            Event::Reconnect { pair } => self.reconnect(pair),
            Event::NoticeLedger { peer, token } => self.notice_ledger(peer as usize, token),
            Event::ReconnectLedger { peer } => self.reconnect_ledger(peer as usize),
            Event::Call { peer, generation, call } => self.receive_call(peer as usize, generation, call),
            Event::Take { life, call } => {
                if self.site.life == life {
                    self.take(call);
                }
            }
            Event::Reply { peer, generation, reply } => {
                let line = self.nodes[peer as usize].ledger;
                if line.is_up && line.generation == generation && line.cuts[1] == 0 {
                    self.offer(peer as usize, Job::Input(Input::Ledger(reply)));
                }
            }
            Event::LedgerWrite { life } => self.ledger_write(life),
            Event::LedgerSync { life } => self.ledger_sync(life),
            Event::LedgerAnswer { life } => self.ledger_answer(life),
            Event::LedgerRead { life } => self.ledger_read(life),
            Event::Lease { life } => self.lease_runs_out(life),
            Event::StartLedger => self.start_ledger(),
            Event::Fault { nth } => self.begin(nth),
            Event::Mend { nth } => self.mend(nth),
            Event::Heal => self.heal(),
            Event::Sample => self.sample(),
            Event::Quiet => self.be_quiet(),
            Event::Drain => self.phase = Phase::Draining,
            Event::End => {}
        }
    }

    /// Remembers the first violation.
    pub(super) fn check(&mut self, found: Checked) {
        if let Err(violation) = found
            && !self.schedule.plan.without.contains(&violation.property)
        {
            self.violation.get_or_insert(violation);
        }
    }

    /// What was violated, if anything was.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What happened, in numbers.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The digest of the whole history.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.running.value()
    }

    /// How much virtual time has passed, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }
}
