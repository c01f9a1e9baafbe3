//! Being let in, and being told why not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use monban::Error;
use monban::contract::Store;
use monban_testkit::{EtcdOptions, EtcdServer, free_port};

use crate::client::{Client, refused, run, server, woken};

#[test]
fn users_are_let_in_as_far_as_they_may_and_told_how_far() {
    run(async {
        let server = server();
        let port = server.port();
        // Without authentication a user is nobody, and no harm.
        Client::at(&format!("etcd://somebody:sentinel@127.0.0.1:{port}")).await;
        for words in [
            &["user", "add", "root:sentinel-root"][..],
            &["user", "grant-role", "root", "root"],
            &["user", "add", "monban:sentinel-right"],
            &["role", "add", "locks"],
            &[
                "role",
                "grant-permission",
                "locks",
                "--prefix=true",
                "readwrite",
                "app/",
            ],
            &["user", "grant-role", "monban", "locks"],
            &["auth", "enable"],
        ] {
            server.ask(words).unwrap();
        }
        for (user, says) in [
            ("", "wants a user"),
            ("monban:sentinel-wrong@", "does not accept"),
            ("nobody:sentinel-right@", "does not accept"),
        ] {
            let error = refused(&format!("etcd://{user}127.0.0.1:{port}/app")).await;
            let text = error.to_string();
            assert!(!error.is_transient() && text.contains(says), "{error}");
        }
        let elsewhere = refused(&format!("etcd://monban:sentinel-right@127.0.0.1:{port}")).await;
        assert!(matches!(elsewhere, Error::Rejected { .. }), "{elsewhere}");
        assert!(
            elsewhere.to_string().contains("grant-permission"),
            "{elsewhere}"
        );

        let url = format!("etcd://monban:sentinel-right@127.0.0.1:{port}/app");
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (first, second) = (a.exclusive("k"), b.exclusive("k"));
        let lost = a.takes(&first).await.lost.unwrap();
        let changed = b.waits(&second).await.changed.unwrap();
        let shown = b.store.inspect(b"k").await.unwrap();
        assert_eq!(shown.len(), 2);
        b.store.evict(&shown[0]).await.unwrap();
        woken(lost).await;
        woken(changed).await;
        b.takes(&second).await;
        b.releases(&second).await;
    });
}

#[test]
fn a_server_that_has_forgotten_its_tokens_is_told_again_who_we_are() {
    run(async {
        let mut server = server();
        for words in [
            &["user", "add", "root:sentinel-root"][..],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            server.ask(words).unwrap();
        }
        let url = format!("etcd://root:sentinel-root@127.0.0.1:{}", server.port());
        let client = Client::at(&url).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        // Its tokens are in its memory only. It is up when it answers our own question.
        server.start_again(0).unwrap();
        let again = client.comes_in(&claim).await;
        assert!(again.fence.is_some());
        client.is_rid_of(&claim).await;
    });
}

#[test]
fn what_does_not_answer_as_etcd_does_is_named() {
    run(async {
        let error = refused(&format!("etcd://127.0.0.1:{}", free_port().unwrap())).await;
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("refuses connections"), "{error}");
        let error = refused("etcd://no-such-host.invalid").await;
        assert!(error.is_transient(), "{error}");
        assert!(
            error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let _ = client.read(&mut [0; 100]);
                let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
        });
        let error = refused(&format!("etcd://127.0.0.1:{port}")).await;
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    });
}

#[test]
fn a_cluster_without_a_majority_is_refused_with_the_reason() {
    run(async {
        let options = EtcdOptions::new()
            .members(3)
            .election(Duration::from_millis(500));
        let mut server = EtcdServer::start(options).unwrap();
        server.kill9(1).unwrap();
        server.kill9(2).unwrap();
        let error = refused(&format!("etcd://127.0.0.1:{}?timeout=2s", server.port())).await;
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("majority") || text.contains("timed out"),
            "{text}"
        );
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

        let options = EtcdOptions::new()
            .election(Duration::from_millis(500))
            .tls(&good_file, &key_file, None);
        let server = EtcdServer::start(options).unwrap();
        let port = server.port();
        let client = Client::at(&format!("etcds://localhost:{port}?ca={ca}")).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        for (url, says) in [
            (format!("etcds://localhost:{port}"), "TLS"),
            (
                format!("etcds://localhost:{port}?ca={}", other_file.display()),
                "TLS",
            ),
            (format!("etcds://127.0.0.1:{port}?ca={ca}"), "TLS"),
            (
                format!("etcds://localhost:{port}?ca={key}"),
                "no certificate",
            ),
            (
                format!("etcds://localhost:{port}?ca=/nowhere/ca.pem"),
                "/nowhere/ca.pem",
            ),
        ] {
            let error = refused(&url).await;
            assert!(!error.is_transient(), "{url}: {error}");
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
        let plain = refused(&format!("etcd://127.0.0.1:{port}")).await;
        assert!(plain.to_string().contains("etcds://"), "{plain}");

        // And with a user, whose password is worth nothing over a connection that is not verified.
        for words in [
            &["user", "add", "root:sentinel-root"][..],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            server.ask(words).unwrap();
        }
        let root = format!("etcds://root:sentinel-root@localhost:{port}?ca={ca}");
        let client = Client::at(&root).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        let wrong = refused(&root.replace("root@", "wrong@")).await;
        assert!(wrong.to_string().contains("does not accept"), "{wrong}");

        let options = EtcdOptions::new().election(Duration::from_millis(500)).tls(
            &good_file,
            &key_file,
            Some(&good_file),
        );
        let strict = EtcdServer::start(options).unwrap();
        let port = strict.port();
        let shown = format!("etcds://localhost:{port}?ca={ca}&cert={ca}&key={key}");
        let client = Client::at(&shown).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        refused(&format!("etcds://localhost:{port}?ca={ca}")).await;
        refused(&format!(
            "etcds://localhost:{port}?ca={ca}&cert={}&key={}",
            other_file.display(),
            other_key.display()
        ))
        .await;
    });
}
