//! Transactions that are ready together travel together, as parts of one: a cluster decides it, and writes it to disk,
//! once.
//!
//! Parts of one transaction take effect one after the other, at one revision. So what a part has read is only as of the
//! revision before: whatever else happened at this one may have come after it. And a server decides what all parts
//! compare before the first takes effect: no part sees what another does. So of one line only those travel together that
//! need not see each other: claims that leave, and one that joins.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::faults::{self, Trouble};
use super::hub::{Doubt, Shared, Tries};
use super::ops;
use super::proto::{Response, TxnRequest, TxnResponse};
use crate::data::Error;

/// Parts of one transaction: etcd takes 128 operations by default, counted along each branch.
const PARTS: usize = 40;
/// Transactions on their way at the same time; who comes then is collected.
const ABREAST: usize = 3;

/// What became of a write.
pub(super) struct Written {
    pub(super) answer: Result<TxnResponse, Trouble>,
    /// Whether one of its tries may be carried out later, or has been.
    pub(super) doubt: Doubt,
    /// The last revision of which what it read tells everything.
    pub(super) seen: i64,
}

/// What a write does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A claim leaves, by its own place alone. What others compare becomes no falser by that but in the safe direction.
    Leaves,
    /// A claim joins: if it is not there, and if nothing else is where it must not be.
    Joins,
    /// It depends on what stands in the line, and others depend on it.
    Changes,
}

struct Write {
    line: Vec<u8>,
    kind: Kind,
    request: TxnRequest,
    within: Duration,
    reply: oneshot::Sender<Written>,
}

/// Takes writes for the task that sends them.
#[derive(Clone, Debug)]
pub(super) struct Writes(mpsc::UnboundedSender<Write>);

/// The writes that the task is to take.
pub(super) struct Waiting(mpsc::UnboundedReceiver<Write>);

impl Writes {
    pub(super) fn new() -> (Self, Waiting) {
        let (writes, waiting) = mpsc::unbounded_channel();
        (Self(writes), Waiting(waiting))
    }

    pub(super) async fn write(
        &self,
        line: &[u8],
        kind: Kind,
        request: TxnRequest,
        within: Duration,
    ) -> Written {
        let (reply, answer) = oneshot::channel();
        let write = Write {
            line: line.to_vec(),
            kind,
            request,
            within,
            reply,
        };
        let closed = || Written {
            answer: Err(Trouble::Failed(faults::unavailable(
                "the store is not open".to_owned(),
            ))),
            doubt: Doubt::Some,
            seen: 0,
        };
        if self.0.send(write).is_err() {
            return closed();
        }
        answer.await.unwrap_or_else(|_| closed())
    }
}

/// Sends what is written, for ever.
pub(super) async fn send(hub: Shared, Waiting(mut waiting): Waiting) {
    let abreast = Arc::new(Semaphore::new(ABREAST));
    let mut writes = VecDeque::new();
    loop {
        let Ok(permit) = Arc::clone(&abreast).acquire_owned().await else {
            return;
        };
        if writes.is_empty() {
            let Some(first) = waiting.recv().await else {
                return;
            };
            writes.push_back(first);
        }
        while writes.len() < PARTS
            && let Ok(next) = waiting.try_recv()
        {
            writes.push_back(next);
        }
        let parts = take(&mut writes, |write| (&write.line, write.kind));
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            together(&hub, parts).await;
            drop(permit);
        });
    }
}

/// Takes what may travel together, the first of all in any case; of one line nothing overtakes.
fn take<W>(writes: &mut VecDeque<W>, of: impl Fn(&W) -> (&Vec<u8>, Kind)) -> Vec<W> {
    let mut lines: HashMap<Vec<u8>, Option<Kind>> = HashMap::new();
    let (mut taken, mut left) = (Vec::new(), VecDeque::new());
    for write in writes.drain(..) {
        let (line, kind) = of(&write);
        let then = match (lines.get(line), kind) {
            (None, kind) => Some(kind),
            (Some(Some(Kind::Leaves)), Kind::Leaves | Kind::Joins) => Some(kind),
            (Some(Some(Kind::Joins)), Kind::Leaves) => Some(Kind::Joins),
            _ => None,
        };
        lines.insert(line.clone(), then);
        match then {
            Some(_) => taken.push(write),
            None => left.push_back(write),
        }
    }
    *writes = left;
    taken
}

