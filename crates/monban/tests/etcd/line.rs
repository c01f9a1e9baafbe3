//! The layout: foreign claims, longer keys, prefixes, leases.

use std::time::Duration;

use monban::contract::{Release, Renewal, Store, Why};
use monban::data::{EntryId, Mode, Standing};

use crate::client::{
    Client, SOON, keys, leases, leave, nothing_is_left, revision, run, server, shared, woken,
};

const ONE: Mode = Mode::Permits { n: 1, of: 2 };

/// What Go's package would have there: the lease in hexadecimal, nothing in it.
fn put_foreign(key: &str) -> String {
    let granted = shared().ask(&["lease", "grant", "600"]).unwrap();
    let lease = granted.split_whitespace().nth(1).unwrap().to_owned();
    let name = format!("{key}/{lease}");
    shared()
        .ask(&["put", &name, "", &format!("--lease={lease}")])
        .unwrap();
    name
}

#[test]
fn a_foreign_claim_is_in_the_line_like_any_other() {
    run(async {
        let client = Client::at(&format!("{}/foreign", shared().url())).await;
        for mode in [Mode::Exclusive, Mode::Shared, ONE] {
            let first = put_foreign("foreign/k");
            let (tried, claim) = (leave(client.claim("k", mode)), client.claim("k", mode));
            assert_eq!(client.waits(&tried).await.why, Why::Foreign);
            let busy = client.waits(&claim).await;
            assert_eq!((busy.why, busy.ahead), (Why::Foreign, Some(1)));
            // One that came later is behind, and is not in the way.
            let later = put_foreign("foreign/k");
            let line = client.store.inspect(b"k").await.unwrap();
            assert_eq!(line.len(), 3, "{line:?}");
            assert_eq!(line[0].standing, Standing::Foreign);
            assert_eq!(line[1].id, EntryId::Claim(claim.id));
            assert_eq!(line[2].standing, Standing::Waiting { ahead: 2 });
            assert!(
                line.iter().all(|entry| entry.expires_in.is_some()),
                "{line:?}"
            );
            shared().ask(&["del", &first]).unwrap();
            woken(busy.changed.unwrap()).await;
            client.takes(&claim).await;
            let behind = leave(client.claim("k", mode));
            client.waits(&behind).await;
            assert_eq!(client.releases(&claim).await, Release::Done);
            shared().ask(&["del", &later]).unwrap();
        }
        nothing_is_left(shared(), "foreign/").await;
    });
}

#[test]
fn a_foreign_claim_can_be_freed_by_hand_but_not_its_successor() {
    run(async {
        let client = Client::at(&format!("{}/byhand", shared().url())).await;
        let name = put_foreign("byhand/k");
        let shown = client.store.inspect(b"k").await.unwrap();
        assert_eq!(shown.len(), 1, "{shown:?}");
        let lease = name.rsplit('/').next().unwrap();
        shared().ask(&["del", &name]).unwrap();
        shared()
            .ask(&["put", &name, "", &format!("--lease={lease}")])
            .unwrap();
        assert_eq!(client.store.evict(&shown[0]).await.unwrap(), Release::Gone);
        let shown = client.store.inspect(b"k").await.unwrap();
        assert_eq!(client.store.evict(&shown[0]).await.unwrap(), Release::Done);
        nothing_is_left(shared(), "byhand/").await;
    });
}

/// `jobs` and `jobs/7` are different keys, though the one's range has the other in it.
#[test]
fn a_longer_key_is_another_key() {
    run(async {
        let client = Client::at(&format!("{}/longer", shared().url())).await;
        let mut below = Vec::new();
        // More than are read at once, and some that look like shares and permits.
        for n in 0..40 {
            let name = match n % 4 {
                0 => format!("jobs/{n}"),
                1 => format!("jobs/~s{n}"),
                2 => format!("jobs/~p{n}"),
                _ => format!("jobs/{n}/x/y"),
            };
            let claim = client.exclusive(&name);
            client.takes(&claim).await;
            below.push(claim);
        }
        for mode in [Mode::Exclusive, Mode::Shared, ONE] {
            let tried = leave(client.claim("jobs", mode));
            client.takes(&tried).await;
            let (queued, behind) = (client.exclusive("jobs"), client.exclusive("jobs"));
            let busy = client.waits(&queued).await;
            client.waits(&behind).await;
            client.releases(&tried).await;
            woken(busy.changed.unwrap()).await;
            client.takes(&queued).await;
            client.releases(&queued).await;
            client.comes_in(&behind).await;
            client.releases(&behind).await;
            let joined = client.claim("jobs", mode);
            client.takes(&joined).await;
            assert_eq!(client.renews(&joined).await, Renewal::Kept);
            client.releases(&joined).await;
        }
        for claim in below {
            assert_eq!(client.releases(&claim).await, Release::Done);
        }
        nothing_is_left(shared(), "longer/").await;
    });
}

