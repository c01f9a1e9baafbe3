//! monban and another client on one key of one real server: each refuses the other, waits for the other, and counts
//! with the other without a loss; and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use interop::count;
use interop::pair::{Pair, RETRY, TTL, nothing_is_left};

/// Starts a pair with the program that was built with this test.
fn pair(name: &str) -> Option<Pair> {
    interop::pair::pair(name, Path::new(env!("CARGO_BIN_EXE_interop-client")))
}

/// Everything that both must do, in turn, on one server.
fn both_ways(name: &str) {
    let Some(mut pair) = pair(name) else { return };
    each_refuses_the_other(&mut pair);
    each_waits_for_the_other(&mut pair);
    a_bare_delete_wakes_monban(&mut pair);
    none_is_lost(&mut pair);
    nothing_is_left(&pair);
}

fn each_refuses_the_other(pair: &mut Pair) {
    let (take, free) = (
        format!("try {} {TTL}", pair.key),
        format!("release {}", pair.key),
    );
    assert_eq!(pair.other.ask(&take).unwrap(), "held");
    assert_eq!(pair.monban.ask(&take).unwrap(), "busy foreign");
    assert_eq!(pair.other.ask(&free).unwrap(), "released");
    assert_eq!(pair.monban.ask(&take).unwrap(), "held");
    assert_eq!(pair.other.ask(&take).unwrap(), "busy");
    assert_eq!(pair.monban.ask(&free).unwrap(), "released");
    assert_eq!(
        pair.other.ask(&take).unwrap(),
        "held",
        "after monban's release"
    );
    assert_eq!(pair.other.ask(&free).unwrap(), "released");
}

fn each_waits_for_the_other(pair: &mut Pair) {
    let key = pair.key.clone();
    let (take, free) = (format!("try {key} {TTL}"), format!("release {key}"));
    let wait = format!("wait {key} {TTL} 10000");
    for monban_waits in [true, false] {
        let (holder, waiter) = match monban_waits {
            true => (&mut pair.other, &mut pair.monban),
            false => (&mut pair.monban, &mut pair.other),
        };
        assert_eq!(holder.ask(&take).unwrap(), "held");
        waiter.say(&wait).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let freed = Instant::now();
        assert_eq!(holder.ask(&free).unwrap(), "released");
        assert_eq!(waiter.hear().unwrap(), "held");
        // Each is woken or polls often; the TTL alone would be 20 s.
        assert!(
            freed.elapsed() < Duration::from_secs(1),
            "took {:?}",
            freed.elapsed()
        );
        assert_eq!(waiter.ask(&free).unwrap(), "released");
    }
}

fn a_bare_delete_wakes_monban(pair: &mut Pair) {
    let key = pair.key.clone();
    assert_eq!(pair.other.ask(&format!("try {key} {TTL}")).unwrap(), "held");
    pair.monban.say(&format!("wait {key} {TTL} 10000")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let freed = Instant::now();
    assert_eq!(pair.server.ask(&["DEL", &key]).unwrap(), "1");
    assert_eq!(pair.monban.hear().unwrap(), "held");
    assert!(
        freed.elapsed() < Duration::from_secs(1),
        "took {:?}",
        freed.elapsed()
    );
    // What the other believed to hold is not its own any more, and must not free monban's. Two of them do not compare:
    // one deletes whatever is there, one does not say.
    if !["rake", "rslock"].contains(&pair.installed[1].name()) {
        assert_eq!(pair.other.ask(&format!("release {key}")).unwrap(), "gone");
        assert_eq!(
            pair.monban.ask(&format!("release {key}")).unwrap(),
            "released"
        );
    } else {
        assert_eq!(
            pair.monban.ask(&format!("release {key}")).unwrap(),
            "released"
        );
        pair.other.ask(&format!("release {key}")).unwrap();
    }
}

/// Two processes of each, fifty increments each.
fn none_is_lost(pair: &mut Pair) {
    let scratch = tempfile::tempdir().unwrap();
    let counter = scratch.path().join("counter");
    let port = pair.server.port();
    let [own, other] = &pair.installed;
    let mut workers = [
        own.start(port, pair.option, None).unwrap(),
        own.start(port, pair.option, None).unwrap(),
        other.start(port, "", Some(RETRY)).unwrap(),
        other.start(port, "", Some(RETRY)).unwrap(),
    ];
    for worker in &mut workers {
        // All are connected before any begins.
        worker
            .ask(&format!("try {}-ready {TTL}", pair.key))
            .unwrap();
    }
    pair.server
        .ask(&["DEL", &format!("{}-ready", pair.key)])
        .unwrap();
    let changes = count(&mut workers, &pair.key, TTL, 5, &counter).unwrap();
    assert!(
        changes > 20,
        "they did not take turns: only {changes} changes of hands"
    );
}

#[test]
fn a_rake_task_and_monban_exclude_each_other() {
    both_ways("rake");
}

#[test]
fn rslock_and_monban_exclude_each_other() {
    both_ways("rslock");
}

#[test]
fn redis_py_and_monban_exclude_each_other() {
    both_ways("redis-py");
}

#[test]
fn redis_py_on_asyncio_and_monban_exclude_each_other() {
    both_ways("redis-py-asyncio");
}

#[test]
fn python_redis_lock_and_monban_exclude_and_wake_each_other() {
    both_ways("python-redis-lock");
}

#[test]
fn redsync_and_monban_exclude_each_other() {
    both_ways("redsync");
}

#[test]
fn redlock_of_node_and_monban_exclude_each_other() {
    both_ways("redlock");
}

#[test]
fn redis_semaphore_and_monban_exclude_each_other() {
    both_ways("redis-semaphore");
}

/// What a waiter of that client costs without the option: it sleeps until the TTL of the holder it saw.
#[test]
fn a_waiter_of_python_redis_lock_is_woken_by_the_signal() {
    let Some(mut pair) = pair("python-redis-lock") else {
        return;
    };
    let key = pair.key.clone();
    assert_eq!(
        pair.monban.ask(&format!("try {key} {TTL}")).unwrap(),
        "held"
    );
    pair.other.say(&format!("wait {key} {TTL} 10000")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        pair.monban.ask(&format!("release {key}")).unwrap(),
        "released"
    );
    let freed = Instant::now();
    assert_eq!(pair.other.hear().unwrap(), "held");
    assert!(
        freed.elapsed() < Duration::from_millis(900),
        "took {:?}",
        freed.elapsed()
    );
}
