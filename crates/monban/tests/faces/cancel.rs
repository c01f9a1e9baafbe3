//! The cancellation sweep: every future is polled k times and dropped, for every k until it completes; then the
//! next in line is served, and nothing is left.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use monban::{Locks, Options, block_on};

use crate::each::{ALL, Boxed, FACES, Face};
use crate::place::{MS, Place};

/// Between two polls: long enough for a part of an exchange with a server, mostly shorter than the whole.
const BREATH: Duration = Duration::from_micros(300);
/// Polls after which a future does not end any more.
const MOST: usize = 100_000;

/// Polls at most `k` times, and drops the future; whether it was finished.
fn poll_times(k: usize, future: Boxed<()>) -> bool {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..k {
        if let Poll::Ready(()) = future.as_mut().poll(&mut context) {
            return true;
        }
        thread::sleep(BREATH);
    }
    false
}

fn sweep(place: &Place, what: &str, start: impl Fn(&Locks) -> Boxed<()>) {
    for k in 0..MOST {
        let what = format!("{what}, dropped after {k} polls");
        let finished = poll_times(k, start(&place.one));
        let next = place.two.all_of(ALL).unwrap().lock();
        let next = next.within(20_000 * MS).wait();
        let next = next.unwrap_or_else(|error| panic!("{what}: the next is not served: {error}"));
        block_on(next.release()).unwrap();
        place.assert_clean(&what);
        if finished {
            return;
        }
    }
    panic!("{what} does not end");
}

fn take(face: Face, locks: &Locks) -> Boxed<()> {
    let taking = face.take(locks, Options::new());
    Box::pin(async move { taking.await.unwrap().release().await.unwrap() })
}

pub(crate) fn every_face_may_be_dropped_at_any_poll(place: &Place) {
    for face in FACES {
        sweep(place, &format!("{face:?}"), |locks| take(face, locks));
    }
}

/// The keys are another's when the future is polled first, and are free soon.
pub(crate) fn every_face_may_be_dropped_at_any_poll_of_a_wait(place: &Place) {
    for face in FACES {
        sweep(place, &format!("{face:?} that waits"), |locks| {
            let taking = take(face, locks);
            behind(place, taking)
        });
    }
}

/// The future, while somebody has the keys for a moment.
fn behind(place: &Place, future: Boxed<()>) -> Boxed<()> {
    let held = place.two.all_of(ALL).unwrap().lock().wait().unwrap();
    let freed = thread::spawn(move || {
        thread::sleep(2 * MS);
        drop(held);
    });
    Box::pin(async move {
        future.await;
        freed.join().unwrap();
    })
}

pub(crate) fn every_try_may_be_dropped_at_any_poll(place: &Place) {
    for face in FACES {
        sweep(place, &format!("a try of {face:?}"), |locks| {
            let trying = face.attempt(locks);
            Box::pin(async move { drop(trying.await.unwrap().expect("it is free")) })
        });
        let held = place.two.all_of(ALL).unwrap().lock().wait().unwrap();
        assert!(block_on(face.attempt(&place.one)).unwrap().is_none());
        block_on(held.release()).unwrap();
        place.assert_clean("a try that is refused");
    }
}

pub(crate) fn every_release_may_be_dropped_at_any_poll(place: &Place) {
    for face in FACES {
        sweep(place, &format!("the release of {face:?}"), |locks| {
            let taken = block_on(face.take(locks, Options::new())).unwrap();
            Box::pin(async move { taken.release().await.unwrap() })
        });
    }
    sweep(place, "a run of a mutex", |locks| {
        let mutex = locks.mutex("b").unwrap();
        Box::pin(async move { mutex.run(async |_| ()).await.unwrap() })
    });
    sweep(place, "a run of an interval that fails", |locks| {
        let interval = locks.once("b").unwrap().every(3_600_000 * MS).unwrap();
        Box::pin(async move {
            let work = async |_: &monban::Lease| Err::<(), _>("no");
            interval.run(work).await.unwrap();
        })
    });
    sweep(place, "a run of several keys", |locks| {
        let all = locks.all_of(ALL).unwrap();
        Box::pin(async move { all.run(async |_| ()).await.unwrap() })
    });
}

pub(crate) fn an_observer_may_be_dropped_at_any_poll(place: &Place) {
    let observe = |locks: &Locks| -> Boxed<()> {
        let mut changes = locks.election("b").unwrap().observe();
        Box::pin(async move { drop(changes.next().await.unwrap()) })
    };
    sweep(place, "an observer", observe);
    sweep(place, "an observer that waits", |locks| {
        let mut changes = locks.election("b").unwrap().observe();
        let held = place.two.all_of(ALL).unwrap().lock().wait().unwrap();
        assert!(block_on(changes.next()).unwrap().is_some());
        Box::pin(async move {
            let freed = thread::spawn(move || {
                thread::sleep(2 * MS);
                drop(held);
            });
            assert!(changes.next().await.unwrap().is_none());
            freed.join().unwrap();
        })
    });
}
