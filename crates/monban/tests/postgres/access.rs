//! Being let in, and being told why not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use monban::Error;
use monban::contract::{Release, Renewal, Store};
use monban_testkit::{PostgresOptions, PostgresServer, free_port};

use crate::client::{
    Client, SOON, end_sessions, nothing_is_left, pause, refused, run, server, try_session, woken,
};

#[test]
fn the_way_in_is_explained_where_it_is_barred() {
    run(async {
        let options = PostgresOptions::new().password("sentinel-right");
        let server = PostgresServer::start(options).unwrap();
        Client::at(&server.url()).await;
        for (user, password, says) in [
            (
                "postgres",
                Some("sentinel-wrong"),
                "does not let this user in",
            ),
            (
                "nobody",
                Some("sentinel-right"),
                "does not let this user in",
            ),
            ("postgres", None, "password"),
        ] {
            let error = refused(&server.url_of(user, password)).await;
            assert!(matches!(error, Error::Rejected { .. }), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let elsewhere = format!("{}x", server.url());
        let error = refused(&elsewhere).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("postgresx"), "{error}");

        let error = refused(&format!(
            "postgres://postgres@127.0.0.1:{}/postgres",
            free_port().unwrap()
        ))
        .await;
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("refuses connections"), "{error}");
        let error = refused("postgres://postgres@no-such-host.invalid/postgres").await;
        assert!(error.is_transient(), "{error}");
        assert!(
            error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );
    });
}

#[test]
fn what_is_no_postgres_is_recognized() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let _ = client.read(&mut [0; 100]);
                let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
        });
        let error = refused(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).await;
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    });
}

#[test]
fn a_server_that_can_only_be_read_is_refused() {
    run(async {
        let primary = server();
        Client::at(&primary.url()).await; // the tables are there
        let standby = primary.standby().unwrap();
        let error = refused(&standby.url()).await;
        assert!(error.to_string().contains("standby"), "{error}");

        // As an operator does before a fail-over.
        let client = Client::at(&primary.url()).await;
        let read_only = "ALTER DATABASE postgres SET default_transaction_read_only = on";
        primary.ask(read_only).unwrap();
        let error = refused(&primary.url()).await;
        assert!(error.to_string().contains("read-only"), "{error}");
        end_sessions(&primary);
        let claim = client.exclusive("k");
        let start = Instant::now();
        loop {
            let error = client.ask(&claim).await.unwrap_err();
            if error.to_string().contains("read-only") {
                break;
            }
            assert!(error.is_transient() && start.elapsed() < SOON, "{error}");
        }
        primary
            .ask("SET default_transaction_read_only = off; ALTER DATABASE postgres RESET default_transaction_read_only")
            .unwrap();
        end_sessions(&primary);
        client.comes_in(&claim).await;
        client.is_rid_of(&claim).await;
    });
}

/// What an administrator may have set for the database, or for the user, for other programs.
#[test]
fn settings_of_the_database_change_nothing() {
    run(async {
        let server = server();
        // PostgreSQL 13 has no time limit for sessions that do nothing.
        let known = "SELECT count(*) FROM pg_settings WHERE name = 'idle_session_timeout'";
        let idle = match server.ask(known).unwrap().as_str() {
            "1" => "idle_session_timeout = '300ms'",
            _ => "statement_timeout = '10s'",
        };
        for settings in [
            idle,
            "default_transaction_isolation = 'serializable'",
            "default_transaction_isolation = 'repeatable read'",
            "search_path = ''",
            "bytea_output = 'escape'",
            "client_encoding = 'LATIN1'",
            "standard_conforming_strings = off",
            "DateStyle = 'German'; ALTER DATABASE postgres SET TimeZone = 'Asia/Kathmandu'",
            "synchronous_commit = off; ALTER DATABASE postgres SET default_tablespace = ''",
            "idle_in_transaction_session_timeout = '100ms'",
            "plan_cache_mode = 'force_custom_plan'; ALTER DATABASE postgres SET jit_above_cost = 0",
            "row_security = off; ALTER DATABASE postgres SET enable_indexscan = off",
            "extra_float_digits = -15; ALTER DATABASE postgres SET lc_messages = 'C'",
        ] {
            // Some of them are set before the tables are made.
            server
                .ask(&format!("ALTER DATABASE postgres SET {settings}"))
                .unwrap();
            let (a, b) = (
                Client::at(&server.url()).await,
                Client::at(&server.url()).await,
            );
            let (held, waiter) = (a.exclusive("set \u{e9}'"), b.exclusive("set \u{e9}'"));
            let grant = a.comes_in(&held).await;
            b.goes_on_waiting(&waiter).await;
            pause(400).await;
            assert_eq!(a.keeps(&held).await, Renewal::Kept, "{settings}");
            let changed = b.goes_on_waiting(&waiter).await.changed.unwrap();
            a.is_rid_of(&held).await;
            woken(changed).await;
            assert!(b.comes_in(&waiter).await.fence > grant.fence, "{settings}");
            b.is_rid_of(&waiter).await;
            server.ask("ALTER DATABASE postgres RESET ALL").unwrap();
        }
        nothing_is_left(&server, "set").await;
    });
}

