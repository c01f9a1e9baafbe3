//! The servers that can be started, killed and started again.

use std::fs;
use std::io;
use std::time::Duration;

use monban_testkit::{
    EtcdOptions, EtcdServer, Persistence, PostgresOptions, PostgresServer, RedisOptions,
    RedisServer,
};

use super::target::{Server, WallClock};
use super::wall::Wall;

pub(super) type Start = fn(WallClock) -> io::Result<Box<dyn Server>>;

/// The servers that can be started. One more is one line here, and an `impl Server` for what the test kit has.
pub(super) const SERVERS: &[(&str, Start)] =
    &[("etcd", etcd), ("postgres", postgres), ("redis", redis)];

fn postgres(clock: WallClock) -> io::Result<Box<dyn Server>> {
    // A load has a connection for each of its processes.
    let mut options = PostgresOptions::new().max_connections(300);
    let wall = match clock {
        WallClock::Machine => None,
        WallClock::InHand => Some(Wall::new()?),
    };
    for (name, value) in wall.iter().flat_map(Wall::variables) {
        options = options.variable(name, value);
    }
    let server = PostgresServer::start(options)?;
    Ok(Box::new(Postgres { server, wall }))
}

fn redis(clock: WallClock) -> io::Result<Box<dyn Server>> {
    let mut options = RedisOptions::new().persistence(Persistence::AofAlways);
    let wall = match clock {
        WallClock::Machine => None,
        WallClock::InHand => Some(Wall::new()?),
    };
    for (name, value) in wall.iter().flat_map(Wall::variables) {
        options = options.variable(name, value);
    }
    let server = RedisServer::start(options)?;
    Ok(Box::new(Redis { server, wall }))
}

/// A Redis server, and its wall clock if it is in our hands.
struct Redis {
    server: RedisServer,
    wall: Option<Wall>,
}

impl Server for Redis {
    fn url(&self) -> String {
        self.server.url()
    }

    fn kill(&mut self) -> io::Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> io::Result<()> {
        self.server.restart()
    }

    fn pause(&mut self, stopped: bool) -> io::Result<()> {
        if stopped {
            self.server.stop_signal()
        } else {
            self.server.cont()
        }
    }

    fn set_clock(&mut self, ms: i64) -> io::Result<()> {
        self.wall.as_ref().map_or(Ok(()), |wall| wall.set(ms))
    }

    /// Fence counters stay: a resource may remember the last one.
    fn leftovers(&self) -> io::Result<Vec<String>> {
        let keys = self.server.ask(&["KEYS", "*"])?;
        let left = keys.lines().filter(|key| !key.contains("fence"));
        Ok(left.map(|key| format!("key {key}")).collect())
    }

    fn version(&self) -> String {
        let info = self.server.ask(&["INFO", "server"]).unwrap_or_default();
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        format!("Redis {}", version.unwrap_or("of unknown version").trim())
    }

    fn wipe(&mut self) -> io::Result<()> {
        fs::remove_dir_all(self.server.dir().join("appendonlydir"))
    }

    fn barred_for(&self) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn its_own(&self) -> &'static [&'static str] {
        &[]
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.server.kill9()
    }

    fn end_sessions(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.process()]
    }
}

/// A PostgreSQL server, and its wall clock if it is in our hands.
struct Postgres {
    server: PostgresServer,
    wall: Option<Wall>,
}

impl Server for Postgres {
    fn url(&self) -> String {
        self.server.url()
    }

    fn kill(&mut self) -> io::Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> io::Result<()> {
        self.server.start_again()
    }

    fn pause(&mut self, stopped: bool) -> io::Result<()> {
        if stopped {
            self.server.stop_signal()
        } else {
            self.server.cont()
        }
    }

    fn set_clock(&mut self, ms: i64) -> io::Result<()> {
        self.wall.as_ref().map_or(Ok(()), |wall| wall.set(ms))
    }

