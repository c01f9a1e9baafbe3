//! At most once per interval.

use super::*;
use crate::data::Options;
use crate::faces::Outcome;
use crate::testing::{Fault, Verb};

type Answer = Outcome<u32, &'static str>;

const HOUR: Duration = secs(3600);

fn run(
    process: &Process,
    work: impl AsyncFnOnce(&crate::Lease) -> Result<u32, &'static str>,
) -> Answer {
    let interval = process.locks().once("k").unwrap().every(HOUR).unwrap();
    block_on(interval.run(work)).unwrap()
}

#[test]
fn work_runs_once_an_interval_across_processes_counted_from_its_start() {
    both(|rig, [one, two]| {
        let answer = run(&one, async |_| {
            rig.advance(secs(60));
            Ok(7)
        });
        assert_eq!(answer, Outcome::Ran(7));
        for process in [&one, &two] {
            let answer = run(process, async |_| panic!("it is not due"));
            assert_eq!(answer, Outcome::NotDue(HOUR - secs(60)));
        }
        rig.clock().advance(HOUR - secs(61));
        assert_eq!(
            run(&two, async |_| panic!("it is not due")),
            Outcome::NotDue(secs(1))
        );
        rig.clock().advance(secs(1));
        assert_eq!(run(&two, async |_| Ok(8)), Outcome::Ran(8));
        rig.clock().advance(HOUR);
    });
}

#[test]
fn a_run_that_fails_or_is_dropped_does_not_count() {
    both(|_, [one, two]| {
        assert_eq!(
            run(&one, async |_| Err("no paper")),
            Outcome::Failed("no paper")
        );
        let interval = two.locks().once("k").unwrap().every(HOUR).unwrap();
        {
            let pending =
                async |_: &crate::Lease| std::future::pending::<Result<u32, &str>>().await;
            let mut dropped = std::pin::pin!(interval.run(pending));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for _ in 0..20 {
                assert!(dropped.as_mut().poll(&mut context).is_pending());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut answer = run(&one, async |_| Ok(1));
        for _ in 0..100 {
            if matches!(answer, Outcome::Ran(1)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5)); // the release is in the background
            answer = run(&one, async |_| Ok(1));
        }
        assert_eq!(answer, Outcome::Ran(1));
        lose(two.locks(), "k");
    });
}

#[test]
fn work_that_runs_elsewhere_is_told_with_who_runs_it() {
    both(|_, [one, two]| {
        let answer = run(&one, async |_| {
            match run(&two, async |_| panic!("it runs already")) {
                Outcome::Running(Some(who)) => assert_eq!(who.label(), "one"),
                other => panic!("{other:?}"),
            }
            Err("enough")
        });
        assert_eq!(answer, Outcome::Failed("enough"));
    });
}

#[test]
fn work_that_takes_longer_than_its_interval_is_due_again() {
    both(|rig, [one, _]| {
        let interval = one.locks().once("k").unwrap().every(secs(5)).unwrap();
        let slow = block_on(interval.run(async |_| {
            rig.advance(secs(6));
            Ok::<_, ()>(())
        }));
        assert_eq!(slow.unwrap(), Outcome::Ran(()));
        let again = block_on(interval.run(async |_| Err::<(), _>(())));
        assert_eq!(again.unwrap(), Outcome::Failed(()));
    });
}

#[test]
fn a_killed_run_does_not_count_and_a_lost_one_is_an_error() {
    both(|rig, [one, two]| {
        dead_holder(rig, "k", Mode::Exclusive);
        assert!(matches!(run(&one, async |_| Ok(1)), Outcome::Running(_)));
        rig.advance(secs(10));
        let interval = one.locks().once("k").unwrap().every(HOUR).unwrap();
        let lost = block_on(interval.run(async |_| {
            lose(two.locks(), "k");
            std::future::pending::<Result<u32, &str>>().await
        }));
        assert!(is_lost(&lost), "{lost:?}");
        assert_eq!(run(&two, async |_| Err("free")), Outcome::Failed("free"));
    });
}

#[test]
fn a_reply_that_is_lost_after_the_work_keeps_the_interval() {
    let rig = Rig::new();
    let process = rig.process("one");
    process.faults().inject(Verb::Release, Fault::ReplyLost);
    let began = spawn({
        let interval = process.locks().once("k").unwrap().every(HOUR).unwrap();
        async move { interval.run(async |_| Ok::<_, ()>(1)).await }
    });
    rig.eventually("told again", || {
        rig.advance(Duration::from_millis(50));
        began.is_finished()
    });
    assert_eq!(done(began).unwrap(), Outcome::Ran(1));
    assert!(matches!(run(&process, async |_| Ok(2)), Outcome::NotDue(_)));
    assert_eq!(
        process.faults().requests(Verb::Release),
        2,
        "one that was lost, and one more"
    );
    rig.clock().advance(HOUR);
    rig.assert_clean();
}

#[test]
fn an_interval_of_zero_or_for_ever_and_bad_options_are_refused() {
    let rig = Rig::new();
    let process = rig.process("one");
    let once = process.locks().once("k").unwrap();
    let error = once.clone().every(Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("interval of zero"), "{error}");
    assert!(is_invalid(&once.clone().every(Duration::MAX)));
    assert!(is_invalid(
        &once.with(Options::new().ttl(Duration::ZERO)).every(HOUR)
    ));
    assert!(is_invalid(&process.locks().once("")));
}

#[test]
fn a_run_costs_one_request_to_take_and_one_to_finish() {
    let rig = Rig::new();
    let process = rig.process("one");
    assert_eq!(run(&process, async |_| Ok(1)), Outcome::Ran(1));
    assert!(matches!(run(&process, async |_| Ok(1)), Outcome::NotDue(_)));
    let faults = process.faults();
    assert_eq!(
        (
            faults.requests(Verb::Attempt),
            faults.requests(Verb::Release)
        ),
        (2, 1)
    );
    assert_eq!(
        faults.requests(Verb::Renew) + faults.requests(Verb::Inspect),
        0
    );
}
