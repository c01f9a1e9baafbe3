//! What is particular to files. That the store keeps the contract is the conformance suite's business.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::*;
use crate::contract::{Busy, Grant, Why};
use crate::data::{Claimant, EntryId, Fence, IfBusy, Keep, Mode, ProcessId, Standing};

/// Every verb of a local store is finished by its first poll.
fn now<T>(verb: impl Future<Output = T>) -> T {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a verb of a local store was not finished by its first poll"),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, with no runtime; whether it was ready in time.
fn wait(future: impl Future<Output = ()>, longest: Duration) -> bool {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            return true;
        }
        let Some(rest) = longest.checked_sub(began.elapsed()) else {
            return false;
        };
        std::thread::park_timeout(rest);
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

    fn path(&self) -> PathBuf {
        self.place.path().join("locks")
    }

    fn store(&self) -> FileStore {
        let store = FileStore::new(self.path());
        now(store.open()).unwrap();
        store
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn claim(key: &str, mode: Mode, if_busy: IfBusy) -> Claim {
    Claim {
        key: Key::new(key).unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode,
        ttl: Duration::from_secs(30),
        if_busy,
        claimant: Claimant::this_process("test"),
    }
}

fn alone(key: &str) -> Claim {
    claim(key, Mode::Exclusive, IfBusy::Leave)
}

fn queued(key: &str, mode: Mode) -> Claim {
    claim(key, mode, IfBusy::Queue)
}

fn permits(n: u32, of: u32) -> Mode {
    Mode::Permits { n, of }
}

fn attempt(store: &FileStore, claim: &Claim) -> Result<Attempt> {
    now(store.attempt(std::slice::from_ref(claim))).remove(0)
}

fn granted(store: &FileStore, claim: &Claim) -> Grant {
    match attempt(store, claim).unwrap() {
        Attempt::Granted(grant) => grant,
        Attempt::Busy(busy) => panic!("{busy:?}"),
    }
}

fn renew(store: &FileStore, claim: &Claim, fence: Option<Fence>) -> Renewal {
    let claim = claim.clone();
    now(store.renew(&[Keep { claim, fence }]))
        .remove(0)
        .unwrap()
}

fn busy(store: &FileStore, claim: &Claim) -> Busy {
    match attempt(store, claim).unwrap() {
        Attempt::Granted(grant) => panic!("{grant:?}"),
        Attempt::Busy(busy) => busy,
    }
}

fn release(store: &FileStore, claim: &Claim) -> Release {
    linger(store, claim, None)
}

fn linger(store: &FileStore, claim: &Claim, linger: Option<Duration>) -> Release {
    let claim = claim.clone();
    now(store.release(&[Leave { claim, linger }]))
        .remove(0)
        .unwrap()
}

fn inspect(store: &FileStore) -> Vec<Entry> {
    now(store.inspect(b"")).unwrap()
}

/// What is left of lines; nothing if everybody has left cleanly.
fn lines(world: &World) -> Vec<String> {
    fs::read_dir(world.file(".monban"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "fence")
        .collect()
}

#[test]
fn two_stores_on_one_directory_exclude_each_other_in_one_process() {
    let world = World::new();
    let (a, b) = (world.store(), world.store());
    let (mine, yours) = (alone("k"), alone("k"));
    let first = granted(&a, &mine).fence.unwrap();
    let answer = busy(&b, &yours);
    assert_eq!((answer.why, answer.ahead), (Why::Held, Some(1)));
    assert_eq!(answer.who, Some(mine.claimant.clone()));
    assert_eq!(granted(&a, &mine).fence, Some(first), "asked again");
    assert_eq!(release(&a, &mine), Release::Done);
    assert_eq!(release(&a, &mine), Release::Done);
    assert_eq!(release(&a, &yours), Release::Gone);
    assert!(granted(&b, &yours).fence.unwrap() > first);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn those_who_wait_are_served_in_order_and_woken_by_the_kernel() {
    let world = World::new();
    let store = world.store();
    let holder = alone("k");
    granted(&store, &holder);
    let waiters: Vec<_> = (0..5).map(|_| queued("k", Mode::Exclusive)).collect();
    let mut wakes: VecDeque<_> = waiters
        .iter()
        .enumerate()
        .map(|(at, waiter)| {
            let answer = busy(&store, waiter);
            assert_eq!(answer.ahead, Some(at + 1));
            answer.changed.unwrap()
        })
        .collect();
    let late = alone("k");
    assert_eq!(busy(&store, &late).ahead, Some(6));
    let mut last = holder;
    for waiter in &waiters {
        let began = Instant::now();
        release(&store, &last);
        assert!(matches!(attempt(&store, &late), Ok(Attempt::Busy(_))));
        assert!(wait(wakes.pop_front().unwrap(), Duration::from_secs(5)));
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "the net woke it"
        );
        granted(&store, waiter);
        last = waiter.clone();
    }
    release(&store, &last);
    granted(&store, &late);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn permits_are_counted_seated_and_served_in_order() {
    let world = World::new();
    let (a, b) = (world.store(), world.store());
    let claims: Vec<_> = (0..2).map(|_| queued("k", permits(1, 3))).collect();
    assert_eq!(granted(&a, &claims[0]).seat, Some(0));
    assert_eq!(granted(&b, &claims[1]).seat, Some(1));
    let large = queued("k", permits(2, 3));
    let wake = busy(&a, &large).changed.unwrap();
    let small = queued("k", permits(1, 3));
    let behind = busy(&b, &small).changed.unwrap(); // it would fit, and does not overtake
    assert!(matches!(
        attempt(&b, &queued("k", permits(1, 2))),
        Err(Error::Mismatch { .. })
    ));
    assert!(matches!(
        attempt(&b, &queued("k", Mode::Shared)),
        Err(Error::Mismatch { .. })
    ));
    release(&a, &claims[0]); // not the one right before: all who hold are watched
    assert!(wait(wake, Duration::from_millis(500)));
    assert_eq!(granted(&a, &large).seat, Some(0));
    assert!(
        wait(behind, Duration::from_millis(500)),
        "a grant ahead wakes"
    );
    let last = busy(&b, &small);
    release(&b, &claims[1]);
    assert!(wait(last.changed.unwrap(), Duration::from_millis(500)));
    assert_eq!(granted(&b, &small).seat, Some(1));
    release(&a, &large);
    release(&b, &small);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn a_waiter_that_looks_late_does_not_get_the_seat_of_one_behind_it() {
    let world = World::new();
    let (a, b) = (world.store(), world.store());
    let all = queued("k", permits(3, 3));
    granted(&a, &all);
    let ahead = queued("k", permits(1, 3));
    busy(&a, &ahead);
    release(&a, &all);
    // It fits beside the waiter, which has not looked again.
    let behind = queued("k", permits(1, 3));
    let taken = granted(&b, &behind).seat;
    let seat = granted(&a, &ahead).seat;
    assert!(seat.is_some() && taken.is_some());
    assert_ne!(seat, taken);
    release(&b, &behind);
    let next = queued("k", permits(1, 3));
    assert_eq!(granted(&b, &next).seat, taken);
    release(&b, &next);
    release(&a, &ahead);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn the_first_in_line_keeps_its_place_if_the_counter_cannot_be_had() {
    let world = World::new();
    let store = world.store();
    let holder = alone("k");
    granted(&store, &holder);
    let first = queued("k", Mode::Exclusive);
    busy(&store, &first);
    let second = queued("k", Mode::Exclusive);
    busy(&store, &second);
    // As a process does that was stopped just there.
    let counter = fs::File::open(world.file(".monban/fence")).unwrap();
    counter.lock().unwrap();
    release(&store, &holder);
    let error = attempt(&store, &first).unwrap_err();
    assert!(error.is_transient(), "{error}");
    drop(counter);
    assert_eq!(busy(&store, &second).ahead, Some(1));
    granted(&store, &first);
    release(&store, &first);
    granted(&store, &second);
    release(&store, &second);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn readers_share_and_a_writer_between_them_is_not_overtaken() {
    let world = World::new();
    let store = world.store();
    let (one, two) = (queued("k", Mode::Shared), queued("k", Mode::Shared));
    assert_eq!(granted(&store, &one).fence, None);
    granted(&store, &two);
    let writer = queued("k", Mode::Exclusive);
    let wake = busy(&store, &writer).changed.unwrap();
    let reader = queued("k", Mode::Shared);
    assert_eq!(busy(&store, &reader).why, Why::Held);
    assert!(matches!(
        attempt(&store, &claim("k", Mode::Shared, IfBusy::Leave)),
        Ok(Attempt::Busy(_))
    ));
    release(&store, &two);
    assert!(wait(wake, Duration::from_millis(500)));
    let wake = busy(&store, &writer).changed.unwrap();
    release(&store, &one);
    assert!(wait(wake, Duration::from_millis(500)));
    granted(&store, &writer);
    let wake = busy(&store, &reader).changed.unwrap();
    release(&store, &writer);
    assert!(wait(wake, Duration::from_millis(500)));
    granted(&store, &reader);
    release(&store, &reader);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn a_wait_that_is_released_leaves_nothing_and_lets_the_next_one_in() {
    let world = World::new();
    let store = world.store();
    let (holder, first, second) = (
        alone("k"),
        queued("k", Mode::Exclusive),
        queued("k", Mode::Exclusive),
    );
    granted(&store, &holder);
    busy(&store, &first);
    let wake = busy(&store, &second).changed.unwrap();
    assert_eq!(release(&store, &first), Release::Done);
    assert!(wait(wake, Duration::from_millis(500)));
    let wake = busy(&store, &second).changed.unwrap();
    release(&store, &holder);
    assert!(wait(wake, Duration::from_millis(500)));
    granted(&store, &second);
    release(&store, &second);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn a_linger_outlives_its_store_and_can_be_ended_by_hand() {
    let world = World::new();
    let claim = alone("k");
    {
        let store = world.store();
        granted(&store, &claim);
        linger(&store, &claim, Some(Duration::from_secs(3600)));
    }
    let store = world.store();
    let answer = busy(&store, &alone("k"));
    assert_eq!(answer.why, Why::Lingering);
    assert_eq!(answer.who, Some(claim.claimant.clone()));
    let rest = answer.free_in.unwrap();
    assert!(rest <= Duration::from_secs(3600) && rest > Duration::from_secs(3500));
    assert_eq!(busy(&store, &claim).why, Why::Lingering);
    assert_eq!(renew(&store, &claim, None), Renewal::Lost);
    assert_eq!(busy(&store, &queued("k", Mode::Shared)).why, Why::Lingering);
    let waiter = queued("k", Mode::Exclusive);
    let wait_for = busy(&store, &waiter);
    assert!(wait_for.free_in.is_some());
    let shown = inspect(&store);
    assert_eq!(shown[0].standing, Standing::Lingering);
    assert_eq!(shown[0].id, EntryId::Claim(claim.id));
    assert_eq!(now(store.evict(&shown[0])).unwrap(), Release::Done);
    assert_eq!(now(store.evict(&shown[0])).unwrap(), Release::Gone);
}

#[test]
fn a_short_linger_ends_by_itself() {
    let world = World::new();
    let store = world.store();
    let claim = alone("k");
    granted(&store, &claim);
    linger(&store, &claim, Some(Duration::from_millis(60)));
    let free_in = busy(&store, &alone("k")).free_in.unwrap();
    std::thread::sleep(free_in);
    let next = alone("k");
    granted(&store, &next);
    release(&store, &next);
    assert!(inspect(&store).is_empty());
}

#[test]
fn those_who_hold_and_wait_are_shown_in_order() {
    let world = World::new();
    let (a, b) = (world.store(), world.store());
    let holder = Claim {
        claimant: Claimant::new("web-3", 4711, "nightly"),
        ..alone("job:1")
    };
    let fence = granted(&a, &holder).fence;
    let waiter = queued("job:1", Mode::Exclusive);
    busy(&b, &waiter);
    let other = queued("job/2", permits(2, 4));
    granted(&b, &other);
    let all = inspect(&a);
    let keys: Vec<_> = all.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["job/2", "job:1", "job:1"]);
    assert_eq!(all[0].seat, Some(0));
    assert_eq!(all[1].claimant, Some(holder.claimant.clone()));
    assert_eq!((all[1].standing, all[1].fence), (Standing::Holding, fence));
    assert_eq!(all[2].standing, Standing::Waiting { ahead: 1 });
    assert!(all[2].age.unwrap() < Duration::from_secs(60));
    assert_eq!(now(a.inspect(b"job:")).unwrap().len(), 2);
    assert!(matches!(
        now(a.evict(&all[1])),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn a_line_that_cannot_be_read_hides_no_other_key() {
    let world = World::new();
    let store = world.store();
    for key in ["xx", "yy", "zz"] {
        granted(&store, &alone(key));
    }
    let line = world.file(".monban/yy.line");
    fs::create_dir(&line).unwrap();
    fs::write(line.join("junk"), "").unwrap();
    let keys = |prefix: &[u8]| {
        let shown = now(store.inspect(prefix))?;
        Ok(shown.iter().map(|entry| entry.key.to_string()).collect())
    };
    let all: Result<Vec<String>> = keys(b"");
    assert_eq!(all.unwrap(), ["xx", "zz"]);
    assert_eq!(keys(b"x").unwrap(), ["xx"]);
    let text = keys(b"yy").unwrap_err().to_string();
    assert!(text.contains("yy.line/junk"), "{text}");
}

#[test]
fn a_long_key_is_kept_inside_shown_and_told_from_another_with_its_name() {
    let world = World::new();
    let store = world.store();
    let text = "long/".repeat(60);
    for mode in [Mode::Exclusive, Mode::Shared] {
        let key = format!("{mode:?}{text}");
        let claim = claim(&key, mode, IfBusy::Leave);
        granted(&store, &claim);
        assert_eq!(inspect(&store).remove(0).key, claim.key);
        release(&store, &claim);
        let other = Key::new(format!("x{text}")).unwrap();
        let (mine, theirs) = (name::Name::of(&claim.key), name::Name::of(&other));
        fs::copy(world.file(&mine.lock()), world.file(&theirs.lock())).unwrap();
        let clash = alone(other.as_str().unwrap());
        assert!(matches!(
            attempt(&store, &clash),
            Err(Error::Mismatch { .. })
        ));
        fs::remove_file(world.file(&theirs.lock())).unwrap();
    }
}

#[test]
fn a_lock_file_with_content_of_somebody_elses_is_left_as_it_is() {
    let world = World::new();
    let store = world.store();
    let file = world.file("k.lock");
    fs::write(&file, "4711\n").unwrap();
    let claim = alone("k");
    granted(&store, &claim);
    assert_eq!(busy(&store, &alone("k")).who, Some(claim.claimant.clone()));
    assert_eq!(inspect(&store)[0].id, EntryId::Claim(claim.id));
    linger(&store, &claim, Some(Duration::from_secs(60)));
    assert_eq!(busy(&store, &alone("k")).why, Why::Lingering);
    let shown = inspect(&store);
    assert_eq!(now(store.evict(&shown[0])).unwrap(), Release::Done);
    granted(&store, &alone("k"));
    assert_eq!(fs::read(&file).unwrap(), b"4711\n");
}

#[test]
fn a_lock_file_that_is_removed_under_its_holder_is_a_loss() {
    let world = World::new();
    let store = world.store();
    let claim = alone("k");
    let fence = granted(&store, &claim).fence;
    assert_eq!(renew(&store, &claim, fence), Renewal::Kept);
    fs::remove_file(world.file("k.lock")).unwrap();
    assert_eq!(renew(&store, &claim, fence), Renewal::Lost);
    let next = alone("k");
    let newer = granted(&store, &next).fence;
    assert_eq!(renew(&store, &claim, fence), Renewal::Lost);
    assert_eq!(release(&store, &claim), Release::Gone);
    assert_eq!(renew(&store, &next, newer), Renewal::Kept);
    assert_eq!(renew(&store, &alone("k"), newer), Renewal::Lost);
}

#[test]
fn a_directory_that_is_open_to_others_or_a_link_is_refused_with_what_to_do() {
    let world = World::new();
    let path = world.path();
    let refusal = |path: &Path| now(FileStore::new(path).open()).unwrap_err().to_string();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let text = refusal(&path);
    assert!(text.contains("755") && text.contains("chmod 700"), "{text}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(now(FileStore::new(&path).open()).is_ok());
    let link = world.place.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(refusal(&link).contains("symbolic link"));
    fs::set_permissions(world.place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refusal(&path).contains("sticky"));
    fs::set_permissions(world.place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(now(FileStore::new(&path).open()).is_ok());
    fs::write(world.place.path().join("file"), "").unwrap();
    assert!(refusal(&world.place.path().join("file")).contains("not a directory"));
}

#[test]
fn what_is_not_a_file_of_ours_is_never_locked_or_followed() {
    let world = World::new();
    let store = world.store();
    let bystander = world.place.path().join("bystander");
    fs::write(&bystander, "precious").unwrap();
    symlink(&bystander, world.file("link.lock")).unwrap();
    symlink(world.file("nowhere"), world.file("dangling.lock")).unwrap();
    fs::create_dir(world.file("dir.lock")).unwrap();
    fs::hard_link(&bystander, world.file("hard.lock")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.file("fifo.lock"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for key in ["link", "dangling", "dir", "hard", "fifo"] {
        for mode in [Mode::Exclusive, Mode::Shared, permits(1, 2)] {
            for if_busy in [IfBusy::Leave, IfBusy::Queue] {
                let error = attempt(&store, &claim(key, mode, if_busy)).unwrap_err();
                let text = error.to_string();
                assert!(matches!(error, Error::Rejected { .. }), "{text}");
                assert!(text.contains(&format!("{key}.lock")), "{text}");
            }
        }
    }
    assert_eq!(fs::read(&bystander).unwrap(), b"precious");
    assert!(!world.file("nowhere").exists());
    assert!(inspect(&store).is_empty());
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn a_damaged_counter_or_line_or_linger_is_refused_and_never_counted_anew() {
    let world = World::new();
    let claim = alone("k");
    let fence = |store: &FileStore| {
        let grant = granted(store, &claim);
        release(store, &claim);
        grant.fence.unwrap()
    };
    let store = world.store();
    let first = fence(&store);
    let counter = world.file(".monban/fence");
    let good = fs::read(&counter).unwrap();
    for bad in [&b""[..], b"12\n", &good[..40]] {
        fs::write(&counter, bad).unwrap();
        let text = attempt(&store, &claim).unwrap_err().to_string();
        assert!(
            text.contains(".monban/fence") && text.contains("remove it"),
            "{text}"
        );
    }
    fs::remove_file(&counter).unwrap();
    let second = fence(&store);
    assert!(second > first, "the clock carries it");
    // Far ahead of the clock: the file is believed, not the clock.
    let ahead = String::from_utf8(good).unwrap();
    assert!(ahead.len() > 40);
    fs::create_dir(world.file(".monban/odd.line")).unwrap();
    fs::write(world.file(".monban/odd.line/what"), "").unwrap();
    assert!(
        attempt(&store, &alone("odd"))
            .unwrap_err()
            .to_string()
            .contains("odd.line/what")
    );
    fs::write(world.file("torn.lock"), "monban1 L ab").unwrap();
    assert!(
        attempt(&store, &alone("torn"))
            .unwrap_err()
            .to_string()
            .contains("torn.lock")
    );
    assert!(Fence::after(Some(second), 0).is_some());
}

#[test]
fn a_second_name_that_a_dead_process_left_on_the_counter_is_removed_and_no_other() {
    let world = World::new();
    let store = world.store();
    let take = |store: &FileStore| {
        let claim = alone("k");
        let attempt = attempt(store, &claim);
        release(store, &claim);
        attempt
    };
    take(&store).unwrap();
    let counter = world.file(".monban/fence");
    let draft = world.file(".monban/fence.0123456789abcdef");
    for store in [&store, &world.store()] {
        fs::hard_link(&counter, &draft).unwrap();
        take(store).unwrap();
        assert!(!draft.exists());
    }
    fs::write(&draft, "of a process that is writing it").unwrap();
    for name in [".monban/fence.0123456789abcdeg", "x.lock"] {
        let odd = world.file(name);
        fs::hard_link(&counter, &odd).unwrap();
        assert!(take(&store).unwrap_err().to_string().contains("hard links"));
        fs::remove_file(&odd).unwrap();
    }
    assert!(draft.exists(), "another file is not touched");
    take(&store).unwrap();
}

#[test]
fn the_first_claims_in_a_fresh_directory_are_all_granted() {
    for _ in 0..30 {
        let world = World::new();
        world.store();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for at in 0..8 {
                let (world, start) = (&world, &start);
                scope.spawn(move || {
                    let store = world.store();
                    start.wait();
                    granted(&store, &alone(&format!("k{at}")));
                });
            }
        });
        assert_eq!(lines(&world), Vec::<String>::new());
    }
}

#[test]
fn a_directory_that_is_removed_while_in_use_grants_nothing() {
    let world = World::new();
    let store = world.store();
    let claim = alone("k");
    let fence = granted(&store, &claim).fence;
    fs::remove_dir_all(world.path()).unwrap();
    assert_eq!(renew(&store, &claim, fence), Renewal::Lost);
    for mode in [Mode::Exclusive, Mode::Shared] {
        let error = attempt(&store, &queued("other", mode))
            .unwrap_err()
            .to_string();
        assert!(error.contains("removed while in use"), "{error}");
    }
}

#[test]
fn what_the_dead_left_is_cleared_away() {
    let world = World::new();
    let store = world.store();
    let dir = world.file(".monban/k.line");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    for (ticket, what) in [(1, "p1-2"), (2, "x"), (3, "s")] {
        let id = ClaimId::random(ProcessId::random());
        fs::write(dir.join(format!("{ticket:016x}.{what}.{id}.w")), "").unwrap();
    }
    assert!(inspect(&store).is_empty());
    let claim = alone("k");
    granted(&store, &claim);
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn a_damaged_description_costs_nothing_but_the_description() {
    let world = World::new();
    let store = world.store();
    fs::write(world.file("k.lock"), "monban1 H \u{1b}[2J").unwrap();
    let claim = alone("k");
    granted(&store, &claim);
    fs::write(world.file("k.lock"), "monban1 H ...").unwrap();
    let answer = busy(&store, &alone("k"));
    assert!(
        answer
            .who
            .is_some_and(|who| who.pid() == std::process::id())
    );
}

#[test]
fn threads_with_stores_of_their_own_never_overlap_and_fences_never_repeat() {
    let world = World::new();
    let inside = std::sync::atomic::AtomicU32::new(0);
    let fences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = world.store();
                for _ in 0..60 {
                    let claim = queued("k", Mode::Exclusive);
                    let grant = loop {
                        match attempt(&store, &claim).unwrap() {
                            Attempt::Granted(grant) => break grant,
                            Attempt::Busy(busy) => {
                                wait(busy.changed.unwrap(), Duration::from_secs(30));
                            }
                        }
                    };
                    use std::sync::atomic::Ordering::SeqCst;
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    lock(&fences).push(grant.fence.unwrap());
                    assert_eq!(inside.fetch_sub(1, SeqCst), 1);
                    release(&store, &claim);
                }
            });
        }
    });
    let fences = fences.into_inner().unwrap();
    assert_eq!(fences.len(), 480);
    assert!(fences.is_sorted_by(|a, b| a < b), "in order of the grants");
    assert_eq!(lines(&world), Vec::<String>::new());
}

#[test]
fn of_simultaneous_tries_exactly_one_is_granted() {
    let world = World::new();
    let stores: Vec<_> = (0..4).map(|_| world.store()).collect();
    let start = std::sync::Barrier::new(stores.len());
    let wins = Mutex::new(vec![0; 300]);
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| {
                for round in 0..300 {
                    let claim = alone("k");
                    start.wait();
                    let won = matches!(attempt(store, &claim).unwrap(), Attempt::Granted(_));
                    lock(&wins)[round] += usize::from(won);
                    start.wait();
                    release(store, &claim);
                }
            });
        }
    });
    let wins = wins.into_inner().unwrap();
    assert!(wins.iter().all(|won| *won == 1), "{wins:?}");
}

#[test]
fn lent_descriptors_keep_the_key_until_it_is_released_here() {
    let world = World::new();
    let store = world.store();
    for mode in [Mode::Exclusive, Mode::Shared, permits(1, 1)] {
        let claim = claim("k", mode, IfBusy::Leave);
        assert!(store.held_descriptors(&claim.id).unwrap().is_empty());
        granted(&store, &claim);
        let lent = store.held_descriptors(&claim.id).unwrap();
        assert_eq!(lent.len(), if mode == Mode::Exclusive { 1 } else { 2 });
        let next = queued("k", Mode::Exclusive);
        let wake = busy(&store, &next).changed.unwrap();
        release(&store, &claim);
        assert!(
            wait(wake, Duration::from_millis(500)),
            "woken though a copy is open"
        );
        granted(&store, &next);
        release(&store, &next);
        drop(lent);
    }
}

#[test]
fn who_waits_for_a_share_is_not_woken_by_its_own_looks() {
    let world = World::new();
    let store = world.store();
    for mode in [Mode::Shared, permits(1, 2)] {
        let holder = alone("k");
        granted(&store, &holder);
        let next = queued("k", mode);
        let mut wake = busy(&store, &next).changed.unwrap();
        let mut looks = 0;
        while wait(wake, Duration::from_millis(200)) {
            looks += 1;
            assert!(looks < 50, "it wakes itself");
            wake = busy(&store, &next).changed.unwrap();
        }
        let wake = busy(&store, &next).changed.unwrap();
        release(&store, &holder);
        assert!(wait(wake, Duration::from_secs(10)));
        granted(&store, &next);
        release(&store, &next);
    }
}

#[test]
fn a_lock_that_goes_a_while_after_the_notice_is_seen_to_go() {
    let world = World::new();
    let store = world.store();
    let holder = alone("k");
    granted(&store, &holder);
    let lent = store.held_descriptors(&holder.id).unwrap();
    let next = queued("k", Mode::Exclusive);
    let wake = busy(&store, &next).changed.unwrap();
    drop(fs::File::open(world.file("k.lock")).unwrap()); // as if by who holds, who now does not run for a while
    assert!(wait(wake, Duration::from_secs(10)));
    std::thread::sleep(Duration::from_millis(30));
    let wake = busy(&store, &next).changed.unwrap();
    rustix::fs::flock(&lent[0], rustix::fs::FlockOperation::Unlock).unwrap();
    assert!(wait(wake, Duration::from_secs(10)));
    granted(&store, &next);
}

#[test]
fn a_url_names_a_directory_from_the_root_or_another_store() {
    let path = |url: &str| FileStore::from_url(url).unwrap().unwrap().path.clone();
    assert_eq!(path("file:/a/b"), Path::new("/a/b"));
    assert_eq!(path("file:///a/b"), Path::new("/a/b"));
    assert_eq!(path("file:"), default_directory().unwrap());
    assert!(FileStore::from_url("redis://h").unwrap().is_none());
    for odd in ["file:a", "file://host/a", "file:./a"] {
        assert!(
            matches!(FileStore::from_url(odd), Err(Error::Invalid { .. })),
            "{odd}"
        );
    }
}

#[test]
fn a_forked_child_can_neither_use_nor_free_what_the_parent_holds() {
    let world = World::new();
    for mode in [Mode::Exclusive, Mode::Shared] {
        let mut child = world.store();
        let claim = claim("k", mode, IfBusy::Leave);
        granted(&child, &claim);
        let parents = child.held_descriptors(&claim.id).unwrap();
        child.dir.get_mut().unwrap().pid += 1; // as the child sees the parent's
        let error = attempt(&child, &claim).unwrap_err().to_string();
        assert!(error.contains("fork"), "{error}");
        let leave = Leave {
            claim,
            linger: None,
        };
        assert!(now(child.release(&[leave])).remove(0).is_err());
        drop(child);
        let store = world.store();
        busy(&store, &alone("k"));
        drop(parents);
        let next = alone("k");
        granted(&store, &next);
        release(&store, &next);
    }
}

#[test]
fn monban_is_not_taken_for_a_stranger_while_it_takes_and_gives_back() {
    let world = World::new();
    let store = world.store();
    granted(&store, &alone("k")); // Its record stays, as that of the process that had the key last.
    drop(store);
    let done = AtomicBool::new(false);
    let stranger = std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = world.store();
            while !done.load(Ordering::Relaxed) {
                let claim = alone("k");
                // It may be busy: who looks takes the lock for an instant where it seems to be taken.
                if let Attempt::Granted(_) = attempt(&store, &claim).unwrap() {
                    release(&store, &claim);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let store = world.store();
        let stranger = (0..3_000)
            .flat_map(|_| inspect(&store))
            .find(|entry| entry.standing == Standing::Foreign);
        done.store(true, Ordering::Relaxed);
        stranger
    });
    assert!(stranger.is_none(), "{stranger:?}");
}
