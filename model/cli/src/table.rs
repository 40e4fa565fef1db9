//! What `bazaar-model` prints about scenarios and reports.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use bazaar_model::{
    catalogue::{self, Entry, Visitor},
    search::check::{Outcome, Report},
    subject::Subject,
    subject::matrix::{Kind, Role},
    subject::scenario::{Extent, Family},
};
use bazaar_model_mutants::search::mutants::{CATALOGUE, Line};

struct Adversary;

impl Visitor for Adversary {
    type Output = String;

    fn visit<S: Subject>(self, subject: &S) -> String {
        subject.adversary()
    }
}

/// Prints a scenario with its adversary and its bounds.
pub fn describe(out: &mut impl Write, scenario: &Entry) -> io::Result<()> {
    let states = |extent| scenario.recorded(extent).map_or("not recorded".to_owned(), |states| states.to_string());
    let small = if scenario.is_small() { ", small enough to explore" } else { "" };
    writeln!(out, "{} ({}): {} states{small}", scenario.name, scenario.family, states(Extent::Default))?;
    writeln!(out, "  {}", scenario.about)?;
    writeln!(out, "  adversary: {}", scenario.case.with(Adversary))?;
    writeln!(out, "  bounds: {}", scenario.bounds)?;
    if let Some(further) = &scenario.further {
        writeln!(out, "  thorough: {}; {} states", further.with(Adversary), states(Extent::Thorough))?;
    }
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

/// Prints what was checked, the numbers of states and the verdicts, and then each violation step by step.
pub fn reports(out: &mut impl Write, reports: &[Report]) -> io::Result<()> {
    writeln!(
        out,
        "{:<22} {:>9} {:>6} {:>8} {:>9} {:>8}  verdict",
        "scenario", "states", "depth", "seconds", "states/s", "B/state"
    )?;
    let mut sums: BTreeMap<Family, (usize, f64)> = BTreeMap::new();
    for report in reports {
        let sum = sums.entry(report.family).or_default();
        *sum = (sum.0 + report.states, sum.1 + report.seconds);
        // With few states, what the process needs anyway would dominate.
        let bytes = report.bytes_per_state.filter(|_| report.states >= 50_000);
        let bytes = bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        let verdict = match report.verdict {
            Outcome::Holds => "all hold, complete".to_owned(),
            Outcome::Violated => {
                format!("VIOLATED {}", report.violation().map(|found| found.property.to_string()).unwrap_or_default())
            }
            Outcome::CountedDifferently => {
                let recorded = report.recorded.map_or("none".to_owned(), |states| states.to_string());
                format!("COUNTED DIFFERENTLY, nothing violated (recorded: {recorded})")
            }
            Outcome::Incomplete if report.complete => "NOT COMPLETE (a landmark was never met)".to_owned(),
            Outcome::Incomplete => "NOT COMPLETE (a machine panicked, or states were left; see above)".to_owned(),
        };
        writeln!(
            out,
            "{:<22} {:>9} {:>6} {:>8.1} {:>9.0} {:>8}  {verdict}",
            report.scenario,
            report.states,
            report.depth,
            report.seconds,
            report.rate(),
            bytes
        )?;
        for missing in &report.missing {
            writeln!(out, "  never met: {missing}")?;
        }
    }
    if reports.len() > 1 {
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

/// Prints how often each input was tried in each role over all scenarios, and returns the number of gaps.
pub fn matrix(out: &mut impl Write, reports: &[Report]) -> io::Result<usize> {
    let mut counts: BTreeMap<(Kind, Role), u64> = BTreeMap::new();
    for cell in reports.iter().flat_map(|report| &report.stepped) {
        *counts.entry((cell.kind, cell.role)).or_default() += cell.count;
    }
    let mut gaps = 0;
    write!(out, "\n{:<26}", "steps tried, by role")?;
    for role in Role::ALL {
        write!(out, " {role:>10}")?;
    }
    writeln!(out)?;
    for kind in Kind::ALL {
        write!(out, "{kind:<26}")?;
        for role in Role::ALL {
            match counts.get(&(*kind, *role)) {
                Some(count) => write!(out, " {count:>10}")?,
                None if is_gap(*kind, *role, &counts) => {
                    gaps += 1;
                    write!(out, " {:>10}", "GAP")?;
                }
                None => write!(out, " {:>10}", "")?,
            }
        }
        writeln!(out)?;
    }
    let legend = "blank: a machine in this role is never given this input, or behaves as in a role that is counted";
    writeln!(out, "{legend} (model/src/subject/matrix.rs says which)")?;
    Ok(gaps)
}
