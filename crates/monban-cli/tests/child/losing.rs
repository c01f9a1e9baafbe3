//! What becomes of a command whose lease is lost, expires, or has lasted too long.

use crate::support::{Running, alive, code, eventually, ms, tests};
use rustix::process::Signal;
use std::fs::read_to_string;
use std::thread::sleep;
use std::time::{Duration, Instant};

tests! {
    a_lost_lease_is_76_whatever_the_commands_code,
    a_command_that_ignores_term_is_killed_after_the_grace,
    a_lost_lease_ends_who_left_the_group_too,
    a_stopped_command_can_be_ended,
    a_lease_that_is_not_renewed_ends_the_command_before_it_expires,
    a_lease_that_is_renewed_ends_nothing,
    the_longest_hold_is_124,
    a_stopped_monban_without_ttl_leaves_its_command_protected,
    a_stopped_monban_with_a_ttl_has_its_command_ended_before_the_deadline,
}

fn a_lost_lease_is_76_whatever_the_commands_code() {
    let started = Instant::now();
    assert_eq!(
        code(
            &["--lost-after", "100"],
            &["bash", "-c", "trap 'exit 0' TERM; sleep 60 & wait"]
        ),
        Some(76)
    );
    assert_eq!(code(&["--lost-after", "100"], &["sleep", "60"]), Some(76));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "TERM is enough, nobody waits for KILL"
    );
}

fn a_command_that_ignores_term_is_killed_after_the_grace() {
    let script =
        "trap '' TERM; echo $$ > pids; (while :; do sleep 1; done) & echo $! >> pids; wait";
    let mut running = Running::start(&["--lost-after", "200", "--kill-after", "600"], script);
    let pids = running.pids("pids", 2);
    sleep(ms(400));
    assert!(pids.iter().all(|pid| alive(*pid)), "the grace is not over");
    assert_eq!(running.code(), Some(76));
    assert!(!pids.iter().any(|pid| alive(*pid)));
}

fn a_lost_lease_ends_who_left_the_group_too() {
    // The first has only its tag left, the second only its parent, and not even that once TERM was sent.
    let script = "(setsid sleep 60 & echo $! >> pids)
        env -i setsid bash -c 'trap \"\" TERM; sleep 60; sleep 60' & echo $! >> pids
        wait; sleep 60";
    let mut running = Running::start(&["--lost-after", "400", "--kill-after", "300"], script);
    let pids = running.pids("pids", 2);
    assert_eq!(running.code(), Some(76));
    assert!(!pids.iter().any(|pid| alive(*pid)), "{pids:?}");
}

fn a_stopped_command_can_be_ended() {
    let started = Instant::now();
    let mut running = Running::start(&["--lost-after", "300"], "kill -STOP $$; exit 3");
    assert_eq!(running.code(), Some(76));
    assert!(started.elapsed() < Duration::from_secs(4));
}

fn a_lease_that_is_not_renewed_ends_the_command_before_it_expires() {
    let script =
        "trap 'echo > termed' TERM; echo $$ > pids; for i in $(seq 100); do sleep 0.05; done";
    let started = Instant::now();
    let mut running = Running::start(
        &["--ttl", "1500", "--silent", "--kill-after", "400"],
        script,
    );
    let pid = running.pids("pids", 1)[0];
    // The probe's lease is silent because its sender is gone, which must not keep anybody busy.
    let busy = || -> u64 {
        let stat = read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
        stat.split(' ')
            .skip(13)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum()
    };
    let before = busy();
    eventually("TERM comes first", || running.path("termed").exists());
    assert!(busy() - before < 10, "{} ticks", busy() - before);
    assert!(
        alive(pid) && started.elapsed() >= ms(800),
        "TERM came at {:?}",
        started.elapsed()
    );
    eventually("KILL comes", || !alive(pid));
    assert!(
        started.elapsed() < ms(1500),
        "KILL came at {:?}",
        started.elapsed()
    );
    assert_eq!(running.code(), Some(76));
}

fn a_lease_that_is_renewed_ends_nothing() {
    assert_eq!(
        code(
            &["--ttl", "900", "--kill-after", "200"],
            &["sh", "-c", "sleep 2; exit 7"]
        ),
        Some(7)
    );
}

fn the_longest_hold_is_124() {
    let started = Instant::now();
    assert_eq!(
        code(
            &["--max-hold", "300"],
            &["sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait"]
        ),
        Some(124)
    );
    assert!(started.elapsed() >= ms(300));
    assert_eq!(code(&["--max-hold", "5000"], &["true"]), Some(0));
}

fn a_stopped_monban_without_ttl_leaves_its_command_protected() {
    let mut running = Running::start(
        &[],
        "echo $$ > pids; while [ ! -e stop ]; do echo >> beats; sleep 0.02; done",
    );
    running.pids("pids", 1);
    running.send(Signal::STOP);
    let beats = || {
        read_to_string(running.path("beats"))
            .unwrap_or_default()
            .len()
    };
    let before = beats();
    eventually("the command goes on", || beats() > before + 10);
    assert!(running.locked());
    std::fs::write(running.path("stop"), "").unwrap();
    running.send(Signal::CONT);
    assert_eq!(running.code(), Some(0));
    assert!(!running.locked());
}

fn a_stopped_monban_with_a_ttl_has_its_command_ended_before_the_deadline() {
    let script = "trap 'echo > termed' TERM; echo $$ > pids; while :; do sleep 0.05; done";
    let mut running = Running::start(&["--ttl", "1500", "--kill-after", "400"], script);
    let pid = running.pids("pids", 1)[0];
    sleep(ms(700));
    assert!(alive(pid));
    let stopped = Instant::now();
    running.send(Signal::STOP);
    eventually("TERM comes first", || running.path("termed").exists());
    eventually("KILL comes", || !alive(pid));
    assert!(stopped.elapsed() < ms(1500), "{:?}", stopped.elapsed());
    running.send(Signal::CONT);
    assert_eq!(running.code(), Some(76));
}
