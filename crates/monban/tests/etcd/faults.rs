//! One server that dies, stops and forgets, leases that are revoked, and a network that loses and cuts.

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Release, Renewal};
use monban::{Locks, Options};

use crate::client::{
    Client, SOON, is_unavailable, keys, lasting, leases, leave, nothing_is_left, pause, revision,
    run, server, woken,
};
use crate::overtaken::Next;
use crate::proxy::{Plan, Proxy};

#[test]
fn a_lease_revoked_while_held_ends_the_hold_and_the_next_has_the_key() {
    run(async {
        let server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let held = a.exclusive("k");
        let grant = a.takes(&held).await;
        let lease = leases(&server).pop().unwrap();
        let waiter = b.exclusive("k");
        let changed = b.waits(&waiter).await.changed.unwrap();
        server.ask(&["lease", "revoke", &lease]).unwrap();
        let revoked = Instant::now();
        woken(grant.lost.unwrap()).await;
        eprintln!(
            "figure: etcd: from a revocation, as its tool has heard of it, until the holder is told: {:?}",
            revoked.elapsed()
        );
        woken(changed).await;
        assert_eq!(a.renews(&held).await, Renewal::Lost);
        assert!(b.takes(&waiter).await.fence > grant.fence);
        assert_eq!(a.releases(&held).await, Release::Gone);
        // A new claim gets a new lease.
        let again = a.exclusive("other");
        a.takes(&again).await;
        assert_eq!(b.renews(&waiter).await, Renewal::Kept);
    });
}

/// Version 3.4's own lock tells such a waiter that it holds the lock.
#[test]
fn a_waiter_whose_lease_is_revoked_holds_nothing_and_is_at_the_end() {
    run(async {
        let server = server();
        let clients = [
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        ];
        let [a, b, c] = &clients;
        let held = a.exclusive("k");
        a.takes(&held).await;
        let before = leases(&server);
        let (waiter, last) = (b.exclusive("k"), c.exclusive("k"));
        b.waits(&waiter).await;
        let lease = leases(&server)
            .into_iter()
            .find(|lease| !before.contains(lease));
        c.waits(&last).await;
        server.ask(&["lease", "revoke", &lease.unwrap()]).unwrap();
        let busy = b.waits(&waiter).await; // joined anew, behind the third
        assert_eq!(busy.ahead, Some(2));
        a.releases(&held).await;
        let grant = c.comes_in(&last).await;
        b.waits(&waiter).await;
        c.releases(&last).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
    });
}

/// It is woken by the end of the one ahead, before it hears of its own.
#[test]
fn a_waiter_whose_lease_is_revoked_is_not_let_in_by_what_wakes_it() {
    run(async {
        let server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let held = a.exclusive("k");
        a.takes(&held).await;
        let before = leases(&server);
        let waiter = b.exclusive("k");
        let changed = b.waits(&waiter).await.changed.unwrap();
        let own = leases(&server)
            .into_iter()
            .find(|lease| !before.contains(lease));
        server.ask(&["lease", "revoke", &own.unwrap()]).unwrap();
        assert_eq!(keys(&server, "k/").len(), 1);
        a.releases(&held).await;
        let left = revision(&server);
        woken(changed).await;
        // It asks as if it were in line, and is: anew, from now on.
        let grant = b.takes(&waiter).await;
        assert!(grant.fence.unwrap().as_i64() > left);
        assert_eq!(keys(&server, "k/").len(), 1);
        assert_eq!(b.renews(&waiter).await, Renewal::Kept);
    });
}

#[test]
fn a_restart_keeps_the_lock_and_the_line() {
    run(async {
        let mut server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        server.kill9(0).unwrap();
        assert!(is_unavailable(&a.tries_renewal(&held).await));
        server.restart(0).unwrap();
        let again = a.comes_in(&held).await;
        assert_eq!(again.fence, grant.fence);
        assert_eq!(a.renews(&held).await, Renewal::Kept);
        a.is_rid_of(&held).await;
        woken(changed).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k/").await;
    });
}

#[test]
fn every_verb_is_answered_though_the_server_is_stopped_and_leaves_nothing() {
    run(async {
        let mut server = server();
        let client = Client::at(&format!("{}?timeout=300ms", server.url())).await;
        for stopped in [100, 1_500] {
            let (held, asked) = (client.exclusive("k"), client.exclusive("other"));
            client.takes(&held).await;
            server.stop_signal(0).unwrap();
            let start = Instant::now();
            assert!(is_unavailable(&client.ask(&asked).await));
            assert!(is_unavailable(&client.tries_renewal(&held).await));
            assert!(is_unavailable(&client.tries_release(&held).await));
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            pause(stopped).await;
            server.cont(0).unwrap();
            client.is_rid_of(&asked).await;
            client.is_rid_of(&held).await;
            nothing_is_left(&server, "k/").await;
            nothing_is_left(&server, "other/").await;
        }
    });
}

