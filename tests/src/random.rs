//! Random choices that a seed repeats.

use session_core::Revision;

/// SplitMix64: small, and good enough to choose operations with.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` - 1; 0 when there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }
}

/// The seed of `SESSION_SEED`, or a new one.
pub(crate) fn seed() -> session_core::Result<u64> {
    match number("SESSION_SEED") {
        Some(seed) => Ok(seed),
        None => Revision::generate().map(Revision::as_u64),
    }
}

/// How many times longer random cases shall be: `SESSION_CASES`, at least 1.
pub(crate) fn lengthened() -> u64 {
    number("SESSION_CASES").unwrap_or(1).max(1)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.trim().parse().ok()
}
