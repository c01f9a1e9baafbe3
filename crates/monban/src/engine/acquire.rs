//! Taking a key: the future that a caller holds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::ask::Parcel;
use super::block::block_on;
use super::core::{Engine, GateGuard, Handle};
use super::hold::{Granted, Hold};
use super::lease::Lease;
use super::leave::Leaving;
use super::wait::{self, Asked, Waiting, last_look};
use crate::contract::{Attempt, Busy, Ends, Grant, Reach, Why};
use crate::data::{Claim, Claimant, Error, IfBusy, Key, Mode, Options, Result};
use crate::rule::{Lifetime, Tick};

/// What a face asks of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) handle: Arc<Handle>,
    pub(crate) key: Key,
    pub(crate) mode: Mode,
    pub(crate) options: Options,
    pub(crate) claimant: Claimant,
}

/// What is in the way of a claim, for people and for back-off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BusyInfo {
    /// How many claims are ahead, holders included, if the store can tell.
    pub ahead: Option<usize>,
    /// What is in the way.
    pub why: Why,
    /// Who is in the way, if the store can tell.
    pub who: Option<Claimant>,
    /// For how long it has been held, or lingers, if the store can tell.
    pub held_for: Option<Duration>,
    /// When what is in the way is over, unless it is renewed.
    pub ends: Ends,
}

impl From<&Busy> for BusyInfo {
    fn from(busy: &Busy) -> Self {
        Self {
            ahead: busy.ahead,
            why: busy.why,
            who: busy.who.clone(),
            held_for: busy.held_for,
            ends: busy.ends,
        }
    }
}

/// Makes the pauses between tries.
pub(crate) type Retry = Box<dyn Fn() -> Box<dyn Iterator<Item = Duration> + Send> + Send>;
/// Is shown what is in the way.
pub(crate) type Observer = Box<dyn Fn(&BusyInfo) + Send>;

/// Waits for a key; the future that `lock()` and its like return.
///
/// Waits for ever unless [`within`](Self::within) sets a limit. Works on any executor, and blocks a thread
/// that has none with [`wait`](Self::wait). Does nothing until it is first polled.
///
/// # Errors
///
/// * [`Error::TimedOut`]: the key did not become free in time. Give up, or try later.
/// * [`Error::Unavailable`]: the store did not answer, or answered errors only, when the time given was over, or for a TTL if none
///   was given. What it may have granted is given back.
/// * [`Error::Mismatch`], [`Error::Unsupported`], [`Error::Rejected`]: see there.
///
/// # Cancel safety
///
/// It may be dropped at any time: the place in the line, or the grant that was on its way, is given back
/// in the background.
///
/// # Fairness
///
/// First come, first served within a process; among processes as the store's guarantees say.
#[must_use = "nothing is locked until it is awaited"]
pub struct Acquire {
    plan: Option<Plan>,
    running: Option<Pin<Box<dyn Future<Output = Result<Lease>> + Send>>>,
}

struct Plan {
    request: Request,
    within: Option<Duration>,
    retry: Option<Retry>,
    observer: Option<Observer>,
}

impl Acquire {
    pub(crate) fn new(request: Request) -> Self {
        let plan = Plan {
            request,
            within: None,
            retry: None,
            observer: None,
        };
        Self {
            plan: Some(plan),
            running: None,
        }
    }

    /// Gives up after this time, counted from the first poll. Zero: one try, which joins no line for long.
    pub fn within(mut self, limit: Duration) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.within = Some(limit);
        }
        self
    }

    /// How to pause between tries where the store cannot wake a waiter; unused where it can.
    ///
    /// When the iterator ends, the wait ends with [`Error::TimedOut`]. Without this, pauses double from
    /// 5 ms to 1 s, with full jitter.
    pub fn retry<F, I>(mut self, pauses: F) -> Self
    where
        F: Fn() -> I + Send + 'static,
        I: Iterator<Item = Duration> + Send + 'static,
    {
        if let Some(plan) = &mut self.plan {
            plan.retry = Some(Box::new(move || Box::new(pauses())));
        }
        self
    }

    /// Calls this, on the background thread or on the one that waits, whenever the store has said what is in the
    /// way. Do not block in it.
    pub fn observe(mut self, observer: impl Fn(&BusyInfo) + Send + 'static) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.observer = Some(Box::new(observer));
        }
        self
    }

    /// Blocks the thread until the key is ours. Not for a task of an async runtime.
    ///
    /// # Errors
    ///
    /// As the future's.
    pub fn wait(self) -> Result<Lease> {
        block_on(self)
    }
}

