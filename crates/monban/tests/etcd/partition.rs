//! Cables that are pulled: members and clients on machines of a network of their own.
//!
//! All of it is one process, so all instants are of one clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use monban::fenced::Fenced;
use monban::{Error, Fence, Lease, Locks, Loss, Mutex, Options};
use monban_testkit::{EtcdOptions, EtcdServer, Machine, Network, network};

use crate::client::{SOON, drive, nothing_is_left, run};
use crate::cluster::leader_of;
use crate::counting::{Counting, KEY};

const TTL: Duration = Duration::from_secs(4);

struct Place {
    network: Network,
    machines: Vec<Machine>,
    server: EtcdServer,
}

fn place(members: usize) -> Place {
    let mut network = Network::new().unwrap();
    let machines: Vec<Machine> = (0..members).map(|_| network.machine().unwrap()).collect();
    let options = EtcdOptions::new()
        .on(&machines)
        .election(Duration::from_millis(1_000));
    let server = EtcdServer::start(options).unwrap();
    Place {
        network,
        machines,
        server,
    }
}

async fn mutex(url: &str, key: &str) -> Mutex {
    of(&Locks::connect(url).await.unwrap(), key)
}

fn of(locks: &Locks, key: &str) -> Mutex {
    let options = Options::new().ttl(TTL);
    locks.mutex(key).unwrap().with(options).unwrap()
}

