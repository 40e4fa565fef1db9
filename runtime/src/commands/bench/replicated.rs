//! What it costs to keep the books in etcd rather than on the disk of the ledger's process (SPEC J3).

use std::{
    cell::RefCell,
    path::Path,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    config::{Limits, Ordering},
    effect::Note,
    ledger::Tail,
    record::{Batch, Entry},
    text::counted,
};
use bazaar_runtime::{
    network::hello::RunId,
    processes::report::{Event, ProcessEvent, What},
    store::etcd::{Appended, EtcdStore},
    system::process::Signal,
    tools::access::Run,
};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on, latency,
    market::{Market, Ready, note, since_1970},
    outages::send,
    plot::{Axis, Chart, Series},
    sample::{Sample, millis, ratio, shown, times},
    say, stuck,
    throughput::{self, Books, PROCESSES, Window},
};

/// How long purchases are made before bare transactions are, and then again.
const BUYING: Duration = Duration::from_millis(300);

/// How long it takes at most until nothing is under way any more, or purchases follow each other again.
const SETTLING: Duration = Duration::from_millis(30);

/// How many bare transactions are carried out at a time: the buyer must not be missed meanwhile.
const BARE: usize = 80;

/// Times of purchases and of bare transactions, made in turn.
struct Pair {
    purchases: Sample,
    bare: Sample,
}

impl Pair {
    fn ratio(&self) -> f64 {
        ratio(self.purchases.median(), self.bare.median())
    }
}

/// What was heard of the buyer.
#[derive(Default)]
struct Heard {
    pid: Option<u32>,
    told: Vec<Duration>,
}

/// The transactions of a ledger's store, below another prefix of the same length.
struct Bare {
    store: EtcdStore,
    onto: Tail,
    batch: Batch,
}

impl Bare {
    /// A store that a batch like this one is appended to again and again.
    async fn make(ready: &Ready, batch: Batch) -> Result<Bare, Failure> {
        let prefix = ready.config().etcd_prefix().unwrap_or_default();
        let prefix = format!("/{}/", "b".repeat(prefix.len().saturating_sub(2)));
        let store = EtcdStore::new(ready.etcd()?, &prefix, RunId(7), Limits::DEFAULT);
        store.init().await?;
        Ok(Bare { store, onto: Tail::default(), batch })
    }

    async fn append(&mut self) -> Result<Duration, Failure> {
        self.batch.position = self.onto.status.head;
        let from = Instant::now();
        match self.store.append(&self.onto, &self.batch).await {
            Appended::Written => {}
            other @ (Appended::Refused(_)
            | Appended::NotSent(_)
            | Appended::Full(_)
            | Appended::Denied(_)
            | Appended::Unknown(_)) => {
                return Err(Failure::Stuck(format!("a bare transaction was not carried out: {other:?}")));
            }
        }
        let took = from.elapsed();
        self.onto = self.onto.after(&self.batch);
        Ok(took)
    }
}

/// Purchases one after the other and bare transactions, in windows that alternate.
fn pair(dir: &Path, windows: usize) -> Result<Vec<Pair>, Failure> {
    let market = Market {
        dir: dir.join("replicated-pair"),
        config: latency::config(1_000_000_000, ""),
        processes: None,
        kinds: &["bought"],
        of: Vec::new(),
        restart_after: None,
        at_most: Duration::from_secs(60) + Duration::from_secs(2) * u32::try_from(windows).unwrap_or(u32::MAX),
    };
    let ready = market.prepare_in_etcd()?;
    let (heard, more) = (RefCell::new(Heard::default()), Notify::new());
    let hear = |event: &Event| {
        match (&event.what, note(event)) {
            (What::Process(ProcessEvent::ProcessStarted { process, pid }), _) if process == "peer 0" => {
                heard.borrow_mut().pid = Some(*pid);
            }
            (_, Some((Note::Bought { .. }, at))) => heard.borrow_mut().told.push(at),
            (_, _) => {}
        }
        more.notify_one();
    };
    let until = async {
        let enough = async {
            while heard.borrow().told.len() < 100 {
                more.notified().await;
            }
        };
        timeout(Duration::from_secs(60), enough).await.map_err(stuck("wait for the first purchases"))?;
        let log = Run::at(ready.dir())?.log().await?;
        let is_sale = |batch: &&Batch| batch.records.iter().any(|record| matches!(record.entry, Entry::Sold(_)));
        let last = log.kept.batches().iter().rfind(is_sale);
        let mut bare =
            Bare::make(&ready, last.ok_or_else(|| Failure::Stuck("nothing was sold".into()))?.clone()).await?;
        let pid = heard.borrow().pid.ok_or_else(|| Failure::Stuck("the buyer's process is not known".into()))?;
        let mut windows_of = Vec::with_capacity(windows);
        for _ in 0..windows {
            sleep(SETTLING).await;
            let from = since_1970(jiff::Timestamp::now());
            sleep(BUYING).await;
            send(pid, Signal::STOP)?;
            let to = since_1970(jiff::Timestamp::now());
            sleep(SETTLING).await;
            let mut took = Vec::with_capacity(BARE);
            for _ in 0..BARE {
                took.push(bare.append().await?);
            }
            send(pid, Signal::CONT)?;
            windows_of.push((from, to, took));
        }
        Ok(windows_of)
    };
    let windows = block_on(ready.run(hear, until))?;
    let mut told = heard.take().told;
    told.sort_unstable();
    let pair = |(from, to, bare): (Duration, Duration, Vec<Duration>)| {
        let within = &told[told.partition_point(|at| *at < from)..told.partition_point(|at| *at <= to)];
        let purchases = within.windows(2).map(|two| two[1] - two[0]).collect();
        Pair { purchases, bare: bare.into_iter().collect() }
    };
    Ok(windows.into_iter().map(pair).collect())
}

