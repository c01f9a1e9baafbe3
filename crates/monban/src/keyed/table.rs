//! The one engine of all keyed locks: a line for every key that is held or waited for, in a sharded table.
//!
//! A key has `capacity` permits. A claim holds once the permits that are out, plus its own, fit; claims are
//! granted in the order they joined. A mutex takes all of one permit, a writer takes all of very many.
//! Whether an entry may go is decided under the same lock under which claims come and leave, so there is no
//! moment between "nobody is left" and "it is gone".

use std::hash::BuildHasher;
use std::task::Waker;

use hashbrown::HashTable;

use super::as_key::AsKey;
use super::line::{Entry, Line};
use super::sync::{Mutex, MutexGuard, lock};

/// Tables of up to this many places are never shrunk: it would save less than it costs to grow again.
const KEPT: usize = 32;

pub(super) struct Table<K, V, S> {
    shards: Box<[Shard<K, V>]>,
    capacity: u32,
    hasher: S,
}

// A line of its own for each: two processors in different shards must not pull at the same one. Two lines
// (128 bytes) because x86 processors fetch them in pairs.
#[repr(align(128))]
struct Shard<K, V>(Mutex<Keys<K, V>>);

struct Keys<K, V> {
    /// The first key that is held or waited for. Most of the time there is no second one in a shard, and then
    /// nothing is inserted into the table or removed from it: half the cost of a lock and unlock.
    first: Option<Entry<K, V>>,
    more: HashTable<Entry<K, V>>,
    /// The next id and the next turn: one counter serves both.
    next: u64,
    /// The line of the last key that had one, kept for the next: a key that two fight over would otherwise
    /// allocate with every fight.
    spare: Option<Box<Line<V>>>,
}

/// Where a claim's entry is. Stays true as long as the claim is in the table.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) id: u64,
}

/// What is asked for.
pub(super) struct Wish<'q, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'q Q,
    pub(super) permits: u32,
}

/// The answer to a claim: the id of its entry, and for a waiter its turn in line.
pub(super) enum Entered {
    Held(u64),
    Waits { id: u64, turn: u64 },
    Busy,
}

