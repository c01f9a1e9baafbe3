//! Reads what stands at a key and in its line.

use std::time::Duration;

use redis::Value;

use crate::data::{ClaimId, Claimant, Fence, Mode};

/// Every value of monban's at a key begins with this.
pub(super) const MARK: &[u8] = b"mb1";

/// What is at a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum At {
    /// An exclusive holder. `since` is in µs of the server's clock: the fence, which is that time unless the clock
    /// went back.
    Held {
        id: ClaimId,
        fence: Fence,
        claimant: Option<Claimant>,
        since: i64,
    },
    /// A claim that was released and keeps its place.
    Lingering {
        id: ClaimId,
        fence: Fence,
        claimant: Option<Claimant>,
        since: i64,
    },
    /// Shares or permits hold; who, stands in the line.
    Marker { capacity: u32, used: u64 },
    /// Something of a program that is not monban, or of a later version of it.
    Foreign,
}

impl At {
    pub(super) fn read(value: &[u8]) -> Self {
        std::str::from_utf8(value)
            .ok()
            .and_then(Self::ours)
            .unwrap_or(Self::Foreign)
    }

    fn ours(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let mut parts = rest.split(':');
        match kind {
            "mb1x" | "mb1l" => {
                let id = ClaimId::parse(parts.next()?)?;
                let fence = Fence::new(parts.next()?.parse().ok()?)?;
                let lingers = kind == "mb1l";
                let since = if lingers {
                    parts.next()?.parse().ok()?
                } else {
                    fence.as_i64()
                };
                let claimant = parts.next().and_then(Claimant::parse);
                Some(if lingers {
                    Self::Lingering {
                        id,
                        fence,
                        claimant,
                        since,
                    }
                } else {
                    Self::Held {
                        id,
                        fence,
                        claimant,
                        since,
                    }
                })
            }
            "mb1m" => Some(Self::Marker {
                capacity: parts.next()?.parse().ok()?,
                used: parts.next()?.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// A member of a line: `<claim id>:<kind>:<n>:<of>:<claimant>`.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ClaimId,
    pub(super) mode: Mode,
    pub(super) claimant: Option<Claimant>,
}

impl Member {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.splitn(5, ':');
        let id = ClaimId::parse(parts.next()?)?;
        let kind = parts.next()?;
        let (n, of) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mode = match kind {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            "p" => Mode::Permits { n, of },
            _ => return None,
        };
        Some(Self {
            id,
            mode,
            claimant: parts.next().and_then(Claimant::parse),
        })
    }
}

pub(super) fn int(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        _ => None,
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// A duration of so many µs; zero if the clock went back.
pub(super) fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ProcessId;

    #[test]
    fn what_is_not_ours_to_the_last_byte_is_foreign() {
        let id = ClaimId::random(ProcessId::random());
        let held = format!("mb1x:{id}:17:host/4/label");
        assert!(matches!(
            At::read(held.as_bytes()),
            At::Held { since: 17, .. }
        ));
        let lingering = format!("mb1l:{id}:17:18:host/4/");
        assert!(matches!(
            At::read(lingering.as_bytes()),
            At::Lingering { since: 18, .. }
        ));
        let marker = At::Marker {
            capacity: 3,
            used: 2,
        };
        assert_eq!(At::read(b"mb1m:3:2"), marker);
        for foreign in [
            "",
            "x",
            "mb1x:",
            "mb2x:1",
            "mb1m:3",
            &held[1..],
            &format!("mb1x:{id}"),
        ] {
            assert_eq!(At::read(foreign.as_bytes()), At::Foreign, "{foreign}");
        }
        assert_eq!(At::read(&[0xff, 0]), At::Foreign);
    }
}
