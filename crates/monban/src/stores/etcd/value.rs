//! What stands at the name of a claim: `mb1:<state>:<ms>:<claimant>`.
//!
//! The 1 is the version: what cannot be read excludes as a foreign claim does.

use std::time::Duration;

use crate::data::Claimant;

/// What a claim says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) state: State,
    /// The TTL that it was asked with, or how long it lingers.
    pub(super) lives: Duration,
    pub(super) claimant: Option<Claimant>,
}

/// Waiting and holding are one state: the line says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InLine,
    /// It holds permits, and sits on this number.
    Seated(u32),
    /// It was released and keeps its place.
    Lingering,
}

impl Value {
    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            State::InLine => "i".to_owned(),
            State::Seated(seat) => format!("s{seat}"),
            State::Lingering => "l".to_owned(),
        };
        let who = self
            .claimant
            .as_ref()
            .map_or_else(String::new, Claimant::encode);
        format!("mb1:{state}:{}:{who}", self.lives.as_millis()).into_bytes()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(4, ':');
        if parts.next()? != "mb1" {
            return None;
        }
        let state = match parts.next()? {
            "i" => State::InLine,
            "l" => State::Lingering,
            seat => State::Seated(seat.strip_prefix('s')?.parse().ok()?),
        };
        Some(Self {
            state,
            lives: Duration::from_millis(parts.next()?.parse().ok()?),
            claimant: Claimant::parse(parts.next()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        for state in [State::InLine, State::Seated(7), State::Lingering] {
            let value = Value {
                state,
                lives: Duration::from_millis(1_500),
                claimant: Some(Claimant::new("h:1", 4, "a:b")),
            };
            assert_eq!(Value::read(&value.encode()), Some(value));
        }
        for foreign in [
            &b""[..],
            b"x",
            b"mb2:i:1:",
            b"mb1:i",
            b"mb1:sx:1:",
            b"mb1:i:x:",
            b"\xff",
        ] {
            assert_eq!(Value::read(foreign), None);
        }
    }
}
