//! From a URL to a store: the one place that names them all.

use std::sync::Arc;

use crate::data::{Error, Result};
use crate::engine::Locks;
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;

impl Locks {
    /// Locks inside this process only: for tests, and for programs of one process.
    #[must_use]
    pub fn in_memory() -> Self {
        let store = Arc::new(MemoryStore::new(Clock::system()));
        Self::builder()
            .open_local(store)
            .expect("a new memory store opens")
    }

    /// Connects to the store that a URL names.
    ///
    /// | URL | store |
    /// |---|---|
    /// | `file:` | files in the default directory of this user |
    /// | `file:/var/lib/app/locks` | files in this directory |
    /// | `memory:` | this process only |
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a URL that names no store, [`Error::Unsupported`] for a store that this build
    /// leaves out; what the store says if it cannot be reached or cannot keep its promise.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn f() -> monban::Result<()> {
    /// let locks = monban::Locks::connect("file:/var/lib/app/locks").await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }
}

impl crate::engine::LocksBuilder {
    /// As [`Locks::connect`], with what was chosen.
    ///
    /// # Errors
    ///
    /// As [`Locks::connect`].
    pub async fn connect(self, url: &str) -> Result<Locks> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| unknown(url))?;
        match scheme {
            "memory" if rest.is_empty() => {
                let clock = self.chosen_clock();
                self.open(Arc::new(MemoryStore::new(clock))).await
            }
            _ => Err(unknown(scheme)),
        }
    }
}

/// The scheme only: the rest may hold a password.
fn unknown(scheme: &str) -> Error {
    let scheme = crate::data::printable(scheme.split([':', '/', '@']).next().unwrap_or_default());
    Error::invalid(format!(
        "'{scheme}' names no store; use file:/DIRECTORY, memory:, or redis://HOST"
    ))
}
