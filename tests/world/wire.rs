//! What is in flight, in no fixed order, and what has arrived before and may arrive again.

use std::collections::{VecDeque, vec_deque};

/// How much of what has arrived is remembered.
const REMEMBERED: usize = 200;

#[derive(Debug)]
pub struct Wire<T> {
    under_way: VecDeque<T>,
    past: VecDeque<T>,
}

impl<T> Default for Wire<T> {
    fn default() -> Wire<T> {
        Wire { under_way: VecDeque::new(), past: VecDeque::new() }
    }
}

impl<T: Clone> Wire<T> {
    pub fn push(&mut self, thing: T) {
        self.under_way.push_back(thing);
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    pub fn iter(&self) -> vec_deque::Iter<'_, T> {
        self.under_way.iter()
    }

    /// The `nth` item arrives.
    pub fn arrive(&mut self, nth: usize) -> T {
        let thing = self.under_way.remove(nth).unwrap();
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(thing.clone());
        thing
    }

    /// One item is lost.
    pub fn lose(&mut self, pick: u16) {
        if let Some(nth) = usize::from(pick).checked_rem(self.len()) {
            self.under_way.remove(nth);
        }
    }

    /// One item is duplicated; returns whether there was any.
    pub fn double(&mut self, pick: u16) -> bool {
        let copy = usize::from(pick).checked_rem(self.len()).map(|nth| self.under_way[nth].clone());
        self.under_way.extend(copy.clone());
        copy.is_some()
    }

    /// Something that has arrived before is in flight once more, as the last item; returns whether there was any.
    pub fn again(&mut self, pick: u16) -> bool {
        let copy = usize::from(pick).checked_rem(self.past.len()).map(|nth| self.past[nth].clone());
        self.under_way.extend(copy.clone());
        copy.is_some()
    }
}
