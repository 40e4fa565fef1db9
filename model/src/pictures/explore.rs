//! stateright's Explorer over a subject: every step as a sentence, every state as a portrait, every path as a picture.
//!
//! The Explorer is a page on which people take one step after another. It shows what a model says about itself; here
//! that is what the subject says ([`Subject::sentence`], [`Subject::portrait`], [`Subject::marks`]). It addresses a
//! path by the numbers of its steps, each counted among the steps that can be taken at that point: `/#/steps/0/4/1` is
//! the first state, then its fifth step, then the second step from there. So links to interesting states can be made
//! beforehand.
//!
//! Its marks beside the properties refer to the path on which the search first found a violation, not to the state that
//! is shown; the portrait says which properties hold in that state.

use std::{
    fmt, fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::invariant::{Property, Violation};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    catalogue::{self, Case, Entry, Visitor},
    pictures::diagram,
    search::{
        graph::Graph,
        history::History,
        trace::{self, Survey},
    },
    subject::Subject,
    subject::{
        landmark::Landmark,
        scenario::{Extent, SMALL},
    },
};

mod page;

use page::{Panel, Place};

/// The number of states searched for links before the Explorer starts; it takes some seconds.
const LOOK_THROUGH: usize = 200_000;

/// The number of states searched, depth first, for a counterexample that is not among the first states.
const LOOK_DEEPER: usize = 5_000_000;

/// How long the Explorer may take to start answering.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves the Explorer over a subject until Ctrl-C: `scenario.case.with(Explore { .. })`.
pub struct Explore<'a> {
    /// The name of the scenario that is explored.
    pub name: &'a str,
    /// What runs, in one line.
    pub about: &'a str,
    /// Its bounds, and why they suffice.
    pub bounds: &'a str,
    /// The recorded number of unique states.
    pub recorded: Option<usize>,
    /// Small scenarios of the same model, to suggest if this one is not small.
    pub others: Vec<&'a str>,
    /// The landmarks to link to.
    pub landmarks: &'a [Landmark],
    /// The mutant that is on, if any. The caller has switched it on; here it is only named, and a history that leads to
    /// a violation is looked for.
    pub mutant: Option<On<'a>>,
    /// Where the Explorer listens: a loopback address and a port; port 0 means any free port.
    pub address: &'a str,
    /// Where the introduction, the links and warnings are written.
    pub out: &'a mut dyn Write,
}

/// A mutant that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct On<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it breaks, in one sentence.
    pub sentence: &'a str,
    /// The scenario that is known to show it.
    pub shown_in: Option<&'a str>,
}

/// Why the Explorer does not run. `bazaar-model` exits with code 2.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// The address cannot be parsed or resolved. Give an address and a port.
    #[error("{address}: not an address and a port, such as 127.0.0.1:3000: {source}")]
    Address {
        /// The address that was given.
        address: String,
        /// What is wrong with the address.
        source: io::Error,
    },
    /// The address is not a loopback address. Give one: anybody who can reach the Explorer can use it.
    #[error(
        "{address}: not a loopback address; the Explorer has no authentication, so it is served to this machine only"
    )]
    NotLoopback {
        /// The address that was given.
        address: String,
    },
    /// The port is taken. Give another port, or end the program that listens there.
    #[error("{address}: nothing can listen there: {source}")]
    Taken {
        /// The address that was given.
        address: SocketAddr,
        /// Why nothing can listen there.
        source: io::Error,
    },
    /// The operating system refuses something: the output cannot be written, for instance, or signals cannot be waited
    /// for. The error says what.
    #[error("the operating system refuses a request: {0}")]
    System(#[from] io::Error),
    /// The Explorer ended unasked. Its own message, if it gave one, comes before this error.
    #[error("the Explorer ended unexpectedly")]
    Ended,
}

impl<'a> Explore<'a> {
    /// The Explorer for a scenario.
    pub fn of(
        scenario: &'a Entry,
        extent: Extent,
        mutant: Option<On<'a>>,
        address: &'a str,
        out: &'a mut dyn Write,
    ) -> Explore<'a> {
        Explore {
            name: scenario.name,
            about: scenario.about,
            bounds: scenario.bounds,
            recorded: scenario.recorded(extent),
            others: catalogue::small(scenario.family),
            landmarks: &scenario.landmarks,
            mutant,
            address,
            out,
        }
    }

    /// Serves this case of its scenario until it is told to stop. Not generic, as [`check`](crate::search::check::check).
    ///
    /// # Errors
    /// See [`ExploreError`].
    pub fn run(self, case: &Case) -> Result<(), ExploreError> {
        case.with(self)
    }
}