impl<K, V, S> Table<K, V, S> {
    pub(super) fn new(shards: usize, capacity: u32, hasher: S) -> Self {
        debug_assert!(shards.is_power_of_two());
        let shard = || {
            Shard(Mutex::new(Keys {
                first: None,
                more: HashTable::new(),
                next: 0,
                spare: None,
            }))
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            capacity,
            hasher,
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).len()).sum()
    }

    /// Says for how many keys there is room.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let room = |shard: &Shard<K, V>| lock(&shard.0).more.num_buckets();
        self.shards.iter().map(room).sum()
    }

    fn keys(&self, hash: u64) -> MutexGuard<'_, Keys<K, V>> {
        // The table takes the lowest bits and the highest seven, so the shard takes others. A hasher that
        // leaves them at zero costs speed, nothing else.
        let index = usize::try_from((hash >> 32) & 0xffff).unwrap_or(0) & (self.shards.len() - 1);
        lock(&self.shards[index].0)
    }

    #[inline]
    pub(super) fn hash<Q>(&self, key: &Q) -> u64
    where
        Q: AsKey<K> + ?Sized,
        S: BuildHasher,
    {
        self.hasher.hash_one(key)
    }

    /// Holds the key, or joins its line if a waker is given.
    #[inline]
    pub(super) fn enter<Q>(&self, wish: &Wish<'_, Q>, waker: Option<&Waker>) -> Entered
    where
        Q: AsKey<K> + ?Sized,
    {
        let mut keys = self.keys(wish.hash);
        if keys.first.is_some() || !keys.more.is_empty() {
            return self.look(keys, wish, waker);
        }
        let entry = keys.entry(wish);
        let id = entry.id;
        keys.first = Some(entry);
        Entered::Held(id)
    }

    /// Enters a shard that has keys. By itself, so that entering one without is small enough to be inlined.
    #[inline(never)]
    fn look<Q>(
        &self,
        mut guard: MutexGuard<'_, Keys<K, V>>,
        wish: &Wish<'_, Q>,
        waker: Option<&Waker>,
    ) -> Entered
    where
        Q: AsKey<K> + ?Sized,
    {
        let keys = &mut *guard;
        let Some(entry) = named(&mut keys.first, &mut keys.more, wish) else {
            let entry = keys.entry(wish);
            let id = entry.id;
            if keys.first.is_none() {
                keys.first = Some(entry);
            } else {
                keys.more
                    .insert_unique(wish.hash, entry, |entry| entry.hash);
            }
            return Entered::Held(id);
        };
        if entry.admits(wish.permits, self.capacity) {
            entry.used += wish.permits;
            return Entered::Held(entry.id);
        }
        let Some(waker) = waker else {
            return Entered::Busy;
        };
        let waker = waker.clone();
        let (id, turn) = (entry.id, keys.next);
        keys.next += 1;
        entry
            .line
            .get_or_insert_with(|| keys.spare.take().unwrap_or_default())
            .join(turn, wish.permits, waker);
        Entered::Waits { id, turn }
    }

    /// Asks whether a waiter holds by now, with the value that was handed on to it. If not, `waker` is called
    /// when it does.
    pub(super) fn granted(&self, place: Place, turn: u64, waker: &Waker) -> Option<Option<V>> {
        let mut keys = self.keys(place.hash);
        let Some(line) = keys.line(place) else {
            return Some(None);
        };
        let Some(kept) = line.waker(turn) else {
            return Some(line.handed.take());
        };
        if !kept.will_wake(waker) {
            let old = std::mem::replace(kept, waker.clone());
            drop(keys);
            // Dropping a waker may drop a task and with it whatever that holds, keys of this table included.
            drop(old);
        }
        None
    }

    #[cold]
    #[inline(never)]
    /// Gives up a place in line. A grant that was never taken goes to the next.
    pub(super) fn leave(&self, place: Place, turn: u64, permits: u32) {
        let mut keys = self.keys(place.hash);
        let Some(entry) = keys.at(place) else {
            return;
        };
        let Some(waker) = entry.line.as_mut().and_then(|line| line.leave(turn)) else {
            drop(keys);
            return self.release(place, permits, None);
        };
        // It may have been what those behind it could not pass.
        let wakes = entry.advance(self.capacity);
        drop(keys);
        wakes.wake();
        drop(waker);
    }

    /// Returns permits and hands the key on; the entry goes with the last claim.
    #[inline]
    pub(super) fn release(&self, place: Place, permits: u32, value: Option<V>) {
        let mut keys = self.keys(place.hash);
        // The common case by itself, since moving a whole entry about costs as much as the lock.
        match &keys.first {
            Some(first)
                if first.id == place.id && first.used == permits && first.line.is_none() =>
            {
                let key = keys.first.take().map(|entry| entry.key);
                drop(keys);
                // Out here, since the destructors of keys and values are a user's code and may take their time.
                drop(key);
            }
            _ => self.hand_on(keys, place, permits, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_on(
        &self,
        mut keys: MutexGuard<'_, Keys<K, V>>,
        place: Place,
        permits: u32,
        value: Option<V>,
    ) {
        let Some(entry) = keys.at(place) else {
            debug_assert!(false, "a claim's entry is there until the claim has left");
            return;
        };
        entry.used -= permits;
        if entry.used > 0 || entry.line.as_ref().is_some_and(|line| !line.is_empty()) {
            let rest = entry.hand(value);
            let wakes = entry.advance(self.capacity);
            drop(keys);
            wakes.wake();
            drop(rest);
            return;
        }
        let gone = keys.remove(place);
        drop(keys);
        drop(gone);
    }
}

/// What is left of an entry: a user's destructors, and memory.
struct Gone<K, V> {
    _key: K,
    _value: Option<V>,
    _table: HashTable<Entry<K, V>>,
}

#[inline]
fn named<'a, K, V, Q: AsKey<K> + ?Sized>(
    first: &'a mut Option<Entry<K, V>>,
    more: &'a mut HashTable<Entry<K, V>>,
    wish: &Wish<'_, Q>,
) -> Option<&'a mut Entry<K, V>> {
    let same = |entry: &Entry<K, V>| entry.hash == wish.hash && wish.key.names(&entry.key);
    match first {
        Some(first) if same(first) => Some(first),
        _ if more.is_empty() => None,
        _ => more.find_mut(wish.hash, same),
    }
}

impl<K, V> Keys<K, V> {
    /// Makes an entry. `to_key` may panic: nothing has been changed by then.
    #[inline]
    fn entry<Q: AsKey<K> + ?Sized>(&mut self, wish: &Wish<'_, Q>) -> Entry<K, V> {
        let key = wish.key.to_key();
        let id = self.next;
        self.next += 1;
        Entry {
            key,
            hash: wish.hash,
            id,
            used: wish.permits,
            line: None,
        }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    #[inline]
    fn at(&mut self, place: Place) -> Option<&mut Entry<K, V>> {
        match &mut self.first {
            Some(first) if first.id == place.id => Some(first),
            _ => self.more.find_mut(place.hash, |entry| entry.id == place.id),
        }
    }

    /// Takes an entry out. Returns what is better dropped without the lock.
    fn remove(&mut self, place: Place) -> Option<Gone<K, V>> {
        let (entry, table) = match &self.first {
            Some(first) if first.id == place.id => (self.first.take()?, HashTable::new()),
            _ => {
                let same = |entry: &Entry<K, V>| entry.id == place.id;
                let (entry, _) = self.more.find_entry(place.hash, same).ok()?.remove();
                (entry, self.shrink())
            }
        };
        let value = entry.line.and_then(|line| self.keep(line));
        Some(Gone {
            _key: entry.key,
            _value: value,
            _table: table,
        })
    }

    fn line(&mut self, place: Place) -> Option<&mut Line<V>> {
        self.at(place)?.line.as_deref_mut()
    }

    fn keep(&mut self, mut line: Box<Line<V>>) -> Option<V> {
        let handed = line.handed.take();
        if self.spare.is_none() && line.capacity() <= 16 {
            self.spare = Some(line);
        }
        handed
    }

    /// Gives back the memory of a burst. Returns what is better freed without the lock.
    ///
    /// With an eighth of its places taken a table shrinks to the size for twice its keys. So before it shrinks or grows
    /// again, two in five of its keys must leave or as many more must come: the work is a constant per key.
    #[inline]
    fn shrink(&mut self) -> HashTable<Entry<K, V>> {
        // Not `capacity`: that counts what can still be inserted, and falls with every removal that leaves a mark.
        let (len, places) = (self.more.len(), self.more.num_buckets());
        if places <= KEPT || len >= places / 8 {
            return HashTable::new();
        }
        if len == 0 {
            return std::mem::take(&mut self.more);
        }
        self.more
            .shrink_to((len * 2).max(KEPT / 2), |entry| entry.hash);
        HashTable::new()
    }
}
