//! All watches of a process, and whoever looks for notices of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError, Weak};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

use rustix::fd::BorrowedFd;

use super::inotify::Inotify;
use super::{Kind, Watch, lock};
use crate::contract::blocked::{self, Bell, Sleeper, Watcher};
use crate::rule::{Clock, Tick};

/// Everybody is woken this often where the kernel gives notice of all that matters.
const NET: Duration = Duration::from_secs(60);
/// Everybody is woken this often where somebody may unlock a file without closing it.
const DOUBTFUL_NET: Duration = Duration::from_secs(1);
/// Everybody is woken this often where a thread stands in for notices: it does not see every change.
const CLOSE_NET: Duration = Duration::from_millis(250);
/// After a notice, when to wake again.
const AGAIN: [Duration; 5] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];
/// How long a thread that leads may not hear that it is woken, should it have no bell.
const DEAF: Duration = Duration::from_millis(5);

/// All watches of this process.
#[derive(Debug)]
pub(super) struct Hub {
    /// A forked child has the parent's instance but not its threads.
    pid: u32,
    inotify: Option<Inotify>,
    state: Mutex<State>,
    /// The thread is needed, and there is something to watch.
    work: Condvar,
    /// Whoever has it looks for notices, for everybody.
    lead: Mutex<Rounds>,
    /// Somebody has the lead, and sleeps by what it knew when it began to.
    led: AtomicBool,
    /// Wakes who has the lead; `None` where there is no such descriptor.
    bell: Option<Bell>,
    /// How many watches are doubtful.
    doubtful: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    watches: HashMap<i32, Vec<Weak<Watch>>>,
    /// Blocked threads that would lead, but somebody else does.
    followers: Vec<Thread>,
    /// The thread has been started.
    thread: bool,
    /// Somebody waits who cannot lead.
    needed: bool,
}

/// What goes over from one who leads to the next.
#[derive(Debug, Default)]
struct Rounds {
    /// When to notify the watches of which file again.
    due: Vec<(Tick, i32)>,
    /// When everybody was woken last.
    swept: Tick,
}

impl Hub {
    pub(super) fn here() -> Arc<Self> {
        static HERE: Mutex<Option<Arc<Hub>>> = Mutex::new(None);
        let mut here = lock(&HERE);
        let pid = std::process::id();
        if let Some(hub) = here.as_ref()
            && hub.pid == pid
        {
            return hub.clone();
        }
        let hub = Arc::new(Self::of(pid));
        *here = Some(hub.clone());
        hub
    }

    fn of(pid: u32) -> Self {
        Self {
            pid,
            inotify: Inotify::new(),
            state: Mutex::default(),
            work: Condvar::new(),
            lead: Mutex::default(),
            led: AtomicBool::new(false),
            bell: Bell::new(),
            doubtful: AtomicUsize::new(0),
        }
    }

    pub(super) fn add(self: &Arc<Self>, file: BorrowedFd<'_>, kind: Kind) -> Arc<Watch> {
        let mut state = lock(&self.state);
        // Within the mutex: the last watch of the same file may be going just now.
        let number = self
            .inotify
            .as_ref()
            .and_then(|inotify| inotify.add(file, kind))
            .unwrap_or(-1);
        let watch = Arc::new(Watch {
            state: Mutex::default(),
            spent: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            hub: self.clone(),
            number,
        });
        let same = state.watches.entry(number).or_default();
        same.push(Arc::downgrade(&watch));
        drop(state);
        if number < 0 {
            self.ring();
        }
        self.work.notify_one();
        watch
    }

    pub(super) fn remove(&self, number: i32) {
        if self.pid != std::process::id() {
            return; // a forked child: by the same instance its parent watches still, and whoever had the mutex is not here
        }
        let mut state = lock(&self.state);
        let Some(same) = state.watches.get_mut(&number) else {
            return;
        };
        same.retain(|watch| watch.strong_count() > 0);
        if !same.is_empty() {
            return;
        }
        state.watches.remove(&number);
        if let Some(inotify) = self.inotify.as_ref().filter(|_| number >= 0) {
            inotify.remove(number);
        }
    }

