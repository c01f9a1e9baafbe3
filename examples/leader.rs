//! Two candidates, one leader, and somebody who watches: the first resigns, the second follows.

mod support;

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use monban::{Options, Result, block_on};

const OFFICE: &str = "scheduler";

/// Leads once, for a while.
fn candidate(name: &'static str) -> Result<()> {
    let options = Options::new().label(name).ttl(Duration::from_secs(5));
    let election = support::connect()?.election(OFFICE)?.with(options)?;
    block_on(async {
        let leadership = election.campaign().await?;
        for step in 1..=3 {
            leadership.check()?; // stops before another can lead
            println!("{name}: step {step}, fence {}", leadership.fence()?);
            thread::sleep(Duration::from_millis(150)); // the work
        }
        leadership.resign().await
    })
}

/// Tells of every leader, until both candidates have been seen.
fn watch() -> Result<Receiver<String>> {
    let mut changes = support::connect()?.election(OFFICE)?.observe();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(leader) = block_on(changes.next()) {
            let name = leader.as_ref().and_then(|leader| leader.claimant());
            let name = name.map_or_else(|| "nobody".to_owned(), |who| who.label().to_owned());
            if tell.send(name).is_err() {
                return;
            }
        }
    });
    Ok(told)
}

fn main() -> Result<()> {
    let changes = watch()?;
    let candidates = ["anna", "bertil"].map(|name| thread::spawn(move || candidate(name)));
    let mut seen = Vec::new();
    while !(seen.contains(&"anna".to_owned()) && seen.contains(&"bertil".to_owned())) {
        let Ok(leader) = changes.recv_timeout(Duration::from_secs(30)) else {
            panic!("only {seen:?} led");
        };
        println!("watcher: {leader} leads");
        seen.push(leader);
    }
    for candidate in candidates {
        candidate.join().expect("a candidate does not panic")?;
    }
    Ok(())
}
