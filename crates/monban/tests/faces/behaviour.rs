//! What each face does, with two connections.

use std::thread;
use std::time::Instant;

use monban::contract::Attempt;
use monban::data::{Claim, IfBusy, Mode, ProcessId, RenewalPolicy};
use monban::rule::Lifetime;
use monban::testing::Witness;
use monban::{ClaimId, Claimant, Error, Key, Locks, Options, Outcome, Owner, block_on};

use crate::place::{MS, Place, eventually, in_line, spawn};

/// Runs rounds of `enter` on four threads, two of each connection.
fn contend(place: &Place, most: usize, enter: impl Fn(&Locks, &Witness) + Sync) {
    let witness = Witness::new(most);
    thread::scope(|threads| {
        for locks in [&place.one, &place.two, &place.one, &place.two] {
            let (witness, enter) = (&witness, &enter);
            threads.spawn(move || (0..10).for_each(|_| enter(locks, witness)));
        }
    });
    witness.assert_no_overlap();
    assert_eq!(witness.entered(), 40);
}

pub(crate) fn a_mutex_has_one_holder(place: &Place) {
    contend(place, 1, |locks, witness| {
        let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
        drop(witness.enter("a holder", lease.fence().ok()));
        block_on(lease.release()).unwrap();
    });
    let lease = place.one.mutex("k").unwrap().lock().wait().unwrap();
    let there = place.two.mutex("k").unwrap();
    assert!(block_on(there.try_lock()).unwrap().is_none());
    let error = there.lock().within(50 * MS).wait().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    block_on(lease.release()).unwrap();
    block_on(there.lock().within(5_000 * MS).wait().unwrap().release()).unwrap();
}

pub(crate) fn a_rwlock_has_readers_or_a_writer(place: &Place) {
    let (here, there) = (
        place.one.rwlock("k").unwrap(),
        place.two.rwlock("k").unwrap(),
    );
    let readers = [here.read().wait().unwrap(), there.read().wait().unwrap()];
    assert!(block_on(there.try_write()).unwrap().is_none());
    let writer = spawn(there.write());
    eventually("the writer waits", || in_line(&place.one, "k") == 3);
    assert!(
        block_on(here.try_read()).unwrap().is_none(),
        "the writer is not overtaken"
    );
    for reader in readers {
        block_on(reader.release()).unwrap();
    }
    let writer = writer.join().unwrap().unwrap();
    assert!(writer.fence().is_ok());
    assert!(block_on(here.try_read()).unwrap().is_none());
    block_on(writer.release()).unwrap();
}

pub(crate) fn a_semaphore_seats_its_holders(place: &Place) {
    contend(place, 2, |locks, witness| {
        let permit = locks
            .semaphore("k", 2)
            .unwrap()
            .take(1)
            .unwrap()
            .wait()
            .unwrap();
        assert!(permit.seat().unwrap() < 2);
        drop(witness.enter("a holder", None));
        block_on(permit.release()).unwrap();
    });
    let (here, there) = (
        place.one.semaphore("k", 2).unwrap(),
        place.two.semaphore("k", 2).unwrap(),
    );
    let first = here.take(1).unwrap().wait().unwrap();
    let second = there.take(1).unwrap().wait().unwrap();
    assert_eq!((first.seat(), second.seat()), (Some(0), Some(1)));
    assert!(block_on(here.try_take(1)).unwrap().is_none());
    let other = block_on(place.two.semaphore("k", 3).unwrap().try_take(1));
    assert!(matches!(other, Err(Error::Mismatch { .. })), "{other:?}");
    let before = first.token().unwrap();
    block_on(first.release()).unwrap();
    let again = there.take(1).unwrap().wait().unwrap();
    assert_eq!(again.seat(), Some(0));
    assert!(
        again.fence().unwrap() > before.fence(),
        "the fences of a seat grow"
    );
    block_on(again.release()).unwrap();
    block_on(second.release()).unwrap();
}