impl fmt::Debug for Explore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explore").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Visitor for Explore<'_> {
    type Output = Result<(), ExploreError>;

    fn visit<S: Subject>(mut self, subject: &S) -> Result<(), ExploreError> {
        // Held until the Explorer takes the port, so that the printed links stay valid.
        let held = listen(self.address)?;
        let address = held.local_addr()?;
        self.introduce(subject)?;
        let panel = self.link(subject, address)?;
        let place = Place::enter()?;
        drop(held);
        serve(subject, address, || {
            if let Err(error) = place.put(&panel, address) {
                writeln!(self.out, "warning: {error}")?;
            }
            let all = "\"Run to completion\" on that page searches all states; loopback only; Ctrl-C ends it";
            writeln!(self.out, "\nExplorer: http://{address}/\n{all}")?;
            self.out.flush()
        })
    }
}

impl Explore<'_> {
    fn introduce<S: Subject>(&mut self, subject: &S) -> io::Result<()> {
        writeln!(self.out, "scenario   {}: {}", self.name, self.about)?;
        writeln!(self.out, "bounds     {}", self.bounds)?;
        writeln!(self.out, "adversary  {}", subject.adversary())?;
        match self.recorded {
            Some(states) => writeln!(self.out, "states     {states} unique ones recorded")?,
            None => writeln!(self.out, "states     no number recorded")?,
        }
        if self.recorded.is_none_or(|states| states > SMALL) {
            let others = self.others.join(", ");
            let others = if others.is_empty() { others } else { format!("; small scenarios: {others}") };
            writeln!(self.out, "warning: \"Run to completion\" will take long here{others}")?;
        }
        if let Some(mutant) = self.mutant {
            writeln!(self.out, "mutant     {}: {}", mutant.name, mutant.sentence)?;
            if let Some(other) = mutant.shown_in.filter(|other| *other != self.name) {
                writeln!(
                    self.out,
                    "           it is known to show in the scenario {other}, and may not show in this one"
                )?;
            }
        }
        self.out.flush()
    }

    /// Looks for what is worth seeing, and prints a link to each as soon as all are found.
    fn link<S: Subject>(&mut self, subject: &S, address: SocketAddr) -> io::Result<Panel> {
        writeln!(self.out, "\nLinks, each to a shortest history (searching up to {LOOK_THROUGH} states)")?;
        self.out.flush()?;
        let survey = trace::survey(subject, LOOK_THROUGH, self.landmarks, self.mutant.is_some());
        let Survey { landmarks, violation, states } = survey;
        let mut panel = Panel {
            scenario: format!("{}: {}", self.name, self.about),
            mutant: self.mutant.map(|mutant| format!("{}: {}", mutant.name, mutant.sentence)),
            ..Panel::default()
        };
        let mut to = |words: String, history: &History<'_, S>, out: &mut dyn Write| {
            writeln!(out, "{words}: {}", link(address, history))?;
            panel.links.push((words, fragment(history)));
            io::Result::Ok(())
        };
        to("the first state".to_owned(), &History::empty(subject), self.out)?;
        for (landmark, history) in &landmarks {
            to(format!("{landmark} ({})", count(history)), history, self.out)?;
        }
        for landmark in self.landmarks.iter().filter(|landmark| !landmarks.contains_key(landmark)) {
            writeln!(self.out, "{landmark}: not found within {states} states")?;
        }
        let violation = match (violation, self.mutant) {
            (None, Some(_)) => {
                writeln!(self.out, "no violation within {states} states; searching deeper")?;
                self.out.flush()?;
                deeper(subject)
            }
            (found, _) => found,
        };
        match (violation, self.mutant) {
            (Some((violation, history)), _) => {
                to(format!("violated, {violation} ({})", count(&history)), &history, self.out)?;
                // It is why people look, so the page opens on it.
                panel.links.rotate_right(1);
            }
            (None, Some(mutant)) => {
                let elsewhere = match mutant.shown_in.filter(|other| *other != self.name) {
                    Some(other) => format!("; `bazaar-model explore {other} --mutant {}` shows one", mutant.name),
                    None => String::new(),
                };
                let note = format!("no violation found in the deeper search either{elsewhere}");
                writeln!(self.out, "{note}")?;
                panel.notes.push(note);
            }
            (None, None) => {}
        }
        Ok(panel)
    }
}

