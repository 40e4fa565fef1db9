//! What becomes of the books when the disk, or somebody, does something to them: backups, restores, old copies put back,
//! and damage (SPEC I5, I6, I9).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    collections::BTreeMap,
    fs,
    mem::MaybeUninit,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use bazaar::{Answer, Bazaar, QUICK, ask, bazaar};
use bazaar_protocol::{id::PeerId, record::Batch};
use bazaar_runtime::store::{
    Backup, PeerStore,
    witness::{self, Witness},
};
use rustix::fs::inotify;

/// A run that has made so many purchases and ended.
fn ended(purchases: &str) -> Bazaar {
    let mut bazaar = Bazaar::new(QUICK);
    trade(&mut bazaar, purchases);
    bazaar
}

#[track_caller]
fn trade(bazaar: &mut Bazaar, purchases: &str) {
    bazaar.start(&["--purchases", purchases]);
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (file, bytes) in files(from) {
        let file = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

#[track_caller]
fn backup(bazaar: &Bazaar, name: &str) -> PathBuf {
    let file = bazaar.home().join(name);
    let said = bazaar.ask(&["backup", text(&file)]).ends(0).out;
    assert!(said.contains("records up to epoch") && said.contains("the audit holds"), "{said}");
    file
}

/// What those peers have seen whose stores know of more than is in a backup: the last trader's does, and those of whom else
/// the ledger told of it in time.
fn have_seen_more(bazaar: &Bazaar, file: &Path) -> Vec<Witness> {
    let holds = Backup::read(file).unwrap().log.mark();
    let store = |peer: u32| bazaar.dir().join(format!("peer-{peer}/store"));
    let seen = (0..4).filter_map(|peer| witness::seen_by(PeerId(peer), &store(peer)));
    seen.filter(|witness| witness.compare(holds).is_err()).collect()
}

/// The batches of an ended run's store, without sled.
fn batches(bazaar: &Bazaar) -> Vec<Batch> {
    bazaar_runtime::store::read_acknowledged(&bazaar.dir().join("ledger/store")).unwrap()
}

#[test]
fn a_backup_of_a_living_or_an_ended_run_holds_its_books_and_brings_them_back() {
    let mut bazaar = Bazaar::run(QUICK, &[]);
    bazaar.wait_for_purchases(0, 3);
    let living = backup(&bazaar, "living");
    assert_eq!(fs::metadata(&living).unwrap().permissions().mode() & 0o777, 0o600);
    bazaar.stop();
    let dead = backup(&bazaar, "dead");
    let (log, accounts) = (bazaar.log(), bazaar.page("accounts"));
    let in_file = |file: &Path, page: &str| ask(&["books", page, "--json", "--backup", text(file)]).ends(0).json();
    let early = in_file(&living, "log").as_array().unwrap().len();
    assert!(early >= 8 && early <= log.len(), "{early} records of {}", log.len());
    assert!(batches(&bazaar).starts_with(Backup::read(&living).unwrap().log.batches()), "it is of one moment");
    assert_eq!(in_file(&dead, "accounts").as_array(), Some(&accounts));
    assert!(ask(&["audit", "--backup", text(&dead)]).ends(0).out.contains("the audit holds"));
    let key = fs::read_to_string(bazaar.dir().join("bazaar.toml")).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("key = ")).unwrap().trim_matches('"').to_owned();
    assert!(!fs::read(&dead).unwrap().windows(key.len()).any(|bytes| bytes == key.as_bytes()), "it holds the key");

    bazaar.ask(&["backup", text(&dead)]).refused(2, &[text(&dead), "exists already"]);
    let other = ended("1");
    let of_another = backup(&other, "other");
    let store = bazaar.dir().join("ledger/store");
    let before = files(&bazaar.dir());
    bazaar.ask(&["restore", text(&dead)]).refused(2, &["there is a ledger's store", "--replace"]);
    bazaar.ask(&["restore", text(&of_another), "--replace"]).refused(2, &["another run", text(&of_another)]);
    bazaar.ask(&["restore", text(&bazaar.dir().join("bazaar.toml"))]).refused(2, &["is not a backup"]);
    bazaar.ask(&["restore", "/nowhere.backup"]).refused(3, &["/nowhere.backup"]);
    let bytes = fs::read(&dead).unwrap();
    let bad = bazaar.home().join("bad");
    for at in [12, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&bad, &damaged).unwrap();
        bazaar.ask(&["restore", text(&bad), "--replace"]).refused(1, &[text(&bad), "damaged"]);
        fs::write(&bad, &bytes[..at]).unwrap();
        bazaar.ask(&["restore", text(&bad), "--replace"]).refused(1, &[text(&bad), "damaged"]);
        ask(&["audit", "--backup", text(&bad)]).refused(1, &[text(&bad), "damaged"]);
    }
    // Within its last batch.
    fs::write(&bad, &bytes[..bytes.len() - 100]).unwrap();
    ask(&["audit", "--backup", text(&bad)]).refused(1, &["cut short", "the last intact record in it is "]);
    assert!(files(&bazaar.dir()) == before, "nothing that is refused has changed anything");

    // With the store gone altogether, and with one in place.
    fs::remove_dir_all(&store).unwrap();
    for flags in [&[][..], &["--replace"]] {
        let said = bazaar.ask(&[&["restore", text(&dead)], flags].concat()).ends(0).out;
        assert!(said.contains(&format!("restored {} records", log.len())), "{said}");
        assert_eq!((bazaar.log(), bazaar.page("accounts")), (log.clone(), accounts.clone()));
    }
    let more = bazaar.sales().len() + 3;
    trade(&mut bazaar, &more.to_string());
    assert_eq!(bazaar.log()[..log.len()], log);
    let aside = fs::read_dir(bazaar.dir().join("ledger")).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = aside.filter(|name| name.to_str().unwrap().starts_with("store.")).collect::<Vec<_>>();
    assert_eq!(aside.len(), 1, "what was replaced, and nothing else: {aside:?}");
    bazaar.check();
}

