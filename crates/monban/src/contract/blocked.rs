//! A thread that blocks for a future: it may do meanwhile what the future waits for.
//!
//! A future that cannot be ready yet usually has a thread in the background that watches something and wakes it. When
//! the caller blocks anyway, its own thread can watch: the way from the event to the caller is then one wake of one
//! thread instead of two or three, and nothing runs in the background. A future offers that while it is polled; only
//! the thread that will really sleep for it, and wakes for nothing else, takes the offer.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::rule::Tick;

/// Watches for what a future waits for, on the thread that is blocked for it.
pub(crate) trait Watcher: Send + Sync {
    /// Returns once the sleeper is woken, or at `until`; earlier ones are allowed.
    fn watch(&self, sleeper: &Sleeper, until: Option<Tick>);
}

/// A thread that is blocked, as those see it who wake it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
    /// Readable once it is woken; made when the thread first sleeps in a call that waits for descriptors.
    bell: OnceLock<Bell>,
}

/// What was offered while a future was polled.
struct Offers {
    waker: Waker,
    watcher: Option<Arc<dyn Watcher>>,
    until: Option<Tick>,
}

thread_local! {
    /// Of the innermost future that this thread blocks for.
    static HERE: RefCell<Option<Offers>> = const { RefCell::new(None) };
}

/// Offers to watch for the future that is being polled; `false` if nobody takes it: its thread does not block for it, or not with
/// this waker alone.
pub(crate) fn offer(waker: &Waker, watcher: &Arc<impl Watcher + 'static>) -> bool {
    take_up(waker, |offers| {
        if offers.watcher.is_none() {
            offers.watcher = Some(Arc::clone(watcher) as Arc<dyn Watcher>);
        }
        // A second one, of another store: one of them needs a thread.
        let first: *const () = offers
            .watcher
            .as_ref()
            .map_or(std::ptr::null(), |first| Arc::as_ptr(first).cast());
        std::ptr::eq(first, Arc::as_ptr(watcher).cast())
    })
}

/// Asks for the future that is being polled to be polled again at an instant of the machine's clock; `false` if nobody
/// sees to it. Only after an offer to watch that was taken in the same poll.
pub(crate) fn poll_again_at(waker: &Waker, at: Tick) -> bool {
    take_up(waker, |offers| {
        let taken = offers.watcher.is_some();
        if taken {
            offers.until = Some(offers.until.map_or(at, |until| until.min(at)));
        }
        taken
    })
}

fn take_up(waker: &Waker, take: impl FnOnce(&mut Offers) -> bool) -> bool {
    HERE.with_borrow_mut(|here| match here {
        Some(offers) if offers.waker.will_wake(waker) => take(offers),
        _ => false,
    })
}

/// A thread on its way to sleep for one future.
pub(crate) struct Blocked {
    sleeper: Arc<Sleeper>,
    waker: Waker,
}

impl Blocked {
    /// Of this thread.
    pub(crate) fn here() -> Self {
        let sleeper = Arc::new(Sleeper {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            bell: OnceLock::new(),
        });
        let waker = Waker::from(Arc::clone(&sleeper));
        Self { sleeper, waker }
    }

    /// Polls, and sleeps if that is not ready, until it is worth polling again.
    pub(crate) fn poll_or_sleep<T>(&self, poll: impl FnOnce(&Waker) -> Option<T>) -> Option<T> {
        let outer = HERE.replace(Some(Offers {
            waker: self.waker.clone(),
            watcher: None,
            until: None,
        }));
        let restore = Restore(outer);
        let polled = poll(&self.waker);
        let offers = HERE.take();
        drop(restore);
        if polled.is_none() {
            self.sleep(offers);
        }
        polled
    }

    fn sleep(&self, offers: Option<Offers>) {
        let sleeper = &self.sleeper;
        match offers {
            Some(Offers {
                watcher: Some(watcher),
                until,
                ..
            }) => {
                watcher.watch(sleeper, until);
                // Not a mere store: the poll that follows must see what was done before the wake that this forgets.
                sleeper.woken.swap(false, Ordering::SeqCst);
            }
            // The flag tells our wake-ups from those that other users of `park` on this thread cause.
            _ => {
                while !sleeper.woken.swap(false, Ordering::Acquire) {
                    thread::park();
                }
            }
        }
    }
}

/// Puts back what an outer future was offered, also after a panic.
struct Restore(Option<Offers>);

impl Drop for Restore {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}

impl Sleeper {
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(crate) fn thread(&self) -> &Thread {
        &self.thread
    }

    /// What rings when it is woken; `None` where there is no such descriptor, or none is left.
    ///
    /// Once this has returned, every wake that [`is_woken`](Self::is_woken) does not show rings it.
    pub(crate) fn bell(&self) -> Option<&Bell> {
        if self.bell.get().is_none() {
            let _ = self.bell.set(Bell::new()?);
            fence(Ordering::SeqCst); // either who wakes it sees the bell, or it sees that it is woken
        }
        self.bell.get()
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        if thread::current().id() == self.thread.id() {
            return; // it is awake
        }
        self.thread.unpark();
        fence(Ordering::SeqCst);
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }
}

/// Wakes who sleeps in a call that waits for descriptors.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn ring(&self) {
        // It fails only if it has rung for ever and a day, and rings still.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// Waits for so long, until the descriptor is readable (then `true`), or until a bell rings: that is silent again then.
pub(crate) fn wait(
    readable: Option<BorrowedFd<'_>>,
    bells: &[Option<&Bell>],
    longest: Duration,
) -> bool {
    let bells: Vec<_> = bells.iter().flatten().collect();
    let all = bells.iter().map(|bell| bell.0.as_fd()).chain(readable);
    let mut polled: Vec<_> = all
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let longest = Timespec::try_from(longest).unwrap_or_default();
    if !matches!(poll(&mut polled, Some(&longest)), Ok(1..)) {
        return false;
    }
    for (bell, polled) in bells.iter().zip(&polled) {
        if !polled.revents().is_empty() {
            let _ = rustix::io::read(&bell.0, &mut [0; 8]);
        }
    }
    readable.is_some() && polled.last().is_some_and(|last| !last.revents().is_empty())
}

impl Bell {
    /// `None` where there is no such descriptor, or none is left.
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> Option<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        eventfd(0, flags).ok().map(Self)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> Option<Self> {
        None
    }
}
