//! A held claim, as every guard carries it: gives its permits back when dropped.

use std::ops::Deref;

use super::acquire::Grant;
use super::table::{Place, Table};

/// A lock that has a table: what borrowed and owned guards of all kinds have in common.
pub(super) trait Tabled {
    type Key;
    type Value;
    type Hasher;

    fn table(&self) -> &Table<Self::Key, Self::Value, Self::Hasher>;
}

pub(super) struct Hold<R: Deref<Target: Tabled>> {
    home: R,
    place: Place,
    permits: u32,
    pub(super) value: Option<<R::Target as Tabled>::Value>,
}

impl<R: Deref<Target: Tabled>> Hold<R> {
    #[inline]
    pub(super) fn new(home: R, permits: u32, grant: Grant<<R::Target as Tabled>::Value>) -> Self {
        Self {
            home,
            place: grant.place,
            permits,
            value: grant.value,
        }
    }

    pub(super) fn permits(&self) -> u32 {
        self.permits
    }

    /// Gives back all permits but so many.
    pub(super) fn keep(&mut self, permits: u32) {
        let held = self.permits;
        // None is not a choice: an entry without permits would be gone before its guard.
        assert!(
            (1..=held).contains(&permits),
            "keep {permits} permits of {held}"
        );
        let rest = held - permits;
        self.permits = permits;
        if rest > 0 {
            self.home.table().release(self.place, rest, None);
        }
    }
}

impl<R: Deref<Target: Tabled>> Drop for Hold<R> {
    #[inline]
    fn drop(&mut self) {
        self.home
            .table()
            .release(self.place, self.permits, self.value.take());
    }
}
