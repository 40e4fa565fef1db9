//! A whole market in one file: five [`Peer`]s, the [`Ledger`], and a [`Store`] of your own, driven in virtual time.
//!
//! It shows everything that a driver has to do: give each machine its inputs, carry out its effects in order, and
//! report their results. The trader is killed midway and comes back; at the end the whole log is audited.
//!
//! ```sh
//! cargo run -p bazaar-protocol --example market
//! ```
// An example stops at the first thing that goes wrong.
#![allow(clippy::expect_used)]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use bazaar_protocol::{
    CallId, Config, Durable, Effect, Effects, Epoch, Input, Item, Ledger, LedgerConfig, LedgerEffect, LedgerInput,
    LedgerReply, Limits, Note, Offer, Offers, Peer, PeerId, Position, Price, Role, Store, Timeouts, Timer, Units,
    Wishes,
    digest::Digest,
    invariant::{AuditTerms, audit_batches},
    ledger::{LedgerAnswer, Secret, Tail, Word},
    record::Batch,
    snapshot::ChunkId,
    store::conformance::{Crashing, all_batches, conforms},
};

// ------------------------------------------------------------------------------------------------ a store of your own

/// A log in a text file: one line per batch, written at once and synced when the driver says so.
///
/// It also keeps all batches in memory and takes no snapshots, so a reader reads the whole history. Each line carries a
/// digest of itself and all lines before it, and a second file says how many records were synced: so a changed, missing
/// or shortened line below that is an error that names the record, and anything a crash has left torn above it was
/// never synced and is cut off. (If both files are replaced by older ones, the peers notice: they have seen more.)
#[derive(Debug)]
pub struct TextLog {
    path: PathBuf,
    file: File,
    batches: Vec<Batch>,
    limits: Limits,
    /// What all lines so far add up to.
    chain: Digest,
    /// How long the file was at the last sync: what certainly survives a power failure.
    synced: u64,
    cut: Option<String>,
}

impl TextLog {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// When the system refuses, or when a synced record is damaged or missing.
    pub fn open(path: &Path, limits: Limits) -> io::Result<TextLog> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // What cannot be read here is no line of ours, and its digest will not fit either.
        let text = String::from_utf8_lossy(&bytes);
        let acknowledged = match fs::read_to_string(head_of(path)) {
            Ok(position) => {
                position.trim().parse().map(Position).map_err(|_| damaged("the second file is no number"))?
            }
            // Both files are created together, by the first sync below.
            Err(error) if error.kind() == io::ErrorKind::NotFound && bytes.is_empty() => Position(0),
            Err(error) => return Err(error),
        };
        let (mut batches, mut chain, mut whole) = (Vec::<Batch>::new(), Digest::of("no line yet"), 0);
        for line in text.split_inclusive('\n') {
            let end = batches.last().map_or(Position(0), Batch::end);
            let Some((batch, next)) = decode(line, chain).filter(|(batch, _)| batch.position == end) else { break };
            (chain, whole) = (next, whole + line.len());
            batches.push(batch);
        }
        let end = batches.last().map_or(Position(0), Batch::end);
        if end < acknowledged {
            return Err(damaged(&format!("record {end} is damaged or gone; {acknowledged} records were synced")));
        }
        let cut = (whole < bytes.len()).then(|| format!("{} bytes of a torn batch", bytes.len() - whole));
        file.set_len(whole as u64)?;
        let mut log = TextLog { path: path.to_owned(), file, batches, limits, chain, synced: 0, cut };
        // What a crash has left whole beyond the last sync counts from here on.
        log.sync()?;
        Ok(log)
    }
}

/// Where the number of synced records is.
fn head_of(log: &Path) -> PathBuf {
    log.with_extension("head")
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Store for TextLog {
    type Error = io::Error;

    fn tail(&self) -> Tail {
        self.batches.iter().fold(Tail::default(), |tail, batch| tail.after(batch))
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let (line, chain) = encode(batch, self.chain);
        self.file.write_all(line.as_bytes())?;
        self.chain = chain;
        self.batches.push(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // Only now, and in one step: the second file never says more than is there.
        let (head, fresh) = (head_of(&self.path), self.path.with_extension("new"));
        let mut file = File::create(&fresh)?;
        file.write_all(self.tail().status.head.0.to_string().as_bytes())?;
        file.sync_data()?;
        fs::rename(fresh, head)?;
        self.synced = self.file.metadata()?.len();
        Ok(())
    }

    fn read(&self, from: Position, _: Option<ChunkId>, upto: Position) -> io::Result<LedgerAnswer> {
        let records = self.batches.iter().flat_map(|batch| {
            let places = (0..).map(|nth| batch.position.plus(nth));
            places.zip(&batch.records)
        });
        let wanted = records.filter(|(position, _)| (from..upto).contains(position));
        let records = wanted.take(self.limits.read_records as usize).map(|(_, record)| record.clone()).collect();
        Ok(LedgerAnswer::Records { from, records })
    }

    fn batches(&self, from: Position, upto: Position) -> io::Result<Vec<Batch>> {
        let wanted = self.batches.iter().filter(|batch| batch.position >= from && batch.end() <= upto);
        Ok(wanted.take(1).cloned().collect())
    }

    fn cut_off(&self) -> Option<String> {
        self.cut.clone()
    }
}

/// Where this example writes; it removes the file at the end.
fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("bazaar-market-{}.log", std::process::id()))
}

