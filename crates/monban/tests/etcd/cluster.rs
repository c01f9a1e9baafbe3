//! Three members: leaders that die, members that are stopped. What a majority has is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy};
use monban::data::Claim;
use monban::{Locks, Options};
use monban_testkit::{EtcdOptions, EtcdServer, wait_until};

use crate::client::{Client, SOON, nothing_is_left, run, woken};

/// For how many seconds leaders are killed; CI does it for a few.
const STORM: &str = "MONBAN_ETCD_STORM_SECONDS";

fn three() -> EtcdServer {
    let options = EtcdOptions::new()
        .members(3)
        .election(Duration::from_millis(1_000));
    EtcdServer::start(options).unwrap()
}

#[test]
fn a_member_that_is_stopped_is_left_for_another() {
    run(async {
        let mut server = three();
        // Connected to the first, which will be stopped: as good as cut off, since it keeps its connections.
        let url = format!("{}?timeout=6s", server.url());
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        b.waits(&waiter).await;
        server.stop_signal(0).unwrap();
        let again = a.comes_in(&held).await;
        assert_eq!(again.fence, grant.fence);
        // The waiter's stream of watches hangs at the stopped member until a verb finds that out.
        let changed = b.waits_still(&waiter).await.changed.unwrap();
        a.is_rid_of(&held).await;
        woken(changed).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
        server.cont(0).unwrap();
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k/").await;
    });
}

#[test]
fn without_a_majority_nothing_is_granted_and_with_it_again_all_goes_on() {
    run(async {
        let mut server = three();
        let url = format!("{}?timeout=2s", server.url());
        let client = Client::at(&url).await;
        let held = client.exclusive("k");
        let fence = client.takes(&held).await.fence;
        server.stop_signal(1).unwrap();
        server.stop_signal(2).unwrap();
        let other = client.exclusive("other");
        assert!(crate::client::is_unavailable(&client.ask(&other).await));
        server.cont(1).unwrap();
        server.cont(2).unwrap();
        assert_eq!(client.comes_in(&held).await.fence, fence);
        client.comes_in(&other).await;
        client.is_rid_of(&other).await;
        client.is_rid_of(&held).await;
        nothing_is_left(&server, "").await;
    });
}

/// Four processes count, not atomically, while one leader after the other is killed. `MONBAN_ETCD_STORM_SECONDS=60` for
/// a minute.
#[test]
fn no_count_is_lost_while_leaders_are_killed() {
    let seconds = std::env::var(STORM).map_or(9, |seconds| seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut server = three();
    let url = format!("{}?timeout=5s", server.url());
    let (counter, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (inside, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let fence = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let url = url.clone();
        let (counter, counted) = (Arc::clone(&counter), Arc::clone(&counted));
        let (inside, over, fence) = (Arc::clone(&inside), Arc::clone(&over), Arc::clone(&fence));
        workers.push(runtime.spawn(async move {
            let locks = Locks::connect(&url).await.unwrap();
            let options = Options::new().ttl(Duration::from_secs(20));
            let mutex = locks.mutex("count").unwrap().with(options).unwrap();
            while !over.load(Ordering::SeqCst) {
                let lease = match mutex.lock().within(SOON * 2).await {
                    Ok(lease) => lease,
                    Err(error) if error.is_transient() => continue,
                    Err(error) => panic!("{error}"),
                };
                let own = u64::try_from(lease.fence().unwrap().as_i64()).unwrap();
                assert!(fence.swap(own, Ordering::SeqCst) < own, "fences go back");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                let seen = counter.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                lease
                    .check()
                    .expect("connectivity was lost for less than the TTL");
                counter.store(seen + 1, Ordering::SeqCst);
                counted.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                let _ = lease.release().await; // whether it was ours until now is not always known
            }
        }));
    }
    let start = Instant::now();
    let mut kills = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut leader = 0;
        let found = wait_until("a leader", SOON * 2, || {
            Ok(server.leader().is_ok_and(|found| {
                leader = found;
                true
            }))
        });
        found.unwrap();
        server.kill9(leader).unwrap();
        std::thread::sleep(Duration::from_millis(1_500));
        server.restart(leader).unwrap();
        kills += 1;
        std::thread::sleep(Duration::from_millis(1_500));
    }
    over.store(true, Ordering::SeqCst);
    for worker in workers {
        runtime.block_on(worker).unwrap();
    }
    let counted = counted.load(Ordering::SeqCst);
    eprintln!("{kills} leaders killed, {counted} counted");
    assert_eq!(counter.load(Ordering::SeqCst), counted);
    assert!(kills > 0 && counted > 0, "{kills} kills, {counted} counted");
    runtime.block_on(nothing_is_left(&server, "count/"));
}

impl Client {
    /// Asks until that is answered.
    async fn waits_still(&self, claim: &Claim) -> Busy {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(Attempt::Busy(busy)) => return busy,
                Ok(Attempt::Granted(grant)) => panic!("{grant:?}"),
                Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
            }
        }
    }
}
