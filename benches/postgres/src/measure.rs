//! What is measured.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use monban_testkit::PostgresServer;
use monban_testkit::stats::quantile;
use tokio::sync::Barrier;

use crate::Outcome;
use crate::clients::Kind;

/// Figures of one kind, one a round.
#[derive(Default)]
pub(crate) struct Samples {
    /// Cycles in a second, or milliseconds.
    pub(crate) figures: Vec<f64>,
    /// Microseconds of the server's processor time for each cycle.
    pub(crate) server: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, (figure, server): (f64, f64)) {
        self.figures.push(figure);
        self.server.push(server);
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(&self.figures, 0.5)
    }

    pub(crate) fn range(&self) -> (f64, f64) {
        (quantile(&self.figures, 0.0), quantile(&self.figures, 1.0))
    }
}

/// Takes and frees so many keys side by side, each again and again; cycles in a second, and the server's time for one.
pub(crate) async fn cycles(
    kind: Kind,
    server: &PostgresServer,
    keys: usize,
    time: Duration,
) -> Outcome<(f64, f64)> {
    let one = kind.at(server.url()).connect().await?;
    let ready = Arc::new(Barrier::new(keys + 1));
    let mut tasks = Vec::new();
    for key in 0..keys {
        let (one, ready) = (one.clone(), Arc::clone(&ready));
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
            Outcome::Ok(count)
        }));
    }
    ready.wait().await;
    let (start, used) = (Instant::now(), server.processor_time()?);
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let count = f64::from(count);
    let used = server.processor_time()? - used;
    Ok((count / start.elapsed().as_secs_f64(), used / count * 1e6))
}

/// So many clients want one key all the time; half of the hand-overs take no longer than this, in milliseconds, and the
/// server's time for one.
pub(crate) async fn hand_over(
    kind: Kind,
    server: &PostgresServer,
    waiters: usize,
    time: Duration,
) -> Outcome<(f64, f64)> {
    let freed: Arc<Mutex<Option<Instant>>> = Arc::default();
    let taken: Arc<Mutex<Vec<f64>>> = Arc::default();
    let ready = Arc::new(Barrier::new(waiters + 2));
    let mut tasks = Vec::new();
    let maker = kind.at(server.url());
    for at in 0..=waiters {
        let one = maker.connect().await?;
        let (freed, taken, ready) = (Arc::clone(&freed), Arc::clone(&taken), Arc::clone(&ready));
        tasks.push(tokio::spawn(async move {
            let held = one.lock(&format!("warm-{at}")).await?;
            one.unlock(held).await?;
            ready.wait().await;
            let start = Instant::now();
            while start.elapsed() < time {
                let held = one.lock("shared").await?;
                if let Some(freed) = freed.lock().expect("no panic").take() {
                    let took = freed.elapsed().as_secs_f64() * 1e3;
                    taken.lock().expect("no panic").push(took);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                *freed.lock().expect("no panic") = Some(Instant::now());
                one.unlock(held).await?;
            }
            Outcome::Ok(())
        }));
    }
    ready.wait().await;
    let used = server.processor_time()?;
    for task in tasks {
        task.await??;
    }
    let taken = std::mem::take(&mut *taken.lock().expect("no panic"));
    let used = server.processor_time()? - used;
    Ok((quantile(&taken, 0.5), used / taken.len() as f64 * 1e6))
}
