//! `bazaar bench`: that its commands work, not how fast anything is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bazaar/mod.rs"]
mod bazaar;
mod documented;

use std::{fs, path::Path};

use bazaar::ask;
use documented::assert_documented;
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
