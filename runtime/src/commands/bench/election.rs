//! What an election costs once the trader was killed, by the number of peers (SPEC F4).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{network::service::PeerInfo, processes::report::Event, tools::access::Run};
use serde_json::json;
use tokio::{sync::Notify, time::sleep};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::Market,
    plot::{Axis, Chart, Series},
    recovery::{Recovery, Said, after},
    sample::{Sample, shown},
    say,
};

/// How long after its death the trader's process comes back: when what follows has been counted.
const AWAY: Duration = Duration::from_secs(5);

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
    /// What the times are called in JSON, and in the table.
    const PARTS: [(&'static str, &'static str); 4] = {
        let [detection, election, claim_and_books] = Recovery::PARTS;
        [
            (detection.0, "detection"),
            (election.0, "election"),
            (claim_and_books.0, "claim and books"),
            ("known_to_all", "known to all"),
        ]
    };

    /// Bully's messages in a mesh once the highest was killed. At best, the next calls it in vain and tells those that are
    /// left; at worst, each calls all that are higher, each of these answers that can, and the winner tells those left.
    fn bully(&self) -> [u64; 2] {
        let peers = u64::from(self.peers);
        [peers - 1, peers * (peers - 1) - 1]
    }
}

/// What was said, and what follows from it.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<Said>,
    trader: Option<PeerId>,
    /// Whom each has recognised last, unless it suspects it.
    recognised: BTreeMap<PeerId, PeerId>,
}

impl Heard {
    fn take(&mut self, event: &Event) {
        let Some(one) = Said::of(event) else { return };
        if let Note::TookOffice { .. } = one.note {
            self.trader = Some(one.peer);
            self.recognised.insert(one.peer, one.peer);
        } else if let Note::Recognised { trader } = one.note {
            self.recognised.insert(one.peer, trader);
        } else if let Note::TraderSuspected { .. } | Note::Joined { .. } = one.note {
            self.recognised.remove(&one.peer);
        }
        self.said.push(one);
    }

    /// Whether all peers but one, which may be gone, know the trader, and it is not that one.
    fn all_know(&self, peers: u32, but: Option<PeerId>) -> bool {
        let Some(trader) = self.trader.filter(|trader| Some(*trader) != but) else { return false };
        let mut all = (0..peers).map(PeerId).filter(|peer| Some(*peer) != but);
        all.all(|peer| self.recognised.get(&peer) == Some(&trader))
    }
}

fn measure(dir: &Path, peers: u32, kills: usize) -> Result<Point, Failure> {
    let highest = PeerId(peers - 1);
    let market = Market {
        dir: dir.join(format!("election-{peers}")),
        config: format!("peers = {peers}\nseed = 7\npace = \"flat-out\"\n[waits]\nthink = \"never\"\n"),
        processes: None,
        kinds: &["joined", "trader_suspected", "election_won", "took_office", "recognised"],
        of: Vec::new(),
        restart_after: Some(AWAY),
        at_most: Duration::from_secs(60) + Duration::from_secs(20) * u32::try_from(kills).unwrap_or(u32::MAX),
    };
    let ready = market.prepare()?;
    let (heard, news) = (RefCell::new(Heard::default()), Notify::new());
    let hear = |event: &Event| {
        heard.borrow_mut().take(event);
        news.notify_one();
    };
    let all_know = async |but: Option<PeerId>| {
        while !heard.borrow().all_know(peers, but) {
            news.notified().await;
        }
    };
    let (killed, envelopes) = (RefCell::new(Vec::new()), Cell::new(0));
    let until = async {
        for nth in 1..=kills {
            all_know(None).await;
            let run = Run::at(ready.dir())?;
            // So that each kill hits the highest.
            let trader = heard.borrow().trader;
            if let Some(trader) = trader.filter(|trader| *trader != highest) {
                run.resign(trader).await?;
                while heard.borrow().trader != Some(highest) {
                    news.notified().await;
                }
                all_know(None).await;
            }
            sleep(AFTERMATH).await;
            say(&format!("election: {peers} peers, kill {nth} of {kills}"));
            let before = given_for_elections(&run, highest).await?;
            killed.borrow_mut().push(ready.kill(Some(highest))?);
            all_know(Some(highest)).await;
            sleep(AFTERMATH).await;
            let given = given_for_elections(&run, highest).await?.checked_sub(before);
            let given = given.ok_or_else(|| Failure::Stuck("a peer has begun a new life meanwhile".to_owned()))?;
            envelopes.set(envelopes.get() + given);
        }
        Ok(())
    };
    block_on(ready.run(hear, until))?;
    let (mut said, killed) = (heard.into_inner().said, killed.into_inner());
    said.sort_by_key(|said| said.at);
    let parts: Vec<_> = killed.iter().filter_map(|killed| parts(*killed, peers, &said)).collect();
    if parts.len() < kills {
        return Err(Failure::Stuck(format!("what followed is known of {} of {kills} kills only", parts.len())));
    }
    let times = [0, 1, 2, 3].map(|nth| parts.iter().map(|parts: &[Duration; 4]| parts[nth]).collect());
    Ok(Point { peers, kills, envelopes: envelopes.get() as f64 / kills as f64, times })
}

/// The parts of a recovery, and how long it took until all that were left knew the new trader; `None` if something of this
/// was not said.
fn parts(killed: Duration, peers: u32, said: &[Said]) -> Option<[Duration; 4]> {
    let recovery = Recovery::of(killed, said)?;
    let mut knowing = BTreeSet::from([PeerId(peers - 1), recovery.trader]);
    let mut known = recovery.took_office;
    for Said { at, peer, note } in after(killed, said) {
        if *note == (Note::Recognised { trader: recovery.trader }) && knowing.insert(*peer) {
            known = known.max(*at);
        }
    }
    let [detection, election, claim_and_books] = recovery.parts();
    let known_to_all = known.saturating_sub(recovery.took_office);
    (knowing.len() as u32 == peers).then_some([detection, election, claim_and_books, known_to_all])
}

/// How many envelopes of elections the links of all peers but one were given so far.
///
/// # Errors
/// When one of them does not say.
async fn given_for_elections(run: &Run, but: PeerId) -> Result<u64, Failure> {
    let mut addresses = run.addresses(&run.ledger_info().await?.entries);
    addresses.remove(&but);
    let (mut given, hosts) = (0, run.hosts(&addresses).await.peers);
    if hosts.len() as u32 + 1 != run.config().peers() {
        return Err(Failure::Stuck(format!("of some peers nobody knows where they are; only of {}", hosts.len())));
    }
    for (peer, info) in hosts {
        let Ok(PeerInfo::Well(status)) = info else {
            return Err(Failure::Stuck(format!("peer {peer} does not say what its links were given")));
        };
        given += status.links.iter().map(|link| link.counts.elections).sum::<u64>();
    }
    Ok(given)
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
            "Each time the highest was trader. Envelopes: what links were given for one election, with all copies of \
             floods, on average; beside it the messages of Bully in a mesh. Times: p50. Simulated, with up to 10,000 \
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
