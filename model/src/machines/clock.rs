//! Clocks alone: `Clock` under any exchange of messages, against an oracle that knows which event happened before
//! which.
//!
//! # What runs
//!
//! Each clock has a disk that holds one number, the bound up to which it is written ahead. At any moment any clock may
//! count a local event, send a message (to any other clock), receive any message under way, read one without receiving
//! it (as the books are read on taking office), ask for a higher bound, learn that the bound is durable, crash, and
//! resume at what is on its disk. A message stamped above the bound waits until the bound is durable, as in a peer's
//! journal (DESIGN R10), and is lost in a crash.
//!
//! # The oracle
//!
//! Happened-before is the closure of two relations: one event of a process follows another, and a receipt follows its
//! sending (Lamport 1978). So the past of a new event consists of the last event of its process and that event's past,
//! and for a receipt also of the sending and its past; nothing else enters. A vector clock records this: here, for each
//! process, the highest reading in the past instead of the number of events. A new event is compared with every entry
//! of its past when it happens, and thereby with everything that happened before it, because whatever is below an entry
//! is earlier still. As every event is the new one once, all pairs of the history are compared, though the state keeps
//! only one past for each process and each message.
//!
//! For the implication the greatest stamp of a past is enough: whatever is later than that is later than all of the
//! past, and the greatest stamp of two pasts together is the greater of their two. An endless exchange keeps only that,
//! because a process that is no longer heard from would otherwise leave a reading in the pasts of the others from which
//! they count away for ever. After a crash it takes the written bound itself for the last event, which demands no less.
//!
//! # What a crash undoes
//!
//! A crash undoes an event above the written bound as if it had never happened: no message about it has left (which is
//! checked at every sending), so nobody ever learns of it, and its stamp may be given again. All events up to the bound
//! count, whether a message about them has left or not.
//!
//! # Why it is finite
//!
//! Either there are [budgets](Budget), or, in an endless exchange, clocks only count up and compare, so that only the
//! distances between readings tell states apart ([`shared`](crate::subject::shared)), and these are kept within a
//! stated limit.

use std::{
    fmt::Write as _,
    hash::{Hash, Hasher},
};

use bazaar_protocol::{
    clock::{Clock, Stamp, Time},
    id::PeerId,
    invariant::{
        Property, Violation, a_clock_never_goes_back, a_receive_is_later_than_its_send,
        nothing_is_sent_above_the_written_bound, what_happened_before_is_stamped_before,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    subject::matrix::{Kind, Role, Stepped},
    subject::picture::{Lane, LaneKind, Mark},
    subject::{Met, Subject},
    subject::{
        landmark::{Landmark, Landmarks},
        scenario::{Family, Scenario},
        shared::{Bag, Shared, digest},
    },
};

/// A number of clocks, and what they may do.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// The number of clocks.
    pub clocks: u32,
    /// The reading that all clocks start at, which is also their written bound; at least 1, since 0 is no reading.
    pub start: Time,
    /// How far above its reading a clock is written ahead.
    pub range: u64,
    /// The bound that keeps the exchange finite.
    pub exchange: Exchange,
}

/// A bound that keeps an exchange finite.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// A budget for every kind of step. What was sent stays under way: it may arrive late, again, in any order, or
    /// never.
    Counted(Budget),
    /// Every step as often as the adversary likes. What was sent is under way until it arrives or is lost; it may stay
    /// and arrive again.
    Endless {
        /// The greatest distance between two readings of a state.
        apart: u64,
        /// The most messages that may be under way or wait to be sent.
        under_way: usize,
    },
}

/// How often each kind of step may still be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Local events and receipts.
    pub events: u8,
    /// Messages that are sent.
    pub sends: u8,
    /// Messages that are read without being received.
    pub reads: u8,
    /// Crashes.
    pub crashes: u8,
}

/// One state of all clocks and messages.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    left: Budget,
    processes: Vec<Shared<Process>>,
    under_way: Bag<Message>,
    violation: Option<Violation>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let State { left, processes, under_way, violation } = self;
        let violated = violation.as_ref().map(|violation| violation.property);
        state.write_u64(digest(&(left, processes, under_way, violated)));
    }
}

