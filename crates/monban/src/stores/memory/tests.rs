//! What only this store promises; the rest is the conformance suite's.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::contract::Wake;
use crate::data::{ClaimId, Claimant, IfBusy, Key, Mode, ProcessId};

/// Finishes a verb by its first poll, as the store promises.
fn now<T>(verb: impl Future<Output = T>) -> T {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a verb of the memory store waits"),
    }
}

fn claim(key: &str, ttl: Duration) -> Claim {
    Claim {
        key: Key::new(key).unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode: Mode::Exclusive,
        ttl,
        if_busy: IfBusy::Queue,
        claimant: Claimant::new("h", 1, ""),
    }
}

fn leave(claim: &Claim) -> Leave {
    Leave {
        claim: claim.clone(),
        linger: None,
    }
}

fn ask(store: &MemoryStore, claim: &Claim) -> Attempt {
    now(store.attempt(std::slice::from_ref(claim)))
        .remove(0)
        .unwrap()
}

fn wake(store: &MemoryStore, claim: &Claim) -> Wake {
    match ask(store, claim) {
        Attempt::Busy(busy) => busy.changed.unwrap(),
        Attempt::Granted(_) => panic!("granted"),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_key_that_nobody_claims_costs_nothing() {
    let store = MemoryStore::new(Clock::manual());
    for round in 0..1_000 {
        let claim = claim(&format!("k{round}"), MINUTE);
        ask(&store, &claim);
        now(store.release(&[leave(&claim)]));
    }
    assert_eq!(store.keys(), 0);
}

#[test]
fn keys_of_the_dead_do_not_pile_up_though_nobody_asks_for_them_again() {
    let clock = Clock::manual();
    let store = MemoryStore::new(clock.clone());
    for round in 0..10_000 {
        ask(&store, &claim(&format!("k{round}"), MINUTE));
        clock.advance(Duration::from_secs(6)); // ten live at any time
    }
    assert!(store.keys() <= 64, "{} keys are kept", store.keys());
    let table = store.shared.table.lock().unwrap();
    assert!(table.capacity() < 1_000, "{} slots", table.capacity());
}

#[test]
fn listeners_that_went_away_are_not_kept() {
    let store = MemoryStore::new(Clock::manual());
    let (holder, waiter) = (claim("k", MINUTE), claim("k", MINUTE));
    ask(&store, &holder);
    for _ in 0..1_000 {
        drop(wake(&store, &waiter));
    }
    let table = store.shared.table.lock().unwrap();
    assert!(table.listeners() <= 2, "{} listeners", table.listeners());
}

#[test]
fn whoever_is_woken_may_call_the_store_at_once() {
    struct Calls(MemoryStore, AtomicBool);
    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.keys() == 1, Ordering::SeqCst);
        }
    }
    let store = MemoryStore::new(Clock::manual());
    let (holder, waiter) = (claim("k", MINUTE), claim("k", MINUTE));
    ask(&store, &holder);
    let mut changed = wake(&store, &waiter);
    let calls = Arc::new(Calls(store.clone(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&calls));
    let mut context = Context::from_waker(&waker);
    assert!(changed.as_mut().poll(&mut context).is_pending());
    now(store.release(&[leave(&holder)]));
    assert!(calls.1.load(Ordering::SeqCst), "woken, and not locked out");
    assert!(changed.as_mut().poll(&mut context).is_ready());
}

#[test]
fn fences_of_a_later_store_are_greater_than_those_of_an_earlier_one() {
    let fence = |store: &MemoryStore| match ask(store, &claim("k", MINUTE)) {
        Attempt::Granted(grant) => grant.fence.unwrap(),
        Attempt::Busy(_) => panic!("busy"),
    };
    let first = fence(&MemoryStore::new(Clock::system()));
    std::thread::sleep(Duration::from_millis(1));
    assert!(fence(&MemoryStore::new(Clock::system())) > first);
}
