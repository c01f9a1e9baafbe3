//! Sessions that end, a server that restarts and stops, and a network that is silent, loses and cuts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Release, Renewal, Store};
use monban::data::Mode;
use monban::{Locks, Options};
use monban_testkit::PostgresServer;

use crate::client::{
    Client, SOON, end_sessions, is_unavailable, lasting, leave, mutex, nothing_is_left, pause, run,
    server, session, woken,
};
use crate::overtaken::{Next, overtaken};
use crate::proxy::{Plan, Proxy};

/// The way to a server through a proxy, for requests that are given up soon.
fn through(proxy: &Proxy) -> String {
    format!(
        "postgres://postgres@127.0.0.1:{}/postgres?timeout=1s",
        proxy.port()
    )
}

#[test]
fn sessions_that_the_server_ends_cost_neither_the_hold_nor_the_place() {
    run(async {
        let server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        let mut changed = b.waits(&waiter).await.changed.unwrap();
        for _ in 0..3 {
            assert!(end_sessions(&server) >= 2);
            woken(changed).await; // to ask again, since it may have missed something
            let busy = b.goes_on_waiting(&waiter).await;
            assert_eq!(busy.ahead, Some(1));
            changed = busy.changed.unwrap();
            assert_eq!(a.keeps(&held).await, Renewal::Kept);
            assert_eq!(a.comes_in(&held).await.fence, grant.fence);
        }
        // The hand-over is still told, on the new session.
        a.is_rid_of(&held).await;
        woken(changed).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k").await;
    });
}

/// One process of the counting below: takes the key again and again, and counts in two steps while it has it.
async fn counts(
    url: String,
    count: Arc<AtomicU32>,
    inside: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> u32 {
    let mutex = mutex(&url, "counted", Duration::from_secs(20)).await;
    let mut times = 0;
    while !stop.load(Ordering::SeqCst) {
        let lease = match mutex.lock().within(SOON).await {
            Ok(lease) => lease,
            Err(error) if error.is_transient() => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
        let seen = count.load(Ordering::SeqCst);
        pause(1).await;
        count.store(seen + 1, Ordering::SeqCst);
        inside.store(false, Ordering::SeqCst);
        times += 1;
        if let Err(error) = lease.release().await {
            assert!(error.is_transient(), "{error}");
        }
    }
    times
}

#[test]
fn sessions_that_end_all_the_time_never_make_two_holders() {
    run(async {
        let server = server();
        let (count, inside, stop) = (Arc::default(), Arc::default(), Arc::default());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let shared = (Arc::clone(&count), Arc::clone(&inside), Arc::clone(&stop));
                tokio::spawn(counts(server.url(), shared.0, shared.1, shared.2))
            })
            .collect();
        let mut ended = 0;
        for _ in 0..20 {
            pause(150).await;
            ended += end_sessions(&server);
        }
        assert!(ended > 20, "{ended}");
        let before = count.load(Ordering::SeqCst);
        let start = Instant::now();
        while count.load(Ordering::SeqCst) < before + 20 {
            assert!(start.elapsed() < SOON, "nobody is served any more");
            pause(20).await;
        }
        stop.store(true, Ordering::SeqCst);
        let mut times = 0;
        for worker in workers {
            times += worker.await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), times, "an update is lost");
        nothing_is_left(&server, "counted").await;
    });
}

#[test]
fn an_orderly_restart_keeps_the_lock_and_the_line() {
    run(async {
        let mut server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        let changed = b.waits(&waiter).await.changed.unwrap();
        server.stop().unwrap();
        assert!(is_unavailable(&a.tries_renewal(&held).await));
        assert!(is_unavailable(&b.ask(&waiter).await));
        server.start_again().unwrap();
        assert_eq!(a.keeps(&held).await, Renewal::Kept);
        assert_eq!(a.comes_in(&held).await.fence, grant.fence);
        woken(changed).await;
        let busy = b.goes_on_waiting(&waiter).await;
        a.is_rid_of(&held).await;
        woken(busy.changed.unwrap()).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k").await;
    });
}

/// While it is held and waited for by programs: neither hears anything of it but a delay.
#[test]
fn an_orderly_restart_is_survived_by_a_lease_and_by_who_waits() {
    run(async {
        let mut server = server();
        let ttl = Duration::from_secs(15);
        let holder = mutex(&server.url(), "k", ttl).await;
        let lease = holder.lock().await.unwrap();
        let fence = lease.fence().unwrap();
        let waiter = mutex(&server.url(), "k", ttl).await;
        let next = tokio::spawn(async move { waiter.lock().within(SOON * 2).await });
        pause(200).await;
        server.restart().unwrap();
        tokio::time::sleep(ttl / 2).await; // it has been renewed since
        lease.check().unwrap();
        assert!(!next.is_finished());
        lease.release().await.unwrap();
        let next = next.await.unwrap().unwrap();
        assert!(next.fence().unwrap() > fence);
        next.release().await.unwrap();
        nothing_is_left(&server, "k").await;
    });
}

