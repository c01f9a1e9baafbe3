//! One function of ours for many claims: all in one statement, and each again alone whose row was locked, or if the
//! statement failed as a whole.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::hub::Hub;
use super::link::{Link, Value};
use super::sql::{self, Verb};
use super::{faults, names};
use crate::data::{Claim, Error, Result};
use crate::rule::backoff::Jitter;

/// The claims that go into one statement.
const MOST: usize = 1_000;
/// The pause before a locked row is asked for again.
pub(super) const LOCKED: Duration = Duration::from_millis(2);

/// What a function answers for one claim: see `monban.answer`.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) what: u8,
    pub(super) fence: Option<i64>,
    pub(super) seat: Option<i32>,
    pub(super) ahead: Option<i64>,
    pub(super) held: Option<i64>,
    pub(super) free: Option<i64>,
    pub(super) who: Option<String>,
}

impl Answer {
    /// Where the claim stands among those asked for, and what is said of it.
    fn read(row: &Row) -> Option<(usize, Self)> {
        let at: i32 = row.try_get(0).ok()?;
        let what: i8 = row.try_get(1).ok()?;
        let answer = Self {
            what: what.cast_unsigned(),
            fence: row.try_get(2).ok()?,
            seat: row.try_get(3).ok()?,
            ahead: row.try_get(4).ok()?,
            held: row.try_get(5).ok()?,
            free: row.try_get(6).ok()?,
            who: row.try_get(7).ok()?,
        };
        Some((usize::try_from(at).ok()?.checked_sub(1)?, answer))
    }

    /// Reads what `monban.said` makes of an answer; what is missing at its end is nothing.
    fn said(text: &str) -> Option<Self> {
        let mut parts = text.splitn(7, ':');
        let what = parts.next().filter(|what| what.len() == 1)?.as_bytes()[0];
        let mut number = || match parts.next() {
            None | Some("") => Some(None),
            Some(digits) => digits.parse::<i64>().ok().map(Some),
        };
        Some(Self {
            what,
            fence: number()?,
            seat: number()?.and_then(|seat| i32::try_from(seat).ok()),
            ahead: number()?,
            held: number()?,
            free: number()?,
            who: parts.next().map(str::to_owned),
        })
    }
}

/// The parameters of a function that are its own; the last, whether to wait for a locked row, is added here.
pub(super) type Arguments = Vec<Box<dyn ToSql + Sync + Send>>;

/// Makes the parameters for the claims at these places.
pub(super) type Build<'a> = &'a (dyn Fn(&[usize]) -> Arguments + Send + Sync);

/// What is asked instead for the claim at this place alone, if it is of the frequent kind: less to carry, answered by a text.
pub(super) type Single<'a> =
    &'a (dyn Fn(usize) -> Option<(&'static Verb, Arguments)> + Send + Sync);

/// A call of a function for claims that are told by where they stand in the batch.
pub(super) struct Call<'a> {
    pub(super) hub: &'a Hub,
    pub(super) link: &'a Arc<Link>,
    pub(super) verb: &'static Verb,
    pub(super) within: Duration,
    pub(super) claims: Vec<&'a Claim>,
    pub(super) arguments: Build<'a>,
    pub(super) single: Single<'a>,
}

