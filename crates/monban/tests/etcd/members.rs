//! Members that come and go: one that leads no more and does not know it, one that is removed, one that learns.

use std::time::{Duration, Instant};

use monban::contract::{Renewal, Store};
use monban_testkit::EtcdServer;

use crate::client::{
    Client, SOON, is_unavailable, lasting, leases, nothing_is_left, pause, run, woken,
};
use crate::cluster::{leader_of, three};

/// How long a lease has left, as a member that takes part says.
fn seconds_left(server: &EtcdServer, lease: &str) -> u64 {
    let said = server.ask(&["lease", "timetolive", lease, "--write-out=fields"]);
    let said = said.unwrap();
    let left = said
        .lines()
        .find_map(|line| line.strip_prefix("\"TTL\" : "));
    left.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

/// It was stopped, another was elected, and it goes on: the first it does is to renew a lease, which is not its to renew.
#[test]
fn a_renewal_by_a_leader_that_was_replaced_does_not_count() {
    run(async {
        let mut server = three();
        let old = leader_of(&server);
        let client = Client::at(&format!("etcd://{}?timeout=6s", server.place(old))).await;
        let ttl = Duration::from_secs(20);
        let claim = lasting(client.exclusive("k"), ttl);
        client.takes(&claim).await;
        let lease = leases(&server).pop().unwrap();
        server.stop_signal(old).unwrap();
        pause(8_000).await; // the others have elected one of them, who counts the lease's time since then
        let sent = Instant::now();
        let renewal = client.tries_renewal(&claim);
        let resumes = async {
            pause(100).await; // the request is in its hands by now
            server.cont(old).unwrap();
        };
        let (renewal, ()) = tokio::join!(renewal, resumes);
        let kept = match renewal {
            Ok(renewal) => Some(renewal),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                None
            }
        };
        if let Some(renewal) = kept {
            assert_eq!(renewal, Renewal::Kept);
            let left = Duration::from_secs(seconds_left(&server, &lease) + 1);
            let believed = ttl.saturating_sub(sent.elapsed());
            assert!(
                believed <= left,
                "believed to live {believed:?}, and lives {left:?}"
            );
        }
        // Whatever it was told, the next one counts.
        let (start, mut sent) = (Instant::now(), Instant::now());
        while is_unavailable(&client.tries_renewal(&claim).await) {
            assert!(start.elapsed() < SOON, "nothing is renewed any more");
            sent = Instant::now();
        }
        let left = Duration::from_secs(seconds_left(&server, &lease) + 1);
        assert!(ttl.saturating_sub(sent.elapsed()) <= left);
        client.is_rid_of(&claim).await;
        nothing_is_left(&server, "k/").await;
    });
}

#[test]
fn a_member_that_is_removed_is_left_for_another() {
    run(async {
        let server = three();
        let url = format!("{}?timeout=6s", server.url()); // connected to the first
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let fence = a.takes(&held).await.fence;
        let changed = b.waits(&waiter).await.changed.unwrap();
        server.remove(0).unwrap();
        assert_eq!(a.comes_in(&held).await.fence, fence);
        let start = Instant::now();
        while is_unavailable(&a.tries_renewal(&held).await) {
            assert!(start.elapsed() < SOON, "nothing is renewed any more");
        }
        a.is_rid_of(&held).await;
        woken(changed).await;
        assert!(b.comes_in(&waiter).await.fence > fence);
        b.is_rid_of(&waiter).await;
    });
}

#[test]
fn a_member_that_only_learns_is_left_for_one_that_decides() {
    run(async {
        let mut server = three();
        let learner = server.add_learner().unwrap();
        let url = format!(
            "etcd://{},{}?timeout=6s",
            server.place(learner),
            server.place(1)
        );
        let client = Client::at(&url).await;
        let claim = client.exclusive("k");
        client.comes_in(&claim).await;
        client.is_rid_of(&claim).await;
        let alone = format!("etcd://{}?timeout=1s", server.place(learner));
        let error = crate::client::refused(&alone).await;
        assert!(
            error.is_transient() && error.to_string().contains("learner"),
            "{error}"
        );
        client.store.close().await;
        nothing_is_left(&server, "").await;
    });
}