fn count<S: Subject>(history: &History<'_, S>) -> String {
    let steps = history.steps().len();
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// The Explorer's address of the state that a history leads to.
#[must_use]
pub fn link<S: Subject>(address: SocketAddr, history: &History<'_, S>) -> String {
    format!("http://{address}/{}", fragment(history))
}

/// The part of that address that names the state.
fn fragment<S: Subject>(history: &History<'_, S>) -> String {
    let numbers = history.numbers().map(|number| format!("/{number}"));
    format!("#/steps/0{}", numbers.collect::<String>())
}

/// A counterexample that is too deep for a survey, shortened.
fn deeper<S: Subject>(subject: &S) -> Option<(Violation, History<'_, S>)> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let checker = Graph::new(subject.clone()).checker().threads(threads).target_state_count(LOOK_DEEPER);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let steps = checker.discoveries().into_values().next()?.into_actions();
    let history = History::replay(subject, &steps).ok()?;
    let property = history.wrong()?.property;
    let short = history.shorten(property);
    Some((short.wrong()?, short))
}

/// Binds a port of a loopback address, to be sure that it is free.
fn listen(address: &str) -> Result<TcpListener, ExploreError> {
    let wrong = |source| ExploreError::Address { address: address.to_owned(), source };
    let all: Vec<_> = address.to_socket_addrs().map_err(wrong)?.collect();
    let Some(first) = all.first().copied() else {
        return Err(wrong(io::Error::from(io::ErrorKind::AddrNotAvailable)));
    };
    // All of them: a name may resolve to several addresses.
    if !all.iter().all(|address| address.ip().is_loopback()) {
        return Err(ExploreError::NotLoopback { address: address.to_owned() });
    }
    TcpListener::bind(first).map_err(|source| ExploreError::Taken { address: first, source })
}

enum Event {
    Interrupted,
    Ended,
}

/// Serves the Explorer at this address until the process is interrupted or terminated. Calls `ready` once the Explorer
/// answers.
///
/// # Errors
/// The Explorer does not answer in time, or ends unasked.
pub fn serve<S: Subject>(
    subject: &S,
    address: SocketAddr,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), ExploreError> {
    let (events, event) = mpsc::channel();
    let mut signals = Signals::new(stop_signals())?;
    let interrupted = events.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = interrupted.send(Event::Interrupted);
        }
    });
    let explored = Explored::new(subject.clone());
    let server = thread::spawn(move || {
        explored.checker().serve(address);
    });
    // `serve` never returns; when it panics, the thread ends.
    let begun = Instant::now();
    while TcpStream::connect_timeout(&address, DEADLINE).is_err() {
        if server.is_finished() || begun.elapsed() > DEADLINE {
            return Err(ExploreError::Ended);
        }
        thread::sleep(Duration::from_millis(10));
    }
    ready()?;
    thread::spawn(move || {
        let _ = server.join();
        let _ = events.send(Event::Ended);
    });
    match event.recv() {
        Ok(Event::Interrupted) => Ok(()),
        Ok(Event::Ended) | Err(mpsc::RecvError) => Err(ExploreError::Ended),
    }
}

/// The signals that end a program cleanly: SIGINT, SIGTERM and, unless it was started to outlive its terminal as `nohup`
/// does, SIGHUP.
#[must_use]
pub fn stop_signals() -> Vec<i32> {
    // Asked of the kernel, since catching the signal is what would change it.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let outlives = ignored.unwrap_or_default() >> (SIGHUP - 1) & 1 == 1;
    let all = [SIGINT, SIGTERM, SIGHUP];
    all.into_iter().filter(|signal| *signal != SIGHUP || !outlives).collect()
}

