//! One connection: commands and pushes together, made ready before it is used, and one that ends for good.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, PushInfo};
use redis::{RedisConnectionInfo, RedisError, Value, cmd, pipe};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::address::Address;
use super::server::{self, Server, Time};
use super::{faults, scripts};
use crate::data::{Error, ProcessId, Result, duration_text};
use crate::net::{CONNECTING, Peer};

/// Handed every push of the server, in its order, from within the connection's task: it must not block.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// An open connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// The server can push: it speaks RESP3.
    pub(super) pushes: bool,
    pub(super) server: Server,
    pub(super) name: String,
    driver: AbortHandle,
    end: Arc<End>,
    heard: Mutex<HashSet<ProcessId>>,
    probing: AtomicBool,
    timeout: Duration,
}

/// The end of a connection, told to whoever waits for it.
#[derive(Default)]
struct End {
    reached: AtomicBool,
    told: Notify,
}

impl End {
    fn reach(&self) {
        self.reached.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }
}

impl Link {
    /// Connects, is let in, loads the scripts, looks what kind of server it is.
    pub(super) async fn open(address: &Address, push: &OnPush, time: Time) -> Result<Self> {
        let within = CONNECTING.max(address.timeout);
        match tokio::time::timeout(within, Self::open_any(address, push, time)).await {
            Ok(link) => link,
            Err(_) if address.tls.is_some() => Err(faults::unavailable(format!(
                "no answer from {address} for {}: is it a port for TLS?",
                duration_text(within)
            ))),
            Err(_) => Err(faults::silent(&address.to_string(), within)),
        }
    }

    async fn open_any(address: &Address, push: &OnPush, time: Time) -> Result<Self> {
        let name = address.to_string();
        match Self::greet(address, ProtocolVersion::RESP3, push).await? {
            Ok(link) => link.prepare(address, time).await,
            Err(error) if speaks_no_resp3(&error) => {
                match Self::greet(address, ProtocolVersion::RESP2, push).await? {
                    Ok(link) => link.prepare(address, time).await,
                    Err(error) => Err(faults::of(error, &name)),
                }
            }
            Err(error) if time == Time::First => {
                Err(faults::of_greeting(error, &name, address.tls.as_ref()))
            }
            Err(error) => Err(faults::of(error, &name)),
        }
    }

    async fn greet(
        address: &Address,
        protocol: ProtocolVersion,
        push: &OnPush,
    ) -> Result<std::result::Result<Self, RedisError>> {
        let stream = Peer {
            store: faults::STORE,
            shown: &address.to_string(),
            host: &address.host,
            port: address.port,
            tls: address.tls.as_ref(),
        }
        .dial()
        .await?;
        let pushes = protocol == ProtocolVersion::RESP3;
        let mut info = RedisConnectionInfo::default()
            .set_db(address.database)
            .set_protocol(protocol)
            .set_skip_set_lib_name();
        if let Some(password) = &address.password {
            info = info.set_password(password);
        }
        if let Some(user) = &address.user {
            info = info.set_username(user);
        }
        // Every call here has a timeout of its own.
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        if pushes {
            let push = Arc::clone(push);
            config = config.set_push_sender(move |info: PushInfo| -> Result<(), ()> {
                push(info);
                Ok(())
            });
        }
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = match made {
            Ok(made) => made,
            Err(error) => return Ok(Err(error)),
        };
        let end = Arc::new(End::default());
        let at_end = Arc::clone(&end);
        let driver = tokio::spawn(async move {
            driver.await;
            at_end.reach();
        });
        Ok(Ok(Self {
            connection,
            pushes,
            server: Server::default(),
            name: address.to_string(),
            driver: driver.abort_handle(),
            end,
            heard: Mutex::default(),
            probing: AtomicBool::new(false),
            timeout: address.timeout,
        }))
    }

