//! A life: what happens in it, and what must hold at every step.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Dice;
use super::wire::{LATEST, Wire};
use crate::contract::{Release, Store};
use crate::data::{Entry, EntryId, Error, Key, Options, RenewalPolicy, Result, Standing};
use crate::engine::block::poll_once;
use crate::engine::{Lease, LeaseState, Locks};
use crate::faces::LeaseSet;
use crate::rule::{Clock, Tick};
use crate::stores::memory::MemoryStore;

const TTLS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];
const LONGEST_TTL: Duration = TTLS[2];
const LONGEST_LINGER: Duration = Duration::from_secs(2);
/// In the time of the life: whoever waits longer at its end, with nobody holding, is stranded.
const STRANDED: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(50);
const KEYS: [&str; 2] = ["one", "two"];

pub(super) struct World {
    seed: u64,
    dice: Dice,
    clock: Clock,
    began: Tick,
    memory: MemoryStore,
    processes: Vec<Process>,
    waits: Vec<Wait>,
    held: Vec<Held>,
    errands: Vec<JoinHandle<()>>,
    told: Vec<String>,
}

struct Process {
    locks: Locks,
    /// A process without one reaches the store directly.
    wire: Option<Wire>,
    keeper: JoinHandle<()>,
    closing: Option<JoinHandle<()>>,
    closed: bool,
}

/// A caller that waits, or tries.
struct Wait {
    number: usize,
    process: usize,
    /// `close` had returned before it began.
    too_late: bool,
    task: JoinHandle<Result<Option<Grip>>>,
}

struct Held {
    number: usize,
    grip: Arc<Grip>,
    /// A claim of it was taken away: from this instant it must have heard of it.
    knows_by: Option<Tick>,
    /// It has been seen to be lost.
    lost: bool,
}

enum Grip {
    One(Lease),
    Set(LeaseSet),
}

impl Grip {
    fn leases(&self) -> Vec<&Lease> {
        match self {
            Self::One(lease) => vec![lease],
            Self::Set(set) => set.iter().collect(),
        }
    }

