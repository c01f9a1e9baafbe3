//! The faults happen as commanded, and nothing else does.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use std::sync::Arc;

use super::*;
use crate::contract::{Attempt, Reach, Renewal, Store};
use crate::data::{
    Claim, ClaimId, Claimant, EntryId, Error, IfBusy, Keep, Key, Leave, Mode, ProcessId, Result,
};
use crate::stores::memory::MemoryStore;

struct Bench {
    clock: Clock,
    store: FaultyStore,
    faults: Faults,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual();
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let store = FaultyStore::new(memory, clock.clone());
        let faults = store.faults();
        Self {
            clock,
            store,
            faults,
        }
    }

    fn ask(&self, claim: &Claim) -> Result<Attempt> {
        let claims = [claim.clone()];
        done(self.store.attempt(&claims)).remove(0)
    }

    fn renew(&self, claim: &Claim) -> Result<Renewal> {
        let line = done(self.faults.store().inspect(b"")).unwrap();
        let its = line.iter().find(|e| e.id == EntryId::Claim(claim.id));
        let keep = Keep {
            claim: claim.clone(),
            fence: its.and_then(|entry| entry.fence),
        };
        done(self.store.renew(&[keep])).remove(0)
    }

    fn in_line(&self) -> usize {
        done(self.faults.store().inspect(b"")).unwrap().len()
    }
}

fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn done<T>(future: impl Future<Output = T> + Send) -> T {
    let mut future: Pin<Box<dyn Future<Output = T> + Send + '_>> = Box::pin(future);
    match poll(&mut future) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("not finished by its first poll"),
    }
}

fn claim() -> Claim {
    Claim {
        key: Key::new("k").unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode: Mode::Exclusive,
        ttl: Duration::from_secs(30),
        if_busy: IfBusy::Queue,
        claimant: Claimant::new("h", 1, ""),
    }
}

#[test]
fn a_lost_request_is_not_executed_and_a_lost_reply_is() {
    let (bench, first, second) = (Bench::new(), claim(), claim());
    bench.faults.inject(Verb::Attempt, Fault::RequestLost);
    bench.faults.inject(Verb::Attempt, Fault::ReplyLost);
    assert!(bench.ask(&first).unwrap_err().is_transient());
    assert_eq!(bench.in_line(), 0);
    assert!(bench.ask(&second).unwrap_err().is_transient());
    assert_eq!(bench.in_line(), 1);
    assert!(matches!(bench.ask(&second), Ok(Attempt::Granted(_))));
    assert_eq!(bench.faults.requests(Verb::Attempt), 3);
}

#[test]
fn a_fault_concerns_its_verb_and_as_many_requests_as_commanded() {
    let (bench, holder) = (Bench::new(), claim());
    bench.faults.inject_times(2, Verb::Renew, Fault::Refused);
    bench.ask(&holder).unwrap();
    for _ in 0..2 {
        let answer = bench.renew(&holder);
        assert!(matches!(answer, Err(Error::Rejected { .. })), "{answer:?}");
    }
    assert_eq!(bench.renew(&holder).unwrap(), Renewal::Kept);
    bench.faults.inject(Verb::Renew, Fault::Refused);
    bench.faults.clear();
    assert_eq!(bench.faults.outstanding(), 0);
    assert_eq!(bench.renew(&holder).unwrap(), Renewal::Kept);
}

#[test]
fn every_element_of_a_batch_is_answered_when_its_request_fails() {
    let (bench, claims) = (Bench::new(), [claim(), claim(), claim()]);
    bench.faults.inject(Verb::Attempt, Fault::RequestLost);
    assert_eq!(done(bench.store.attempt(&claims)).len(), 3);
    assert_eq!(bench.faults.claims(Verb::Attempt), 3);
}

#[test]
fn a_paused_store_executes_nothing_until_it_is_resumed() {
    let (bench, holder) = (Bench::new(), claim());
    assert_eq!(bench.store.reach(), Reach::Remote);
    bench.faults.pause();
    let claims = [holder];
    let mut asked = bench.store.attempt(&claims);
    assert!(poll(&mut asked).is_pending());
    assert_eq!(bench.in_line(), 0);
    bench.faults.resume();
    assert!(poll(&mut asked).is_ready());
    assert_eq!(bench.in_line(), 1);
}

#[test]
fn what_is_late_is_late_by_the_clock_of_the_test() {
    let (bench, claims) = (Bench::new(), [claim()]);
    let by = Duration::from_secs(5);
    for (fault, executed) in [(Fault::RequestLate(by), 0), (Fault::ReplyLate(by), 1)] {
        bench.faults.inject(Verb::Attempt, fault);
        let mut asked = bench.store.attempt(&claims);
        assert!(poll(&mut asked).is_pending());
        bench.clock.advance(by - Duration::from_millis(1));
        assert!(poll(&mut asked).is_pending());
        assert_eq!(bench.in_line(), executed, "{fault:?}");
        bench.clock.advance(Duration::from_millis(1));
        assert!(poll(&mut asked).is_ready(), "{fault:?}");
        let leave = claims.clone().map(|claim| Leave {
            claim,
            linger: None,
        });
        done(bench.store.release(&leave));
    }
}

