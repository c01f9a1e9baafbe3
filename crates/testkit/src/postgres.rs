//! A PostgreSQL server of one's own, to be killed, stopped and started again; and standbys of it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::family::{children, has_ended, signal_all, ticks_of};
use crate::process::{Process, free_port, wait_until};
use crate::{service, unprivileged};

/// Names the server's program, before `PATH` is looked at; its tools stand beside it.
pub const SERVER: &str = "MONBAN_POSTGRES_SERVER";

/// Where the server's program may be.
pub const PROGRAMS: &[&str] = &[
    "postgres",
    "/usr/lib/postgresql/15/bin/postgres",
    "/usr/lib/postgresql/16/bin/postgres",
    "/usr/lib/postgresql/17/bin/postgres",
    "/usr/lib/postgresql/18/bin/postgres",
];

/// Names the program of the command-line client, before `PATH` is looked at.
pub const CLIENT: &str = "MONBAN_PSQL";

/// The superuser, and the database that every server has.
pub const USER: &str = "postgres";

/// How long a server may take until it answers, or until it has ended.
const READY: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    password: Option<String>,
    tls: Option<Tls>,
    settings: Vec<String>,
    variables: Vec<(String, OsString)>,
}

#[derive(Clone, Debug)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    authority: Option<PathBuf>,
}

impl PostgresOptions {
    /// A server on a free port of loopback that trusts everybody, with PostgreSQL's own settings: each commit is synced.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The superuser's password; everybody else needs one as well (SCRAM).
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Refuses connections without TLS; with an authority also those without a certificate of it.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path, authority: Option<&Path>) -> Self {
        self.tls = Some(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            authority: authority.map(Path::to_owned),
        });
        self
    }

    /// One line of the configuration, for example `("fsync", "off")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// So many connections at once; three of them are kept for the superuser.
    #[must_use]
    pub fn max_connections(self, most: u16) -> Self {
        self.setting("max_connections", &most.to_string())
    }
}

/// A server on loopback; dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct PostgresServer {
    options: PostgresOptions,
    port: u16,
    process: Process,
    home: TempDir,
}

impl PostgresServer {
    /// Makes a cluster of databases, starts a server on it, and returns when it answers.
    ///
    /// # Errors
    /// `NotFound` without a server program; else the start failed, with the end of the server's log.
    pub fn start(options: PostgresOptions) -> io::Result<Self> {
        let home = unprivileged::home("monban-postgres-")?;
        initialize(&options, home.path())?;
        Self::on(options, home)
    }

