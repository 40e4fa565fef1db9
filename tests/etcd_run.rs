//! Whole runs whose books are in etcd (SPEC J3): processes of etcd, of the ledger and of peers are killed and halted
//! under load, and after each of these something is sold again, nothing is lost, and nothing is doubled.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;
#[path = "../runtime/etcd/tests/common/mod.rs"]
mod etcd;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use bazaar::{Bazaar, ask, note, process_event, until};
use bazaar_etcd::{Client, Keys, WriteError};
use bazaar_protocol::{effect::Note, id::PeerId, record::Sale};
use bazaar_runtime::{
    config::run_dir::config_of,
    network::hello::RunId,
    processes::report::{Event, ProcessEvent},
    store::etcd::EtcdStore,
    tools::access::books_in_etcd,
};
use etcd::{Etcd, is_here};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Seven peers whose buyers always want something, and a trader that stays until something happens to it.
const MARKET: &str = r#"
peers = 7
seed = 7
[terms]
resign_after = 100000
[timeouts]
first_call = "300ms"
[waits]
deposit_after = "50ms"
trade_after = "100ms"
think = "50ms"
"#;

const RESTART: [&str; 2] = ["--restart-after", "500ms"];

/// How many sales show that trade goes on: more than can be under way when something happens.
const SOME: usize = 20;

