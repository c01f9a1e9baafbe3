//! Ways to take a key: monban's, the bare two round trips, the same with monban's scripts, a Rake task's guard, and
//! rslock's.

use std::env;
use std::time::{Duration, Instant};

use interop::Outcome;
use monban::{Lease, Locks, Options};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{IntoConnectionInfo, Script, cmd};
use rslock::LockManager;

use crate::scripted::Scripted;

/// How long `raw` and `rake` pause between two tries, if nobody says.
const PAUSE: Duration = Duration::from_millis(20);

/// A connected client.
#[derive(Clone)]
pub(crate) enum Kind {
    Monban(Locks),
    Raw(Raw),
    Scripted(Scripted),
    Rake(Raw),
    Rslock(LockManager, Duration),
}

/// One multiplexed connection and a token for this process.
#[derive(Clone)]
pub(crate) struct Raw {
    connection: MultiplexedConnection,
    free: Script,
    retry: Duration,
}

/// For how long to wait for a key.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Duration),
}

pub(crate) enum Taken {
    Held(Held),
    Busy(&'static str),
}

/// A key that is held.
pub(crate) enum Held {
    Monban(Lease),
    Raw(Raw, String, String),
    Scripted(Box<Scripted>, String, String),
    Rake(Raw, String),
    Rslock(LockManager, rslock::Lock),
}

impl Kind {
    pub(crate) async fn connect(name: &str, port: &str, retry: Option<Duration>) -> Outcome<Self> {
        let url = format!("redis://127.0.0.1:{port}");
        Ok(match name {
            "monban" => {
                let option = env::var("INTEROP_OPTION").unwrap_or_default();
                Self::Monban(Locks::connect(&format!("{url}{option}")).await?)
            }
            "monban-on-etcd" => {
                Self::Monban(Locks::connect(&format!("etcd://127.0.0.1:{port}")).await?)
            }
            "raw" => Self::Raw(Raw::connect(&url, retry).await?),
            "raw-with-our-scripts" => {
                Self::Scripted(Scripted::over(Raw::connect(&url, retry).await?.connection))
            }
            "rake" => Self::Rake(Raw::connect(&url, retry).await?),
            "rslock" => {
                let mut manager = LockManager::new(vec![url]);
                // Its own pause; its own three tries are counted here, where the limit is one of time.
                let retry = retry.unwrap_or(Duration::from_millis(200));
                manager.set_retry(1, Duration::ZERO);
                Self::Rslock(manager, retry)
            }
            other => return Err(format!("no kind is called {other}").into()),
        })
    }

    /// Takes a key; waits as long as is said.
    pub(crate) async fn take(
        &self,
        key: &str,
        ttl: Duration,
        patience: Patience,
    ) -> Outcome<Taken> {
        if let Self::Monban(locks) = self {
            return by_monban(locks, key, ttl, patience).await;
        }
        let start = Instant::now();
        loop {
            if let Some(held) = self.attempt(key, ttl).await? {
                return Ok(Taken::Held(held));
            }
            let Patience::Until(limit) = patience else {
                return Ok(Taken::Busy(""));
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Taken::Busy(""));
            }
            tokio::time::sleep(self.pause().min(left)).await;
        }
    }

    async fn attempt(&self, key: &str, ttl: Duration) -> Outcome<Option<Held>> {
        Ok(match self {
            Self::Monban(_) => return Err("monban waits by itself".into()),
            Self::Raw(raw) => {
                let token = raw.token();
                let set = raw.set(key, &token, "PX", ttl.as_millis()).await?;
                set.then(|| Held::Raw(raw.clone(), key.to_owned(), token))
            }
            Self::Scripted(scripted) => {
                let value = scripted.take(key, ttl).await?;
                value.map(|value| Held::Scripted(Box::new(scripted.clone()), key.to_owned(), value))
            }
            Self::Rake(raw) => {
                let seconds = ttl.as_secs().max(1);
                let set = raw.set(key, "1", "EX", seconds.into()).await?;
                set.then(|| Held::Rake(raw.clone(), key.to_owned()))
            }
            Self::Rslock(manager, _) => match manager.lock(key, ttl).await {
                Ok(lock) => Some(Held::Rslock(manager.clone(), lock)),
                Err(rslock::LockError::Unavailable) => None,
                Err(error) => return Err(error.into()),
            },
        })
    }