#[test]
fn a_long_line_is_joined_and_left_in_order() {
    run(async {
        let client = Client::at(&format!("{}/long", shared().url())).await;
        let claims: Vec<_> = (0..60).map(|_| client.exclusive("k")).collect();
        client.takes(&claims[0]).await;
        let mut wakes = Vec::new();
        for claim in &claims[1..] {
            let busy = client.waits(claim).await;
            assert_eq!(busy.why, Why::Held);
            wakes.push(busy.changed.unwrap());
        }
        for claim in claims.iter().rev().take(5) {
            client.waits(claim).await;
        }
        let tried = client.waits(&leave(client.exclusive("k"))).await;
        assert!(tried.changed.is_some());
        for (at, wake) in wakes.into_iter().enumerate() {
            client.releases(&claims[at]).await;
            woken(wake).await;
            client.takes(&claims[at + 1]).await;
        }
        client.releases(claims.last().unwrap()).await;
        nothing_is_left(shared(), "long/").await;
    });
}

#[test]
fn one_lease_carries_all_claims_and_stays_between_them() {
    run(async {
        let server = server();
        let client = Client::at(&format!("{}/lease", server.url())).await;
        for _ in 0..3 {
            let claims: Vec<_> = (0..20)
                .map(|n| client.exclusive(&format!("k{n}")))
                .collect();
            for claim in &claims {
                client.takes(claim).await;
            }
            assert_eq!(keys(&server, "lease/").len(), 20);
            assert_eq!(leases(&server).len(), 1);
            for claim in &claims {
                client.releases(claim).await;
            }
        }
        assert_eq!(leases(&server).len(), 1);
    });
}

/// Ready together, they are one transaction: the cluster writes once.
#[test]
fn a_release_and_the_next_claim_of_a_process_are_one_write() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let mut held = client.exclusive("k");
        client.takes(&held).await;
        for _ in 0..5 {
            let next = client.exclusive("k");
            let before = revision(&server);
            let (left, got) = tokio::join!(client.releases(&held), client.takes(&next));
            assert_eq!(left, Release::Done);
            assert_eq!(revision(&server), before + 1);
            assert_eq!(got.fence.unwrap().as_i64(), before + 1);
            assert_eq!(keys(&server, "k/").len(), 1);
            held = next;
        }
        client.releases(&held).await;
        nothing_is_left(&server, "k/").await;
    });
}

/// Deleted by somebody's hand, as with `etcdctl del`.
#[test]
fn a_holder_hears_that_its_claim_was_deleted() {
    run(async {
        let client = Client::at(&format!("{}/deleted", shared().url())).await;
        for early in [true, false] {
            let claim = client.exclusive("k");
            let lost = client.takes(&claim).await.lost.unwrap();
            if !early {
                crate::client::pause(100).await; // it is watched by now
            }
            shared().ask(&["del", "--prefix", "deleted/k/"]).unwrap();
            woken(lost).await;
            assert_eq!(client.renews(&claim).await, Renewal::Lost);
            assert_eq!(client.releases(&claim).await, Release::Gone);
        }
    });
}

#[test]
fn a_ttl_is_rounded_up_to_whole_seconds_and_said() {
    run(async {
        let client = Client::at(&format!("{}/ttl", shared().url())).await;
        for (asked, said) in [(1_001, 2), (2_000, 2), (2_500, 3)] {
            let ttl = Duration::from_millis(asked);
            let claim = crate::client::lasting(client.exclusive("k"), ttl);
            let grant = client.takes(&claim).await;
            assert_eq!(grant.ttl, Some(Duration::from_secs(said)));
            client.releases(&claim).await;
        }
        assert!(SOON > Duration::from_secs(3));
    });
}