/// A run with an etcd of its own; `None`, and said so, where there is no etcd.
fn trading(test: &str) -> Option<Bazaar> {
    if !is_here(test) {
        return None;
    }
    let bazaar = Bazaar::run(MARKET, &[&["--etcd"][..], &RESTART].concat());
    bazaar.wait_for("all have joined", 0, |events| {
        let joined = events.iter().filter(|event| matches!(note(event), Some(Note::Joined { .. })));
        (joined.filter_map(|event| event.peer).collect::<BTreeSet<PeerId>>().len() == 7).then_some(())
    });
    bazaar.wait_for_purchases(0, SOME);
    Some(bazaar)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A client of the cluster that a run's books are in.
fn client(bazaar: &Bazaar) -> Client {
    let config = config_of(&bazaar.dir()).unwrap();
    Client::new(&config.ledger().etcd().unwrap().client().unwrap()).unwrap()
}

/// The latest process of each name that the supervisor has started.
fn pids(bazaar: &Bazaar) -> BTreeMap<String, i32> {
    let started = |event: &Event| match process_event(event) {
        Some(ProcessEvent::ProcessStarted { process, pid }) => Some((process.clone(), *pid as i32)),
        _ => None,
    };
    bazaar.events().iter().filter_map(started).collect()
}

/// The names of the nodes, the leader's first, once all of them know it.
fn nodes(bazaar: &Bazaar) -> [String; 3] {
    block_on(async {
        let client = client(bazaar);
        etcd::eventually("all nodes know a leader", async || {
            let mut told = Vec::new();
            for node in 0..3 {
                let status = client.status(node).await.ok()?;
                told.push((status.leader? != status.member, status.leader, node));
            }
            told.sort_unstable();
            let agree = told.iter().all(|(_, leader, _)| *leader == told[0].1);
            let names: Vec<String> = told.iter().map(|(_, _, node)| format!("etcd {}", node + 1)).collect();
            (agree && !told[0].0).then(|| names.try_into().unwrap())
        })
        .await
    })
}

/// The nodes of etcd below a directory that run, or are halted.
fn nodes_below(dir: &Path) -> usize {
    let dir = dir.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    commands.filter(|line| line.split('\0').next().unwrap().ends_with("etcd") && line.contains(&dir)).count()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Halted,
}

/// Kills or halts a process, waits until as much is sold as shows that the bazaar gets along without it, and until it
/// is back.
fn strike(bazaar: &Bazaar, whom: &str, fault: Fault) {
    let (from, before, pid) = (bazaar.now(), bazaar.check(), pids(bazaar)[whom]);
    match fault {
        Fault::Killed => {
            send(pid, Signal::SIGKILL);
            bazaar.wait_for_event(&format!("the death of {whom} is told"), from, |event| {
                matches!(process_event(event), Some(ProcessEvent::ProcessDied { process, pid: dead, how })
                    if process == whom && *dead as i32 == pid && how.contains('9'))
            });
            bazaar.wait_for_purchases(bazaar.now(), SOME);
            bazaar.wait_for_event(&format!("{whom} is started again"), from, |event| {
                matches!(process_event(event), Some(ProcessEvent::ProcessStarted { process, pid: new })
                    if process == whom && *new as i32 != pid)
            });
        }
        Fault::Halted => {
            send(pid, Signal::SIGSTOP);
            bazaar.wait_for_purchases(bazaar.now(), SOME);
            // Tools get along without it as well.
            let status = bazaar.status();
            assert_eq!(status["phase"], "running", "{status}");
            bazaar.check();
            send(pid, Signal::SIGCONT);
        }
    }
    nodes(bazaar);
    assert!(bazaar.check() >= before + SOME, "{whom} {fault:?}");
    assert_eq!(bazaar.status()["unsound"], serde_json::Value::Null);
}

#[test]
fn trade_goes_on_and_nothing_is_lost_whoever_of_a_run_is_killed_or_halted() {
    let Some(mut bazaar) = trading("trade_goes_on_and_nothing_is_lost") else { return };
    for fault in [Fault::Killed, Fault::Halted] {
        let [leader, ..] = nodes(&bazaar);
        strike(&bazaar, &leader, fault);
        let [_, follower, _] = nodes(&bazaar);
        strike(&bazaar, &follower, fault);
        strike(&bazaar, "ledger 1", fault);
    }
    let trader = format!("peer {}", bazaar.trader());
    strike(&bazaar, &trader, Fault::Killed);
    let sold = bazaar.check();
    assert!(sold > 7 * SOME);
    bazaar.stop();
    let dead = |event: &&Event| matches!(process_event(event), Some(ProcessEvent::ProcessDied { .. }));
    assert_eq!(bazaar.events().iter().filter(dead).count(), 4, "and nobody else has died");
    assert_eq!(nodes_below(bazaar.home()), 0, "its etcd ends with it");

    // What has ended can be read: its etcd is started for that, and ended again.
    assert!(bazaar.check() >= sold);
    assert!(bazaar.page("stock").len() > 1);
    assert_eq!(bazaar.ask(&["status", "--json"]).ends(0).json()["phase"], "ended");
    let backup = bazaar.home().join("books.backup");
    bazaar.ask(&["backup", backup.to_str().unwrap()]).ends(0);
    assert!(fs::metadata(&backup).unwrap().len() > 1_000);
    assert_eq!(nodes_below(bazaar.home()), 0, "nobody reads any more");
}

#[test]
fn a_run_with_its_own_etcd_is_continued_even_if_everybody_in_it_was_killed() {
    let Some(mut bazaar) = trading("a_run_with_its_own_etcd_is_continued") else { return };
    let before = bazaar.check();
    bazaar.stop();
    let from = bazaar.now();
    bazaar.start(&RESTART);
    bazaar.wait_for_purchases(from, SOME);
    assert!(bazaar.check() >= before + SOME);

    // Its nodes do not outlive the supervisor, not even one that is halted, and the next run finds what they held.
    send(pids(&bazaar)["etcd 2"], Signal::SIGSTOP);
    bazaar.kill_supervisor();
    until("no node is left", || (nodes_below(bazaar.home()) == 0).then_some(()));
    let from = bazaar.now();
    bazaar.start(&RESTART);
    bazaar.wait_for_purchases(from, SOME);
    assert!(bazaar.check() >= before + 2 * SOME);
    // The supervisor first: its nodes go with it.
    bazaar.kill_everything();
    let from = bazaar.now();
    // The very command that it was started with.
    let given = bazaar.home().join("given.toml");
    bazaar.start(&[&["--etcd", "--config", given.to_str().unwrap()][..], &RESTART].concat());
    bazaar.wait_for_purchases(from, SOME);
    bazaar.check();
    bazaar.stop();
    assert!(bazaar.check() >= before + 3 * SOME);
}

/// It had made its directory and that of its nodes, or its books as well, and did not come to say so.
#[test]
fn a_start_that_was_interrupted_before_the_books_were_made_is_continued_by_the_next() {
    if !is_here("a_start_that_was_interrupted") {
        return;
    }
    let mut bazaar = Bazaar::new(MARKET);
    let dir = bazaar.dir();
    // Makes a run and starts nothing.
    ask(&["init", "--tls", dir.to_str().unwrap(), "--peers", "7"]).ends(0);
    fs::create_dir(dir.join("etcd")).unwrap();
    let run = |bazaar: &mut Bazaar, flags: &[&str]| {
        let from = bazaar.now();
        let mut command = bazaar::bazaar();
        command.args(["run", "--json", "--dir"]).arg(&dir).args(flags);
        bazaar.start_with(command);
        bazaar.wait_for_purchases(from, SOME);
        bazaar.stop();
    };
    let other = bazaar.home().join("other.toml");
    let named = "[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    fs::write(&other, format!("{MARKET}{named}")).unwrap();
    let [dir_flag, other_flag] = [dir.to_str().unwrap(), other.to_str().unwrap()];
    ask(&["run", "--dir", dir_flag, "--config", other_flag]).refused(2, &["an etcd of its own", "another --dir"]);
    run(&mut bazaar, &["--etcd"]);
    assert!(config_of(&dir).unwrap().ledger().etcd().is_some() && !dir.join("ledger/store").exists());
    let before = bazaar.check();
    let made = dir.join("books-in-etcd");
    fs::remove_file(&made).unwrap();
    run(&mut bazaar, &[]);
    assert!(made.exists() && bazaar.check() >= before + SOME, "it goes on with the books that there are");
}

#[test]
fn a_backup_of_books_in_etcd_makes_a_run_on_a_disk_and_what_a_cluster_has_lost_is_accepted() {
    let Some(mut bazaar) = trading("a_backup_of_books_in_etcd") else { return };
    let (early, new) = (bazaar.home().join("early"), bazaar.home().join("new"));
    let (early, new) = (early.to_str().unwrap(), new.to_str().unwrap());
    bazaar.ask(&["backup", early]).ends(0);
    // So much that peers write down what they have seen.
    let from = bazaar.now();
    bazaar.wait_for_purchases(from, 10 * SOME);
    bazaar.stop();
    bazaar.ask(&["restore", early]).refused(2, &["etcdctl snapshot", "--only-peers --accept-loss"]);
    let accepted = bazaar.ask(&["restore", early, "--only-peers", "--accept-loss"]).ends(0);
    assert!(accepted.out.contains("7 peers on this machine had seen more"), "{}", accepted.out);
    let accepted = bazaar.ask(&["restore", early, "--only-peers", "--accept-loss"]).ends(0);
    assert!(accepted.out.contains("nobody on this machine has seen more"), "{}", accepted.out);

    let made = ask(&["restore", early, "--dir", new]).ends(0);
    assert!(made.out.contains("its books, which were in etcd, are on the disk here"), "{}", made.out);
    ask(&["run", "--dir", new, "--purchases", "60", "--quiet"]).ends(0);
    ask(&["audit", "--dir", new]).ends(0);
}

#[test]
fn books_that_are_gone_from_etcd_or_are_another_runs_end_the_run_and_say_so() {
    let Some(mut bazaar) = trading("books_that_are_gone_from_etcd") else { return };
    let config = config_of(&bazaar.dir()).unwrap();
    let prefix = config.etcd_prefix().unwrap();
    let says = format!("{prefix} in etcd holds no run, or another one");
    let wiped = block_on(client(&bazaar).delete_range(Keys::prefix(prefix.as_str()))).unwrap();
    assert!(wiped > SOME as u64);
    assert_eq!(bazaar.wait_for_end().code(), Some(3));
    for part in ["not started again", "ledger 1", "ledger 2", &says] {
        assert!(bazaar.errors().contains(part), "{part:?}: {}", bazaar.errors());
    }
    for command in ["books", "audit"] {
        let page: &[&str] = if command == "books" { &["books", "log"] } else { &["audit"] };
        bazaar.ask(page).refused(3, &[&says]);
    }
    // Nor does it begin anew.
    bazaar.start(&RESTART);
    assert_eq!(bazaar.wait_for_end().code(), Some(3));

    let etcd = block_on(Etcd::start("books_that_are_another_runs", 1)).unwrap();
    let mine = books_in_etcd(&config).unwrap().unwrap();
    let other = EtcdStore::new(etcd.client(), &mine.prefix(), RunId(7), config.limits());
    block_on(other.init()).unwrap();
    let mut moved = Bazaar::new(&format!(
        "{MARKET}[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = [\"{}\"]\nprefix = \"{prefix}\"\n",
        etcd.cluster.endpoints()[0]
    ));
    moved.start(&[]);
    assert_eq!(moved.wait_for_end().code(), Some(3));
    let errors = moved.errors();
    assert!(errors.contains(&format!("{prefix} in etcd is in use: it holds something else")), "{errors}");
}

#[test]
fn a_run_has_either_an_etcd_of_its_own_or_one_that_is_named() {
    let mut bazaar = Bazaar::new(&format!(
        "{MARKET}[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = [\"http://127.0.0.1:1\"]\n"
    ));
    bazaar.start(&["--etcd"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(2));
    assert!(bazaar.errors().contains("--etcd starts a cluster of the run's own"), "{}", bazaar.errors());
    assert!(!bazaar.dir().exists(), "nothing is made for what is refused");

    let mut bazaar = Bazaar::run(MARKET, &["--purchases", "1"]);
    assert!(bazaar.wait_for_end().success());
    bazaar.start(&["--etcd"]);
    assert_eq!(bazaar.wait_for_end().code(), Some(2));
    assert!(bazaar.errors().contains("somewhere else from its beginning"), "{}", bazaar.errors());
    let dir = bazaar.home().join("nowhere");
    let program = dir.join("etcd");
    let mut command = bazaar::bazaar();
    command.args(["run", "--etcd", "--dir"]).arg(&dir).env("BAZAAR_ETCD", &program);
    bazaar::Answer::of(command).refused(3, &["there is no etcd here", "etcd-server"]);
    assert!(!dir.exists(), "nothing is left of a run that could not begin");
    ask(&["ledger", "--config", "nowhere.toml", "--etcd"]).refused(2, &["--etcd"]);
}

/// Three nodes that are not of a run, for tests that run etcdctl.
fn given_cluster(test: &str, quota: Option<u64>) -> Option<Etcd> {
    if Command::new("etcdctl").arg("version").output().is_err() {
        assert!(std::env::var_os("BAZAAR_ETCD_REQUIRED").is_none(), "etcdctl is required here");
        eprintln!("SKIPPED {test}: no etcdctl here (the package etcd-client in Debian)");
        return None;
    }
    block_on(Etcd::start_with(test, 3, |plan| plan.quota = quota))
}

/// A run over them with two ledgers, which often take snapshots.
fn trading_over(etcd: &Etcd, settings: &str) -> Bazaar {
    let endpoints: Vec<String> = etcd.cluster.endpoints().iter().map(|one| format!("\"{one}\"")).collect();
    let endpoints = endpoints.join(", ");
    Bazaar::run(
        &format!(
            "{MARKET}[ledger]\nstore = \"etcd\"\nsnapshot_every = 50\n[ledger.etcd]\nendpoints = [{endpoints}]\n{settings}\
             [[ledger.process]]\n[[ledger.process]]\n"
        ),
        &RESTART,
    )
}

fn run_in_shell(line: &str) {
    let run = Command::new("/bin/sh").args(["-c", line]).env("ETCDCTL_API", "3").output().unwrap();
    assert!(run.status.success(), "{line}: {run:?}");
}

/// What `status` says of a full cluster is what helps.
#[test]
fn a_full_etcd_stops_sales_and_the_four_commands_of_status_start_them_again() {
    const TEST: &str = "a_full_etcd_stops_sales";
    let Some(etcd) = given_cluster(TEST, Some(24 << 20)) else { return };
    let mut bazaar = trading_over(&etcd, "");
    bazaar.wait_for_purchases(0, 3 * SOME);
    let sold = bazaar.check();
    let client = etcd.client();
    // Another tenant, who writes the same key again and again. To the last page, as etcd counts before it writes.
    let full = block_on(async {
        for size in [1_000_000, 100_000, 4_000] {
            while let Ok(_) | Err(WriteError::Unknown(_) | WriteError::NotSent(_)) =
                client.put("/filler", vec![0; size]).await
            {}
        }
        client.put("/filler", "").await
    });
    assert!(matches!(full, Err(WriteError::Full(_))), "{full:?}");
    let remedy = until("status says what helps", || {
        let status = bazaar.ask(&["status", "--json"]).ends(0).json();
        let trouble = status["trouble"].as_str()?;
        let (_, remedy) = trouble.split_once("until these four have been run:\n")?;
        Some(remedy.lines().take(4).map(str::to_owned).collect::<Vec<_>>())
    });
    assert!(bazaar.ask(&["status"]).ends(0).out.contains("the cluster is full"));
    let (stuck, from) = (bazaar.check(), bazaar.now());
    assert!(stuck >= sold && stuck == bazaar.sales().len(), "nothing is sold meanwhile");
    let told = |events: &[Event]| -> Vec<Sale> {
        let bought =
            |event: &Event| if let Some(Note::Bought { sale }) = note(event) { Some(sale.clone()) } else { None };
        events.iter().filter_map(bought).collect()
    };
    remedy.iter().for_each(|line| run_in_shell(line));
    let config = config_of(&bazaar.dir()).unwrap();
    let begin = until("the store answers", || {
        // A client's connections end with the runtime that it was used in.
        let store = books_in_etcd(&config).unwrap().unwrap();
        Some(block_on(async { store.look().await.ok()?.base })?.position())
    });
    bazaar.wait_for_purchases(from, 2 * SOME);
    until("the trouble is over", || bazaar.status()["trouble"].is_null().then_some(()));
    bazaar.signal(bazaar.supervisor(), Signal::SIGINT);
    // The beginning of the log was what could be done without: it is audited from a snapshot on.
    assert_eq!(bazaar.wait_for_end().code(), Some(0), "{}", bazaar.errors());
    let store = books_in_etcd(&config).unwrap().unwrap();
    let (kept, base) = block_on(async { (store.kept().await.unwrap(), store.look().await.unwrap().base.unwrap()) });
    // From that on, a history is kept again.
    assert!(begin <= kept.first() && kept.first() < base.position(), "{begin}, {}, {base:?}", kept.first());
    let left: Vec<Sale> = kept.records().filter_map(bazaar::sale).collect();
    let last = told(&bazaar.events()).into_iter().rev().take(SOME / 2).collect::<Vec<_>>();
    assert!(last.len() == SOME / 2 && last.iter().all(|sale| left.iter().filter(|one| *one == sale).count() == 1));
    let from = format!("from record {} on", kept.first());
    assert!(bazaar.ask(&["audit"]).ends(0).out.contains(&from));
    let audit = bazaar.ask(&["audit", "--json"]).ends(0).json();
    assert_eq!(audit["totals"]["first_record"], kept.first().0);
    for page in ["stock", "queue", "accounts", "sales", "terms", "log"] {
        bazaar.ask(&["books", page]).ends(0);
    }
    let (file, new) = (bazaar.home().join("kept"), bazaar.home().join("new"));
    let (file, new) = (file.to_str().unwrap(), new.to_str().unwrap());
    assert!(bazaar.ask(&["backup", file]).ends(0).out.contains(&from));
    assert!(ask(&["audit", "--backup", file]).ends(0).out.contains(&from));
    ask(&["restore", file, "--dir", new]).refused(2, &["begins at record", "etcdctl snapshot restore"]);
    bazaar.ask(&["restore", file, "--only-peers", "--accept-loss"]).ends(0);
}

/// The ledger does not need it any more, and only an audit would have met it.
#[test]
fn damage_below_the_snapshot_is_said_by_status_and_ended_by_what_that_says() {
    const TEST: &str = "damage_below_the_snapshot";
    let Some(etcd) = given_cluster(TEST, None) else { return };
    let mut bazaar = trading_over(&etcd, "history = 100\n");
    bazaar.wait_for_purchases(0, SOME);
    let config = config_of(&bazaar.dir()).unwrap();
    let kept = || {
        let store = books_in_etcd(&config).unwrap().unwrap();
        block_on(async { Some((store.kept().await.ok()?, store.look().await.ok()?.base?, store.prefix())) })
    };
    // Once the first records are gone, one of those goes that are kept.
    let (victim, prefix) = until("the first records are gone", || {
        let (kept, base, prefix) = kept()?;
        let batches = kept.batches();
        let last_below = batches.iter().rfind(|batch| batch.end() <= base.position())?;
        let is_enough = kept.is_whole() || base.position().0 - kept.first().0 >= 100;
        assert!(is_enough, "kept from {} below {}", kept.first(), base.position());
        (!kept.is_whole()).then_some((last_below.position, prefix))
    });
    block_on(etcd.client().put(format!("{prefix}log/{:016x}", victim.0), "garbage")).unwrap();
    let trouble = until("status says it", || {
        let status = bazaar.ask(&["status", "--json"]).ends(0).json();
        status["trouble"].as_str().filter(|trouble| trouble.contains("below the latest snapshot")).map(str::to_owned)
    });
    assert!(bazaar.ask(&["audit"]).ends(1).err.contains("is damaged"));
    let from = bazaar.now();
    bazaar.wait_for_purchases(from, SOME);
    run_in_shell(trouble.lines().last().unwrap());
    until("the trouble is over", || bazaar.status()["trouble"].is_null().then_some(()));
    bazaar.wait_for_purchases(from, 2 * SOME);
    bazaar.stop();
    let (kept, ..) = kept().unwrap();
    assert!(kept.first() > victim, "{} and {victim}", kept.first());
    bazaar.ask(&["audit"]).ends(0);
}
