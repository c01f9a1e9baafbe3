//! `monban schema`: what the PostgreSQL store needs in a database.

use std::process::ExitCode;

use monban::Error;
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
        if !is_postgres(&url) {
            return Err(Error::invalid(format!(
                "a schema is for PostgreSQL, and the store that is chosen is {}; name one: --store postgres://USER@HOST/DATABASE",
                // Whatever it may be, it has not been read as a URL: its password could stand anywhere.
                monban::data::printable(scheme(&url))
            )));
        }
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

fn scheme(url: &str) -> &str {
    let end = |c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c);
    match url.trim().split_once(':') {
        Some((scheme, _)) if !scheme.contains(end) => scheme,
        _ => "another",
    }
}

fn is_postgres(url: &str) -> bool {
    let scheme = scheme(url);
    ["postgres", "postgresql"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}
