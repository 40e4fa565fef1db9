//! `bazaar-model elections`: what an election costs, simulated, by the number of peers and by who calls.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bazaar_model::{
    protocol::{graph::MOST_PEERS, text::number},
    simulator::{
        elections::{Case, Election, elect},
        plan::Network,
    },
};

use crate::{
    output::{complain, stdout},
    progress::Progress,
    simulate, table, threads_or_all,
};

/// The numbers of peers that are compared by default.
const SIZES: [u32; 6] = [3, 10, 50, 100, 1_000, 10_000];

/// How many peers there are at most by default once the trader was killed. With ten thousand it takes minutes: many answer
/// the call by a flood, since they know no path to its caller yet.
const MOST_AFTER_A_KILL: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub struct ElectionsArguments {
    /// How many peers: numbers to compare (default: 3,10,50,100,1000,10000, and up to
    /// 1000 once the trader was killed).
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = |text: &str| number(text, &(3..=MOST_PEERS)))]
    peers: Vec<u32>,
    /// The networks to compare: `random`, `line` or `ring`.
    #[arg(long, value_name = "line|ring|random", value_delimiter = ',', default_value = "random")]
    network: Vec<String>,
    /// The seed of the network and of all delays.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The number of threads (default: the number of processors).
    #[arg(long, value_name = "N", value_parser = |text: &str| number(text, &(1..=u16::MAX)))]
    threads: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &ElectionsArguments) -> io::Result<ExitCode> {
    let ElectionsArguments { peers, network, seed, threads, json } = arguments;
    let mut tasks = Vec::new();
    let once = |nth: usize| !network[..nth].contains(&network[nth]);
    for network in (0..network.len()).filter(|nth| once(*nth)).map(|nth| &network[nth]) {
        let network = simulate::network(network)?;
        if let Network::Given(_) = network {
            return Err(io::Error::other("elections are compared on a random network, a line or a ring"));
        }
        for case in Case::ALL {
            let is_asked = |peers: &u32| matches!(case, Case::Best | Case::First) || *peers <= MOST_AFTER_A_KILL;
            let given: BTreeSet<u32> = peers.iter().copied().collect();
            let sizes = if given.is_empty() { SIZES.into_iter().filter(is_asked).collect() } else { given };
            tasks.extend(sizes.into_iter().map(|peers| (network.clone(), case, peers)));
        }
    }
    // The most expensive first, so that no thread begins one when the others are done.
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|nth| {
        let (_, case, peers) = &tasks[*nth];
        let peers = u64::from(*peers);
        std::cmp::Reverse(if *case == Case::Worst { peers * peers } else { peers })
    });
    let elections: Mutex<Vec<Option<Result<Election, String>>>> = Mutex::new(vec![None; tasks.len()]);
    let next = AtomicUsize::new(0);
    let progress = Progress::through(tasks.len());
    thread::scope(|scope| {
        for _ in 0..threads_or_all(*threads) {
            scope.spawn(|| {
                while let Some(nth) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (network, case, peers) = &tasks[*nth];
                    let what = format!("{peers} peers, {network}, {case}");
                    progress.tell(&what);
                    let election = elect(*peers, network, *case, *seed);
                    progress.end();
                    let election = election.map_err(|violation| format!("{what}: {violation}"));
                    elections.lock().unwrap_or_else(PoisonError::into_inner)[*nth] = Some(election);
                }
            });
        }
    });
    drop(progress);
    let elections = elections.into_inner().unwrap_or_else(PoisonError::into_inner);
    let elections: Result<Vec<Election>, String> = elections.into_iter().flatten().collect();
    let elections = match elections {
        Ok(elections) => elections,
        Err(violation) => {
            complain(&format!("VIOLATED {violation}"));
            return Ok(ExitCode::from(1));
        }
    };
    let mut out = stdout();
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&elections).map_err(io::Error::other)?)?;
    } else {
        table::elections(&mut out, &elections)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
