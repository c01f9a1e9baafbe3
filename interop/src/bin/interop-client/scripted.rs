//! The floor with monban's own scripts: what the server and two round trips cost, without monban's client.
//!
//! One call for each claim, exclusive and of a free key; nothing is kept, watched, renewed or asked again.

use std::time::Duration;

use interop::Outcome;
use redis::aio::MultiplexedConnection;
use redis::{Script, ScriptInvocation, Value};

/// A script of monban's, put together as `scripts.rs` does it.
macro_rules! script {
    ($($part:literal),+) => {
        Script::new(concat!($(
            include_str!(concat!("../../../../crates/monban/src/stores/redis/", $part)), "\n"
        ),+))
    };
}

/// One multiplexed connection, as `raw` has it.
#[derive(Clone)]
pub(crate) struct Scripted {
    connection: MultiplexedConnection,
    attempt: Script,
    release: Script,
    claimant: String,
}

impl Scripted {
    pub(crate) fn over(connection: MultiplexedConnection) -> Self {
        Self {
            connection,
            attempt: script!("attempt_plain.lua", "line.lua", "attempt.lua"),
            release: script!("release_plain.lua", "line.lua", "release.lua"),
            claimant: format!("host:{}:", std::process::id()),
        }
    }

    /// Takes a key; what its value begins with, if it was free.
    pub(crate) async fn take(&self, key: &str, ttl: Duration) -> Outcome<Option<String>> {
        let value = format!(
            "mb1x:{:016x}{:032x}:",
            std::process::id(),
            crate::work::now()
        );
        let mut call = self.attempt.prepare_invoke();
        keys(&mut call, key);
        let answer: Value = call
            .arg("x")
            .arg(1)
            .arg(format!(":{}", self.claimant))
            .arg(ttl.as_millis().to_string())
            .arg("-x:0:0")
            .arg(&value)
            .invoke_async(&mut self.connection.clone())
            .await?;
        // A number is the fence of a grant; what is in the way comes as a list.
        Ok(matches!(answer, Value::Int(_)).then_some(value))
    }

    /// Frees it; whether it was its own.
    pub(crate) async fn free(&self, key: &str, value: &str) -> Outcome<bool> {
        let mut call = self.release.prepare_invoke();
        keys(&mut call, key);
        let answer: Value = call
            .arg("x")
            .arg(1)
            .arg(format!("x:0:0:{}", self.claimant))
            .arg("-1")
            .arg(value)
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(answer == Value::Int(1))
    }
}

/// The counter, the key, its order and its expiry; one primary does not mind whose slot the tag is of.
fn keys(call: &mut ScriptInvocation<'_>, key: &str) {
    call.key("monban:{fence}").key(key);
    call.key(format!("monban:{{000}}o:{key}"));
    call.key(format!("monban:{{000}}e:{key}"));
}
