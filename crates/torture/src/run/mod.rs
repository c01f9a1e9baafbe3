//! The conductor: starts the workers, makes the faults happen, gathers the history.

mod crew;
mod disk;
mod group;
mod servers;
mod stage;
pub mod target;
mod wall;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monban::contract::Guarantees;

use crate::event::{Event, Log, What};
use crate::plan::{self, Frame, Kind, Need};
use crate::resource::Resource;
use stage::Stage;
pub use target::{Server, Target, WallClock};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of the plan and of the workers' choices. The interleaving is the machine's own.
    pub seed: u64,
    /// How long faults happen.
    pub lasts: Duration,
    /// How many worker processes.
    pub workers: usize,
    /// How many callers each of them has.
    pub tasks: usize,
    /// How many keys of each kind.
    pub keys: usize,
    /// Of every claim.
    pub ttl: Duration,
    /// One hold in so many is long, and lives by renewals.
    pub long: u32,
    /// The mean pause between two faults.
    pub pace: Duration,
    /// How long workers may take to end when they are told to.
    pub patience: Duration,
    /// Kinds of faults by name; empty: all that the store allows.
    pub kinds: Vec<String>,
    /// The program that is run again as a worker.
    pub program: PathBuf,
    /// Where history and report are written.
    pub dir: PathBuf,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Record {
    /// The history, in order of time.
    pub events: Vec<Event>,
    /// Faults that were not injected, and why.
    pub not_injected: Vec<String>,
    /// What went wrong with the run itself: a worker that ended by itself.
    pub broken: Vec<String>,
}

/// Runs a plan against a target.
///
/// # Errors
/// The run could not be begun, or its history not be read.
pub fn run(settings: &Settings, target: Target) -> io::Result<Record> {
    let histories = settings.dir.join("histories");
    std::fs::create_dir_all(&histories)?;
    let log = Log::append(&histories.join("conductor.jsonl"), "conductor")?;
    let locks = target.open().map_err(io::Error::other)?;
    let promised = locks.guarantees().clone();
    let (kinds, not_injected) = choose(settings, &target, &promised)?;
    let plan = plan::draw(&frame(settings), &kinds);
    log.now(begun(settings, &target, &promised, &kinds));
    let resource = Resource::serve(&histories.join("resource.jsonl"))?;
    let mut stage = Stage::set(settings, target, (locks, log), resource.port(), &kinds)?;
    stage.play(plan, settings.lasts)?;
    stage.finish()?;
    let broken = stage.broken.clone();
    drop(stage);
    Ok(Record {
        events: gather(&histories)?,
        not_injected,
        broken,
    })
}

fn frame(settings: &Settings) -> Frame {
    Frame {
        seed: settings.seed,
        lasts: settings.lasts,
        workers: settings.workers,
        ttl: settings.ttl,
        pace: settings.pace,
    }
}

/// The kinds of faults that this store allows, and why the others are left out.
fn choose(
    settings: &Settings,
    target: &Target,
    promised: &Guarantees,
) -> io::Result<(Vec<&'static Kind>, Vec<String>)> {
    let unknown = settings
        .kinds
        .iter()
        .find(|name| plan::KINDS.iter().all(|kind| kind.name != **name));
    if let Some(unknown) = unknown {
        let known: Vec<&str> = plan::KINDS.iter().map(|kind| kind.name).collect();
        let message = format!(
            "no fault is called {unknown}; there are {}",
            known.join(", ")
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let memory = target.url == "memory:";
    let (freezes, starves) = group::possible();
    let slow_disk = disk::possible();
    let (mut chosen, mut left) = (Vec::new(), Vec::new());
    for kind in plan::KINDS {
        let asked = settings.kinds.iter().any(|name| name == kind.name);
        if !asked && !settings.kinds.is_empty() {
            continue;
        }
        let lacks = match kind.need {
            Need::Processes | Need::Freezer | Need::Quota if memory => {
                Some("the store lives in one process")
            }
            Need::Freezer if !freezes => Some("this machine lets us make no cgroup that freezes"),
            Need::Quota if !starves => Some("this machine lets us make no cgroup with a CPU quota"),
            Need::Hand if !promised.release_by_hand => Some("the store frees nothing by hand"),
            Need::Hand if memory => Some("the store lives in another process"),
            Need::Proxy if target.address().is_none() => {
                Some("there is no connection to stand before")
            }
            Need::Server | Need::Disk | Need::Wipe | Need::ServerClock
                if target.server.is_none() =>
            {
                Some("the server is not ours, or there is none")
            }
            Need::Disk if target.processes().is_empty() => {
                Some("the server's processes are not known")
            }
            Need::Disk if !slow_disk => Some("there is no strace here that may trace"),
            Need::ServerClock if asked && !target.clock_in_hand => {
                Some("the server was started with the machine's clock")
            }
            Need::Wipe | Need::ServerClock if !asked => {
                Some("it breaks what the store rests on, and was not asked for")
            }
            Need::Its
                if target
                    .server
                    .as_ref()
                    .is_none_or(|server| !server.its_own().contains(&kind.name)) =>
            {
                Some("this server has no such fault, or is not ours")
            }
            Need::Memory if !memory => Some("the store is not in memory"),
            _ => None,
        };
        match lacks {
            Some(why) => left.push(format!("{}: {why}", kind.name)),
            None => chosen.push(kind),
        }
    }
    Ok((chosen, left))
}

fn begun(
    settings: &Settings,
    target: &Target,
    promised: &Guarantees,
    kinds: &[&'static Kind],
) -> What {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let facts = vec![
        format!(
            "monban {}, Linux {}",
            env!("CARGO_PKG_VERSION"),
            kernel.trim()
        ),
        format!(
            "{} processes with {} callers each, {} keys of each kind, TTL {:?}, {:?} of faults, one every {:?} or so",
            settings.workers,
            settings.tasks,
            settings.keys,
            settings.ttl,
            settings.lasts,
            settings.pace
        ),
        format!("faults: {}", names.join(", ")),
    ];
    What::Run {
        store: target.shown(),
        seed: settings.seed,
        ttl: crate::clock::nanos(settings.ttl),
        facts: facts
            .into_iter()
            .chain(promised.sentences().into_iter().map(str::to_owned))
            .collect(),
        ordered: promised.order.is_fifo(),
        expires: promised.liveness.has_ttl(),
    }
}

/// Reads what every process wrote; a killed one may have been cut in its last line by a full disk only.
fn gather(histories: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for file in std::fs::read_dir(histories)? {
        events.extend(crate::event::read(&file?.path())?);
    }
    events.sort_by_key(|event| event.t);
    Ok(events)
}

/// Sleeps until an instant of the run.
fn sleep_until(start: Instant, at: Duration) {
    std::thread::sleep(at.saturating_sub(start.elapsed()));
}
