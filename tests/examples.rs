//! The examples do what they say. Each ends with assertions of its own; here they run, and can fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../protocol/examples/elect.rs"]
mod elect;
#[path = "../protocol/examples/market.rs"]
mod market;

#[test]
fn a_leader_is_elected_and_replaced_among_ones_own_workers() {
    elect::main();
}

#[test]
fn a_market_over_a_store_of_ones_own_survives_its_trader_and_passes_its_audit() {
    market::main();
}