    /// A standby that follows this server, and can be read only.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn standby(&self) -> io::Result<Self> {
        let home = unprivileged::home("monban-postgres-")?;
        let mut copy = tool("pg_basebackup", home.path())?;
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .args(["--username", USER, "--pgdata"])
            .arg(data(home.path()));
        // Who runs this may not enter the primary's directory, where the socket is, unless it is the same user: it is.
        copy.arg("--host").arg(self.home.path());
        copy.arg("--port").arg(self.port.to_string());
        finish(&mut copy, "pg_basebackup")?;
        Self::on(self.options.clone(), home)
    }

    fn on(options: PostgresOptions, home: TempDir) -> io::Result<Self> {
        let mut outcome = Err(io::Error::other("not tried"));
        // A free port may be taken by somebody else before the server binds it.
        for _ in 0..5 {
            let port = free_port()?;
            outcome = launch(&options, port, home.path()).map(|process| (port, process));
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

    /// `postgres://…` of the superuser, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(USER, self.options.password.as_deref())
    }

    /// `postgres://…` of another user.
    #[must_use]
    pub fn url_of(&self, user: &str, password: Option<&str>) -> String {
        let password = password.map_or_else(String::new, |password| format!(":{password}"));
        format!("postgres://{user}{password}@127.0.0.1:{}/{USER}", self.port)
    }

    /// The port of loopback it listens on, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the running (or last) postmaster.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process ids of the postmaster, its helpers and its sessions.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.id()];
        all.extend(children(self.id()));
        all
    }

    /// The directory that holds its log and data, and its socket.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Ends the server as its service manager would (a fast shutdown): sessions are told and closed, and all is written.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> io::Result<()> {
        self.end_by(Signal::INT)
    }

    /// Kills the postmaster and every session at once, as a crash of the machine would.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill9(&mut self) -> io::Result<()> {
        if !self.process.is_running()? {
            return Ok(());
        }
        // A stopped postmaster starts no other session and reaps none, so that the numbers stay theirs.
        self.process.signal(Signal::STOP)?;
        let children = children(self.id());
        signal_all(&children, Signal::KILL);
        self.process.kill()?;
        wait_until("the end of the sessions", READY, || {
            Ok(children.iter().all(|child| has_ended(*child)))
        })
    }

    /// Starts the server again on the same port with the same files, killing it first if need be.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_again(&mut self) -> io::Result<()> {
        self.kill9()?;
        self.process = launch(&self.options, self.port, self.home.path())?;
        Ok(())
    }

    /// A fast shutdown and another start.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Stops the postmaster and every session where they stand (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// The server has ended.
    pub fn stop_signal(&mut self) -> io::Result<()> {
        self.process.signal(Signal::STOP)?;
        signal_all(&children(self.id()), Signal::STOP);
        Ok(())
    }

    /// Lets a stopped server go on (SIGCONT).
    ///
    /// # Errors
    /// The server has ended.
    pub fn cont(&mut self) -> io::Result<()> {
        signal_all(&children(self.id()), Signal::CONT);
        self.process.signal(Signal::CONT)
    }

    /// Runs statements as the superuser, over the server's socket; what they return, unaligned, a line for each row.
    ///
    /// # Errors
    /// One failed, and what `psql` said is the message; those before it stay done.
    pub fn ask(&self, sql: &str) -> io::Result<String> {
        feed(&mut self.psql()?, sql)
    }

    /// The command `psql` as the superuser, over the server's socket, quiet and stopping at the first error; to be
    /// given statements or more words.
    ///
    /// # Errors
    /// There is none.
    pub fn psql(&self) -> io::Result<Command> {
        psql(&self.home.path().display().to_string(), self.port, USER)
    }

    /// Processor time that the server has used since it started, in seconds, with all of its sessions so far.
    ///
    /// # Errors
    /// The system does not say.
    pub fn processor_time(&self) -> io::Result<f64> {
        let mut ticks = 0;
        let mut own = ticks_of(self.id())?;
        for child in children(self.id()) {
            // One that ends meanwhile is among the postmaster's reaped children the next time.
            own += ticks_of(child).unwrap_or_default();
        }
        ticks += own;
        Ok(ticks as f64 / 100.0)
    }

    /// An immediate shutdown. It waits for connections that have not said yet what they want, so these are killed.
    fn quit(&mut self) -> io::Result<()> {
        self.process.signal(Signal::QUIT)?;
        let patience = Duration::from_secs(2);
        wait_until("the end of the sessions", patience, || {
            Ok(!self.process.is_running()?)
        })
        .or_else(|_| {
            signal_all(&children(self.id()), Signal::KILL);
            self.end_by(Signal::QUIT)
        })
    }

    fn end_by(&mut self, signal: Signal) -> io::Result<()> {
        if self.process.is_running()? {
            self.process.signal(signal)?;
        }
        wait_until("the end of the PostgreSQL server", READY, || {
            Ok(!self.process.is_running()?)
        })
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Killed, it would leave a segment of shared memory; so it is asked first. Process kills what is left.
        let ended = match self.process.is_running() {
            Ok(true) => self.cont().and_then(|()| self.quit()),
            _ => {
                forget_segment(self.home.path());
                Ok(())
            }
        };
        if let Err(error) = ended.and_then(|()| self.kill9()) {
            eprintln!("the PostgreSQL server {}: {error}", self.id());
        }
    }
}

