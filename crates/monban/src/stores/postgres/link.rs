//! One connection: a session of our own, or one that a pooler lends for each transaction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, OnceCell};
use tokio::task::{AbortHandle, JoinSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Statement};

use super::address::{Address, Host};
use super::server::Time;
use super::sql::{self, Verb};
use super::{faults, server};
use crate::data::{Error, ProcessId, Result, duration_text};
use crate::net::{Bytes, CONNECTING, Peer, Tls};

/// How long one of several servers may be silent until the next is tried beside it.
const NEXT: Duration = Duration::from_millis(300);

/// Handed the text of every notification, in order, from within the connection's task: it must not block.
pub(super) type OnNotice = Arc<dyn Fn(&str) + Send + Sync>;

/// A parameter of a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// An open connection.
pub(super) struct Link {
    client: Client,
    statements: [OnceCell<Statement>; sql::SLOTS],
    pub(super) name: String,
    /// The session, if it is ours alone and can be listened on.
    pub(super) session: Option<Session>,
    heard: Mutex<HashSet<ProcessId>>,
    /// Held while what is heard changes, so that the server sees the changes in this order.
    hearing: tokio::sync::Mutex<()>,
    driver: AbortHandle,
    end: Arc<End>,
    probing: AtomicBool,
    timeout: Duration,
}

/// A session of a server, told from a later one with the same number by when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) number: i32,
    pub(super) began: i64,
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
    /// Connects to the primary: of several hosts the first that is one. The next is tried when one has failed, or when it
    /// has been silent for a moment, as a machine is that has no power.
    pub(super) async fn open(address: &Address, notice: &OnNotice, time: Time) -> Result<Self> {
        if let [host] = &*address.hosts {
            return Self::of(address, host, notice, time).await;
        }
        let mut failed = Vec::new();
        let mut tries = JoinSet::new(); // those that are left over end when it is dropped
        for (at, host) in address.hosts.iter().enumerate() {
            let (to, host, notice) = (address.clone(), host.clone(), Arc::clone(notice));
            tries.spawn(async move { Self::of(&to, &host, &notice, time).await });
            let last = at + 1 == address.hosts.len();
            let patience = if last { Duration::MAX } else { NEXT };
            while let Ok(Some(ended)) = tokio::time::timeout(patience, tries.join_next()).await {
                match ended {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(error)) => failed.push(error),
                    Err(error) => failed.push(faults::no_runtime().because(error)),
                }
            }
        }
        Err(faults::none_of(failed))
    }

    /// Connects to one server, is let in, looks what kind it is and whether there is a pooler before it.
    async fn of(address: &Address, host: &Host, notice: &OnNotice, time: Time) -> Result<Self> {
        let within = CONNECTING.max(address.timeout);
        match tokio::time::timeout(within, Self::greet(address, host, notice, time)).await {
            Ok(link) => link,
            Err(_) => Err(faults::silent(&address.name_of(host), within)),
        }
    }

    async fn greet(address: &Address, host: &Host, notice: &OnNotice, time: Time) -> Result<Self> {
        let name = address.name_of(host);
        let password = address.passwords.find(address, host)?;
        let stream = dial(host, address.tls.as_ref(), &name).await?;
        let mut config = Config::new();
        config
            .user(&address.user)
            .dbname(&address.database)
            .application_name("monban");
        if let Some(password) = &password {
            config.password(password);
        }
        let (client, connection) = config
            .connect_raw(stream, NoTls)
            .await
            .map_err(|error| faults::of(error, &name))?;
        let end = Arc::new(End::default());
        let driver = tokio::spawn(drive(connection, Arc::clone(notice), Arc::clone(&end)));
        let mut link = Self {
            client,
            statements: Default::default(),
            name,
            session: None,
            heard: Mutex::default(),
            hearing: tokio::sync::Mutex::default(),
            driver: driver.abort_handle(),
            end,
            probing: AtomicBool::new(false),
            timeout: address.timeout,
        };
        let announced = link.announced().await;
        let rows = link.call(&sql::GREET, &[], CONNECTING).await?;
        let row = rows.first().ok_or_else(|| faults::garbled(&link.name))?;
        let server = server::Server::read(row).ok_or_else(|| faults::garbled(&link.name))?;
        // A pooler hands out numbers of its own, since it cancels on behalf of its clients.
        if announced == Some(server.session.number) {
            link.session = Some(server.session);
            let millis = link.timeout.as_millis();
            let settings = format!(
                "{}; SET statement_timeout = {millis}; {}",
                sql::SESSION,
                server.settings()
            );
            link.simple(&settings).await?;
        }
        server.check(&link, time)?;
        Ok(link)
    }

    /// The number of the session, as the connection was told it. The library keeps it for itself, but for a request to
    /// cancel: so it makes one here, and sends it nowhere.
    async fn announced(&self) -> Option<i32> {
        let (mut near, far) = tokio::io::duplex(64);
        self.client
            .cancel_token()
            .cancel_query_raw(far, NoTls)
            .await
            .ok()?;
        let (_length, _code) = (near.read_i32().await.ok()?, near.read_i32().await.ok()?);
        near.read_i32().await.ok()
    }

    /// Runs a statement and gives its rows.
    pub(super) async fn call(
        &self,
        verb: &Verb,
        values: &[Value<'_>],
        within: Duration,
    ) -> Result<Vec<Row>> {
        self.raw(verb, values, within).await?.map_err(|error| {
            if faults::is_standby(&error) {
                self.close(); // what is behind the name may be another server by now
            }
            faults::of(error, &self.name)
        })
    }

    /// As [`call`](Self::call), but gives what the server says of the statement as it came.
    pub(super) async fn raw(
        &self,
        verb: &Verb,
        values: &[Value<'_>],
        within: Duration,
    ) -> Result<std::result::Result<Vec<Row>, tokio_postgres::Error>> {
        match tokio::time::timeout(within, self.ask(verb, values)).await {
            Ok(Err(error)) if !faults::is_said(&error) => {
                self.close();
                Err(faults::of(error, &self.name))
            }
            Ok(answer) => Ok(answer),
            Err(_) => Err(faults::silent(&self.name, within)),
        }
    }

    async fn ask(
        &self,
        verb: &Verb,
        values: &[Value<'_>],
    ) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
        match self.statements.get(verb.slot) {
            Some(slot) if self.session.is_some() => {
                let prepare = || self.client.prepare_typed(verb.text, verb.types);
                let statement = slot.get_or_try_init(prepare).await?;
                self.client.query(statement, values).await
            }
            // The next transaction may run in another session, which knows no statement of ours.
            _ => {
                let typed: Vec<_> = values
                    .iter()
                    .copied()
                    .zip(verb.types.iter().cloned())
                    .collect();
                self.client.query_typed(verb.text, &typed).await
            }
        }
    }

    /// Runs statements that have no parameters and no answer, all or none.
    pub(super) async fn simple(&self, text: &str) -> Result<()> {
        let asked = tokio::time::timeout(CONNECTING, self.client.batch_execute(text));
        match asked.await {
            Ok(answer) => answer.map_err(|error| faults::of(error, &self.name)),
            Err(_) => Err(faults::silent(&self.name, CONNECTING)),
        }
    }

    /// Whether what is told to this process arrives here.
    pub(super) fn hears(&self, process: &ProcessId) -> bool {
        self.heard().contains(process)
    }

    /// Makes sure that what is told to this process arrives here from now on.
    pub(super) async fn hear(&self, process: ProcessId) -> Result<()> {
        if self.session.is_none() {
            return Ok(());
        }
        let _order = self.hearing.lock().await;
        if self.hears(&process) {
            return Ok(());
        }
        let listen = format!("LISTEN monban_{process}"); // sixteen hexadecimal digits
        self.simple(&listen).await?;
        self.heard().insert(process);
        Ok(())
    }

    /// Stops hearing those whom nobody waits for: every session that listens is woken by every notification.
    pub(super) async fn hear_only(&self, waits: impl Fn(&ProcessId) -> bool) -> Result<()> {
        let _order = self.hearing.lock().await;
        let mut over: Vec<ProcessId> = Vec::new();
        self.heard().retain(|process| {
            let waits = waits(process);
            if !waits {
                over.push(*process);
            }
            waits
        });
        for process in over {
            self.simple(&format!("UNLISTEN monban_{process}")).await?;
        }
        Ok(())
    }

    fn heard(&self) -> MutexGuard<'_, HashSet<ProcessId>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that did not answer is looked at, and ended if it still does not: a silent connection is not
    /// reported by the kernel while the other side acknowledges.
    pub(super) fn noticing<T>(self: &Arc<Self>, answer: Result<T>) -> Result<T> {
        if answer.as_ref().is_err_and(Error::is_transient)
            && !self.probing.swap(true, Ordering::SeqCst)
        {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                if link.raw(&sql::PING, &[], link.timeout).await.is_err() {
                    link.close();
                }
                link.probing.store(false, Ordering::SeqCst);
            });
        }
        answer
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

async fn drive<S, T>(mut connection: Connection<S, T>, notice: OnNotice, end: Arc<End>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) =
        std::future::poll_fn(|context| connection.poll_message(context)).await
    {
        if let AsyncMessage::Notification(told) = message {
            notice(told.payload());
        }
    }
    drop(connection); // first: whoever hears of the end may rely on it
    end.reach();
}

