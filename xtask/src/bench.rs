//! `cargo xtask bench [NAME...]`: measurements, each beside its peers in one run.

use crate::services;
use crate::shell::{self, Outcome};

/// One measurement; it prints its table and writes it under `bench/`.
struct Bench {
    name: &'static str,
    about: &'static str,
    cargo: &'static [&'static [&'static str]],
}

/// What a measurement needs, installed before it if it is missing.
const NEEDS: &[(&str, &[&str])] = &[("etcd", &["etcd", "protoc"])];

const BENCHES: &[Bench] = &[
    Bench {
        name: "run",
        about: "the command beside flock, hand-over between processes, a waiting process",
        cargo: &[
            &["build", "--release", "--package", "bench-command"],
            // Last, and alone: as users build it.
            &["build", "--release", "--package", "monban-cli"],
            &["run", "--release", "--package", "bench-command"],
        ],
    },
    Bench {
        name: "keyed",
        about: "the in-process keyed mutex beside other crates",
        cargo: &[&["run", "--release", "--package", "bench-keyed"]],
    },
    Bench {
        name: "redis",
        about: "the Redis store beside other clients of Redis",
        cargo: &[
            &[
                "build",
                "--release",
                "--package",
                "interop",
                "--package",
                "bench-redis",
            ],
            &["run", "--release", "--package", "bench-redis"],
        ],
    },
    Bench {
        name: "etcd",
        about: "the etcd store beside etcd-client's lock, whose build needs protoc",
        cargo: &[&[
            "run",
            "--release",
            "--manifest-path",
            "benches/etcd/Cargo.toml",
            "--target-dir",
            "target/bench-etcd",
        ]],
    },
    Bench {
        name: "postgres",
        about: "the PostgreSQL store beside advisory locks",
        cargo: &[&["run", "--release", "--package", "bench-postgres"]],
    },
];

/// Runs the named measurements, or all.
pub(crate) fn run(words: &[String]) -> Outcome {
    if let Some(unknown) = words
        .iter()
        .find(|word| BENCHES.iter().all(|bench| bench.name != **word))
    {
        let known: Vec<String> = BENCHES
            .iter()
            .map(|bench| format!("  {:<8} {}", bench.name, bench.about))
            .collect();
        return Err(format!(
            "no benchmark is called {unknown}; there are\n{}",
            known.join("\n")
        )
        .into());
    }
    for bench in BENCHES
        .iter()
        .filter(|bench| words.is_empty() || words.contains(&bench.name.into()))
    {
        let needs = NEEDS.iter().find(|(name, _)| *name == bench.name);
        services::install(needs.map_or(&[], |(_, services)| *services))?;
        for step in bench.cargo {
            shell::run(&mut shell::cargo(step))?;
        }
    }
    Ok(())
}
