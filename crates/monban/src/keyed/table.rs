//! The one engine of all keyed locks: a line for every key that is held or waited for, in a sharded table.
//!
//! A key has `capacity` permits. A claim holds once the permits that are out, plus its own, fit; claims are
//! granted in the order they joined. A mutex takes all of one permit, a writer takes all of very many.
//! Whether an entry may go is decided under the same lock under which claims come and leave, so there is no
//! moment between "nobody is left" and "it is gone".

use std::hash::BuildHasher;
use std::task::Waker;

use hashbrown::HashTable;
use hashbrown::hash_table;

use super::as_key::AsKey;
use super::line::{Entry, Line};
use super::sync::{Mutex, MutexGuard, lock};

/// Tables of up to this many keys are never shrunk: it would save less than it costs to grow again.
const KEPT: usize = 28;

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
    entries: HashTable<Entry<K, V>>,
    /// The next id and the next turn: one counter serves both.
    next: u64,
    /// The line of the last key that had one, kept for the next: a key that two fight over would otherwise
    /// allocate with every fight.
    spare: Option<Box<Line<V>>>,
}

/// Where a claim's entry is. Stays true as long as the claim is in the table.
#[derive(Clone, Copy)]
pub(super) struct Place {
    hash: u64,
    id: u64,
}

/// A place in line.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) place: Place,
    turn: u64,
}

/// The answer to a claim.
pub(super) enum Entered {
    Held(Place),
    Waits(Turn),
    Busy,
}

impl<K, V, S> Table<K, V, S> {
    pub(super) fn new(shards: usize, capacity: u32, hasher: S) -> Self {
        debug_assert!(shards.is_power_of_two());
        let shard = || {
            Shard(Mutex::new(Keys {
                entries: HashTable::new(),
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
        self.shards
            .iter()
            .map(|shard| lock(&shard.0).entries.len())
            .sum()
    }

    fn keys(&self, hash: u64) -> MutexGuard<'_, Keys<K, V>> {
        // The table takes the lowest bits and the highest seven, so the shard takes others. A hasher that
        // leaves them at zero costs speed, nothing else.
        let index = usize::try_from((hash >> 32) & 0xffff).unwrap_or(0) & (self.shards.len() - 1);
        lock(&self.shards[index].0)
    }

    /// Holds the key, or joins its line if a waker is given.
    pub(super) fn enter<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        permits: u32,
        waker: Option<&Waker>,
    ) -> Entered
    where
        S: BuildHasher,
    {
        let hash = self.hasher.hash_one(key);
        let mut guard = self.keys(hash);
        let keys = &mut *guard;
        let same = |entry: &Entry<K, V>| entry.hash == hash && key.names(&entry.key);
        match keys.entries.entry(hash, same, |entry| entry.hash) {
            hash_table::Entry::Vacant(vacant) => {
                let id = keys.next;
                // `to_key` may panic: nothing has been changed yet.
                vacant.insert(Entry {
                    key: key.to_key(),
                    hash,
                    id,
                    used: permits,
                    line: None,
                });
                keys.next += 1;
                Entered::Held(Place { hash, id })
            }
            hash_table::Entry::Occupied(occupied) => {
                let entry = occupied.into_mut();
                let place = Place { hash, id: entry.id };
                if entry.admits(permits, self.capacity) {
                    entry.used += permits;
                    return Entered::Held(place);
                }
                let Some(waker) = waker else {
                    return Entered::Busy;
                };
                let waker = waker.clone();
                let turn = keys.next;
                keys.next += 1;
                entry
                    .line
                    .get_or_insert_with(|| {
                        keys.spare.take().unwrap_or_else(|| Box::new(Line::new()))
                    })
                    .join(turn, permits, waker);
                Entered::Waits(Turn { place, turn })
            }
        }
    }

    /// Asks whether a waiter holds by now, with the value that was handed on to it. If not, `waker` is called
    /// when it does.
    pub(super) fn granted(&self, at: Turn, waker: &Waker) -> Option<Option<V>> {
        let mut keys = self.keys(at.place.hash);
        let Some(line) = keys.line(at.place) else {
            return Some(None);
        };
        let Some(kept) = line.waker(at.turn) else {
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

    /// Gives up a place in line. A grant that was never taken goes to the next.
    pub(super) fn leave(&self, at: Turn, permits: u32) {
        let mut keys = self.keys(at.place.hash);
        let Some(mut found) = keys.find(at.place) else {
            return;
        };
        let entry = found.get_mut();
        let Some(waker) = entry.line.as_mut().and_then(|line| line.leave(at.turn)) else {
            drop(keys);
            return self.release(at.place, permits, None);
        };
        // It may have been what those behind it could not pass.
        let wakes = entry.advance(self.capacity);
        drop(keys);
        wakes.wake();
        drop(waker);
    }

    /// Returns permits and hands the key on; the entry goes with the last claim.
    pub(super) fn release(&self, place: Place, permits: u32, value: Option<V>) {
        let mut keys = self.keys(place.hash);
        let Some(mut found) = keys.find(place) else {
            debug_assert!(false, "a claim's entry is there until the claim has left");
            return;
        };
        let entry = found.get_mut();
        entry.used -= permits;
        if entry.used > 0 || entry.line.as_ref().is_some_and(|line| !line.is_empty()) {
            let rest = entry.hand(value);
            let wakes = entry.advance(self.capacity);
            drop(keys);
            wakes.wake();
            drop(rest);
            return;
        }
        let (mut entry, _) = found.remove();
        let handed = entry.line.take().and_then(|line| keys.keep(line));
        let table = keys.shrink();
        drop(keys);
        // Out here, since the destructors of keys and values are a user's code and may take their time.
        drop((entry, handed, table));
    }
}

impl<K, V> Keys<K, V> {
    fn find(&mut self, place: Place) -> Option<hash_table::OccupiedEntry<'_, Entry<K, V>>> {
        self.entries
            .find_entry(place.hash, |entry| entry.id == place.id)
            .ok()
    }

    fn line(&mut self, place: Place) -> Option<&mut Line<V>> {
        let entry = self
            .entries
            .find_mut(place.hash, |entry| entry.id == place.id)?;
        entry.line.as_deref_mut()
    }
}

impl<K, V> Keys<K, V> {
    fn keep(&mut self, mut line: Box<Line<V>>) -> Option<V> {
        let handed = line.handed.take();
        if self.spare.is_none() && line.capacity() <= 16 {
            self.spare = Some(line);
        }
        handed
    }

    /// Gives back the memory of a burst, and returns what is better freed without the lock.
    ///
    /// Below an eighth of what it could hold a table shrinks to twice what it holds. So before it shrinks or
    /// grows again, half its keys must leave or as many more must come: the work is a constant per key.
    fn shrink(&mut self) -> Option<HashTable<Entry<K, V>>> {
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if capacity <= KEPT || len >= capacity / 8 {
            return None;
        }
        if len == 0 {
            return Some(std::mem::take(&mut self.entries));
        }
        self.entries
            .shrink_to((len * 2).max(KEPT), |entry| entry.hash);
        None
    }
}
