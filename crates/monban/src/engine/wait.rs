//! The wait for a claim's turn: on the keeper, woken by the store, with a timer as the net.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::acquire::{BusyInfo, Observer, Retry, accepted, ask};
use super::core::{GateGuard, Handle};
use super::keeper::sleep_until;
use super::lease::Lease;
use super::leave::{Leaving, Pending};
use crate::contract::{Busy, Reach, Wake};
use crate::data::{Claim, Claimant, Error, Options, Result};
use crate::rule::{Tick, backoff};

/// What asking the store once came to.
pub(super) enum Asked {
    Lease(Lease),
    Busy(Busy),
    Failed(Error),
}

/// A claim that waits. Dropped before it has become a lease it leaves the line.
pub(super) struct Waiting {
    handle: Arc<Handle>,
    claim: Claim,
    options: Options,
    gate: Option<GateGuard>,
    started: Tick,
    until: Option<Tick>,
    observer: Option<Observer>,
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// When the store last answered.
    answered: Tick,
    failures: Box<dyn Iterator<Item = Duration> + Send>,
    /// What the store last failed with, if it did: then a wait whose time is over does not know that the key is busy.
    failed: Option<Error>,
    /// The least pause before asking again at an expiry that the store has announced.
    floor: Duration,
    who: Option<Claimant>,
    in_line: bool,
    /// Dropped last: when leaving the line is counted.
    _entered: Option<Pending>,
}

/// What to do next.
enum Step {
    Finish(Result<Lease>),
    Pause { wake: Option<Wake>, at: Tick },
}

/// Asking again this often keeps the place alive, and finds what a lost wake-up has hidden.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The same where no wake-up travels.
const LONGEST_PAUSE_HERE: Duration = Duration::from_secs(60);
/// How much later than the one ahead of it a claim asks when silence is to free the key: not all at once.
const APART: Duration = Duration::from_millis(2);
/// How long before the end of a wait a server is asked once more, at the most: what it said seconds ago is no reason to
/// say that the key is busy now.
const LAST_LOOK: Duration = Duration::from_secs(1);
const LEAST_FLOOR: Duration = Duration::from_millis(1);
const GREATEST_FLOOR: Duration = Duration::from_millis(64);

/// How long before the end of a wait the store is asked for the last time.
pub(super) fn last_look(started: Tick, until: Tick) -> Duration {
    LAST_LOOK.min(until.since(started) / 2)
}

/// Waits until the claim is granted, the time is over, or the caller has gone.
pub(super) async fn wait(
    mut waiting: Waiting,
    first: Asked,
    mut reply: oneshot::Sender<Result<Lease>>,
) {
    let engine = Arc::clone(&waiting.handle.engine);
    let mut asked = first;
    loop {
        let (wake, at) = match waiting.step(asked) {
            Step::Finish(result) => return finish(waiting, result, reply),
            Step::Pause { wake, at } => (wake, at),
        };
        tokio::select! {
            biased;
            () = reply.closed() => return,
            error = engine.until_closed() => return finish(waiting, Err(error), reply),
            () = woken(wake) => {}
            () = sleep_until(&engine.clock, at) => {}
        }
        let now = engine.clock.now();
        if waiting.until.is_some_and(|until| now >= until) {
            let result = waiting.timed_out(now);
            return finish(waiting, result, reply);
        }
        if let Some(parcel) = engine.told(&waiting.claim) {
            asked = accepted(&waiting.handle, &waiting.options, parcel, &mut waiting.gate);
            continue;
        }
        let patience = waiting.patience();
        let sent = now;
        asked = tokio::select! {
            biased;
            asked = ask(&waiting.handle, &waiting.claim, &waiting.options, &mut waiting.gate) => {
                asked.unwrap_or_else(Asked::Failed)
            }
            () = reply.closed() => return,
            error = engine.until_closed() => return finish(waiting, Err(error), reply),
            () = sleep_until(&engine.clock, patience) => {
                let now = engine.clock.now();
                if now.since(sent) < waiting.last_look() / 2 {
                    // Asked a moment ago: that is no silence.
                    let result = waiting.timed_out(now);
                    return finish(waiting, result, reply);
                }
                Asked::Failed(engine.silent().of_key(&waiting.claim.key))
            }
        };
    }
}

fn finish(waiting: Waiting, result: Result<Lease>, reply: oneshot::Sender<Result<Lease>>) {
    drop(waiting); // first: who hears of the end of a wait may rely on its release being counted
    // If the caller has gone the lease comes back, and its drop releases it.
    drop(reply.send(result));
}

/// As [`wait`], where the caller stands: a local store is asked without the keeper, so a wake-up need not pass through
/// two further threads. Dropped, it leaves the line.
pub(super) async fn wait_here(mut waiting: Waiting, first: Asked) -> Result<Lease> {
    let engine = Arc::clone(&waiting.handle.engine);
    let mut asked = first;
    loop {
        let (wake, at) = match waiting.step(asked) {
            Step::Finish(result) => return result,
            Step::Pause { wake, at } => (wake, at),
        };
        // To drop it wakes the keeper: only once the key was asked for again.
        let mut sleep = std::pin::pin!(engine.sleep_until(at));
        tokio::select! {
            biased;
            error = engine.until_closed() => return Err(error),
            () = woken(wake) => {}
            slept = &mut sleep => slept?,
        }
        let now = engine.clock.now();
        if waiting.until.is_some_and(|until| now >= until) {
            return waiting.timed_out(now);
        }
        asked = ask(
            &waiting.handle,
            &waiting.claim,
            &waiting.options,
            &mut waiting.gate,
        )
        .await
        .unwrap_or_else(Asked::Failed);
    }
}

