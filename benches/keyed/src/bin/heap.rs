//! What a million keys leave on the heap.

use std::alloc::System;

use bench_keyed::keys;
use bench_keyed::peers::{Blocking, DashThreads, LockMapFold, Monban};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn left(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    let left = i128::try_from(change.bytes_allocated).unwrap_or(0)
        - i128::try_from(change.bytes_deallocated).unwrap_or(0);
    i32::try_from(left / 1024).map_or(f64::NAN, f64::from)
}

fn row<P: Blocking>(name: &str, keys: &[String]) {
    let one_by_one = {
        let region = Region::new(COUNTED);
        let lock = P::fresh();
        for key in keys {
            drop(lock.hold(key));
        }
        left(&region)
    };
    let region = Region::new(COUNTED);
    let lock = P::fresh();
    let mut held = Vec::with_capacity(keys.len());
    held.extend(keys.iter().map(|key| lock.hold(key)));
    let at_once = left(&region);
    drop(held);
    let after = left(&region);
    drop(lock);
    println!("| {name} | {one_by_one:.0} KiB | {at_once:.0} KiB | {after:.0} KiB |");
}

fn main() {
    let keys = keys(1_000_000);
    println!("\n## Heap with an empty lock, after a million keys\n");
    println!(
        "Counted by the allocator; the keys of the test itself are not in it, the guards are.\n"
    );
    println!("| | held one by one | while all are held | after all were held |");
    println!("|---|---:|---:|---:|");
    row::<Monban>("monban", &keys);
    row::<LockMapFold>("lockmap", &keys);
    row::<DashThreads>("DashMap of parking_lot::Mutex", &keys);
    row::<keyed_lock::sync::KeyedLock<String>>("keyed-lock", &keys);
    row::<lockable::LockPool<String>>("lockable", &keys);
}
