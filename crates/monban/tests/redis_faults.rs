//! Servers that die, stop, forget and cut; networks that lose, delay and break off. After each of them nothing is stuck
//! and nothing is left that nobody wants.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use common::overtaken::overtaken;
use common::proxy::{Plan, Proxy};
use common::{Client, least_permissions, leave, leftovers, pause, run, server, sleeps_on, woken};
use monban::Error;
use monban::contract::{Attempt, Release, Renewal, Store};
use monban::data::{Claim, EntryId, Leave, Mode, Standing};
use monban_testkit::{Persistence, RedisOptions, RedisServer};

const ONE: Mode = Mode::Permits { n: 1, of: 1 };

#[test]
fn a_restart_without_data_loses_the_lock_and_the_holder_hears_of_it() {
    run(async {
        let mut server = server();
        let client = Client::of(&server).await;
        let claim = client.exclusive("k");
        let grant = client.takes(&claim).await;
        server.kill9().unwrap();
        let error = client.ask(&client.exclusive("k")).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        server.restart().unwrap();
        woken(grant.lost.unwrap()).await;
        assert_eq!(client.renews(&claim).await, Renewal::Lost);
        let again = client.exclusive("k");
        assert!(client.takes(&again).await.fence > grant.fence);
        client.releases(&again).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_restart_with_its_data_keeps_the_lock_and_the_line() {
    run(async {
        let options = RedisOptions::new().persistence(Persistence::AofAlways);
        let mut server = RedisServer::start(options).unwrap();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        server.kill9().unwrap();
        server.restart().unwrap();
        woken(changed).await; // to ask again, since it may have missed something
        let changed = b.waits(&waiter).await.changed.unwrap();
        let mut lost = grant.lost.unwrap();
        sleeps_on(&mut lost, 200).await;
        assert_eq!(a.renews(&held).await, Renewal::Kept);
        assert_eq!(a.takes(&held).await.fence, grant.fence);
        a.releases(&held).await;
        woken(changed).await;
        assert!(b.takes(&waiter).await.fence > grant.fence);
        b.releases(&waiter).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_stopped_server_leaves_no_grant_that_nobody_wants() {
    run(async {
        let mut server = server();
        let client = Client::at(&format!("{}?timeout=300ms", server.url())).await;
        for stop in [100, 1_500] {
            client.warms_up().await;
            server.stop_signal().unwrap();
            let claim = client.exclusive("k");
            let start = Instant::now();
            let error = client.ask(&claim).await.unwrap_err();
            assert!(
                error.is_transient() && error.to_string().contains("no answer"),
                "{error}"
            );
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "{:?}",
                start.elapsed()
            );
            pause(stop).await;
            server.cont().unwrap();
            client.is_rid_of(&claim).await;
            pause(100).await;
            assert_eq!(
                leftovers(&server),
                Vec::<String>::new(),
                "stopped for {stop} ms"
            );
        }
    });
}

#[test]
fn a_killed_connection_is_made_again_with_all_that_was_watched() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let mut lost = a.takes(&held).await.lost.unwrap();
        let changed = b.waits(&waiter).await.changed.unwrap();
        pause(20).await;
        server
            .ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .unwrap();
        server
            .ask(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"])
            .unwrap();
        woken(changed).await;
        sleeps_on(&mut lost, 100).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        assert_eq!(a.renews(&held).await, Renewal::Kept);
        // The hand-over is still told, on the new connection.
        a.releases(&held).await;
        woken(changed).await;
        let lost = b.takes(&waiter).await.lost.unwrap();
        // And so is a loss, by a watch that began before the connection was killed once more.
        pause(20).await;
        server
            .ask(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"])
            .unwrap();
        pause(100).await;
        server.ask(&["DEL", "k"]).unwrap();
        woken(lost).await;
    });
}

/// Of a share that is freed by hand beside another no key tells: only the message does, to which a new connection listens too.
#[test]
fn who_is_freed_by_hand_is_told_on_a_connection_that_was_made_again() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        let (freed, other) = (a.claim("k", Mode::Shared), b.claim("k", Mode::Shared));
        let mut lost = a.takes(&freed).await.lost.unwrap();
        b.takes(&other).await;
        pause(20).await;
        for kind in ["normal", "pubsub"] {
            server
                .ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
                .unwrap();
        }
        sleeps_on(&mut lost, 200).await;
        let shown = b.store.inspect(b"k").await.unwrap();
        let entry = shown
            .iter()
            .find(|entry| entry.id == EntryId::Claim(freed.id));
        assert_eq!(b.store.evict(entry.unwrap()).await.unwrap(), Release::Done);
        let start = Instant::now();
        woken(lost).await;
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(a.renews(&freed).await, Renewal::Lost);
        b.releases(&other).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn forgotten_scripts_are_loaded_again() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let forget = || server.ask(&["SCRIPT", "FLUSH"]).unwrap();
        let (held, waiter) = (client.exclusive("k"), client.exclusive("k"));
        forget();
        let lost = client.takes(&held).await.lost;
        forget();
        drop(client.waits(&waiter).await);
        forget();
        assert_eq!(client.renews(&held).await, Renewal::Kept); // with its watch
        forget();
        drop(client.waits(&waiter).await);
        forget();
        let mut shown = client.store.inspect(b"k").await.unwrap();
        assert_eq!(shown.len(), 2);
        forget();
        assert_eq!(
            client.store.evict(&shown.remove(0)).await.unwrap(),
            Release::Done
        );
        woken(lost.unwrap()).await;
        forget();
        assert_eq!(client.releases(&waiter).await, Release::Done);
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn all_data_deleted_under_a_holder_is_noticed_and_fences_go_on() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        pause(20).await;
        server.ask(&["FLUSHALL"]).unwrap();
        woken(grant.lost.unwrap()).await;
        woken(changed).await;
        assert_eq!(a.renews(&held).await, Renewal::Lost);
        assert!(b.takes(&waiter).await.fence > grant.fence);
    });
}

/// The reply to an attempt is cut after each of its bytes. The same claim asked again holds, and nothing stays.
#[test]
fn a_connection_cut_at_any_byte_of_a_reply_is_survived() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&proxy.url()).await;
        let warm = client.exclusive("warm");
        client.takes(&warm).await;
        client.releases(&warm).await;
        for busy in [false, true] {
            let holder = client.exclusive("k");
            if busy {
                client.takes(&holder).await;
                pause(20).await;
            }
            proxy.plan(Plan::default());
            let probe = leave(client.exclusive("k"));
            drop(client.ask(&probe).await);
            let length = proxy.passed();
            client.releases(&probe).await;
            assert!((10..400).contains(&length), "{length} bytes");
            for cut in 0..length {
                let claim = client.exclusive(if busy { "k" } else { "free" });
                proxy.plan(Plan {
                    cut_after: Some(cut),
                    ..Plan::default()
                });
                let error = client.ask(&claim).await.unwrap_err();
                assert!(error.is_transient(), "after {cut} bytes: {error}");
                proxy.plan(Plan::default());
                let start = Instant::now();
                let again = loop {
                    match client.ask(&claim).await {
                        Ok(again) => break again,
                        Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
                    }
                };
                assert_eq!(
                    matches!(again, Attempt::Granted(_)),
                    !busy,
                    "after {cut} bytes"
                );
                assert_eq!(
                    client.releases(&claim).await,
                    Release::Done,
                    "after {cut} bytes"
                );
            }
            client.releases(&holder).await;
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

/// So is the reply to a renewal or a release cut: what was asked is asked again, and it is known what became of it.
#[test]
fn a_renewal_or_a_release_whose_reply_is_cut_may_be_repeated() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&proxy.url()).await;
        for (mode, renews) in [
            (Mode::Exclusive, true),
            (Mode::Exclusive, false),
            (Mode::Shared, true),
            (Mode::Shared, false),
        ] {
            let mut length = 1;
            for cut in 0.. {
                let claim = client.claim("k", mode);
                client.comes_in(&claim).await;
                proxy.plan(Plan {
                    cut_after: (cut > 0).then(|| cut - 1),
                    ..Plan::default()
                });
                let failed = if renews {
                    let kept = client.renewals(std::slice::from_ref(&claim)).await;
                    kept[0].as_ref().err().cloned()
                } else {
                    client.tries_release(&claim).await.err()
                };
                if cut == 0 {
                    length = proxy.passed(); // of an uncut reply
                }
                let way = format!("{mode:?}, renewal: {renews}, after {cut} of {length} bytes");
                proxy.plan(Plan::default());
                assert_eq!(failed.is_some(), cut > 0, "{way}: {failed:?}");
                assert!(failed.is_none_or(|error| error.is_transient()), "{way}");
                client.warms_up().await;
                if renews {
                    assert_eq!(client.renews(&claim).await, Renewal::Kept, "{way}");
                }
                client.is_rid_of(&claim).await;
                assert_eq!(leftovers(&server), Vec::<String>::new(), "{way}");
                if cut == length {
                    break;
                }
            }
        }
    });
}

