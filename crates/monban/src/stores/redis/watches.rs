//! Who is to be woken by what the server pushes.
//!
//! Three kinds of push arrive. A message to this process: a claim was granted (`g`), became the head of its line
//! (`h`, with the ms until the key expires), or was freed by hand (`l`). An invalidation: a watched key changed; it is
//! read again, and only a change of owner wakes anybody, since every renewal is a change too. And the end of the
//! connection: whoever waits asks again, what is held is read again.
//!
//! Only holders, and waiters at the head of a line, watch their key; and only once they have been at it for a
//! moment, since most holds are over by then and would have been watched for nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::contract::Wake;
use crate::data::{Claim, ClaimId, Error, IfBusy, Key, Mode, ProcessId, Result};

/// Values longer than this are told apart by their beginning.
pub(super) const SEEN: usize = 400;

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
    /// The claims whose key is watched.
    watched: HashMap<Key, Vec<ClaimId>>,
    /// To be watched: since less than one tick, since more, and at once.
    new: Vec<ClaimId>,
    old: Vec<ClaimId>,
    now: Vec<ClaimId>,
}

struct Known {
    key: Key,
    mode: Mode,
    role: Role,
    signal: Option<Arc<Signal>>,
    /// It was refused and is not in line: it is known for as long as somebody listens.
    passing: bool,
    /// It holds, and did not when its key was read last. A holder is told once: only what is read twice is told.
    doubted: bool,
}

#[derive(Clone)]
enum Role {
    /// Asked for; in line or not.
    Waiting {
        /// What was at the key when it was read last; `None`: nothing, or not read since the owner changed.
        seen: Option<Box<[u8]>>,
    },
    Holding,
}

/// Wakes one future, now or when it is polled.
#[derive(Default)]
struct Signal {
    notify: Notify,
    timer: Mutex<Option<AbortHandle>>,
}

impl Drop for Signal {
    fn drop(&mut self) {
        if let Some(timer) = lock(&self.timer).take() {
            timer.abort();
        }
    }
}

