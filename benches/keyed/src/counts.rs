//! Counts instructions instead of nanoseconds: those do not jitter, so a regression of a few percent shows even on a
//! busy machine.
//!
//! Each load runs twice under callgrind, short and long, as a process of its own; the difference, divided by the
//! rounds between them, is free of what starting costs. Gungraun does the same with more machinery: it needs a
//! runner of exactly its own version installed, which takes longer to compile than everything counted here, and
//! its report says nothing that one number per load does not.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::hint::black_box;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::task::{Context, Poll, Waker};

use monban::keyed::{KeyedMutex, KeyedRwLock};

use crate::peers::Steady;
use crate::{keys, report};

const SHORT: u32 = 1_000;
const LONG: u32 = 3_000;
/// How much more a load may cost before the check fails.
const TOLERANCE: f64 = 1.05;

type Load = (&'static str, fn(u32));

const LOADS: [Load; 6] = [
    ("blocking", blocking),
    ("task", task),
    ("owned", owned),
    ("read", read),
    ("handed on", handed_on),
    ("held at once", held_at_once),
];

/// `counts` prints, `counts --check` compares with what is committed, `counts --update` writes that anew.
pub fn main(args: &[&str]) -> ExitCode {
    match args {
        [] => show(&count_all()),
        ["--check"] => check(&count_all()),
        ["--update"] => update(&count_all()),
        ["--run", name, rounds] => return run(name, rounds),
        _ => Err("usage: bench-keyed counts [--check | --update]".into()),
    }
    .map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

type Counts = Result<Vec<(&'static str, f64)>, String>;

fn count_all() -> Counts {
    LOADS
        .iter()
        .map(|(name, _)| {
            let more = instructions(name, LONG)? - instructions(name, SHORT)?;
            Ok((*name, more / f64::from(LONG - SHORT)))
        })
        .collect()
}

fn instructions(name: &str, rounds: u32) -> Result<f64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["counts", "--run", name, &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .ok_or_else(|| format!("callgrind counted nothing: {said}"))
}

fn baseline() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "counts.txt"].iter().collect()
}

fn text(counts: &[(&str, f64)]) -> String {
    let mut text = format!(
        "# Instructions per round, with {}. Checked and renewed by `bench-keyed counts`.\n",
        report::rustc()
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name}: {count:.0}");
    }
    text
}

fn show(counts: &Counts) -> Result<(), String> {
    print!("{}", text(counts.as_ref()?));
    Ok(())
}

fn update(counts: &Counts) -> Result<(), String> {
    fs::write(baseline(), text(counts.as_ref()?)).map_err(|error| error.to_string())
}

fn check(counts: &Counts) -> Result<(), String> {
    let kept = fs::read_to_string(baseline()).map_err(|error| error.to_string())?;
    let mut failed = false;
    for (name, count) in counts.as_ref()? {
        let before: f64 = kept
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
            .ok_or_else(|| format!("nothing is committed for \"{name}\": run with --update"))?;
        let more = count > &(before * TOLERANCE);
        failed |= more;
        let verdict = if more { "  TOO MANY" } else { "" };
        println!("{name}: {count:.0}, committed {before:.0}{verdict}");
    }
    if failed {
        return Err(
            "more instructions than committed: make it cheaper, or if it is worth it (or the compiler \
             has changed) run `cargo run --release -p bench-keyed -- counts --update` and commit counts.txt"
                .into(),
        );
    }
    Ok(())
}

fn run(name: &str, rounds: &str) -> ExitCode {
    let load = LOADS.iter().find(|(known, _)| *known == name);
    let (Some((_, load)), Ok(rounds)) = (load, rounds.parse()) else {
        return ExitCode::from(64);
    };
    load(rounds);
    ExitCode::SUCCESS
}

const KEY: &str = "customer:0000042";

fn blocking(rounds: u32) {
    let map = KeyedMutex::<String>::new();
    for _ in 0..rounds {
        drop(black_box(map.blocking_lock(black_box(KEY))));
    }
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nobody else holds a key here"),
    }
}

fn task(rounds: u32) {
    let map = KeyedMutex::<String>::new();
    for _ in 0..rounds {
        drop(black_box(at_once(map.lock(black_box(KEY)))));
    }
}

fn owned(rounds: u32) {
    let map = std::sync::Arc::new(KeyedMutex::<String>::new());
    for _ in 0..rounds {
        drop(black_box(at_once(map.lock_owned(black_box(KEY)))));
    }
}

fn read(rounds: u32) {
    let map = KeyedRwLock::<String>::new();
    let _reading = at_once(map.read(KEY));
    for _ in 0..rounds {
        drop(black_box(at_once(map.read(black_box(KEY)))));
    }
}

/// A round: one holds, three wait, and the key goes from one to the next.
fn handed_on(rounds: u32) {
    let map = KeyedMutex::<String>::new();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..rounds {
        let mut held = Some(at_once(map.lock(KEY)));
        let mut line = [map.lock(KEY), map.lock(KEY), map.lock(KEY)];
        for waiter in &mut line {
            assert!(pin!(waiter).poll(&mut context).is_pending());
        }
        for waiter in &mut line {
            drop(held.take());
            held = Some(at_once(waiter));
        }
    }
}

/// A round: one key more, held together with all the others. The hasher starts the same in every run, since here
/// it matters which keys share a shard.
fn held_at_once(rounds: u32) {
    let map = KeyedMutex::<String, (), Steady>::with_hasher(Steady::default());
    let keys = keys(LONG as usize);
    let held: Vec<_> = keys[..rounds as usize]
        .iter()
        .map(|key| map.blocking_lock(key))
        .collect();
    black_box(&held);
}
