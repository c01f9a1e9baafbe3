//! Members whose disks are slow, and leaders whose disk hangs.

use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monban::fenced::Fenced;
use monban::{Error, Fence, Lease, Locks, Options};
use monban_testkit::{EtcdServer, SlowDisk, slow, wait_until};

use crate::client::{SOON, drive, keys, nothing_is_left, run};
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

/// Of the leases that are renewed at the successor of a leader that hangs.
const SHORT: Duration = Duration::from_secs(3);
/// For longer than such a lease lives at the servers if nobody renews it, 4 s, and an election.
const HANGS: Duration = Duration::from_secs(8);
/// What such a leader does with leases when it goes on, it does within so long.
const AFTERMATH: Duration = Duration::from_secs(6);

/// Whether a leader that hung for longer than a TTL leaves alone what its successor has renewed:
/// <https://github.com/etcd-io/etcd/pull/16822> and its backports.
fn is_mended(version: [u32; 3]) -> bool {
    match version {
        [3, 4, patch] => patch >= 31,
        [3, 5, patch] => patch >= 13,
        later => later >= [3, 6, 0],
    }
}

/// The version of the servers, as they say.
fn version_of(server: &EtcdServer) -> [u32; 3] {
    let said = server
        .ask(&["endpoint", "status", "--write-out=fields"])
        .unwrap();
    let head = "\"Version\" : ";
    let version = said.lines().find_map(|line| line.strip_prefix(head));
    let numbers = version.unwrap().trim_matches('"').split(['.', '-']);
    let numbers = numbers.take(3).map(|number| number.parse().unwrap());
    numbers.collect::<Vec<u32>>().try_into().unwrap()
}

async fn short(locks: &Locks) -> monban::Result<Lease> {
    let mutex = locks.mutex("k")?.with(Options::new().ttl(SHORT))?;
    mutex.lock().within(SOON * 4).await
}

/// What became of the lease of whoever held the key when the leader hung.
enum Ending {
    /// Its owner was told then that it is lost.
    Lost(Instant),
    Kept,
}

/// Holds the key until its lease is lost, or until told that it is over.
fn holder(
    url: &str,
    held: Sender<Fence>,
) -> (JoinHandle<Ending>, tokio::sync::oneshot::Sender<()>) {
    let (over, is_over) = tokio::sync::oneshot::channel();
    let url = url.to_owned();
    let work = async move {
        let locks = Locks::connect(&url).await.unwrap();
        let lease = short(&locks).await.unwrap();
        held.send(lease.fence().unwrap()).unwrap();
        let ending = tokio::select! {
            error = lease.lost() => {
                assert!(matches!(error, Error::Lost { .. }), "{error}");
                assert!(lease.check().is_err());
                Ending::Lost(Instant::now())
            }
            told = is_over => {
                told.unwrap();
                lease.check().unwrap();
                lease.release().await.unwrap();
                Ending::Kept
            }
        };
        locks.close().await;
        ending
    };
    (thread::spawn(|| drive(work)), over)
}

/// The next in line.
fn waiter(url: &str, granted: Sender<(Instant, Fence)>) -> JoinHandle<()> {
    let url = url.to_owned();
    let work = async move {
        let locks = Locks::connect(&url).await.unwrap();
        let lease = short(&locks).await.unwrap();
        let granted = granted.send((Instant::now(), lease.fence().unwrap()));
        granted.unwrap();
        let _ = lease.release().await; // its lease may have been ended by the same leader
        locks.close().await;
    };
    thread::spawn(|| drive(work))
}

/// The leader's disk hangs, and another leads; it goes on when its clocks of all leases have run out.
fn hang(server: &EtcdServer, leader: usize) {
    let hanging = SlowDisk::of(server.id(leader), HANGS * 10).unwrap();
    // Something to write, so that it flushes. The answer may come late, or never.
    let mut write = server.etcdctl().unwrap();
    let write = write.args(["put", "hangs", "x"]).stdout(Stdio::null());
    let mut write = write.stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(HANGS);
    drop(hanging);
    let _ = write.wait();
    // While it hung it may have said that it leads.
    let replaced = wait_until("a successor", SOON, || {
        Ok(server.leader().is_ok_and(|now| now != leader))
    });
    replaced.unwrap();
}

/// What comes of it depends on the version. A mended one ends no lease that its successor has renewed. An older one does:
/// then the next in line has the key, while its elder is still about to hear of it. Fences part them in any case.
#[test]
fn a_leader_that_hangs_for_longer_than_a_ttl_lets_nobody_write_late() {
    if slow::skipped() {
        return;
    }
    let server = three();
    let version = version_of(&server);
    let leader = leader_of(&server);
    // The two that stay.
    let others = [1, 2].map(|next| server.place((leader + next) % 3));
    let url = format!("etcd://{}?timeout=2s", others.join(","));
    let value = Fenced::new(0);
    let (held, is_held) = channel();
    let (elder, over) = holder(&url, held);
    let fence = is_held.recv_timeout(SOON).unwrap();
    value.write(fence, |value| *value = 1).unwrap();
    let (granted, is_granted) = channel();
    let next = waiter(&url, granted);
    let lined_up = || Ok(keys(&server, "k/").len() == 2);
    wait_until("the next in line", SOON, lined_up).unwrap();

    hang(&server, leader);
    let early = is_granted.recv_timeout(AFTERMATH).ok();
    let ending = match early {
        // It hears of that by itself.
        Some(_) => {
            let told = wait_until("the elder's end", SOON, || Ok(elder.is_finished()));
            told.expect("two hold the key, and the elder is not told");
            elder.join().unwrap()
        }
        None => {
            let _ = over.send(());
            elder.join().unwrap()
        }
    };
    match (ending, early) {
        (Ending::Lost(told), Some((got, _))) if !is_mended(version) => {
            let (before, after) = (got - told, told - got); // one of them is none
            eprintln!(
                "etcd {version:?}, not mended: the leader that had hung ended the lease; its owner was told {before:?} \
                 before, or {after:?} after, the next had the key"
            );
            assert!(after < SHORT, "it was told only {after:?} later");
        }
        (Ending::Kept, None) => {
            eprintln!("etcd {version:?}: nobody had the key while its lease was renewed");
        }
        (_, early) => panic!("lost on {version:?}; granted: {early:?}"),
    }
    let (_, later) = early.unwrap_or_else(|| is_granted.recv_timeout(SOON).unwrap());
    next.join().unwrap();
    // The late write of the elder.
    assert!(later > fence);
    value.write(later, |value| *value = 2).unwrap();
    assert!(value.write(fence, |value| *value = 9).is_err());
    assert_eq!(value.read(|value| *value), 2);
    run(nothing_is_left(&server, "k/"));
}
