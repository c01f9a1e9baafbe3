//! Reads a `redis://` URL.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::data::{Error, Result};
use crate::net::{self, TIMEOUT_WANTS, Tls};

/// Where the server is, how to be let in, and how to behave. Its `Debug` shows no password.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Tls>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    /// A server that may evict keys is accepted.
    pub(super) evicting: bool,
    /// Releases wake the waiters of python-redis-lock.
    pub(super) signal: bool,
    /// The longest wait for a reply.
    pub(super) timeout: Duration,
}

impl Address {
    /// `redis[s]://[user[:password]@]host[:port][/database][?option=value&...]`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // The parser's messages do not quote the URL, which may have a password in it.
        let url = Url::parse(text)
            .map_err(|error| invalid(format!("it cannot be read as a URL: {error}")))?;
        let tls = match url.scheme() {
            "redis" => None,
            "rediss" => Some(Tls::default()),
            other => {
                return Err(invalid(format!(
                    "the scheme is {other}, not redis or rediss"
                )));
            }
        };
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
            _ => return Err(invalid("it names no host")),
        };
        let mut address = Self {
            host,
            port: url.port().unwrap_or(6379),
            tls,
            user: (!url.username().is_empty())
                .then(|| decode(url.username()))
                .transpose()?,
            password: url.password().map(decode).transpose()?,
            database: database(url.path())?,
            evicting: false,
            signal: false,
            timeout: Self::TIMEOUT,
        };
        if address.user.is_some() && address.password.is_none() {
            return Err(invalid(
                "it has a user but no password; write redis://user:password@host, or redis://:password@host",
            ));
        }
        if url.fragment().is_some() {
            return Err(invalid(
                "it has a part after #; in a password write # as %23",
            ));
        }
        for (name, value) in url.query_pairs() {
            address
                .option(&name, &value)
                .map_err(|error| match url.query() {
                    // What is taken for an option may be the rest of a password.
                    Some(query) if query.contains('@') => {
                        invalid("it has an @ after ?; in a password write ? as %3F")
                    }
                    _ => error,
                })?;
        }
        Ok(address)
    }

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn option(&mut self, name: &str, value: &str) -> Result<()> {
        match (name, value) {
            ("evicting", "allow") => self.evicting = true,
            ("signal", "python-redis-lock") => self.signal = true,
            ("timeout", value) => {
                self.timeout = net::timeout(value).ok_or_else(|| invalid(TIMEOUT_WANTS))?
            }
            ("ca", "") => return Err(invalid("ca= names no file")),
            ("ca", file) => match &mut self.tls {
                Some(tls) => tls.authority = Some(file.into()),
                None => return Err(invalid("ca= is for rediss:// only")),
            },
            ("evicting" | "signal", _) => {
                return Err(invalid(format!(
                    "the option {name} has a value it does not know; evicting=allow and \
                     signal=python-redis-lock are possible"
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "there is no option {}; there are ca, evicting, signal and timeout",
                    crate::data::printable(name)
                )));
            }
        }
        Ok(())
    }
}

fn decode(text: &str) -> Result<String> {
    net::decode(text).ok_or_else(|| invalid("user or password is not UTF-8 after decoding"))
}

fn database(path: &str) -> Result<i64> {
    match path.trim_matches('/') {
        "" => Ok(0),
        number => number
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| invalid("the path is not the number of a database")),
    }
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::invalid(format!("the redis URL cannot be used: {what}"))
}

/// `host:port`, with the database unless it is 0: what messages name the server by.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
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

    #[test]
    fn all_parts_are_read() {
        let all = Address::parse(
            "rediss://me:p%23%2B%26s+%2F@[::1]:7000/3?ca=/a/b&evicting=allow&signal=python-redis-lock&timeout=500ms",
        )
        .unwrap();
        assert_eq!(all.host, "::1");
        assert_eq!((all.port, all.database), (7000, 3));
        assert_eq!(all.user.as_deref(), Some("me"));
        assert_eq!(all.password.as_deref(), Some("p#+&s+/"));
        assert_eq!(all.tls.unwrap().authority.unwrap().to_str(), Some("/a/b"));
        assert!(all.evicting && all.signal);
        assert_eq!(all.timeout, Duration::from_millis(500));
        let plain = Address::parse("redis://cache.internal").unwrap();
        assert_eq!(plain.to_string(), "cache.internal:6379");
        assert!(plain.tls.is_none() && plain.password.is_none() && !plain.evicting);
        let only = Address::parse("redis://:secret@h").unwrap();
        assert_eq!(
            (only.user, only.password.as_deref()),
            (None, Some("secret"))
        );
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (url, says) in [
            ("http://h", "scheme"),
            ("redis://h?retries=3", "retries"),
            ("redis://h?evicting=yes", "evicting"),
            ("redis://h?ca=/x", "rediss"),
            ("redis://h/x", "database"),
            ("redis://h?timeout=1h", "timeout"),
            ("redis://user@h", "password"),
            ("redis://", "host"),
            ("no url", "URL"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{url}");
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = "redis://me:sentinel-7f@h:1/2";
        let address = Address::parse(url).unwrap();
        assert!(!format!("{address:?} {address}").contains("sentinel"));
        for broken in [
            "redis://me:sentinel-7f@h:99999",
            "redis://me:sentinel-7f@h/x",
            "redis:/me:sentinel-7f@h ^",
            "redis://me:12?sentinel-7f@h",
            "redis://me:12?a&sentinel-7f@h",
            "redis://me:12?sentinel-7f&a@h",
            "redis://me:12#sentinel-7f@h",
            "redis://me:12/sentinel-7f@h",
        ] {
            if let Err(error) = Address::parse(broken) {
                assert!(
                    !format!("{error} {error:?}").contains("sentinel"),
                    "{broken}"
                );
            }
        }
    }
}
