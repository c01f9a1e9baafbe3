//! The file store among real processes: killed, stopped, forked, and beside flock(1).
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)] // a test

mod file_worker;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use file_worker::{DIR, Orphan, Worker};
use rustix::process::Signal;

/// Below the net of one second: whoever is served in this time was woken by the kernel.
const SOON: Duration = Duration::from_millis(700);

/// Not a test: what the other tests start as a process of its own.
#[test]
fn worker() {
    if let Ok(dir) = std::env::var(DIR) {
        file_worker::live(&dir);
    }
}

struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.place.path().join("locks")
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.dir())
    }

    /// A worker that holds the key.
    fn holder(&self, how: &str) -> Worker {
        let mut holder = self.worker();
        assert!(holder.ask(&format!("take k {how}")).starts_with("granted"));
        holder
    }

    /// A worker that waits for the key, with so many ahead.
    fn waiter(&self, how: &str, ahead: usize) -> Worker {
        let mut waiter = self.worker();
        let answer = waiter.ask(&format!("take k {how}"));
        assert_eq!(answer, format!("waiting {ahead}"));
        waiter
    }

    /// What is left beside lock files and the counter.
    fn residue(&self) -> Vec<String> {
        std::fs::read_dir(self.dir().join(".monban"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "fence")
            .collect()
    }
}

fn granted_soon(worker: &mut Worker) {
    let began = Instant::now();
    let answer = worker.hear();
    assert!(answer.starts_with("granted"), "{answer:?}");
    assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
}

#[test]
fn a_killed_holder_frees_the_key_at_once_in_every_mode() {
    let world = World::new();
    for how in ["x", "s", "2/3"] {
        let mut holder = world.holder(how);
        let mut waiter = world.waiter("x", 1);
        holder.kill();
        granted_soon(&mut waiter);
        assert_eq!(waiter.ask("release"), "released [Done]");
        assert_eq!(world.residue(), Vec::<String>::new(), "{how}");
    }
}

#[test]
fn killed_waiters_at_the_head_and_inside_hold_up_nobody() {
    let world = World::new();
    let mut holder = world.holder("x");
    let mut waiters: Vec<_> = (1..=5).map(|ahead| world.waiter("x", ahead)).collect();
    for dead in [0, 1, 3] {
        waiters[dead].kill();
    }
    holder.kill();
    granted_soon(&mut waiters[2]);
    waiters[2].tell("release");
    granted_soon(&mut waiters[4]);
    waiters[4].ask("release");
    assert_eq!(world.residue(), Vec::<String>::new());
}

#[test]
fn a_permit_of_a_killed_holder_goes_to_the_first_who_waits() {
    let world = World::new();
    let mut holders: Vec<_> = (0..3).map(|_| world.holder("1/3")).collect();
    let mut first = world.waiter("2/3", 3);
    let mut second = world.waiter("1/3", 4);
    holders[0].kill();
    holders[2].kill();
    granted_soon(&mut first);
    holders[1].kill();
    granted_soon(&mut second);
}

#[test]
fn a_stopped_holder_keeps_the_key_and_a_stopped_waiter_its_place() {
    let world = World::new();
    let mut holder = world.holder("x");
    let mut first = world.waiter("x", 1);
    let mut second = world.waiter("x", 2);
    holder.stop();
    let mut other = world.worker();
    assert!(other.ask("try k x").starts_with("busy Held"));
    first.stop();
    holder.kill();
    let answer = other.ask("try k x");
    assert!(answer.starts_with("busy Queued"), "{answer}");
    first.signal(Signal::CONT);
    granted_soon(&mut first);
    first.tell("release");
    granted_soon(&mut second);
}

#[test]
fn a_program_that_a_holder_started_does_not_keep_the_key() {
    let world = World::new();
    for how in ["x", "s"] {
        let mut holder = world.holder(how);
        let _child = Orphan::of(&holder.ask("spawn plain"));
        let mut waiter = world.waiter("x", 1);
        holder.kill();
        granted_soon(&mut waiter);
    }
}

#[test]
fn lent_descriptors_keep_the_key_while_the_child_lives_and_no_longer() {
    let world = World::new();
    for how in ["x", "s", "3/3"] {
        let mut holder = world.holder(how);
        let pid = holder.pid().as_raw_nonzero();
        let child = Orphan::of(&holder.ask("spawn lend"));
        let mut waiter = world.waiter("x", 1);
        holder.kill();
        let mut other = world.worker();
        let answer = other.ask("try k x");
        assert!(answer.starts_with("busy"), "{how}: {answer}");
        if how == "x" {
            assert!(
                answer.contains("Queued") || answer.contains(&format!("pid {pid} ")),
                "{answer}"
            );
        }
        drop(child);
        granted_soon(&mut waiter);
    }
}

