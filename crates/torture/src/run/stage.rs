//! What happens while a plan is played: faults begin and end, the dead are replaced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monban::contract::Release;
use monban::data::Standing;
use monban::{Locks, block_on};
use rustix::process::Signal;

use super::crew::Member;
use super::disk::SlowDisk;
use super::group::Groups;
use super::{Settings, Target, sleep_until};
use crate::clock::now;
use crate::event::{Log, What};
use crate::plan::{Fault, Kind, Need, Planned};
use crate::proxy::{Proxy, Weather};
use crate::worker::Config;

mod server;

/// How often the dead are looked for.
const TICK: Duration = Duration::from_millis(20);

/// Something to be done later.
struct Later {
    at: Duration,
    deed: Deed,
}

enum Deed {
    /// A worker that was to die by its own hand dies by ours if it has not.
    Reap(usize, u32),
    /// A worker that was stopped goes on.
    Continue(usize, u32),
    /// A worker that was frozen goes on.
    Thaw(usize, u32),
    /// A worker gets as much processor time as it likes.
    Feed(usize, u32),
    /// The weather is fair again.
    Clear(Option<usize>, u32),
    /// The server comes back.
    Restart(u32),
    /// The server grants again.
    Heal(u32),
    /// The server goes on.
    Resume(u32),
    /// A worker is replaced.
    Replace(usize),
}

/// The run, while it lasts.
pub(super) struct Stage {
    target: Target,
    locks: Locks,
    log: Arc<Log>,
    crew: Vec<Member>,
    later: Vec<Later>,
    start: Instant,
    ttl: Duration,
    patience: Duration,
    faults: AtomicU32,
    /// For each worker the fault by which it is to die or is stopped.
    doomed: Vec<Option<u32>>,
    stopped: Vec<bool>,
    bad_weather: Vec<bool>,
    server_down: bool,
    slow_disk: Option<SlowDisk>,
    hands: Vec<JoinHandle<()>>,
    pub(super) broken: Vec<String>,
    /// Removed when the workers have gone.
    groups: Groups,
}

