//! The simulator: histories hold, repeat, and are shown again from a file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, time::Duration};

use bazaar_model::simulator::{
    elections::{Case, Election, elect},
    history::{Outcome, Record, RecordError, simulate, tell},
    meter::{EnvelopeKind, Operation, Tally},
    plan::{Fault, FaultKind, Millis, Network, Noise, Plan, Schedule, Think, What},
    table::{Order, Row, Section, Size, Turnover, legend, measure},
};
use bazaar_protocol::{config::Timeouts, id::PeerId};

fn plan(seed: u64, peers: u32, network: Network) -> Plan {
    let (think, span) = (Think::evenly(300), Duration::from_secs(90));
    Plan { seed, peers, network, think, span, quiet: false, without: BTreeSet::new() }
}

fn run(plan: Plan) -> (Schedule, Outcome) {
    let schedule = Schedule::draw(plan);
    let outcome = simulate(schedule.clone());
    assert_eq!(outcome.violation, None, "seed {}, {} peers", schedule.plan.seed, schedule.plan.peers);
    (schedule, outcome)
}

#[test]
fn every_property_holds_in_a_few_dozen_histories_and_every_kind_of_fault_and_operation_occurs() {
    let mut sum = Tally::default();
    let mut on = BTreeSet::new();
    for seed in 0..48 {
        let network = [Network::Random, Network::Line, Network::Ring][seed as usize % 3].clone();
        let (schedule, outcome) = run(plan(seed, 3 + seed as u32 % 8, network));
        on.extend(schedule.kinds());
        sum.add(&outcome.tally);
        assert!(outcome.tally.outcomes() >= 20, "seed {seed}: {} outcomes", outcome.tally.outcomes());
    }
    for kind in FaultKind::ALL {
        assert!(on.contains(&kind) && sum.faults(kind) > 0, "{}: {}", kind.name(), sum.faults(kind));
    }
    for operation in Operation::ALL {
        assert!(sum.operations(operation) > 0, "{}", operation.name());
    }
}

#[test]
fn a_bazaar_of_one_or_two_settles_too() {
    for (seed, peers) in (0..12).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        run(plan(seed, peers, Network::Random));
    }
}

// It took office at every other resignation, though nobody heard it.
#[test]
fn a_peer_that_hears_only_the_ledger_leaves_the_office_to_the_others() {
    let (begins, ends) = (Millis(5_000), Millis(30_000));
    let what = What::Isolate { peer: PeerId(4), lasts: Millis(ends.0 - begins.0) };
    let mut terms_of_others = 0;
    for seed in 0..8 {
        let brisk = Plan { think: Think::evenly(30), ..plan(seed, 5, Network::Ring) };
        let schedule = Schedule {
            noise: Noise::default(),
            faults: vec![Fault { at: begins, what: what.clone() }],
            faults_stop: ends,
            ..Schedule::draw(brisk)
        };
        let (outcome, story) = tell(schedule);
        assert_eq!(outcome.violation, None, "seed {seed}");
        let chapters = story.chapters();
        let during = |chapter: &&String| {
            let seconds: f64 = chapter.split_whitespace().next().unwrap().parse().unwrap();
            // It may have been claiming when it was cut off.
            (7.0..30.0).contains(&seconds) && chapter.contains("I am the new coordinator")
        };
        let (its, others): (Vec<_>, Vec<_>) =
            chapters.iter().filter(during).partition(|chapter| chapter.contains("peer 4 "));
        assert!(its.is_empty(), "seed {seed}: {chapters:#?}");
        terms_of_others += others.len();
    }
    assert!(terms_of_others >= 30, "{terms_of_others}");
}

#[test]
fn a_history_repeats_byte_for_byte_and_another_seed_gives_another() {
    let digest = |seed| run(plan(seed, 6, Network::Random)).1.digest;
    for seed in 4..8 {
        assert_eq!(digest(seed), digest(seed));
        assert_ne!(digest(seed), digest(seed + 1));
    }
}

