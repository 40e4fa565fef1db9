//! Counts instructions, with valgrind's callgrind. They are the same each time, on a busy machine as well.
//!
//! A suite that counts has two tests. One does the work, and nothing unless it is told so: it is run once more, by itself
//! and under valgrind. The other runs it so, with a task, and checks the figures that come back. Only what happens inside
//! [`counted`] is in them, so that setting up costs time and nothing else.
#![allow(dead_code)] // Each suite uses its share.

use std::{collections::BTreeMap, env, fs, hint::black_box, path::Path, process::Command};

/// What a run under valgrind is to do.
const TASK: &str = "BAZAAR_COUNTING_TASK";

/// How a line of a run under valgrind begins that says which figure has ended, and how often it was done.
const FIGURE: &str = "counted figure: ";

/// Whether instructions can be counted here. Otherwise it says so, or fails if the environment requires that they can.
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

/// Does something so many times. What is [`counted`] in it is the figure of this name; under the same name several times,
/// it is added up.
pub fn figure(name: &str, times: u64, work: impl FnMut(u64)) {
    (0..times).for_each(work);
    the_figure_ends();
    eprintln!("{FIGURE}{times} {name}");
}

/// Callgrind writes down what was counted since it last came by here.
#[inline(never)]
fn the_figure_ends() {
    black_box(());
}

/// The instructions of each figure by name: how many, and how often it was done.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, (u64, u64)>);

impl Figures {
    /// How many instructions it takes to do it once; without what `idle`, done as often, takes of them.
    pub fn beyond(&self, idle: &str, name: &str) -> u64 {
        let ((all, times), (idle, as_often)) = (self.0[name], self.0[idle]);
        assert!(times == as_often && all > idle, "{name} takes nothing");
        (all - idle) / times
    }

    /// How many instructions it takes to do it once.
    pub fn each(&self, name: &str) -> u64 {
        let (all, times) = self.0[name];
        all / times
    }
}

/// Runs a test of this program under valgrind, with a task; the figures that it counts. At least one instruction was
/// counted in each.
pub fn figures(test: &str, task: &str) -> Figures {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("counting-{}-{test}", std::process::id()));
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
    assert!(output.status.success(), "{test} {task}: {said}");
    let mut figures = Figures::default();
    let ends = said.lines().filter_map(|line| line.strip_prefix(FIGURE)?.split_once(' '));
    for (nth, (times, name)) in ends.enumerate() {
        let part = fs::read_to_string(out.with_extension((nth + 1).to_string())).unwrap();
        let total = part.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        let (total, times): (u64, u64) = (total.trim().parse().unwrap(), times.parse().unwrap());
        // With less than one instruction for each time, something else was counted, or nothing.
        assert!(total >= times && times > 0, "{test} {task}: nothing was counted for {name}: {total} instructions");
        let figure = figures.0.entry(name.to_owned()).or_default();
        *figure = (figure.0 + total, figure.1 + times);
    }
    assert!(!figures.0.is_empty(), "{test} {task}: no figure: {said}");
    fs::remove_dir_all(&dir).unwrap();
    figures
}