pub(super) async fn woken(wake: Option<Wake>) {
    match wake {
        Some(wake) => wake.await,
        None => std::future::pending().await,
    }
}

impl Waiting {
    pub(super) fn new(
        handle: Arc<Handle>,
        claim: Claim,
        options: Options,
        (gate, entered): (Option<GateGuard>, Option<Pending>),
        (started, until): (Tick, Option<Tick>),
    ) -> Self {
        let ms = Duration::from_millis;
        Self {
            answered: handle.engine.clock.now(),
            handle,
            failures: Box::new(std::iter::empty()),
            failed: None,
            pauses: Box::new(backoff::exponential(ms(5), ms(1_000))),
            claim,
            options,
            gate,
            started,
            until,
            observer: None,
            floor: LEAST_FLOOR,
            who: None,
            in_line: true,
            _entered: entered,
        }
    }

    pub(super) fn observed_by(mut self, observer: Option<Observer>) -> Self {
        self.observer = observer;
        self
    }

    pub(super) fn pausing_by(mut self, retry: Option<Retry>) -> Self {
        if let Some(retry) = retry {
            self.pauses = retry();
        }
        self
    }

    fn step(&mut self, asked: Asked) -> Step {
        let now = self.handle.engine.clock.now();
        match asked {
            Asked::Lease(lease) => {
                self.in_line = false;
                Step::Finish(Ok(lease))
            }
            Asked::Busy(busy) => self.busy(busy, now),
            Asked::Failed(error) => self.failed(error, now),
        }
    }

    fn busy(&mut self, busy: Busy, now: Tick) -> Step {
        if let Some(observer) = &self.observer {
            observer(&BusyInfo::from(&busy));
        }
        self.who = busy.who.or(self.who.take());
        self.answered = now;
        self.failures = Box::new(std::iter::empty());
        self.failed = None;
        if self.until.is_some_and(|until| now >= until) {
            return Step::Finish(self.timed_out(now));
        }
        let longest = match self.handle.engine.reach {
            Reach::Local => LONGEST_PAUSE_HERE,
            Reach::Remote => LONGEST_PAUSE,
        };
        let mut pause = longest.min(self.options.ttl / 3);
        if busy.changed.is_none() {
            match self.pauses.next() {
                Some(next) => pause = pause.min(next.max(LEAST_FLOOR)),
                None => return Step::Finish(self.timed_out(now)),
            }
        }
        if let Some(free_in) = busy.free_in {
            // Twice at the same expiry means that the store is not as far as it said.
            let soon = free_in <= LEAST_FLOOR;
            self.floor = if soon {
                (self.floor * 2).min(GREATEST_FLOOR)
            } else {
                LEAST_FLOOR
            };
            // Mostly it is the first to wait who is granted then, and what it is granted wakes the next.
            let behind = match (self.handle.engine.reach, busy.ahead) {
                (Reach::Remote, Some(ahead)) => ahead.saturating_sub(1),
                _ => 0,
            };
            let turn = APART.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX));
            pause = pause.min(free_in.max(self.floor).saturating_add(turn));
        }
        let mut at = now.after(pause);
        let last = self.until.map(|until| until.before(self.last_look()));
        if let Some(last) = last.filter(|last| now < *last) {
            at = at.min(last);
        }
        self.pause(busy.changed, at)
    }

    /// How long before the end a store is asked for the last time; nothing where asking cannot fail.
    fn last_look(&self) -> Duration {
        match (self.handle.engine.reach, self.until) {
            (Reach::Remote, Some(until)) => last_look(self.started, until),
            _ => Duration::ZERO,
        }
    }

    /// Until when a store that does not answer is asked.
    fn patience(&self) -> Tick {
        let patience = self.options.ttl.max(Duration::from_secs(1));
        self.until.unwrap_or_else(|| self.answered.after(patience))
    }

    fn failed(&mut self, error: Error, now: Tick) -> Step {
        let over = now >= self.patience();
        if over || !error.is_transient() {
            return Step::Finish(Err(error));
        }
        self.failed = Some(error);
        let pause = self.failures.next().unwrap_or_else(|| {
            let ms = Duration::from_millis;
            let mut fresh = backoff::exponential(ms(20), ms(1_000).min(self.options.ttl / 6));
            let first = fresh.next().unwrap_or(LEAST_FLOOR);
            self.failures = Box::new(fresh);
            first
        });
        self.pause(None, now.after(pause.max(LEAST_FLOOR)))
    }

    fn pause(&self, wake: Option<Wake>, at: Tick) -> Step {
        Step::Pause {
            wake,
            at: self.until.map_or(at, |until| until.min(at)),
        }
    }

    fn timed_out(&mut self, now: Tick) -> Result<Lease> {
        Err(self.failed.take().unwrap_or_else(|| Error::TimedOut {
            key: self.claim.key.clone(),
            waited: now.since(self.started),
            who: self.who.take().map(Box::new),
        }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.in_line {
            let engine = &self.handle.engine;
            engine.leave(Leaving::behind(&self.claim, engine.clock.now()));
        }
    }
}