pub(crate) fn all_of_takes_all_or_none(place: &Place) {
    let orders = std::sync::Mutex::new([["a", "b", "c"], ["c", "b", "a"]].into_iter().cycle());
    contend(place, 1, |locks, witness| {
        let order = orders.lock().unwrap().next().unwrap();
        let set = locks.all_of(order).unwrap().lock().wait().unwrap();
        drop(witness.enter(order.concat(), None));
        block_on(set.release()).unwrap();
    });
    let busy = place.two.mutex("b").unwrap().lock().wait().unwrap();
    let wanted = [
        ("a", Mode::Shared),
        ("b", Mode::Exclusive),
        ("c", Mode::Permits { n: 1, of: 2 }),
    ];
    let all = place.one.all_of_modes(wanted).unwrap();
    assert!(block_on(all.try_lock()).unwrap().is_none());
    eventually("nothing is kept", || {
        in_line(&place.two, "a") + in_line(&place.two, "c") == 0
    });
    let wait = spawn(all.lock());
    eventually("it waits for b", || in_line(&place.two, "b") == 2);
    block_on(busy.release()).unwrap();
    let set = wait.join().unwrap().unwrap();
    assert_eq!(set.get(&Key::new("c").unwrap()).unwrap().seat(), Some(0));
    block_on(set.release()).unwrap();
}

pub(crate) fn an_interval_is_kept(place: &Place) {
    let every = 1_500 * MS;
    let (here, there) = (place.one.once("k").unwrap(), place.two.once("k").unwrap());
    let (here, there) = (here.every(every).unwrap(), there.every(every).unwrap());
    assert_eq!(
        block_on(here.run(async |_| Err::<(), _>("no"))).unwrap(),
        Outcome::Failed("no")
    );
    let began = Instant::now();
    assert_eq!(
        block_on(there.run(async |_| Ok::<_, ()>(1))).unwrap(),
        Outcome::Ran(1)
    );
    let Outcome::NotDue(wait) = block_on(here.run(async |_| Ok::<_, ()>(2))).unwrap() else {
        panic!("it is not due");
    };
    // Redis counts in milliseconds, and rounds up.
    assert!(wait <= every + 5 * MS, "{wait:?}");
    thread::sleep(wait);
    eventually("due again", || {
        block_on(here.run(async |_| Ok::<_, ()>(3))).unwrap() == Outcome::Ran(3)
    });
    assert!(began.elapsed() >= every - 20 * MS, "{:?}", began.elapsed());
}

pub(crate) fn an_election_has_one_leader_and_tells(place: &Place) {
    let (here, there) = (
        place.one.election("k").unwrap(),
        place.two.election("k").unwrap(),
    );
    let here = here.with(Options::new().label("anna")).unwrap();
    let mut changes = there.observe();
    assert!(block_on(changes.next()).unwrap().is_none());
    let anna = block_on(here.campaign()).unwrap();
    let leader = block_on(changes.next()).unwrap().expect("somebody leads");
    assert_eq!(leader.claimant().map(Claimant::label), Some("anna"));
    assert!(block_on(there.try_lead()).unwrap().is_none());
    let change = spawn(async move { changes.next().await });
    thread::sleep(100 * MS);
    assert!(!change.is_finished());
    block_on(anna.resign()).unwrap();
    let resigned = Instant::now();
    assert!(change.join().unwrap().unwrap().is_none());
    assert!(
        resigned.elapsed() < 3_000 * MS,
        "the store woke it: {:?}",
        resigned.elapsed()
    );
    block_on(block_on(there.campaign()).unwrap().resign()).unwrap();
}

pub(crate) fn an_owner_takes_again(place: &Place) {
    let mutex = place.one.mutex("k").unwrap();
    let owner = Owner::new();
    let outer = block_on(owner.lock(&mutex)).unwrap();
    let inner = block_on(owner.lock(&mutex)).unwrap();
    assert_eq!(inner.count(), 2);
    block_on(outer.release()).unwrap();
    let there = place.two.mutex("k").unwrap();
    assert!(block_on(there.try_lock()).unwrap().is_none());
    block_on(inner.release()).unwrap();
    block_on(there.lock().within(5_000 * MS).wait().unwrap().release()).unwrap();
}

