//! The life of a lease: renewal, doubt, loss, release.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::contract::{Attempt, Ends, Grant, Guarantees, Reach, Release, Renewal};
use crate::data::{
    Barred, Claim, Entry, Error, Keep, Key, Leave, Loss, Options, RenewalPolicy, Result,
};
use crate::engine::LeaseState;
use crate::rule::Lifetime;
use crate::testing::{Fault, Verb};

#[test]
fn a_dropped_lease_frees_the_key_for_another_process() {
    let world = World::new();
    for (one, other) in [(&world.local, &world.remote), (&world.remote, &world.local)] {
        let lease = one.mutex("k").unwrap().lock().wait().unwrap();
        assert!(
            block_on(other.mutex("k").unwrap().try_lock())
                .unwrap()
                .is_none()
        );
        drop(lease);
        block_on(other.mutex("k").unwrap().lock().wait().unwrap().release()).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn fences_grow_with_every_grant_of_either_process() {
    let world = World::new();
    let mut last = 0;
    for locks in world.both().into_iter().cycle().take(6) {
        let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
        let fence = lease.fence().unwrap().as_i64();
        assert!(fence > last);
        last = fence;
        block_on(lease.release()).unwrap();
    }
}

#[test]
fn a_lease_is_renewed_for_as_long_as_it_is_held() {
    let world = World::new();
    for locks in world.both() {
        let mutex = locks
            .mutex("k")
            .unwrap()
            .with(Options::new().ttl(secs(9)))
            .unwrap();
        let lease = mutex.lock().wait().unwrap();
        for _ in 0..20 {
            world.clock.advance(secs(3));
            eventually("renewed", || lease.remaining().unwrap() > secs(8));
        }
        assert_eq!(lease.state(), LeaseState::Held);
        block_on(lease.release()).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn a_lease_that_is_renewed_by_hand_is_lost_if_nobody_does() {
    let world = World::new();
    for locks in world.both() {
        let options = Options::new().ttl(secs(9)).renewal(RenewalPolicy::ByHand);
        let lease = locks
            .mutex("k")
            .unwrap()
            .with(options)
            .unwrap()
            .lock()
            .wait()
            .unwrap();
        world.clock.advance(secs(8));
        assert_eq!(lease.state(), LeaseState::Doubtful);
        block_on(lease.renew()).unwrap();
        assert_eq!(lease.state(), LeaseState::Held);
        world.clock.advance(secs(9));
        assert_eq!(lease.state(), LeaseState::Lost(Loss::Expired));
        assert!(matches!(
            lease.check(),
            Err(Error::Lost {
                why: Loss::Expired,
                ..
            })
        ));
        assert!(matches!(lease.fence(), Err(Error::Lost { .. })));
        assert!(matches!(block_on(lease.renew()), Err(Error::Lost { .. })));
        assert!(matches!(
            block_on(lease.lost()),
            Error::Lost {
                why: Loss::Expired,
                ..
            }
        ));
        assert!(matches!(block_on(lease.release()), Err(Error::Lost { .. })));
    }
    world.assert_clean("nothing is left");
}

/// Its own request, on its way for long, brings the claim back: behind another that holds, or after it.
#[test]
fn a_lease_that_was_taken_away_is_lost_though_its_claim_has_come_back() {
    for released in [false, true] {
        let world = World::new();
        let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
        let claim = lease.hold().claim.clone();
        world.faults.pause();
        let entry = block_on(world.memory.inspect(b"")).unwrap().remove(0);
        block_on(world.memory.evict(&entry)).unwrap();
        let next = world.local.mutex("k").unwrap().lock().wait().unwrap();
        let next = (!released).then_some(next);
        let late = block_on(world.memory.attempt(&[claim])).remove(0).unwrap();
        assert_eq!(matches!(late, Attempt::Granted(_)), released);
        world.faults.resume();
        world.soon("lost", || lease.state() == LeaseState::Lost(Loss::Taken));
        drop(lease);
        world.soon("the claim that came back has left", || {
            let line = block_on(world.memory.inspect(b"")).unwrap();
            line.len() == usize::from(next.is_some())
        });
    }
}

#[test]
fn a_lease_dies_locally_while_the_store_is_silent() {
    let world = World::new();
    let mutex = world
        .remote
        .mutex("k")
        .unwrap()
        .with(Options::new().ttl(secs(9)))
        .unwrap();
    let lease = mutex.lock().wait().unwrap();
    world.faults.pause();
    world.clock.advance(secs(6));
    assert_eq!(lease.state(), LeaseState::Doubtful);
    let lost = spawn(lease.lost());
    world.clock.advance(Duration::from_millis(2_950));
    assert_eq!(
        lease.state(),
        LeaseState::Lost(Loss::Expired),
        "before the store's 9 s are over"
    );
    eventually("its owner is told", || lost.is_finished());
    assert!(matches!(
        lost.join().unwrap(),
        Error::Lost {
            why: Loss::Expired,
            ..
        }
    ));
    assert_eq!(lease.remaining(), Some(Duration::ZERO));
    world.faults.resume();
    drop(lease);
    world.assert_clean("what the silent store kept is released when it is back");
}

#[test]
fn a_failed_renewal_is_tried_again_and_names_its_cause_if_it_never_succeeds() {
    let world = World::new();
    let mutex = world
        .remote
        .mutex("k")
        .unwrap()
        .with(Options::new().ttl(secs(16)))
        .unwrap();
    let lease = mutex.lock().wait().unwrap();
    world
        .faults
        .inject_times(2, Verb::Renew, Fault::RequestLost);
    for _ in 0..3 {
        world.clock.advance(secs(1));
    }
    eventually("renewed at last", || {
        world.clock.advance(Duration::from_millis(300));
        world.faults.outstanding() == 0 && lease.remaining().unwrap() > secs(14)
    });
    assert_eq!(lease.state(), LeaseState::Held);
    world
        .faults
        .inject_times(1_000, Verb::Renew, Fault::RequestLost);
    let error = loop {
        world.clock.advance(secs(1));
        std::thread::sleep(Duration::from_millis(2));
        if let Err(error) = lease.check() {
            break error;
        }
    };
    let text = error.to_string();
    assert!(
        text.contains("deadline") && text.contains("unavailable"),
        "{text}"
    );
    world.faults.clear();
    drop(lease);
    world.assert_clean("nothing is left");
}

#[test]
fn a_lease_that_is_taken_away_is_known_at_once_and_opens_the_gate() {
    let world = World::new();
    for locks in world.both() {
        let mutex = locks.mutex("k").unwrap();
        let lease = mutex.lock().wait().unwrap();
        let lost = spawn(lease.lost());
        let entry = block_on(locks.inspect("k")).unwrap().remove(0);
        block_on(locks.evict(&entry)).unwrap();
        assert!(matches!(
            lost.join().unwrap(),
            Error::Lost {
                why: Loss::Taken,
                ..
            }
        ));
        // The first lease object still exists; the next of this process need not wait for its drop.
        let next = mutex.lock().wait().unwrap();
        assert!(
            matches!(block_on(lease.release()), Err(Error::Lost { .. })),
            "and B survives A's release"
        );
        next.check().unwrap();
        assert_eq!(block_on(locks.inspect("k")).unwrap().len(), 1);
        block_on(next.release()).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn a_maximum_hold_ends_the_lease_and_frees_the_key() {
    let world = World::new();
    for locks in world.both() {
        let options = Options::new().max_hold(secs(5));
        let lease = locks
            .mutex("k")
            .unwrap()
            .with(options)
            .unwrap()
            .lock()
            .wait()
            .unwrap();
        let lost = spawn(lease.lost());
        world.clock.advance(secs(5));
        assert_eq!(lease.state(), LeaseState::Lost(Loss::MaxHold));
        assert!(matches!(
            lost.join().unwrap(),
            Error::Lost {
                why: Loss::MaxHold,
                ..
            }
        ));
        world.assert_clean("the key is free though the lease object lives");
        drop(lease);
    }
}

#[test]
fn a_released_key_can_linger_without_an_owner() {
    let world = World::new();
    for locks in world.both() {
        let options = Options::new().linger(secs(60));
        let mutex = locks.mutex("k").unwrap().with(options).unwrap();
        block_on(mutex.lock().wait().unwrap().release()).unwrap();
        let busy = block_on(mutex.try_lock_or_busy()).unwrap().unwrap_err();
        assert_eq!(busy.why, crate::contract::Why::Lingering);
        assert_eq!(busy.ends, Ends::In(secs(60)));
        world.clock.advance(secs(60));
        let lease = block_on(mutex.try_lock()).unwrap().unwrap();
        block_on(lease.release_lingering(Duration::ZERO)).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn work_is_dropped_when_its_lease_is_lost() {
    struct Tells(std::sync::mpsc::Sender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let world = World::new();
    for locks in world.both() {
        let (sender, dropped) = std::sync::mpsc::channel();
        let (begin, begun) = std::sync::mpsc::channel();
        let mutex = locks.mutex("k").unwrap();
        let run = spawn(async move {
            mutex
                .run(async |_lease| {
                    let _tells = Tells(sender);
                    begin.send(()).unwrap();
                    std::future::pending::<()>().await;
                })
                .await
        });
        begun.recv_timeout(secs(5)).unwrap();
        let entry = block_on(locks.inspect("k")).unwrap().remove(0);
        block_on(locks.evict(&entry)).unwrap();
        assert!(matches!(
            run.join().unwrap(),
            Err(Error::Lost {
                why: Loss::Taken,
                ..
            })
        ));
        dropped.recv_timeout(secs(5)).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn the_futures_can_be_spawned_on_a_runtime_of_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let world = World::new();
    let mutex = world.remote.mutex("k").unwrap();
    let total = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (mutex, total) = (mutex.clone(), Arc::clone(&total));
            runtime.spawn(async move {
                mutex
                    .run(async |_| {
                        // A lost update would show: this is no atomic increment.
                        let seen = total.load(std::sync::atomic::Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        total.store(seen + 1, std::sync::atomic::Ordering::Relaxed);
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_eq!(total.load(std::sync::atomic::Ordering::Relaxed), 32);
    world.assert_clean("nothing is left");
}

#[test]
fn a_renewal_counts_from_before_it_was_sent() {
    let world = World::new();
    let mutex = world.remote.mutex("k").unwrap();
    let mutex = mutex.with(Options::new().ttl(secs(30))).unwrap();
    let lease = mutex.lock().wait().unwrap();
    world.faults.pause();
    world.clock.advance(secs(10));
    eventually("asked", || world.faults.requests(Verb::Renew) == 1);
    world.clock.advance(secs(9));
    world.faults.resume();
    eventually("answered", || lease.remaining().unwrap() > secs(15));
    assert!(
        lease.remaining().unwrap() <= secs(21),
        "a request may have been executed when it was sent, 9 s ago: {:?}",
        lease.remaining()
    );
}

#[test]
fn the_release_of_one_lease_leaves_the_others_watched() {
    let world = World::new();
    let keys = ["a", "b", "c", "d", "e", "f"];
    let lock = |key: &&str| world.remote.mutex(*key).unwrap().lock().wait().unwrap();
    let mut leases: Vec<_> = keys.iter().map(lock).collect();
    // The last takes the place of the first; then it goes too, and must not take another along.
    block_on(leases.remove(0).release()).unwrap();
    block_on(leases.remove(4).release()).unwrap();
    assert_eq!(world.remote.residue().1, leases.len());
    world.clock.advance(secs(11));
    for lease in &leases {
        eventually("renewed", || lease.remaining().unwrap() > secs(25));
    }
    drop(leases);
    world.assert_clean("nothing is left");
}

/// A store that tells grants some time after it has made them.
#[derive(Debug)]
struct TellsLate {
    store: MemoryStore,
    age: Duration,
    reach: Reach,
    asked: AtomicUsize,
}

impl TellsLate {
    fn new(clock: &Clock, age: Duration, reach: Reach) -> Arc<Self> {
        Arc::new(Self {
            store: MemoryStore::new(clock.clone()),
            age,
            reach,
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait::async_trait]
impl Store for TellsLate {
    async fn open(&self) -> Result<Guarantees> {
        self.store.open().await
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.store.attempt(claims).await;
        for answer in &mut answers {
            if let Ok(Attempt::Granted(grant)) = answer {
                grant.age = self.age;
            }
        }
        answers
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        self.store.renew(keeping).await
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        self.store.release(leaving).await
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        self.store.evict(entry).await
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        self.store.inspect(prefix).await
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        self.store.inspect_key(key).await
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        self.store.recovers_in().await
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        self.store.barred(prefix).await
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        let attempt = self.store.attempt(std::slice::from_ref(claim));
        match block_on(attempt).pop() {
            Some(Ok(Attempt::Granted(mut grant))) => {
                grant.age = self.age;
                Some(grant)
            }
            _ => None,
        }
    }

    fn trouble(&self) -> Option<Error> {
        self.store.trouble()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[test]
fn a_grant_that_was_told_late_has_less_left_until_its_renewal() {
    let clock = Clock::manual();
    let (ttl, age) = (secs(30), secs(14));
    let locks = open(TellsLate::new(&clock, age, Reach::Local), &clock);
    let by_hand = Options::new().ttl(ttl).renewal(RenewalPolicy::ByHand);
    let mutex = locks.mutex("k").unwrap().with(by_hand).unwrap();
    let lease = block_on(mutex.lock()).unwrap();
    assert_eq!(lease.ttl(), Some(ttl));
    // The allowance for clocks is that of the whole TTL: a server's may have been fast for all of it.
    let whole = Lifetime::validity(ttl);
    assert_eq!(lease.remaining(), Some(whole - age));
    clock.advance(secs(1));
    assert_eq!(lease.state(), LeaseState::Doubtful);
    block_on(lease.renew()).unwrap();
    assert_eq!(lease.ttl(), Some(ttl));
    assert_eq!(lease.remaining(), Some(whole));
    assert_eq!(lease.state(), LeaseState::Held);
    block_on(lease.release()).unwrap();
}

#[test]
fn a_grant_that_was_told_when_its_ttl_was_over_is_none() {
    let clock = Clock::manual();
    let whole = Lifetime::validity(secs(30));
    let locks = open(TellsLate::new(&clock, whole, Reach::Local), &clock);
    let mutex = locks.mutex("k").unwrap();
    let mutex = mutex.with(Options::new().ttl(secs(30))).unwrap();
    let error = block_on(mutex.lock().within(Duration::ZERO)).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    eventually("given back", || {
        block_on(locks.inspect("")).unwrap().is_empty()
    });
}

#[test]
fn what_a_waiter_was_told_is_not_asked_for_and_counts_from_when_it_was_granted() {
    let clock = Clock::manual();
    let (ttl, age) = (secs(30), secs(3));
    let store = TellsLate::new(&clock, age, Reach::Remote);
    let locks = open(Arc::<TellsLate>::clone(&store), &clock);
    let others = open(Arc::new(store.store.clone()), &clock);
    let held = block_on(others.mutex("k").unwrap().lock()).unwrap();
    let mutex = locks.mutex("k").unwrap();
    let mutex = mutex.with(Options::new().ttl(ttl)).unwrap();
    let waiter = std::thread::spawn(move || mutex.lock().wait());
    eventually("in line", || {
        block_on(others.inspect("")).unwrap().len() == 2
    });
    let fence = held.fence().unwrap();
    block_on(held.release()).unwrap();
    let lease = waiter.join().unwrap().unwrap();
    assert_eq!(
        store.asked.load(Ordering::SeqCst),
        1,
        "only when it joined the line"
    );
    assert!(lease.fence().unwrap() > fence);
    assert_eq!(lease.remaining(), Some(Lifetime::validity(ttl) - age));
    block_on(lease.release()).unwrap();
}