#[test]
fn a_release_frees_the_key_though_a_child_has_the_descriptors() {
    let world = World::new();
    for how in ["x", "s", "3/3"] {
        let mut holder = world.holder(how);
        let _child = Orphan::of(&holder.ask("spawn lend"));
        let mut waiter = world.waiter("x", 1);
        holder.tell("release");
        granted_soon(&mut waiter);
        waiter.ask("release");
    }
}

#[test]
fn flock_excludes_and_is_excluded() {
    let world = World::new();
    let flock = |args: &[&str]| {
        let mut command = Command::new("flock");
        command.args(&args[..args.len() - 2]);
        command.arg(world.dir().join("k.lock"));
        command.args(&args[args.len() - 2..]).stdin(Stdio::null());
        command
    };
    let mut holder = world.holder("x");
    let refused = flock(&["-n", "sleep", "0"]).status().unwrap();
    assert_eq!(refused.code(), Some(1));
    holder.ask("release");
    let mut foreign = flock(&["sleep", "300"]).spawn().unwrap();
    let mut other = world.worker();
    let until = Instant::now() + Duration::from_secs(10);
    while other.ask("try k x") == "granted" {
        other.ask("release");
        assert!(Instant::now() < until, "flock(1) did not start");
    }
    let answer = other.ask("try k x");
    let expected = format!("busy Foreign pid {} on", foreign.id());
    assert!(answer.starts_with(&expected), "{answer}");
    assert!(other.ask("try k s").starts_with("busy Foreign"));
    let mut waiter = world.waiter("x", 1);
    // Its child has the descriptor too: both must go.
    let children = format!("/proc/{0}/task/{0}/children", foreign.id());
    let child = std::fs::read_to_string(children).unwrap();
    drop(Orphan::of(&format!("spawned {}", child.trim())));
    foreign.wait().unwrap();
    granted_soon(&mut waiter);
    let mut late = flock(&["-w", "30", "true", "x"]).spawn().unwrap();
    waiter.ask("release");
    assert!(late.wait().unwrap().success());
}

#[test]
fn readers_of_flock_and_readers_here_share() {
    let world = World::new();
    let mut reader = world.holder("s");
    let status = |option: &str| {
        let lock = world.dir().join("k.lock");
        let mut command = Command::new("flock");
        command.args(["-n", option]).arg(lock).arg("true");
        command.status().unwrap().success()
    };
    assert!(status("-s"));
    assert!(!status("-x"));
    reader.kill();
    assert!(status("-x"));
}

#[test]
fn fifty_processes_lose_no_update_of_a_counter_that_is_not_atomic() {
    let world = World::new();
    let file = world.place.path().join("log");
    let mut workers: Vec<_> = (0..50).map(|_| world.worker()).collect();
    for worker in &mut workers {
        worker.tell(&format!("count k 10 {}", file.display()));
    }
    for worker in &mut workers {
        assert_eq!(worker.hear(), "counted");
    }
    let log = std::fs::read_to_string(&file).unwrap();
    let fences: Vec<i64> = log
        .split_whitespace()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(fences.len(), 500);
    assert!(fences.is_sorted_by(|a, b| a < b));
    assert_eq!(world.residue(), Vec::<String>::new());
}

#[test]
fn killing_at_random_neither_blocks_the_key_nor_repeats_a_fence() {
    let world = World::new();
    let file = world.place.path().join("log");
    let line = format!("count k 100000 {}", file.display());
    let start = || {
        let mut worker = world.worker();
        worker.tell(&line);
        worker
    };
    // The counter of fences is made once; who is killed while it makes it leaves a draft, which harms nobody.
    let mut first = world.holder("x");
    first.ask("release");
    let mut workers: Vec<_> = (0..8).map(|_| start()).collect();
    // On a busy machine a process may be killed before it has come to anything: then they get more time.
    let mut pause = Duration::from_millis(7);
    let granted = || std::fs::read_to_string(&file).is_ok_and(|log| log.lines().count() > 10);
    let mut round = 0;
    while round < 60 || (!granted() && pause < Duration::from_secs(2)) {
        std::thread::sleep(pause);
        let at = round % workers.len();
        workers[at].kill();
        workers[at] = start();
        round += 1;
        if round >= 60 {
            pause += pause / 8;
        }
    }
    for worker in &mut workers {
        worker.kill();
    }
    let mut last = world.holder("x");
    last.ask("release");
    let log = std::fs::read_to_string(&file).unwrap();
    let fences: Vec<i64> = log
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|fence| *fence > 1_000_000_000_000_000)
        .collect();
    assert!(!fences.is_empty(), "nobody was granted the key");
    let back = fences.windows(2).find(|two| two[0] >= two[1]);
    assert_eq!(back, None, "of {} grants", fences.len());
    assert_eq!(world.residue(), Vec::<String>::new());
}

