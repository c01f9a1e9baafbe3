//! The ways in that a URL can name: a socket, a password in a file, TLS in each mode, and several hosts.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use monban::Error;
use monban_testkit::{PostgresOptions, PostgresServer, free_port};

use crate::client::{Client, nothing_is_left, refused, run, server, woken};

/// A hold, a wait and a hand-over.
async fn works(url: &str) {
    let (a, b) = (Client::at(url).await, Client::at(url).await);
    let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
    let grant = a.comes_in(&held).await;
    let changed = b.waits(&waiter).await.changed.unwrap();
    a.releases(&held).await;
    woken(changed).await;
    assert!(b.comes_in(&waiter).await.fence > grant.fence);
    b.releases(&waiter).await;
}

/// As the server's operator would: without a password, as the user that the system says he is.
#[test]
fn over_a_socket_the_user_of_the_process_is_let_in_and_nobody_else() {
    run(async {
        let server = server();
        let user = whoami::username().unwrap();
        server.ask("CREATE ROLE other LOGIN").unwrap();
        if user != "postgres" {
            server
                .ask(&format!(
                    "CREATE ROLE \"{user}\" LOGIN; GRANT CREATE ON DATABASE postgres TO \"{user}\";
                     GRANT CREATE ON SCHEMA public TO \"{user}\""
                ))
                .unwrap();
        }
        let rules = server.dir().join("data/pg_hba.conf");
        let before = std::fs::read_to_string(&rules).unwrap();
        let peer = format!("local all \"{user}\" peer\nlocal all other peer\n");
        std::fs::write(&rules, format!("{peer}{before}")).unwrap();
        server.ask("SELECT pg_reload_conf()").unwrap();

        let (dir, port) = (server.dir().display().to_string(), server.port());
        let encoded = dir.replace('/', "%2F");
        for url in [
            format!("postgres:///postgres?host={dir}&port={port}"),
            format!("postgres://{encoded}:{port}/postgres"),
            format!("postgresql://{user}@/postgres?host={encoded}&port={port}&sslmode=disable"),
        ] {
            works(&url).await;
            let client = Client::at(&url).await;
            client.warms_up().await;
            let by = server.ask(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'monban' AND client_addr IS NULL
                   AND usename = '{user}'"
            ));
            assert_ne!(by.unwrap(), "0", "{url}");
        }
        let other = format!("postgres:///postgres?host={dir}&port={port}&user=other");
        let error = refused(&other).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(
            error.to_string().contains("does not let this user in"),
            "{error}"
        );

        let elsewhere = format!(
            "postgres:///postgres?host={dir}&port={}",
            free_port().unwrap()
        );
        let error = refused(&elsewhere).await;
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("there is no socket"), "{error}");
        let long = format!("postgres:///postgres?host=/{}", "x".repeat(120));
        let error = refused(&long).await;
        assert!(
            !error.is_transient() && error.to_string().contains("too long"),
            "{error}"
        );
        nothing_is_left(&server, "k").await;
    });
}

/// A server that ends while it is used over its socket: no file is there, then a file that nobody listens at.
#[test]
fn a_server_that_restarts_is_found_again_at_its_socket() {
    run(async {
        let mut server = server();
        let (dir, port) = (server.dir().display().to_string(), server.port());
        let url = format!("postgres://postgres@/postgres?host={dir}&port={port}");
        let client = Client::at(&url).await;
        let claim = client.exclusive("k");
        let fence = client.takes(&claim).await.fence;
        server.stop().unwrap();
        assert!(client.ask(&claim).await.unwrap_err().is_transient());
        server.start_again().unwrap();
        assert_eq!(client.comes_in(&claim).await.fence, fence);
        server.kill9().unwrap(); // leaves the file
        let error = refused(&url).await;
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("refuses connections"), "{error}");
    });
}

