//! One key's entry, and the line of those who wait for it. Plain data: whoever changes it holds the shard.

use std::collections::VecDeque;
use std::task::Waker;

/// What exists of a key while somebody holds it or waits for it.
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    /// Kept, so that a growing table never calls a user's hasher.
    pub(super) hash: u64,
    /// Never given twice in one shard: finds the entry again without comparing keys.
    pub(super) id: u64,
    /// Permits that are out. Zero only while the entry is being removed.
    pub(super) used: u32,
    /// Made at the first wait: most keys never see one.
    pub(super) line: Option<Box<Line<V>>>,
}

/// Those who wait, in the order they joined.
pub(super) struct Line<V> {
    /// Turns only grow from front to back, so a waiter finds itself by binary search.
    waiting: VecDeque<Waiter>,
    /// The value, on its way from the last holder to the one that was just granted.
    pub(super) handed: Option<V>,
}

struct Waiter {
    turn: u64,
    permits: u32,
    waker: Waker,
}

/// Wakers to call once the shard is unlocked. The first needs no allocation.
#[derive(Default)]
pub(super) struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        for waker in self.more {
            waker.wake();
        }
    }
}

impl<V> Default for Line<V> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            handed: None,
        }
    }
}

impl<V> Line<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.waiting.capacity()
    }

    pub(super) fn join(&mut self, turn: u64, permits: u32, waker: Waker) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.turn < turn));
        self.waiting.push_back(Waiter {
            turn,
            permits,
            waker,
        });
    }

    /// Finds a waiter's waker; `None` once it has been granted, since only a grant takes it out of the line
    /// while it still asks.
    pub(super) fn waker(&mut self, turn: u64) -> Option<&mut Waker> {
        let at = self.at(turn)?;
        Some(&mut self.waiting[at].waker)
    }

    /// Takes a waiter out of the line; `None` once it has been granted.
    pub(super) fn leave(&mut self, turn: u64) -> Option<Waker> {
        let at = self.at(turn)?;
        let waiter = self.waiting.remove(at)?;
        self.shrink();
        Some(waiter.waker)
    }

    fn at(&self, turn: u64) -> Option<usize> {
        // Whoever is before the first has been granted: what is asked most, answered without a search.
        if self.waiting.front()?.turn > turn {
            return None;
        }
        self.waiting
            .binary_search_by_key(&turn, |waiter| waiter.turn)
            .ok()
    }

    /// Gives back what a burst of waiters needed. Shrinks at an eighth to a quarter, so that it takes as
    /// many further joins to grow again as it took departures to shrink.
    fn shrink(&mut self) {
        let capacity = self.waiting.capacity();
        if capacity > 64 && self.waiting.len() < capacity / 8 {
            self.waiting.shrink_to(capacity / 4);
        }
    }
}

impl<K, V> Entry<K, V> {
    /// Says whether a newcomer may hold at once: only with nobody before it, or those who wait would starve.
    pub(super) fn admits(&self, permits: u32, capacity: u32) -> bool {
        capacity - self.used >= permits && self.line.as_ref().is_none_or(|line| line.is_empty())
    }

    /// Lays the holder's value down for the next. Returns what must be dropped without the lock.
    pub(super) fn hand(&mut self, value: Option<V>) -> Option<V> {
        match (&mut self.line, value) {
            (Some(line), Some(value)) => line.handed.replace(value),
            (_, value) => value,
        }
    }

    /// Grants from the front as long as it fits, and never past one that does not fit.
    pub(super) fn advance(&mut self, capacity: u32) -> Wakes {
        let mut wakes = Wakes::default();
        let Some(line) = &mut self.line else {
            return wakes;
        };
        while let Some(first) = line.waiting.front()
            && capacity - self.used >= first.permits
        {
            self.used += first.permits;
            wakes.push(match line.waiting.pop_front() {
                Some(waiter) => waiter.waker,
                None => break,
            });
        }
        line.shrink();
        wakes
    }
}
