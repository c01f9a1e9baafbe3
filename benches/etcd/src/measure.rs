//! What is measured.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

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

/// Takes and frees so many keys side by side, each again and again; cycles in a second.
pub(crate) async fn cycles(kind: Kind, port: u16, keys: usize, time: Duration) -> Outcome<f64> {
    let client = kind.connect(port).await?;
    let ready = Arc::new(Barrier::new(keys));
    let mut tasks = Vec::new();
    for key in 0..keys {
        let (mut one, ready) = (kind.of_task(&client).await?, Arc::clone(&ready));
        tasks.push(tokio::spawn(async move {
            let key = format!("cycle-{key}");
            let held = one.lock(&key).await?; // connected, and what is kept is there
            one.unlock(held).await?;
            ready.wait().await;
            let start = Instant::now();
            let mut count = 0u32;
            while start.elapsed() < time {
                let held = one.lock(&key).await?;
                one.unlock(held).await?;
                count += 1;
            }
            Outcome::Ok(f64::from(count) / start.elapsed().as_secs_f64())
        }));
    }
    let mut rate = 0.0;
    for task in tasks {
        rate += task.await??;
    }
    Ok(rate)
}

/// So many clients want one key all the time; half of the hand-overs take no longer than this, in seconds.
pub(crate) async fn hand_over(
    kind: Kind,
    port: u16,
    waiters: usize,
    time: Duration,
) -> Outcome<f64> {
    let freed: Arc<Mutex<Option<Instant>>> = Arc::default();
    let taken: Arc<Mutex<Vec<f64>>> = Arc::default();
    let ready = Arc::new(Barrier::new(waiters + 1));
    let mut tasks = Vec::new();
    for _ in 0..=waiters {
        let client = kind.connect(port).await?;
        let mut one = kind.of_task(&client).await?;
        let (freed, taken, ready) = (Arc::clone(&freed), Arc::clone(&taken), Arc::clone(&ready));
        tasks.push(tokio::spawn(async move {
            ready.wait().await;
            let start = Instant::now();
            while start.elapsed() < time {
                let held = one.lock("shared").await?;
                if let Some(freed) = freed.lock().expect("no panic").take() {
                    taken
                        .lock()
                        .expect("no panic")
                        .push(freed.elapsed().as_secs_f64());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                *freed.lock().expect("no panic") = Some(Instant::now());
                one.unlock(held).await?;
            }
            Outcome::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let taken = Sample(std::mem::take(&mut *taken.lock().expect("no panic")));
    Ok(taken.median())
}