/// Runs `psql` to its end with statements on standard input; its standard output, or what it said otherwise.
pub(crate) fn feed(psql: &mut Command, sql: &str) -> io::Result<String> {
    let mut child = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("a pipe was asked for");
    let sent = input.write_all(format!("{sql}\n;\n").as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    if output.status.success() {
        sent?;
        let said = String::from_utf8_lossy(&output.stdout);
        return Ok(said.trim_end_matches('\n').to_owned());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

pub(crate) fn psql(host: &str, port: u16, user: &str) -> io::Result<Command> {
    let mut command = Command::new(service::program(CLIENT, &["psql"])?);
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
    command.args(["-h", host, "-p", &port.to_string(), "-U", user, "-d", USER]);
    command.env("PGOPTIONS", "-c client_min_messages=warning");
    Ok(command)
}

fn initialize(options: &PostgresOptions, home: &Path) -> io::Result<()> {
    let data = data(home);
    let mut initdb = tool("initdb", home)?;
    initdb
        .args(["--no-sync", "--encoding=UTF8"])
        .args(["--locale=C", "--auth=trust", "--username", USER, "--pgdata"])
        .arg(&data);
    if let Some(password) = &options.password {
        let file = home.join("password");
        fs::write(&file, password)?;
        unprivileged::hand_over(&file)?;
        // So it is kept as SCRAM, which versions before 14 do only if told so.
        initdb.arg("--auth-host=scram-sha-256");
        initdb.arg("--pwfile").arg(&file);
    }
    finish(&mut initdb, "initdb")?;
    if let Some(tls) = &options.tls {
        give(&tls.certificate, &data.join("server.crt"))?;
        give(&tls.key, &data.join("server.key"))?;
        if let Some(authority) = &tls.authority {
            give(authority, &data.join("authority.crt"))?;
        }
    }
    fs::write(data.join("pg_hba.conf"), who_may_enter(options))
}

/// Over its socket the superuser always may; over the network as the options say.
fn who_may_enter(options: &PostgresOptions) -> String {
    let (kind, certificate) = match &options.tls {
        None => ("host", ""),
        Some(tls) if tls.authority.is_none() => ("hostssl", ""),
        Some(_) => ("hostssl", " clientcert=verify-ca"),
    };
    let method = match options.password {
        Some(_) => "scram-sha-256",
        None => "trust",
    };
    format!(
        "local all all trust\nlocal replication all trust\n\
         {kind} all all 127.0.0.1/32 {method}{certificate}\n"
    )
}

/// Copies a file so that the server may read it, and nobody else.
fn give(from: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, fs::read(from)?)?;
    fs::set_permissions(to, Permissions::from_mode(0o600))?;
    unprivileged::hand_over(to)
}

fn launch(options: &PostgresOptions, port: u16, home: &Path) -> io::Result<Process> {
    let log = File::create(log_path(home))?;
    let mut command = tool("postgres", home)?;
    command.arg("-D").arg(data(home));
    command.arg("-p").arg(port.to_string()).arg("-k").arg(home);
    let mut set = |line: &str| {
        command.arg("-c").arg(line);
    };
    set("listen_addresses=127.0.0.1");
    // A connection that says nothing holds up a shutdown for so long.
    set("authentication_timeout=5s");
    // In its directory, not in that of the system, where it would stay after a kill.
    set("dynamic_shared_memory_type=mmap");
    if let Some(tls) = &options.tls {
        set("ssl=on");
        if tls.authority.is_some() {
            set("ssl_ca_file=authority.crt");
        }
    }
    for line in &options.settings {
        set(line);
    }
    command.envs(options.variables.iter().cloned());
    command.stdout(log.try_clone()?).stderr(log);
    let mut process = Process::spawn(&mut command, Some(home))?;
    let host = home.display().to_string();
    wait_until("the PostgreSQL server", READY, || {
        if !process.is_running()? {
            return Err(io::Error::other("the PostgreSQL server ended"));
        }
        // Its socket is in a directory of its own: whoever answers is ours.
        Ok(feed(&mut psql(&host, port, USER)?, "SELECT 1").is_ok())
    })
    .map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; its log ends: {}", log_tail(home)),
        )
    })?;
    Ok(process)
}

/// The server's program, or a tool beside it.
fn tool(name: &str, home: &Path) -> io::Result<Command> {
    let server = service::program(SERVER, PROGRAMS)?;
    // Found by a link, the tools may not be beside it.
    let program = fs::canonicalize(server)?.with_file_name(name);
    unprivileged::command(program, home)
}

fn finish(command: &mut Command, name: &str) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{name}: {said}")))
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

fn log_path(home: &Path) -> PathBuf {
    home.join("server.log")
}

fn log_tail(home: &Path) -> String {
    let log = fs::read(log_path(home)).unwrap_or_default();
    let start = log.len().saturating_sub(1_000);
    String::from_utf8_lossy(&log[start..]).into_owned()
}

/// Removes the segment of shared memory by which a killed server is known to its successor.
fn forget_segment(home: &Path) {
    let note = fs::read_to_string(data(home).join("postmaster.pid")).unwrap_or_default();
    let segment = note
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1));
    if let Some(segment) = segment {
        let mut remove = Command::new("ipcrm");
        let removed = remove.args(["-m", segment]).stderr(Stdio::null()).status();
        if let Err(error) = removed {
            eprintln!("a segment of shared memory is left behind: {error}");
        }
    }
}
