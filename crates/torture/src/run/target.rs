//! The store under torture, and the server of it that we may kill.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use monban::rule::Clock;
use monban::{Locks, block_on};

use super::servers::SERVERS;
use crate::naive;
use crate::proxy;

/// A server that torture starts itself, to kill, stop and start it again.
pub trait Server: Send {
    /// Its URL.
    fn url(&self) -> String;
    /// As `kill -9` does.
    ///
    /// # Errors
    /// The system refused.
    fn kill(&mut self) -> io::Result<()>;
    /// Starts it again with the data it had.
    ///
    /// # Errors
    /// It does not start.
    fn restart(&mut self) -> io::Result<()>;
    /// For how long nothing is granted after a start, since it has forgotten what may be held still.
    ///
    /// # Errors
    /// It does not say.
    fn barred_for(&self) -> io::Result<Duration>;
    /// SIGSTOP, or SIGCONT.
    ///
    /// # Errors
    /// It has ended.
    fn pause(&mut self, stopped: bool) -> io::Result<()>;
    /// What is in it that is not there for ever.
    ///
    /// # Errors
    /// It does not answer.
    fn leftovers(&self) -> io::Result<Vec<String>>;
    /// Its name and version.
    fn version(&self) -> String;
    /// Sets its wall clock wrong by so many milliseconds, if it was started so.
    ///
    /// # Errors
    /// The system refused.
    fn set_clock(&mut self, ms: i64) -> io::Result<()>;
    /// Removes its data while it is down.
    ///
    /// # Errors
    /// The files cannot be removed.
    fn wipe(&mut self) -> io::Result<()>;
    /// The faults of [`Need::Its`](crate::plan::Need::Its) that it can have.
    fn its_own(&self) -> &'static [&'static str];
    /// Ends it in order, as its service manager would.
    ///
    /// # Errors
    /// It does not end.
    fn shut_down(&mut self) -> io::Result<()>;
    /// Ends the session of every client; the server lives.
    ///
    /// # Errors
    /// It does not answer.
    fn end_sessions(&mut self) -> io::Result<()>;
    /// The processes that flush to the disk; none if that cannot be told.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// By which wall clock a server is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallClock {
    /// The machine's.
    Machine,
    /// One that faults can move.
    InHand,
}

/// A store, and what can be done to it.
pub struct Target {
    /// As workers without a proxy would open it.
    pub url: String,
    /// The server, if it is ours.
    pub server: Option<Box<dyn Server>>,
    /// Whether the server's wall clock can be moved.
    pub clock_in_hand: bool,
    naive: Option<String>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("store", &self.shown())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// A store that runs already. `naive-NAME+URL` is a lock with a flaw over it.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        let (naive, url) = match naive::split(url) {
            Some((name, url)) => (Some(name.to_owned()), url),
            None => (None, url),
        };
        Self {
            url: url.to_owned(),
            server: None,
            clock_in_hand: false,
            naive,
        }
    }

    /// Starts a server of this name; `naive-NAME+SERVER` is a lock with a flaw over it.
    ///
    /// # Errors
    /// There is no such server, or it does not start.
    pub fn start(name: &str, clock: WallClock) -> io::Result<Self> {
        let (naive, name) = match naive::split(name) {
            Some((flaw, name)) => (Some(flaw.to_owned()), name),
            None => (None, name),
        };
        let Some((_, start)) = SERVERS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = SERVERS.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "no server {name} can be started; there is {}",
                known.join(", ")
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        let server = start(clock)?;
        Ok(Self {
            url: server.url(),
            server: Some(server),
            clock_in_hand: clock == WallClock::InHand,
            naive,
        })
    }

    /// The `host:port` to stand before, if this is one server over TCP.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        proxy::through(&self.url, 0).map(|(server, _)| server)
    }

    /// The server's processes, if it is ours and that can be told.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let server = self.server.as_ref();
        server.map(|server| server.processes()).unwrap_or_default()
    }

    /// As a worker opens it, through this port if there is a proxy.
    #[must_use]
    pub fn url_through(&self, port: Option<u16>) -> String {
        let through = port.and_then(|port| proxy::through(&self.url, port));
        let url = through.map_or_else(|| self.url.clone(), |(_, url)| url);
        match &self.naive {
            Some(name) => format!("naive-{name}+{url}"),
            None => url,
        }
    }

    /// The store for people: without user and password.
    #[must_use]
    pub fn shown(&self) -> String {
        let naive = self
            .naive
            .as_deref()
            .map_or_else(String::new, |name| format!("naive {name} over "));
        let url = match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => self.url.clone(),
        };
        let url = url.split('?').next().unwrap_or_default();
        match &self.server {
            Some(server) => format!("{naive}{}", server.version()),
            None => format!("{naive}{url}"),
        }
    }

    /// Opens it directly, past all proxies.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(&self) -> monban::Result<Locks> {
        let url = self.url_through(None);
        let wall = naive::Wall::default();
        let builder = Locks::builder().clock(Clock::system()).label("torture");
        match naive::from_url(&url, &wall)? {
            Some(store) => block_on(builder.open(std::sync::Arc::new(store))),
            None => block_on(builder.connect(&url)),
        }
    }

    /// What is left in the store, once nothing is, or after this time.
    #[must_use]
    pub fn leftovers(&self, locks: &Locks, within: Duration) -> Vec<String> {
        let mut left = Vec::new();
        let mut waited = Duration::ZERO;
        loop {
            left.clear();
            match block_on(locks.inspect("torture/")) {
                Ok(entries) => left.extend(entries.iter().map(|entry| {
                    let (key, standing) = (&entry.key, entry.standing);
                    format!("{key}: claim {} {standing:?}", entry.id.digest())
                })),
                Err(error) => left.push(format!("it does not say: {error}")),
            }
            if let Some(server) = &self.server {
                match server.leftovers() {
                    Ok(more) => left.extend(more),
                    Err(error) => left.push(format!("the server does not say: {error}")),
                }
            }
            left.extend(self.files());
            if left.is_empty() || waited >= within {
                return left;
            }
            let nap = Duration::from_millis(100);
            std::thread::sleep(nap);
            waited += nap;
        }
    }

    /// Side files of a store of files; lock files stay by design, and so does the counter of fences.
    fn files(&self) -> Vec<String> {
        let Some(dir) = self.url.strip_prefix("file:").filter(|dir| !dir.is_empty()) else {
            return Vec::new();
        };
        let side = PathBuf::from(dir.trim_start_matches("//")).join(".monban");
        let names = fs::read_dir(side).into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != "fence")
            .map(|name| format!("file {name}"))
            .collect()
    }
}
