//! What one purchase takes (SPEC F1), and what it takes when the trader changes meanwhile (SPEC F2).

use std::{ops::ControlFlow, path::Path, time::Duration};

use bazaar_protocol::effect::Note;
use serde_json::json;

use super::{
    Failure, Finding, Plots, Table,
    baseline::{self, Baseline},
    block_on,
    market::{Market, note},
    plot::{self, Axis, Chart, Mark, Series},
    sample::{Sample, micros, millis, ratio, shown, times},
    say,
};

/// The mean that the reference reports for its first experiment.
pub const REFERENCE: Duration = Duration::from_micros(10_100);

/// Three peers, each a neighbour of the others: peer 0 buys, the others sell.
pub fn config(resign_after: u64, timeouts: &str) -> String {
    format!(
        "peers = 3
pace = \"flat-out\"
[ledger]
snapshot_every = 100000
[terms]
resign_after = {resign_after}
[timeouts]
{timeouts}
[graph]
adjacency = {{ 0 = [1, 2], 1 = [0, 2], 2 = [0, 1] }}
[[peer]]
id = 0
role = \"buyer\"
wants = [\"fish\"]
[[peer]]
id = 1
role = \"seller\"
offers = [{{ item = \"fish\", count = 100000, price = \"5.00\" }}]
[[peer]]
id = 2
role = \"seller\"
offers = [{{ item = \"fish\", count = 100000, price = \"5.00\" }}]
"
    )
}

/// A purchase: when its buyer asked, when it was told, and when it had been told of the purchase before.
#[derive(Clone, Copy, Debug)]
pub struct Purchase {
    before: Duration,
    asked: Duration,
    told: Duration,
    /// Whether another trader took office meanwhile.
    met_a_change: bool,
}

impl Purchase {
    /// All that it took: a buyer that never waits asks again as soon as it is told.
    pub fn took(&self) -> Duration {
        self.told.saturating_sub(self.before)
    }
}

/// What a change of trader was made of, from the sale before it to the sale after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    last_told: Duration,
    won: Duration,
    took_office: Duration,
    told: Duration,
}

impl Change {
    /// What they are called in JSON, and in words.
    const PARTS: [(&'static str, &'static str); 3] = [
        ("election", "election: another has won"),
        ("claim_and_books", "claim and books: it is in office"),
        ("told", "the buyer is told"),
    ];

    fn parts(&self) -> [Duration; 3] {
        let Change { last_told, won, took_office, told } = *self;
        [(last_told, won), (won, took_office), (took_office, told)].map(|(from, to)| to.saturating_sub(from))
    }
}

/// What a run of sequential purchases has shown.
struct Ran {
    purchases: Vec<Purchase>,
    changes: Vec<Change>,
    /// fdatasyncs right before and right after it.
    sync: Sample,
}

fn run(dir: &Path, name: &str, count: usize, config: String) -> Result<Ran, Failure> {
    const SYNCS: usize = 200;
    let market = Market {
        dir: dir.join(name),
        config,
        processes: None,
        kinds: &["wanted", "bought", "election_won", "took_office"],
        of: Vec::new(),
        restart_after: None,
        at_most: Duration::from_secs(60) + Duration::from_millis(50) * u32::try_from(count).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let before = baseline::sync(dir, SYNCS)?;
    // What different processes say need not be read in the order in which it happened.
    let (mut said, mut told) = (Vec::new(), 0);
    block_on(ready.listen(|event| {
        if let Some((note, at)) = note(event) {
            told += usize::from(matches!(note, Note::Bought { .. }));
            said.push((at, note.clone()));
        }
        // The first one waited for the first trader and the first deposit.
        if told > count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }))?;
    said.sort_by_key(|(at, _)| *at);
    let (purchases, changes) = purchases(&said, count);
    if purchases.len() != count {
        return Err(Failure::Stuck(format!("of {count} purchases, {} can be told apart", purchases.len())));
    }
    Ok(Ran { purchases, changes, sync: before.and(&baseline::sync(dir, SYNCS)?) })
}

/// The purchases that a buyer made one after the other, and the changes of trader that they met.
pub fn purchases(said: &[(Duration, Note)], count: usize) -> (Vec<Purchase>, Vec<Change>) {
    let (mut purchases, mut changes) = (Vec::with_capacity(count), Vec::new());
    let (mut asked, mut told, mut change) = (None, None, Change::default());
    for (at, note) in said {
        if let Note::Wanted { .. } = note {
            asked = Some(*at);
        } else if let Note::ElectionWon = note {
            change.won = *at;
        } else if let Note::TookOffice { .. } = note {
            change.took_office = *at;
        } else if let Note::Bought { .. } = note {
            if let (Some(before), Some(asked)) = (told, asked) {
                let met_a_change = (before..*at).contains(&change.took_office);
                purchases.push(Purchase { before, asked, told: *at, met_a_change });
                if met_a_change {
                    changes.push(Change { last_told: before, told: *at, ..change });
                }
            }
            told = Some(*at);
        }
    }
    purchases.truncate(count);
    (purchases, changes)
}

/// SPEC F1.
pub fn latency(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let counts: &[usize] = if quick { &[100] } else { &[500, 1_000] };
    let (mut rows, mut plots, mut runs) = (Vec::new(), Plots::new(), Vec::new());
    for count in counts {
        say(&format!("latency: {count} purchases, one after the other"));
        let ran = run(dir, &format!("latency-{count}"), *count, config(1_000_000_000, ""))?;
        let took: Sample = ran.purchases.iter().map(Purchase::took).collect();
        let answered: Sample = ran.purchases.iter().map(|purchase| purchase.told - purchase.asked).collect();
        let sync = ran.sync.median();
        for (what, sample) in [("a purchase", &took), ("from request to answer", &answered)] {
            let row = [count.to_string(), what.to_owned()].into_iter().chain(sample.cells());
            rows.push(row.chain([shown(sync), times(sample.median(), sync)]).collect());
        }
        let marks = [
            Mark { at: millis(sync), name: format!("fdatasync, {}", shown(sync)) },
            Mark { at: millis(sync * 4), name: "4 times that".to_owned() },
            Mark { at: millis(took.median()), name: format!("p50, {}", shown(took.median())) },
        ];
        let x = Axis::linear("time of a purchase, ms");
        let title = format!("{count} purchases one after the other");
        plots.push((format!("latency-{count}-histogram"), plot::histogram(&title, x, took.times(), &marks)?));
        let points = ran.purchases.iter().zip(1_u32..).map(|(purchase, nth)| (nth.into(), millis(purchase.took())));
        let chart = Chart {
            title,
            x: Axis::linear("purchase"),
            y: Axis::logarithmic("time, ms"),
            series: vec![Series::dots("a purchase", points.collect())],
            marks: vec![
                Mark { at: millis(sync), name: format!("fdatasync, {}", shown(sync)) },
                Mark { at: millis(REFERENCE), name: "mean of the reference, 10.1 ms".to_owned() },
            ],
        };
        plots.push((format!("latency-{count}-series"), chart.draw()?));
        runs.push(json!({
            "purchases": count, "purchase": took.json(), "request_to_answer": answered.json(),
            "fdatasync": ran.sync.json(), "p50_in_fdatasyncs": ratio(took.median(), sync),
        }));
    }
    rows.push(vec!["500".to_owned(), "the reference".to_owned(), shown(REFERENCE)]);
    let head = ["purchases", "what"].into_iter().chain(Sample::HEAD).chain(["fdatasync", "p50 / fdatasync"]);
    Ok(Finding {
        name: "latency",
        title: "One purchase after the other, no election".to_owned(),
        tables: vec![Table { head: head.collect(), rows }],
        notes: vec![baseline.line()],
        plots,
        json: json!({ "runs": runs, "reference_mean_us": micros(REFERENCE) }),
    })
}

/// Waits for loopback, where a message takes less than a millisecond and a process that has work is heard within a few.
const LOOPBACK: &str = "\
first_call = \"200ms\"
stagger = \"10ms\"
answer = \"20ms\"
victory = \"150ms\"
suspicion = \"300ms\"
renewal = \"50ms\"
lease = \"250ms\"
retry = \"50ms\"
give_up_after = \"200ms\"
resend = \"100ms\"
";

/// SPEC F2.
pub fn reelection(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    const EVERY: u64 = 100;
    let counts: &[usize] = if quick { &[250] } else { &[500, 1_000] };
    let (mut rows, mut causes, mut plots, mut runs) = (Vec::new(), Vec::new(), Plots::new(), Vec::new());
    for count in counts {
        say(&format!("reelection: {count} purchases, another trader every {EVERY}"));
        let ran = run(dir, &format!("reelection-{count}"), *count, config(EVERY, LOOPBACK))?;
        let of = |met: bool| -> Sample {
            ran.purchases.iter().filter(|one| one.met_a_change == met).map(Purchase::took).collect()
        };
        let (undisturbed, met) = (of(false), of(true));
        let sync = ran.sync.median();
        for (what, sample) in [("undisturbed", &undisturbed), ("met a change", &met)] {
            let row = [count.to_string(), what.to_owned(), sample.len().to_string()].into_iter().chain(sample.cells());
            let compared = [times(sample.median(), sync), times(sample.median(), undisturbed.median())];
            rows.push(row.chain(compared).collect());
        }
        let part = |nth: usize| -> Sample { ran.changes.iter().map(|change| change.parts()[nth]).collect() };
        let mut split = serde_json::Map::new();
        for (nth, (key, name)) in Change::PARTS.into_iter().enumerate() {
            let sample = part(nth);
            let row = [count.to_string(), name.to_owned()].into_iter().chain(sample.cells());
            causes.push(row.chain([times(sample.median(), undisturbed.median())]).collect());
            split.insert(key.to_owned(), sample.json());
        }
        let points = |met: bool| {
            let all = ran.purchases.iter().zip(1_u32..).filter(move |(one, _)| one.met_a_change == met);
            all.map(|(one, nth)| (f64::from(nth), millis(one.took()))).collect::<Vec<_>>()
        };
        let chart = Chart {
            title: format!("{count} purchases, the trader changing every {EVERY}"),
            x: Axis::linear("purchase"),
            y: Axis::logarithmic("time, ms"),
            series: vec![Series::dots("undisturbed", points(false)), Series::dots("met a change", points(true))],
            marks: vec![
                Mark { at: millis(sync), name: format!("fdatasync, {}", shown(sync)) },
                Mark { at: millis(REFERENCE), name: "mean of the reference, 10.1 ms".to_owned() },
                Mark { at: 20.0, name: "the reference's 25 of 500, 20 ms".to_owned() },
            ],
        };
        plots.push((format!("reelection-{count}"), chart.draw()?));
        runs.push(json!({
            "purchases": count, "undisturbed": undisturbed.json(), "met_a_change": met.json(), "parts": split,
            "fdatasync": ran.sync.json(),
        }));
    }
    let head =
        ["purchases", "which", "count"].into_iter().chain(Sample::HEAD).chain(["p50 / fdatasync", "p50 / undisturbed"]);
    let parts = ["purchases", "of a change, until"].into_iter().chain(Sample::HEAD).chain(["p50 / undisturbed"]);
    Ok(Finding {
        name: "reelection",
        title: format!("One purchase after the other, another trader every {EVERY}"),
        tables: vec![
            Table { head: head.collect(), rows },
            Table { head: parts.collect(), rows: causes },
        ],
        notes: vec![
            "The waits are set for loopback: answer 20 ms, victory 150 ms, suspicion 300 ms, renewal 50 ms, lease 250 ms, \
             stagger 10 ms. The reference: 25 of 500 took twice as long, about 20 ms."
                .to_owned(),
            baseline.line(),
        ],
        plots,
        json: json!({ "runs": runs }),
    })
}