/// The server forgets its scripts while batches are on their way, again and again. Who is told that the outcome is not
/// known asks again.
#[test]
fn scripts_forgotten_in_the_middle_of_a_batch_lose_no_claim() {
    let server = server();
    let server = &server;
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(move |threads| {
        threads.spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                server.ask(&["SCRIPT", "FLUSH"]).unwrap();
            }
        });
        run(async {
            let client = Client::of(server).await;
            let batch: Vec<Claim> = (0..2_500)
                .map(|at| client.claim(&format!("k{at}"), [Mode::Exclusive, Mode::Shared][at % 2]))
                .collect();
            let mut numbers = Vec::new();
            for round in 0..8 {
                let answers = client.attempts(&batch).await;
                for (at, (claim, answer)) in batch.iter().zip(answers).enumerate() {
                    let grant = match answer {
                        Ok(Attempt::Granted(grant)) => grant,
                        Ok(Attempt::Busy(busy)) => panic!("{busy:?}"),
                        Err(error) if error.is_transient() => client.comes_in(claim).await,
                        Err(error) => panic!("{error}"),
                    };
                    if round == 0 {
                        numbers.push(grant.fence);
                    }
                    assert_eq!(numbers[at], grant.fence);
                }
                let kept = client.renewals(&batch).await;
                let fine = |one: &Result<Renewal, Error>| match one {
                    Ok(kept) => *kept == Renewal::Kept,
                    Err(error) => error.is_transient(),
                };
                assert!(kept.iter().all(fine), "round {round}");
            }
            for (claim, left) in batch.iter().zip(all_leave(&client, &batch).await) {
                if left.is_err() {
                    client.is_rid_of(claim).await;
                }
            }
        });
        drop(stop);
    });
    assert_eq!(leftovers(server), Vec::<String>::new());
}

