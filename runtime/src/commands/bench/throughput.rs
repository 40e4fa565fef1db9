//! How many purchases a second become durable (SPEC F4).

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    config::Ordering,
    effect::Note,
    id::{PeerId, Position},
    record::Entry,
    text::counted,
};
use bazaar_runtime::{processes::report::Event, tools::access::Run};
use serde_json::json;
use tokio::{sync::Notify, time::sleep};

use super::{
    Failure, Finding, Plots, Table,
    baseline::Baseline,
    block_on,
    market::{Market, note},
    plot::{Axis, Chart, Series},
    sample::{Sample, millis, shown},
    say,
};

/// How many peers sell. They have the highest ids, so that the trader is one of them.
const SELLERS: u32 = 4;

/// How many buyers are listened to: all of them would be a load of its own.
const HEARD: u32 = 4;

/// How many processes host the peers, besides all in one.
pub const PROCESSES: usize = 2;

/// So many that no snapshot is written while purchases are counted.
const SNAPSHOT_EVERY: u64 = 1_000_000;

/// For how long purchases are counted, and how long the bazaar has to settle before.
#[derive(Clone, Copy)]
pub struct Window {
    pub settling: Duration,
    pub counting: Duration,
}

/// Where the books are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Books {
    Sled,
    Etcd,
}

impl Books {
    pub fn name(self) -> &'static str {
        match self {
            Books::Sled => "sled",
            Books::Etcd => "etcd",
        }
    }
}

/// What was measured with so many buyers.
pub struct Point {
    buyers: u32,
    ordering: Ordering,
    processes: usize,
    pub a_second: f64,
    records_a_batch: f64,
    answers: Sample,
}

impl Point {
    /// The series that it is a point of.
    fn series(&self) -> String {
        match self.processes {
            1 => format!("{}, one process", self.ordering.name()),
            _ => self.ordering.name().to_owned(),
        }
    }
}

/// A market of so many buyers that all want what all sellers sell, and so on for ever.
pub fn config(buyers: u32, ordering: Ordering, snapshot_every: u64) -> String {
    use std::fmt::Write as _;
    let peers = buyers + SELLERS;
    let mut text = format!(
        "peers = {peers}\nseed = 7\npace = \"flat-out\"\n[ledger]\nsnapshot_every = {snapshot_every}\n[terms]\nresign_after = \
         1000000000\nordering = \"{}\"\n",
        ordering.name()
    );
    // Writing to a string cannot fail.
    for id in 0..buyers {
        let _ = write!(text, "[[peer]]\nid = {id}\nrole = \"buyer\"\nwants = [\"fish\"]\n");
    }
    for id in buyers..peers {
        let offer = "{ item = \"fish\", count = 1000000, price = \"5.00\" }";
        let _ = write!(text, "[[peer]]\nid = {id}\nrole = \"seller\"\noffers = [{offer}]\n");
    }
    text
}

/// How many purchases a second get into the books.
///
/// # Errors
/// When the bazaar cannot run, or its books do not hold.
pub fn measure(
    dir: &Path,
    buyers: u32,
    ordering: Ordering,
    processes: usize,
    window: Window,
    books: Books,
) -> Result<Point, Failure> {
    // The first, the last and some between: at least one in each process, and one with the trader in its own.
    let heard = HEARD.min(buyers);
    let heard = (0..heard).map(|nth| PeerId(nth * (buyers - 1) / (heard - 1).max(1)));
    let market = Market {
        dir: dir.join(format!("throughput-{buyers}-{}-{processes}-{}", ordering.name(), books.name())),
        config: config(buyers, ordering, SNAPSHOT_EVERY),
        processes: Some(processes),
        kinds: &["wanted", "bought"],
        of: heard.collect(),
        restart_after: None,
        at_most: Duration::from_secs(90) + window.counting,
    };
    let ready = match books {
        Books::Sled => market.prepare()?,
        Books::Etcd => market.prepare_in_etcd()?,
    };
    let (is_counting, has_begun) = (Cell::new(false), Notify::new());
    let mut asked = BTreeMap::new();
    let mut answers = Vec::new();
    let counting = async {
        has_begun.notified().await;
        sleep(window.settling).await;
        let run = Run::at(ready.dir())?;
        let from = (Instant::now(), run.ledger_info().await?.status.head);
        is_counting.set(true);
        sleep(window.counting).await;
        is_counting.set(false);
        let to = (Instant::now(), run.ledger_info().await?.status.head);
        Ok((to.0.duration_since(from.0), from.1, to.1))
    };
    let hear = |event: &Event| match (event.peer, note(event)) {
        (Some(peer), Some((Note::Wanted { .. }, at))) => {
            asked.insert(peer, at);
        }
        (Some(peer), Some((Note::Bought { .. }, at))) => {
            has_begun.notify_one();
            if let Some(asked) = asked.remove(&peer).filter(|_| is_counting.get()) {
                answers.push(at.saturating_sub(asked));
            }
        }
        _ => {}
    };
    let (length, from, to) = block_on(ready.run(hear, counting))?;
    let (sales, records, batches) = count(ready.dir(), from, to)?;
    Ok(Point {
        buyers,
        ordering,
        processes,
        a_second: sales as f64 / length.as_secs_f64(),
        records_a_batch: records as f64 / batches.max(1) as f64,
        answers: answers.into_iter().collect(),
    })
}

