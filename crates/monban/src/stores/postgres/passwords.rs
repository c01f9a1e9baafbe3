//! The password: in the URL, in a variable, or in a file of libpq's, which is read anew for every connection.
//!
//! A line of such a file is `host:port:database:user:password`; each of the first four may be `*`, a backslash stands before
//! a colon or a backslash that is meant as such, and the first line that fits counts.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::address::{Address, Host};
use super::faults;
use crate::data::{Error, Result};

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;
/// Rights of others than the file's owner.
const OTHERS: u32 = 0o077;
/// Where libpq's builds look for a socket; such a host is called localhost in the file.
const USUAL: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// Where the password is.
#[derive(Clone, Default)]
pub(super) struct Passwords {
    pub(super) given: Option<String>,
    /// The file that the URL names.
    pub(super) file: Option<PathBuf>,
}

/// Shows where it is, not what it is.
impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords(file: {:?})", self.file)
    }
}

impl Passwords {
    /// The password for a connection to this host, if there is one: the URL's, of the file that it names, `PGPASSWORD`, or
    /// of the file that `PGPASSFILE` names, or of `.pgpass` at home.
    ///
    /// # Errors
    ///
    /// `Rejected` if a file that was named cannot be read, or others can read it.
    pub(super) fn find(&self, address: &Address, host: &Host) -> Result<Option<String>> {
        self.look(address, host, |name| env::var_os(name))
    }

    fn look(
        &self,
        address: &Address,
        host: &Host,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<String>> {
        if self.given.is_some() {
            return Ok(self.given.clone());
        }
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let named = match &self.file {
            Some(file) => file.clone(),
            None => {
                if let Some(password) = variable("PGPASSWORD") {
                    let unreadable = |_| faults::rejected("PGPASSWORD is not UTF-8".to_owned());
                    return password.into_string().map(Some).map_err(unreadable);
                }
                match (variable("PGPASSFILE"), variable("HOME")) {
                    (Some(file), _) => file.into(),
                    (None, Some(home)) => {
                        // Nobody has named it: that there is none, or none to be used, says the server's refusal.
                        let text = read(&PathBuf::from(home).join(".pgpass")).unwrap_or_default();
                        return Ok(password_in(&text, address, host));
                    }
                    (None, None) => return Ok(None),
                }
            }
        };
        let text = read(&named).map_err(|error| unusable(&named, error))?;
        Ok(password_in(&text, address, host))
    }
}

fn unusable(file: &Path, error: io::Error) -> Error {
    let file = file.display();
    faults::rejected(format!("the password file {file} cannot be used: {error}")).because(error)
}

/// Reads a file that nobody but its owner can read.
fn read(path: &Path) -> io::Result<String> {
    // Not to be kept waiting by what is no file.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let file = File::from(opened);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if about.mode() & OTHERS != 0 {
        let what = "others than its owner may use it; its mode has to be 0600, or less";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The password of the first line that fits.
fn password_in(text: &str, address: &Address, host: &Host) -> Option<String> {
    let name = match &*host.name {
        usual if USUAL.contains(&usual) => "localhost",
        name => name,
    };
    let port = host.port.to_string();
    let wanted = [name, &port, &address.database, &address.user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| password_of(line, wanted))
}

fn password_of(line: &str, wanted: [&str; 4]) -> Option<String> {
    let mut rest = line.strip_suffix('\r').unwrap_or(line).chars();
    for wanted in wanted {
        let (mut field, mut plain) = (String::new(), true);
        loop {
            match rest.next()? {
                ':' => break,
                '\\' => {
                    plain = false;
                    field.push(rest.next()?);
                }
                other => field.push(other),
            }
        }
        if field != wanted && !(plain && field == "*") {
            return None;
        }
    }
    let (mut password, mut escaped) = (String::new(), false);
    for letter in rest {
        escaped = letter == '\\' && !escaped;
        if !escaped {
            password.push(letter);
        }
    }
    Some(password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn address() -> Address {
        Address::parse("postgres://a%3App@db.internal:7000/jobs").unwrap()
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let address = address();
        let fits = |text: &str| password_in(text, &address, &address.hosts[0]);
        for (text, password) in [
            ("db.internal:7000:jobs:a\\:pp:secret", Some("secret")),
            ("*:*:*:*:one\n*:*:*:*:two", Some("one")),
            (
                "# *:*:*:*:not this\ndb.internal:*:jobs:*:p:\\:\\\\q\r\n",
                Some("p::\\q"),
            ),
            (
                "other:*:*:*:no\n*:7001:*:*:no\n*:*:x:*:no\n*:*:*:app:no",
                None,
            ),
            ("\\*:*:*:*:a star is meant", None),
            ("*:*:*:*:", None),
            ("*:*:*\n\n\\", None),
        ] {
            assert_eq!(fits(text).as_deref(), password, "{text}");
        }
        let socket = Address::parse("postgres:///d?host=/run/postgresql&user=u").unwrap();
        let found = password_in("localhost:*:d:u:p", &socket, &socket.hosts[0]);
        assert_eq!(found.as_deref(), Some("p"));
    }

    #[test]
    fn what_is_nearer_is_looked_at_first() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, mode: u32| {
            let path = home.path().join(name);
            std::fs::write(&path, format!("*:*:*:*:{name}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (named, variable) = (write("named", 0o600), write("variable", 0o400));
        let hers = write(".pgpass", 0o600);
        let address = address();
        let look = |passwords: &Passwords, set: &[(&str, &Path)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(*value))
            };
            passwords.look(&address, &address.hosts[0], variable)
        };
        let found = |passwords: &Passwords, set: &[(&str, &Path)]| look(passwords, set).unwrap();
        let given = Passwords {
            given: Some("given".into()),
            file: Some("/nowhere".into()),
        };
        let file = Passwords {
            given: None,
            file: Some(named.clone()),
        };
        let none = Passwords::default();
        let at_home: (&str, &Path) = ("HOME", home.path());
        let all = [
            ("PGPASSWORD", Path::new("word")),
            ("PGPASSFILE", &*variable),
            at_home,
        ];
        assert_eq!(found(&given, &all).as_deref(), Some("given"));
        assert_eq!(found(&file, &all).as_deref(), Some("named"));
        assert_eq!(found(&none, &all).as_deref(), Some("word"));
        assert_eq!(found(&none, &all[1..]).as_deref(), Some("variable"));
        assert_eq!(found(&none, &all[2..]).as_deref(), Some(".pgpass"));
        assert_eq!(
            found(&none, &[("PGPASSWORD", Path::new("")), at_home]).as_deref(),
            Some(".pgpass")
        );
        assert_eq!(found(&none, &[]), None);

        // What others can read is no secret.
        for path in [&named, &hers] {
            let open = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(path, open).unwrap();
        }
        let error = look(&file, &[]).unwrap_err().to_string();
        assert!(error.contains("0600") && error.contains("named"), "{error}");
        assert_eq!(found(&none, &[at_home]), None);
        let nowhere = Path::new("/nowhere");
        let error = look(&none, &[("PGPASSFILE", nowhere)]).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