    /// Counts one doubtful watch more, or less.
    pub(super) fn doubt(&self, more: bool) {
        if more {
            self.doubtful.fetch_add(1, Ordering::SeqCst);
            self.ring();
        } else {
            self.doubtful.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Sees to it that somebody looks for notices while a future with this waker waits.
    pub(super) fn serve_for(self: &Arc<Self>, waker: &Waker) {
        // Without a bell a wake would be heard late.
        if self.bell.is_some() && blocked::offer(waker, self) {
            return;
        }
        let mut state = lock(&self.state);
        state.needed = true;
        if !state.thread {
            let hub = self.clone();
            let thread = std::thread::Builder::new().name("monban-files".to_owned());
            // Without a thread its watches are never woken: callers ask again beside them.
            state.thread = thread.spawn(move || hub.run()).is_ok();
        }
        drop(state);
        self.work.notify_one();
    }

    /// The thread's work: to lead while it is needed.
    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            while !state.needed || state.watches.is_empty() {
                state.needed &= !state.watches.is_empty();
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            let mut rounds = lock(&self.lead);
            self.lead(&mut rounds, None, None);
        }
    }

    /// Looks for notices until the sleeper is woken or `until` has come; without one until nothing is watched.
    fn lead(&self, rounds: &mut Rounds, sleeper: Option<&Sleeper>, until: Option<Tick>) {
        let clock = Clock::system();
        let deaf = sleeper.is_some_and(|sleeper| sleeper.bell().is_none());
        self.led.store(true, Ordering::SeqCst);
        let began = clock.now();
        if began.since(rounds.swept) > self.net() {
            rounds.swept = began; // nobody has led for a while: there was nobody to wake
        }
        while !sleeper.is_some_and(Sleeper::is_woken) {
            let now = clock.now();
            if until.is_some_and(|until| until <= now) {
                break;
            }
            let state = lock(&self.state);
            if sleeper.is_none() && state.watches.is_empty() {
                break;
            }
            // The wakes of what is watched no more are forgotten.
            let watched = |number: &i32| state.watches.contains_key(number);
            rounds.due.retain(|(_, number)| watched(number));
            drop(state);
            let next = rounds.due.iter().map(|(at, _)| *at).chain(until);
            let next = next.fold(rounds.swept.after(self.net()), Tick::min);
            let mut longest = next.since(now);
            if deaf {
                longest = longest.min(DEAF);
            }
            let closed = self.sleep(longest, sleeper);
            self.round(rounds, closed, clock.now());
        }
        self.led.store(false, Ordering::SeqCst);
    }

    /// Wakes whose files have been closed, who is due, and now and then everybody.
    fn round(&self, rounds: &mut Rounds, closed: Vec<i32>, now: Tick) {
        for number in closed {
            rounds.due.retain(|(_, known)| *known != number);
            if self.notify((number >= 0).then_some(number)) {
                let again = AGAIN.map(|pause| (now.after(pause), number));
                rounds.due.extend(again);
            }
        }
        for (_, number) in rounds.due.extract_if(.., |(at, _)| *at <= now) {
            self.notify(Some(number));
        }
        if now.since(rounds.swept) >= self.net() {
            rounds.swept = now;
            self.notify(None);
        }
    }

    /// Notifies the watches of one file, or all; says whether there was any.
    fn notify(&self, number: Option<i32>) -> bool {
        let some: Vec<_> = {
            let state = lock(&self.state);
            match number {
                Some(number) => state.watches.get(&number).cloned().unwrap_or_default(),
                None => state.watches.values().flatten().cloned().collect(),
            }
        };
        // Upgraded outside of the mutex: the last owner of a watch takes it.
        let mut any = false;
        for watch in some.iter().filter_map(Weak::upgrade) {
            watch.notify();
            any = true;
        }
        any
    }

    fn net(&self) -> Duration {
        if lock(&self.state).watches.contains_key(&-1) {
            CLOSE_NET
        } else if self.doubtful.load(Ordering::SeqCst) > 0 {
            DOUBTFUL_NET
        } else {
            NET
        }
    }

    /// Sleeps for so long, or until the kernel gives notice or a bell rings; tells of which files (-1: of any).
    fn sleep(&self, longest: Duration, sleeper: Option<&Sleeper>) -> Vec<i32> {
        let bells = [self.bell.as_ref(), sleeper.and_then(Sleeper::bell)];
        match &self.inotify {
            Some(inotify) => inotify.wait(&bells, longest),
            None => {
                blocked::wait(None, &bells, longest);
                Vec::new()
            }
        }
    }

    /// Has whoever leads look anew how long it may sleep.
    fn ring(&self) {
        if self.led.load(Ordering::SeqCst)
            && let Some(bell) = &self.bell
        {
            bell.ring();
        }
    }

    fn follow(&self, thread: &Thread) {
        lock(&self.state).followers.push(thread.clone());
    }

    /// Whether it was still among the followers: if not, it was called to lead.
    fn unfollow(&self, thread: &Thread) -> bool {
        let mut state = lock(&self.state);
        let at = state.followers.iter().position(|it| it.id() == thread.id());
        at.map(|at| state.followers.swap_remove(at)).is_some()
    }

    /// Calls one of the followers to lead.
    fn hand_on(&self) {
        let next = lock(&self.state).followers.pop();
        if let Some(next) = next {
            next.unpark();
        }
    }
}

impl Watcher for Hub {
    fn watch(&self, sleeper: &Sleeper, until: Option<Tick>) {
        let clock = Clock::system();
        loop {
            // Before the try: who leads until after it calls us.
            self.follow(sleeper.thread());
            let lead = match self.lead.try_lock() {
                Ok(lead) => Some(lead),
                Err(TryLockError::Poisoned(lead)) => Some(lead.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut rounds) = lead {
                self.unfollow(sleeper.thread());
                self.lead(&mut rounds, Some(sleeper), until);
                drop(rounds);
                return self.hand_on();
            }
            let rest = until.map(|until| until.since(clock.now()));
            if !sleeper.is_woken() {
                match rest {
                    Some(rest) => std::thread::park_timeout(rest),
                    None => std::thread::park(),
                }
            }
            let called = !self.unfollow(sleeper.thread());
            if sleeper.is_woken() || until.is_some_and(|until| until <= clock.now()) {
                if called {
                    self.hand_on();
                }
                return;
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::fd::AsFd;

    use super::*;

    #[test]
    fn a_forked_child_that_ends_its_waits_leaves_the_parents_to_it() {
        for (pid, noticed) in [(std::process::id() + 1, true), (std::process::id(), false)] {
            let hub = Arc::new(Hub::of(pid)); // in the first round as a child sees that of its parent
            let file = tempfile::NamedTempFile::new().unwrap();
            let opened = std::fs::File::open(file.path()).unwrap();
            drop(hub.add(opened.as_fd(), Kind::LockAlone));
            drop(std::fs::File::open(file.path()).unwrap());
            let notices = hub.sleep(Duration::from_secs(if noticed { 10 } else { 0 }), None);
            assert_eq!(!notices.is_empty(), noticed);
        }
    }
}
