//! One of the processes of a ledger whose books are in etcd (SPEC J3): the pure machine, the store, and the network side.
//!
//! Whatever is asked of the store is a task of its own, which reports to the one loop that feeds the machine. At most one
//! look or append is under way; reads are, as many as were called for; and beside them a watch, and what keeps the store
//! small.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, time::Duration};

use bazaar_protocol::{
    id::Position,
    ledger::{
        CallId, LedgerCall, LedgerReply, Word,
        compaction::{Compaction, CompactionEffect, CompactionInput},
        replica::{Found, Outcome, Replica, ReplicaEffect, ReplicaFault, ReplicaInput},
    },
    record::Batch,
    snapshot::ChunkId,
};
use futures::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    network::{
        directory::{Directory, Registration},
        ledger_service::{Fence, LedgerJob, LedgerServer, StoreAccess},
        service::LedgerRefusal,
        settings::Backoff,
        task::{Task, lock},
    },
    processes::{
        ledger_driver::{Desk, JOBS, LedgerDriverConfig, LedgerDriverError, failed},
        report::ProcessEvent,
    },
    store::{
        etcd::{Base, CompactionError, EtcdStore, Looked, Pauses, ReadError, Registered, Seen, WriteError},
        witness::Gone,
    },
};

/// How long a tool that asks for the state of the fence waits for the store. After that it is told what was known last.
const GLANCE: Duration = Duration::from_secs(1);

/// The first and the longest pause after it has failed to make the store smaller.
const UNTIDY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long one attempt to look or to append may take. What was asked of a leader of etcd that then dies is never
/// answered, so that this is how long nobody trades after that, if it is longer than the election of another. It is
/// half of what a peer waits for a sign of life: the second attempt, with another member, is still in time.
pub const ATTEMPT: Duration = Duration::from_millis(500);

/// How many attempts to append are given that long. A disk may be slower than that, and then the answers would never be
/// waited for.
const HASTY: usize = 3;

/// The pauses between attempts: etcd elects a leader within a second or so, and trade waits for the attempt after that.
const PAUSES: Pauses = Pauses { first: Duration::from_millis(10), longest: Duration::from_millis(200) };

/// How often a registration is tried while others change what is known of the peer.
const REGISTERED_WITHIN: usize = 5;

/// How a store is kept small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// After how many records a snapshot takes the place of those below it.
    pub snapshot_every: u64,
    /// How many of these are kept nevertheless.
    pub history: u64,
}

