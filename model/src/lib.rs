//! Exhaustive checks of the trading post's protocol, with stateright.
//!
//! The machines that are checked here are the ones that run: [`protocol`]'s `Election`, `Office` with its `Trader`, `Buyer`,
//! `Seller`, `Clock`, and `Ledger` over its `MemoryStore`. This crate decides nothing they decide. It lets everything happen
//! that may happen to them, in every order, and asks [`protocol::invariant`] whether what must hold does.
//!
//! # What is checked
//!
//! - [`election`]: S1, S2, and of S7 that claims are stamped above all they follow and that no clock goes back over a crash.
//! - [`trading`]: S1-S8, S11-S13 and B6, whoever thinks it leads.
//! - [`clock`]: S7, of clocks by themselves, against what happened before what.
//! - [`overlay`]: S10 and A2, of overlays by themselves, on all [networks](network) of 2 to 7 peers.
//!
//! The adversary may deliver any message once, often, late, in any order, or never; let any timer fire at any moment; leave any
//! machine without a step for as long as it likes; crash peers and bring them back with no more than what was durable;
//! crash the ledger between write and sync and between sync and answer, the unsynced batch lost or kept. How often it may
//! do what would never end is a [budget](world::Budget) in the state, so every graph is finite; each scenario
//! says its budgets and why they suffice ([`scenario`], `bazaar-model list`).
//!
//! A scenario passes when all properties hold in all states, every state has had all its steps tried (counted, not
//! concluded from a checker that says it is done), every [sighting] that makes it worth running was met, and the
//! number of unique states is the recorded one.
//!
//! # What is not
//!
//! - Nothing beyond the bounds: a handful of peers, requests and faults. That larger systems fail in no new way is a belief.
//! - No composed peer. In [`election`] and [`trading`] each step's clock counts as written before what it says leaves; that nothing
//!   is sent above the written bound is checked in [`clock`], with a journal of its own.
//! - Who stands is checked in `election`, what is traded in `trading`; the two are not run together. Peers that both hold the
//!   office and trade do not occur, so B7 is asked of every log and could not fail. Nor do snapshots of the books, calls that
//!   wait inside the ledger, or a contested holder that hears no neighbour.
//! - A client that restarts does so beside one trader; a trader that restarts does so beside clients that do not.
//! - Clocks are those of the machines, not made smaller: a message moves its receiver's clock only when ahead of it
//!   ([`world`] says why). Orders of stamps that only more traffic would bring about are tried where a scenario has a
//!   budget for them (`stamps`).
//! - Liveness (L1-L3) and the synchronous properties (Y1, Y2). `Held` is met, but that it ends is not shown.
//! - S4 "every reply ever sent agrees" is checked as: each was, when sent, the client's standing at some head of a log that
//!   only grows. That a client counts each sale once is left to its own tests.
//! - States are told apart by 64 bits. Of a million states two are mistaken for one with a chance of about 3 in 10⁸, for each of
//!   the two digests a state goes through.
//!
//! # Reading order
//!
//! [`scenario`] says what a scenario is, [`election`] and [`trading`] list them. [`world`] is the state, the steps, what is dropped
//! and why; [`part`] keeps it small. [`bazaar`] shows it to stateright, [`check`] runs it, [`trace`] finds the shortest way to a
//! violation.
//!
//! # To add something
//!
//! A property: as a function in `protocol::invariant`, asked in [`world`] where what it speaks of changes. A scenario: one
//! entry in [`election::scenarios`] or [`trading::scenarios`]; run it, look at the number of states, and record it. A
//! fault: a field of [`Budget`](world::Budget) and an [`Action`](world::Action).
#![deny(missing_docs)]

pub mod canonical;
pub mod check;
pub mod clock;
pub mod graph;
pub mod matrix;
pub mod network;
pub mod overlay;
pub mod part;
pub mod picture;
pub mod scenario;
pub mod sighting;
pub mod subject;
pub mod trace;