/// A subject as the Explorer shows it. Its states are those of its [`Graph`], so their number is the same.
#[derive(Debug)]
pub struct Explored<S> {
    subject: Arc<S>,
    /// The properties that are checked, and the names under which they are shown.
    properties: Vec<(Property, &'static str)>,
}

impl<S: Subject> Explored<S> {
    /// Prepares a subject to be shown.
    #[must_use]
    pub fn new(subject: S) -> Explored<S> {
        // stateright wants static names; this leaks some hundred bytes for each subject that is ever shown.
        let named = |property: Property| (property, &*format!("{property}: {}", property.sentence()).leak());
        let properties = subject.properties().into_iter().map(named).collect();
        Explored { subject: Arc::new(subject), properties }
    }

    fn shown(&self, state: S::State) -> Shown<S> {
        Shown(Arc::new(Scene { subject: Arc::clone(&self.subject), state, wrong: OnceLock::new() }))
    }
}

/// A state; its `Debug` is its portrait.
pub struct Shown<S: Subject>(Arc<Scene<S>>);

struct Scene<S: Subject> {
    subject: Arc<S>,
    state: S::State,
    /// What is wrong in it, once that has been asked.
    wrong: OnceLock<Option<Violation>>,
}

impl<S: Subject> Shown<S> {
    fn wrong(&self) -> Option<&Violation> {
        self.0.wrong.get_or_init(|| trace::wrong(&*self.0.subject, &self.0.state)).as_ref()
    }

    fn holds(&self, property: Property) -> bool {
        self.wrong().is_none_or(|found| found.property != property)
    }

    fn portrait(&self) -> String {
        self.0.subject.portrait(&self.0.state)
    }
}

impl<S: Subject> Clone for Shown<S> {
    fn clone(&self) -> Shown<S> {
        Shown(Arc::clone(&self.0))
    }
}

impl<S: Subject> fmt::Debug for Shown<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.portrait())
    }
}

impl<S: Subject> PartialEq for Shown<S> {
    fn eq(&self, other: &Shown<S>) -> bool {
        self.0.state == other.0.state
    }
}

impl<S: Subject> Hash for Shown<S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.state.hash(hasher);
    }
}

/// A step, and the state in which it is taken; its `Debug` is its sentence. Equality compares only the step.
pub struct Step<S: Subject> {
    from: Shown<S>,
    action: S::Action,
}

impl<S: Subject> Step<S> {
    fn sentence(&self) -> String {
        let Scene { subject, state, .. } = &*self.from.0;
        subject.sentence(state, &self.action, &subject.after(state, &self.action).0)
    }
}

impl<S: Subject> Clone for Step<S> {
    fn clone(&self) -> Step<S> {
        Step { from: self.from.clone(), action: self.action.clone() }
    }
}

impl<S: Subject> fmt::Debug for Step<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())
    }
}

impl<S: Subject> PartialEq for Step<S> {
    fn eq(&self, other: &Step<S>) -> bool {
        self.action == other.action
    }
}

impl<S: Subject> Model for Explored<S> {
    type State = Shown<S>;
    type Action = Step<S>;

    fn init_states(&self) -> Vec<Shown<S>> {
        vec![self.shown(self.subject.first())]
    }

    fn actions(&self, state: &Shown<S>, actions: &mut Vec<Step<S>>) {
        let mut steps = Vec::new();
        self.subject.actions(&state.0.state, &mut steps);
        actions.extend(steps.into_iter().map(|action| Step { from: state.clone(), action }));
    }

    fn next_state(&self, state: &Shown<S>, step: Step<S>) -> Option<Shown<S>> {
        let (next, _) = self.subject.after(&state.0.state, &step.action);
        (next != state.0.state).then(|| self.shown(next))
    }

    fn format_action(&self, step: &Step<S>) -> String {
        step.sentence()
    }

