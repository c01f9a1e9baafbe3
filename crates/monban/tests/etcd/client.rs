//! What these tests share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use monban::contract::{Store, Wake};
use monban::data::Claim;
use monban::stores::etcd::EtcdStore;
use monban::{Error, Result};
use monban_testkit::{EtcdOptions, EtcdServer};

use crate::caller::{Caller, refused_by, run_within, woken_within};
pub(crate) use crate::caller::{leave, pause};

/// Longer than anything here takes on a busy machine, and shorter than the TTL that would hide a lost wake.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_secs(120);

pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(Duration::from_secs(240), test);
}

/// As [`run`], where it takes as long as it takes.
pub(crate) fn drive<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// A server that tests share which do it no harm; each has a prefix of its own.
pub(crate) fn shared() -> &'static EtcdServer {
    static SERVER: OnceLock<EtcdServer> = OnceLock::new();
    SERVER.get_or_init(server)
}

pub(crate) fn server() -> EtcdServer {
    EtcdServer::start(EtcdOptions::new().election(Duration::from_millis(500))).unwrap()
}

pub(crate) type Client = Caller<EtcdStore>;

impl Client {
    pub(crate) async fn at(url: &str) -> Self {
        let store = EtcdStore::new(url).unwrap();
        store.open().await.unwrap();
        Self::new(store, (TTL, SOON, SOON * 2))
    }

    /// As [`at`](Self::at), one that waits for as long as it takes.
    pub(crate) async fn patient(url: &str) -> Self {
        let store = EtcdStore::new(url).unwrap();
        store.open().await.unwrap();
        Self::new(store, (TTL, SOON, SOON * 20))
    }
}

pub(crate) async fn refused(url: &str) -> Error {
    refused_by(EtcdStore::new(url).unwrap()).await
}

pub(crate) fn lasting(mut claim: Claim, ttl: Duration) -> Claim {
    claim.ttl = ttl;
    claim
}

/// The wake comes.
pub(crate) async fn woken(wake: Wake) {
    woken_within(SOON, wake).await;
}

/// The keys below a prefix.
pub(crate) fn keys(server: &EtcdServer, prefix: &str) -> Vec<String> {
    let keys = server
        .ask(&["get", "--prefix", "--keys-only", prefix])
        .unwrap();
    let keys = keys.lines().filter(|key| !key.is_empty());
    keys.map(str::to_owned).collect()
}

/// Waits until nothing is below a prefix.
pub(crate) async fn nothing_is_left(server: &EtcdServer, prefix: &str) {
    let start = Instant::now();
    while !keys(server, prefix).is_empty() {
        let left = keys(server, prefix);
        assert!(start.elapsed() < SOON, "left behind: {left:?}");
        pause(50).await;
    }
}

/// How far the store is.
pub(crate) fn revision(server: &EtcdServer) -> i64 {
    let said = server.ask(&["get", "x", "--write-out=fields"]).unwrap();
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("\"Revision\" : "));
    line.unwrap().parse().unwrap()
}

/// The leases that there are, in hexadecimal.
pub(crate) fn leases(server: &EtcdServer) -> Vec<String> {
    let said = server.ask(&["lease", "list"]).unwrap();
    said.lines().skip(1).map(str::to_owned).collect()
}

/// It is unavailable for now.
pub(crate) fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Unavailable { .. }))
}
