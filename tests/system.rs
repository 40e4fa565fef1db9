//! What disks, limits, signals and odd files do to a bazaar, and what it says then (SPEC I1 to I4, I9).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
    process::{Command, Stdio},
};

use bazaar::{Answer, Bazaar, QUICK, ask, bazaar, free_port, note, process_event, processes_below, until};
use bazaar_protocol::{effect::Note, id::PeerId};
use bazaar_runtime::{processes::report::ProcessEvent, system::limits};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{Resource, Rlimit, prlimit};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The command in a shell that first sets a limit or redirects it.
fn in_shell(before: &str, args: &[&str], after: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\" {after}"), env!("CARGO_BIN_EXE_bazaar")]).args(args);
    command.stdin(Stdio::null());
    command
}

// ------------------------------------------------------------------------------------------------------------ output

/// SPEC I2.
#[test]
fn output_that_is_lost_is_an_error_that_names_it() {
    let mut run = Bazaar::run(QUICK, &["--purchases", "2"]);
    assert_eq!(run.wait_for_end().code(), Some(0), "{}", run.errors());
    let dir = run.dir();
    let of_run: [&[&str]; 5] =
        [&["books", "log"], &["books", "stock", "--json"], &["audit"], &["audit", "--json"], &["graph"]];
    let of_run = of_run.map(|args| [args, &["--dir", text(&dir)]].concat());
    let others =
        [vec!["--help"], vec!["run", "--help"], vec!["--version"], vec!["init"], vec!["graph", "--peers", "5"]];
    for args in of_run.iter().chain(&others) {
        let answer = Answer::of(in_shell("", args, "> /dev/full"));
        answer.refused(3, &["error: cannot write standard output: No space left on device"]);
        // A reader that goes away has seen what it wanted.
        let mut gone = Command::new("sh");
        let script = r#"{ "$0" "$@"; echo "code $?" >&2; } | true"#;
        gone.args(["-c", script, env!("CARGO_BIN_EXE_bazaar")]).args(args).stdin(Stdio::null());
        assert_eq!(Answer::of(gone).err, "code 0\n", "{args:?}");
    }
    // Where nobody can be told, the exit code still says it.
    Answer::of(in_shell("", &["audit", "--dir", text(&dir)], "> /dev/full 2> /dev/full")).ends(3);
    Answer::of(in_shell("", &["sell"], "2> /dev/full")).ends(2);
}

#[test]
fn a_run_whose_output_is_lost_goes_on_and_says_so_at_once_and_at_its_end() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let dir = home.path().join("run");
    let args = ["run", "--peers", "3", "--seed", "7", "--purchases", "2", "--dir", text(&dir)];
    let said = Answer::of(in_shell("", &args, "> /dev/full")).refused(3, &["error: cannot write standard output"]).err;
    assert!(said.starts_with("warning: cannot write standard output: No space left"), "{said}");
    assert!(ask(&["audit", "--dir", text(&dir)]).ends(0).out.contains("the audit holds"));
    assert!(processes_below(home.path()).is_empty());
}

