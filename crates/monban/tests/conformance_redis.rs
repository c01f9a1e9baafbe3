//! The Redis store passes the conformance suite on a real server: with pushes, without them, and as a user who may do
//! no more than is documented.

#![cfg(all(feature = "redis", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use monban::Result;
use monban::conformance::{Subject, Time, Wakes};
use monban::contract::Store;
use monban::stores::redis::RedisStore;
use monban_testkit::{RedisOptions, RedisServer};

/// A database of a server that all tests of this file share.
struct Database {
    server: &'static RedisServer,
    user: &'static str,
    number: u32,
    wakes: Wakes,
}

const DATABASES: &str = "400";

impl Database {
    fn new(server: &'static RedisServer, user: &'static str, wakes: Wakes) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            server,
            user,
            number,
            wakes,
        }
    }

    fn with_pushes() -> Self {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let options = RedisOptions::new().setting("databases", DATABASES);
        let server = SERVER.get_or_init(|| RedisServer::start(options).unwrap());
        Self::new(server, "", Wakes::Next)
    }

    /// As a server before RESP3, or a proxy that does not know it.
    fn without_pushes() -> Self {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| RedisServer::start(common::without_resp3()).unwrap());
        Self::new(server, "", Wakes::Any)
    }

    /// As the user of the documentation, who may do nothing but what a lock needs.
    fn with_least_permissions() -> Self {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            let options = RedisOptions::new().setting("databases", DATABASES);
            let server = RedisServer::start(options).unwrap();
            common::least_permissions(&server, "~*");
            server
        });
        Self::new(server, "monban:least@", Wakes::Next)
    }

    fn keys(&self) -> Vec<String> {
        let script = "redis.call('SELECT', ARGV[1]) return redis.call('KEYS', '*')";
        let number = self.number.to_string();
        let keys = self.server.ask(&["EVAL", script, "0", &number]).unwrap();
        keys.lines().map(str::to_owned).collect()
    }
}

#[async_trait]
impl Subject for Database {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        let (user, port, number) = (self.user, self.server.port(), self.number);
        let url = format!("redis://{user}127.0.0.1:{port}/{number}");
        Ok(Arc::new(RedisStore::new(&url)?))
    }

    fn time(&self) -> Time {
        Time::Real {
            unit: Duration::from_millis(500),
            slack: Duration::from_millis(500),
        }
    }

    async fn residue(&self) -> Vec<String> {
        let mut keys = self.keys();
        keys.retain(|key| key != "monban:{fence}");
        keys
    }

    fn wakes(&self) -> Wakes {
        self.wakes
    }
}

fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(case);
}

mod with_pushes {
    use super::{Database, run};

    monban::conformance_tests! { subject: Database::with_pushes(), run: run }
}

mod without_pushes {
    use super::{Database, run};

    monban::conformance_tests! { subject: Database::without_pushes(), run: run }
}

mod with_least_permissions {
    use super::{Database, run};

    monban::conformance_tests! { subject: Database::with_least_permissions(), run: run }
}
