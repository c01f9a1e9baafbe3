//! Measures the etcd store beside etcd-client's lock (the servers' `v3lock` service), on one server of its own; writes
//! `bench/etcd.md`.
//!
//! Everything compared takes turns within one run on one machine: ratios can be trusted where absolute figures cannot.
//! `etcd-client` is its lock as it comes: the server makes a lease for each. `etcd-client, lease kept` is the same with one
//! lease that the caller has made before, which nobody renews for it. `bare transactions` are a put if the key is not there
//! and a delete if it is ours, through that same client library, under a lease kept: the floor of what a lock can cost that is taken
//! and freed by one durable write each.

mod clients;
mod measure;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clients::Kind;
use measure::{Freed, Sample};
use monban_testkit::{EtcdOptions, EtcdServer};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The least ratio of monban's rate to the peer's.
const LEAST_RATE: &str = "≥ 1.8";
/// The greatest ratio of monban's hand-over to the peer's.
const MOST_HAND_OVER: &str = "≤ 0.5";
/// Those who wait for one key, beside the one who has it.
const WAITERS: usize = 16;

fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "client") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(measure::client(&words[1..]));
    }
    tokio::runtime::Runtime::new()?.block_on(compare(&words))
}

async fn compare(words: &[String]) -> Outcome {
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    let (rounds, millis) = (number(0, 5)?, number(1, 800)?);
    let time = Duration::from_millis(millis);
    let server = EtcdServer::start(EtcdOptions::new())?;
    let port = server.port();
    let mut report = Report {
        text: format!(
            "# The etcd store beside etcd-client's lock\n\nWritten by `cargo xtask bench etcd`; ratios within one run are \
             what counts.\n\n{}\n* {rounds} rounds of {millis} ms for each, in turns\n\n",
            machine(),
        ),
        rounds,
    };
    let all = &Kind::ALL[..];
    report.text.push_str(
        "## Taking and freeing free keys\n\nOne client; each task takes and frees a key of its own again and again, and \
         waits for the answer to both.\n",
    );
    for keys in [1, 64] {
        let title = if keys == 1 {
            "1 key".to_owned()
        } else {
            format!("{keys} keys")
        };
        let rate = |kind| measure::cycles(kind, port, (keys, false), Freed::Awaited, time);
        report.rates(&title, all, LEAST_RATE, rate).await?;
    }
    report.text.push_str(
        "\nThe same with the key freed in the background: monban's lease is dropped, the others' unlock is spawned. (With a \
         lease kept the peer cannot: its next lock would be the one that is being freed.)\n",
    );
    let two = &[Kind::Monban, Kind::Peer];
    let rate = |kind| measure::cycles(kind, port, (1, false), Freed::Behind, time);
    report.rates("1 key, behind", two, "", rate).await?;
    report
        .text
        .push_str("\nOne key that 16 tasks of one client want all the time:\n");
    let rate = |kind| measure::cycles(kind, port, (16, true), Freed::Awaited, time);
    report.rates("16 tasks", &all[..3], "", rate).await?;

    write!(
        report.text,
        "\n## Hand-over with {WAITERS} waiters\n\nEach waiter is a client of its own, with a connection of its own. From the call \
         that frees the key, held for 2 ms, until the next in line has it; half of the hand-overs take no longer.\n"
    )?;
    let half = async |kind| match kind {
        Kind::Bare => measure::deletion(port, time).await,
        _ => measure::hand_over_between_processes(kind, port, WAITERS, time).await,
    };
    report
        .times("17 processes", all, MOST_HAND_OVER, half)
        .await?;
    let half = async |kind| match kind {
        Kind::Bare => measure::deletion(port, time).await,
        _ => measure::hand_over(kind, port, WAITERS, time).await,
    };
    report
        .times("17 clients of one process", all, "", half)
        .await?;
    let (flushes, seconds) = flushes(port)?;
    write!(
        report.text,
        "\nAll this time one flush of etcd's log to disk took it {:.2} ms in the mean (of {flushes:.0}, by its own count).\n",
        seconds / flushes * 1e3
    )?;
    report.text.push_str(NOTES);
    print!("{}", report.text);
    if words.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
        fs::write(folder.join("etcd.md"), report.text)?;
    }
    Ok(())
}

const NOTES: &str = "
monban's grants carry a fence, and a renewal and a notice of loss stand ready; the peer's lease ends unnoticed.

What the figures say, the targets that are missed above all:

* **One key, both answers awaited: 1.8 is missed**, and the peer with a lease kept, which nobody renews for it, is a little quicker than monban. A
  cycle is two writes, one after the other, that must be on disk; the peer's is three, since its lease is one too, so that a ratio near 1.5 is
  what two writes instead of three can bring. `bare transactions` are just these two, through the peer's client library: a floor of that
  library, which reached less than 1.8 itself. monban's writes are the same two, by etcd's own count; beyond them there is the way to the thread
  that keeps the leases and back, twice, for each of which a sleeping processor is woken. What part each has was not measured.
