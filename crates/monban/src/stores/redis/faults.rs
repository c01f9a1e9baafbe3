//! What went wrong, said so that somebody can mend it. No type of the client library leaves this folder but boxed.

use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::names;
use crate::data::{Error, duration_text, printable};
use crate::net::Tls;

pub(super) const STORE: &str = "redis";

/// The error for what the client library, or the server through it, said.
pub(super) fn of(error: RedisError, server: &str) -> Error {
    let said = words(&error);
    if error.is_io_error() {
        unavailable(format!("the connection to {server} failed: {said}")).because(error)
    } else if error.kind() == ErrorKind::Parse {
        rejected(format!(
            "what answers at {server} does not speak Redis's protocol"
        ))
        .because(error)
    } else {
        // All that the server said which helps is in the message; the library's own words would hide it.
        said_by_server(&said, server)
    }
}

/// As [`of`], for a connection that ended before the server had said anything: how it was addressed may be why.
pub(super) fn of_greeting(error: RedisError, server: &str, tls: Option<&Tls>) -> Error {
    let said = words(&error);
    let failed = format!("the connection to {server} failed: {said}");
    let unheard = error.is_io_error() || error.kind() == ErrorKind::Parse;
    match tls {
        Some(tls) if unheard => match tls.refusal(&said) {
            Some(hint) => rejected(format!("{failed}{hint}")).because(error),
            None if error.is_io_error() && tls.certificate.is_none() => unavailable(format!(
                "{failed}; if it wants a certificate of its clients, give yours with cert=FILE and key=FILE"
            ))
            .because(error),
            None => of(error, server),
        },
        None if error.is_io_error() => {
            unavailable(format!("{failed}; if it is a port for TLS, write rediss://")).because(error)
        }
        None if unheard => rejected(format!(
            "what answers at {server} does not speak Redis's protocol; if it is a port for TLS, write rediss://"
        ))
        .because(error),
        _ => of(error, server),
    }
}

/// The error for words of the server that a script has caught.
pub(super) fn caught(said: &[u8], server: &str) -> Error {
    said_by_server(&String::from_utf8_lossy(said), server)
}

/// The error as it came: the library has names of its own for the server's first word.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// What the server's error words mean. Scripts of old servers wrap them in text of their own, so they are looked for
/// anywhere in it.
fn said_by_server(said: &str, server: &str) -> Error {
    // What follows are the arguments of the command, a script's text perhaps.
    let said = said
        .split_once(", with args beginning with")
        .map_or(said, |(said, _)| said);
    let has = |word: &str| said.contains(word);
    if let Some((_, value)) = said.split_once(SPENT) {
        rejected(spent(server, value))
    } else if has("WRONGPASS") || has("invalid username-password") || has("invalid password") {
        rejected(format!("{server} does not accept this user and password"))
    } else if has("NOAUTH") || has("Authentication required") {
        rejected(format!(
            "{server} wants a password: give it as redis://:password@host or redis://user:password@host"
        ))
    } else if [
        "NOPERM",
        "has no permissions to run",
        "The user executing the script can't",
        "ACL failure in script",
    ]
    .into_iter()
    .any(has)
    {
        rejected(format!(
            "the user may not do at {server} all that a lock needs (the documentation lists it: docs/stores.md, Rights): {}",
            printable(said)
        ))
    } else if has("READONLY") {
        // It was the primary when the connection was made: soon there will be another one.
        unavailable(replica(server))
    } else if has("LOADING") {
        unavailable(format!("{server} is still loading its data"))
    } else if has("max number of clients") {
        unavailable(format!(
            "{server} has as many clients as it may have (maxclients)"
        ))
    } else if has("OOM") {
        rejected(format!(
            "the memory of {server} is full (maxmemory): it takes no new claims"
        ))
    } else if has("MISCONF") {
        rejected(format!(
            "{server} takes no writes since it cannot save its data: see its log"
        ))
    } else if has("BUSY") {
        unavailable(format!("{server} is busy with a script of somebody's"))
    } else if has("MASTERDOWN") || has("CLUSTERDOWN") || has("TRYAGAIN") {
        unavailable(format!("{server} cannot serve now: {}", printable(said)))
    } else if has("MOVED") || has("CROSSSLOT") || has("ASK ") || has("not allowed in cluster mode")
    {
        cluster(server)
    } else if has("DB index is out of range") || has("invalid DB index") {
        let number = server.rsplit('/').next().unwrap_or(server);
        rejected(format!(
            "{server}: the server has no database {number} (its setting \"databases\" says how many there are)"
        ))
    } else if has("unknown command") {
        let name = said.split(['\'', '`']).nth(1).unwrap_or("that was sent");
        rejected(format!(
            "{server} does not know the command {}: it has been renamed or barred there, or what answers is no primary of \
             Redis or Valkey but a proxy",
            printable(name)
        ))
    } else if has("WRONGTYPE") {
        rejected(format!(
            "a key that monban keeps at {server} has been overwritten by something else: {}",
            printable(said)
        ))
    } else {
        unavailable(format!("{server} answered: {}", printable(said)))
    }
}