/// Waits for its turn, however often the store is away.
async fn turn(mutex: &Mutex) -> Lease {
    loop {
        match mutex.lock().within(SOON * 2).await {
            Ok(lease) => return lease,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// When its owner was told that a lease has ended.
async fn lost(lease: &Lease) -> Instant {
    let error = lease.lost().await;
    let now = Instant::now();
    let expired = |error: &Error| {
        matches!(
            error,
            Error::Lost {
                why: Loss::Expired,
                ..
            }
        )
    };
    assert!(expired(&error), "{error}");
    now
}

/// The leader, and a client that reaches only it: alone together.
#[test]
fn a_member_that_is_cut_off_grants_nothing_and_the_others_go_on() {
    if network::skipped() {
        return;
    }
    let mut place = place(3);
    let leader = leader_of(&place.server);
    let alone = format!("etcd://{}?timeout=1s", place.server.place(leader));
    let all = format!("{}?timeout=2s", place.server.url());
    let outside = place.network.machine().unwrap();
    let mut counting = Counting::new(TTL * 5);
    for _ in 0..2 {
        counting.worker(&all, Some(&outside));
    }

    let mended = Arc::new(AtomicBool::new(false));
    let (held, is_held) = channel();
    let near = place.machines[leader].run({
        let mended = Arc::clone(&mended);
        move || {
            drive(async {
                let locks = Locks::connect(&alone).await.unwrap();
                let (first, count) = (of(&locks, "k"), of(&locks, KEY));
                let lease = turn(&first).await;
                let before = lease.fence().unwrap();
                held.send(()).unwrap();
                let end = lost(&lease).await;
                let mut refused = 0;
                while !mended.load(Ordering::SeqCst) {
                    let tried = count.try_lock().await;
                    if mended.load(Ordering::SeqCst) {
                        break;
                    }
                    let error = tried.expect_err("a minority has said something");
                    assert!(error.is_transient(), "{error}");
                    refused += 1;
                }
                let again = turn(&first).await;
                let after = again.fence().unwrap();
                again.release().await.unwrap();
                (end, refused, (before, after))
            })
        }
    });
    let near = near.unwrap();
    is_held.recv_timeout(SOON).unwrap();
    let waits = outside.run({
        let all = all.clone();
        move || {
            drive(async {
                let lease = turn(&mutex(&all, "k").await).await;
                let got = Instant::now();
                let fence = lease.fence().unwrap();
                lease.release().await.unwrap();
                (got, fence)
            })
        }
    });
    sleep(Duration::from_millis(500)); // it stands in line, or soon will
    counting.goes_on(20);
    let cut = Instant::now();
    place.machines[leader].unplug().unwrap();
    let (got, next) = waits.unwrap().join().unwrap();
    counting.goes_on(20);
    sleep(Duration::from_millis(1_500)); // for more than one try at the one that is alone
    mended.store(true, Ordering::SeqCst);
    place.machines[leader].plug().unwrap();
    let (end, refused, (before, after)) = near.join().unwrap();
    let pause = counting.longest_pause();
    let counted = counting.finish();
    assert!(end <= got, "granted {:?} before the holder knew", end - got);
    assert!(refused > 0 && before < next && next < after);
    eprintln!(
        "the holder knew {:?} after the cut, and the next had it {:?} later; {refused} tries at a minority refused; \
         {counted} counted, none for {pause:?} at most",
        end - cut,
        got - end
    );
    run(nothing_is_left(&place.server, ""));
}

/// A holder and a waiter behind it, of one machine.
#[test]
fn a_client_that_is_cut_off_for_a_moment_keeps_all_and_for_a_ttl_loses_all_in_time() {
    if network::skipped() {
        return;
    }
    let mut place = place(1);
    let (far, near) = (
        place.network.machine().unwrap(),
        place.network.machine().unwrap(),
    );
    let url = format!("{}?timeout=1s", place.server.url());
    let value = Arc::new(Fenced::new(0_u32));
    let turns = Arc::new(AtomicU64::new(0)); // of those behind, in the order in which they come

    let (held, is_held) = channel();
    let (told, is_lost) = channel();
    let holder = far.run({
        let (url, value) = (url.clone(), Arc::clone(&value));
        move || {
            drive(async {
                let lease = turn(&mutex(&url, "k").await).await;
                let fence = lease.fence().unwrap();
                value.write(fence, |value| *value = 1).unwrap();
                held.send(fence).unwrap();
                let end = lost(&lease).await;
                told.send(end).unwrap();
                fence
            })
        }
    });
    let fence = is_held.recv_timeout(SOON).unwrap();
    let waits = |machine: &Machine| {
        let (url, turns) = (url.clone(), Arc::clone(&turns));
        let (value, hold) = (Arc::clone(&value), Duration::from_millis(300));
        let (told, heard) = channel::<(Instant, Fence)>();
        let thread = machine.run(move || {
            drive(async {
                let lease = turn(&mutex(&url, "k").await).await;
                let (got, fence) = (Instant::now(), lease.fence().unwrap());
                told.send((got, fence)).unwrap();
                let place = turns.fetch_add(1, Ordering::SeqCst);
                value.write(fence, |value| *value = 2).unwrap();
                tokio::time::sleep(hold).await;
                lease.release().await.unwrap();
                place
            })
        });
        (thread.unwrap(), heard)
    };
    let line = |many: usize| {
        let start = Instant::now();
        while crate::client::keys(&place.server, "k/").len() != many {
            assert!(start.elapsed() < SOON, "they do not line up");
            sleep(Duration::from_millis(20));
        }
    };
    let (behind, has_it) = waits(&far);
    line(2);
    let (next, next_has_it) = waits(&near);
    line(3);

    // Less than a TTL after a renewal: nothing is lost, and nobody moves up.
    far.unplug().unwrap();
    sleep(Duration::from_millis(1_000));
    far.plug().unwrap();
    sleep(TTL); // whatever that has broken would show by now
    assert!(is_lost.try_recv().is_err() && next_has_it.try_recv().is_err());

    let cut = Instant::now();
    far.unplug().unwrap();
    let end = is_lost.recv_timeout(SOON).unwrap();
    let (got, overtaken_by) = next_has_it.recv_timeout(SOON).unwrap();
    assert!(end <= got, "granted {:?} before the holder knew", end - got);
    assert!(has_it.try_recv().is_err(), "granted to one that is cut off");
    assert_eq!(next.join().unwrap(), 0);
    assert_eq!(holder.unwrap().join().unwrap(), fence);
    // The late write of the holder.
    let stale = value.write(fence, |value| *value = 9);
    assert!(stale.is_err() && overtaken_by > fence);
    far.plug().unwrap();
    let (_, last) = has_it.recv_timeout(SOON * 2).unwrap();
    assert!(last > overtaken_by);
    assert_eq!(behind.join().unwrap(), 1);
    assert_eq!(value.read(|value| *value), 2);
    eprintln!(
        "the holder knew {:?} after the cut, and the next had it {:?} later",
        end - cut,
        got - end
    );
    run(nothing_is_left(&place.server, ""));
}