    /// Heads of keys that were in use stay for minutes: a resource may remember the last fence. So does, until it is swept
    /// or the key is asked for, what a process that was killed had; once its TTL is over it holds up nobody.
    fn leftovers(&self) -> io::Result<Vec<String>> {
        let rows = self.server.ask(
            "SELECT 'a holder of ' || encode(key, 'escape') FROM monban.head
               WHERE holder IS NOT NULL AND expires > monban.now()
             UNION ALL SELECT 'a claim of ' || encode(key, 'escape') FROM monban.claim WHERE expires > monban.now()
             UNION ALL SELECT 'a place at ' || encode(key, 'escape') FROM monban.linger
             UNION ALL SELECT 'an open transaction: ' || query FROM pg_stat_activity
               WHERE state LIKE 'idle in transaction%' OR wait_event_type = 'Lock'",
        )?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    fn version(&self) -> String {
        let version = self.server.ask("SHOW server_version").unwrap_or_default();
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        format!("PostgreSQL {version}")
    }

    /// What is unlogged is lost by every kill; all of it would be the database.
    fn wipe(&mut self) -> io::Result<()> {
        self.server.start_again()?;
        self.server.ask("DROP SCHEMA monban CASCADE")?;
        self.server.kill9()
    }

    fn barred_for(&self) -> io::Result<Duration> {
        let left = self.server.ask(
            "SELECT greatest(0, coalesce((SELECT opens FROM monban.epoch), (SELECT until FROM monban.reserve)) - monban.now())",
        )?;
        let left = left.parse().map_err(io::Error::other)?;
        Ok(Duration::from_micros(left))
    }

    fn its_own(&self) -> &'static [&'static str] {
        &["server-restart", "sessions-ended"]
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.server.stop()
    }

    fn end_sessions(&mut self) -> io::Result<()> {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.server.ask(end).map(drop)
    }

    /// Each session writes its own part of the log to the disk.
    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }
}

fn etcd(clock: WallClock) -> io::Result<Box<dyn Server>> {
    if clock == WallClock::InHand {
        return Err(unsupported("etcd goes by no wall clock"));
    }
    Ok(Box::new(Etcd(EtcdServer::start(EtcdOptions::new())?)))
}

/// An etcd server of one member.
struct Etcd(EtcdServer);

impl Server for Etcd {
    fn url(&self) -> String {
        self.0.url()
    }

    fn kill(&mut self) -> io::Result<()> {
        self.0.kill9(0)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.restart(0)
    }

    fn pause(&mut self, stopped: bool) -> io::Result<()> {
        if stopped {
            self.0.stop_signal(0)
        } else {
            self.0.cont(0)
        }
    }

    fn set_clock(&mut self, ms: i64) -> io::Result<()> {
        match ms {
            0 => Ok(()),
            _ => Err(unsupported("etcd goes by no wall clock")),
        }
    }

    fn leftovers(&self) -> io::Result<Vec<String>> {
        let keys = self.0.ask(&["get", "", "--prefix", "--keys-only"])?;
        let leases = self.0.ask(&["lease", "list"])?;
        let keys = keys.lines().filter(|line| !line.is_empty());
        let keys = keys.map(|key| format!("key {key}"));
        let leases = leases.lines().skip(1).map(|lease| format!("lease {lease}"));
        Ok(keys.chain(leases).collect())
    }

    fn version(&self) -> String {
        let said = self.0.ask(&["endpoint", "status", "--write-out=fields"]);
        let said = said.unwrap_or_default();
        let version = said
            .lines()
            .find_map(|line| line.strip_prefix("\"Version\" : "));
        format!(
            "etcd {}",
            version.unwrap_or("of unknown version").trim_matches('"')
        )
    }

    /// Fences are revisions: they begin anew with the data, and the guarantees of the store say so.
    fn wipe(&mut self) -> io::Result<()> {
        Err(unsupported("etcd's fences live as long as its data"))
    }

    fn barred_for(&self) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn its_own(&self) -> &'static [&'static str] {
        &[]
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.0.kill9(0)
    }

    fn end_sessions(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.0.id(0)]
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
