//! Looking at a line without joining it.

use std::time::Duration;

use super::acquire::Request;
use super::leave::Leaving;
use crate::contract::{Attempt, Busy, Wake};
use crate::data::{IfBusy, Result};
use crate::rule::Clock;

impl Request {
    /// The clock by which its lease will be measured.
    pub(crate) fn clock(&self) -> &Clock {
        &self.handle.engine.clock
    }

    /// Completes when the store wakes, or after this time, on any executor.
    pub(crate) async fn pause(&self, wake: Option<Wake>, longest: Duration) -> Result<()> {
        let at = self.clock().now().after(longest);
        self.handle.engine.woken_or_at(wake, at).await
    }

    /// Asks what is in the way, and for a wake when that changes, without joining the line. `None` if nothing
    /// is: the claim, which was granted then, has been given back.
    ///
    /// # Cancel safety
    ///
    /// May be dropped.
    pub(crate) async fn look(&self) -> Result<Option<Busy>> {
        let engine = &self.handle.engine;
        let entered = engine.enter()?;
        let claim = engine.claim(self, IfBusy::Leave);
        let mut parcel = engine.ask(&claim, entered).await?;
        let _entered = parcel.take_token();
        let (_, claim, answer) = parcel.open();
        match answer {
            Ok(Attempt::Busy(busy)) => Ok(Some(busy)),
            Ok(Attempt::Granted(_)) => {
                engine.leave(Leaving::behind(&claim, engine.clock.now()));
                Ok(None)
            }
            Err(error) => {
                if error.is_transient() {
                    engine.leave(Leaving::behind(&claim, engine.clock.now()));
                }
                Err(error)
            }
        }
    }
}
