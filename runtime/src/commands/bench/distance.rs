//! What distance costs: the same purchase with the peers as if on hosts of their own (SPEC F3).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
    time::Duration,
};

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{
    network::service::{LinkStatus, PeerInfo},
    tools::access::Run,
};
use serde_json::json;
use tokio::{sync::Notify, time::sleep};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    latency::{self, Purchase, purchases},
    market::{Market, note, since_1970},
    plot::{Axis, Chart, Series},
    proxy::Proxy,
    sample::{Sample, millis, ratio, shown},
    say, stuck,
};

/// The trader: the highest of the three.
const TRADER: u32 = 2;

/// How often it is asked whether a link leads through its proxy.
const LOOK: Duration = Duration::from_millis(10);

/// How long a message takes from one host to another.
const WAYS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50)];

/// Buys with so long a way between the peers, and says what each purchase took.
fn measure(dir: &Path, way: Duration, count: usize) -> Result<Sample, Failure> {
    say(&format!("distance: {} from peer to peer", shown(way)));
    let market = Market {
        dir: dir.join(format!("distance-{}", way.as_millis())),
        config: latency::config(1_000_000_000, ""),
        processes: None,
        kinds: &["wanted", "bought"],
        of: vec![PeerId(0)],
        restart_after: None,
        at_most: Duration::from_secs(90)
            + (way * 4 + Duration::from_millis(20)) * u32::try_from(count).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let (said, first, moved, enough) = (RefCell::new(Vec::new()), Notify::new(), Cell::new(None), Notify::new());
    let hear = |event: &_| {
        let Some((note, at)) = note(event) else { return };
        let mut said = said.borrow_mut();
        said.push((at, note.clone()));
        if let Note::Bought { .. } = note {
            first.notify_one();
            let told =
                |since| said.iter().filter(|(at, note)| *at > since && matches!(note, Note::Bought { .. })).count();
            // One more, after which the first of them is timed, and one that was under way meanwhile.
            if moved.get().is_some_and(|since| told(since) >= count + 2) {
                enough.notify_one();
            }
        }
    };
    let until = async {
        first.notified().await;
        let proxies = move_apart(&Run::at(ready.dir())?, way).await?;
        let carried = || [(0, TRADER), (TRADER, 0)].map(|way| proxies.get(&way).map_or(0, Proxy::carried));
        let before = carried();
        moved.set(Some(since_1970(jiff::Timestamp::now())));
        enough.notified().await;
        let passed_by = carried().iter().zip(before).any(|(now, before)| *now == before);
        if passed_by { Err(Failure::Stuck("a proxy was passed by".to_owned())) } else { Ok(()) }
    };
    block_on(ready.run(hear, until))?;
    let since = moved.get().unwrap_or_default();
    let said: Vec<_> = said.into_inner().into_iter().filter(|(at, _)| *at > since).collect();
    // The first was under way when the last link moved.
    let (purchases, _) = purchases(&said, count + 1);
    let took: Sample = purchases.iter().skip(1).map(Purchase::took).collect();
    if took.len() == count {
        Ok(took)
    } else {
        Err(Failure::Stuck(format!("of {count} purchases, {} can be told apart", took.len())))
    }
}

/// Leads every link through a proxy of its own, one after the other, so that nobody is ever alone.
async fn move_apart(run: &Run, way: Duration) -> Result<BTreeMap<(u32, u32), Proxy>, Failure> {
    let ledger = run.ledger().await?;
    let entries = run.ledger_info().await?.entries;
    let addresses = run.addresses(&entries);
    let mut proxies = BTreeMap::new();
    for (seeker, of) in (0..3).flat_map(|from| (0..3).map(move |to| (PeerId(from), PeerId(to)))) {
        let Some(address) = addresses.get(&of).filter(|_| seeker != of) else { continue };
        let proxy = Proxy::start(address.clone(), way).map_err(stuck("start a proxy"))?;
        let told = ledger.detour(tarpc::context::current(), of, seeker, Some(proxy.address().to_string())).await;
        told.map_err(stuck("tell the ledger of a proxy"))?;
        run.cut(seeker, of).await?;
        run.heal().await?;
        while proxy.carried() == 0 || !is_up(run, &addresses, seeker, of).await {
            sleep(LOOK).await;
        }
        proxies.insert((seeker.0, of.0), proxy);
    }
    Ok(proxies)
}

async fn is_up(run: &Run, addresses: &BTreeMap<PeerId, String>, from: PeerId, to: PeerId) -> bool {
    let hosts = run.hosts(addresses).await;
    let leads_there = |link: &LinkStatus| link.neighbour == to && link.up;
    hosts.peers.get(&from).is_some_and(|info| match info {
        Ok(PeerInfo::Well(status)) => status.links.iter().any(leads_there),
        Ok(PeerInfo::NoAnswer(_)) | Err(_) => false,
    })
}

/// SPEC F3.
pub fn distance(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let (ways, count) = if quick { (&WAYS[..2], 20) } else { (&WAYS[..], 200) };
    let took = ways.iter().map(|way| measure(dir, *way, count)).collect::<Result<Vec<_>, _>>()?;
    let near = took.first().map(Sample::median).unwrap_or_default();
    let rows = ways.iter().zip(&took).map(|(way, took)| {
        let farther = took.median().saturating_sub(near);
        let round_trips = if way.is_zero() { String::new() } else { format!("{:.2}", ratio(farther, *way * 2)) };
        [shown(*way), shown(*way * 2)].into_iter().chain(took.cells()).chain([round_trips]).collect()
    });
    let points = |of: &dyn Fn(&Sample) -> Duration| {
        ways.iter().zip(&took).map(|(way, took)| (millis(*way * 2), millis(of(took)))).collect()
    };
    let trips = ways.iter().map(|way| (millis(*way * 2), millis(near + *way * 2)));
    let chart = Chart {
        title: "What distance costs".to_owned(),
        x: Axis::linear("round trip between two hosts, ms"),
        y: Axis::linear("time of a purchase, ms"),
        series: vec![
            Series::line("without distance, and one round trip", trips.collect()),
            Series::dots("p50", points(&Sample::median)),
            Series::dots("p99", points(&|took| took.percentile(99))),
        ],
        marks: Vec::new(),
    };
    let head = ["one way", "round trip"].into_iter().chain(Sample::HEAD).chain(["round trips"]);
    Ok(Finding {
        name: "distance",
        title: format!("{count} purchases one after the other, the peers on hosts of their own"),
        tables: vec![Table { head: head.collect(), rows: rows.collect() }],
        notes: vec![
            "Every link leads through a proxy that delays it; the ledger is beside the trader. Round trips: by how many the \
             p50 is above that without distance."
                .to_owned(),
            baseline.line(),
        ],
        plots: vec![("distance".to_owned(), chart.draw()?)],
        json: json!({
            "points": ways.iter().zip(&took).map(|(way, took)| json!({
                "one_way_ms": way.as_millis(), "purchase": took.json(),
                "round_trips": (!way.is_zero()).then(|| ratio(took.median().saturating_sub(near), *way * 2)),
            })).collect::<Vec<_>>(),
        }),
    })
}
