//! Eight workers make unique 64-bit ids without asking anybody for each: the worker number is a seat.
//!
//! Layout, as Snowflake's: milliseconds (41 bits), worker (10 bits), counter (12 bits). The seat is unique
//! among the holders of permits. A worker that takes a seat starts after the last millisecond that the one
//! before it can have used, so machines' clocks may differ by as much as `SKEW`.

mod support;

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monban::{Error, Lease, Locks, Result};

const WORKERS: u32 = 1 << 10;
const COUNTER_BITS: u32 = 12;
/// 2024-01-01, so that 41 bits last until 2093.
const EPOCH: Duration = Duration::from_secs(1_704_067_200);
/// How far the clocks of two workers may be apart.
const SKEW: Duration = Duration::from_millis(50);

struct Generator {
    seat: Lease,
    millis: u64,
    counter: u64,
}

impl Generator {
    fn new(locks: &Locks) -> Result<Self> {
        let seat = locks.semaphore("snowflake", WORKERS)?.take(1)?.wait()?;
        thread::sleep(SKEW); // whoever sat here before made no id later than now
        let (millis, counter) = (now(), 0);
        Ok(Self {
            seat,
            millis,
            counter,
        })
    }

    fn next(&mut self) -> Result<u64> {
        // Not after the lease: somebody else may sit here then.
        self.seat.check()?;
        let worker = self
            .seat
            .seat()
            .ok_or_else(|| Error::invalid("permits have seats"))?;
        self.counter += 1;
        if self.counter >> COUNTER_BITS > 0 || now() > self.millis {
            // The clock may have gone back; ids never do.
            while now() <= self.millis {
                thread::yield_now();
            }
            (self.millis, self.counter) = (now(), 0);
        }
        Ok(self.millis << 22 | u64::from(worker) << COUNTER_BITS | self.counter)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH + EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn worker() -> Result<(Option<u32>, Vec<u64>)> {
    let mut ids = Generator::new(&support::connect()?)?;
    let made = (0..10_000).map(|_| ids.next()).collect::<Result<_>>()?;
    thread::sleep(Duration::from_millis(500)); // all eight at work at the same time
    Ok((ids.seat.seat(), made))
}

fn main() -> Result<()> {
    let workers: Vec<_> = (0..8).map(|_| thread::spawn(worker)).collect();
    let mut all = HashSet::new();
    for worker in workers {
        let (seat, made) = worker.join().expect("a worker does not panic")?;
        println!(
            "worker {}: {} ids, the last {:#x}",
            seat.unwrap_or_default(),
            made.len(),
            made[made.len() - 1]
        );
        all.extend(made);
    }
    println!("{} different ids", all.len());
    assert_eq!(all.len(), 80_000);
    Ok(())
}