    /// The portrait of the state after the step, with a sign before each new line.
    fn format_step(&self, state: &Shown<S>, step: Step<S>) -> Option<String> {
        let next = self.next_state(state, step.clone())?;
        let sentence = self.subject.sentence(&state.0.state, &step.action, &next.0.state);
        let before = state.portrait();
        let mut known: Vec<_> = before.lines().collect();
        let mut text = format!("{sentence}\n\n");
        for line in next.portrait().lines() {
            // A line that occurred several times is old that many times.
            let stood = known.iter().position(|before| *before == line);
            let sign =
                if stood.map(|place| known.swap_remove(place)).is_some() || line.is_empty() { "  " } else { "» " };
            text.push_str(sign);
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\n» new with this step");
        Some(text)
    }

    fn as_svg(&self, path: stateright::Path<Shown<S>, Step<S>>) -> Option<String> {
        let steps: Vec<_> = path.into_actions().into_iter().map(|step| step.action).collect();
        Some(diagram::history(&History::replay(&*self.subject, &steps).ok()?, None))
    }

    fn properties(&self) -> Vec<stateright::Property<Explored<S>>> {
        self.properties.iter().map(|(property, name)| always(*property, name)).collect()
    }
}

/// stateright wants a function that captures nothing for each property, so there is one for each of them here.
fn always<S: Subject>(property: Property, name: &'static str) -> stateright::Property<Explored<S>> {
    macro_rules! each {
        ($($property:ident)*) => {
            match property {
                $(Property::$property => stateright::Property::always(name, |_, state: &Shown<S>| {
                    state.holds(Property::$property)
                }),)*
            }
        };
    }
    each!(S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S13 S14 S15 R1 R2 R3 R5 R10 F12 A2 A9 B4 B5 B6 B7 B9 C2 C5 D7 D8 Y1 Y2
          L1 L2 L3 L4)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::subject::fixture::{Fixture, LANDMARKS};

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3000);

    fn said(explore: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        explore(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn explore<'a>(mutant: Option<On<'a>>, address: &'a str, out: &'a mut dyn Write) -> Explore<'a> {
        let (about, bounds) = ("two peers and a ledger", "small");
        Explore {
            name: "fixture",
            about,
            bounds,
            recorded: Some(7),
            others: vec!["other"],
            landmarks: &LANDMARKS,
            mutant,
            address,
            out,
        }
    }

    #[test]
    fn there_are_as_many_states_as_without_an_explorer() {
        let fixture = Fixture { is_broken: false };
        let graph = Graph::new(fixture.clone()).checker().spawn_dfs().join();
        let explored = Explored::new(fixture).checker().spawn_dfs().join();
        assert_eq!(explored.unique_state_count(), graph.unique_state_count());
        assert!(graph.model().tally.expanded.load(Ordering::Relaxed) > 1000);
        explored.assert_properties();
    }

