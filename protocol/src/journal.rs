//! What a peer writes ahead, and what may not leave before it is durable (DESIGN R7, R10).
//!
//! It is kept apart from the rules: they decide what is said, the journal decides when. What it holds back leaves in
//! the step that handles [`Input::Written`](crate::input::Input::Written), so a driver has no order to remember.

use alloc::{collections::VecDeque, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    effect::{Durable, Effect},
    id::Incarnation,
    input::WriteId,
    ledger::HighWaterMark,
};

/// An effect of a step, before the journal has decided whether it may leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Draft {
    /// Nobody else sees it: a timer, a choice, a write. It leaves at once.
    Local(Effect),
    /// Others see it. It leaves once this life is durable, and the clock reading it reveals.
    Outgoing {
        /// The highest reading of this peer's clock that it reveals; `None` where it reveals none, like a message that
        /// a relay forwards (SPEC C1).
        clock: Option<Time>,
        /// The effect that is to leave.
        effect: Effect,
    },
}

/// What is being written, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Journal {
    /// What was last asked to be written.
    requested: Durable,
    last_id: WriteId,
    /// The writes that are not durable yet, each with the clock bound it brings.
    pending: VecDeque<(WriteId, Time)>,
    /// What may leave once the bound is at least this.
    held: VecDeque<(Option<Time>, Effect)>,
    stage: Stage,
}

/// How far this life has become durable (DESIGN R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// Not durable yet: after a crash the next life would have the same incarnation, so nothing may leave.
    Unborn,
    /// Durable: the peer may speak.
    Born,
}

/// What a confirmed write makes durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The clock's new bound, if it has changed.
    pub bound: Option<Time>,
    /// Whether this write made the life itself durable.
    pub is_born: bool,
}

impl Journal {
    /// The journal of a new life, and the write that makes that life durable. `former` is what the last life left,
    /// `now` this life's clock, and `range` how far ahead of it to write.
    #[must_use]
    pub fn begin(former: Durable, life: Incarnation, now: Time, range: u64) -> (Journal, Effect) {
        let clock_bound = now.max(former.clock_bound).plus(range);
        let mut journal = Journal {
            requested: former,
            last_id: WriteId(0),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            stage: Stage::Unborn,
        };
        let write = journal.write(Durable { incarnation: life, clock_bound, seen: former.seen });
        (journal, write)
    }

    fn write(&mut self, durable: Durable) -> Effect {
        self.last_id = WriteId(self.last_id.0.saturating_add(1));
        self.requested = durable;
        self.pending.push_back((self.last_id, durable.clock_bound));
        Effect::Write { id: self.last_id, durable }
    }

    /// What was last asked to be written.
    #[must_use]
    pub fn requested(&self) -> Durable {
        self.requested
    }

    /// Whether this life is durable, without which nothing may leave.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        self.stage == Stage::Born
    }

    /// How many effects it holds back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A write has become durable, and so has every one before it.
    pub fn confirm(&mut self, id: WriteId) -> Confirmed {
        let mut confirmed = Confirmed::default();
        while let Some((_, bound)) = self.pending.front().copied().filter(|(pending, _)| *pending <= id) {
            self.pending.pop_front();
            confirmed.bound = confirmed.bound.max(Some(bound));
            confirmed.is_born |= self.stage == Stage::Unborn;
            self.stage = Stage::Born;
        }
        confirmed
    }

    /// Asks for a write if one is due: for the clock, once half of what was written ahead is used up; for what was seen
    /// of the books, once that is an epoch further on, or as many records as the clock's range.
    pub fn write_ahead(&mut self, now: Time, seen: HighWaterMark, range: u64) -> Option<Effect> {
        let written = self.requested;
        let is_used_up = now.plus(range / 2) >= written.clock_bound;
        let has_seen_more = mutant!(
            seen.epoch > written.seen.epoch || seen.head.0 >= written.seen.head.0.saturating_add(range);
            SeenNotWritten => false
        );
        let bound = written.clock_bound;
        let clock_bound = if is_used_up { now.max(bound).plus(range) } else { bound };
        (is_used_up || has_seen_more).then(|| self.write(Durable { clock_bound, seen, ..written }))
    }

    /// Returns, in order, which of the effects held back earlier and of the new ones may leave when the clock is
    /// durable up to `bound`. The rest is held back, at most `most` of it
    /// ([`Limits::held_back`](crate::config::Limits::held_back)).
    pub fn sift(&mut self, bound: Time, most: u32, drafts: Vec<Draft>) -> Vec<Effect> {
        let held = core::mem::take(&mut self.held);
        let mut out = Vec::new();
        for (clock, effect) in held {
            if self.may_leave(clock, bound) {
                out.push(effect);
            } else {
                self.held.push_back((clock, effect));
            }
        }
        for draft in drafts {
            match draft {
                Draft::Local(effect) => out.push(effect),
                Draft::Outgoing { clock, effect } if self.may_leave(clock, bound) => out.push(effect),
                Draft::Outgoing { clock, effect } => {
                    // One more lost message: while a disk hangs, retries must not fill the memory.
                    if mutant!(self.held.len() < most as usize; HeldWithoutBound => true) {
                        self.held.push_back((clock, effect));
                    }
                }
            }
        }
        out
    }

    fn may_leave(&self, clock: Option<Time>, bound: Time) -> bool {
        let is_written = clock.is_none_or(|clock| clock <= bound);
        mutant!(
            self.may_speak() && is_written;
            SpeaksBeforeWritten => !self.may_speak() || is_written,
            SentAboveBound => self.may_speak()
        )
    }
}
