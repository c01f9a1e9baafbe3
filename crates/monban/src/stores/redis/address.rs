//! Reads a `redis://` URL.

use std::collections::HashSet;
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
    /// `redis[s]://[user[:password]@]host[:port][/database][?option=value&...]`, or `valkey[s]://`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // The parser's messages do not quote the URL, which may have a password in it.
        let url = Url::parse(text).map_err(|error| unreadable(text, error))?;
        let tls = match url.scheme() {
            "redis" | "valkey" => None,
            "rediss" | "valkeys" => Some(Tls::default()),
            other => {
                return Err(invalid(format!(
                    "the scheme is {other}, not redis, rediss, valkey or valkeys"
                )));
            }
        };
        let host = match url.host_str() {
            Some(host) if host.contains(',') => return Err(invalid(SEVERAL)),
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
        let mut seen = HashSet::new();
        for (name, value) in url.query_pairs() {
            let read = address.option(&name, &value);
            let twice = || invalid(format!("the option {name} is there twice"));
            // An option that is known: what it is called may be shown.
            read.and_then(|()| seen.insert(name.clone()).then_some(()).ok_or_else(twice))
                .map_err(|error| match url.query() {
                    // What is taken for an option may be the rest of a password.
                    Some(query) if query.contains('@') => {
                        invalid("it has an @ after ?; in a password write ? as %3F")
                    }
                    _ => error,
                })?;
        }
        if let Some(tls) = &address.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            return Err(invalid("cert= and key= go together"));
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
            ("ca" | "cert" | "key", "") => {
                return Err(invalid(format!("{name}= names no file")));
            }
            ("ca" | "cert" | "key", file) => {
                let Some(tls) = &mut self.tls else {
                    return Err(invalid(format!("{name}= is for rediss:// only")));
                };
                let slot = match name {
                    "ca" => &mut tls.authority,
                    "cert" => &mut tls.certificate,
                    _ => &mut tls.key,
                };
                *slot = Some(file.into());
            }
            ("evicting" | "signal", _) => {
                return Err(invalid(format!(
                    "the option {name} has a value it does not know; evicting=allow and \
                     signal=python-redis-lock are possible"
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "there is no option {}; there are ca, cert, evicting, key, signal and timeout",
                    crate::data::printable(name)
                )));
            }
        }
        Ok(())
    }
}

const SEVERAL: &str =
    "it names several hosts; a lock is kept by one server: name the primary alone";

/// What is wrong with what is no URL; none of it is quoted.
fn unreadable(text: &str, error: url::ParseError) -> Error {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    // Where host and port should have ended: what follows an @ was to be the host.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (before, after) = rest.split_at(end);
    match after.chars().next() {
        Some(odd) if after.contains('@') => invalid(format!(
            "it has an @ after {odd}; in a user's name or a password write {odd} as %{:02X}",
            u32::from(odd)
        )),
        _ if before
            .rsplit('@')
            .next()
            .is_some_and(|hosts| hosts.contains(',')) =>
        {
            invalid(SEVERAL)
        }
        _ => invalid(format!("it cannot be read as a URL: {error}")),
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
            "rediss://me:p%23%2B%26s+%2F@[::1]:7000/3?ca=/a/b&cert=/c&key=/d&evicting=allow&signal=python-redis-lock&timeout=500ms",
        )
        .unwrap();
        assert_eq!(all.host, "::1");
        assert_eq!((all.port, all.database), (7000, 3));
        assert_eq!(all.user.as_deref(), Some("me"));
        assert_eq!(all.password.as_deref(), Some("p#+&s+/"));
        let tls = all.tls.as_ref().unwrap();
        let files = [&tls.authority, &tls.certificate, &tls.key];
        assert_eq!(
            files.map(|file| file.as_ref().unwrap().to_str().unwrap()),
            ["/a/b", "/c", "/d"]
        );
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
            ("redis://h?ca=/x", "ca= is for rediss"),
            ("redis://h?cert=/x", "cert= is for rediss"),
            ("rediss://h?key=/x", "go together"),
            ("rediss://h?cert=/x", "go together"),
            ("rediss://h?key=", "names no file"),
            ("redis://u:secret#x@host", "write # as %23"),
            ("redis://u:sec/ret#x@host", "write / as %2F"),
            ("redis://u:sec?ret@host", "write ? as %3F"),
            ("redis://a,b", "several hosts"),
            ("redis://:p@a:1,b:2/3", "several hosts"),
            ("redis://h?timeout=2s&timeout=3s", "timeout is there twice"),
            ("redis://h?evicting=allow&evicting=allow", "twice"),
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
    fn a_server_may_be_called_by_its_name() {
        for (url, tls) in [("valkey://h:7/2", false), ("valkeys://h:7/2", true)] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), "h:7/2");
            assert_eq!(address.tls.is_some(), tls, "{url}");
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
            "redis://me:sentinel-7f#12@h",
            "redis://me:sentinel-7f,12@h:x",
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
