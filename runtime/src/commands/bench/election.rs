//! What an election costs once the trader was killed, by the number of peers (SPEC F4).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::Path,
    time::Duration,
};

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{
    network::service::PeerInfo,
    processes::report::Event,
    tools::access::{AccessError, Run},
};
use serde_json::json;
use tokio::{sync::Notify, time::sleep};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::{Market, note},
    plot::{Axis, Chart, Series},
    sample::{Sample, shown},
    say,
};

/// How long after its death the trader's process comes back: once another has its place.
const AWAY: Duration = Duration::from_secs(3);

/// How long it is still counted what links carry once all know the new trader: answers to the call may be on their way.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What elections cost with so many peers.
struct Point {
    peers: u32,
    kills: usize,
    /// What links were given for each, on average.
    envelopes: f64,
    times: [Sample; 4],
}

impl Point {
    /// What the times are called in JSON, and in words.
    const PARTS: [(&'static str, &'static str); 4] = [
        ("detection", "detection"),
        ("election", "election"),
        ("claim_and_books", "claim and books"),
        ("known_to_all", "known to all"),
    ];

    /// Bully's messages: the highest that is left tells all others; or each calls all that are higher, each of these
    /// answers, and the winner tells all others.
    fn bully(&self) -> [u64; 2] {
        let peers = u64::from(self.peers);
        [peers - 1, peers * peers - 1]
    }
}

/// What was said, and by whom, and who is trader.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<(Duration, PeerId, Note)>,
    trader: Option<PeerId>,
    /// Who knows the trader.
    knowing: BTreeSet<PeerId>,
}

impl Heard {
    fn take(&mut self, event: &Event) {
        let (Some(peer), Some((note, at))) = (event.peer, note(event)) else { return };
        if let Note::TookOffice { .. } = note {
            self.trader = Some(peer);
            // Who knows it already may have said so before.
            let knows = |peer: &PeerId| {
                let last = self.said.iter().rev().find(|(_, speaker, _)| speaker == peer);
                matches!(last, Some((_, _, Note::Recognised { trader })) if Some(*trader) == self.trader)
            };
            self.knowing.retain(knows);
            self.knowing.insert(peer);
        } else if let Note::Recognised { trader } = note {
            if Some(*trader) == self.trader {
                self.knowing.insert(peer);
            }
        } else if let Note::TraderSuspected { .. } = note {
            self.knowing.remove(&peer);
        }
        self.said.push((at, peer, note.clone()));
    }
}