impl Call<'_> {
    /// What is answered to each of the claims, in their order.
    pub(super) async fn send(&self, claims: &[usize]) -> Vec<Result<Answer>> {
        let mut answers = Vec::with_capacity(claims.len());
        for part in claims.chunks(MOST) {
            answers.extend(self.part(part).await);
        }
        answers
    }

    async fn part(&self, part: &[usize]) -> Vec<Result<Answer>> {
        let mut answers: Vec<Option<Result<Answer>>> = match self.whole(part).await {
            Ok(answers) => answers.into_iter().map(|one| one.map(Ok)).collect(),
            // Only one of them may be why.
            Err(Failure::Said(_)) if part.len() > 1 => part.iter().map(|_| None).collect(),
            Err(Failure::Said(error)) if faults::is_in_the_way(&error) => vec![None],
            Err(Failure::Said(error)) => vec![Some(Err(faults::of(error, &self.link.name)))],
            Err(Failure::Other(error)) => part.iter().map(|_| Some(Err(error.clone()))).collect(),
        };
        for (at, answer) in part.iter().zip(&mut answers) {
            if answer.is_none() {
                *answer = Some(self.alone(*at).await);
            }
        }
        let garbled = || Err(faults::garbled(&self.link.name));
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(garbled))
            .collect()
    }

    /// Asks for one claim until its row is free, or the time is over.
    async fn alone(&self, at: usize) -> Result<Answer> {
        let started = self.hub.clock.now();
        let mut jitter = Jitter::new();
        loop {
            match self.whole(&[at]).await {
                Ok(mut answers) => {
                    if let Some(answer) = answers.pop().flatten() {
                        return Ok(answer);
                    }
                }
                Err(Failure::Said(error)) if faults::is_in_the_way(&error) => {}
                Err(Failure::Said(error)) => return Err(faults::of(error, &self.link.name)),
                Err(Failure::Other(error)) => return Err(error),
            }
            let waited = self.hub.clock.now().since(started);
            if waited >= self.within {
                return Err(faults::locked(&self.link.name, waited));
            }
            tokio::time::sleep(jitter.up_to(LOCKED)).await;
        }
    }

    /// Asks for all at once. No answer to a claim means that its row is locked.
    async fn whole(&self, part: &[usize]) -> Result<Vec<Option<Answer>>, Failure> {
        for _ in 0..PREPARATIONS {
            let answers = self.once(part).await?;
            if !answers.iter().flatten().any(|answer| answer.what == b'e') {
                return Ok(answers);
            }
            let ttls = part.iter().map(|at| names::micros(self.claims[*at].ttl));
            let longest = ttls.max().unwrap_or(0);
            let values: [Value<'_>; 1] = [&longest];
            let prepared = self.link.raw(&sql::PREPARE, &values, self.within).await;
            self.link.noticing(prepared)?.map_err(Failure::Said)?;
            self.hub.has_raised();
        }
        Err(Failure::Other(faults::garbled(&self.link.name)))
    }

    async fn once(&self, part: &[usize]) -> Result<Vec<Option<Answer>>, Failure> {
        if let [at] = part
            && let Some((verb, arguments)) = (self.single)(*at)
        {
            let values: Vec<Value<'_>> = arguments.iter().map(|one| &**one as _).collect();
            let asked = self.link.raw(verb, &values, self.within);
            let rows = self.link.noticing(asked.await)?.map_err(Failure::Said)?;
            let text = rows.first().and_then(|row| row.try_get(0).ok());
            let answer = text.and_then(Answer::said);
            let answer = answer.ok_or_else(|| faults::garbled(&self.link.name))?;
            return Ok(vec![(answer.what != b'x').then_some(answer)]);
        }
        let arguments = (self.arguments)(part);
        let patient = part.len() == 1;
        let mut values: Vec<Value<'_>> = Vec::with_capacity(arguments.len() + 1);
        for argument in &arguments {
            values.push(&**argument);
        }
        values.push(&patient);
        let asked = self.link.raw(self.verb, &values, self.within);
        let rows = self.link.noticing(asked.await)?.map_err(Failure::Said)?;
        let mut answers: Vec<Option<Answer>> = part.iter().map(|_| None).collect();
        for row in &rows {
            let (at, answer) = Answer::read(row).ok_or_else(|| faults::garbled(&self.link.name))?;
            if let Some(slot) = answers.get_mut(at) {
                *slot = (answer.what != b'x').then_some(answer);
            }
        }
        Ok(answers)
    }
}

/// Once for the epoch, once more if somebody else's claims were ahead of ours.
const PREPARATIONS: usize = 4;

enum Failure {
    /// The server said it of the statement.
    Said(tokio_postgres::Error),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_a_text_is_read() {
        let busy = Answer::said("h:::2:1500:-3:host:a%3A b").expect("an answer");
        assert_eq!((busy.what, busy.fence, busy.seat), (b'h', None, None));
        assert_eq!(
            (busy.ahead, busy.held, busy.free),
            (Some(2), Some(1500), Some(-3))
        );
        assert_eq!(busy.who.as_deref(), Some("host:a%3A b"));
        let granted = Answer::said("g:17").expect("an answer");
        assert_eq!(
            (granted.what, granted.fence, granted.ahead),
            (b'g', Some(17), None)
        );
        assert!(Answer::said("d").is_some());
        for text in ["", ":1", "gg", "g:x", "h:::1.5"] {
            assert!(Answer::said(text).is_none(), "{text}");
        }
    }
}
