//! The election.

use super::*;
use crate::data::Options;
use crate::faces::Leader;
use crate::testing::{Verb, Witness};

fn label(leader: Option<Leader>) -> Option<String> {
    leader.map(|leader| leader.claimant().unwrap().label().to_owned())
}

#[test]
fn one_candidate_leads_and_the_next_follows() {
    both(|rig, [one, two]| {
        let (here, there) = (
            one.locks().election("k").unwrap(),
            two.locks().election("k").unwrap(),
        );
        assert!(block_on(here.leader()).unwrap().is_none());
        let first = block_on(here.campaign()).unwrap();
        assert_eq!(
            label(block_on(there.leader()).unwrap()).as_deref(),
            Some("one")
        );
        assert!(block_on(there.try_lead()).unwrap().is_none());
        let limited = spawn({
            let there = there.clone();
            async move { there.campaign_within(secs(2)).await }
        });
        until_in_line(rig, "k", 2);
        rig.advance(Duration::from_millis(2_100));
        let error = done(limited).unwrap_err();
        until_in_line(rig, "k", 1);
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        let next = spawn({
            let there = there.clone();
            async move { there.campaign().await }
        });
        until_in_line(rig, "k", 2);
        assert_eq!(
            label(block_on(there.leader()).unwrap()).as_deref(),
            Some("one")
        );
        let fence = first.fence().unwrap();
        block_on(first.resign()).unwrap();
        let next = done(next).unwrap();
        assert!(next.fence().unwrap() > fence);
        assert_eq!(
            label(block_on(here.leader()).unwrap()).as_deref(),
            Some("two")
        );
        drop(next);
    });
}

#[test]
fn an_observer_sees_the_present_leader_and_every_change() {
    both(|rig, [one, two]| {
        let (sender, seen) = std::sync::mpsc::channel();
        let mut changes = two.locks().election("k").unwrap().observe();
        let observer =
            spawn(
                async move { while sender.send(label(changes.next().await.unwrap())).is_ok() {} },
            );
        let next = || {
            let patience = std::time::Instant::now() + secs(10);
            loop {
                // Only while nobody leads does the observer's look depend on the clock.
                match seen.recv_timeout(Duration::from_millis(5)) {
                    Ok(leader) => return leader,
                    Err(_) => rig.clock().advance(Duration::from_millis(50)),
                }
                assert!(std::time::Instant::now() < patience, "no change was seen");
            }
        };
        assert_eq!(next(), None);
        let election = one.locks().election("k").unwrap();
        let first = block_on(election.campaign()).unwrap();
        assert_eq!(next().as_deref(), Some("one"));
        let second = spawn({
            let election = two.locks().election("k").unwrap();
            async move { election.campaign().await }
        });
        until_in_line(rig, "k", 2);
        drop(first);
        assert_eq!(next().as_deref(), Some("two"));
        // It has to know that it leads: who loses its place while waiting joins again.
        let second = done(second);
        lose(one.locks(), "k");
        assert_eq!(next(), None);
        drop(second);
        drop(seen);
        let last = block_on(election.campaign()).unwrap(); // the last change ends the observer
        rig.eventually("the observer ends", || {
            rig.clock().advance(Duration::from_millis(50));
            observer.is_finished()
        });
        drop(last);
        done(observer);
    });
}

#[test]
fn while_somebody_leads_the_store_wakes_the_observer_and_no_time_passes() {
    both(|_, [one, two]| {
        let leadership = block_on(one.locks().election("k").unwrap().campaign()).unwrap();
        let mut changes = two.locks().election("k").unwrap().observe();
        assert!(block_on(changes.next()).unwrap().is_some());
        let change = spawn(async move { changes.next().await });
        std::thread::sleep(Duration::from_millis(50));
        let looked = two.faults().requests(Verb::Attempt);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(
            two.faults().requests(Verb::Attempt),
            looked,
            "it does not poll"
        );
        assert!(!change.is_finished());
        block_on(leadership.resign()).unwrap();
        assert!(done(change).unwrap().is_none());
    });
}

#[test]
fn a_leader_knows_of_its_loss_before_another_leads() {
    let rig = Rig::new();
    let (one, two) = (rig.process("one"), rig.process("two"));
    let witness = Witness::new(1);
    let leadership = block_on(one.locks().election("k").unwrap().campaign()).unwrap();
    let mut inside = Some(witness.enter("one", leadership.fence().ok()));
    let next = spawn({
        let (election, witness) = (two.locks().election("k").unwrap(), witness.clone());
        async move {
            let leadership = election.campaign().await.unwrap();
            drop(witness.enter("two", leadership.fence().ok()));
            leadership
        }
    });
    until_in_line(&rig, "k", 2);
    one.faults().pause(); // the store is silent for the leader only
    while !next.is_finished() {
        rig.clock().advance(Duration::from_millis(50));
        if leadership.check().is_err() {
            inside = None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(inside.is_none());
    witness.assert_no_overlap();
    assert_eq!(witness.entered(), 2);
    one.faults().resume();
    drop((leadership, done(next)));
    rig.assert_clean();
}

#[test]
fn a_killed_leader_is_followed_within_its_ttl() {
    both(|rig, [one, _]| {
        dead_holder(rig, "k", Mode::Exclusive);
        let election = one.locks().election("k").unwrap();
        assert_eq!(
            label(block_on(election.leader()).unwrap()).as_deref(),
            Some("killed")
        );
        let next = spawn(async move { election.campaign().await });
        until_in_line(rig, "k", 2);
        rig.advance(Duration::from_millis(10_100));
        rig.eventually("elected", || next.is_finished());
        drop(done(next).unwrap());
    });
}

#[test]
fn work_is_dropped_when_the_leadership_is_lost() {
    both(|_, [one, two]| {
        let election = one.locks().election("k").unwrap();
        let result = block_on(election.run(async |_| {
            lose(two.locks(), "k");
            std::future::pending::<()>().await;
        }));
        assert!(is_lost(&result));
        assert_eq!(
            block_on(election.run(async |leadership| leadership.check()))
                .unwrap()
                .ok(),
            Some(())
        );
    });
}

#[test]
fn an_observer_takes_no_place_and_mints_no_fence() {
    both(|rig, [one, two]| {
        let election = one.locks().election("k").unwrap();
        let first = block_on(election.campaign()).unwrap();
        let fence = first.fence().unwrap().as_i64();
        let mut changes = two.locks().election("k").unwrap().observe();
        block_on(changes.next()).unwrap();
        drop(spawn_and_stop(changes.next()));
        assert_eq!(rig.claims("k").len(), 1);
        block_on(first.resign()).unwrap();
        // It looks at a line that is free by now.
        assert!(block_on(changes.next()).unwrap().is_none());
        rig.eventually("nothing is in the line", || rig.claims("k").is_empty());
        let second = block_on(election.campaign()).unwrap();
        assert_eq!(second.fence().unwrap().as_i64(), fence + 1);
        drop(second);
    });
}

/// Polls for a while, then drops.
fn spawn_and_stop<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..20 {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

#[test]
fn bad_keys_and_options_are_refused() {
    let rig = Rig::new();
    let process = rig.process("one");
    assert!(is_invalid(&process.locks().election("")));
    let election = process.locks().election("k").unwrap();
    assert!(is_invalid(
        &election.with(Options::new().ttl(Duration::ZERO))
    ));
}
