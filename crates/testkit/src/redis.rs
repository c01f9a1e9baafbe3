//! A Redis or Valkey server of one's own, to be killed, stopped and started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until};
use crate::resp::Connection;
use crate::service;

/// Names the server's program, before `PATH` is looked at.
pub const SERVER: &str = "MONBAN_REDIS_SERVER";

/// What the server's program may be called.
pub const PROGRAMS: &[&str] = &["redis-server", "valkey-server"];

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(20);

/// What survives when the server is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: a restarted server is empty.
    #[default]
    Nothing,
    /// The append-only file, synced once a second: a killed server loses nothing, a crashed machine
    /// up to a second.
    Aof,
    /// The append-only file, synced before every reply.
    AofAlways,
}

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    port: Option<u16>,
    dir: Option<PathBuf>,
    persistence: Persistence,
    password: Option<String>,
    primary: Option<u16>,
    settings: Vec<String>,
    variables: Vec<(String, OsString)>,
}

impl RedisOptions {
    /// A server on a free port, without password, that keeps nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on this port; a taken one is an error. Without it any free port is used.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Keeps its files in `dir`, which is not removed afterwards.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What survives a kill.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// Asks every client for this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Replicates the primary on this port of loopback, which must have the same password.
    #[must_use]
    pub fn replica_of(mut self, port: u16) -> Self {
        self.primary = Some(port);
        self
    }

    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Sets one line of the configuration, for example `("maxclients", "5")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings
            .extend([format!("--{name}"), value.to_owned()]);
        self
    }
}

/// A server process on loopback; dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct RedisServer {
    options: RedisOptions,
    port: u16,
    // Declared before the directory: the server dies first, then its files go.
    process: Process,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(path) => path,
        }
    }
}

impl RedisServer {
    /// Starts a server and returns when it answers; a replica, when it follows its primary.
    ///
    /// # Errors
    /// `NotFound` without a server program; else the start failed, with the end of the server's log.
    pub fn start(options: RedisOptions) -> io::Result<Self> {
        let home = match &options.dir {
            Some(dir) => Home::Given(dir.clone()),
            None => Home::Temporary(TempDir::with_prefix("monban-redis-")?),
        };
        // A free port may be taken by somebody else before the server binds it.
        let tries = if options.port.is_some() { 1 } else { 5 };
        let mut outcome = Err(io::Error::other("not tried"));
        for _ in 0..tries {
            let port = options.port.map_or_else(free_port, Ok)?;
            outcome = launch(&options, port, &home).map(|process| (port, process));
            if outcome.is_ok() || !log_tail(home.path()).contains("ddress already in use") {
                break;
            }
        }
        let (port, process) = outcome?;
        Ok(Self {
            options,
            port,
            process,
            home,
        })
    }

    /// `redis://…`, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// The port of loopback it listens on, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the running (or last) server process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The directory that holds its log and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Kills the server as `kill -9` does; its port and files stay for [`restart`](Self::restart).
    ///
    /// # Errors
    /// The system refused.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts the server again on the same port with the same files, killing it first if need be.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill9()?;
        self.process = launch(&self.options, self.port, &self.home)?;
        Ok(())
    }

    /// Stops the server where it stands (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// The server has ended.
    pub fn stop_signal(&mut self) -> io::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets a stopped server go on (SIGCONT).
    ///
    /// # Errors
    /// The server has ended.
    pub fn cont(&mut self) -> io::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Asks the server one thing on a connection of its own, as `redis-cli` would.
    ///
    /// A nil is an empty string, an array one line per element.
    ///
    /// # Errors
    /// The connection failed, or the server answered with an error, whose text is the message.
    pub fn ask(&self, words: &[&str]) -> io::Result<String> {
        Connection::open(self.port, self.options.password.as_deref())?.ask(words)
    }
}

fn launch(options: &RedisOptions, port: u16, home: &Home) -> io::Result<Process> {
    let log = File::create(log_path(home.path()))?;
    let mut command = Command::new(service::program(SERVER, PROGRAMS)?);
    command
        .args(arguments(options, port))
        .envs(options.variables.iter().cloned())
        .current_dir(home.path());
    command.stdout(log.try_clone()?).stderr(log);
    let scratch = match home {
        Home::Temporary(dir) => Some(dir.path()),
        Home::Given(_) => None,
    };
    let mut process = Process::spawn(&mut command, scratch)?;
    let id = process.id();
    wait_until("the redis server", READY, || {
        if !process.is_running()? {
            return Err(io::Error::other("the redis server ended"));
        }
        Ok(is_ready(options, port, id))
    })
    .map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; its log ends: {}", log_tail(home.path())),
        )
    })?;
    Ok(process)
}

fn arguments(options: &RedisOptions, port: u16) -> Vec<String> {
    let mut words: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
        .map(str::to_owned)
        .to_vec();
    let mut set = |name: &str, values: &[&str]| {
        words.push(format!("--{name}"));
        words.extend(values.iter().map(|value| (*value).to_owned()));
    };
    set("port", &[&port.to_string()]);
    match options.persistence {
        Persistence::Nothing => set("appendonly", &["no"]),
        Persistence::Aof => {
            set("appendonly", &["yes"]);
            set("appendfsync", &["everysec"]);
        }
        Persistence::AofAlways => {
            set("appendonly", &["yes"]);
            set("appendfsync", &["always"]);
        }
    }
    if let Some(password) = &options.password {
        set("requirepass", &[password]);
        set("masterauth", &[password]);
    }
    if let Some(primary) = options.primary {
        set("replicaof", &["127.0.0.1", &primary.to_string()]);
    }
    words.extend(options.settings.iter().cloned());
    words
}

/// Whether it is *our* server that answers (not another one on a port that was just taken), neither
/// loading nor refusing us, and following its primary if it has one.
fn is_ready(options: &RedisOptions, port: u16, id: u32) -> bool {
    let ask = |words: &[&str]| Connection::open(port, options.password.as_deref())?.ask(words);
    let says = |section: &str, line: &str| {
        ask(&["INFO", section]).is_ok_and(|info| info.lines().any(|said| said.trim_end() == line))
    };
    ask(&["PING"]).is_ok_and(|reply| reply == "PONG")
        && says("server", &format!("process_id:{id}"))
        && (options.primary.is_none() || says("replication", "master_link_status:up"))
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

fn log_tail(dir: &Path) -> String {
    let log = fs::read(log_path(dir)).unwrap_or_default();
    let start = log.len().saturating_sub(800);
    String::from_utf8_lossy(&log[start..]).into_owned()
}
