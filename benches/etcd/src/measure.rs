//! What is measured.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::Client;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Barrier, mpsc};

use crate::Outcome;
use crate::clients::Kind;

/// One figure a round.
#[derive(Default)]
pub(crate) struct Sample(pub(crate) Vec<f64>);

impl Sample {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let end = |end: Option<&f64>| end.copied().unwrap_or(f64::NAN);
        (end(sorted.first()), end(sorted.last()))
    }
}

/// Whether a cycle ends when the server has freed the key, or when it is being told to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    Awaited,
    Behind,
}

/// Takes and frees keys, so many tasks of one client, each again and again: keys of their own, or one. Cycles in a second.
pub(crate) async fn cycles(
    kind: Kind,
    port: u16,
    (tasks, one_key): (usize, bool),
    freed: Freed,
    time: Duration,
) -> Outcome<f64> {
    let client = kind.connect(port).await?;
    let ready = Arc::new(Barrier::new(tasks));
    let mut running = Vec::new();
    for task in 0..tasks {
        let (mut one, ready) = (kind.of_task(&client).await?, Arc::clone(&ready));
        running.push(tokio::spawn(async move {
            let own = format!("cycle-{task}");
            let held = one.lock(&own).await?; // connected, and what is kept is there
            one.unlock(held).await?;
            let key = if one_key { "cycle".to_owned() } else { own };
            ready.wait().await;
            let start = Instant::now();
            let mut count = 0u32;
            while start.elapsed() < time {
                let held = one.lock(&key).await?;
                match freed {
                    Freed::Awaited => one.unlock(held).await?,
                    Freed::Behind => one.let_go(held),
                }
                count += 1;
            }
            Outcome::Ok(f64::from(count) / start.elapsed().as_secs_f64())
        }));
    }
    let mut rate = 0.0;
    for task in running {
        rate += task.await??;
    }
    Ok(rate)
}

/// One hold: from when, and until the call that frees, in seconds of one clock for all processes.
type Hold = (f64, f64);

fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Wants one key all the time, and holds it for 2 ms.
async fn wants(mut one: crate::clients::One, time: Duration) -> Outcome<Vec<Hold>> {
    let start = Instant::now();
    let mut holds = Vec::new();
    while start.elapsed() < time {
        let held = one.lock("shared").await?;
        let from = now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        holds.push((from, now()));
        one.unlock(held).await?;
    }
    Ok(holds)
}

/// Half of the hand-overs take no longer than this, in seconds.
fn half_of(mut holds: Vec<Hold>) -> f64 {
    holds.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let between = holds.windows(2).map(|two| two[1].0 - two[0].1);
    Sample(between.collect()).median()
}

/// So many clients of this process, and one more, want one key.
pub(crate) async fn hand_over(
    kind: Kind,
    port: u16,
    waiters: usize,
    time: Duration,
) -> Outcome<f64> {
    let ready = Arc::new(Barrier::new(waiters + 1));
    let mut tasks = Vec::new();
    for _ in 0..=waiters {
        let client = kind.connect(port).await?;
        let (one, ready) = (kind.of_task(&client).await?, Arc::clone(&ready));
        tasks.push(tokio::spawn(async move {
            ready.wait().await;
            wants(one, time).await
        }));
    }
    let mut holds = Vec::new();
    for task in tasks {
        holds.extend(task.await??);
    }
    Ok(half_of(holds))
}

/// As [`hand_over`], each client a process of its own.
pub(crate) async fn hand_over_between_processes(
    kind: Kind,
    port: u16,
    waiters: usize,
    time: Duration,
) -> Outcome<f64> {
    let mut children: Vec<Child> = Vec::new();
    let which = Kind::ALL.iter().position(|one| *one == kind);
    for _ in 0..=waiters {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("client")
            .arg(which.unwrap_or_default().to_string())
            .arg(port.to_string())
            .arg(time.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        children.push(command.spawn()?);
    }
    let mut outputs = Vec::new();
    for child in &mut children {
        let mut output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut line = String::new();
        output.read_line(&mut line).await?; // it is connected
        outputs.push(output);
    }
    for child in &mut children {
        let input = child.stdin.as_mut().ok_or("no pipe")?;
        input.write_all(b"go\n").await?;
    }
    let mut holds = Vec::new();
    for (mut child, mut output) in children.into_iter().zip(outputs) {
        let mut text = String::new();
        output.read_to_string(&mut text).await?;
        if !child.wait().await?.success() {
            return Err("a client failed".into());
        }
        for line in text.lines() {
            let (from, to) = line.split_once(' ').ok_or("no hold")?;
            holds.push((from.parse()?, to.parse()?));
        }
    }
    Ok(half_of(holds))
}

/// What a process started by [`hand_over_between_processes`] does.
pub(crate) async fn client(words: &[String]) -> Outcome {
    let number = |at: usize| words.get(at).ok_or("a word is missing");
    let kind = Kind::ALL[number(0)?.parse::<usize>()?];
    let (port, millis) = (number(1)?.parse()?, number(2)?.parse()?);
    let client = kind.connect(port).await?;
    let mut one = kind.of_task(&client).await?;
    let own = format!("own-{}", std::process::id());
    let held = one.lock(&own).await?;
    one.unlock(held).await?;
    println!("ready");
    let mut line = String::new();
    BufReader::new(tokio::io::stdin())
        .read_line(&mut line)
        .await?;
    for (from, to) in wants(one, Duration::from_millis(millis)).await? {
        println!("{from:.9} {to:.9}");
    }
    Ok(())
}

/// From the call that deletes a key until a watch of another connection tells of it: no hand-over can be faster.
pub(crate) async fn deletion(port: u16, time: Duration) -> Outcome<f64> {
    let place = [format!("127.0.0.1:{port}")];
    let mut deletes = Client::connect(&place, None).await?;
    let mut watches = Client::connect(&place, None).await?;
    let mut stream = watches.watch("deleted", None).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        while let Ok(Some(answer)) = stream.message().await {
            let deleted =
                |event: &etcd_client::Event| event.event_type() == etcd_client::EventType::Delete;
            if answer.events().iter().any(deleted) && tell.send(now()).is_err() {
                return;
            }
        }
    });
    let taken: Mutex<Vec<f64>> = Mutex::default();
    let start = Instant::now();
    while start.elapsed() < time {
        deletes.put("deleted", "", None).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let from = now();
        deletes.delete("deleted", None).await?;
        let heard = told.recv().await.ok_or("the watch ended")?;
        taken.lock().expect("no panic").push(heard - from);
    }
    watching.abort();
    let taken = taken.into_inner().expect("no panic");
    Ok(Sample(taken).median())
}
