//! How a replicated store is kept small (SPEC J3): in which order a snapshot takes the place of the records below it.
//!
//! ```text
//! FindBase -> WriteSnapshot{to} -> MoveBase{from, to} -> ClearBelow(to)
//! ```
//!
//! The *base* is a key of the store: the position of the snapshot in force. A reader who has less begins with that
//! snapshot, and goes on with the records from the base on. So at any moment, whoever crashes wherever, the snapshot at the
//! base is there, and so is every record from the base on: it is written before the base is moved to it, and what it
//! stands for is removed after that. The base is moved by a compare-and-set; of two processes that move it at once, one
//! has written for nothing. What is removed lies below the base, and so may a snapshot that another process is writing,
//! which can then not become the base any more.

use serde::{Deserialize, Serialize};

use crate::id::Position;

/// What a process does about the size of its store: at most one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compaction {
    /// How many records there are between snapshots.
    every: u64,
    /// The base, as far as it is known.
    base: Option<Position>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Idle,
    /// It asks where the base is. The log is known to reach this far.
    Finding(Position),
    Writing {
        from: Position,
        to: Position,
    },
    Moving(Position),
    Clearing(Position),
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompactionInput {
    /// The log reaches this far, durably, and a batch ends there.
    Grown(Position),
    /// The base is here.
    Found(Position),
    /// What was asked for last has been done.
    Done,
    /// It was not done, or perhaps not, or somebody else has moved the base.
    Failed,
}

/// What is to be done. Each is done once, and reported; each may be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompactionEffect {
    /// Look where the base is, and report [`CompactionInput::Found`].
    FindBase,
    /// Write a snapshot of the books at this position, all of it, durably.
    WriteSnapshot(Position),
    /// Move the base in one transaction, if it is still at `from`.
    MoveBase {
        /// Where it must be.
        from: Position,
        /// Where it is to be.
        to: Position,
    },
    /// Remove snapshots and records below this position, which is the base, but for the history that is to be kept and a
    /// snapshot where that begins: no reader needs these, only whoever audits the books.
    ClearBelow(Position),
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction::every(1)
    }
}

impl Compaction {
    /// One that takes a snapshot after so many records, at least 1, and knows nothing yet.
    #[must_use]
    pub fn every(records: u64) -> Compaction {
        Compaction { every: records.max(1), base: None, state: State::Idle }
    }

    /// Takes one input. What it cannot be about changes nothing.
    pub fn step(&mut self, input: CompactionInput) -> Option<CompactionEffect> {
        match (input, self.state) {
            (CompactionInput::Grown(head), State::Idle) if self.base.is_none_or(|base| self.is_due(base, head)) => {
                self.state = State::Finding(head);
                Some(CompactionEffect::FindBase)
            }
            (CompactionInput::Found(base), State::Finding(head)) => {
                self.base = Some(base);
                // What a process that crashed has left below the base is removed as well.
                Some(if !self.is_due(base, head) {
                    self.clear(base)
                } else {
                    mutant!(self.write(base, head); BaseBeforeSnapshot => self.move_base(base, head))
                })
            }
            (CompactionInput::Done, State::Writing { from, to }) => Some(mutant!(
                self.move_base(from, to);
                BaseBeforeSnapshot | ClearedBeforeBase => self.clear(to)
            )),
            (CompactionInput::Done, State::Moving(to)) => {
                self.base = Some(to);
                Some(mutant!(self.clear(to); BaseBeforeSnapshot => self.write(to, to)))
            }
            (CompactionInput::Done, State::Clearing(_to)) => {
                self.state = State::Idle;
                mutant!(None; ClearedBeforeBase => self.move_base_now(_to))
            }
            (CompactionInput::Failed, _) => {
                *self = Compaction::every(self.every);
                None
            }
            (CompactionInput::Grown(_) | CompactionInput::Found(_) | CompactionInput::Done, _) => None,
        }
    }

    fn is_due(&self, base: Position, head: Position) -> bool {
        head.0 >= base.0.saturating_add(self.every)
    }

    fn write(&mut self, from: Position, to: Position) -> CompactionEffect {
        self.state = State::Writing { from, to };
        CompactionEffect::WriteSnapshot(to)
    }

    fn move_base(&mut self, from: Position, to: Position) -> CompactionEffect {
        self.state = State::Moving(to);
        CompactionEffect::MoveBase { from, to }
    }

    fn clear(&mut self, base: Position) -> CompactionEffect {
        self.state = State::Clearing(base);
        CompactionEffect::ClearBelow(base)
    }
}

#[cfg(feature = "mutants")]
impl Compaction {
    /// Moves the base to where all below it has been removed.
    fn move_base_now(&mut self, to: Position) -> Option<CompactionEffect> {
        let from = self.base.filter(|base| *base < to)?;
        Some(self.move_base(from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Position {
        Position(position)
    }

    #[test]
    fn a_snapshot_is_written_before_the_base_is_moved_to_it_and_records_go_after_that() {
        let mut compaction = Compaction::every(3);
        let mut step = |input| compaction.step(input);
        assert_eq!(step(CompactionInput::Grown(at(4))), Some(CompactionEffect::FindBase));
        assert_eq!(step(CompactionInput::Grown(at(5))), None, "one thing at a time");
        assert_eq!(step(CompactionInput::Found(at(1))), Some(CompactionEffect::WriteSnapshot(at(4))));
        assert_eq!(step(CompactionInput::Done), Some(CompactionEffect::MoveBase { from: at(1), to: at(4) }));
        assert_eq!(step(CompactionInput::Done), Some(CompactionEffect::ClearBelow(at(4))));
        assert_eq!(step(CompactionInput::Done), None);
        assert_eq!(step(CompactionInput::Grown(at(6))), None, "not yet");
        assert_eq!(step(CompactionInput::Grown(at(7))), Some(CompactionEffect::FindBase));
        // Somebody else has moved it, and may have crashed then.
        assert_eq!(step(CompactionInput::Found(at(6))), Some(CompactionEffect::ClearBelow(at(6))));
        assert_eq!(step(CompactionInput::Done), None);
        assert_eq!(step(CompactionInput::Grown(at(8))), None);
    }

    #[test]
    fn whatever_fails_begins_anew() {
        for steps in 0..4 {
            let mut compaction = Compaction::every(1);
            compaction.step(CompactionInput::Grown(at(2)));
            if steps > 0 {
                compaction.step(CompactionInput::Found(at(0)));
            }
            for _ in 1..steps {
                compaction.step(CompactionInput::Done);
            }
            assert_eq!(compaction.step(CompactionInput::Failed), None);
            assert_eq!(compaction, Compaction::every(1));
            assert_eq!(compaction.step(CompactionInput::Grown(at(2))), Some(CompactionEffect::FindBase));
        }
    }
}
