//! At most once per interval.

use crate::support::Place;

#[test]
fn a_second_run_within_the_interval_does_nothing_and_says_when_it_is_due() {
    let place = Place::new();
    let first = place.run(&["run", "--every", "3h", "report", "--", "echo", "ran"]);
    assert_eq!(
        (first.code, first.out.as_str()),
        (0, "ran\n"),
        "{}",
        first.err
    );
    for wait in [&[][..], &["-w", "10"][..]] {
        let second = place.run(
            &[
                &["run", "--every", "3h"],
                wait,
                &["report", "--", "echo", "ran"],
            ]
            .concat(),
        );
        assert_eq!(
            (second.code, second.out.as_str()),
            (0, ""),
            "{}",
            second.err
        );
        assert!(
            second.err.contains("report is not due for 2h 59m"),
            "{}",
            second.err
        );
    }
    let show = place.run(&["show", "report"]);
    assert!(show.out.contains("kept with no owner"), "{}", show.out);
    let quiet = place.run(&["run", "-q", "--every", "3h", "report", "--", "echo", "ran"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (0, "", "")
    );
    let plain = place.run(&["run", "report", "--", "echo", "ran"]);
    assert_eq!(
        plain.code, 75,
        "without --every the key is busy: {}",
        plain.err
    );
    assert!(plain.err.contains("free in 2h 59m"), "{}", plain.err);
}

#[test]
fn a_failed_run_does_not_count() {
    let place = Place::new();
    assert_eq!(
        place
            .run(&["run", "--every", "3h", "report", "--", "false"])
            .code,
        1
    );
    assert_eq!(
        place
            .run(&["run", "--every", "3h", "report", "--", "echo", "ran"])
            .out,
        "ran\n"
    );
}

#[test]
fn a_run_elsewhere_is_busy_and_when_it_succeeds_those_who_waited_are_not_due() {
    let place = Place::new();
    let holder = place.hold(&["--every", "3h"], "report");
    assert_eq!(
        place
            .run(&["run", "--every", "3h", "report", "--", "echo", "ran"])
            .code,
        75
    );
    let waiter = place.start(&[
        "run", "-w", "30", "--every", "3h", "report", "--", "echo", "ran",
    ]);
    crate::support::wait_until("it waits", || {
        place.run(&["show", "report"]).out.contains("waiting")
    });
    holder.let_go();
    let waiter = waiter.end();
    assert_eq!(
        (waiter.code, waiter.out.as_str()),
        (0, ""),
        "{}",
        waiter.err
    );
    assert!(waiter.err.contains("is not due"), "{}", waiter.err);
}

#[test]
fn when_the_interval_is_over_it_runs_again() {
    let place = Place::new();
    let run = || {
        place
            .run(&["run", "--every", "0.4", "report", "--", "echo", "ran"])
            .out
    };
    assert_eq!(run(), "ran\n");
    assert_eq!(run(), "");
    std::thread::sleep(std::time::Duration::from_millis(450));
    assert_eq!(run(), "ran\n");
    assert_eq!(
        place
            .run(&["run", "--every", "1h", "long", "--", "sleep", "0.01"])
            .code,
        0
    );
}
