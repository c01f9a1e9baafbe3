//! The guards of resources, each at the real thing: a paused holder wakes, and its write is refused.

// Also outside of functions marked as tests.
#![allow(clippy::unwrap_used)]

mod file;
mod mariadb;
mod postgres;
mod process;
mod redis;
mod sqlite;
mod tower;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use monban::testing::{Process, Rig};
use monban::{Lease, Options, Token};

/// A resource behind a guard.
trait Guarded {
    /// Writes, and says whether the write was accepted.
    fn write(&self, token: Token, content: &str) -> bool;
    /// What was written last.
    fn read(&self) -> String;
}

const TTL: Duration = Duration::from_secs(2);

fn lock(process: &Process) -> Lease {
    let mutex = process.locks().mutex("resource").unwrap();
    let mutex = mutex.with(Options::new().ttl(TTL)).unwrap();
    mutex.lock().wait().unwrap()
}

fn take(process: &Process) -> Lease {
    let permits = process.locks().semaphore("pool", 2).unwrap();
    let permits = permits.with(Options::new().ttl(TTL)).unwrap();
    permits.take(1).unwrap().wait().unwrap()
}

/// A holder is paused until another holds and has written; it wakes, and writes without looking.
fn a_paused_holder_is_refused(resource: &impl Guarded) {
    let rig = Rig::new();
    let (one, two) = (rig.process("one"), rig.process("two"));
    let paused = lock(&one);
    let old = paused.token().unwrap();
    assert!(resource.write(old, "by the first"));
    assert_eq!(resource.read(), "by the first");

    one.faults().pause();
    rig.advance(TTL + Duration::from_millis(100));
    let next = lock(&two);
    let new = next.token().unwrap();
    assert!(resource.write(new, "by the second"));
    assert!(resource.write(new, "by the second, again"));

    assert!(!resource.write(old, "too late"));
    assert_eq!(resource.read(), "by the second, again");
    assert!(paused.check().is_err());
    one.faults().resume();
}

/// Two hold a permit each, and both are accepted, in any order; one of them is overtaken on its seat.
fn live_holders_of_permits_are_accepted(resource: &impl Guarded) {
    let rig = Rig::new();
    let [one, two, three] = ["one", "two", "three"].map(|label| rig.process(label));
    let (paused, other) = (take(&one), take(&two));
    let (old, seat_1) = (paused.token().unwrap(), other.token().unwrap());
    assert_eq!((old.seat(), seat_1.seat()), (Some(0), Some(1)));
    for round in 0..2 {
        assert!(resource.write(seat_1, &format!("seat 1, {round}")));
        assert!(
            resource.write(old, &format!("seat 0, {round}")),
            "though its fence is lower"
        );
    }
    one.faults().pause();
    rig.advance(TTL + Duration::from_millis(100));
    let next = take(&three);
    let new = next.token().unwrap();
    assert_eq!(new.seat(), Some(0));
    assert!(resource.write(new, "the next on seat 0"));
    assert!(!resource.write(old, "too late"));
    assert_eq!(resource.read(), "the next on seat 0");
    assert!(resource.write(seat_1, "seat 1 is still there"));
    drop((paused, other, next));
    one.faults().resume();
}

/// Runs a program to its end with this on standard input; its standard output.
fn feed(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{input}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