/// A key to be watched, and what to make of its value.
pub(super) struct Look {
    pub(super) id: ClaimId,
    pub(super) key: Key,
    /// The key's value cannot be read as a string, only whether it is there.
    pub(super) opaque: bool,
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
            if let (Some(before), Role::Waiting { .. }) = (before, &known.role) {
                before.notify.notify_one(); // whoever still listens to the last answer need not any more
            }
            known.passing = false;
            let waits = matches!(known.role, Role::Waiting { .. });
            return Ok(waits && claim.if_busy == IfBusy::Leave);
        }
        let known = Known {
            key: claim.key.clone(),
            mode: claim.mode,
            role: Role::Waiting { seen: None },
            signal: Some(Arc::default()),
            passing: false,
            doubted: false,
        };
        inner.claims.insert(claim.id, known);
        Ok(true)
    }

    /// The claim holds; the future is ready when it may not hold any more.
    pub(super) fn hold(self: &Arc<Self>, id: ClaimId) -> Option<Wake> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&id)?;
        known.role = Role::Holding;
        let signal = Arc::new(Signal::default());
        known.signal = Some(Arc::clone(&signal));
        inner.new.push(id);
        self.some.notify_one();
        Some(self.listen(id, signal))
    }

    /// The claim waits; the future is ready when it is worth asking again. The head of a line watches its key; where
    /// the server cannot push, it is worth asking again after a pause.
    pub(super) fn wait(
        self: &Arc<Self>,
        id: ClaimId,
        head: bool,
        seen: Option<&[u8]>,
        poll: Option<Duration>,
    ) -> Option<Wake> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&id)?;
        known.role = Role::Waiting {
            seen: seen.map(owner),
        };
        let signal = Arc::clone(known.signal.get_or_insert_default());
        if let Some(pause) = poll {
            wake_after(&signal, i64::try_from(pause.as_millis()).ok());
        } else if head {
            inner.new.push(id);
            self.some.notify_one();
        }
        Some(self.listen(id, signal))
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
        let mut inner = self.lock();
        if let Some(known) = inner.claims.remove(id) {
            inner.unwatch(&known.key, id);
        }
    }

    /// The processes whose claims wait or hold.
    pub(super) fn processes(&self) -> HashSet<ProcessId> {
        self.lock().claims.keys().map(ClaimId::process).collect()
    }

    /// How many claims are known, and how many keys are watched.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
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

    /// Whether nothing is left to be watched.
    pub(super) fn idle(&self) -> bool {
        let inner = self.lock();
        inner.new.is_empty() && inner.old.is_empty() && inner.now.is_empty()
    }

    /// These could not be read: again, later.
    pub(super) fn again(&self, looks: impl IntoIterator<Item = ClaimId>) {
        self.lock().new.extend(looks);
    }

    /// What a watched key has now: `None` nothing, else its value (empty if it is no string).
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
        let (Some(what), Some(id)) = (text.get(..1), text.get(1..49).and_then(ClaimId::parse))
        else {
            return;
        };
        let mut inner = self.lock();
        let Some(known) = inner.claims.get_mut(&id) else {
            return;
        };
        let waiting = matches!(known.role, Role::Waiting { .. });
        let key = known.key.clone();
        match (what, &known.signal) {
            ("h", Some(signal)) if waiting => {
                wake_after(signal, text.get(50..).and_then(|ms| ms.parse().ok()));
                known.role = Role::Waiting { seen: None };
                inner.new.push(id);
                self.some.notify_one();
            }
            ("g", Some(signal)) if waiting => {
                signal.notify.notify_one();
                // It asks at once: that the key changed hands is no news.
                inner.unwatch(&key, &id);
            }
            ("l", Some(signal)) => signal.notify.notify_one(),
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
            let (key, passing) = (known.key.clone(), known.passing);
            inner.unwatch(&key, id);
            if passing {
                inner.claims.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    /// Notes that a claim's key is watched from now on.
    fn look(&mut self, id: ClaimId) -> Option<Look> {
        let known = self.claims.get(&id)?;
        known.signal.as_ref()?;
        let opaque = matches!(&known.role, Role::Waiting { seen: Some(seen) } if seen.is_empty());
        let key = known.key.clone();
        let ids = self.watched.entry(key.clone()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        Some(Look { id, key, opaque })
    }

    fn unwatch(&mut self, key: &Key, id: &ClaimId) {
        if let Some(ids) = self.watched.get_mut(key) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.watched.remove(key);
            }
        }
    }

    /// Wakes who waits, reads again what is held.
    fn everybody(&mut self) {
        for (id, known) in &self.claims {
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

/// Wakes when the key expires, which no server tells dependably.
fn wake_after(signal: &Arc<Signal>, millis: Option<i64>) {
    let Some(millis) = millis.and_then(|ms| u64::try_from(ms).ok()) else {
        return; // the key never expires, or is not there
    };
    let weak = Arc::downgrade(signal);
    let sleeper = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(millis + 1)).await;
        if let Some(signal) = weak.upgrade() {
            signal.notify.notify_one();
        }
    });
    if let Some(before) = lock(&signal.timer).replace(sleeper.abort_handle()) {
        before.abort();
    }
}

/// What tells one owner of a key from another: a marker stays the same whoever holds under it.
fn owner(value: &[u8]) -> Box<[u8]> {
    let end = if value.starts_with(b"mb1m:") {
        5
    } else {
        value.len().min(SEEN)
    };
    value[..end].into()
}

fn is_held(value: &[u8], id: &ClaimId, mode: Mode) -> bool {
    if mode == Mode::Exclusive {
        value
            .strip_prefix(b"mb1x:")
            .is_some_and(|rest| rest.starts_with(id.to_string().as_bytes()))
    } else {
        value.starts_with(b"mb1m:")
    }
}