#[test]
fn a_run_that_has_not_ended_is_not_restored() {
    let mut bazaar = Bazaar::run(QUICK, &[]);
    bazaar.wait_for_purchases(0, 1);
    let file = backup(&bazaar, "living");
    bazaar.ask(&["restore", text(&file), "--replace"]).refused(2, &["in use by a run that has not ended"]);
    bazaar.stop();
    bazaar.check();
}

/// The log of an old copy is as sound as any. The peers remember how far it had got.
#[test]
fn an_old_ledger_put_back_is_named_by_everybody_until_its_loss_is_accepted() {
    const GONE: &str = "acknowledged records are gone: peer ";
    let mut bazaar = ended("4");
    let (store, old) = (bazaar.dir().join("ledger/store"), bazaar.home().join("old"));
    copy(&store, &old);
    let file = backup(&bazaar, "old.backup");
    let early = bazaar.log();
    trade(&mut bazaar, "12");
    let late = bazaar.log();
    assert!(late.len() > early.len());

    // What a restore would lose is said before it is done.
    let lacks = format!(
        "holds {} records up to epoch {}: of {} acknowledged records it lacks the last {}, from record {} on",
        early.len(),
        Backup::read(&file).unwrap().log.mark().epoch,
        late.len(),
        late.len() - early.len(),
        early.len()
    );
    bazaar.ask(&["restore", text(&file), "--replace"]).refused(2, &[&lacks, "--accept-loss", "has seen epoch"]);
    assert_eq!(bazaar.log(), late);

    let is_named = |bazaar: &Bazaar| {
        bazaar.ask(&["status"]).refused(1, &[GONE, "`bazaar restore`"]);
        let status = bazaar.ask(&["status", "--json"]).refused(1, &[GONE]).json();
        assert!(status["unsound"].as_str().is_some_and(|what| what.contains(GONE)), "{status}");
        for page in ["accounts", "log"] {
            let answer = bazaar.ask(&["books", page, "--json"]).refused(1, &[GONE]);
            assert!(!answer.json().as_array().unwrap().is_empty(), "the page is shown all the same");
        }
        let said = bazaar.ask(&["audit"]).ends(1).out;
        assert!(said.contains(GONE) && said.contains("THE AUDIT FAILS"), "{said}");
        let audit = bazaar.ask(&["audit", "--json"]).ends(1).json();
        assert_eq!(audit["holds"], false);
        // What a peer saw after its last write, it may have forgotten.
        let seen = audit["gone"]["records"].as_u64().unwrap();
        assert!(seen > early.len() as u64 && seen <= late.len() as u64, "{audit}");
        let partial = bazaar.home().join("partial");
        let said = bazaar.ask(&["backup", text(&partial)]).ends(1).out;
        assert!(said.contains(GONE), "{said}");
        fs::remove_file(partial).unwrap();
    };
    fs::remove_dir_all(&store).unwrap();
    copy(&old, &store);
    is_named(&bazaar);
    bazaar.start(&[]);
    assert_eq!(bazaar.wait_for_end().code(), Some(1));
    assert!(bazaar.errors().contains(GONE), "{}", bazaar.errors());
    assert_eq!(bazaar.summary()["audit"]["holds"], false);
    // The ledger's own note is enough, where the peers are on other machines.
    assert!(bazaar.dir().join("ledger/missing").exists());
    let peers = (0..4).map(|id| bazaar.dir().join(format!("peer-{id}/store"))).collect::<Vec<_>>();
    peers.iter().for_each(|store| fs::rename(store, store.with_extension("away")).unwrap());
    is_named(&bazaar);
    peers.iter().for_each(|store| fs::rename(store.with_extension("away"), store).unwrap());

    let concerned = have_seen_more(&bazaar, &file).len();
    let said = bazaar.ask(&["restore", text(&file), "--replace", "--accept-loss"]).ends(0).out;
    let counted = format!("{concerned} peer{} on this machine", if concerned == 1 { "" } else { "s" });
    assert!(said.contains("accepted: ") && said.contains(&counted), "{concerned}: {said}");
    assert!(have_seen_more(&bazaar, &file).is_empty());
    assert_eq!(bazaar.ask(&["audit", "--json"]).ends(0).json()["gone"], serde_json::Value::Null);
    let from = bazaar.now();
    trade(&mut bazaar, "12");
    assert_eq!(bazaar.log()[..early.len()], early);
    assert!(bazaar.now() > from && bazaar.ask(&["audit"]).ends(0).out.contains("the audit holds"));
    assert!(!bazaar.dir().join("ledger/missing").exists());
}

