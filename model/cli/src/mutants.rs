//! `bazaar-model mutants`: breaks the protocol, one safety line at a time.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use bazaar_model_mutants::protocol::mutant::{self, Mutant};
use bazaar_model_mutants::search::mutants::{
    CATALOGUE, Finding, Line, caught_by, control, find, line, missed, scenarios, simulated, smaller_first,
};
use bazaar_model_mutants::subject::scenario::Family;

use super::{MutantsArguments, gallery, stdout, threads_or_all, usage, write};

/// Switches a mutant on for this process.
///
/// # Errors
/// The message to print, if there is no mutant of this name.
pub fn switch(name: &str) -> Result<(), String> {
    let mutant = Mutant::named(name).ok_or_else(|| unknown(name))?;
    mutant::switch(Some(mutant));
    Ok(())
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
        for scenario in scenarios() {
            tell(&format!("{} without a mutant", scenario.name));
            let report = control(&scenario, threads_or_all(*threads));
            let holds = report.verdict == bazaar_model_mutants::search::check::Outcome::Holds;
            complete &= holds;
            if !json || !holds {
                let verdict = if holds { "holds, as recorded" } else { "DOES NOT HOLD AS RECORDED" };
                writeln!(out, "{:<28} {verdict}: {} states", scenario.name, report.states)?;
            }
        }
    }
    let mut findings: Vec<Finding> = Vec::new();
    for line in lines {
        tell(line.mutant.name());
        let finding = find(line);
        if !json {
            print(&mut out, &finding)?;
        }
        if let (Some(directory), Some(trace)) = (save, &finding.trace) {
            write(&directory.join(format!("{}.json", finding.mutant)), trace)?;
        }
        findings.push(finding);
    }
    if std::io::stderr().is_terminal() {
        // If progress cannot be shown, the search still goes on.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    if let Some(directory) = gallery {
        gallery::write_page(directory, &findings)?;
    }
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings).map_err(io::Error::other)?)?;
    } else {
        let found = findings.iter().filter(|finding| finding.trace.is_some()).count();
        writeln!(out, "{found} of {} mutants violate the expected property", findings.len())?;
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
    for Line { mutant, .. } in lines {
        tell(mutant.name());
        match caught_by(family, *mutant, up_to) {
            Some((scenario, property)) => {
                caught += 1;
                writeln!(out, "{:<30} {property} in {scenario}", mutant.name())?;
            }
            None => writeln!(out, "{:<30} -", mutant.name())?,
        }
    }
    tell("");
    let of = lines.len();
    writeln!(out, "{family} catches {caught} of {of} mutants in its {scenarios} scenarios of up to {up_to} states")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what the simulator finds, and compares it with what is recorded.
fn what_simulation_finds(lines: &[Line], seeds: u64, threads: usize) -> io::Result<ExitCode> {
    let mut out = stdout();
    let (mut found, mut survivors) = (0, 0);
    for Line { mutant, .. } in lines {
        // Those that are known to be missed are tried only if one is named alone.
        if let Some(why) = missed(*mutant).filter(|_| lines.len() > 1) {
            writeln!(out, "{:<30} not looked for: {why}", mutant.name())?;
            continue;
        }
        tell(mutant.name());
        match simulated(*mutant, seeds, threads) {
            Some((seed, violation)) => {
                found += 1;
                writeln!(out, "{:<30} violates {} in seed {seed}", mutant.name(), violation.property)?;
            }
            None => {
                survivors += 1;
                writeln!(out, "{:<30} SURVIVES {seeds} seeds", mutant.name())?;
            }
        }
        out.flush()?;
    }
    tell("");
    writeln!(out, "the simulator finds {found} of {} mutants, each within {seeds} seeds", lines.len())?;
    Ok(if survivors > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn tell(what: &str) {
    if io::stderr().is_terminal() {
        // If progress cannot be shown, the search still goes on.
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }
}

fn print(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let Finding { mutant, sentence, property, scenario, recorded, trace, seconds } = finding;
    let verdict = match trace {
        Some(trace) if finding.is_as_recorded() => format!("violates {property} in {} steps", trace.steps.len()),
        Some(trace) => format!("violates {property} in {} steps, BUT {recorded} ARE RECORDED", trace.steps.len()),
        None => format!("SURVIVES: {property} holds"),
    };
    writeln!(out, "{mutant:<28} {verdict} ({scenario}, {seconds:.1} s): {sentence}")
}
