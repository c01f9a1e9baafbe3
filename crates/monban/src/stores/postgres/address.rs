//! Reads a `postgres://` URL, in the forms that libpq has for it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::passwords::Passwords;
use crate::data::{Error, Result, printable};
use crate::net::{self, TIMEOUT_WANTS, Tls};

/// Where the server is, how to be let in, and how to behave. Its `Debug` shows no password.
#[derive(Clone)]
pub(super) struct Address {
    /// In the order in which they are tried. Several are those of which one is the primary.
    pub(super) hosts: Vec<Host>,
    pub(super) tls: Option<Tls>,
    pub(super) user: String,
    pub(super) passwords: Passwords,
    pub(super) database: String,
    /// The longest wait for an answer.
    pub(super) timeout: Duration,
}

/// A server over TCP, or over a socket of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or, if it begins with /, the directory of a socket.
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// The socket, if it is one.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let directory = self
            .name
            .starts_with('/')
            .then(|| PathBuf::from(&self.name));
        directory.map(|directory| directory.join(format!(".s.PGSQL.{}", self.port)))
    }
}

/// `host:port`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", printable(&self.name), self.port)
        }
    }
}

/// The parts of a URL as they are found, and those of its options that replace them.
#[derive(Default)]
struct Parts {
    hosts: Vec<String>,
    ports: Vec<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    passfile: Option<PathBuf>,
    mode: Option<Encrypted>,
    tls: Tls,
    /// The option that named a file for TLS.
    files: Option<String>,
    timeout: Option<Duration>,
}

/// What `sslmode=` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encrypted {
    Yes,
    No,
}

const PORT: u16 = 5432;

impl Address {
    const TIMEOUT: Duration = Duration::from_secs(2);

    /// `postgres[ql]://[user[:password]@]host[:port][,...][/database][?option=value&...]`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest))
                if ["postgres", "postgresql"]
                    .iter()
                    .any(|known| scheme.eq_ignore_ascii_case(known)) =>
            {
                rest
            }
            _ => {
                return Err(invalid(
                    "it does not begin with postgres:// or postgresql://; write postgres://user@host/database",
                ));
            }
        };
        if rest.contains('#') {
            return Err(invalid(
                "it has a part after #; in a password write # as %23",
            ));
        }
        let (front, query) = match rest.split_once('?') {
            Some((front, query)) => (front, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = front.split_once('/').unwrap_or((front, ""));
        let mut parts = Parts::default();
        let hosts = match authority.rsplit_once('@') {
            Some((who, hosts)) => {
                let (user, password) = match who.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (who, None),
                };
                parts.user = Some(decode(user)?);
                parts.password = password.map(decode).transpose()?;
                hosts
            }
            None => authority,
        };
        parts.hosts(hosts)?;
        if !path.is_empty() {
            parts.database = Some(decode(path)?);
        }
        if let Some(query) = query {
            parts.options(query).map_err(|error| {
                // What is taken for an option may be the rest of a password.
                if query.contains('@') {
                    invalid("it has an @ after ?; in a password write ? as %3F")
                } else {
                    error
                }
            })?;
        }
        parts.address()
    }

    /// What messages name a server by: `host:port/database`.
    pub(super) fn name_of(&self, host: &Host) -> String {
        format!("{host}/{}", printable(&self.database))
    }
}

