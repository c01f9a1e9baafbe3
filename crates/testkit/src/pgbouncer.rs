//! A PgBouncer in front of a PostgreSQL server of one's own.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::postgres::{self, PostgresServer, USER};
use crate::process::{Process, free_port, wait_until};
use crate::{service, unprivileged};

/// Names the pooler's program, before `PATH` is looked at.
pub const POOLER: &str = "MONBAN_PGBOUNCER";

/// Where the pooler's program may be.
pub const PROGRAMS: &[&str] = &["pgbouncer", "/usr/sbin/pgbouncer"];

const READY: Duration = Duration::from_secs(20);

/// How a pooler is to be started.
#[derive(Clone, Debug, Default)]
pub struct PgBouncerOptions {
    settings: Vec<(String, String)>,
    users: Vec<(String, String)>,
    without_prepared: bool,
}

impl PgBouncerOptions {
    /// A pooler in transaction mode that trusts the superuser, with its own settings otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another user it knows, and the password it gives to the server.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// One line of the configuration, for example `("default_pool_size", "2")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps no statement that was prepared in another transaction, as all did before version 1.21.
    #[must_use]
    pub fn without_prepared_statements(mut self) -> Self {
        self.without_prepared = true;
        self
    }
}

/// A pooler on loopback; dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    // Declared before the directory: the pooler dies first, then its files go.
    process: Process,
    home: TempDir,
}

impl PgBouncer {
    /// Starts a pooler in front of a server and returns when the server answers through it.
    ///
    /// # Errors
    /// `NotFound` without its program; else the start failed, with the end of its log.
    pub fn start(server: &PostgresServer, options: &PgBouncerOptions) -> io::Result<Self> {
        let home = unprivileged::home("monban-pgbouncer-")?;
        let mut outcome = Err(io::Error::other("not tried"));
        // A free port may be taken by somebody else before the pooler binds it.
        for _ in 0..5 {
            let port = free_port()?;
            configure(server, options, port, home.path())?;
            outcome = launch(port, home.path()).map(|process| (port, process));
            if outcome.is_ok() || !log_tail(home.path()).contains("ddress already in use") {
                break;
            }
        }
        let (port, process) = outcome?;
        Ok(Self {
            port,
            process,
            home,
        })
    }

    /// `postgres://…` of the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(USER)
    }

    /// `postgres://…` of another user.
    #[must_use]
    pub fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{USER}", self.port)
    }

    /// The port of loopback it listens on, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the pooler as `kill -9` does; its port stays for [`restart`](Self::restart).
    ///
    /// # Errors
    /// The system refused.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts the pooler again on the same port, killing it first if need be.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill9()?;
        self.process = launch(self.port, self.home.path())?;
        Ok(())
    }

    /// Stops the pooler where it stands (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// It has ended.
    pub fn stop_signal(&mut self) -> io::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets a stopped pooler go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn cont(&mut self) -> io::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Asks the pooler's own console, for example `SHOW POOLS`.
    ///
    /// # Errors
    /// What `psql` said.
    pub fn ask(&self, sql: &str) -> io::Result<String> {
        let mut psql = client(self.port)?;
        psql.args(["-d", "pgbouncer"]);
        postgres::feed(&mut psql, sql)
    }
}

fn client(port: u16) -> io::Result<Command> {
    let mut psql = postgres::psql("127.0.0.1", port, USER)?;
    // A pooler refuses parameters of the session that it does not know.
    psql.env_remove("PGOPTIONS");
    Ok(psql)
}

fn configure(
    server: &PostgresServer,
    options: &PgBouncerOptions,
    port: u16,
    home: &Path,
) -> io::Result<()> {
    let mut users = format!("\"{USER}\" \"\"\n");
    for (name, password) in &options.users {
        users.push_str(&format!("\"{name}\" \"{password}\"\n"));
    }
    let mut text = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = users\nadmin_users = {USER}\npool_mode = transaction\n",
        server.port()
    );
    if options.without_prepared && version()? >= (1, 21) {
        text.push_str("max_prepared_statements = 0\n");
    }
    for (name, value) in &options.settings {
        text.push_str(&format!("{name} = {value}\n"));
    }
    for (name, text) in [("users", users), ("settings", text)] {
        fs::write(home.join(name), text)?;
        unprivileged::hand_over(&home.join(name))?;
    }
    Ok(())
}

/// `PgBouncer 1.18.0`
fn version() -> io::Result<(u32, u32)> {
    let mut command = Command::new(service::program(POOLER, PROGRAMS)?);
    let said = command.arg("--version").output()?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let numbers = said
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.split_once('.'))
        .and_then(|(major, rest)| {
            let minor = rest.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
    numbers.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, said))
}

fn launch(port: u16, home: &Path) -> io::Result<Process> {
    let log = File::create(log_path(home))?;
    let mut command = unprivileged::command(service::program(POOLER, PROGRAMS)?, home)?;
    command.arg("settings").stdout(log.try_clone()?).stderr(log);
    let mut process = Process::spawn(&mut command, Some(home))?;
    wait_until("PgBouncer", READY, || {
        if !process.is_running()? {
            return Err(io::Error::other("PgBouncer ended"));
        }
        Ok(postgres::feed(&mut client(port)?, "SELECT 1").is_ok())
    })
    .map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; its log ends: {}", log_tail(home)),
        )
    })?;
    Ok(process)
}

fn log_path(home: &Path) -> std::path::PathBuf {
    home.join("pooler.log")
}

fn log_tail(home: &Path) -> String {
    let log = fs::read(log_path(home)).unwrap_or_default();
    let start = log.len().saturating_sub(1_000);
    String::from_utf8_lossy(&log[start..]).into_owned()
}