/// From before the backup is in place until all peers have accepted the loss, a note keeps the ledger from starting.
#[test]
fn a_restore_that_loses_something_is_safe_wherever_it_is_interrupted() {
    const GONE: &str = "acknowledged records are gone: ";
    let mut bazaar = ended("3");
    let ledger = bazaar.dir().join("ledger");
    let (file, early) = (backup(&bazaar, "early.backup"), bazaar.log());
    trade(&mut bazaar, "8");
    let late = files(&bazaar.dir());
    let restore = ["restore", text(&file), "--replace", "--accept-loss"];

    // Refused as a whole, if there is a peer that cannot accept it.
    let concerned = have_seen_more(&bazaar, &file);
    let witness = format!("peer-{}", concerned[0].life.peer);
    let running = PeerStore::open(bazaar.dir().join(&witness).join("store")).unwrap();
    bazaar.ask(&restore).refused(3, &[&format!("{witness}/store"), "in use"]);
    drop(running);
    let unchanged = |name: &PathBuf| name.starts_with(&ledger) && !name.ends_with("lock");
    let of_ledger = |files: BTreeMap<PathBuf, Vec<u8>>| files.into_iter().filter(|(name, _)| unchanged(name));
    assert!(of_ledger(files(&bazaar.dir())).eq(of_ledger(late.clone())));

    let holds = Backup::read(&file).unwrap().log.mark();
    let gone = witness::gone(&concerned, holds).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let changed = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
    inotify::add_watch(&watch, &ledger, changed).unwrap();
    assert!(bazaar.ask(&restore).ends(0).out.contains("accepted: "));
    let (mut buffer, mut names) = ([MaybeUninit::uninit(); 4_096], Vec::new());
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while let Ok(event) = events.next() {
        names.push(event.file_name().unwrap().to_str().unwrap().to_owned());
    }
    let of_note = || names.iter().enumerate().filter(|(_, name)| *name == "missing").map(|(nth, _)| nth);
    let exchange = names.iter().position(|name| name == "store").unwrap();
    assert!(of_note().any(|nth| nth < exchange) && of_note().any(|nth| nth > exchange), "{names:?}");
    assert_eq!(bazaar.log(), early);

    // Killed when some had accepted it: the others have not, or the note is still there, or both.
    let accepted = files(&bazaar.dir());
    let dir = bazaar.dir();
    let put_back = |from: &BTreeMap<PathBuf, Vec<u8>>, members: &[&str]| {
        for (file, bytes) in from {
            if members.iter().any(|member| file.starts_with(dir.join(member))) {
                fs::write(file, bytes).unwrap();
            }
        }
    };
    for (members, is_noted) in [(&["peer-0", "peer-1"][..], true), (&[witness.as_str()], false), (&[], true)] {
        put_back(&accepted, &["peer-0", "peer-1", "peer-2", "peer-3"]);
        put_back(&late, members);
        if is_noted {
            witness::note(&ledger, &gone).unwrap();
        }
        bazaar.ask(&["audit"]).ends(1);
        bazaar.ask(&["restore", text(&file), "--replace"]).refused(2, &["--accept-loss"]);
        if is_noted {
            bazaar.start(&[]);
            assert_eq!(bazaar.wait_for_end().code(), Some(1));
            assert!(bazaar.errors().contains(GONE), "{}", bazaar.errors());
        }
        bazaar.ask(&restore).ends(0);
        bazaar.ask(&["audit"]).ends(0);
    }

    // A note that cannot be read says that something is gone, and that may be accepted, too.
    fs::write(ledger.join("missing"), b"\xff{").unwrap();
    bazaar.ask(&["audit"]).refused(1, &["ledger/missing is damaged", "no longer says which", "`bazaar restore`"]);
    let unknown = ["is not known", "ledger/missing", "--accept-loss"];
    bazaar.ask(&["restore", text(&file), "--replace"]).refused(2, &unknown);
    bazaar.ask(&restore).ends(0);
    assert!(!ledger.join("missing").exists());
    trade(&mut bazaar, "6");
    bazaar.ask(&["audit"]).ends(0);
}

