//! What becomes of the command when monban, or the lease, ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use monban_testkit::{service, slow};
use rustix::process::Signal;

use crate::support::{Place, is_alive, wait_until};

#[test]
fn after_kill_9_of_monban_nobody_gets_the_key_while_the_command_or_its_child_lives() {
    for round in 0..100 {
        let place = Place::new();
        let pids = place.file("pids");
        // A command and a grandchild, both of which ignore TERM.
        let script = format!(
            "trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$ >> '{0}'; sleep 60\" & echo $$ >> '{0}'; wait",
            pids.display()
        );
        let holder = place.start(&["run", "k", "--", "sh", "-c", &script]);
        let read = || std::fs::read_to_string(&pids).unwrap_or_default();
        wait_until("both run", || read().lines().count() == 2);
        let holders: Vec<u32> = read()
            .lines()
            .map(|pid| pid.parse().expect("a number"))
            .collect();
        let waiter = {
            let alive = holders
                .iter()
                .map(|pid| format!("[ -e /proc/{pid}/cwd ] && echo alive;"));
            let probe = alive.collect::<String>() + " true";
            place.start(&["run", "-w", "20", "k", "--", "sh", "-c", &probe])
        };
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(20)); // with and without a waiter already in line
        }
        holder.signal(Signal::KILL);
        let waiter = waiter.end();
        assert_eq!(
            (waiter.code, waiter.out.as_str()),
            (0, ""),
            "round {round}: {}",
            waiter.err
        );
        for pid in holders {
            assert!(!is_alive(pid), "round {round}: {pid} lives on");
        }
        drop(holder);
    }
}

#[test]
fn a_monban_that_is_stopped_leaves_its_command_protected() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    holder.running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(place.run(&["run", "-w", "0.3", "k", "true"]).code, 75);
    holder.running.signal(Signal::CONT);
    assert_eq!(holder.let_go().code, 0);
    assert_eq!(place.run(&["run", "k", "true"]).code, 0);
}

