//! Exhaustive checks of the trading post's protocol, with stateright.
//!
//! The machines that are checked here are the ones that run: [`protocol`]'s. This crate decides nothing they decide. It
//! lets everything happen that may happen to them, in every order, within stated bounds, and asks
//! [`bazaar_protocol::invariant`] whether what must hold does.
//!
//! # What is proved
//!
//! For each scenario of the catalogue (`bazaar-model list`): in every state that can be reached from its first one by
//! the steps of its machines and of an adversary with the stated budgets, the named properties hold. That is an
//! enumeration, not an induction: it says nothing beyond the bounds. Five models, each an own
//! [`Subject`](subject::Subject):
//!
//! | model | what runs | adversary | properties |
//! |---|---|---|---|
//! | [`election`], free timing | `Participant`s that elect and hold office, and the ledger (`Archive`); 2 to 4 that hear each other | any message once, often, late, in any order, or never; any armed timer at any moment, so many times; pauses and cuts without end; crashes of peers and of the ledger (before and after a write is durable; what is answered may never arrive), restarts; a peer that gives up; a resignation at any moment of a term | S1, S2, S7 (stamps of claims; clocks over crashes), R1 to R3, B4 to B6, B9 |
//! | [`election`], synchronous timing | the same, 2 to 5 peers | messages and calls take no time and arrive once, in any order; timers run as long as they say; crashes, restarts and resignations at any moment | Y1, Y2, and all above |
//! | [`election`], convergence | the same, 2 and 3 peers, free timing up to any state; from there the fair schedule | a cut that stays: a peer and the ledger, one way or both; a peer and all others; everybody and the ledger; every first answer lost; reads slower than the waiting | L1, L3, B9, from *every* unique state |
//! | [`trading`] | the same `Participant`s without an election, buyers and sellers among them, and the ledger: whoever the adversary likes stands and yields at any moment | as above, with clients that crash, clocks that rise by themselves, snapshots, messages that reach whoever holds, thinks it holds, or held the office | S1 to S8, S11 to S13, R1 to R3, R5, B6, B7; L2 from every unique state of the scenarios `told…`, `former-request` and `sales-missed` |
//! | [`clock`] | `Clock`, two and three, any exchange, written ahead as by a peer's journal | loss, doubling, reordering; crashes between asking for a write, its being durable and being told so | S7, against vector clocks: what happened before is stamped before, for all pairs |
//! | [`overlay`] | `Overlay`, on all 112 connected [networks](machines::network) of 2 to 7 peers with at most three neighbours each | loss, doubling, any order; relays that crash, noticed or not, and come back | S10; A2: whoever is connected to the source by sound links is reached, and a flood that is new is taken, within the window |
//! | [`system`] | `Peer`s, 2 and 3, which are participants with overlay and journal; their disks and timers; and the ledger | connections that keep their order, cut one way or both, noticed early, late or never, to the ledger too; loss, doubling, reordering; crashes of peers and of the ledger with what was not durable lost; an old image of the ledger put back | S1 to S8, S10 to S13, R1 to R3, R5, R10, A2, B4 to B7, B9; L1, L2, L3 from every unique state of three scenarios |
//!
//! "A message may never arrive" is how links are lost, cut and healed, one way too, and how a machine pauses and comes
//! back, where timing is free: the bags of what is under way are only added to, and nothing has to be taken from them.
//! So these faults have no budget there, and no step.
//!
//! The *fair schedule* (L1 to L3): no more faults but for the cut that stays; all that is under way arrives, each once;
//! then the timer that is due first fires. It is one schedule of many, deterministic; from every state it must lead,
//! within the stated number of steps, to what is asked, and a leader must last for two suspicion times
//! ([`participants::fair`], [`system`]).
//!
//! A scenario passes when all properties hold in all states; when every state has had all its steps tried (counted, not
//! concluded from a checker that says it is done); when every [landmark](subject::landmark) that makes it worth running
//! was met (a fenced trader, a batch settled by resending, a crash between write and sync, a contested term, ...); and
//! when the number of unique states is the one recorded in `model/recorded.json`. Another number where all else is well
//! is a verdict of its own, [counted differently](search::check::Outcome::CountedDifferently): nothing is violated, but
//! machines or model do something else than when it was recorded. `check` ends with a [matrix](search::matrix) of what
//! each machine was given in which role, over all scenarios; a gap fails it, and there is none.
//!
//! What the models can catch is shown by mutants: in each one safety line of the protocol is taken out or weakened, in
//! a second build of the same files, and each is found as a violation of the property named for it (`bazaar-model
//! mutants`; the gallery in `docs/defeats` shows the instructive ones).
//!
//! # What is not proved
//!
//! - Anything beyond the bounds: a handful of peers, requests and faults. That larger systems fail in no new way is a
//!   belief; random schedules of larger ones (`cargo test -p bazaar-protocol --test properties`) support it.
//! - Anything about `runtime`: sockets, disks, tokio, tarpc, sled are tested, not modelled.
//! - In [`election`] and [`trading`] each step's clock counts as written before what it says leaves, and words carry
//!   the readings of what is stamped, no others; but for a few scenarios a read of the ledger is one step and no call
//!   waits inside it. [`clock`] and [`system`] have these in steps of their own.
//! - Who stands and what is traded are combined in [`system`] only, where budgets are small.
//! - Y1 and Y2 speak of a network whose messages take no time beside any timer, in any order. That they hold while
//!   delays are small and not nothing is not shown. "At most one peer believes it is trader" is a property of no
//!   asynchronous system.
//! - Liveness is convergence on one schedule, from states within the bounds; it is no statement about all fair
//!   schedules. It begins with every timer at its full wait. L2 is shown of buyers that are there to be told: one that
//!   was restarted and wants nothing more learns how its former life's request ended when it next asks, and the
//!   schedule lets it ask.
//! - That a seller counts each of its sales once is shown for each of its lives; a new life takes over its account as
//!   it stands.
//! - S9 belongs to an option that is not there yet.
//! - States are told apart by 64 bits, twice. Of a million states two are mistaken for one with a chance of about 3 in
//!   10⁸, for each of the two digests a state goes through; of ten million, 3 in 10⁶.
//!
//! # When two states are one
//!
//! States are told apart by their hash only, which takes clock readings relative to the least ([`shared`]) and leaves
//! out stamps on which nothing can depend any more ([`participants::canon`]). [`canonical`] holds that against the
//! machines: whenever two unequal states are taken for one, both are stepped and must lead to the same; and a whole
//! graph with all clocks shifted is walked in lock step with the first (`tests/model_check.rs`, `tests/model_small.rs`,
//! `tests/model_whole.rs`). How much it merges differs: the model of clocks without budgets is finite by it alone;
//! where old messages stay under way for ever, their stamps keep nearly all states apart. stateright's own reductions
//! are not used.
//!
//! # The scenarios
//!
//! They are in `docs/models.md`, each with its bounds, why they suffice, and the recorded number of states; so are the
//! mutants. `bazaar-model check` tries all of them; `check --thorough` goes a step further in most, takes long, and
//! with `--journal FILE` says what is left, can be interrupted, and goes on from there while the program is the same.
//!
//! # Reading order
//!
//! [`subject`] says what a model is, [`scenario`] what a scenario is made of; [`catalogue`] gathers all scenarios.
//! [`ledger`] is the ledger of all models, and [`seen`] says which landmarks a step passes. [`participants`] is the
//! subject of [`election`] and [`trading`], [`system`] that of whole peers; [`clock`] and [`overlay`] are machines by
//! themselves. Then the [`search`]: [`graph`] shows a subject to stateright, [`check`] runs it, [`trace`] finds
//! histories, [`history`] takes and shortens them, [`replay`] takes one from a file, and `mutants` (in the second build
//! only) is the catalogue of mutants. Last the [`pictures`]: [`picture`] and [`diagram`] draw a history, [`explore`]
//! serves the Explorer.
//!
//! # To add something
//!
//! - **A property**: as a function in `bazaar_protocol::invariant`, named as the sentence it checks, with a
//!   [`Property`](bazaar_protocol::invariant::Property) of its own; asked by the
//!   [`Observer`](bazaar_protocol::invariant::Observer), which every world feeds, and listed in the subject's
//!   `properties`. Then a mutant that it alone catches.
//! - **A scenario**: one entry in the `scenarios` of its model, with its bounds, why they suffice, and the landmarks
//!   without which it would show nothing. Run it, look at the number of states, record it: `cargo run --release --bin
//!   bazaar-model -- check NAME --record model/recorded.json`, and the same with `--thorough`.
//! - **A fault**: a field of the subject's budget and an action; a word for both in `words`.
//! - **A mutant**: a line in `protocol/src/mutant.rs`, `mutant!(Name => what it does, what is right)` at the line it
//!   breaks, and a line in `model/src/search/mutants.rs` with the property that must fail and the scenario where.
//!   `bazaar-model mutants NAME` says after how many steps it does.
//!
//! [`election`]: participants::election
//! [`trading`]: participants::trading
//! [`clock`]: machines::clock
//! [`overlay`]: machines::overlay
//! [`scenario`]: subject::scenario
//! [`ledger`]: subject::ledger
//! [`seen`]: subject::seen
//! [`shared`]: subject::shared
//! [`graph`]: search::graph
//! [`check`]: search::check
//! [`trace`]: search::trace
//! [`history`]: search::history
//! [`replay`]: search::replay
//! [`canonical`]: search::canonical
//! [`picture`]: pictures::picture
//! [`diagram`]: pictures::diagram
//! [`explore`]: pictures::explore
#![deny(missing_docs)]

/// The protocol that is checked: in this build as it is, or with the mutants in it.
pub use bazaar_protocol as protocol;

pub mod catalogue;
pub mod machines;
pub mod participants;
pub mod pictures;
pub mod search;
pub mod subject;
pub mod system;