/// The directory of a run may be lost with the disk, and its key with it.
#[test]
fn a_run_is_made_anew_from_a_backup_alone() {
    let mut bazaar = ended("4");
    let (file, log) = (backup(&bazaar, "early.backup"), bazaar.log());
    let saved = fs::read_to_string(bazaar.dir().join("bazaar.toml")).unwrap();
    fs::remove_dir_all(bazaar.dir()).unwrap();
    assert!(bazaar.ask(&["restore", text(&file)]).ends(0).out.contains("made a run in "));
    assert_eq!(bazaar.log(), log);
    let made = fs::read_to_string(bazaar.dir().join("bazaar.toml")).unwrap();
    let key = |text: &str| text.lines().find(|line| line.starts_with("key = ")).unwrap().to_owned();
    assert_ne!(key(&made), key(&saved));
    assert_eq!(made.replace(&key(&made), ""), saved.replace(&key(&saved), ""));
    // Its peers go on, in lives of which no number was ever given.
    trade(&mut bazaar, "8");
    bazaar.ask(&["audit"]).ends(0);
    assert_eq!(bazaar.log()[..log.len()], log);
    bazaar.check();
    // It is still the same bazaar: its own backups and the earlier ones can be put back.
    let late = backup(&bazaar, "late.backup");
    bazaar.ask(&["restore", text(&file), "--replace", "--accept-loss"]).ends(0);
    bazaar.ask(&["restore", text(&late), "--replace"]).ends(0);
    bazaar.ask(&["audit"]).ends(0);
    let other = ended("1");
    bazaar.ask(&["restore", text(&backup(&other, "other")), "--replace"]).refused(2, &["another run"]);
}

