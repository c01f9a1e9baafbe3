//! The scripts, each a file of its own, put together when the program is built.

use std::sync::LazyLock;

use redis::{Cmd, cmd};

/// A script and the hash that the server knows it by.
pub(super) struct Script {
    code: &'static str,
    hashed: redis::Script,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            hashed: redis::Script::new(code),
        }
    }

    pub(super) fn hash(&self) -> &str {
        self.hashed.get_hash()
    }

    /// The command that makes the server know it.
    pub(super) fn load(&self) -> Cmd {
        cmd("SCRIPT").arg("LOAD").arg(self.code).to_owned()
    }
}

macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!($file), "\n"),+)))
    };
}

pub(super) static ATTEMPT: LazyLock<Script> =
    script!("attempt_plain.lua", "line.lua", "attempt.lua");
pub(super) static RELEASE: LazyLock<Script> =
    script!("release_plain.lua", "line.lua", "release.lua");
pub(super) static HELD: LazyLock<Script> = script!("beginnings.lua", "held.lua");
pub(super) static RENEW: LazyLock<Script> = script!("renew.lua");
pub(super) static EVICT: LazyLock<Script> = script!("line.lua", "evict.lua");
pub(super) static INSPECT: LazyLock<Script> = script!("inspect.lua");
pub(super) static LOOK: LazyLock<Script> = script!("beginnings.lua", "look.lua");
pub(super) static SIGNAL: LazyLock<Script> = script!("signal.lua");

/// All scripts, to be loaded when a connection is made.
pub(super) fn all() -> [&'static Script; 8] {
    [
        &ATTEMPT, &RELEASE, &HELD, &RENEW, &EVICT, &INSPECT, &LOOK, &SIGNAL,
    ]
}
