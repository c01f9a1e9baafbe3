//! The gap between one holder's release and the next one's grant, among processes.
//!
//! Each of n + 1 workers takes the key again and again, so that n wait at any time; each notes on the
//! machine's monotonic clock when it got the key and when it began to release it. The gap runs from
//! one worker's beginning of release to the next one's grant, release included. Overlapping holders
//! are an error here, not a figure. Beside it the same with a bare flock, which keeps no order.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::stats::{quantile, shown};
use crate::{Outcome, Plan, Programs};

/// How many processes wait at any time.
const WAITING: [usize; 2] = [2, 16];

/// One stay of a worker: when it got the key, when it began to release it, and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stay {
    from: u64,
    to: u64,
    worker: usize,
}

/// Measures both, for each number of waiters.
pub(crate) fn measure(programs: &Programs, plan: Plan) -> Outcome<String> {
    let mut text = String::from(
        "## Hand-over between processes\n\n| | waiting | hand-overs | p50 | p99 | longest | out of turn |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for waiting in WAITING {
        for kind in ["file", "flock"] {
            let scratch = tempfile::tempdir()?;
            let stays = race(
                &programs.worker,
                kind,
                scratch.path(),
                waiting + 1,
                plan.rounds,
            )?;
            let stays = contended(stays, waiting + 1, plan.rounds);
            let gaps = gaps(&stays)?;
            let [half, late, longest] = [0.5, 0.99, 1.0].map(|share| shown(quantile(&gaps, share)));
            let name = if kind == "file" {
                "monban, file store"
            } else {
                "bare flock"
            };
            let barged = out_of_turn(&stays, waiting + 1);
            let count = gaps.len();
            writeln!(
                text,
                "| {name} | {waiting} | {count} | {half} | {late} | {longest} | {barged} |"
            )?;
        }
    }
    text.push_str("\nTarget: p50 at most 0.3 ms, p99 at most 1 ms, with 16 waiting as with 2.\n\n");
    Ok(text)
}

/// Lets the workers run together and gathers their notes.
fn race(worker: &Path, kind: &str, dir: &Path, count: usize, rounds: usize) -> Outcome<Vec<Stay>> {
    let mut workers = Vec::new();
    for _ in 0..count {
        let command = &mut Command::new(worker);
        command.arg(kind).arg(dir).arg(rounds.to_string());
        workers.push(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?,
        );
    }
    for worker in &mut workers {
        let mut pipe = worker.stdin.take().ok_or("a worker without a pipe")?;
        pipe.write_all(b"go\n")?;
    }
    let mut stays = Vec::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        stays.extend(notes(number, worker)?);
    }
    stays.sort_unstable();
    Ok(stays)
}

fn notes(number: usize, worker: &mut Child) -> Outcome<Vec<Stay>> {
    let pipe = worker.stdout.take().ok_or("a worker without a pipe")?;
    let mut stays = Vec::new();
    for line in BufReader::new(pipe).lines() {
        let line = line?;
        let (from, to) = line.split_once(' ').ok_or("a note is two numbers")?;
        stays.push(Stay {
            from: from.parse()?,
            to: to.parse()?,
            worker: number,
        });
    }
    let status = worker.wait()?;
    if status.success() {
        Ok(stays)
    } else {
        Err(format!("a worker failed: {status}").into())
    }
}

/// Leaves out the beginning, until all are in line, and the end, from the first worker that is done.
fn contended(stays: Vec<Stay>, count: usize, rounds: usize) -> Vec<Stay> {
    let mut left = vec![rounds; count];
    let mut joined = 0;
    let begin = stays.iter().position(|stay| {
        joined += usize::from(left[stay.worker] == rounds);
        left[stay.worker] -= 1;
        joined == count
    });
    let mut left = vec![rounds; count];
    let end = stays.iter().position(|stay| {
        left[stay.worker] -= 1;
        left[stay.worker] == 0
    });
    let (begin, end) = (begin.unwrap_or(0), end.unwrap_or(stays.len()));
    // A greedy lock may finish one worker before another begins; then nothing was contended by all.
    stays.get(begin..end).unwrap_or_default().to_vec()
}

fn gaps(stays: &[Stay]) -> Outcome<Vec<Duration>> {
    let mut gaps = Vec::new();
    for pair in stays.windows(2) {
        let gap = pair[1].from.checked_sub(pair[0].to);
        let gap = gap.ok_or_else(|| format!("two holders at once: {pair:?}"))?;
        // A worker that follows itself found nobody ahead: that is no hand-over.
        if pair[0].worker != pair[1].worker {
            gaps.push(Duration::from_nanos(gap));
        }
    }
    if gaps.is_empty() {
        Err("no hand-over to measure: more rounds".into())
    } else {
        Ok(gaps)
    }
}

/// How often somebody was granted again before each of the others had been granted once.
fn out_of_turn(stays: &[Stay], count: usize) -> usize {
    stays
        .windows(count)
        .filter(|turn| {
            let mut seen: Vec<usize> = turn.iter().map(|stay| stay.worker).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len() < count
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(workers: &[usize]) -> Vec<Stay> {
        let stay = |(place, worker): (u64, &usize)| Stay {
            from: place * 10,
            to: place * 10 + 7,
            worker: *worker,
        };
        (0..).zip(workers).map(stay).collect()
    }

    #[test]
    fn gaps_run_from_one_release_to_the_next_grant_of_another() {
        let three = Duration::from_nanos(3);
        assert_eq!(gaps(&stays(&[0, 1, 1, 0])).unwrap(), [three, three]);
    }

    #[test]
    fn overlapping_holders_are_an_error() {
        let mut stays = stays(&[0, 1]);
        stays[0].to = stays[1].from + 1;
        assert!(
            gaps(&stays)
                .unwrap_err()
                .to_string()
                .contains("two holders")
        );
    }

    #[test]
    fn beginning_and_end_are_left_out() {
        let workers = |stays: Vec<Stay>| stays.iter().map(|stay| stay.worker).collect::<Vec<_>>();
        assert_eq!(workers(contended(stays(&[0, 0, 1, 0, 1, 1]), 2, 3)), [1]);
        assert_eq!(
            workers(contended(stays(&[0, 0, 1, 1]), 2, 2)),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn a_turn_that_leaves_somebody_out_is_counted() {
        assert_eq!(out_of_turn(&stays(&[0, 1, 2, 0, 1, 2]), 3), 0);
        assert_eq!(out_of_turn(&stays(&[0, 1, 0, 2, 1]), 3), 1);
    }
}