/// A clock, its disk, and the past of its next event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    /// The bound on its disk.
    durable: Time,
    /// The past of what it would do after a crash: its last event up to the durable bound, and what came before that.
    kept: Past,
    /// `None` while it is down.
    running: Option<Running>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Running {
    clock: Clock,
    /// The bound that is being written.
    writing: Option<Time>,
    /// Messages that are stamped above the written bound and wait for it.
    held: Vec<Message>,
    /// The past of its next event.
    past: Past,
    /// Its events above the durable bound, which a crash undoes, each with the past that includes it.
    unwritten: Vec<(Time, Past)>,
}

/// A message: its stamp, and the past that its receipt takes over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    stamp: Stamp,
    past: Past,
}

/// The highest reading of each process in the past of an event; 0 for a process with no event there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Past(Vec<Time>);

impl Past {
    fn stamps(&self) -> impl Iterator<Item = Stamp> {
        let entries = (0..).zip(&self.0).filter(|(_, time)| **time != Time(0));
        entries.map(|(peer, time)| Stamp { time: *time, peer: PeerId(peer) })
    }

    fn of(&self, peer: PeerId) -> Time {
        self.0[peer.0 as usize]
    }

    fn add(&mut self, stamp: Stamp) {
        let entry = &mut self.0[stamp.peer.0 as usize];
        *entry = stamp.time.max(*entry);
    }

    fn merge(&mut self, other: &Past) {
        other.stamps().for_each(|stamp| self.add(stamp));
    }

    fn keep_the_greatest(&mut self) {
        let greatest = self.stamps().max();
        self.0.fill(Time(0));
        greatest.into_iter().for_each(|stamp| self.add(stamp));
    }
}

/// A step of one clock, or of what carries its messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// A local event.
    Tick(PeerId),
    /// A message is sent.
    Send(PeerId),
    /// A message is received.
    Receive {
        /// The receiver.
        at: PeerId,
        /// The message.
        message: Shared<Message>,
        /// Whether it may arrive again.
        stays: bool,
    },
    /// A message is read without being received.
    Read {
        /// The reader.
        at: PeerId,
        /// The message.
        message: Shared<Message>,
    },
    /// A clock asks for a higher bound.
    WriteAhead(PeerId),
    /// A clock learns that its bound is durable.
    Written(PeerId),
    /// A clock crashes.
    Crash {
        /// The clock.
        at: PeerId,
        /// Whether the bound that was being written has reached the disk.
        written: bool,
    },
    /// A crashed clock resumes.
    Restart(PeerId),
    /// A message is lost.
    Lose(Shared<Message>),
}

impl Step {
    /// The process that takes the step; `None` when a message is lost.
    fn who(&self) -> Option<PeerId> {
        match self {
            Step::Tick(at) | Step::Send(at) | Step::WriteAhead(at) | Step::Written(at) | Step::Restart(at) => Some(*at),
            Step::Receive { at, .. } | Step::Read { at, .. } | Step::Crash { at, .. } => Some(*at),
            Step::Lose(_) => None,
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Step::Tick(_) | Step::Send(_) => Some(Kind::Tick),
            Step::Receive { .. } => Some(Kind::Receive),
            Step::Read { .. } => Some(Kind::CatchUp),
            Step::Written(_) => Some(Kind::Written),
            Step::Restart(_) => Some(Kind::Start),
            Step::WriteAhead(_) | Step::Crash { .. } | Step::Lose(_) => None,
        }
    }
}

/// The results of a step besides the new state.
#[derive(Default)]
struct Done {
    sent: Vec<Message>,
    landmarks: Landmarks,
    wrong: Option<Violation>,
}

impl Done {
    fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            self.wrong.get_or_insert(violation);
        }
    }
}

impl Process {
    /// Notes an event: it must be later than its past, and it joins the past of what follows.
    fn event(&mut self, stamp: Stamp, greatest_only: bool, done: &mut Done) {
        let Some(running) = &mut self.running else { return };
        done.check(what_happened_before_is_stamped_before(running.past.stamps(), stamp));
        running.past.add(stamp);
        if greatest_only {
            running.past.keep_the_greatest();
        } else {
            running.unwritten.push((stamp.time, running.past.clone()));
        }
        self.settle();
    }

    /// Keeps the events up to the durable bound: a crash no longer undoes them.
    fn settle(&mut self) {
        let Some(running) = &mut self.running else { return };
        let written = running.unwritten.iter().take_while(|(time, _)| *time <= self.durable).count();
        if let Some((_, past)) = running.unwritten.drain(..written).next_back() {
            self.kept = past;
        }
    }

