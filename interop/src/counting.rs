//! Programs that change one counter in turns: what a lock is for, seen from behind it.

use std::fs;
use std::path::Path;

use crate::{Driver, Outcome};

/// How often each program counts.
const EACH: usize = 50;

/// Lets all programs increment a counter that is not atomic, each fifty times under the key, and says how often another
/// one than before had its turn.
///
/// `ttl` is as the programs' language has it, and `pause` the milliseconds for which each holds the key.
///
/// # Errors
///
/// If a program fails, or an increment was lost.
pub fn count(
    workers: &mut [Driver],
    key: &str,
    ttl: u32,
    pause: u64,
    counter: &Path,
) -> Outcome<usize> {
    fs::write(counter, "0 nobody")?;
    for worker in workers.iter_mut() {
        worker.say(&format!(
            "count {key} {ttl} {EACH} {} {pause}",
            counter.display()
        ))?;
    }
    let mut changes = 0;
    for worker in workers.iter_mut() {
        let answer = worker.hear()?;
        let done = answer.strip_prefix("done ").ok_or_else(|| answer.clone())?;
        changes += done.parse::<usize>()?;
    }
    let text = fs::read_to_string(counter)?;
    let all = (workers.len() * EACH).to_string();
    if text.split(' ').next() != Some(all.as_str()) {
        return Err(format!("increments were lost: {text} of {all}").into());
    }
    Ok(changes)
}
