//! Batches: those of one key in order, different keys at the same time.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::faults;
use crate::data::{Error, Key, Result};

/// Lines that are asked for at the same time.
const ABREAST: usize = 200;

/// Does something for each element: for those of one key in order, for different keys at the same time.
pub(super) async fn each_line<T, A, F>(
    elements: &[T],
    key: impl Fn(&T) -> &Key,
    each: impl Fn(T) -> F,
) -> Vec<Result<A>>
where
    T: Clone + Send + 'static,
    A: Send + 'static,
    F: Future<Output = Result<A>> + Send + 'static,
{
    let mut lines: HashMap<&Key, Vec<usize>> = HashMap::new();
    for (at, element) in elements.iter().enumerate() {
        lines.entry(key(element)).or_default().push(at);
    }
    let mut answers: Vec<Option<Result<A>>> = elements.iter().map(|_| None).collect();
    let mut waiting = lines.into_values();
    let mut running = JoinSet::new();
    loop {
        while running.len() < ABREAST
            && let Some(line) = waiting.next()
        {
            let asked: Vec<(usize, F)> = line
                .iter()
                .map(|at| (*at, each(elements[*at].clone())))
                .collect();
            running.spawn(in_order(asked));
        }
        match running.join_next().await {
            Some(Ok(done)) => {
                for (at, answer) in done {
                    answers[at] = Some(answer);
                }
            }
            Some(Err(_)) => {}
            None => break,
        }
    }
    let lost = || Err(faults::unavailable("the request was given up".to_owned()));
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(lost))
        .collect()
}

async fn in_order<A, F: Future<Output = Result<A>>>(
    asked: Vec<(usize, F)>,
) -> Vec<(usize, Result<A>)> {
    let mut done = Vec::with_capacity(asked.len());
    for (at, future) in asked {
        // What one of the line was not answered in time, the next is not either.
        let given_up = match done.last() {
            Some((_, Err(error @ Error::Unavailable { .. }))) => Some(Error::clone(error)),
            _ => None,
        };
        match given_up {
            Some(error) => done.push((at, Err(error))),
            None => done.push((at, future.await)),
        }
    }
    done
}
