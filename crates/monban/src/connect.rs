//! From a URL to a store: the one place that names them all.

use std::sync::Arc;

use crate::contract::{Guarantees, Store};
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
    /// | `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` | one Redis or Valkey primary (feature `redis`); `rediss://` with TLS; `valkey://` and `valkeys://` are the same |
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
            "unix" | "redis+unix" | "redis+socket" | "redis+sock" | "valkey+unix" => {
                Err(Error::invalid(format!(
                    "'{scheme}:' is a Unix socket, over which monban does not reach Redis; name the server's host and \
                     port, as in redis://HOST:PORT (its settings \"bind\" and \"port\")"
                )))
            }
            _ => {
                let server = Server::of(scheme).ok_or_else(|| unknown(Some(scheme)))?;
                self.open(server.store(url)?).await
            }
        }
    }
}

/// A kind of server, which a build may leave out. Its feature is called as its store is, in the library and in the
/// command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Etcd,
    Postgres,
    Redis,
}

impl Server {
    /// The one that a URL of this scheme names; with TLS or without is the same to a build.
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "etcd" | "etcds" => Some(Self::Etcd),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "redis" | "rediss" | "valkey" | "valkeys" => Some(Self::Redis),
            _ => None,
        }
    }

    fn store(self, url: &str) -> Result<Arc<dyn Store>> {
        let _ = url; // a build without any server has no use for it
        match self {
            #[cfg(feature = "etcd")]
            Self::Etcd => Ok(Arc::new(crate::stores::etcd::EtcdStore::new(url)?)),
            #[cfg(feature = "postgres")]
            Self::Postgres => Ok(Arc::new(crate::stores::postgres::PostgresStore::new(url)?)),
            #[cfg(feature = "redis")]
            Self::Redis => Ok(Arc::new(crate::stores::redis::RedisStore::new(url)?)),
            #[allow(unreachable_patterns)] // in a build with all of them
            left_out => Err(left_out.is_left_out()),
        }
    }

    /// Names the store, the feature that would bring it, and how to get it.
    fn is_left_out(self) -> Error {
        let store = match self {
            Self::Etcd => "etcd",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        };
        Error::unsupported(
            store,
            format!(
                "this build leaves it out; build with feature `{store}`: \
                 `cargo install --locked --path crates/monban-cli --features {store}` for the command, \
                 `cargo add monban --features {store}` for a program"
            ),
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where the build has it: a URL is not used otherwise than to find the store.
    #[test]
    fn a_store_that_is_left_out_is_named_with_its_feature_and_how_to_get_it() {
        let known = [
            ("etcd", "etcd"),
            ("etcds", "etcd"),
            ("postgres", "postgres"),
            ("postgresql", "postgres"),
            ("redis", "redis"),
            ("rediss", "redis"),
            ("valkey", "redis"),
            ("valkeys", "redis"),
        ];
        for (scheme, feature) in known {
            let error = Server::of(scheme).expect(scheme).is_left_out();
            assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
            assert_eq!(
                error.to_string(),
                format!(
                    "the {feature} store cannot do this: this build leaves it out; build with feature `{feature}`: \
                     `cargo install --locked --path crates/monban-cli --features {feature}` for the command, \
                     `cargo add monban --features {feature}` for a program"
                )
            );
        }
        for other in ["etcdx", "", "ETCD", "file", "memory", "http"] {
            assert_eq!(Server::of(other), None, "{other}");
        }
    }

    /// Each URL leads to its own store, or to the words that it is left out; whichever this build does.
    #[test]
    fn every_scheme_leads_to_its_own_store() {
        let rest = "://me@127.0.0.1:1";
        for (scheme, name, is_built) in [
            ("etcd", "Etcd", cfg!(feature = "etcd")),
            ("postgres", "Postgres", cfg!(feature = "postgres")),
            ("redis", "Redis", cfg!(feature = "redis")),
        ] {
            let server = Server::of(scheme).expect(scheme);
            assert_eq!(format!("{server:?}"), name);
            let left_out = matches!(
                server.store(&format!("{scheme}{rest}")),
                Err(Error::Unsupported { .. })
            );
            assert_eq!(left_out, !is_built, "{scheme}");
        }
    }
}

#[cfg(all(test, feature = "redis"))]
mod fuzzed {
    use super::*;
    use crate::dice::fuzz;
    use crate::stores::redis::RedisStore;

    #[test]
    fn a_socket_of_redis_is_refused_with_a_way_out() {
        for url in [
            "unix:///run/redis.sock?password=s3cret",
            "redis+unix:///run/redis.sock",
        ] {
            let opened = crate::block_on(Locks::connect(url));
            let error = opened.expect_err("refused").to_string();
            let said = ["Unix socket", "redis://HOST:PORT"];
            assert!(said.iter().all(|word| error.contains(word)), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    /// Passwords have every character that means something in a URL, and people forget to encode them.
    #[test]
    fn no_url_panics_or_shows_its_password() {
        const SECRET: &str = "s3ntinel";
        fuzz(|dice| {
            let scheme = dice.one(&[
                "redis://",
                "rediss://",
                "valkey://",
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
