//! A digest that is the same in every process built from the same protocol, unlike `std`'s seeded hashers.

use core::{
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

/// A 64-bit digest of a value. It distinguishes values made by honest members; it does not withstand an attacker, and
/// nothing here needs it to (members do not lie, and the links keep strangers out).
///
/// It is hashed as a `u128`, and nothing else in this crate is: it depends on clock readings, so a hasher that takes
/// those relative to one another has to leave it out.
///
/// The default is that of nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub u64);

impl Digest {
    /// The digest of any hashable value.
    pub fn of<T: Hash + ?Sized>(value: &T) -> Digest {
        let mut hasher = StableHasher(0xcbf2_9ce4_8422_2325);
        value.hash(&mut hasher);
        Digest(hasher.finish())
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from(self.0));
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// FNV-1a with a final avalanche. Integers go in little-endian and `usize` as 64 bits, so that machines agree.
struct StableHasher(u64);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u16(&mut self, n: u16) {
        self.write(&n.to_le_bytes());
    }

    fn write_u32(&mut self, n: u32) {
        self.write(&n.to_le_bytes());
    }

    fn write_u64(&mut self, n: u64) {
        self.write(&n.to_le_bytes());
    }

    fn write_u128(&mut self, n: u128) {
        self.write(&n.to_le_bytes());
    }

    fn write_i64(&mut self, n: i64) {
        self.write(&n.to_le_bytes());
    }

    fn write_usize(&mut self, n: usize) {
        self.write(&(n as u64).to_le_bytes());
    }

    fn write_isize(&mut self, n: isize) {
        self.write(&(n as i64).to_le_bytes());
    }

    fn finish(&self) -> u64 {
        // The finaliser of splitmix64: FNV alone spreads its last bytes badly.
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_in_every_run() {
        // A literal, so that a change to the hasher or to its input is noticed: logs and traces keep digests.
        assert_eq!(Digest::of(&(1_u32, 2_u64, "salt")), Digest(0x9ab2_3268_0609_1786));
    }

    #[test]
    fn neighbouring_values_differ() {
        assert_ne!(Digest::of(&1_u64), Digest::of(&2_u64));
        assert_ne!(Digest::of(&[1_u8, 2].as_slice()), Digest::of(&[2_u8, 1].as_slice()));
    }
}
