//! Random decisions keyed by (seed, stream, counter).
//!
//! Each client, link and node, and the nemesis, has a stream of its own; the n-th decision of a
//! stream depends on nothing but the seed, the stream's name and n. Taking one event away
//! therefore leaves all others as they were, which replay and shrinking rest on. ChaCha8 is fixed
//! by its algorithm; the way from bits to values is this module's own, since crates change theirs
//! between releases, and is held by golden tests.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// A named sequence of independent decisions.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u8; 32],
}

impl Stream {
    /// The stream called `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Stream { key: *hasher.finalize().as_bytes() }
    }

    /// The decision with this number. The same number always gives the same draws.
    pub fn at(&self, counter: u64) -> Draw {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(counter);
        Draw { rng }
    }
}

/// The draws of one decision.
#[derive(Debug)]
pub struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number in `0..n`, each equally likely (Lemire's multiplication with rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing to choose from");
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            // The low half of the product: the choice is biased only if it falls below the
            // threshold.
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number in the half-open range.
    pub fn range(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One element, each equally likely; `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }

    /// Puts the slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, slice: &mut [T]) {
        for last in (1..slice.len()).rev() {
            slice.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saved seeds depend on these figures: if one changes, the change is wrong.
    #[test]
    fn golden_draws() {
        let stream = Stream::new(42, "client-0");
        let bits: Vec<u64> = (0..3).map(|counter| stream.at(counter).bits()).collect();
        assert_eq!(bits, GOLDEN_BITS);
        let mut draw = stream.at(7);
        let dice: Vec<u64> = (0..12).map(|_| draw.below(6)).collect();
        assert_eq!(dice, GOLDEN_DICE);
        let mut cards: Vec<u32> = (0..8).collect();
        stream.at(8).shuffle(&mut cards);
        assert_eq!(cards, GOLDEN_CARDS);
        assert_eq!(stream.at(9).unit(), GOLDEN_UNIT);
    }

    const GOLDEN_BITS: [u64; 3] = [5587453336845253000, 3605147066165996109, 11060176511482872224];
    const GOLDEN_DICE: [u64; 12] = [1, 1, 5, 5, 0, 4, 4, 1, 0, 5, 3, 5];
    const GOLDEN_CARDS: [u32; 8] = [1, 0, 5, 3, 6, 2, 4, 7];
    const GOLDEN_UNIT: f64 = 0.1448780041965989;

    #[test]
    fn streams_differ_by_seed_and_by_name() {
        let first = |seed, name| Stream::new(seed, name).at(0).bits();
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_eq!(first(1, "a"), first(1, "a"));
    }

    #[test]
    fn every_face_of_a_die_comes_up() {
        let stream = Stream::new(0, "die");
        let mut counts = [0u32; 6];
        for counter in 0..6_000 {
            counts[stream.at(counter).below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
