//! The lines above every table: machine, versions, seed, command.

use std::env;
use std::fs;
use std::process::Command;
use std::thread;

use interop::Outcome;
use monban_testkit::{redis, service};

use crate::Bench;

/// Describes the machine and the run.
pub(crate) fn describe(bench: &Bench) -> Outcome<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let server = service::program(redis::SERVER, redis::PROGRAMS)?;
    let words: Vec<String> = env::args().skip(1).collect();
    let missing = match bench.missing.as_slice() {
        [] => "none".to_owned(),
        missing => missing.join(", "),
    };
    Ok(format!(
        "* machine: {} × {model}, Linux {}; load before: {}\n* server: {}\n* versions: {}; redis (Rust) and rslock as \
         in Cargo.lock; {}; {}; {}\n* missing, since this machine lacks their runtime: {missing}\n* seed {}; command: \
         `cargo run --release -p bench-redis -- {}` ({:?})",
        thread::available_parallelism()?,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        said(&server.display().to_string(), "--version"),
        said("rustc", "--version"),
        said("python3", "--version"),
        said("go", "version"),
        format_args!("node {}", said("node", "--version")),
        bench.plan.seed,
        words.join(" ").trim(),
        bench.plan,
    ))
}

/// What a program says of its version.
fn said(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|_| format!("no {program}"))
}
