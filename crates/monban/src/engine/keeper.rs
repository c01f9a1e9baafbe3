//! The keeper: a thread with a small runtime that drives the store, renews, and cleans up.
//!
//! No busy or blocked caller can starve it. What is ready together travels together: while two batches of
//! a verb are on their way, further claims collect for the next (`inbox`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::ask::{Ask, Parcel};
use super::core::Engine;
use super::hold::{Hold, lock};
use super::inbox::Inbox;
use super::leave::Leaving;
use super::schedule::Look;
use crate::contract::{Reach, Renewal};
use crate::data::{Claim, Keep, Leave, Loss, Result};
use crate::rule::{Clock, Tick};

/// The most renewals of one request: they are cheap for the store, and nobody waits for them.
const RENEWALS: usize = 512;
/// Timers of the runtime stand still while the machine sleeps; the keeper looks at its clock this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Starts the keeper and gives its runtime.
pub(super) fn start(engine: Arc<Engine>) -> io::Result<tokio::runtime::Handle> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("monban-keeper".to_owned())
        .spawn(move || {
            let built = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match built {
                Ok(runtime) => {
                    let _ = sender.send(Ok(runtime.handle().clone()));
                    // As a task among the others: what they do to wake the outermost future costs two system calls.
                    let kept = runtime.spawn(run(Arc::clone(&engine)));
                    let work = || runtime.block_on(kept);
                    if !matches!(catch_unwind(AssertUnwindSafe(work)), Ok(Ok(()))) {
                        engine.keeper_failed();
                    }
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        })?;
    receiver
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the keeper's thread ended")))
}

/// Completes at an instant of the clock; on the keeper's runtime only.
pub(super) async fn sleep_until(clock: &Clock, at: Tick) {
    loop {
        let now = clock.now();
        if now >= at {
            return;
        }
        let nap = at.since(now).min(LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            () = std::future::poll_fn(|context| clock.poll_moved(now, context.waker())) => {}
        }
    }
}

pub(super) async fn run(engine: Arc<Engine>) {
    let mut armed = None;
    let mut timer = Box::pin(sleep_if(&engine.clock, armed));
    loop {
        set_off(&engine);
        look_after(&engine);
        if engine.ending.load(Ordering::SeqCst) && engine.pending.load(Ordering::SeqCst) == 0 {
            break;
        }
        let now = engine.clock.now();
        engine.ring(now);
        let next = lock(&engine.schedule).arm(now);
        if next != armed {
            armed = next;
            timer.set(sleep_if(&engine.clock, armed));
        }
        let rang = tokio::select! {
            () = engine.work.notified() => false,
            () = &mut timer => true,
        };
        if rang {
            armed = None; // what is over must not be polled again
            timer.set(sleep_if(&engine.clock, armed));
        }
    }
    engine.store.close().await;
}

/// Completes at an instant of the clock, or never.
async fn sleep_if(clock: &Clock, at: Option<Tick>) {
    match at {
        Some(at) => sleep_until(clock, at).await,
        None => std::future::pending().await,
    }
}

/// A request on its way; it has arrived when this is dropped, also by a panic in the store.
struct Flight {
    engine: Arc<Engine>,
    carried: usize,
    arrived: fn(&mut Inbox, usize),
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut inbox = lock(&self.engine.inbox);
        (self.arrived)(&mut inbox, self.carried);
        if inbox.asks.may_go() || inbox.leaves.may_go() {
            drop(inbox);
            self.engine.work.notify_one();
        }
    }
}

/// Sends what callers have left, releases first and both taken at once: who asks for a key that this process is leaving
/// comes behind.
fn set_off(engine: &Arc<Engine>) {
    loop {
        let (leaves, asks) = {
            let mut inbox = lock(&engine.inbox);
            (inbox.leaves.take(), inbox.asks.take())
        };
        if leaves.is_none() && asks.is_none() {
            return;
        }
        if let Some(batch) = leaves {
            send_leaves(engine, batch);
        }
        if let Some(batch) = asks {
            send_asks(engine, batch);
        }
    }
}

fn send_asks(engine: &Arc<Engine>, mut batch: Vec<Ask>) {
    let flight = Flight {
        engine: Arc::clone(engine),
        carried: batch.len(),
        arrived: |inbox, carried| inbox.asks.arrived(carried),
    };
    // A caller that has gone before its request was sent needs no request.
    batch.retain(|ask| !ask.reply.is_closed());
    if batch.is_empty() {
        return;
    }
    tokio::spawn(async move {
        let engine = Arc::clone(&flight.engine);
        attempt(&engine, batch).await;
        drop(flight);
    });
}

async fn attempt(engine: &Arc<Engine>, batch: Vec<Ask>) {
    let asked = batch
        .into_iter()
        .map(|ask| (ask.claim, (ask.reply, ask.token)));
    let (claims, replies): (Vec<Claim>, Vec<_>) = asked.unzip();
    let sent = engine.clock.now();
    let mut answers = engine.store.attempt(&claims).await.into_iter();
    for (claim, (reply, token)) in claims.into_iter().zip(replies) {
        let answer = answers.next().unwrap_or_else(|| Err(engine.no_answer()));
        let answer = answer.map_err(|error| error.of_key(&claim.key));
        // If the caller has gone the parcel comes back, and its drop gives the claim back.
        let parcel = Parcel::new(engine, claim, sent, answer).counted(token);
        drop(reply.send(parcel));
    }
}