async fn together(hub: &Shared, parts: Vec<Write>) {
    if parts.len() == 1 {
        return alone(hub, parts, Doubt::None).await;
    }
    let request = TxnRequest {
        success: parts
            .iter()
            .map(|part| ops::txn(part.request.clone()))
            .collect(),
        ..TxnRequest::default()
    };
    let within = parts.iter().map(|part| part.within).max();
    let mut doubt = Doubt::None;
    let sent = hub.send(
        &request,
        within.unwrap_or_default(),
        Tries::Many,
        &mut doubt,
    );
    match sent.await {
        Ok(answer) => {
            let header = answer.header.unwrap_or_default();
            let revision = header.revision;
            for (part, op) in parts.into_iter().zip(answer.responses) {
                let answer = match op.response {
                    Some(Response::Txn(mut answer)) => {
                        answer.header = Some(header);
                        Ok(answer)
                    }
                    _ => Err(Trouble::Failed(faults::garbled(&hub.address))),
                };
                let seen = revision - 1;
                let _ = part.reply.send(Written {
                    answer,
                    doubt,
                    seen,
                });
            }
        }
        Err(Trouble::Failed(error @ Error::Unavailable { .. })) => {
            for part in parts {
                let _ = part.reply.send(Written {
                    answer: Err(Trouble::Failed(error.clone())),
                    doubt,
                    seen: 0,
                });
            }
        }
        // Refused as a whole, for one of them perhaps: the lease of one may have ended.
        // An earlier try may have been carried out all the same.
        Err(_) => alone(hub, parts, doubt).await,
    }
}

async fn alone(hub: &Shared, parts: Vec<Write>, doubt: Doubt) {
    for part in parts {
        let hub = Arc::clone(hub);
        tokio::spawn(async move {
            let mut doubt = doubt;
            let sent = hub.send(&part.request, part.within, Tries::Many, &mut doubt);
            let answer = sent.await;
            let header = answer.as_ref().ok().and_then(|answer| answer.header);
            let _ = part.reply.send(Written {
                answer,
                doubt,
                seen: header.map_or(0, |header| header.revision),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(writes: &[(&str, Kind)]) -> Vec<Vec<usize>> {
        let numbered = writes.iter().enumerate();
        let mut waiting: VecDeque<_> = numbered
            .map(|(number, (line, kind))| (number, line.as_bytes().to_vec(), *kind))
            .collect();
        let mut all = Vec::new();
        while !waiting.is_empty() {
            let taken = take(&mut waiting, |(_, line, kind)| (line, *kind));
            assert!(!taken.is_empty());
            all.push(taken.into_iter().map(|(number, ..)| number).collect());
        }
        all
    }

    #[test]
    fn different_lines_travel_together() {
        let all = [Kind::Joins, Kind::Changes, Kind::Leaves];
        let writes = [("a", all[0]), ("b", all[1]), ("c", all[2])];
        assert_eq!(parts(&writes), [[0, 1, 2]]);
    }

    #[test]
    fn of_one_line_one_joins_behind_those_who_leave() {
        use Kind::{Changes, Joins, Leaves};
        assert_eq!(
            parts(&[("a", Leaves), ("a", Leaves), ("a", Joins), ("a", Leaves)]),
            [[0, 1, 2, 3]]
        );
        assert_eq!(
            parts(&[("a", Joins), ("a", Joins), ("b", Joins)]),
            [vec![0, 2], vec![1]]
        );
        // A change sees all that was before it, and is seen by all that comes after it.
        assert_eq!(
            parts(&[("a", Leaves), ("a", Changes), ("a", Changes), ("a", Leaves)]),
            [[0], [1], [2], [3]]
        );
        // What has to wait is not overtaken by what need not.
        assert_eq!(
            parts(&[("a", Joins), ("a", Changes), ("a", Leaves), ("b", Leaves)]),
            [vec![0, 3], vec![1], vec![2]]
        );
    }
}
