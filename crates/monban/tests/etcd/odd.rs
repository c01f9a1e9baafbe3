//! What operators do to a server, and what it does by itself: compactions, full databases, tokens that end.

use std::time::Duration;

use monban::contract::{Release, Renewal, Store};
use monban_testkit::{EtcdOptions, EtcdServer};

use crate::client::{Client, keys, pause, revision, run, server, woken};
use crate::proxy::{Plan, Proxy};

/// The watch was as of a revision that is not there any more when it is opened again.
#[test]
fn a_release_and_a_compaction_while_nothing_was_watched_are_heard_of() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let url = format!("etcd://127.0.0.1:{}?timeout=1s", proxy.port());
        let (a, b) = (Client::at(&server.url()).await, Client::at(&url).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        a.takes(&held).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        pause(200).await; // the watch is open
        proxy.plan(Plan {
            cut_after: Some(0),
            ..Plan::default()
        });
        assert!(crate::client::is_unavailable(
            &b.tries_renewal(&waiter).await
        ));
        assert_eq!(a.releases(&held).await, Release::Done);
        server.ask(&["put", "x", "1"]).unwrap();
        let now = revision(&server).to_string();
        server.ask(&["compact", "--physical", &now]).unwrap();
        proxy.plan(Plan::default());
        woken(changed).await;
        b.comes_in(&waiter).await;
        b.is_rid_of(&waiter).await;
    });
}

/// Renewals and releases take no room. What would is refused, with the reason.
#[test]
fn a_full_database_refuses_new_claims_and_keeps_and_frees_those_there_are() {
    run(async {
        let options = EtcdOptions::new()
            .election(Duration::from_millis(500))
            .argument("--quota-backend-bytes=2000000");
        let server = EtcdServer::start(options).unwrap();
        let client = Client::at(&server.url()).await;
        let (held, other) = (client.exclusive("k"), client.exclusive("other"));
        client.takes(&held).await;
        let filling = "x".repeat(100_000);
        let mut full = false;
        for n in 0..100 {
            full = server.ask(&["put", &format!("fill{n}"), &filling]).is_err();
            if full {
                break;
            }
        }
        assert!(full && server.ask(&["alarm", "list"]).unwrap().contains("NOSPACE"));
        let error = client.ask(&other).await.unwrap_err();
        assert!(
            !error.is_transient() && error.to_string().contains("is full"),
            "{error}"
        );
        assert_eq!(client.renews(&held).await, Renewal::Kept);
        // With a claim that is refused in the same moment.
        let (left, asked) = tokio::join!(client.releases(&held), client.ask(&other));
        assert_eq!(left, Release::Done);
        if asked.is_ok() {
            client.is_rid_of(&other).await; // 3.4 does not count what a part of a transaction puts
        }
        client.store.close().await;
        server.ask(&["del", "--prefix", "fill"]).unwrap();
        assert_eq!(keys(&server, ""), Vec::<String>::new());
        let now = revision(&server).to_string();
        server.ask(&["compact", "--physical", &now]).unwrap();
        server.ask(&["defrag"]).unwrap();
        server.ask(&["alarm", "disarm"]).unwrap();
        client.takes(&other).await;
        assert_eq!(client.releases(&other).await, Release::Done);
    });
}

/// Signed ones end at their time, however much they are used. The stream of watches was opened with an old one.
#[test]
fn tokens_that_end_are_replaced_and_watches_go_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "sentinel-secret-of-the-test").unwrap();
        let tokens = format!(
            "--auth-token=jwt,sign-method=HS256,priv-key={},ttl=2s",
            secret.display()
        );
        let options = EtcdOptions::new()
            .election(Duration::from_millis(500))
            .argument(&tokens);
        let server = EtcdServer::start(options).unwrap();
        for words in [
            &["user", "add", "root:sentinel-root"][..],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            server.ask(words).unwrap();
        }
        let url = format!("etcd://root:sentinel-root@127.0.0.1:{}", server.port());
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (first, behind) = (a.exclusive("first"), b.exclusive("first"));
        a.takes(&first).await;
        let early = b.waits(&behind).await.changed.unwrap();
        for n in 0..2 {
            pause(3_000).await;
            assert_eq!(a.renews(&first).await, Renewal::Kept);
            // A further watch on the stream there is.
            let key = format!("k{n}");
            let (held, waiter) = (a.exclusive(&key), b.exclusive(&key));
            a.takes(&held).await;
            let mut changed = b.waits(&waiter).await.changed.unwrap();
            let woke = tokio::time::timeout(Duration::from_millis(1_500), &mut changed).await;
            assert!(
                woke.is_err(),
                "woken though nothing has changed: it is not watched"
            );
            a.releases(&held).await;
            woken(changed).await;
            b.takes(&waiter).await;
            b.releases(&waiter).await;
        }
        a.releases(&first).await;
        woken(early).await;
        b.takes(&behind).await;
        b.releases(&behind).await;
    });
}