#[test]
fn init_leaves_a_whole_file_or_none() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("market.toml");
    // Less than the file needs; a shell counts in blocks.
    let answer = Answer::of(in_shell("ulimit -f 1;", &["init", text(&file)], ""));
    answer.refused(3, &["error: cannot write", text(&file), "File too large"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left of it");
    ask(&["init", text(&file)]).ends(0);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

// ------------------------------------------------------------------------------------------------------------ limits

/// SPEC I3.
#[test]
fn a_soft_limit_on_descriptors_is_raised() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let dir = home.path().join("run");
    let args = ["run", "--peers", "30", "--processes", "1", "--seed", "7", "--purchases", "1", "--dir", text(&dir)];
    Answer::of(in_shell("ulimit -Sn 64;", &args, "")).ends(0);
}

#[test]
fn more_descriptors_than_may_be_had_are_refused_before_anything_is_made() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let dir = home.path().join("run");
    let limited = |args: &[&str], limit: u32| {
        let mut command = in_shell(&format!("ulimit -n {limit};"), args, "");
        command.current_dir(home.path());
        Answer::of(command)
    };
    let run = ["run", "--peers", "400", "--processes", "1", "--seed", "7", "--dir", text(&dir)];
    let said = limited(&run, 1_024).refused(3, &["a process with 400 peers may need 2296", "1024", "--processes "]).err;
    assert!(!dir.exists(), "{said}");
    limited(&run[..7], 1_024).refused(3, &["may need 2296"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    // As many processes as it says are enough, for the check.
    let enough = said.split("--processes ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let fewer = (enough.parse::<u32>().unwrap() - 1).to_string();
    let with = |processes| {
        let flags = ["--peers", "400", "--processes", processes, "--seed", "7", "--purchases", "1", "--for", "1s"];
        limited(&[&["run", "--dir", text(&dir)][..], &flags].concat(), 1_024)
    };
    with(&fewer).refused(3, &["may need"]);
    // The supervisor alone has four for each child.
    limited(&["run", "--peers", "200", "--dir", text(&dir)], 800).refused(3, &["`bazaar run` itself may need 852"]);
    assert!(!dir.exists());

    let file = home.path().join("market.toml");
    ask(&["init", text(&file)]).ends(0);
    limited(&["peer", "--config", text(&file), "--id", "0,1"], 64).refused(3, &["a process with 2 peers may need"]);
    limited(&["ledger", "--config", text(&file)], 64).refused(3, &["the ledger may need 306"]);
    assert!(!home.path().join("bazaar-data").exists());
}

/// What a supervisor is said to need, it needs: so much more for each process.
#[test]
fn a_supervisor_has_no_more_descriptors_for_each_process_than_is_reckoned() {
    let descriptors = |peers: usize| {
        let mut run = Bazaar::run(&QUICK.replace("peers = 4", &format!("peers = {peers}")), &[]);
        let joined =
            |event: &bazaar_runtime::processes::report::Event| matches!(note(event), Some(Note::Joined { .. }));
        run.wait_for("everybody joins", 0, |events| {
            (events.iter().filter(|e| joined(e)).count() >= peers).then_some(())
        });
        let has = fs::read_dir(format!("/proc/{}/fd", run.supervisor())).unwrap().count();
        run.stop();
        has
    };
    let (few, many) = (descriptors(2), descriptors(8));
    let reckoned = limits::needed_by_supervisor(9) - limits::needed_by_supervisor(3);
    assert!((many - few) as u64 <= reckoned, "{few} for 3, {many} for 9");
    assert!(many as u64 <= limits::needed_by_supervisor(9));
}

/// SPEC I2: what nobody reads is lost.
#[test]
fn output_that_nobody_reads_is_an_error() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let (pipe, dir) = (home.path().join("pipe"), home.path().join("run"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Full, and open for reading, but nobody reads.
    let mut reader = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&pipe).unwrap();
    while reader.write(&[b'\n'; 4_096]).is_ok() {}
    let args = ["run", "--json", "--peers", "3", "--seed", "7", "--for", "100ms"];
    let args = [&args[..], &["--dir", text(&dir)]].concat();
    let answer = Answer::of(in_shell("", &args, &format!("> {}", text(&pipe))));
    answer.refused(3, &["error: cannot write standard output: nobody reads it"]);
}

#[test]
fn a_limit_on_files_that_leaves_no_room_for_books_is_refused_with_the_number() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let dir = home.path().join("run");
    let answer = Answer::of(in_shell("ulimit -f 100;", &["run", "--peers", "3", "--dir", text(&dir)], ""));
    answer.refused(3, &["`ulimit -f`", "1048576"]);
    assert!(!dir.exists());
}

fn limit_files(pid: i32, bytes: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(pid);
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_ledger_that_cannot_write_ends_the_run_with_the_reason_and_is_not_started_again() {
    let mut run = Bazaar::run(QUICK, &["--restart-after", "100ms"]);
    run.wait_for_purchases(0, 2);
    limit_files(run.ledger_pid(), Some(4_096));
    assert_eq!(run.wait_for_end().code(), Some(3));
    assert!(run.errors().contains("File too large"), "{}", run.errors());
    let died = run.events().into_iter().filter(|event| {
        matches!(process_event(event), Some(ProcessEvent::ProcessDied { process, .. }) if process == "the ledger")
    });
    assert_eq!(died.count(), 1);
    // Nothing that was acknowledged is lost.
    run.check();
}

#[test]
fn a_log_that_cannot_be_written_is_said_and_goes_on_with_a_line_of_its_own() {
    let mut run = Bazaar::run(QUICK, &["--purchases", "1"]);
    assert_eq!(run.wait_for_end().code(), Some(0), "{}", run.errors());
    let path = run.dir().join("peer-2/log");
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(&b"filler\n".repeat(150_000)).unwrap();
    log.write_all(b"torn in mid-l").unwrap();
    let torn = log.metadata().unwrap().len();
    run.start(&[]);
    let joined = |event: &bazaar_runtime::processes::report::Event| matches!(note(event), Some(Note::Joined { .. }));
    run.wait_for_event("peer 2 is back", run.now(), |event| event.peer == Some(PeerId(2)) && joined(event));
    let pid = run.pid_of(PeerId(2));
    // Somewhere in the middle of a line.
    limit_files(
        pid,
        Some(until("it has written", || Some(log.metadata().unwrap().len()).filter(|len| *len > torn)) + 7),
    );
    let said = until("status says what is missing", || {
        let said = run.ask(&["status"]).ends(0).out;
        said.contains(&format!("lines missing from {}", path.display())).then_some(said)
    });
    assert!(said.contains("peer 2: ") && said.contains("File too large"), "{said}");
    let status = run.status();
    assert!(status["peers"][2]["trouble"].as_str().is_some_and(|why| why.contains("peer-2/log")), "{status}");
    limit_files(pid, None);
    let lacks = "\n(lines are missing here, which could not be written: ";
    until("the log goes on", || fs::read_to_string(&path).unwrap().contains(lacks).then_some(()));
    run.stop();
    assert!(
        run.errors().contains("warning: peer 2 cannot write") && run.errors().contains(text(&path)),
        "{}",
        run.errors()
    );
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("\ntorn in mid-l\n"), "the next line is one of its own");
    assert!(written.ends_with('\n'));
}

// ----------------------------------------------------------------------------------------------------------- signals

/// Whether this process, and what it starts, ignores SIGHUP, the first of the signals.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

/// SPEC I4.
#[test]
fn a_terminal_that_hangs_up_ends_everybody_cleanly() {
    assert!(!is_hangup_ignored(), "whoever is started with nohup ignores SIGHUP, and so do these: start it without");
    // A run, with its summary, its audit and nobody left.
    let mut run = Bazaar::run(QUICK, &[]);
    run.wait_for_purchases(0, 1);
    run.signal(run.supervisor(), Signal::SIGHUP);
    assert_eq!(run.wait_for_end().code(), Some(0), "{}", run.errors());
    assert_eq!(run.summary()["audit"]["holds"], true);
    // A ledger and a peer that were started by hand.
    let config = run.dir().join("bazaar.toml");
    let from = run.now();
    let mut pids = Vec::new();
    for args in [&["ledger"][..], &["peer", "--id", "2"]] {
        let mut command = bazaar();
        command.args(args).args(["--json", "--config", text(&config)]);
        run.start_with(command);
        pids.push(run.supervisor());
    }
    run.wait_for_event("the ledger is heard", from, |event| {
        matches!(note(event), Some(Note::LedgerHeard | Note::Joined { .. }))
    });
    for pid in pids.into_iter().rev() {
        run.signal(pid, Signal::SIGHUP);
    }
    run.assert_nobody_is_left();
    for status in run.statuses() {
        assert_eq!(status.code(), Some(0), "{}", run.errors());
    }
}

#[test]
fn a_process_that_was_started_to_outlive_its_terminal_does() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let dir = home.path().join("run");
    let mut command =
        in_shell("trap '' HUP;", &["run", "--peers", "3", "--seed", "7", "--quiet", "--dir", text(&dir)], "");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let sales = || {
        until("the books can be read", || {
            let sales = ask(&["books", "sales", "--json", "--dir", text(&dir)]);
            (sales.code == Some(0)).then(|| sales.json().as_array().unwrap().len())
        })
    };
    until("something is sold", || (sales() > 0).then_some(()));
    kill(pid, Signal::SIGHUP).unwrap();
    let had = sales();
    until("it goes on selling", || (sales() > had + 1).then_some(()));
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn a_process_that_does_not_stop_is_killed_and_that_counts() {
    let mut run = Bazaar::run(QUICK, &[]);
    run.wait_for_purchases(0, 1);
    let stuck = run.pid_of(PeerId(1));
    run.signal(stuck, Signal::SIGSTOP);
    run.signal(run.supervisor(), Signal::SIGINT);
    assert_eq!(run.wait_for_end().code(), Some(3));
    let said = run.errors();
    assert!(said.contains("not everybody stopped cleanly: peer 1: killed, since it did not stop within 5s"), "{said}");
    assert!(run.events().iter().any(|event| {
        matches!(process_event(event), Some(ProcessEvent::ProcessDied { process, how, .. })
            if process == "peer 1" && how.contains("did not stop"))
    }));
    assert_eq!(run.summary()["audit"]["holds"], true);
}

#[test]
fn a_process_that_fails_while_it_stops_is_named_and_counts() {
    let mut run = Bazaar::run(QUICK, &[]);
    run.wait_for_purchases(0, 1);
    // What it must save when it stops does not fit.
    limit_files(run.pid_of(PeerId(1)), Some(1));
    run.signal(run.supervisor(), Signal::SIGINT);
    assert_eq!(run.wait_for_end().code(), Some(3));
    let said = run.errors();
    assert!(said.contains("peer 1: ") && said.contains("File too large"), "{said}");
}

// ------------------------------------------------------------------------------------------------------------- starts

/// SPEC I3: a start that fails leaves nothing behind.
#[test]
fn a_start_that_fails_leaves_no_run_behind() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let here = |args: &[&str]| {
        let mut command = bazaar();
        command.args(args).current_dir(home.path());
        Answer::of(command)
    };
    here(&["run", "--peers", "1", "--for", "100ms"]).ends(0);
    let runs = home.path().join("bazaar-runs");
    let latest = fs::read_link(runs.join("latest")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let places = [format!("[ledger]\naddress = \"{address}\""), format!("[[peer]]\nid = 0\naddress = \"{address}\"")];
    for place in places {
        fs::write(home.path().join("market.toml"), format!("peers = 1\n{place}\n")).unwrap();
        here(&["run", "--config", "market.toml"]).refused(3, &[&address.to_string()]);
        assert_eq!(fs::read_dir(&runs).unwrap().count(), 2, "the run before, and the link to it");
        assert_eq!(fs::read_link(runs.join("latest")).unwrap(), latest);
        here(&["run", "--config", "market.toml", "--dir", "new"]).refused(3, &[&address.to_string()]);
        assert!(!home.path().join("new").exists());
        // A directory that was there stays, as empty as it was.
        fs::create_dir(home.path().join("empty")).unwrap();
        here(&["run", "--config", "market.toml", "--dir", "empty"]).refused(3, &[&address.to_string()]);
        fs::remove_dir(home.path().join("empty")).unwrap();
        // And a run that is there is not touched.
        here(&["audit"]).ends(0);
    }
    assert!(processes_below(home.path()).is_empty());
}

// -------------------------------------------------------------------------------------------------- paths and files

/// SPEC I1.
#[test]
fn a_directory_whose_name_is_no_text_is_taken_as_it_is() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let odd = home.path().join(OsStr::from_bytes(b"m\xff"));
    let at = |args: &[&OsStr], here: &Path| {
        let mut command = bazaar();
        command.args(args).current_dir(here);
        Answer::of(command)
    };
    let words = |text: &'static str| text.split(' ').map(OsStr::new).collect::<Vec<_>>();
    let run = words("run --peers 3 --seed 7 --purchases 1 --quiet");
    let dir = [OsStr::new("--dir"), odd.as_os_str()];
    let said = at(&[run.as_slice(), &dir].concat(), home.path()).ends(0).out;
    assert!(said.contains("m\\xFF"), "{said}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "and nowhere else");
    assert!(odd.join("ledger/store").is_dir() && odd.join("peer-2/store").is_dir());
    at(&[words("audit").as_slice(), &dir].concat(), home.path()).ends(0);
    // It continues there, also after the directory has got another name.
    let moved = home.path().join("moved");
    fs::rename(&odd, &moved).unwrap();
    let again = words("run --dir moved --purchases 2 --quiet");
    at(&again, home.path()).ends(0);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);

    // The same of a working directory.
    fs::create_dir(&odd).unwrap();
    at(&run, &odd).ends(0);
    assert!(odd.join("bazaar-runs/latest/ledger/store").is_dir());
    at(&words("audit"), &odd).ends(0);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    assert!(processes_below(home.path()).is_empty());
}

#[test]
fn a_byte_order_mark_is_forgiven_and_another_encoding_gets_place_and_remedy() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let (file, graph) = (home.path().join("market.toml"), home.path().join("graph.json"));
    let config = "peers = 2\r\n[graph]\r\nfile = \"graph.json\"\r\n";
    let json = "{\"0\": [1],\r\n \"1\": [0]}";
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let dir = home.path().join("run");
    let graph_of = |flags: &[&str]| {
        let run = ["run", "--for", "100ms", "--quiet", "--config", text(&file), "--dir", text(&dir)];
        let answer = ask(&[&run, flags].concat());
        let _ = fs::remove_dir_all(&dir);
        answer
    };
    for (config, json) in [(config.into(), json.into()), (marked(config), marked(json))] {
        let (config, json): (Vec<u8>, Vec<u8>) = (config, json);
        fs::write(&file, config).unwrap();
        fs::write(&graph, json).unwrap();
        graph_of(&[]).ends(0);
    }
    let remedy = "save the file as UTF-8";
    for (bytes, place) in [
        (wide(config), "line 1, byte 2"),
        ([b"\xff\xfe".to_vec(), wide(config)].concat(), "line 1, byte 1: this is UTF-16"),
        (b"peers = 2\n# f\xfcr zwei\n".to_vec(), "line 2, byte 4: the byte 0xFC is not UTF-8"),
    ] {
        fs::write(&file, bytes).unwrap();
        graph_of(&[]).refused(2, &["market.toml: ", place, remedy]);
    }
    fs::write(&file, config).unwrap();
    fs::write(&graph, b"{\"0\": [1],\n \"1\": [0], \"\xfc\": []}").unwrap();
    graph_of(&[]).refused(2, &["graph.json: line 2, byte 13: the byte 0xFC", remedy]);
}

