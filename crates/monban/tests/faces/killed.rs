//! Holders and waiters that are killed, as real processes: this test program runs itself again.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use monban::data::{Entry, Standing};
use monban::{Locks, Options, block_on};

use crate::each::{FACES, Face, KEY};
use crate::place::{MS, Place, eventually, figure, spawn};

/// Names the store and the face for a worker; without it the `worker` test has nothing to do.
const STORE: &str = "MONBAN_FACE_STORE";
const FACE: &str = "MONBAN_FACE";

/// How soon a killed process is outlived where only its TTL tells.
fn short() -> Options {
    Options::new().ttl(Duration::from_secs(1))
}

/// The life of a worker: takes, says so, and keeps it until its input ends.
#[test]
fn worker() {
    let Ok(store) = std::env::var(STORE) else {
        return;
    };
    let face: usize = std::env::var(FACE).unwrap().parse().unwrap();
    let locks = block_on(Locks::connect(&store)).unwrap();
    let held = block_on(FACES[face].take(&locks, short())).unwrap();
    println!("\n> held");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    block_on(held.release()).unwrap();
}

/// A worker as its parent sees it; killed when dropped.
struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(place: &Place, face: Face) -> Self {
        let at = FACES.iter().position(|one| *one == face).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::worker", "--nocapture"])
            .env(STORE, place.url.as_ref().unwrap())
            .env(FACE, at.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Returns when it has taken the key.
    fn held(&mut self) {
        let held = self.lines.any(|line| line.unwrap() == "> held");
        assert!(held, "the worker has ended");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many wait, at whichever key.
fn waiting(place: &Place) -> usize {
    let entries = block_on(place.two.inspect("")).unwrap();
    let waits = |entry: &&Entry| matches!(entry.standing, Standing::Waiting { .. });
    entries.iter().filter(waits).count()
}

pub(crate) fn a_killed_process_is_followed_by_every_face(place: &Place) {
    let mut gaps = Vec::new();
    for face in FACES {
        let mut worker = Worker::start(place, face);
        worker.held();
        // Who shares does not wait for who shares.
        let next = if face == Face::Reader {
            Face::Writer
        } else {
            face
        };
        let taken = next.take(&place.one, Options::new());
        let next = spawn(async move { (taken.await, Instant::now()) });
        eventually("the next waits", || waiting(place) == 1);
        assert!(!next.is_finished(), "{face:?}: while the holder lives");
        let killed = Instant::now();
        worker.kill();
        eventually(&format!("{face:?} is followed"), || next.is_finished());
        let (next, got) = next.join().unwrap();
        gaps.push(got - killed);
        let next = next.unwrap();
        next.check().unwrap();
        block_on(next.release()).unwrap();
        place.assert_clean(&format!("{face:?}"));
    }
    figure(
        place,
        "from the kill of a holder until the next has the key",
        gaps,
    );
}

pub(crate) fn a_killed_waiter_is_passed_over_by_every_face(place: &Place) {
    for face in FACES {
        let holder = place.one.mutex(KEY).unwrap().lock().wait().unwrap();
        let mut worker = Worker::start(place, face);
        eventually("the worker waits", || waiting(place) == 1);
        let next = spawn(Face::Writer.take(&place.two, Options::new()));
        eventually("another waits behind it", || waiting(place) == 2);
        worker.kill();
        block_on(holder.release()).unwrap();
        eventually(&format!("{face:?} is passed over"), || next.is_finished());
        block_on(next.join().unwrap().unwrap().release()).unwrap();
        place.assert_clean(&format!("{face:?}"));
    }
    // It was the worker that was killed, not one that had never waited.
    let mut worker = Worker::start(place, Face::Mutex);
    worker.held();
    let busy = place.one.mutex(KEY).unwrap().lock().within(50 * MS).wait();
    assert!(busy.is_err(), "{busy:?}");
}