/// What the scripts say before the value of a counter that cannot be counted up.
const SPENT: &str = "the fence counter is spent: ";

fn spent(server: &str, value: &str) -> String {
    format!(
        "the fence counter {} at {server} is {}, which is no fence that monban has given: somebody else wrote it, and \
         no key of that database is granted alone or by permits before it is mended. Delete it there (DEL {}), and \
         fences go on from the server's time; a resource that was shown a greater one refuses them until it is reset",
        names::FENCE,
        printable(value),
        names::FENCE,
    )
}

/// Whether the server is not, or no longer, the primary: connecting again may lead to another one.
pub(super) fn is_replica(error: &RedisError) -> bool {
    is_of_replica(&words(error))
}

/// As [`is_replica`], for the words alone.
pub(super) fn is_of_replica(said: &str) -> bool {
    said.contains("READONLY") || said.contains("MASTERDOWN")
}

pub(super) fn replica(server: &str) -> String {
    format!("{server} is a read-only replica: connect to its primary")
}

pub(super) fn cluster(server: &str) -> Error {
    Error::unsupported(
        STORE,
        format!("{server} is a node of a cluster; only a single primary is supported yet"),
    )
}

pub(super) fn sentinel(server: &str) -> Error {
    Error::unsupported(
        STORE,
        format!(
            "{server} is a Sentinel, which keeps no keys: name the primary that it watches over"
        ),
    )
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

/// An answer that our own script cannot have given.
pub(super) fn garbled(server: &str) -> Error {
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

    #[test]
    fn each_word_of_the_server_gets_the_fitting_reaction() {
        let text = |said| said_by_server(said, "h:1");
        for said in [
            "WRONGPASS: invalid username-password pair",
            "NOAUTH: Authentication required.",
            "NOPERM: this user has no permissions to run the 'eval' command",
            "ERR: Error running script: @user_script:3: @user_script: 3: -NOPERM x",
            "ERR The user executing the script can't run this command or subcommand script: d5",
            "ERR ACL failure in script: User u has no permissions to run the 'set' command",
            "ERR User u has no permissions to run the 'select' command",
            "ERR: unknown command 'EVALSHA', with args beginning with: 'd5' ",
            "the fence counter is spent: 9223372036854775807",
            "ERR DB index is out of range",
            "OOM: command not allowed",
            "MISCONF: Redis is configured to save",
        ] {
            assert!(!text(said).is_transient(), "{said}");
        }
        for said in [
            "LOADING: Redis is loading",
            "READONLY: You can't write against a read only replica.",
            "ERR: max number of clients reached",
            "BUSY: Redis is busy",
            "?",
        ] {
            assert!(text(said).is_transient(), "{said}");
        }
        for said in ["MOVED 1 h:2", "ERR SELECT is not allowed in cluster mode"] {
            assert!(matches!(text(said), Error::Unsupported { .. }), "{said}");
        }
        let barred = text(
            "ERR unknown command `SCRIPT`, with args beginning with: 'LOAD' 'return KEYS[1]' ",
        );
        let barred = barred.to_string();
        assert!(
            barred.contains("command SCRIPT") && !barred.contains("KEYS"),
            "{barred}"
        );
        assert!(
            text("NOPERM: run the 'eval' command")
                .to_string()
                .contains("eval")
        );
    }
}
