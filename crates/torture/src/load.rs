//! Load: very many waiters on one key, very many keys held by one process, the smallest TTL that lasts.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use monban::{LeaseEvent, Locks, Options, block_on};
use serde::{Deserialize, Serialize};

use crate::clock::{nanos, now};
use crate::verdict::{grouped, millis, quantiles};

/// Tells a process that it is one of a load, and what to do.
const VARIABLE: &str = "MONBAN_TORTURE_LOAD";
/// A TTL after which a busy machine has long done its work.
const LONG: Duration = Duration::from_secs(60);

/// What to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Load {
    /// Waiters of many processes on one key
    Waiters,
    /// Keys held by one process, and renewed
    Keys,
    /// Ever shorter TTLs beside busy loops, until a lease is lost
    Ttl,
}

/// How much of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) url: String,
    pub(crate) processes: usize,
    pub(crate) number: usize,
    pub(crate) ttl: Duration,
    pub(crate) lasts: Duration,
}

/// What a process of [`Load::Waiters`] is told.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    url: String,
    waiters: usize,
    ttl: Duration,
}

/// Whether this process is to be part of a load; asked before anything else.
#[must_use]
pub fn requested() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Runs a load and prints what it measured.
pub(crate) fn run(load: Load, size: &Size) -> Outcome<bool> {
    match load {
        Load::Waiters => waiters(size),
        Load::Keys => runtime()?.block_on(keys(size)),
        Load::Ttl => smallest_ttl(size),
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
}

/// A part of a load: many waiters in one process, on one key, by one connection.
///
/// # Panics
/// If it cannot work.
#[must_use]
pub fn main() -> ExitCode {
    let part = std::env::var(VARIABLE).expect("a part is told what to do");
    let part: Part = serde_json::from_str(&part).expect("a part understands what to do");
    match runtime().map(|runtime| runtime.block_on(wait(&part))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        outcome => {
            eprintln!("load: {outcome:?}");
            ExitCode::FAILURE
        }
    }
}

/// Waits with many callers of one process, of which one at a time has a place in the store's line: the gate is before
/// it. Prints a line when the first stands there, and one for every grant.
async fn wait(part: &Part) -> monban::Result<()> {
    let locks = Locks::connect(&part.url).await?;
    let first = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    for _ in 0..part.waiters {
        let mutex = locks.mutex("torture/load")?;
        let mutex = mutex.with(Options::new().ttl(part.ttl))?;
        let first = Arc::clone(&first);
        let acquire = mutex.lock().observe(move |_| {
            if first.fetch_add(1, Ordering::SeqCst) == 0 {
                println!("queued");
            }
        });
        all.push(async move {
            let lease = acquire.await?;
            println!("granted {} {}", now(), lease.fence()?.as_i64());
            lease.release().await
        });
    }
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = all.into_iter().map(|one| local.spawn_local(one)).collect();
    local
        .run_until(async {
            for task in tasks {
                task.await.expect("a waiter does not panic")?;
            }
            locks.close().await;
            Ok(())
        })
        .await
}

fn waiters(size: &Size) -> Outcome<bool> {
    let each = size.number.div_ceil(size.processes);
    let locks = block_on(Locks::connect(&size.url))?;
    let mutex = locks.mutex("torture/load")?;
    let held = block_on(mutex.with(Options::new().ttl(LONG))?.lock())?;
    let began = now();
    let mut parts: Vec<Child> = Vec::new();
    for _ in 0..size.processes {
        let part = serde_json::to_string(&Part {
            url: size.url.clone(),
            waiters: each,
            ttl: size.ttl,
        })?;
        let mut command = Command::new(std::env::current_exe()?);
        command.env(VARIABLE, part).stdin(Stdio::null());
        parts.push(command.stdout(Stdio::piped()).spawn()?);
    }
    let mut lines: Vec<_> = parts
        .iter_mut()
        .filter_map(|part| part.stdout.take())
        .map(|out| BufReader::new(out).lines())
        .collect();
    for out in &mut lines {
        let line = out.next().transpose()?.unwrap_or_default();
        if line != "queued" {
            return Err(format!("a part did not come to stand in line: {line:?}").into());
        }
    }
    let standing = block_on(locks.inspect("torture/load"))?
        .len()
        .saturating_sub(1);
    let queued = now();
    println!(
        "{} waiters, {} places in the line of the store, after {}",
        grouped((each * size.processes) as u64),
        grouped(standing as u64),
        millis(queued - began)
    );
    block_on(held.release())?;
    let released = now();
    let mut grants = Vec::new();
    for out in lines {
        for line in out {
            let line = line?;
            let mut words = line.split(' ').skip(1);
            let at: u64 = words.next().unwrap_or_default().parse()?;
            let fence: i64 = words.next().unwrap_or_default().parse()?;
            grants.push((at, fence));
        }
    }
    for part in &mut parts {
        part.wait()?;
    }
    grants.sort_unstable();
    let gaps = grants.windows(2).map(|pair| pair[1].0 - pair[0].0);
    println!("{}", quantiles("from grant to grant", gaps.collect()));
    let all = grants
        .last()
        .map_or(0, |(at, _)| at.saturating_sub(released));
    let ordered = grants.windows(2).all(|pair| pair[0].1 < pair[1].1);
    println!(
        "{} grants in {}; fences in order of time: {ordered}",
        grouped(grants.len() as u64),
        millis(all)
    );
    Ok(grants.len() == each * size.processes && standing == size.processes)
}

/// What the observer of a lease counts.
#[derive(Debug, Default)]
struct Seen {
    renewals: AtomicU64,
    lost: AtomicU64,
}

async fn keys(size: &Size) -> Outcome<bool> {
    let locks = Locks::connect(&size.url).await?;
    let before = resident();
    let seen: Arc<Seen> = Arc::default();
    let lags = Arc::new(std::sync::Mutex::new(Vec::new()));
    let began = now();
    let mut leases = Vec::with_capacity(size.number);
    let mut at = 0;
    while at < size.number {
        // A window of requests, which the keeper sends in batches.
        let end = (at + 1_000).min(size.number);
        let mut asked = tokio::task::JoinSet::new();
        for number in at..end {
            let mutex = locks.mutex(format!("torture/many/{number}").as_str())?;
            let mutex = mutex.with(Options::new().ttl(size.ttl))?;
            asked.spawn(async move { mutex.lock().await });
        }
        while let Some(lease) = asked.join_next().await {
            let lease = lease??;
            let (seen, lags) = (Arc::clone(&seen), Arc::clone(&lags));
            let ttl = size.ttl;
            lease.observe(move |event| match event {
                LeaseEvent::Renewed { remaining } => {
                    // What is gone of the validity when the reply is here: sent and answered.
                    seen.renewals.fetch_add(1, Ordering::Relaxed);
                    let valid = monban::rule::Lifetime::validity(ttl);
                    let late = valid.saturating_sub(remaining);
                    lags.lock().expect("no panic under it").push(nanos(late));
                }
                LeaseEvent::Lost(_) => {
                    seen.lost.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            });
            leases.push(lease);
        }
        at = end;
    }
    let held = now();
    let memory = resident().saturating_sub(before);
    println!(
        "{} keys held after {}; {} bytes of this process for each",
        grouped(leases.len() as u64),
        millis(held - began),
        grouped(memory / leases.len().max(1) as u64)
    );
    let mut margins = Vec::new();
    let end = now() + nanos(size.lasts);
    while now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let least = leases.iter().filter_map(monban::Lease::remaining).min();
        margins.extend(least.map(nanos));
    }
    let lags = std::mem::take(&mut *lags.lock().expect("no panic under it"));
    println!(
        "{}",
        quantiles("renewal, from before it was sent to its reply", lags)
    );
    let least = margins.iter().min().copied().unwrap_or(0);
    println!(
        "the least validity that was left to any lease in {:?}: {} of {:?}",
        size.lasts,
        millis(least),
        size.ttl
    );
    let lost = seen.lost.load(Ordering::SeqCst);
    println!("lost: {lost} of {}", grouped(leases.len() as u64));
    let began = now();
    drop(leases);
    locks.close().await;
    println!("all released after {}", millis(now() - began));
    Ok(lost == 0)
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Holds as many keys as asked with ever shorter TTLs, beside two busy loops for each processor.
fn smallest_ttl(size: &Size) -> Outcome<bool> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let busy: Vec<Busy> = (0..processors * 2)
        .map(|_| Busy::start())
        .collect::<io::Result<_>>()?;
    println!(
        "{} keys, {} busy loops on {processors} processors, {:?} for each TTL",
        size.number,
        busy.len(),
        size.lasts
    );
    let mut smallest = None;
    for ms in [5_000, 2_000, 1_000, 500, 300, 200, 150, 100] {
        let ttl = Duration::from_millis(ms);
        let lost = runtime()?.block_on(lost_with(size, ttl))?;
        println!("TTL {ttl:?}: {lost} of {} lost", size.number);
        if lost > 0 {
            break;
        }
        smallest = Some(ttl);
    }
    drop(busy);
    match smallest {
        Some(ttl) => println!("the smallest TTL without a loss: {ttl:?}"),
        None => println!("no TTL was without a loss"),
    }
    Ok(smallest.is_some())
}

async fn lost_with(size: &Size, ttl: Duration) -> Outcome<usize> {
    let locks = Locks::connect(&size.url).await?;
    let mut leases = Vec::new();
    let mut lost = 0;
    for number in 0..size.number {
        let mutex = locks.mutex(format!("torture/short/{number}").as_str())?;
        match mutex.with(Options::new().ttl(ttl))?.lock().await {
            Ok(lease) => leases.push(lease),
            // The grant was over when it arrived.
            Err(_) => lost += 1,
        }
    }
    tokio::time::sleep(size.lasts).await;
    lost += leases.iter().filter(|lease| lease.check().is_err()).count();
    drop(leases);
    locks.close().await;
    Ok(lost)
}

/// A process that only burns time; killed when dropped.
struct Busy(Child);

impl Busy {
    fn start() -> io::Result<Self> {
        // It ends by itself when we have died: its input ends.
        let script = "( read -r _; kill -KILL $$ ) & while :; do :; done";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        Ok(Self(command.stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let input = self.0.stdin.take();
        drop(input.map(|mut input| input.write_all(b"\n")));
        let _ = (self.0.kill(), self.0.wait());
    }
}