#[test]
fn lost_replies_and_requests_leave_nothing_behind() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&format!("{}?timeout=200ms", proxy.url())).await;
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
        ];
        for way in ways {
            for again in [true, false] {
                client.warms_up().await;
                let claim = client.exclusive("k");
                proxy.plan(way.clone());
                let error = client.ask(&claim).await.unwrap_err();
                assert!(error.is_transient(), "{way:?}: {error}");
                pause(if again { 0 } else { 700 }).await; // long enough for the connection to be given up
                proxy.plan(Plan::default());
                if again {
                    client.comes_in(&claim).await;
                }
                client.is_rid_of(&claim).await;
                pause(100).await;
                assert_eq!(
                    leftovers(&server),
                    Vec::<String>::new(),
                    "{way:?}, again: {again}"
                );
            }
        }
    });
}

/// The request is on its way for longer than its connection lives, and arrives after the release: the old connection has
/// been ended at the server before.
#[test]
fn a_request_that_arrives_after_the_release_is_not_carried_out() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&format!("{}?timeout=200ms", proxy.url())).await;
        for round in 0..3 {
            client.warms_up().await;
            let claim = client.exclusive("k");
            // What was sent before stands behind a delay; new connections are quick.
            proxy.plan(Plan {
                delay: Duration::from_millis(1_500),
                ..Plan::default()
            });
            let error = client.ask(&claim).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            proxy.plan(Plan::default());
            pause(500).await; // the probe has given the old connection up
            client.is_rid_of(&claim).await;
            pause(1_500).await;
            assert_eq!(leftovers(&server), Vec::<String>::new(), "round {round}");
        }
    });
}

/// Kept on its way until its claim had expired, and joined anew behind another that holds by then.
#[test]
fn a_grant_by_message_that_is_over_when_it_arrives_is_none() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let (a, b, late) = (
            Client::of(&server).await,
            Client::of(&server).await,
            Client::at(&proxy.url()).await,
        );
        let held = a.exclusive("k");
        let mut waiter = late.exclusive("k");
        waiter.ttl = Duration::from_millis(900);
        a.takes(&held).await;
        let changed = late.waits(&waiter).await.changed.unwrap();
        let answers = overtaken(&proxy, (&a, &held), &b, (&late, &waiter)).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        drop(changed);
        late.is_rid_of(&waiter).await;
    });
}

