//! The checkers: each a pure function of a history, each for one invariant, small enough to be read.

mod fences;
mod fifo;
mod leaks;
mod losses;
mod next;
mod notice;
mod overlap;
mod resource;
mod updates;

#[cfg(test)]
pub(crate) mod tale;

use crate::story::Story;
use crate::verdict::Verdict;

pub use fences::fences;
pub use fifo::fifo;
pub use leaks::leaks;
pub use losses::losses;
pub use next::next;
pub use notice::notice;
pub use overlap::overlap;
pub use resource::resource;
pub use updates::updates;

/// Every checker, in order of the invariants.
pub const ALL: &[fn(&Story) -> Verdict] = &[
    resource, overlap, updates, losses, next, leaks, fences, fifo, notice,
];

/// What all checkers say of a history.
#[must_use]
pub fn check(story: &Story) -> Vec<Verdict> {
    ALL.iter().map(|checker| checker(story)).collect()
}

/// A hold in words: whose, and from when to when, in milliseconds since the history began.
pub(crate) fn told(story: &Story, hold: &crate::story::Hold) -> String {
    let at = |t: u64| {
        let ms = t.saturating_sub(story.time.0);
        format!("{}.{:03}", ms / 1_000_000, ms / 1_000 % 1_000)
    };
    let mut text = format!("{} ({:?}", hold.id, hold.mode);
    for (name, time) in [
        ("asked", Some(hold.asked)),
        ("granted", hold.granted),
        ("valid until", hold.until),
        ("lost", hold.lost.as_ref().map(|(at, _)| *at)),
        ("freed by hand", hold.evicted),
        ("release", hold.release),
        ("given up", hold.given_up),
        ("dead", hold.died.filter(|_| hold.release.is_none())),
    ] {
        if let Some(time) = time {
            text.push_str(&format!(", {name} {}", at(time)));
        }
    }
    if let Some(fence) = hold.fence {
        text.push_str(&format!(", fence {fence}"));
    }
    text + ")"
}