/// As hardened databases have it, for all or for one role: nothing is looked for but where its name says.
#[test]
fn an_empty_database_without_a_search_path_gets_the_schema_and_the_check_of_fences() {
    run(async {
        for hardened in [
            "ALTER ROLE postgres SET search_path = ''",
            "ALTER DATABASE postgres SET search_path = ''",
            "DROP SCHEMA public",
            "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ] {
            let server = server();
            server.ask(hardened).unwrap();
            let app = hardened.contains("app");
            let url = server.url_of(if app { "app" } else { "postgres" }, None);
            let client = Client::at(&url).await;
            let claim = client.exclusive("k");
            let fence = client.fence(&claim).await.as_i64();
            let user = crate::client::session(&url).await;
            for checked in ["'k'", "'k'::bytea"] {
                let check = format!("SELECT monban.fence_check({checked}, {fence})");
                user.batch_execute(&check).await.unwrap();
            }
            // And by the short name wherever that can be.
            let short = format!("SELECT public.monban_fence_check('k', {fence})");
            let there = user.batch_execute(&short).await.is_ok();
            assert_eq!(there, hardened.starts_with("ALTER"), "{hardened}");
            client.releases(&claim).await;
            nothing_is_left(&server, "").await;
        }
    });
}

#[test]
fn a_server_whose_connections_are_used_up_is_unavailable_until_one_is_free() {
    run(async {
        let server = PostgresServer::start(PostgresOptions::new().max_connections(10)).unwrap();
        server.ask("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT CREATE ON SCHEMA public TO app").unwrap();
        let url = server.url_of("app", None);
        let client = Client::at(&url).await;
        client.warms_up().await;
        let mut others = Vec::new();
        while let Some(other) = try_session(&url).await {
            others.push(other);
            assert!(others.len() < 10);
        }
        let error = refused(&url).await;
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("connections"), "{error}");
        // Who is in stays in.
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        assert_eq!(client.renews(&claim).await, Renewal::Kept);
        client.releases(&claim).await;
        drop(others);
        let start = Instant::now();
        loop {
            let store = monban::stores::postgres::PostgresStore::new(&url).unwrap();
            match store.open().await {
                Ok(_) => break,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            assert!(start.elapsed() < SOON);
        }
    });
}

/// The rights that the store's documentation names, for the role `app`.
fn least_rights(server: &PostgresServer) {
    let documentation = include_str!("../../src/stores/postgres/mod.rs");
    let lines = documentation
        .lines()
        .map(|line| line.trim_start_matches("//!").trim());
    let grants: Vec<&str> = lines.filter(|line| line.starts_with("GRANT ")).collect();
    assert!(grants.len() > 1, "{grants:?}");
    server
        .ask(&format!("CREATE ROLE app LOGIN; {}", grants.join(" ")))
        .unwrap();
}