#[test]
fn a_daemon_that_the_command_left_behind_does_not_keep_the_key() {
    let place = Place::new();
    let pid = place.file("pid");
    let script = format!(
        "setsid sleep 60 > /dev/null 2>&1 & echo $! > '{}'",
        pid.display()
    );
    assert_eq!(place.run(&["run", "k", "--", "sh", "-c", &script]).code, 0);
    let pid: u32 = std::fs::read_to_string(pid)
        .expect("it ran")
        .trim()
        .parse()
        .expect("a number");
    assert!(
        is_alive(pid),
        "the command's job was done: what it left lives on"
    );
    assert_eq!(
        place.run(&["run", "k", "true"]).code,
        0,
        "and the key is free"
    );
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a number")).expect("a number");
    rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn the_commands_own_end_is_monbans() {
    let place = Place::new();
    assert_eq!(place.run(&["run", "k", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(
        place
            .run(&["run", "k", "--", "sh", "-c", "kill -9 $$"])
            .code,
        137
    );
    let missing = place.run(&["run", "k", "--", "no-such-command-here"]);
    assert_eq!(missing.code, 127);
    assert!(missing.err.contains("no such command"), "{}", missing.err);
    std::fs::write(place.file("plain"), "text").expect("a file");
    let plain = place.file("plain");
    let denied = place.run(&["run", "k", "--", plain.to_str().expect("text")]);
    assert_eq!(denied.code, 126, "{}", denied.err);
    assert_eq!(
        place.run(&["run", "k", "true"]).code,
        0,
        "and the key is free"
    );
}

#[test]
fn a_maximum_hold_ends_the_command_with_124() {
    let place = Place::new();
    let ended = place.run(&["run", "--max-hold", "0.2", "k", "--", "sleep", "60"]);
    assert_eq!(ended.code, 124);
    assert!(ended.err.contains("k was held for 200ms"), "{}", ended.err);
    let stubborn = place.run(&[
        "run",
        "--max-hold",
        "0.2",
        "-k",
        "0.2",
        "k",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    ]);
    assert_eq!(stubborn.code, 124);
    assert_eq!(place.run(&["run", "k", "true"]).code, 0);
}

#[test]
fn signals_reach_the_command_and_the_key_is_freed() {
    let place = Place::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let holder = place.hold(&[], "k");
        holder.running.signal(signal);
        assert_eq!(holder.running.end().code, code);
        assert_eq!(place.run(&["run", "k", "true"]).code, 0);
    }
}

/// Monban is held up by a tracer where it starts the command, which signals it as soon as it runs itself.
#[test]
fn a_signal_while_the_command_begins_reaches_it() {
    if slow::skipped() {
        return;
    }
    let strace = service::program(slow::STRACE, slow::PROGRAMS).expect("it was there just now");
    let place = Place::new();
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let script = format!("kill -{signal} $PPID; exec sleep 60");
        let monban = place.monban(&["run", "k", "--", "sh", "-c", &script]);
        let starts = "vfork,clone,clone3";
        let held_up = Command::new(&strace)
            .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={starts}")])
            .args(["-e", &format!("inject={starts}:delay_exit=300000")])
            .arg(monban.get_program())
            .args(monban.get_args())
            .env("MONBAN_STORE", place.store())
            .stdin(Stdio::null())
            .output()
            .expect("strace starts");
        let said = String::from_utf8_lossy(&held_up.stderr);
        assert_eq!(held_up.status.code(), Some(code), "{signal}: {said}");
        assert_eq!(place.run(&["run", "k", "true"]).code, 0);
    }
}

#[test]
fn a_waiter_that_is_interrupted_leaves_the_line_and_ends_by_the_signal() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let waiter = place.start(&["run", "-w", "forever", "k", "true"]);
    wait_until("it waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    waiter.signal(Signal::TERM);
    assert_eq!(waiter.end().code, -15);
    assert!(!place.run(&["show", "k"]).out.contains("waiting"));
    holder.let_go();
}

#[test]
fn the_command_sees_key_and_fence_and_its_streams_are_its_own() {
    let place = Place::new();
    let fence = || {
        let ended = place.run(&[
            "run",
            "a b",
            "--",
            "sh",
            "-c",
            "echo \"$MONBAN_KEY $MONBAN_FENCE\"; echo e >&2",
        ]);
        assert_eq!(ended.err, "e\n");
        let (key, fence) = ended
            .out
            .trim()
            .rsplit_once(' ')
            .map(|(k, f)| (k.to_owned(), f.to_owned()))
            .expect("two");
        assert_eq!(key, "a b");
        fence.parse::<i64>().expect("a number")
    };
    let (one, two) = (fence(), fence());
    assert!(one > 0 && two > one);
    let mut child = place.monban(&["run", "k", "cat"]);
    child.stdin(std::process::Stdio::piped());
    let mut child = child.spawn().expect("monban starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"through\n")
        .expect("written");
    assert_eq!(
        child.wait_with_output().expect("ended").stdout,
        b"through\n"
    );
}

#[test]
fn cron_with_an_empty_environment_and_a_shell_get_the_same_lock() {
    let place = Place::new();
    let store = format!("--store={}", place.store());
    let _holder = place.hold(&[], "k");
    let cron = Command::new(env!("CARGO_BIN_EXE_monban"))
        .env_clear()
        .args([&store, "run", "k", "--", "true"])
        .output()
        .expect("monban starts");
    assert_eq!(cron.status.code(), Some(75));
    // Without a store: the directory is that of the user, not that of HOME.
    let default = |home: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_monban"))
            .env_clear()
            .env("HOME", home)
            .args(["show", "no-such-key"])
            .output()
            .expect("monban starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let (one, two) = (default("/nonexistent"), default("/"));
    assert_eq!(one, two);
}

#[test]
fn what_was_ignored_before_stays_ignored_through_a_wait() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let wait = place.monban(&[
        "run",
        "-w",
        "30",
        "k",
        "--",
        "grep",
        "SigIgn",
        "/proc/self/status",
    ]);
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(wait.get_program())
        .args(wait.get_args());
    nohup
        .env("MONBAN_STORE", place.store())
        .stdout(std::process::Stdio::piped());
    let waiter = crate::support::Running(Some(nohup.spawn().expect("sh starts")));
    wait_until("it waits", || {
        place.run(&["show", "k"]).out.contains("waiting")
    });
    waiter.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(50));
    holder.let_go();
    let waiter = waiter.end();
    assert_eq!(waiter.code, 0, "{}", waiter.err);
    let ignored = u64::from_str_radix(waiter.out.trim().trim_start_matches("SigIgn:").trim(), 16);
    assert_eq!(
        ignored.expect("a number") & 1,
        1,
        "HUP is ignored in the command: {}",
        waiter.out
    );
}

#[test]
fn a_run_inside_another_does_not_show_the_outer_fence_or_seat() {
    let place = Place::new();
    let exe = env!("CARGO_BIN_EXE_monban");
    let script = "echo \"fence=$MONBAN_FENCE seat=$MONBAN_SEAT\"";
    let inner = place.run(&[
        "run",
        "--permits",
        "1/2",
        "outer",
        "--",
        exe,
        "run",
        "-s",
        "inner",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(inner.out, "fence= seat=\n", "{}", inner.err);
}