#[test]
fn what_is_quoted_cannot_control_the_terminal() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let file = home.path().join("market.toml");
    let escape = "\u{1b}[31m\u{9b}2J\u{202e}";
    let texts = [
        "\"p\\u001b[31m\" = 3".to_owned(),
        format!("name = \"a{}\"", "\\u001b[31m\\u009b2J"),
        format!("[[peer]]\nid = 0\nrole = \"{}\"", "\\u001b]0;title\\u0007"),
    ];
    let plain = |said: &str| !said.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let mut answers: Vec<Answer> = Vec::new();
    for config in texts {
        fs::write(&file, config).unwrap();
        answers.push(ask(&["run", "--config", text(&file), "--dir", text(&home.path().join("run"))]));
    }
    // A parser may quote what it does not understand, or not.
    fs::write(&file, format!("# fine\npeers = 3 {escape}")).unwrap();
    let answer = ask(&["run", "--config", text(&file), "--dir", text(&home.path().join("run"))]).ends(2);
    assert!(plain(&answer.err), "{:?}", answer.err);
    answers.push(ask(&["run", "--pace", escape]));
    answers.push(ask(&[escape]));
    answers.push(ask(&["audit", "--dir", &format!("{}/{escape}", text(home.path()))]));
    answers.push(ask(&["init", &format!("/nowhere/{escape}")]));
    for answer in answers {
        assert!(matches!(answer.code, Some(2 | 3)), "{:?} {}", answer.code, answer.err);
        assert!(answer.err.contains("\\u{1b}") || answer.err.contains("\\u001"), "it is shown: {}", answer.err);
        assert!(plain(&answer.err) && plain(&answer.out), "{:?}", answer.err);
    }
    let dir = home.path().join(escape);
    let said = ask(&["run", "--peers", "1", "--for", "100ms", "--dir", text(&dir)]).ends(0).out;
    assert!(plain(&said) && said.contains("\\u{1b}[31m"), "{said:?}");
}

