//! The keyed mutex beside its peers: the same scenarios for all, in one run.

pub mod counts;
pub mod peers;
pub mod report;
pub mod scenarios;

/// Starts every sequence of random keys: the same in every run.
pub const SEED: u64 = 0x6d6f_6e62_616e;

/// So many different keys of 16 bytes.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("customer:{n:07}")).collect()
}

/// Numbers that look random (xorshift64*): the same for every peer.
pub struct Dice(u64);

impl Dice {
    /// Starts a sequence of its own for every `lane`.
    pub fn new(lane: u64) -> Self {
        Self(SEED ^ (lane + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Throws a number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let thrown = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(thrown).unwrap_or(0) % sides
    }
}
