//! A holder that is paused, and overtaken: it wakes, and writes without looking.
//!
//! The pause is real time: renewal is off and the TTL short, so the lease runs out during it.

use std::error::Error;
use std::thread;
use std::time::Duration;

use monban::data::RenewalPolicy;
use monban::{Lease, Options, Result as MonbanResult, Token, block_on};

use crate::support;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Lets two holders write, and the first of them once more, too late. `write` says whether it was accepted.
pub(crate) fn overtaken(write: impl Fn(Token, &str) -> Outcome<bool>) -> Outcome<()> {
    let first = lock()?;
    let old = first.token()?;
    assert!(write(old, "by the first")?);

    if first.remaining().is_some() {
        thread::sleep(Duration::from_millis(400)); // paused: by its host, its collector, a debugger
    } else {
        drop(first); // over files the kernel knows who lives, and no pause costs the lease
    }

    let next = lock()?;
    let new = next.token()?;
    println!("fence {} is overtaken by {}", old.fence(), new.fence());
    assert!(write(new, "by the second")?);
    let accepted = write(old, "by the first, too late")?;
    assert!(!accepted, "the late write was accepted");
    println!("the late write under fence {} was refused", old.fence());
    block_on(next.release())?;
    Ok(())
}

fn lock() -> MonbanResult<Lease> {
    let options = Options::new()
        .ttl(Duration::from_millis(300))
        .renewal(RenewalPolicy::ByHand);
    let mutex = support::connect()?.mutex("monban:example:account")?;
    mutex.with(options)?.lock().wait()
}
