//! `cargo xtask test`: every suite of the project, with the servers they need.

use std::fs;
use std::time::Instant;

use monban_testkit::{service, signals};

use crate::services::{self, Running};
use crate::shell::{self, Outcome};

/// One command that runs tests.
struct Suite {
    name: &'static str,
    /// The words after `cargo`; a filter is added at the end.
    cargo: &'static [&'static str],
    /// Variables that this suite alone is built with.
    variables: &'static [(&'static str, &'static str)],
    /// The services that must run.
    services: &'static [&'static str],
}

/// Every suite. A new kind of test is one entry here, and CI runs it.
const SUITES: &[Suite] = &[
    Suite {
        name: "workspace",
        cargo: &[
            "test",
            "--no-fail-fast",
            "--workspace",
            "--all-features",
            "--exclude",
            "keyed-models",
        ],
        variables: &[],
        services: &[
            "redis",
            "etcd",
            "postgres",
            "pgbouncer",
            "mariadb",
            "sqlite",
            "network",
            "strace",
        ],
    },
    Suite {
        // Models of all interleavings: optimized, or they take minutes.
        name: "keyed models",
        cargo: &["test", "--release", "--package", "keyed-models"],
        variables: &[],
        services: &[],
    },
];

/// `cargo xtask test [--no-services] [FILTER]`.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (without_services, filters) = parse(&words, shell::in_ci())?;
    run_suites(without_services, filters)
}

/// Whether to go without services, and the filters.
fn parse<'a>(words: &'a [&'a str], in_ci: bool) -> Outcome<(bool, &'a [&'a str])> {
    let (without, filters) = match words {
        ["--no-services", filters @ ..] => (true, filters),
        filters => (false, filters),
    };
    if filters.len() > 1 || filters.iter().any(|word| word.starts_with('-')) {
        return Err("say `test [--no-services] [FILTER]`".into());
    }
    if without && in_ci {
        return Err("--no-services leaves tests out, which CI does not".into());
    }
    Ok((without, filters))
}

fn run_suites(without_services: bool, filters: &[&str]) -> Outcome {
    signals::hear_what_is_ignored()?;
    let mut names: Vec<&str> = SUITES
        .iter()
        .flat_map(|suite| suite.services)
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    let scratch = tempfile::tempdir()?;
    let log = scratch.path().join("skipped");
    let running: Vec<Running> = if without_services {
        Vec::new()
    } else {
        services::up(&names)?
    };

    let mut failed = Vec::new();
    for suite in SUITES {
        let start = Instant::now();
        let mut command = shell::cargo(suite.cargo);
        command.args(filters).envs(suite.variables.iter().copied());
        command.envs(
            running
                .iter()
                .flat_map(|one| &one.variables)
                .map(|(name, url)| (name, url)),
        );
        // Only the flag may skip: an inherited wish would be a silent one.
        command
            .env_remove(service::SKIP)
            .env(service::SKIP_LOG, &log);
        if without_services {
            command.env(service::SKIP, names.join(","));
        }
        let outcome = shell::run(&mut command);
        eprintln!(
            "suite {}: {:.1} s",
            suite.name,
            start.elapsed().as_secs_f64()
        );
        if let Err(error) = outcome {
            eprintln!("{error}");
            failed.push(suite.name);
        }
    }

    let skipped = fs::read_to_string(&log).unwrap_or_default();
    if !skipped.is_empty() {
        // By --no-services, or since this machine lacks another language's runtime; never in CI.
        eprintln!("\nSKIPPED {} tests:\n{skipped}", skipped.lines().count());
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_leaves_no_test_out() {
        assert!(parse(&["--no-services"], true).is_err());
        assert_eq!(
            parse(&["--no-services", "word"], false).unwrap(),
            (true, &["word"][..])
        );
        assert_eq!(parse(&["word"], true).unwrap(), (false, &["word"][..]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse(&["--no-service"], false).is_err());
        assert!(parse(&["one", "two"], false).is_err());
    }
}
