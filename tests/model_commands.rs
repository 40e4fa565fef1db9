//! `bazaar-model` on the command line: a check that is interrupted and resumes, and what it prints when something is
//! wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documented;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use documented::assert_documented;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Scenarios that take no time, and one that takes a while.
const SMALL: [&str; 2] = ["own-stock", "whole-interval"];
const LARGE: &str = "whole-convergence";

/// Below these keys the names are a history's or a count's own.
const OWN: [&str; 4] = ["operations", "faults", "trace", "counterexample"];

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// A directory for a journal, and the journal's path.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("journal.json");
    (directory, file)
}

fn check(scenarios: &[&str], journal: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    command.arg("check").args(scenarios).arg("--journal").arg(journal);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its exit code, its table and what it printed on standard error.
fn said(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn run(scenarios: &[&str], journal: &Path) -> (Option<i32>, String, String) {
    said(check(scenarios, journal).output().unwrap())
}

#[test]
fn a_scenario_that_holds_in_the_journal_is_not_checked_again() {
    let (_directory, journal) = place();
    let (code, _, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenario is done and holds; left: own-stock\n"), "{says}");
    let before = fs::read_to_string(&journal).unwrap();

    let (code, table, says) = run(&SMALL, &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("1 of 2 scenarios are done and hold; left: whole-interval\n"), "{says}");
    assert!(SMALL.iter().all(|name| table.contains(&format!("\n{name} "))), "{table}");
    let (_, again, says) = run(&SMALL, &journal);
    assert!(says.contains("2 of 2 scenarios are done and hold; nothing is left\n"), "{says}");
    assert_eq!(again, table, "to the tenth of a second");

    // A different extent is a different check.
    let (code, _, says) = said(check(&SMALL[..1], &journal).arg("--thorough").output().unwrap());
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenario is done"), "{says}");

    // What does not hold is checked again.
    fs::write(&journal, before.replace(r#""holds""#, r#""incomplete""#)).unwrap();
    let (code, _, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenario is done"), "{says}");
}

#[test]
fn reports_of_another_build_are_ignored() {
    let (_directory, journal) = place();
    run(&SMALL[..1], &journal);
    let mut content: serde_json::Value = serde_json::from_str(&fs::read_to_string(&journal).unwrap()).unwrap();
    content["program"] = "another".into();
    content["reports"][0]["model"] = "a removed family".into();
    fs::write(&journal, content.to_string()).unwrap();
    let (code, table, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("its 1 report is from another build of this program and is ignored"), "{says}");
    assert!(says.contains("0 of 1 scenario is done") && table.contains("own-stock "), "{says}");
    let (_, _, says) = run(&SMALL[..1], &journal);
    assert!(says.contains("1 of 1 scenario is done"), "{says}");
}

#[test]
fn a_check_that_is_interrupted_says_what_is_left() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (_directory, journal) = place();
        let child = check(&[SMALL[0], LARGE], &journal).spawn().unwrap();
        let begun = Instant::now();
        while !fs::read_to_string(&journal).is_ok_and(|text| text.contains(SMALL[0])) {
            assert!(begun.elapsed() < BOUND, "nothing is written to the journal");
            thread::sleep(Duration::from_millis(10));
        }
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let (code, table, says) = said(child.wait_with_output().unwrap());
        assert_eq!((code, table.as_str()), (Some(3), ""), "{signal}: {says}");
        let left = format!("interrupted; {}: 1 of 2 scenarios are done and hold; left: {LARGE}; ", journal.display());
        assert!(says.contains(&left), "{signal}: {says}");
        let (_, _, says) = run(&SMALL, &journal);
        assert!(says.contains("1 of 2 scenarios are done"), "{signal}: {says}");
    }
}

#[test]
fn a_file_that_is_not_a_journal_is_refused_and_left_unchanged() {
    let (directory, journal) = place();
    for text in ["", "not a journal", "{}", r#"{"election": {"default": 7}}"#] {
        fs::write(&journal, text).unwrap();
        let (code, _, says) = run(&SMALL[..1], &journal);
        assert_eq!(code, Some(2), "{text}: {says}");
        assert!(says.contains("journal.json: not a journal of `check --journal`; name another file"), "{says}");
        assert_eq!(fs::read_to_string(&journal).unwrap(), text);
    }
    for place in [directory.path().to_owned(), journal.join("beneath.json")] {
        let (code, _, says) = run(&SMALL[..1], &place);
        assert_eq!(code, Some(2), "{says}");
        assert!(says.starts_with("error: ") && says.contains(place.to_str().unwrap()), "{says}");
    }
}

fn model(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    said(command.args(arguments).output().unwrap())
}

#[test]
fn scenarios_are_listed_briefly_and_described_by_name() {
    let (code, all, says) = model(&["list"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(all.lines().count() < 200 && all.lines().any(|line| line.starts_with("own-stock ")), "{all}");
    assert!(all.contains("`bazaar-model list NAME` describes one"), "{all}");
    let (code, one, says) = model(&["list", "own-stock"]);
    assert_eq!(code, Some(0), "{says}");
    for part in ["scenario", "adversary", "bounds", "own-stock"] {
        assert!(one.contains(part), "{part}: {one}");
    }
    let (code, json, says) = model(&["list", "--json", "own-stock"]);
    assert_eq!(code, Some(0), "{says}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["scenario"], "own-stock");
    assert_documented(&json, &OWN);
    let (code, _, says) = model(&["list", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(says.contains("there is no scenario \"nowhere\""), "{says}");
}

#[test]
fn a_check_ends_in_a_verdict_and_shows_its_matrix_when_asked() {
    let (code, out, says) = model(&["check", SMALL[0], SMALL[1]]);
    assert_eq!(code, Some(0), "{says}");
    let last = out.lines().next_back().unwrap();
    assert!(last.starts_with("2 of 2 scenarios hold and are complete: "), "{out}");
    assert!(!out.contains("steps tried, by role") && out.lines().all(|line| line.len() <= 80), "{out}");
    let (_, out, _) = model(&["check", SMALL[0], "--matrix"]);
    assert!(out.contains("steps tried, by role"), "{out}");
    let (_, out, _) = model(&["check", SMALL[0], "--json"]);
    assert_documented(&serde_json::from_str(&out).unwrap(), &OWN);
}

#[test]
fn mutants_print_each_name_once() {
    let (code, out, says) = model(&["mutants", "no-fence", "stock-unchecked"]);
    assert_eq!(code, Some(0), "{says}");
    assert_eq!((out.matches("no-fence").count(), says.as_str()), (1, ""), "{out}");
    let (_, out, _) = model(&["mutants", "no-fence", "--json"]);
    assert_documented(&serde_json::from_str(&out).unwrap(), &OWN);
}

/// SPEC H5.
#[test]
fn shells_and_readers_of_manuals_are_served() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, says) = model(&["completions", shell]);
        assert_eq!((code, says.as_str()), (Some(0), ""));
        assert!(["simulate", "explore"].iter().all(|command| script.contains(command)), "{shell}: {script}");
    }
    let home = tempfile::tempdir().unwrap();
    let (code, _, says) = model(&["man", home.path().to_str().unwrap()]);
    assert_eq!((code, says.as_str()), (Some(0), ""));
    assert!(fs::read_to_string(home.path().join("bazaar-model-check.1")).unwrap().contains("thorough"));
    let (code, _, says) = model(&["man", "/dev/null/man"]);
    assert_eq!(code, Some(3));
    assert!(says.contains("cannot write /dev/null/man"), "{says}");
}

#[test]
fn rates_stand_beside_that_of_paxos() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("rates.json");
    let (code, out, says) = model(&["bench", "--quick", "--json", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{says}");
    let rates: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let rates = rates.as_array().unwrap();
    assert_eq!((rates.len(), &rates[0]["states"]), (4, &16_668.into()), "{out}");
    for rate in rates {
        assert!(rate["to_paxos"].as_f64() > Some(0.0) && out.contains(rate["scenario"].as_str().unwrap()), "{rate}");
        assert_documented(rate, &OWN);
    }
    let (code, _, says) = model(&["bench", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(says.contains("there is no scenario \"nowhere\""), "{says}");
}

/// SPEC F4.
#[test]
fn what_elections_cost_is_printed_for_people_and_for_programs() {
    let (code, out, says) = model(&["elections", "--peers", "3,10", "--network", "random,line"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(out.lines().filter(|line| line.contains(" random ") || line.contains(" line ")).count() == 16, "{out}");
    let (code, out, says) = model(&["elections", "--peers", "10", "--json"]);
    assert_eq!(code, Some(0), "{says}");
    let elections: serde_json::Value = serde_json::from_str(&out).unwrap();
    let cases: Vec<_> = elections.as_array().unwrap().iter().map(|one| one["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["best", "first", "killed", "worst"]);
    assert_eq!(elections[0]["messages"], 9);
    assert_documented(&elections[0], &OWN);
    let given = tempfile::NamedTempFile::new().unwrap();
    fs::write(&given, "{\"0\": [1], \"1\": [0]}").unwrap();
    for (flag, value, says) in [
        ("--peers", "2", "3 to"),
        ("--network", "nowhere", "a network is random, line, ring"),
        ("--network", given.path().to_str().unwrap(), "on a random network, a line or a ring"),
    ] {
        let args = ["elections", flag, value];
        let (code, _, said) = model(&args);
        assert!(code == Some(2) && said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn docs_models_md_is_what_the_command_prints() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, page, says) = said(command.args(["list", "--markdown"]).output().unwrap());
    assert_eq!(code, Some(0), "{says}");
    assert!(page.lines().filter(|line| line.starts_with("| `")).count() > 150, "{page}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md");
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/models.md is out of date; write it again: \
         cargo run --release --bin bazaar-model -- list --markdown > docs/models.md"
    );
}

fn simulate(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    said(command.arg("simulate").args(arguments).output().unwrap())
}

#[test]
fn a_simulation_that_cannot_be_is_refused_with_what_would_be_right() {
    let (_directory, place) = place();
    fs::write(&place, "{\"0\": [1], \"1\": []}").unwrap();
    let pair = place.with_file_name("pair.json");
    fs::write(&pair, "{\"0\": [1], \"1\": [0]}").unwrap();
    let [file, pair] = [&place, &pair].map(|path| path.to_str().unwrap());
    for (arguments, right) in [
        (&["--seeds", "9..3"][..], "the second number must be larger"),
        (&["--seeds", "x"], "neither a seed below 18446744073709551615 nor a range of seeds such as 0..1000"),
        (&["--peers", "0"], "is not a number of peers, 1 to 10000"),
        (&["--for", "10s"], "a history takes at least 70s"),
        (&["--for", "10"], "is not a time such as 300ms, 1.5s, 5min or 1h30m"),
        (&["--network", "star"], "a network is random, line, ring, or a file with an adjacency list"),
        (&["--network", file], "peer 0 lists neighbour 1, but 1 does not list 0"),
        (&["--network", pair, "--peers", "5"], "the file of the network says how many there are"),
        (&["--without", "S99"], "is no property; there are S1, S2"),
        (&["--table", "--peers", "3..5"], "--table compares numbers of peers"),
        (&["--table", "--seeds", "0..5"], "--table takes one seed"),
        (&["--table", "--for", "10s"], "the trader is killed after 10s, unless --quiet is given"),
        (&["--table", "--without", "A9"], "cannot be used with '--without"),
    ] {
        let (code, out, says) = simulate(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {says}");
        assert!(says.contains(right), "{arguments:?}: {says}");
    }
}

#[test]
fn a_simulation_counts_what_it_did_and_gives_the_same_twice() {
    let (code, out, says) = simulate(&["--seeds", "0..8", "--peers", "3..5", "--for", "70s", "--json"]);
    assert_eq!(code, Some(0), "{says}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["seeds"], &report["compared"], &report["violation"]), (&8.into(), &1.into(), &().into()));
    assert!(report["fewest_outcomes"].as_u64() > Some(20), "{report}");
    assert_documented(&report, &OWN);
    let done = |name: &str| report["operations"][name].as_u64();
    assert_eq!(done("networks settled"), Some(8));
    assert!(done("unicasts while quiet") > Some(100), "{report}");
}

// One peer has no links, on which nothing can go wrong.
#[test]
fn a_bazaar_of_one_is_simulated_too() {
    let (code, out, says) = simulate(&["--seeds", "0..60", "--peers", "1", "--for", "70s"]);
    assert_eq!(code, Some(0), "{says}{out}");
}

// Seed 2 has one or two peers, which cannot trade; its outcomes hid those of all others from the floor.
#[test]
fn a_history_in_which_nobody_can_trade_does_not_hide_the_others_from_the_floor() {
    let most = ["--seeds", "0..6", "--peers", "1..4", "--for", "70s", "--quiet", "--floor", "1000000"];
    let (code, _, says) = simulate(&most);
    assert_eq!(code, Some(3), "{says}");
    assert!(says.contains("fewer than 1000000, so it shows little"), "{says}");
}

#[test]
fn a_model_without_a_scenario_small_enough_is_not_said_to_catch_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, _, says) = said(command.args(["mutants", "--model", "clock", "--up-to", "5"]).output().unwrap());
    assert_eq!(code, Some(2), "{says}");
    assert!(says.contains("clock has no scenario of up to 5 states; give `--up-to` more"), "{says}");
}

#[test]
fn the_gallery_is_what_the_command_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, _, says) = said(command.args(["mutants", "--gallery"]).arg(directory.path()).output().unwrap());
    assert_eq!(code, Some(0), "{says}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/defeats");
    let names = |place: &Path| -> BTreeSet<OsString> {
        fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(names(&committed).len() > 30, "the gallery is all but empty");
    assert_eq!(names(&committed), names(directory.path()));
    for name in names(&committed) {
        let [committed, written] = [&committed, directory.path()].map(|place| fs::read(place.join(&name)).unwrap());
        // The order of the keys of an object depends on what else is built.
        let same = if Path::new(&name).extension().is_some_and(|ending| ending == "json") {
            let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
            read(&committed) == read(&written)
        } else {
            committed == written
        };
        assert!(
            same,
            "docs/defeats/{} is out of date; write it again: \
             cargo run --release --bin bazaar-model -- mutants --gallery docs/defeats",
            name.display()
        );
    }
}

/// SPEC I2.
#[test]
fn output_that_is_lost_is_an_error_and_blames_no_input() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("no-fence.json");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/defeats/no-fence.json"), &history).unwrap();
    let history = history.to_str().unwrap();
    let cases = [
        "--help",
        "list",
        "list --markdown",
        "check own-stock",
        "check own-stock --json",
        "mutants --list",
        "replay FILE",
    ];
    for case in cases {
        let args: Vec<&str> = case.split(' ').map(|word| if word == "FILE" { history } else { word }).collect();
        let to = |redirection: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), env!("CARGO_BIN_EXE_bazaar-model")]);
            said(command.args(&args).stdin(Stdio::null()).output().unwrap())
        };
        let (code, _, says) = to("> /dev/full");
        assert_eq!(code, Some(3), "{case}: {says}");
        assert!(says.contains("error: cannot write standard output: No space left on device"), "{case}: {says}");
        assert!(!says.contains("no-fence.json"), "the input is not to blame: {says}");
        let mut gone = Command::new("sh");
        let script = r#"{ "$0" "$@"; echo "code $?" >&2; } | true"#;
        gone.args(["-c", script, env!("CARGO_BIN_EXE_bazaar-model")]).args(&args).stdin(Stdio::null());
        let (_, _, says) = said(gone.output().unwrap());
        let code = if case.starts_with("replay") { "code 1" } else { "code 0" };
        assert!(says.ends_with(&format!("{code}\n")), "{case}: {says}");
    }
    // A file that cannot be written is named, and the one that is read is not.
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, _, says) = said(command.args(["replay", history, "--svg", "/proc/nowhere.svg"]).output().unwrap());
    assert_eq!(code, Some(3), "{says}");
    assert!(says.contains("error: cannot write /proc/nowhere.svg: ") && !says.contains("no-fence.json"), "{says}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, _, says) =
        said(command.args(["check", "own-stock", "--journal", "/proc/nowhere.json"]).output().unwrap());
    assert_eq!(code, Some(3), "{says}");
    assert!(says.contains("error: cannot write /proc/nowhere.json: "), "{says}");
}