    /// Sends the messages that the written bound allows.
    fn release(&mut self, done: &mut Done) {
        let Some(running) = &mut self.running else { return };
        let bound = running.clock.bound();
        let free = running.held.iter().take_while(|message| message.stamp.time <= bound).count();
        for message in running.held.drain(..free) {
            done.check(nothing_is_sent_above_the_written_bound(message.stamp.time, self.durable));
            done.sent.push(message);
        }
    }

    fn crash(&mut self, written: bool, done: &mut Done) {
        let Some(running) = &self.running else { return };
        match running.writing {
            Some(bound) if written => {
                self.durable = bound;
                done.landmarks.note(Landmark::BoundKept);
            }
            Some(_) => done.landmarks.note(Landmark::BoundLost),
            None => {}
        }
        if !running.held.is_empty() {
            done.landmarks.note(Landmark::HeldLost);
        }
        if running.clock.now() > self.durable {
            done.landmarks.note(Landmark::Undone);
        }
        self.settle();
        self.running = None;
    }

    fn restart(&mut self, at: PeerId, greatest_only: bool, done: &mut Done) {
        let mut past = self.kept.clone();
        if greatest_only {
            // An endless exchange keeps no events: any up to the bound may have happened.
            past.add(Stamp { time: self.durable, peer: at });
        }
        let clock = Clock::resume(at, self.durable);
        done.check(a_clock_never_goes_back(past.of(at), clock.now()));
        done.landmarks.note(Landmark::Restarted);
        self.running = Some(Running { clock, writing: None, held: Vec::new(), past, unwritten: Vec::new() });
    }
}

impl Clocks {
    fn is_endless(&self) -> bool {
        match self.exchange {
            Exchange::Counted(_) => false,
            Exchange::Endless { .. } => true,
        }
    }

    /// Takes a step of one process.
    fn step(&self, process: &mut Process, step: &Step) -> Done {
        let mut done = Done::default();
        let greatest_only = self.is_endless();
        let Some(running) = &mut process.running else {
            if let Step::Restart(at) = step {
                process.restart(*at, greatest_only, &mut done);
            }
            return done;
        };
        let before = running.clock.now();
        match step {
            Step::Tick(_) => {
                let stamp = running.clock.tick();
                process.event(stamp, greatest_only, &mut done);
            }
            Step::Send(_) => {
                let stamp = running.clock.tick();
                process.event(stamp, greatest_only, &mut done);
                if let Some(running) = &mut process.running {
                    running.held.push(Message { stamp, past: running.past.clone() });
                }
                process.release(&mut done);
                if done.sent.is_empty() {
                    done.landmarks.note(Landmark::HeldBack);
                }
            }
            Step::Receive { at, message, .. } => {
                let Stamp { time: sent, peer: sender } = message.stamp;
                if running.past.of(sender) > sent {
                    done.landmarks.note(Landmark::Overtaken);
                } else if running.past.of(sender) == sent {
                    done.landmarks.note(Landmark::ReceivedAgain);
                }
                running.clock.receive(sent);
                running.past.merge(&message.past);
                let received = Stamp { time: running.clock.now(), peer: *at };
                done.check(a_receive_is_later_than_its_send(sent, received.time));
                process.event(received, greatest_only, &mut done);
            }
            Step::Read { message, .. } => {
                running.clock.catch_up(message.stamp.time);
                running.past.merge(&message.past);
                if greatest_only {
                    running.past.keep_the_greatest();
                }
                if running.clock.now() > before {
                    done.landmarks.note(Landmark::CaughtUp);
                }
            }
            Step::WriteAhead(_) => running.writing = Some(Time(before.0 + self.range)),
            Step::Written(_) => {
                if let Some(bound) = running.writing.take() {
                    running.clock.extend(bound);
                    process.durable = bound;
                }
                process.settle();
                process.release(&mut done);
            }
            Step::Crash { written, .. } => process.crash(*written, &mut done),
            Step::Restart(_) | Step::Lose(_) => {}
        }
        if let Some(running) = &process.running {
            done.check(a_clock_never_goes_back(before, running.clock.now()));
        }
        done
    }

