//! `bazaar bench`: that its commands work, not how fast anything is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bazaar/mod.rs"]
mod bazaar;
mod documented;

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bazaar::ask;
use bazaar_protocol::id::PeerId;
use bazaar_runtime::config::run_dir::{peer_dir, pid_file};
use documented::assert_documented;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// SPEC F1.
#[test]
fn figures_are_printed_written_and_drawn_and_nothing_else_is_left() {
    let home = TempDir::new().unwrap();
    let (json, plots, dir) = (home.path().join("figures.json"), home.path().join("plots"), home.path().join("disk"));
    fs::create_dir(&dir).unwrap();
    let flags = ["--quick", "--json", text(&json), "--plots", text(&plots), "--dir", text(&dir)];
    let said = ask(&[&["bench", "latency", "baseline"][..], &flags].concat()).ends(0);
    // In the order in which they are listed, whatever was asked for first.
    let places = ["What the machine takes by itself", "One purchase after the other, no election"]
        .map(|title| said.out.find(title));
    assert!(places[0].is_some() && places[0] < places[1], "{}", said.out);
    let figures: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert!(figures["machine"]["cores"].as_u64() > Some(0) && figures["quick"] == true, "{figures}");
    assert_eq!(figures["experiments"].as_object().unwrap().keys().collect::<Vec<_>>(), ["baseline", "latency"]);
    assert_documented(&figures, &[]);
    let run = &figures["experiments"]["latency"]["runs"][0];
    assert_eq!((&run["purchases"], &run["purchase"]["count"]), (&100.into(), &100.into()));
    assert!(run["purchase"]["p50_us"].as_f64() >= run["request_to_answer"]["p50_us"].as_f64(), "{run}");
    assert!(figures["baseline"]["fdatasync"]["p50_us"].as_f64() > Some(0.0), "{figures}");
    for name in ["latency-100-histogram", "latency-100-series"] {
        let svg = fs::read_to_string(plots.join(name).with_extension("svg")).unwrap();
        let picture = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<_> = picture.descendants().filter_map(|node| node.text()).map(str::trim).collect();
        assert!(texts.iter().any(|text| text.contains("ms")), "{name}: no axis has a unit: {texts:?}");
        assert!(texts.iter().any(|text| text.starts_with("fdatasync, ")), "{name}: no baseline: {texts:?}");
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "the bazaar that was measured is removed");
}

/// SPEC F3, F4.
#[test]
fn elections_and_distance_are_measured_on_real_processes() {
    let home = TempDir::new().unwrap();
    let json = home.path().join("figures.json");
    let flags = ["--quick", "--json", text(&json), "--dir", text(home.path())];
    let said = ask(&[&["bench", "distance", "election"][..], &flags].concat()).ends(0);
    assert!(said.out.contains("Bully's best") && said.out.contains("round trips"), "{}", said.out);
    let figures: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_documented(&figures, &[]);
    let points = figures["experiments"]["distance"]["points"].as_array().unwrap();
    assert_eq!(points.iter().map(|point| &point["one_way_ms"]).collect::<Vec<_>>(), [0, 1]);
    // A way that long cannot be made shorter: there is the request, and the answer.
    assert!(points[1]["purchase"]["p50_us"].as_f64() >= Some(2_000.0), "{points:?}");
    assert_eq!(points[1]["purchase"]["count"], 20);
    let point = &figures["experiments"]["election"]["points"][0];
    // Somebody must have told the other.
    assert!(point["envelopes"].as_f64() >= Some(1.0), "{point}");
    assert_eq!((&point["peers"], &point["best_messages"], &point["worst_messages"]), (&3.into(), &2.into(), &5.into()));
    assert_eq!(point["known_to_all"]["count"], 1);
}

/// SPEC J3. That nothing is lost or doubled is checked by the experiment itself.
#[test]
fn outages_of_books_in_etcd_and_what_these_cost_are_measured() {
    if bazaar_etcd::cluster::program().is_none() {
        assert!(env::var_os("BAZAAR_ETCD_REQUIRED").is_none(), "etcd is required here, and is not in PATH");
        println!("SKIPPED: no etcd here");
        return;
    }
    let home = TempDir::new().unwrap();
    let json = home.path().join("figures.json");
    let flags = ["--quick", "--json", text(&json), "--dir", text(home.path())];
    let said = ask(&[&["bench", "outages", "replicated"][..], &flags].concat()).ends(0);
    assert!(said.out.contains("every one is in the books, once"), "{}", said.out);
    let figures: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_documented(&figures, &[]);
    let outages = &figures["experiments"]["outages"];
    assert!(outages["faults"] == 8 && outages["told"].as_u64() > Some(9 * 200), "{outages}");
    let kinds = outages["kinds"].as_array().unwrap();
    assert!(kinds.len() == 9 && kinds.iter().all(|kind| kind["without_a_sale"]["count"] == 1), "{kinds:?}");
    let replicated = &figures["experiments"]["replicated"];
    assert!(replicated["bare"]["count"].as_u64() == Some(160) && replicated["purchase"]["count"].as_u64() > Some(10));
    assert_eq!(replicated["points"][0]["buyers"], 16);
}

