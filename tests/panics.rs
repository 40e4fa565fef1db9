//! A process that panics again and again is left alone, and the run says what it said (SPEC I8).
//!
//! The supervisor starts its own program for each process, so this program is all of them: the test, and, by its first
//! argument, a ledger that serves and peers that panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{env, io, time::Duration};

use bazaar_protocol::id::PeerId;
use bazaar_runtime::processes::{
    report::{Event, Filter, Form, Names, ProcessEvent, What},
    supervise::{Plan, RunError, supervise},
};

fn main() {
    match env::args().nth(1).as_deref() {
        Some("ledger") => {
            let ready = ProcessEvent::LedgerReady {
                process: "the ledger".to_owned(),
                address: "127.0.0.1:1".to_owned(),
                records: 0,
            };
            Form::Json.print(&Names::default(), &Event::now(ready));
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
        }
        Some("peer") => panic!("attempt to add with overflow"),
        _ => {
            a_process_that_panics_twice_in_a_row_is_given_up_with_its_last_words();
            println!("test a_process_that_panics_twice_in_a_row_is_given_up_with_its_last_words ... ok");
        }
    }
}

fn a_process_that_panics_twice_in_a_row_is_given_up_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let plan = Plan {
        program: "bazaar".into(),
        dir: home.path().to_owned(),
        config: home.path().join("bazaar.toml"),
        ledgers: 1,
        shares: vec![vec![PeerId(0)], vec![PeerId(1), PeerId(2)]],
        length: None,
        purchases: None,
        restart_after: Some(Duration::from_millis(10)),
        form: Form::Quiet,
        filter: Filter::default(),
        names: Names::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It ends by itself, since nobody is left.
    let (outcome, result) = runtime.block_on(supervise(&plan, &mut |_| {}, std::future::pending()));
    let Err(RunError::LeftOut { who, panicked: true }) = result else { panic!("{result:?}") };
    assert_eq!(who.len(), 2, "{who:?}");
    for process in ["peer 0 (", "peers 1,2 ("] {
        let said = who.iter().find(|said| said.starts_with(process)).unwrap();
        assert!(said.contains("attempt to add with overflow (at ") && said.contains("panics.rs:"), "{said}");
    }
    assert_eq!(outcome.restarts, 2, "each once");
    let died = |event: &Event| matches!(&event.what, What::Process(ProcessEvent::ProcessDied { how, .. }) if how.contains("101"));
    assert_eq!(outcome.deaths.iter().filter(|event| died(event)).count(), 4, "{:?}", outcome.deaths);
}
