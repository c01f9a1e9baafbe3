//! Reads a `postgres://` URL.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::data::{Error, Result, printable};
use crate::net::{self, TIMEOUT_WANTS, Tls};

/// Where the server is, how to be let in, and how to behave. Its `Debug` shows no password.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Tls>,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// The longest wait for an answer.
    pub(super) timeout: Duration,
}

impl Address {
    const TIMEOUT: Duration = Duration::from_secs(2);

    /// `postgres[ql]://user[:password]@host[:port][/database][?option=value&...]`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // The parser's messages do not quote the URL, which may have a password in it.
        let url = Url::parse(text)
            .map_err(|error| invalid(format!("it cannot be read as a URL: {error}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(invalid(
                "it does not begin with postgres:// or postgresql://; write postgres://user@host/database",
            ));
        }
        if url.fragment().is_some() {
            return Err(invalid(
                "it has a part after #; in a password write # as %23",
            ));
        }
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => decode(host.trim_matches(['[', ']']))?,
            _ => return Err(invalid("it names no host")),
        };
        if host.contains(',') {
            return Err(invalid(
                "it names several hosts; name the primary, or a name that follows it",
            ));
        }
        if url.username().is_empty() {
            return Err(invalid(
                "it names no user; write postgres://user@host/database",
            ));
        }
        let user = decode(url.username())?;
        let mut address = Self {
            host,
            port: url.port().unwrap_or(5432),
            tls: None,
            password: url.password().map(decode).transpose()?,
            database: database(url.path(), &user)?,
            user,
            timeout: Self::TIMEOUT,
        };
        address.options(&url).map_err(|error| match url.query() {
            // What is taken for an option may be the rest of a password.
            Some(query) if query.contains('@') => {
                invalid("it has an @ after ?; in a password write ? as %3F")
            }
            _ => error,
        })?;
        Ok(address)
    }

    fn options(&mut self, url: &Url) -> Result<()> {
        let mut tls = Tls::default();
        let mut files = None;
        for (name, value) in url.query_pairs() {
            let file = match &*name {
                "sslmode" => {
                    self.tls = encrypted(&value)?.then(Tls::default);
                    continue;
                }
                "timeout" => {
                    self.timeout = net::timeout(&value).ok_or_else(|| invalid(TIMEOUT_WANTS))?;
                    continue;
                }
                "ca" | "sslrootcert" => &mut tls.authority,
                "cert" | "sslcert" => &mut tls.certificate,
                "key" | "sslkey" => &mut tls.key,
                other => {
                    return Err(invalid(format!(
                        "there is no option {}; there are sslmode, ca, cert, key and timeout",
                        printable(other)
                    )));
                }
            };
            if value.is_empty() {
                return Err(invalid(format!("{name}= names no file")));
            }
            *file = Some((*value).into());
            files = Some(name);
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            return Err(invalid("cert= and key= go together"));
        }
        match (&mut self.tls, files) {
            (Some(mine), _) => *mine = tls,
            (None, Some(name)) => {
                return Err(invalid(format!("{name}= wants sslmode=verify-full too")));
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// Whether a mode encrypts. The modes that encrypt all verify the certificate and its name, since a connection that
/// does not can be taken over by whoever stands in between.
fn encrypted(mode: &str) -> Result<bool> {
    match mode {
        "disable" => Ok(false),
        "require" | "verify-ca" | "verify-full" => Ok(true),
        "prefer" | "allow" => Err(invalid(format!(
            "sslmode={mode} goes on in plain text if the server, or somebody in between, says so; \
             use disable or verify-full"
        ))),
        other => Err(invalid(format!(
            "sslmode={} is none; there are disable, require, verify-ca and verify-full (the last three verify the \
             certificate and its name)",
            printable(other)
        ))),
    }
}

fn database(path: &str, user: &str) -> Result<String> {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => Ok(user.to_owned()),
        name => decode(name),
    }
}

fn decode(text: &str) -> Result<String> {
    net::decode(text).ok_or_else(|| invalid("a part of it is not UTF-8 after decoding"))
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::invalid(format!("the postgres URL cannot be used: {what}"))
}

/// `host:port/database`: what messages name the server by.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = printable(&self.database);
        if self.host.contains(':') {
            write!(f, "[{}]:{}/{database}", self.host, self.port)
        } else {
            write!(f, "{}:{}/{database}", printable(&self.host), self.port)
        }
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
            "postgresql://m%40e:p%23%2B%26s+%2F%40@[::1]:7000/my%20data?sslmode=verify-full&ca=/a&cert=/c&key=/d&timeout=500ms",
        )
        .unwrap();
        assert_eq!((&*all.host, all.port), ("::1", 7000));
        assert_eq!((&*all.user, &*all.database), ("m@e", "my data"));
        assert_eq!(all.password.as_deref(), Some("p#+&s+/@"));
        assert_eq!(all.to_string(), "[::1]:7000/my data");
        assert_eq!(all.timeout, Duration::from_millis(500));
        let tls = all.tls.unwrap();
        assert_eq!(tls.authority.unwrap().to_str(), Some("/a"));
        assert!(tls.certificate.is_some() && tls.key.is_some());
        let least = Address::parse("postgres://app@db.internal").unwrap();
        assert_eq!(least.to_string(), "db.internal:5432/app");
        assert!(least.tls.is_none() && least.password.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_never_quoted() {
        for (url, says) in [
            ("http://u:s3cret@h", "postgres://"),
            ("postgres://h", "user"),
            ("postgres://u:s3cret@", "URL"),
            ("postgres://u:s3cret@h#x", "%23"),
            ("postgres://u:12?s3cret@h", "URL"),
            ("postgres://u:s3cret@h,i", "several"),
            ("postgres://u:s3cret@h?nothing=1", "nothing"),
            ("postgres://u:s3cret@h?timeout=1h", "timeout"),
            ("postgres://u:s3cret@h?sslmode=prefer", "plain text"),
            ("postgres://u:s3cret@h?sslmode=on", "verify-full"),
            ("postgres://u:s3cret@h?ca=/x", "sslmode"),
            ("postgres://u:s3cret@h?sslmode=require&ca=", "ca="),
            ("postgres://u:s3cret@h?sslmode=require&cert=/x", "key="),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{url}");
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains("s3"), "{url}: {text}");
        }
    }

    #[test]
    fn debug_output_has_no_password() {
        let address = Address::parse("postgres://user:s3cret@h").unwrap();
        assert!(!format!("{address:?} {address}").contains("s3cret"));
    }
}