/// Keeps the books in etcd, together with the ledger's other processes, until told to stop. While the store does not
/// answer it waits, and so do its callers.
///
/// # Errors
/// See [`LedgerDriverError`]. No error loses anything that was acknowledged.
pub async fn run_replica(
    config: LedgerDriverConfig,
    store: EtcdStore,
    keeping: Keeping,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LedgerDriverError> {
    let desk = Desk::open(config)?;
    let (say, mut heard) = mpsc::unbounded_channel();
    let (jobs, mut waiting) = mpsc::channel(JOBS);
    let opened = tokio::select! {
        opened = open(&desk, &store) => opened?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let server = desk.serve(jobs, StoreAccess::Shared, opened).await?;
    let (machine, effects) = Replica::start(desk.ledger);
    let asker = Asker { quick: quick(&store), store, say };
    let watching = asker.watching();
    let mut driver = ReplicaDriver {
        desk,
        machine,
        asker,
        server,
        calls: BTreeMap::new(),
        next_id: CallId(0),
        lease: None,
        unknown: None,
        unknowns: 0,
        blind: Some(Instant::now()),
        compaction: Compaction::every(keeping.snapshot_every),
        keeping,
        bases: Bases::default(),
        trouble: None,
        full: Full::No,
        damage: None,
        tidy_after: None,
        tidying: Backoff::between(UNTIDY.0, UNTIDY.1),
        _watching: watching,
    };
    driver.carry_out(effects)?;
    loop {
        tokio::select! {
            job = waiting.recv() => match job {
                Some(job) => driver.on_job(job)?,
                // The server holds a sender for as long as this loop runs.
                None => return Ok(()),
            },
            // The driver holds a sender, too.
            Some(told) = heard.recv() => driver.on_told(told)?,
            () = sleep_until(driver.lease.unwrap_or_else(Instant::now)), if driver.lease.is_some() => {
                driver.lease = None;
                driver.feed(ReplicaInput::LeaseFired)?;
            }
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Waits until the store answers, and compares what it holds with what is known in the process's directory. Returns how
/// many records there are.
async fn open(desk: &Desk, store: &EtcdStore) -> Result<Position, LedgerDriverError> {
    let looking = store.look_until_answered(PAUSES);
    let mut looking = std::pin::pin!(looking);
    let looked = match timeout(GLANCE, &mut looking).await {
        Ok(looked) => looked,
        Err(_) => {
            desk.say(troubled(desk, store.trouble().unwrap_or_else(|| SILENT.to_owned())));
            let looked = looking.await;
            desk.say(ProcessEvent::StoreWell { process: desk.id.to_string() });
            looked
        }
    };
    let Found::Tail(tail) = looked.found else { return Err(not_held(store, looked.found)) };
    let ordering = loop {
        match store.ordering().await {
            Ok(ordering) => break ordering,
            Err(ReadError::Unanswered { .. }) => sleep(PAUSES.longest).await,
            Err(error) => return Err(failed(error)),
        }
    };
    desk.compare(tail.status.seen(desk.ledger.secret), ordering)?;
    Ok(tail.status.head)
}

const SILENT: &str = "etcd does not answer";

fn troubled(desk: &Desk, what: String) -> ProcessEvent {
    ProcessEvent::StoreTroubled { process: desk.id.to_string(), what }
}

fn not_held(store: &EtcdStore, found: Found) -> LedgerDriverError {
    failed(ReadError::NotHeld { prefix: store.prefix(), found })
}

/// What a task has to tell.
enum Told {
    Looked(Looked),
    Settled(Outcome),
    /// What was to be read is damaged.
    Damaged(ReadError),
    Begun {
        looked: Looked,
        registrations: Vec<Registration>,
    },
    Seen(Seen),
    Lost,
    Tidied(Tidied),
    /// The store has declined an append: what is wrong, and what to do about it.
    Full(String),
    /// A task has panicked, and has said so.
    Panicked,
}

/// Whether the store takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Full {
    /// It does.
    No,
    /// It has declined one, and it is looked up what to do about that.
    Declined,
    /// It has declined one, and this is to be done.
    Known(String),
}

impl Full {
    fn known(&self) -> Option<&String> {
        match self {
            Full::Known(what) => Some(what),
            Full::No | Full::Declined => None,
        }
    }
}

/// What became of a step that keeps the store small.
enum Tidied {
    Found(Base),
    Written(Base),
    Moved,
    Cleared,
    /// What is to be removed is not as it was written; what to do about that, in words.
    Damaged(String),
    /// And why, in words.
    Failed(String),
}

/// Asks things of the store, and tells what came of it.
#[derive(Clone)]
struct Asker {
    store: EtcdStore,
    /// The same, for looks and appends.
    quick: EtcdStore,
    say: mpsc::UnboundedSender<Told>,
}

impl Asker {
    /// Begins to look or to append.
    fn ask_quickly<F>(&self, what: impl FnOnce(EtcdStore) -> F)
    where
        F: Future<Output = Told> + Send + 'static,
    {
        Asker { store: self.quick.clone(), ..self.clone() }.ask(what);
    }

    /// Begins to ask. The loop that is told ends only with the process. Without an answer the machine would wait for ever,
    /// so a panic is told as well.
    fn ask<F>(&self, what: impl FnOnce(EtcdStore) -> F)
    where
        F: Future<Output = Told> + Send + 'static,
    {
        let (asked, say) = (tokio::spawn(what(self.store.clone())), self.say.clone());
        tokio::spawn(async move {
            // Nobody aborts it, so there is no other reason why it should not end.
            let _ = say.send(asked.await.unwrap_or(Told::Panicked));
        });
    }

    /// Watches what others do, for as long as the returned is there.
    fn watching(&self) -> Task {
        let (watching, say) = (watch_all(self.store.clone(), self.say.clone()), self.say.clone());
        Task::spawn(async move {
            if AssertUnwindSafe(watching).catch_unwind().await.is_err() {
                let _ = say.send(Told::Panicked);
            }
        })
    }
}

struct ReplicaDriver {
    desk: Desk,
    machine: Replica,
    asker: Asker,
    server: LedgerServer,
    calls: BTreeMap<CallId, oneshot::Sender<Result<LedgerReply, LedgerRefusal>>>,
    next_id: CallId,
    lease: Option<Instant>,
    /// The pauses before an append whose outcome is unknown is tried again.
    unknown: Option<Backoff>,
    /// How often in a row it was unknown.
    unknowns: usize,
    /// Since when it has not seen what others do.
    blind: Option<Instant>,
    compaction: Compaction,
    keeping: Keeping,
    bases: Bases,
    /// What was last said to be wrong with the store.
    trouble: Option<String>,
    full: Full,
    /// What is wrong with the history that it keeps, which it does not need itself.
    damage: Option<String>,
    /// When it may be tried again to make the store smaller, after that has failed, and the pauses between attempts.
    tidy_after: Option<Instant>,
    tidying: Backoff,
    _watching: Task,
}

/// The snapshot in force, and the one that is to take its place.
#[derive(Clone, Copy, Debug, Default)]
struct Bases {
    from: Option<Base>,
    to: Option<Base>,
}

impl ReplicaDriver {
    fn on_job(&mut self, job: LedgerJob) -> Result<(), LedgerDriverError> {
        match job {
            LedgerJob::Hand { hand, reply } => self.desk.on_hand(hand, reply),
            LedgerJob::Call { call, reply } => return self.on_call(call, reply),
            LedgerJob::Log { from, reply } => self.on_log(from, reply),
            LedgerJob::Register { registration, reply } => self.on_register(registration, reply),
            LedgerJob::Info { reply } => self.on_info(reply),
        }
        Ok(())
    }

    fn on_call(
        &mut self,
        call: LedgerCall,
        reply: oneshot::Sender<Result<LedgerReply, LedgerRefusal>>,
    ) -> Result<(), LedgerDriverError> {
        // It would keep claims out for ever.
        if self.is_blind() {
            return Ok(());
        }
        self.next_id = CallId(self.next_id.0 + 1);
        self.calls.insert(self.next_id, reply);
        self.feed(ReplicaInput::Call { id: self.next_id, call })
    }

    /// Whether it has not seen what others do for so long that it should take no calls.
    fn is_blind(&self) -> bool {
        self.blind.is_some_and(|since| since.elapsed() > self.desk.ledger.lease)
    }

    fn on_log(&self, from: Position, reply: oneshot::Sender<Vec<Batch>>) {
        let store = self.asker.store.clone();
        tokio::spawn(async move {
            let Ok(Looked { found: Found::Tail(tail), .. }) = store.look().await else { return };
            if let Ok(Some(batches)) = store.batches(from, tail.status.head).await {
                let _ = reply.send(batches);
            }
        });
    }

    fn on_info(&self, reply: oneshot::Sender<Fence>) {
        let (known, live) = (self.machine.known_status(), self.machine.is_lease_active());
        let blind = || self.is_blind().then(|| "it does not see what the ledger's other processes do".to_owned());
        let wrong = self.desk.log.trouble().or_else(|| self.full.known().cloned()).or_else(blind);
        let wrong = wrong.or_else(|| self.damage.clone());
        let store = self.asker.store.clone();
        tokio::spawn(async move {
            let fence = match timeout(GLANCE, store.look()).await {
                Ok(Ok(Looked { found: Found::Tail(tail), .. })) => Fence { status: tail.status, live, trouble: wrong },
                Ok(Ok(Looked { found, .. })) => {
                    Fence { status: known, live, trouble: Some(not_held(&store, found).to_string()) }
                }
                Ok(Err(error)) => Fence { status: known, live, trouble: Some(error.to_string()) },
                Err(_) => Fence { status: known, live, trouble: Some(SILENT.to_owned()) },
            };
            let _ = reply.send(fence);
        });
    }

    fn on_register(&self, registration: Registration, reply: oneshot::Sender<Result<(), Registration>>) {
        if self.is_blind() {
            return;
        }
        let store = self.asker.store.clone();
        tokio::spawn(async move {
            if let Some(entered) = enter(&store, registration).await {
                let _ = reply.send(entered);
            }
        });
    }

    fn on_told(&mut self, told: Told) -> Result<(), LedgerDriverError> {
        match told {
            Told::Looked(Looked { found, .. }) => self.feed(ReplicaInput::Looked(found)),
            Told::Settled(outcome) => self.on_settled(outcome),
            Told::Damaged(error) => Err(failed(error)),
            Told::Begun { looked, registrations } => {
                self.blind = None;
                registrations.into_iter().for_each(|registration| self.learn(registration));
                self.feed(ReplicaInput::WatchBegun)?;
                // Between the look and the watch nothing is missed, but what the look found is news.
                match looked.found {
                    Found::Tail(tail) => self.feed(ReplicaInput::Appended(tail)),
                    Found::Foreign | Found::Unreadable => Ok(()),
                }
            }
            Told::Seen(Seen::Sign(sign)) => self.feed(ReplicaInput::Sign(sign)),
            Told::Seen(Seen::Appended(tail)) => self.feed(ReplicaInput::Appended(tail)),
            Told::Seen(Seen::Registered(registration)) => {
                self.learn(registration);
                Ok(())
            }
            Told::Lost => {
                self.blind.get_or_insert_with(Instant::now);
                self.feed(ReplicaInput::WatchLost)
            }
            Told::Tidied(tidied) => {
                self.on_tidied(tidied);
                Ok(())
            }
            Told::Full(what) => {
                // Unless there is room again by now.
                if self.full == Full::Declined {
                    self.trouble = None;
                    self.say_trouble(Some(what.clone()));
                    self.full = Full::Known(what);
                }
                Ok(())
            }
            Told::Panicked => Err(LedgerDriverError::Task),
        }
    }

    fn on_settled(&mut self, outcome: Outcome) -> Result<(), LedgerDriverError> {
        match outcome {
            Outcome::Unknown => {
                self.unknowns += 1;
                self.unknown.get_or_insert_with(|| backoff(PAUSES));
            }
            Outcome::Declined(_) => {
                (self.unknown, self.unknowns) = (None, 0);
                // What to do about it is looked up once, and said once.
                if self.full == Full::No {
                    self.full = Full::Declined;
                    let declined = self.asker.store.trouble();
                    self.asker.ask(|store| async move {
                        let space = store.space().await.ok().filter(|space| space.is_full());
                        let what = space.map(|space| space.to_string()).or(declined);
                        Told::Full(what.unwrap_or_else(|| "etcd has declined an append".to_owned()))
                    });
                }
            }
            Outcome::Written => {
                (self.unknown, self.unknowns) = (None, 0);
                self.full = Full::No;
            }
            Outcome::Refused(_) => (self.unknown, self.unknowns) = (None, 0),
        }
        self.feed(ReplicaInput::Settled(outcome))
    }

    fn learn(&self, registration: Registration) {
        lock::<Directory>(self.server.directory()).learn(registration);
    }

    /// The one place through which every input and every effect passes.
    fn feed(&mut self, input: ReplicaInput) -> Result<(), LedgerDriverError> {
        let effects = self.machine.step(input);
        self.carry_out(effects)?;
        if self.full == Full::No {
            self.say_trouble(self.asker.store.trouble());
        }
        if self.tidy_after.is_none_or(|after| after <= Instant::now()) {
            let head = self.machine.known_status().head;
            let next = self.compaction.step(CompactionInput::Grown(head));
            self.tidy(next);
        }
        Ok(())
    }

    fn carry_out(&mut self, effects: Vec<ReplicaEffect>) -> Result<(), LedgerDriverError> {
        for effect in effects {
            match effect {
                ReplicaEffect::Look => {
                    let look = |store: EtcdStore| async move { Told::Looked(store.look_until_answered(PAUSES).await) };
                    self.asker.ask_quickly(look);
                }
                ReplicaEffect::Append { onto, batch } => {
                    let pause = self.unknown.as_mut().map(Backoff::wait);
                    let append = |store: EtcdStore| async move {
                        if let Some(pause) = pause {
                            sleep(pause).await;
                        }
                        Told::Settled(store.append_until_settled(&onto, &batch, PAUSES).await)
                    };
                    if self.unknowns < HASTY {
                        self.asker.ask_quickly(append);
                    } else {
                        self.asker.ask(append);
                    }
                }
                ReplicaEffect::Reply { id, reply } => {
                    if let Some(caller) = self.calls.remove(&id) {
                        let _ = caller.send(Ok(reply));
                    }
                }
                ReplicaEffect::Read { id, word, from, chunk } => self.read(id, word, from, chunk),
                ReplicaEffect::Give(sign) => {
                    let store = self.asker.store.clone();
                    tokio::spawn(async move {
                        // It may be lost.
                        if let Err(error) = store.give(sign).await {
                            tracing::warn!("{sign:?} was not given: {error}");
                        }
                    });
                }
                ReplicaEffect::ArmLease(after) => self.lease = Some(Instant::now() + after),
                ReplicaEffect::Drop(id) => {
                    self.calls.remove(&id);
                }
                ReplicaEffect::Refuse(id) => {
                    if let Some(caller) = self.calls.remove(&id) {
                        let _ = caller.send(Err(LedgerRefusal::MadeUp));
                    }
                }
                ReplicaEffect::Fail(fault) => return Err(self.fault(fault)),
            }
        }
        Ok(())
    }

    /// Answers a call with what the store holds, if it still does.
    fn read(&mut self, id: CallId, word: Word, from: Position, chunk: Option<ChunkId>) {
        let Some(caller) = self.calls.remove(&id) else { return };
        let Asker { store, say, quick: _ } = self.asker.clone();
        tokio::spawn(async move {
            match store.read(from, chunk, word.status.head).await {
                Ok(Some(answer)) => {
                    let _ = caller.send(Ok(LedgerReply { word, answer }));
                }
                // Its caller asks again, and whatever has become of the store is found by a look.
                Ok(None) | Err(ReadError::Unanswered { .. } | ReadError::NotHeld { .. }) => {}
                Err(error @ (ReadError::Damaged { .. } | ReadError::Unfoldable { .. })) => {
                    let _ = say.send(Told::Damaged(error));
                }
            }
        });
    }

    fn fault(&self, fault: ReplicaFault) -> LedgerDriverError {
        let store = &self.asker.store;
        match fault {
            ReplicaFault::Gone(fault) => {
                let gone = Gone(fault);
                self.desk.note(&gone);
                gone.into()
            }
            ReplicaFault::Shrunk { seen, holds } if !seen.is_beyond(holds) => {
                LedgerDriverError::Replaced { prefix: store.prefix(), seen }
            }
            ReplicaFault::Shrunk { seen, holds } => LedgerDriverError::Shrunk { prefix: store.prefix(), seen, holds },
            ReplicaFault::Foreign => not_held(store, Found::Foreign),
            ReplicaFault::Unreadable => not_held(store, Found::Unreadable),
        }
    }

    /// Says what is wrong with the store when it begins, and when it is over.
    fn say_trouble(&mut self, trouble: Option<String>) {
        match (&self.trouble, &trouble) {
            (None, Some(what)) => self.desk.say(troubled(&self.desk, what.clone())),
            (Some(_), None) => self.desk.say(ProcessEvent::StoreWell { process: self.desk.id.to_string() }),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.trouble = trouble;
    }

    // The size of the store.

    fn on_tidied(&mut self, tidied: Tidied) {
        let input = match tidied {
            Tidied::Found(base) => {
                self.bases = Bases { from: Some(base), to: None };
                CompactionInput::Found(base.position())
            }
            Tidied::Written(base) => {
                self.bases.to = Some(base);
                CompactionInput::Done
            }
            Tidied::Moved => {
                self.bases = Bases { from: self.bases.to, to: None };
                CompactionInput::Done
            }
            Tidied::Cleared => {
                self.tidying.reset();
                if self.damage.take().is_some() {
                    self.desk.say(ProcessEvent::StoreWell { process: self.desk.id.to_string() });
                }
                CompactionInput::Done
            }
            Tidied::Damaged(why) => {
                // Once, though it is tried again and again.
                if self.damage.replace(why.clone()).is_none() {
                    self.desk.say(troubled(&self.desk, why.clone()));
                }
                self.not_tidied(&why)
            }
            Tidied::Failed(why) => self.not_tidied(&why),
        };
        let next = self.compaction.step(input);
        self.tidy(next);
    }

    fn not_tidied(&mut self, why: &str) -> CompactionInput {
        tracing::warn!("the store was not made smaller: {why}");
        self.tidy_after = Some(Instant::now() + self.tidying.wait());
        CompactionInput::Failed
    }

    fn tidy(&mut self, effect: Option<CompactionEffect>) {
        let (Bases { from, to }, history) = (self.bases, self.keeping.history);
        match effect {
            None => {}
            Some(CompactionEffect::FindBase) => self.asker.ask(|store| async move {
                Told::Tidied(match store.look().await {
                    Ok(Looked { base: Some(base), .. }) => Tidied::Found(base),
                    Ok(Looked { base: None, .. }) => Tidied::Failed("it has no base".to_owned()),
                    Err(error) => Tidied::Failed(error.to_string()),
                })
            }),
            Some(CompactionEffect::WriteSnapshot(upto)) => self.asker.ask(move |store| async move {
                Told::Tidied(match store.write_snapshot(upto).await {
                    Ok(Some(base)) => Tidied::Written(base),
                    Ok(None) => Tidied::Failed("another process has moved the base".to_owned()),
                    Err(CompactionError::Read(error)) if error.is_damage() => return Told::Damaged(error),
                    Err(error) => Tidied::Failed(error.to_string()),
                })
            }),
            Some(CompactionEffect::MoveBase { .. }) => self.asker.ask(move |store| async move {
                let (Some(from), Some(to)) = (from, to) else { return no_base() };
                Told::Tidied(match store.move_base(&from, &to).await {
                    Ok(()) => Tidied::Moved,
                    Err(error) => Tidied::Failed(error.to_string()),
                })
            }),
            Some(CompactionEffect::ClearBelow(_)) => self.asker.ask(move |store| async move {
                let Some(base) = from else { return no_base() };
                Told::Tidied(loop {
                    match store.clear_below(&base, history).await {
                        Ok(cleared) if cleared.has_more => {}
                        Ok(_) => break Tidied::Cleared,
                        Err(CompactionError::Read(error)) if error.is_damage() => {
                            break Tidied::Damaged(format!(
                                "{error}. It is below the latest snapshot, where only an audit needs it. Until you run the \
                                 following, nothing is removed there and the cluster fills up; audits will then begin \
                                 at that snapshot:\n{}",
                                store.cut(&base)
                            ));
                        }
                        Err(error) => break Tidied::Failed(error.to_string()),
                    }
                })
            }),
        }
    }
}

/// It was not found what is to be moved or cleared below.
fn no_base() -> Told {
    Told::Tidied(Tidied::Failed("its base is not known".to_owned()))
}

/// Watches what others do, again and again, and tells it.
async fn watch_all(store: EtcdStore, say: mpsc::UnboundedSender<Told>) {
    let mut backoff = backoff(PAUSES);
    let quick = quick(&store);
    loop {
        let looked = quick.look_until_answered(PAUSES).await;
        let begun = async {
            let registrations = store.registrations().await.map_err(|error| error.to_string())?;
            let watch = store.watch(looked.revision).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((registrations, watch))
        };
        match begun.await {
            Ok((registrations, mut watch)) => {
                backoff.reset();
                let _ = say.send(Told::Begun { looked, registrations });
                let lost = loop {
                    match watch.next().await {
                        Ok(seen) => drop(say.send(Told::Seen(seen))),
                        Err(lost) => break lost,
                    }
                };
                tracing::warn!("{lost}");
                let _ = say.send(Told::Lost);
            }
            Err(error) => tracing::warn!("what other processes do cannot be watched: {error}"),
        }
        sleep(backoff.wait()).await;
    }
}

/// Enters a registration into the store, unless it holds the same life from another process of the peer's, or a later
/// one. `None`: the store does not answer.
async fn enter(store: &EtcdStore, registration: Registration) -> Option<Result<(), Registration>> {
    let peer = registration.life.peer;
    for _ in 0..REGISTERED_WITHIN {
        let known = match store.registration(peer).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!("peer {peer} is not entered: {error}");
                return None;
            }
        };
        if let Some(known) = known.as_ref().filter(|known| is_kept_from(&registration, known)) {
            return Some(Err(known.clone()));
        }
        if known.as_ref() == Some(&registration) {
            return Some(Ok(()));
        }
        match store.register(&registration, known.as_ref()).await {
            Ok(Registered::Entered) => return Some(Ok(())),
            Ok(Registered::Overtaken) => {}
            // There is no room to write it down, and nothing there that keeps it out. Questions can still be answered.
            Err(WriteError::Unanswered { source: bazaar_etcd::WriteError::Full(_), .. }) => return Some(Ok(())),
            Err(error) => {
                tracing::warn!("peer {peer} is not entered: {error}");
                return None;
            }
        }
    }
    None
}

/// Whether a registration must not take the place of another (SPEC I5).
fn is_kept_from(registration: &Registration, other: &Registration) -> bool {
    let (latest, is_itself) = (other.life.incarnation, other.instance == registration.instance);
    latest > registration.life.incarnation || (latest == registration.life.incarnation && !is_itself)
}

/// A store that gives up an attempt soon.
fn quick(store: &EtcdStore) -> EtcdStore {
    store.with_client(store.client().with_deadline(ATTEMPT))
}

fn backoff(pauses: Pauses) -> Backoff {
    Backoff::between(pauses.first, pauses.longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::settings::Settings;

    /// Otherwise all peers would turn to other processes of the ledger whenever a member of etcd is halted.
    #[test]
    fn a_second_attempt_is_in_time_for_a_sign_of_life() {
        assert!(ATTEMPT * 2 <= Settings::default().answer_timeout());
        assert!(PAUSES.longest <= ATTEMPT);
    }
}
