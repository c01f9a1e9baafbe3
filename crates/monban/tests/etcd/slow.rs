//! Members whose disks are slow.

use std::time::Duration;

use monban::{Locks, Options};
use monban_testkit::{SlowDisk, slow};

use crate::client::{drive, nothing_is_left, run};
use crate::cluster::{leader_of, three};
use crate::counting::Counting;

/// Longer than the cluster's election timeout: a leader whose disk is that slow loses its place again and again.
const SLOW: Duration = Duration::from_millis(1_500);
/// So a renewal is due twice and more while a disk is slow.
const TTL: Duration = Duration::from_secs(9);

#[test]
fn a_member_whose_disk_is_slow_makes_no_two_holders_and_ends_no_lease() {
    if slow::skipped() {
        return;
    }
    let server = three();
    let url = format!("{}?timeout=5s", server.url());
    let mut counting = Counting::new(TTL * 2);
    for _ in 0..3 {
        counting.worker(&url, None);
    }
    let (locks, lease) = drive(async {
        let locks = Locks::connect(&url).await.unwrap();
        let options = Options::new().ttl(TTL);
        let kept = locks.mutex("kept").unwrap().with(options).unwrap();
        (locks, kept.lock().await.unwrap())
    });
    counting.goes_on(20);
    let leader = leader_of(&server);
    for (who, member) in [("a follower", (leader + 1) % 3), ("the leader", leader)] {
        let before = counting.counted();
        let slow = SlowDisk::of(server.id(member), SLOW).unwrap();
        std::thread::sleep(SLOW * 4);
        let meanwhile = counting.counted() - before;
        drop(slow);
        counting.goes_on(20);
        let pause = counting.longest_pause();
        eprintln!("while {who} was slow {meanwhile} counts, none for {pause:?} at most");
        lease.check().unwrap();
    }
    counting.finish(); // in which no lease was lost, and no two were inside
    drive(async {
        lease.release().await.unwrap();
        locks.close().await;
    });
    run(nothing_is_left(&server, ""));
}