#[test]
fn a_slow_link_is_only_slow() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&proxy.url()).await;
        proxy.plan(Plan {
            delay: Duration::from_millis(40),
            ..Plan::default()
        });
        for _ in 0..3 {
            let (held, waiter) = (client.exclusive("k"), client.exclusive("k"));
            let mut lost = client.takes(&held).await.lost.unwrap();
            let changed = client.waits(&waiter).await.changed.unwrap();
            assert_eq!(client.renews(&held).await, Renewal::Kept);
            sleeps_on(&mut lost, 300).await;
            client.releases(&held).await;
            woken(changed).await;
            client.takes(&waiter).await;
            client.releases(&waiter).await;
        }
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_full_server_takes_no_claim_and_lets_held_ones_go_on() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let (held, waiter) = (client.exclusive("k"), client.exclusive("k"));
        let watch = client.takes(&held).await.lost;
        drop(client.waits(&waiter).await);
        server
            .ask(&["CONFIG", "SET", "maxmemory", "100kb"])
            .unwrap();
        let error = client.ask(&client.exclusive("other")).await.unwrap_err();
        assert!(error.to_string().contains("maxmemory"), "{error}");
        assert_eq!(client.renews(&held).await, Renewal::Kept);
        // A waiter's place is no more memory than it was.
        client.waits(&waiter).await;
        drop(client.waits(&waiter).await);
        assert_eq!(client.releases(&held).await, Release::Done);
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
        client.takes(&waiter).await;
        client.releases(&waiter).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
        drop(watch);
    });
}

#[test]
fn a_full_server_lets_shares_permits_and_their_line_go_on() {
    run(async {
        for (holds, waits) in [
            (Mode::Shared, Mode::Exclusive),
            (ONE, ONE),
            (ONE, Mode::Exclusive),
        ] {
            let server = server();
            let client = Client::of(&server).await;
            let (held, waiter) = (client.claim("k", holds), client.claim("k", waits));
            let granted = client.takes(&held).await;
            drop(client.waits(&waiter).await);
            server
                .ask(&["CONFIG", "SET", "maxmemory", "100kb"])
                .unwrap();
            for _ in 0..2 {
                assert_eq!(client.renews(&held).await, Renewal::Kept, "{holds:?}");
                client.waits(&waiter).await;
                assert_eq!(client.takes(&held).await.fence, granted.fence);
                drop(client.waits(&waiter).await);
            }
            let newcomer = leave(client.claim("other", holds));
            assert!(client.ask(&newcomer).await.is_err());
            assert_eq!(client.releases(&held).await, Release::Done);
            client.takes(&waiter).await;
            assert_eq!(client.releases(&waiter).await, Release::Done);
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

#[test]
fn a_full_server_lets_an_answer_be_asked_for_again_and_a_claim_linger() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let claim = client.exclusive("k");
        let fence = client.fence(&claim).await;
        server
            .ask(&["CONFIG", "SET", "maxmemory", "100kb"])
            .unwrap();
        assert_eq!(client.fence(&claim).await, fence);
        let linger = Some(Duration::from_secs(5));
        let left = client.store.release(&[Leave { claim, linger }]).await;
        assert!(matches!(left[0], Ok(Release::Done)), "{left:?}");
        let shown = client.store.inspect(b"k").await.unwrap();
        assert_eq!(shown[0].standing, Standing::Lingering);
    });
}

/// The name of the sorted set that a key's line is in: it is there while somebody waits.
async fn order_of(server: &RedisServer, client: &Client, key: &str) -> String {
    let (held, waiter) = (client.exclusive(key), client.exclusive(key));
    client.takes(&held).await;
    drop(client.waits(&waiter).await);
    let names = server.ask(&["KEYS", &format!("monban:*o:{key}")]).unwrap();
    client.releases(&waiter).await;
    client.releases(&held).await;
    names.trim().to_owned()
}

async fn all_leave(client: &Client, claims: &[Claim]) -> Vec<Result<Release, Error>> {
    let leaving = claims.iter().cloned().map(|claim| Leave {
        claim,
        linger: None,
    });
    client.store.release(&leaving.collect::<Vec<_>>()).await
}

#[test]
fn a_key_that_is_spoilt_fails_its_own_claim_alone() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let order = order_of(&server, &client, "bad").await;
        server.ask(&["SET", &order, "spoilt"]).unwrap();
        for mode in [Mode::Exclusive, Mode::Shared] {
            let batch = ["before", "bad", "after"].map(|key| client.claim(key, mode));
            let mut answers = client.attempts(&batch).await;
            assert!(
                answers[1]
                    .as_ref()
                    .unwrap_err()
                    .to_string()
                    .contains("overwritten")
            );
            for at in [0, 2] {
                assert!(
                    matches!(answers[at], Ok(Attempt::Granted(_))),
                    "{mode:?} {answers:?}"
                );
            }
            let renewed = client.renewals(&batch).await;
            assert!(renewed[1].is_err(), "{renewed:?}");
            for at in [0, 2] {
                assert!(
                    matches!(renewed[at], Ok(Renewal::Kept)),
                    "{mode:?} {renewed:?}"
                );
            }
            answers.clear();
            let left = all_leave(&client, &batch).await;
            assert!(left[1].is_err(), "{left:?}");
            for at in [0, 2] {
                assert!(matches!(left[at], Ok(Release::Done)), "{mode:?} {left:?}");
            }
            assert_eq!(leftovers(&server), [order.as_str()], "{mode:?}");
        }
    });
}

