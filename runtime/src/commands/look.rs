//! `bazaar status`, `bazaar kill` and `bazaar graph`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::ExitCode, time::Duration};

use bazaar_protocol::{id::PeerId, ledger::LedgerStatus, words::Names as _};
use bazaar_runtime::{
    config::{
        RawConfig,
        picture::Picture,
        run_dir::{ledger_dir, living_process, peer_dir},
    },
    network::service::{LinkCounts, PeerInfo, PeerStatus},
    tools::access::{AccessError, Run},
};
use nix::{
    sys::signal::{Signal, kill as send_signal},
    unistd::Pid,
};
use serde::Serialize;

use super::cli::{Format, Graph, Kill, Status, Victim};
use super::{Failure, block_on, books::table, member::names, print, print_json, which_run};

/// The state of a bazaar at one moment.
#[derive(Debug, Serialize)]
struct Snapshot {
    trader: Option<PeerId>,
    epoch: u64,
    records: u64,
    queue: u32,
    ledger: Option<LedgerStatus>,
    peers: BTreeMap<PeerId, PeerState>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PeerState {
    Up {
        address: String,
        #[serde(flatten)]
        status: Box<PeerStatus>,
    },
    Down {
        address: Option<String>,
        down: String,
    },
}

impl Snapshot {
    async fn of(run: &Run) -> Result<Snapshot, AccessError> {
        let info = run.ledger_info().await?;
        let mut asked = run.peers(&info.entries).await;
        let addresses: BTreeMap<PeerId, String> = info
            .entries
            .iter()
            .map(|entry| (entry.registration.life.peer, entry.registration.address.clone()))
            .collect();
        let peers: BTreeMap<PeerId, PeerState> = (0..run.config().peers())
            .map(PeerId)
            .map(|id| {
                let address = addresses.get(&id).cloned();
                let seen = match (asked.remove(&id), address) {
                    (Some(Ok(PeerInfo::Well(status))), Some(address)) => PeerState::Up { address, status },
                    (Some(Ok(_)), address) => PeerState::Down { address, down: "does not answer".to_owned() },
                    (Some(Err(why)), address) => PeerState::Down { address, down: why },
                    (None, address) => PeerState::Down { address, down: "has not registered".to_owned() },
                };
                (id, seen)
            })
            .collect();
        let statuses = || {
            peers.values().filter_map(|seen| match seen {
                PeerState::Up { status, .. } => Some(status),
                PeerState::Down { .. } => None,
            })
        };
        let in_office = statuses().filter(|status| status.in_office).max_by_key(|status| status.epoch);
        Ok(Snapshot {
            trader: in_office.map(|status| status.id),
            epoch: info.status.epoch().0,
            records: info.status.head.0,
            queue: in_office.map_or(0, |status| status.waiting),
            ledger: Some(info.status),
            peers,
        })
    }

    fn text(&self, run: &Run) -> String {
        let names = names(run.config());
        let trader =
            self.trader.map_or_else(|| "no trader".to_owned(), |trader| format!("trader {}", names.peer(trader)));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{trader}, epoch {}, {} requests wait, {} records in the books",
            self.epoch, self.queue, self.records
        );
        let links = self.peers.values().flat_map(|seen| match seen {
            PeerState::Up { status, .. } => status.links.as_slice(),
            PeerState::Down { .. } => &[],
        });
        let sum = |count: fn(&LinkCounts) -> u64| links.clone().map(|link| count(&link.counts)).sum::<u64>();
        let [sent, clocks, floods] = [sum(|all| all.given), sum(|all| all.clocks), sum(|all| all.flooded)];
        let _ = writeln!(
            text,
            "{sent} envelopes sent to neighbours; {clocks} of them carried only a clock, and {floods} belonged to floods \
             for one peer\n"
        );
        let rows: Vec<Vec<String>> = self
            .peers
            .iter()
            .map(|(id, seen)| match seen {
                PeerState::Up { address, status } => {
                    let links = status.links.iter().map(|link| {
                        let mark = if link.up { "" } else { " (down)" };
                        format!("{}{mark}", link.neighbour)
                    });
                    vec![
                        id.to_string(),
                        if status.in_office { "trader".to_owned() } else { "up".to_owned() },
                        status.pid.to_string(),
                        address.clone(),
                        status.clock.to_string(),
                        links.collect::<Vec<_>>().join(", "),
                        status.role.clone(),
                    ]
                }
                PeerState::Down { address, down } => vec![
                    id.to_string(),
                    "down".to_owned(),
                    "-".to_owned(),
                    address.clone().unwrap_or_else(|| "-".to_owned()),
                    "-".to_owned(),
                    "-".to_owned(),
                    format!("{} [{down}]", names.role(*id)),
                ],
            })
            .collect();
        text.push_str(&table(&["id", "is", "pid", "address", "clock", "neighbours", "role"], &rows));
        text
    }
}

