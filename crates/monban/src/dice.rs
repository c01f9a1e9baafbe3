//! Chance for tests, the same for the same seed: dice, and bytes that nobody wrote on purpose.

use std::env;
use std::time::Duration;

/// SplitMix64: the same numbers on every machine.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// Whether something happens that happens so often in a hundred.
    pub(crate) fn percent(&mut self, often: usize) -> bool {
        self.below(100) < often
    }

    pub(crate) fn millis(&mut self, most: usize) -> Duration {
        Duration::from_millis(self.below(most + 1) as u64)
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Any bytes, so many at most; every second time mostly those that mean something somewhere.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        let meaning = self.percent(50);
        (0..length).map(|_| self.byte(meaning)).collect()
    }

    fn byte(&mut self, meaning: bool) -> u8 {
        if meaning && self.percent(80) {
            self.one(b"%:/.-_ \n\0{}@?#&=+~0123456789abcdefxsplLHWmonbanMB\xc3\xa9")
        } else {
            self.next().to_le_bytes()[0]
        }
    }

    /// Some bytes that may be a number where one is read.
    fn number(&mut self) -> &'static [u8] {
        self.one(&[
            b"0" as &[u8],
            b"-1",
            b"00",
            b"+1",
            b"18446744073709551615",
            b"18446744073709551616",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"4294967296",
        ])
    }

    /// What is left of something good after an accident or a few: bytes changed, lost, doubled, cut off, put in.
    pub(crate) fn mangled(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(8)).min(bytes.len());
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at.min(end)..end)),
                2 => {
                    let twice = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, twice);
                }
                3 => {
                    let more = self.bytes(6);
                    bytes.splice(at..at, more);
                }
                4 => {
                    let number = self.number();
                    bytes.splice(at.min(end)..end, number.iter().copied());
                }
                5 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = self.byte(true),
                _ => {}
            }
        }
        bytes
    }
}

/// Cases of an ordinary run.
const CASES: u64 = 8_000;

/// Says which seed it was if the test fails meanwhile.
pub(crate) struct Failing(pub(crate) u64);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with MONBAN_FUZZ_SEED={}", self.0);
        }
    }
}

/// Does this with the dice of many seeds: `MONBAN_FUZZ_CASES=n` of them, or only that of `MONBAN_FUZZ_SEED=n`.
pub(crate) fn fuzz(mut case: impl FnMut(&mut Dice)) {
    let seeds = match number("MONBAN_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MONBAN_FUZZ_CASES").unwrap_or(CASES),
    };
    for seed in seeds {
        let failing = Failing(seed);
        case(&mut Dice::new(seed));
        drop(failing);
    }
}

/// The number that a variable names, if it is set.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}