/// How many sales, records and batches there are in this part of a log.
fn count(dir: &Path, from: Position, to: Position) -> Result<(usize, usize, usize), Failure> {
    let log = block_on(async { Ok(Run::at(dir)?.log().await?) })?;
    let batches = log.kept.batches().iter().filter(|batch| batch.position >= from && batch.end() <= to);
    let (mut sales, mut records, mut count) = (0, 0, 0);
    for batch in batches {
        count += 1;
        records += batch.records.len();
        sales += batch.records.iter().filter(|record| matches!(record.entry, Entry::Sold(_))).count();
    }
    Ok((sales, records, count))
}

pub fn throughput(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let (buyers, window): (&[u32], _) = if quick {
        (&[1, 16], Window { settling: Duration::ZERO, counting: Duration::from_millis(500) })
    } else {
        (&[1, 4, 16, 64, 256], Window { settling: Duration::from_secs(2), counting: Duration::from_secs(5) })
    };
    let kinds = [
        (Ordering::SmallestOpen, PROCESSES),
        (Ordering::Stable, PROCESSES),
        (Ordering::SmallestOpen, 1),
        (Ordering::Stable, 1),
    ];
    let mut points = Vec::new();
    for (ordering, processes) in kinds {
        for buyers in buyers {
            say(&format!(
                "throughput: {}, {}, in {}",
                counted(*buyers, "buyer"),
                ordering.name(),
                counted(processes, "process")
            ));
            points.push(measure(dir, *buyers, ordering, processes, window, Books::Sled)?);
        }
    }
    let rows = points.iter().map(|point| {
        let Point { buyers, ordering, processes, a_second, records_a_batch, answers } = point;
        vec![
            ordering.name().to_owned(),
            processes.to_string(),
            buyers.to_string(),
            format!("{a_second:.0}"),
            format!("{records_a_batch:.1}"),
            shown(answers.median()),
            shown(answers.percentile(99)),
        ]
    });
    let head =
        vec!["order", "processes", "buyers", "purchases a second", "records a batch", "answer p50", "answer p99"];
    let mut series: Vec<String> = points.iter().map(Point::series).collect();
    series.dedup();
    let drawn = |y: &dyn Fn(&Point) -> f64| -> Vec<Series> {
        let line = |name: &String| {
            let of = points.iter().filter(|point| point.series() == *name);
            Series::line(name, of.map(|point| (f64::from(point.buyers), y(point))).collect())
        };
        series.iter().map(line).collect()
    };
    let rate = Chart {
        title: "Durable purchases a second".to_owned(),
        x: Axis::logarithmic("buyers"),
        y: Axis::logarithmic("purchases a second"),
        series: drawn(&|point| point.a_second),
        marks: Vec::new(),
    };
    let answer = Chart {
        title: "From request to answer, p50".to_owned(),
        x: Axis::logarithmic("buyers"),
        y: Axis::logarithmic("time, ms"),
        series: drawn(&|point| millis(point.answers.median())),
        marks: Vec::new(),
    };
    let plots: Plots = vec![("throughput".to_owned(), rate.draw()?), ("throughput-latency".to_owned(), answer.draw()?)];
    let json = points.iter().map(|point| {
        json!({
            "order": point.ordering.name(), "processes": point.processes, "buyers": point.buyers,
            "purchases_a_second": point.a_second, "records_a_batch": point.records_a_batch,
            "request_to_answer": point.answers.json(),
        })
    });
    Ok(Finding {
        name: "throughput",
        title: "Durable purchases a second".to_owned(),
        json: json!({ "points": json.collect::<Vec<_>>() }),
        tables: vec![Table { head, rows: rows.collect() }],
        notes: vec![
            format!(
                "Besides the buyers there are {SELLERS} sellers, one of which is the trader, and the ledger's process. Answers: of up \
                 to {HEARD} of the buyers."
            ),
            baseline.line(),
        ],
        plots,
    })
}
