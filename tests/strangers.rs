//! Strangers: connections without the run's key, in any number, cannot keep members apart (SPEC I7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use bazaar::{Bazaar, free_port, note, until};
use bazaar_protocol::{
    effect::Note,
    id::{Incarnation, Life, PeerId},
};
use bazaar_runtime::{
    config::{RawConfig, ledger::LedgerId},
    network::{
        hello::{self, Purpose},
        settings::Settings,
    },
    processes::report::{ProcessEvent, What},
    tools::access::{credentials, ledger_address},
};
use futures::{SinkExt as _, StreamExt as _};
use nix::sys::signal::Signal;
use tokio::{io::AsyncReadExt as _, net::TcpStream, sync::oneshot, time::sleep};
use tokio_util::bytes::Bytes;

/// How many strangers there are at each door: more than it has places for.
const CROWD: usize = 320;

/// Strangers at some ports, until this is dropped: each connects, says nothing, and comes again when it is shown out or
/// nobody is there.
struct Crowd {
    _stay: oneshot::Sender<()>,
}

impl Crowd {
    fn at(ports: &[u16]) -> Crowd {
        let (stay, leave) = oneshot::channel();
        let everybody: Vec<u16> = ports.iter().flat_map(|port| std::iter::repeat_n(*port, CROWD)).collect();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            everybody.into_iter().for_each(|port| drop(runtime.spawn(stranger(port))));
            let _ = runtime.block_on(leave);
        });
        Crowd { _stay: stay }
    }
}

async fn stranger(port: u16) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
            // However this ends, it was shown out.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        sleep(PAUSE).await;
    }
}

#[test]
fn however_many_strangers_hold_the_doors_members_come_back_and_buy() {
    let (ledger, host) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
    let config = format!(
        "peers = 4\nseed = 7\n[ledger]\naddress = \"127.0.0.1:{ledger}\"\n[[peer]]\nid = 0\naddress = \
         \"127.0.0.1:{host}\"\n[timeouts]\nfirst_call = \"300ms\"\n[waits]\ndeposit_after = \"50ms\"\ntrade_after = \
         \"100ms\"\nthink = \"50ms\"\n"
    );
    let mut bazaar = Bazaar::run(&config, &["--restart-after", "300ms"]);
    bazaar.wait_for_purchases(0, 3);
    let strangers = Crowd::at(&[ledger, host]);
    let told = |bazaar: &Bazaar| {
        let doors = bazaar.status()["doors"].as_array().cloned().unwrap_or_default();
        let at = |port: u16| doors.iter().find(|door| door["address"] == format!("127.0.0.1:{port}")).cloned();
        Some((at(ledger)?, at(host)?))
    };
    let full = || {
        let (ledger, host) = told(&bazaar)?;
        let is_full = |door: &serde_json::Value| {
            door["strangers"].as_u64() > Some(0) && door["refused"]["crowded_out"].as_u64() > Some(0)
        };
        [ledger, host].iter().all(is_full).then_some(())
    };
    until("both doors are full", full);

    for victim in ["ledger", "0"] {
        let from = bazaar.now();
        let pid = if victim == "ledger" { bazaar.ledger_pid() } else { bazaar.pid_of(PeerId(0)) };
        bazaar.signal(pid, Signal::SIGKILL);
        bazaar.wait_for_event("it is back", from, |event| match (&event.what, victim) {
            (What::Process(ProcessEvent::LedgerReady { .. }), "ledger") => true,
            (What::Peer(Note::Joined { .. }), "0") => event.peer == Some(PeerId(0)),
            _ => false,
        });
        until("every connection is up", || {
            let status = bazaar.status();
            let peers = status["peers"].as_array()?;
            let is_up = |peer: &serde_json::Value| {
                peer["ledger"] == true
                    && peer["links"].as_array().is_some_and(|links| links.iter().all(|l| l["up"] == true))
            };
            (peers.len() == 4 && peers.iter().all(is_up)).then_some(())
        });
        bazaar.wait_for_purchases(bazaar.now(), 5);
    }
    // A host that was killed counts anew, and the strangers take their time to come back to it.
    until("both doors are full again", full);
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(people.contains("strangers") && people.contains("crowded out"), "{people}");
    drop(strangers);
    bazaar.stop();
}

/// SPEC I7. The member knows the key, and whatever it says after its hello cannot be understood.
#[test]
fn a_storm_of_bad_frames_is_counted_to_the_last_and_costs_a_line_a_second() {
    const FRAMES: u64 = 1_500;
    let mut bazaar = Bazaar::run("peers = 4\nseed = 7\n", &[]);
    bazaar.wait_for_event("a trader", 0, |event| matches!(note(event), Some(Note::TookOffice { .. })));
    let config = RawConfig::read(&bazaar.dir().join("bazaar.toml")).unwrap().check().unwrap();
    let settings = Settings { handshake: Duration::from_secs(60), ..Settings::default() };
    let credentials = credentials(&config).unwrap();
    let ledger = ledger_address(&config, &bazaar.dir(), LedgerId::ONLY).unwrap();
    let purpose = Purpose::Ledger { from: Life { peer: PeerId(3), incarnation: Incarnation(77) } };
    let since = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..FRAMES {
            let mut frames = hello::connect(&*ledger, &credentials, purpose, &settings).await.unwrap();
            frames.send(Bytes::from_static(&[0xff; 9])).await.unwrap();
            let end = frames.next().await;
            assert!(matches!(end, None | Some(Err(_))), "{end:?}");
        }
    });
    let door = until("the ledger tells", || {
        Some(bazaar.status()["doors"][0].clone()).filter(|door| door["process"] == "the ledger")
    });
    assert_eq!(door["refused"], serde_json::json!({ "bad_frame": FRAMES }));
    let people = bazaar.ask(&["status"]).ends(0).out;
    assert!(people.contains(&format!("{FRAMES} bad frame")), "{people}");
    // Every line tells of one, or of as many as it says.
    let lines = until("the last of them are reported", || {
        let trace = fs::read_to_string(bazaar.dir().join("ledger/trace")).unwrap();
        let lines: Vec<String> = trace.lines().filter(|line| line.contains("(bad frame)")).map(str::to_owned).collect();
        let told = |line: &String| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.iter().position(|word| *word == "more;").map_or(1, |at| words[at - 1].parse::<u64>().unwrap())
        };
        (lines.iter().map(told).sum::<u64>() == FRAMES).then_some(lines)
    });
    assert!(lines.len() as u64 <= since.elapsed().as_secs() + 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("peer 3 (life 77)")), "the member is named: {lines:#?}");
    bazaar.stop();
}
