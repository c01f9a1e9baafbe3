//! What went wrong, said so that somebody can mend it. No type of the client library leaves this folder but boxed.

use std::fmt::{self, Display};
use std::time::Duration;

use tonic::{Code, Status};

use crate::data::{Error, duration_text, printable};

pub(super) const STORE: &str = "etcd";

/// What a call came to, if not to an answer.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The lease that was named is not there (any more).
    LeaseGone,
    /// The token by which the server knows the user is not valid (any more).
    TokenGone,
    /// Anything else.
    Failed(Error),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(error) => error,
            Trouble::LeaseGone => unavailable("the lease has ended just now".to_owned()),
            Trouble::TokenGone => {
                unavailable("the server has forgotten who we are, again".to_owned())
            }
        }
    }
}

/// What the server, or the client library about it, said.
pub(super) fn of(status: Status, server: &dyn Display) -> Trouble {
    let said = status.message().to_owned();
    let has = |word: &str| said.contains(word);
    if has("requested lease not found") {
        return Trouble::LeaseGone;
    }
    if has("invalid auth token") || has("revision of auth store is old") {
        return Trouble::TokenGone;
    }
    Trouble::Failed(said_by_server(status.code(), &said, server).because(Cause(status)))
}

/// The innermost reason of a status. The status itself shows those around it as they are laid out in memory.
#[derive(Debug)]
struct Cause(Status);

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reason: &(dyn std::error::Error + 'static) = &self.0;
        while let Some(inner) = reason.source() {
            reason = inner;
        }
        if reason.is::<Status>() {
            f.write_str(self.0.message())
        } else {
            Display::fmt(reason, f)
        }
    }
}

impl std::error::Error for Cause {}

fn said_by_server(code: Code, said: &str, server: &dyn Display) -> Error {
    let has = |word: &str| said.contains(word);
    if has("authentication failed") {
        rejected(format!("{server} does not accept this user and password"))
    } else if has("user name is empty") {
        rejected(format!(
            "{server} wants a user and a password: give them as etcd://user:password@host"
        ))
    } else if code == Code::PermissionDenied {
        rejected(format!(
            "the user may not read and write at {server} the keys that a lock needs ({}): let an administrator run \
             `etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX/`",
            printable(said)
        ))
    } else if has("database space exceeded") {
        rejected(format!(
            "the database of {server} is full (its quota): compact and defragment it, then disarm the alarm"
        ))
    } else if has("no leader") || has("leader changed") {
        unavailable(format!(
            "{server} has no leader now: without a majority of its members nothing is decided"
        ))
    } else if has("request timed out")
        || has("too many requests")
        || has("not capable")
        || has("not supported for learner")
    {
        unavailable(format!("{server} cannot serve now: {}", printable(said)))
    } else {
        match code {
            Code::Unimplemented => rejected(format!(
                "what answers at {server} does not speak etcd's API of version 3"
            )),
            Code::InvalidArgument | Code::ResourceExhausted | Code::FailedPrecondition => {
                rejected(format!("{server} refuses: {}", printable(said)))
            }
            _ => unavailable(format!("{server} answered: {}", printable(said))),
        }
    }
}

/// An answer that did not come in time.
pub(super) fn silent(server: &dyn Display, waited: Duration) -> Error {
    unavailable(format!(
        "no answer from {server} for {}: it is stopped, cut off, or without a majority",
        duration_text(waited)
    ))
}

/// A renewal that does not count.
pub(super) fn overtaken() -> Error {
    unavailable("the lease was renewed by a leader that was being replaced".to_owned())
}

/// An answer that etcd cannot have given.
pub(super) fn garbled(server: &dyn Display) -> Error {
    unavailable(format!("{server} gave an answer that cannot be read"))
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

    fn error(code: Code, said: &str) -> Error {
        of(Status::new(code, said), &"h:1").into()
    }

    #[test]
    fn a_cause_is_the_innermost_reason_and_no_dump() {
        let io = std::io::Error::other("connection closed");
        let mut status = Status::unknown("transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::other(io)));
        assert_eq!(Cause(status).to_string(), "connection closed");
        assert_eq!(Cause(Status::unknown("said")).to_string(), "said");
        let denied = error(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(denied.to_string().contains("grant-permission"), "{denied}");
    }

    #[test]
    fn each_word_of_the_server_gets_the_fitting_reaction() {
        for (code, said) in [
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (Code::Unimplemented, "unknown service"),
        ] {
            assert!(!error(code, said).is_transient(), "{said}");
        }
        for (code, said) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::FailedPrecondition,
                "etcdserver: rpc not supported for learner",
            ),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unknown, "transport error"),
            (Code::NotFound, "etcdserver: requested lease not found"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            assert!(error(code, said).is_transient(), "{said}");
        }
        let gone = of(
            Status::not_found("etcdserver: requested lease not found"),
            &"h",
        );
        assert!(matches!(gone, Trouble::LeaseGone));
    }
}
