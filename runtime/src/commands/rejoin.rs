//! `bazaar rejoin`: lets a peer in again whose store is lost or old, in a life above all that anybody knows of it (SPEC
//! I5).

use std::{fmt::Write as _, path::Path, process::ExitCode};

use bazaar_protocol::{
    clock::Time,
    effect::Durable,
    id::{Incarnation, PeerId},
    ledger::{HighWaterMark, Secret},
};
use bazaar_runtime::{
    config::run_dir::{config_file, peer_dir},
    network::{directory::Entry as Registered, service::PeerInfo},
    store::{KeptLog, PeerStore},
    tools::access::{AccessError, Run},
};

use super::{Failure, block_on, cli::Rejoin, faults::existing, print, which_run};

/// How many lives are left out: a neighbour that has started again since may have known a later one.
const GAP: u32 = 1_000;

/// How far the new life's clock begins above every reading that is known.
const LEAD: u64 = 1 << 20;

/// The same where somebody cannot be asked: at a million ticks a second it is 19 hours.
const LONG_LEAD: u64 = 1 << 36;

/// What is known of a peer.
struct Known {
    life: Incarnation,
    clock: Time,
    seen: HighWaterMark,
    /// Who knows of which life, in words.
    said: Vec<String>,
    /// Who could not be asked.
    missing: Vec<String>,
}

pub fn rejoin(flags: &Rejoin) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let peer = existing(&run, flags.id)?;
    let mut known = block_on(async { ask(&run, peer).await })?;
    let dir = peer_dir(run.dir(), peer).join("store");
    let mut store = open(&dir, &mut known)?;
    let former = store.load();
    known.learn(former.incarnation, "its store");
    let lead = if known.missing.is_empty() { LEAD } else { LONG_LEAD };
    let incarnation = Incarnation(known.life.0.saturating_add(GAP));
    if incarnation >= Incarnation::MOST {
        return Err(Failure::Stuck(format!("no life is left for peer {peer}: it has got to life {}", known.life)));
    }
    let durable =
        Durable { incarnation, clock_bound: known.clock.max(former.clock_bound).plus(lead), seen: known.seen };
    store.save(&durable).map_err(AccessError::from)?;
    print(&known.told(peer, durable, &config_file(run.dir())))?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(run: &Run, peer: PeerId) -> Result<Known, Failure> {
    let mut known = Known {
        life: Incarnation(0),
        clock: Time(0),
        seen: HighWaterMark::default(),
        said: Vec::new(),
        missing: Vec::new(),
    };
    let log = run.log().await?.kept;
    let books = if log.is_whole() { "the books" } else { "the books, as far as they are kept" };
    known.learn(log.last_life(peer).unwrap_or_default(), books);
    known.clock = log.furthest();
    known.seen = log.sealed_mark(run.config().ledger_config().secret);
    let info = match run.ledger_info().await {
        Ok(info) => info,
        Err(error) => {
            known.missing.push(format!("the directory and the neighbours ({error})"));
            return Ok(known);
        }
    };
    if let Some(Registered { registration, .. }) =
        info.entries.iter().find(|entry| entry.registration.life.peer == peer && entry.connected)
    {
        return Err(Failure::Stuck(format!("peer {peer} is running ({registration}): stop it first")));
    }
    let registered = info.entries.iter().map(|entry| entry.registration.life).find(|life| life.peer == peer);
    known.learn(registered.map(|life| life.incarnation).unwrap_or_default(), "the directory");
    let mut told = run.hosts(&run.addresses(&info.entries)).await.peers;
    for neighbour in run.config().graph().neighbours(peer) {
        match told.remove(neighbour) {
            Some(Ok(PeerInfo::Well(status))) => {
                let link = status.links.iter().find(|link| link.neighbour == peer);
                known.learn(link.map(|link| link.life).unwrap_or_default(), &format!("peer {neighbour}"));
                known.clock = known.clock.max(status.clock);
            }
            Some(Ok(PeerInfo::NoAnswer(_)) | Err(_)) | None => known.missing.push(format!("peer {neighbour}")),
        }
    }
    Ok(known)
}

/// What a peer is to remember of which nothing is left but these books, so that no number of it is ever given twice;
/// `None` if they do not name it.
pub fn above(log: &KeptLog, peer: PeerId, secret: Secret) -> Option<Durable> {
    log.last_life(peer).map(|life| Durable {
        incarnation: Incarnation(life.0.saturating_add(GAP)),
        clock_bound: log.furthest().plus(LEAD),
        seen: log.sealed_mark(secret),
    })
}

/// The peer's store; a damaged one is set aside for a new one.
fn open(dir: &Path, known: &mut Known) -> Result<PeerStore, Failure> {
    match PeerStore::open(dir) {
        Err(error) if error.is_damage() => {
            let aside = dir.with_extension("damaged");
            std::fs::rename(dir, &aside).map_err(|renaming| {
                Failure::Stuck(format!("{error}; and it cannot be moved to {}: {renaming}", aside.display()))
            })?;
            known.said.push(format!("its store is damaged and is now {}", aside.display()));
            Ok(PeerStore::open(dir).map_err(AccessError::from)?)
        }
        result => Ok(result.map_err(AccessError::from)?),
    }
}

impl Known {
    fn learn(&mut self, life: Incarnation, by: &str) {
        self.life = self.life.max(life);
        self.said.push(match life.0 {
            0 => format!("{by}: none of its lives"),
            life => format!("{by}: life {life}"),
        });
    }

    fn told(&self, peer: PeerId, durable: Durable, config: &Path) -> String {
        let mut text = format!("what is known of peer {peer}:\n");
        // Writing to a string cannot fail.
        for said in &self.said {
            let _ = writeln!(text, "  {said}");
        }
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            let _ = writeln!(text, "could not be asked, so its clock is set far ahead: {missing}");
        }
        let (life, clock) = (durable.incarnation.next(), durable.clock_bound);
        let _ = writeln!(text, "{GAP} lives are left out, in case somebody has forgotten a later one");
        let _ = writeln!(
            text,
            "peer {peer} will begin life {life}, with its clock at {clock}: start it again, with the run\nor by \
             `bazaar peer --config {} --id {peer}`",
            config.display()
        );
        text
    }
}
