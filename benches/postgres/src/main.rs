//! Measures the PostgreSQL store beside PostgreSQL's own lock, on one server with its own settings; writes
//! `bench/postgres.md`.
//!
//! Everything compared takes turns within one run on one machine: ratios can be trusted where absolute figures cannot.
//! The peer is `pg_advisory_lock` and `pg_advisory_unlock`, prepared, on sessions that stand ready in a pool.

mod clients;
mod floor;
mod measure;
mod text;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clients::Kind;
use floor::Floor;
use measure::{Samples, cycles, hand_over};
use monban_testkit::stats::quantile;
use monban_testkit::{PostgresOptions, PostgresServer};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is compared, the store first and its peer second; of one key, also what bounds it from below.
const LOCKS: [Kind; 4] = [
    Kind::Monban,
    Kind::Advisory,
    Kind::Written(Floor::Row),
    Kind::Written(Floor::Thread),
];
/// The same at a hand-over, and what bounds it from below.
const HAND_OVERS: [Kind; 5] = [
    Kind::Monban,
    Kind::Advisory,
    Kind::Floor(Floor::Bare),
    Kind::Floor(Floor::Row),
    Kind::Floor(Floor::Thread),
];
/// Keys side by side, and the least ratio of monban's rate to the peer's.
const CASES: [usize; 2] = [1, 64];
const LEAST_RATE: f64 = 0.5;
/// Those who wait for one key, and the greatest ratio of monban's hand-over to the peer's.
const WAITERS: usize = 16;
const MOST_HAND_OVER: f64 = 2.0;

/// How often and for how long each is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u64,
    time: Duration,
}

/// Without words it measures all and writes the file. `ROUNDS SECONDS [hand-over|cycles]` measures as much, or only that, and
/// prints it.
#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    let (rounds, time) = (number(0, 5)?, Duration::from_secs(number(1, 2)?));
    let effort = Effort { rounds, time };
    let wanted = |part: &str| words.get(2).is_none_or(|word| word == part);
    let server = PostgresServer::start(PostgresOptions::new())?;
    let mut report = format!(
        "# The PostgreSQL store beside advisory locks\n\nWritten by `cargo xtask bench postgres`; ratios within one run are \
         what counts.\n\n{}\n* {rounds} rounds of {} s for each, in turns\n\n",
        machine(&server)?,
        time.as_secs(),
    );
    if wanted("cycles") {
        report.push_str(&free_keys(&server, effort).await?);
    }
    if wanted("hand-over") {
        report.push_str(&hand_overs(&server, effort).await?);
    }
    print!("{report}");
    if words.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
        fs::write(folder.join("postgres.md"), report)?;
    }
    Ok(())
}

async fn free_keys(server: &PostgresServer, effort: Effort) -> Outcome<String> {
    let mut report = String::from(
        "## Taking and freeing free keys\n\n| keys | client | cycles/s, median | range | of advisory locks | target | \
         server's processor time a cycle |\n|---|---|---|---|---|---|---|\n",
    );
    let (mut own, mut floors) = (0.0, [0.0; 2]);
    for keys in CASES {
        let compared = if keys == 1 { &LOCKS[..] } else { &LOCKS[..2] };
        let mut samples = LOCKS.map(|_| Samples::default());
        for which in turns(effort.rounds, compared.len()) {
            let figures = cycles(LOCKS[which], server, keys, effort.time).await?;
            let name = LOCKS[which].name();
            eprintln!("{keys} keys, {name}: {:.0} cycles/s", figures.0);
            samples[which].add(figures);
        }
        for (kind, sample) in compared.iter().zip(&samples) {
            let (least, most) = sample.range();
            writeln!(
                report,
                "| {keys} | {} | {:.0} | {least:.0} to {most:.0} | {:.2} | {} | {:.0} µs |",
                kind.name(),
                sample.median(),
                sample.median() / samples[1].median(),
                target(*kind, &format!("≥ {LEAST_RATE}")),
                quantile(&sample.server, 0.5),
            )?;
        }
        if keys == 1 {
            let [monban, peer, row, thread] = samples.each_ref().map(Samples::median);
            (own, floors) = (monban / peer, [row / peer, thread / peer]);
        }
    }
    report.push_str(&text::free_keys(floors, own));
    Ok(report)
}

async fn hand_overs(server: &PostgresServer, effort: Effort) -> Outcome<String> {
    let mut report = format!(
        "## Hand-over with {WAITERS} waiters\n\n{}\n\n| client | p50, median of rounds | range | of advisory locks | target | \
         server's processor time a hand-over |\n|---|---|---|---|---|---|\n",
        text::HAND_OVER
    );
    let mut samples = HAND_OVERS.map(|_| Samples::default());
    for which in turns(effort.rounds, HAND_OVERS.len()) {
        let figures = hand_over(HAND_OVERS[which], server, WAITERS, effort.time).await?;
        let name = HAND_OVERS[which].name();
        eprintln!("hand-over, {name}: {:.3} ms", figures.0);
        samples[which].add(figures);
    }
    for (kind, sample) in HAND_OVERS.iter().zip(&samples) {
        let (least, most) = sample.range();
        writeln!(
            report,
            "| {} | {:.2} ms | {least:.2} to {most:.2} ms | {:.2} | {} | {:.0} µs |",
            kind.name(),
            sample.median(),
            sample.median() / samples[1].median(),
            target(*kind, &format!("≤ {MOST_HAND_OVER}")),
            quantile(&sample.server, 0.5),
        )?;
    }
    let [own, peer, floors @ ..] = samples.each_ref().map(Samples::median);
    let ratios = floors.map(|floor| floor / peer);
    report.push_str(&text::floors(ratios, own / peer));
    Ok(report)
}

/// Whose turn it is, round after round; each is first in turn.
fn turns(rounds: u64, kinds: usize) -> impl Iterator<Item = usize> {
    let mut first = 0;
    (0..rounds).flat_map(move |_| {
        let begins = first;
        first = (first + 1) % kinds;
        (0..kinds).map(move |turn| (turn + begins) % kinds)
    })
}

fn target(kind: Kind, text: &str) -> &str {
    match kind {
        Kind::Monban => text,
        Kind::Advisory | Kind::Floor(_) | Kind::Written(_) => "",
    }
}

/// The lines above the tables: machine and versions.
fn machine(server: &PostgresServer) -> Outcome<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let compiler = Command::new("rustc").arg("--version").output()?.stdout;
    let version = server.ask("SHOW server_version")?;
    let durable =
        server.ask("SELECT current_setting('fsync'), current_setting('synchronous_commit')")?;
    let (fsync, commit) = durable.split_once('|').unwrap_or_default();
    Ok(format!(
        "* machine: {} × {model}, Linux {}; load before: {}\n* server: PostgreSQL {version}, its own settings (fsync {fsync}, \
         synchronous_commit {commit})\n* versions: {}; tokio-postgres as in Cargo.lock",
        std::thread::available_parallelism()?,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        String::from_utf8_lossy(&compiler).trim(),
    ))
}
