//! The least that a hand-over by LISTEN and NOTIFY can cost: a client of its own for each waiter, whose session listens on a
//! channel of its own.
//!
//! These are no locks: who is next is decided in the memory of this process, so that nothing but the way of the message is
//! measured, and nothing survives a client that dies. What is in a table is written as a fenced lock has to write it, and
//! read by nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::Outcome;

/// What there is beside telling the next in line; each has what the one before it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Floor {
    /// Nothing.
    Bare,
    /// Whoever joins writes a row, whoever frees writes the fence into the row of the next: in one statement with the
    /// notification, found by the primary key, in a table that is not logged.
    Row,
    /// Each connection is driven by a thread of its own, so that no busy caller holds it up.
    Thread,
}

impl Floor {
    /// A session that is driven as it says, and is told nothing.
    pub(crate) async fn client(self, url: &str) -> Outcome<Client> {
        self.told(url, mpsc::unbounded_channel().0).await
    }

    async fn told(self, url: &str, tell: mpsc::UnboundedSender<String>) -> Outcome<Client> {
        Ok(match self {
            Self::Bare | Self::Row => {
                let (client, driver) = open(url, tell).await?;
                tokio::spawn(driver);
                client
            }
            Self::Thread => on_a_thread(url.to_owned(), tell).await?,
        })
    }
}

/// Who has the key and who waits for it, for all clients of a round.
#[derive(Clone)]
pub(crate) struct Turns {
    floor: Floor,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    joined: i64,
    held: bool,
    waiting: VecDeque<(i64, String)>,
}

/// A client: one session, that listens and asks.
pub(crate) struct Waiter {
    turns: Turns,
    client: Client,
    channel: String,
    join: Option<Statement>,
    tell: Statement,
    told: mpsc::UnboundedReceiver<String>,
}

impl Turns {
    pub(crate) fn new(floor: Floor) -> Self {
        let state = Arc::default();
        Self { floor, state }
    }

    /// Another client.
    pub(crate) async fn connect(&self, url: &str) -> Outcome<Waiter> {
        let (tell, told) = mpsc::unbounded_channel();
        let client = self.floor.told(url, tell).await?;
        let place = {
            let mut state = self.state.lock().expect("no panic");
            state.joined += 1;
            state.joined
        };
        let channel = format!("floor_{place}");
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        let (join, tell) = match self.floor {
            Floor::Bare => (None, "SELECT pg_notify($2, $1::bigint::text)"),
            Floor::Row | Floor::Thread => {
                if place == 1 {
                    let make = "DROP TABLE IF EXISTS floor; CREATE UNLOGGED TABLE floor \
                         (place bigint PRIMARY KEY, fence bigint, channel text NOT NULL) WITH (fillfactor = 50)";
                    client.batch_execute(make).await?;
                }
                let join = "INSERT INTO floor (place, channel) VALUES ($1, $2)";
                let tell = "UPDATE floor SET fence = place WHERE place = $1 AND channel = $2 \
                            RETURNING pg_notify(channel, place::text)";
                (Some(client.prepare(join).await?), tell)
            }
        };
        Ok(Waiter {
            turns: self.clone(),
            tell: client.prepare(tell).await?,
            client,
            channel,
            join,
            told,
        })
    }
}

/// A connection, and the future that drives it and hands on what it is told.
async fn open(
    url: &str,
    tell: mpsc::UnboundedSender<String>,
) -> Outcome<(Client, impl Future<Output = ()> + Send + use<>)> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notification(notice) = message {
                let _ = tell.send(notice.payload().to_owned()); // nobody waits any more
            }
        }
    };
    Ok((client, driver))
}

/// The same on a thread of its own, which ends with the connection.
async fn on_a_thread(url: String, tell: mpsc::UnboundedSender<String>) -> Outcome<Client> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            match open(&url, tell).await {
                Ok((client, driver)) => {
                    let _ = sender.send(Ok(client));
                    driver.await;
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        });
    });
    receiver.await?
}

impl Waiter {
    /// Waits until it is this client's turn.
    pub(crate) async fn lock(&mut self) -> Outcome {
        let place = {
            let mut state = self.turns.state.lock().expect("no panic");
            state.joined += 1;
            state.joined
        };
        if let Some(join) = &self.join {
            self.client.execute(join, &[&place, &self.channel]).await?;
        }
        {
            let mut state = self.turns.state.lock().expect("no panic");
            if !std::mem::replace(&mut state.held, true) {
                return Ok(());
            }
            state.waiting.push_back((place, self.channel.clone()));
        }
        let told = self.told.recv().await.ok_or("the connection has ended")?;
        if told.parse() != Ok(place) {
            return Err(format!("told {told} while {place} waits").into());
        }
        Ok(())
    }

    /// Gives the key to the next in line.
    pub(crate) async fn unlock(&self) -> Outcome {
        let next = {
            let mut state = self.turns.state.lock().expect("no panic");
            let next = state.waiting.pop_front();
            state.held = next.is_some();
            next
        };
        if let Some((place, channel)) = next {
            let told = self.client.query(&self.tell, &[&place, &channel]).await?;
            if told.len() != 1 {
                return Err(format!("there is no {place} to tell").into());
            }
        }
        Ok(())
    }
}
