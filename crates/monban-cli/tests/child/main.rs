//! The command's child with real processes: exit codes, signals, terminals, and what is left when somebody dies.
//!
//! This binary is the tests, the program under test (`probe`: [`probe`]) and, like monban itself, its own watchdog; so
//! it has a `main` of its own.

#![allow(clippy::unwrap_used)] // the whole binary is tests, which clippy cannot see without the usual harness

// Its unit tests run with the binary; here, without the test harness, their imports are idle.
#[expect(unused_imports)]
#[path = "../../src/child/mod.rs"]
mod child;
mod dying;
mod ending;
mod losing;
mod probe;
mod support;
mod terminal;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    if child::watchdog::requested() {
        return child::watchdog::main();
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|mode| mode.to_str()) {
        Some("probe") => probe::main(&arguments[2..]),
        Some("count") => terminal::count(),
        Some("session") => terminal::session(&arguments[2..]),
        _ => {
            monban_testkit::signals::hear_what_is_ignored().expect("signals can be handled");
            let trials = [ending::TESTS, losing::TESTS, dying::TESTS, terminal::TESTS].concat();
            let trials = trials.into_iter().map(|(name, test)| {
                Trial::test(name, move || {
                    test();
                    Ok(())
                })
            });
            libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
        }
    }
}
