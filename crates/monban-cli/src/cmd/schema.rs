//! `monban schema`: what the PostgreSQL store needs in a database.

use std::process::ExitCode;

use monban::stores::postgres::PostgresStore;

use super::{failed, print};
use crate::open;

/// Prints it, for an administrator.
pub(super) fn show() -> ExitCode {
    print(PostgresStore::SCHEMA.trim_end());
    ExitCode::SUCCESS
}

/// Makes it in the database of the store that is chosen.
pub(super) fn apply(store: Option<&str>) -> ExitCode {
    let made = open::url(store).and_then(|url| {
        PostgresStore::new(&url)?.apply_schema()?;
        Ok(open::without_password(&url))
    });
    match made {
        Ok(name) => {
            print(&format!("the schema of {name} is up to date"));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}
