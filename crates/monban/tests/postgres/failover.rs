//! A primary and a synchronous standby that takes its place, behind a URL that names both.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use monban::contract::Attempt;
use monban::{Error, Fence};
use monban_testkit::{PostgresServer, SlowDisk, slow, wait_until};

use crate::client::{
    Client, SOON, is_unavailable, lasting, mutex, nothing_is_left, pause, run, server,
};

/// Short: for as long, and ten seconds more, nothing is granted after a fail-over.
const TTL: Duration = Duration::from_secs(5);
/// The longest wait after a fail-over.
const PAUSE: Duration = Duration::from_secs(60);

struct Pair {
    primary: PostgresServer,
    standby: PostgresServer,
}

impl Pair {
    /// Every commit on the primary waits for the standby.
    fn start() -> Self {
        let primary = server();
        let standby = primary.standby().unwrap();
        primary
            .ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
            .unwrap();
        primary.ask("SELECT pg_reload_conf()").unwrap();
        wait_until("the standby is synchronous", SOON, || {
            let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            Ok(primary.ask(synchronous)? == "1")
        })
        .unwrap();
        Self { primary, standby }
    }

    fn url(&self) -> String {
        let (primary, standby) = (self.primary.port(), self.standby.port());
        format!(
            "postgres://postgres@127.0.0.1:{primary},127.0.0.1:{standby}/postgres?target_session_attrs=read-write&timeout=1s"
        )
    }

    /// The primary is lost with its machine, and the standby takes its place.
    fn fails_over(&mut self) {
        self.primary.kill9().unwrap();
        assert_eq!(self.standby.ask("SELECT pg_promote()").unwrap(), "t");
        wait_until("the standby is the primary", SOON, || {
            Ok(self.standby.ask("SELECT pg_is_in_recovery()")? == "f")
        })
        .unwrap();
    }
}

/// While it is held and waited for.
#[test]
fn after_a_fail_over_who_held_is_told_and_who_waits_is_served_by_the_standby() {
    run(async {
        let mut pair = Pair::start();
        let lease = mutex(&pair.url(), "k", TTL).await.lock().await.unwrap();
        let fence = lease.fence().unwrap();
        let waiter = mutex(&pair.url(), "k", TTL).await;
        let next = tokio::spawn(async move { waiter.lock().within(PAUSE).await });
        pause(300).await;
        assert!(!next.is_finished());
        pair.fails_over();
        let lost = tokio::time::timeout(TTL * 2, lease.lost()).await.unwrap();
        assert!(matches!(lost, Error::Lost { .. }), "{lost}");
        let next = next.await.unwrap().unwrap();
        lease.check().unwrap_err();
        assert!(next.fence().unwrap() > fence);
        next.release().await.unwrap();
        nothing_is_left(&pair.standby, "k").await;
    });
}

/// What workers of a counting share.
#[derive(Default)]
struct Shared {
    inside: AtomicBool,
    stop: AtomicBool,
    times: AtomicU32,
    last: Mutex<Option<Fence>>,
}

async fn counts(url: String, shared: Arc<Shared>) {
    let mutex = mutex(&url, "counted", TTL).await;
    while !shared.stop.load(Ordering::SeqCst) {
        let lease = match mutex.lock().within(PAUSE).await {
            Ok(lease) => lease,
            Err(error) if error.is_transient() => {
                pause(50).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let fence = match lease.fence() {
            Ok(fence) => fence,
            // Lost with its primary before this one looked: it is not inside.
            Err(Error::Lost { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(
            !shared.inside.swap(true, Ordering::SeqCst),
            "two are inside"
        );
        let before = shared.last.lock().unwrap().replace(fence);
        assert!(before < Some(fence), "{before:?} is not below {fence:?}");
        pause(2).await;
        shared.times.fetch_add(1, Ordering::SeqCst);
        shared.inside.store(false, Ordering::SeqCst);
        let _ = lease.release().await; // lost with its primary, or given back
    }
}

#[test]
fn a_fail_over_amid_hand_overs_makes_no_two_holders_and_no_fence_comes_again() {
    run(async {
        let mut pair = Pair::start();
        let shared = Arc::new(Shared::default());
        let workers: Vec<_> = (0..3)
            .map(|_| tokio::spawn(counts(pair.url(), Arc::clone(&shared))))
            .collect();
        let reaches = async |times: u32| {
            let start = Instant::now();
            while shared.times.load(Ordering::SeqCst) < times {
                assert!(start.elapsed() < PAUSE, "nobody is served any more");
                pause(20).await;
            }
        };
        reaches(20).await;
        pair.fails_over();
        let before = shared.times.load(Ordering::SeqCst);
        reaches(before + 20).await;
        shared.stop.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.await.unwrap();
        }
        nothing_is_left(&pair.standby, "counted").await;
    });
}

/// What is in reserve has to be on the standby before anybody relies on it. A session that waits for that is not to be ended by
/// us, which would end the wait and not undo the commit.
#[test]
fn while_the_standby_is_silent_nobody_is_granted_what_it_has_not_heard_of() {
    run(async {
        let mut pair = Pair::start();
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?timeout=300ms",
            pair.primary.port()
        );
        let client = Client::at(&url).await;
        client.warms_up().await;
        // Longer than what is in reserve: so that has to be raised first.
        let long = lasting(client.exclusive("k"), Duration::from_secs(3_600));
        pair.standby.stop_signal().unwrap();
        let start = Instant::now();
        let mut refused = 0;
        while start.elapsed() < Duration::from_secs(5) {
            match client.ask(&long).await {
                Ok(Attempt::Granted(grant)) => panic!("granted: {grant:?}"),
                Ok(Attempt::Busy(busy)) => panic!("busy: {busy:?}"),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            refused += 1;
        }
        assert!(refused > 1);
        pair.standby.cont().unwrap();
        client.comes_in(&long).await;
        client.is_rid_of(&long).await;
        nothing_is_left(&pair.primary, "k").await;
    });
}

/// As before; but the session that raises what is in reserve is still at the primary's own disk when its client gives it up. Ended
/// there, it would not wait for the standby at all, and its commit would stay.
#[test]
fn a_session_whose_commit_is_still_on_its_way_to_the_disk_is_not_ended() {
    if slow::skipped() {
        return;
    }
    run(async {
        let mut pair = Pair::start();
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?timeout=300ms",
            pair.primary.port()
        );
        let client = Client::at(&url).await;
        let short = lasting(client.exclusive("short"), Duration::from_secs(1));
        client.comes_in(&short).await;
        client.is_rid_of(&short).await;
        let sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'monban'";
        let session = pair.primary.ask(sessions).unwrap();
        let reserve = "SELECT until FROM monban.reserve";
        let before = pair.primary.ask(reserve).unwrap();
        pair.standby.stop_signal().unwrap();
        let slow = SlowDisk::of(session.parse().unwrap(), Duration::from_secs(3)).unwrap();
        // It needs more than is in reserve, and is written to no table that is logged.
        let long = lasting(client.exclusive("k"), Duration::from_secs(50));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(7) {
            let asked = client.ask(&long).await;
            assert!(is_unavailable(&asked), "{asked:?}");
            assert_eq!(pair.primary.ask(reserve).unwrap(), before);
            pause(20).await;
        }
        // What it waits for by now is the standby.
        let waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        assert_eq!(pair.primary.ask(waits).unwrap(), session);
        drop(slow);
        pair.standby.cont().unwrap();
        client.comes_in(&long).await;
        client.is_rid_of(&long).await;
        assert_ne!(pair.primary.ask(reserve).unwrap(), before);
        nothing_is_left(&pair.primary, "k").await;
    });
}
