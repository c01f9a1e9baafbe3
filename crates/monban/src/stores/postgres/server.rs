//! What kind of server answers, and whether it can keep the promise.

use tokio_postgres::Row;

use super::faults;
use super::link::{Link, Session};
use crate::data::{Error, Result, printable};

/// What a session says of itself and its server.
pub(super) struct Server {
    pub(super) session: Session,
    version: i32,
    standby: bool,
    read_only: bool,
    isolation: String,
}

/// Which connection is being made. Another one after the first may meet a server that has just stepped down: that is
/// over soon, and no reason to give anything up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    First,
    Again,
}

/// The oldest version that is accepted, as the server counts them.
const OLDEST: i32 = 130_000;

impl Server {
    pub(super) fn read(row: &Row) -> Option<Self> {
        Some(Self {
            session: Session {
                number: row.try_get(0).ok()?,
                began: row.try_get::<_, Option<i64>>(5).ok()?.unwrap_or(0),
            },
            version: row.try_get(1).ok()?,
            standby: row.try_get(2).ok()?,
            read_only: row.try_get(3).ok()?,
            isolation: row.try_get(4).ok()?,
        })
    }

    /// What a session of our own is set to besides, where the version has it: a role may have it otherwise.
    pub(super) fn settings(&self) -> &'static str {
        match self.version {
            170_000.. => "SET idle_session_timeout = 0; SET transaction_timeout = 0",
            140_000.. => "SET idle_session_timeout = 0",
            _ => "",
        }
    }

    fn recent(&self, name: &str) -> Result<()> {
        if self.version >= OLDEST {
            return Ok(());
        }
        let (version, oldest) = (self.version / 10_000, OLDEST / 10_000);
        let what = format!(
            "{name} is PostgreSQL {version}, and {oldest} is the oldest that monban can use"
        );
        Err(Error::unsupported(faults::STORE, what))
    }

    /// Refuses a server that cannot keep the promise.
    pub(super) fn check(&self, link: &Link, time: Time) -> Result<()> {
        let name = &link.name;
        self.recent(name)?;
        let unwritable = match (self.standby, self.read_only) {
            (true, _) => Some(faults::standby(name)),
            (_, true) => Some(format!(
                "transactions at {name} are read-only (default_transaction_read_only)"
            )),
            _ => None,
        };
        if let Some(what) = unwritable {
            return Err(match time {
                Time::First => faults::rejected(what),
                Time::Again => faults::unavailable(what),
            });
        }
        // A session of our own is set to it; what a pooler lends has what its role has.
        if link.session.is_none() && self.isolation != "read committed" {
            return Err(faults::rejected(format!(
                "transactions at {name} are {}, and there is a pooler before it: connect as a role with \
                 default_transaction_isolation = 'read committed'",
                printable(&self.isolation)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: i32) -> Server {
        let session = Session {
            number: 1,
            began: 1,
        };
        Server {
            session,
            version,
            standby: false,
            read_only: false,
            isolation: String::new(),
        }
    }

    #[test]
    fn a_server_that_is_too_old_is_told_from_the_oldest() {
        let error = of(OLDEST - 1).recent("h:1/d").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        let text = error.to_string();
        assert!(text.contains("h:1/d is PostgreSQL 12, and 13"), "{text}");
        of(OLDEST).recent("h:1/d").unwrap();
    }

    #[test]
    fn a_session_is_set_to_what_its_version_has() {
        assert_eq!(of(130_000).settings(), "");
        assert!(!of(160_000).settings().contains("transaction_timeout"));
        assert!(of(180_000).settings().contains("transaction_timeout = 0"));
    }
}