impl Future for Acquire {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(plan) = self.plan.take() {
            self.running = Some(Box::pin(acquire(plan)));
        }
        let running = self
            .running
            .as_mut()
            .expect("an Acquire is not polled after it is ready");
        let polled = running.as_mut().poll(context);
        if polled.is_ready() {
            self.running = None;
        }
        polled
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("started", &self.plan.is_none())
            .finish_non_exhaustive()
    }
}

/// Passes the gate and asks once here, on the caller's thread; a wait goes on on the keeper.
async fn acquire(plan: Plan) -> Result<Lease> {
    let Plan {
        request,
        within,
        retry,
        observer,
    } = plan;
    let engine = Arc::clone(&request.handle.engine);
    engine.check_open()?; // first: in a forked child the gate may be a copy that is locked for ever
    let started = engine.clock.now();
    let until = within.map(|limit| started.after(limit));
    let (mut gate, entered) = match engine.gate.try_pass(&request.key) {
        gate @ Some(_) => (gate, engine.enter_checked()?),
        None => {
            let gate = pass_gate(&engine, &request, started, until).await?;
            (Some(gate), engine.enter()?)
        }
    };
    let claim = engine.claim(&request, IfBusy::Queue);
    let Request {
        handle, options, ..
    } = request;
    let asking = async {
        let mut parcel = engine.ask(&claim, entered).await?;
        let entered = parcel.take_token();
        let asked = accepted(&handle, &options, parcel, &mut gate);
        Ok::<_, Error>((asked, entered))
    };
    // A limit of zero is one try, which may take as long as a grant could be of use.
    let limit = until.map(|until| {
        if until > started {
            until
        } else {
            started.after(options.ttl)
        }
    });
    let sent = engine.clock.now();
    let (first, entered) = match (engine.reach, limit) {
        (Reach::Remote, Some(until)) => tokio::select! {
            biased;
            first = asking => first?,
            // The drop of the request gives back what it may bring.
            slept = engine.sleep_until(until) => {
                slept?;
                let now = engine.clock.now();
                if now.since(sent) < last_look(started, until) / 2 {
                    // Asked only a moment ago, after others of this process: that is no silence.
                    return Err(Error::TimedOut {
                        key: claim.key.clone(),
                        waited: now.since(started),
                        who: None,
                    });
                }
                return Err(engine.silent().of_key(&claim.key));
            }
        },
        _ => asking.await?,
    };
    if let Asked::Lease(lease) = first {
        return Ok(lease);
    }
    let (reply, answer) = oneshot::channel();
    let waiting = Waiting::new(handle, claim, options, (gate, entered), (started, until));
    let waiting = waiting.observed_by(observer).pausing_by(retry);
    if engine.reach == Reach::Local {
        return wait::wait_here(waiting, first).await;
    }
    let keeper = match engine.keeper() {
        Ok(keeper) => keeper,
        Err(error) => {
            drop(waiting); // leaves the line
            return Err(error);
        }
    };
    keeper.spawn(wait::wait(waiting, first, reply));
    answer.await.map_err(|_| engine.keeper_is_gone())?
}

