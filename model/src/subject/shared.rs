//! Parts of a state, which states share until one of them changes and which are hashed once; and how states are hashed.
//!
//! # Clocks
//!
//! The machines only ever take the larger of two clock readings, add one to a reading, or compare readings. So a state
//! whose readings are all higher by the same amount behaves the same for ever and is the same state: a [`digest`] takes
//! readings relative to the least one that occurs anywhere in the value. That is exact, not an abstraction, under two
//! conditions that this crate ensures: a reading of 0 means "none yet" and nothing else (peers start at 1), and no
//! digest that the protocol takes over readings is hashed (the hasher here skips every
//! [`bazaar_protocol::digest::Digest`], and any state that holds one also holds what it names). The tests check this
//! against the machines: states taken for the same are stepped side by side.
//!
//! Where clocks are written ahead, readings fall into two groups far apart: current ones, and the bounds at which a
//! restart resumes. No history is long enough for one group to reach the other step by step, so each group counts from
//! its own least ([`AGE`]): exactly how far a bound lies ahead of the current readings decides nothing.

use std::{
    cmp,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// The number of readings in an age of clocks. A model in which bounds are never reached step by step writes clocks one
/// age ahead; no history counts that far.
pub const AGE: u64 = 1 << 20;

/// The number of ages that count from their own least reading; in later ages readings are taken unchanged.
const AGES: usize = 4;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A piece of a state. A step changes few pieces; the others are neither copied nor hashed again. A piece is hashed
/// when its hash is first needed.
#[derive(Debug)]
pub struct Shared<T>(Arc<(OnceLock<Relative>, T)>);

/// A digest in which clock readings count from the least of their age, with those least readings (0: there is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Relative {
    digest: u64,
    least: [i64; AGES],
}

impl<T: Hash> Shared<T> {
    /// A part with this value, not hashed yet.
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new((OnceLock::new(), value)))
    }

    /// Changes the value for this state only.
    pub fn change<R>(&mut self, how: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        if let Some((digest, value)) = Arc::get_mut(&mut self.0) {
            digest.take();
            return how(value);
        }
        let mut value = self.0.1.clone();
        let result = how(&mut value);
        *self = Shared::new(value);
        result
    }

    /// A name for the part that tells it from all others, also from one whose readings are merely shifted.
    #[must_use]
    pub fn name(&self) -> u64 {
        let Relative { digest, least } = self.relative();
        least.iter().fold(digest, |name, least| Folding::fold(name, *least as u64 | 1))
    }

    fn relative(&self) -> Relative {
        *self.0.0.get_or_init(|| relative(&self.0.1))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        let (one, two) = (&self.0, &other.0);
        let may_be = || one.0.get().zip(two.0.get()).is_none_or(|(one, two)| one == two);
        Arc::ptr_eq(one, two) || (may_be() && one.1 == two.1)
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Ord> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Shared<T>) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Shared<T> {
    fn cmp(&self, other: &Shared<T>) -> cmp::Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { cmp::Ordering::Equal } else { self.0.1.cmp(&other.0.1) }
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Relative { digest, least } = self.relative();
        state.write_u64(digest);
        for least in least {
            state.write_i64(least);
        }
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.1.serialize(serializer)
    }
}

impl<'de, T: Hash + Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        T::deserialize(deserializer).map(Shared::new)
    }
}

/// A digest of a value, the same in every run, in which clock readings count from the least of them.
pub fn digest<T: Hash + ?Sized>(value: &T) -> u64 {
    relative(value).digest
}

fn relative<T: Hash + ?Sized>(value: &T) -> Relative {
    let mut hasher = Folding { run: 0x243f_6a88_85a3_08d3, sum: 0, weight: [0; AGES], least: [0; AGES] };
    value.hash(&mut hasher);
    Relative { digest: hasher.finish(), least: hasher.least }
}

/// A hasher for many small numbers: each is folded in by a full multiplication, as in wyhash. Clock readings come as
/// `i64` ([`bazaar_protocol::clock::Time`] ensures that) and are summed, each with its own weight, which depends on
/// everything before it except other readings; so at the end the least reading of an age can be subtracted from all
/// readings of that age.
struct Folding {
    run: u64,
    sum: u64,
    weight: [u64; AGES],
    least: [i64; AGES],
}

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
        self.run =
            Folding::fold(self.run ^ n ^ 0x1319_8a2e_0370_7344, 0x9e37_79b9_7f4a_7c15) ^ self.run.rotate_left(23);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    /// A clock reading; 0 is none.
    fn write_i64(&mut self, reading: i64) {
        let age = reading as u64 / AGE;
        let nth = usize::try_from(age).unwrap_or(AGES);
        self.write_u64(if reading == 0 { 0 } else { age + 1 });
        if reading == 0 {
            return;
        }
        if nth >= AGES {
            self.write_u64(reading as u64);
            return;
        }
        let weight = Folding::fold(self.run ^ 0x4528_21e6_38d0_1377, 0xbe54_66cf_34e9_0c6d) | 1;
        self.sum = self.sum.wrapping_add(weight.wrapping_mul(reading as u64));
        self.weight[nth] = self.weight[nth].wrapping_add(weight);
        let least = &mut self.least[nth];
        *least = if *least == 0 { reading } else { reading.min(*least) };
    }

    /// A digest taken by the protocol is over absolute readings, so it is left out. What it names is hashed beside it.
    fn write_u128(&mut self, _: u128) {}

    fn finish(&self) -> u64 {
        let taken_off = self.weight.iter().zip(self.least).map(|(weight, least)| weight.wrapping_mul(least as u64));
        let readings = taken_off.fold(self.sum, u64::wrapping_sub);
        let all = Folding::fold(self.run ^ 0xa409_3822_299f_31d0, 0xd1b5_4a32_d192_ed03);
        Folding::fold(all ^ readings, 0xc0ac_29b7_c97c_50dd) ^ all.rotate_left(31)
    }
}

/// What has been sent and may still arrive. Where the bag only grows, each item may arrive once, often, or never, in
/// any order: sending it again changes nothing, so loss, duplication and resending need no steps of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Bag<T>(Vec<Shared<T>>);

impl<T> Default for Bag<T> {
    fn default() -> Bag<T> {
        Bag(Vec::new())
    }
}

impl<T: Hash + Eq> Bag<T> {
    /// Adds an item unless an equal one is there.
    pub fn add(&mut self, one: Shared<T>) {
        if !self.has(&one) {
            self.put(one);
        }
    }

    /// Adds an item even if an equal one is there.
    pub fn put(&mut self, one: Shared<T>) {
        // By digest: any order will do that depends neither on the order of arrival nor on absolute clock readings.
        let place = self.0.partition_point(|other| other.relative() < one.relative());
        self.0.insert(place, one);
    }

    /// Removes one item equal to this one, if there is one.
    pub fn take(&mut self, one: &Shared<T>) {
        if let Some(place) = self.0.iter().position(|other| other == one) {
            self.0.remove(place);
        }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an equal item is there.
    pub fn has(&self, one: &Shared<T>) -> bool {
        let place = self.0.partition_point(|other| other.relative() < one.relative());
        self.0[place..].iter().take_while(|other| other.relative() == one.relative()).any(|other| other == one)
    }

    /// All items, in an order that says nothing about when they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &Shared<T>> {
        self.0.iter()
    }

    /// Keeps only the items for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.0.retain(|one| keep(one));
    }
}
