//! A key that is busy: refused, waited for, shared, and mixed with flock.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Place, wait_until};

#[test]
fn a_job_that_is_started_twice_runs_once_and_the_second_says_who_runs_it() {
    let place = Place::new();
    let holder = place.hold(&[], "main:hello");
    let second = place.run(&["run", "main:hello", "--", "echo", "ran"]);
    assert_eq!((second.code, second.out.as_str()), (75, ""));
    assert!(
        second
            .err
            .contains("Another process is already running main:hello"),
        "{}",
        second.err
    );
    assert!(
        second.err.contains(&format!("pid {}", holder.running.id())),
        "{}",
        second.err
    );
    assert!(second.err.contains("this host only"), "{}", second.err);
    assert_eq!(holder.let_go().code, 0);
    assert_eq!(
        place.run(&["run", "main:hello", "--", "echo", "ran"]).out,
        "ran\n"
    );
}

#[test]
fn the_conflict_code_and_silence_are_the_callers_choice() {
    let place = Place::new();
    let _holder = place.hold(&[], "k");
    let rake = place.run(&["run", "-E", "1", "k", "true"]);
    assert_eq!(rake.code, 1);
    assert!(!rake.err.is_empty());
    let skip = place.run(&["run", "-n", "-q", "-E", "0", "k", "true"]);
    assert_eq!((skip.code, skip.err.as_str()), (0, ""));
    let json = place.run(&["run", "--json", "k", "true"]);
    let object: serde_json::Value = serde_json::from_str(&json.err).expect("one JSON object");
    assert_eq!(object["event"], "busy");
    assert_eq!(object["exit"], 75);
    assert_eq!(object["key"], "k");
}

#[test]
fn a_waiter_runs_when_the_holder_ends() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let mut waiter = place.start(&["run", "--wait", "30s", "k", "--", "echo", "ran"]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(waiter.is_running());
    holder.let_go();
    let waiter = waiter.end();
    assert_eq!(
        (waiter.code, waiter.out.as_str()),
        (0, "ran\n"),
        "{}",
        waiter.err
    );
}

/// How often a process has been given the processor, all its threads together.
fn switches(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |status: String| -> u64 {
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .map(of)
        .sum()
}

#[test]
fn a_process_that_waits_behind_another_monban_does_nothing_at_all() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let waiters = [(); 2].map(|()| {
        let waiter = place.start(&["run", "-w", "forever", "k", "--", "true"]);
        let id = format!("pid {}", waiter.id());
        wait_until("it is in line", || place.run(&["ls"]).out.contains(&id));
        waiter
    });
    std::thread::sleep(Duration::from_millis(500)); // until it sleeps, on a machine with other work too
    let before = waiters.each_ref().map(|waiter| switches(waiter.id()));
    std::thread::sleep(Duration::from_secs(4));
    let after = waiters.each_ref().map(|waiter| switches(waiter.id()));
    // One look each that was on its way is allowed for.
    for (before, after) in before.into_iter().zip(after) {
        assert!(after <= before + 2, "{before} switches, then {after}");
    }
    holder.let_go();
    for waiter in waiters {
        assert_eq!(waiter.end().code, 0);
    }
}

#[test]
fn a_waiter_gives_up_in_time() {
    let place = Place::new();
    let _holder = place.hold(&[], "k");
    let start = Instant::now();
    let waiter = place.run(&["run", "-w", "0.3", "k", "true"]);
    assert_eq!(waiter.code, 75);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(
        waiter.err.contains("Another process is already running k"),
        "{}",
        waiter.err
    );
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let log = place.file("log");
    let mut waiters = Vec::new();
    for number in 0..6 {
        let script = format!("echo {number} >> '{}'", log.display());
        waiters.push(place.start(&["run", "-w", "forever", "k", "--", "sh", "-c", &script]));
        wait_until("it is in line", || {
            place.run(&["show", "k"]).out.matches("waiting").count() == number + 1
        });
    }
    holder.let_go();
    for waiter in waiters {
        let waiter = waiter.end();
        assert_eq!(waiter.code, 0, "{}", waiter.err);
    }
    let order = std::fs::read_to_string(log).expect("they ran");
    assert_eq!(
        order.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3", "4", "5"]
    );
}

#[test]
fn shares_run_beside_each_other_and_exclude_an_exclusive_run() {
    let place = Place::new();
    let one = place.hold(&["--shared"], "k");
    let two = place.hold(&["-s"], "k");
    assert_eq!(place.run(&["run", "k", "true"]).code, 75);
    one.let_go();
    assert_eq!(place.run(&["run", "-x", "k", "true"]).code, 75);
    two.let_go();
    let _writer = place.hold(&[], "k");
    assert_eq!(place.run(&["run", "-s", "k", "true"]).code, 75);
}

#[test]
fn of_three_at_once_two_permits_let_two_run_with_seats_of_their_own() {
    let place = Place::new();
    let seats = place.file("seats");
    let script = format!("echo $MONBAN_SEAT >> '{}'; sleep 0.5", seats.display());
    let runs =
        [(); 3].map(|()| place.start(&["run", "--permits", "1/2", "k", "--", "sh", "-c", &script]));
    let mut codes = runs.map(|run| run.end().code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 75]);
    let seats = std::fs::read_to_string(seats).expect("two ran");
    let mut seats: Vec<_> = seats.split_whitespace().collect();
    seats.sort_unstable();
    assert_eq!(seats, ["0", "1"]);
    let holder = place.hold(&["--permits", "1/2"], "k");
    let other = place.run(&["run", "--permits", "1/3", "k", "true"]);
    assert_eq!(other.code, 64, "{}", other.err);
    assert!(other.err.contains("2 permits"), "{}", other.err);
    holder.let_go();
}

#[test]
fn flock_and_monban_exclude_each_other() {
    let place = Place::new();
    assert_eq!(place.run(&["run", "k", "true"]).code, 0); // makes the directory
    let file = place.locks().join("k.lock");
    let mut flock = Command::new("flock")
        .arg(&file)
        .args(["sleep", "60"])
        .spawn()
        .expect("flock");
    wait_until("flock has it", || {
        place.run(&["run", "k", "true"]).code == 75
    });
    let busy = place.run(&["run", "k", "true"]);
    assert!(busy.err.contains("not monban"), "{}", busy.err);
    let mut waiter = place.start(&["run", "-w", "30", "k", "--", "echo", "ran"]);
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiter.is_running());
    end_group_of(&mut flock);
    assert_eq!(waiter.end().out, "ran\n");

    let holder = place.hold(&[], "k");
    let refused = Command::new("flock")
        .arg("-n")
        .arg(&file)
        .arg("true")
        .status()
        .expect("flock");
    assert_eq!(refused.code(), Some(1));
    holder.let_go();
    let free = Command::new("flock")
        .arg("-n")
        .arg(&file)
        .arg("true")
        .status()
        .expect("flock");
    assert!(free.success());
}

/// Ends flock and the sleep that it started, which has the lock's descriptor too.
fn end_group_of(flock: &mut std::process::Child) {
    let children = format!("/proc/{0}/task/{0}/children", flock.id());
    for pid in std::fs::read_to_string(children)
        .expect("it runs")
        .split_whitespace()
    {
        let pid = pid
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a number");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    flock.wait().expect("it was started");
}
