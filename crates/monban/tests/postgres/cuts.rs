//! Replies that are cut after each of their bytes: what was asked is asked again, and it is known what became of it.

use monban::contract::{Attempt, Renewal};
use monban::data::Mode;
use monban_testkit::PostgresServer;

use crate::client::{Client, claims, leave, nothing_is_left, run, server};
use crate::proxy::{Plan, Proxy};

struct Cut {
    server: PostgresServer,
    proxy: Proxy,
    client: Client,
}

impl Cut {
    async fn new() -> Self {
        // What is cut is not what is on the disk; and each cut costs a connection.
        let server = server();
        let proxy = Proxy::before(server.port());
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?timeout=5s",
            proxy.port()
        );
        let client = Client::at(&url).await;
        client.warms_up().await;
        Self {
            server,
            proxy,
            client,
        }
    }

    fn after(&self, bytes: usize) {
        self.proxy.plan(Plan {
            cut_after: Some(bytes),
            ..Plan::default()
        });
    }

    fn no_more(&self) {
        self.proxy.plan(Plan::default());
    }
}

/// Free, and behind a holder: it is granted, or stands in line, once.
#[test]
fn an_attempt_whose_reply_is_cut_at_any_byte_is_answered_when_it_is_asked_again() {
    run(async {
        let cut = Cut::new().await;
        for busy in [false, true] {
            let holder = cut.client.exclusive("k");
            let key = if busy { "k" } else { "free" };
            if busy {
                cut.client.comes_in(&holder).await;
            }
            cut.no_more();
            let probe = leave(cut.client.exclusive(key));
            drop(cut.client.ask(&probe).await.unwrap());
            let length = cut.proxy.passed();
            cut.client.is_rid_of(&probe).await;
            assert!((20..600).contains(&length), "{length} bytes");
            for bytes in 0..length {
                let claim = cut.client.exclusive(key);
                cut.after(bytes);
                let asked = cut.client.ask(&claim).await;
                cut.no_more();
                // The last bytes say only that the server is ready for more.
                match asked {
                    Err(error) => assert!(error.is_transient(), "after {bytes} bytes: {error}"),
                    Ok(_) => assert!(bytes + 16 > length, "after {bytes} of {length} bytes"),
                }
                let again = loop {
                    match cut.client.ask(&claim).await {
                        Ok(again) => break again,
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                };
                let granted = matches!(again, Attempt::Granted(_));
                assert_eq!(granted, !busy, "after {bytes} bytes: {again:?}");
                cut.client.is_rid_of(&claim).await;
            }
            cut.client.is_rid_of(&holder).await;
            nothing_is_left(&cut.server, "").await;
        }
    });
}

#[test]
fn a_renewal_or_a_release_whose_reply_is_cut_at_any_byte_may_be_repeated() {
    run(async {
        let cut = Cut::new().await;
        for (mode, renews) in [
            (Mode::Exclusive, true),
            (Mode::Exclusive, false),
            (Mode::Shared, true),
            (Mode::Shared, false),
        ] {
            let mut length = usize::MAX;
            // Uncut first, for its length. Every third byte, from another one each time: cuts cost connections.
            let first = usize::from(renews) + 1;
            for bytes in [usize::MAX].into_iter().chain((first..).step_by(3)) {
                if bytes != usize::MAX && bytes >= length {
                    break;
                }
                let claim = cut.client.claim("k", mode);
                cut.client.comes_in(&claim).await;
                cut.after(bytes);
                let failed = if renews {
                    cut.client.tries_renewal(&claim).await.err()
                } else {
                    cut.client.tries_release(&claim).await.err()
                };
                if bytes == usize::MAX {
                    length = cut.proxy.passed();
                }
                cut.no_more();
                let way = format!("{mode:?}, renewal: {renews}, after {bytes} of {length} bytes");
                assert!(failed.is_none_or(|error| error.is_transient()), "{way}");
                if renews {
                    assert_eq!(cut.client.keeps(&claim).await, Renewal::Kept, "{way}");
                }
                cut.client.is_rid_of(&claim).await;
                assert_eq!(claims(&cut.server, ""), Vec::<String>::new(), "{way}");
            }
        }
    });
}