#[test]
fn what_is_intact_of_a_damaged_ledger_is_named_saved_and_put_back() {
    let mut bazaar = ended("6");
    let store = bazaar.dir().join("ledger/store");
    let (whole, log) = (bazaar.home().join("whole"), batches(&bazaar));
    copy(&store, &whole);
    let lost = &log[log.len() / 2];
    bazaar.damage(lost);
    let (from, all) = (lost.position.0, log.last().unwrap().end().0);
    let last = format!("the last intact record is {}, and {all} records were acknowledged", from - 1);
    let remedy = ["`bazaar backup FILE`", "`bazaar restore FILE --replace`"];
    for command in [&["audit"][..], &["books", "log"], &["status"]] {
        let at = format!("damaged at record {from}");
        bazaar.ask(command).refused(1, &[&at, text(&store), &last, remedy[0], remedy[1]]);
    }
    bazaar.start(&[]);
    assert_eq!(bazaar.wait_for_end().code(), Some(1));
    assert!(bazaar.errors().contains("the last intact record is "), "{}", bazaar.errors());

    let part = bazaar.home().join("part");
    let lacks = format!("from record {from} on");
    bazaar.ask(&["backup", text(&part)]).refused(1, &["not all of it", &lacks]);
    let saved = Backup::read(&part).unwrap();
    assert_eq!(saved.log.batches(), &log[..log.len() / 2]);
    assert_eq!(saved.header.acknowledged, Some(log.last().unwrap().end()));
    bazaar.ask(&["restore", text(&part), "--replace"]).refused(2, &[&lacks, "--accept-loss"]);
    bazaar.ask(&["restore", text(&part), "--replace", "--accept-loss"]).ends(0);
    assert_eq!(batches(&bazaar), saved.log.batches());
    trade(&mut bazaar, "12");
    bazaar.ask(&["audit"]).ends(0);

    // Sled cannot open this one any more, but everything is in it.
    fs::remove_dir_all(&store).unwrap();
    copy(&whole, &store);
    for entry in fs::read_dir(store.join("log")).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("snap.") {
            fs::write(entry.path(), b"").unwrap();
        }
    }
    assert_eq!(batches(&bazaar), log);
}

/// SPEC I9: nothing is copied, so nothing can be left over, however a tool ends.
#[test]
fn tools_write_nothing_where_they_only_read() {
    let run = ended("2");
    let before = files(&run.dir());
    let nowhere = run.home().join("nowhere");
    let members = ["", "ledger", "ledger/store", "ledger/store/log", "peer-0", "peer-0/store"];
    let protect = |mode: u32| {
        for dir in members {
            fs::set_permissions(run.dir().join(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    protect(0o500);
    for command in [&["audit"][..], &["books", "log"], &["graph"]] {
        let mut command_line = bazaar();
        command_line.args(command).arg("--dir").arg(run.dir()).env("TMPDIR", &nowhere);
        Answer::of(command_line).ends(0);
    }
    protect(0o700);
    assert!(files(&run.dir()) == before);
}