    /// The steps that can be taken, however far apart they bring the readings.
    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        let can = |left: u8| self.is_endless() || left > 0;
        let has_room = match self.exchange {
            Exchange::Counted(_) => true,
            Exchange::Endless { under_way, .. } => {
                let held = state.processes.iter().filter_map(|process| process.running.as_ref());
                state.under_way.iter().count() + held.map(|running| running.held.len()).sum::<usize>() < under_way
            }
        };
        for (at, process) in (0..).map(PeerId).zip(&state.processes) {
            let Some(running) = &process.running else {
                steps.push(Step::Restart(at));
                continue;
            };
            if can(state.left.events) {
                steps.push(Step::Tick(at));
            }
            if can(state.left.sends) && has_room {
                steps.push(Step::Send(at));
            }
            for message in state.under_way.iter().filter(|message| message.stamp.peer != at) {
                if can(state.left.events) {
                    steps.push(Step::Receive { at, message: message.clone(), stays: true });
                    if self.is_endless() {
                        steps.push(Step::Receive { at, message: message.clone(), stays: false });
                    }
                }
                if can(state.left.reads) {
                    steps.push(Step::Read { at, message: message.clone() });
                }
            }
            if running.writing.is_some() {
                steps.push(Step::Written(at));
            } else if running.clock.now().0 + self.range > process.durable.0
                && state.writing_matters(self.is_endless(), running)
            {
                steps.push(Step::WriteAhead(at));
            }
            if can(state.left.crashes) {
                steps.push(Step::Crash { at, written: false });
                if running.writing.is_some() {
                    steps.push(Step::Crash { at, written: true });
                }
            }
        }
        if self.is_endless() {
            steps.extend(state.under_way.iter().cloned().map(Step::Lose));
        }
    }

    fn pay(&self, left: &mut Budget, step: &Step) {
        if self.is_endless() {
            return;
        }
        match step {
            Step::Tick(_) | Step::Receive { .. } => left.events -= 1,
            Step::Send(_) => left.sends -= 1,
            Step::Read { .. } => left.reads -= 1,
            Step::Crash { .. } => left.crashes -= 1,
            Step::WriteAhead(_) | Step::Written(_) | Step::Restart(_) | Step::Lose(_) => {}
        }
    }
}

impl State {
    /// Whether this clock's disk can still make a difference, either to what is sent or after a crash.
    fn writing_matters(&self, endless: bool, running: &Running) -> bool {
        endless || self.left.sends > 0 || self.left.crashes > 0 || !running.held.is_empty()
    }

    /// Drops what can no longer make a difference in an exchange with budgets.
    fn forget(&mut self) {
        if self.left.events == 0 && self.left.reads == 0 {
            self.under_way = Bag::default();
        }
        if self.left.crashes == 0 {
            for process in &mut self.processes {
                if process.running.as_ref().is_some_and(|running| !running.unwritten.is_empty())
                    || process.running.is_some() && process.kept.stamps().next().is_some()
                {
                    process.change(|process| {
                        process.kept.0.fill(Time(0));
                        process.running.iter_mut().for_each(|running| running.unwritten.clear());
                    });
                }
            }
        }
    }

    /// The greatest distance between any two of its readings: those of the clocks, on the disks, under way, and in the
    /// oracle.
    fn apart(&self) -> u64 {
        let mut times = Vec::new();
        for process in &self.processes {
            times.push(process.durable);
            times.extend(&process.kept.0);
            if let Some(Running { clock, writing, held, past, unwritten }) = &process.running {
                times.extend([clock.now(), clock.bound()]);
                times.extend(writing);
                times.extend(&past.0);
                held.iter().for_each(|message| times.extend(message.past.0.iter().chain([&message.stamp.time])));
                unwritten.iter().for_each(|(time, past)| times.extend(past.0.iter().chain([time])));
            }
        }
        self.under_way.iter().for_each(|message| times.extend(message.past.0.iter().chain([&message.stamp.time])));
        times.retain(|time| *time != Time(0));
        let (least, most) = (times.iter().min(), times.iter().max());
        least.zip(most).map_or(0, |(least, most)| most.0 - least.0)
    }
}

impl Subject for Clocks {
    type State = State;
    type Action = Step;