// --------------------------------------------------------------------------------------------------------- addresses

#[test]
fn an_address_that_stands_for_all_is_refused_and_not_told_to_others() {
    let home = TempDir::with_prefix("bazaar-test-").unwrap();
    let file = home.path().join("market.toml");
    let dir = home.path().join("run");
    for host in ["0.0.0.0", "[::]", "[0:0::0]", "[::ffff:0.0.0.0]", "0", "0x0", "0.0", "00.0.0.0", "a.0"] {
        for table in ["[ledger]", "[[peer]]\nid = 0"] {
            fs::write(&file, format!("peers = 1\nkey = \"{}\"\n{table}\naddress = \"{host}:7000\"\n", "5a".repeat(32)))
                .unwrap();
            let answer = ask(&["run", "--config", text(&file), "--dir", text(&dir), "--for", "100ms"]);
            let answer = answer.refused(2, &["address", &format!("{host}:7000")]);
            assert!(
                answer.err.contains("the others reach") || answer.err.contains("must be \"host:port\""),
                "{}",
                answer.err
            );
        }
    }
    assert!(!dir.exists());
}

#[test]
fn a_member_that_is_started_again_may_have_another_address() {
    let mut run = Bazaar::new("");
    let file = run.home().join("market.toml");
    let (ledger, first, second) = (free_port("127.0.0.1"), free_port("127.0.0.1"), free_port("127.0.0.1"));
    let config = |port: u16| {
        format!(
            "peers = 1\nseed = 7\ndir = \"run\"\nkey = \"{}\"\n[ledger]\naddress = \"127.0.0.1:{ledger}\"\n[[peer]]\nid = \
             0\naddress = \"127.0.0.1:{port}\"\n",
            "5a".repeat(32)
        )
    };
    let address = |run: &Bazaar, port: u16| {
        until("the peer can be reached there", || {
            let status = run.status();
            (status["peers"][0]["address"] == format!("127.0.0.1:{port}") && status["peers"][0]["up"] == true)
                .then_some(())
        });
    };
    let member = |run: &mut Bazaar, args: &[&str]| {
        let mut command = bazaar();
        command.args(args).args(["--json", "--config", text(&file)]);
        run.start_with(command) as i32
    };
    fs::write(&file, config(first)).unwrap();
    let ledger_pid = member(&mut run, &["ledger"]);
    let pid = member(&mut run, &["peer", "--id", "0"]);
    address(&run, first);
    run.signal(pid, Signal::SIGTERM);
    until("the peer has ended", || (!run.processes().contains_key(&pid)).then_some(()));
    fs::write(&file, config(second)).unwrap();
    let pid = member(&mut run, &["peer", "--id", "0"]);
    address(&run, second);
    for pid in [pid, ledger_pid] {
        run.signal(pid, Signal::SIGTERM);
    }
    run.assert_nobody_is_left();
    let saved = fs::read_to_string(run.dir().join("bazaar.toml")).unwrap();
    assert!(
        saved.contains(&format!("127.0.0.1:{second}")) && !saved.contains(&format!("127.0.0.1:{first}")),
        "{saved}"
    );
    // So may one that `run` starts; where nothing is said of an address, it stays.
    run.ask(&["run", "--for", "100ms", "--config", text(&file)]).ends(0);
    run.ask(&["run", "--for", "100ms"]).ends(0);
    assert_eq!(fs::read_to_string(run.dir().join("bazaar.toml")).unwrap(), saved);
}