impl Stage {
    /// Starts the workers and waits until they work.
    pub(super) fn set(
        settings: &Settings,
        target: Target,
        (locks, log): (Locks, Log),
        resource: u16,
        kinds: &[&'static Kind],
    ) -> io::Result<Self> {
        let needs = |need| kinds.iter().any(|kind| kind.need == need);
        let memory = target.url == "memory:";
        let workers = if memory { 1 } else { settings.workers };
        let mut crew = Vec::new();
        for number in 0..workers {
            let proxy = target.address().map(|server| Proxy::before(&server));
            let proxy = proxy.transpose()?;
            let config = Config {
                url: target.url_through(proxy.as_ref().map(Proxy::port)),
                process: String::new(),
                history: settings.dir.join(format!("histories/w{number}.jsonl")),
                resource,
                ttl: settings.ttl,
                tasks: settings.tasks * settings.workers / workers,
                keys: settings.keys,
                long: settings.long,
                seed: settings.seed.wrapping_add(number as u64 * 104_729),
            };
            crew.push(Member::new(number, &settings.program, config, proxy));
        }
        let mut stage = Self {
            target,
            locks,
            log: Arc::new(log),
            later: Vec::new(),
            start: Instant::now(),
            ttl: settings.ttl,
            patience: settings.patience,
            faults: AtomicU32::new(0),
            doomed: vec![None; workers],
            stopped: vec![false; workers],
            bad_weather: vec![false; workers],
            server_down: false,
            slow_disk: None,
            hands: Vec::new(),
            broken: Vec::new(),
            groups: Groups::make(workers, needs(Need::Freezer), needs(Need::Quota))?,
            crew,
        };
        for member in &mut stage.crew {
            member.start()?;
        }
        stage.start = Instant::now();
        Ok(stage)
    }

    /// Plays the plan to its end, and goes on for the rest of the time.
    pub(super) fn play(&mut self, plan: Vec<Planned>, lasts: Duration) -> io::Result<()> {
        for planned in plan {
            self.pass_until(planned.at)?;
            self.begin(planned)?;
        }
        self.pass_until(lasts)
    }

    fn pass_until(&mut self, at: Duration) -> io::Result<()> {
        loop {
            self.look_after()?;
            let elapsed = self.start.elapsed();
            if elapsed >= at {
                return Ok(());
            }
            sleep_until(self.start, at.min(elapsed + TICK));
        }
    }

    /// Does what is due, and buries the dead.
    fn look_after(&mut self) -> io::Result<()> {
        let elapsed = self.start.elapsed();
        let (due, rest) = std::mem::take(&mut self.later)
            .into_iter()
            .partition(|later| later.at <= elapsed);
        self.later = rest;
        let due: Vec<Later> = due;
        for later in due {
            self.act(later.deed)?;
        }
        for worker in 0..self.crew.len() {
            let Some(status) = self.crew[worker].ended() else {
                // By a point that was reached just after it was disarmed.
                if !self.stopped[worker] && self.crew[worker].is_stopped() {
                    self.crew[worker].signal(Signal::CONT);
                }
                continue;
            };
            let process = self.crew[worker].process().to_owned();
            match self.doomed[worker].take() {
                Some(id) => {
                    self.log.now(What::Dead { process });
                    self.log.now(What::Healed { id });
                }
                None => self
                    .broken
                    .push(format!("{process} ended by itself: {status}")),
            }
            let at = self.start.elapsed() + self.ttl / 8;
            self.later.push(Later {
                at,
                deed: Deed::Replace(worker),
            });
        }
        Ok(())
    }

    fn begin(&mut self, planned: Planned) -> io::Result<()> {
        let Planned { kind, fault, .. } = planned;
        match fault {
            Fault::Kill { worker, point } => {
                let worker = self.within(worker);
                if self.crew[worker].is_running() && self.doomed[worker].is_none() {
                    let what = format!("SIGKILL at `{}`", point.name());
                    let id = self.fault(kind, Some(worker), what);
                    self.doomed[worker] = Some(id);
                    self.crew[worker].tell(&format!("die {}", point.name()));
                    self.after(self.ttl, Deed::Reap(worker, id));
                }
            }
            Fault::Stop {
                worker,
                point,
                lasts,
            } => {
                let worker = self.within(worker);
                let free = !self.stopped[worker] && self.doomed[worker].is_none();
                if self.crew[worker].is_running() && free {
                    let at = point.map_or("anywhere", |point| point.name());
                    let what = format!("SIGSTOP at `{at}` for {lasts:.1?}");
                    let id = self.fault(kind, Some(worker), what);
                    self.stopped[worker] = true;
                    match point {
                        Some(point) => self.crew[worker].tell(&format!("stop {}", point.name())),
                        None => self.crew[worker].signal(Signal::STOP),
                    }
                    self.after(lasts, Deed::Continue(worker, id));
                }
            }
            Fault::Freeze { worker, lasts } => {
                let worker = self.within(worker);
                let free = !self.stopped[worker] && self.doomed[worker].is_none();
                if let (true, Some(process)) = (free, self.crew[worker].process_id()) {
                    let id = self.fault(kind, Some(worker), format!("frozen for {lasts:.1?}"));
                    self.stopped[worker] = true;
                    self.groups.freeze(worker, process, true);
                    self.after(lasts, Deed::Thaw(worker, id));
                }
            }
            Fault::Starve {
                worker,
                hundredths,
                lasts,
            } => {
                let worker = self.within(worker);
                if let Some(process) = self.crew[worker].process_id() {
                    let what = format!("{hundredths} % of a processor for {lasts:.1?}");
                    let id = self.fault(kind, Some(worker), what);
                    self.groups.starve(worker, process, Some(hundredths));
                    self.after(lasts, Deed::Feed(worker, id));
                }
            }
            Fault::Step { worker, by } => {
                let worker = self.within(worker);
                let id = self.fault(kind, Some(worker), format!("clocks ahead by {by:.1?}"));
                self.crew[worker].tell(&format!("step {}", by.as_millis()));
                self.log.now(What::Healed { id });
            }
            Fault::Evict => self.evict(),
            Fault::Net {
                worker,
                weather,
                lasts,
            } => self.net(kind, worker, weather, lasts),
            Fault::Verb { verb, fault, times } => {
                let id = self.fault(kind, Some(0), format!("{fault} of {verb}, {times} times"));
                self.crew[0].tell(&format!("verb {verb} {fault} {times}"));
                self.after(self.ttl, Deed::Clear(Some(0), id));
            }
            server => self.server(kind, &server)?,
        }
        Ok(())
    }

    fn net(&mut self, kind: &str, worker: Option<usize>, weather: Weather, lasts: Duration) {
        let concerned: Vec<usize> = match worker {
            Some(worker) => vec![self.within(worker)],
            None => (0..self.crew.len()).collect(),
        };
        // One fault of the network at a time for each: the second would end the first.
        if concerned.iter().any(|worker| self.bad_weather[*worker]) {
            return;
        }
        let only = worker.map(|_| concerned[0]);
        let id = self.fault(kind, only, format!("{} for {lasts:.1?}", weather.told()));
        for worker in concerned {
            self.bad_weather[worker] = true;
            self.crew[worker].set(weather);
        }
        self.after(lasts, Deed::Clear(only, id));
    }

    fn act(&mut self, deed: Deed) -> io::Result<()> {
        match deed {
            Deed::Reap(worker, id) => {
                if self.doomed[worker] == Some(id) && self.crew[worker].ended().is_none() {
                    let process = self.crew[worker].process().to_owned();
                    // Logged before: what it held may be granted as soon as it is dead.
                    self.log.now(What::Dead { process });
                    self.groups.thaw(worker); // one that is frozen does not die
                    self.crew[worker].kill();
                    self.doomed[worker] = None;
                    self.log.now(What::Healed { id });
                    self.after(self.ttl / 8, Deed::Replace(worker));
                }
            }
            Deed::Continue(worker, id) => {
                self.crew[worker].tell("disarm");
                self.crew[worker].signal(Signal::CONT);
                self.stopped[worker] = false;
                self.log.now(What::Healed { id });
            }
            Deed::Thaw(worker, id) => {
                self.groups.thaw(worker);
                self.stopped[worker] = false;
                self.log.now(What::Healed { id });
            }
            Deed::Feed(worker, id) => {
                self.groups.starve(worker, 0, None);
                self.log.now(What::Healed { id });
            }
            Deed::Clear(worker, id) => {
                let all = 0..self.crew.len();
                for number in worker.map_or(all, |one| one..one + 1) {
                    self.crew[number].set(Weather::default());
                    self.bad_weather[number] = false;
                }
                self.log.now(What::Healed { id });
            }
            Deed::Restart(id) => {
                let mut barred = Duration::ZERO;
                if let Some(server) = &mut self.target.server {
                    server.restart()?;
                    barred = server.barred_for()?;
                }
                self.server_down = false;
                self.after(barred, Deed::Heal(id));
            }
            Deed::Heal(id) => self.log.now(What::Healed { id }),
            Deed::Resume(id) => {
                self.slow_disk = None;
                if let Some(server) = &mut self.target.server {
                    server.pause(false)?;
                    server.set_clock(0)?;
                }
                self.server_down = false;
                self.log.now(What::Healed { id });
            }
            Deed::Replace(worker) => self.crew[worker].start()?,
        }
        Ok(())
    }

    /// Frees a claim by hand, on a thread of its own: the store may be out of reach just now.
    fn evict(&mut self) {
        let (locks, log) = (self.locks.clone(), Arc::clone(&self.log));
        let pick = self.faults.load(Ordering::SeqCst) as usize;
        self.hands.retain(|hand| !hand.is_finished());
        self.hands.push(thread::spawn(move || {
            let Ok(entries) = block_on(locks.inspect("torture/")) else {
                return;
            };
            let mut holding: Vec<_> = entries
                .into_iter()
                .filter(|entry| entry.standing == Standing::Holding)
                .collect();
            if holding.is_empty() {
                return;
            }
            let entry = holding.swap_remove(pick % holding.len());
            let before = now();
            // Unknown is logged too: it may have been freed.
            if !matches!(block_on(locks.evict(&entry)), Ok(Release::Gone)) {
                let claim = entry.id.digest();
                log.at(before, What::Evicted { claim });
            }
        }));
    }

    /// Lets everything heal, waits until all workers have ended, and looks at what is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        // Faults that have begun run their course.
        while self
            .later
            .iter()
            .any(|later| !matches!(later.deed, Deed::Replace(_)))
        {
            self.look_after()?;
            thread::sleep(TICK);
        }
        self.look_after()?;
        self.later.clear();
        let limit = Instant::now() + self.patience;
        while self.crew.iter().any(Member::is_running) {
            for member in &mut self.crew {
                // Again and again: one that was just started may not have listened.
                member.tell("finish");
                if member.ended().is_some_and(|status| !status.success()) {
                    let text = format!("{} ended by itself", member.process());
                    self.broken.push(text);
                }
            }
            if Instant::now() > limit {
                self.bury_the_stuck();
            }
            thread::sleep(TICK);
        }
        for hand in self.hands.drain(..) {
            let _ = hand.join();
        }
        let within = (self.ttl + Duration::from_secs(5)).min(self.patience);
        let things = self.target.leftovers(&self.locks, within);
        self.log.now(What::Left { things });
        Ok(())
    }

    /// Workers that do not end: what they wait for is seen as never answered.
    fn bury_the_stuck(&mut self) {
        for member in self.crew.iter_mut().filter(|member| member.is_running()) {
            let process = member.process();
            self.broken
                .push(format!("{process} did not end when it was told to"));
            member.kill();
        }
    }

    /// A plan may be drawn for more workers than there are.
    fn within(&self, worker: usize) -> usize {
        worker % self.crew.len()
    }

    fn fault(&self, kind: &str, on: Option<usize>, what: String) -> u32 {
        let id = self.faults.fetch_add(1, Ordering::SeqCst);
        let on = on.map(|worker| self.crew[worker].name());
        self.log.now(begun(id, kind, on, what));
        id
    }

    fn after(&mut self, pause: Duration, deed: Deed) {
        let at = self.start.elapsed() + pause;
        self.later.push(Later { at, deed });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // One that is frozen does not die.
        (0..self.crew.len()).for_each(|worker| self.groups.thaw(worker));
    }
}

fn begun(id: u32, kind: &str, on: Option<String>, what: String) -> What {
    let kind = kind.to_owned();
    What::Fault { id, kind, on, what }
}
