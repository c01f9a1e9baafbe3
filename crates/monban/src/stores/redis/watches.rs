//! Who is to be woken by what the server pushes.
//!
//! Three kinds of push arrive. A message to this process: a claim was granted (`g`, with its fence and seat), became the
//! head of its line (`h`, with the ms until the key expires), is to ask again (`a`), or was freed by hand (`l`). Anybody
//! may send one who may publish, so none but a grant is more than a hint, and a grant is believed only if it proves to come
//! from the line: it names the claim's id, which nobody is told before. An invalidation: a watched key
//! changed; it is read again, and only a change of owner wakes anybody, since every renewal is a change too. And the end
//! of the connection: whoever waits asks again, what is held is read again.
//!
//! Only holders, and waiters at the head of a line, watch their key; and only once they have been at it for a
//! moment, since most holds are over by then and would have been watched for nothing. A head behind a claim of monban
//! is in less of a hurry: whoever holds tells when it is done, and by the engine also when the key was taken from it; the
//! watch is for the deletion of what a dead process held.

mod known;
mod signal;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

pub(super) use known::{Handed, Watching};
use known::{Known, Name, Role, owner};
use signal::{Signal, Timer, after, is_held, lock, wake_after};

use crate::contract::Wake;
use crate::data::{Claim, ClaimId, Error, IfBusy, Key, Mode, ProcessId, Result};
use crate::rule::Tick;

/// How long a head waits behind a claim of monban before it watches the key. Reading and watching are two commands, and a
/// line whose holds are shorter than this should not pay for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// The claims that this store knows of, and what they wait for.
#[derive(Default)]
pub(super) struct Watches {
    inner: Mutex<Inner>,
    /// There is something to watch soon.
    pub(super) some: Notify,
    /// There is something to read now.
    pub(super) urgent: Notify,
}

#[derive(Default)]
struct Inner {
    claims: HashMap<ClaimId, Known>,
    names: HashMap<Name, ClaimId>,
    /// The claims whose key is watched.
    watched: HashMap<Key, Vec<ClaimId>>,
    /// To be watched: since less than one tick, since more, and at once.
    new: Vec<ClaimId>,
    old: Vec<ClaimId>,
    now: Vec<ClaimId>,
}

/// A key to be watched.
pub(super) struct Look {
    pub(super) id: ClaimId,
    pub(super) key: Key,
}

impl Watches {
    /// Enters a claim that is about to be asked for, so that no wake is lost; an error if it may not be asked. The
    /// answer says whether it is to be forgotten if the server refuses it: it is new, or waits outside the line.
    pub(super) fn ask(&self, claim: &Claim) -> Result<bool> {
        let mut inner = self.lock();
        if let Some(known) = inner.claims.get_mut(&claim.id) {
            if known.mode != claim.mode || known.key != claim.key {
                return Err(another_mode(&claim.key));
            }
            let before = known.signal.replace(Arc::default());
            let waits = known.waits();
            if let (Some(before), true) = (before, waits) {
                before.notify.notify_one(); // whoever still listens to the last answer need not any more
            }
            known.passing = false;
            return Ok(waits && claim.if_busy == IfBusy::Leave);
        }
        let known = Known {
            key: claim.key.clone(),
            mode: claim.mode,
            role: Role::Waiting { seen: None },
            signal: Some(Arc::default()),
            passing: false,
            doubted: false,
            lives: None,
            waited: 0,
            name: None,
            watched: false,
            public: false,
            handed: None,
        };
        inner.claims.insert(claim.id, known);
        Ok(true)
    }

