//! How a key may be named: by itself, or by what it borrows as.

use std::borrow::Borrow;
use std::hash::Hash;

/// Names a key of type `K` in a call: `&str` for `String`, `&[u8]` for `Vec<u8>`, or the key itself.
///
/// Implemented for all that [`Borrow`] and [`ToOwned`] connect, which is why there is nothing to implement. As
/// there, both must hash and compare alike. A key is cloned only when it is entered into the table.
///
/// `Eq` and `ToOwned` run while a shard of the table is locked: they must not use the same lock. A panic in
/// them passes through and does no harm.
pub trait AsKey<K>: Hash {
    /// Says whether this names that key.
    fn names(&self, key: &K) -> bool;

    /// Makes the key.
    fn to_key(&self) -> K;
}

impl<K, Q> AsKey<K> for Q
where
    K: Borrow<Q>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
{
    fn names(&self, key: &K) -> bool {
        key.borrow() == self
    }

    fn to_key(&self) -> K {
        self.to_owned()
    }
}
