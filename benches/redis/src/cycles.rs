//! How often keys that nobody else wants are taken and freed: one, and many side by side.

use std::fmt::Write as _;
use std::time::Instant;

use interop::{Driver, Outcome};

use crate::{Bench, Peer};
use monban_testkit::stats::{Turns, quantile};

/// Keys side by side, and the least ratio of monban's rate to the floor's.
const CASES: [(usize, f64); 3] = [(1, 0.8), (64, 0.9), (1000, 1.15)];

const NAMES: &[&str] = &[
    "monban",
    "raw",
    "raw-with-our-scripts",
    "rslock",
    "monban-on-one-thread",
    "raw-on-one-thread",
    "raw-with-our-scripts-on-one-thread",
    "redsync",
    "redis-py",
    "redis-py-asyncio",
    "redlock",
    "redis-semaphore",
];

/// Seconds of one turn: short, so that what is compared stands close together in time, and many for each round of the plan.
const TURN: f64 = 0.25;
const TURNS_A_ROUND: usize = 4;

/// What one client did in each turn.
#[derive(Default)]
struct Sample {
    rates: Vec<f64>,
    halves: Vec<f64>,
}

/// Measures all clients in turns, in a new order each time.
pub(crate) fn measure(bench: &Bench) -> Outcome<String> {
    let server = Bench::server()?;
    let mut text = String::from(
        "## Taking and freeing free keys\n\n| keys | client | cycles/s, median | range | p50 | of raw | target |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut turns = Turns(bench.plan.seed);
    let cases = CASES.into_iter().filter(|(keys, _)| bench.only.size(*keys));
    for (keys, target) in cases {
        // A blocking client does one thing at a time: side by side it is its asynchronous sister that counts.
        let peers: Vec<&Peer> = bench
            .peers(NAMES)
            .into_iter()
            .filter(|peer| keys == 1 || peer.client.name != "redis-py")
            .collect();
        let start = |peer: &&Peer| peer.installed.start(server.port(), "", None);
        let mut drivers: Vec<Driver> = peers.iter().map(start).collect::<Outcome<_>>()?;
        let mut samples: Vec<Sample> = peers.iter().map(|_| Sample::default()).collect();
        for driver in &mut drivers {
            driver.ask(&format!("cycles {keys} 0.2"))?; // connected, scripts loaded
        }
        for _ in 0..bench.plan.rounds * TURNS_A_ROUND {
            for which in turns.order(peers.len()) {
                let start = Instant::now();
                let answer = drivers[which].ask(&format!("cycles {keys} {TURN}"))?;
                let took = start.elapsed().as_secs_f64(); // what had begun in time is finished, and counted
                let words: Vec<&str> = answer.split(' ').collect();
                let ["cycles", count, half] = words[..] else {
                    return Err(format!("{}: {answer}", peers[which].client.name).into());
                };
                samples[which].rates.push(count.parse::<f64>()? / took);
                samples[which].halves.push(half.parse()?);
            }
        }
        rows(&mut text, keys, target, &peers, &samples)?;
    }
    text.push_str(
        "\nEach client has four turns of a quarter of a second in a round; *of raw* is the median of the ratios turn by turn. The cycles of monban carry a fence each, and a renewal and a notice of loss stand ready. Clients in Rust run as in a \
         program with `#[tokio::main]`; `-on-one-thread`: all tasks and the connection of raw on one thread, which is \
         cheapest where there is nothing else to do, with its own floor. raw-with-our-scripts is raw with monban's scripts in place \
         of its two commands, one call for each key: what lies between it and raw is the server's part.\n\n",
    );
    Ok(text)
}

fn rows(
    text: &mut String,
    keys: usize,
    target: f64,
    peers: &[&Peer],
    samples: &[Sample],
) -> Outcome {
    let place = |name| peers.iter().position(|peer| peer.client.name == name);
    let usual = place("raw").or(place("raw-on-one-thread"));
    let usual = usual.ok_or("no floor: measure raw beside the others")?;
    let alone = place("raw-on-one-thread").unwrap_or(usual);
    for (peer, sample) in peers.iter().zip(samples) {
        let name = peer.client.name;
        let floor = if name.ends_with("-on-one-thread") {
            alone
        } else {
            usual
        };
        // Turn by turn: what else the machine did meanwhile slowed both.
        let floors = samples[floor].rates.iter();
        let ratios: Vec<f64> = sample
            .rates
            .iter()
            .zip(floors)
            .map(|(mine, raw)| mine / raw)
            .collect();
        let aim = if name.starts_with("monban") {
            format!("≥ {target}")
        } else {
            String::new()
        };
        writeln!(
            text,
            "| {keys} | {name} | {:.0} | {:.0} to {:.0} | {:.2} ms | {:.2} | {aim} |",
            quantile(&sample.rates, 0.5),
            quantile(&sample.rates, 0.0),
            quantile(&sample.rates, 1.0),
            quantile(&sample.halves, 0.5) / 1e3,
            quantile(&ratios, 0.5),
        )?;
    }
    Ok(())
}
