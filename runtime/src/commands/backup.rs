//! `bazaar backup` and `bazaar restore` (SPEC I6).

use std::{fmt::Write as _, io::ErrorKind, path::Path, process::ExitCode};

use bazaar_protocol::{
    id::{PeerId, Position},
    ledger::{HighWaterMark, LedgerFault},
    record::Batch,
    text::counted,
};
use bazaar_runtime::{
    config::{
        BazaarConfig, Key, RawConfig,
        ledger::LedgerId,
        run_dir::{RunDir, config_file, leave_mark, ledger_dir, mark_in, peer_dir, store_dir},
    },
    store::{
        Backup, BackupHeader, KeptLog, PeerStore, Place, StoreError,
        witness::{self, Gone, Witness},
    },
    system::limits,
    tools::access::Run,
};

use super::cli::{Backup as BackupFlags, Restore};
use super::{
    Failure, block_on,
    books::{Audited, audit_of},
    member::ledger_options,
    print, rejoin, which_run,
};

pub fn backup(flags: &BackupFlags) -> Result<ExitCode, Failure> {
    let file = &flags.file;
    if file.exists() {
        return Err(exists(file));
    }
    let run = Run::at(&which_run(&flags.which)?)?;
    let (log, intact) = block_on(async { Ok(run.remains().await?) })?;
    if log.kept.mark().head == Position(0) && !intact.is_everything() {
        return Err(Failure::Unsound(format!("there is nothing to save of {}: {intact}", run.store().display())));
    }
    let header = BackupHeader {
        taken: jiff::Timestamp::now(),
        run: mark_of_run(run.dir(), run.config())?,
        config: run.config().without_key().to_toml(),
        acknowledged: intact.acknowledged,
    };
    Backup { header, log: log.kept }.write(file)?;
    // What counts is what can be read again.
    let saved = Backup::read(file)?;
    let audited = Audited { report: audit_of(&saved.log, run.config()), gone: log.gone };
    let mut text = format!("wrote {}: {}\n", file.display(), extent(&saved.log));
    let _ = write!(text, "{}", audited.verdict());
    print(&text)?;
    if !intact.is_everything() {
        return Err(Failure::Unsound(format!(
            "the ledger's store in {} is damaged, and this is not all of it: {}",
            run.store().display(),
            missing(saved.log.mark().head, intact.acknowledged)
        )));
    }
    Ok(if audited.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn exists(file: &Path) -> Failure {
    Failure::Usage(format!("{} exists already; give another name", file.display()))
}

pub fn restore(flags: &Restore) -> Result<ExitCode, Failure> {
    let backup = Backup::read(&flags.file)?;
    let dir = which_run(&flags.which)?;
    if is_free(&dir) && !flags.only_peers {
        return found(&backup, &dir, flags);
    }
    let run = RunDir::take_ended(&dir)?;
    if backup.header.run != mark_of_run(run.path(), run.config())? {
        let of = config_in(&backup, &flags.file)?.check()?;
        return Err(Failure::Usage(format!(
            "{} is of another run (\"{}\", {} peers, seed {}) than the one in {}: give the --dir of that run, or a new \
             one, in which a run is made from the backup",
            flags.file.display(),
            of.name(),
            of.peers(),
            of.seed(),
            run.path().display()
        )));
    }
    if run.config().ledger().etcd().is_some() {
        return accept_in_etcd(&backup, &run, flags);
    }
    let audited = audited(&backup, run.config(), flags)?;
    let batches = if flags.only_peers { &[] } else { whole(&backup, flags)? };
    let store = store_dir(&ledger_dir(run.path(), LedgerId::ONLY));
    if store.exists() && !flags.replace && !flags.only_peers {
        return Err(Failure::Usage(format!(
            "there is a ledger's store in {}: with --replace it is set aside and the backup takes its place",
            store.display()
        )));
    }
    // From here on, no ledger can be started there, whoever does it.
    let place = Place::hold(&store)?;
    let lost = Lost::by(&backup, &run, Some(&place))?;
    refuse_loss(&lost, flags)?;
    let mut peers = lost.peers(&run)?;
    let mut text = String::new();
    if !flags.only_peers {
        if let Some(gone) = &lost.gone {
            // Until everybody has accepted the loss, the ledger refuses to start.
            witness::note(&ledger_dir(run.path(), LedgerId::ONLY), gone)?;
        }
        let aside = place.restore(batches, ledger_options(run.config()))?;
        let _ = writeln!(text, "restored {} in {}", extent(&backup.log), store.display());
        if let Some(aside) = aside {
            let _ = writeln!(text, "the store that was there is now {}; remove it when you like", aside.display());
        }
    }
    if lost.is_anything() {
        let holds = backup.log.sealed_mark(run.config().ledger_config().secret);
        peers.iter_mut().try_for_each(|peer| witness::accept(peer, holds))?;
        // Last: see above.
        witness::forget(&ledger_dir(run.path(), LedgerId::ONLY))?;
        let peers = counted(peers.len(), "peer");
        let _ = writeln!(text, "accepted: it {lost}; {peers} on this machine had seen more and no longer ask for it");
    }
    let _ = write!(text, "{}", audited.verdict());
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Has those on this machine accept what a cluster of etcd has lost that was restored or made anew. The backup is one of
/// what it holds now; nothing is written to the cluster.
fn accept_in_etcd(backup: &Backup, run: &RunDir, flags: &Restore) -> Result<ExitCode, Failure> {
    if !flags.only_peers {
        let anew = "; or give a new --dir, in which a run is made from this backup that keeps its books on the disk";
        return Err(Failure::Usage(format!(
            "the books of this run are in etcd, which is restored from its own snapshots (etcdctl snapshot save, restore). \
             Back up what it then holds, and give that with --only-peers --accept-loss if it is less than those on this \
             machine have seen{}",
            if backup.log.is_whole() { anew } else { "" }
        )));
    }
    let audited = audited(backup, run.config(), flags)?;
    let lost = Lost::by(backup, run, None)?;
    refuse_loss(&lost, flags)?;
    let mut peers = lost.peers(run)?;
    let holds = backup.log.sealed_mark(run.config().ledger_config().secret);
    peers.iter_mut().try_for_each(|peer| witness::accept(peer, holds))?;
    run.config().ledger().ids().try_for_each(|id| witness::forget(&ledger_dir(run.path(), id)))?;
    let accepted = if lost.is_anything() {
        let peers = counted(peers.len(), "peer");
        format!("accepted: it {lost}; {peers} on this machine had seen more and no longer ask for it\n")
    } else {
        "nobody on this machine has seen more than the backup holds\n".to_owned()
    };
    print(&format!("{accepted}{}", audited.verdict()))?;
    Ok(ExitCode::SUCCESS)
}

/// All that a backup holds, from the first record on.
///
/// # Errors
/// When its first records were not kept: a ledger on a disk keeps them all.
fn whole<'a>(backup: &'a Backup, flags: &Restore) -> Result<&'a [Batch], Failure> {
    if backup.log.is_whole() {
        return Ok(backup.log.batches());
    }
    Err(Failure::Usage(format!(
        "{} begins at record {}: the ones before were not kept in etcd, and a ledger on a disk has all. \
         Restore the cluster of etcd from its own snapshots (etcdctl snapshot restore) instead",
        flags.file.display(),
        backup.log.first()
    )))
}

/// Whether a run can be made there: there is no such directory, or nothing in it.
fn is_free(dir: &Path) -> bool {
    match dir.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Makes a run in a new directory from all that a backup holds: books and configuration. It has a key of its own, since a
/// backup has none, and its peers are all in lives that the books do not know of, since their stores are not in it.
fn found(backup: &Backup, dir: &Path, flags: &Restore) -> Result<ExitCode, Failure> {
    let config = config_in(backup, &flags.file)?;
    let was_in_etcd = config.check()?.ledger().etcd().is_some();
    let config = config.with_books_on_disk();
    let audited = audited(backup, &config.check()?, flags)?;
    let batches = whole(backup, flags)?;
    let (holds, acknowledged) = (backup.log.mark(), backup.header.acknowledged);
    let lost = Lost { holds, gone: None, noted: None, acknowledged };
    refuse_loss(&lost, flags)?;
    let room = |config: &BazaarConfig| limits::check_room(dir, config.peers()).map_err(Failure::from);
    let run = RunDir::take(dir, Some(config), |_| Ok(()), room)?;
    if let Err(failure) = furnish(&run, backup, batches) {
        run.discard();
        return Err(failure);
    }
    let config = config_file(run.path());
    let mut text = format!("made a run in {}: {}\n", run.path().display(), extent(&backup.log));
    let _ = writeln!(text, "its key is new: members on other machines need {}", config.display());
    if was_in_etcd {
        let _ =
            writeln!(text, "its books, which were in etcd, are on the disk here, kept by one process of the ledger");
    }
    let _ = write!(text, "{}", audited.verdict());
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn furnish(run: &RunDir, backup: &Backup, batches: &[Batch]) -> Result<(), Failure> {
    leave_mark(run.path(), backup.header.run)?;
    for peer in (0..run.config().peers()).map(PeerId) {
        // Whoever was told of what came after the backup may know of later lives.
        let secret = run.config().ledger_config().secret;
        if let Some(durable) = rejoin::above(&backup.log, peer, secret) {
            PeerStore::open(store_dir(&peer_dir(run.path(), peer)))?.save(&durable)?;
        }
    }
    // Last: without it, there is nothing that could be run.
    let place = Place::hold(&store_dir(&ledger_dir(run.path(), LedgerId::ONLY)))?;
    place.restore(batches, ledger_options(run.config()))?;
    Ok(())
}

fn audited(backup: &Backup, config: &BazaarConfig, flags: &Restore) -> Result<Audited, Failure> {
    let audited = Audited { report: audit_of(&backup.log, config), gone: None };
    if !audited.is_clean() {
        print(&audited.verdict())?;
        return Err(Failure::Unsound(format!("{} is not restored: its audit fails", flags.file.display())));
    }
    Ok(audited)
}

fn refuse_loss(lost: &Lost, flags: &Restore) -> Result<(), Failure> {
    if !lost.is_anything() || flags.accept_loss {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} {lost}. Give a later backup; or, if there is none, accept the loss with --accept-loss",
        flags.file.display()
    )))
}