#[test]
fn lost_replies_and_late_requests_leave_nothing_behind() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let url = format!("etcd://127.0.0.1:{}?timeout=1s", proxy.port());
        let client = Client::at(&url).await;
        let witness = Client::at(&server.url()).await;
        let kept = client.exclusive("kept");
        let fence = client.takes(&kept).await.fence;
        let ways = [
            Plan {
                drop_replies: true,
                ..Plan::default()
            },
            Plan {
                keep_requests: true,
                ..Plan::default()
            },
            Plan {
                half_close_after: Some(3),
                ..Plan::default()
            },
            Plan {
                cut_after: Some(20),
                ..Plan::default()
            },
        ];
        for plan in ways {
            proxy.plan(plan.clone());
            let claim = client.exclusive("k");
            let answer = client.ask(&claim).await;
            proxy.plan(Plan::default());
            if let Ok(answer) = answer {
                assert!(
                    matches!(answer, Attempt::Granted(_)),
                    "{plan:?}: {answer:?}"
                );
            }
            client.is_rid_of(&claim).await;
            // A request that was kept may come now; what it puts is nobody's, and is deleted.
            nothing_is_left(&server, "k/").await;
            let next = leave(witness.exclusive("k"));
            witness.takes(&next).await;
            witness.releases(&next).await;
        }
        // The hold that was there all the time is there, under a lease that is used for nothing else.
        assert_eq!(client.comes_in(&kept).await.fence, fence);
        assert_eq!(client.renews(&kept).await, Renewal::Kept);
        client.is_rid_of(&kept).await;
        assert_eq!(keys(&server, ""), Vec::<String>::new());
    });
}

/// A put that arrives after its claim was released, by hand: as a request does that was long on its way.
#[test]
fn what_a_late_request_has_put_under_our_lease_is_deleted() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let url = format!("etcd://127.0.0.1:{}?timeout=1s", proxy.port());
        let client = Client::at(&url).await;
        let kept = client.exclusive("kept");
        client.takes(&kept).await;
        let lease = leases(&server).pop().unwrap();
        proxy.plan(Plan {
            drop_replies: true,
            ..Plan::default()
        });
        let claim = client.exclusive("k");
        assert!(is_unavailable(&client.ask(&claim).await)); // its lease is used for nothing new from now on
        proxy.plan(Plan::default());
        client.is_rid_of(&claim).await;
        let name = format!("k/{}", claim.id);
        let late = ["put", &name, "mb1:i:120000:h/1/", "--lease", &lease];
        server.ask(&late).unwrap();
        nothing_is_left(&server, "k/").await;
        assert_eq!(client.renews(&kept).await, Renewal::Kept);
    });
}

/// Cut off for more than a TTL: it stops believing before anybody else is let in.
#[test]
fn a_holder_that_is_cut_off_loses_its_lease_before_another_gets_one() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let url = format!("etcd://127.0.0.1:{}?timeout=1s", proxy.port());
        let cut_off = Locks::connect(&url).await.unwrap();
        let options = Options::new().ttl(Duration::from_secs(3));
        let mutex = cut_off.mutex("k").unwrap().with(options.clone()).unwrap();
        let lease = mutex.lock().await.unwrap();
        let other = Locks::connect(&server.url()).await.unwrap();
        let waiting = other.mutex("k").unwrap().with(options).unwrap();
        let next = Next::behind(waiting, SOON * 2);
        proxy.plan(Plan {
            keep_requests: true,
            ..Plan::default()
        });
        let next = next.comes_after(&lease, "etcd: cut off").await;
        proxy.plan(Plan::default());
        drop(lease);
        next.check().unwrap();
        next.release().await.unwrap();
        nothing_is_left(&server, "k/").await;
    });
}

/// A process that dies: nobody says anything to the server.
#[test]
fn a_dead_process_s_keys_are_free_when_its_lease_ends() {
    run(async {
        let server = server();
        let (dead, other) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let ttl = Duration::from_secs(2);
        let (held, waiter) = (
            lasting(dead.exclusive("k"), ttl),
            lasting(dead.exclusive("k"), ttl),
        );
        dead.takes(&held).await;
        dead.waits(&waiter).await;
        drop(dead);
        let next = other.exclusive("k");
        other.comes_in(&next).await;
        assert_eq!(keys(&server, "k/").len(), 1);
    });
}