/// Purchases a second with so many buyers, in sled and in etcd.
struct Rates {
    buyers: u32,
    sled: Vec<f64>,
    etcd: Vec<f64>,
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

fn rates(dir: &Path, quick: bool) -> Result<Vec<Rates>, Failure> {
    let (buyers, rounds, window): (&[u32], _, _) = if quick {
        (&[16], 1, Window { settling: Duration::ZERO, counting: Duration::from_millis(500) })
    } else {
        (&[16, 64, 256], 2, Window { settling: Duration::from_secs(2), counting: Duration::from_secs(5) })
    };
    let mut found = Vec::new();
    for buyers in buyers {
        let mut rates = Rates { buyers: *buyers, sled: Vec::new(), etcd: Vec::new() };
        for round in 0..rounds {
            for (books, into) in [(Books::Sled, &mut rates.sled), (Books::Etcd, &mut rates.etcd)] {
                say(&format!("replicated: {} in {}", counted(*buyers, "buyer"), books.name()));
                let dir = dir.join(format!("replicated-{round}"));
                let point = throughput::measure(&dir, *buyers, Ordering::SmallestOpen, PROCESSES, window, books)?;
                into.push(point.a_second);
            }
        }
        found.push(rates);
    }
    Ok(found)
}

pub fn replicated(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let windows = if quick { 2 } else { 40 };
    say(&format!("replicated: purchases and bare transactions in turn, {windows} times"));
    let pairs = pair(dir, windows)?;
    let purchases = pairs.iter().fold(Sample::default(), |all, pair| all.and(&pair.purchases));
    let bare = pairs.iter().fold(Sample::default(), |all, pair| all.and(&pair.bare));
    if pairs.iter().any(|pair| pair.purchases.len() == 0) {
        return Err(Failure::Stuck("nothing was bought between two series of bare transactions".to_owned()));
    }
    let mut ratios: Vec<f64> = pairs.iter().map(Pair::ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let middle = ratios[ratios.len() / 2];
    let row = |what: &str, sample: &Sample| {
        let row = [what.to_owned(), sample.len().to_string()].into_iter().chain(sample.cells());
        row.chain([times(sample.median(), bare.median())]).collect()
    };
    let costs = Table {
        head: ["what", "count"].into_iter().chain(Sample::HEAD).chain(["p50 / bare"]).collect(),
        rows: vec![row("a purchase, books in etcd", &purchases), row("the bare transaction", &bare)],
    };
    let rates = rates(dir, quick)?;
    let rows = rates.iter().map(|Rates { buyers, sled, etcd }| {
        let (sled, etcd) = (mean(sled), mean(etcd));
        vec![buyers.to_string(), format!("{sled:.0}"), format!("{etcd:.0}"), format!("{:.2}", etcd / sled)]
    });
    let speeds =
        Table { head: vec!["buyers", "a second, sled", "a second, etcd", "etcd / sled"], rows: rows.collect() };
    let line = |name: &str, of: &dyn Fn(&Rates) -> f64| {
        Series::line(name, rates.iter().map(|rates| (f64::from(rates.buyers), of(rates))).collect())
    };
    let rate = Chart {
        title: "Durable purchases a second, by where the books are".to_owned(),
        x: Axis::logarithmic("buyers"),
        y: Axis::logarithmic("purchases a second"),
        series: vec![line("sled", &|rates| mean(&rates.sled)), line("etcd", &|rates| mean(&rates.etcd))],
        marks: Vec::new(),
    };
    let dots = |name: &str, of: &dyn Fn(&Pair) -> Duration| {
        let points = pairs.iter().zip(1_u32..).map(|(pair, nth)| (f64::from(nth), millis(of(pair))));
        Series::dots(name, points.collect())
    };
    let cost = Chart {
        title: "A purchase and a bare transaction, in turn".to_owned(),
        x: Axis::linear("window"),
        y: Axis::linear("time, p50, ms"),
        series: vec![
            dots("a purchase", &|pair| pair.purchases.median()),
            dots("the bare transaction", &|pair| pair.bare.median()),
        ],
        marks: Vec::new(),
    };
    let points = rates
        .iter()
        .map(|Rates { buyers, sled, etcd }| json!({ "buyers": buyers, "sled_a_second": sled, "etcd_a_second": etcd }));
    Ok(Finding {
        name: "replicated",
        title: "Books in three nodes of etcd on this machine".to_owned(),
        tables: vec![costs, speeds],
        notes: vec![
            format!(
                "In {windows} windows of each, in turn: a purchase takes {middle:.2} times as long as the bare \
                 transaction in the middle window ({:.2} to {:.2}). The bare one is what appends a purchase, as \
                 large, over the same member.",
                ratios[0],
                ratios[ratios.len() - 1]
            ),
            format!("By the medians of all: {} and {}.", shown(purchases.median()), shown(bare.median())),
            baseline.line(),
        ],
        plots: vec![("replicated".to_owned(), rate.draw()?), ("replicated-pair".to_owned(), cost.draw()?)],
        json: json!({
            "purchase": purchases.json(), "bare": bare.json(), "purchase_in_bare": middle,
            "points": points.collect::<Vec<_>>(),
        }),
    })
}