/// Connects; asks for TLS in PostgreSQL's words if it is wanted, and goes on without it never.
async fn dial(host: &Host, tls: Option<&Tls>, name: &str) -> Result<Box<dyn Bytes>> {
    /// "SSLRequest": its length, and a number that is no version.
    const TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    if let Some(socket) = host.socket() {
        return match UnixStream::connect(&socket).await {
            Ok(socket) => Ok(Box::new(socket)),
            Err(error) => Err(faults::of_socket(&socket, error)),
        };
    }
    let peer = Peer {
        store: faults::STORE,
        shown: name,
        host: &host.name,
        port: host.port,
        tls,
    };
    let mut socket = peer.connect().await?;
    if tls.is_some() {
        let broken = |error: std::io::Error| faults::lost(name).because(error);
        socket.write_all(&TLS).await.map_err(broken)?;
        // One byte and no more: what comes after it is encrypted.
        match socket.read_u8().await.map_err(broken)? {
            b'S' => {}
            b'N' => {
                return Err(faults::rejected(format!(
                    "{name} has no TLS (ssl = off); sslmode=disable would go on in plain text"
                )));
            }
            _ => {
                return Err(faults::rejected(format!(
                    "what answers at {name} does not speak PostgreSQL's protocol"
                )));
            }
        }
    }
    peer.secure(socket).await
}

/// How long to wait for an answer, as text.
impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({}, {})", self.name, duration_text(self.timeout))
    }
}
