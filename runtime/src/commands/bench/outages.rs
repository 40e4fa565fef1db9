//! How long nothing is sold after a process of etcd, of the ledger or of the trader was killed or halted, where the
//! books are in etcd; and whether anything is lost or doubled then (SPEC J3).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use bazaar_etcd::Client;
use bazaar_protocol::{
    effect::Note,
    id::{PeerId, RequestId},
    record::{Entry, Sale},
    text::counted,
};
use bazaar_runtime::{
    config::{Speed, ledger::LedgerId},
    network::settings::Settings,
    processes::{
        replica_driver,
        report::{Event, ProcessEvent, What},
    },
    system::process::Signal,
    tools::access::{LedgerAnswer, Run},
};
use rustix::process::{Pid, kill_process};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::{Market, Ready, note, since_1970},
    plot::{self, Axis, Mark},
    sample::{Sample, micros, millis, shown},
    say, stuck,
};

const PEERS: u32 = 7;

/// Four of the seven peers buy, and three, one of which is the trader, sell. A buyer waits so long between two
/// purchases that gaps of some milliseconds show. Snapshots are taken as usual: a trader reads the books from one on.
const CONFIG: &str = "\
peers = 7
seed = 7
pace = \"flat-out\"
[terms]
resign_after = 1000000000
[waits]
think = \"20ms\"
[goods]
items = [\"fish\"]
units = 100000
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
role = \"buyer\"
[[peer]]
id = 4
role = \"seller\"
[[peer]]
id = 5
role = \"seller\"
[[peer]]
id = 6
role = \"seller\"
";

/// For how long a halted process is halted, at least, and how long after its death a killed one comes back.
const AWAY: Duration = Duration::from_secs(3);
/// The same where it is only tried whether all of this works.
const QUICKLY_AWAY: Duration = Duration::from_secs(1);

/// How many sales are made between two faults, once everybody is there.
const BETWEEN: usize = 100;

/// How long the bazaar may take until it sells again, or is whole again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it is.
const LOOKING: Duration = Duration::from_millis(50);

/// Whom it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Nobody,
    EtcdLeader,
    EtcdFollower,
    Ledger,
    Trader,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Victim::Nobody => "nobody",
            Victim::EtcdLeader => "etcd leader",
            Victim::EtcdFollower => "etcd follower",
            Victim::Ledger => "the trader's ledger process",
            Victim::Trader => "trader",
        }
    }
}

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    victim: Victim,
    signal: Signal,
}

impl Kind {
    /// One that is none, to compare with, and then the others.
    fn all() -> Vec<Kind> {
        let victims = [Victim::EtcdLeader, Victim::EtcdFollower, Victim::Ledger, Victim::Trader];
        let each = |signal| victims.map(|victim| Kind { victim, signal });
        let nothing = Kind { victim: Victim::Nobody, signal: Signal::CONT };
        [nothing].into_iter().chain(each(Signal::KILL)).chain(each(Signal::STOP)).collect()
    }

    fn how(self) -> &'static str {
        match (self.victim, self.signal) {
            (Victim::Nobody, _) => "nothing",
            (_, Signal::KILL) => "SIGKILL",
            (_, _) => "SIGSTOP",
        }
    }
}

/// What has been heard of a bazaar so far.
#[derive(Default)]
struct Heard {
    /// The process of each name that runs.
    pids: BTreeMap<String, u32>,
    trader: Option<PeerId>,
    /// When anybody was told of a purchase, in the order in which it was read.
    sold: Vec<Duration>,
    /// Of which purchases buyers were told.
    told: BTreeMap<RequestId, Sale>,
    /// A purchase of which a buyer was told twice, and differently.
    differs: Option<RequestId>,
}

