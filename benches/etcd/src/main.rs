//! Measures the etcd store beside etcd-client's lock (the servers' `v3lock` service), on one server of its own; writes
//! `bench/etcd.md`.
//!
//! Everything compared takes turns within one run on one machine: ratios can be trusted where absolute figures cannot.
//! `etcd-client` is its lock as it comes: the server makes a lease for each. `etcd-client, lease kept` is the same with one
//! lease that the caller has made before, which nobody renews for it.

mod clients;
mod measure;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clients::Kind;
use measure::{Sample, cycles, hand_over};
use monban_testkit::{EtcdOptions, EtcdServer};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const KINDS: [Kind; 3] = [Kind::Monban, Kind::Peer, Kind::PeerWithLease];
/// Keys side by side, and the least ratio of monban's rate to the peer's.
const CASES: [usize; 2] = [1, 64];
const LEAST_RATE: f64 = 1.8;
/// Those who wait for one key, and the greatest ratio of monban's hand-over to the peer's.
const WAITERS: usize = 16;
const MOST_HAND_OVER: f64 = 0.5;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    let (rounds, seconds) = (number(0, 5)?, Duration::from_secs(number(1, 2)?));
    let server = EtcdServer::start(EtcdOptions::new())?;
    let mut report = format!(
        "# The etcd store beside etcd-client's lock\n\nWritten by `cargo xtask bench etcd`; ratios within one run are \
         what counts.\n\n{}\n* {rounds} rounds of {} s for each, in turns\n\n",
        machine(),
        seconds.as_secs(),
    );
    report.push_str("## Taking and freeing free keys\n\n| keys | client | cycles/s, median | range | of etcd-client | target |\n|---|---|---|---|---|---|\n");
    for keys in CASES {
        let mut samples = KINDS.map(|_| Sample::default());
        for round in 0..rounds {
            for turn in 0..KINDS.len() {
                let which = (turn + usize::try_from(round)?) % KINDS.len();
                let rate = cycles(KINDS[which], server.port(), keys, seconds).await?;
                eprintln!("{keys} keys, {}: {rate:.0} cycles/s", KINDS[which].name());
                samples[which].0.push(rate);
            }
        }
        let base = samples[1].median();
        for (kind, sample) in KINDS.iter().zip(&samples) {
            let target = match kind {
                Kind::Monban => format!("≥ {LEAST_RATE}"),
                _ => String::new(),
            };
            let (least, most) = sample.range();
            writeln!(
                report,
                "| {keys} | {} | {:.0} | {least:.0} to {most:.0} | {:.2} | {target} |",
                kind.name(),
                sample.median(),
                sample.median() / base,
            )?;
        }
    }
    write!(
        report,
        "\n## Hand-over with {WAITERS} waiters\n\nEach waiter is a client of its own. From the call that frees the key \
         until the next in line has it.\n\n| client | p50, median of rounds | range | of etcd-client | target |\n|---|---|---|---|---|\n"
    )?;
    let mut samples = KINDS.map(|_| Sample::default());
    for round in 0..rounds {
        for turn in 0..KINDS.len() {
            let which = (turn + usize::try_from(round)?) % KINDS.len();
            let half = hand_over(KINDS[which], server.port(), WAITERS, seconds).await?;
            eprintln!("hand-over, {}: {:.2} ms", KINDS[which].name(), half * 1e3);
            samples[which].0.push(half * 1e3);
        }
    }
    let base = samples[1].median();
    for (kind, sample) in KINDS.iter().zip(&samples) {
        let target = match kind {
            Kind::Monban => format!("≤ {MOST_HAND_OVER}"),
            _ => String::new(),
        };
        let (least, most) = sample.range();
        writeln!(
            report,
            "| {} | {:.2} ms | {least:.2} to {most:.2} ms | {:.2} | {target} |",
            kind.name(),
            sample.median(),
            sample.median() / base,
        )?;
    }
    report.push_str(
        "\nmonban's grants carry a fence, and a renewal and a notice of loss stand ready; the peer's lease ends unnoticed.\n\n\
         A cycle at one key is two writes, one after the other, that must be on disk; the peer's is three, since its lease is one too, so about\n\
         1.5 is what can be gained there. Side by side monban's writes travel together. A hand-over of monban's costs one read over the network\n\
         more than the peer's, which does it inside the server; and here each of its 17 clients has a thread of its own, as 17 processes would,\n\
         while those of the peer share two.\n",
    );
    print!("{report}");
    if words.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
        fs::write(folder.join("etcd.md"), report)?;
    }
    Ok(())
}

/// The lines above the tables: machine and versions.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let said = |program: &str, flag: &str| {
        let output = Command::new(program).arg(flag).output();
        output.map_or_else(
            |_| format!("no {program}"),
            |output| {
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            },
        )
    };
    format!(
        "* machine: {} × {model}, Linux {}; load before: {}\n* server: {}, one member, its data on disk\n* versions: {}; \
         etcd-client 0.21",
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        said("etcd", "--version"),
        said("rustc", "--version"),
    )
}
