//! `cargo xtask ci`: every check, then every test.

use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::shell::{self, Outcome};
use crate::{builds, guarantees, licences, mutants, services, test, tidy};

/// One check; all of them run, so that one push shows all that is wrong.
struct Check {
    name: &'static str,
    run: fn() -> Outcome,
}

const CHECKS: &[Check] = &[
    Check {
        name: "format",
        run: || shell::run(&mut shell::cargo(&["fmt", "--all", "--check"])),
    },
    Check {
        name: "clippy",
        run: clippy,
    },
    Check {
        name: "builds",
        run: builds::check,
    },
    Check {
        name: "docs",
        run: docs,
    },
    Check {
        name: "tidy",
        run: || tidy::run(&[]),
    },
    Check {
        name: "licences",
        run: || licences::run(&[]),
    },
    Check {
        name: "examples",
        run: examples,
    },
    Check {
        name: "guarantees",
        run: || guarantees::run(&["--check".into()]),
    },
    Check {
        name: "mutants",
        run: || mutants::run(&["--check".into()]),
    },
    Check {
        name: "instruction counts",
        run: counts,
    },
    Check {
        name: "test",
        run: || test::run(&[]),
    },
];

/// Runs every check, or the named ones, and names those that failed.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut failed = Vec::new();
    for check in chosen(words)? {
        eprintln!("\n== {}", check.name);
        let start = Instant::now();
        if let Err(error) = (check.run)() {
            eprintln!("{error}");
            failed.push(check.name);
        }
        eprintln!("== {}: {:.1} s", check.name, start.elapsed().as_secs_f64());
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

fn chosen(words: &[String]) -> Outcome<Vec<&'static Check>> {
    if words.is_empty() {
        return Ok(CHECKS.iter().collect());
    }
    let named = |word: &String| {
        let found = CHECKS.iter().find(|check| check.name == word);
        found.ok_or_else(|| format!("no check is called {word}").into())
    };
    words.iter().map(named).collect()
}

fn clippy() -> Outcome {
    let words = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ];
    shell::run(shell::cargo(&words).args(["--", "-D", "warnings"]))
}

/// Instructions of the keyed mutex against the committed ones: unlike times they do not jitter.
fn counts() -> Outcome {
    services::need_tool("valgrind")?;
    let words = [
        "run",
        "--release",
        "--quiet",
        "--package",
        "bench-keyed",
        "--bin",
        "bench-keyed",
    ];
    shell::run(shell::cargo(&words).args(["--", "counts", "--check"]))
}

/// The command first: it and the library are both called monban, and the library's docs stay.
fn docs() -> Outcome {
    const COMMAND: &str = "monban-cli";
    for packages in [
        &["--package", COMMAND][..],
        &["--workspace", "--exclude", COMMAND],
    ] {
        let mut doc = shell::cargo(&["doc", "--no-deps", "--all-features", "--locked"]);
        shell::run(doc.args(packages).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}

/// Examples that say what is missing, and fail, unless `MONBAN_STORE` names a Redis server.
const OVER_REDIS: &[&str] = &["fenced_redis"];

/// Runs every example of the workspace; each is to end by itself, with success.
fn examples() -> Outcome {
    let metadata = shell::metadata(&["--no-deps"])?;
    let running = services::up(&["redis", "sqlite"])?;
    let variables: Vec<_> = running.iter().flat_map(|one| &one.variables).collect();
    let redis = variables.iter().find(|(name, _)| *name == services::REDIS);
    let (_, redis) = redis.ok_or("the server says where it is")?;
    for (package, example) in names_of_examples(&metadata) {
        let mut run = run_example(package, example);
        run.envs(variables.iter().map(|(name, value)| (name, value)));
        if OVER_REDIS.contains(&example) {
            run.env("MONBAN_STORE", redis);
        }
        shell::run(&mut run)?;
    }
    Ok(())
}

fn run_example(package: &str, example: &str) -> Command {
    let words = [
        "run",
        "--quiet",
        "--all-features",
        "--package",
        package,
        "--example",
        example,
    ];
    shell::cargo(&words)
}

fn names_of_examples(metadata: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array().into_iter().flatten();
            if kinds.into_iter().any(|kind| kind == "example") {
                let names = (package["name"].as_str(), target["name"].as_str());
                if let (Some(package), Some(example)) = names {
                    found.push((package, example));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_found_and_nothing_else() {
        let metadata = serde_json::json!({"packages": [{"name": "p", "targets": [
            {"kind": ["lib"], "name": "p"},
            {"kind": ["example"], "name": "one"},
            {"kind": ["example"], "name": "two"},
        ]}]});
        assert_eq!(names_of_examples(&metadata), [("p", "one"), ("p", "two")]);
    }

    #[test]
    fn all_checks_run_unless_some_are_named() {
        assert_eq!(chosen(&[]).unwrap().len(), CHECKS.len());
        let two = chosen(&["tidy".into(), "builds".into()]).unwrap();
        let names: Vec<_> = two.iter().map(|check| check.name).collect();
        assert_eq!(names, ["tidy", "builds"]);
        assert!(chosen(&["tidy".into(), "everything".into()]).is_err());
    }

    #[test]
    fn tests_run_last_and_once() {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.iter().filter(|name| **name == "test").count(), 1);
        assert_eq!(names.last(), Some(&"test"));
    }
}
