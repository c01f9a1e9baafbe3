//! Measures the PostgreSQL store beside PostgreSQL's own lock, on one server with its own settings; writes
//! `bench/postgres.md`.
//!
//! Everything compared takes turns within one run on one machine: ratios can be trusted where absolute figures cannot.
//! The peer is `pg_advisory_lock` and `pg_advisory_unlock`, prepared, on sessions that stand ready in a pool.

mod clients;
mod measure;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clients::Kind;
use measure::{Samples, cycles, hand_over};
use monban_testkit::stats::quantile;
use monban_testkit::{PostgresOptions, PostgresServer};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const KINDS: [Kind; 2] = [Kind::Monban, Kind::Advisory];
/// Keys side by side, and the least ratio of monban's rate to the peer's.
const CASES: [usize; 2] = [1, 64];
const LEAST_RATE: f64 = 0.5;
/// Those who wait for one key, and the greatest ratio of monban's hand-over to the peer's.
const WAITERS: usize = 16;
const MOST_HAND_OVER: f64 = 2.0;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    let (rounds, time) = (number(0, 5)?, Duration::from_secs(number(1, 2)?));
    let server = PostgresServer::start(PostgresOptions::new())?;
    let mut report = format!(
        "# The PostgreSQL store beside advisory locks\n\nWritten by `cargo xtask bench postgres`; ratios within one run are \
         what counts.\n\n{}\n* {rounds} rounds of {} s for each, in turns\n\n",
        machine(&server)?,
        time.as_secs(),
    );
    report.push_str(
        "## Taking and freeing free keys\n\n| keys | client | cycles/s, median | range | of advisory locks | target | \
         server's processor time a cycle |\n|---|---|---|---|---|---|---|\n",
    );
    for keys in CASES {
        let mut samples = KINDS.map(|_| Samples::default());
        for which in turns(rounds) {
            let figures = cycles(KINDS[which], &server, keys, time).await?;
            eprintln!(
                "{keys} keys, {}: {:.0} cycles/s",
                KINDS[which].name(),
                figures.0
            );
            samples[which].add(figures);
        }
        for (kind, sample) in KINDS.iter().zip(&samples) {
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
    }
    write!(
        report,
        "\n## Hand-over with {WAITERS} waiters\n\nEach waiter is a client of its own. From the call that frees the key \
         until the next in line has it.\n\n| client | p50, median of rounds | range | of advisory locks | target | \
         server's processor time a hand-over |\n|---|---|---|---|---|---|\n"
    )?;
    let mut samples = KINDS.map(|_| Samples::default());
    for which in turns(rounds) {
        let figures = hand_over(KINDS[which], &server, WAITERS, time).await?;
        eprintln!("hand-over, {}: {:.2} ms", KINDS[which].name(), figures.0);
        samples[which].add(figures);
    }
    for (kind, sample) in KINDS.iter().zip(&samples) {
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
    report.push_str(
        "\nA cycle of monban's at one key writes two rows in two transactions that wait for no disk; advisory locks write nothing, and answer without a change\n\
         of thread. Side by side monban's claims travel together over one connection. A hand-over is two calls, a release and the next request of whoever\n\
         released, and no other; the grant travels in the notification. That wakes every session of the database that listens, whichever channel it is for:\n\
         with 16 waiters 17 short transactions. A profile of the sessions put half of a hand-over's time into the functions, while they had some\n\
         thirty statements for it, and a third into notifying and waking.\n",
    );
    print!("{report}");
    if words.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
        fs::write(folder.join("postgres.md"), report)?;
    }
    Ok(())
}

/// Whose turn it is, round after round; each is first in turn.
fn turns(rounds: u64) -> impl Iterator<Item = usize> {
    let kinds = KINDS.len();
    (0..rounds).flat_map(move |round| {
        let first = usize::from(round % 2 == 1);
        (0..kinds).map(move |turn| (turn + first) % kinds)
    })
}

fn target(kind: Kind, text: &str) -> &str {
    match kind {
        Kind::Monban => text,
        Kind::Advisory => "",
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