impl Heard {
    fn hear(&mut self, event: &Event) {
        match &event.what {
            What::Process(ProcessEvent::ProcessStarted { process, pid }) => {
                self.pids.insert(process.clone(), *pid);
            }
            What::Process(ProcessEvent::ProcessDied { process, pid, .. }) => {
                if self.pids.get(process) == Some(pid) {
                    self.pids.remove(process);
                }
            }
            What::Peer(_) | What::Process(_) => {}
        }
        match note(event) {
            Some((Note::TookOffice { .. }, _)) => self.trader = event.peer,
            Some((Note::Bought { sale }, at)) => {
                self.sold.push(at);
                let before = self.told.insert(sale.request, sale.clone());
                if before.is_some_and(|before| before != *sale) {
                    self.differs = Some(sale.request);
                }
            }
            Some(_) | None => {}
        }
    }
}

/// A bazaar that things happen to.
struct Trial<'a> {
    ready: &'a Ready,
    client: Client,
    heard: &'a RefCell<Heard>,
    more: &'a Notify,
    away: Duration,
}

/// Who there is, once all are.
struct Whole {
    /// The nodes' numbers, the leader's first.
    nodes: Vec<usize>,
    /// Who is connected to each process of the ledger.
    ledgers: Vec<(LedgerId, Vec<PeerId>)>,
}

impl Trial<'_> {
    fn sales(&self) -> usize {
        self.heard.borrow().sold.len()
    }

    /// Waits until so many purchases were made.
    async fn sells(&self, upto: usize) -> Result<(), Failure> {
        let enough = async {
            while self.sales() < upto {
                self.more.notified().await;
            }
        };
        let late = |_| Failure::Stuck(format!("nothing is sold for {PATIENCE:?}; see the logs in {}", self.dir()));
        timeout(PATIENCE, enough).await.map_err(late)
    }

    fn dir(&self) -> String {
        self.ready.dir().display().to_string()
    }

    /// The nodes' numbers, the leader's first; `None` if they do not agree.
    async fn nodes(&self) -> Option<Vec<usize>> {
        let mut told = Vec::new();
        for node in 0..self.client.endpoints().len() {
            let status = self.client.status(node).await.ok()?;
            told.push((status.leader? != status.member, status.leader, node));
        }
        told.sort_unstable();
        let (_, leader, _) = *told.first()?;
        let agree = told.iter().all(|(_, of_it, _)| *of_it == leader) && told.iter().filter(|one| !one.0).count() == 1;
        agree.then(|| told.iter().map(|(_, _, node)| *node).collect())
    }

    /// Waits until everybody is there again.
    async fn whole(&self) -> Result<Whole, Failure> {
        let run = Run::at(self.ready.dir())?;
        let whole = async {
            loop {
                let running = self.heard.borrow().pids.len();
                if let Some(nodes) = self.nodes().await
                    && let Ok(ledgers) = run.ledgers().await
                    && running == nodes.len() + run.config().ledger().processes.len() + PEERS as usize
                    && ledgers.silent.is_empty()
                    && ledgers.answers.iter().all(|answer| answer.info.trouble.is_none())
                {
                    let ledgers: Vec<_> = ledgers.answers.iter().map(connected).collect();
                    if ledgers.iter().flat_map(|(_, peers)| peers).collect::<BTreeSet<_>>().len() == PEERS as usize {
                        return Whole { nodes, ledgers };
                    }
                }
                sleep(LOOKING).await;
            }
        };
        let late = |_| Failure::Stuck(format!("not all come back within {PATIENCE:?}; see the logs in {}", self.dir()));
        timeout(PATIENCE, whole).await.map_err(late)
    }

    fn pid(&self, victim: Victim, whole: &Whole) -> Option<u32> {
        let heard = self.heard.borrow();
        let node = |nth: usize| whole.nodes.get(nth).map(|node| format!("etcd {}", node + 1));
        let name = match victim {
            Victim::Nobody => None,
            Victim::EtcdLeader => node(0),
            Victim::EtcdFollower => node(1),
            Victim::Ledger => {
                let of_trader =
                    whole.ledgers.iter().find(|(_, peers)| peers.iter().any(|peer| Some(*peer) == heard.trader));
                of_trader.map(|(id, _)| id.to_string())
            }
            Victim::Trader => heard.trader.map(|trader| format!("peer {trader}")),
        };
        heard.pids.get(&name?).copied()
    }

    /// Has something happen, and gives the longest time without a sale from then until a while after everybody is back.
    async fn suffer(&self, kind: Kind) -> Result<Duration, Failure> {
        self.whole().await?;
        self.sells(self.sales() + BETWEEN).await?;
        let pid = self.pid(kind.victim, &self.whole().await?);
        if pid.is_none() && kind.victim != Victim::Nobody {
            return Err(Failure::Stuck(format!("the process of the {} is not known", kind.victim.name())));
        }
        let before = self.sales();
        let since = since_1970(jiff::Timestamp::now());
        if let Some(pid) = pid {
            send(pid, kind.signal)?;
        }
        let struck = Instant::now();
        sleep(self.away).await;
        // What was sold before may still be read after it: more than that must have been sold.
        self.sells(before + BETWEEN).await?;
        say(&format!("outages: {} {}: {}", kind.how(), kind.victim.name(), shown(struck.elapsed())));
        if let Some(pid) = pid.filter(|_| kind.signal == Signal::STOP) {
            send(pid, Signal::CONT)?;
        }
        if kind.victim != Victim::Nobody {
            self.whole().await?;
        }
        self.sells(self.sales() + BETWEEN).await?;
        let heard = self.heard.borrow();
        Ok(longest_gap(since, &heard.sold))
    }

    /// Whether the books have every purchase of which a buyer was told, and each once. Gives how many.
    async fn compare(&self) -> Result<usize, Failure> {
        // Before the log is read, while more is sold.
        let told = self.heard.borrow().told.clone();
        let log = Run::at(self.ready.dir())?.log().await?;
        let mut sold: BTreeMap<RequestId, &Sale> = BTreeMap::new();
        for record in log.kept.records() {
            if let Entry::Sold(sale) = &record.entry
                && sold.insert(sale.request, sale).is_some()
            {
                return Err(Failure::Unsound(format!(
                    "{:?} is sold twice in the books in {}",
                    sale.request,
                    self.dir()
                )));
            }
        }
        if let Some(request) = self.heard.borrow().differs {
            return Err(Failure::Unsound(format!("of {request:?} its buyer was told twice, and differently")));
        }
        let lost = told.iter().find(|(request, sale)| sold.get(request) != Some(sale));
        if let Some((request, _)) = lost {
            return Err(Failure::Unsound(format!("{request:?} was told, and is not in the books in {}", self.dir())));
        }
        Ok(told.len())
    }
}

