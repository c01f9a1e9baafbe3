//! What kind of server answers, and whether it can keep the promise.

use redis::Value;

use super::address::Address;
use super::faults;
use crate::data::{Error, Result};

/// What INFO and CLIENT ID say.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// Our connection's number.
    pub(super) client: Option<i64>,
    /// The server's run: another one after a restart, or behind the same name.
    pub(super) run: String,
    version: String,
    replica: bool,
    cluster: bool,
    /// It watches over servers, and has no keys of its own.
    pub(super) sentinel: bool,
    bounded: bool,
    policy: String,
}

impl Server {
    /// Takes what there is to know from an answer of the handshake.
    pub(super) fn learn(&mut self, answer: Value) {
        match answer {
            Value::Int(client) if self.client.is_none() => self.client = Some(client),
            Value::BulkString(text) => self.read(&String::from_utf8_lossy(&text)),
            Value::VerbatimString { text, .. } => self.read(&text),
            _ => {}
        }
    }

    fn read(&mut self, info: &str) {
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name {
                "redis_version" => value.clone_into(&mut self.version),
                "run_id" => value.clone_into(&mut self.run),
                "role" => self.replica = value != "master",
                "redis_mode" => {
                    self.cluster |= value == "cluster";
                    self.sentinel = value == "sentinel";
                }
                "cluster_enabled" => self.cluster |= value == "1",
                "maxmemory" => self.bounded = value != "0",
                "maxmemory_policy" => value.clone_into(&mut self.policy),
                _ => {}
            }
        }
    }
}

/// Which connection is being made. Another one after the first may meet a server that has just stepped down: that is
/// over soon, and no reason to give anything up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    First,
    Again,
}

/// Refuses a server that cannot keep the promise.
pub(super) fn check(server: &Server, address: &Address, time: Time) -> Result<()> {
    let mut numbers = server.version.split('.').map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 2) {
        return Err(Error::unsupported(
            "redis",
            format!(
                "{address} is version {}, at least 6.2 is needed",
                crate::data::printable(&server.version)
            ),
        ));
    }
    if server.cluster {
        return Err(faults::cluster(&address.to_string()));
    }
    if server.replica {
        let what = faults::replica(&address.to_string());
        return Err(match time {
            Time::First => faults::rejected(what),
            Time::Again => faults::unavailable(what),
        });
    }
    if server.bounded && server.policy != "noeviction" && !address.evicting {
        return Err(Error::unsupported(
            "redis",
            format!(
                "{address} evicts keys when its memory is full (maxmemory-policy {}), so a lock could vanish while \
                 it is held; set noeviction, or accept it with ?evicting=allow",
                crate::data::printable(&server.policy)
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:ab\r\n\
        # Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n# Replication\r\nrole:master\r\ncluster_enabled:0\r\n";

    fn judged(info: &str, url: &str) -> Result<()> {
        let mut server = Server::default();
        server.learn(Value::BulkString(info.as_bytes().to_vec()));
        check(&server, &Address::parse(url).unwrap(), Time::First)
    }

    #[test]
    fn a_server_that_has_just_stepped_down_is_no_reason_to_give_up() {
        let mut server = Server::default();
        let replica = GOOD.replace("role:master", "role:slave");
        server.learn(Value::BulkString(replica.into_bytes()));
        let address = Address::parse("redis://h").unwrap();
        for (time, transient) in [(Time::First, false), (Time::Again, true)] {
            let error = check(&server, &address, time).unwrap_err();
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }

    #[test]
    fn a_server_that_cannot_keep_the_promise_is_refused_with_the_reason() {
        assert!(judged(GOOD, "redis://h").is_ok());
        for (from, to, says) in [
            ("version:7.0.15", "version:6.0.9", "6.0.9"),
            ("role:master", "role:slave", "replica"),
            ("cluster_enabled:0", "cluster_enabled:1", "cluster"),
            ("maxmemory:0", "maxmemory:1000", "allkeys-lru"),
        ] {
            let error = judged(&GOOD.replace(from, to), "redis://h").unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let evicting = GOOD.replace("maxmemory:0", "maxmemory:1000");
        assert!(judged(&evicting, "redis://h?evicting=allow").is_ok());
        assert!(judged(&evicting.replace("allkeys-lru", "noeviction"), "redis://h").is_ok());
    }
}
