//! What monban says on standard error: a line for people, or a JSON object for machines.

use std::io::Write;

use serde_json::{Map, Value, json};

/// Says things in one of two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Text,
    Json,
}

impl Voice {
    /// Says one thing: `event` names it for machines, `fields` give its numbers.
    pub(crate) fn say(self, event: &str, message: &str, fields: Value) {
        let line = match self {
            Self::Text => format!("monban: {message}\n"),
            Self::Json => {
                let mut object = Map::new();
                object.insert("event".to_owned(), json!(event));
                object.insert("message".to_owned(), json!(message));
                if let Value::Object(fields) = fields {
                    object.extend(fields);
                }
                format!("{}\n", Value::Object(object))
            }
        };
        // One write, so that lines of several processes do not mix. A closed standard error is no reason to
        // fail: the exit code says it too.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Says the error by which monban ends.
    pub(crate) fn error(self, error: &monban::Error) {
        self.say(
            "error",
            &told(error),
            json!({ "exit": crate::exit::code(error) }),
        );
    }

    /// Says why something of ours stays in the store for a while; monban ends with `exit`, whatever that is due to.
    pub(crate) fn unreleased(self, error: &monban::Error, exit: u8) {
        self.say("unreleased", &told(error), json!({ "exit": exit }));
    }
}

/// An error with its causes, in one line.
fn told(error: &monban::Error) -> String {
    let mut message = error.to_string();
    let first = std::error::Error::source(error);
    let causes: Vec<String> = std::iter::successors(first, |cause| cause.source())
        .map(ToString::to_string)
        .collect();
    // Where the innermost is said, those around it have nothing to add ("db error").
    if causes.last().is_some_and(|inner| !is_said(&message, inner)) {
        for cause in &causes {
            if !is_said(&message, cause) {
                message.push_str(": ");
                message.push_str(cause);
            }
        }
    }
    monban::data::printable(message)
}

/// Whether a message has what a cause says, if not what stands before its colons, as in `FATAL: no such role`.
fn is_said(message: &str, cause: &str) -> bool {
    let mut tails = cause.match_indices(": ").map(|(at, _)| &cause[at + 2..]);
    message.contains(cause) || tails.any(|tail| tail.contains(' ') && message.contains(tail))
}

#[cfg(test)]
mod tests {
    use super::is_said;

    #[test]
    fn a_cause_is_said_once() {
        let message = "h:1/d lets nobody in (password authentication failed for user \"me\"): see the password";
        let cause = "FATAL: password authentication failed for user \"me\"";
        assert!(is_said(message, cause));
        assert!(is_said("cannot read x: denied", "denied"));
        assert!(!is_said(message, "FATAL: no such role"));
        assert!(
            !is_said("it is denied", "open: denied"),
            "one word says too little"
        );
    }
}
