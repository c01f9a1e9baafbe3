//! The standard library's hash, in a form that the compiler inlines.
//!
//! The standard `RandomState` is SipHash-1-3 as well, but its `write` is too large to be inlined wherever it is
//! used twice, and hashing a short string calls it twice: that alone cost a third of a lock and unlock. A faster
//! but weaker hash would let whoever chooses the keys make them collide.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). That it is the same hash is tested
//! against the standard library.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Hashes with SipHash-1-3 under random keys: no one can choose colliding keys from outside.
#[derive(Clone)]
pub struct SipState {
    keys: [u64; 2],
}

impl SipState {
    pub(super) fn with_keys(keys: [u64; 2]) -> Self {
        Self { keys }
    }
}

impl Default for SipState {
    /// Draws new random keys.
    fn default() -> Self {
        let random = RandomState::new();
        Self::with_keys([random.hash_one(0_u64), random.hash_one(1_u64)])
    }
}

impl fmt::Debug for SipState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows the keys can make keys collide.
        f.debug_struct("SipState").finish_non_exhaustive()
    }
}

impl BuildHasher for SipState {
    type Hasher = SipHasher;

    #[inline]
    fn build_hasher(&self) -> SipHasher {
        let [k0, k1] = self.keys;
        SipHasher {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
            tail: 0,
            length: 0,
        }
    }
}

/// The hasher of a [`SipState`].
#[derive(Clone, Debug)]
pub struct SipHasher {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    /// The bytes since the last full word, lowest first; the others are zero.
    tail: u64,
    /// All bytes so far. Its lowest three bits say how many are in the tail.
    length: u64,
}

impl SipHasher {
    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// Appends the lowest `bytes` (1 to 8) bytes of a word whose others are zero.
    #[inline]
    fn append(&mut self, word: u64, bytes: u64) {
        let in_tail = self.length & 7;
        self.length = self.length.wrapping_add(bytes);
        self.tail |= word << (8 * in_tail);
        if in_tail + bytes < 8 {
            return;
        }
        self.word(self.tail);
        // In two steps: a shift by all 64 bits does not exist.
        self.tail = word >> 8 >> (56 - 8 * in_tail);
    }
}

impl Hasher for SipHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((word, after)) = rest.split_first_chunk() {
            self.append(u64::from_le_bytes(*word), 8);
            rest = after;
        }
        if !rest.is_empty() {
            let mut last = 0;
            let mut length = 0;
            for byte in rest {
                last |= u64::from(*byte) << (8 * length);
                length += 1;
            }
            self.append(last, length);
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.append(u64::from(byte), 1);
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.append(u64::from(word), 2);
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.append(u64::from(word), 4);
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.append(word, 8);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let mut end = self.clone();
        end.word(self.tail | self.length << 56);
        end.v2 ^= 0xff;
        end.round();
        end.round();
        end.round();
        end.v0 ^ end.v1 ^ end.v2 ^ end.v3
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

    use proptest::prelude::*;

    use super::SipState;

    proptest! {
        /// The standard hasher's keys are zero when it is made by itself.
        #[test]
        fn it_is_the_hash_of_the_standard_library(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            number in any::<u64>(),
            small in any::<u8>(),
            name in ".{0,40}",
        ) {
            let mut ours = SipState::with_keys([0, 0]).build_hasher();
            let mut theirs = DefaultHasher::new();
            for part in &parts {
                ours.write(part);
                theirs.write(part);
            }
            (number, small, &name, number, 7_u16, 9_u32).hash(&mut ours);
            (number, small, &name, number, 7_u16, 9_u32).hash(&mut theirs);
            prop_assert_eq!(ours.finish(), theirs.finish());
        }
    }

    #[test]
    fn every_state_hashes_its_own_way() {
        let hash = || SipState::default().hash_one("a");
        assert_ne!(hash(), hash());
    }
}