    fn first(&self) -> State {
        let none = Past(vec![Time(0); self.clocks as usize]);
        let process = |peer| {
            let clock = Clock::resume(PeerId(peer), self.start);
            let running = Running { clock, writing: None, held: Vec::new(), past: none.clone(), unwritten: Vec::new() };
            Shared::new(Process { durable: self.start, kept: none.clone(), running: Some(running) })
        };
        let left = match self.exchange {
            Exchange::Counted(budget) => budget,
            Exchange::Endless { .. } => Budget::default(),
        };
        let processes = (0..self.clocks).map(process).collect();
        State { left, processes, under_way: Bag::default(), violation: None }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.violation.is_some() {
            return;
        }
        self.steps(state, actions);
        if let Exchange::Endless { apart, .. } = self.exchange {
            actions.retain(|step| self.after(state, step).0.apart() <= apart);
        }
    }

    fn after(&self, state: &State, step: &Step) -> (State, Met) {
        let mut next = state.clone();
        self.pay(&mut next.left, step);
        let mut met = Met { stepped: step.kind().map(|kind| Stepped { kind, role: Role::Clock }), ..Met::default() };
        if let Step::Receive { message, stays: false, .. } | Step::Lose(message) = step {
            next.under_way.take(message);
        }
        let Some(at) = step.who() else {
            met.landmarks.note(Landmark::LostOnLink);
            return (next, met);
        };
        let Some(process) = next.processes.get_mut(at.0 as usize) else { return (next, met) };
        let done = process.change(|process| self.step(process, step));
        met.landmarks = done.landmarks;
        for message in done.sent {
            let same = |other: &Shared<Message>| other.stamp.time == message.stamp.time && other.stamp.peer != at;
            if next.under_way.iter().any(same) {
                met.landmarks.note(Landmark::SameReading);
            }
            next.under_way.add(Shared::new(message));
        }
        next.violation = done.wrong;
        if !self.is_endless() {
            next.forget();
        }
        (next, met)
    }

