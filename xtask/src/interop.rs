//! `cargo xtask interop [--all]`: other clients' locks beside monban, on real servers.
//!
//! The tests are part of `cargo xtask test` too; here they run alone, and with those that are slow to bring.

use monban_testkit::service;

use crate::services;
use crate::shell::{self, Outcome};

/// Tests that are not run unless they are named.
const SLOW: &[&str] = &["--test", "redisson"];

/// Runs the tests, with every client that this machine can run.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all = match words[..] {
        [] => false,
        ["--all"] => true,
        _ => return Err("say `interop [--all]`".into()),
    };
    let running = services::up(&["redis", "etcd"])?;
    let usual: &[&str] = &["test", "--package", "interop"];
    let slow = [usual, SLOW].concat();
    let runs: &[&[&str]] = if all { &[usual, &slow] } else { &[usual] };
    for run in runs {
        let mut command = shell::cargo(run);
        for (name, value) in running.iter().flat_map(|one| &one.variables) {
            command.env(name, value);
        }
        shell::run(command.env_remove(service::SKIP))?;
    }
    Ok(())
}
