//! Leaders that are killed, one after the other. (Tests begin in the order of names: a long one does well to begin early.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use monban::{Locks, Options};

use crate::client::{Client, SOON, drive, lasting, nothing_is_left, run};
use crate::cluster::{leader_of, three};
use crate::counting::Counting;

/// For how many seconds leaders are killed.
const STORM: &str = "MONBAN_ETCD_STORM_SECONDS";
const MINUTE: u64 = 60;

/// From one death of a leader to the next.
const EVERY: Duration = Duration::from_secs(3);

/// Of those who count, and of a lease that is held all the time: renewed through two deaths and more.
const KEPT: Duration = Duration::from_secs(9);

/// Of those who hold a key and die.
const DEAD: Duration = Duration::from_secs(2);
/// For how long their key is theirs after that, as is promised, counted anew by each leader.
const STUCK: Duration = Duration::from_secs(2 + 6);

/// When leaders were killed.
#[derive(Default)]
struct Deaths(Mutex<Vec<Instant>>);

impl Deaths {
    fn another(&self) {
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.push(Instant::now());
    }

    fn many(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The last one before an instant.
    fn before(&self, now: Instant) -> Option<Instant> {
        let deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.iter().rev().find(|death| **death <= now).copied()
    }
}

/// For how long the keys of the dead were theirs: at most, and at most since the last death of a leader.
#[derive(Default)]
struct Stuck {
    keys: usize,
    longest: Duration,
    of_a_leader: Duration,
}

/// Holds a key and dies, again and again, until it is over.
async fn dies_again_and_again(url: &str, deaths: &Deaths, over: &AtomicBool) -> Stuck {
    let next = Client::patient(url).await;
    let mut stuck = Stuck::default();
    while !over.load(Ordering::SeqCst) {
        let dead = Client::at(url).await;
        let held = lasting(dead.exclusive("dead"), DEAD);
        let fence = dead.comes_in(&held).await.fence;
        drop(dead); // says nothing to the servers
        let died = Instant::now();
        let claim = next.exclusive("dead");
        let grant = next.comes_in(&claim).await;
        let got = Instant::now();
        assert!(grant.fence > fence);
        let since = deaths
            .before(got)
            .map_or(died, |of_a_leader| of_a_leader.max(died));
        stuck.keys += 1;
        stuck.longest = stuck.longest.max(got - died);
        stuck.of_a_leader = stuck.of_a_leader.max(got - since);
        next.is_rid_of(&claim).await;
    }
    stuck
}

/// `MONBAN_ETCD_STORM_SECONDS=9` for a short one. Mostly it waits, beside other tests.
#[test]
fn nothing_is_lost_while_leaders_are_killed() {
    let seconds = std::env::var(STORM).map_or(MINUTE, |seconds| seconds.parse().unwrap());
    let mut server = three();
    let url = format!("{}?timeout=5s", server.url());
    let mut counting = Counting::new(KEPT * 2);
    for _ in 0..4 {
        counting.worker(&url, None);
    }
    let (locks, lease) = drive(async {
        let locks = Locks::connect(&url).await.unwrap();
        let options = Options::new().ttl(KEPT);
        let kept = locks.mutex("kept").unwrap().with(options).unwrap();
        (locks, kept.lock().await.unwrap())
    });
    let (deaths, over) = (Arc::<Deaths>::default(), Arc::<AtomicBool>::default());
    let dying = std::thread::spawn({
        let (url, deaths, over) = (url.clone(), Arc::clone(&deaths), Arc::clone(&over));
        move || drive(dies_again_and_again(&url, &deaths, &over))
    });

    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let next = Instant::now() + EVERY;
        let leader = leader_of(&server);
        server.kill9(leader).unwrap();
        deaths.another();
        std::thread::sleep(EVERY / 2);
        server.restart(leader).unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    over.store(true, Ordering::SeqCst);
    lease.check().unwrap();
    let stuck = dying.join().unwrap();
    let pause = counting.longest_pause();
    let counted = counting.finish();
    eprintln!(
        "{} leaders killed: {counted} grants, none for {pause:?} at most, no overlap, no lease lost; {} holders dead, \
         their key stuck for {:?} at most, for {:?} of one leader's time",
        deaths.many(),
        stuck.keys,
        stuck.longest,
        stuck.of_a_leader,
    );
    assert!(deaths.many() > 0 && counted > 0 && stuck.keys > 0);
    assert!(
        stuck.of_a_leader < STUCK + SOON / 6,
        "{:?}",
        stuck.of_a_leader
    );
    drive(async {
        lease.release().await.unwrap();
        locks.close().await;
    });
    run(nothing_is_left(&server, ""));
}
