//! The servers that tests need: found or installed, started on free ports, stopped.
//!
//! One entry of [`ALL`] is one service. Starting and stopping is the test kit's, so that tests and
//! tasks meet the same server; here stands only which package brings it and which variables tell a
//! test of it.

use std::any::Any;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use monban_testkit::{
    EtcdOptions, EtcdServer, PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer,
    RedisOptions, RedisServer, etcd, network, pgbouncer, postgres, redis, service, slow,
};

use crate::shell::{self, Outcome};

/// Asks whether the packages' own daemons may start; 101 says no (see invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells a test, or an example, where the Redis server is.
pub(crate) const REDIS: &str = "MONBAN_TEST_REDIS";

/// One kind of server.
pub(crate) struct Service {
    /// What suites and the command line call it.
    pub(crate) name: &'static str,
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
    /// The variable that names its program to the tests, and the names the program may have.
    program: (&'static str, &'static [&'static str]),
    /// The port its package would listen on; nothing of ours may.
    standard_port: u16,
    start: fn() -> io::Result<Running>,
}

/// Every service that a suite may need.
pub(crate) const ALL: &[Service] = &[
    Service {
        name: "redis",
        packages: &["redis-server"],
        program: (redis::SERVER, redis::PROGRAMS),
        standard_port: 6379,
        start: start_redis,
    },
    Service {
        name: "etcd",
        packages: &["etcd-server", "etcd-client"],
        program: (etcd::SERVER, etcd::PROGRAMS),
        standard_port: 2379,
        start: start_etcd,
    },
    Service {
        name: "postgres",
        packages: &["postgresql", "postgresql-client"],
        program: (postgres::SERVER, postgres::PROGRAMS),
        standard_port: 5432,
        start: start_postgres,
    },
    Service {
        name: "pgbouncer",
        packages: &["pgbouncer", "postgresql", "postgresql-client"],
        program: (pgbouncer::POOLER, pgbouncer::PROGRAMS),
        standard_port: 6432,
        start: start_pgbouncer,
    },
    Service {
        name: "mariadb",
        packages: &["mariadb-server-core", "mariadb-client-core"],
        program: ("MONBAN_MARIADB_SERVER", &["mariadbd", "/usr/sbin/mariadbd"]),
        standard_port: 3306,
        start: start_nothing,
    },
    Service {
        // For networks whose cables are pulled: no server, and its tests take root.
        name: "network",
        packages: &["iproute2"],
        program: (network::IP, network::PROGRAMS),
        standard_port: 0,
        start: start_nothing,
    },
    Service {
        // For disks that are slow.
        name: "strace",
        packages: &["strace"],
        program: (slow::STRACE, slow::PROGRAMS),
        standard_port: 0,
        start: start_nothing,
    },
    Service {
        // For the build of a benchmark's peer.
        name: "protoc",
        packages: &["protobuf-compiler", "libprotobuf-dev"],
        program: ("PROTOC", &["protoc"]),
        standard_port: 0,
        start: start_nothing,
    },
    Service {
        name: "sqlite",
        packages: &["sqlite3"],
        program: ("MONBAN_SQLITE", &["sqlite3"]),
        standard_port: 0,
        start: start_nothing,
    },
];

/// A started server, stopped when dropped, and the variables that tell tests of it.
pub(crate) struct Running {
    pub(crate) variables: Vec<(&'static str, String)>,
    _server: Box<dyn Any>,
}

/// What its tests start by themselves, or what is no server.
fn start_nothing() -> io::Result<Running> {
    Ok(Running {
        variables: Vec::new(),
        _server: Box::new(()),
    })
}

fn start_redis() -> io::Result<Running> {
    let server = RedisServer::start(RedisOptions::new())?;
    Ok(Running {
        variables: vec![(REDIS, server.url())],
        _server: Box::new(server),
    })
}

/// Three members, as a user would have.
fn start_etcd() -> io::Result<Running> {
    let server = EtcdServer::start(EtcdOptions::new().members(3))?;
    Ok(Running {
        variables: vec![("MONBAN_TEST_ETCD", server.url())],
        _server: Box::new(server),
    })
}

fn start_postgres() -> io::Result<Running> {
    let server = PostgresServer::start(PostgresOptions::new())?;
    Ok(Running {
        variables: vec![("MONBAN_TEST_POSTGRES", server.url())],
        _server: Box::new(server),
    })
}

/// In transaction mode, in front of a server of its own.
fn start_pgbouncer() -> io::Result<Running> {
    let server = PostgresServer::start(PostgresOptions::new())?;
    let pooler = PgBouncer::start(&server, &PgBouncerOptions::new())?;
    Ok(Running {
        variables: vec![("MONBAN_TEST_PGBOUNCER", pooler.url())],
        _server: Box::new((pooler, server)),
    })
}

impl Service {
    fn find(&self) -> io::Result<PathBuf> {
        service::program(self.program.0, self.program.1)
    }

    /// Makes sure that the program is there, installing it if this is Debian and we may.
    fn install(&self) -> Outcome {
        if self.find().is_ok() {
            return Ok(());
        }
        if !may_install()? {
            return Err(format!(
                "the {} server is missing: install it (Debian: apt-get install {}) or name its \
                 program in {}",
                self.name,
                self.packages.join(" "),
                self.program.0
            )
            .into());
        }
        let before = is_listening(self.standard_port);
        apt_install(self.packages)?;
        if !before && is_listening(self.standard_port) {
            return Err(format!("installing {} left a daemon running", self.name).into());
        }
        self.find().map(drop).map_err(Into::into)
    }

    /// Starts a server and adds the path of its program to what it tells the tests.
    fn start(&self) -> Outcome<Running> {
        let mut running = (self.start)().map_err(|error| format!("{}: {error}", self.name))?;
        running
            .variables
            .push((self.program.0, self.find()?.display().to_string()));
        Ok(running)
    }
}

/// Installs (if need be) and starts the named services.
pub(crate) fn up(names: &[&str]) -> Outcome<Vec<Running>> {
    names
        .iter()
        .map(|name| {
            let service = named(name)?;
            service.install()?;
            service.start()
        })
        .collect()
}

/// Installs (if need be) the named services, and starts none.
pub(crate) fn install(names: &[&str]) -> Outcome {
    names.iter().try_for_each(|name| named(name)?.install())
}

/// `cargo xtask services [up|install] [NAME...]`.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut names: Vec<&str> = words.iter().map(String::as_str).collect();
    let verb = if names.is_empty() {
        "up"
    } else {
        names.remove(0)
    };
    if names.is_empty() {
        names = ALL.iter().map(|service| service.name).collect();
    }
    match verb {
        "install" => install(&names),
        "up" => {
            let running = up(&names)?;
            let mut out = io::stdout();
            for (name, value) in running.iter().flat_map(|one| &one.variables) {
                writeln!(out, "export {name}={value}")?;
            }
            out.flush()?;
            eprintln!("running until Ctrl-C");
            loop {
                // Ctrl-C ends us without dropping anything; the servers' guardians stop them.
                thread::park();
            }
        }
        _ => Err("say `services up [NAME...]` or `services install [NAME...]`".into()),
    }
}

fn named(name: &str) -> Outcome<&'static Service> {
    let found = ALL.iter().find(|service| service.name == name);
    found.ok_or_else(|| format!("no service is called {name}").into())
}

fn is_listening(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Makes sure of a tool whose Debian package has its name.
pub(crate) fn need_tool(name: &str) -> Outcome {
    if Command::new(name).arg("--version").output().is_ok() {
        return Ok(());
    }
    if !may_install()? {
        return Err(
            format!("{name} is missing: install it (Debian: apt-get install {name})").into(),
        );
    }
    apt_install(&[name])
}

/// Root on a machine with apt.
fn may_install() -> Outcome<bool> {
    let user = shell::output(Command::new("id").arg("-u"))?;
    Ok(user.trim() == "0" && Path::new("/usr/bin/apt-get").exists())
}

/// Installs packages without letting their daemons start.
fn apt_install(packages: &[&str]) -> Outcome {
    let _denied = DaemonsDenied::new(packages)?;
    // A stale list of packages names versions that the mirror has dropped.
    shell::run(apt().args(["update", "-qq"]))?;
    shell::run(
        apt()
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Standard output is the caller's (`services up` prints variables there): apt speaks on stderr.
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null());
    apt.stdout(io::stderr());
    apt
}

/// While it lives, `invoke-rc.d` starts nothing.
struct DaemonsDenied {
    ours: bool,
}

impl DaemonsDenied {
    fn new(packages: &[&str]) -> Outcome<Self> {
        if Path::new(POLICY).exists() {
            // Somebody's own policy stays; it has to say no to each of the daemons.
            for package in packages {
                let asked = Command::new(POLICY).args([package, "start"]).status()?;
                if asked.code() != Some(101) {
                    let message = format!("{POLICY} lets {package} start: install it by hand");
                    return Err(message.into());
                }
            }
            return Ok(Self { ours: false });
        }
        fs::write(
            POLICY,
            "#!/bin/sh\n# For the time of one installation by xtask.\nexit 101\n",
        )?;
        let denied = Self { ours: true };
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        Ok(denied)
    }
}

impl Drop for DaemonsDenied {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} is left behind: {error}");
        }
    }
}
