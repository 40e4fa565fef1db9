//! What `bazaar-model` prints about scenarios and reports.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use bazaar_model::{
    catalogue::{self, Entry, Visitor},
    search::check::{Outcome, Report},
    simulator::elections::Election,
    subject::Subject,
    subject::matrix::{Kind, Role},
    subject::scenario::{Extent, Family},
};
use bazaar_model_mutants::search::mutants::{CATALOGUE, Line};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::bench::Rate;

struct Adversary;

impl Visitor for Adversary {
    type Output = String;

    fn visit<S: Subject>(self, subject: &S) -> String {
        subject.adversary()
    }
}

/// A scenario in words.
#[derive(Debug, Serialize)]
pub struct Described {
    scenario: &'static str,
    model: Family,
    about: &'static str,
    adversary: String,
    bounds: &'static str,
    /// The recorded number of unique states.
    states: Option<usize>,
    /// What `check --thorough` checks instead, if that is more.
    thorough: Option<Thorough>,
    /// Whether it is small enough to be explored as a whole.
    is_small: bool,
    /// The mutants that are looked for in it.
    mutants: Vec<&'static str>,
}

/// A scenario a step further.
#[derive(Debug, Serialize)]
struct Thorough {
    adversary: String,
    states: Option<usize>,
}

impl Described {
    /// This scenario.
    pub fn of(scenario: &Entry) -> Described {
        let further = scenario.further.as_ref().map(|further| Thorough {
            adversary: further.with(Adversary),
            states: scenario.recorded(Extent::Thorough),
        });
        Described {
            scenario: scenario.name,
            model: scenario.family,
            about: scenario.about,
            adversary: scenario.case.with(Adversary),
            bounds: scenario.bounds,
            states: scenario.recorded(Extent::Default),
            thorough: further,
            is_small: scenario.is_small(),
            mutants: CATALOGUE
                .iter()
                .filter(|line| line.scenario == scenario.name)
                .map(|line| line.mutant.name())
                .collect(),
        }
    }
}

fn states(states: Option<usize>) -> String {
    states.map_or("not recorded".to_owned(), |states| states.to_string())
}

/// A table without lines, as wide as the terminal if there is one.
fn plain(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().map(|name| cell(name)));
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size_of(io::stdout()) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A cell, with numbers to the right.
fn cell(text: &str) -> Cell {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(' ');
    let cell = Cell::new(text);
    if is_number { cell.set_alignment(CellAlignment::Right) } else { cell }
}

