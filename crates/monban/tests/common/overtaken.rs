//! Those who are overtaken while nothing comes through to them: a waiter whose grant is held up, and a holder.

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Renewal, Store};
use monban::data::Claim;
use monban::{Error, Lease, Loss, Mutex, Result};
use tokio::task::JoinHandle;

use super::caller::{Caller, pause};
use super::proxy::{Plan, Proxy};

/// Hands a key over to a waiter to whom nothing comes through the proxy, until its claim has expired and the key was granted
/// to another. Then lets through what was held up while the waiter asks again, and then it asks some more.
///
/// What it is answered: whatever that is, it is not to be granted.
pub(crate) async fn overtaken<S: Store>(
    proxy: &Proxy,
    (holder, held): (&Caller<S>, &Claim),
    other: &Caller<S>,
    (late, waiter): (&Caller<S>, &Claim),
) -> Vec<Result<Attempt>> {
    proxy.plan(Plan {
        keep_replies: true,
        ..Plan::default()
    });
    holder.releases(held).await;
    let next = other.exclusive(waiter.key.as_str().unwrap());
    other.comes_in(&next).await; // when that of the waiter has expired
    let passes = async {
        pause(150).await;
        proxy.plan(Plan::default());
    };
    let (first, ()) = tokio::join!(late.ask(waiter), passes);
    let mut answers = vec![first];
    for _ in 0..3 {
        answers.push(late.ask(waiter).await);
    }
    let granted = |answer: &Result<Attempt>| matches!(answer, Ok(Attempt::Granted(_)));
    let mode = waiter.mode;
    assert!(!answers.iter().any(granted), "{mode:?}: {answers:?}");
    assert_eq!(other.keeps(&next).await, Renewal::Kept);
    other.is_rid_of(&next).await;
    answers
}

/// Who waits for a key, on a task of its own, and when it was granted.
pub(crate) struct Next(JoinHandle<(Result<Lease>, Instant)>);

impl Next {
    pub(crate) fn behind(mutex: Mutex, longest: Duration) -> Self {
        Self(tokio::spawn(async move {
            let lease = mutex.lock().within(longest).await;
            (lease, Instant::now())
        }))
    }

    /// Granted, and not before the holder, whom nothing reaches, knew that its lease was over: by the instants of both.
    pub(crate) async fn comes_after(self, holder: &Lease, case: &str) -> Lease {
        let fence = holder.fence().unwrap();
        let lost = holder.lost().await;
        let end = Instant::now();
        let expired = Loss::Expired;
        assert!(
            matches!(&lost, Error::Lost { why, .. } if *why == expired),
            "{lost}"
        );
        let (next, got) = self.0.await.unwrap();
        let next = next.unwrap();
        assert!(end <= got, "granted {:?} before the holder knew", end - got);
        eprintln!(
            "figure: {case}: the next had it {:?} after the holder knew",
            got - end
        );
        assert!(holder.check().is_err());
        assert!(next.fence().unwrap() > fence);
        next
    }
}