fn send_leaves(engine: &Arc<Engine>, batch: Vec<Leaving>) {
    let flight = Flight {
        engine: Arc::clone(engine),
        carried: batch.len(),
        arrived: |inbox, carried| inbox.leaves.arrived(carried),
    };
    tokio::spawn(async move {
        let engine = Arc::clone(&flight.engine);
        release(&engine, batch).await;
        drop(flight);
    });
}

async fn release(engine: &Arc<Engine>, batch: Vec<Leaving>) {
    let leaving = batch
        .into_iter()
        .map(|leaving| (leaving.leave, leaving.after));
    let (leaves, afters): (Vec<Leave>, Vec<_>) = leaving.unzip();
    let mut answers = engine.store.release(&leaves).await.into_iter();
    let now = engine.clock.now();
    for (leave, after) in leaves.into_iter().zip(afters) {
        let leaving = Leaving { leave, after };
        let answer = answers.next().unwrap_or_else(|| Err(engine.no_answer()));
        if let Some((again, _)) = leaving.answered(answer, now) {
            engine.leave_again(again);
        }
    }
}

/// Renews what is due or suspected, and declares lost what is past its deadline.
fn look_after(engine: &Arc<Engine>) {
    let mut suspects = std::mem::take(&mut lock(&engine.inbox).suspects);
    let now = engine.clock.now();
    suspects.extend(lock(&engine.schedule).due(now));
    let mut renewals = Vec::new();
    for hold in suspects {
        if hold.end().is_some() {
            continue;
        }
        if hold.deadline().is_some_and(|deadline| now >= deadline) {
            expire(engine, &hold);
        } else if hold.limit().is_some_and(|limit| now >= limit) {
            engine.lose(&hold, Loss::MaxHold);
            engine.leave(Leaving::of(&hold, hold.linger, now));
        } else {
            renewals.push(hold);
        }
    }
    while !renewals.is_empty() {
        let rest = renewals.split_off(renewals.len().min(RENEWALS));
        let batch = std::mem::replace(&mut renewals, rest);
        for hold in &batch {
            // Meanwhile its deadline is watched: a silent store must not keep a lease alive.
            if let Some(at) = hold.watch_at() {
                engine.plan(hold, Look::At(at));
            }
        }
        tokio::spawn(renew(Arc::clone(engine), batch));
    }
}

/// The lease is over for its owner; a store that still has it is told.
fn expire(engine: &Arc<Engine>, hold: &Arc<Hold>) {
    engine.lose(hold, Loss::Expired);
    engine.leave(Leaving::behind(&hold.claim, engine.clock.now()));
}

async fn renew(engine: Arc<Engine>, batch: Vec<Arc<Hold>>) {
    let keeping: Vec<Keep> = batch.iter().map(|hold| hold.keep()).collect();
    let sent = engine.clock.now();
    let mut answers = engine.store.renew(&keeping).await.into_iter();
    for hold in &batch {
        let answer = answers.next().unwrap_or_else(|| Err(engine.no_answer()));
        renewed(&engine, hold, sent, answer);
    }
}

pub(super) fn renewed(engine: &Arc<Engine>, hold: &Arc<Hold>, sent: Tick, answer: Result<Renewal>) {
    if hold.end().is_some() {
        return;
    }
    if hold
        .deadline()
        .is_some_and(|deadline| engine.clock.now() >= deadline)
    {
        // What has been lost once does not come back: its owner may have acted on it.
        return expire(engine, hold);
    }
    match answer {
        Ok(Renewal::Kept) => {
            hold.renewed(sent, engine.clock.now());
            match (hold.renew_at(), hold.watch_at()) {
                (Some(renew), watch) if watch.is_none_or(|watch| renew < watch) => {
                    engine.plan(hold, Look::About(renew));
                }
                (_, Some(watch)) => engine.plan(hold, Look::At(watch)),
                _ => {}
            }
        }
        Ok(Renewal::Lost) => {
            engine.lose(hold, Loss::Taken);
            // A foreign program may have taken it, which tells nobody: whoever is next hears of it by this.
            engine.leave(Leaving::behind(&hold.claim, engine.clock.now()));
        }
        Err(error) => {
            // Neither lost nor released: the deadline decides, and until then it is tried again.
            hold.renewal_failed(error);
            let (Some(ttl), Some(watch)) = (hold.ttl(), hold.watch_at()) else {
                return;
            };
            let again = match hold.renew_at() {
                Some(_) => engine.clock.now().after(ttl / 16).min(watch),
                None => watch,
            };
            engine.plan(hold, Look::At(again));
        }
    }
}

impl Engine {
    /// Renews one hold now, for a caller who asked for it.
    pub(crate) async fn renew_now(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<Renewal> {
        let engine = Arc::clone(self);
        let hold = Arc::clone(hold);
        let store = Arc::clone(&self.store);
        let work = async move {
            let sent = engine.clock.now();
            let mut answers = store.renew(&[hold.keep()]).await;
            let answer = answers.pop().unwrap_or_else(|| Err(engine.no_answer()));
            renewed(&engine, &hold, sent, answer.clone());
            answer
        };
        match self.reach {
            Reach::Local => work.await,
            Reach::Remote => self.on_keeper(work).await?,
        }
    }
}