    async fn prepare(mut self, address: &Address, time: Time) -> Result<Self> {
        let mut pipeline = pipe();
        pipeline.cmd("CLIENT").arg("ID").cmd("INFO");
        for script in scripts::all() {
            pipeline.add_command(script.load());
        }
        if self.pushes {
            let tracking = pipeline.cmd("CLIENT").arg("TRACKING").arg("ON");
            tracking.arg("OPTIN").arg("NOLOOP");
        }
        let mut answers = self.pipeline(&pipeline, CONNECTING).await?;
        let mut refusal = None;
        for answer in &mut answers {
            match self.checked(std::mem::take(answer)) {
                Ok(answer) => self.server.learn(answer),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        if self.server.sentinel {
            return Err(faults::sentinel(&self.name));
        }
        if let Some(error) = refusal {
            return Err(error);
        }
        server::check(&self.server, address, time)?;
        Ok(self)
    }

    /// Sends a command and waits for its answer; a server's error is an error.
    pub(super) async fn call(&self, command: &Cmd, within: Duration) -> Result<Value> {
        let answer = self.raw(command, within).await?;
        self.checked(answer)
    }

    /// As [`call`](Self::call), but gives a server's error as a value.
    pub(super) async fn raw(&self, command: &Cmd, within: Duration) -> Result<Value> {
        let mut connection = self.connection.clone();
        let sent = connection.send_packed_command(command);
        self.answer(tokio::time::timeout(within, sent).await, within)
    }

    /// Sends commands in one write, with nothing between them; gives their answers, errors among them.
    pub(super) async fn pipeline(
        &self,
        commands: &Pipeline,
        within: Duration,
    ) -> Result<Vec<Value>> {
        let mut connection = self.connection.clone();
        let sent = connection.send_packed_commands(commands, 0, commands.len());
        self.answer(tokio::time::timeout(within, sent).await, within)
    }

    fn answer<T>(
        &self,
        answer: std::result::Result<
            std::result::Result<T, RedisError>,
            tokio::time::error::Elapsed,
        >,
        within: Duration,
    ) -> Result<T> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.code().is_some() => Err(faults::of(error, &self.name)),
            // Not of the server, so of the connection: it ended, perhaps within a reply.
            Ok(Err(error)) => {
                self.close();
                Err(faults::lost(&self.name).because(error))
            }
            Err(_) => Err(faults::silent(&self.name, within)),
        }
    }

    /// The value, or the error that the server gave as one.
    pub(super) fn checked(&self, value: Value) -> Result<Value> {
        match value {
            Value::ServerError(error) => {
                let error = RedisError::from(error);
                if faults::is_replica(&error) {
                    self.close(); // what is behind the name may be another server by now
                }
                Err(faults::of(error, &self.name))
            }
            value => Ok(value),
        }
    }

    /// The error for what a script says went wrong with one claim.
    pub(super) fn caught(&self, said: &[u8]) -> Error {
        if faults::is_of_replica(&String::from_utf8_lossy(said)) {
            self.close();
        }
        faults::caught(said, &self.name)
    }

    /// Makes sure that what is published to this process arrives here, before anything can be.
    pub(super) async fn hear(&self, process: ProcessId) -> Result<()> {
        if !self.pushes || self.heard().contains(&process) {
            return Ok(());
        }
        let mut connection = self.connection.clone();
        let subscribed = connection.subscribe(format!("monban:{process}"));
        let answer = tokio::time::timeout(self.timeout, subscribed).await;
        self.answer(answer, self.timeout)?;
        self.heard().insert(process);
        Ok(())
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, HashSet<ProcessId>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the connection still answers, and ends it if it does not: a silent connection is not reported by
    /// the kernel while the other side acknowledges, nor soon if it does not.
    pub(super) fn probe(self: &Arc<Self>) {
        if self.probing.swap(true, Ordering::SeqCst) {
            return;
        }
        let link = Arc::clone(self);
        tokio::spawn(async move {
            if link.raw(&cmd("PING"), link.timeout).await.is_err() {
                link.close();
            }
            link.probing.store(false, Ordering::SeqCst);
        });
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.end.reached.load(Ordering::SeqCst)
    }

    /// Ends the connection at once. What is in flight is answered with an error.
    pub(super) fn close(&self) {
        self.driver.abort();
        self.end.reach();
    }

    /// Returns when the connection has ended.
    pub(super) async fn closed(&self) {
        loop {
            let told = self.end.told.notified();
            if self.is_closed() {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn speaks_no_resp3(error: &RedisError) -> bool {
    let said = error.to_string();
    error.kind() == redis::ErrorKind::RESP3NotSupported
        || said.contains("NOPROTO")
        || (said.contains("unknown command") && said.contains("HELLO"))
}