    /// As the client itself pauses: rslock for a random part of its delay.
    fn pause(&self) -> Duration {
        match self {
            Self::Monban(_) | Self::Scripted(_) => PAUSE,
            Self::Raw(raw) | Self::Rake(raw) => raw.retry,
            Self::Rslock(_, retry) => retry.mul_f64(chance()),
        }
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    crate::work::now().rem_euclid(1000) as f64 / 1000.0
}

async fn by_monban(locks: &Locks, key: &str, ttl: Duration, patience: Patience) -> Outcome<Taken> {
    let mutex = locks.mutex(key)?.with(Options::new().ttl(ttl))?;
    let Patience::Until(limit) = patience else {
        return Ok(match mutex.try_lock_or_busy().await? {
            Ok(lease) => Taken::Held(Held::Monban(lease)),
            Err(busy) => Taken::Busy(match busy.why {
                monban::contract::Why::Held => "held",
                monban::contract::Why::Queued => "queued",
                monban::contract::Why::Lingering => "lingering",
                monban::contract::Why::Foreign => "foreign",
                monban::contract::Why::Recovering => "recovering",
                monban::contract::Why::Barred => "barred",
            }),
        });
    };
    match mutex.lock().within(limit).await {
        Ok(lease) => Ok(Taken::Held(Held::Monban(lease))),
        Err(monban::Error::TimedOut { .. }) => Ok(Taken::Busy("late")),
        Err(error) => Err(error.into()),
    }
}

impl Raw {
    async fn connect(url: &str, retry: Option<Duration>) -> Outcome<Self> {
        // Off by default there; with it the floor would be a floor of Nagle's algorithm.
        let settings = TcpSettings::default().set_nodelay(true);
        let info = url.into_connection_info()?.set_tcp_settings(settings);
        let client = redis::Client::open(info)?;
        Ok(Self {
            connection: client.get_multiplexed_async_connection().await?,
            free: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
            ),
            retry: retry.unwrap_or(PAUSE),
        })
    }

    fn token(&self) -> String {
        format!("{:x}-{:x}", std::process::id(), crate::work::now())
    }

    async fn set(&self, key: &str, value: &str, unit: &str, ttl: u128) -> Outcome<bool> {
        let mut command = cmd("SET");
        command
            .arg(key)
            .arg(value)
            .arg("NX")
            .arg(unit)
            .arg(ttl.to_string());
        let answer: Option<String> = command.query_async(&mut self.connection.clone()).await?;
        Ok(answer.is_some())
    }
}

impl Held {
    /// Frees the key; whether it was its own until now.
    pub(crate) async fn release(self) -> Outcome<bool> {
        Ok(match self {
            Self::Monban(lease) => match lease.release().await {
                Ok(()) => true,
                Err(monban::Error::Lost { .. }) => false,
                Err(error) => return Err(error.into()),
            },
            Self::Raw(raw, key, token) => {
                let mut connection = raw.connection.clone();
                let freed: i32 = raw
                    .free
                    .key(key)
                    .arg(token)
                    .invoke_async(&mut connection)
                    .await?;
                freed == 1
            }
            Self::Scripted(scripted, key, value) => scripted.free(&key, &value).await?,
            Self::Rake(raw, key) => {
                let mut connection = raw.connection.clone();
                let freed: i32 = cmd("DEL").arg(key).query_async(&mut connection).await?;
                freed == 1
            }
            Self::Rslock(manager, lock) => {
                // It does not say whether there was anything to free.
                manager.unlock(&lock).await;
                true
            }
        })
    }
}
