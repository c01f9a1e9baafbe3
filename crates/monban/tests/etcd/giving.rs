//! Leases are given back when nothing needs them any more.

use std::time::{Duration, Instant};

use monban::contract::{Release, Store};
use monban::data::{Leave, Standing};
use monban::{Locks, Options};

use crate::client::{Client, SOON, leases, pause, run, server};

#[test]
fn closing_gives_the_lease_back_once_nothing_is_held_under_it() {
    run(async {
        let server = server();
        let locks = Locks::connect(&server.url()).await.unwrap();
        let (first, second) = (locks.mutex("a").unwrap(), locks.mutex("b").unwrap());
        let other = Options::new().ttl(Duration::from_secs(60));
        let third = locks.mutex("c").unwrap().with(other).unwrap();
        let held = first.lock().await.unwrap();
        second.lock().await.unwrap().release().await.unwrap();
        third.lock().await.unwrap().release().await.unwrap();
        assert_eq!(leases(&server).len(), 2);
        locks.close().await;
        assert_eq!(leases(&server).len(), 1);
        held.renew().await.unwrap();
        held.release().await.unwrap();
        locks.close().await;
        assert_eq!(leases(&server), Vec::<String>::new());
    });
}

/// Nobody closes them, and nobody waits: it is done behind the last handle.
#[test]
fn locks_that_are_dropped_give_their_lease_back() {
    run(async {
        let server = server();
        let locks = Locks::connect(&server.url()).await.unwrap();
        let lease = locks.mutex("k").unwrap().lock().await.unwrap();
        drop(locks);
        assert_eq!(leases(&server).len(), 1); // it is held
        drop(lease);
        let start = Instant::now();
        while !leases(&server).is_empty() {
            assert!(start.elapsed() < SOON, "the lease is left to its TTL");
            pause(20).await;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it may have ended by itself"
        );
    });
}

#[test]
fn closing_does_not_wait_long_for_a_server_that_is_silent() {
    run(async {
        let mut server = server();
        let client = Client::at(&format!("{}?timeout=60s", server.url())).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        server.stop_signal(0).unwrap();
        let start = Instant::now();
        client.store.close().await;
        let took = start.elapsed();
        server.cont(0).unwrap();
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

/// Two who let the same claim linger, as with a release that is repeated: each has a lease for it, and one is enough.
#[test]
fn a_lease_for_what_lingers_already_is_given_back() {
    run(async {
        let server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let linger = Some(Duration::from_secs(600));
        for n in 0..10 {
            let claim = a.exclusive(&format!("k{n}"));
            a.takes(&claim).await;
            let leave = [Leave { claim, linger }];
            let (one, other) = tokio::join!(a.store.release(&leave), b.store.release(&leave));
            assert!(matches!(one[0], Ok(Release::Done)), "{one:?}");
            assert!(matches!(other[0], Ok(Release::Done)), "{other:?}");
        }
        a.store.close().await;
        b.store.close().await;
        assert_eq!(leases(&server).len(), 10);
        let shown = a.store.inspect(b"k").await.unwrap();
        assert_eq!(shown.len(), 10);
        assert!(
            shown
                .iter()
                .all(|entry| entry.standing == Standing::Lingering)
        );
    });
}
