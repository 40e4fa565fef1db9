//! `bazaar-model`.
fn main() {}