// --------------------------------------------------------------------------------------------------------- processes

/// SPEC I9.
#[test]
fn a_stale_note_of_a_process_kills_no_other() {
    let mut run = Bazaar::run(QUICK, &[]);
    run.wait_for_purchases(0, 1);
    let other = run.pid_of(PeerId(3));
    // Peer 2's note is of a process that is long gone, whose number peer 3's has now.
    let file = run.dir().join("peer-2/pid");
    let note = fs::read_to_string(&file).unwrap();
    let mut words: Vec<String> = note.split_whitespace().map(str::to_owned).collect();
    words[0] = other.to_string();
    words[1] = (words[1].parse::<u64>().unwrap() - 1).to_string();
    fs::write(&file, words.join(" ")).unwrap();
    run.ask(&["kill", "2"]).refused(3, &["peer 2 has no running process"]);
    fs::write(&file, other.to_string()).unwrap();
    run.ask(&["kill", "2"]).refused(3, &["peer 2 has no running process"]);
    assert_eq!(run.pid_of(PeerId(3)), other);
    fs::write(&file, &note).unwrap();
    // Nor does a second process of the peer, which is refused, stand in the place of the first.
    ask(&["peer", "--id", "2", "--config", text(&run.dir().join("bazaar.toml"))]).refused(3, &["peer 2", "in use"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), note);
    assert!(run.ask(&["kill", "2"]).ends(0).out.contains("killed peer 2"));
    run.stop();
}

