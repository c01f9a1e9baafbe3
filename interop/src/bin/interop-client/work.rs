//! What a client is made to do: count, take turns, hold many.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use interop::Outcome;

use crate::kinds::{Held, Kind, Patience, Taken};

/// Longer than any wait here should take.
const LONGEST: Duration = Duration::from_secs(60);

/// Nanoseconds of the machine's monotonic clock, the same for all processes.
pub(crate) fn now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

async fn take(kind: &Kind, key: &str, ttl: Duration) -> Outcome<Held> {
    match kind.take(key, ttl, Patience::Until(LONGEST)).await? {
        Taken::Held(held) => Ok(held),
        Taken::Busy(_) => Err(format!("no turn on {key} within {LONGEST:?}").into()),
    }
}

/// A counter in a file, read and written with a pause between: it loses increments unless one at a time does it.
pub(crate) struct Counter<'a> {
    pub(crate) key: &'a str,
    pub(crate) ttl: Duration,
    pub(crate) file: &'a Path,
    pub(crate) pause: Duration,
}

impl Counter<'_> {
    /// Increments so many times; returns how often another process was the last to do so.
    pub(crate) async fn count(&self, kind: &Kind, times: usize) -> Outcome<usize> {
        let me = std::process::id().to_string();
        let mut others = 0;
        for _ in 0..times {
            let held = take(kind, self.key, self.ttl).await?;
            let text = fs::read_to_string(self.file)?;
            let (number, last) = text.trim().split_once(' ').ok_or("a number and a name")?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            fs::write(self.file, format!("{} {me}", number.parse::<u64>()? + 1))?;
            others += usize::from(last != me);
            if !held.release().await? {
                return Err("lost the key while counting".into());
            }
            tokio::time::sleep(self.pause).await;
        }
        Ok(others)
    }
}

/// Takes and frees keys of its own, each by a task; returns how often, and the median time of one cycle in µs.
pub(crate) async fn cycles(kind: &Kind, keys: usize, time: Duration) -> Outcome<(usize, u64)> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..keys {
        let kind = kind.clone();
        let key = format!("cycle-{number}");
        tasks.push(async move {
            let mut samples = Vec::new();
            while start.elapsed() < time {
                let begun = Instant::now();
                let held = take(&kind, &key, Duration::from_secs(10))
                    .await
                    .map_err(|error| error.to_string())?;
                held.release().await.map_err(|error| error.to_string())?;
                samples.push(begun.elapsed());
            }
            Ok::<_, String>(samples)
        });
    }
    let local = tokio::task::LocalSet::new();
    let running: Vec<_> = tasks
        .into_iter()
        .map(|task| local.spawn_local(task))
        .collect();
    local.await;
    let mut samples = Vec::new();
    for task in running {
        samples.extend(task.await??);
    }
    samples.sort_unstable();
    let half = samples.get(samples.len() / 2).ok_or("nothing was done")?;
    Ok((samples.len(), u64::try_from(half.as_micros())?))
}

/// Takes one key again and again between two instants, holds it for a while; notes when it asked, had, and freed it.
pub(crate) async fn turns(
    kind: &Kind,
    key: &str,
    start: i64,
    end: i64,
    hold: Duration,
) -> Outcome<Vec<String>> {
    let until = |then: i64| Duration::from_nanos(u64::try_from(then - now()).unwrap_or(0));
    tokio::time::sleep(until(start)).await;
    let mut notes = Vec::new();
    loop {
        let asked = now();
        // No less than one request may take: at the very end the server may not have answered yet.
        let patience = Patience::Until(until(end).max(Duration::from_millis(500)));
        let Taken::Held(held) = kind.take(key, Duration::from_secs(30), patience).await? else {
            notes.push(format!("{asked},0,0"));
            return Ok(notes);
        };
        let begun = now();
        // Blocked: tokio's timer, which counts in ms and rounds up, would make two of one.
        thread::sleep(hold);
        let ended = now();
        held.release().await?;
        notes.push(format!("{asked},{begun},{ended}"));
        if ended >= end {
            return Ok(notes);
        }
    }
}

/// Holds many keys for as long as this process lives; renews at a third of the TTL what does not renew itself.
pub(crate) async fn hold(kind: &Kind, keys: usize, ttl: Duration) -> Outcome {
    let mut held = Vec::new();
    for number in 0..keys {
        held.push(take(kind, &format!("hold-{number}"), ttl).await?);
    }
    for one in held {
        tokio::spawn(keep(one, ttl));
    }
    Ok(())
}

async fn keep(held: Held, ttl: Duration) {
    let Held::Rslock(manager, mut lock) = held else {
        // The lease renews itself; here it is only kept from being dropped.
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(ttl / 3).await;
        lock = manager.extend(&lock, ttl).await.expect("an extension");
    }
}

/// Waits until a lease is known to be lost; says when that was, and how.
pub(crate) async fn lost(held: Held, limit: Duration) -> Outcome<String> {
    let Held::Monban(lease) = held else {
        return Err("only monban tells".into());
    };
    match tokio::time::timeout(limit, lease.lost()).await {
        Ok(error) => Ok(format!("lost {} {error}", now())),
        Err(_) => Ok("kept".to_owned()),
    }
}
