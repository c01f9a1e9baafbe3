//! Where a claim is in etcd's space of keys.
//!
//! A key's line is what stands directly below `prefix key /`, as etcd's own `concurrency` package has it: whatever has
//! the lower create revision is ahead, and its mutex waits until nothing is.
//!
//! | name below `prefix key /` | what |
//! |---|---|
//! | 48 hexadecimal digits | an exclusive claim, by its id |
//! | `~s` and the id | a share |
//! | `~p`, `of` and `n` in 8 hexadecimal digits each, and the id | `n` of `of` permits |
//! | anything else with no slash in it | a foreign claim: Go's mutex and `etcdctl lock` take the lease in hexadecimal |
//!
//! The name says the mode, so that one comparison of a transaction can say whether a range of names is empty: that is
//! how shares and permits are kept apart.

use crate::data::{Claim, ClaimId, Key, Mode};

/// `prefix key /`: what all claims of a key begin with.
pub(super) fn line(prefix: &[u8], key: &Key) -> Vec<u8> {
    [prefix, key.as_bytes(), b"/"].concat()
}

/// Where a claim is.
pub(super) fn place(prefix: &[u8], claim: &Claim) -> Vec<u8> {
    place_of(prefix, &claim.key, claim.mode, &claim.id)
}

pub(super) fn place_of(prefix: &[u8], key: &Key, mode: Mode, id: &ClaimId) -> Vec<u8> {
    let mut place = line(prefix, key);
    let name = match mode {
        Mode::Exclusive => id.to_string(),
        Mode::Shared => format!("~s{id}"),
        Mode::Permits { n, of } => format!("~p{of:08x}{n:08x}{id}"),
    };
    place.extend_from_slice(name.as_bytes());
    place
}

/// The end of the range of all that begin so; empty: there is no end.
pub(super) fn end(start: &[u8]) -> Vec<u8> {
    let mut end = start.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Ranges below a line that must be empty for a claim of this mode to join: those of other capacities.
pub(super) fn apart(line: &[u8], mode: Mode) -> Vec<(Vec<u8>, Vec<u8>)> {
    let below = |name: &str| [line, name.as_bytes()].concat();
    let shares = (below("~s"), below("~t"));
    match mode {
        Mode::Exclusive => Vec::new(),
        Mode::Shared => vec![(below("~p"), below("~q"))],
        Mode::Permits { of, .. } => vec![
            shares,
            (below("~p"), below(&format!("~p{of:08x}"))),
            (below(&format!("~p{:08x}", of + 1)), below("~q")),
        ],
    }
}

/// The names of permits of a line.
pub(super) fn permits(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([line, b"~p"].concat(), [line, b"~q"].concat())
}

/// Reads the last part of a name; `None` if no claim of ours is called so.
pub(super) fn read(name: &[u8]) -> Option<(Mode, ClaimId)> {
    let name = std::str::from_utf8(name).ok()?;
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let (mode, id) = if let Some(id) = name.strip_prefix("~s") {
        (Mode::Shared, id)
    } else if let Some(rest) = name.strip_prefix("~p") {
        let (of, n) = (number(rest.get(..8)?)?, number(rest.get(8..16)?)?);
        (Mode::Permits { n, of }, rest.get(16..)?)
    } else {
        (Mode::Exclusive, name)
    };
    mode.check().ok()?;
    Some((mode, ClaimId::parse(id)?))
}

/// Parts a name in the whole space into the key's bytes and the last part.
pub(super) fn part<'a>(prefix: &[u8], name: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = name.strip_prefix(prefix)?;
    let slash = rest.iter().rposition(|byte| *byte == b'/')?;
    Some((&rest[..slash], &rest[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ProcessId;

    #[test]
    fn a_name_says_whose_it_is_and_how_it_claims() {
        let id = ClaimId::random(ProcessId::random());
        let key = Key::new("a/b").unwrap();
        for mode in [
            Mode::Exclusive,
            Mode::Shared,
            Mode::Permits { n: 2, of: 3 },
            Mode::Permits {
                n: 1,
                of: Mode::MAX_PERMITS,
            },
        ] {
            let place = place_of(b"app/", &key, mode, &id);
            let (name, last) = part(b"app/", &place).unwrap();
            assert_eq!(name, b"a/b");
            assert_eq!(read(last), Some((mode, id)));
        }
        for foreign in ["694d8b1", "", "~s", "~p00000000", "~p0000000200000003", "x"] {
            assert_eq!(
                read(format!("{foreign}{}", &id.to_string()[1..]).as_bytes()),
                None
            );
            assert_eq!(read(foreign.as_bytes()), None);
        }
        assert_eq!(read(&[0xff]), None);
    }

    #[test]
    fn every_claim_is_in_the_range_of_its_line_and_of_no_mode_but_its_own() {
        let id = ClaimId::random(ProcessId::random());
        let key = Key::new("k").unwrap();
        let line = line(b"", &key);
        let modes = [
            Mode::Shared,
            Mode::Permits { n: 1, of: 1 },
            Mode::Permits { n: 1, of: 2 },
            Mode::Permits { n: 2, of: 2 },
            Mode::Permits { n: 1, of: 3 },
        ];
        for asked in modes {
            for there in modes {
                let place = place_of(b"", &key, there, &id);
                assert!(line < place && place < end(&line));
                let inside = |(from, to): &(Vec<u8>, Vec<u8>)| *from <= place && place < *to;
                let clash = apart(&line, asked).iter().any(inside);
                assert_eq!(
                    clash,
                    asked.capacity() != there.capacity(),
                    "{asked:?} {there:?}"
                );
            }
            let exclusive = place_of(b"", &key, Mode::Exclusive, &id);
            let inside = |(from, to): &(Vec<u8>, Vec<u8>)| *from <= exclusive && exclusive < *to;
            assert!(!apart(&line, asked).iter().any(inside));
        }
    }

    #[test]
    fn the_end_of_a_range_is_behind_all_that_begin_so() {
        assert_eq!(end(b"a/"), b"a0");
        assert_eq!(end(b"a\xff"), b"b");
        assert_eq!(end(b"\xff"), b"");
        assert_eq!(end(b""), b"");
    }
}
