//! The election: a command runs while leading; others are told who leads.

use std::io::{BufRead, BufReader};

use rustix::process::Signal;

use crate::support::{Place, Running, wait_until};

/// A candidate whose command says that it runs, and runs until it is ended.
fn candidate(place: &Place, options: &[&str], name: &str) -> Running {
    let script = format!(
        "echo {name} >> '{}'; exec sleep 60",
        place.file("log").display()
    );
    place.start(&[&["elect"], options, &["k", "--", "sh", "-c", &script]].concat())
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.file("log")).unwrap_or_default()
}

/// An observer, and the lines it prints.
fn observer(place: &Place, options: &[&str]) -> (Running, impl FnMut() -> String) {
    let mut running = place.start(&[&["elect", "--observe"], options, &["k"]].concat());
    let out = running.0.as_mut().and_then(|child| child.stdout.take());
    let mut lines = BufReader::new(out.expect("a pipe")).lines();
    let next = move || lines.next().expect("one more line").expect("text");
    (running, next)
}

#[test]
fn one_candidate_leads_at_a_time_and_the_next_follows_when_it_ends() {
    let place = Place::new();
    let first = candidate(&place, &[], "one");
    wait_until("the first leads", || log(&place) == "one\n");
    let second = candidate(&place, &[], "two");
    wait_until("the second waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    assert_eq!(log(&place), "one\n");
    first.signal(Signal::TERM);
    assert_eq!(first.end().code, 143, "the command's own end");
    wait_until("the second leads", || log(&place) == "one\ntwo\n");
    second.signal(Signal::TERM);
    assert_eq!(second.end().code, 143);
    let free = place.run(&[
        "elect",
        "k",
        "--",
        "sh",
        "-c",
        "echo $MONBAN_KEY $MONBAN_FENCE; exit 7",
    ]);
    assert_eq!(free.code, 7);
    let (key, fence) = free.out.trim().split_once(' ').expect("two words");
    assert_eq!(key, "k");
    assert!(fence.parse::<i64>().expect("a number") > 0);
}

#[test]
fn who_does_not_lead_in_time_ends_as_run_does() {
    let place = Place::new();
    let _leader = place.hold(&[], "k");
    let late = place.run(&["elect", "-w", "0.2", "k", "true"]);
    assert_eq!(late.code, 75);
    assert!(
        late.err.contains("Another process leads k (pid"),
        "{}",
        late.err
    );
    let now = place.run(&["elect", "-n", "-E", "3", "k", "true"]);
    assert_eq!(now.code, 3, "{}", now.err);
    let quiet = place.run(&["elect", "-n", "-q", "k", "true"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (75, ""));
    let waiting = place.start(&["elect", "k", "true"]);
    wait_until("it waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end().code, -15);
    assert!(!place.run(&["show", "k"]).out.contains("waiting"));
}

#[test]
fn an_observer_prints_the_leader_and_every_change() {
    let place = Place::new();
    let (observer, mut next) = observer(&place, &[]);
    assert_eq!(next(), "nobody leads k");
    let first = candidate(&place, &["--label", "anna"], "one");
    let line = next();
    let who = format!("k is led by pid {} on ", first.id());
    assert!(
        line.starts_with(&who) && line.contains("(anna)") && line.contains(", fence "),
        "{line}"
    );
    let second = candidate(&place, &["--label", "berta"], "two");
    wait_until("the second waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    first.signal(Signal::TERM);
    first.end();
    let mut line = next();
    if line.starts_with("nobody") {
        line = next(); // it was looked at between the two
    }
    assert!(line.contains("(berta)"), "{line}");
    second.signal(Signal::TERM);
    second.end();
    assert_eq!(next(), "nobody leads k");
    observer.signal(Signal::TERM);
    assert_eq!(observer.end().code, -15);
    assert_eq!(place.run(&["ls"]).out, "", "observing leaves nothing");
}

#[test]
fn an_observer_speaks_json_and_ends_when_nobody_reads_it() {
    let place = Place::new();
    let (observer, mut next) = observer(&place, &["--json"]);
    let nobody: serde_json::Value = serde_json::from_str(&next()).expect("JSON");
    assert_eq!(
        (&nobody["event"], &nobody["key"]),
        (&"leader".into(), &"k".into())
    );
    assert!(nobody["leader"].is_null());
    let leader = place.start(&["elect", "--label", "anna", "k", "sleep", "60"]);
    let somebody: serde_json::Value = serde_json::from_str(&next()).expect("JSON");
    assert_eq!(somebody["leader"]["label"], "anna");
    assert_eq!(somebody["leader"]["pid"], leader.id());
    assert!(somebody["leader"]["fence"].as_i64().expect("a number") > 0);
    drop(next);
    leader.signal(Signal::TERM);
    leader.end();
    assert_eq!(observer.end().code, 0);
}

#[test]
fn a_killed_leader_is_followed_and_its_command_is_dead_by_then() {
    let place = Place::new();
    let first = candidate(&place, &[], "$$");
    wait_until("it leads", || log(&place).ends_with('\n'));
    let probe = format!(
        "[ -e /proc/{}/cwd ] && echo alive; true",
        log(&place).trim()
    );
    let second = place.start(&["elect", "k", "--", "sh", "-c", &probe]);
    wait_until("the second waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    first.signal(Signal::KILL);
    let second = second.end();
    assert_eq!(
        (second.code, second.out.as_str()),
        (0, ""),
        "{}",
        second.err
    );
}

#[test]
fn again_ends_with_the_command_that_ends_by_itself() {
    let place = Place::new();
    let once = place.run(&[
        "elect",
        "--again",
        "k",
        "--",
        "sh",
        "-c",
        "echo ran; exit 5",
    ]);
    assert_eq!((once.code, once.out.as_str()), (5, "ran\n"), "{}", once.err);
    assert_eq!(
        place.run(&["elect", "k"]).code,
        64,
        "a candidate needs a command"
    );
    assert_eq!(place.run(&["elect", "--observe", "k", "true"]).code, 64);
    assert_eq!(place.run(&["elect", "", "true"]).code, 64);
}