pub fn status(flags: &Status) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    block_on(async {
        loop {
            let snapshot = Snapshot::of(&run).await;
            let is_read = match snapshot {
                Ok(snapshot) if flags.json => print_json(&snapshot)?,
                Ok(snapshot) if flags.watch => print(&format!("\x1b[2J\x1b[H{}", snapshot.text(&run))),
                Ok(snapshot) => print(&snapshot.text(&run)),
                // The ledger may come back.
                Err(error @ AccessError::LedgerDown(_)) if flags.watch => print(&format!("{error}\n")),
                Err(error) => return Err(error.into()),
            };
            if !flags.watch || !is_read {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            }
        }
    })
}

pub fn kill(flags: &Kill) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let (dir, what) = match flags.victim {
        Victim::Ledger => (ledger_dir(run.dir()), "the ledger".to_owned()),
        Victim::Peer(id) if id.0 >= run.config().peers() => {
            let last = run.config().peers() - 1;
            return Err(Failure::Usage(format!("there is no peer {id}; ids run from 0 to {last}")));
        }
        Victim::Peer(id) => (peer_dir(run.dir(), id), format!("peer {id}")),
        Victim::Trader => {
            let trader = block_on(async { Ok(Snapshot::of(&run).await?.trader) })?;
            let trader =
                trader.ok_or_else(|| Failure::Stuck("there is no trader at the moment; try again".to_owned()))?;
            (peer_dir(run.dir(), trader), format!("the trader, peer {trader}"))
        }
    };
    let living = |dir: &Path| living_process(dir, run.dir());
    let pid = living(&dir).ok_or_else(|| Failure::Stuck(format!("{what} has no running process on this machine")))?;
    let hosted: Vec<PeerId> =
        (0..run.config().peers()).map(PeerId).filter(|id| living(&peer_dir(run.dir(), *id)) == Some(pid)).collect();
    send_signal(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)
        .map_err(|error| Failure::Stuck(format!("cannot kill {what}: {error}")))?;
    let takes_down = match hosted.as_slice() {
        [] => String::new(),
        [_] => "; it hosted nobody else".to_owned(),
        ids => format!("; it hosted the peers {}", bazaar_runtime::processes::supervise::listed(ids)),
    };
    print(&format!("killed {what} (pid {pid}){takes_down}\n"));
    Ok(ExitCode::SUCCESS)
}

pub fn graph(flags: &Graph) -> Result<ExitCode, Failure> {
    let (config, trader) = match &flags.peers {
        Some(peers) => {
            let mut raw = RawConfig::new();
            raw.set_number("--peers", "peers", peers)?;
            if let Some(seed) = flags.seed {
                raw.set("--seed", &format!("seed = {seed}"))?;
            }
            (raw.check()?, None)
        }
        None => {
            let run = Run::at(&which_run(&flags.which)?)?;
            // If nobody answers, nobody is marked.
            let trader = block_on(async { Ok(Snapshot::of(&run).await.ok().and_then(|now| now.trader)) })?;
            (run.config().clone(), trader)
        }
    };
    let graph = config.graph();
    print(&match flags.format {
        Format::Json => graph.to_json(),
        Format::Dot => Picture(graph).to_dot(&config.labels(), trader),
        Format::Svg => {
            let title = format!("The bazaar: {} peers, seed {}", config.peers(), config.seed());
            Picture(graph).to_svg(&title, &config.labels(), trader)
        }
    });
    Ok(ExitCode::SUCCESS)
}