#[test]
fn two_hundred_processes_wait_and_are_served_in_the_order_they_came() {
    let world = World::new();
    let mut holder = world.holder("x");
    let mut workers: Vec<_> = (0..200).map(|_| world.worker()).collect();
    for worker in &mut workers {
        worker.tell("pass k x");
    }
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (at, worker) in workers.iter_mut().enumerate() {
        let answer = worker.hear();
        let place = answer.strip_prefix("waiting ").unwrap().parse().unwrap();
        order.push((place, at));
    }
    order.sort_unstable();
    let places: Vec<_> = order.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (1..=200).collect::<Vec<_>>());
    let began = Instant::now();
    holder.ask("release");
    let mut last = 0;
    for (place, at) in order {
        let answer = workers[at].hear();
        let fence: i64 = answer.strip_prefix("granted ").unwrap().parse().unwrap();
        assert!(fence > last, "place {place} was overtaken");
        last = fence;
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.residue(), Vec::<String>::new());
}

#[test]
fn of_simultaneous_tries_of_processes_exactly_one_is_granted() {
    let world = World::new();
    let mut workers: Vec<_> = (0..4).map(|_| world.worker()).collect();
    for round in 0..200 {
        for worker in &mut workers {
            worker.tell("try k x");
        }
        let answers: Vec<_> = workers.iter_mut().map(Worker::hear).collect();
        let won = answers.iter().filter(|answer| *answer == "granted").count();
        assert_eq!(won, 1, "round {round}: {answers:?}");
        for worker in &mut workers {
            worker.ask("release");
        }
    }
}

#[test]
fn without_inotify_those_who_wait_are_woken_all_the_same() {
    let world = World::new();
    let none = "echo 0 > /proc/sys/user/max_inotify_instances";
    let apart = || Worker::apart(&world.dir(), &["-r"], none);
    let mut holder = world.holder("x");
    let mut first = apart();
    assert_eq!(first.ask("take k x"), "waiting 1");
    let mut second = apart();
    assert_eq!(second.ask("take k x"), "waiting 2");
    holder.kill();
    granted_soon(&mut first);
    first.kill();
    granted_soon(&mut second);
}

#[test]
fn a_full_disk_grants_nothing_and_says_so() {
    let world = World::new();
    let dir = world.dir();
    std::fs::create_dir(&dir).unwrap();
    let mount = "mount -t tmpfs -o size=64k,mode=700 none \"$MONBAN_WORKER_DIR\"";
    let mut worker = Worker::apart(&dir, &["-r", "-m"], mount);
    assert_eq!(worker.ask("try old x"), "granted");
    assert_eq!(worker.ask("release"), "released [Done]");
    let file = dir.join("filler");
    assert_eq!(worker.ask(&format!("fill {}", file.display())), "filled");
    for how in ["x", "s", "1/2"] {
        let answer = worker.ask(&format!("try new{how} {how}").replace("new1/2", "new1"));
        if how == "x" {
            assert!(answer.starts_with("error Rejected"), "{how}: {answer}");
            assert!(
                answer.contains("no space left") && answer.contains("newx"),
                "{answer}"
            );
        } else {
            assert!(!answer.starts_with("granted"), "{how}: {answer}");
        }
    }
    worker.ask(&format!("run rm {}", file.display()));
    assert_eq!(worker.ask("try newx x"), "granted", "once there is space");
    worker.ask("release");
}

#[test]
fn a_read_only_disk_grants_nothing_and_says_so() {
    let world = World::new();
    let dir = world.dir();
    std::fs::create_dir(&dir).unwrap();
    let script = "mount -t tmpfs -o size=64k,mode=700 none \"$MONBAN_WORKER_DIR\"
        printf 'try old x\\nrelease\\n' | \"$0\" --exact worker --nocapture >/dev/null
        mount -o remount,ro \"$MONBAN_WORKER_DIR\"";
    let mut worker = Worker::apart(&dir, &["-r", "-m"], script);
    for line in ["try old x", "try new x", "try old s", "try new 1/2"] {
        let answer = worker.ask(line);
        assert!(answer.starts_with("error Rejected"), "{line}: {answer}");
        assert!(answer.contains("read-only"), "{line}: {answer}");
    }
}
