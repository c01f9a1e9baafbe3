//! Two versions of the format on one key: what the key holds excludes the other version, and neither touches what the
//! other keeps beside it.

use std::time::Duration;

use monban::contract::{Attempt, Release, Renewal, Store, Why};
use monban::data::{EntryId, Mode, Standing};

use crate::common::{Client, lasting, leave, leftovers, pause, run, server, sleeps_on, woken};

const MODES: [Mode; 3] = [Mode::Exclusive, Mode::Shared, Mode::Permits { n: 1, of: 2 }];

/// What a holder of a later version could have at the key, and the name of a line of its own.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
const THEIRS: &str = "monban:{0Gw}2:k";

fn values() -> Vec<String> {
    vec![
        format!("mb2x:{ID}:17:host/1/"),
        format!("mb2l:{ID}:17:18:host/1/"),
        "mb2m:4294967295:1".to_owned(),
        "mb2m:2:1".to_owned(),
        format!("mb2q:{ID}:17"),
        "mb10x".to_owned(),
    ]
}

#[test]
fn whatever_a_later_version_holds_excludes_and_is_left_alone() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        server.ask(&["ZADD", THEIRS, "1", "theirs"]).unwrap();
        for value in values() {
            for mode in MODES {
                server.ask(&["SET", "k", &value, "PX", "60000"]).unwrap();
                let refused = client.waits(&leave(client.claim("k", mode))).await;
                assert_eq!(refused.why, Why::Foreign, "{value}");
                let waiter = client.claim("k", mode);
                let busy = client.waits(&waiter).await;
                assert_eq!((busy.why, busy.ahead), (Why::Foreign, Some(1)));
                // Theirs ends in a minute, the waiter's own claim in half of one.
                assert!(busy.free_in.unwrap() > Duration::from_secs(20));
                drop(busy.changed);
                // Neither what is asked by mistake nor what asks again changes anything of theirs.
                assert_eq!(client.renews(&waiter).await, Renewal::Lost, "{value}");
                assert_eq!(server.ask(&["GET", "k"]).unwrap(), value);
                let mut changed = client.waits(&waiter).await.changed.unwrap();
                sleeps_on(&mut changed, 30).await;
                server.ask(&["DEL", "k"]).unwrap();
                woken(changed).await;
                client.takes(&waiter).await;
                assert_eq!(client.releases(&waiter).await, Release::Done);
                assert_eq!(leftovers(&server), [THEIRS], "{value}");
            }
        }
        assert_eq!(server.ask(&["ZSCORE", THEIRS, "theirs"]).unwrap(), "1");
    });
}

#[test]
fn a_holder_of_this_version_is_lost_when_a_later_one_writes_over_it() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for value in values() {
            for mode in MODES {
                let claim = client.claim("k", mode);
                let lost = client.takes(&claim).await.lost.unwrap();
                pause(20).await;
                server.ask(&["SET", "k", &value, "PX", "60000"]).unwrap();
                woken(lost).await;
                assert_eq!(client.renews(&claim).await, Renewal::Lost, "{value}");
                client.releases(&claim).await;
                assert_eq!(server.ask(&["GET", "k"]).unwrap(), value);
                server.ask(&["DEL", "k"]).unwrap();
                assert_eq!(leftovers(&server), Vec::<String>::new(), "{value}");
            }
        }
    });
}

#[test]
fn a_later_version_is_shown_as_what_it_is_and_freed_only_by_hand() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for value in values() {
            server.ask(&["SET", "k", &value]).unwrap();
            let shown = client.store.inspect(b"k").await.unwrap();
            assert_eq!(shown.len(), 1, "{shown:?}");
            assert_eq!(shown[0].standing, Standing::Foreign, "{value}");
            assert_eq!(shown[0].id, EntryId::Foreign(value.as_bytes().into()));
            assert_eq!(shown[0].expires_in, None);
            let waiter = client.exclusive("k");
            let changed = client.waits(&waiter).await.changed.unwrap();
            assert_eq!(client.store.evict(&shown[0]).await.unwrap(), Release::Done);
            woken(changed).await;
            client.takes(&waiter).await;
            client.releases(&waiter).await;
            assert_eq!(leftovers(&server), Vec::<String>::new(), "{value}");
        }
    });
}

/// The claim of this version that asks again is not taken for that of the later one though they share an id.
#[test]
fn an_id_does_not_make_a_later_versions_value_ours() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for kind in ["mb2x", "mb2l", "mb0x"] {
            let claim = lasting(client.exclusive("k"), 60_000);
            let value = format!("{kind}:{}:17:host/1/", claim.id);
            server.ask(&["SET", "k", &value]).unwrap();
            let answer = client.ask(&claim).await.unwrap();
            assert!(matches!(answer, Attempt::Busy(_)), "{answer:?}");
            assert_eq!(client.renews(&claim).await, Renewal::Lost, "{value}");
            client.releases(&claim).await;
            assert_eq!(server.ask(&["GET", "k"]).unwrap(), value);
            assert_eq!(server.ask(&["PTTL", "k"]).unwrap(), "-1");
            server.ask(&["DEL", "k"]).unwrap();
            assert_eq!(leftovers(&server), Vec::<String>::new(), "{value}");
        }
    });
}
