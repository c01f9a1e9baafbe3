//! Reads an `etcd://` URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::data::{Error, Result};
use crate::net::{self, TIMEOUT_WANTS, Tls};

/// Where the members of the cluster are, how to be let in, and how to behave. Its `Debug` shows no password.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) hosts: Vec<Host>,
    pub(super) tls: Option<Tls>,
    /// User and password.
    pub(super) user: Option<(String, String)>,
    /// What stands before every key, with a slash at its end unless it is empty.
    pub(super) prefix: Vec<u8>,
    /// The longest wait for an answer.
    pub(super) timeout: Duration,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

const PORT: u16 = 2379;

impl Address {
    /// Long enough for a cluster that elects a leader.
    const TIMEOUT: Duration = Duration::from_secs(3);

    /// `etcd[s]://[user:password@]host[:port][,host[:port]...][/prefix][?option=value&...]`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (tls, rest) = match text.split_once("://") {
            Some(("etcd", rest)) => (None, rest),
            // Without it etcd takes us for a client of its JSON.
            Some(("etcds", rest)) => (Some(Tls::speaking(b"h2")), rest),
            _ => {
                return Err(invalid(
                    "it does not begin with etcd:// or etcds://; write etcd://host:port",
                ));
            }
        };
        if rest.contains('#') {
            return Err(invalid(
                "it has a part after #; in a password write # as %23",
            ));
        }
        let (rest, query) = match rest.split_once('?') {
            Some((_, query)) if query.contains('@') => {
                return Err(invalid("it has an @ after ?; in a password write ? as %3F"));
            }
            Some((rest, query)) => (rest, query),
            None => (rest, ""),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((_, path)) if path.contains('@') => {
                return Err(invalid(
                    "it has an @ after /; in a password write / as %2F, in a prefix @ as %40",
                ));
            }
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user_of(user)?), hosts),
            None => (None, authority),
        };
        let mut address = Self {
            hosts: hosts.split(',').map(host).collect::<Result<_>>()?,
            tls,
            user,
            prefix: prefix(path)?,
            timeout: Self::TIMEOUT,
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            address.option(&name, &value)?;
        }
        if let Some(tls) = &address.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            return Err(invalid("cert= and key= go together"));
        }
        Ok(address)
    }

    fn option(&mut self, name: &str, value: &str) -> Result<()> {
        let file = match name {
            "timeout" => {
                self.timeout = net::timeout(value).ok_or_else(|| invalid(TIMEOUT_WANTS))?;
                return Ok(());
            }
            "ca" | "cert" | "key" if value.is_empty() => {
                return Err(invalid(format!("{name}= names no file")));
            }
            "ca" | "cert" | "key" => Some(PathBuf::from(value)),
            _ => {
                return Err(invalid(format!(
                    "there is no option {}; there are ca, cert, key and timeout",
                    crate::data::printable(name)
                )));
            }
        };
        let Some(tls) = &mut self.tls else {
            return Err(invalid(format!("{name}= is for etcds:// only")));
        };
        match name {
            "ca" => tls.authority = file,
            "cert" => tls.certificate = file,
            _ => tls.key = file,
        }
        Ok(())
    }
}

fn host(text: &str) -> Result<Host> {
    let (name, port) = match text.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, port.strip_prefix(':').or(Some(port))),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(invalid("it names no host"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "[]%\\\"<>^`{|}".contains(c);
    if name.contains(odd) {
        return Err(invalid("a host's name has characters that no name has"));
    }
    let port = match port {
        Some(port) => port
            .parse()
            .map_err(|_| invalid("a port is not a number; write host:port,host:port"))?,
        None => PORT,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

fn user_of(text: &str) -> Result<(String, String)> {
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok((decode(user)?, decode(password)?)),
        _ => Err(invalid(
            "it has a user without a password, or the other way round; write etcd://user:password@host",
        )),
    }
}

fn prefix(path: &str) -> Result<Vec<u8>> {
    let mut prefix = decode(path.strip_suffix('/').unwrap_or(path))?.into_bytes();
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    Ok(prefix)
}

fn decode(text: &str) -> Result<String> {
    net::decode(text).ok_or_else(|| invalid("a part of it is not UTF-8 after decoding"))
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::invalid(format!("the etcd URL cannot be used: {what}"))
}

/// `host:port`: what messages name a member by.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at == 0 { "" } else { "," })?;
        }
        if !self.prefix.is_empty() {
            write!(f, "/{}", crate::data::printable(&self.prefix))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, tls: {:?})", self.tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        Address::parse(url).unwrap().to_string()
    }

    #[test]
    fn all_parts_are_read() {
        let all = Address::parse(
            "etcds://me:p%23%2B%26s+%2F%40@a:7000,b,[::1]:7001/app/locks/?ca=/a/b&cert=/c&key=/d&timeout=500ms",
        )
        .unwrap();
        let user = ("me".to_owned(), "p#+&s+/@".to_owned());
        assert_eq!(all.user, Some(user));
        assert_eq!(all.prefix, b"app/locks/");
        assert_eq!(all.to_string(), "a:7000,b:2379,[::1]:7001/app/locks/");
        assert_eq!(all.timeout, Duration::from_millis(500));
        let tls = all.tls.unwrap();
        assert_eq!(tls.authority.unwrap().to_str(), Some("/a/b"));
        assert!(tls.certificate.is_some() && tls.key.is_some());
        let least = Address::parse("etcd://h").unwrap();
        assert_eq!(least.hosts[0].port, 2379);
        assert!(least.prefix.is_empty() && least.tls.is_none() && least.user.is_none());
        assert_eq!(shown("etcd://h//abs"), "h:2379//abs/");
        assert_eq!(shown("etcd://h/"), "h:2379");
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_never_quoted() {
        for url in [
            "etcd://s3cret@h",
            "etcd://u:s3cret@",
            "etcd://u:s3cret@h,,i",
            "etcd://u:s3cret@h:port",
            "etcd://u:s3cret@h#x",
            "etcd://u:s3?cret@h",
            "etcd://u:s3/cret@h",
            "etcd://u:s3cret@h?nothing=1",
            "etcd://u:s3cret@h?timeout=1h",
            "etcd://u:s3cret@h?ca=/x",
            "etcds://u:s3cret@h?ca=",
            "etcds://u:s3cret@h?cert=/x",
            "http://u:s3cret@h",
            "etcd://h h",
            "etcd://",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("s3"), "{error}");
            assert!(error.contains("etcd"), "{error}");
        }
    }

    #[test]
    fn debug_output_has_no_password() {
        let address = Address::parse("etcd://user:s3cret@h").unwrap();
        assert!(!format!("{address:?}").contains("s3cret"));
    }
}
