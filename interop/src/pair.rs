//! A server, monban and another client: what every test here begins and ends with.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use monban_testkit::{RedisOptions, RedisServer, service, wait_until};

use crate::{Driver, Installed, client, install};

/// Long enough that nothing here ends by running out.
pub const TTL: u32 = 20_000;
/// The pause between two tries of a client that polls, in ms; its own would make the tests slow.
pub const RETRY: u32 = 10;

/// A server, monban beside it, and another client.
#[derive(Debug)]
pub struct Pair {
    /// The server, with nothing on it.
    pub server: RedisServer,
    /// monban, connected.
    pub monban: Driver,
    /// The other client, connected.
    pub other: Driver,
    /// monban's program and the other's, to start more of them.
    pub installed: [Installed; 2],
    /// What must stand behind monban's URL.
    pub option: &'static str,
    /// The key on which both meet.
    pub key: String,
}

/// Starts a pair; `None` if this machine lacks the server or the client's runtime and may.
///
/// `own` is the program of this package that holds the clients written in Rust.
///
/// # Panics
///
/// If the client could not be brought, or the server not be started.
#[must_use]
pub fn pair(name: &str, own: &Path) -> Option<Pair> {
    if service::skipped("redis") {
        return None;
    }
    let (ours, theirs) = (client("monban"), client(name));
    let program = install::install(ours, own).expect("monban's program");
    let own_program = program.expect("monban needs no runtime");
    let other = install::install(theirs, own).expect("the other client's program")?;
    let server = RedisServer::start(RedisOptions::new()).expect("a server");
    Some(Pair {
        monban: own_program
            .start(server.port(), theirs.option, None)
            .expect("monban"),
        other: other
            .start(server.port(), "", Some(RETRY))
            .expect("the other client"),
        installed: [own_program, other],
        option: theirs.option,
        key: format!("{}shared", theirs.prefix),
        server,
    })
}

/// Checks that only the counter of fences stays; what expires by itself soon may be there for a moment, and Redisson's
/// latches for longer.
///
/// # Panics
///
/// If something else stays.
pub fn nothing_is_left(pair: &Pair) {
    let keys = || -> io::Result<BTreeMap<String, String>> {
        let keys = pair.server.ask(&["KEYS", "*"])?;
        let others = ["monban:{fence}", "redisson_unlock_latch:"];
        let stays =
            |key: &&str| !key.is_empty() && !others.iter().any(|other| key.starts_with(other));
        let named = keys.lines().filter(stays);
        named
            .map(|key| Ok((key.to_owned(), pair.server.ask(&["TYPE", key])?)))
            .collect()
    };
    let cleared = wait_until("an empty database", Duration::from_secs(5), || {
        Ok(keys()?.is_empty())
    });
    assert!(cleared.is_ok(), "left behind: {:?}", keys());
}
