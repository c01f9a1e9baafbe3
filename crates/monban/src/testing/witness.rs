//! Sees whether holders overlapped. It knows nothing of locks, so that it cannot err with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data::Fence;

/// Records who is inside what a lock protects, and whether there were ever more than may be.
///
/// # Example
///
/// ```
/// use monban::testing::Witness;
///
/// let locks = monban::Locks::in_memory();
/// let witness = Witness::new(1);
/// std::thread::scope(|threads| {
///     for name in ["one", "two", "three"] {
///         let (locks, witness) = (&locks, &witness);
///         threads.spawn(move || {
///             let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
///             let inside = witness.enter(name, lease.fence().ok());
///             // … the work …
///             drop(inside);
///         });
///     }
/// });
/// witness.assert_no_overlap();
/// assert_eq!(witness.entered(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Witness {
    most: usize,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    entered: u64,
    inside: BTreeMap<u64, String>,
    highest: Option<Fence>,
    faults: Vec<String>,
}

/// Somebody is inside, until this is dropped.
#[derive(Debug)]
#[must_use = "whoever drops it at once is outside again"]
pub struct Inside {
    number: u64,
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    /// Sees to it that there are at most so many inside at a time: 1 for a mutex, k for a semaphore.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            seen: Arc::default(),
        }
    }

    /// Notes that somebody is inside, and by which fence: a fence that is not greater than all before is
    /// noted as a fault. Give `None` where fences do not order, as among the holders of permits.
    pub fn enter(&self, who: impl Into<String>, fence: Option<Fence>) -> Inside {
        let who = who.into();
        let mut seen = lock(&self.seen);
        seen.entered += 1;
        let number = seen.entered;
        if let Some(fence) = fence {
            if let Some(highest) = seen.highest.filter(|highest| fence <= *highest) {
                let fault = format!("{who} entered with fence {fence} after fence {highest}");
                seen.faults.push(fault);
            }
            seen.highest = seen.highest.max(Some(fence));
        }
        if seen.inside.len() >= self.most {
            let others: Vec<_> = seen.inside.values().map(String::as_str).collect();
            let fault = format!("{who} entered while {} was inside", others.join(", "));
            seen.faults.push(fault);
        }
        seen.inside.insert(number, who);
        drop(seen);
        Inside {
            number,
            seen: Arc::clone(&self.seen),
        }
    }

    /// How often somebody entered: a test in which nobody did shows nothing.
    #[must_use]
    pub fn entered(&self) -> u64 {
        lock(&self.seen).entered
    }

    /// What was wrong, each in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        lock(&self.seen).faults.clone()
    }

    /// Checks that there never were too many inside, and that fences grew.
    ///
    /// # Panics
    ///
    /// If there were, or they did not, or nobody ever entered; it says who.
    #[track_caller]
    pub fn assert_no_overlap(&self) {
        let faults = self.faults();
        assert!(
            faults.is_empty(),
            "holders overlapped:\n{}",
            faults.join("\n")
        );
        assert!(
            self.entered() > 0,
            "nobody ever entered, so nothing was seen"
        );
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        lock(&self.seen).inside.remove(&self.number);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