async fn pass_gate(
    engine: &Arc<Engine>,
    request: &Request,
    started: Tick,
    until: Option<Tick>,
) -> Result<GateGuard> {
    let key = &request.key;
    let stop = async {
        let slept = async {
            match until {
                Some(until) => engine.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = engine.until_closed() => Err(error),
            slept = slept => slept,
        }
    };
    match engine.gate.pass_unless(key, stop).await {
        Ok(guard) => Ok(guard),
        Err(Err(error)) => Err(error),
        Err(Ok(())) => {
            let waited = engine.clock.now().since(started);
            // Another caller of this process: it is ahead, in the store or on its way there.
            let who = Some(Box::new(request.claimant.clone()));
            Err(Error::TimedOut {
                key: key.clone(),
                waited,
                who,
            })
        }
    }
}

/// Asks the store once and makes a lease of a grant.
pub(super) async fn ask(
    handle: &Arc<Handle>,
    claim: &Claim,
    options: &Options,
    gate: &mut Option<GateGuard>,
) -> Result<Asked> {
    let parcel = handle.engine.ask(claim, None).await?;
    Ok(accepted(handle, options, parcel, gate))
}

/// Opens the store's answer. No await in here: what the parcel brought belongs to this function.
pub(super) fn accepted(
    handle: &Arc<Handle>,
    options: &Options,
    parcel: Parcel,
    gate: &mut Option<GateGuard>,
) -> Asked {
    let (sent, claim, answer) = parcel.open();
    match answer {
        Ok(Attempt::Granted(grant)) => match accept(handle, claim, options, (sent, grant), gate) {
            Ok(lease) => Asked::Lease(lease),
            Err(error) => Asked::Failed(error),
        },
        Ok(Attempt::Busy(busy)) => Asked::Busy(busy),
        Err(error) => Asked::Failed(error),
    }
}

/// Makes a lease of a grant, unless it came too late: a grant after its own deadline is none.
fn accept(
    handle: &Arc<Handle>,
    claim: Claim,
    options: &Options,
    (sent, grant): (Tick, Grant),
    gate: &mut Option<GateGuard>,
) -> Result<Lease> {
    let engine = &handle.engine;
    let now = engine.clock.now();
    // A grant that was told by a message has lived for a while when its waiter asks.
    let sent = sent.before(grant.age);
    if grant
        .ttl
        .is_some_and(|ttl| now >= (Lifetime { sent, ttl }).deadline())
    {
        return Err(Error::unavailable(
            engine.store_name(),
            "the grant arrived after its own TTL had run out; use a longer TTL or a nearer store",
        )
        .of_key(&claim.key));
    }
    let granted = Granted {
        // Others of this process may hold beside a share or a permit; they need not wait for its end.
        gate: gate.take().filter(|_| claim.mode == Mode::Exclusive),
        claim,
        fence: grant.fence,
        seat: grant.seat,
        ttl: grant.ttl,
        sent,
        now,
        lost: grant.lost,
    };
    let hold = Hold::new(granted, options, Arc::downgrade(engine));
    let lease = Lease::new(Arc::clone(handle), Arc::clone(&hold));
    engine.watch(&hold)?; // on failure the lease is dropped, and so released
    Ok(lease)
}

impl Request {
    /// Tries once, and leaves no trace if the key is busy.
    ///
    /// It does not stand behind others of this process: a try that is itself refused must not be what
    /// refuses another.
    pub(crate) async fn attempt(self) -> Result<Result<Lease, BusyInfo>> {
        let Self {
            handle, options, ..
        } = &self;
        let engine = &handle.engine;
        let entered = engine.enter()?;
        let mut gate = engine.gate.try_pass(&self.key);
        let claim = engine.claim(&self, IfBusy::Leave);
        let mut parcel = engine.ask(&claim, entered).await?;
        let _entered = parcel.take_token();
        match accepted(handle, options, parcel, &mut gate) {
            Asked::Lease(lease) => Ok(Ok(lease)),
            Asked::Busy(busy) => Ok(Err(BusyInfo::from(&busy))),
            Asked::Failed(error) => {
                if error.may_have_been_executed() {
                    engine.leave(Leaving::behind(&claim, engine.clock.now()));
                }
                Err(error)
            }
        }
    }
}