pub(super) fn another_mode(key: &Key) -> Error {
    Error::mismatch(key, "this claim asked in another mode before")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Claimant;

    fn claim(key: &str) -> Claim {
        Claim {
            key: Key::new(key).unwrap(),
            id: ClaimId::random(ProcessId::random()),
            mode: Mode::Exclusive,
            ttl: Duration::from_secs(1),
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("host", 1, ""),
        }
    }

    fn told(watches: &Arc<Watches>, message: &str) {
        let data = vec![Value::Nil, Value::BulkString(message.as_bytes().to_vec())];
        watches.pushed(&PushInfo {
            kind: PushKind::Message,
            data,
        });
    }

    async fn is_ready(wake: Wake) -> bool {
        tokio::time::timeout(Duration::from_millis(1), wake)
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_claims_that_are_gone() {
        let watches = Arc::new(Watches::default());
        let claims: Vec<Claim> = (0..100).map(|at| claim(&format!("k{at}"))).collect();
        let mut wakes = Vec::new();
        for (at, claim) in claims.iter().enumerate() {
            watches.ask(claim).unwrap();
            wakes.extend(match at % 3 {
                0 => watches.hold(claim.id),
                1 => watches.wait(claim.id, true, None, None),
                _ => {
                    watches.pass(&claim.id);
                    watches.wait(claim.id, true, None, None)
                }
            });
        }
        assert_eq!(watches.take(true).len(), 0, "not before a whole tick");
        assert_eq!(watches.take(true).len(), 100);
        assert_eq!(watches.counts(), (100, 100));
        drop(wakes);
        assert_eq!(
            watches.counts(),
            (67, 0),
            "the refused are forgotten with their future"
        );
        claims.iter().for_each(|claim| watches.forget(&claim.id));
        assert_eq!(watches.counts(), (0, 0));
        assert!(watches.idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_comes_before_the_answer_is_not_lost() {
        let watches = Arc::new(Watches::default());
        let claim = claim("k");
        watches.ask(&claim).unwrap();
        told(&watches, &format!("g{}", claim.id));
        assert!(is_ready(watches.wait(claim.id, false, Some(b"x"), None).unwrap()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_head_wakes_when_the_key_expires_and_not_by_its_new_owner() {
        let watches = Arc::new(Watches::default());
        let claim = claim("k");
        watches.ask(&claim).unwrap();
        let mut wake = watches.wait(claim.id, false, Some(b"first"), None).unwrap();
        told(&watches, &format!("h{}:500", claim.id));
        watches.read(&claim.id, Some(b"second"));
        assert!(
            tokio::time::timeout(Duration::from_millis(499), &mut wake)
                .await
                .is_err()
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(10), wake)
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_when_it_is_read_twice_in_a_row() {
        let watches = Arc::new(Watches::default());
        let claim = claim("k");
        watches.ask(&claim).unwrap();
        let mut lost = watches.hold(claim.id).unwrap();
        let held = format!("mb1x:{}:1:", claim.id);
        for value in [None, Some(held.as_bytes()), Some(b"x".as_slice())] {
            watches.read(&claim.id, value);
            let early = tokio::time::timeout(Duration::from_millis(1), &mut lost);
            assert!(early.await.is_err(), "told at once");
        }
        assert_eq!(watches.take(false).len(), 2, "each doubt is looked into");
        watches.read(&claim.id, None);
        assert!(is_ready(lost).await);
    }

    #[tokio::test(start_paused = true)]
    async fn only_claims_that_are_new_or_outside_the_line_are_forgotten_if_refused() {
        let watches = Arc::new(Watches::default());
        let mut claim = claim("k");
        assert!(watches.ask(&claim).unwrap());
        assert!(!watches.ask(&claim).unwrap(), "in line");
        claim.if_busy = IfBusy::Leave;
        assert!(watches.ask(&claim).unwrap());
        let _lost = watches.hold(claim.id);
        assert!(!watches.ask(&claim).unwrap(), "holding");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_are_no_messages_do_no_harm() {
        let watches = Arc::new(Watches::default());
        let claim = claim("k");
        watches.ask(&claim).unwrap();
        let wake = watches.wait(claim.id, false, None, None).unwrap();
        let id = claim.id;
        for odd in [
            String::new(),
            "g".into(),
            "\u{e9}".into(),
            format!("g{}", &id.to_string()[1..]),
            format!("x{id}"),
            format!("h{id}"),
            format!("h{id}:x"),
        ] {
            told(&watches, &odd);
        }
        assert!(!is_ready(wake).await);
    }
}
