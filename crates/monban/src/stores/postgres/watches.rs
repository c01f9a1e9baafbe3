//! Who is to be woken by what the server tells.
//!
//! A notification is `g`, `a` or `l`, the id of a claim in hexadecimal, and with `g` its fence (or a time) and its seat: it was
//! granted; it is worth asking again; it was freed by hand. So a claim whose turn has come need not ask. Where nothing can be
//! told (behind a pooler, or to a claim that is not in line) a timer wakes.

mod signal;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use signal::{Signal, lock};

use crate::contract::Wake;
use crate::data::{Claim, ClaimId, Error, IfBusy, Key, Mode, ProcessId, Result};
use crate::rule::Tick;

/// The claims that this store knows of, and what they wait for.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<ClaimId, Known>>);

struct Known {
    key: Key,
    mode: Mode,
    holds: bool,
    signal: Option<Arc<Signal>>,
    /// It was refused and is not in line: it is known for as long as somebody listens.
    passing: bool,
    /// Until when its place in the line lives at least, as the server was last heard to confirm.
    lives: Option<Tick>,
    /// No grant with a number up to this one is to come any more: it waited after all of those.
    waited: i64,
    /// What it was granted when its turn came, and until when its place lived by what was known then.
    handed: Option<(Handed, Option<Tick>)>,
}

/// A grant that came by a notification: its number (a fence, except for shares) and its seat, or -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) number: i64,
    pub(super) seat: i32,
}

impl Handed {
    /// Reads `:<number>:<seat>`.
    fn read(text: &str) -> Option<Self> {
        let (number, seat) = text.strip_prefix(':')?.split_once(':')?;
        let read = Self {
            number: number.parse().ok()?,
            seat: seat.parse().ok()?,
        };
        (read.number > 0 && read.seat >= -1).then_some(read)
    }
}

impl Watches {
    /// Enters a claim that is about to be asked for, so that no wake is lost; an error if it may not be asked. The
    /// answer says whether it is to be forgotten if the server refuses it: it is new, or waits outside the line.
    pub(super) fn ask(&self, claim: &Claim) -> Result<bool> {
        let mut claims = self.lock();
        if let Some(known) = claims.get_mut(&claim.id) {
            if known.mode != claim.mode || known.key != claim.key {
                return Err(another_mode(&claim.key));
            }
            let before = known.signal.replace(Arc::default());
            if let (Some(before), false) = (before, known.holds) {
                before.wake(); // whoever still listens to the last answer need not any more
            }
            known.passing = false;
            return Ok(!known.holds && claim.if_busy == IfBusy::Leave);
        }
        let known = Known {
            key: claim.key.clone(),
            mode: claim.mode,
            holds: false,
            signal: Some(Arc::default()),
            passing: false,
            lives: None,
            waited: 0,
            handed: None,
        };
        claims.insert(claim.id, known);
        Ok(true)
    }

    /// The claim holds; the future is ready when it may not hold any more. Nothing if that would not be told.
    pub(super) fn hold(self: &Arc<Self>, id: ClaimId, told: bool) -> Option<Wake> {
        let mut claims = self.lock();
        if !told {
            claims.remove(&id);
            return None;
        }
        let known = claims.get_mut(&id)?;
        known.holds = true;
        known.handed = None;
        let signal = Arc::new(Signal::default());
        known.signal = Some(Arc::clone(&signal));
        Some(self.listen(id, signal))
    }

    /// The claim was in line after all grants with a number up to `waited`, and lives there at least until this instant.
    ///
    /// A grant that was told, and whose number is not above that, is over: the claim has joined anew since.
    pub(super) fn in_line(&self, id: &ClaimId, lives: Tick, waited: i64) {
        if let Some(known) = self.lock().get_mut(id) {
            known.lives = Some(lives);
            known.waited = waited;
            known.handed.take_if(|(handed, _)| handed.number <= waited);
            if let Some((_, until)) = &mut known.handed {
                until.get_or_insert(lives);
            }
        }
    }

