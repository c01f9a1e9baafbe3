//! Where a server's program is found, and what a test does when there is none.
//!
//! A missing server fails the test. It is skipped only when whoever started the tests asked for it
//! by name in `MONBAN_SKIP_SERVICES` (`cargo xtask test --no-services` does), and each skip is
//! written to the file named by `MONBAN_SKIP_LOG`, so that the skips are counted and shown.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

/// Names the services whose tests are to be skipped, with commas between.
pub const SKIP: &str = "MONBAN_SKIP_SERVICES";

/// Names the file that takes one line for every skipped test.
pub const SKIP_LOG: &str = "MONBAN_SKIP_LOG";

/// Whether the running test is to return at once because `service` is missing and was asked to be.
///
/// Call it first in a test that needs a server: `if skipped("redis") { return; }`.
///
/// # Panics
/// If the skip cannot be counted.
#[must_use]
pub fn skipped(service: &str) -> bool {
    let Ok(names) = env::var(SKIP) else {
        return false;
    };
    if !names.split(',').any(|name| name == service) {
        return false;
    }
    let test = running_test();
    count(&format!("{service}: {test}"));
    true
}

/// Whether the running test is to return at once because this machine does not let us do what it takes, as `possible`
/// has found out: a loud, counted skip for somebody at a desk who is not root.
///
/// # Panics
/// In CI: there nothing is left out.
#[must_use]
pub fn lacks(service: &str, possible: &io::Result<()>) -> bool {
    let Err(error) = possible else { return false };
    let in_ci = env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!in_ci, "{service}: {error}");
    count(&format!("{service}: {}: {error}", running_test()));
    true
}

fn running_test() -> String {
    thread::current()
        .name()
        .unwrap_or("a test without a name")
        .to_owned()
}

fn count(skip: &str) {
    eprintln!("SKIPPED: {skip}");
    if let Some(log) = env::var_os(SKIP_LOG) {
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .expect("a skip log");
        writeln!(log, "{skip}").expect("a skip is counted");
    }
}

/// Finds a program: the one named by the environment variable, else the first of `names` in `PATH`.
///
/// # Errors
/// `NotFound`, saying how to come by it.
pub fn program(variable: &str, names: &[&str]) -> io::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing(variable, names))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    names
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing(variable, names))
}

fn missing(variable: &str, names: &[&str]) -> io::Error {
    let message = format!(
        "no {}: install it (`cargo xtask services install`), or name it in {variable}",
        names.join(" or ")
    );
    io::Error::new(io::ErrorKind::NotFound, message)
}
