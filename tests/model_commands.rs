//! `bazaar-model` on the command line: a check that is interrupted and goes on, and what it says when something is
//! wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Scenarios that take no time, and one that takes a while.
const SMALL: [&str; 2] = ["own-stock", "whole-interval"];
const LARGE: &str = "whole-convergence";

/// Above what anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// A directory for a journal, and the journal's place.
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

/// Its code, its table and what it said beside it.
fn said(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn run(scenarios: &[&str], journal: &Path) -> (Option<i32>, String, String) {
    said(check(scenarios, journal).output().unwrap())
}

#[test]
fn what_holds_in_the_journal_is_not_checked_again() {
    let (_directory, journal) = place();
    let (code, _, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenarios are done and hold; left: own-stock\n"), "{says}");
    let before = fs::read_to_string(&journal).unwrap();

    let (code, table, says) = run(&SMALL, &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("1 of 2 scenarios are done and hold; left: whole-interval\n"), "{says}");
    assert!(SMALL.iter().all(|name| table.contains(&format!("\n{name} "))), "{table}");
    let (_, again, says) = run(&SMALL, &journal);
    assert!(says.contains("2 of 2 scenarios are done and hold; nothing is left\n"), "{says}");
    assert_eq!(again, table, "to the tenth of a second");

    // Another extent is another check.
    let (code, _, says) = said(check(&SMALL[..1], &journal).arg("--thorough").output().unwrap());
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenarios are done"), "{says}");

    // What does not hold is checked again.
    fs::write(&journal, before.replace(r#""holds""#, r#""incomplete""#)).unwrap();
    let (code, _, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("0 of 1 scenarios are done"), "{says}");
}

#[test]
fn what_another_build_has_written_is_not_believed() {
    let (_directory, journal) = place();
    run(&SMALL[..1], &journal);
    let mut content: serde_json::Value = serde_json::from_str(&fs::read_to_string(&journal).unwrap()).unwrap();
    content["program"] = "another".into();
    content["reports"][0]["family"] = "one that is no more".into();
    fs::write(&journal, content.to_string()).unwrap();
    let (code, table, says) = run(&SMALL[..1], &journal);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("its 1 reports are of another build of this program, so they are not believed"), "{says}");
    assert!(says.contains("0 of 1 scenarios are done") && table.contains("own-stock "), "{says}");
    let (_, _, says) = run(&SMALL[..1], &journal);
    assert!(says.contains("1 of 1 scenarios are done"), "{says}");
}

#[test]
fn a_check_that_is_interrupted_says_what_is_left() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (_directory, journal) = place();
        let child = check(&[SMALL[0], LARGE], &journal).spawn().unwrap();
        let begun = Instant::now();
        while !fs::read_to_string(&journal).is_ok_and(|text| text.contains(SMALL[0])) {
            assert!(begun.elapsed() < BOUND, "nothing comes into the journal");
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
fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
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

#[test]
fn the_page_of_scenarios_and_mutants_is_what_the_command_writes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    let (code, page, says) = said(command.args(["list", "--markdown"]).output().unwrap());
    assert_eq!(code, Some(0), "{says}");
    assert!(page.lines().filter(|line| line.starts_with("| `")).count() > 150, "{page}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md");
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/models.md is not what it should be; write it anew: \
         cargo run --release --bin bazaar-model -- list --markdown > docs/models.md"
    );
}