#[test]
fn a_run_can_be_started_again_the_moment_everything_was_killed() {
    let mut run = Bazaar::run(QUICK, &[]);
    run.wait_for_purchases(0, 1);
    for _ in 0..5 {
        let mut pids: Vec<i32> = run.processes().into_keys().collect();
        pids.sort_by_key(|pid| *pid != run.supervisor());
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // At once, without waiting for any of them.
        let from = run.now();
        run.start(&[]);
        run.wait_for_event("it joins again", from, |event| matches!(note(event), Some(Note::Joined { .. })));
        assert!(!run.errors().contains("in use"), "{}", run.errors());
    }
    run.stop();
}

// ------------------------------------------------------------------------------------------------------------- flags

#[test]
fn wrong_numbers_are_refused_with_what_would_be_right() {
    let from_0 = "must be a whole number from 0 to 18446744073709551615";
    ask(&["run", "--seed", "abc"]).refused(2, &["abc", "--seed", from_0]);
    ask(&["graph", "--peers", "3", "--seed", "-1"]).refused(2, &["--seed", from_0]);
    ask(&["run", "--purchases", "abc"]).refused(2, &["abc", "must be a whole number from 1 to"]);
    ask(&["run", "--processes", "1.5"]).refused(2, &["1.5", "must be a whole number from 1 to 10000"]);
    ask(&["peer", "--config", "x", "--id", "0,x"]).refused(2, &["x", "must be a whole number from 0 to"]);
    let home = TempDir::new().unwrap();
    let dir = home.path().join("run");
    let run = |flags: &[&str]| ask(&[&["run", "--dir", text(&dir)], flags].concat());
    run(&["--processes", "20", "--peers", "3"]).refused(2, &["--processes 20", "at most as many as peers, 3"]);
    assert!(!dir.exists());
    let begun = std::time::Instant::now();
    let said = run(&["--peers", "1", "--for", "0.2s"]).ends(0).out;
    assert!(begun.elapsed().as_secs() < 60, "{said}");
    assert!(said.contains(": 1 peer in 1 process, seed "), "{said}");
    ask(&["run", "--for", "1.5h30m"]).refused(2, &["1.5h30m", "\"1h30m\""]);
}
