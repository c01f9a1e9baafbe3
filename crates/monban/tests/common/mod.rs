//! What the tests of the Redis store share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod proxy;

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy, Grant, Release, Renewal, Store, Wake};
use monban::data::{Claim, ClaimId, IfBusy, Leave, Mode, ProcessId};
use monban::stores::redis::RedisStore;
use monban::{Claimant, Error, Fence, Key};
use monban_testkit::{RedisOptions, RedisServer};

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
    if keys == "~*" {
        words.retain(|word| *word != "~monban:*"); // it is among them
    }
    for word in &mut words {
        *word = match *word {
            ">password" => ">least",
            "~app:*" => keys,
            other => other,
        };
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LONG * 2, test)
            .await
            .expect("the test ends")
    });
}

pub(crate) fn server() -> RedisServer {
    RedisServer::start(RedisOptions::new()).unwrap()
}

pub(crate) async fn open(url: &str) -> RedisStore {
    let store = RedisStore::new(url).unwrap();
    store.open().await.unwrap();
    store
}

/// A store and the claims of one process.
pub(crate) struct Client {
    pub(crate) store: RedisStore,
    process: ProcessId,
}

impl Client {
    pub(crate) async fn of(server: &RedisServer) -> Self {
        Self::at(&server.url()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        Self {
            store: open(url).await,
            process: ProcessId::random(),
        }
    }

    pub(crate) fn claim(&self, key: &str, mode: Mode) -> Claim {
        Claim {
            key: Key::new(key).unwrap(),
            id: ClaimId::random(self.process),
            mode,
            ttl: Duration::from_secs(30),
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("host", 7, "test"),
        }
    }

    pub(crate) fn exclusive(&self, key: &str) -> Claim {
        self.claim(key, Mode::Exclusive)
    }

    pub(crate) async fn ask(&self, claim: &Claim) -> Result<Attempt, Error> {
        self.store
            .attempt(std::slice::from_ref(claim))
            .await
            .pop()
            .unwrap()
    }

    pub(crate) async fn takes(&self, claim: &Claim) -> Grant {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => grant,
            Attempt::Busy(busy) => panic!("busy: {busy:?}"),
        }
    }

    pub(crate) async fn fence(&self, claim: &Claim) -> Fence {
        self.takes(claim).await.fence.unwrap()
    }

    pub(crate) async fn waits(&self, claim: &Claim) -> Busy {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => panic!("granted: {grant:?}"),
            Attempt::Busy(busy) => busy,
        }
    }

    pub(crate) async fn renews(&self, claim: &Claim) -> Renewal {
        self.store
            .renew(std::slice::from_ref(claim))
            .await
            .pop()
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn releases(&self, claim: &Claim) -> Release {
        self.tries_release(claim).await.unwrap()
    }

    pub(crate) async fn tries_release(&self, claim: &Claim) -> Result<Release, Error> {
        let leave = Leave {
            claim: claim.clone(),
            linger: None,
        };
        self.store.release(&[leave]).await.pop().unwrap()
    }

    /// Asks, and asks again when woken or when the time has come, until granted; gives up after a while.
    pub(crate) async fn comes_in(&self, claim: &Claim) -> Grant {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(Attempt::Granted(grant)) => return grant,
                Ok(Attempt::Busy(busy)) => {
                    let free_in = busy.free_in.unwrap_or(SOON);
                    let _ = tokio::time::timeout(free_in, busy.changed.unwrap()).await;
                }
                Err(error) if error.is_transient() => {}
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < SOON * 4, "not granted");
        }
    }

    /// Sees to it that the next claim is one command on a connection that stands.
    pub(crate) async fn warms_up(&self) {
        let warm = self.exclusive("warm");
        self.comes_in(&warm).await;
        self.is_rid_of(&warm).await;
    }

    /// Repeats a release whose outcome is not known.
    pub(crate) async fn is_rid_of(&self, claim: &Claim) {
        let start = Instant::now();
        while let Err(error) = self.tries_release(claim).await {
            assert!(error.is_transient(), "{error}");
            assert!(start.elapsed() < SOON * 4, "{error}");
        }
    }
}

pub(crate) fn leave(mut claim: Claim) -> Claim {
    claim.if_busy = IfBusy::Leave;
    claim
}

pub(crate) fn lasting(mut claim: Claim, millis: u64) -> Claim {
    claim.ttl = Duration::from_millis(millis);
    claim
}

/// The wake comes soon; how soon.
pub(crate) async fn woken(wake: Wake) {
    tokio::time::timeout(SOON, wake)
        .await
        .expect("a wake comes");
}

/// The wake does not come within so many ms.
pub(crate) async fn sleeps_on(wake: &mut Wake, millis: u64) {
    let early = tokio::time::timeout(Duration::from_millis(millis), wake).await;
    assert!(early.is_err(), "woken for nothing");
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
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