#[test]
fn a_history_is_shown_again_from_its_file_and_refused_if_it_ends_otherwise() {
    let (schedule, outcome) = run(plan(6, 4, Network::Ring));
    let text = serde_json::to_string(&Record::of(schedule, None, &outcome)).unwrap();
    let record: Record = serde_json::from_str(&text).unwrap();
    let mut shown = Vec::new();
    record.replay(&mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    for part in
        ["seed 6, 4 peers, ring network\n", "I am the new coordinator", "the faults stop\n", "the last 80 steps:\n"]
    {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let other = Record { digest: "0".to_owned(), ..record.clone() };
    assert!(matches!(other.replay(&mut Vec::new()), Err(RecordError::EndsOtherwise { .. })));
    let mut broken = record;
    broken.simulation.plan.peers = 0;
    assert!(matches!(broken.replay(&mut Vec::new()), Err(RecordError::Schedule(_))));
}

/// What a brisk random network of this size costs.
fn cost(peers: u32, turnover: Turnover) -> Row {
    let (think, span) = (Think::evenly(300), Duration::from_secs(20));
    let order = Order::default();
    let row = measure(&Size { peers, network: Network::Random, think, order, turnover, span }, 0)
        .expect("every property holds");
    assert!(row.outcomes * span.as_secs_f64() >= 200.0, "{peers} peers: {} outcomes a second", row.outcomes);
    row
}

/// SPEC A9, C2: what an outcome costs does not grow with the number of peers as floods would.
#[test]
fn an_outcome_costs_few_envelopes_at_any_size_and_clocks_hardly_any() {
    for (peers, most) in [(10, 12.0), (100, 25.0), (500, 40.0)] {
        let row = cost(peers, Turnover::Never);
        let all: f64 = row.envelopes.iter().sum();
        assert!(all <= most, "{peers} peers: {all} envelopes for an outcome");
        let clocks = row.envelopes[EnvelopeKind::Clock as usize];
        assert!(clocks < 0.25 * all, "{peers} peers: {clocks} of {all} envelopes are clocks");
        assert!(row.detours == 0.0 && row.overflowed == 0.0, "{peers} peers: {row:?}");
    }
}

/// SPEC B2, B5: usually one peer calls, and whatever the size there is soon another trader.
#[test]
fn a_killed_trader_is_replaced_in_time_at_any_size() {
    let Timeouts { suspicion, answer, .. } = Timeouts::DEFAULT;
    let most = (suspicion + answer + Duration::from_millis(200)).as_secs_f64() * 1e3;
    for peers in [10, 100, 500] {
        let row = cost(peers, Turnover::Killed);
        let (callers, vacancy) = (row.callers.expect("a new term"), row.longest_vacancy.expect("a kill"));
        assert!(callers <= 3.0, "{peers} peers: {callers} callers");
        assert!(vacancy <= most, "{peers} peers: {vacancy} ms without a trader, and at most {most} are allowed");
    }
}

/// SPEC B1, B2, F4: an election costs Bully's least where the highest calls, and a few times that where anybody does, at
/// any size; only where all call at once does it cost as many messages as there are pairs of peers.
#[test]
fn an_election_costs_as_many_messages_as_there_are_peers_and_not_as_pairs_of_them() {
    let elected = |peers, case| -> Election {
        let election = elect(peers, &Network::Random, case, 0).expect("a trader whom all know");
        // Somebody must have called, and told each of the others.
        assert!(election.calls >= 1 && election.envelopes >= u64::from(peers) - 2, "{election:?}");
        election
    };
    for peers in [10, 100, 500] {
        let best = elected(peers, Case::Best);
        assert_eq!((best.messages, best.calls), (best.best(), 1));
        for case in [Case::First, Case::Killed] {
            let usual = elected(peers, case);
            assert!(usual.messages <= 4 * usual.best() && usual.calls <= 3, "{usual:?}");
            assert!(usual.envelopes <= 20 * u64::from(peers), "{usual:?}");
        }
    }
    // All that are left call, and some a second time.
    let worst = elected(100, Case::Worst);
    let bully = worst.worst();
    assert!(worst.calls >= 99 && (bully / 2..2 * bully).contains(&worst.messages), "{worst:?}");
    assert_eq!([elected(10, Case::Best).worst(), elected(10, Case::Worst).worst()], [99, 89]);
}

#[test]
fn every_column_of_the_table_is_explained() {
    let row = cost(10, Turnover::Resigns);
    let table = Section::new(vec![&row], true).to_string();
    let columns: Vec<&str> = table.lines().next().expect("a head").trim_matches(['|', ' ']).split(" | ").collect();
    let legend = legend();
    let explained: Vec<&str> = legend.lines().map(|line| line.split("**").nth(1).expect("a name")).collect();
    assert_eq!(columns, explained);
    let page = include_str!("../docs/scale.md");
    assert!(
        page.contains(&legend) && page.contains(table.lines().next().expect("a head")),
        "docs/scale.md is out of date"
    );
}

// It came back, was trader at once, and resigned just before the buyers wanted nothing more.
#[test]
fn a_buyer_that_was_trader_since_it_came_back_still_learns_how_its_last_request_ended() {
    run(Plan { span: Duration::from_secs(120), ..plan(5362, 3, Network::Random) });
}
