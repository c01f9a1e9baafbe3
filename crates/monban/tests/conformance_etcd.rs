//! The etcd store passes the conformance suite on a real server.

#![cfg(all(feature = "etcd", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use monban::Result;
use monban::conformance::{Subject, Time, Wakes, cases};
use monban::contract::Store;
use monban::stores::etcd::EtcdStore;
use monban_testkit::{EtcdOptions, EtcdServer};

/// A prefix on a server that all tests share.
struct Prefix {
    server: &'static EtcdServer,
    number: u32,
}

impl Prefix {
    fn new() -> Self {
        static SERVER: OnceLock<EtcdServer> = OnceLock::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| {
            // The shortest lease is as long as an election: TTLs of a second are to be ones.
            let options = EtcdOptions::new().election(Duration::from_millis(500));
            EtcdServer::start(options).unwrap()
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { server, number }
    }
}

#[async_trait]
impl Subject for Prefix {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        let url = format!("{}/p{}?timeout=20s", self.server.url(), self.number);
        Ok(Arc::new(EtcdStore::new(&url)?))
    }

    fn time(&self) -> Time {
        Time::Real {
            unit: Duration::from_secs(1),
            // A lease is a second longer than its claims, and etcd ends it within another.
            slack: Duration::from_millis(3_000),
        }
    }

    async fn residue(&self) -> Vec<String> {
        let prefix = format!("p{}/", self.number);
        let keys = self
            .server
            .ask(&["get", "--prefix", "--keys-only", &prefix]);
        let keys = keys.unwrap();
        keys.lines()
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn wakes(&self) -> Wakes {
        Wakes::Next
    }
}

/// Cases that are played at the same time: they wait for whole seconds most of the time.
const ABREAST: usize = 10;

#[test]
fn the_etcd_store_keeps_the_contract() {
    let waiting = Mutex::new(cases().iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap().next();
                while let Some(case) = next() {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    let outcome = runtime.block_on(case.run(&Prefix::new()));
                    println!("{outcome}");
                    if outcome.failure().is_some() {
                        failed.lock().unwrap().push(outcome.to_string());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