/// Lets the conformance suite make it crash.
impl Crashing for TextLog {
    fn fresh(limits: Limits, _: Option<NonZeroU64>) -> TextLog {
        let _ = (fs::remove_file(scratch()), fs::remove_file(head_of(&scratch())));
        TextLog::open(&scratch(), limits).expect("a file")
    }

    fn reopen(self, keep_unsynced: bool) -> TextLog {
        if !keep_unsynced {
            self.file.set_len(self.synced).expect("cut");
        }
        TextLog::open(&self.path, self.limits).expect("it opens after a crash")
    }
}

/// A batch as a line that follows lines with this chain, and the chain after it. Any encoding will do.
fn encode(batch: &Batch, chain: Digest) -> (String, Digest) {
    let text = serde_json::to_string(batch).expect("a batch contains nothing that JSON cannot represent");
    let chain = Digest::of(&(chain, batch));
    (format!("{:016x} {text}\n", chain.0), chain)
}

/// The batch in a line that follows lines with this chain, and the chain after it; nothing if it is torn or damaged.
fn decode(line: &str, chain: Digest) -> Option<(Batch, Digest)> {
    let (_, text) = line.strip_suffix('\n')?.split_once(' ')?;
    let batch: Batch = serde_json::from_str(text).ok()?;
    let (expected, chain) = encode(&batch, chain);
    (line == expected).then_some((batch, chain))
}

// --------------------------------------------------------------------------------------------------------- the driver

const PEERS: u32 = 5;

/// How long a message takes, to a neighbour or to the ledger.
/// By what the ledger knows its own word again. A real one derives it from the key of its bazaar.
const SECRET: Secret = Secret(7);

const HOP: Duration = Duration::from_millis(1);

/// Something that happens at a certain time.
enum Event {
    /// To a peer, in the life for which it was meant.
    Peer(PeerId, u32, Box<Input>),
    /// A peer's timer, if it is still armed for this time.
    Timer(PeerId, Timer),
    Ledger(LedgerInput),
    /// The lease runs out, if it has not been renewed since.
    Lease,
    /// All peers are told how far the books reach.
    Witnesses,
}

/// A peer, its disk, and its timers.
struct Node {
    config: Config,
    /// The machine; `None` while it is down.
    peer: Option<Peer>,
    disk: Durable,
    timers: BTreeMap<Timer, Duration>,
    lives: u32,
}

struct Market<S> {
    now: Duration,
    /// What is still to happen, by time; the number keeps simultaneous events in order.
    events: BTreeMap<(Duration, u64), Event>,
    number: u64,
    nodes: Vec<Node>,
    ledger: Ledger,
    store: S,
    /// The caller of each call, and in which of its lives it called.
    calls: BTreeMap<CallId, (PeerId, u32)>,
    lease: Option<Duration>,
    sales: u32,
    chance: u64,
}

impl<S: Store<Error: std::fmt::Debug>> Market<S> {
    fn open(store: S, configs: Vec<Config>, limits: Limits) -> Market<S> {
        let config = LedgerConfig { lease: Timeouts::DEFAULT.lease, limits, secret: SECRET };
        let (ledger, effects) = Ledger::recover(config, store.tail());
        let nodes = configs.into_iter().map(|config| Node {
            config,
            peer: None,
            disk: Durable::default(),
            timers: BTreeMap::new(),
            lives: 0,
        });
        let mut market = Market {
            now: Duration::ZERO,
            events: BTreeMap::new(),
            number: 0,
            nodes: nodes.collect(),
            ledger,
            store,
            calls: BTreeMap::new(),
            lease: None,
            sales: 0,
            chance: 7,
        };
        market.carry_out_for_ledger(effects);
        for peer in (0..PEERS).map(PeerId) {
            market.start(peer);
        }
        market
    }

    fn later(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.events.insert((self.now + wait, self.number), event);
    }

