//! How soon a holder knows that its key is gone: deleted by somebody, or on a server that has fallen silent.

use std::thread;
use std::time::Duration;

use interop::{Driver, Outcome};
use monban_testkit::RedisServer;

use crate::Bench;
use monban_testkit::stats::quantile;

const DELETIONS: usize = 30;
/// The TTL of the lease on the silent server.
const SILENT_TTL: u64 = 3_000;

/// Measures both, with monban; the other clients do not notice either.
pub(crate) fn measure(bench: &Bench) -> Outcome<String> {
    let mut server = Bench::server()?;
    let monban = *bench.peers(&["monban"]).first().ok_or("no monban")?;
    let mut driver = monban.installed.start(server.port(), "", None)?;
    let mut deleted = Vec::new();
    for number in 0..DELETIONS {
        deleted.push(delete(&server, &mut driver, number)?);
    }
    let silent = silence(&mut server, &mut driver)?;
    Ok(format!(
        "## Known to the holder\n\n| what | after | target |\n|---|---|---|\n| a foreign DEL ({DELETIONS} times) | \
         median {:.2} ms, longest {:.2} ms | ≤ 5 ms |\n| a silent server (SIGSTOP), TTL {} s | {:.2} s | before the TTL \
         ends |\n",
        quantile(&deleted, 0.5) / 1e6,
        quantile(&deleted, 1.0) / 1e6,
        SILENT_TTL / 1_000,
        silent / 1e9,
    ))
}

/// From before the deletion is asked for until the lease is known to be lost, in ns.
fn delete(server: &RedisServer, driver: &mut Driver, number: usize) -> Outcome<f64> {
    let key = format!("deleted-{number}");
    held(driver, &key, 10_000)?;
    driver.say(&format!("lost {key} 5000"))?;
    thread::sleep(Duration::from_millis(50));
    let before = now();
    server.ask(&["DEL", &key])?;
    Ok(told(&driver.hear()?)? - before)
}

fn silence(server: &mut RedisServer, driver: &mut Driver) -> Outcome<f64> {
    held(driver, "silent", SILENT_TTL)?;
    thread::sleep(Duration::from_millis(1_500)); // renewed at least once
    driver.say("lost silent 20000")?;
    let before = now();
    server.stop_signal()?;
    let answer = driver.hear();
    server.cont()?;
    Ok(told(&answer?)? - before)
}

fn held(driver: &mut Driver, key: &str, ttl: u64) -> Outcome {
    match driver.ask(&format!("try {key} {ttl}"))?.as_str() {
        "held" => Ok(()),
        answer => Err(format!("{key}: {answer}").into()),
    }
}

/// The instant in `lost AT ...`.
fn told(answer: &str) -> Outcome<f64> {
    let at = answer
        .strip_prefix("lost ")
        .and_then(|rest| rest.split(' ').next());
    Ok(at.ok_or_else(|| format!("not lost: {answer}"))?.parse()?)
}

fn now() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec * 1_000_000_000 + now.tv_nsec) as f64
}
