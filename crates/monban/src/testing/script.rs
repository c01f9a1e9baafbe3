//! Faults at instants of the clock that the test moves.

use std::fmt;
use std::time::Duration;

use super::Rig;

/// What happens when, in the time of a [`Rig`]: faults, losses, checks.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use monban::testing::{Rig, Script};
///
/// let secs = Duration::from_secs;
/// let rig = Rig::new();
/// let process = rig.process("one");
/// let lease = process.locks().mutex("report")?.lock().wait()?;
/// Script::new()
///     .at(secs(5), || process.faults().pause())
///     .at(secs(20), || process.faults().resume()) // before its TTL of 30 s has passed
///     .at(secs(60), || lease.check().expect("it was renewed in time"))
///     .play(&rig);
/// # drop(lease);
/// # Ok::<(), monban::Error>(())
/// ```
#[derive(Default)]
#[must_use = "nothing happens before it is played"]
pub struct Script<'a> {
    steps: Vec<(Duration, Box<dyn FnOnce() + 'a>)>,
}

impl<'a> Script<'a> {
    /// A script in which nothing happens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does this so long after the beginning. What is to be done at one instant is done in the order given.
    pub fn at(mut self, after: Duration, action: impl FnOnce() + 'a) -> Self {
        self.steps.push((after, Box::new(action)));
        self
    }

    /// Plays the script to its last step, by moving the rig's clock.
    pub fn play(mut self, rig: &Rig) {
        self.steps.sort_by_key(|(after, _)| *after);
        let began = rig.clock().now();
        for (after, action) in self.steps {
            let passed = rig.clock().now().since(began);
            rig.advance(after.saturating_sub(passed));
            action();
        }
    }
}

impl fmt::Debug for Script<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instants = self.steps.iter().map(|(after, _)| after);
        f.debug_list().entries(instants).finish()
    }
}
