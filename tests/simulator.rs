//! The simulator: histories hold, repeat, and are shown again from a file.

use std::{collections::BTreeSet, time::Duration};

use bazaar_model::simulator::{
    history::{Outcome, Record, RecordError, simulate},
    meter::{Operation, Tally},
    plan::{FaultKind, Network, Plan, Schedule},
};

fn plan(seed: u64, peers: u32, network: Network) -> Plan {
    let (think, span) = (Duration::from_millis(300), Duration::from_secs(90));
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
