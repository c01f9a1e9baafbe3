//! The PostgreSQL store passes the conformance suite on a real server: in a session of its own, behind a pooler that lends
//! sessions for a transaction, and as a user who may do no more than is documented.

#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use monban::Result;
use monban::conformance::{Case, Subject, Time, Wakes, cases};
use monban::contract::Store;
use monban::stores::postgres::PostgresStore;
use monban_testkit::{PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer};

/// A database of a server that all tests share.
struct Database {
    url: String,
    name: String,
    wakes: Wakes,
}

fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    // What is on the disk matters to other tests.
    SERVER.get_or_init(|| {
        PostgresServer::start(
            PostgresOptions::new()
                .setting("fsync", "off")
                .max_connections(300),
        )
        .unwrap()
    })
}

fn pooler() -> &'static PgBouncer {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    POOLER.get_or_init(|| {
        let options = PgBouncerOptions::new().setting("default_pool_size", "4");
        PgBouncer::start(server(), &options).unwrap()
    })
}

/// The same URL with another database.
fn in_database(url: &str, name: &str) -> String {
    let (front, _) = url.rsplit_once('/').unwrap();
    format!("{front}/{name}?timeout=10s")
}

impl Database {
    fn new(url: &str, wakes: Wakes) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server().ask(&format!("CREATE DATABASE {name}")).unwrap();
        Self {
            url: in_database(url, &name),
            name,
            wakes,
        }
    }

    fn of_its_own() -> Self {
        Self::new(&server().url(), Wakes::Next)
    }

    fn behind_a_pooler() -> Self {
        Self::new(&pooler().url(), Wakes::Any)
    }

    fn ask(&self, sql: &str) -> String {
        server()
            .ask(&format!("\\connect {}\n{sql}", self.name))
            .unwrap()
    }

    /// As a role that may do nothing but what the documentation grants, in a schema that an administrator has made.
    fn with_least_permissions() -> Self {
        static ROLE: OnceLock<()> = OnceLock::new();
        ROLE.get_or_init(|| drop(server().ask("CREATE ROLE app LOGIN").unwrap()));
        let database = Self::new(&server().url_of("app", None), Wakes::Next);
        database.ask(PostgresStore::SCHEMA);
        let documentation = include_str!("../src/stores/postgres/mod.rs");
        let lines = documentation
            .lines()
            .map(|line| line.trim_start_matches("//! "));
        let grants: Vec<&str> = lines.filter(|line| line.starts_with("GRANT ")).collect();
        assert_eq!(grants.len(), 3, "{grants:?}");
        database.ask(&grants.join("\n"));
        database
    }
}

#[async_trait]
impl Subject for Database {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(PostgresStore::new(&self.url)?))
    }

    fn time(&self) -> Time {
        Time::Real {
            unit: Duration::from_millis(500),
            slack: Duration::from_millis(1_000),
        }
    }

    async fn residue(&self) -> Vec<String> {
        // Of heads that nobody holds the fence is kept, until they are swept.
        let left = self.ask(
            "SELECT 'claim ' || encode(key, 'escape') FROM monban.claim WHERE expires > monban.now() UNION ALL \
             SELECT 'head ' || encode(key, 'escape') FROM monban.head WHERE holder IS NOT NULL AND expires > monban.now()",
        );
        left.lines().map(str::to_owned).collect()
    }

    fn wakes(&self) -> Wakes {
        self.wakes
    }
}

/// Cases that are played at the same time: they wait most of the time.
const ABREAST: usize = 4;

fn play(subject: fn() -> Database) {
    let waiting = Mutex::new(cases().iter());
    let failed = Mutex::new(Vec::new());
    let play = |case: &Case| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let outcome = runtime.block_on(case.run(&subject()));
        println!("{outcome}");
        if outcome.failure().is_some() {
            failed.lock().unwrap().push(outcome.to_string());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap().next();
                while let Some(case) = next() {
                    play(case);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_postgres_store_keeps_the_contract() {
    play(Database::of_its_own);
}

#[test]
fn behind_a_pooler_it_keeps_the_contract() {
    play(Database::behind_a_pooler);
}

#[test]
fn with_the_least_permissions_it_keeps_the_contract() {
    play(Database::with_least_permissions);
}
