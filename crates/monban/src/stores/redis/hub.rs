//! Keeps one connection up, and hands it to the verbs.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd, pipe};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::address::Address;
use super::faults;
use super::link::{Link, OnPush};
use super::scripts::{self, Script};
use super::server::Time;
use super::watches::{Look, Watches};
use crate::data::{Error, Result};
use crate::rule::{Clock, backoff};

/// How often keys are looked at that are to be watched soon: a hold of less than one tick is never watched, one of two
/// always.
const TICK: Duration = Duration::from_millis(2);
/// Keys read in one command.
const LOOKS: usize = 256;
/// The pause after a read that failed.
const SLOW: Duration = Duration::from_millis(20);
/// The longest pause between two tries to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection of a store, whatever becomes of it.
pub(super) struct Hub {
    pub(super) address: Address,
    pub(super) watches: Arc<Watches>,
    pub(super) clock: Clock,
    state: watch::Sender<State>,
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
        }
    }

    /// Connects for the first time.
    pub(super) async fn open(&self) -> Result<Arc<Link>> {
        let link = Arc::new(Link::open(&self.address, &self.on_push(), Time::First).await?);
        self.state.send_replace(State::Up(Arc::clone(&link)));
        Ok(link)
    }

    fn on_push(&self) -> OnPush {
        let watches = Arc::downgrade(&self.watches);
        Arc::new(move |info| {
            if let Some(watches) = watches.upgrade() {
                watches.pushed(&info);
            }
        })
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

    /// Runs a script by its hash; loads it again if the server has forgotten it.
    pub(super) async fn run(
        &self,
        link: &Arc<Link>,
        script: &Script,
        command: &Cmd,
        within: Duration,
    ) -> Result<Value> {
        let answer = self.noticing(link, link.raw(command, within).await)?;
        if !is_forgotten(&answer) {
            return link.checked(answer);
        }
        self.noticing(link, link.call(&script.load(), within).await)?;
        self.noticing(link, link.call(command, within).await)
    }

    /// As [`run`](Self::run), and watches from then on the keys that the script reads.
    pub(super) async fn run_watching(
        &self,
        link: &Arc<Link>,
        script: &Script,
        command: &Cmd,
        within: Duration,
    ) -> Result<Value> {
        if !link.pushes {
            return self.run(link, script, command, within).await;
        }
        let mut both = pipe();
        both.cmd("CLIENT").arg("CACHING").arg("YES");
        both.add_command(command.clone());
        for _ in 0..2 {
            let answers = self.noticing(link, link.pipeline(&both, within).await)?;
            let answer = answers.into_iter().nth(1).unwrap_or(Value::Nil);
            if !is_forgotten(&answer) {
                return link.checked(answer);
            }
            self.noticing(link, link.call(&script.load(), within).await)?;
        }
        Err(faults::garbled(&link.name))
    }

    /// Runs a script for several commands in one write; each has an answer, or a refusal, of its own.
    pub(super) async fn run_each(
        &self,
        link: &Arc<Link>,
        script: &Script,
        commands: &[Cmd],
        watching: bool,
    ) -> Result<Vec<Result<Value>>> {
        let within = self.address.timeout;
        let step = if watching && link.pushes { 2 } else { 1 };
        let mut all = pipe();
        for command in commands {
            if step == 2 {
                all.cmd("CLIENT").arg("CACHING").arg("YES");
            }
            all.add_command(command.clone());
        }
        for _ in 0..2 {
            let answers = self.noticing(link, link.pipeline(&all, within).await)?;
            let answers = answers.into_iter().skip(step - 1).step_by(step);
            let answers: Vec<Value> = answers.collect();
            if !answers.iter().any(is_forgotten) {
                return Ok(answers.into_iter().map(|each| link.checked(each)).collect());
            }
            self.noticing(link, link.call(&script.load(), within).await)?;
        }
        Err(faults::garbled(&link.name))
    }

    /// A connection that did not answer is looked at.
    fn noticing<T>(&self, link: &Arc<Link>, answer: Result<T>) -> Result<T> {
        if answer.as_ref().is_err_and(Error::is_transient) {
            link.probe();
        }
        answer
    }

    /// Makes a new connection whenever the present one ends, for ever.
    pub(super) async fn supervise(self: Arc<Self>, mut link: Arc<Link>) {
        loop {
            link.closed().await;
            self.state
                .send_replace(State::Down(faults::lost(&link.name)));
            let mut pauses = backoff::exponential(Duration::from_millis(20), PAUSE);
            link = loop {
                match self.reconnect(&link).await {
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

    /// A new connection in the place of one that has ended. What the old one sent may still be on its way to the
    /// server, and be carried out after a release: so the old one is ended there before the new one is used. Without
    /// the permission for that, a claim that nobody wants may stay for one TTL.
    async fn reconnect(&self, old: &Link) -> Result<Link> {
        let link = Link::open(&self.address, &self.on_push(), Time::Again).await?;
        if let Some(client) = old.server.client
            && link.server.run == old.server.run
        {
            let kill = cmd("CLIENT").arg("KILL").arg("ID").arg(client).to_owned();
            link.raw(&kill, self.address.timeout).await?;
        }
        for process in self.watches.processes() {
            link.hear(process).await?;
        }
        Ok(link)
    }

    /// Reads and watches the keys of those who have held, or been next in line, for a moment; for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while self.watches.idle() {
                self.watches.some.notified().await;
                ticks.reset();
            }
            let ticked = tokio::select! {
                _ = ticks.tick() => true,
                () = self.watches.urgent.notified() => false,
            };
            let looks = self.watches.take(ticked);
            for part in looks.chunks(LOOKS) {
                if self.look(part).await.is_err() {
                    // A new connection reads everything again; a slow one is asked again.
                    tokio::time::sleep(SLOW).await;
                    self.watches.again(part.iter().map(|look| look.id));
                }
            }
        }
    }

    async fn look(&self, looks: &[Look]) -> Result<()> {
        let link = self.link().await?;
        if !link.pushes {
            return Ok(());
        }
        let command = look_command(looks);
        let answer = self.run_watching(&link, &scripts::LOOK, &command, self.address.timeout);
        match answer.await {
            Ok(answer) => self.looked(looks, answer, &link),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => self.look_each(looks, &link).await,
        }
    }

    /// The same after a refusal: one of the keys may be why. One that may not be read is not watched: its renewals say
    /// so, or whoever waits for it asks again in time.
    async fn look_each(&self, looks: &[Look], link: &Arc<Link>) -> Result<()> {
        let each: Vec<Cmd> = looks.chunks(1).map(look_command).collect();
        let answers = self.run_each(link, &scripts::LOOK, &each, true).await?;
        for (look, answer) in looks.chunks(1).zip(answers) {
            match answer {
                Ok(answer) => self.looked(look, answer, link)?,
                Err(error) if error.is_transient() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn looked(&self, looks: &[Look], answer: Value, link: &Link) -> Result<()> {
        let Value::Array(values) = answer else {
            return Err(faults::garbled(&link.name));
        };
        for (look, value) in looks.iter().zip(values) {
            match value {
                Value::BulkString(value) => self.watches.read(&look.id, Some(&value)),
                _ => self.watches.read(&look.id, None),
            }
        }
        Ok(())
    }
}

fn look_command(looks: &[Look]) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVALSHA").arg(scripts::LOOK.hash());
    command.arg(looks.len());
    for look in looks {
        command.arg(look.key.as_bytes());
    }
    command
}

fn is_forgotten(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}
