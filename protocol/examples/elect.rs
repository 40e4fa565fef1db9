//! Elects a leader among your own workers with [`Election`] alone: no bazaar, no trading, no ledger.
//!
//! Each worker is a thread with a channel. [`Authority`] grants epochs: here it is a compare-and-set behind a lock; in
//! production it would be a row in a database or a key in etcd, something durable that all workers can reach. The
//! election only says which of them should ask it. The highest worker that answers in time leads; then it is stopped,
//! and another one takes over.
//!
//! ```sh
//! cargo run -p bazaar-protocol --example elect
//! ```
// An example stops at the first thing that goes wrong.
#![allow(clippy::expect_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    election::{Election, ElectionEffect, ElectionInput, ElectionMessage, Eligibility, Waits},
    id::{Epoch, PeerId},
};

const WORKERS: u32 = 4;

/// All waits are a few times as long as a message takes; here that is next to nothing.
const WAITS: Waits = Waits {
    turn: Duration::from_millis(50),
    stagger: Duration::from_millis(60),
    answer: Duration::from_millis(80),
    victory: Duration::from_millis(200),
    suspicion: Duration::from_millis(250),
};

/// How often a leader announces that it is alive; well below `suspicion`.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Grants each epoch once. This is what rules out two leaders in one epoch, whatever the election does.
#[derive(Default)]
struct Authority(Mutex<Epoch>);

impl Authority {
    /// The latest epoch that was granted.
    fn latest(&self) -> Epoch {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A compare-and-set: grants the epoch after `known`, unless another worker was granted it first.
    fn claim(&self, known: Epoch) -> Option<Epoch> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (*latest == known).then(|| {
            *latest = known.next();
            *latest
        })
    }
}

/// The messages that workers send each other.
#[derive(Clone, Copy)]
enum Word {
    Election(ElectionMessage),
    /// "I lead this epoch."
    Heartbeat(Epoch),
    /// Stop, as though killed.
    Kill,
}

struct Worker {
    me: PeerId,
    election: Election,
    others: Vec<Sender<(PeerId, Word)>>,
    authority: Arc<Authority>,
    news: Sender<(PeerId, (Epoch, PeerId))>,
    /// When the election's timer is due.
    timer: Option<Instant>,
    heartbeat: Instant,
}

impl Worker {
    /// Gives the election an input and carries out its effects.
    fn give(&mut self, input: ElectionInput) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.election.step(&WAITS, input) {
                match effect {
                    ElectionEffect::Tell(to, message) => self.send(to, Word::Election(message)),
                    ElectionEffect::TellAll(message) => self.tell_all(Word::Election(message)),
                    ElectionEffect::Arm(after) => self.timer = Some(Instant::now() + after),
                    ElectionEffect::Stand => {
                        // Who is granted an epoch has looked first which one is the latest, as here, and read what its
                        // holder left behind, of which there is nothing here.
                        let granted = self.authority.claim(self.authority.latest());
                        inputs.push(granted.map_or(ElectionInput::Vacated { resigned: None }, ElectionInput::Granted));
                    }
                    ElectionEffect::Yield => inputs.push(ElectionInput::Vacated { resigned: None }),
                    ElectionEffect::Heard(_) | ElectionEffect::Event(_) => {}
                }
            }
        }
    }

    fn send(&self, to: PeerId, word: Word) {
        // A worker that has stopped hears nothing.
        let _ = self.others[to.0 as usize].send((self.me, word));
    }

    fn tell_all(&self, word: Word) {
        for to in (0..WORKERS).map(PeerId).filter(|to| *to != self.me) {
            self.send(to, word);
        }
    }

    fn run(mut self, inbox: &Receiver<(PeerId, Word)>) {
        self.give(ElectionInput::Started { calls_first: self.me == PeerId(0) });
        // Nothing keeps this worker from serving, so it may stand. Without this input it never would.
        self.give(ElectionInput::Eligibility(Eligibility::Eligible));
        let mut known = None;
        loop {
            let next = self.timer.map_or(self.heartbeat, |timer| timer.min(self.heartbeat));
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok((from, Word::Election(message))) => self.give(ElectionInput::Received(from, message)),
                Ok((leader, Word::Heartbeat(epoch))) => self.give(ElectionInput::Heard { epoch, leader }),
                Ok((_, Word::Kill)) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.timer.is_some_and(|timer| timer <= now) {
                self.timer = None;
                self.give(ElectionInput::Fired);
            }
            if self.heartbeat <= now {
                self.heartbeat = now + HEARTBEAT;
                if let (true, Some((epoch, _))) = (self.election.is_leading(), self.election.leader()) {
                    self.tell_all(Word::Heartbeat(epoch));
                }
            }
            if self.election.leader() != known {
                known = self.election.leader();
                // Nobody is listening any more once the example is over.
                let _ = known.map(|leader| self.news.send((self.me, leader)));
            }
        }
    }
}

/// What the workers have said of whom they follow, the latest word of each.
type Known = BTreeMap<PeerId, (Epoch, PeerId)>;

/// Waits until this many workers follow the same leader of an epoch after `after`.
fn elected(
    news: &Receiver<(PeerId, (Epoch, PeerId))>,
    known: &mut Known,
    after: Epoch,
    workers: usize,
) -> Option<(Epoch, PeerId)> {
    loop {
        let leader = known.values().max().copied().filter(|(epoch, _)| *epoch > after);
        if leader.is_some_and(|leader| known.values().filter(|other| **other == leader).count() == workers) {
            return leader;
        }
        let (worker, leader) = news.recv_timeout(Duration::from_secs(30)).ok()?;
        known.insert(worker, leader);
    }
}

pub fn main() {
    let authority = Arc::new(Authority::default());
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| mpsc::channel()).unzip();
    let (news, heard) = mpsc::channel();
    let mut threads = Vec::new();
    for (me, inbox) in (0..WORKERS).map(PeerId).zip(inboxes) {
        let worker = Worker {
            me,
            election: Election::new(me, WORKERS),
            others: senders.clone(),
            authority: Arc::clone(&authority),
            news: news.clone(),
            timer: None,
            heartbeat: Instant::now(),
        };
        threads.push(thread::spawn(move || worker.run(&inbox)));
    }

    let mut known = Known::new();
    let first = elected(&heard, &mut known, Epoch(0), WORKERS as usize).expect("a leader");
    println!("all follow worker {} in epoch {}", first.1, first.0);

    let _ = senders[first.1.0 as usize].send((first.1, Word::Kill));
    println!("worker {} is stopped", first.1);
    known.remove(&first.1);
    let second = elected(&heard, &mut known, first.0, WORKERS as usize - 1).expect("another leader");
    println!("all the others follow worker {} in epoch {}", second.1, second.0);
    assert!(second.0 > first.0 && second.1 != first.1, "a different leader, in a later epoch");

    for sender in &senders {
        let _ = sender.send((PeerId(0), Word::Kill));
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no worker panicked"));
}
