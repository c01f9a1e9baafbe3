//! One key of a server for each lock: `SET NX PX`, a checked delete, a checked renewal; and what flaws make of them.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use monban::contract::{
    Attempt, Busy, Ends, Exclusion, Fencing, Grant, Guarantees, Liveness, Order, Reach, Release,
    Renewal, Store, Why,
};
use monban::data::{Barred, Claim, ClaimId, Entry, EntryId, Fence, Keep, Leave, Mode, Standing};
use monban::{Error, Key, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script, Value, cmd};
use tokio::sync::Mutex;

use super::{Flaw, Wall};

const PREFIX: &str = "naive:";
const FENCE: &str = "naive-fence";
const DELETE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
const RENEW: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";
/// Of the wall clock's lock: replace what was read, or nothing.
const SWAP: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('set', KEYS[1], ARGV[2]) return 1 end return 0";

/// A naive lock as a store.
#[derive(Debug)]
pub struct NaiveStore {
    flaw: Flaw,
    client: Client,
    wall: Wall,
    connection: Mutex<Option<MultiplexedConnection>>,
}

type Answer<T> = redis::RedisResult<T>;

impl NaiveStore {
    pub(super) fn new(flaw: Flaw, url: &str, wall: Wall) -> Result<Self> {
        let client = Client::open(url).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Self {
            flaw,
            client,
            wall,
            connection: Mutex::default(),
        })
    }

    async fn connection(&self) -> Answer<MultiplexedConnection> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_secs(4)))
            .set_connection_timeout(Some(Duration::from_secs(2)));
        let new = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        *slot = Some(new.clone());
        Ok(new)
    }

    /// Does one thing; a failed connection is made anew for the next.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(MultiplexedConnection) -> Answer<T>,
    ) -> Result<T> {
        let answer = match self.connection().await {
            Ok(connection) => work(connection).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *self.connection.lock().await = None;
                Err(Error::unavailable("naive", "the server did not answer").because(error))
            }
        }
    }

    async fn take(&self, claim: &Claim) -> Result<Attempt> {
        if claim.mode != Mode::Exclusive {
            return Err(Error::unsupported("naive", "it is exclusive only"));
        }
        let (key, value) = (name(&claim.key), self.value(claim));
        let before = Instant::now();
        let flaw = self.flaw;
        let now = self.wall.now();
        let ttl = self.server_ttl(claim.ttl);
        let taken = self
            .with(async move |mut c| {
                let taken = match flaw {
                    Flaw::TwoSteps => two_steps(&mut c, &key, &value, ttl).await?,
                    Flaw::NoTtl => set_nx(&mut c, &key, &value, None).await?,
                    Flaw::WallClock => by_wall_clock(&mut c, &key, &value, now).await?,
                    _ => set_nx(&mut c, &key, &value, Some(ttl)).await?,
                };
                if !taken {
                    // Its own from before, if a reply was lost; else somebody's.
                    let held: Option<String> = cmd("GET").arg(&key).query_async(&mut c).await?;
                    let ours = held.is_some_and(|held| owner(&held) == owner(&value));
                    if !ours || flaw == Flaw::WallClock {
                        return Ok(None);
                    }
                }
                let fence: i64 = cmd("INCR").arg(FENCE).query_async(&mut c).await?;
                Ok(Some(fence))
            })
            .await?;
        Ok(match taken {
            None => Attempt::Busy(busy()),
            Some(fence) => {
                let late = before.elapsed();
                let from_reply = flaw == Flaw::TtlFromReply;
                Attempt::Granted(Grant {
                    fence: Fence::new(fence),
                    seat: None,
                    ttl: Some(claim.ttl + if from_reply { late } else { Duration::ZERO }),
                    age: Duration::ZERO,
                    lost: None,
                })
            }
        })
    }

    /// What is asked of the server, in milliseconds.
    fn server_ttl(&self, ttl: Duration) -> u64 {
        let number = match self.flaw {
            Flaw::Nanoseconds => ttl.as_nanos(),
            _ => ttl.as_millis(),
        };
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    /// Who holds, and, by the wall clock, until when.
    fn value(&self, claim: &Claim) -> String {
        let ms = u64::try_from(claim.ttl.as_millis()).unwrap_or(u64::MAX);
        match self.flaw {
            Flaw::WallClock => format!("{} {}", claim.id, self.wall.now().saturating_add(ms)),
            _ => claim.id.to_string(),
        }
    }

    async fn keep(&self, claim: &Claim) -> Result<Renewal> {
        let (key, value) = (name(&claim.key), self.value(claim));
        let ttl = self.server_ttl(claim.ttl);
        let flaw = self.flaw;
        let kept = self
            .with(async move |mut c| match flaw {
                Flaw::NoTtl => {
                    let held: Option<String> = cmd("GET").arg(&key).query_async(&mut c).await?;
                    Ok(held.as_deref() == Some(&value))
                }
                Flaw::Recreates => {
                    let mut set = cmd("SET");
                    let set = set.arg(&key).arg(&value).arg("PX").arg(ttl);
                    set.query_async::<()>(&mut c).await?;
                    Ok(true)
                }
                Flaw::WallClock => {
                    let held: Option<String> = cmd("GET").arg(&key).query_async(&mut c).await?;
                    match held {
                        Some(held) if owner(&held) == owner(&value) => {
                            swap(&mut c, &key, &held, &value).await
                        }
                        _ => Ok(false),
                    }
                }
                _ => {
                    let script = Script::new(RENEW);
                    let mut call = script.key(&key);
                    call.arg(&value).arg(ttl).invoke_async(&mut c).await
                }
            })
            .await?;
        Ok(if kept { Renewal::Kept } else { Renewal::Lost })
    }

    async fn leave(&self, claim: &Claim) -> Result<Release> {
        let (key, value) = (name(&claim.key), self.value(claim));
        let flaw = self.flaw;
        let gone = self
            .with(async move |mut c| match flaw {
                Flaw::NoOwnerCheck => cmd("DEL").arg(&key).query_async(&mut c).await,
                Flaw::WallClock => {
                    let held: Option<String> = cmd("GET").arg(&key).query_async(&mut c).await?;
                    match held {
                        Some(held) if owner(&held) == owner(&value) => {
                            let script = Script::new(DELETE);
                            script.key(&key).arg(&held).invoke_async(&mut c).await
                        }
                        _ => Ok(false),
                    }
                }
                _ => {
                    let script = Script::new(DELETE);
                    script.key(&key).arg(&value).invoke_async(&mut c).await
                }
            })
            .await?;
        Ok(if gone { Release::Done } else { Release::Gone })
    }
}

