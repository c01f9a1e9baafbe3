//! What a process costs that waits for a key: processor time and switches, its children included.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::stats::shown;
use crate::{Outcome, Plan, Programs};

/// Until a waiting process has started up and sleeps.
const SETTLE: Duration = Duration::from_secs(2);

/// What a process and its descendants have used so far.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    on_processor: Duration,
    switches: u64,
}

/// Watches one waiting `monban run` and one waiting `flock` over the same time.
pub(crate) fn measure(programs: &Programs, plan: Plan) -> Outcome<String> {
    let scratch = tempfile::tempdir()?;
    let store = format!("file:{}", scratch.path().join("store").display());
    let lock = scratch.path().join("beside.lock");
    let held = ["run", "--store", &store, "k", "--", "cat"];
    let waits = [
        "run",
        "--store",
        &store,
        "-w",
        "forever",
        "k",
        "--",
        "/bin/true",
    ];

    let flock = |word: &str| {
        let mut command = Command::new("/usr/bin/flock");
        command.arg(&lock).arg(word);
        command
    };
    let holders = [
        start(Command::new(&programs.monban).args(held))?,
        start(&mut flock("cat"))?,
    ];
    thread::sleep(SETTLE);
    let waiters = [
        start(Command::new(&programs.monban).args(waits))?,
        start(&mut flock("/bin/true"))?,
    ];
    thread::sleep(SETTLE);

    let before = [used(waiters[0].id())?, used(waiters[1].id())?];
    thread::sleep(Duration::from_secs(plan.seconds));
    let after = [used(waiters[0].id())?, used(waiters[1].id())?];
    // The end of their input ends the holders' `cat`; then it is the waiters' turn.
    end(holders)?;
    end(waiters)?;
    Ok(table(plan, before, after))
}

fn start(command: &mut Command) -> Outcome<Child> {
    Ok(command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .env_remove("MONBAN_STORE")
        .spawn()?)
}

fn end(children: [Child; 2]) -> Outcome {
    for mut child in children {
        drop(child.stdin.take());
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("process {} failed: {status}", child.id()).into());
        }
    }
    Ok(())
}

/// Sums over the threads of a process and of all that it started.
fn used(pid: u32) -> Outcome<Used> {
    let mut sum = Used::default();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let Ok(spent) = fs::read_to_string(thread.join("schedstat")) else {
            continue;
        };
        let nanos = spent
            .split_whitespace()
            .next()
            .ok_or("an empty schedstat")?
            .parse()?;
        sum.on_processor += Duration::from_nanos(nanos);
        sum.switches += switches(&fs::read_to_string(thread.join("status"))?);
        let children = fs::read_to_string(thread.join("children")).or_else(none_if_unknown)?;
        for child in children.split_whitespace() {
            let of_child = used(child.parse()?)?;
            sum.on_processor += of_child.on_processor;
            sum.switches += of_child.switches;
        }
    }
    Ok(sum)
}

/// Kernels without `CONFIG_PROC_CHILDREN` have no such file.
fn none_if_unknown(error: io::Error) -> io::Result<String> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(String::new())
    } else {
        Err(error)
    }
}

fn switches(status: &str) -> u64 {
    let counts = status
        .lines()
        .filter(|line| line.contains("ctxt_switches:"));
    counts
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

fn table(plan: Plan, before: [Used; 2], after: [Used; 2]) -> String {
    let mut text = format!(
        "## A waiting process, over {} s\n\n| | processor time | switches |\n|---|---|---|\n",
        plan.seconds
    );
    for (which, name) in ["`monban run -w forever`", "`flock`"].iter().enumerate() {
        let spent = after[which]
            .on_processor
            .saturating_sub(before[which].on_processor);
        let switches = after[which].switches - before[which].switches;
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {name} | {} | {switches} |", shown(spent));
    }
    text.push_str("\nTarget: no measurable processor time.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_switches_are_counted() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(switches(status), 15);
    }

    #[test]
    fn this_process_has_used_the_processor() {
        let before = used(std::process::id()).unwrap().on_processor;
        let sum: u64 = (0..20_000_000).fold(0, |sum, next| std::hint::black_box(sum ^ next));
        std::hint::black_box(sum);
        assert!(used(std::process::id()).unwrap().on_processor > before);
    }
}
