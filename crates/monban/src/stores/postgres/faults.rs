//! What went wrong, said so that somebody can mend it. No type of the client library leaves this folder but boxed.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::data::{Error, duration_text, printable};

pub(super) const STORE: &str = "postgres";

/// What the client library says if the server wants a password and it has none.
const MISSING: &str = "password missing";

/// The error for what the client library, or the server through it, said.
pub(super) fn of(error: tokio_postgres::Error, server: &str) -> Error {
    let base = match error.as_db_error() {
        Some(said) => said_by_server(said.code(), said.message(), server),
        None if error.is_closed() => lost(server),
        None => match std::error::Error::source(&error) {
            Some(source) if source.is::<std::io::Error>() => {
                unavailable(format!("the connection to {server} failed: {source}"))
            }
            Some(source) if source.to_string() == MISSING => rejected(format!(
                "{server} wants a password, and none is given ({MISSING}): write postgres://user:password@host/database"
            )),
            // Wrong in every run: a type, a password that is missing, another protocol.
            Some(source) => rejected(format!("{server}: {error}: {source}")),
            None => rejected(format!("{server}: {error}")),
        },
    };
    base.because(error)
}

fn said_by_server(code: &SqlState, said: &str, server: &str) -> Error {
    let said = printable(said);
    match code.code() {
        "28P01" | "28000" => rejected(format!(
            "{server} does not let this user in ({said}): see the password, and the server's pg_hba.conf"
        )),
        "3D000" => rejected(format!(
            "{server}: {said}; create it, or name another one in the URL"
        )),
        "42501" if said.contains("permission denied for database") => rejected(format!(
            "{server}: {said}; let an administrator GRANT CONNECT, or, if monban's schema is missing, run what \
             `monban schema` prints"
        )),
        "42501" => rejected(format!(
            "the user may not do at {server} all that a lock needs ({said}): let an administrator run what \
             `monban schema` prints, and the GRANTs at its end"
        )),
        "42P01" | "42883" | "3F000" | "42704" => rejected(format!(
            "{server} has no schema of monban's, or a part of it ({said}): run `monban schema --apply`"
        )),
        // Of our own: see `sql/strangers.sql`.
        "MB003" => rejected(format!("{server}: {said}")),
        "53300" => unavailable(format!(
            "{server} has as many connections as it may have: {said}"
        )),
        "53100" | "53200" => rejected(format!("{server} has no room left: {said}")),
        "57P03" => unavailable(format!(
            "{server} lets nobody in now, since it starts, recovers or ends: {said}"
        )),
        "57P01" | "57P02" => unavailable(format!("{server} ends its sessions: {said}")),
        "57014" => unavailable(format!("{server} gave it up as too slow: {said}")),
        "55P03" => unavailable(format!(
            "a row of the key at {server} is locked by somebody else's transaction: {said}"
        )),
        "25006" => unavailable(standby(server)),
        "08P01" | "08006" | "08003" | "08000" | "08004" => {
            unavailable(format!("{server}, or the pooler before it: {said}"))
        }
        _ => unavailable(format!("{server} answered {}: {said}", code.code())),
    }
}

/// Whether another transaction was in the way for a moment, so that asking again is all there is to do.
pub(super) fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code().map(SqlState::code),
        Some("55P03" | "40001" | "40P01")
    )
}

/// Whether the server is not, or no longer, the primary: connecting again may lead to another one.
pub(super) fn is_standby(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Whether the server said it of this request, so that the connection is sound.
pub(super) fn is_said(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some()
}

/// Whether monban's schema, or a part of it, is not there.
pub(super) fn is_without_schema(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code().map(SqlState::code),
        Some("42P01" | "42883" | "3F000")
    )
}

pub(super) fn standby(server: &str) -> String {
    format!(
        "{server} is a standby, or read-only: connect to its primary, or name both, with a comma between (HOST,HOST)"
    )
}

