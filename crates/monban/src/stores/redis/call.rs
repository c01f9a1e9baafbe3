//! One script for many claims: all in one call, in parts if they are very many, each alone if they are refused together.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::hub::Hub;
use super::link::Link;
use super::scripts::Script;
use super::value;
use crate::data::Result;

/// The claims that go into one call. A script can hand a few thousand arguments to a command, and no more.
const MOST: usize = 1_000;

/// A call of a script for claims that are told by where they stand in the batch.
pub(super) struct Call<'a> {
    pub(super) hub: &'a Hub,
    pub(super) script: &'a Script,
    /// The keys that the script reads are watched from then on.
    pub(super) watching: bool,
    pub(super) within: Duration,
    pub(super) command: &'a (dyn Fn(&[usize]) -> Cmd + Send + Sync),
}

impl Call<'_> {
    /// What was answered to how many of the claims, in their order.
    ///
    /// A server that refuses the call as a whole (the user may not touch one of its keys) is asked for each claim alone:
    /// repeating it does no harm, and only some may be why.
    pub(super) async fn send(
        &self,
        link: &Arc<Link>,
        claims: &[usize],
    ) -> Vec<(usize, Result<Value>)> {
        let mut answers = Vec::new();
        for part in claims.chunks(MOST) {
            match self.whole(link, part).await {
                Err(error) if part.len() > 1 && !error.is_transient() => {
                    let each: Vec<Cmd> = part.iter().map(|at| (self.command)(&[*at])).collect();
                    let alone = self.hub.run_each(link, self.script, &each, self.watching);
                    match alone.await {
                        Ok(each) => answers.extend(each.into_iter().map(|answer| (1, answer))),
                        Err(error) => answers.push((part.len(), Err(error))),
                    }
                }
                answer => answers.push((part.len(), answer)),
            }
        }
        answers
    }

    async fn whole(&self, link: &Arc<Link>, part: &[usize]) -> Result<Value> {
        let command = (self.command)(part);
        let (hub, script, within) = (self.hub, self.script, self.within);
        if self.watching {
            hub.run_watching(link, script, &command, within).await
        } else {
            hub.run(link, script, &command, within).await
        }
    }
}

/// What a script says went wrong with one claim, if it is that: `{ 4, what }`.
pub(super) fn failure(answer: &Value) -> Option<&[u8]> {
    match answer {
        Value::Array(parts) => match &parts[..] {
            [Value::Int(4), Value::BulkString(what)] => Some(what),
            _ => None,
        },
        _ => None,
    }
}

/// Yes or no; nothing else is either.
pub(super) fn yes(answer: Value) -> Option<bool> {
    match value::int(answer)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
