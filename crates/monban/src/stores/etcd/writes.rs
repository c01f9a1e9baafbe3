//! Transactions that are ready together travel together, as parts of one: a cluster decides it, and writes it to disk,
//! once.
//!
//! Parts of one transaction take effect one after the other, at one revision. So what a part has read is only as of the
//! revision before: whatever else happened at this one may have come after it.

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

struct Write {
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

    pub(super) async fn write(&self, request: TxnRequest, within: Duration) -> Written {
        let (reply, answer) = oneshot::channel();
        let write = Write {
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
    loop {
        let Ok(permit) = Arc::clone(&abreast).acquire_owned().await else {
            return;
        };
        let mut parts = Vec::new();
        if waiting.recv_many(&mut parts, PARTS).await == 0 {
            return;
        }
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            together(&hub, parts).await;
            drop(permit);
        });
    }
}

async fn together(hub: &Shared, parts: Vec<Write>) {
    if parts.len() == 1 {
        return alone(hub, parts).await;
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
        Err(_) => alone(hub, parts).await,
    }
}

async fn alone(hub: &Shared, parts: Vec<Write>) {
    for part in parts {
        let hub = Arc::clone(hub);
        tokio::spawn(async move {
            let mut doubt = Doubt::None;
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