    /// The claim holds; the future is ready when it may not hold any more.
    pub(super) fn hold(self: &Arc<Self>, id: ClaimId) -> Option<Wake> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&id)?;
        known.role = Role::Holding;
        known.handed = None;
        let signal = Arc::new(Signal::default());
        known.signal = Some(Arc::clone(&signal));
        inner.new.push(id);
        self.some.notify_one();
        Some(self.listen(id, signal))
    }

    /// The claim waited in line at this time of the server, in µs, and lives there at least until this instant.
    ///
    /// A grant that was told, and whose number is not above that time, is over: the claim has joined anew since.
    pub(super) fn in_line(&self, id: &ClaimId, lives: Tick, waited: i64) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.lives = Some(lives);
            known.waited = waited;
            known.handed.take_if(|(handed, _)| handed.number <= waited);
            if let Some((_, until)) = &mut known.handed {
                until.get_or_insert(lives);
            }
        }
    }

    /// What a claim was granted by a message, once, and how much of its TTL has passed by `now`: counted from before the
    /// request that joined the line, or stayed in it, was sent, as every TTL is. Nothing if less than half of its TTL is left:
    /// then it is better asked for, which renews it. Nor if the server can hardly have drawn its number by now.
    pub(super) fn handed(&self, claim: &Claim, now: Tick) -> Option<(Handed, Duration)> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&claim.id)?;
        let (handed, until) = known.handed.take()?;
        let left = until?.since(now);
        let age = claim.ttl.saturating_sub(left);
        let same = known.mode == claim.mode && known.key == claim.key;
        let good = same && left >= claim.ttl / 2 && known.is_likely(handed, age);
        good.then_some((handed, age))
    }

    /// The claim waits; the future is ready when it is worth asking again. The head of a line watches its key; where
    /// the server cannot push, it is worth asking again after a pause.
    pub(super) fn wait(
        self: &Arc<Self>,
        id: ClaimId,
        watching: Watching,
        seen: Option<&[u8]>,
        poll: Option<Duration>,
    ) -> Option<Wake> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&id)?;
        known.role = Role::Waiting {
            seen: seen.map(owner),
        };
        let signal = Arc::clone(known.signal.get_or_insert_default());
        let name = known.name(&id);
        inner.names.insert(name, id);
        if let Some(pause) = poll {
            wake_after(&signal, i64::try_from(pause.as_millis()).ok());
        } else if watching == Watching::Soon {
            inner.new.push(id);
            self.some.notify_one();
        } else if watching == Watching::Late {
            self.watch_later(id, &signal);
        }
        Some(self.listen(id, signal))
    }

    /// Watches the key of a claim that still waits then.
    fn watch_later(self: &Arc<Self>, id: ClaimId, signal: &Arc<Signal>) {
        let watches = Arc::downgrade(self);
        after(signal, Timer::Watch, PATIENCE, move |_| {
            let Some(watches) = watches.upgrade() else {
                return;
            };
            let mut inner = watches.lock();
            if inner.claims.get(&id).is_some_and(Known::waits) {
                inner.new.push(id);
                drop(inner);
                watches.some.notify_one();
            }
        });
    }

    fn listen(self: &Arc<Self>, id: ClaimId, signal: Arc<Signal>) -> Wake {
        let listener = Listener {
            watches: Arc::downgrade(self),
            id,
            signal,
        };
        Box::pin(async move { listener.signal.notify.notified().await })
    }

    /// A claim was renewed by a command that changes its key and does not watch it again.
    pub(super) fn renewed(&self, id: ClaimId) {
        let mut inner = self.lock();
        let held = inner.claims.get(&id);
        if held.is_some_and(|known| matches!(known.role, Role::Holding) && known.signal.is_some()) {
            inner.new.push(id);
            self.some.notify_one();
        }
    }

    /// Whether the claim is known to hold its key exclusively.
    pub(super) fn holds_exclusively(&self, id: &ClaimId) -> bool {
        self.lock().claims.get(id).is_some_and(|known| {
            known.mode == Mode::Exclusive && matches!(known.role, Role::Holding)
        })
    }

    /// The claim was refused: it waits outside the line, and is forgotten with its future.
    pub(super) fn pass(&self, id: &ClaimId) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.passing = true;
        }
    }

    /// The claim is nobody's business any more.
    pub(super) fn forget(&self, id: &ClaimId) {
        self.lock().remove(id);
    }

    /// The processes whose claims wait or hold.
    pub(super) fn processes(&self) -> HashSet<ProcessId> {
        self.lock().claims.keys().map(ClaimId::process).collect()
    }

    /// How many claims are known, and how many keys are watched.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        let named = inner.claims.values().filter(|known| known.name.is_some());
        assert_eq!(inner.names.len(), named.count());
        (inner.claims.len(), inner.watched.len())
    }

    /// What is to be read and watched now. `ticked`: another tick has passed.
    pub(super) fn take(&self, ticked: bool) -> Vec<Look> {
        let mut inner = self.lock();
        let mut ids = std::mem::take(&mut inner.now);
        if ticked {
            ids.append(&mut inner.old);
            inner.old = std::mem::take(&mut inner.new);
        }
        ids.into_iter().filter_map(|id| inner.look(id)).collect()
    }

    /// Whether nothing is left to be watched. What is over by now is not: a process that is told so sleeps until its next
    /// turn.
    pub(super) fn idle(&self) -> bool {
        let mut inner = self.lock();
        let Inner {
            claims,
            new,
            old,
            now,
            ..
        } = &mut *inner;
        for ids in [&mut *new, &mut *old] {
            ids.retain(|id| claims.get(id).is_some_and(|known| known.signal.is_some()));
        }
        new.is_empty() && old.is_empty() && now.is_empty()
    }

    /// These could not be read: again, later.
    pub(super) fn again(&self, looks: impl IntoIterator<Item = ClaimId>) {
        self.lock().new.extend(looks);
    }

    /// What a watched key has now: `None` nothing, else the beginning of its value (empty if it is no string).
    pub(super) fn read(&self, id: &ClaimId, value: Option<&[u8]>) {
        let mut inner = self.lock();
        let Some(known) = inner.claims.get_mut(id) else {
            return;
        };
        let lost = matches!(known.role, Role::Holding)
            && value.is_none_or(|value| !is_held(value, id, known.mode));
        if lost && !std::mem::replace(&mut known.doubted, true) {
            inner.now.push(*id);
            drop(inner);
            self.some.notify_one();
            self.urgent.notify_one();
            return;
        }
        known.doubted = lost;
        let wake = match (&mut known.role, value) {
            (Role::Holding, _) => lost,
            (Role::Waiting { .. }, None) => true,
            (Role::Waiting { seen }, Some(value)) => {
                let value = owner(value);
                let changed = seen.as_ref().is_some_and(|seen| *seen != value);
                *seen = Some(value);
                changed
            }
        };
        if wake && let Some(signal) = &known.signal {
            signal.notify.notify_one();
        }
    }

    /// The connection is a new one: nothing is watched, and messages may have been missed.
    pub(super) fn reconnected(&self) {
        let mut inner = self.lock();
        inner.watched.clear();
        inner.everybody();
        drop(inner);
        self.some.notify_one();
        self.urgent.notify_one();
    }

    /// Takes a push of the server.
    pub(super) fn pushed(self: &Arc<Self>, info: &PushInfo) {
        match (&info.kind, &info.data[..]) {
            (PushKind::Message, [_, Value::BulkString(message)]) => self.message(message),
            (PushKind::Invalidate, [Value::Array(keys)]) => self.changed(keys),
            (PushKind::Invalidate, _) => {
                // All data are gone.
                self.lock().everybody();
                self.some.notify_one();
                self.urgent.notify_one();
            }
            _ => {}
        }
    }

    fn changed(&self, keys: &[Value]) {
        let mut inner = self.lock();
        for key in keys {
            let Value::BulkString(key) = key else {
                continue;
            };
            let Ok(key) = Key::new(key) else { continue };
            let ids = inner.watched.get(&key).cloned().unwrap_or_default();
            inner.now.extend(ids);
        }
        if !inner.now.is_empty() {
            self.some.notify_one();
            self.urgent.notify_one();
        }
    }

    fn message(self: &Arc<Self>, message: &[u8]) {
        let Ok(text) = std::str::from_utf8(message) else {
            return;
        };
        let mut inner = self.lock();
        let Some((what, id, rest)) = inner.addressed(text) else {
            return;
        };
        let Some(known) = inner.claims.get_mut(&id) else {
            return;
        };
        let waiting = known.waits();
        let first = what == "g" && !std::mem::replace(&mut known.public, true);
        match (what, &known.signal) {
            ("h", Some(signal)) if waiting => {
                wake_after(signal, rest.get(1..).and_then(|ms| ms.parse().ok()));
                self.watch_later(id, signal);
                known.role = Role::Waiting { seen: None };
            }
            ("g", Some(signal)) if waiting => {
                signal.notify.notify_one();
                let handed =
                    Handed::read(rest).filter(|handed| first && handed.number > known.waited);
                known.handed = handed.map(|handed| (handed, known.lives));
                // It asks at once: that the key changed hands is no news, nor worth to be read.
                inner.unwatch(&id);
                inner.now.retain(|other| *other != id);
            }
            ("a", Some(signal)) if waiting => {
                signal.notify.notify_one();
                known.handed = None;
                inner.unwatch(&id);
                inner.now.retain(|other| *other != id);
            }
            ("l", Some(signal)) => {
                signal.notify.notify_one();
                known.handed = None;
            }
            _ => {}
        }
    }

    fn mute(&self, id: &ClaimId, signal: &Arc<Signal>) {
        let mut inner = self.lock();
        let Some(known) = inner.claims.get_mut(id) else {
            return;
        };
        if known
            .signal
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, signal))
        {
            known.signal = None;
            let passing = known.passing;
            inner.unwatch(id);
            if passing {
                inner.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn remove(&mut self, id: &ClaimId) {
        self.unwatch(id);
        if let Some(Known {
            name: Some(name), ..
        }) = self.claims.remove(id)
        {
            self.names.remove(&name);
        }
    }

    /// What a message says, of which claim, and the rest of it.
    fn addressed<'a>(&mut self, text: &'a str) -> Option<(&'a str, ClaimId, &'a str)> {
        let (what, text) = text.split_at_checked(1)?;
        if what == "g" {
            let (id, rest) = text.split_at_checked(ClaimId::TEXT_LEN)?;
            return Some((what, ClaimId::parse(id)?, rest));
        }
        let (name, rest) = text.split_at_checked(Name::TEXT_LEN)?;
        Some((what, self.named(Name::read(name)?)?, rest))
    }

    /// The claim of this name. Most claims never wait, and are over before they are called anything: only a name that is
    /// not known makes those of all.
    fn named(&mut self, name: Name) -> Option<ClaimId> {
        if self.names.len() < self.claims.len() && !self.names.contains_key(&name) {
            let nameless = self
                .claims
                .iter_mut()
                .filter(|(_, known)| known.name.is_none());
            let names = nameless.map(|(id, known)| (known.name(id), *id));
            self.names.extend(names);
        }
        self.names.get(&name).copied()
    }

    /// Notes that a claim's key is watched from now on.
    fn look(&mut self, id: ClaimId) -> Option<Look> {
        let known = self.claims.get_mut(&id)?;
        known.signal.as_ref()?;
        known.watched = true;
        let key = known.key.clone();
        let ids = self.watched.entry(key.clone()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        Some(Look { id, key })
    }

    fn unwatch(&mut self, id: &ClaimId) {
        let Some(known) = self.claims.get_mut(id) else {
            return;
        };
        if !std::mem::take(&mut known.watched) {
            return;
        }
        if let Some(ids) = self.watched.get_mut(&known.key) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.watched.remove(&known.key);
            }
        }
    }

    /// Wakes who waits, reads again what is held.
    fn everybody(&mut self) {
        for (id, known) in &mut self.claims {
            known.handed = None; // what was granted before may be gone, or was told to others alone
            known.public = true;
            match (&known.role, &known.signal) {
                (Role::Waiting { .. }, Some(signal)) => signal.notify.notify_one(),
                (Role::Holding, Some(_)) => self.now.push(*id),
                _ => {}
            }
        }
    }
}

/// The end of a future: its claim needs no watch any more.
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

pub(super) fn another_mode(key: &Key) -> Error {
    Error::mismatch(key, "this claim asked in another mode before")
}

#[cfg(test)]
mod tests;
