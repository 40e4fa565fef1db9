//! `bazaar-model mutants`: breaks the protocol, one safety line at a time.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use bazaar_model_mutants::pictures::explore::On;
use bazaar_model_mutants::protocol::{
    mutant::{self, Mutant},
    text::{agreeing, counted},
};
use bazaar_model_mutants::search::mutants::{
    CATALOGUE, Finding, Line, caught_by, control, find, line, missed, scenarios, simulated, smaller_first,
};
use bazaar_model_mutants::subject::scenario::Family;

use super::{
    MutantsArguments, gallery,
    output::{stdout, write_json},
    progress::Progress,
    threads_or_all, usage,
};

/// Switches a mutant on for this process, and says what is known of it.
///
/// # Errors
/// The message to print, if there is no mutant of this name.
pub fn switch(name: &str) -> Result<On<'static>, String> {
    let mutant = Mutant::named(name).ok_or_else(|| unknown(name))?;
    mutant::switch(Some(mutant));
    let shown_in = line(mutant).map(|line| line.scenario);
    Ok(On { name: mutant.name(), sentence: mutant.sentence(), shown_in })
}

fn unknown(name: &str) -> String {
    let is_like = |mutant: &&Mutant| name.split('-').any(|word| word.len() > 3 && mutant.name().contains(word));
    let like: Vec<&str> = Mutant::ALL.iter().filter(is_like).map(|mutant| mutant.name()).collect();
    let like = if like.is_empty() { String::new() } else { format!("; there are similar names: {}", like.join(", ")) };
    format!("there is no mutant {name:?}{like}; `bazaar-model mutants --list` lists all of them")
}

/// Looks for the violation that each chosen mutant must lead to.
pub fn hunt(
    MutantsArguments { mutants, model, up_to, gallery, save, threads, json, list, simulate, seeds }: &MutantsArguments,
) -> io::Result<ExitCode> {
    if *list {
        let mut out = stdout();
        for Line { mutant, property, scenario, steps } in CATALOGUE {
            writeln!(out, "{mutant:<30} {property:<3} in {scenario} after {steps} steps: {}", mutant.sentence())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines: Vec<Line> = Vec::new();
    for name in mutants {
        let Some(mutant) = Mutant::named(name) else { return Ok(usage(&unknown(name))) };
        let Some(line) = line(mutant) else { return Ok(usage(&format!("{name} is not in the catalogue"))) };
        lines.push(line);
    }
    if mutants.is_empty() {
        lines = match gallery {
            Some(_) => CATALOGUE.iter().copied().filter(|line| gallery::shows(line.mutant)).collect(),
            None => CATALOGUE.to_vec(),
        };
    }
    if *simulate {
        return what_simulation_finds(&lines, *seeds, threads_or_all(*threads));
    }
    if let Some(family) = model {
        return what_it_catches(*family, &lines, *up_to);
    }
    let mut out = stdout();
    let mut complete = true;
    // The unmutated machine, for comparison. It takes a while, so only when the whole catalogue is asked for.
    if mutants.is_empty() && gallery.is_none() {
        let controls = scenarios();
        let mut progress = Progress::through(controls.len());
        for scenario in controls {
            progress.begin(&format!("{} without a mutant", scenario.name));
            let report = control(&scenario, threads_or_all(*threads));
            let holds = report.verdict == bazaar_model_mutants::search::check::Outcome::Holds;
            complete &= holds;
            if !json || !holds {
                let verdict = if holds { "holds, as recorded" } else { "DOES NOT HOLD AS RECORDED" };
                progress.aside(|| writeln!(out, "{:<28} {verdict}: {} states", scenario.name, report.states))?;
            }
            progress.end();
        }
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut progress = Progress::through(lines.len());
    for line in lines {
        progress.begin(line.mutant.name());
        let finding = find(line);
        progress.end();
        if !json {
            progress.aside(|| print(&mut out, &finding))?;
        }
        if let (Some(directory), Some(trace)) = (save, &finding.trace) {
            write_json(&directory.join(format!("{}.json", finding.mutant)), trace)?;
        }
        findings.push(finding);
    }
    drop(progress);
    if let Some(directory) = gallery {
        gallery::write_page(directory, &findings)?;
    }
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings).map_err(io::Error::other)?)?;
    } else {
        let found = findings.iter().filter(|finding| finding.trace.is_some()).count();
        writeln!(
            out,
            "{found} of {} {} the expected property",
            counted(findings.len(), "mutant"),
            agreeing(findings.len(), "violates", "violate")
        )?;
    }
    Ok(if findings.iter().any(|finding| finding.trace.is_none()) {
        ExitCode::from(1)
    } else if complete && findings.iter().all(Finding::is_as_recorded) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Prints what one model catches on its own.
fn what_it_catches(family: Family, lines: &[Line], up_to: usize) -> io::Result<ExitCode> {
    let scenarios = smaller_first(family, up_to).len();
    if scenarios == 0 {
        return Ok(usage(&format!("{family} has no scenario of up to {up_to} states; give `--up-to` more")));
    }
    let mut out = stdout();
    let mut caught = 0;
    let mut progress = Progress::through(lines.len());
    for Line { mutant, .. } in lines {
        progress.begin(mutant.name());
        let found = caught_by(family, *mutant, up_to);
        progress.end();
        caught += usize::from(found.is_some());
        let found = found.map_or("-".to_owned(), |(scenario, property)| format!("{property} in {scenario}"));
        progress.aside(|| writeln!(out, "{:<30} {found}", mutant.name()))?;
    }
    drop(progress);
    let of = lines.len();
    writeln!(out, "{family} catches {caught} of {of} mutants in its {scenarios} scenarios of up to {up_to} states")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what the simulator finds, and compares it with what is recorded.
fn what_simulation_finds(lines: &[Line], seeds: u64, threads: usize) -> io::Result<ExitCode> {
    let mut out = stdout();
    let (mut found, mut survivors) = (0, 0);
    let mut progress = Progress::through(lines.len());
    for Line { mutant, .. } in lines {
        // Those that are known to be missed are tried only if one is named alone.
        if let Some(why) = missed(*mutant).filter(|_| lines.len() > 1) {
            progress.end();
            progress.aside(|| writeln!(out, "{:<30} not looked for: {why}", mutant.name()))?;
            continue;
        }
        progress.begin(mutant.name());
        let outcome = match simulated(*mutant, seeds, threads) {
            Some((seed, violation)) => {
                found += 1;
                format!("violates {} in seed {seed}", violation.property)
            }
            None => {
                survivors += 1;
                format!("SURVIVES {seeds} seeds")
            }
        };
        progress.end();
        progress.aside(|| writeln!(out, "{:<30} {outcome}", mutant.name()).and_then(|()| out.flush()))?;
    }
    drop(progress);
    writeln!(out, "the simulator finds {found} of {} mutants, each within {seeds} seeds", lines.len())?;
    Ok(if survivors > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let Finding { mutant, sentence, property, scenario, recorded, trace, seconds } = finding;
    let verdict = match trace {
        Some(trace) if finding.is_as_recorded() => {
            format!("violates {property} in {}", counted(trace.steps.len(), "step"))
        }
        Some(trace) => {
            format!("violates {property} in {}, BUT {recorded} ARE RECORDED", counted(trace.steps.len(), "step"))
        }
        None => format!("SURVIVES: {property} holds"),
    };
    writeln!(out, "{mutant:<28} {verdict} ({scenario}, {seconds:.1} s): {sentence}")
}
