//! Keeps one connection up, makes the schema, and looks after the database now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::address::Address;
use super::link::{Link, OnNotice, Session};
use super::schema::Strangers;
use super::server::Time;
use super::watches::Watches;
use super::{faults, schema, sql};
use crate::data::{Error, Result};
use crate::rule::Clock;
use crate::rule::backoff::{self, Jitter};

/// The longest pause between two tries to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// How often to look whether keys are to be swept, at most; one of all processes does it.
const SWEEP: Duration = Duration::from_secs(30);
/// How many keys are swept in one go.
const SWEPT: i32 = 2_000;
/// How many by one who has just raised the reserve, which happens every few seconds at most in a whole database: some
/// milliseconds of the server's, for those whose process ends before it would sweep.
const SHARE: i32 = 500;
/// How long nobody has waited before a process stops listening.
const QUIET: Duration = Duration::from_secs(5);
/// How long to wait for the end of a session that was told to end.
const ENDING: Duration = Duration::from_millis(5);

/// The connection of a store, whatever becomes of it.
pub(super) struct Hub {
    pub(super) address: Address,
    pub(super) watches: Arc<Watches>,
    pub(super) clock: Clock,
    state: watch::Sender<State>,
    raised: Notify,
}

#[derive(Clone)]
enum State {
    Down(Error),
    Up(Arc<Link>),
}

impl Hub {
    pub(super) fn new(address: Address) -> Self {
        let down = State::Down(faults::unavailable("it has not been opened".to_owned()));
        Self {
            address,
            watches: Arc::default(),
            clock: Clock::system(),
            state: watch::Sender::new(down),
            raised: Notify::new(),
        }
    }

    /// Connects for the first time, and makes the schema unless it is there.
    pub(super) async fn open(&self) -> Result<Arc<Link>> {
        let link = Arc::new(self.connect(Time::First).await?);
        schema::look(&link, self.address.timeout).await?;
        self.state.send_replace(State::Up(Arc::clone(&link)));
        Ok(link)
    }

    async fn connect(&self, time: Time) -> Result<Link> {
        let watches = Arc::downgrade(&self.watches);
        let notice: OnNotice = Arc::new(move |text| {
            if let Some(watches) = watches.upgrade() {
                watches.told(text);
            }
        });
        Link::open(&self.address, &notice, time).await
    }

    /// Makes the schema, or brings it up to date, over a connection for it alone.
    pub(super) async fn apply_schema(&self) -> Result<()> {
        let link = self.connect(Time::First).await?;
        schema::make(&link, self.address.timeout, Strangers::Refused).await
    }

    /// What is wrong with the connection at this moment, if anything.
    pub(super) fn trouble(&self) -> Option<Error> {
        match &*self.state.borrow() {
            State::Up(link) if !link.is_closed() => None,
            State::Up(link) => Some(faults::lost(&link.name)),
            State::Down(error) => Some(error.clone()),
        }
    }

    /// The connection; waits a moment for a new one if it was lost.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        if let State::Up(link) = &*self.state.borrow()
            && !link.is_closed()
        {
            return Ok(Arc::clone(link));
        }
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| match state {
            State::Up(link) => !link.is_closed(),
            State::Down(error) => !error.is_transient(),
        });
        // Whatever the state is now, it is the answer: a connection, or why there is none.
        let _ = tokio::time::timeout(self.address.timeout, settled).await;
        match &*self.state.borrow() {
            State::Up(link) if !link.is_closed() => Ok(Arc::clone(link)),
            State::Up(link) => Err(faults::lost(&link.name)),
            State::Down(error) => Err(error.clone()),
        }
    }

    /// Makes a new connection whenever the present one ends, for ever.
    pub(super) async fn supervise(self: Arc<Self>, mut link: Arc<Link>) {
        loop {
            link.closed().await;
            let down = State::Down(faults::lost(&link.name));
            self.state.send_replace(down);
            let mut pauses = backoff::exponential(Duration::from_millis(20), PAUSE);
            link = loop {
                match self.reconnect(link.session).await {
                    Ok(next) => break Arc::new(next),
                    Err(error) => {
                        self.state.send_replace(State::Down(error));
                        tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
                    }
                }
            };
            self.state.send_replace(State::Up(Arc::clone(&link)));
            self.watches.reconnected();
        }
    }

    /// A new connection in the place of one that has ended. What the old one sent may still be on its way, or wait for a
    /// lock, and be carried out after a release: so its session is over before the new one is used, ended by us if it is idle,
    /// and by itself if it is at work. Behind a pooler
    /// that cannot be done, and a claim that nobody wants may stay for one TTL.
    async fn reconnect(&self, old: Option<Session>) -> Result<Link> {
        let link = self.connect(Time::Again).await?;
        schema::look(&link, self.address.timeout).await?;
        if let Some(old) = old {
            let started = self.clock.now();
            loop {
                let values = [&old.number as super::link::Value<'_>, &old.began];
                let there = link.call(&sql::END, &values, self.address.timeout).await?;
                if there.is_empty() {
                    break;
                }
                if self.clock.now().since(started) > self.address.timeout {
                    return Err(faults::unavailable(format!(
                        "an earlier session at {} does not end",
                        link.name
                    )));
                }
                tokio::time::sleep(ENDING).await;
            }
        }
        for process in self.watches.processes() {
            link.hear(process).await?;
        }
        Ok(link)
    }

    /// The reserve was raised: by whom that happens a share of the sweeping is done too. Whoever is to be granted a key goes
    /// first: this only wakes another task.
    pub(super) fn has_raised(&self) {
        self.raised.notify_one();
    }

    /// Removes what is left of keys that nobody uses, and stops listening for nobody; for ever.
    pub(super) async fn look_after(self: Arc<Self>) {
        tokio::join!(self.tidy_up(), self.do_its_share());
    }

    async fn do_its_share(&self) {
        loop {
            self.raised.notified().await;
            if let Ok(link) = self.link().await {
                let asked = link.call(&sql::SWEEP, &[&SHARE], self.address.timeout);
                let _ = asked.await; // as below
            }
        }
    }

    async fn tidy_up(&self) {
        let mut jitter = Jitter::new();
        let first = jitter.up_to(QUIET);
        let mut until_sweep = QUIET;
        tokio::time::sleep(first).await;
        loop {
            // A failure is the next request's, which says so to somebody.
            if let Ok(link) = self.link().await {
                let _ = link.hear_only(|process| self.watches.waits(process)).await;
                if until_sweep.is_zero() {
                    until_sweep = SWEEP + jitter.up_to(SWEEP);
                    let _ = self.sweep(&link).await;
                }
            }
            tokio::time::sleep(QUIET).await;
            until_sweep = until_sweep.saturating_sub(QUIET);
        }
    }

    async fn sweep(&self, link: &Arc<Link>) -> Result<()> {
        loop {
            let rows = link
                .call(&sql::SWEEP, &[&SWEPT], self.address.timeout)
                .await?;
            match rows.first().and_then(|row| row.try_get::<_, i32>(0).ok()) {
                Some(SWEPT) => {}
                _ => return Ok(()),
            }
        }
    }
}