/// None of several servers can be used; asked again if one of them may be able to, soon.
pub(super) fn none_of(errors: Vec<Error>) -> Error {
    let soon = errors.iter().any(Error::is_transient);
    let each: Vec<&str> = errors
        .iter()
        .filter_map(|error| match error {
            Error::Unavailable { what, .. }
            | Error::Rejected { what, .. }
            | Error::Unsupported { what, .. }
            | Error::Invalid { what, .. } => Some(&**what),
            _ => None,
        })
        .collect();
    let what = format!(
        "none of the servers is a primary that lets us in: {}",
        each.join("; ")
    );
    if soon {
        unavailable(what)
    } else {
        rejected(what)
    }
}

/// A socket of this machine that cannot be connected to.
pub(super) fn of_socket(path: &Path, error: io::Error) -> Error {
    let shown = printable(path.display().to_string());
    match error.kind() {
        io::ErrorKind::NotFound => unavailable(format!(
            "there is no socket {shown}: is the server running, and is that one of its unix_socket_directories?"
        )),
        io::ErrorKind::ConnectionRefused => unavailable(format!(
            "{shown} refuses connections: is the server running?"
        )),
        io::ErrorKind::PermissionDenied => rejected(format!(
            "this user may not use the socket {shown}: see unix_socket_permissions"
        )),
        io::ErrorKind::InvalidInput => rejected(format!("{shown} is too long for a socket")),
        _ => unavailable(format!("cannot connect to {shown}: {error}")),
    }
    .because(error)
}

/// A reply that did not come in time.
pub(super) fn silent(server: &str, waited: Duration) -> Error {
    unavailable(format!(
        "no answer from {server} for {}",
        duration_text(waited)
    ))
}

/// A connection that ended.
pub(super) fn lost(server: &str) -> Error {
    unavailable(format!("the connection to {server} was lost"))
}

/// An answer that our own functions cannot have given.
pub(super) fn garbled(server: &str) -> Error {
    unavailable(format!("{server} gave an answer that cannot be read"))
}

/// A key whose row somebody keeps locked.
pub(super) fn locked(server: &str, waited: Duration) -> Error {
    unavailable(format!(
        "a row of the key at {server} has been locked by somebody else's transaction for {}: see pg_locks",
        duration_text(waited)
    ))
}

/// The system has no thread, or no runtime, for us.
pub(super) fn no_runtime() -> Error {
    unavailable("no runtime could be started".to_owned())
}

pub(super) fn rejected(what: String) -> Error {
    Error::rejected(STORE, what)
}

pub(super) fn unavailable(what: String) -> Error {
    Error::unavailable(STORE, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_servers_each_says_why_not() {
        let one = || unavailable("a refuses connections".to_owned());
        let two = || rejected(standby("b:1/d"));
        let error = none_of(vec![one(), two()]);
        assert!(error.is_transient(), "{error}");
        for part in ["a refuses connections", "b:1/d is a standby"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(!none_of(vec![two(), two()]).is_transient());
    }

    #[test]
    fn each_word_of_the_server_gets_the_fitting_reaction() {
        let text = |code| said_by_server(&SqlState::from_code(code), "said\u{1b}", "h:1/d");
        for code in [
            "28P01", "28000", "3D000", "42501", "42P01", "53100", "MB003",
        ] {
            assert!(!text(code).is_transient(), "{code}");
        }
        for code in [
            "53300", "57P03", "57P01", "57014", "55P03", "25006", "XX000",
        ] {
            assert!(text(code).is_transient(), "{code}");
        }
        let bare = "permission denied for database \"d\"";
        let text_of = said_by_server(&SqlState::from_code("42501"), bare, "h:1/d").to_string();
        assert!(text_of.contains("GRANT CONNECT"), "{text_of}");
        for code in ["42501", "XX000"] {
            let text = text(code).to_string();
            assert!(text.contains("h:1/d") && text.contains("said\\u"), "{text}");
        }
    }
}
