//! A holder is paused, overtaken, and wakes: its write is refused where it lands.
//!
//! The pause is real time: renewal is off and the TTL short, so the lease runs out during it.

mod support;

use std::error::Error;
use std::fs;
use std::thread;
use std::time::Duration;

use monban::data::RenewalPolicy;
use monban::fenced::FencedFile;
use monban::{Options, block_on};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("monban-fencing-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let state = FencedFile::new(directory.join("state"));

    let options = Options::new()
        .ttl(Duration::from_millis(300))
        .renewal(RenewalPolicy::ByHand);
    let mutex = support::connect()?.mutex("state")?.with(options.clone())?;
    let lease = mutex.lock().wait()?;
    let old = lease.token()?;
    state.write(old, b"by the first")?;

    if lease.remaining().is_some() {
        thread::sleep(Duration::from_millis(400)); // paused: by its host, its collector, a debugger
    } else {
        drop(lease); // over files the kernel knows who lives, and no pause costs the lease
    }

    let next = support::connect()?
        .mutex("state")?
        .with(options)?
        .lock()
        .wait()?;
    state.write(next.token()?, b"by the second")?;

    let late = state.write(old, b"by the first, too late");
    println!(
        "{}",
        late.as_ref().err().ok_or("the late write was accepted")?
    );
    let content = fs::read_to_string(state.path())?;
    println!("the file has been written {content}");
    block_on(next.release())?;
    fs::remove_dir_all(directory)?;
    assert_eq!(content, "by the second");
    Ok(())
}
