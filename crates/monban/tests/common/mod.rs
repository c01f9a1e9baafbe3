//! What the tests of the Redis store share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod caller;
pub(crate) mod overtaken;
pub(crate) mod proxy;

use std::time::Duration;

use monban::Error;
use monban::contract::{Store, Wake};
use monban::data::Claim;
use monban::stores::redis::RedisStore;
use monban_testkit::{RedisOptions, RedisServer};

use caller::{Caller, refused_by, run_within, woken_within};
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use caller::{leave, pause};

/// Longer than anything here takes on a busy machine, and much shorter than the TTLs that would hide a lost wake.
pub(crate) const SOON: Duration = Duration::from_secs(5);
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The permissions that the store's documentation names.
pub(crate) fn least_permissions(server: &RedisServer, keys: &str) {
    let documentation = include_str!("../../src/stores/redis/mod.rs");
    let mut lines = documentation
        .lines()
        .map(|line| line.trim_start_matches("//! "));
    let mut words: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in lines.by_ref() {
        inside |= line.starts_with("ACL SETUSER");
        if inside && line.starts_with("```") {
            break;
        }
        if inside {
            words.extend(line.split_whitespace());
        }
    }
    assert!(words.len() > 40, "{words:?}");
    let sides = format!("~monban:{{???}}[oe]:{}", &keys[1..]);
    for word in &mut words {
        *word = match *word {
            ">password" => ">least",
            "~app:*" => keys,
            "~monban:{???}[oe]:app:*" => &sides,
            other => other,
        };
    }
    if keys == "~*" {
        words.retain(|word| !word.starts_with("~monban:")); // they are among them
    }
    server.ask(&words).unwrap();
}

/// A server that knows no HELLO, as those before RESP3.
pub(crate) fn without_resp3() -> RedisOptions {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "rename-command HELLO \"\"\n").unwrap();
    let (_, path) = file.keep().unwrap();
    RedisOptions::new()
        .setting("databases", "400")
        .setting("include", path.to_str().unwrap())
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(LONG * 2, test);
}

pub(crate) fn server() -> RedisServer {
    RedisServer::start(RedisOptions::new()).unwrap()
}

pub(crate) async fn open(url: &str) -> RedisStore {
    let store = RedisStore::new(url).unwrap();
    store.open().await.unwrap();
    store
}

pub(crate) type Client = Caller<RedisStore>;

impl Client {
    pub(crate) async fn of(server: &RedisServer) -> Self {
        Self::at(&server.url()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        Self::new(open(url).await, (Duration::from_secs(30), SOON, SOON * 4))
    }
}

pub(crate) async fn refused(url: &str) -> Error {
    refused_by(RedisStore::new(url).unwrap()).await
}

pub(crate) fn lasting(mut claim: Claim, millis: u64) -> Claim {
    claim.ttl = Duration::from_millis(millis);
    claim
}

/// The wake comes soon; how soon.
pub(crate) async fn woken(wake: Wake) {
    woken_within(SOON, wake).await;
}

/// The wake does not come within so many ms.
pub(crate) async fn sleeps_on(wake: &mut Wake, millis: u64) {
    let early = tokio::time::timeout(Duration::from_millis(millis), wake).await;
    assert!(early.is_err(), "woken for nothing");
}

/// What is in the database beside the fence counter.
pub(crate) fn leftovers(server: &RedisServer) -> Vec<String> {
    let keys = server.ask(&["KEYS", "*"]).unwrap();
    keys.lines()
        .filter(|key| *key != "monban:{fence}")
        .map(str::to_owned)
        .collect()
}

/// How many commands clients have sent, those inside scripts and our own questions not counted.
pub(crate) fn commands(server: &RedisServer) -> u64 {
    let info = server.ask(&["INFO", "commandstats"]).unwrap();
    let calls = |name: &str| -> u64 {
        let head = format!("cmdstat_{name}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&head));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    [
        "evalsha",
        "client|caching",
        "ping",
        "subscribe",
        "script|load",
    ]
    .map(calls)
    .iter()
    .sum()
}
