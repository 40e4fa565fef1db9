//! Random choices that a seed fixes forever.
//!
//! A seed names a graph, a cast of roles, and a history of the simulator. It must name the same ones with the next
//! release of any library, so the generator is written out here in full: SplitMix64 (Steele, Lea, Flood 2014), which is
//! eight lines long and passes the usual statistical suites. It is not a source of secrets; keys come from the operating
//! system.

/// A stream of numbers fixed by a seed.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream of `seed` for one `purpose`. Streams of different purposes are independent, so that a change in how
    /// roles are drawn does not change a seed's graph.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> SplitMix64 {
        let mut stream = SplitMix64(seed);
        for byte in purpose.bytes() {
            stream = SplitMix64(stream.draw() ^ u64::from(byte));
        }
        stream
    }

    /// The next number; all 64 bits are random.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but not including `bound`, all equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The numbers above the last whole multiple of `bound` would favour the small ones: draw again.
        let whole = u64::MAX - u64::MAX.checked_rem(bound).unwrap_or(0);
        loop {
            let drawn = self.draw();
            if drawn < whole || bound == 0 {
                return drawn.checked_rem(bound).unwrap_or(0);
            }
        }
    }

    /// A random index into a list of `length` elements; 0 if it is empty.
    pub fn index(&mut self, length: usize) -> usize {
        // Below `length`, so it fits a `usize`.
        self.below(length as u64) as usize
    }

    /// A number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts a list into a random order; all orders are equally likely.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_stream_is_the_published_one() {
        // The first outputs of SplitMix64 for seed 1234567, as printed on rosettacode.org.
        let mut stream = SplitMix64(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| stream.draw()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_number_below_a_bound_is_about_equally_likely() {
        let mut stream = SplitMix64::new(1, "test");
        let mut counts = [0; 6];
        for _ in 0..60_000 {
            counts[stream.index(6)] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn streams_of_different_purposes_differ() {
        assert_ne!(SplitMix64::new(1, "graph").draw(), SplitMix64::new(1, "roles").draw());
    }
}
