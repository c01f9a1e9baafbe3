//! Short runs with real processes: monban's stores must hold, and the locks that people write must be caught.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::path::PathBuf;
use std::time::Duration;

use monban_testkit::service;
use monban_torture::checkers::check;
use monban_torture::naive::Flaw;
use monban_torture::report;
use monban_torture::run::{Record, Settings, Target, WallClock, run};
use monban_torture::story::Story;

/// A run that fits into a test.
fn settings(dir: &tempfile::TempDir, seed: u64, faults: &[&str]) -> Settings {
    Settings {
        seed,
        lasts: Duration::from_secs(6),
        workers: 4,
        tasks: 3,
        keys: 1,
        ttl: Duration::from_secs(1),
        long: 20,
        pace: Duration::from_millis(250),
        patience: Duration::from_secs(60),
        kinds: faults.iter().map(ToString::to_string).collect(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_monban-torture")),
        dir: dir.path().to_owned(),
    }
}

/// A store of monban's must hold, whatever happens.
fn holds(target: Target, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let record = run(&settings(&dir, seed, &[]), target).unwrap();
    sound(record);
}

fn sound(record: Record) {
    let broken = record.broken;
    let story = Story::of(record.events);
    let verdicts = check(&story);
    let text = report::text(&story, &verdicts, &broken);
    assert!(verdicts.iter().all(|verdict| verdict.holds()), "{text}");
    assert!(broken.is_empty(), "{text}");
    let granted = story.holds.iter().filter(|hold| hold.granted.is_some());
    assert!(
        granted.count() > 20,
        "too little happened to say anything\n{text}"
    );
    assert!(story.faults.len() > 5, "too few faults\n{text}");
}

#[test]
fn files_hold_while_processes_are_killed_and_stopped() {
    let locks = tempfile::tempdir().unwrap();
    let url = format!("file:{}", locks.path().join("locks").display());
    holds(Target::of_url(&url), 11);
}

#[test]
fn memory_holds_while_requests_and_replies_are_lost() {
    holds(Target::of_url("memory:"), 12);
}

#[test]
fn redis_holds_while_everything_fails() {
    if service::skipped("redis") {
        return;
    }
    holds(Target::start("redis", WallClock::Machine).unwrap(), 13);
}

#[test]
fn postgres_holds_while_everything_fails() {
    if service::skipped("postgres") {
        return;
    }
    holds(Target::start("postgres", WallClock::Machine).unwrap(), 14);
}

#[test]
fn etcd_holds_while_everything_fails() {
    if service::skipped("etcd") {
        return;
    }
    holds(Target::start("etcd", WallClock::Machine).unwrap(), 14);
}

/// A lock with this flaw is caught by these checkers, within a few plans of these faults.
fn caught(flaw: Flaw, checkers: &[&str], faults: &[&str]) {
    caught_in(flaw, checkers, faults, |_| {});
}

/// As [`caught`], in runs that were changed.
fn caught_in(flaw: Flaw, checkers: &[&str], faults: &[&str], change: fn(&mut Settings)) {
    if service::skipped("redis") {
        return;
    }
    let mut missed = checkers.to_vec();
    let mut last = String::new();
    for seed in 1..=24 {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("naive-{}+redis", flaw.name());
        let target = Target::start(&name, WallClock::Machine).unwrap();
        let mut settings = settings(&dir, seed, faults);
        settings.lasts = Duration::from_secs(4);
        settings.long = 4;
        // Some of them never end: that is what is to be seen.
        settings.patience = Duration::from_secs(4);
        change(&mut settings);
        let record = run(&settings, target).unwrap();
        let story = Story::of(record.events);
        let verdicts = check(&story);
        let broken = verdicts.iter().filter(|verdict| !verdict.holds());
        let broken: Vec<&str> = broken.map(|verdict| verdict.checker).collect();
        missed.retain(|checker| !broken.contains(checker));
        if missed.is_empty() {
            return;
        }
        last = report::text(&story, &verdicts, &record.broken);
    }
    panic!("{flaw:?} was not caught by {missed:?}:\n{last}");
}

#[test]
fn a_naive_lock_without_a_flaw_is_not_accused() {
    if service::skipped("redis") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = Target::start("naive-sound+redis", WallClock::Machine).unwrap();
    let faults = ["kill", "stop", "delay", "partition", "freed-by-hand"];
    sound(run(&settings(&dir, 21, &faults), target).unwrap());
}

#[test]
fn looking_and_taking_in_two_steps_is_caught_also_by_a_checker_without_a_clock() {
    caught(Flaw::TwoSteps, &["overlap", "lost updates"], &["kill"]);
}

#[test]
fn a_key_without_ttl_and_a_crash_are_caught() {
    caught(Flaw::NoTtl, &["next grant", "leaks"], &["kill"]);
}

#[test]
fn a_delete_without_owner_check_is_caught() {
    caught(Flaw::NoOwnerCheck, &["overlap"], &["stop"]);
}

#[test]
fn a_ttl_counted_from_the_reply_is_caught() {
    // Others must not be so many that a late request never finds the key free.
    caught_in(Flaw::TtlFromReply, &["overlap"], &["delay"], |settings| {
        (settings.keys, settings.long) = (6, 2);
        settings.pace = Duration::from_millis(150);
        settings.lasts = Duration::from_secs(6);
    });
}

#[test]
fn a_renewal_that_creates_the_key_again_is_caught() {
    caught(Flaw::Recreates, &["overlap"], &["freed-by-hand"]);
}

#[test]
fn nanoseconds_taken_for_milliseconds_are_caught() {
    caught(Flaw::Nanoseconds, &["next grant", "leaks"], &["kill"]);
}

#[test]
fn a_lock_by_the_wall_clock_is_caught() {
    caught(Flaw::WallClock, &["overlap"], &["clock-step"]);
}
