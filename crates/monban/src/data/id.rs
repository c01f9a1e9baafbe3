//! Identities of claims and of the processes that make them.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

/// Identifies the process (more exactly: one set of locks in it) that made a claim.
///
/// A store may address wake-ups to it. It is random, not the operating system's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId([u8; 8]);

impl ProcessId {
    /// Draws a new identity.
    #[must_use]
    pub fn random() -> Self {
        Self(random(std::process::id()))
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex::<16>(f, &self.0)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessId({self})")
    }
}

/// Identifies one claim, for ever: every verb may be repeated with it.
///
/// Its text (`Display`) is 48 hexadecimal digits, the first 16 being the process. Whoever knows it may
/// release the claim: show people its [`digest`](ClaimId::digest) instead, as `Debug` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimId {
    process: ProcessId,
    unique: [u8; 16],
}

impl ClaimId {
    /// Length of the text form, in bytes.
    pub const TEXT_LEN: usize = 48;

    /// Draws a new identity (128 random bits) for a claim of this process.
    #[must_use]
    pub fn random(process: ProcessId) -> Self {
        Self::random_in(process, std::process::id())
    }

    /// The same, for who knows that the operating system calls this process `pid`.
    pub(crate) fn random_in(process: ProcessId, pid: u32) -> Self {
        Self {
            process,
            unique: random(pid),
        }
    }

    /// The process that made the claim.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// The identity as bytes, the first eight being the process, for stores that keep it so.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.process.0);
        bytes[8..].copy_from_slice(&self.unique);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave; `None` if it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (process, unique) = bytes.split_at_checked(8)?;
        Some(Self {
            process: ProcessId(process.try_into().ok()?),
            unique: unique.try_into().ok()?,
        })
    }

    /// The text form, for stores that write it often.
    #[cfg(feature = "redis")]
    pub(crate) fn to_text(self) -> [u8; Self::TEXT_LEN] {
        hex(&self.to_bytes())
    }

    /// Reads the text form; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::TEXT_LEN {
            return None;
        }
        let mut bytes = [0u8; 24];
        for (at, pair) in text.as_bytes().chunks_exact(2).enumerate() {
            bytes[at] = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Self::from_bytes(&bytes)
    }

    /// Twelve hexadecimal digits by which people can name the claim without being able to release it by
    /// any other way than a command that looks it up.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(self.to_string().as_bytes())
    }
}

impl Hash for ClaimId {
    /// By its random part alone: no two claims share it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.unique));
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex::<{ Self::TEXT_LEN }>(f, &self.to_bytes())
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimId(digest {})", self.digest())
    }
}

/// The first twelve hexadecimal digits of SHA-256.
pub(crate) fn digest(of: &[u8]) -> String {
    Sha256::digest(of)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn hex<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; N];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn write_hex<const N: usize>(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str(std::str::from_utf8(&hex::<N>(bytes)).unwrap_or_default())
}

/// Lower case only: a text form has one spelling.
fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

/// Bytes of the operating system's generator, fetched 512 at a time: a claim must not cost a system call.
fn random<const N: usize>(process: u32) -> [u8; N] {
    thread_local! {
        static POOL: RefCell<(u32, usize, [u8; 512])> = const { RefCell::new((0, 512, [0; 512])) };
    }
    POOL.with_borrow_mut(|(filled_by, used, pool)| {
        // A forked child has a copy of the pool, and must not draw from it what its parent draws.
        if *used + N > pool.len() || *filled_by != process {
            getrandom::fill(pool).expect("the operating system gives random bytes");
            *used = 0;
            *filled_by = process;
        }
        let mut out = [0; N];
        let part = &mut pool[*used..*used + N];
        out.copy_from_slice(part);
        part.fill(0); // what was given out is not kept
        *used += N;
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back_as_it_was() {
        let id = ClaimId::random(ProcessId::random());
        let text = id.to_string();
        assert_eq!(text.len(), ClaimId::TEXT_LEN);
        assert!(text.starts_with(&id.process().to_string()));
        assert_eq!(ClaimId::parse(&text), Some(id));
        assert_eq!(ClaimId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(ClaimId::parse(&text[1..]), None);
        assert_eq!(
            ClaimId::parse(&text.to_uppercase().replace(char::is_numeric, "A")),
            None
        );
    }

    #[test]
    fn identities_do_not_repeat() {
        let process = ProcessId::random();
        let ids: std::collections::HashSet<_> =
            (0..10_000).map(|_| ClaimId::random(process)).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn debug_output_does_not_let_anybody_release_the_claim() {
        let id = ClaimId::random(ProcessId::random());
        assert!(!format!("{id:?}").contains(&id.to_string()[16..]));
    }
}