#[test]
fn a_lease_is_lost_at_the_test_s_command_and_its_holder_is_told() {
    let (bench, holder, next) = (Bench::new(), claim(), claim());
    let Ok(Attempt::Granted(grant)) = bench.ask(&holder) else {
        panic!("refused")
    };
    bench.ask(&next).unwrap();
    bench.faults.pause(); // which does not keep the test from it
    let mut lost = grant.lost.unwrap();
    assert!(poll(&mut lost).is_pending());
    assert_eq!(done(bench.faults.lose(&holder.key)).unwrap(), 1);
    assert!(poll(&mut lost).is_ready());
    bench.faults.resume();
    assert_eq!(bench.renew(&holder).unwrap(), Renewal::Lost);
    assert!(matches!(bench.ask(&next), Ok(Attempt::Granted(_))));
    assert!(done(bench.faults.lose_claim(&EntryId::Claim(next.id))).unwrap());
    assert!(!done(bench.faults.lose_claim(&EntryId::Claim(next.id))).unwrap());
}

#[test]
fn a_muted_store_wakes_nobody() {
    let (bench, holder, waiter) = (Bench::new(), claim(), claim());
    bench.faults.mute();
    let granted = bench.ask(&holder);
    assert!(matches!(granted, Ok(Attempt::Granted(grant)) if grant.lost.is_none()));
    let refused = bench.ask(&waiter);
    assert!(matches!(refused, Ok(Attempt::Busy(busy)) if busy.changed.is_none()));
    bench.faults.unmute();
    let refused = bench.ask(&waiter);
    assert!(matches!(refused, Ok(Attempt::Busy(busy)) if busy.changed.is_some()));
}

#[test]
fn real_time_passes_without_a_runtime() {
    let (clock, d) = (Clock::system(), Duration::from_millis(20));
    let before = clock.now();
    let (sent, arrived) = std::sync::mpsc::channel();
    struct Sends(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Sends {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let waker = Waker::from(Arc::new(Sends(sent)));
    let mut slept = Box::pin(sleep::sleep(d));
    assert!(
        slept
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    arrived.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(clock.now().since(before) >= d);
}

#[test]
fn a_witness_names_those_who_overlap_and_fences_that_do_not_grow() {
    let fence = |number| crate::data::Fence::new(number);
    let witness = Witness::new(1);
    let one = witness.enter("one", fence(5));
    drop(one);
    let two = witness.enter("two", fence(6));
    assert_eq!(witness.faults(), Vec::<String>::new());
    let three = witness.enter("three", fence(6));
    drop((two, three));
    assert_eq!(
        witness.faults(),
        [
            "three entered with fence 6 after fence 6",
            "three entered while two was inside"
        ]
    );
    assert!(std::panic::catch_unwind(|| witness.assert_no_overlap()).is_err());
    assert!(std::panic::catch_unwind(|| Witness::new(1).assert_no_overlap()).is_err());

    let two_seats = Witness::new(2);
    let (_one, _two) = (two_seats.enter("one", None), two_seats.enter("two", None));
    two_seats.assert_no_overlap();
    let _three = two_seats.enter("three", None);
    assert_eq!(
        two_seats.faults(),
        ["three entered while one, two was inside"]
    );
}

#[test]
fn a_script_is_played_in_the_order_of_its_instants() {
    let rig = Rig::new();
    let seen = std::cell::RefCell::new(Vec::new());
    let began = rig.clock().now();
    let note = |what| {
        let at = rig.clock().now().since(began);
        seen.borrow_mut().push((what, at));
    };
    let secs = Duration::from_secs;
    Script::new()
        .at(secs(3), || note("third"))
        .at(secs(1), || note("first"))
        .at(secs(1), || note("second"))
        .play(&rig);
    assert_eq!(
        *seen.borrow(),
        [("first", secs(1)), ("second", secs(1)), ("third", secs(3))]
    );
}

#[test]
fn a_fail_over_takes_every_lease_away_and_fences_still_grow() {
    let rig = Rig::new();
    let (one, two) = (rig.process("one"), rig.process("two"));
    let mutex = one.locks().mutex("k").unwrap();
    let lease = mutex.lock().wait().unwrap();
    let before = lease.fence().unwrap();
    rig.fail_over();
    rig.advance(Duration::from_secs(11)); // the next renewal
    rig.eventually("the loss is known", || lease.check().is_err());
    let next = two.locks().mutex("k").unwrap().lock().wait().unwrap();
    assert!(next.fence().unwrap() > before);
    drop((lease, next));
    rig.assert_clean();
}
