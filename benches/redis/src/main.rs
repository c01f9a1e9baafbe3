//! Measures the Redis store beside other clients' locks, on one server of its own; writes `bench/redis.md`.
//!
//! Everything compared takes turns within one run on one machine: ratios can be trusted where absolute figures cannot.
//! The floor is `raw`: a connection of the same client library that does `SET NX PX` and a checked delete, one round
//! trip each, without fence, line, renewal or notice. `cargo xtask bench redis` builds what this needs, in release.

mod cycles;
mod handover;
mod held;
mod machine;
mod notice;
mod server;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use interop::{Client, Installed, Outcome, client, install};
use monban_testkit::{RedisOptions, RedisServer};

/// How much is measured; one line of the report says it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Seeds the order in which the compared clients take turns.
    seed: u64,
    /// How often each client takes and frees for four turns of a quarter of a second.
    rounds: usize,
    /// Seconds for which a hand-over is watched.
    seconds: u64,
    /// How many keys are held at once.
    held: usize,
}

/// What of it is measured; nothing said means all.
#[derive(Debug, Default)]
struct Only {
    parts: Vec<String>,
    clients: Vec<String>,
    /// Keys side by side, or processes that wait.
    sizes: Vec<usize>,
}

/// A client that is there.
struct Peer {
    client: &'static Client,
    installed: Installed,
}

/// All that are compared, monban first.
const NAMES: &[&str] = &[
    "monban",
    "raw",
    "raw-with-our-scripts",
    "rslock",
    "monban-on-one-thread",
    "raw-on-one-thread",
    "raw-with-our-scripts-on-one-thread",
    "bare-queue",
    "redsync",
    "redis-py",
    "redis-py-asyncio",
    "python-redis-lock",
    "redlock",
    "redis-semaphore",
];

/// What is measured, in the order of the report.
const PARTS: &[(&str, Part)] = &[
    ("cycles", cycles::measure),
    ("handover", handover::measure),
    ("held", held::measure),
    ("notice", notice::measure),
];

type Part = fn(&Bench) -> Outcome<String>;

/// What every part is given.
struct Bench {
    plan: Plan,
    only: Only,
    peers: Vec<Peer>,
    missing: Vec<&'static str>,
}

fn main() -> Outcome {
    let (plan, only) = plan()?;
    let bench = bench(plan, only)?;
    let mut report = String::from("# The Redis store beside other clients\n\n");
    report.push_str(
        "Written by `cargo xtask bench redis`; ratios within one run are what counts.\n\n",
    );
    writeln!(report, "{}\n", machine::describe(&bench)?)?;
    for (name, part) in PARTS {
        if bench.only.part(name) {
            eprintln!("{name} ...");
            report.push_str(&part(&bench)?);
        }
    }
    print!("{report}");
    if bench.only.everything() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("redis.md"), report)?;
    }
    Ok(())
}

/// `[SEED [ROUNDS [SECONDS [HELD]]]] [part=NAME] [client=NAME] [size=N]`, the latter as often as wanted; with any of
/// them, only that is measured and nothing is written.
fn plan() -> Outcome<(Plan, Only)> {
    let (limits, words): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|word| word.contains('='));
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    let plan = Plan {
        seed: number(0, 1)?,
        rounds: usize::try_from(number(1, 5)?)?,
        seconds: number(2, 3)?,
        held: usize::try_from(number(3, 10_000)?)?,
    };
    let mut only = Only::default();
    for limit in &limits {
        match limit.split_once('=') {
            Some(("part", name)) => only.parts.push(name.to_owned()),
            Some(("client", name)) => only.clients.push(name.to_owned()),
            Some(("size", size)) => only.sizes.push(size.parse()?),
            _ => return Err(format!("no limit is called {limit}").into()),
        }
    }
    Ok((plan, only))
}

impl Only {
    fn everything(&self) -> bool {
        self.parts.is_empty() && self.clients.is_empty() && self.sizes.is_empty()
    }

    fn part(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| part == name)
    }

    fn client(&self, name: &str) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|client| client == name)
    }

    fn size(&self, size: usize) -> bool {
        self.sizes.is_empty() || self.sizes.contains(&size)
    }
}

fn bench(plan: Plan, only: Only) -> Outcome<Bench> {
    let own: PathBuf = env::current_exe()?.with_file_name("interop-client");
    if !own.is_file() {
        return Err("no interop-client beside this program: run `cargo xtask bench redis`".into());
    }
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for name in NAMES.iter().filter(|name| only.client(name)) {
        let client = client(name);
        match install::install(client, &own)? {
            Some(installed) => peers.push(Peer { client, installed }),
            None => missing.push(*name),
        }
    }
    Ok(Bench {
        plan,
        only,
        peers,
        missing,
    })
}

impl Bench {
    fn peers(&self, names: &[&str]) -> Vec<&Peer> {
        let wanted = |peer: &&Peer| names.contains(&peer.client.name);
        self.peers.iter().filter(wanted).collect()
    }

    fn server() -> Outcome<RedisServer> {
        Ok(RedisServer::start(RedisOptions::new())?)
    }
}