fn print(out: &mut impl Write, table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// Prints a line or two for each scenario.
pub fn overview(out: &mut impl Write, scenarios: &[Entry]) -> io::Result<()> {
    let mut table = plain(&["scenario", "model", "states", "what runs"]);
    for scenario in scenarios {
        let Described { scenario, model, about, states: recorded, .. } = Described::of(scenario);
        table.add_row([scenario, &model.to_string(), &states(recorded), about].map(cell));
    }
    print(out, &table)?;
    writeln!(out, "\n{} scenarios; `bazaar-model list NAME` describes one", scenarios.len())
}

/// Prints a scenario with its adversary and its bounds.
pub fn describe(out: &mut impl Write, described: &Described) -> io::Result<()> {
    let Described { scenario, model, about, adversary, bounds, states: recorded, thorough, is_small, mutants } =
        described;
    let mut table = plain(&[]);
    let mut row = |name: &str, text: &str| {
        table.add_row([Cell::new(name), Cell::new(text)]);
    };
    row("scenario", scenario);
    row("model", &model.to_string());
    row("runs", about);
    row("adversary", adversary);
    row("bounds", bounds);
    row("states", &format!("{}{}", states(*recorded), if *is_small { ", small enough to explore" } else { "" }));
    if let Some(Thorough { adversary, states: recorded }) = thorough {
        row("thorough", &format!("{adversary}; {} states", states(*recorded)));
    }
    if !mutants.is_empty() {
        row("mutants", &mutants.join(", "));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    print(out, &table)?;
    writeln!(out)
}

/// Prints all scenarios and mutants as a page, which is `docs/models.md`.
pub fn page(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# Scenarios and mutants\n")?;
    writeln!(out, "Written by `cargo run --release --bin bazaar-model -- list --markdown > docs/models.md`; a test")?;
    writeln!(out, "compares the two. What they prove, and what they do not, is said in")?;
    writeln!(out, "[the model's documentation](../model/src/lib.rs).\n")?;
    writeln!(out, "## Scenarios\n")?;
    let all = catalogue::all();
    writeln!(out, "{} scenarios. The numbers are the recorded numbers of unique states, by default and", all.len())?;
    writeln!(out, "with `--thorough`. `bazaar-model check` counts them again and says how long that takes.\n")?;
    for family in Family::ALL {
        let of_family: Vec<&Entry> = all.iter().filter(|scenario| scenario.family == family).collect();
        let sum = |extent| of_family.iter().filter_map(|scenario| scenario.recorded(extent)).sum::<usize>();
        let (default, thorough) = (sum(Extent::Default), sum(Extent::Thorough));
        writeln!(out, "### {family}: {default} states, {thorough} with `--thorough`\n")?;
        writeln!(out, "| Scenario | States | Thorough | What runs, with which adversary, within which bounds |")?;
        writeln!(out, "|---|--:|--:|---|")?;
        for scenario in of_family {
            let states = |extent| scenario.recorded(extent).map_or("–".to_owned(), |states| states.to_string());
            let thorough = scenario.further.as_ref().map_or("–".to_owned(), |_| states(Extent::Thorough));
            let (name, about, bounds) = (scenario.name, scenario.about, scenario.bounds);
            let adversary = scenario.case.with(Adversary);
            let what = format!("{about}. *Adversary:* {adversary}. *Bounds:* {bounds}").replace('|', "\\|");
            writeln!(out, "| `{name}` | {} | {thorough} | {what} |", states(Extent::Default))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "## Mutants\n")?;
    writeln!(
        out,
        "{} mutants: in each, one safety line of the protocol is removed or weakened, and the",
        CATALOGUE.len()
    )?;
    writeln!(
        out,
        "property must fail in the scenario after exactly that many steps. `bazaar-model mutants` tries them.\n"
    )?;
    writeln!(out, "| Mutant | Property | Scenario | Steps | What is broken |")?;
    writeln!(out, "|---|---|---|--:|---|")?;
    for Line { mutant, property, scenario, steps } in CATALOGUE {
        writeln!(out, "| `{mutant}` | {} | `{scenario}` | {steps} | {} |", property, mutant.sentence())?;
    }
    Ok(())
}

/// How fast models were searched, beside stateright's Paxos.
pub fn rates(out: &mut impl Write, rates: &[Rate]) -> io::Result<()> {
    let mut table = plain(&["scenario", "model", "states", "seconds", "states/s", "to paxos", "B/state"]);
    for rate in rates {
        // With few states, what the process needs anyway would dominate.
        let bytes = rate.bytes_per_state.filter(|_| rate.states >= 50_000);
        table.add_row([
            cell(&rate.scenario),
            cell(&rate.model),
            cell(&rate.states.to_string()),
            cell(&format!("{:.1}", rate.seconds)),
            cell(&format!("{:.0}", rate.states_per_second)),
            cell(&format!("{:.2}", rate.to_paxos)),
            cell(&bytes.map_or("-".to_owned(), |bytes| bytes.to_string())),
        ]);
    }
    print(out, &table)
}

/// What elections cost, beside Bully's best and worst case.
pub fn elections(out: &mut impl Write, elections: &[Election]) -> io::Result<()> {
    let head = ["peers", "network", "hops", "election", "calls", "messages", "best", "worst", "envelopes"];
    let mut table =
        plain(&[&head[..], &["dropped", "detection", "election", "claim and books", "known to all"]].concat());
    for election in elections {
        let Election { peers, network, diameter, case, calls, messages, envelopes, overflowed, .. } = election;
        let millis = |millis: f64| format!("{millis:.0} ms");
        table.add_row([
            cell(&peers.to_string()),
            cell(network),
            cell(&diameter.to_string()),
            cell(&case.to_string()),
            cell(&calls.to_string()),
            cell(&messages.to_string()),
            cell(&election.best().to_string()),
            cell(&election.worst().to_string()),
            cell(&envelopes.to_string()),
            cell(&overflowed.to_string()),
            cell(&election.detection.map_or("–".to_owned(), millis)),
            cell(&millis(election.election)),
            cell(&millis(election.claim_and_books)),
            cell(&millis(election.known_to_all)),
        ]);
    }
    print(out, &table)?;
    writeln!(
        out,
        "\nmessages: as Bully counts them, in a mesh: a call for each higher peer, an answer, the result for each"
    )?;
    writeln!(out, "best, worst: those of Bully itself; envelopes: on links here, with all copies of floods")?;
    writeln!(out, "detection: from the kill to the first suspicion; each of the others: from the one before it")
}

/// Prints what was checked, the numbers of states and the verdicts, and then each violation step by step.
pub fn reports(out: &mut impl Write, reports: &[Report]) -> io::Result<()> {
    let mut table = plain(&["scenario", "states", "depth", "seconds", "states/s", "B/state", "verdict"]);
    for report in reports {
        // With few states, what the process needs anyway would dominate.
        let bytes = report.bytes_per_state.filter(|_| report.states >= 50_000);
        let mut verdict = match report.verdict {
            Outcome::Holds => "all hold, complete".to_owned(),
            Outcome::Violated => {
                format!("VIOLATED {}", report.violation().map(|found| found.property.to_string()).unwrap_or_default())
            }
            Outcome::CountedDifferently => {
                format!("COUNTED DIFFERENTLY, nothing violated (recorded: {})", states(report.recorded))
            }
            Outcome::NotRecorded => "all hold, complete; no number is recorded yet (--record)".to_owned(),
            Outcome::Incomplete if report.complete => "NOT COMPLETE (a landmark was never met)".to_owned(),
            Outcome::Incomplete => "NOT COMPLETE (a machine panicked, or states were left; see above)".to_owned(),
        };
        for missing in &report.missing {
            verdict.push_str(&format!("\nnever met: {missing}"));
        }
        table.add_row([
            cell(&report.scenario),
            cell(&report.states.to_string()),
            cell(&report.depth.to_string()),
            cell(&format!("{:.1}", report.seconds)),
            cell(&format!("{:.0}", report.rate())),
            cell(&bytes.map_or("-".to_owned(), |bytes| bytes.to_string())),
            Cell::new(verdict),
        ]);
    }
    print(out, &table)?;
    if reports.len() > 1 {
        let mut sums: BTreeMap<Family, (usize, f64)> = BTreeMap::new();
        for report in reports {
            let sum = sums.entry(report.family).or_default();
            *sum = (sum.0 + report.states, sum.1 + report.seconds);
        }
        for (family, (states, seconds)) in sums {
            writeln!(out, "{family} in all: {states} unique states in {seconds:.1} s")?;
        }
    }
    for (report, trace) in reports.iter().filter_map(|report| Some((report, report.counterexample.as_ref()?))) {
        if let Some(violation) = &trace.violation {
            writeln!(out, "\n{}: {violation}", report.scenario)?;
        }
        for (nth, words) in (1..).zip(&trace.words) {
            writeln!(out, "{nth:>4}. {words}")?;
        }
    }
    Ok(())
}

/// Whether an empty cell is a gap. For inputs that have nothing to do with trade, buyers and sellers stand in for
/// peers.
fn is_gap(kind: Kind, role: Role, counts: &BTreeMap<(Kind, Role), u64>) -> bool {
    let is_client = |role| counts.contains_key(&(kind, role));
    kind.concerns(role) && !(role == Role::Peer && (is_client(Role::Buyer) || is_client(Role::Seller)))
}

/// How often each input was tried in each role over all scenarios.
fn counts(reports: &[Report]) -> BTreeMap<(Kind, Role), u64> {
    let mut counts: BTreeMap<(Kind, Role), u64> = BTreeMap::new();
    for cell in reports.iter().flat_map(|report| &report.stepped) {
        *counts.entry((cell.kind, cell.role)).or_default() += cell.count;
    }
    counts
}

/// The inputs that were never tried in a role in which they matter.
pub fn gaps(reports: &[Report]) -> Vec<(Kind, Role)> {
    let counts = counts(reports);
    let cells = Kind::ALL.iter().flat_map(|kind| Role::ALL.iter().map(move |role| (*kind, *role)));
    cells.filter(|cell| !counts.contains_key(cell) && is_gap(cell.0, cell.1, &counts)).collect()
}

/// Prints how often each input was tried in each role over all scenarios.
pub fn matrix(out: &mut impl Write, reports: &[Report]) -> io::Result<()> {
    let counts = counts(reports);
    let head: Vec<String> = Role::ALL.iter().map(ToString::to_string).collect();
    let head: Vec<&str> = ["steps tried, by role"].into_iter().chain(head.iter().map(String::as_str)).collect();
    let mut table = plain(&head);
    for kind in Kind::ALL {
        let cells = Role::ALL.iter().map(|role| match counts.get(&(*kind, *role)) {
            Some(count) => count.to_string(),
            None if is_gap(*kind, *role, &counts) => "GAP".to_owned(),
            None => String::new(),
        });
        table.add_row([kind.to_string()].into_iter().chain(cells).map(|text| cell(&text)));
    }
    writeln!(out)?;
    print(out, &table)?;
    writeln!(out, "blank: a machine in this role is never given this input, or behaves as in a role that is counted")?;
    writeln!(out, "(model/src/subject/matrix.rs says which)")
}

/// Prints what all of it comes to, in a line or two. `gaps` are those of a check of everything.
pub fn verdict(out: &mut impl Write, reports: &[Report], gaps: Option<&[(Kind, Role)]>) -> io::Result<()> {
    let those = |verdict: Outcome| -> Vec<&str> {
        reports.iter().filter(|report| report.verdict == verdict).map(|report| report.scenario.as_str()).collect()
    };
    let states: usize = reports.iter().map(|report| report.states).sum();
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    let holds = those(Outcome::Holds).len();
    writeln!(
        out,
        "\n{holds} of {} scenarios hold and are complete: {states} unique states in {seconds:.0} s",
        reports.len()
    )?;
    let kinds = [
        ("VIOLATED", Outcome::Violated),
        ("NOT COMPLETE", Outcome::Incomplete),
        ("COUNTED DIFFERENTLY", Outcome::CountedDifferently),
        ("without a recorded number", Outcome::NotRecorded),
    ];
    for (word, verdict) in kinds {
        let names = those(verdict);
        if !names.is_empty() {
            writeln!(out, "{word}: {}", names.join(", "))?;
        }
    }
    match gaps {
        None => Ok(()),
        Some([]) => writeln!(out, "no input of any machine is left untried in any role (--matrix shows how often)"),
        Some(gaps) => {
            let gaps: Vec<String> = gaps.iter().map(|(kind, role)| format!("{kind} as {role}")).collect();
            writeln!(out, "NEVER TRIED: {} (--matrix shows all)", gaps.join(", "))
        }
    }
}
