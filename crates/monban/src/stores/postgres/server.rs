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

    /// Refuses a server that cannot keep the promise.
    pub(super) fn check(&self, link: &Link, time: Time) -> Result<()> {
        let name = &link.name;
        if self.version < OLDEST {
            return Err(Error::unsupported(
                faults::STORE,
                format!(
                    "{name} is version {}, at least {} is needed",
                    self.version / 10_000,
                    OLDEST / 10_000
                ),
            ));
        }
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
