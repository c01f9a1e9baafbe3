//! What these tests share.

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use monban::contract::{Store, Wake};
use monban::data::Claim;
use monban::stores::postgres::PostgresStore;
use monban::{Error, Locks, Mutex, Options, Result};
use monban_testkit::{PostgresOptions, PostgresServer, service};
use tokio_postgres::NoTls;

use crate::caller::{Caller, refused_by, run_within, woken_within};
pub(crate) use crate::caller::{leave, pause};

/// Longer than anything here takes on a busy machine, and shorter than the TTL that would hide a lost wake.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// Runs a test that needs a server, unless servers are to be left out.
pub(crate) fn run(test: impl Future<Output = ()>) {
    if !service::skipped("postgres") {
        run_within(Duration::from_secs(240), test);
    }
}

/// A server that tests share which do it no harm; each has keys of its own.
pub(crate) fn shared() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(server)
}

pub(crate) fn server() -> PostgresServer {
    PostgresServer::start(PostgresOptions::new()).unwrap()
}

pub(crate) type Client = Caller<PostgresStore>;

impl Client {
    pub(crate) async fn at(url: &str) -> Self {
        Self::try_at(url).await.unwrap()
    }

    pub(crate) async fn try_at(url: &str) -> Result<Self> {
        let store = PostgresStore::new(url)?;
        store.open().await?;
        Ok(Self::new(store, (TTL, SOON, SOON * 2)))
    }

    /// Asks, and asks again while it is not known what became of it; it is to be busy.
    pub(crate) async fn goes_on_waiting(&self, claim: &Claim) -> monban::contract::Busy {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(monban::contract::Attempt::Busy(busy)) => return busy,
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
            }
            pause(20).await;
        }
    }
}

pub(crate) async fn refused(url: &str) -> Error {
    refused_by(PostgresStore::new(url).unwrap()).await
}

pub(crate) fn lasting(mut claim: Claim, ttl: Duration) -> Claim {
    claim.ttl = ttl;
    claim
}

/// The wake comes.
pub(crate) async fn woken(wake: Wake) {
    woken_within(SOON, wake).await;
}

/// A mutex of one key, for claims that live so long. Its session may be ended while it is made.
pub(crate) async fn mutex(url: &str, key: &str, ttl: Duration) -> Mutex {
    let start = Instant::now();
    let locks = loop {
        match Locks::connect(url).await {
            Ok(locks) => break locks,
            Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
        }
        pause(20).await;
    };
    locks
        .mutex(key)
        .unwrap()
        .with(Options::new().ttl(ttl))
        .unwrap()
}

/// It is unavailable for now.
pub(crate) fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Unavailable { .. }))
}

/// The claims of keys that begin so: whoever holds, waits or lingers.
pub(crate) fn claims(server: &PostgresServer, prefix: &str) -> Vec<String> {
    let rows = server
        .ask(&format!(
            "SELECT 'holds ' || encode(key, 'escape') FROM monban.head
               WHERE (holder IS NOT NULL OR crowd) AND position('{prefix}'::bytea in key) = 1
             UNION ALL SELECT 'in line ' || encode(key, 'escape') FROM monban.claim WHERE position('{prefix}'::bytea in key) = 1
             UNION ALL SELECT 'lingers ' || encode(key, 'escape') FROM monban.linger WHERE position('{prefix}'::bytea in key) = 1"
        ))
        .unwrap();
    rows.lines().map(str::to_owned).collect()
}

/// Waits until nobody holds or waits for a key that begins so.
pub(crate) async fn nothing_is_left(server: &PostgresServer, prefix: &str) {
    let start = Instant::now();
    loop {
        let left = claims(server, prefix);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < SOON, "left behind: {left:?}");
        pause(50).await;
    }
}

/// Ends every session of a client; how many there were.
pub(crate) fn end_sessions(server: &PostgresServer) -> usize {
    let ended = server
        .ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .unwrap();
    ended.parse().unwrap()
}

/// A session of a user's program, which knows nothing of monban but its function.
pub(crate) async fn session(url: &str) -> tokio_postgres::Client {
    try_session(url).await.unwrap()
}

/// As [`session`], if the server has room for one.
pub(crate) async fn try_session(url: &str) -> Option<tokio_postgres::Client> {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let address = (Ipv4Addr::LOCALHOST, config.get_ports()[0]);
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = config.connect_raw(stream, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}
