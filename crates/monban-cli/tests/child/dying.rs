//! What is left when monban or its watchdog is killed.

use crate::support::{Running, alive, at_grant, children, eventually, ms, send, tests};
use rustix::process::Signal;
use std::thread::{sleep, spawn};

tests! {
    a_killed_monban_leaves_nobody_behind_a_free_key_100_of_100,
    a_monban_killed_while_it_starts_leaves_nobody_behind_a_free_key,
    a_killed_outer_monban_takes_the_inner_one_with_it,
    the_watchdog_is_in_nobodys_group_and_outlives_signals,
    a_killed_watchdog_is_replaced,
}

const ROUNDS: u64 = 100;

/// Everybody whose environment says that they belong to this test's `mark`.
fn marked(mark: &str) -> Vec<i32> {
    let entry = format!("MONBAN_TEST={mark}");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            alive(*pid)
                && environment
                    .split(|byte| *byte == 0)
                    .any(|other| other == entry.as_bytes())
        })
        .collect()
}

/// The prober blocks on the lock; at its grant neither the command, nor its child, nor one that left the group, nor
/// one that closed the descriptor is alive.
fn a_killed_monban_leaves_nobody_behind_a_free_key_100_of_100() {
    for round in 0..ROUNDS {
        let script = "echo $$ > pids; sleep 60 & echo $! >> pids; setsid sleep 60 & echo $! >> pids
            (for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -gt 2 ] && eval \"exec $fd>&-\"; done; exec sleep 60) & echo $! >> pids
            wait";
        let script = if round % 2 == 0 {
            script.to_owned()
        } else {
            format!("trap '' TERM HUP\n{script}")
        };
        let mut running = Running::start(&[], &script);
        let pids = running.pids("pids", 4);
        let (lock, watched, monban) = (running.path("lock"), pids.clone(), running.pid());
        // The prober is waiting by the time of the kill, or comes a little later. The watchdog is a copy of monban, or
        // just becoming a program, or has been one for a while.
        let when = [1 + round % 7, 30 + round % 25, 80][usize::try_from(round % 3).unwrap()];
        let killer = spawn(move || {
            sleep(ms(when));
            send(monban, Signal::KILL);
        });
        let left = at_grant(&lock, move || {
            watched
                .into_iter()
                .filter(|pid| alive(*pid))
                .collect::<Vec<_>>()
        });
        assert_eq!(
            left, [0; 0],
            "round {round}: alive at the next grant, of {pids:?}"
        );
        killer.join().unwrap();
        running.code();
    }
}

fn a_monban_killed_while_it_starts_leaves_nobody_behind_a_free_key() {
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().to_str().unwrap().to_owned();
        let options = ["--lock", "lock", "--env", "MONBAN_TEST", &mark];
        let mut process = crate::support::probe(&options, &["bash", "-c", "sleep 60 & sleep 60"])
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        sleep(std::time::Duration::from_micros(round * 100));
        process.kill().unwrap();
        process.wait().unwrap();
        let sought = mark.clone();
        assert_eq!(
            at_grant(&dir.path().join("lock"), move || marked(&sought)),
            [0; 0],
            "round {round}"
        );
        // A command that started without the lock would show up only now.
        sleep(ms(5));
        assert_eq!(marked(&mark), [0; 0], "round {round}");
    }
}

fn a_killed_outer_monban_takes_the_inner_one_with_it() {
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "{} probe -- bash -c 'echo $$ > pids; sleep 60 & echo $! >> pids; wait'; true",
        exe.display()
    );
    let mut running = Running::start(&[], &script);
    let pids = running.pids("pids", 2);
    running.send(Signal::KILL);
    assert!(!at_grant(&running.path("lock"), move || pids
        .iter()
        .any(|pid| alive(*pid))));
    running.code();
}

fn the_watchdog_is_in_nobodys_group_and_outlives_signals() {
    let running = Running::start(&[], "echo $$ > pids; sleep 60");
    let command = running.pids("pids", 1)[0];
    sleep(ms(100));
    let watchdog = running.watchdog().unwrap();
    let group = |pid: i32| {
        rustix::process::getpgid(rustix::process::Pid::from_raw(pid))
            .unwrap()
            .as_raw_pid()
    };
    assert_eq!(group(watchdog), watchdog);
    assert_eq!(group(command), command);
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::TSTP,
        Signal::USR1,
        Signal::PIPE,
    ] {
        send(watchdog, signal);
    }
    sleep(ms(50));
    assert_eq!(running.watchdog(), Some(watchdog));
    running.send(Signal::KILL);
    eventually("it still does its work", || !alive(command));
}

fn a_killed_watchdog_is_replaced() {
    let mut running = Running::start(
        &[],
        "echo $$ > pids; setsid sleep 60 & echo $! >> pids; wait",
    );
    let pids = running.pids("pids", 2);
    for _ in 0..3 {
        let mut old = 0;
        eventually("there is a watchdog", || {
            old = running.watchdog().unwrap_or(0);
            old != 0
        });
        send(old, Signal::KILL);
        eventually("there is another", || {
            running.watchdog().is_some_and(|new| new != old)
        });
    }
    assert!(
        pids.iter().all(|pid| alive(*pid)),
        "the command is left in peace"
    );
    assert_eq!(children(running.pid()).len(), 2, "no zombie of an old one");
    running.send(Signal::KILL);
    assert!(!at_grant(&running.path("lock"), move || pids
        .iter()
        .any(|pid| alive(*pid))));
    running.code();
}
