//! Random lives of a few processes on one store, each played again by its seed.
//!
//! Everything runs on one thread: callers, keepers, and a store whose requests and replies are late, lost, repeated,
//! or executed after they were given up. The clock moves only when the life says so. After every step the promises
//! are looked at; at the end of a life nobody may wait and nothing may be left.
//!
//! `MONBAN_SIM_SEED=n` plays one life and prints it; `MONBAN_SIM_SEEDS=n` plays as many, from seed 0 on.

mod wire;
mod world;

use self::world::World;
use crate::dice::{Dice, number};
use crate::rule::backoff;

/// Lives of an ordinary run.
const SEEDS: u64 = 2_000;

#[test]
fn no_random_life_breaks_a_promise() {
    if let Some(seed) = number("MONBAN_SIM_SEED") {
        return println!("{}", live(seed).join("\n"));
    }
    for seed in 0..number("MONBAN_SIM_SEEDS").unwrap_or(SEEDS) {
        live(seed);
    }
}

#[test]
fn a_seed_plays_the_same_life_again() {
    for seed in 0..20 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
}

/// Plays a life to its end; what happened in it.
fn live(seed: u64) -> Vec<String> {
    let _jitter = backoff::seeded(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { World::new(seed).await.play().await })
}
