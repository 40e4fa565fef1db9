//! What distance costs: the same purchase with the peers as if on hosts of their own (SPEC F3).

use std::{cell::RefCell, collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

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
    market::{Market, since_1970},
    plot::{Axis, Chart, Series},
    proxy::Proxy,
    recovery::Said,
    sample::{Sample, millis, ratio, shown},
    say, stuck,
};

/// How much of a purchase goes each way at least, between the buyer and the trader.
const BYTES: u64 = 30;

/// How often it is asked whether a link leads through its proxy.
const LOOK: Duration = Duration::from_millis(10);

/// How long a message takes from one host to another.
const DELAYS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50)];

/// Who buys.
const BUYER: PeerId = PeerId(0);

/// What was said, who took office, and since when all links are that long.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<(Duration, Note)>,
    traders: Vec<PeerId>,
    moved: Option<Duration>,
    /// How often the buyer was told of a purchase since then.
    told: usize,
}

/// Buys with so long a way between the peers, and says what each purchase took.
fn measure(dir: &Path, delay: Duration, count: usize) -> Result<Sample, Failure> {
    say(&format!("distance: {} from peer to peer", shown(delay)));
    let market = Market {
        dir: dir.join(format!("distance-{}", delay.as_millis())),
        config: latency::config(1_000_000_000, ""),
        processes: None,
        kinds: &["wanted", "bought", "took_office"],
        of: Vec::new(),
        restart_after: None,
        at_most: Duration::from_secs(90)
            + (delay * 4 + Duration::from_millis(20)) * u32::try_from(count).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let heard = RefCell::new(Heard::default());
    let (first, enough) = (Notify::new(), Notify::new());
    let hear = |event: &_| {
        let Some(one) = Said::of(event) else { return };
        let mut heard = heard.borrow_mut();
        if let Note::TookOffice { .. } = one.note {
            heard.traders.push(one.peer);
        } else if let Note::Bought { .. } = one.note {
            first.notify_one();
            // The first of them was under way when the last link moved, and the next is timed from there.
            heard.told += usize::from(heard.moved.is_some_and(|moved| one.at > moved));
            if heard.told > count {
                enough.notify_one();
            }
        }
        heard.said.push((one.at, one.note));
    };
    let until = async {
        first.notified().await;
        let proxies = move_apart(&Run::at(ready.dir())?, delay).await?;
        let trader = heard.borrow().traders.last().copied().unwrap_or(BUYER);
        let carried = || [(BUYER, trader), (trader, BUYER)].map(|pair| proxies.get(&pair).map_or(0, Proxy::carried));
        let before = carried();
        heard.borrow_mut().moved = Some(since_1970(jiff::Timestamp::now()));
        enough.notified().await;
        if heard.borrow().traders.len() > 1 {
            return Err(Failure::Stuck("the trader has changed meanwhile".to_owned()));
        }
        if carried().into_iter().zip(before).any(|(now, before)| now - before < BYTES * count as u64) {
            return Err(Failure::Stuck("purchases did not pass through the proxies".to_owned()));
        }
        Ok(())
    };
    block_on(ready.run(hear, until))?;
    let Heard { said, moved, .. } = heard.into_inner();
    let said: Vec<_> = said.into_iter().filter(|(at, _)| Some(*at) > moved).collect();
    let (purchases, _) = purchases(&said, count);
    let took: Sample = purchases.iter().map(Purchase::took).collect();
    if took.len() == count {
        Ok(took)
    } else {
        Err(Failure::Stuck(format!("of {count} purchases, {} can be told apart", took.len())))
    }
}

/// Leads every link through a proxy of its own, one after the other, so that nobody is ever alone.
async fn move_apart(run: &Run, delay: Duration) -> Result<BTreeMap<(PeerId, PeerId), Proxy>, Failure> {
    let ledger = run.ledger().await?;
    let entries = run.ledger_info().await?.entries;
    let addresses = run.addresses(&entries);
    let mut proxies = BTreeMap::new();
    for (seeker, of) in (0..3).flat_map(|from| (0..3).map(move |to| (PeerId(from), PeerId(to)))) {
        let Some(address) = addresses.get(&of).filter(|_| seeker != of) else { continue };
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, 0), address.clone(), delay).map_err(stuck("start a proxy"))?;
        let told = ledger.detour(tarpc::context::current(), of, seeker, Some(proxy.address().to_string())).await;
        told.map_err(stuck("tell the ledger of a proxy"))?;
        run.cut(seeker, of).await?;
        while is_up(run, &addresses, seeker, of).await {
            sleep(LOOK).await;
        }
        run.heal().await?;
        while proxy.carried() == 0 || !is_up(run, &addresses, seeker, of).await {
            sleep(LOOK).await;
        }
        proxies.insert((seeker, of), proxy);
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
    let (delays, count) = if quick { (&DELAYS[..2], 20) } else { (&DELAYS[..], 200) };
    let took = delays.iter().map(|delay| measure(dir, *delay, count)).collect::<Result<Vec<_>, _>>()?;
    let near = took.first().map(Sample::median).unwrap_or_default();
    let rows = delays.iter().zip(&took).map(|(delay, took)| {
        let farther = took.median().saturating_sub(near);
        let round_trips = if delay.is_zero() { String::new() } else { format!("{:.2}", ratio(farther, *delay * 2)) };
        [shown(*delay), shown(*delay * 2)].into_iter().chain(took.cells()).chain([round_trips]).collect()
    });
    let points = |of: &dyn Fn(&Sample) -> Duration| {
        delays.iter().zip(&took).map(|(delay, took)| (millis(*delay * 2), millis(of(took)))).collect()
    };
    let trips = delays.iter().map(|delay| (millis(*delay * 2), millis(near + *delay * 2)));
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
            "Every link leads through a proxy that delays it; each peer has the ledger beside it. Round trips: by how \
             many the p50 is above that without distance."
                .to_owned(),
            baseline.line(),
        ],
        plots: vec![("distance".to_owned(), chart.draw()?)],
        json: json!({
            "points": delays.iter().zip(&took).map(|(delay, took)| json!({
                "one_way_ms": delay.as_millis(), "purchase": took.json(),
                "round_trips": (!delay.is_zero()).then(|| ratio(took.median().saturating_sub(near), *delay * 2)),
            })).collect::<Vec<_>>(),
        }),
    })
}
