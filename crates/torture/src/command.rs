//! The command line of the torture test.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;

use crate::checkers::check;
use crate::event;
use crate::load::{self, Load};
use crate::report;
use crate::run::{self, Settings, Target, WallClock};
use crate::story::Story;

/// How to torture.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Start a server of this kind and torture that, its own death included: etcd, postgres, redis
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Check a history again instead of making one
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// How long faults happen
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub lasts: Duration,
    /// The seed of the plan [default: drawn, and printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Worker processes
    #[arg(long, default_value_t = 6)]
    pub workers: usize,
    /// Callers in each of them
    #[arg(long, default_value_t = 4)]
    pub tasks: usize,
    /// Keys of each kind: exclusive, readers and writers, permits
    #[arg(long, default_value_t = 3)]
    pub keys: usize,
    /// Time to live of every claim
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// One hold in so many is long, and lives by renewals
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub long: u32,
    /// Mean pause between two faults
    #[arg(long, value_name = "DURATION", default_value = "600ms", value_parser = humantime::parse_duration)]
    pub pace: Duration,
    /// Only these faults [default: all that the store allows]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub faults: Vec<String>,
    /// Load the store instead, with no faults
    #[arg(long, value_name = "WHAT")]
    pub load: Option<Load>,
    /// Of a load: waiters, or keys
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub number: usize,
    /// Of a load of waiters: processes
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub processes: usize,
    /// Where history and report go
    #[arg(long, value_name = "DIR", default_value = "torture")]
    pub out: PathBuf,
}

/// Runs what the command line asks; 0 if every invariant held, 1 if one did not, 125 if there was no run.
#[must_use]
pub fn main(store: Option<&str>, args: &Args) -> ExitCode {
    match torture(store, args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(125)
        }
    }
}

fn torture(store: Option<&str>, args: &Args) -> io::Result<bool> {
    if let Some(history) = &args.check {
        let story = Story::of(event::read(history)?);
        return conclude(&args.out, story, &[]);
    }
    let target = match (&args.server, store) {
        (Some(name), _) => {
            let moved = args.faults.iter().any(|name| name == "server-clock");
            let clock = if moved {
                WallClock::InHand
            } else {
                WallClock::Machine
            };
            Target::start(name, clock)?
        }
        (None, Some(url)) => Target::of_url(url),
        (None, None) => {
            let message = "name a store (--store URL) or a server to start (--server NAME)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    if let Some(load) = args.load {
        let size = load::Size {
            url: target.url_through(None),
            processes: args.processes.max(1),
            number: args.number.max(1),
            ttl: args.ttl,
            lasts: args.lasts,
        };
        println!("{}", target.shown());
        return load::run(load, &size).map_err(|error| io::Error::other(error.to_string()));
    }
    let settings = Settings {
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        lasts: args.lasts,
        workers: args.workers.max(1),
        tasks: args.tasks.max(1),
        keys: args.keys.max(1),
        ttl: args.ttl,
        long: args.long,
        patience: Duration::from_secs(60) + args.ttl * 4,
        pace: args.pace.max(Duration::from_millis(10)),
        kinds: args.faults.clone(),
        program: std::env::current_exe()?,
        dir: args.out.clone(),
    };
    fresh(&settings.dir)?;
    eprintln!("torture: {}, seed {}", target.shown(), settings.seed);
    let record = run::run(&settings, target)?;
    event::write(&settings.dir.join("history.jsonl"), &record.events)?;
    std::fs::remove_dir_all(settings.dir.join("histories"))?;
    let left = &record.not_injected;
    let mut notes: Vec<String> = left
        .iter()
        .map(|what| format!("not injected: {what}"))
        .collect();
    notes.extend(record.broken.iter().map(|what| format!("BROKEN: {what}")));
    let sound = conclude(&settings.dir, Story::of(record.events), &notes)?;
    Ok(sound && record.broken.is_empty())
}

/// Only what an earlier run left is replaced.
fn fresh(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let old = dir.join("histories");
    if old.exists() {
        std::fs::remove_dir_all(old)?;
    }
    Ok(())
}

/// Checks, prints and writes the report; whether every invariant held.
fn conclude(dir: &Path, story: Story, notes: &[String]) -> io::Result<bool> {
    let verdicts = check(&story);
    std::fs::create_dir_all(dir)?;
    print!("{}", report::text(&story, &verdicts, notes));
    std::fs::write(
        dir.join("report.html"),
        report::html(&story, &verdicts, notes),
    )?;
    std::fs::write(
        dir.join("verdict.json"),
        serde_json::to_vec_pretty(&verdicts)?,
    )?;
    eprintln!("history, verdict and report: {}", dir.display());
    Ok(verdicts.iter().all(crate::verdict::Verdict::holds))
}
