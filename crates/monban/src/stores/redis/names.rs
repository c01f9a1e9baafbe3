//! Which key of the server means what.
//!
//! The side keys of a lock stand in the cluster slot of the lock's own key. A hash tag made of the key itself would
//! not do: in `a}b` or `{}z` the server reads another tag than was meant. So there is a table of 16,384 tags, one
//! for each slot, and a side key is `monban:{<tag of the key's slot>}<which>:<key>`.
//! Source of the slot's computation: Redis cluster specification, "Key distribution model" and "Hash tags".

use std::sync::LazyLock;

use crate::data::{Error, Key, Result};

/// Every side key, and nothing else of ours, begins with this.
const SIDE: &[u8] = b"monban:{";

/// The fence counter: one for the database of one primary. (A cluster will have one for each tag in use.)
pub(super) const FENCE: &str = "monban:{fence}";

const SLOTS: usize = 16_384;
const TAG: usize = 3;

/// A tag for each slot: the first three-letter word that falls into it.
static TAGS: LazyLock<Vec<[u8; TAG]>> = LazyLock::new(|| {
    const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let mut tags = vec![[0; TAG]; SLOTS];
    for a in LETTERS {
        for b in LETTERS {
            for c in LETTERS {
                let tag = [*a, *b, *c];
                let place = &mut tags[crc16(&tag) % SLOTS];
                if place[0] == 0 {
                    *place = tag;
                }
            }
        }
    }
    tags
});

/// Which of the side keys of a lock.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// The sorted set of members by order.
    Order,
    /// The sorted set of members by expiry.
    Expiry,
}

impl Side {
    /// The name of the side key of this key.
    pub(super) fn of(self, key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(SIDE.len() + TAG + 3 + key.len());
        self.write(key, &mut name);
        name
    }

    /// Writes the name over what is in `name`.
    pub(super) fn write(self, key: &[u8], name: &mut Vec<u8>) {
        let which = match self {
            Self::Order => b'o',
            Self::Expiry => b'e',
        };
        name.clear();
        name.extend_from_slice(SIDE);
        name.extend_from_slice(&TAGS[slot(key)]);
        name.extend_from_slice(&[b'}', which, b':']);
        name.extend_from_slice(key);
    }
}

/// The key whose line an order set is; `None` if the name is not that of an order set.
pub(super) fn key_of_order(name: &[u8]) -> Option<&[u8]> {
    let key = name.strip_prefix(SIDE)?.get(TAG..)?.strip_prefix(b"}o:")?;
    (Side::Order.of(key) == name).then_some(key)
}

/// A pattern for SCAN that finds the order sets of all keys with this prefix.
pub(super) fn orders_like(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = b"monban:{???}o:".to_vec();
    escape(prefix, &mut pattern);
    pattern.push(b'*');
    pattern
}

/// A pattern for SCAN that finds all keys with this prefix.
pub(super) fn keys_like(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::new();
    escape(prefix, &mut pattern);
    pattern.push(b'*');
    pattern
}

fn escape(prefix: &[u8], pattern: &mut Vec<u8>) {
    for &byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

/// Refuses keys that could be taken for side keys.
pub(super) fn check(key: &Key) -> Result<()> {
    if key.as_bytes().starts_with(SIDE) {
        return Err(Error::invalid(format!(
            "{key} begins with \"monban:{{\", which the redis store keeps for itself; choose another key"
        )));
    }
    Ok(())
}

/// The key's slot, by its hash tag if it has one.
pub(super) fn slot(key: &[u8]) -> usize {
    let tagged = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|b| *b == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tagged.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> usize {
    let mut crc = 0u16;
    for &byte in bytes {
        crc = crc << 8 ^ CRC[usize::from((crc >> 8) ^ u16::from(byte)) & 0xff];
    }
    usize::from(crc)
}

static CRC: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn every_slot_has_a_tag_that_falls_into_it() {
        for (slot, tag) in TAGS.iter().enumerate() {
            assert_eq!(crc16(tag) % SLOTS, slot, "{tag:?}");
        }
    }

    #[test]
    fn side_keys_stand_in_the_slot_of_any_key() {
        for key in [
            "a",
            "a}b",
            "{}z",
            "{",
            "}{",
            "a{b}c",
            "x{",
            "monban:order",
            "{{}}",
            "\u{0}\u{1}{\u{2}}",
        ] {
            let (order, expiry) = (
                Side::Order.of(key.as_bytes()),
                Side::Expiry.of(key.as_bytes()),
            );
            assert_eq!(slot(&order), slot(key.as_bytes()), "{key}");
            assert_eq!(slot(&expiry), slot(key.as_bytes()), "{key}");
            assert_eq!(key_of_order(&order), Some(key.as_bytes()));
            assert_eq!(key_of_order(&expiry), None);
        }
    }

    #[test]
    fn a_key_that_could_be_a_side_key_is_refused() {
        let key = Key::new(Side::Order.of(b"a")).unwrap();
        assert!(check(&key).is_err());
        assert!(check(&Key::new(FENCE).unwrap()).is_err());
        assert!(check(&Key::new("monban:x").unwrap()).is_ok());
    }
}
