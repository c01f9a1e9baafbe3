//! Roles that may add to the schema `public`, as everybody may before PostgreSQL 15, and what they would have others call.

use std::time::Duration;

use monban::Error;
use monban::contract::{Renewal, Store};
use monban::data::Mode;
use monban::stores::postgres::PostgresStore;
use monban_testkit::PostgresServer;

use crate::client::{Client, nothing_is_left, refused, run, server, session};
use crate::pooler::pooled;

const HOSTILE: &str = include_str!("hostile.sql");
const LIFE: &str = include_str!("life.sql");

/// What a client does, one way or another.
async fn lives(client: &Client) {
    let modes = [Mode::Exclusive, Mode::Shared, Mode::Permits { n: 1, of: 3 }];
    for mode in modes {
        let (held, waiter) = (client.claim("k", mode), client.exclusive("k"));
        client.comes_in(&held).await;
        client.waits(&waiter).await;
        assert_eq!(client.renews(&held).await, Renewal::Kept);
        assert_eq!(client.store.inspect(b"k").await.unwrap().len(), 2);
        client.releases(&held).await;
        client.comes_in(&waiter).await;
        client.releases(&waiter).await;
    }
}

#[test]
fn what_strangers_have_in_public_is_called_by_nobody() {
    run(async {
        let server = server();
        server.ask(HOSTILE).unwrap();
        let client = Client::at(&server.url()).await; // and is not called when the schema is made
        // Sessions of our own do not look there at all.
        let path = "CREATE OR REPLACE FUNCTION monban.opens_in() RETURNS bigint LANGUAGE sql AS \
            $$ SELECT CASE pg_catalog.current_setting('search_path') WHEN 'pg_catalog, pg_temp' THEN 7000000 ELSE 0 END::bigint $$";
        server.ask(path).unwrap();
        let said = client.store.recovers_in().await.unwrap();
        assert_eq!(said, Some(Duration::from_secs(7)));
        // Those of others do, and of the functions none calls what is there.
        server.ask(PostgresStore::SCHEMA).unwrap();
        server.ask(LIFE).unwrap();
        let emptied = "TRUNCATE monban.lasting, monban.linger, monban.head, monban.claim; UPDATE monban.epoch SET opens = 0";
        server.ask(emptied).unwrap();
        lives(&client).await;
        let held = client.exclusive("barred");
        let fence = client.fence(&held).await.as_i64();
        let checks = format!("BEGIN; SELECT monban.fence_check('barred', {fence})");
        let user = session(&server.url()).await;
        user.batch_execute(&checks).await.unwrap();
        let by = server
            .ask("SELECT by FROM monban.barred('', NULL)")
            .unwrap();
        assert!(by.starts_with("session "), "{by}");
        user.batch_execute("COMMIT").await.unwrap();
        client.releases(&held).await;
        nothing_is_left(&server, "").await;
    });
}

/// There no session of ours is set to anything.
#[test]
fn what_strangers_have_in_public_is_called_by_nobody_behind_a_pooler() {
    pooled(async |server, pooler| {
        server.ask(HOSTILE).unwrap();
        lives(&Client::at(&pooler.url()).await).await;
        nothing_is_left(&server, "").await;
    });
}

/// A check that accepts every fence, under the short name.
fn accepts_all(server: &PostgresServer, parameters: &str) {
    let made = format!(
        "SET ROLE stranger; CREATE FUNCTION public.monban_fence_check({parameters}) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    );
    server.ask(&made).unwrap();
}

#[test]
fn a_stranger_s_check_of_fences_is_refused_by_who_applies_the_schema_and_stops_nobody_else() {
    run(async {
        // The second is called for a fence that is a small number, though monban's is there too.
        for parameters in ["text, bigint", "text, integer"] {
            let server = server();
            server
                .ask("CREATE ROLE stranger; GRANT CREATE ON SCHEMA public TO PUBLIC")
                .unwrap();
            accepts_all(&server, parameters);
            let apply = || PostgresStore::new(&server.url()).unwrap().apply_schema();
            let named = format!("public.monban_fence_check({})", parameters.replace(' ', ""));
            // Neither applied, nor printed and run, nor made on demand.
            let printed = server.ask(PostgresStore::SCHEMA).unwrap_err().to_string();
            for error in [apply().unwrap_err(), refused(&server.url()).await] {
                assert!(matches!(error, Error::Rejected { .. }), "{error}");
                for said in [error.to_string(), printed.clone()] {
                    for part in [&*named, "of the role stranger", "DROP FUNCTION"] {
                        assert!(said.contains(part), "{said}");
                    }
                }
            }
            let made = "SELECT pg_catalog.to_regnamespace('monban') IS NOT NULL";
            assert_eq!(server.ask(made).unwrap(), "f");
            let remove = format!("DROP FUNCTION {named}");
            server.ask(&remove).unwrap();
            apply().unwrap();
            // One that comes later stops nobody whose database is in use, nor the replacement of functions; but who applies it hears so.
            server
                .ask("DROP FUNCTION public.monban_fence_check(text, bigint)")
                .unwrap();
            accepts_all(&server, parameters);
            lives(&Client::at(&server.url()).await).await;
            let earlier = "CREATE OR REPLACE FUNCTION monban.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 0'";
            server.ask(earlier).unwrap();
            lives(&Client::at(&server.url()).await).await;
            assert_eq!(server.ask("SELECT monban.version()").unwrap(), "1");
            let error = apply().unwrap_err().to_string();
            assert!(error.contains(&named), "{error}");
            server.ask(&remove).unwrap();
            apply().unwrap();
        }
    });
}

/// As `SCHEMA` says of the right to check fences: it is granted, and nobody has it before.
#[test]
fn rights_to_whatever_is_made_do_not_make_the_check_of_fences_everybodys() {
    run(async {
        let server = server();
        server
            .ask(
                "CREATE ROLE app LOGIN; CREATE ROLE writer; \
                 ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app",
            )
            .unwrap();
        Client::at(&server.url()).await;
        let may = |role: &str| {
            let asked = format!(
                "SELECT has_function_privilege('{role}', 'monban.fence_check(bytea, bigint)', 'EXECUTE')"
            );
            server.ask(&asked).unwrap()
        };
        assert_eq!(
            (may("writer"), may("app")),
            ("f".to_owned(), "t".to_owned())
        );
    });
}
