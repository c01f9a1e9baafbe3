//! The name being locked.

use std::fmt;
use std::sync::Arc;

use super::text::write_printable;
use super::{Error, Result};

/// Names what is locked: 1 to 1024 bytes, text or not.
///
/// Two keys are the same exactly if their bytes are the same: case counts, and nothing is trimmed.
///
/// # Example
///
/// ```
/// use monban::Key;
///
/// let key = Key::join(["user-lock", "42"])?;
/// assert_eq!(key.as_bytes(), b"user-lock:42");
/// assert!(Key::join(["user-lock", ""]).is_err()); // no lock that all anonymous users share
/// # Ok::<(), monban::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The greatest length of a key, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Makes a key of text or bytes, taken as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is empty or longer than [`Key::MAX_LEN`] bytes.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(Error::invalid(
                "the key is empty; name what is to be locked",
            ));
        }
        if name.len() > Self::MAX_LEN {
            return Err(Error::invalid(format!(
                "the key has {} bytes, at most {} are allowed; hash the long part",
                name.len(),
                Self::MAX_LEN
            )));
        }
        Ok(Self(Arc::from(name)))
    }

    /// Makes a key of several parts with `:` between them.
    ///
    /// The first part is the program's own and is taken as it is. In every later part, which may come
    /// from outside, `%` and `:` become `%25` and `%3A`, so that no identifier can reach into the key of
    /// another.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no part, if any part is empty, or if the whole is too long.
    pub fn join<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut name = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            let part = part.as_ref();
            if part.is_empty() {
                return Err(Error::invalid(format!(
                    "part {} of the key is empty; every caller without it would share one lock",
                    at + 1
                )));
            }
            if at == 0 {
                name.extend_from_slice(part);
                continue;
            }
            name.push(b':');
            for &byte in part {
                match byte {
                    b':' => name.extend_from_slice(b"%3A"),
                    b'%' => name.extend_from_slice(b"%25"),
                    other => name.push(other),
                }
            }
        }
        Self::new(name)
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Shows the key for people: control and direction-changing characters and bytes that are not UTF-8 are escaped.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_printable(f, &self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;
    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&String> for Key {
    type Error = Error;
    fn try_from(name: &String) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = Error;
    fn try_from(name: &[u8]) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&Key> for Key {
    type Error = Error;
    fn try_from(key: &Key) -> Result<Self> {
        Ok(key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_oversized_key_is_refused_with_its_size() {
        assert!(Key::new("").unwrap_err().to_string().contains("empty"));
        assert!(Key::new([b'x'; 1024]).is_ok());
        let error = Key::new([b'x'; 1025]).unwrap_err().to_string();
        assert!(error.contains("1025") && error.contains("1024"), "{error}");
    }

    #[test]
    fn an_empty_part_is_refused_and_named() {
        assert!(
            Key::join(["user-lock", ""])
                .unwrap_err()
                .to_string()
                .contains("part 2")
        );
        assert!(Key::join(Vec::<&str>::new()).is_err());
    }

    #[test]
    fn parts_from_outside_cannot_reach_into_another_key() {
        let a = Key::join(["u", "1:2"]).unwrap();
        let b = Key::join(["u", "1", "2"]).unwrap();
        assert_ne!(a, b);
        assert_ne!(Key::join(["u", "1%3A2"]).unwrap(), a);
    }

    #[test]
    fn what_could_mislead_a_terminal_is_escaped() {
        let shown = Key::new("a\u{1b}[2J\n\u{202e}b").unwrap().to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\n\\u{202e}b");
        assert_eq!(Key::new([b'a', 0xff]).unwrap().to_string(), "a\\xff");
    }
}