fn measure(dir: &Path, peers: u32, kills: usize) -> Result<Point, Failure> {
    let market = Market {
        dir: dir.join(format!("election-{peers}")),
        config: format!("peers = {peers}\nseed = 7\npace = \"flat-out\"\n[waits]\nthink = \"never\"\n"),
        processes: None,
        kinds: &["trader_suspected", "election_won", "took_office", "recognised"],
        of: Vec::new(),
        restart_after: Some(AWAY),
        at_most: Duration::from_secs(60) + Duration::from_secs(15) * u32::try_from(kills).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let (heard, news) = (RefCell::new(Heard::default()), Notify::new());
    let hear = |event: &Event| {
        heard.borrow_mut().take(event);
        news.notify_one();
    };
    let all_know = async |but: u32| {
        while (heard.borrow().knowing.len() as u32) < peers - but {
            news.notified().await;
        }
    };
    let (killed, envelopes) = (RefCell::new(Vec::new()), Cell::new(0));
    let until = async {
        for nth in 1..=kills {
            all_know(0).await;
            sleep(AFTERMATH).await;
            say(&format!("election: {peers} peers, kill {nth} of {kills}"));
            let trader = heard.borrow().trader;
            let run = Run::at(ready.dir())?;
            let before = given_for_elections(&run, trader).await?;
            killed.borrow_mut().push(ready.kill(trader)?);
            heard.borrow_mut().knowing.clear();
            heard.borrow_mut().trader = None;
            all_know(1).await;
            sleep(AFTERMATH).await;
            envelopes.set(envelopes.get() + given_for_elections(&run, trader).await?.saturating_sub(before));
        }
        Ok(())
    };
    block_on(ready.run(hear, until))?;
    let (mut said, killed) = (heard.into_inner().said, killed.into_inner());
    said.sort_by_key(|(at, ..)| *at);
    let parts: Vec<_> = killed.iter().filter_map(|killed| parts(*killed, peers, &said)).collect();
    if parts.len() < kills {
        return Err(Failure::Stuck(format!("what followed is known of {} of {kills} kills only", parts.len())));
    }
    let times = [0, 1, 2, 3].map(|nth| parts.iter().map(|parts: &[Duration; 4]| parts[nth]).collect());
    Ok(Point { peers, kills, envelopes: envelopes.get() as f64 / kills as f64, times })
}

/// From the kill until a peer missed the trader, until another had won, until that was in office, and until all that were
/// left knew it; `None` if something of this was not said.
fn parts(killed: Duration, peers: u32, said: &[(Duration, PeerId, Note)]) -> Option<[Duration; 4]> {
    let after = &said[said.partition_point(|(at, ..)| *at <= killed)..];
    let (suspected, ..) = after.iter().find(|(_, _, note)| matches!(note, Note::TraderSuspected { .. }))?;
    let (office, trader, _) = after.iter().find(|(_, _, note)| matches!(note, Note::TookOffice { .. }))?;
    let wins = after.iter().filter(|(at, peer, note)| at <= office && peer == trader && *note == Note::ElectionWon);
    let (won, ..) = wins.last()?;
    let mut knowing = BTreeSet::from([*trader]);
    let (known, ..) = after.iter().find(|(_, peer, note)| {
        let knows = matches!(note, Note::Recognised { trader: known } if known == trader);
        knows && knowing.insert(*peer) && knowing.len() as u32 == peers - 1
    })?;
    let ends = [*suspected, *won, *office, *known];
    let begins = [killed, *suspected, *won, *office];
    Some([0, 1, 2, 3].map(|nth| ends[nth].saturating_sub(begins[nth])))
}

/// How many envelopes of elections the links of all peers but one were given so far.
async fn given_for_elections(run: &Run, but: Option<PeerId>) -> Result<u64, AccessError> {
    let mut addresses = run.addresses(&run.ledger_info().await?.entries);
    addresses.retain(|peer, _| Some(*peer) != but);
    let hosts = run.hosts(&addresses).await;
    let links = hosts.peers.values().flat_map(|info| match info {
        Ok(PeerInfo::Well(status)) => status.links.as_slice(),
        Ok(PeerInfo::NoAnswer(_)) | Err(_) => &[],
    });
    Ok(links.map(|link| link.counts.elections).sum())
}

/// SPEC F4.
pub fn election(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let (sizes, kills): (&[u32], _) = if quick { (&[3], 1) } else { (&[3, 5, 10, 20, 50], 3) };
    let points = sizes.iter().map(|peers| measure(dir, *peers, kills)).collect::<Result<Vec<_>, _>>()?;
    let rows = points.iter().map(|point| {
        let [best, worst] = point.bully();
        let counts = [point.peers.to_string(), format!("{:.0}", point.envelopes), best.to_string(), worst.to_string()];
        counts.into_iter().chain(point.times.iter().map(|times| shown(times.median()))).collect()
    });
    let series = |name: &str, of: &dyn Fn(&Point) -> f64| {
        Series::line(name, points.iter().map(|point| (f64::from(point.peers), of(point))).collect())
    };
    let chart = Chart {
        title: "What an election costs once the trader was killed".to_owned(),
        x: Axis::logarithmic("peers"),
        y: Axis::logarithmic("envelopes on links, or messages in a mesh"),
        series: vec![
            series("envelopes on links", &|point| point.envelopes),
            series("Bully's best case, messages", &|point| point.bully()[0] as f64),
            series("Bully's worst case, messages", &|point| point.bully()[1] as f64),
        ],
        marks: Vec::new(),
    };
    let head = ["peers", "envelopes", "Bully's best", "worst"].into_iter().chain(Point::PARTS.map(|(_, name)| name));
    Ok(Finding {
        name: "election",
        title: format!("Elections after the trader was killed, {kills} for each number of peers"),
        tables: vec![Table { head: head.collect(), rows: rows.collect() }],
        notes: vec![
            "Envelopes: what links were given for one election, with all copies of floods, on average; beside it the \
             messages of Bully among as many peers, each a neighbour of all. Times: p50. Simulated, with up to 10,000 \
             peers: `bazaar-model elections`."
                .to_owned(),
            baseline.line(),
        ],
        plots: vec![("election".to_owned(), chart.draw()?)],
        json: json!({
            "points": points.iter().map(|point| {
                let [best, worst] = point.bully();
                let mut json = json!({
                    "peers": point.peers, "kills": point.kills, "envelopes": point.envelopes,
                    "best_messages": best, "worst_messages": worst,
                });
                for ((key, _), times) in Point::PARTS.iter().zip(&point.times) {
                    json[*key] = times.json();
                }
                json
            }).collect::<Vec<_>>(),
        }),
    })
}
