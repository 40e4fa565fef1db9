//! Parts of a state: shared between states until one changes, and hashed once.

use std::{
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use serde::{Serialize, Serializer};

/// A piece of a state. A step changes few of them; the others are neither copied nor hashed again.
#[derive(Debug)]
pub struct Part<T>(Arc<(u64, T)>);

impl<T: Hash> Part<T> {
    /// The part with this value.
    pub fn new(value: T) -> Part<T> {
        Part(Arc::new((digest(&value), value)))
    }

    /// Changes the value, for this state alone.
    pub fn change<R>(&mut self, how: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        let mut value = self.0.1.clone();
        let result = how(&mut value);
        *self = Part::new(value);
        result
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Part<T> {
        Part(Arc::clone(&self.0))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Part<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.0 == other.0.0 && self.0.1 == other.0.1)
    }
}

impl<T: Eq> Eq for Part<T> {}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.0);
    }
}

impl<T: Serialize> Serialize for Part<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.1.serialize(serializer)
    }
}

/// A digest of a value, the same in every run.
pub fn digest<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = Folding(0x243f_6a88_85a3_08d3);
    value.hash(&mut hasher);
    hasher.finish()
}

/// A hasher for many small numbers: each is folded in by a full multiplication, as in wyhash.
struct Folding(u64);

impl Folding {
    fn fold(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = Folding::fold(self.0 ^ n ^ 0x1319_8a2e_0370_7344, 0x9e37_79b9_7f4a_7c15) ^ self.0.rotate_left(23);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        Folding::fold(self.0 ^ 0xa409_3822_299f_31d0, 0xd1b5_4a32_d192_ed03)
    }
}

/// What has been sent and may still arrive: once, often, or never, in any order. Sending it again changes nothing, so
/// loss, duplication and resending need no steps of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Bag<T>(Vec<Part<T>>);

impl<T> Default for Bag<T> {
    fn default() -> Bag<T> {
        Bag(Vec::new())
    }
}

impl<T: Hash + Eq> Bag<T> {
    /// Adds one, unless it is there.
    pub fn add(&mut self, one: Part<T>) {
        // By digest: any order will do, as long as it does not tell in which order they came.
        let place = self.0.partition_point(|other| other.0.0 < one.0.0);
        if !self.0[place..].iter().take_while(|other| other.0.0 == one.0.0).any(|other| *other == one) {
            self.0.insert(place, one);
        }
    }

    /// Whether it is there.
    pub fn has(&self, one: &Part<T>) -> bool {
        let place = self.0.partition_point(|other| other.0.0 < one.0.0);
        self.0[place..].iter().take_while(|other| other.0.0 == one.0.0).any(|other| other == one)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Part<T>> {
        self.0.iter()
    }

    /// Drops what can no longer matter.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.0.retain(|one| keep(one));
    }
}
