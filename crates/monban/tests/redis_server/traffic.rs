//! Everything that the store asks of a server, once.

use std::time::Duration;

use monban::contract::{Attempt, Release, Renewal, Store};
use monban::data::{Claim, Leave, Mode};
use monban_testkit::RedisServer;

use crate::common::{Client, lasting, leave, pause, woken};

const TWO: Mode = Mode::Permits { n: 1, of: 2 };
const MODES: [Mode; 3] = [Mode::Exclusive, Mode::Shared, TWO];

/// Keys whose slots a hash tag of their own, or a piece of one, decides; with this before each.
pub(crate) fn keys(prefix: &str) -> Vec<String> {
    let ends = ["plain", "a}b", "{}z", "{", "x{y}z", "{{v}}w"];
    ends.map(|end| format!("{prefix}{end}")).to_vec()
}

/// Takes, waits, hands over, renews, lingers, shows, frees by hand and releases, alone and in batches, in every mode.
pub(crate) async fn everything(server: &RedisServer, url: &str, keys: &[String]) {
    let (a, b) = (Client::at(url).await, Client::at(url).await);
    for key in keys {
        one_key(server, &a, &b, key).await;
    }
    for mode in MODES {
        together(&a, keys, mode).await;
    }
    by_hand(server, &a, &b, &keys[0]).await;
}

async fn one_key(server: &RedisServer, a: &Client, b: &Client, key: &str) {
    for holds in MODES {
        for waits in MODES {
            let (held, waiter) = (a.claim(key, holds), b.claim(key, Mode::Exclusive));
            let next = a.claim(key, waits);
            a.takes(&held).await;
            let changed = b.waits(&waiter).await.changed.unwrap();
            // Permits of two and shares of many do not go together: that is asked too.
            let behind = a.ask(&next).await;
            assert_eq!(a.renews(&held).await, Renewal::Kept);
            pause(10).await; // who holds, and who is next, is watched by now
            assert_eq!(a.renews(&held).await, Renewal::Kept);
            a.takes(&held).await;
            assert_eq!(a.releases(&held).await, Release::Done);
            woken(changed).await;
            b.takes(&waiter).await;
            assert_eq!(b.releases(&waiter).await, Release::Done);
            if behind.is_ok() {
                a.comes_in(&next).await;
                assert_eq!(a.renews(&next).await, Renewal::Kept);
                a.is_rid_of(&next).await;
            }
        }
    }
    let (lingers, refused) = (a.exclusive(key), leave(b.exclusive(key)));
    a.takes(&lingers).await;
    let linger = Some(Duration::from_millis(80));
    let claim = lingers.clone();
    a.store.release(&[Leave { claim, linger }]).await;
    b.waits(&refused).await;
    // One who has died at the head, before one who holds permits that end in silence.
    let (dead, short) = (
        lasting(a.exclusive(key), 50),
        lasting(a.claim(key, TWO), 150),
    );
    drop(a.waits(&dead).await);
    drop(a.waits(&short).await);
    pause(100).await;
    a.comes_in(&short).await;
    let last = b.exclusive(key);
    b.comes_in(&last).await;
    b.releases(&last).await;
    server.ask(&["HSET", key, "field", "1"]).unwrap();
    let foreign = b.exclusive(key);
    let changed = b.waits(&foreign).await.changed.unwrap();
    pause(10).await;
    server.ask(&["DEL", key]).unwrap();
    woken(changed).await;
    b.takes(&foreign).await;
    b.releases(&foreign).await;
}

/// Many keys in one call, and the same again while others stand in line for them.
async fn together(a: &Client, keys: &[String], mode: Mode) {
    let claims: Vec<Claim> = keys.iter().map(|key| a.claim(key, mode)).collect();
    let behind: Vec<Claim> = keys.iter().map(|key| a.exclusive(key)).collect();
    let granted = |answer: &Result<Attempt, _>| matches!(answer, Ok(Attempt::Granted(_)));
    assert!(a.attempts(&claims).await.iter().all(granted));
    assert!(!a.attempts(&behind).await.iter().any(granted));
    let kept = a.renewals(&claims).await;
    assert!(kept.iter().all(|one| matches!(one, Ok(Renewal::Kept))));
    for all in [claims, behind] {
        let leaving = all.into_iter().map(|claim| Leave {
            claim,
            linger: None,
        });
        let left = a.store.release(&leaving.collect::<Vec<_>>()).await;
        assert!(left.iter().all(|one| matches!(one, Ok(Release::Done))));
    }
}

async fn by_hand(server: &RedisServer, a: &Client, b: &Client, key: &str) {
    for mode in MODES {
        let (held, waiter) = (a.claim(key, mode), b.exclusive(key));
        a.takes(&held).await;
        drop(b.waits(&waiter).await);
        for _ in 0..2 {
            let shown = a.store.inspect(key.as_bytes()).await.unwrap();
            assert_eq!(a.store.evict(&shown[0]).await.unwrap(), Release::Done);
        }
    }
    server.ask(&["SET", key, "theirs"]).unwrap();
    let shown = a.store.inspect(key.as_bytes()).await.unwrap();
    assert_eq!(a.store.evict(&shown[0]).await.unwrap(), Release::Done);
}