    /// What a claim was granted by a notification, once, and how much of its TTL has passed by `now`: counted from before the
    /// request that joined the line, or stayed in it, was sent, as every TTL is. Nothing if less than half of its TTL is left:
    /// then it is better asked for, which renews it.
    pub(super) fn handed(&self, claim: &Claim, now: Tick) -> Option<(Handed, Duration)> {
        let mut claims = self.lock();
        let known = claims.get_mut(&claim.id)?;
        let (handed, until) = known.handed.take()?;
        let left = until?.since(now);
        let same = known.mode == claim.mode && known.key == claim.key;
        (same && left >= claim.ttl / 2).then(|| (handed, claim.ttl.saturating_sub(left)))
    }

    /// The claim waits; the future is ready when it is worth asking again: when it is told so, or after a pause.
    pub(super) fn wait(self: &Arc<Self>, claim: &Claim, pause: Option<Duration>) -> Option<Wake> {
        let mut claims = self.lock();
        let known = claims.get_mut(&claim.id)?;
        known.holds = false;
        known.passing = claim.if_busy == IfBusy::Leave;
        let signal = Arc::clone(known.signal.get_or_insert_default());
        if let Some(pause) = pause {
            signal.wake_after(pause);
        }
        Some(self.listen(claim.id, signal))
    }

    fn listen(self: &Arc<Self>, id: ClaimId, signal: Arc<Signal>) -> Wake {
        let listener = Listener {
            watches: Arc::downgrade(self),
            id,
            signal,
        };
        Box::pin(async move { listener.signal.woken().await })
    }

    /// The claim is nobody's business any more.
    pub(super) fn forget(&self, id: &ClaimId) {
        self.lock().remove(id);
    }

    /// The processes whose claims wait or hold.
    pub(super) fn processes(&self) -> HashSet<ProcessId> {
        self.lock().keys().map(ClaimId::process).collect()
    }

    /// Whether a claim of this process waits in line.
    pub(super) fn waits(&self, process: &ProcessId) -> bool {
        let claims = self.lock();
        let mut waiting = claims
            .iter()
            .filter(|(_, known)| !known.holds && !known.passing);
        waiting.any(|(id, _)| id.process() == *process)
    }

    /// The connection is a new one: notifications may have been missed.
    pub(super) fn reconnected(&self) {
        for known in self.lock().values_mut() {
            known.handed = None;
            if let Some(signal) = &known.signal {
                signal.wake();
            }
        }
    }

    /// Takes a notification.
    pub(super) fn told(&self, text: &str) {
        let (Some(what), Some(id)) = (text.get(..1), text.get(1..49).and_then(ClaimId::parse))
        else {
            return;
        };
        if let Some(known) = self.lock().get_mut(&id) {
            let handed = match what {
                "g" if !known.holds => text.get(49..).and_then(Handed::read),
                _ => None,
            };
            let handed = handed.filter(|handed| handed.number > known.waited);
            known.handed = handed.map(|handed| (handed, known.lives));
            if let Some(signal) = &known.signal {
                signal.wake();
            }
        }
    }

    fn mute(&self, id: &ClaimId, signal: &Arc<Signal>) {
        let mut claims = self.lock();
        let Some(known) = claims.get_mut(id) else {
            return;
        };
        let own = known.signal.as_ref();
        if own.is_some_and(|own| Arc::ptr_eq(own, signal)) {
            known.signal = None;
            if known.passing {
                claims.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, Known>> {
        lock(&self.0)
    }
}

/// Listens for one claim; dropped, it is told no more.
struct Listener {
    watches: Weak<Watches>,
    id: ClaimId,
    signal: Arc<Signal>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(watches) = self.watches.upgrade() {
            watches.mute(&self.id, &self.signal);
        }
    }
}

/// The same claim cannot be asked for in two ways.
pub(super) fn another_mode(key: &Key) -> Error {
    Error::mismatch(key, "this claim asked in another mode before")
}

#[cfg(test)]
mod tests;
