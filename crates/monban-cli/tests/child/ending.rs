//! How a command that is left in peace starts and ends.

use crate::support::{Running, alive, code, eventually, output, probe, send, tests};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

tests! {
    a_commands_own_code_is_the_exit_code,
    a_signal_that_ended_the_command_is_128_and_its_number,
    a_command_that_is_not_there_is_127_and_one_that_cannot_run_126,
    a_script_without_a_first_line_runs_in_the_shell,
    the_standard_streams_are_the_commands_own,
    what_is_added_to_and_taken_from_the_environment_is,
    ignored_signals_stay_ignored_and_others_stay_default,
    signals_are_passed_on,
    the_whole_group_gets_a_signal,
    a_command_sees_no_descriptor_but_its_own_and_the_lock,
    a_daemon_left_behind_lives_on_and_does_not_hold_the_key,
    no_process_is_left_after_the_end,
}

fn a_commands_own_code_is_the_exit_code() {
    for expected in [0, 1, 42, 255] {
        assert_eq!(
            code(&[], &["sh", "-c", &format!("exit {expected}")]),
            Some(expected)
        );
    }
}

fn a_signal_that_ended_the_command_is_128_and_its_number() {
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        assert_eq!(
            code(&[], &["sh", "-c", &format!("kill -{name} $$")]),
            Some(128 + number)
        );
    }
}

fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "true").unwrap();
    assert_eq!(code(&[], &["monban-no-such-command"]), Some(127));
    assert_eq!(
        code(&[], &[dir.path().join("absent").to_str().unwrap()]),
        Some(127)
    );
    assert_eq!(code(&[], &[plain.to_str().unwrap()]), Some(126));
    assert_eq!(code(&[], &[dir.path().to_str().unwrap()]), Some(126));
}

fn a_script_without_a_first_line_runs_in_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("monban-test-script");
    fs::write(&script, "exit $((40 + $1))").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(code(&[], &[script.to_str().unwrap(), "3"]), Some(43));
    let path = format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    );
    let status = probe(&[], &["monban-test-script", "4"])
        .env("PATH", path)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(44));
}

fn the_standard_streams_are_the_commands_own() {
    let mut process = probe(&[], &["sh", "-c", "cat; echo problem >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(b"in\0put").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"in\0put");
    assert_eq!(output.stderr, b"problem\n");
}

fn what_is_added_to_and_taken_from_the_environment_is() {
    let printed = probe(
        &["--env", "MONBAN_KEY", "k 1", "--env-remove", "SECRET"],
        &["env"],
    )
    .env("SECRET", "s")
    .env("MONBAN_CLAIM", "outer")
    .output()
    .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("MONBAN_KEY=k 1\n"));
    assert!(printed.contains("MONBAN_CLAIM=outer:probe-"));
    assert!(!printed.contains("SECRET"));
}

/// Compares the command's signal dispositions with those it would have without us.
fn ignored_signals_stay_ignored_and_others_stay_default() {
    let show = ["grep", "-E", "^Sig(Ign|Cgt|Blk)", "/proc/self/status"];
    for traps in ["", "trap '' HUP;", "trap '' INT QUIT TERM USR1;"] {
        let through_us = probe(&[], &show);
        let (program, arguments) = (through_us.get_program(), through_us.get_args());
        let shell = |rest: &[&std::ffi::OsStr]| {
            let script = format!("{traps} exec \"$@\"");
            Command::new("sh")
                .args(["-c", &script, "sh"])
                .args(rest)
                .output()
                .unwrap()
                .stdout
        };
        let bare = shell(&show.map(AsRef::as_ref));
        assert!(!bare.is_empty());
        assert_eq!(
            shell(&[&[program], arguments.collect::<Vec<_>>().as_slice()].concat()),
            bare,
            "{traps}"
        );
    }
}

fn signals_are_passed_on() {
    use Signal as S;
    for signal in [S::HUP, S::INT, S::QUIT, S::TERM, S::USR1, S::USR2, S::ALARM] {
        let mut running = Running::start(&[], "ulimit -c 0; echo $$ > pids; exec sleep 60");
        running.pids("pids", 1);
        // It may arrive before the command is known: then it ends us, and the watchdog the command.
        std::thread::sleep(std::time::Duration::from_millis(50));
        running.send(signal);
        assert_eq!(running.code(), Some(128 + signal.as_raw()));
    }
}

fn the_whole_group_gets_a_signal() {
    let script = "echo $$ > pids; sleep 60 & echo $! >> pids; wait";
    let mut running = Running::start(&[], script);
    let pids = running.pids("pids", 2);
    std::thread::sleep(std::time::Duration::from_millis(50));
    running.send(Signal::TERM);
    assert_eq!(running.code(), Some(128 + 15));
    eventually("the grandchild has it too", || {
        !pids.iter().any(|pid| alive(*pid))
    });
}

fn a_command_sees_no_descriptor_but_its_own_and_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("lock");
    let command = ["sh", "-c", "for fd in /proc/$$/fd/*; do readlink $fd; done"];
    let listed = |output: Output| -> Vec<String> {
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("pipe:") && *line != "/dev/null")
            .map(str::to_owned)
            .collect()
    };
    // Whoever runs the tests may have left descriptors open for them.
    let mut alone = Command::new(command[0]);
    let mut expected = listed(alone.args(&command[1..]).output().unwrap());
    assert_eq!(listed(output(&[], &command)), expected);
    expected.push(lock.to_str().unwrap().to_owned());
    let mut locked = listed(output(&["--lock", lock.to_str().unwrap()], &command));
    locked.sort_unstable();
    expected.sort_unstable();
    assert_eq!(locked, expected);
}

fn a_daemon_left_behind_lives_on_and_does_not_hold_the_key() {
    let mut running = Running::start(&[], "sleep 60 >&- 2>&- & echo $! > pids");
    assert_eq!(running.code(), Some(0));
    let daemon = running.pids("pids", 1)[0];
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(alive(daemon));
    assert!(!running.locked());
    send(daemon, Signal::KILL);
}

fn no_process_is_left_after_the_end() {
    let mut running = Running::start(&[], "echo $$ > pids; sleep 0.2");
    let command = running.pids("pids", 1)[0];
    let mut watchdog = None;
    eventually("there is a watchdog", || {
        watchdog = running.watchdog();
        watchdog.is_some()
    });
    assert_eq!(running.code(), Some(0));
    // Not even a zombie: both are waited for before the probe ends.
    assert!(!std::path::Path::new(&format!("/proc/{}", watchdog.unwrap())).exists());
    assert!(!std::path::Path::new(&format!("/proc/{command}")).exists());
}
