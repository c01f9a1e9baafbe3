//! What the faces are tested over: memory, files, and one server of Redis, of PostgreSQL and of etcd for all tests.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monban::contract::Store;
use monban::{Locks, block_on};

/// A store that nobody else uses, and two connections to it.
pub(crate) struct Place {
    pub(crate) one: Locks,
    pub(crate) two: Locks,
    /// Puts claims in the line that nobody renews; `None` where only a process can have a claim.
    pub(crate) store: Option<Box<dyn Store>>,
    /// For other processes, where there can be any.
    pub(crate) url: Option<String>,
    /// Keeps what the store lives in.
    _keeper: Box<dyn std::any::Any>,
}

pub(crate) fn memory() -> Place {
    let store = monban::stores::memory::MemoryStore::new(monban::testing::Clock::system());
    let open = || {
        let store = store.clone();
        Locks::builder()
            .open_local(std::sync::Arc::new(store))
            .unwrap()
    };
    Place {
        one: open(),
        two: open(),
        store: Some(Box::new(store.clone())),
        url: None,
        _keeper: Box::new(()),
    }
}

pub(crate) fn file() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}/locks", directory.path().display());
    let connect = || block_on(Locks::connect(&url)).unwrap();
    Place {
        one: connect(),
        two: connect(),
        store: None,
        url: Some(url),
        _keeper: Box::new(directory),
    }
}

#[cfg(feature = "redis")]
pub(crate) use over_redis::{redis, redis_without_pushes};

#[cfg(feature = "redis")]
mod over_redis {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use monban::stores::redis::RedisStore;
    use monban_testkit::{RedisOptions, RedisServer};

    use super::*;

    const DATABASES: &str = "400";

    /// One for all tests. It outlives them, and its guardian ends it with this process.
    fn server() -> &'static RedisServer {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            RedisServer::start(RedisOptions::new().setting("databases", DATABASES)).unwrap()
        })
    }

    /// One that knows no HELLO, as those before RESP3.
    fn old_server() -> &'static RedisServer {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap().keep();
            let file = folder.join("old.conf");
            std::fs::write(&file, "rename-command HELLO \"\"\n").unwrap();
            let options = RedisOptions::new()
                .setting("databases", DATABASES)
                .setting("include", file.to_str().unwrap());
            let server = RedisServer::start(options).unwrap();
            std::fs::remove_dir_all(folder).unwrap();
            server
        })
    }

    pub(crate) fn redis() -> Place {
        on(server())
    }

    pub(crate) fn redis_without_pushes() -> Place {
        on(old_server())
    }

    /// A database of its own.
    fn on(server: &RedisServer) -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let database = NEXT.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/{database}", server.url());
        let connect = || block_on(Locks::connect(&url)).unwrap();
        Place {
            one: connect(),
            two: connect(),
            store: Some(Box::new(RedisStore::new(&url).unwrap())),
            url: Some(url),
            _keeper: Box::new(()),
        }
    }
}

#[cfg(feature = "postgres")]
pub(crate) use over_postgres::postgres;

#[cfg(feature = "postgres")]
mod over_postgres {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use monban::stores::postgres::PostgresStore;
    use monban_testkit::{PostgresOptions, PostgresServer};

    use super::*;

    /// One for all tests. It outlives them, and its guardian ends it with this process.
    fn server() -> &'static PostgresServer {
        static SERVER: OnceLock<PostgresServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            let options = PostgresOptions::new().max_connections(200);
            PostgresServer::start(options).unwrap()
        })
    }

    /// A database of its own.
    pub(crate) fn postgres() -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let database = format!("place_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server()
            .ask(&format!("CREATE DATABASE {database}"))
            .unwrap();
        let port = server().port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/{database}");
        let connect = || block_on(Locks::connect(&url)).unwrap();
        Place {
            one: connect(),
            two: connect(),
            store: Some(Box::new(PostgresStore::new(&url).unwrap())),
            url: Some(url),
            _keeper: Box::new(()),
        }
    }
}

#[cfg(feature = "etcd")]
pub(crate) use over_etcd::etcd;

#[cfg(feature = "etcd")]
mod over_etcd {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use monban::stores::etcd::EtcdStore;
    use monban_testkit::{EtcdOptions, EtcdServer};

    use super::*;

    /// One for all tests. It outlives them, and its guardian ends it with this process.
    fn server() -> &'static EtcdServer {
        static SERVER: OnceLock<EtcdServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            // The shortest lease is as long as an election: TTLs of a second are to be ones.
            let options = EtcdOptions::new().election(500 * MS);
            EtcdServer::start(options).unwrap()
        })
    }

    /// A prefix of its own.
    pub(crate) fn etcd() -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = NEXT.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/p{prefix}", server().url());
        let connect = || block_on(Locks::connect(&url)).unwrap();
        Place {
            one: connect(),
            two: connect(),
            store: Some(Box::new(EtcdStore::new(&url).unwrap())),
            url: Some(url),
            _keeper: Box::new(()),
        }
    }
}

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || block_on(future))
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + 20_000 * MS;
    while !holds() {
        assert!(Instant::now() < patience, "this did not come about: {what}");
        thread::sleep(5 * MS);
    }
}

/// Prints what docs/faults.md records: the median of durations, and the longest.
pub(crate) fn figure(place: &Place, what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    let Some(longest) = all.last() else {
        return;
    };
    let (store, times) = (place.one.guarantees().store, all.len());
    let median = all[times / 2];
    eprintln!("figure: {store}: {what}: median {median:.1?}, longest {longest:.1?}, {times} times");
}

pub(crate) fn in_line(locks: &Locks, key: &str) -> usize {
    block_on(locks.inspect(key)).unwrap().len()
}

impl Place {
    /// Waits until no claim is left in the store, and neither connection keeps anything.
    #[track_caller]
    pub(crate) fn assert_clean(&self, what: &str) {
        eventually(&format!("{what}: nothing is left"), || {
            let residue = [self.one.residue(), self.two.residue()];
            in_line(&self.one, "") == 0 && residue == [(0, 0); 2]
        });
    }
}
