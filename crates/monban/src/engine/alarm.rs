//! Timers for callers on any executor, rung by the keeper, or by a caller that is blocked in a store's own wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::core::Engine;
use super::hold::lock;
use crate::contract::blocked::poll_again_at;
use crate::data::Result;
use crate::rule::Tick;

/// Completes at an instant of the clock. It stands in the keeper's schedule while it is waited for, so a limit on a
/// request that is answered in time costs neither a task nor a wake-up.
struct Alarm<'a> {
    engine: &'a Arc<Engine>,
    at: Tick,
    number: Option<u64>,
}

impl Engine {
    /// Completes at an instant of the clock, on any executor.
    pub(crate) async fn sleep_until(self: &Arc<Self>, at: Tick) -> Result<()> {
        Alarm {
            engine: self,
            at,
            number: None,
        }
        .await
    }

    /// Wakes those whose time has come.
    pub(super) fn ring(&self, now: Tick) {
        let due = lock(&self.schedule).alarms_due(now);
        due.into_iter().for_each(Waker::wake);
    }
}

impl Future for Alarm<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.engine.clock.now() >= self.at {
            return Poll::Ready(Ok(()));
        }
        if self.engine.clock.is_the_machines() && poll_again_at(context.waker(), self.at) {
            return Poll::Pending; // the thread that waits sees to it itself, and no keeper is needed
        }
        self.engine.keeper()?;
        let mut schedule = lock(&self.engine.schedule);
        let (number, sooner) = schedule.set_alarm(self.at, self.number, context.waker());
        drop(schedule);
        self.number = Some(number);
        if sooner {
            self.engine.work.notify_one();
        }
        // After it was set: what rings all alarms at the keeper's end comes before, or finds this one.
        match self.engine.keeper_is_well() {
            true => Poll::Pending,
            false => Poll::Ready(Err(self.engine.keeper_is_gone())),
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let _waker = lock(&self.engine.schedule).stop_alarm(self.at, number);
        }
    }
}
