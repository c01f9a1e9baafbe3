//! Finding the schema, making it, and replacing the functions of an earlier version.

use std::time::Duration;

use super::link::Link;
use super::{faults, sql};
use crate::data::{Error, Result};

/// What is there of the schema.
struct There {
    format: i32,
    functions: i32,
    /// Whether this role may replace the functions.
    ours: bool,
}

impl There {
    /// Nothing if there is no schema, or not all of it.
    async fn read(link: &Link, timeout: Duration) -> Result<Option<Self>> {
        let rows = match link.raw(&sql::READ_VERSIONS, &[], timeout).await? {
            Ok(rows) => rows,
            Err(error) if faults::is_without_schema(&error) => return Ok(None),
            Err(error) => return Err(faults::of(error, &link.name)),
        };
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let read = || {
            Some(Self {
                format: row.try_get(0).ok()?,
                functions: row.try_get(1).ok()?,
                ours: row.try_get(2).ok()?,
            })
        };
        read().map(Some).ok_or_else(|| faults::garbled(&link.name))
    }

    /// What to do about it, for a program that knows tables of this format, brings functions of the version `brings`, and can
    /// do with those of `suffices`.
    fn verdict(&self, format: i32, (brings, suffices): (i32, i32)) -> Verdict {
        if self.format > format {
            Verdict::Foreign
        } else if self.format < format || self.functions < suffices {
            Verdict::Replace
        } else if self.functions < brings {
            Verdict::ReplaceIfOurs
        } else {
            Verdict::Leave
        }
    }

    /// As [`verdict`](Self::verdict), for this program; an error if the tables are foreign.
    fn here(&self, link: &Link) -> Result<Verdict> {
        let verdict = self.verdict(sql::FORMAT, (sql::FUNCTIONS, sql::SUFFICES));
        if verdict == Verdict::Foreign {
            return Err(Error::unsupported(
                faults::STORE,
                format!(
                    "the schema at {} is of format {}, made by a later monban; this one knows {}",
                    link.name,
                    self.format,
                    sql::FORMAT
                ),
            ));
        }
        Ok(verdict)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The tables are of a later monban.
    Foreign,
    Replace,
    /// The functions are of an earlier version that does all that is asked of it.
    ReplaceIfOurs,
    /// They are of this version, or of a later one, which works as well.
    Leave,
}

/// Looks for the schema, and makes it if there is none, or if it is of an earlier version. One who may not do that goes on
/// with the earlier one, if that suffices.
pub(super) async fn look(link: &Link, timeout: Duration) -> Result<()> {
    match There::read(link, timeout).await? {
        Some(there) => match there.here(link)? {
            Verdict::Leave => Ok(()),
            Verdict::ReplaceIfOurs if !there.ours => Ok(()),
            _ => make(link, timeout, Strangers::Left).await,
        },
        None => make(link, timeout, Strangers::Refused).await,
    }
}

/// What becomes of the schema beside a function of somebody else's that has the short name of the check of fences: see
/// `sql/strangers.sql`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strangers {
    /// It is not made, nor said to be up to date.
    Refused,
    /// It is in use already, and whoever opens it has not come for that.
    Left,
}

/// Makes the schema, or brings it up to date: as one transaction. Who comes second waits, and finds it made.
pub(super) async fn make(link: &Link, timeout: Duration, strangers: Strangers) -> Result<()> {
    link.simple(sql::BEGIN_SCHEMA).await?;
    let mut made = make_within(link, timeout).await;
    if made.is_ok() && strangers == Strangers::Refused {
        made = link.simple(sql::STRANGERS).await;
    }
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = link.simple(end).await;
    made.and(ended)
}

async fn make_within(link: &Link, timeout: Duration) -> Result<()> {
    let rows = link.call(&sql::IS_MADE, &[], timeout).await?;
    let made = rows.first().and_then(|row| row.try_get::<_, bool>(0).ok());
    if made == Some(true)
        && let Some(there) = There::read(link, timeout).await?
        && there.here(link)? == Verdict::Leave
    {
        return Ok(());
    }
    link.simple(sql::SCHEMA_BODY).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_version_is_replaced_where_it_must_be_or_may_be() {
        let there = |format, functions| There {
            format,
            functions,
            ours: true,
        };
        for (format, functions, verdict) in [
            (4, 9, Verdict::Foreign),
            (2, 9, Verdict::Replace),
            (3, 4, Verdict::Replace),
            (3, 5, Verdict::ReplaceIfOurs),
            (3, 6, Verdict::ReplaceIfOurs),
            (3, 7, Verdict::Leave),
            (3, 8, Verdict::Leave),
        ] {
            let found = there(format, functions).verdict(3, (7, 5));
            assert_eq!(found, verdict, "{format} {functions}");
        }
    }
}
