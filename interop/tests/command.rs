//! The command on Redis beside a Rake task's guard: each refuses the other, and says who is in the way.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use monban_testkit::{RedisOptions, RedisServer, service};

/// Builds the command, which is another package's, and finds it beside this package's program.
fn monban() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    // As `cargo xtask test` builds it for the command's own tests: with other packages, or other features, all that it
    // is made of would be compiled once more.
    build.args([
        "test",
        "--no-run",
        "--quiet",
        "--workspace",
        "--all-features",
    ]);
    build.args(["--exclude", "keyed-models", "--test", "command"]);
    // What cargo told this test of its own package would make build scripts of dependencies run again.
    let own = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars().map(|(name, _)| name).filter(own) {
        build.env_remove(name);
    }
    assert!(
        build.status().expect("cargo").success(),
        "the command does not build"
    );
    Path::new(env!("CARGO_BIN_EXE_interop-client")).with_file_name("monban")
}

fn run(program: &Path, server: &RedisServer, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--store", &server.url()]).args(words);
    command.stdin(Stdio::null()).env_remove("MONBAN_STORE");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_and_a_rake_task_refuse_each_other() {
    if service::skipped("redis") {
        return;
    }
    let program = monban();
    let server = RedisServer::start(RedisOptions::new()).unwrap();
    let guard = ["SET", "main:hello", "1", "NX", "EX", "60"];

    assert_eq!(server.ask(&guard).unwrap(), "OK");
    let refused = run(&program, &server, &["main:hello", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(75), "{}", said(&refused));
    assert!(said(&refused).contains("main:hello"), "{}", said(&refused));
    assert!(said(&refused).contains("not monban"), "{}", said(&refused));

    // A waiting command is let in by the bare DEL with which such a task ends.
    let mut waits = run(
        &program,
        &server,
        &["-w", "30", "main:hello", "--", "sleep", "1"],
    );
    let mut waiting = waits.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.ask(&["DEL", "main:hello"]).unwrap(), "1");
    let start = Instant::now();
    while server.ask(&["EXISTS", "main:hello"]).unwrap() != "1" {
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "it was not let in"
        );
    }
    assert_eq!(server.ask(&guard).unwrap(), "", "Redis let two in");
    assert!(waiting.wait().unwrap().success());
    assert_eq!(server.ask(&["EXISTS", "main:hello"]).unwrap(), "0");
}