* **Freed in the background** a cycle is one write: the release and the next claim of a process travel as one transaction. Who awaits a
  release is told only when it is on disk, so this is no figure for them.
* **64 keys**: writes that are ready together are one transaction, and one flush.
* **One key, 16 tasks**: monban's tasks stand in line in the process, with one claim for all of them at the server.
* **Hand-over: half of the peer's is missed; monban takes nearly half as long again as the peer.** `bare transactions` is here from the call that
  deletes a key until a watch of another connection tells of it, with nobody else about. Every hand-over has that in it, and it alone is
  about half of the peer's: nothing is left for a grant. Beyond it monban's has two ways between threads, and one read: whether the
  waiter's own claim is still there. The peer's server needs no network for that, and up to version 3.4 does not look at all: it tells a
  waiter whose lease has ended that it holds. So the read stays; it is one range, as far as the member has it, at the revision of the
  watch or later. To tell the server of a watch that has fired only after that read was tried too, and gained nothing. What the read
  costs: without it, which is unsound and was only measured, a hand-over took 0.95 ms (0.86 to 1.12) in turns with 1.46 ms (1.29 to 1.69),
  the medians of 12 rounds each, in a run of its own.
";

struct Report {
    text: String,
    rounds: u64,
}

impl Report {
    /// Each kind takes its turn in each round, beginning with another each time.
    async fn samples<F: Future<Output = Outcome<f64>>>(
        &self,
        what: &str,
        kinds: &[Kind],
        measure: impl Fn(Kind) -> F,
    ) -> Outcome<Vec<Sample>> {
        let mut samples: Vec<Sample> = kinds.iter().map(|_| Sample::default()).collect();
        for round in 0..self.rounds {
            for turn in 0..kinds.len() {
                let which = (turn + usize::try_from(round)?) % kinds.len();
                let figure = measure(kinds[which]).await?;
                eprintln!("{what}, {}: {figure:.6}", kinds[which].name());
                samples[which].0.push(figure);
            }
        }
        Ok(samples)
    }

    async fn rates<F: Future<Output = Outcome<f64>>>(
        &mut self,
        what: &str,
        kinds: &[Kind],
        target: &str,
        measure: impl Fn(Kind) -> F,
    ) -> Outcome {
        let samples = self.samples(what, kinds, measure).await?;
        let head = "cycles/s, median";
        self.table(what, head, kinds, &samples, target, |rate| {
            format!("{rate:.0}")
        })
    }

    async fn times<F: Future<Output = Outcome<f64>>>(
        &mut self,
        what: &str,
        kinds: &[Kind],
        target: &str,
        measure: impl Fn(Kind) -> F,
    ) -> Outcome {
        let samples = self.samples(what, kinds, measure).await?;
        let head = "p50, median of rounds";
        self.table(what, head, kinds, &samples, target, |time| {
            format!("{:.2} ms", time * 1e3)
        })
    }

    fn table(
        &mut self,
        what: &str,
        head: &str,
        kinds: &[Kind],
        samples: &[Sample],
        target: &str,
        shown: impl Fn(f64) -> String,
    ) -> Outcome {
        let median_of = |wanted| {
            let at = kinds.iter().position(|kind| *kind == wanted);
            at.map(|at| samples[at].median())
        };
        let (peer, bare) = (median_of(Kind::Peer), median_of(Kind::Bare));
        let ratio = |median: f64, of: Option<f64>| {
            of.map_or_else(String::new, |of| format!("{:.2}", median / of))
        };
        let report = &mut self.text;
        writeln!(
            report,
            "\n| {what} | {head} | range | of etcd-client | of bare | target |\n|---|---|---|---|---|---|"
        )?;
        for (kind, sample) in kinds.iter().zip(samples) {
            let (median, (least, most)) = (sample.median(), sample.range());
            writeln!(
                report,
                "| {} | {} | {} to {} | {} | {} | {} |",
                kind.name(),
                shown(median),
                shown(least),
                shown(most),
                ratio(median, peer),
                ratio(median, bare),
                if *kind == Kind::Monban { target } else { "" },
            )?;
        }
        Ok(())
    }
}

/// How often the server has flushed its log to disk, and for how many seconds, by what it tells of itself.
fn flushes(port: u16) -> Outcome<(f64, f64)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let number = |name: &str| {
        let head = format!("etcd_disk_wal_fsync_duration_seconds_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&head));
        line.ok_or("etcd tells nothing of its flushes")
    };
    Ok((number("count")?.parse()?, number("sum")?.parse()?))
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
