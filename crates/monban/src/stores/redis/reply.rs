//! Reads what the script that asks for claims answers: a grant is one only if all of it can be read.

use redis::Value;

use super::call;
use super::faults;
use super::value;
use super::watches::Handed;
use crate::data::{Error, Result};

/// One answer of the script.
#[derive(Debug)]
pub(super) enum Reply {
    Granted(Handed),
    Busy(InTheWay),
    Clash { there: i64 },
    OtherMode,
}

/// What is in the way of a claim, as the script says it.
#[derive(Debug)]
pub(super) struct InTheWay {
    pub(super) ahead: i64,
    pub(super) head: bool,
    pub(super) value: Option<Vec<u8>>,
    pub(super) free_in: i64,
    pub(super) now: i64,
    pub(super) first: Vec<u8>,
    pub(super) left: i64,
}

/// What was answered to so many claims: `caught` makes an error of what the script says went wrong with one of them.
pub(super) fn read_all(
    answer: Value,
    count: usize,
    name: &str,
    caught: impl Fn(&[u8]) -> Error,
) -> Vec<Result<Reply>> {
    match answer {
        // The first of as many fences as there are claims.
        Value::Int(first) if first.checked_add(count as i64).is_some() => (first..)
            .take(count)
            .map(|number| granted(number, -1).ok_or_else(|| faults::garbled(name)))
            .collect(),
        Value::Array(replies) if replies.len() == count => replies
            .into_iter()
            .map(|reply| match call::failure(&reply) {
                Some(what) => Err(caught(what)),
                None => read(reply).ok_or_else(|| faults::garbled(name)),
            })
            .collect(),
        _ => (0..count).map(|_| Err(faults::garbled(name))).collect(),
    }
}

/// A grant whose number is that of no fence is none.
fn granted(number: i64, seat: i64) -> Option<Reply> {
    (number > 0 && seat >= -1).then_some(Reply::Granted(Handed { number, seat }))
}

fn read(reply: Value) -> Option<Reply> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let mut parts = parts.into_iter();
    let mut next = || parts.next();
    match value::int(next()?)? {
        1 => granted(value::int(next()?)?, value::int(next()?)?),
        0 => {
            let (ahead, head) = (value::int(next()?)?, value::int(next()?)? == 1);
            let (held, there) = (value::int(next()?)? == 1, value::bytes(next()?)?);
            Some(Reply::Busy(InTheWay {
                ahead,
                head,
                value: held.then_some(there),
                free_in: value::int(next()?)?,
                now: value::int(next()?)?,
                first: value::bytes(next()?)?,
                left: value::int(next()?)?,
            }))
        }
        2 => Some(Reply::Clash {
            there: value::int(next()?)?,
        }),
        3 => Some(Reply::OtherMode),
        _ => None,
    }
}
