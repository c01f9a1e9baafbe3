//! What these tests share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy, Grant, Release, Renewal, Store, Wake};
use monban::data::{Claim, ClaimId, IfBusy, Leave, Mode, ProcessId};
use monban::stores::etcd::EtcdStore;
use monban::{Claimant, Error, Key, Result};
use monban_testkit::{EtcdOptions, EtcdServer};

/// Longer than anything here takes on a busy machine, and shorter than the TTL that would hide a lost wake.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_secs(120);

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(240), test)
            .await
            .expect("the test ends")
    });
}

/// A server that tests share which do it no harm; each has a prefix of its own.
pub(crate) fn shared() -> &'static EtcdServer {
    static SERVER: OnceLock<EtcdServer> = OnceLock::new();
    SERVER.get_or_init(server)
}

pub(crate) fn server() -> EtcdServer {
    EtcdServer::start(EtcdOptions::new().election(Duration::from_millis(500))).unwrap()
}

/// A store and the claims of one process.
pub(crate) struct Client {
    pub(crate) store: EtcdStore,
    process: ProcessId,
}

impl Client {
    pub(crate) async fn at(url: &str) -> Self {
        let store = EtcdStore::new(url).unwrap();
        store.open().await.unwrap();
        Self {
            store,
            process: ProcessId::random(),
        }
    }

    pub(crate) fn claim(&self, key: &str, mode: Mode) -> Claim {
        Claim {
            key: Key::new(key).unwrap(),
            id: ClaimId::random(self.process),
            mode,
            ttl: TTL,
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("host", 7, "test"),
        }
    }

    pub(crate) fn exclusive(&self, key: &str) -> Claim {
        self.claim(key, Mode::Exclusive)
    }

    pub(crate) async fn ask(&self, claim: &Claim) -> Result<Attempt> {
        let answers = self.store.attempt(std::slice::from_ref(claim)).await;
        answers.into_iter().next().unwrap()
    }

    pub(crate) async fn takes(&self, claim: &Claim) -> Grant {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => grant,
            Attempt::Busy(busy) => panic!("busy: {busy:?}"),
        }
    }

    pub(crate) async fn waits(&self, claim: &Claim) -> Busy {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => panic!("granted: {grant:?}"),
            Attempt::Busy(busy) => busy,
        }
    }

    pub(crate) async fn tries_renewal(&self, claim: &Claim) -> Result<Renewal> {
        let answers = self.store.renew(std::slice::from_ref(claim)).await;
        answers.into_iter().next().unwrap()
    }

    pub(crate) async fn renews(&self, claim: &Claim) -> Renewal {
        self.tries_renewal(claim).await.unwrap()
    }

    pub(crate) async fn tries_release(&self, claim: &Claim) -> Result<Release> {
        let leave = Leave {
            claim: claim.clone(),
            linger: None,
        };
        let answers = self.store.release(&[leave]).await;
        answers.into_iter().next().unwrap()
    }

    pub(crate) async fn releases(&self, claim: &Claim) -> Release {
        self.tries_release(claim).await.unwrap()
    }

    /// Asks, and asks again when woken, until granted; gives up after a while.
    pub(crate) async fn comes_in(&self, claim: &Claim) -> Grant {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(Attempt::Granted(grant)) => return grant,
                Ok(Attempt::Busy(busy)) => {
                    let _ = tokio::time::timeout(SOON, busy.changed.unwrap()).await;
                }
                Err(error) if error.is_transient() => pause(20).await,
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < SOON * 2, "not granted");
        }
    }

    /// Repeats a release whose outcome is not known.
    pub(crate) async fn is_rid_of(&self, claim: &Claim) {
        let start = Instant::now();
        while let Err(error) = self.tries_release(claim).await {
            assert!(error.is_transient(), "{error}");
            assert!(start.elapsed() < SOON * 2, "{error}");
        }
    }
}

pub(crate) fn leave(mut claim: Claim) -> Claim {
    claim.if_busy = IfBusy::Leave;
    claim
}

pub(crate) fn lasting(mut claim: Claim, ttl: Duration) -> Claim {
    claim.ttl = ttl;
    claim
}

/// The wake comes.
pub(crate) async fn woken(wake: Wake) {
    tokio::time::timeout(SOON, wake)
        .await
        .expect("a wake comes");
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
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

/// The leases that there are, in hexadecimal.
pub(crate) fn leases(server: &EtcdServer) -> Vec<String> {
    let said = server.ask(&["lease", "list"]).unwrap();
    said.lines().skip(1).map(str::to_owned).collect()
}

/// It is unavailable for now.
pub(crate) fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Unavailable { .. }))
}