/// Only its first steps are listened to, and nobody wants anything: the experiment must notice by itself.
#[test]
fn an_experiment_ends_at_once_and_says_why_if_a_process_dies_meanwhile() {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar"));
    command.args(["bench", "scale", "--quick", "--dir", text(home.path())]);
    let mut bench = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid_of_the_idle = || {
        let below = |dir: &Path| fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).next();
        let run = below(home.path())?.join("hosted-10");
        let mark = fs::read_to_string(pid_file(&peer_dir(&run, PeerId(0)))).ok()?;
        mark.split_whitespace().next()?.parse().ok()
    };
    let begun = Instant::now();
    let pid = loop {
        if let Some(pid) = pid_of_the_idle() {
            break pid;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the experiment does not get there");
        thread::sleep(Duration::from_millis(10));
    };
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    // An experiment that does not notice goes on for two minutes, and then says the same.
    let killed = Instant::now();
    while bench.try_wait().unwrap().is_none() {
        if killed.elapsed() > Duration::from_secs(60) {
            kill(Pid::from_raw(bench.id().cast_signed()), Signal::SIGTERM).unwrap();
            panic!("the experiment does not notice");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let ended = bench.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{says}");
    assert!(says.contains("peers 0,1,2") && says.contains("SIGKILL") && says.contains("hosted-10"), "{says}");
    assert!(says.contains("what was measured last is in"), "{says}");
    assert!(fs::read_dir(home.path()).unwrap().count() == 1, "for whoever looks for the reason, it is kept");
}

/// Where `rsvg-convert` is missing, that is said before anything runs.
#[test]
fn plots_are_made_into_png_if_that_is_wanted() {
    let home = TempDir::new().unwrap();
    let plots = home.path().join("plots");
    ask(&["bench", "distance", "--png"]).refused(2, &["--plots"]);
    let flags = ["bench", "distance", "--quick", "--png", "--plots", text(&plots), "--dir", text(home.path())];
    let without = Command::new(env!("CARGO_BIN_EXE_bazaar")).args(flags).env("PATH", "").output().unwrap();
    let says = String::from_utf8_lossy(&without.stderr);
    assert!(
        without.status.code() == Some(2) && says.contains("rsvg-convert") && says.contains("librsvg2-bin"),
        "{says}"
    );
    if Command::new("rsvg-convert").arg("--version").output().is_err() {
        assert!(env::var_os("BAZAAR_RSVG_REQUIRED").is_none(), "rsvg-convert is required and not installed");
        println!("SKIPPED: rsvg-convert is not installed, so no PNG is made");
        return;
    }
    ask(&flags).ends(0);
    let png = fs::read(plots.join("distance.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && plots.join("distance.svg").exists());
}

#[test]
fn what_cannot_be_measured_or_written_is_said_before_anything_runs() {
    ask(&["bench", "speed"]).refused(2, &["speed", "latency"]);
    let home = TempDir::new().unwrap();
    let nowhere = home.path().join("nowhere");
    ask(&["bench", "baseline", "--quick", "--dir", text(&nowhere)]).refused(2, &["cannot measure in", text(&nowhere)]);
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    ask(&["bench", "baseline", "--quick", "--plots", text(&file)]).refused(3, &[text(&file)]);
    let figures = nowhere.join("figures.json");
    ask(&["bench", "baseline", "--quick", "--json", text(&figures)]).refused(2, &["--json", text(&nowhere)]);
}

#[test]
fn shells_and_readers_of_manuals_are_served() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ask(&["completions", shell]).ends(0).out;
        assert!(["bench", "restore"].iter().all(|command| script.contains(command)), "{shell}: {script}");
    }
    ask(&["completions", "dos"]).refused(2, &["dos", "bash"]);
    let home = TempDir::new().unwrap();
    let dir = home.path().join("man/man1");
    ask(&["man", text(&dir)]).ends(0);
    let page = fs::read_to_string(dir.join("bazaar-run.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("processes"), "{page}");
    assert!(fs::read_to_string(dir.join("bazaar.1")).unwrap().contains("bazaar\\-bench(1)"));
    ask(&["man", "/dev/null/man"]).refused(3, &["/dev/null/man"]);
}