    fn violation<'a>(&self, state: &'a State) -> Option<&'a Violation> {
        state.violation.as_ref()
    }

    fn properties(&self) -> Vec<Property> {
        vec![Property::S7]
    }

    fn adversary(&self) -> String {
        match self.exchange {
            Exchange::Counted(Budget { events, sends, reads, crashes }) => format!(
                "local events and receipts: {events}; messages sent: {sends}; messages read without receipt: {reads}; \
                 crashes: {crashes}. Messages arrive in any order, repeatedly, or never. Bounds are written {} ahead, \
                 at any moment.",
                self.range
            ),
            Exchange::Endless { apart, under_way } => format!(
                "every step as often as it likes, crashes included, while at most {under_way} messages are under way \
                 and all readings lie within {apart} of each other. Messages arrive in any order, once or repeatedly, \
                 or are lost. Bounds are written {} ahead, at any moment.",
                self.range
            ),
        }
    }

    fn sentence(&self, state: &State, step: &Step, next: &State) -> String {
        let Some(at) = step.who() else {
            return match step {
                Step::Lose(message) => format!("the message {} is lost", name(message)),
                Step::Tick(_)
                | Step::Send(_)
                | Step::Receive { .. }
                | Step::Read { .. }
                | Step::WriteAhead(_)
                | Step::Written(_)
                | Step::Crash { .. }
                | Step::Restart(_) => String::new(),
            };
        };
        let (was, is) = (&state.processes[at.0 as usize], &next.processes[at.0 as usize]);
        let reading =
            |process: &Process| process.running.as_ref().map_or(process.durable, |running| running.clock.now());
        let (before, after) = (reading(was), reading(is));
        let left = next.under_way.iter().filter(|message| !state.under_way.has(message)).map(|message| name(message));
        let left = left.collect::<Vec<_>>().join(", ");
        let mut told = match step {
            Step::Tick(_) => format!("clock {at} counts a local event: {before} becomes {after}"),
            Step::Send(_) if left.is_empty() => {
                format!("clock {at} stamps a message {after} and holds it back: only {} is written", is.durable)
            }
            Step::Send(_) => format!("clock {at} sends a message stamped {after}"),
            Step::Receive { message, stays, .. } => {
                let again = if *stays { "" } else { " for the last time" };
                format!("clock {at} receives the message {}{again}: {before} becomes {after}", name(message))
            }
            Step::Read { message, .. } if before == after => {
                format!("clock {at} reads the message {} and stays at {after}", name(message))
            }
            Step::Read { message, .. } => {
                format!("clock {at} reads the message {} and catches up: {before} becomes {after}", name(message))
            }
            Step::WriteAhead(_) => format!("clock {at} asks for a bound of {}", before.0 + self.range),
            Step::Written(_) if left.is_empty() => format!("clock {at} learns that {} is written", is.durable),
            Step::Written(_) => {
                format!("clock {at} learns that {} is written and sends the message {left}", is.durable)
            }
            Step::Crash { written: true, .. } => {
                format!("clock {at} crashes at {before}; the bound of {} has reached its disk unconfirmed", is.durable)
            }
            Step::Crash { written: false, .. } => {
                format!("clock {at} crashes at {before}, with {} written", is.durable)
            }
            Step::Restart(_) => format!("clock {at} resumes at {after}"),
            Step::Lose(_) => String::new(),
        };
        if let Some(violation) = &next.violation {
            let Violation { property, what, .. } = violation;
            let _ = write!(told, " — {property} IS VIOLATED: {what}");
        }
        told
    }

    fn portrait(&self, state: &State) -> String {
        let mut text = String::new();
        for (peer, process) in (0..).map(PeerId).zip(&state.processes) {
            let Process { durable, kept, running } = &**process;
            let Some(Running { clock, writing, held, past, .. }) = running else {
                let _ = writeln!(text, "clock {peer}: down; {durable} written, past {}", past_of(kept));
                continue;
            };
            let _ = write!(text, "clock {peer}: at {}; {durable} written", clock.now());
            if let Some(bound) = writing {
                let _ = write!(text, ", {bound} being written");
            }
            let _ = write!(text, "; past {}", past_of(past));
            if !held.is_empty() {
                let held: Vec<_> = held.iter().map(name).collect();
                let _ = write!(text, "; held back: {}", held.join(", "));
            }
            text.push('\n');
        }
        let under_way: Vec<_> = state.under_way.iter().map(|message| name(message)).collect();
        let _ =
            writeln!(text, "under way: {}", if under_way.is_empty() { "nothing".into() } else { under_way.join(", ") });
        match self.exchange {
            Exchange::Counted(_) => {
                let Budget { events, sends, reads, crashes } = state.left;
                let all = [
                    (events, "events"),
                    (sends, "messages to send"),
                    (reads, "messages to read"),
                    (crashes, "crashes"),
                ];
                let all: Vec<_> =
                    all.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
                let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
                let _ = writeln!(text, "the adversary has left: {all}");
            }
            Exchange::Endless { apart, .. } => {
                let _ = writeln!(text, "readings lie {} apart, of at most {apart}", state.apart());
            }
        }
        match &state.violation {
            Some(violation) => {
                let _ = write!(text, "VIOLATED HERE: {violation}");
            }
            None => text.push_str("holds here: S7"),
        }
        text
    }

    fn lanes(&self, _: &State) -> Vec<Lane> {
        (0..self.clocks).map(|peer| Lane { name: format!("clock {peer}"), kind: LaneKind::Peer }).collect()
    }

    fn marks(&self, before: &State, step: &Step, after: &State) -> Vec<Mark> {
        let mut marks = Vec::new();
        let now = |at: &PeerId| {
            let process = after.processes.get(at.0 as usize)?;
            Some(process.running.as_ref().map_or(process.durable, |running| running.clock.now()))
        };
        let reads = |at: &PeerId, what: &str| {
            let label = format!("{what} {}", now(at).unwrap_or_default());
            Mark::Happened { at: at.0 as usize, label }
        };
        match step {
            Step::Tick(at) => marks.push(reads(at, "event")),
            Step::Send(at) => marks.push(reads(at, "stamps")),
            Step::Receive { at, message, .. } => {
                marks.push(Mark::Arrived { at: at.0 as usize, message: message.name() });
                marks.push(reads(at, "receives:"));
            }
            Step::Read { at, .. } => marks.push(reads(at, "reads:")),
            Step::WriteAhead(at) => marks.push(Mark::Happened { at: at.0 as usize, label: "asks for a bound".into() }),
            Step::Written(at) => {
                let durable = after.processes.get(at.0 as usize).map_or(Time(0), |process| process.durable);
                marks.push(Mark::Happened { at: at.0 as usize, label: format!("{durable} written") });
            }
            Step::Crash { at, .. } => marks.push(Mark::Crashed { at: at.0 as usize }),
            Step::Restart(at) => {
                marks.push(Mark::Restarted { at: at.0 as usize });
                marks.push(reads(at, "resumes at"));
            }
            Step::Lose(message) => marks.push(Mark::Lost { message: message.name() }),
        }
        for message in after.under_way.iter().filter(|message| !before.under_way.has(message)) {
            let (from, label) = (message.stamp.peer.0 as usize, message.stamp.time.to_string());
            marks.push(Mark::Sent { from, to: None, message: message.name(), label });
        }
        if let Some(violation) = &after.violation {
            let at = step.who().map(|at| at.0 as usize);
            marks.push(Mark::Violated { at, label: violation.to_string() });
        }
        marks
    }
}

