//! Keys as file names, and back.
//!
//! Letters, digits and `-_.:@+=` stand for themselves (but for a leading dot), every other byte is `%XX`:
//! two keys never share a name, no name leaves the directory, and for the keys that people choose the name
//! is the key, so that `flock k.lock` needs no table. A name that would be longer than [`LONGEST`] bytes
//! is cut, and carries the SHA-256 of the key behind `%~`, which no plain name contains; the key itself is
//! then written inside the file.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::data::Key;

/// The longest name that is written out; with the longest suffix it stays below the 255 of file systems.
const LONGEST: usize = 180;
/// How much of a longer one is kept for people to recognize.
const PREFIX: usize = 100;

/// The name of a key's files, without a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) base: String,
    /// Whether the key cannot be read off the name.
    pub(super) hashed: bool,
}

impl Name {
    pub(super) fn of(key: &Key) -> Self {
        let base = encode(key.as_bytes());
        if base.len() <= LONGEST {
            return Self {
                base,
                hashed: false,
            };
        }
        let mut base = base[..PREFIX].to_owned();
        base.push_str("%~");
        for byte in Sha256::digest(key.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(base, "{byte:02x}");
        }
        Self { base, hashed: true }
    }

    /// The truth: what is locked.
    pub(super) fn lock(&self) -> String {
        format!("{}.lock", self.base)
    }

    /// The directory of the line.
    pub(super) fn line(&self) -> String {
        format!("{}.line", self.base)
    }

    /// Where the record is if the lock file has content of somebody else's.
    pub(super) fn note(&self) -> String {
        format!("{}.note", self.base)
    }
}

/// What the base of a file name says about its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Key(Key),
    /// The key is written inside.
    Hashed,
    /// No key has this name.
    Nothing,
}

pub(super) fn meaning(base: &str) -> Meaning {
    if base.contains("%~") {
        return Meaning::Hashed;
    }
    match decode(base).map(Key::new) {
        Some(Ok(key)) if Name::of(&key).base == base => Meaning::Key(key),
        _ => Meaning::Nothing,
    }
}

/// Percent-encodes bytes as file names have them.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for (at, &byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.:@+=".contains(&byte);
        if plain && !(at == 0 && byte == b'.') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Undoes [`encode`]; `None` if the text cannot come from it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::fuzz;
    use proptest::prelude::*;

    fn base(key: impl AsRef<[u8]>) -> String {
        Name::of(&Key::new(key).unwrap()).base
    }

    #[test]
    fn keys_that_people_choose_are_their_own_names() {
        assert_eq!(base("main:hello-2_x.y@z+a=b"), "main:hello-2_x.y@z+a=b");
        assert_eq!(base(".."), "%2E.");
        assert_eq!(base("a/b %"), "a%2Fb%20%25");
        assert_eq!(base("\u{e9}"), "%C3%A9");
    }

    #[test]
    fn a_long_key_keeps_a_prefix_and_a_digest_and_fits_a_file_system() {
        let at_limit = base("x".repeat(LONGEST));
        assert_eq!(at_limit.len(), LONGEST);
        let a = Name::of(&Key::new("x".repeat(LONGEST + 1)).unwrap());
        let b = Name::of(&Key::new("x".repeat(LONGEST + 2)).unwrap());
        assert!(a.hashed && b.hashed && a != b);
        assert!(a.lock().len() < 255 && a.base.starts_with("xxx"));
        assert_eq!(meaning(&a.base), Meaning::Hashed);
    }

    #[test]
    fn a_name_that_no_key_has_means_nothing() {
        for odd in ["", "a b", "%2e", "%61", ".a", "%", "%4", "%ZZ"] {
            assert_eq!(meaning(odd), Meaning::Nothing, "{odd}");
        }
    }

    #[test]
    fn a_name_means_one_key_at_most_and_stays_in_its_directory() {
        fuzz(|dice| {
            let most = dice.one(&[90, 90, 90, Key::MAX_LEN]);
            let key = dice.bytes(most);
            let Ok(key) = Key::new(key) else { return };
            let name = Name::of(&key);
            assert!(!name.base.contains(['/', '\0']) && !name.base.starts_with('.'));
            assert!(name.base.len() <= LONGEST && name.lock().len() <= 255);
            let meant = meaning(&name.base);
            assert!(meant == Meaning::Key(key) || (name.hashed && meant == Meaning::Hashed));
            let other = dice.mangled(name.base.as_bytes());
            let other = String::from_utf8_lossy(&other);
            if let Meaning::Key(key) = meaning(&other) {
                assert_eq!(Name::of(&key).base, other);
            }
            let _ = decode(&other);
        });
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_key(bytes in proptest::collection::vec(any::<u8>(), 1..60)) {
            let key = Key::new(&bytes).unwrap();
            let name = Name::of(&key);
            prop_assert!(!name.base.contains('/') && !name.base.starts_with('.'));
            prop_assert_eq!(meaning(&name.base), Meaning::Key(key));
        }
    }
}
