//! Exhaustive checks of the trading post's protocol, with stateright.
//!
//! The machines that are checked here are the ones that run: [`protocol`]'s. This crate decides nothing they decide. It lets
//! everything happen that may happen to them, in every order, within stated bounds, and asks [`protocol::invariant`] whether
//! what must hold does.
//!
//! # What is proved
//!
//! For each scenario of the catalogue (`bazaar-model list`): in every state that can be reached from its first one by the steps
//! of its machines and of an adversary with the stated budgets, the named properties hold. That is an enumeration, not an
//! induction: it says nothing beyond the bounds. Five models, each an own [`Subject`](subject::Subject):
//!
//! | model | what runs | adversary | properties |
//! |---|---|---|---|
//! | [`election`], free timing | `Election`, `Office`, `Ledger` over `MemoryStore`; 2 to 4 peers that hear each other | any message once, often, late, in any order, or never; any armed timer at any moment, so many times; pauses and cuts without end; crashes of peers and of the ledger (before and after a write is durable; what is answered may never arrive), restarts; a loss of patience; a resignation at any moment of a term | S1, S2, S7 (stamps of claims; clocks over crashes), B4, B5 |
//! | [`election`], synchronous timing | the same, 2 to 5 peers | messages and calls take no time and arrive once, in any order; timers run as long as they say; crashes, restarts and resignations at any moment | Y1, Y2, and all above |
//! | [`election`], convergence | the same, 2 and 3 peers, free timing up to any state; from there the fair schedule | a cut that stays: a peer and the ledger, one way or both; a peer and all others; everybody and the ledger; every first answer lost | L1, L3, B9, from *every* unique state |
//! | [`trading`] | `Office` with `Trader`, `Buyer`, `Seller`, `Clock`, `Ledger`; nobody elects: whoever the adversary likes stands and yields at any moment | as above, with clients that crash, clocks that rise by themselves, snapshots, messages that reach whoever holds, thinks it holds, or held the office | S1 to S8, S11 to S13, B6, B7; L2 from every unique state of the scenarios `told…` |
//! | [`clock`] | `Clock`, two and three, any exchange, written ahead as by a peer's journal | loss, doubling, reordering; crashes between asking for a write, its being durable and being told so | S7, against vector clocks: what happened before is stamped before, for all pairs |
//! | [`overlay`] | `Overlay`, on all 112 connected [networks](network) of 2 to 7 peers with at most three neighbours each | loss, doubling, any order; relays that crash, noticed or not, and come back | S10; A2: whoever is connected to the source by sound links is reached |
//! | [`whole`] | composed `Peer`s of 2 and 3, their overlay, disks and timers, and the `Ledger` | connections that keep their order, cut one way or both, noticed early, late or never, to the ledger too; loss, doubling, reordering; crashes of peers and of the ledger with what was not durable lost | S1 to S8, S10 to S13, B4 to B7; L1, L2, L3 from every unique state of three scenarios |
//!
//! "A message may never arrive" is how links are lost, cut and healed, one way too, and how a machine pauses and comes back, where
//! timing is free: the bags of what is under way are only added to, and nothing has to be taken from them. So these faults have
//! no budget there, and no step.
//!
//! The *fair schedule* (L1 to L3): no more faults but for the cut that stays; all that is under way arrives, each once; then the timer
//! that is due first fires. It is one schedule of many, deterministic; from every state it must lead, within the stated number of
//! steps, to what is asked, and a leader must last for two suspicion times ([`bazaar::fair`], [`whole`]).
//!
//! A scenario passes when all properties hold in all states; when every state has had all its steps tried (counted, not
//! concluded from a checker that says it is done); when every [sighting] that makes it worth running was met (a fenced trader,
//! a batch settled by resending, a crash between write and sync, a contested term, ...); and when the number of unique states is the
//! one recorded in `model/recorded.json`. Another number where all else is well is a verdict of its own,
//! [counted differently](check::Outcome::CountedDifferently): nothing is violated, but machines or model do something else than when
//! it was recorded. `check` ends with a [matrix] of what each machine was given in which role, over all scenarios; a gap fails it, and
//! there is none.
//!
//! What the models can catch is shown by mutants: in each of 78 one safety line of the protocol is taken out or weakened, in a
//! second build of the same files, and each is found as a violation of the property named for it (`bazaar-model mutants`; the
//! gallery in `docs/defeats` shows the instructive ones).
//!
//! # What is not proved
//!
//! - Anything beyond the bounds: a handful of peers, requests and faults. That larger systems fail in no new way is a belief; random
//!   schedules of larger ones (`cargo test -p bazaar-protocol --test properties`) support it.
//! - Anything about `runtime`: sockets, disks, tokio, tarpc, sled are tested, not modelled.
//! - In [`election`] and [`trading`] each step's clock counts as written before what it says leaves; a read of the ledger is one
//!   step; calls do not wait inside the ledger; a message moves its receiver's clock only when ahead of it. [`clock`] and [`whole`]
//!   have these in steps of their own.
//! - Who stands and what is traded are combined in [`whole`] only, where budgets are small.
//! - Y1 and Y2 speak of a network whose messages take no time beside any timer, in any order. That they hold while delays are small
//!   and not nothing is not shown. "At most one peer believes it is trader" is a property of no asynchronous system.
//! - Liveness is convergence on one schedule, from states within the bounds; it is no statement about all fair schedules. It begins
//!   with every timer at its full wait. L2 is shown of buyers that are there to be told: one that was restarted and wants nothing
//!   more learns how its former life's request ended when it next asks, and the schedule lets it ask.
//! - That a seller counts each of its sales once is shown for each of its lives; a new life takes over its account as it stands.
//! - S9 belongs to an option that is not there yet.
//! - States are told apart by 64 bits, twice. Of a million states two are mistaken for one with a chance of about 3 in 10⁸, for
//!   each of the two digests a state goes through; of ten million, 3 in 10⁶.
//!
//! # When two states are one
//!
//! States are told apart by their hash only, which takes clock readings relative to the least ([`part`]) and leaves out
//! stamps on which nothing can depend any more ([`bazaar::canon`]). [`canonical`] holds that against the machines: whenever two
//! unequal states are taken for one, both are stepped and must lead to the same; and a whole graph with all clocks
//! shifted is walked in lock step with the first (`tests/model_check.rs`, `tests/model_small.rs`, `tests/model_whole.rs`). How much
//! it merges differs: the model of clocks without budgets is finite by it alone; where old messages stay under way for ever, their
//! stamps keep nearly all states apart. stateright's own reductions are not used.
//!
//! # The scenarios
//!
//! From `cargo run --release --bin bazaar-model -- check` on a 2-core machine that others used at the same time: unique states,
//! the longest path, seconds. The bounds of each, and why they suffice, are in `bazaar-model list`. `check --thorough` takes up to an
//! hour; with `--journal FILE` it says what is left, can be interrupted, and goes on from there while the program is the same.
//!
//! ```text
//! scenario                  states  depth      s
//! election                   81317     43    0.5
//! election-four              91696     47    0.6
//! election-crash             82081     36    0.3
//! election-silence           15988     28    0.1
//! election-heartbeat         62348     38    0.4
//! election-resignation      198111     53    1.3
//! election-two              104973     54    0.6
//! election-ledger-crash      14160     29    0.1
//! synchronous               672202    136    1.5
//! synchronous-five            1923     75    0.0
//! synchronous-survivor       19103     89    0.1
//! synchronous-ten              223     46    0.0
//! convergence                17771     30    0.4
//! duel                       62781     38    2.2
//! duel-one-way               62781     38    2.2
//! wedge                      62781     38    2.4
//! lost-answers                2936     29    0.1
//! survivor                   25841     42    0.9
//! silent-ledger              62781     38    2.3
//! last-unit                 166471     43    1.6
//! batches-of-two            185485     43    2.0
//! ledger-crash               70976     42    0.7
//! trader-crash              134664     44    0.9
//! yield                      55660     41    0.4
//! renewals                   10628     41    0.1
//! renewals-crash              3000     23    0.0
//! client-restarts            65453     37    0.5
//! buyer-restarts             54084     47    0.5
//! resignation               141713     43    1.2
//! restocking                 64251     46    0.9
//! stamps                     11074     30    0.1
//! sellers                    78723     38    0.8
//! own-stock                    839     25    0.0
//! three-buyers                1125     22    0.0
//! inheritance                 7805     37    0.1
//! out-of-order                 679     28    0.0
//! old-calls                  43152     41    0.4
//! late-copies                 3024     26    0.0
//! trader-trades             234210     53    2.0
//! buyer-in-office             6720     40    0.1
//! seller-in-office           25908     46    0.2
//! snapshot                  154728     45    1.4
//! told                       30710     41    0.6
//! told-twice                  1805     30    0.0
//! told-after-crashes          1679     24    0.0
//! whole-election            275673     29    1.2
//! whole-crash               135768     41    0.7
//! whole-cut                 279616     30    1.5
//! whole-ledger              166804     29    1.0
//! whole-candidate           145534     37    0.6
//! whole-interval               265     23    0.0
//! whole-clock                34263     43    0.2
//! whole-survivor             37553     31    1.3
//! whole-isolated             10972     24    0.9
//! whole-convergence         194766     25   16.7
//! whole-disorder            158649     19    0.9
//! clock-two                 120874     22    0.2
//! clock-read                249649     25    0.4
//! clock-three               259344     20    0.4
//! clock-endless              29827   3389    0.2
//! overlay-broadcast          30158      9    0.2
//! overlay-answer            158000     16    0.2
//! overlay-ask                81389     12    0.3
//! overlay-overtaken          36855     15    0.2
//! overlay-around            238131     21    0.4
//! overlay-crash              67111     17    0.2
//! overlay-lives             252498     21    0.8
//! overlay-back              106304     30    0.2
//! overlay-circle            280558     87    0.8
//! overlay-loss              265367     13    1.0
//! overlay-twice             115093     15    0.6
//! election in all: 1641797 unique states in 16.1 s
//! trading in all: 1554566 unique states in 14.5 s
//! clock in all: 659694 unique states in 1.1 s
//! overlay in all: 1631464 unique states in 4.9 s
//! whole in all: 1439863 unique states in 24.9 s
//! heartbeat                  60726  91354 134642
//! start                      13558   6996  83640
//! ```
//!
//! # Reading order
//!
//! [`subject`] says what a model is, [`scenario`] what is in the catalogue. [`bazaar`] is the subject of [`election`] and
//! [`trading`], [`whole`] that of whole peers. [`graph`] shows a subject to stateright, [`check`] runs it, [`trace`] finds histories,
//! [`history`] takes and shortens them, [`replay`] shows one from a file, [`picture`] and [`diagram`] draw it, [`explore`] serves the
//! Explorer, `mutants` (in the second build only) is the catalogue of mutants.
//!
//! # To add something
//!
//! - **A property**: as a function in `protocol::invariant`, named as the sentence it checks, with a
//!   [`Property`](protocol::invariant::Property) of its own; asked in [`bazaar`]'s or [`whole`]'s checks where what it speaks of
//!   changes, and listed in the subject's `properties`. Then a mutant that it alone catches.
//! - **A scenario**: one entry in the `scenarios` of its model, with its bounds, why they suffice, and the sightings without which it
//!   would show nothing. Run it, look at the number of states, record it:
//!   `cargo run --release --bin bazaar-model -- check NAME --record model/recorded.json`, and the same with `--thorough`.
//! - **A fault**: a field of the subject's budget and an action; a word for both in `words`.
//! - **A mutant**: a line in `protocol/src/mutant.rs`, `mutant!(Name => what it does, what is right)` at the line it breaks, and a line
//!   in `model/src/mutants.rs` with the property that must fail and the scenario where. `bazaar-model mutants NAME` says after how
//!   many steps it does.
#![deny(missing_docs)]

/// The protocol that is checked: in this build as it is, or with the mutants in it.
pub use protocol;

pub mod bazaar;
pub mod canonical;
pub mod check;
pub mod clock;
pub mod diagram;
pub mod election;
pub mod explore;
pub mod graph;
pub mod history;
pub mod matrix;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod network;
pub mod overlay;
pub mod part;
pub mod picture;
pub mod replay;
pub mod scenario;
pub mod sighting;
pub mod subject;
pub mod trace;
pub mod trading;
pub mod whole;
mod words;

#[cfg(test)]
mod toy;