impl Parts {
    fn hosts(&mut self, hosts: &str) -> Result<()> {
        if hosts.is_empty() {
            return Ok(());
        }
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[') {
                Some(inner) => inner
                    .split_once(']')
                    .ok_or_else(|| invalid("an address begins with [ and has no ]"))?,
                None => match host.find(':') {
                    Some(colon) => host.split_at(colon),
                    None => (host, ""),
                },
            };
            self.hosts.push(decode(name)?);
            self.ports.push(match port.strip_prefix(':') {
                None if port.is_empty() => PORT,
                Some("") => PORT,
                Some(port) => read_port(port)?,
                None => return Err(port_wanted()),
            });
        }
        Ok(())
    }

    fn options(&mut self, query: &str) -> Result<()> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.option(&decode(name)?, decode(value)?)?;
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: String) -> Result<()> {
        let file = match name {
            "host" => {
                self.hosts = value.split(',').map(str::to_owned).collect();
                return Ok(());
            }
            "port" => {
                self.ports = value.split(',').map(read_port).collect::<Result<_>>()?;
                return Ok(());
            }
            "user" | "password" | "dbname" => {
                *match name {
                    "user" => &mut self.user,
                    "password" => &mut self.password,
                    _ => &mut self.database,
                } = Some(value);
                return Ok(());
            }
            "sslmode" => {
                self.mode = Some(encrypted(&value)?);
                return Ok(());
            }
            "target_session_attrs" => return writes(&value),
            "timeout" => {
                self.timeout = Some(net::timeout(&value).ok_or_else(|| invalid(TIMEOUT_WANTS))?);
                return Ok(());
            }
            "passfile" => &mut self.passfile,
            // libpq's word for those of the system, which are trusted unless a file is named.
            "ca" | "sslrootcert" if value == "system" => {
                self.files = Some(name.to_owned());
                return Ok(());
            }
            "ca" | "sslrootcert" => &mut self.tls.authority,
            "cert" | "sslcert" => &mut self.tls.certificate,
            "key" | "sslkey" => &mut self.tls.key,
            other => return Err(unknown(other)),
        };
        if value.is_empty() {
            return Err(invalid(format!("{name}= names no file")));
        }
        *file = Some(value.into());
        if name != "passfile" {
            self.files = Some(name.to_owned());
        }
        Ok(())
    }

    fn address(mut self) -> Result<Address> {
        if self.hosts.is_empty() {
            return Err(invalid(
                "it names no host; write postgres://user@host/database, or \
                 postgres:///database?host=/run/postgresql for the socket in a directory",
            ));
        }
        let hosts = self.pair()?;
        let over_sockets = hosts.iter().filter(|host| host.socket().is_some()).count();
        let user = match self.user.take().filter(|user| !user.is_empty()) {
            Some(user) => user,
            None if over_sockets == hosts.len() => system_user()?,
            None => {
                return Err(invalid(
                    "it names no user; write postgres://user@host/database",
                ));
            }
        };
        let database = self.database.take().filter(|database| !database.is_empty());
        Ok(Address {
            tls: self.tls(over_sockets > 0)?,
            hosts,
            passwords: Passwords {
                given: self.password,
                file: self.passfile,
            },
            database: database.unwrap_or_else(|| user.clone()),
            user,
            timeout: self.timeout.unwrap_or(Address::TIMEOUT),
        })
    }

    /// Each host with its port; one port is for all of them.
    fn pair(&mut self) -> Result<Vec<Host>> {
        let (names, mut ports) = (
            std::mem::take(&mut self.hosts),
            std::mem::take(&mut self.ports),
        );
        if names.iter().any(String::is_empty) {
            return Err(invalid("one of its hosts is empty"));
        }
        if ports.len() < 2 {
            let port = ports.first().copied().unwrap_or(PORT);
            ports = vec![port; names.len()];
        }
        if ports.len() != names.len() {
            return Err(invalid(format!(
                "it names {} hosts and {} ports; name one port for each, or one for all",
                names.len(),
                ports.len()
            )));
        }
        let both = names.into_iter().zip(ports);
        Ok(both.map(|(name, port)| Host { name, port }).collect())
    }

    fn tls(&mut self, socket: bool) -> Result<Option<Tls>> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(invalid("cert= and key= go together"));
        }
        match (self.mode, &self.files) {
            (Some(Encrypted::Yes), _) if socket => Err(invalid(
                "a socket of this machine has no TLS; leave sslmode out",
            )),
            (Some(Encrypted::Yes), _) => Ok(Some(std::mem::take(&mut self.tls))),
            (_, Some(name)) => Err(invalid(format!("{name}= wants sslmode=verify-full too"))),
            (_, None) => Ok(None),
        }
    }
}

/// Whether a mode encrypts. The modes that encrypt all verify the certificate and its name, since a connection that
/// does not can be taken over by whoever stands in between.
fn encrypted(mode: &str) -> Result<Encrypted> {
    match mode {
        "disable" => Ok(Encrypted::No),
        "require" | "verify-ca" | "verify-full" => Ok(Encrypted::Yes),
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

/// Of the servers named the primary is wanted, whether that is said or not.
fn writes(wanted: &str) -> Result<()> {
    match wanted {
        "read-write" | "primary" => Ok(()),
        other => Err(invalid(format!(
            "target_session_attrs={} would do with a standby, and locks are kept by the primary alone; write \
             read-write, or leave it out",
            printable(other)
        ))),
    }
}

fn unknown(option: &str) -> Error {
    let instead = match option {
        "connect_timeout" => "; see timeout, as in timeout=2s",
        "options" => "; set what it sets for the role: ALTER ROLE ... SET ...",
        "service" | "servicefile" | "hostaddr" => "; write what it stands for into the URL",
        _ => "",
    };
    invalid(format!(
        "there is no option {}{instead}; there are host, port, user, password, passfile, dbname, target_session_attrs, \
         sslmode, ca (or sslrootcert), cert (sslcert), key (sslkey) and timeout",
        printable(option)
    ))
}

fn read_port(text: &str) -> Result<u16> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(port_wanted)
}

/// Never quoted: it may be a part of a password.
fn port_wanted() -> Error {
    invalid(
        "a port is a number from 1 to 65535; in a user or password write / as %2F, ? as %3F, @ as %40 and : as %3A",
    )
}

/// As whom this process runs, which is what a server asks the system of whoever comes over a socket (`peer`).
fn system_user() -> Result<String> {
    whoami::username().map_err(|error| {
        invalid(
            "it names no user, and the system does not say as whom this process runs; write user=",
        )
        .because(error)
    })
}

fn decode(text: &str) -> Result<String> {
    net::decode(text).ok_or_else(|| invalid("a part of it is not UTF-8 after decoding"))
}

pub(super) fn invalid(what: impl fmt::Display) -> Error {
    Error::invalid(format!("the postgres URL cannot be used: {what}"))
}

/// `host:port/database`, with commas between several hosts: what messages name the store by.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at > 0 { "," } else { "" })?;
        }
        write!(f, "/{}", printable(&self.database))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, tls: {:?})", self.tls)
    }
}

#[cfg(test)]
mod tests;
