//! What an administrator has set for the role, and what a role may not do.

use std::time::Instant;

use monban::Error;
use monban::contract::{Renewal, Store};
use monban::stores::postgres::PostgresStore;
use monban_testkit::{PostgresOptions, PostgresServer, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, SOON, nothing_is_left, pause, refused, run, server, session, woken};

fn role(server: &PostgresServer) -> String {
    server
        .ask(
            "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT CREATE ON SCHEMA public TO app",
        )
        .unwrap();
    format!("{}?timeout=10s", server.url_of("app", None))
}

/// The sessions of our clients, by number.
fn sessions(server: &PostgresServer) -> String {
    server
        .ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'monban' ORDER BY pid")
        .unwrap()
}

/// As the session is set to what it needs by its second request, the first may be ended by such a limit.
async fn let_in(url: &str) -> Client {
    let start = Instant::now();
    loop {
        match Client::try_at(url).await {
            Ok(client) => return client,
            Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
        }
    }
}

/// Each of them would end a request that has to wait, or a session that has nothing to do.
#[test]
fn limits_that_are_set_for_the_role_end_neither_requests_nor_sessions() {
    run(async {
        let server = server();
        let url = role(&server);
        for (setting, value) in [
            ("statement_timeout", "40ms"),
            ("transaction_timeout", "40ms"),
            ("lock_timeout", "1ms"),
            ("idle_in_transaction_session_timeout", "1ms"),
            ("idle_session_timeout", "150ms"),
        ] {
            let known = format!("SELECT count(*) FROM pg_settings WHERE name = '{setting}'");
            if server.ask(&known).unwrap() == "0" {
                continue; // of a later version
            }
            let set = format!("ALTER ROLE app SET {setting} = '{value}'");
            server.ask(&set).unwrap();
            let (a, b) = (let_in(&url).await, let_in(&url).await);
            let (held, waiter) = (a.exclusive("role"), b.exclusive("role"));
            a.takes(&held).await;
            let changed = b.waits(&waiter).await.changed.unwrap();
            wait_until("those of the round before have ended", SOON, || {
                Ok(sessions(&server).lines().count() == 2)
            })
            .unwrap();
            let before = sessions(&server);
            // A row that somebody has locked for longer than the limit.
            let user = session(&server.url()).await;
            let lock = "BEGIN; SELECT FROM monban.head WHERE key = 'role' FOR UPDATE";
            user.batch_execute(lock).await.unwrap();
            let unlocked = async {
                pause(300).await;
                user.batch_execute("COMMIT").await.unwrap();
            };
            let renewed = async {
                loop {
                    match a.tries_renewal(&held).await {
                        Ok(kept) => break kept,
                        // Our own limit, of 50 ms.
                        Err(error) => assert!(
                            error.to_string().contains("lock timeout"),
                            "{setting}: {error}"
                        ),
                    }
                }
            };
            let (kept, ()) = tokio::join!(renewed, unlocked);
            assert_eq!(kept, Renewal::Kept, "{setting}");
            pause(400).await;
            assert_eq!(sessions(&server), before, "{setting}");
            a.releases(&held).await;
            woken(changed).await;
            b.comes_in(&waiter).await;
            b.releases(&waiter).await;
            server.ask("ALTER ROLE app RESET ALL").unwrap();
        }
        nothing_is_left(&server, "role").await;
    });
}

/// How safe other commits are to be is no matter of ours: of ours each waits for the disk if, and only if, it has to.
#[test]
fn commits_that_the_role_wants_otherwise_are_made_as_a_lock_needs_them() {
    run(async {
        let options = PostgresOptions::new().setting("wal_writer_delay", "10s");
        let mut server = PostgresServer::start(options).unwrap();
        let url = role(&server);
        for value in ["off", "local", "remote_write", "on", "remote_apply"] {
            let set = format!("ALTER ROLE app SET synchronous_commit = '{value}'");
            server.ask(&set).unwrap();
            // As if nothing was in reserve: it is put there, on the disk, before the grant.
            let client = Client::at(&url).await;
            server
                .ask("TRUNCATE monban.epoch; UPDATE monban.reserve SET until = 0")
                .unwrap();
            let claim = client.exclusive("role");
            client.comes_in(&claim).await;
            let reserve = "SELECT until FROM monban.reserve";
            let raised = server.ask(reserve).unwrap();
            server.kill9().unwrap();
            server.start_again().unwrap();
            assert_eq!(server.ask(reserve).unwrap(), raised, "{value}");
            server
                .ask("TRUNCATE monban.epoch, monban.head; UPDATE monban.reserve SET until = 0")
                .unwrap();
        }
    });
}

/// As an operator sets it before a fail-over: it is not overridden.
#[test]
fn a_role_whose_transactions_are_read_only_is_told_so() {
    run(async {
        let server = server();
        let url = role(&server);
        server
            .ask("ALTER ROLE app SET default_transaction_read_only = on")
            .unwrap();
        let error = refused(&url).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("default_transaction_read_only"), "{text}");
        server.ask("ALTER ROLE app RESET ALL").unwrap();
        Client::at(&url).await.warms_up().await;
    });
}

#[test]
fn a_role_that_may_not_connect_is_told_what_it_lacks() {
    run(async {
        let server = server();
        server
            .ask("CREATE ROLE out LOGIN; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
            .unwrap();
        let error = refused(&server.url_of("out", None)).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("GRANT CONNECT"), "{error}");
    });
}

/// A smart shutdown: it lets nobody in, and ends when the last session does.
#[test]
fn a_server_that_is_shutting_down_is_unavailable_and_says_so() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        let postmaster = i32::try_from(server.id()).unwrap();
        kill_process(Pid::from_raw(postmaster).unwrap(), Signal::TERM).unwrap();
        let start = Instant::now();
        let error = loop {
            let store = PostgresStore::new(&server.url()).unwrap();
            match store.open().await {
                Ok(_) => assert!(start.elapsed() < SOON, "it lets others in still"),
                Err(error) => break error,
            }
        };
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("lets nobody in now"), "{error}");
        // Who is in goes on.
        assert_eq!(client.renews(&claim).await, Renewal::Kept);
        client.releases(&claim).await;
    });
}