fn name(key: &Key) -> String {
    format!("{PREFIX}{key}")
}

/// Of `ID` or `ID EXPIRY`.
fn owner(value: &str) -> &str {
    value.split(' ').next().unwrap_or(value)
}

async fn set_nx(
    c: &mut MultiplexedConnection,
    key: &str,
    value: &str,
    ttl: Option<u64>,
) -> Answer<bool> {
    let mut set = cmd("SET");
    set.arg(key).arg(value).arg("NX");
    if let Some(ttl) = ttl {
        set.arg("PX").arg(ttl);
    }
    let answer: Value = set.query_async(c).await?;
    Ok(answer == Value::Okay)
}

async fn two_steps(
    c: &mut MultiplexedConnection,
    key: &str,
    value: &str,
    ttl: u64,
) -> Answer<bool> {
    let held: Option<String> = cmd("GET").arg(key).query_async(c).await?;
    if held.is_some() {
        return Ok(false);
    }
    let mut set = cmd("SET");
    let set = set.arg(key).arg(value).arg("PX").arg(ttl);
    set.query_async::<()>(c).await?;
    Ok(true)
}

async fn by_wall_clock(
    c: &mut MultiplexedConnection,
    key: &str,
    value: &str,
    now: u64,
) -> Answer<bool> {
    if set_nx(c, key, value, None).await? {
        return Ok(true);
    }
    let held: Option<String> = cmd("GET").arg(key).query_async(c).await?;
    let Some(held) = held else {
        return Ok(false);
    };
    let ends: u64 = held
        .split(' ')
        .nth(1)
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(0);
    if ends >= now {
        return Ok(false);
    }
    swap(c, key, &held, value).await
}

async fn swap(c: &mut MultiplexedConnection, key: &str, old: &str, new: &str) -> Answer<bool> {
    let script = Script::new(SWAP);
    script.key(key).arg(old).arg(new).invoke_async(c).await
}

fn busy() -> Busy {
    Busy {
        ahead: None,
        why: Why::Held,
        who: None,
        held_for: None,
        free_in: None,
        ends: Ends::Unknown,
        changed: None,
    }
}

#[async_trait]
impl Store for NaiveStore {
    async fn open(&self) -> Result<Guarantees> {
        self.with(async |mut c| cmd("PING").query_async::<()>(&mut c).await)
            .await?;
        Ok(Guarantees {
            store: "naive",
            exclusion: Exclusion::SinglePrimary,
            order: Order::Any,
            liveness: Liveness::Ttl,
            fencing: Fencing::WhileDataLives,
            permits: false,
            linger: false,
            release_by_hand: true,
        })
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let mut answers = Vec::new();
        for claim in claims {
            answers.push(self.take(claim).await);
        }
        answers
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        let mut answers = Vec::new();
        for keep in keeping {
            answers.push(self.keep(&keep.claim).await);
        }
        answers
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        let mut answers = Vec::new();
        for leave in leaving {
            answers.push(self.leave(&leave.claim).await);
        }
        answers
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        let key = name(&entry.key);
        let gone: bool = self
            .with(async move |mut c| cmd("DEL").arg(&key).query_async(&mut c).await)
            .await?;
        Ok(if gone { Release::Done } else { Release::Gone })
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        let pattern = format!("{PREFIX}{}*", String::from_utf8_lossy(prefix));
        let found: Vec<(String, Option<String>)> = self
            .with(async move |mut c| {
                let keys: Vec<String> = cmd("KEYS").arg(&pattern).query_async(&mut c).await?;
                let mut found = Vec::new();
                for key in keys {
                    let value = cmd("GET").arg(&key).query_async(&mut c).await?;
                    found.push((key, value));
                }
                Ok(found)
            })
            .await?;
        let entry = |(key, value): (String, Option<String>)| {
            let id = EntryId::Claim(ClaimId::parse(owner(&value?))?);
            Some(Entry {
                key: Key::new(key.strip_prefix(PREFIX)?).ok()?,
                id,
                mode: Some(Mode::Exclusive),
                standing: Standing::Holding,
                claimant: None,
                age: None,
                expires_in: None,
                fence: None,
                seat: None,
            })
        };
        Ok(found.into_iter().filter_map(entry).collect())
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let mut entries = self.inspect(key.as_bytes()).await?;
        entries.retain(|entry| entry.key == *key);
        Ok(entries)
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn barred(&self, _: &[u8]) -> Result<Vec<Barred>> {
        Ok(Vec::new())
    }

    fn told(&self, _: &Claim) -> Option<Grant> {
        None
    }

    fn trouble(&self) -> Option<Error> {
        None
    }

    async fn close(&self) {}
}