pub(crate) fn a_killed_holder_is_outlived_by_every_face(place: &Place) {
    let store = place
        .store
        .as_ref()
        .expect("a store in which a claim needs no process");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(store.open()).unwrap();
    let kill = |key: &str, mode| {
        let claim = Claim {
            key: Key::new(key).unwrap(),
            id: ClaimId::random(ProcessId::random()),
            mode,
            ttl: 400 * MS,
            if_busy: IfBusy::Leave,
            claimant: Claimant::new("host", 1, "killed"),
        };
        let answer = runtime.block_on(store.attempt(&[claim])).remove(0).unwrap();
        assert!(matches!(answer, Attempt::Granted(_)), "{answer:?}");
        Instant::now()
    };
    let in_time = |killed: Instant| {
        let waited = killed.elapsed();
        assert!(waited >= 350 * MS && waited < 3_000 * MS, "{waited:?}");
    };
    let locks = &place.one;
    let killed = kill("mutex", Mode::Exclusive);
    drop(locks.mutex("mutex").unwrap().lock().wait().unwrap());
    in_time(killed);
    let killed = kill("rwlock", Mode::Shared);
    drop(locks.rwlock("rwlock").unwrap().write().wait().unwrap());
    in_time(killed);
    let killed = kill("semaphore", Mode::Permits { n: 2, of: 2 });
    drop(
        locks
            .semaphore("semaphore", 2)
            .unwrap()
            .take(1)
            .unwrap()
            .wait()
            .unwrap(),
    );
    in_time(killed);
    let killed = kill("b", Mode::Exclusive);
    drop(
        locks
            .all_of(["a", "b", "c"])
            .unwrap()
            .lock()
            .wait()
            .unwrap(),
    );
    in_time(killed);
    let killed = kill("election", Mode::Exclusive);
    drop(block_on(locks.election("election").unwrap().campaign()).unwrap());
    in_time(killed);
}

pub(crate) fn a_lease_that_is_freed_by_hand_is_lost(place: &Place) {
    let set = place.one.all_of(["a", "b"]).unwrap().lock().wait().unwrap();
    let entry = block_on(place.two.inspect("b")).unwrap().remove(0);
    if !place.two.guarantees().release_by_hand {
        let refused = block_on(place.two.evict(&entry));
        assert!(
            matches!(refused, Err(Error::Unsupported { .. })),
            "{refused:?}"
        );
        set.check().unwrap();
        return;
    }
    let lost = spawn(set.lost());
    block_on(place.two.evict(&entry)).unwrap();
    assert!(matches!(lost.join().unwrap(), Error::Lost { .. }));
    assert!(set.check().is_err());
}

/// Whoever waited for a key has as much of it as whoever found it free.
pub(crate) fn a_lease_after_a_wait_lives_as_long_as_any(place: &Place) {
    let options = Options::new()
        .ttl(30_000 * MS)
        .renewal(RenewalPolicy::ByHand);
    let mutex = |locks: &Locks| locks.mutex("k").unwrap().with(options.clone()).unwrap();
    let first = mutex(&place.two).lock().wait().unwrap();
    let plain = first.ttl();
    let wait = spawn(mutex(&place.one).lock());
    eventually("it waits", || in_line(&place.two, "k") == 2);
    std::thread::sleep(500 * MS); // of the life of its place
    block_on(first.release()).unwrap();
    let lease = wait.join().unwrap().unwrap();
    assert_eq!(lease.ttl(), plain);
    if let Some(ttl) = plain {
        let start = Instant::now();
        block_on(lease.renew()).unwrap();
        assert_eq!(lease.ttl(), plain);
        let left = lease.remaining().unwrap();
        assert!(
            left + start.elapsed() >= Lifetime::validity(ttl),
            "{left:?}"
        );
    }
    block_on(lease.release()).unwrap();
    place.assert_clean("nothing is left");
}
