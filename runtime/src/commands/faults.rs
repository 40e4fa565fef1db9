//! What is done by hand to a run: `bazaar kill`, `pause`, `resume`, `cut`, `heal` and `resign`.

use std::{io, path::Path, process::ExitCode, time::Duration};

use bazaar_protocol::{
    id::PeerId,
    record::{Entry, Record},
};
use bazaar_runtime::{
    config::{
        ledger::LedgerId,
        run_dir::{ledger_dir, living_process, peer_dir},
    },
    network::service::Hand,
    processes::supervise::{Process, listed},
    system::process::{ProcessMark, Signal},
    tools::access::{AccessError, Run},
};

use super::cli::{self, Cut, Heal, Victim};
use super::{Failure, block_on, look::trader, print, which_run};

/// How long the process that is paused or resumed may take to write this into its log.
const TELLING: Duration = Duration::from_secs(3);

pub fn kill(wanted: &cli::Target) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&wanted.which)?)?;
    let target = Target::of(&run, wanted.victim)?;
    target.send(&run, Signal::KILL, "kill")?;
    print(&target.text("killed", "hosted"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn pause(wanted: &cli::Target) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&wanted.which)?)?;
    let target = Target::of(&run, wanted.victim)?;
    if target.is_paused() {
        return Err(Failure::Stuck(format!("{} is paused already", target.what)));
    }
    // Afterwards it can write nothing.
    target.tell(&run, Hand::Paused)?;
    target.send(&run, Signal::STOP, "pause")?;
    print(&target.text("paused", "hosts"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn resume(wanted: &cli::Target) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&wanted.which)?)?;
    let target = match wanted.victim {
        Victim::Trader => Target::paused_trader(&run)?,
        victim @ (Victim::Ledger(_) | Victim::Peer(_)) => Target::of(&run, victim)?,
    };
    if !target.is_paused() {
        return Err(Failure::Stuck(format!("{} is not paused", target.what)));
    }
    target.send(&run, Signal::CONT, "resume")?;
    target.tell(&run, Hand::Resumed)?;
    print(&target.text("resumed", "hosts"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn cut(flags: &Cut) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let (a, b) = (existing(&run, flags.a)?, existing(&run, flags.b)?);
    if !run.config().graph().are_neighbours(a, b) {
        let neighbours = listed(run.config().graph().neighbours(a));
        return Err(Failure::Usage(format!("peers {a} and {b} are not neighbours; those of {a} are {neighbours}")));
    }
    let cut = block_on(async {
        run.cut(a, b).await?;
        if !flags.one_way {
            run.cut(b, a).await?;
        }
        Ok(())
    });
    while_it_lasts(&run, cut)?;
    let what = if flags.one_way {
        format!("cut: peer {a} no longer reaches peer {b}, which still reaches {a}")
    } else {
        format!("cut: peers {a} and {b} no longer reach each other")
    };
    print(&format!("{what}; until `bazaar heal`, or until their processes end\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn heal(flags: &Heal) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let (healed, unreached) = while_it_lasts(&run, block_on(async { Ok(run.heal().await?) }))?;
    let text: String =
        healed.iter().map(|(from, to)| format!("healed: peer {from} may reach peer {to} again\n")).collect();
    print(if text.is_empty() { "nothing was cut\n" } else { &text })?;
    if unreached.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let unreached = listed(&unreached);
    Err(Failure::Stuck(format!("the processes of the peers {unreached} do not answer; what is cut there stays cut")))
}

pub fn resign(which: &cli::Which) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(which)?)?;
    let trader = current_trader(&run)?;
    block_on(async { Ok(run.resign(trader).await?) })?;
    print(&format!("asked: peer {trader} gives the office back; it sits out the next term\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Says so if something could not be done because the run has ended.
fn while_it_lasts<T>(run: &Run, result: Result<T, Failure>) -> Result<T, Failure> {
    match result {
        Err(Failure::Access(AccessError::LedgerDown(_))) if !run.lives_here() && run.is_kept_here() => {
            Err(Failure::Stuck("the run has ended: no process of it lives".to_owned()))
        }
        result => result,
    }
}

fn current_trader(run: &Run) -> Result<PeerId, Failure> {
    trader(run)?.ok_or_else(|| Failure::Stuck("there is no trader at the moment; try again".to_owned()))
}

/// A peer that this run has.
pub fn existing(run: &Run, id: PeerId) -> Result<PeerId, Failure> {
    let last = run.config().peers() - 1;
    if id.0 > last {
        return Err(Failure::Usage(format!("there is no peer {id}; ids run from 0 to {last}")));
    }
    Ok(id)
}

/// The process of the ledger with this number or, without one, the one that runs on this machine.
fn ledger_here(run: &Run, number: Option<u8>) -> Result<LedgerId, Failure> {
    let ledger = run.config().ledger();
    let names =
        |ids: Vec<LedgerId>| ids.iter().map(|id| format!("ledger-{}", id.number())).collect::<Vec<_>>().join(", ");
    if let Some(number) = number {
        return ledger.id(number).ok_or_else(|| {
            Failure::Usage(format!("there is no ledger-{number} in this run; it has {}", names(ledger.ids().collect())))
        });
    }
    let here: Vec<LedgerId> = ledger.ids().filter(|id| living_process(&ledger_dir(run.dir(), *id)).is_some()).collect();
    match here.as_slice() {
        [id] => Ok(*id),
        [] if ledger.processes.len() == 1 => Ok(LedgerId::ONLY),
        [] => Err(gone(run, "the ledger")),
        _ => Err(Failure::Usage(format!("several processes of the ledger run here; say which: {}", names(here)))),
    }
}

fn gone(run: &Run, what: &str) -> Failure {
    let then = if run.lives_here() {
        "; if it has just died, `bazaar run` starts it again within seconds, and `bazaar status` knows more"
    } else {
        ""
    };
    Failure::Stuck(format!("{what} has no running process on this machine{then}"))
}

/// A process that somebody means by a peer it hosts, or as the ledger's.
struct Target {
    /// What was asked for, in words.
    what: String,
    mark: ProcessMark,
    /// Everybody it hosts.
    hosted: Vec<PeerId>,
    process: Process,
}

impl Target {
    fn of(run: &Run, victim: Victim) -> Result<Target, Failure> {
        match victim {
            Victim::Ledger(number) => {
                let id = ledger_here(run, number)?;
                Target::in_dir(run, &ledger_dir(run.dir(), id), id.to_string(), Process::Ledger(id))
            }
            Victim::Peer(id) => Target::hosting(run, existing(run, id)?, format!("peer {id}")),
            Victim::Trader => {
                let trader = current_trader(run)?;
                Target::hosting(run, trader, format!("the trader, peer {trader}"))
            }
        }
    }

    /// The latest trader whose process is paused. It is out of office by now, or will be soon.
    fn paused_trader(run: &Run) -> Result<Target, Failure> {
        let log = block_on(async { Ok(run.log().await?.kept) })?;
        let holder =
            |record: &Record| if let Entry::Claimed { holder, .. } = record.entry { Some(holder.peer) } else { None };
        let before = log.books_at_start().term().map(|term| term.holder.peer);
        let mut holders = log.records().rev().filter_map(holder).chain(before);
        let paused = holders.find_map(|peer| {
            let target = Target::hosting(run, peer, format!("the trader that was paused, peer {peer}")).ok()?;
            target.is_paused().then_some(target)
        });
        paused.ok_or_else(|| Failure::Stuck("no process of a peer that was trader is paused".to_owned()))
    }

    fn hosting(run: &Run, peer: PeerId, what: String) -> Result<Target, Failure> {
        Target::in_dir(run, &peer_dir(run.dir(), peer), what, Process::Peers(vec![peer]))
    }

    fn in_dir(run: &Run, dir: &Path, what: String, process: Process) -> Result<Target, Failure> {
        let mark = living_process(dir).ok_or_else(|| gone(run, &what))?;
        let is_hosted = |id: &PeerId| living_process(&peer_dir(run.dir(), *id)).as_ref() == Some(&mark);
        let hosted: Vec<PeerId> = (0..run.config().peers()).map(PeerId).filter(is_hosted).collect();
        Ok(Target { what, mark, hosted, process })
    }

    fn send(&self, run: &Run, signal: Signal, verb: &str) -> Result<(), Failure> {
        self.mark.send(signal).map_err(|error| {
            let is_gone = error.kind() == io::ErrorKind::NotFound;
            if is_gone {
                gone(run, &self.what)
            } else {
                Failure::Stuck(format!("cannot {verb} {}: {error}", self.what))
            }
        })
    }

    fn is_paused(&self) -> bool {
        self.mark.is_paused()
    }

    /// Has its log say what is done to it. That is for the reader; what is done does not depend on it.
    fn tell(&self, run: &Run, hand: Hand) -> Result<(), Failure> {
        block_on(async {
            let _ = tokio::time::timeout(TELLING, run.by_hand(&self.process, hand)).await;
            Ok(())
        })
    }

    fn text(&self, done: &str, hosts: &str) -> String {
        let others = match self.hosted.as_slice() {
            [] => String::new(),
            [_] => format!("; it {hosts} nobody else"),
            ids => format!("; it {hosts} the peers {}", listed(ids)),
        };
        format!("{done} {} (pid {}){others}\n", self.what, self.mark.pid())
    }
}
