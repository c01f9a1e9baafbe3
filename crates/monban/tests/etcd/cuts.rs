//! Connections that are cut in the middle of what a server says: after each of its bytes, in whichever frame they are.

use std::time::Instant;

use monban::Result;
use monban::contract::{Attempt, Release, Renewal, Store};
use monban::stores::etcd::EtcdStore;

use crate::client::{Client, SOON, TTL, nothing_is_left, pause, run, server};
use crate::proxy::{Plan, Proxy};

/// Each life is cut once, so many bytes later than the one before: each costs some connections.
const STEP: usize = 7;

/// Replies are cut after so many bytes, on whichever connection, once.
struct Cut {
    proxy: Proxy,
}

impl Cut {
    fn after(&self, bytes: usize) {
        self.proxy.plan(Plan {
            cut_after: Some(bytes),
            once: true,
            ..Plan::default()
        });
    }

    /// Asks until there is an answer; whatever fails may only fail for now.
    async fn until_answered<T>(&self, way: &str, ask: impl AsyncFn() -> Result<T>) -> T {
        let start = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(
                    error.is_transient() && start.elapsed() < SOON,
                    "{way}: {error}"
                ),
            }
        }
    }
}

/// Whoever connects, takes a key, renews it and leaves it, and is cut off once in between, knows in the end what became
/// of it, and nothing of it stays.
#[test]
fn a_life_that_is_cut_at_any_byte_is_lived_to_its_end_and_leaves_nothing() {
    run(async {
        let server = server();
        let cut = Cut {
            proxy: Proxy::before(server.port()),
        };
        let url = format!("etcd://127.0.0.1:{}?timeout=2s", cut.proxy.port());
        let witness = Client::at(&server.url()).await;
        for busy in [false, true] {
            let mut length = usize::MAX;
            // Uncut first, for its length. The other one begins with another byte.
            let bytes = (usize::from(busy)..).step_by(STEP);
            for bytes in [usize::MAX].into_iter().chain(bytes) {
                if bytes != usize::MAX && bytes >= length {
                    break;
                }
                let way = format!("busy: {busy}, after {bytes} bytes of {length}");
                let holder = witness.exclusive("k");
                if busy {
                    witness.takes(&holder).await;
                }
                cut.after(bytes);
                let store = EtcdStore::new(&url).unwrap();
                cut.until_answered(&way, async || store.open().await).await;
                let client = Client::new(store, (TTL, SOON, SOON));
                let claim = client.exclusive("k");
                let mut answer = cut
                    .until_answered(&way, async || client.ask(&claim).await)
                    .await;
                let freed = Instant::now();
                if busy {
                    assert!(matches!(answer, Attempt::Busy(_)), "{way}: {answer:?}");
                    witness.releases(&holder).await;
                }
                let grant = loop {
                    let busy = match answer {
                        Attempt::Granted(grant) => break grant,
                        Attempt::Busy(busy) => busy,
                    };
                    // A wake that does not come would be waited for until its own time is over.
                    let woken = tokio::time::timeout(SOON, busy.changed.unwrap()).await;
                    assert!(woken.is_ok(), "{way}: not woken");
                    answer = cut
                        .until_answered(&way, async || client.ask(&claim).await)
                        .await;
                };
                assert!(freed.elapsed() < SOON / 3, "{way}: {:?}", freed.elapsed());
                let kept = cut.until_answered(&way, async || client.tries_renewal(&claim).await);
                assert_eq!(kept.await, Renewal::Kept, "{way}");
                let Attempt::Granted(again) = client.ask(&claim).await.unwrap() else {
                    panic!("{way}: not held any more");
                };
                assert_eq!(again.fence, grant.fence, "{way}");
                let left = cut.until_answered(&way, async || client.tries_release(&claim).await);
                // Done, or found done by who asks again; that nothing is left is seen below.
                let _: Release = left.await;
                if bytes == usize::MAX {
                    length = cut.proxy.passed();
                    assert!((200..4_000).contains(&length), "{length} bytes");
                }
                let start = Instant::now();
                while !witness.store.inspect(b"").await.unwrap().is_empty() {
                    assert!(start.elapsed() < SOON, "{way}: left behind");
                    pause(2).await;
                }
                client.store.close().await;
            }
        }
        pause(1_000).await; // for what is still on its way
        nothing_is_left(&server, "").await;
    });
}
