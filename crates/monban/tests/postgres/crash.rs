//! A server that is killed, or whose standby takes its place: what lives for seconds is forgotten, so nothing is granted
//! until all that was forgotten has ended.

use std::time::{Duration, Instant};

use monban::contract::{Release, Renewal, Store, Why};
use monban::data::{Leave, Mode};
use monban_testkit::{PostgresOptions, PostgresServer, wait_until};

use crate::client::{Client, SOON, lasting, mutex, nothing_is_left, run, server, session};
use crate::proxy::{Plan, Proxy};

/// Short, since it is waited for, and some seconds more.
const TTL: Duration = Duration::from_secs(6);
/// Of a lease that is to be alive still when a server has started, on a machine that is busy.
const LONGER: Duration = Duration::from_secs(12);
/// The longest wait after a crash: what is kept in reserve beyond a TTL, and the TTL.
const PAUSE: Duration = Duration::from_secs(60);

/// The holder hears nothing of the crash: only the pause keeps the next one out.
#[test]
fn after_a_crash_nobody_is_let_in_beside_a_holder_that_knows_nothing_of_it() {
    run(async {
        let mut server = server();
        let proxy = Proxy::before(server.port());
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?timeout=1s",
            proxy.port()
        );
        let lease = mutex(&url, "k", LONGER).await.lock().await.unwrap();
        let fence = lease.fence().unwrap();
        proxy.plan(Plan {
            keep_requests: true,
            ..Plan::default()
        });
        server.kill9().unwrap();
        server.start_again().unwrap();
        lease.check().unwrap(); // it is for this one that the others have to wait
        let next = mutex(&server.url(), "k", TTL).await;
        let next = next.lock().within(PAUSE).await.unwrap();
        lease.check().unwrap_err();
        assert!(next.fence().unwrap() > fence, "{:?} {fence}", next.fence());
        next.check().unwrap();
        next.release().await.unwrap();
        nothing_is_left(&server, "k").await;
    });
}

#[test]
fn after_a_crash_who_held_is_told_and_who_waits_is_served() {
    run(async {
        let mut server = server();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let (held, waiter) = (
            lasting(a.exclusive("k"), TTL),
            lasting(b.exclusive("k"), TTL),
        );
        let grant = a.takes(&held).await;
        b.waits(&waiter).await;
        let old = grant.fence.unwrap().as_i64();
        server.kill9().unwrap();
        server.start_again().unwrap();
        assert_eq!(a.keeps(&held).await, Renewal::Lost);
        assert_eq!(a.releases(&held).await, Release::Gone);
        // Who asks is told when to ask again, and joins the line.
        let busy = b.goes_on_waiting(&waiter).await;
        let free_in = busy.free_in.unwrap();
        assert!(free_in > Duration::ZERO && free_in < PAUSE, "{free_in:?}");
        // The old fence is worth nothing from the moment of the crash.
        let user = session(&server.url()).await;
        let refused = user
            .execute("SELECT monban_fence_check('k', $1)", &[&old])
            .await;
        let code = refused
            .unwrap_err()
            .code()
            .map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("MB001"));
        let start = Instant::now();
        let next = loop {
            match b.ask(&waiter).await {
                Ok(monban::contract::Attempt::Granted(next)) => break next,
                Ok(monban::contract::Attempt::Busy(_)) => {}
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            crate::client::pause(100).await;
            assert!(start.elapsed() < PAUSE);
        };
        assert!(next.fence > grant.fence);
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k").await;
    });
}