/// What restoring a backup loses, as far as this machine knows.
struct Lost {
    holds: HighWaterMark,
    /// Somebody has seen more.
    gone: Option<Gone>,
    /// The ledger has noted that there was more, but its note cannot be read any more.
    noted: Option<String>,
    /// The store in place and the one that the backup was taken of had acknowledged so many; `None` if one of them is
    /// too damaged to say.
    acknowledged: Option<Position>,
}

impl Lost {
    fn by(backup: &Backup, run: &RunDir, place: Option<&Place>) -> Result<Lost, Failure> {
        let (mut witnesses, mut noted) = (witnesses_of(run), None);
        for id in run.config().ledger().ids() {
            match witness::noted(&ledger_dir(run.path(), id)) {
                Ok(witness) => witnesses.extend(witness),
                Err(error @ StoreError::DamagedFile { .. }) => noted = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let in_place = match place.map(Place::examine) {
            Some(Ok(remains)) => remains.intact().acknowledged,
            None | Some(Err(StoreError::NotFound { .. })) => Some(Position(0)),
            Some(Err(StoreError::Version { .. })) => None,
            Some(Err(error)) => return Err(error.into()),
        };
        let holds = backup.log.mark();
        let acknowledged = backup.header.acknowledged.zip(in_place).map(|(then, now)| then.max(now));
        Ok(Lost { holds, gone: witness::gone(&witnesses, holds), noted, acknowledged })
    }

    /// The stores of those peers on this machine that have seen more. All are opened before anything is changed.
    fn peers(&self, run: &RunDir) -> Result<Vec<PeerStore>, Failure> {
        let have_more = witnesses_of(run).into_iter().filter(|witness| witness.compare(self.holds).is_err());
        let open = |witness: Witness| PeerStore::open(store_dir(&peer_dir(run.path(), witness.life.peer)));
        Ok(have_more.map(open).collect::<Result<_, _>>()?)
    }

    fn is_anything(&self) -> bool {
        self.gone.is_some() || self.noted.is_some() || self.acknowledged.is_none_or(|all| all > self.holds.head)
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lost { holds, gone, noted, acknowledged } = self;
        let seen = gone.map(|Gone(fault)| fault);
        let all =
            acknowledged.filter(|_| noted.is_none()).map(|all| seen.map_or(all, |fault| all.max(fault.seen.head)));
        write!(f, "holds {} records up to epoch {}: {}", holds.head, holds.epoch, missing(holds.head, all))?;
        if let Some(LedgerFault { witness, seen, .. }) = seen {
            let (peer, life) = (witness.peer, witness.incarnation);
            write!(f, "; peer {peer} (life {life}) has seen epoch {} and {} records", seen.epoch, seen.head)?;
        }
        if let Some(why) = noted {
            write!(f, "; {why}")?;
        }
        Ok(())
    }
}

/// What the peers on this machine have seen.
fn witnesses_of(run: &RunDir) -> Vec<Witness> {
    let peers = (0..run.config().peers()).map(PeerId);
    peers.filter_map(|peer| witness::seen_by(peer, &store_dir(&peer_dir(run.path(), peer)))).collect()
}

/// What is not there of a log of `all` records that holds so many, in words.
fn missing(holds: Position, all: Option<Position>) -> String {
    match all.map(|all| (all, all.0.saturating_sub(holds.0))) {
        Some((_, 0)) => "of what was acknowledged, it lacks a later epoch".to_owned(),
        Some((all, lacks)) => format!(
            "of {all} acknowledged records it lacks the last {lacks}, from record {holds} on, with every deposit, request \
             and sale in them, although those concerned were told"
        ),
        None => format!("how many records were acknowledged beyond the first {holds} is not known"),
    }
}

fn extent(log: &KeptLog) -> String {
    let HighWaterMark { epoch, head, .. } = log.mark();
    if log.is_whole() {
        return format!("{head} records up to epoch {epoch}");
    }
    format!("the records from {} up to {head}, of epoch {epoch}, and what those before add up to", log.first())
}

/// A mark by which a run's backups are known, and from which its key cannot be found. A run that was made from a backup
/// has that one's.
fn mark_of_run(dir: &Path, config: &BazaarConfig) -> Result<[u8; 32], Failure> {
    if let Some(mark) = mark_in(dir)? {
        return Ok(mark);
    }
    let key = config.key().map(|key| *key.as_bytes()).unwrap_or_default();
    Ok(blake3::derive_key("bazaar: which run a backup is of", &key))
}

/// The configuration in a backup, with a key of its own.
pub fn config_in(backup: &Backup, file: &Path) -> Result<RawConfig, Failure> {
    let mut raw = RawConfig::parse(&backup.header.config, file)?;
    // Those with members on several machines must have one.
    raw.set_text("--backup", "key", &Key::random().to_hex())?;
    Ok(raw)
}
