//! The whole time of one start: the bare command, under `flock`, under `monban run`.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::stats::{quantile, shown};
use crate::{Outcome, Plan, Programs};
use monban_testkit::stats::Turns;

/// Starts that are made and not counted, so that all programs are in memory.
const WARM_UP: usize = 20;

/// The target: at most this many times the whole time of `flock FILE true`.
const MOST: f64 = 1.3;

/// Measures all three in turns, in a new order each time.
pub(crate) fn measure(programs: &Programs, plan: Plan) -> Outcome<String> {
    let scratch = tempfile::tempdir()?;
    let store = format!("file:{}", scratch.path().join("store").display());
    let lock = scratch.path().join("beside.lock");
    let bare = |word: &str| Command::new(word);
    let flock = |word: &str| {
        let mut command = Command::new("/usr/bin/flock");
        command.arg(&lock).arg(word);
        command
    };
    let monban = |word: &str| {
        let mut command = Command::new(&programs.monban);
        command.args(["run", "--store", &store, "k", "--", word]);
        command
    };
    let names = ["`true`", "`flock FILE true`", "`monban run k -- true`"];
    let makers: [&dyn Fn(&str) -> Command; 3] = [&bare, &flock, &monban];
    for make in makers {
        // A program that runs nothing would be the fastest.
        if make("/bin/false").status()?.code() != Some(1) {
            return Err(format!("{:?} did not run its command", make("/bin/false")).into());
        }
    }

    let mut samples = [const { Vec::new() }; 3];
    let mut turns = Turns(plan.seed);
    for round in 0..WARM_UP + plan.starts {
        for which in turns.order(makers.len()) {
            let took = once(makers[which]("/bin/true"))?;
            if round >= WARM_UP {
                samples[which].push(took);
            }
        }
    }
    Ok(table(names, &samples))
}

fn once(mut command: Command) -> Outcome<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env_remove("MONBAN_STORE");
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

fn table(names: [&str; 3], samples: &[Vec<Duration>; 3]) -> String {
    let flock = quantile(&samples[1], 0.5).as_secs_f64();
    let mut text = String::from(
        "## Starting a command\n\n| | median | p10 to p90 | p99 | times flock |\n|---|---|---|---|---|\n",
    );
    for (name, sample) in names.iter().zip(samples) {
        let median = quantile(sample, 0.5);
        let ratio = median.as_secs_f64() / flock;
        let [low, high, late] = [0.1, 0.9, 0.99].map(|share| shown(quantile(sample, share)));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {low} to {high} | {late} | {ratio:.2} |",
            shown(median)
        );
    }
    let _ = writeln!(text, "\nTarget: at most {MOST} times flock.\n");
    text
}
