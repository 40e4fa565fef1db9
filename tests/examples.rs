//! The examples do what they say. Each ends with assertions of its own; here they are run, and can fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../protocol/examples/elect.rs"]
mod elect;
#[path = "../protocol/examples/market.rs"]
mod market;

#[test]
fn a_leader_is_elected_and_replaced_among_your_own_workers() {
    elect::main();
}

#[test]
fn a_market_over_your_own_store_survives_its_trader_and_passes_its_audit() {
    market::main();
}
