//! The project's own tasks, run as `cargo xtask TASK`.
//!
//! One table names them; what a task is made of (suites, checks, services, benchmarks, layers) is a
//! table in its own file. Nothing here is published.

mod bench;
mod builds;
mod ci;
mod guarantees;
mod interop;
mod licences;
mod mutants;
mod services;
mod shell;
mod soak;
mod test;
mod tidy;

use std::env;
use std::process::ExitCode;

use shell::Outcome;

/// What `cargo xtask NAME` runs, and the line that explains it.
struct Task {
    name: &'static str,
    usage: &'static str,
    run: fn(&[String]) -> Outcome,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        usage: "[--no-services] [FILTER]   every test, with the servers that the tests need",
        run: test::run,
    },
    Task {
        name: "ci",
        usage: "[CHECK...]   every check, then every test: what .ci/run runs",
        run: ci::run,
    },
    Task {
        name: "tidy",
        usage: "layers, clocks, words, headers, lengths and features of the sources",
        run: tidy::run,
    },
    Task {
        name: "licences",
        usage: "the licence of every dependency against the allow list",
        run: licences::run,
    },
    Task {
        name: "services",
        usage: "[up|install] [NAME...]   install and start the servers, until Ctrl-C",
        run: services::run,
    },
    Task {
        name: "guarantees",
        usage: "[--check]   write GUARANTEES.md from the command, or compare it",
        run: guarantees::run,
    },
    Task {
        name: "interop",
        usage: "[--all]   other clients of Redis beside monban; with --all also those that are slow to bring",
        run: interop::run,
    },
    Task {
        name: "mutants",
        usage: "[--check | --table | NAME...]   plant bugs in a copy; the tests that their patches name must fail",
        run: mutants::run,
    },
    Task {
        name: "bench",
        usage: "[NAME...]   measure; the tables go to bench/",
        run: bench::run,
    },
    Task {
        name: "soak",
        usage: "[--minutes N] [--seed N] [STORE...]   torture every store; reports in target/torture",
        run: soak::run,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let chosen = words
        .first()
        .and_then(|name| TASKS.iter().find(|task| task.name == *name));
    let Some(task) = chosen else {
        eprintln!("usage: cargo xtask TASK\n");
        for task in TASKS {
            eprintln!("  {:<11} {}", task.name, task.usage);
        }
        return ExitCode::from(64);
    };
    match (task.run)(&words[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask {}: {error}", task.name);
            ExitCode::FAILURE
        }
    }
}
