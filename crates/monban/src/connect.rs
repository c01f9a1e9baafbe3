//! From a URL to a store: the one place that names them all.

use std::sync::Arc;

use crate::contract::Guarantees;
use crate::data::{Error, Result};
use crate::engine::{Locks, LocksBuilder};
use crate::rule::Clock;
use crate::stores::file::FileStore;
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
    /// | `etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]` | an etcd cluster (feature `etcd`); `etcds://` with TLS |
    /// | `postgres://[USER[:PASSWORD]@]HOST[:PORT][,...][/DATABASE]` | a PostgreSQL primary, also behind a pooler (feature `postgres`); TLS with `?sslmode=verify-full` |
    /// | `postgres:///DATABASE?host=/run/postgresql` | the same over a socket of this host |
    /// | `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` | one Redis or Valkey primary (feature `redis`); `rediss://` with TLS |
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

impl LocksBuilder {
    /// As [`Locks::connect`], with what was chosen.
    ///
    /// # Errors
    ///
    /// As [`Locks::connect`].
    pub async fn connect(self, url: &str) -> Result<Locks> {
        if let Some(files) = FileStore::from_url(url)? {
            return self.open(Arc::new(files)).await;
        }
        let (scheme, rest) = url.split_once(':').ok_or_else(|| unknown(None))?;
        match scheme {
            "memory" if rest.is_empty() => {
                let clock = self.chosen_clock();
                self.open(Arc::new(MemoryStore::new(clock))).await
            }
            "etcd" | "etcds" => etcd(self, url).await,
            "postgres" | "postgresql" => postgres(self, url).await,
            "redis" | "rediss" => redis(self, url).await,
            _ => Err(unknown(Some(scheme))),
        }
    }
}

#[cfg(feature = "etcd")]
async fn etcd(builder: LocksBuilder, url: &str) -> Result<Locks> {
    let store = crate::stores::etcd::EtcdStore::new(url)?;
    builder.open(Arc::new(store)).await
}

#[cfg(not(feature = "etcd"))]
async fn etcd(_builder: LocksBuilder, _url: &str) -> Result<Locks> {
    Err(left_out("etcd"))
}

#[cfg(feature = "postgres")]
async fn postgres(builder: LocksBuilder, url: &str) -> Result<Locks> {
    let store = crate::stores::postgres::PostgresStore::new(url)?;
    builder.open(Arc::new(store)).await
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_builder: LocksBuilder, _url: &str) -> Result<Locks> {
    Err(left_out("postgres"))
}

#[cfg(feature = "redis")]
async fn redis(builder: LocksBuilder, url: &str) -> Result<Locks> {
    let store = crate::stores::redis::RedisStore::new(url)?;
    builder.open(Arc::new(store)).await
}

#[cfg(not(feature = "redis"))]
async fn redis(_builder: LocksBuilder, _url: &str) -> Result<Locks> {
    Err(left_out("redis"))
}

/// Names the feature that would have it.
#[cfg(not(all(feature = "etcd", feature = "postgres", feature = "redis")))]
fn left_out(feature: &str) -> Error {
    Error::unsupported(
        "chosen",
        format!("this build leaves it out; build with feature `{feature}`"),
    )
}

/// What the stores of this build promise, without asking any of them.
#[must_use]
pub fn all_guarantees() -> Vec<Guarantees> {
    vec![
        MemoryStore::GUARANTEES,
        FileStore::GUARANTEES,
        #[cfg(feature = "etcd")]
        crate::stores::etcd::EtcdStore::GUARANTEES,
        #[cfg(feature = "postgres")]
        crate::stores::postgres::PostgresStore::GUARANTEES,
        #[cfg(feature = "redis")]
        crate::stores::redis::RedisStore::GUARANTEES,
    ]
}

/// Names the scheme only: the rest may hold a password, and so may a text that has no scheme.
fn unknown(scheme: Option<&str>) -> Error {
    let known =
        "use file:/DIRECTORY, memory:, redis://HOST, postgres://USER@HOST, or etcd://HOST,HOST";
    let looks_like_one = |text: &&str| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
    };
    match scheme.filter(looks_like_one) {
        Some(scheme) => Error::invalid(format!("'{scheme}:' names no store; {known}")),
        None => Error::invalid(format!("a store is named by a URL; {known}")),
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;
    use crate::dice::fuzz;
    use crate::stores::redis::RedisStore;

    /// Passwords have every character that means something in a URL, and people forget to encode them.
    #[test]
    fn no_url_panics_or_shows_its_password() {
        const SECRET: &str = "s3ntinel";
        fuzz(|dice| {
            let scheme = dice.one(&[
                "redis://",
                "rediss://",
                "redis:",
                "file:",
                "file://",
                "memory:",
                "",
            ]);
            let user = dice.one(&["me", "", "m%20e"]);
            let around = |dice: &mut crate::dice::Dice| {
                let bytes = dice.bytes(4);
                String::from_utf8_lossy(&bytes).replace('\n', "")
            };
            let password = format!("{}{SECRET}{}", around(dice), around(dice));
            let rest = dice.mangled(
                b"h.internal:7000/3?timeout=500ms&evicting=allow&signal=python-redis-lock",
            );
            let url = format!(
                "{scheme}{user}:{password}@{}",
                String::from_utf8_lossy(&rest)
            );
            let shown = match RedisStore::new(&url) {
                Ok(store) => format!("{store:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains(SECRET), "{url}: {shown}");
            let shown = match FileStore::from_url(&url) {
                Ok(_) => String::new(), // a path is no secret
                Err(_) if scheme.starts_with("file") => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains(SECRET), "{url}: {shown}");
        });
    }
}
