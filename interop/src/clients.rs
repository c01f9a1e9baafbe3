//! The table of clients: what each is called, which runtime it needs, what it puts before a key.

/// A lock client as a program; a new one is one entry of [`ALL`].
#[derive(Debug)]
pub struct Client {
    /// The word that selects it; its program may know several.
    pub name: &'static str,
    /// What it needs on the machine.
    pub runtime: Runtime,
    /// What the client itself puts before the name of a lock. monban, and the words of the tests, use the whole key.
    pub prefix: &'static str,
    /// What must stand behind monban's URL so that both work together at their best.
    pub option: &'static str,
}

/// What runs a client's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Built with the tests.
    Rust,
    /// Python 3 with venv.
    Python,
    /// Go.
    Go,
    /// Go, with etcd's own package.
    GoEtcd,
    /// Node with npm.
    Node,
    /// A Java virtual machine and Maven; slow to bring, so only where everything was asked for.
    Java,
}

/// A client whose name is a plain key.
const fn plain(name: &'static str, runtime: Runtime) -> Client {
    Client {
        name,
        runtime,
        prefix: "",
        option: "",
    }
}

/// Every client.
pub const ALL: &[Client] = &[
    plain("monban", Runtime::Rust),
    // `SET key value NX PX`, a checked delete: the two round trips that every lock needs at least.
    plain("raw", Runtime::Rust),
    // The same two round trips with monban's scripts: what of monban is the server's part.
    plain("raw-with-our-scripts", Runtime::Rust),
    // `SET key value NX EX`, then a bare `DEL`: the guard of a Rake task.
    plain("rake", Runtime::Rust),
    plain("rslock", Runtime::Rust),
    plain("monban-on-one-thread", Runtime::Rust),
    plain("raw-on-one-thread", Runtime::Rust),
    plain("raw-with-our-scripts-on-one-thread", Runtime::Rust),
    // A list and a message, with nothing that makes a lock safe: what a hand-over costs at least.
    plain("bare-queue", Runtime::Rust),
    plain("redis-py", Runtime::Python),
    plain("redis-py-asyncio", Runtime::Python),
    Client {
        name: "python-redis-lock",
        runtime: Runtime::Python,
        prefix: "lock:",
        option: "?signal=python-redis-lock",
    },
    plain("redsync", Runtime::Go),
    plain("redlock", Runtime::Node),
    Client {
        name: "redis-semaphore",
        runtime: Runtime::Node,
        prefix: "mutex:",
        option: "",
    },
    plain("redisson", Runtime::Java),
    // These meet on etcd.
    plain("monban-on-etcd", Runtime::Rust),
    plain("concurrency", Runtime::GoEtcd),
];

/// The client of this name.
///
/// # Panics
///
/// If the table has none.
#[must_use]
pub fn client(name: &str) -> &'static Client {
    let found = ALL.iter().find(|client| client.name == name);
    found.unwrap_or_else(|| panic!("no client is called {name}"))
}
