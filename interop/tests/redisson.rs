//! Redisson, whose lock is a hash: it excludes and is excluded. `cargo xtask interop --all` runs this; bringing it takes
//! Maven and a minute.
//!
//! Its own behaviour: a string at its key makes `tryLock` throw WRONGTYPE instead of wait. monban waits for it as for any
//! foreign holder, woken by the server when the hash is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use interop::pair::{Pair, TTL, nothing_is_left};

/// Starts a pair with the program that was built with this test.
fn pair(name: &str) -> Option<Pair> {
    interop::pair::pair(name, Path::new(env!("CARGO_BIN_EXE_interop-client")))
}

#[test]
fn it_is_excluded_and_excludes_but_does_not_wait() {
    let Some(mut pair) = pair("redisson") else {
        return;
    };
    let take = format!("try {} {TTL}", pair.key);
    let free = format!("release {}", pair.key);
    assert_eq!(pair.other.ask(&take).unwrap(), "held");
    assert_eq!(pair.server.ask(&["TYPE", &pair.key]).unwrap(), "hash");
    assert_eq!(pair.monban.ask(&take).unwrap(), "busy foreign");
    pair.monban
        .say(&format!("wait {} {TTL} 10000", pair.key))
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let freed = Instant::now();
    assert_eq!(pair.other.ask(&free).unwrap(), "released");
    assert_eq!(pair.monban.hear().unwrap(), "held");
    assert!(
        freed.elapsed() < Duration::from_secs(1),
        "took {:?}",
        freed.elapsed()
    );
    // A string where it wants a hash: it does not get in, but neither does it wait.
    let refused = pair.other.ask(&take).unwrap();
    assert!(
        refused.starts_with("error ") && refused.contains("WRONGTYPE"),
        "{refused}"
    );
    assert_eq!(pair.monban.ask(&free).unwrap(), "released");
    assert_eq!(pair.other.ask(&take).unwrap(), "held");
    assert_eq!(pair.other.ask(&free).unwrap(), "released");
    nothing_is_left(&pair);
}
