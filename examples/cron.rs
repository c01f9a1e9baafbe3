//! Two machines have the same line in their crontab: the report is sent once per interval.
//!
//! The interval counts from a start that succeeded. Run it again at once on a store that outlives it
//! (`MONBAN_STORE=file:/var/lib/app/locks`): it is not due.

mod support;

use std::thread;
use std::time::Duration;

use monban::{Outcome, Result, block_on};

const EVERY: Duration = Duration::from_secs(3);

fn machine(name: &str) -> Result<bool> {
    let report = support::connect()?.once("report")?.every(EVERY)?;
    let outcome = block_on(report.run(async |_lease| {
        thread::sleep(Duration::from_millis(200)); // the work
        Ok::<_, std::io::Error>("report sent")
    }))?;
    let ran = matches!(outcome, Outcome::Ran(_));
    match outcome {
        Outcome::Ran(what) => println!("{name}: {what}"),
        Outcome::NotDue(wait) => println!("{name}: not due for {:.1} s", wait.as_secs_f64()),
        Outcome::Running(Some(who)) => println!("{name}: {who} runs it"),
        Outcome::Running(None) => println!("{name}: it runs elsewhere"),
        Outcome::Failed(error) => println!("{name}: failed: {error}"),
    }
    Ok(ran)
}

fn main() -> Result<()> {
    let machines = ["machine 1", "machine 2"].map(|name| thread::spawn(move || machine(name)));
    let mut ran = 0;
    for machine in machines {
        ran += u32::from(machine.join().expect("a machine does not panic")?);
    }
    assert!(ran <= 1, "the report was sent {ran} times");
    Ok(())
}