    fn node(&mut self, peer: PeerId) -> &mut Node {
        &mut self.nodes[peer.0 as usize]
    }

    fn is_up(&self, peer: PeerId) -> bool {
        self.nodes[peer.0 as usize].peer.is_some()
    }

    /// Starts a peer's next life from what its disk holds.
    fn start(&mut self, peer: PeerId) {
        let node = self.node(peer);
        node.lives += 1;
        let (machine, effects) = Peer::recover(node.config.clone(), node.disk).expect("a valid configuration");
        node.peer = Some(machine);
        let neighbours = node.config.neighbours.clone();
        self.carry_out(peer, effects);
        self.give(peer, Input::LedgerUp);
        for neighbour in neighbours {
            if self.is_up(neighbour) {
                self.give(peer, Input::LinkUp(neighbour));
                self.give(neighbour, Input::LinkUp(peer));
            }
        }
    }

    /// Kills a peer: all that is left of it is what its disk holds.
    fn kill(&mut self, peer: PeerId) {
        let node = self.node(peer);
        node.peer = None;
        node.timers.clear();
        for neighbour in node.config.neighbours.clone() {
            self.give(neighbour, Input::LinkDown(peer));
        }
    }

    /// Every input of a peer passes through here.
    fn give(&mut self, peer: PeerId, input: Input) {
        if let Some(machine) = &mut self.node(peer).peer {
            let effects = machine.step(input);
            self.carry_out(peer, effects);
        }
    }

    fn carry_out(&mut self, peer: PeerId, effects: Effects) {
        let life = self.node(peer).lives;
        for effect in effects {
            match effect {
                Effect::Send { to, envelope } => {
                    let to_life = self.node(to).lives;
                    self.later(HOP, Event::Peer(to, to_life, Box::new(Input::Received { from: peer, envelope })));
                }
                Effect::Ledger(call) => {
                    self.number += 1;
                    let id = CallId(self.number);
                    self.calls.insert(id, (peer, life));
                    self.later(HOP, Event::Ledger(LedgerInput::Call { id, call }));
                }
                Effect::Write { id, durable } => {
                    self.node(peer).disk = durable;
                    self.later(Duration::ZERO, Event::Peer(peer, life, Box::new(Input::Written(id))));
                }
                Effect::Arm { timer, after } => {
                    let at = self.now + after;
                    self.node(peer).timers.insert(timer, at);
                    self.later(after, Event::Timer(peer, timer));
                }
                Effect::Disarm(timer) => {
                    self.node(peer).timers.remove(&timer);
                }
                // Never here, where no disk is ever lost or put back.
                Effect::Stop(forgotten) => panic!("peer {peer} has forgotten {forgotten}"),
                Effect::Choose { choice, among } => {
                    // Any source of randomness will do, but the driver must supply it: the machine has none.
                    self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let pick = (self.chance >> 33) as u32 % among;
                    self.later(Duration::ZERO, Event::Peer(peer, life, Box::new(Input::Chose { choice, pick })));
                }
                Effect::Note { epoch, note, .. } => self.tell(peer, epoch, &note),
            }
        }
    }

    fn tell(&mut self, peer: PeerId, epoch: Option<Epoch>, note: &Note) {
        if let Note::Sold { .. } = note {
            self.sales += 1;
        }
        if matches!(note, Note::TookOffice { .. } | Note::SteppedDown { .. } | Note::Sold { .. }) {
            let epoch = epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
            println!("{:>6} ms  epoch {epoch}  peer {peer} {note}", self.now.as_millis());
        }
    }

