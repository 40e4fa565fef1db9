//! Counts instructions with valgrind's callgrind. On a busy machine they are the same as on an idle one.
//!
//! A suite that counts has a test that does the work, and nothing unless it is given a task. The other tests run it by
//! itself and under valgrind, and check the figures that come back. Only what happens inside [`counted`] is in them, so
//! that setting up costs time and nothing else.
#![allow(dead_code)] // Each suite uses its share.

use std::{env, fs, hint::black_box, path::Path, process::Command};

/// What a run under valgrind is to do.
const TASK: &str = "BAZAAR_COUNTING_TASK";

/// How a line of a run under valgrind begins that says which figure has ended, and how often it was done.
const FIGURE: &str = "counted figure: ";

/// Stands in such a line instead of how often, if what was counted is taken off.
const TAKEN_OFF: &str = "off ";

/// Whether instructions can be counted here. Otherwise it says so, or fails where `BAZAAR_VALGRIND_REQUIRED` is set.
pub fn can_count() -> bool {
    let is_installed = Command::new("valgrind").arg("--version").output().is_ok();
    assert!(
        is_installed || env::var_os("BAZAAR_VALGRIND_REQUIRED").is_none(),
        "valgrind is required and not installed"
    );
    if !is_installed {
        println!("SKIPPED: valgrind is not installed, so no instructions are counted");
    }
    is_installed
}

/// The task of this run; `None` outside valgrind.
pub fn task() -> Option<String> {
    env::var(TASK).ok()
}

/// Does something. The instructions that it takes, and nothing else, are counted.
#[inline(never)]
pub fn counted<R>(work: impl FnOnce() -> R) -> R {
    black_box(work())
}

/// Does something so many times. What is [`counted`] in it is the figure of this name; what has the same name is added
/// up.
pub fn figure(name: &str, times: u64, work: impl FnMut(u64)) {
    (0..times).for_each(work);
    the_figure_ends();
    eprintln!("{FIGURE}{times} {name}");
}

/// Does something that is part of the figure of this name and should not be: what is [`counted`] in it is taken off.
pub fn taken_off(name: &str, work: impl FnOnce()) {
    work();
    the_figure_ends();
    eprintln!("{FIGURE}{TAKEN_OFF}{name}");
}

/// Callgrind writes down what was counted since it last came by here.
#[inline(never)]
fn the_figure_ends() {
    black_box(());
}

/// What it takes to do something once.
#[derive(Debug)]
pub struct Figure {
    pub name: String,
    pub instructions: u64,
}

/// Runs a test of this program under valgrind, with a task. Returns the figures that it counts, in order. Fails if
/// there are none, or if one of them has no instructions.
pub fn figures(test: &str, task: &str) -> Vec<Figure> {
    let of_task = format!("counting-{}-{}", std::process::id(), task.replace(' ', "-"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(of_task);
    fs::create_dir_all(&dir).unwrap();
    let out = dir.join("callgrind");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counting*counted*", "--dump-before=*the_figure_ends*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(TASK, task)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let (ends, rest): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with(FIGURE));
    assert!(output.status.success(), "{test}, {task}: {}", rest.join("\n"));
    // Each with its name, how often it was done, and how much was counted and is taken off.
    let mut counts: Vec<(&str, u64, u64, u64)> = Vec::new();
    for (nth, end) in ends.iter().filter_map(|line| line.strip_prefix(FIGURE)).enumerate() {
        let part = fs::read_to_string(out.with_extension((nth + 1).to_string())).expect("a part for each figure");
        let total = part.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
        let total: u64 = total.trim().parse().unwrap();
        let (times, name) = match end.strip_prefix(TAKEN_OFF) {
            Some(name) => (None, name),
            None => end.split_once(' ').map(|(times, name)| (Some(times.parse().unwrap()), name)).unwrap(),
        };
        // With less than one instruction for each time, nothing was counted, or something else.
        assert!(total >= times.unwrap_or(1).max(1), "{test}, {task}: nothing was counted for {name}: {total}");
        let known = counts.iter().position(|count| count.0 == name).unwrap_or_else(|| {
            counts.push((name, 0, 0, 0));
            counts.len() - 1
        });
        let (_, often, all, off) = &mut counts[known];
        match times {
            Some(times) => (*often, *all) = (*often + times, *all + total),
            None => *off += total,
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    assert!(!counts.is_empty(), "{test}, {task}: no figures: {said}");
    let figure = |(name, often, all, off): (&str, u64, u64, u64)| {
        assert!(all >= off + often, "{test}, {task}: nothing is left of {name}: {all}, {off} is taken off");
        Figure { name: name.to_owned(), instructions: (all - off) / often }
    };
    counts.into_iter().map(figure).collect()
}
