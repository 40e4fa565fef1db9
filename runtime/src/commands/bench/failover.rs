//! How long nothing is sold after the trader's process was killed (SPEC F4).

use std::{ops::ControlFlow, path::Path, time::Duration};

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{
    config::{
        Speed,
        run_dir::{peer_dir, pid_file},
    },
    system::process::{ProcessMark, Signal},
};
use serde_json::json;

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::{Market, note, since_1970},
    plot::{self, Axis, Mark},
    sample::{Sample, micros, millis, shown},
    say, stuck,
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

/// What followed a kill, from it on.
#[derive(Clone, Copy, Debug, Default)]
struct Recovery {
    killed: Duration,
    suspected: Option<Duration>,
    won: Option<Duration>,
    took_office: Option<Duration>,
    sold: Option<Duration>,
}

impl Recovery {
    /// What they are called in JSON, and in words.
    const PARTS: [(&'static str, &'static str); 4] = [
        ("detection", "detection: a peer misses it"),
        ("election", "election: another has won"),
        ("claim_and_books", "claim and books: it is in office"),
        ("first_sale", "first sale"),
    ];

    fn parts(&self) -> Option<[Duration; 4]> {
        let steps = [self.killed, self.suspected?, self.won?, self.took_office?, self.sold?];
        let mut parts = [Duration::ZERO; 4];
        for (part, pair) in parts.iter_mut().zip(steps.windows(2)) {
            *part = pair[1].saturating_sub(pair[0]);
        }
        Some(parts)
    }

    fn whole(&self) -> Duration {
        self.sold.unwrap_or_default().saturating_sub(self.killed)
    }
}

/// What the bazaar is doing.
enum Phase {
    /// Trading, with so many purchases since everybody is there.
    Trading(usize),
    /// Without a trader.
    Recovering(Recovery),
    /// There is a new trader, and the killed process has yet to come back.
    Returning,
}

fn kill_all(dir: &Path, kills: usize) -> Result<Vec<Recovery>, Failure> {
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
    let (mut trader, mut victim, mut phase, mut recoveries) = (None, None, Phase::Trading(0), Vec::new());
    // Whether the one that was killed knows the new trader.
    let mut is_back = false;
    let mut failed = None;
    let result = block_on(async {
        ready
            .run(|event| {
                let Some((said, now)) = note(event) else { return ControlFlow::Continue(()) };
                if let (Note::TookOffice { .. }, Some(peer)) = (said, event.peer) {
                    trader = Some(peer);
                }
                is_back |= matches!(said, Note::Recognised { .. }) && event.peer == victim;
                match (&mut phase, said) {
                    (Phase::Trading(purchases), Note::Bought { .. }) => {
                        *purchases += 1;
                        if *purchases >= BETWEEN {
                            say(&format!("failover: kill {} of {kills}", recoveries.len() + 1));
                            match kill(ready.dir(), trader) {
                                Ok(killed) => {
                                    (victim, is_back) = (trader, false);
                                    phase = Phase::Recovering(Recovery { killed, ..Recovery::default() });
                                }
                                Err(error) => {
                                    failed = Some(error);
                                    return ControlFlow::Break(());
                                }
                            }
                        }
                    }
                    // What was said before the kill is still being read.
                    (Phase::Recovering(recovery), _) if now <= recovery.killed => {}
                    (Phase::Recovering(recovery), Note::TraderSuspected { .. }) => {
                        recovery.suspected.get_or_insert(now);
                    }
                    (Phase::Recovering(recovery), Note::ElectionWon) => recovery.won = Some(now),
                    (Phase::Recovering(recovery), Note::TookOffice { .. }) => recovery.took_office = Some(now),
                    (Phase::Recovering(recovery), Note::Bought { .. }) if recovery.took_office.is_some() => {
                        recovery.sold = Some(now);
                        recoveries.push(*recovery);
                        phase = Phase::Returning;
                    }
                    (Phase::Returning, _) if is_back => phase = Phase::Trading(0),
                    _ => {}
                }
                if recoveries.len() == kills { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await
    });
    match failed {
        Some(error) => Err(error),
        None => result.map(|_| recoveries),
    }
}

/// Kills the trader's process, and says when.
fn kill(run: &Path, trader: Option<PeerId>) -> Result<Duration, Failure> {
    let mark = trader.and_then(|trader| ProcessMark::read(&pid_file(&peer_dir(run, trader))));
    let mark = mark.ok_or_else(|| Failure::Stuck("the trader's process is not known".to_owned()))?;
    let now = since_1970(jiff::Timestamp::now());
    mark.send(Signal::KILL).map_err(stuck("kill the trader"))?;
    Ok(now)
}

pub fn failover(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let kills = if quick { 2 } else { 30 };
    let recoveries = kill_all(dir, kills)?;
    let whole: Sample = recoveries.iter().map(Recovery::whole).collect();
    let mut rows = vec![["without a sale".to_owned()].into_iter().chain(whole.cells()).collect::<Vec<_>>()];
    let mut split = serde_json::Map::new();
    for (nth, (key, name)) in Recovery::PARTS.into_iter().enumerate() {
        let sample: Sample = recoveries.iter().filter_map(|recovery| Some(recovery.parts()?[nth])).collect();
        rows.push([name.to_owned()].into_iter().chain(sample.cells()).collect());
        split.insert(key.to_owned(), sample.json());
    }
    let timeouts = Speed::FlatOut.timeouts();
    let bound = (timeouts.suspicion + timeouts.answer).mul_f64(1.1);
    let marks = [
        Mark { at: millis(timeouts.suspicion), name: format!("suspicion, {}", shown(timeouts.suspicion)) },
        Mark { at: millis(bound), name: format!("suspicion and answer and a tenth, {}", shown(bound)) },
    ];
    let x = Axis::linear("time without a sale, ms");
    let plot = plot::histogram(&format!("{kills} kills of the trader under load"), x, whole.times(), &marks)?;
    let within = whole.times().iter().filter(|time| **time <= bound).count();
    Ok(Finding {
        name: "failover",
        title: format!("The trader killed {kills} times under load"),
        tables: vec![Table { head: ["time"].into_iter().chain(Sample::HEAD).collect(), rows }],
        notes: vec![
            format!("{within} of {} within suspicion and answer and a tenth of it, {}.", whole.len(), shown(bound)),
            baseline.line(),
        ],
        plots: vec![("failover".to_owned(), plot)],
        json: json!({ "without_a_sale": whole.json(), "parts": split, "bound_us": micros(bound) }),
    })
}
