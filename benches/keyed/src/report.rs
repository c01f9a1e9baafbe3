//! The table that a run prints.

use std::fs;
use std::process::Command;

use crate::SEED;
use crate::scenarios::Scenario;

/// Measures all entrants of a scenario, one after the other in every round, and prints medians and ranges.
pub fn run(scenario: &Scenario, rounds: usize) -> String {
    let mut taken = vec![Vec::with_capacity(rounds); scenario.entrants.len()];
    for round in 0..=rounds {
        for (entrant, taken) in scenario.entrants.iter().zip(&mut taken) {
            let nanos = (entrant.once)();
            // The first round warms up.
            if round > 0 {
                taken.push(nanos);
            }
        }
    }
    let mut text = format!(
        "\n## {}\n\n| | median | range | median to monban's | best to monban's best |\n|---|---:|---:|---:|---:|\n",
        scenario.title
    );
    let medians: Vec<f64> = taken.iter_mut().map(|taken| middle(taken)).collect();
    let ours = scenario
        .entrants
        .iter()
        .position(|entrant| entrant.name == "monban")
        .expect("monban is in every scenario");
    let best = taken[ours][0];
    for ((entrant, taken), median) in scenario.entrants.iter().zip(&taken).zip(&medians) {
        text += &format!(
            "| {} | {median:.0} ns | {:.0} to {:.0} | {:.2} | {:.2} |\n",
            entrant.name,
            taken[0],
            taken[taken.len() - 1],
            median / medians[ours],
            taken[0] / best
        );
    }
    text
}

fn middle(taken: &mut [f64]) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

/// Says where and of what the figures are.
pub fn header(rounds: usize) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let versions: Vec<_> = [
        "lockmap",
        "lockable",
        "keyed-lock",
        "dashmap",
        "tokio",
        "parking_lot",
        "hashbrown",
    ]
    .iter()
    .map(|name| version(name))
    .collect();
    format!(
        "# The keyed mutex beside its peers\n\n\
         Command: `cargo run --release -p bench-keyed`. {processors} x {model}, Linux {}, {}; load {}.\n\
         {}. Seed {SEED:#x}; {rounds} rounds, all peers in each, after one to warm up.\n\
         Nanoseconds of processor time, of all threads, per lock and unlock; a key is a `String` of 16 bytes.\n\
         Other work on the machine only ever adds, so the best of a peer says more than its median where they differ.\n",
        kernel.trim(),
        rustc(),
        load.split(' ').next().unwrap_or_default(),
        versions.join(", "),
    )
}

/// The compiler's own line.
pub fn rustc() -> String {
    Command::new("rustc")
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string())
        .unwrap_or_default()
}

fn version(name: &str) -> String {
    let lock = include_str!("../../../Cargo.lock");
    let head = format!("name = \"{name}\"\nversion = \"");
    let found: Vec<_> = lock
        .match_indices(&head)
        .filter_map(|(at, _)| lock[at + head.len()..].split('"').next())
        .collect();
    format!("{name} {}", found.join(" and "))
}