    #[test]
    fn only_the_broken_property_is_violated() {
        let explored = Explored::new(Fixture { is_broken: true }).checker().spawn_dfs().join();
        let found = explored.discoveries();
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, [&"S1: an epoch has at most one holder, and only its holder speaks for it"]);
    }

    #[test]
    fn a_link_names_the_steps_by_number() {
        let fixture = Fixture { is_broken: true };
        let history = trace::survey(&fixture, 10_000, &[], true).violation.unwrap().1;
        let explored = Explored::new(fixture.clone());
        let mut state = explored.init_states().remove(0);
        let link = link(ADDRESS, &history);
        let numbers = link.strip_prefix("http://127.0.0.1:3000/#/steps/0/").unwrap().split('/');
        for number in numbers {
            let mut actions = Vec::new();
            explored.actions(&state, &mut actions);
            let action = actions.swap_remove(number.parse().unwrap());
            state = explored.next_state(&state, action).unwrap();
        }
        assert!(!state.holds(Property::S1) && state.holds(Property::S2));
    }

    #[test]
    fn a_step_is_shown_with_what_is_new() {
        let explored = Explored::new(Fixture { is_broken: false });
        let first = explored.init_states().remove(0);
        assert_eq!(
            format!("{first:#?}"),
            "peer 1: out of office\npeer 2: out of office\nlink of peer 1: up\nleft: 3 timers, 1 crashes, 1 \
             cuts\nholds: S1, S2"
        );
        let mut actions = Vec::new();
        explored.actions(&first, &mut actions);
        let step = actions.swap_remove(0);
        assert_eq!(explored.format_action(&step), "peer 1's timer fires: it claims epoch 1");
        let told = explored.format_step(&first, step).unwrap();
        assert!(told.contains("\n» under way, peer 1: claim epoch 1\n"), "{told}");
        assert!(told.contains("\n  peer 1: out of office\n"), "{told}");
    }

    #[test]
    fn a_path_is_drawn_with_what_is_violated() {
        let fixture = Fixture { is_broken: true };
        let history = trace::survey(&fixture, 10_000, &[], true).violation.unwrap().1;
        let explored = Explored::new(fixture.clone());
        let mut state = explored.init_states().remove(0);
        let mut taken = Vec::new();
        for (_, action, _) in history.steps() {
            let step = Step { from: state.clone(), action: action.clone() };
            state = explored.next_state(&state, step.clone()).unwrap();
            taken.push(step);
        }
        let first = explored.init_states().remove(0);
        let path = stateright::Path::from_actions(&explored, first, &taken).unwrap();
        let drawn = explored.as_svg(path).unwrap();
        assert!(drawn.contains("Violated: S1: epoch 1 is held by peer 1"), "{drawn}");
    }

    #[test]
    fn landmarks_are_linked() {
        let fixture = Fixture { is_broken: false };
        let said = said(|out| {
            let mut explore = explore(None, "127.0.0.1:0", out);
            explore.introduce(&fixture).unwrap();
            explore.link(&fixture, ADDRESS).unwrap();
        });
        for expected in [
            "scenario   fixture: two peers and a ledger",
            "states     7 unique",
            "3 timers, 1 crash, 1 cut",
            "the first state: http://127.0.0.1:3000/#/steps/0\n",
            "a peer takes office (2 steps): http://127.0.0.1:3000/#/steps/0/",
            "something is sold: not found within ",
        ] {
            assert!(said.contains(expected), "{expected}\nis not in\n{said}");
        }
        assert!(!said.contains("violated") && !said.contains("warning"), "{said}");
    }

    #[test]
    fn a_scenario_too_large_to_run_to_completion_gets_a_warning() {
        for recorded in [None, Some(SMALL + 1)] {
            let said = said(|out| {
                let explore = explore(None, "127.0.0.1:0", out);
                Explore { recorded, ..explore }.introduce(&Fixture { is_broken: false }).unwrap();
            });
            assert!(said.contains("will take long here; small scenarios: other"), "{said}");
        }
    }

    #[test]
    fn the_violation_of_a_mutant_is_linked() {
        let fixture = Fixture { is_broken: true };
        let mutant = Some(On { name: "unfenced", sentence: "no fence", shown_in: Some("fixture") });
        let mut panel = Panel::default();
        let said = said(|out| panel = explore(mutant, "127.0.0.1:0", out).link(&fixture, ADDRESS).unwrap());
        assert!(panel.links[0].0.starts_with("violated, S1: "), "the page opens on it: {panel:?}");
        let expected =
            "violated, S1: epoch 1 is held by peer 1 and by peer 2 (4 steps): http://127.0.0.1:3000/#/steps/0/";
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn a_mutant_that_does_not_show_here_is_said_to_show_elsewhere() {
        let mutant = Some(On { name: "unfenced", sentence: "no fence", shown_in: Some("election") });
        let said = said(|out| {
            let mut explore = explore(mutant, "127.0.0.1:0", out);
            explore.introduce(&Fixture { is_broken: false }).unwrap();
            explore.link(&Fixture { is_broken: false }, ADDRESS).unwrap();
        });
        assert!(said.contains("known to show in the scenario election"), "{said}");
        assert!(said.contains("`bazaar-model explore election --mutant unfenced` shows one"), "{said}");
    }

    #[test]
    fn a_violation_too_deep_for_a_survey_is_found_and_shortened() {
        let fixture = Fixture { is_broken: true };
        let (violation, history) = deeper(&fixture).unwrap();
        assert_eq!(violation.property, Property::S1);
        assert!(history.steps().len() <= 6, "{history:?}");
    }

    #[test]
    fn only_a_loopback_address_is_served() {
        for address in ["0.0.0.0:0", "192.0.2.1:3000", "[::]:0"] {
            let refused = explore(None, address, &mut io::sink()).visit(&Fixture { is_broken: false });
            assert!(matches!(refused, Err(ExploreError::NotLoopback { .. })), "{address}: {refused:?}");
        }
        let refused = explore(None, "nowhere", &mut io::sink()).visit(&Fixture { is_broken: false });
        assert!(matches!(refused, Err(ExploreError::Address { .. })), "{refused:?}");
    }

    #[test]
    fn a_taken_port_is_refused() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let refused = explore(None, &address, &mut io::sink()).visit(&Fixture { is_broken: false });
        assert!(matches!(refused, Err(ExploreError::Taken { .. })), "{refused:?}");
    }
}