/// Who is connected to a process of the ledger.
fn connected(LedgerAnswer { id, info, .. }: &LedgerAnswer) -> (LedgerId, Vec<PeerId>) {
    let connected = info.entries.iter().filter(|entry| entry.connected);
    (*id, connected.map(|entry| entry.registration.life.peer).collect())
}

/// Sends a signal to a process of a bazaar that is known to run.
///
/// # Errors
/// When it is gone.
pub fn send(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::Stuck("a process has no number".to_owned()))?;
    kill_process(pid, signal).map_err(stuck("send a signal"))
}

/// The longest time without a sale that ends after `since`.
fn longest_gap(since: Duration, sold: &[Duration]) -> Duration {
    let mut sold = sold.to_vec();
    sold.sort_unstable();
    let first = sold.partition_point(|at| *at <= since).saturating_sub(1);
    let gaps = sold[first..].windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().unwrap_or_default()
}

pub fn outages(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let kinds = Kind::all();
    let (rounds, away) = if quick { (1, QUICKLY_AWAY) } else { (13, AWAY) };
    let of_all = u32::try_from(rounds * kinds.len()).unwrap_or(u32::MAX);
    let market = Market {
        dir: dir.join("outages"),
        config: CONFIG.to_owned(),
        processes: None,
        kinds: &["took_office", "bought"],
        of: Vec::new(),
        restart_after: Some(away),
        at_most: PATIENCE + Duration::from_secs(60) * of_all,
    };
    let ready = market.prepare_in_etcd()?;
    let (heard, more) = (RefCell::new(Heard::default()), Notify::new());
    let hear = |event: &Event| {
        heard.borrow_mut().hear(event);
        more.notify_one();
    };
    let (gaps, told) = block_on(async {
        let client = ready.etcd()?;
        let until = async {
            let trial = Trial { ready: &ready, client, heard: &heard, more: &more, away };
            let mut gaps = vec![Vec::new(); kinds.len()];
            for _ in 0..rounds {
                for (kind, gaps) in kinds.iter().zip(&mut gaps) {
                    gaps.push(trial.suffer(*kind).await?);
                }
            }
            Ok((gaps, trial.compare().await?))
        };
        ready.run(hear, until).await
    })?;
    let found: Vec<(Kind, Sample)> =
        kinds.into_iter().zip(gaps.into_iter().map(|gaps| gaps.into_iter().collect())).collect();
    let faults: usize = found.iter().skip(1).map(|(_, gaps)| gaps.len()).sum();
    let rows = found.iter().map(|(kind, gaps)| {
        let row = [kind.how().to_owned(), kind.victim.name().to_owned(), gaps.len().to_string()];
        row.into_iter().chain([gaps.mean(), gaps.median(), gaps.longest()].map(shown)).collect()
    });
    let timeouts = Speed::FlatOut.timeouts();
    let Settings { keepalive, silence, .. } = Settings::default();
    let deadline = replica_driver::ATTEMPT;
    let all: Sample = found.iter().skip(1).flat_map(|(_, gaps)| gaps.times().iter().copied()).collect();
    let marks = [
        Mark { at: millis(timeouts.suspicion), name: format!("suspicion, {}", shown(timeouts.suspicion)) },
        Mark { at: millis(deadline), name: format!("a look or an append, {}", shown(deadline)) },
    ];
    let x = Axis::linear("longest time without a sale, ms");
    let plot = plot::histogram(&format!("{faults} processes killed or halted under load"), x, all.times(), &marks)?;
    let json = found
        .iter()
        .map(|(kind, gaps)| json!({ "signal": kind.how(), "whom": kind.victim.name(), "without_a_sale": gaps.json() }));
    Ok(Finding {
        name: "outages",
        title: format!("Books in etcd: {faults} processes killed or halted under load"),
        tables: vec![Table { head: vec!["what", "whom", "times", "mean", "p50", "max"], rows: rows.collect() }],
        notes: vec![
            format!(
                "The longest time without a sale from each on until {BETWEEN} sales after everybody is back, which is \
                 after {}.",
                shown(away)
            ),
            format!("{} were told of, and every one is in the books, once.", counted(told, "purchase")),
            format!(
                "Time-outs: of etcd, heartbeat 50 ms and election 500 ms; a look or an append {}; of a peer, a sign of \
                 life of its ledger every {} within {}; suspicion {}, lease {}, answer {}.",
                shown(deadline),
                shown(keepalive),
                shown(silence.saturating_sub(keepalive)),
                shown(timeouts.suspicion),
                shown(timeouts.lease),
                shown(timeouts.answer)
            ),
            baseline.line(),
        ],
        plots: vec![("outages".to_owned(), plot)],
        json: json!({
            "faults": faults, "told": told, "deadline_us": micros(deadline),
            "suspicion_us": micros(timeouts.suspicion), "kinds": json.collect::<Vec<_>>(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_begins_with_the_sale_before() {
        let at = |times: &[u64]| times.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        let gap = |since, times: &[u64]| longest_gap(Duration::from_millis(since), &at(times)).as_millis();
        assert_eq!(gap(100, &[10, 90, 95, 130, 150]), 35, "from the sale before on, and none before that");
        assert_eq!(gap(100, &[150, 95, 300, 160]), 140, "in whichever order they were read");
        assert_eq!(gap(100, &[90]), 0);
    }
}
