//! Exhaustive checks of the trading post's protocol, with stateright.
//!
//! The machines checked here are the ones that run: [`protocol`]'s. This crate takes none of their decisions. Within
//! stated bounds it lets everything that can happen to them happen, in every order, and asks
//! [`bazaar_protocol::invariant`] whether what must hold does hold.
//!
//! # What is proved
//!
//! For each scenario of the catalogue (`bazaar-model list`), the named properties hold in every state that can be
//! reached from the first one by the steps of its machines and of an adversary with the stated budgets. That is an
//! enumeration, not an induction: it says nothing beyond the bounds. There are six models, each a
//! [`Subject`](subject::Subject) or a way of setting one up:
//!
//! - **[`election`]** runs two to five `Participant`s that elect a leader and hold office, and the ledger (`Archive`).
//!   All peers hear each other. It comes in three variants.
//!   - *Free timing*, 2 to 4 peers. Any message may arrive once, often, late, in any order, or never; any armed timer
//!     may fire at any moment, up to a budget; pauses and cuts are unlimited. Peers and the ledger crash (the ledger
//!     before or after a write is durable; an answer may never arrive) and restart; a peer may give up; a peer may
//!     resign at any moment of its term. Checked: S1, S2, S7 (the stamps of claims, and clocks across crashes),
//!     R1 to R3, B4 to B6, B9.
//!   - *Synchronous timing*, 2 to 5 peers. Messages and calls take no time and arrive once, in any order; timers run
//!     for exactly as long as they say; crashes, restarts and resignations come at any moment. Checked: Y1, Y2, and
//!     all of the above.
//!   - *Convergence*, 2 and 3 peers: free timing up to any state, and from there the fair schedule. The adversary has
//!     a cut that stays (between a peer and the ledger, one way or both; between a peer and all others; between
//!     everybody and the ledger), or loses every first answer, or makes reads slower than the peers wait. Checked
//!     from *every* unique state: L1, L3, B9.
//! - **[`trading`]** runs the same `Participant`s without an election, buyers and sellers among them, and the ledger.
//!   The adversary decides who stands for office and who yields, at any moment. Otherwise it has the same powers as
//!   above, and clients crash, clocks rise spontaneously, snapshots are taken, and messages reach any peer that holds
//!   the office, thinks it does, or once did. Checked: S1 to S8, S11 to S13, R1 to R3, R5, B6, B7, D7, D8; in the
//!   scenarios `in-order…` of [`order`], whose buyers trade in the stable order, also S9, S14 and C5; and L2 from every unique state
//!   of the scenarios `told…`, `former-request`, `sales-…`, `leftover…` and seven of `in-order…`.
//! - **[`replicated`](participants::replicated)** runs the same `Participant`s and two ledger processes (`Replica`) over one
//!   store (`Cluster`). A call may arrive at either or at both. An append is carried out and heard of at any later moment;
//!   its ledger may be told that nobody knows, and then it may still be carried out, or never. A ledger crashes, or does
//!   not see for a time what the other does; the store says that it is full, has a snapshot in place of records, or is
//!   wiped, or an old image of it is put back; records are read some time after the look that a read begins with. Checked:
//!   what is checked of a single ledger, and S15; L1 from every unique state of two scenarios. Not modelled: snapshots in a
//!   store that is wiped or put back, a step of a compaction that fails or comes late, signs that a full store does not
//!   take, and a ledger that stays blind (its driver then takes no calls).
//! - **[`clock`]** runs two or three `Clock`s with any exchange of messages, written ahead as by a peer's journal.
//!   Messages are lost, duplicated and reordered; a clock crashes between asking for a write, the write's becoming
//!   durable, and being told so. Checked: S7, against vector clocks: for all pairs of events, the one that happened
//!   before has the earlier stamp. With it goes [`gossip`](machines::gossip), which runs the `Gossip` that carries clock
//!   multicasts on small networks. Checked: C2. And [`gather`](machines::gather), which runs `Overlay`s on all 112
//!   networks with waves that everybody answers. Checked: F12.
//! - **[`overlay`]** runs `Overlay`s on all 112 connected [networks](machines::network) of 2 to 7 peers with at most
//!   three neighbours each. Messages are lost, duplicated and delivered in any order; relays crash, noticed or not, and
//!   come back. Checked: S10, and A2: every peer connected to the source by sound links is reached, and a new flood
//!   within the window is accepted.
//! - **[`system`]** runs two or three whole `Peer`s (participants with overlay and journal), their disks and timers,
//!   and the ledger. Connections keep their order and are cut one way or both, including those to the ledger; the cut
//!   is noticed early, late or never. Messages are lost, duplicated and reordered; peers and the ledger crash and lose
//!   what was not durable; an old image of the ledger is put back. Checked: S1 to S8, S10 to S13, R1 to R3, R5, R10,
//!   A2, B4 to B7, B9, D7, D8; and L1, L2, L3 from every unique state of three scenarios.
//!
//! With free timing, "a message may never arrive" also covers links that are lost, cut (one way, too) and healed, and
//! machines that pause and come back: the bags of messages under way only ever grow, and nothing has to be taken from
//! them. So these faults need neither a budget nor a step there.
//!
//! The *fair schedule* (L1 to L3): no more faults except for the cut that stays; everything under way arrives, each
//! message once; then the timer that is due first fires. It is one deterministic schedule of many. From every state it
//! must lead to what is asked within the stated number of steps, and a leader must last for two suspicion times
//! ([`participants::fair`], [`system`]). A schedule that comes to a state that an earlier one has passed on its way there
//! need not be followed further ([`known`]).
//!
//! A scenario passes when
//!
//! - all properties hold in all states;
//! - every step of every state has been tried (they are counted; the checker's word that it is done is not enough);
//! - every [landmark](subject::landmark) that makes it worth running was met (a fenced trader, a batch settled by
//!   resending, a crash between write and sync, a contested term, ...); and
//! - the number of unique states is the one recorded in `model/recorded.json`. If only that number differs, the verdict
//!   is [counted differently](search::check::Outcome::CountedDifferently): nothing is violated, but the machines or the
//!   model behave differently from when it was recorded.
//!
//! `check` ends with a [matrix](subject::matrix) of the inputs that each machine was given in each role, over all
//! scenarios; a gap fails it, and there is none.
//!
//! Mutants show what the models can catch. Each one removes or weakens one safety line of the protocol, in a second
//! build of the same files, and each is found as a violation of the property named for it (`bazaar-model mutants`; the
//! gallery in `docs/defeats` shows the instructive ones).
//!
//! # What is not proved
//!
//! - Anything beyond the bounds: a handful of peers, requests and faults. That larger systems fail in no new way is a
//!   belief; random schedules of larger ones (`bazaar-model simulate`, and `cargo test -p bazaar-protocol --test
//!   properties`) support it.
//! - Anything about `runtime`: sockets, disks, tokio, tarpc and sled are tested, not modelled.
//! - In [`election`] and [`trading`] the clock of each step counts as written before the step's messages leave, and
//!   messages carry the clock readings of what is stamped and no others. In all but a few scenarios a read of the
//!   ledger is one step and no call waits inside the ledger. [`clock`] and [`system`] take these as separate steps.
//! - Elections and trading are combined only in [`system`], where budgets are small.
//! - Y1 and Y2 are about a network whose messages take no time compared with any timer and arrive in any order. That
//!   they hold while delays are small but not zero is not shown. "At most one peer believes it is trader" is a property
//!   of no asynchronous system.
//! - Liveness is convergence on one schedule, from states within the bounds; it is not a statement about all fair
//!   schedules. The schedule begins with every timer at its full wait. L2 is shown for buyers that are there to be
//!   told: one that was restarted and wants nothing more learns how its former life's request ended when it next asks,
//!   and the schedule lets it ask.
//! - That a seller counts each of its sales once is shown for each of its lives; a new life takes over its account
//!   unchanged.
//! - S9 belongs to an option that does not exist yet.
//! - States are told apart by 64 bits, twice. Among a million states the chance that two are mistaken for one is about
//!   3 in 10⁸ for each of the two digests that a state goes through; among ten million it is 3 in 10⁶. Where convergence
//!   is checked, the states that schedules have passed are told apart by 64 bits as well ([`known`]).
//!
//! # When two states are one
//!
//! States are told apart by their hash only. The hash takes clock readings relative to the least ([`shared`]) and
//! leaves out stamps on which nothing can depend any more ([`participants::canon`]). [`canonical`] checks this against
//! the machines: whenever two unequal states are taken for one, both are stepped and must lead to the same state; and
//! a whole graph with all clocks shifted is walked in lock step with the original (`tests/model_check.rs`,
//! `tests/model_small.rs`, `tests/model_whole.rs`). How much it merges differs: it alone makes the model of clocks
//! without budgets finite, while in models where old messages stay under way for ever, their stamps keep nearly all
//! states apart. stateright's own reductions are not used.
//!
//! # The scenarios
//!
//! `docs/models.md` lists them, each with its bounds, why those suffice, and the recorded number of states; it lists
//! the mutants too. `bazaar-model check` tries all scenarios. `check --thorough` goes a step further in most of them
//! and takes long; with `--journal FILE` it reports what is left, can be interrupted, and resumes where it stopped as
//! long as the program is unchanged.
//!
//! # Reading order
//!
//! [`subject`] says what a model is, [`scenario`] what a scenario consists of; [`catalogue`] gathers all scenarios.
//! [`ledger`] is the ledger of all models, and [`passed`] says which landmarks a step passes. [`participants`] is the
//! subject of [`election`] and [`trading`], [`system`] that of whole peers; [`clock`] and [`overlay`] check one machine
//! each. Then the [`search`]: [`graph`] presents a subject to stateright, [`check`] runs it, [`trace`] finds histories,
//! [`history`] replays and shortens them, and `mutants` (in the second build only) is the catalogue of mutants. Last
//! comes the [`simulator`], which tries one schedule a seed, at any size, and the [`pictures`]: a [`picture`] says what
//! is to be seen, [`diagram`] draws it, [`replay`] shows a history from a file, and [`explore`] serves the Explorer.
//!
//! # To add something
//!
//! - **A property**: a function in `bazaar_protocol::invariant`, named after the sentence it checks, with a
//!   [`Property`](bazaar_protocol::invariant::Property) of its own. The
//!   [`Observer`](bazaar_protocol::invariant::Observer), which every world feeds, asks it, and the subject lists it in
//!   its `properties`. Then a mutant that it alone catches.
//! - **A scenario**: one entry in the `scenarios` of its model, with its bounds, why they suffice, and the landmarks
//!   without which it would show nothing. Run it, look at the number of states, record it: `cargo run --release --bin
//!   bazaar-model -- check NAME --record model/recorded.json`, and the same with `--thorough`.
//! - **A fault**: a field of the subject's budget and an action; a word for both in `words`.
//! - **A mutant**: a line in `protocol/src/mutant.rs`, `mutant!(right branch; Name => what the mutant does)` at the
//!   line it breaks, and a line in `model/src/search/mutants.rs` with the property that must fail and the scenario in
//!   which it fails. `bazaar-model mutants NAME` says after how many steps it does.
//!
//! [`election`]: participants::election
//! [`order`]: participants::order
//! [`trading`]: participants::trading
//! [`clock`]: machines::clock
//! [`overlay`]: machines::overlay
//! [`scenario`]: subject::scenario
//! [`ledger`]: subject::ledger
//! [`passed`]: subject::passed
//! [`shared`]: subject::shared
//! [`known`]: subject::known
//! [`graph`]: search::graph
//! [`check`]: search::check
//! [`trace`]: search::trace
//! [`history`]: search::history
//! [`replay`]: pictures::replay
//! [`canonical`]: search::canonical
//! [`picture`]: subject::picture
//! [`diagram`]: pictures::diagram
//! [`explore`]: pictures::explore
#![deny(missing_docs)]

/// The protocol under check: the real one in this build, the one with the mutants in the second build.
pub use bazaar_protocol as protocol;

pub mod catalogue;
pub mod machines;
pub mod participants;
pub mod pictures;
pub mod search;
pub mod simulator;
pub mod subject;
pub mod system;
