//! A schema that several make, and functions of several versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monban::Error;
use monban::contract::{Renewal, Store};
use monban::stores::postgres::PostgresStore;
use monban_testkit::PostgresServer;

use crate::client::{Client, nothing_is_left, refused, run, server};

/// Gives the functions another version, and makes one of them tell that it is not ours.
fn become_version(server: &PostgresServer, version: i32) {
    let functions = format!(
        "CREATE OR REPLACE FUNCTION monban.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT {version}'; \
         CREATE OR REPLACE FUNCTION monban.sweep(most integer) RETURNS integer LANGUAGE sql AS 'SELECT -7'"
    );
    server.ask(&functions).unwrap();
}

fn versions(server: &PostgresServer) -> String {
    let asked = "SELECT monban.version() || CASE WHEN prosrc = 'SELECT -7' THEN ' not ours' ELSE ' ours' END \
        FROM pg_proc WHERE oid = 'monban.sweep(integer)'::regprocedure";
    server.ask(asked).unwrap()
}

async fn works(client: &Client) {
    let (held, waits) = (client.exclusive("works"), client.exclusive("works"));
    client.comes_in(&held).await;
    client.waits(&waits).await;
    assert_eq!(client.renews(&held).await, Renewal::Kept);
    client.releases(&held).await;
    client.comes_in(&waits).await;
    client.releases(&waits).await;
}

#[test]
fn sixteen_that_open_an_empty_database_together_make_its_schema_once() {
    run(async {
        let server = server();
        let opening: Vec<_> = (0..16)
            .map(|_| {
                let url = server.url();
                tokio::spawn(async move {
                    let client = Client::at(&url).await;
                    works(&client).await;
                })
            })
            .collect();
        for opened in opening {
            opened.await.unwrap();
        }
        // What is made again, or replaced, has the number of a later transaction.
        let makers = "SELECT count(DISTINCT made.xmin::text) FROM (
            SELECT p.xmin FROM pg_proc AS p WHERE pronamespace = 'monban'::regnamespace
            UNION ALL SELECT n.xmin FROM pg_namespace AS n WHERE nspname = 'monban') AS made";
        assert_eq!(server.ask(makers).unwrap(), "1");
        nothing_is_left(&server, "").await;
    });
}

/// Of those who find at once that the reserve is to be raised, one raises it.
#[test]
fn who_comes_second_to_raise_the_reserve_finds_it_raised() {
    run(async {
        let server = server();
        Client::at(&server.url()).await;
        let raise = "SELECT count(monban.prepare(30000000)) FROM generate_series(1, 1); SELECT ctid FROM monban.reserve";
        let first = server.ask(raise).unwrap();
        assert_eq!(server.ask(raise).unwrap(), first);
        let more = raise.replace("30000000", "59000000");
        assert_ne!(server.ask(&more).unwrap(), first);
    });
}

#[test]
fn functions_of_an_earlier_version_are_replaced_and_later_ones_are_left() {
    run(async {
        let server = server();
        let first = Client::at(&server.url()).await;
        let ours = versions(&server);
        assert!(ours.ends_with(" ours"), "{ours}");
        become_version(&server, 0);
        let second = Client::at(&server.url()).await;
        assert_eq!(versions(&server), ours);
        become_version(&server, 99);
        let third = Client::at(&server.url()).await;
        PostgresStore::new(&server.url())
            .unwrap()
            .apply_schema()
            .unwrap();
        assert_eq!(versions(&server), "99 not ours");
        // Nor does what `monban schema` printed change them.
        let error = server.ask(PostgresStore::SCHEMA).unwrap_err().to_string();
        assert!(error.contains("version 99"), "{error}");
        assert_eq!(versions(&server), "99 not ours");
        for client in [&first, &second, &third] {
            works(client).await;
        }
        // One of before there were versions.
        server.ask("DROP FUNCTION monban.version()").unwrap();
        let fourth = Client::at(&server.url()).await;
        assert_eq!(versions(&server), ours);
        works(&fourth).await;
        nothing_is_left(&server, "").await;
    });
}

/// While others take keys and keep them.
#[test]
fn functions_are_replaced_under_those_who_use_them() {
    run(async {
        let server = server();
        let stop = Arc::new(AtomicBool::new(false));
        let working: Vec<_> = (0..3)
            .map(|_| {
                let (url, stop) = (server.url(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let client = Client::at(&url).await;
                    let mut turns = 0;
                    while !stop.load(Ordering::SeqCst) {
                        let claim = client.exclusive("busy");
                        client.comes_in(&claim).await;
                        assert_eq!(client.keeps(&claim).await, Renewal::Kept);
                        client.is_rid_of(&claim).await;
                        turns += 1;
                    }
                    turns
                })
            })
            .collect();
        Client::at(&server.url()).await;
        for _ in 0..10 {
            become_version(&server, 0);
            works_alone(&Client::at(&server.url()).await).await;
            assert!(versions(&server).ends_with(" ours"));
        }
        stop.store(true, Ordering::SeqCst);
        for worker in working {
            let turns: u32 = worker.await.unwrap();
            assert!(turns > 0);
        }
        nothing_is_left(&server, "").await;
    });
}

async fn works_alone(client: &Client) {
    let claim = client.exclusive("alone");
    client.takes(&claim).await;
    client.releases(&claim).await;
}

/// Whoever may not replace functions that do not suffice is told what an administrator is to do.
#[test]
fn a_role_that_may_not_replace_what_is_too_old_is_told_so() {
    run(async {
        let server = server();
        Client::at(&server.url()).await;
        let grants = "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA monban TO app; \
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA monban TO app";
        server.ask(grants).unwrap();
        let url = server.url_of("app", None);
        works(&Client::at(&url).await).await;
        become_version(&server, 99);
        works(&Client::at(&url).await).await;
        become_version(&server, 0);
        let error = refused(&url).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("monban schema"), "{error}");
        PostgresStore::new(&server.url())
            .unwrap()
            .apply_schema()
            .unwrap();
        let client = Client::at(&url).await;
        works(&client).await;
        client.store.inspect(b"").await.unwrap();
    });
}