#[test]
fn every_verb_is_answered_though_the_server_is_stopped_and_leaves_nothing() {
    run(async {
        let mut server = server();
        let client = Client::at(&format!("{}?timeout=300ms", server.url())).await;
        for stopped in [100, 1_500] {
            client.warms_up().await;
            let (held, asked) = (client.exclusive("k"), client.exclusive("other"));
            client.comes_in(&held).await;
            server.stop_signal().unwrap();
            let start = Instant::now();
            assert!(is_unavailable(&client.ask(&asked).await));
            assert!(is_unavailable(&client.tries_renewal(&held).await));
            assert!(is_unavailable(&client.tries_release(&held).await));
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            pause(stopped).await;
            server.cont().unwrap();
            client.is_rid_of(&asked).await;
            client.is_rid_of(&held).await;
            nothing_is_left(&server, "k").await;
            nothing_is_left(&server, "other").await;
        }
    });
}

#[test]
fn lost_replies_and_late_requests_leave_nothing_behind() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&through(&proxy)).await;
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
            client.warms_up().await;
            let claim = client.exclusive("lost");
            proxy.plan(plan.clone());
            let answer = client.ask(&claim).await;
            proxy.plan(Plan::default());
            assert!(is_unavailable(&answer), "{plan:?}: {answer:?}");
            client.is_rid_of(&claim).await;
            // A request that was kept comes now, if at all; and what it takes is nobody's.
            pause(300).await;
            nothing_is_left(&server, "lost").await;
            let next = leave(witness.exclusive("lost"));
            witness.takes(&next).await;
            witness.releases(&next).await;
        }
        assert_eq!(client.comes_in(&kept).await.fence, fence);
        assert_eq!(client.keeps(&kept).await, Renewal::Kept);
        client.is_rid_of(&kept).await;
        nothing_is_left(&server, "").await;
    });
}

/// Asks for a key in silence, and again when the network is back: the same claim, and one grant.
#[test]
fn a_claim_whose_reply_was_lost_is_answered_with_the_grant_it_has() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let client = Client::at(&through(&proxy)).await;
        client.warms_up().await;
        let claim = client.exclusive("k");
        proxy.plan(Plan {
            drop_replies: true,
            ..Plan::default()
        });
        assert!(is_unavailable(&client.ask(&claim).await));
        let fence =
            server.ask("SELECT fence FROM monban.head WHERE key = 'k' AND holder IS NOT NULL");
        proxy.plan(Plan::default());
        let granted = client.comes_in(&claim).await.fence.unwrap();
        assert_eq!(granted.to_string(), fence.unwrap());
        client.is_rid_of(&claim).await;
        nothing_is_left(&server, "k").await;
    });
}

/// What is freed by hand may be locked by somebody's transaction for a moment, or for as long as an answer may take.
#[test]
fn who_frees_a_claim_by_hand_waits_for_a_row_that_is_locked() {
    run(async {
        let server = server();
        let client = Client::at(&format!("{}?timeout=2s", server.url())).await;
        let (held, writer) = (client.exclusive("k"), session(&server.url()).await);
        client.takes(&held).await;
        let shown = client.store.inspect(b"k").await.unwrap();
        let locks = "BEGIN; SELECT FROM monban.head WHERE key = 'k' FOR UPDATE";
        writer.batch_execute(locks).await.unwrap();
        let start = Instant::now();
        let error = client.store.evict(&shown[0]).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("locked"), "{error}");
        assert!(
            start.elapsed() >= Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        let ends = async {
            pause(300).await; // several times as long as one request waits
            writer.batch_execute("COMMIT").await.unwrap();
        };
        let (freed, ()) = tokio::join!(client.store.evict(&shown[0]), ends);
        assert_eq!(freed.unwrap(), Release::Done);
        assert_eq!(client.keeps(&held).await, Renewal::Lost);
        nothing_is_left(&server, "k").await;
    });
}

