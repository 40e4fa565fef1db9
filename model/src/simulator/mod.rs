//! The simulator: whole peers, their disks, the links between them, and the ledger, in virtual time.
//!
//! The models try every schedule of a handful of peers; the simulator tries one schedule a seed, of up to 10,000 peers,
//! for minutes or hours. The machines are the same, and so is the observer that asks every property after every step.
//!
//! # One seed, one history
//!
//! A seed draws the network, the roles, how fast links and disks are, the terms and limits, and everything that goes
//! wrong ([`plan`]). Every purpose has its own stream of random numbers, everything has a time in nanoseconds, and what
//! happens at the same time happens in the order in which it was put into the queue ([`events`]). A digest runs along
//! every input and every effect ([`meter::Running`]): two histories with the same digest are the same.
//!
//! # What there is
//!
//! - Each direction of a link has a latency and a queue. An envelope keeps it busy; what does not fit is dropped; of
//!   envelopes with nothing but a clock only the newest waits. A link through which nothing has come for 1.5 s is
//!   considered down by both ends, as in the runtime, and what was under way on it is lost.
//! - Each peer has an inbox, and an input keeps it busy. Timers that are due while it is busy or stands still fire late.
//! - Each peer's disk makes a write durable after a while, and the peer learns it a moment later. A crash loses what was
//!   not durable yet.
//! - The ledger is an [`Archive`](bazaar_protocol::archive::Archive). It takes calls one after another, and writing,
//!   syncing, answering and reading are steps of their own, between which it may crash. An unsynced batch may survive.
//!
//! # What goes wrong
//!
//! Messages and calls are lost, doubled and overtaken; links are so slow that queues and inboxes overflow; writes stall;
//! links and connections to the ledger are cut, one way or both, for a while or (links) for good; peers stand still, are
//! slow, and crash, in small networks all but one for good; the ledger crashes. How much of it is drawn: one seed in
//! eight is quiet. What begins at a certain time is an explicit list ([`plan::Schedule`]), so that a history that fails
//! can be shrunk ([`history::shrink`]).
//!
//! # What must hold afterwards
//!
//! The last minute of a history is without faults. Cuts for good stay; they leave the network connected.
//!
//! | | What | Within |
//! |---|---|---|
//! | L1, L3 | there is one trader that all live peers know; one peer alone is it itself | [`plan::SETTLE`] after the last fault |
//! | A9 | nobody turns a unicast into a flood, but for those of a trader up to [`plan::ACQUAINTED`] after it took office | from then on |
//! | L4 | nobody suspects the trader, and nobody calls an election but [`plan::ELECTION_BOUND`] after a resignation | from then on |
//! | L4 | a request has its outcome | [`plan::REQUEST_BOUND`], from then on |
//! | L2 | nothing waits, everybody was told of everything, and every seller has goods | [`plan::DRAIN`] after the buyers stop |
//! | C2 | every clock that was multicast has been heard by everybody | the same |
//!
//! A9, and who suspects and calls, are asked where everybody is there again.
//!
//! # What is not simulated
//!
//! An input costs a peer the same, whatever it is. Members leave and come back, but nobody puts an old image of a disk
//! back; the models of whole peers do. Y1 and Y2 need a network without delays, and are not asked.
//!
//! # Reading order
//!
//! [`plan`], then `world` with its events; `network`, `peers`, `ledger` and `faults` say what becomes of them, `judge`
//! what must hold. [`history`] runs, shrinks and replays; [`table`] compares sizes with what [`survey`] counts,
//! [`elections`] says what one election costs.

pub mod elections;
pub mod events;
mod faults;
pub mod history;
mod judge;
mod ledger;
pub mod meter;
mod network;
mod peers;
pub mod plan;
pub mod story;
pub mod survey;
pub mod table;
mod world;

pub use world::World;