#[test]
fn a_password_is_found_in_a_file_that_is_read_for_every_connection() {
    run(async {
        let options = PostgresOptions::new().password("sentinel:right");
        let server = PostgresServer::start(options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwords");
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        let port = server.port();
        let url = format!(
            "postgres://postgres@127.0.0.1:{port}/postgres?passfile={}",
            file.display()
        );
        let error = refused(&url).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("passwords"), "{error}");
        write(&format!("127.0.0.1:{port}:*:postgres:sentinel-wrong\n"));
        let store = monban::stores::postgres::PostgresStore::new(&url).unwrap();
        let error = crate::caller::refused_by(store).await;
        assert!(
            error.to_string().contains("does not let this user in"),
            "{error}"
        );
        write(
            "# comment\n*:1:*:*:sentinel-wrong\n127.0.0.1:*:postgres:postgres:sentinel\\:right\n",
        );
        works(&url).await;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = refused(&url).await;
        assert!(error.to_string().contains("0600"), "{error}");
    });
}

/// `require` and `verify-ca` are no weaker than `verify-full`, whatever they are elsewhere.
#[test]
fn every_mode_that_encrypts_verifies_the_certificate_and_its_name() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate = file("cert.pem", &made.cert.pem());
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let options = PostgresOptions::new().tls(&certificate, &key, None);
        let server = PostgresServer::start(options).unwrap();
        let (port, ca) = (server.port(), certificate.display());
        for mode in ["require", "verify-ca", "verify-full"] {
            let at = |host: &str, more: &str| {
                format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}{more}")
            };
            works(&at("localhost", &format!("&sslrootcert={ca}"))).await;
            for (host, more) in [
                ("localhost", String::new()),
                ("localhost", "&sslrootcert=system".to_owned()),
                ("127.0.0.1", format!("&sslrootcert={ca}")),
            ] {
                let error = refused(&at(host, &more)).await;
                assert!(matches!(error, Error::Rejected { .. }), "{error}");
                assert!(error.to_string().contains("TLS"), "{error}");
            }
        }
        // One that has none is not spoken to in plain text.
        let plain = crate::client::shared();
        let port = plain.port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=require");
        let error = refused(&url).await;
        assert!(error.to_string().contains("has no TLS"), "{error}");
    });
}

#[test]
fn of_several_hosts_the_primary_is_used_wherever_it_stands() {
    run(async {
        let primary = server();
        Client::at(&primary.url()).await; // the tables are there
        let standby = primary.standby().unwrap();
        let (here, there) = (primary.port(), standby.port());
        let nobody = free_port().unwrap();
        for (ports, wanted) in [
            ([here, there, nobody], "?target_session_attrs=read-write"),
            ([there, nobody, here], "?target_session_attrs=primary"),
            ([nobody, there, here], ""),
        ] {
            let [a, b, c] = ports.map(|port| format!("127.0.0.1:{port}"));
            works(&format!("postgres://postgres@{a},{b},{c}/postgres{wanted}")).await;
        }
        nothing_is_left(&primary, "k").await;
        // None of them: what each one said.
        let none = format!("postgres://postgres@127.0.0.1:{there},127.0.0.1:{nobody}/postgres");
        let error = refused(&none).await;
        assert!(error.is_transient(), "one may be the primary soon: {error}");
        for part in [
            format!("127.0.0.1:{there}/postgres is a standby"),
            format!("127.0.0.1:{nobody}/postgres refuses connections"),
        ] {
            assert!(error.to_string().contains(&part), "{error}");
        }
        let standbys = format!("postgres://postgres@127.0.0.1:{there},localhost:{there}/postgres");
        assert!(!refused(&standbys).await.is_transient());
    });
}

/// As a machine without power: nothing refuses the connection, and nothing answers.
#[test]
fn a_host_that_is_silent_does_not_keep_from_the_next_one() {
    run(async {
        let server = server();
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (dead, alive) = (silent.local_addr().unwrap().port(), server.port());
        let url = format!("postgres://postgres@127.0.0.1:{dead},127.0.0.1:{alive}/postgres");
        // Less than what a single server is given to let us in.
        let connected = tokio::time::timeout(Duration::from_secs(4), Client::at(&url)).await;
        let client = connected.expect("the second answers while the first is silent");
        client.warms_up().await;
        drop(silent);
    });
}
