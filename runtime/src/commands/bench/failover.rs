//! How long nothing is sold after the trader's process was killed (SPEC F4).

use std::{ops::ControlFlow, path::Path, time::Duration};

use bazaar_protocol::effect::Note;
use bazaar_runtime::config::Speed;
use serde_json::json;

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::Market,
    plot::{self, Axis, Mark},
    recovery::{Recovery, Said, after},
    sample::{Sample, micros, millis, shown},
    say,
};

/// Three peers buy, and two, one of which is the first trader, sell.
const CONFIG: &str = "\
peers = 5
seed = 7
pace = \"flat-out\"
[goods]
items = [\"fish\"]
units = 100000
[terms]
resign_after = 1000000000
[[peer]]
id = 0
role = \"buyer\"
[[peer]]
id = 1
role = \"buyer\"
[[peer]]
id = 2
role = \"buyer\"
[[peer]]
id = 3
role = \"seller\"
[[peer]]
id = 4
role = \"seller\"
";

/// How long after its death the trader's process comes back: once another has its place.
const AWAY: Duration = Duration::from_secs(3);

/// How many purchases are made between two kills, once everybody is there.
const BETWEEN: usize = 300;

/// What the bazaar is doing, as far as it has been heard.
enum Phase {
    /// Trading, with so many purchases since everybody is there.
    Trading(usize),
    /// The trader was killed, and nobody has its place.
    Vacant,
    /// There is a new trader, since then, and nothing is sold yet.
    Resuming(Duration),
    /// The killed process has yet to come back.
    Returning,
}

/// How the bazaar recovered each time, and when something was sold again.
fn kill_all(dir: &Path, kills: usize) -> Result<Vec<(Recovery, Duration)>, Failure> {
    let market = Market {
        dir: dir.join("failover"),
        config: CONFIG.to_owned(),
        processes: None,
        kinds: &["recognised", "trader_suspected", "election_won", "took_office", "bought"],
        of: Vec::new(),
        restart_after: Some(AWAY),
        at_most: Duration::from_secs(60) + Duration::from_secs(15) * u32::try_from(kills).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let (mut trader, mut victim, mut phase) = (None, None, Phase::Trading(0));
    // Whether the one that was killed knows a trader again.
    let mut is_back = false;
    let (mut killed, mut said) = (Vec::new(), Vec::new());
    let mut failed = None;
    let listened = block_on(ready.listen(|event| {
        let Some(one) = Said::of(event) else { return ControlFlow::Continue(()) };
        let (note, now) = (&one.note, one.at);
        if let Note::TookOffice { .. } = note {
            trader = Some(one.peer);
        }
        let knows = matches!(note, Note::Recognised { .. } | Note::TookOffice { .. });
        // What was said before the kill may still be read after it.
        is_back |= knows && event.peer == victim && killed.last().is_some_and(|killed| now > *killed);
        match (&mut phase, note) {
            (Phase::Trading(purchases), Note::Bought { .. }) if *purchases + 1 < BETWEEN => *purchases += 1,
            (Phase::Trading(_), Note::Bought { .. }) => {
                say(&format!("failover: kill {} of {kills}", killed.len() + 1));
                match ready.kill(trader) {
                    Ok(at) => killed.push(at),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                (victim, is_back, phase) = (trader, false, Phase::Vacant);
            }
            (Phase::Vacant, Note::TookOffice { .. }) => phase = Phase::Resuming(now),
            // What was sold before the kill may still be read after it.
            (Phase::Resuming(since), Note::Bought { .. }) if now > *since => {
                if killed.len() == kills {
                    said.push(one);
                    return ControlFlow::Break(());
                }
                phase = Phase::Returning;
            }
            (Phase::Returning, _) if is_back => phase = Phase::Trading(0),
            _ => {}
        }
        said.push(one);
        ControlFlow::Continue(())
    }));
    if let Some(error) = failed {
        return Err(error);
    }
    listened?;
    said.sort_by_key(|said| said.at);
    let recovery = |killed: &Duration| {
        let recovery = Recovery::of(*killed, &said)?;
        let is_sale = |said: &&Said| matches!(said.note, Note::Bought { .. });
        Some((recovery, after(recovery.took_office, &said).iter().find(is_sale)?.at))
    };
    let recoveries: Vec<_> = killed.iter().filter_map(recovery).collect();
    if recoveries.len() == kills {
        Ok(recoveries)
    } else {
        Err(Failure::Stuck(format!("what followed is known of {} of {kills} kills only", recoveries.len())))
    }
}

pub fn failover(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let kills = if quick { 2 } else { 30 };
    let recoveries = kill_all(dir, kills)?;
    let whole: Sample = recoveries.iter().map(|(one, sold)| sold.saturating_sub(one.killed)).collect();
    let mut rows = vec![["without a sale".to_owned()].into_iter().chain(whole.cells()).collect::<Vec<_>>()];
    let mut split = serde_json::Map::new();
    let mut part = |(key, name): (&str, &str), of: &dyn Fn(&(Recovery, Duration)) -> Duration| {
        let sample: Sample = recoveries.iter().map(of).collect();
        rows.push([name.to_owned()].into_iter().chain(sample.cells()).collect());
        split.insert(key.to_owned(), sample.json());
    };
    for (nth, names) in Recovery::PARTS.into_iter().enumerate() {
        part(names, &|(one, _)| one.parts()[nth]);
    }
    part(("first_sale", "first sale"), &|(one, sold)| sold.saturating_sub(one.took_office));
    let timeouts = Speed::FlatOut.timeouts();
    let bound = (timeouts.suspicion + timeouts.answer).mul_f64(1.1);
    let marks = [
        Mark { at: millis(timeouts.suspicion), name: format!("suspicion, {}", shown(timeouts.suspicion)) },
        Mark { at: millis(bound), name: format!("1.1 times suspicion plus answer, {}", shown(bound)) },
    ];
    let x = Axis::linear("time without a sale, ms");
    let plot = plot::histogram(&format!("{kills} kills of the trader under load"), x, whole.times(), &marks)?;
    let within = whole.times().iter().filter(|time| **time <= bound).count();
    Ok(Finding {
        name: "failover",
        title: format!("The trader killed {kills} times under load"),
        tables: vec![Table { head: ["time"].into_iter().chain(Sample::HEAD).collect(), rows }],
        notes: vec![
            format!("{within} of {} within 1.1 times suspicion plus answer, {}.", whole.len(), shown(bound)),
            baseline.line(),
        ],
        plots: vec![("failover".to_owned(), plot)],
        json: json!({ "without_a_sale": whole.json(), "parts": split, "bound_us": micros(bound) }),
    })
}