/// The tables are an administrator's, made before; the role may use them and nothing more.
#[test]
fn a_role_with_the_documented_rights_can_do_all_that_locks_need_and_no_more() {
    run(async {
        let server = server();
        Client::at(&server.url()).await; // makes the tables
        least_rights(&server);
        let url = server.url_of("app", None);
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (first, second) = (a.exclusive("k"), b.exclusive("k"));
        a.takes(&first).await;
        let changed = b.waits(&second).await.changed.unwrap();
        assert_eq!(a.renews(&first).await, Renewal::Kept);
        let shown = b.store.inspect(b"k").await.unwrap();
        assert_eq!(shown.len(), 2);
        assert_eq!(b.store.evict(&shown[0]).await.unwrap(), Release::Done);
        assert_eq!(a.renews(&first).await, Renewal::Lost);
        woken(changed).await;
        b.comes_in(&second).await;
        b.releases(&second).await;
        nothing_is_left(&server, "").await;
        let user = crate::client::session(&url).await;
        for forbidden in ["DROP TABLE monban.head", "CREATE TABLE monban.mine (v int)"] {
            assert!(user.batch_execute(forbidden).await.is_err(), "{forbidden}");
        }
    });
}

#[test]
fn a_role_without_rights_is_told_what_it_lacks() {
    run(async {
        let server = server();
        server.ask("CREATE ROLE bare LOGIN").unwrap();
        let url = server.url_of("bare", None);
        // Neither may it make the tables, nor, when they are there, use them.
        let error = refused(&url).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("monban schema"), "{error}");
        Client::at(&server.url()).await;
        let error = refused(&url).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("may not"), "{error}");
    });
}

#[test]
fn tls_is_verified() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate =
            |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (good, other) = (certificate("localhost"), certificate("localhost"));
        let good_file = file("good.pem", &good.cert.pem());
        let key_file = file("good.key", &good.signing_key.serialize_pem());
        let other_file = file("other.pem", &other.cert.pem());
        let other_key = file("other.key", &other.signing_key.serialize_pem());
        let (ca, key) = (good_file.display(), key_file.display());

        // A password as well: channel binding has to fit.
        let options = PostgresOptions::new()
            .password("sentinel")
            .tls(&good_file, &key_file, None);
        let server = PostgresServer::start(options).unwrap();
        let at = |host: &str, query: &str| {
            let port = server.port();
            format!("postgres://postgres:sentinel@{host}:{port}/postgres{query}")
        };
        let verified = format!("?sslmode=verify-full&sslrootcert={ca}");
        let client = Client::at(&at("localhost", &verified)).await;
        let (claim, waiter) = (client.exclusive("k"), client.exclusive("k"));
        client.takes(&claim).await;
        let changed = client.waits(&waiter).await.changed.unwrap();
        client.releases(&claim).await;
        woken(changed).await;
        client.comes_in(&waiter).await;
        client.releases(&waiter).await;
        let encrypted = server
            .ask("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl");
        assert_ne!(encrypted.unwrap(), "0");

        let wrong = other_file.display();
        for (url, says) in [
            (at("localhost", "?sslmode=verify-full"), "TLS"),
            (
                at(
                    "localhost",
                    &format!("?sslmode=verify-full&sslrootcert={wrong}"),
                ),
                "TLS",
            ),
            (at("127.0.0.1", &verified), "TLS"),
            (
                at(
                    "localhost",
                    &format!("?sslmode=verify-full&sslrootcert={key}"),
                ),
                "no certificate",
            ),
            (
                at(
                    "localhost",
                    "?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
                ),
                "/nowhere/ca.pem",
            ),
        ] {
            let error = refused(&url).await;
            assert!(!error.is_transient(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        // The server wants TLS of everybody: without it there is no way in, and the reason is said.
        let plain = refused(&at("127.0.0.1", "?sslmode=disable")).await;
        // In the words of PostgreSQL 14 and later, and of 13.
        let said = ["no encryption", "SSL off"].map(|why| plain.to_string().contains(why));
        assert!(said.contains(&true), "{plain}");

        let options = PostgresOptions::new().tls(&good_file, &key_file, Some(&good_file));
        let strict = PostgresServer::start(options).unwrap();
        let port = strict.port();
        let at = |query: &str| {
            format!(
                "postgres://postgres@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={ca}{query}"
            )
        };
        let client = Client::at(&at(&format!("&sslcert={ca}&sslkey={key}"))).await;
        client.warms_up().await;
        refused(&at("")).await;
        refused(&at(&format!(
            "&sslcert={}&sslkey={}",
            other_file.display(),
            other_key.display()
        )))
        .await;
    });
}
