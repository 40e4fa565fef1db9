//! What is still to happen, by time; the number keeps what happens at the same time in order.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A queue of events in virtual time. Equal pushes give equal pops.
#[derive(Debug)]
pub struct Events<E> {
    /// Times, numbers and slots only, so that moving them is cheap.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    number: u64,
}

impl<E> Default for Events<E> {
    fn default() -> Events<E> {
        Events { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), number: 0 }
    }
}

impl<E> Events<E> {
    /// Adds an event at this time, after all that were added for the same time.
    pub fn push(&mut self, at: u64, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                // There is no room for four thousand million events.
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(event);
        self.number += 1;
        self.heap.push(Reverse((at, self.number, slot)));
    }

    /// When the next event is.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let event = self.slots[slot as usize].take()?;
        self.free.push(slot);
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_time_in_the_order_they_were_added() {
        let mut events = Events::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            events.push(at, event);
        }
        assert_eq!(events.pop(), Some((1, 'a')));
        events.push(3, 'x');
        let rest: Vec<_> = std::iter::from_fn(|| events.pop()).collect();
        assert_eq!(rest, [(3, 'b'), (3, 'x'), (5, 'c'), (5, 'd')]);
    }
}