/// Also where several claims of one batch want one key: they are judged in their order, and the spoilt key fails its own.
#[test]
fn claims_of_one_key_in_one_batch_are_judged_in_order_beside_a_spoilt_one() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let order = order_of(&server, &client, "bad").await;
        server.ask(&["SET", &order, "spoilt"]).unwrap();
        for (mode, granted) in [(Mode::Exclusive, 1), (Mode::Shared, 3)] {
            let batch = ["k", "bad", "k", "bad", "k"].map(|key| client.claim(key, mode));
            let answers = client.attempts(&batch).await;
            for (place, at) in [0, 2, 4].into_iter().enumerate() {
                let is_granted = matches!(answers[at], Ok(Attempt::Granted(_)));
                assert!(answers[at].is_ok() && is_granted == (place < granted));
            }
            assert!(answers[1].is_err() && answers[3].is_err());
            let renewed = client.renewals(&batch).await;
            assert!(renewed[1].is_err() && renewed[3].is_err());
            let kept = |at: usize| matches!(renewed[at], Ok(Renewal::Kept));
            for (place, at) in [0, 2, 4].into_iter().enumerate() {
                assert_eq!(kept(at), place < granted, "{mode:?} {renewed:?}");
            }
            // The second is handed the key in the middle of the batch that it leaves by.
            let left = all_leave(&client, &batch).await;
            let done = |at: usize| matches!(left[at], Ok(Release::Done));
            assert!([0, 2, 4].into_iter().all(done), "{mode:?} {left:?}");
            assert!(left[1].is_err() && left[3].is_err());
            assert_eq!(leftovers(&server), [order.as_str()], "{mode:?}");
        }
    });
}

#[test]
fn a_key_that_is_forbidden_fails_its_own_claim_alone() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        let url = format!("redis://monban:least@127.0.0.1:{}", server.port());
        let client = Client::at(&url).await;
        for mode in [Mode::Exclusive, Mode::Shared] {
            let batch = ["app:a", "other", "app:b"].map(|key| client.claim(key, mode));
            server.ask(&["SCRIPT", "FLUSH"]).unwrap();
            let answers = client.attempts(&batch).await;
            let refused = answers[1].as_ref().unwrap_err();
            assert!(refused.to_string().contains("may not"), "{refused}");
            for at in [0, 2] {
                assert!(
                    matches!(answers[at], Ok(Attempt::Granted(_))),
                    "{mode:?} {answers:?}"
                );
            }
            let renewed = client.renewals(&batch).await;
            assert!(matches!(renewed[0], Ok(Renewal::Kept)), "{renewed:?}");
            assert!(matches!(renewed[2], Ok(Renewal::Kept)), "{renewed:?}");
            let left = all_leave(&client, &batch).await;
            assert!(matches!(left[0], Ok(Release::Done)), "{left:?}");
            assert!(matches!(left[2], Ok(Release::Done)), "{left:?}");
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

#[test]
fn a_batch_of_any_size_is_carried_out() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let batch: Vec<Claim> = (0..9_000)
            .map(|at| client.exclusive(&format!("k{at}")))
            .collect();
        let answers = client.attempts(&batch).await;
        let granted = |answer: &Result<Attempt, Error>| matches!(answer, Ok(Attempt::Granted(_)));
        assert!(answers.iter().all(granted), "{:?}", answers[0]);
        let kept = client.renewals(&batch).await;
        assert!(kept.iter().all(|one| matches!(one, Ok(Renewal::Kept))));
        let left = all_leave(&client, &batch).await;
        assert!(left.iter().all(|one| matches!(one, Ok(Release::Done))));
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}
