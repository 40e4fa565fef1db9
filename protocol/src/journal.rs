//! What a peer writes ahead, and what may not leave before that is durable (DESIGN R7, R10).
//!
//! It is kept apart from the rules: they say what is to be said, the journal when. What it holds back leaves in the step
//! that handles [`Input::Written`](crate::input::Input::Written), so a driver has no order to remember.

use alloc::{collections::VecDeque, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    effect::{Durable, Effect},
    input::WriteId,
    ledger::HighWaterMark,
};

/// What is being written, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Journal {
    /// What was asked to be written last.
    requested: Durable,
    last_id: WriteId,
    /// The writes that are not durable yet, with the clock bound each brings.
    pending: VecDeque<(WriteId, Time)>,
    /// What may leave once the bound is at least this.
    held: VecDeque<(Time, Effect)>,
    /// This life is durable: the peer may speak (DESIGN R7).
    may_speak: bool,
}

/// What has become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The clock's new bound, if it has one.
    pub bound: Option<Time>,
    /// This life is durable from here on.
    pub is_born: bool,
}

impl Journal {
    /// The journal of a life of which nothing is written yet; `durable` is what the former life left, with this life's
    /// incarnation.
    #[must_use]
    pub fn new(durable: Durable) -> Journal {
        Journal {
            requested: durable,
            last_id: WriteId(0),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            may_speak: false,
        }
    }

    /// What was asked to be written last.
    #[must_use]
    pub fn requested(&self) -> Durable {
        self.requested
    }

    /// Whether this life is durable, so that anything may leave at all.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        self.may_speak
    }

    /// How much it holds back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A write is durable, and so is every one before it.
    pub fn confirm(&mut self, id: WriteId) -> Confirmed {
        let mut confirmed = Confirmed::default();
        while let Some((_, bound)) = self.pending.front().copied().filter(|(pending, _)| *pending <= id) {
            self.pending.pop_front();
            confirmed.bound = confirmed.bound.max(Some(bound));
            confirmed.is_born |= !self.may_speak;
            self.may_speak = true;
        }
        confirmed
    }

    /// Asks for a write if one is due: for the first of this life; for the clock once half of what was written ahead is used
    /// up; for what was seen of the books when that has come an epoch further, or as many records as a clock's range.
    pub fn write_ahead(&mut self, now: Time, seen: HighWaterMark, range: u64) -> Option<Effect> {
        let written = self.requested;
        let is_first = self.last_id == WriteId(0);
        let is_used_up = now.0 + range / 2 >= written.clock_bound.0;
        let has_seen_more = mutant!(
            seen.epoch > written.seen.epoch || seen.head.0 >= written.seen.head.0 + range;
            SeenNotWritten => false
        );
        if !(is_first || is_used_up || has_seen_more) {
            return None;
        }
        let clock_bound = match written.clock_bound {
            bound if is_used_up || is_first => Time(now.max(bound).0 + range),
            bound => bound,
        };
        self.last_id = WriteId(self.last_id.0 + 1);
        self.requested = Durable { clock_bound, seen, ..written };
        self.pending.push_back((self.last_id, clock_bound));
        Some(Effect::Write { id: self.last_id, durable: self.requested })
    }

    /// Of what was held back and what has come now, each with the clock that must be durable before it may leave: what
    /// leaves, in order. The rest is held back, `most` of it ([`Limits::held_back`](crate::config::Limits::held_back)).
    pub fn sift(&mut self, bound: Time, most: u32, effects: Vec<(Time, Effect)>) -> Vec<Effect> {
        let held = core::mem::take(&mut self.held);
        let mut out = Vec::new();
        for (stamped, effect) in held {
            if self.may_leave(stamped, bound) {
                out.push(effect);
            } else {
                self.held.push_back((stamped, effect));
            }
        }
        for (stamped, effect) in effects {
            match effect {
                Effect::Send { .. } | Effect::Ledger(_) | Effect::Note { .. } if !self.may_leave(stamped, bound) => {
                    // A message more that is lost: while a disk hangs, retries must not fill the memory.
                    if mutant!(self.held.len() < most as usize; HeldWithoutBound => true) {
                        self.held.push_back((stamped, effect));
                    }
                }
                Effect::Send { .. }
                | Effect::Ledger(_)
                | Effect::Write { .. }
                | Effect::Arm { .. }
                | Effect::Disarm(_)
                | Effect::Choose { .. }
                | Effect::Note { .. } => out.push(effect),
            }
        }
        out
    }

    fn may_leave(&self, stamped: Time, bound: Time) -> bool {
        mutant!(
            self.may_speak && stamped <= bound;
            SpeaksBeforeWritten => !self.may_speak || stamped <= bound,
            SentAboveBound => self.may_speak
        )
    }
}
