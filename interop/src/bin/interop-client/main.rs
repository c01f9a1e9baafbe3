//! monban, and what is written in Rust beside it, as a program that a test can talk to; the words are in `driver.rs`.
//!
//! ```text
//! interop-client monban|monban-on-etcd|raw|raw-with-our-scripts|rake|rslock[-on-one-thread]|bare-queue PORT [RETRY_MS]
//! ```

mod bare;
mod kinds;
mod scripted;
mod work;

use std::collections::HashMap;
use std::env;
use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

use interop::Outcome;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use kinds::{Held, Kind, Patience, Taken};

/// Behind the name of a kind: its tasks share one thread, which is cheapest if they do nothing else. Without it they run as
/// in a program with `#[tokio::main]`.
const ONE_THREAD: &str = "-on-one-thread";

fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    let (name, port) = words
        .first()
        .zip(words.get(1))
        .ok_or("say KIND PORT [RETRY_MS]")?;
    if name == "bare-queue" {
        return bare::serve(port);
    }
    let retry = words.get(2).map(|word| millis(word)).transpose()?;
    let (kind, mut builder) = match name.strip_suffix(ONE_THREAD) {
        Some(kind) => (kind, Builder::new_current_thread()),
        None => (name.as_str(), Builder::new_multi_thread()),
    };
    let runtime = builder.enable_all().build()?;
    runtime.block_on(serve(kind, port, retry))
}

/// Answers line by line, until there are no more. What holds many keys goes on meanwhile.
async fn serve(name: &str, port: &str, retry: Option<Duration>) -> Outcome {
    let kind = Kind::connect(name, port, retry).await?;
    let mut held = HashMap::new();
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = answer(&kind, &mut held, &words).await?;
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The lines of standard input, read by a thread: the runtime must not stop while there are none.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn answer(kind: &Kind, held: &mut HashMap<String, Held>, words: &[&str]) -> Outcome<String> {
    Ok(match *words {
        ["try", key, ttl] => take(kind, held, key, millis(ttl)?, Patience::None).await?,
        ["wait", key, ttl, limit] => {
            take(
                kind,
                held,
                key,
                millis(ttl)?,
                Patience::Until(millis(limit)?),
            )
            .await?
        }
        ["release", key] => {
            let held = held.remove(key).ok_or("nothing is held there")?;
            if held.release().await? {
                "released"
            } else {
                "gone"
            }
            .to_owned()
        }
        ["count", key, ttl, times, file, pause] => {
            let counter = work::Counter {
                key,
                ttl: millis(ttl)?,
                file: file.as_ref(),
                pause: millis(pause)?,
            };
            format!("done {}", counter.count(kind, times.parse()?).await?)
        }
        ["cycles", keys, seconds] => {
            let seconds = Duration::from_secs_f64(seconds.parse()?);
            let (count, half) = work::cycles(kind, keys.parse()?, seconds).await?;
            format!("cycles {count} {half}")
        }
        ["turns", key, start, end, hold] => {
            let hold = Duration::from_micros(hold.parse()?);
            let notes = work::turns(kind, key, start.parse()?, end.parse()?, hold).await?;
            format!("turns {}", notes.join(" "))
        }
        ["hold", keys, ttl] => {
            work::hold(kind, keys.parse()?, millis(ttl)?).await?;
            "holding".to_owned()
        }
        ["lost", key, limit] => {
            let held = held.remove(key).ok_or("nothing is held there")?;
            work::lost(held, millis(limit)?).await?
        }
        _ => format!("unknown {words:?}"),
    })
}

async fn take(
    kind: &Kind,
    held: &mut HashMap<String, Held>,
    key: &str,
    ttl: Duration,
    patience: Patience,
) -> Outcome<String> {
    Ok(match kind.take(key, ttl, patience).await? {
        Taken::Held(one) => {
            held.insert(key.to_owned(), one);
            "held".to_owned()
        }
        Taken::Busy(why) => format!("busy {why}").trim_end().to_owned(),
    })
}

fn millis(word: &str) -> Outcome<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}