/// The first request of a claim was carried out, and nothing was heard of it; then as in the next test, in each mode.
#[test]
fn a_grant_by_message_is_none_when_the_answer_to_its_request_was_lost_and_it_is_over() {
    run(async {
        let server = server();
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permits { n: 1, of: 1 }] {
            let proxy = Proxy::before(server.port());
            let (a, b, late) = (
                Client::at(&server.url()).await,
                Client::at(&server.url()).await,
                Client::at(&through(&proxy)).await,
            );
            let (held, other) = (a.exclusive("k"), a.exclusive("other"));
            a.takes(&held).await;
            a.takes(&other).await;
            // From now on its process is heard, so that whoever joins with its next request is to be told.
            let heard = late.exclusive("other");
            late.waits(&heard).await;
            let warm = late.claim("warm", mode); // and its statement is prepared
            late.takes(&warm).await;
            late.releases(&warm).await;
            let waiter = lasting(late.claim("k", mode), Duration::from_secs(5));
            proxy.plan(Plan {
                drop_replies: true,
                ..Plan::default()
            });
            assert!(is_unavailable(&late.ask(&waiter).await));
            proxy.plan(Plan::default());
            late.goes_on_waiting(&heard).await; // over a new connection
            let told = server.ask("SELECT listens FROM monban.claim WHERE key = 'k'");
            assert_eq!(told.unwrap(), "t", "{mode:?}");
            overtaken(&proxy, (&a, &held), &b, (&late, &waiter)).await;
            a.is_rid_of(&other).await;
            late.is_rid_of(&heard).await;
            late.is_rid_of(&waiter).await;
            nothing_is_left(&server, "").await;
        }
    });
}

/// Kept on its way until its claim had expired, and joined anew behind another that holds by then.
#[test]
fn a_grant_by_message_that_is_over_when_it_arrives_is_none() {
    run(async {
        let server = server();
        let proxy = Proxy::before(server.port());
        let slow = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
        let (a, b, late) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
            Client::at(&slow).await,
        );
        let held = a.exclusive("k");
        let waiter = lasting(late.exclusive("k"), Duration::from_millis(1_500));
        a.takes(&held).await;
        let changed = late.waits(&waiter).await.changed.unwrap();
        let answers = overtaken(&proxy, (&a, &held), &b, (&late, &waiter)).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        drop(changed);
        late.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k").await;
    });
}

/// A connection that is open and silent, for more than a TTL: the holder stops believing before anybody else is let in.
#[test]
fn a_holder_on_a_silent_connection_loses_its_lease_before_another_gets_one() {
    run(async {
        let server = server();
        for plan in [
            Plan {
                keep_requests: true,
                ..Plan::default()
            },
            Plan {
                drop_replies: true,
                ..Plan::default()
            },
        ] {
            let proxy = Proxy::before(server.port());
            let ttl = Duration::from_secs(3);
            let silent = mutex(&through(&proxy), "k", ttl).await;
            let lease = silent.lock().await.unwrap();
            let next = Next::behind(mutex(&server.url(), "k", ttl).await, SOON * 2);
            proxy.plan(plan.clone());
            let next = next.comes_after(&lease, "postgres: silent").await;
            proxy.plan(Plan::default());
            drop(lease);
            next.check().unwrap();
            next.release().await.unwrap();
            nothing_is_left(&server, "k").await;
        }
    });
}

/// A process that dies: nobody says anything to the server but the end of its connection, which frees nothing.
#[test]
fn a_dead_process_s_keys_are_free_when_its_ttl_ends() {
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
        assert_eq!(crate::client::claims(&server, "k").len(), 1);
        other.is_rid_of(&next).await;
        nothing_is_left(&server, "k").await;
    });
}

/// Connections come and go; those of a client that is gone do not stay.
#[test]
fn a_client_that_is_dropped_closes_its_sessions() {
    run(async {
        let server = server();
        let sessions = |server: &PostgresServer| -> u32 {
            let count =
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
                         AND pid <> pg_backend_pid()";
            server.ask(count).unwrap().parse().unwrap()
        };
        let locks = Locks::connect(&server.url()).await.unwrap();
        let mutex = locks.mutex("k").unwrap().with(Options::new()).unwrap();
        mutex.lock().await.unwrap().release().await.unwrap();
        assert!(sessions(&server) > 0);
        locks.close().await;
        drop((locks, mutex));
        let start = Instant::now();
        while sessions(&server) > 0 {
            assert!(start.elapsed() < SOON);
            pause(20).await;
        }
    });
}

/// Asking is an answer to whoever asks, whatever it was that failed.
#[test]
fn a_server_that_is_gone_is_unavailable_and_found_again() {
    run(async {
        let mut server = server();
        let client = Client::at(&server.url()).await;
        client.warms_up().await;
        server.stop().unwrap();
        let claim = client.exclusive("k");
        for _ in 0..3 {
            assert!(is_unavailable(&client.ask(&claim).await));
        }
        server.start_again().unwrap();
        assert!(client.comes_in(&claim).await.fence.is_some());
        let again = client.ask(&claim).await;
        assert!(matches!(again, Ok(Attempt::Granted(_))));
        client.is_rid_of(&claim).await;
    });
}
