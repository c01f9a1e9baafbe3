//! The lines above every table: machine, versions, seed, command.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::{Outcome, Plan};

/// Describes the machine and the run.
pub(crate) fn describe(monban: &Path, plan: Plan) -> Outcome<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let folder = fs::read_to_string("/proc/mounts")
        .map(|mounts| file_system(&mounts))
        .unwrap_or_default();
    let words: Vec<String> = env::args().skip(1).collect();
    Ok(format!(
        "* machine: {} × {model}, Linux {}, {folder}\n* versions: {}; {}; {}\n* seed {}; command: \
         `cargo run --release -p bench-command -- {}` ({plan:?})",
        thread::available_parallelism()?,
        kernel.trim(),
        version(monban, "--version")?,
        version(Path::new("flock"), "--version")?,
        version(Path::new("rustc"), "--version")?,
        plan.seed,
        words.join(" ").trim(),
    ))
}

/// The file system of the directory for temporary files, where the locks lie.
fn file_system(mounts: &str) -> String {
    let scratch = env::temp_dir();
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let longest = mounted
        .filter(|(point, _)| scratch.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    longest.map_or_else(String::new, |(_, kind)| format!("locks on {kind}"))
}

fn version(program: &Path, flag: &str) -> Outcome<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