fn name(message: &Message) -> String {
    format!("{}@{}", message.stamp.time, message.stamp.peer)
}

fn past_of(past: &Past) -> String {
    let stamps: Vec<_> = past.stamps().map(|stamp| format!("{}@{}", stamp.time, stamp.peer)).collect();
    if stamps.is_empty() { "none".into() } else { stamps.join(" ") }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Clocks>> {
    let case = |clocks, range, exchange| Clocks { clocks, start: Time(1), range, exchange };
    let counted = |clocks, range, budget| case(clocks, range, Exchange::Counted(budget));
    let endless = |apart, under_way| case(2, 2, Exchange::Endless { apart, under_way });
    let budget = Budget { events: 3, sends: 2, reads: 0, crashes: 0 };
    vec![
        Scenario {
            name: "clock-two",
            family: Family::Clock,
            about: "two clocks, written ahead by two, one of which may crash at any moment",
            bounds: "3 events, 2 messages, 1 crash. Two messages are the fewest that can overtake one another, and of \
                     three events one can come before a crash, one after it, and one at the other clock. A message \
                     stays under way and may arrive in any life of its receiver, as often as there are events left.",
            landmarks: vec![
                Landmark::Overtaken,
                Landmark::ReceivedAgain,
                Landmark::HeldBack,
                Landmark::HeldLost,
                Landmark::BoundLost,
                Landmark::BoundKept,
                Landmark::Undone,
                Landmark::Restarted,
                Landmark::SameReading,
            ],
            case: counted(2, 2, Budget { crashes: 1, ..budget }),
            further: Some(counted(2, 2, Budget { events: 4, sends: 3, reads: 0, crashes: 2 })),
        },
        Scenario {
            name: "clock-read",
            family: Family::Clock,
            about: "two clocks that also take over what they read, as the books are read on taking office",
            bounds: "The same with 1 message read, written ahead by one: no two messages share a bound. Reading is not \
                     an event, so it matters only to the next event, and one reading before each event is as good as \
                     several.",
            landmarks: vec![
                Landmark::CaughtUp,
                Landmark::Overtaken,
                Landmark::HeldBack,
                Landmark::BoundLost,
                Landmark::BoundKept,
                Landmark::Undone,
                Landmark::Restarted,
            ],
            case: counted(2, 1, Budget { reads: 1, crashes: 1, ..budget }),
            further: Some(counted(2, 1, Budget { events: 4, sends: 3, reads: 2, crashes: 1 })),
        },
        Scenario {
            name: "clock-three",
            family: Family::Clock,
            about: "three clocks: a message that is passed on may arrive before the one it follows from",
            bounds: "3 events, 2 messages, no crash: a message, another that its receiver sends, and both received by \
                     the third clock, in either order. A longer chain consists of such pieces, since a past enters \
                     only by a message.",
            landmarks: vec![Landmark::Overtaken, Landmark::ReceivedAgain, Landmark::HeldBack, Landmark::SameReading],
            case: counted(3, 2, budget),
            further: Some(counted(3, 2, Budget { events: 4, sends: 3, reads: 0, crashes: 0 })),
        },
        Scenario {
            name: "clock-endless",
            family: Family::Clock,
            about: "two clocks that never stop, whatever crashes and whatever is lost",
            bounds: "No budgets. One message under way, and all readings within 4 of each other: twice what is written \
                     ahead, so that a clock may use up two bounds while the other stands still. Clocks only count up \
                     and compare, so states with higher readings are the same again, and there are finitely many.",
            landmarks: vec![
                Landmark::CaughtUp,
                Landmark::ReceivedAgain,
                Landmark::HeldBack,
                Landmark::HeldLost,
                Landmark::BoundLost,
                Landmark::BoundKept,
                Landmark::Undone,
                Landmark::Restarted,
                Landmark::LostOnLink,
            ],
            case: endless(4, 1),
            further: Some(endless(4, 2)),
        },
    ]
}