/// Nobody is in the way then, and nobody is to be looked for.
#[test]
fn after_a_crash_who_asks_is_told_what_bars_it_and_until_when() {
    run(async {
        let mut server = server();
        let a = Client::at(&server.url()).await;
        let hours = lasting(a.exclusive("held"), Duration::from_secs(3_600));
        let permit = a.claim("pool", Mode::Permits { n: 1, of: 2 });
        let permit = lasting(permit, Duration::from_secs(3_600));
        a.takes(&a.exclusive("k")).await;
        a.takes(&hours).await;
        a.takes(&permit).await;
        assert_eq!(a.store.recovers_in().await.unwrap(), None);
        server.kill9().unwrap();
        server.start_again().unwrap();

        let b = Client::at(&server.url()).await;
        // Also before anybody has asked for anything.
        let first = b.store.recovers_in().await.unwrap().unwrap();
        // A minute, for those of an hour, and what is in reserve beyond it.
        let longest = Duration::from_secs(80);
        let is_pause = |left: Duration| left > Duration::ZERO && left < longest;
        assert!(is_pause(first), "{first:?}");
        let share = Mode::Shared;
        let alone = b.exclusive("k");
        let batch = [
            b.exclusive("new"),
            b.claim("readers", share),
            b.claim("readers", share),
            b.claim("pool", Mode::Permits { n: 1, of: 2 }),
            b.exclusive("k"), // behind another who waits
        ];
        let refused: Vec<_> = batch.iter().cloned().map(crate::client::leave).collect();
        let patient = lasting(alone.clone(), Duration::from_secs(3_600));
        let mut answers = vec![b.goes_on_waiting(&patient).await];
        for claim in refused.iter().chain(&batch) {
            answers.push(b.waits(claim).await);
        }
        for answer in b.attempts(&refused).await {
            match answer.unwrap() {
                monban::contract::Attempt::Busy(busy) => answers.push(busy),
                granted => panic!("{granted:?}"),
            }
        }
        for busy in &answers {
            assert_eq!(busy.why, Why::Recovering, "{busy:?}");
            let left = busy.free_in.unwrap();
            assert!(
                is_pause(left) && left <= first + Duration::from_millis(2),
                "{busy:?} {first:?}"
            );
        }
        // Whoever is known to hold is named as ever.
        let busy = b.waits(&crate::client::leave(b.exclusive("held"))).await;
        assert_eq!(busy.why, Why::Held);
        for claim in batch.iter().chain([&alone]) {
            b.is_rid_of(claim).await;
        }

        // Who waits is woken by the end of the pause, long before it would look for itself.
        let pause = Duration::from_secs(2);
        server
            .ask("UPDATE monban.epoch SET opens = monban.now() + 2000000")
            .unwrap();
        let start = Instant::now();
        let next = mutex(&server.url(), "next", Duration::from_secs(60)).await;
        let next = next.lock().within(PAUSE).await.unwrap();
        let waited = start.elapsed();
        assert!(waited > pause / 2 && waited < pause * 2, "{waited:?}");
        assert_eq!(b.store.recovers_in().await.unwrap(), None);
        next.release().await.unwrap();
    });
}

/// Work that was done and is not due again is not forgotten: its place lingers for hours, which a crash must not end.
#[test]
fn a_place_that_lingers_is_there_after_a_crash() {
    run(async {
        // Even where other commits may be forgotten.
        let forgetful = PostgresOptions::new()
            .setting("synchronous_commit", "off")
            .setting("wal_writer_delay", "10s");
        let mut server = PostgresServer::start(forgetful).unwrap();
        let client = Client::at(&server.url()).await;
        let claim = lasting(client.exclusive("k"), TTL);
        client.takes(&claim).await;
        let linger = Some(Duration::from_secs(3_600));
        let leaving = Leave { claim, linger };
        let left = client.store.release(&[leaving]).await;
        assert_eq!(*left[0].as_ref().unwrap(), Release::Done);
        server.kill9().unwrap();
        server.start_again().unwrap();
        let again = Client::at(&server.url()).await;
        let refused = crate::client::leave(lasting(again.exclusive("k"), TTL));
        let start = Instant::now();
        let free_in = loop {
            match again.ask(&refused).await {
                Ok(monban::contract::Attempt::Busy(busy)) => break busy.free_in.unwrap(),
                Ok(granted) => panic!("{granted:?}"),
                Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
            }
        };
        let near = Duration::from_secs(3_300)..Duration::from_secs(3_601);
        assert!(near.contains(&free_in), "{free_in:?}");
    });
}

fn promote(standby: &PostgresServer) {
    assert_eq!(standby.ask("SELECT pg_promote()").unwrap(), "t");
    wait_until("the standby is the primary", SOON, || {
        Ok(standby.ask("SELECT pg_is_in_recovery()")? == "f")
    })
    .unwrap();
}

/// The standby has all that was written to its primary's log, and nothing else.
#[test]
fn a_standby_that_was_promoted_lets_nobody_in_beside_a_holder_on_its_primary() {
    run(async {
        let mut primary = server();
        let proxy = Proxy::before(primary.port());
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?timeout=1s",
            proxy.port()
        );
        let lease = mutex(&url, "k", LONGER).await.lock().await.unwrap();
        let fence = lease.fence().unwrap();
        let standby = primary.standby().unwrap();
        let position = primary.ask("SELECT pg_current_wal_lsn()").unwrap();
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        wait_until("the standby has followed", SOON, || {
            Ok(standby.ask(&replayed)? == "t")
        })
        .unwrap();
        lease.check().unwrap();
        proxy.plan(Plan {
            keep_requests: true,
            ..Plan::default()
        });
        primary.kill9().unwrap();
        promote(&standby);
        let next = mutex(&standby.url(), "k", TTL).await;
        let next = next.lock().within(PAUSE).await.unwrap();
        lease.check().unwrap_err();
        assert!(next.fence().unwrap() > fence);
        next.release().await.unwrap();
        nothing_is_left(&standby, "k").await;
    });
}