    fn carry_out_for_ledger(&mut self, effects: Vec<LedgerEffect>) {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => {
                    self.store.append(&batch).and_then(|()| self.store.sync()).expect("a log that can be written");
                    self.later(Duration::ZERO, Event::Ledger(LedgerInput::Persisted));
                    self.later(HOP, Event::Witnesses);
                }
                LedgerEffect::Reply { id, reply } => self.answer(id, reply),
                LedgerEffect::Read { id, word, from, chunk } => {
                    let answer = self.store.read(from, chunk, word.status.head).expect("a log that can be read");
                    self.answer(id, LedgerReply { word, answer });
                }
                LedgerEffect::ArmLease(after) => {
                    self.lease = Some(self.now + after);
                    self.later(after, Event::Lease);
                }
                LedgerEffect::Drop(id) | LedgerEffect::Refuse(id) => {
                    self.calls.remove(&id);
                }
                LedgerEffect::Fail(fault) => panic!("acknowledged records are gone: {fault:?}"),
            }
        }
    }

    /// The ledger may tell a peer its state unasked, so that everybody knows how far the books reach and an old copy of
    /// them would be noticed. A driver over a network does so with every sign of life.
    fn tell_how_far(&mut self) {
        let status = self.ledger.status();
        let heard = |peer: &Peer| (peer.view().me, peer.participant().latest_epoch());
        let asked: Vec<_> = self.nodes.iter().filter_map(|node| node.peer.as_ref().map(heard)).collect();
        for (life, heard) in asked {
            let word = Word::of(life, heard, status, SECRET);
            self.give(life.peer, Input::Ledger(LedgerReply { word, answer: LedgerAnswer::Status }));
        }
    }

    fn answer(&mut self, id: CallId, reply: LedgerReply) {
        if let Some((peer, life)) = self.calls.remove(&id) {
            self.later(HOP, Event::Peer(peer, life, Box::new(Input::Ledger(reply))));
        }
    }

    /// Runs until this many sales have been made.
    fn run_until(&mut self, sales: u32) {
        while self.sales < sales {
            let ((time, _), event) = self.events.pop_first().expect("there is always something to wait for");
            self.now = time;
            match event {
                Event::Peer(peer, life, input) => {
                    // An input that was meant for a former life is lost, like the contents of a connection.
                    if self.node(peer).lives == life {
                        self.give(peer, *input);
                    }
                }
                Event::Witnesses => self.tell_how_far(),
                Event::Timer(peer, timer) => {
                    if self.node(peer).timers.get(&timer) == Some(&time) {
                        self.node(peer).timers.remove(&timer);
                        self.give(peer, Input::Fired(timer));
                    }
                }
                Event::Ledger(input) => {
                    let effects = self.ledger.step(input);
                    self.carry_out_for_ledger(effects);
                }
                Event::Lease => {
                    if self.lease == Some(time) {
                        let effects = self.ledger.step(LedgerInput::LeaseFired);
                        self.carry_out_for_ledger(effects);
                    }
                }
            }
        }
    }

    fn trader(&self) -> Option<PeerId> {
        self.ledger.status().term.filter(|term| !term.ended).map(|term| term.holder.peer)
    }
}

/// Five peers in a ring: three sell, all but one buy.
fn configs() -> Vec<Config> {
    let wishes = || Wishes { items: vec![Item::FISH, Item::SALT, Item::BOAR], quantity: Units(1) };
    let offers = |item| Offers(vec![Offer { item, count: Units(5), price: Price(900) }]);
    let roles = [
        Role::Seller(offers(Item::FISH)),
        Role::Both(wishes(), offers(Item::SALT)),
        Role::Both(wishes(), offers(Item::BOAR)),
        Role::Buyer(wishes()),
        Role::Buyer(wishes()),
    ];
    let config = |(me, role)| {
        let neighbours = [(me + 1) % PEERS, (me + PEERS - 1) % PEERS].map(PeerId);
        Config::new(PeerId(me), PEERS, neighbours, role)
    };
    (0..PEERS).zip(roles).map(config).collect()
}

pub fn main() {
    conforms::<TextLog>();
    println!("the store conforms");

    let mut market = Market::open(TextLog::fresh(Limits::DEFAULT, None), configs(), Limits::DEFAULT);
    market.run_until(30);
    let trader = market.trader().expect("somebody has made those sales");
    println!("{:>6} ms  peer {trader}, the trader, is killed", market.now.as_millis());
    market.kill(trader);
    market.run_until(40);
    println!("{:>6} ms  peer {trader} comes back", market.now.as_millis());
    market.start(trader);
    market.run_until(100);

    let batches = all_batches(&market.store);
    let report = audit_batches(&batches, AuditTerms::of(market.nodes[0].config.terms));
    let broken: Vec<_> = report.violations().collect();
    assert!(broken.is_empty(), "{broken:?}");
    println!("{} sales; the audit of {} batches finds nothing wrong", market.sales, batches.len());

    // Before peers are stopped on purpose, they leave all that they have seen.
    for node in &mut market.nodes {
        node.disk = node.peer.as_ref().map_or(node.disk, Peer::durable_at_stop);
        assert!(node.disk.seen.head.0 > 0);
    }

    // A store must not lose a synced record silently.
    let log = fs::read_to_string(scratch()).expect("the log");
    let end_of_first_line = log.find('\n').expect("a line");
    fs::write(scratch(), &log[..=end_of_first_line]).expect("shortened");
    let refused = TextLog::open(&scratch(), Limits::DEFAULT).expect_err("records are missing");
    println!("a shortened log is refused: {refused}");
    fs::remove_file(scratch()).and_then(|()| fs::remove_file(head_of(&scratch()))).expect("both files were there");
}