    async fn release(self, linger: Option<Duration>) -> Result<()> {
        match (self, linger) {
            (Self::One(lease), Some(linger)) => lease.release_lingering(linger).await,
            (Self::One(lease), None) => lease.release().await,
            (Self::Set(set), _) => set.release().await,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let life = self.told.join("\n");
            eprintln!("{life}\nplay it again with MONBAN_SIM_SEED={}", self.seed);
        }
    }
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clock = Clock::manual();
        let memory = MemoryStore::new(clock.clone());
        let faults = dice.one(&[0, 5, 25]);
        let mut processes = Vec::new();
        for number in 0..2 + dice.below(2) {
            let wire = dice.percent(85).then(|| {
                let dice = Dice::new(seed ^ (number as u64 + 1) << 32);
                Wire::new(memory.clone(), clock.clone(), dice, faults)
            });
            let store: Arc<dyn Store> = match &wire {
                Some(wire) => Arc::new(wire.clone()),
                None => Arc::new(memory.clone()),
            };
            let builder = Locks::builder()
                .clock(clock.clone())
                .label(number.to_string());
            let (locks, keeper) = builder.open_on(store, &Handle::current()).await.unwrap();
            processes.push(Process {
                locks,
                wire,
                keeper,
                closing: None,
                closed: false,
            });
        }
        let told = vec![format!(
            "seed {seed}: {} processes, {faults} of 100 requests go wrong",
            processes.len()
        )];
        Self {
            seed,
            dice,
            began: clock.now(),
            clock,
            memory,
            processes,
            waits: Vec::new(),
            held: Vec::new(),
            errands: Vec::new(),
            told,
        }
    }

    pub(super) async fn play(mut self) -> Vec<String> {
        for number in 0..20 + self.dice.below(60) {
            self.act(number);
            self.look();
            self.breathe(6).await;
            self.look();
        }
        self.calm_down().await;
        self.close_all().await;
        self.end().await;
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, what: impl AsRef<str>) {
        let at = self.clock.now().since(self.began).as_secs_f64();
        self.told.push(format!("{at:8.3} {}", what.as_ref()));
    }

    fn act(&mut self, number: usize) {
        match self.dice.below(20) {
            0..=5 => self.ask(number),
            6 => self.drop_a_wait(),
            7 | 8 => self.release(),
            9 => self.drop_a_lease(),
            10 => self.renew(),
            11..=14 => {
                let most = self.dice.one(&[40, 400, 4_000]);
                let by = self.dice.millis(most);
                self.tell(format!("time passes: {by:?}"));
                self.clock.advance(by);
            }
            15 => self.take_away(),
            16 | 17 => self.disturb(),
            18 => self.tell("nothing"),
            _ => self.close_one(),
        }
    }

    fn ask(&mut self, number: usize) {
        let process = self.dice.below(self.processes.len());
        let ttl = self.dice.one(&TTLS);
        let mut options = Options::new().ttl(ttl);
        if self.dice.percent(20) {
            options = options.renewal(RenewalPolicy::ByHand);
        }
        if self.dice.percent(15) {
            options = options.max_hold(Duration::from_millis(500) + self.dice.millis(4_000));
        }
        let within = self.dice.percent(40).then(|| self.dice.millis(4_000));
        let key = self.dice.one(&KEYS);
        let locks = self.processes[process].locks.clone();
        let kind = self.dice.below(8);
        let n = 1 + u32::try_from(self.dice.below(3)).unwrap();
        self.tell(format!(
            "{number} asks: process {process}, {key}, kind {kind}, TTL {ttl:?}, within {within:?}, {options:?}"
        ));
        let task = tokio::spawn(async move {
            let limit = |acquire: crate::Acquire| match within {
                Some(within) => acquire.within(within),
                None => acquire,
            };
            let one = |lease| Some(Grip::One(lease));
            match kind {
                0..=2 => {
                    let mutex = locks.mutex(key)?.with(options)?;
                    limit(mutex.lock()).await.map(one)
                }
                3 => {
                    let mutex = locks.mutex(key)?.with(options)?;
                    Ok(mutex.try_lock().await?.map(Grip::One))
                }
                4 => {
                    let lock = locks.rwlock("shared")?.with(options)?;
                    limit(lock.read()).await.map(one)
                }
                5 => {
                    let lock = locks.rwlock("shared")?.with(options)?;
                    limit(lock.write()).await.map(one)
                }
                6 => {
                    let seats = locks.semaphore("seats", 3)?.with(options)?;
                    limit(seats.take(n)?).await.map(one)
                }
                _ => {
                    let set = locks.all_of(KEYS)?.with(&options)?;
                    let mut lock = set.lock();
                    if let Some(within) = within {
                        lock = lock.within(within);
                    }
                    Ok(Some(Grip::Set(lock.await?)))
                }
            }
        });
        let too_late = self.processes[process].closed;
        self.waits.push(Wait {
            number,
            process,
            too_late,
            task,
        });
    }

    fn drop_a_wait(&mut self) {
        if !self.waits.is_empty() {
            let at = self.dice.below(self.waits.len());
            let wait = self.waits.swap_remove(at);
            self.tell(format!("{} goes away", wait.number));
            wait.task.abort();
        }
    }

    fn pick(&mut self) -> Option<Held> {
        if self.held.is_empty() {
            return None;
        }
        let at = self.dice.below(self.held.len());
        Some(self.held.swap_remove(at))
    }

    fn release(&mut self) {
        let Some(held) = self.pick() else { return };
        let linger = self.dice.percent(20).then(|| {
            let most = usize::try_from(LONGEST_LINGER.as_millis()).unwrap();
            self.dice.millis(most)
        });
        self.tell(format!("{} releases, linger {linger:?}", held.number));
        // Whoever renews it at this moment has it too; then this is a drop.
        if let Some(grip) = Arc::into_inner(held.grip) {
            let errand = tokio::spawn(async move {
                // That it failed, or came too late, is for its owner to hear; what is left is looked at here.
                let _ = grip.release(linger).await;
            });
            if self.dice.percent(20) {
                errand.abort();
            }
            self.errands.push(errand);
        }
    }

    fn drop_a_lease(&mut self) {
        if let Some(held) = self.pick() {
            self.tell(format!("{} drops its lease", held.number));
        }
    }

    fn renew(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.below(self.held.len());
        let (number, grip) = (self.held[at].number, Arc::clone(&self.held[at].grip));
        self.tell(format!("{number} renews"));
        let errand = tokio::spawn(async move {
            for lease in grip.leases() {
                let _ = lease.renew().await; // what it may believe afterwards is looked at here
            }
        });
        self.errands.push(errand);
    }

    /// Somebody frees a key by hand.
    fn take_away(&mut self) {
        if self.held.is_empty() || self.dice.percent(60) {
            return;
        }
        let at = self.dice.below(self.held.len());
        let entries = self.entries();
        let now = self.clock.now();
        let held = &mut self.held[at];
        let lease = held.grip.leases()[0];
        let is_its = |entry: &&Entry| entry.id == EntryId::Claim(lease.id());
        let Some(entry) = entries.iter().find(is_its) else {
            return;
        };
        let ttl = lease.hold().ttl().expect("a memory store has TTLs");
        held.knows_by = Some(now.after(ttl));
        let number = held.number;
        let evicted = poll_once(self.memory.evict(entry));
        assert_eq!(evicted.ok().unwrap().unwrap(), Release::Done);
        self.tell(format!("{number} is taken its lease away"));
    }

    fn disturb(&mut self) {
        let at = self.dice.below(self.processes.len());
        let (stopped, percent) = (self.dice.percent(30), self.dice.percent(30));
        let Some(wire) = self.processes[at].wire.clone() else {
            return;
        };
        wire.stop(stopped);
        wire.mute(percent);
        self.tell(format!("wire {at}: stopped {stopped}, muted {percent}"));
    }

    fn close_one(&mut self) {
        let at = self.dice.below(self.processes.len());
        if self.dice.percent(15) {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.closing.is_none() && !process.closed {
            let locks = process.locks.clone();
            process.closing = Some(tokio::spawn(async move { locks.close().await }));
            self.tell(format!("process {at} closes"));
        }
    }

    /// Lets tasks run, so often at most, and takes in what they have brought.
    async fn breathe(&mut self, most: usize) {
        run_others(self.dice.below(most + 1)).await;
        self.collect().await;
        for at in 0..self.processes.len() {
            let closing = &mut self.processes[at].closing;
            let Some(closed) = closing.take_if(|task| task.is_finished()) else {
                continue;
            };
            closed.await.unwrap();
            self.processes[at].closed = true;
            self.tell(format!("process {at} is closed"));
            self.nobody_waits_any_more(at);
            // Whoever waited has been told by now, and needs a moment to hear it.
            run_others(20).await;
            self.collect().await;
            let mut waits = self.waits.iter().filter(|wait| wait.process == at);
            let left = waits.next().map(|wait| wait.number);
            assert_eq!(left, None, "still waits though process {at} is closed");
        }
    }

    /// At the instant at which close returns, also in the store.
    fn nobody_waits_any_more(&self, process: usize) {
        if self.ghosts() > 0 || self.processes[process].wire.is_none() {
            return;
        }
        let label = process.to_string();
        for entry in self.entries() {
            let its = entry
                .claimant
                .as_ref()
                .is_some_and(|who| who.label() == label);
            let waits = matches!(entry.standing, Standing::Waiting { .. });
            let stays = entry.expires_in.is_none_or(|left| left > 2 * LATEST);
            assert!(!(its && waits && stays), "left in line by close: {entry:?}");
        }
    }

    async fn collect(&mut self) {
        for at in (0..self.waits.len()).rev() {
            if self.waits[at].task.is_finished() {
                let wait = self.waits.swap_remove(at);
                self.take_in(wait).await;
            }
        }
        for at in (0..self.errands.len()).rev() {
            if self.errands[at].is_finished()
                && let Err(error) = self.errands.swap_remove(at).await
            {
                assert!(error.is_cancelled(), "{error}");
            }
        }
    }

    async fn take_in(&mut self, wait: Wait) {
        let number = wait.number;
        match wait.task.await.expect("no caller panics") {
            Ok(None) => self.tell(format!("{number} is refused")),
            Ok(Some(grip)) => {
                self.tell(format!("{number} holds"));
                assert!(
                    !wait.too_late,
                    "{number} was granted after close had returned"
                );
                self.held.push(Held {
                    number,
                    grip: Arc::new(grip),
                    knows_by: None,
                    lost: false,
                });
            }
            Err(Error::Invalid { .. } | Error::Mismatch { .. }) => panic!("{number} asked wrongly"),
            Err(error) => self.tell(format!("{number} is told: {}", kind(&error))),
        }
    }

    /// How many requests were executed late, or twice.
    fn ghosts(&self) -> usize {
        let wires = self.processes.iter().filter_map(|it| it.wire.as_ref());
        wires.map(Wire::ghosts).sum()
    }

    fn entries(&self) -> Vec<Entry> {
        let shown = poll_once(self.memory.inspect(b""));
        shown.ok().unwrap().unwrap()
    }

    /// Whoever believes to hold, holds; and who has lost does not believe again.
    fn look(&mut self) {
        let now = self.clock.now();
        // Looking lets time pass in the store, so it is done only where there is something to see.
        let mut entries = None;
        for at in 0..self.held.len() {
            let grip = Arc::clone(&self.held[at].grip);
            let mut lost = false;
            for lease in grip.leases() {
                if let LeaseState::Lost(_) = lease.state() {
                    lost = true;
                    continue;
                }
                let held = &self.held[at];
                let alone = matches!(*grip, Grip::One(_));
                assert!(!(held.lost && alone), "{} believes again", held.number);
                // Also if a request that is repeated late joins anew.
                let told = held.knows_by.is_none_or(|by| now >= by);
                let entries = entries.get_or_insert_with(|| self.entries());
                let id = EntryId::Claim(lease.id());
                if told {
                    let entry = entries.iter().find(|entry| entry.id == id);
                    check_belief(held.number, lease, entry);
                }
            }
            self.held[at].lost |= lost;
        }
    }

    /// Nothing goes wrong any more, and everybody lets go: whoever waits is served.
    async fn calm_down(&mut self) {
        self.tell("everything calms down");
        for wire in self
            .processes
            .iter()
            .filter_map(|process| process.wire.as_ref())
        {
            wire.calm();
        }
        let patience = self.clock.now().after(STRANDED);
        while !(self.waits.is_empty() && self.errands.is_empty()) {
            let stranded: Vec<_> = self.waits.iter().map(|wait| wait.number).collect();
            assert!(self.clock.now() < patience, "stranded: {stranded:?}");
            self.held.clear();
            self.clock.advance(STEP);
            self.breathe(30).await;
        }
        self.held.clear();
    }

    async fn close_all(&mut self) {
        for at in 0..self.processes.len() {
            // Once more where it was closed before: leases that were held then have been released since.
            self.processes[at].closed = false;
            self.close(at);
        }
        let patience = self.clock.now().after(STRANDED);
        while self.processes.iter().any(|process| !process.closed) {
            assert!(self.clock.now() < patience, "close does not return");
            self.clock.advance(STEP);
            self.breathe(30).await;
        }
        let ghosts = self.ghosts();
        for entry in self.entries() {
            // A release is tried until the TTL is over by our side; by the store's it may be on its way still.
            let ends = entry.standing == Standing::Lingering
                || entry.expires_in.is_some_and(|left| left <= 2 * LATEST);
            assert!(ghosts > 0 || ends, "left when all were closed: {entry:?}");
        }
        for (at, process) in self.processes.iter().enumerate() {
            assert_eq!(process.locks.residue(), (0, 0), "process {at}");
        }
    }

    async fn end(&mut self) {
        let gone = LONGEST_TTL + LONGEST_LINGER + 2 * LATEST;
        self.clock.advance(gone + Duration::from_secs(6)); // ghosts come within 6 s
        self.breathe(30).await;
        run_others(30).await;
        self.clock.advance(gone);
        let left = self.entries();
        assert!(left.is_empty(), "nobody wants this any more: {left:?}");
        let key = Key::new("late").unwrap();
        for process in std::mem::take(&mut self.processes) {
            let late = process.locks.mutex(key.clone()).unwrap().lock().await;
            assert!(matches!(late, Err(Error::Rejected { .. })), "{late:?}");
            drop(process.locks);
            for _ in 0..1_000 {
                if process.keeper.is_finished() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert!(
                process.keeper.is_finished(),
                "the keeper outlives its handles"
            );
            process.keeper.await.expect("the keeper does not panic");
        }
        self.tell("the end");
    }
}

fn check_belief(number: usize, lease: &Lease, entry: Option<&Entry>) {
    let Some(entry) = entry else {
        panic!("{number} believes to hold, and the store does not know of it: {lease:?}");
    };
    assert_eq!(
        entry.standing,
        Standing::Holding,
        "{number} believes to hold"
    );
    assert_eq!(entry.fence, lease.hold().fence, "the fence of {number}");
    assert_eq!(entry.seat, lease.seat(), "the seat of {number}");
}

async fn run_others(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Without numbers that differ from run to run.
fn kind(error: &Error) -> String {
    match error {
        Error::Lost { why, .. } => format!("lost: {why:?}"),
        Error::TimedOut { waited, .. } => format!("timed out after {waited:?}"),
        other => other.to_string(),
    }
}
