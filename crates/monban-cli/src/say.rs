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

    /// Says an error.
    pub(crate) fn error(self, error: &monban::Error) {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        let message = monban::data::printable(message);
        self.say(
            "error",
            &message,
            json!({ "exit": crate::exit::code(error) }),
        );
    }
}
