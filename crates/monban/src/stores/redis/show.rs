//! Showing what is there, and freeing it by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd, pipe};

use super::hub::Hub;
use super::link::Link;
use super::names::{self, Side};
use super::value::{self, At, Member};
use super::{faults, scripts};
use crate::contract::Release;
use crate::data::{Entry, EntryId, Error, Fence, Key, Mode, Result, Standing};

/// How many keys the server looks through in one step: other clients come between.
const STEP: usize = 1_000;
/// How many lines are asked for at once.
const LINES: usize = 100;

/// The lines of all keys with this prefix. The values of other programs are not read but for their beginning, and what
/// the server does not let this user see is left out.
pub(super) async fn inspect(hub: &Hub, prefix: &[u8]) -> Result<Vec<Entry>> {
    let link = hub.link().await?;
    let mut keys: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut orders = Scan::new(names::orders_like(prefix), "zset");
    while let Some(found) = orders.step(hub, &link).await? {
        let of = found.iter().filter_map(|order| names::key_of_order(order));
        keys.extend(of.map(<[u8]>::to_vec));
    }
    // What is no string is another program's, and not shown unless it is in the way of a line.
    let mut strings = Scan::new(names::keys_like(prefix), "string");
    while let Some(found) = strings.step(hub, &link).await? {
        keys.extend(ours(hub, &link, found).await?);
    }
    keys.insert(prefix.to_vec());
    let keys: Vec<(Key, Whole)> = keys
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .filter_map(|name| {
            let asked = name == prefix;
            let whole = if asked { Whole::Foreign } else { Whole::Ours };
            let key = Key::new(name).ok()?;
            names::check(&key).is_ok().then_some((key, whole))
        })
        .collect();
    let mut entries = Vec::new();
    for part in keys.chunks(LINES) {
        for ((key, _), line) in part.iter().zip(lines(hub, &link, part).await?) {
            match line {
                Ok(line) => entries.extend(line),
                // One line that cannot be read hides no other.
                Err(error @ Error::Rejected { .. }) => {
                    let what = format!("unreadable as a line ({error})");
                    entries.push(alien(key, EntryId::Unreadable(what.into()), None));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(entries)
}

/// The line of this key: one round trip, however many keys there are.
pub(super) async fn inspect_key(hub: &Hub, key: &Key) -> Result<Vec<Entry>> {
    names::check(key)?;
    let link = hub.link().await?;
    let mut line = lines(hub, &link, &[(key.clone(), Whole::Foreign)]).await?;
    line.pop()
        .unwrap_or_else(|| Err(faults::garbled(&link.name)))
}

/// Those of the names whose value begins as monban's do.
async fn ours(hub: &Hub, link: &Arc<Link>, names: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    if names.is_empty() {
        return Ok(names);
    }
    let mut beginnings = pipe();
    for name in &names {
        beginnings
            .cmd("GETRANGE")
            .arg(&name[..])
            .arg(0)
            .arg(value::MARK.len() - 1);
    }
    let answers = link.pipeline(&beginnings, hub.address.timeout).await?;
    let mut ours = Vec::new();
    for (name, answer) in names.into_iter().zip(answers) {
        match &answer {
            Value::BulkString(mark) if mark == value::MARK => ours.push(name),
            // A key of another's, or one that has changed its type meanwhile. That nothing may be read at all is said.
            Value::ServerError(error) if !is_of_key(error) => return Err(refused(link, answer)),
            _ => {}
        }
    }
    Ok(ours)
}

fn is_of_key(error: &redis::ServerError) -> bool {
    let of_rights = error
        .details()
        .is_some_and(|said| said.contains("to access"));
    error.code() == "WRONGTYPE" || of_rights
}

fn refused(link: &Link, answer: Value) -> Error {
    match link.checked(answer) {
        Err(error) => error,
        Ok(_) => faults::garbled(&link.name),
    }
}

/// Whether what is not monban's is shown: only for a key that was asked for by its whole name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Ours,
    Foreign,
}

/// Goes through all keys in steps (never KEYS, which stops the server for as long as it takes).
struct Scan {
    pattern: Vec<u8>,
    kind: &'static str,
    cursor: Option<Vec<u8>>,
}

impl Scan {
    fn new(pattern: Vec<u8>, kind: &'static str) -> Self {
        Self {
            pattern,
            kind,
            cursor: Some(b"0".to_vec()),
        }
    }

    /// The names that the next step finds; `None` after the last.
    async fn step(&mut self, hub: &Hub, link: &Arc<Link>) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let mut step = cmd("SCAN");
        step.arg(&cursor[..])
            .arg("MATCH")
            .arg(&self.pattern[..])
            .arg("COUNT")
            .arg(STEP)
            .arg("TYPE")
            .arg(self.kind);
        let answer = link.call(&step, hub.address.timeout).await?;
        let Value::Array(parts) = answer else {
            return Err(faults::garbled(&link.name));
        };
        let mut parts = parts.into_iter();
        let next = parts.next().and_then(value::bytes);
        let (Some(next), Some(Value::Array(names))) = (next, parts.next()) else {
            return Err(faults::garbled(&link.name));
        };
        self.cursor = (next != b"0").then_some(next);
        Ok(Some(names.into_iter().filter_map(value::bytes).collect()))
    }
}

/// What is at each of the keys, or why it cannot be read.
async fn lines(
    hub: &Hub,
    link: &Arc<Link>,
    keys: &[(Key, Whole)],
) -> Result<Vec<Result<Vec<Entry>>>> {
    let commands: Vec<Cmd> = keys.iter().map(|(key, whole)| look(key, *whole)).collect();
    let script = &scripts::INSPECT;
    let answers = hub.run_each(link, script, &commands, false).await?;
    let read = |((key, whole), answer): (&(Key, Whole), Result<Value>)| {
        let seen = Seen::read(answer.map_err(|error| error.of_key(key))?);
        let seen = seen.ok_or_else(|| faults::garbled(&link.name).of_key(key))?;
        Ok(seen.entries(key, *whole))
    };
    Ok(keys.iter().zip(answers).map(read).collect())
}

/// What is known of something that is not monban's.
fn alien(key: &Key, id: EntryId, expires_in: Option<Duration>) -> Entry {
    Entry {
        key: key.clone(),
        id,
        mode: None,
        standing: Standing::Foreign,
        claimant: None,
        age: None,
        expires_in,
        fence: None,
        seat: None,
    }
}

fn look(key: &Key, whole: Whole) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVALSHA").arg(scripts::INSPECT.hash()).arg(3);
    command
        .arg(key.as_bytes())
        .arg(Side::Order.of(key.as_bytes()))
        .arg(Side::Expiry.of(key.as_bytes()));
    command.arg(if whole == Whole::Foreign { "w" } else { "o" });
    command
}

/// What the script saw.
pub(super) struct Seen {
    kind: Vec<u8>,
    value: Vec<u8>,
    left: i64,
    now: i64,
    members: Vec<Placed>,
}

/// A member with where it stands.
struct Placed {
    member: Member,
    score: i64,
    dies: i64,
    seat: i64,
}

impl Seen {
    pub(super) fn read(answer: Value) -> Option<Self> {
        let Value::Array(parts) = answer else {
            return None;
        };
        let mut parts = parts.into_iter();
        let mut next = || parts.next();
        let (kind, value) = (value::bytes(next()?)?, value::bytes(next()?)?);
        let (left, now) = (value::int(next()?)?, value::int(next()?)?);
        let Value::Array(flat) = next()? else {
            return None;
        };
        let mut flat = flat.into_iter();
        let mut members = Vec::new();
        while let Some(text) = flat.next() {
            let (score, dies, seat) = (
                value::int(flat.next()?)?,
                value::int(flat.next()?)?,
                value::int(flat.next()?)?,
            );
            // A member of a later version's is not shown.
            if let Some(member) = Member::read(&value::bytes(text)?) {
                members.push(Placed {
                    member,
                    score,
                    dies,
                    seat,
                });
            }
        }
        Some(Self {
            kind,
            value,
            left,
            now,
            members,
        })
    }

    pub(super) fn entries(mut self, key: &Key, whole: Whole) -> Vec<Entry> {
        let now_ms = self.now / 1_000;
        let at = (self.kind != b"none").then(|| At::read(&self.value));
        let marked = matches!(at, Some(At::Marker { .. }));
        self.members
            .retain(|placed| placed.dies > now_ms && (placed.score > 0 || marked));
        // Holders first, the earliest of them first: theirs is the score nearest to zero.
        self.members
            .sort_by_key(|placed| (placed.score > 0, placed.score.saturating_abs()));
        let blocks = usize::from(at.is_some() && !marked);
        let mut entries = Vec::new();
        entries.extend(at.and_then(|at| self.at_key(key, at, whole)));
        for (ahead, placed) in self.members.iter().enumerate() {
            entries.push(self.in_line(key, placed, blocks + ahead));
        }
        entries
    }

    fn at_key(&self, key: &Key, at: At, whole: Whole) -> Option<Entry> {
        let expires_in = u64::try_from(self.left).ok().map(Duration::from_millis);
        let ours = |id, claimant, since, fence, standing| Entry {
            key: key.clone(),
            id: EntryId::Claim(id),
            mode: Some(Mode::Exclusive),
            standing,
            claimant,
            age: Some(value::micros(self.now.saturating_sub(since))),
            expires_in,
            fence: Some(fence),
            seat: None,
        };
        match at {
            At::Held {
                id,
                fence,
                claimant,
                since,
            } => Some(ours(id, claimant, since, fence, Standing::Holding)),
            At::Lingering {
                id,
                fence,
                claimant,
                since,
            } => Some(ours(id, claimant, since, fence, Standing::Lingering)),
            At::Marker { .. } => None,
            At::Foreign if whole == Whole::Ours && self.members.is_empty() => None,
            At::Foreign => Some(alien(key, self.foreign(), expires_in)),
        }
    }

    /// The value; for a key that is no string, which the store does not read, what it is.
    fn foreign(&self) -> EntryId {
        if self.kind == b"string" {
            return EntryId::Foreign(self.value.clone().into());
        }
        let kind = crate::data::printable(&self.kind);
        let end = if self.left < 0 {
            ", which never expires: free it by the program that wrote it"
        } else {
            ""
        };
        EntryId::Unreadable(format!("a {kind} of another program's{end}").into())
    }

    fn in_line(&self, key: &Key, placed: &Placed, ahead: usize) -> Entry {
        let holds = placed.score < 0;
        let mode = placed.member.mode;
        Entry {
            key: key.clone(),
            id: EntryId::Claim(placed.member.id),
            mode: Some(mode),
            standing: if holds {
                Standing::Holding
            } else {
                Standing::Waiting { ahead }
            },
            claimant: placed.member.claimant.clone(),
            age: Some(value::micros(
                self.now.saturating_sub(placed.score.saturating_abs()),
            )),
            expires_in: u64::try_from(placed.dies.saturating_sub(self.now / 1_000))
                .ok()
                .map(Duration::from_millis),
            fence: (holds && mode != Mode::Shared)
                .then(|| Fence::new(placed.score.saturating_abs()))
                .flatten(),
            seat: u32::try_from(placed.seat).ok(),
        }
    }
}

pub(super) async fn evict(hub: &Hub, entry: &Entry) -> Result<Release> {
    names::check(&entry.key)?;
    let (what, which) = match &entry.id {
        EntryId::Claim(id) => ("c", id.to_string().into_bytes()),
        EntryId::Foreign(value) => ("f", value.to_vec()),
        EntryId::Unreadable(what) => return Err(not_a_lock(&entry.key, what)),
    };
    let link = hub.link().await?;
    let mut command = Cmd::new();
    command
        .arg("EVALSHA")
        .arg(scripts::EVICT.hash())
        .arg(4)
        .arg(names::FENCE);
    command
        .arg(entry.key.as_bytes())
        .arg(Side::Order.of(entry.key.as_bytes()))
        .arg(Side::Expiry.of(entry.key.as_bytes()));
    command.arg(what).arg(which);
    let answer = hub
        .run(&link, &scripts::EVICT, &command, hub.address.timeout)
        .await;
    match answer.map_err(|error| error.of_key(&entry.key))? {
        Value::Int(0) => Ok(Release::Gone),
        Value::Int(1) => Ok(Release::Done),
        _ => Err(faults::garbled(&link.name)),
    }
}

fn not_a_lock(key: &Key, what: &str) -> Error {
    Error::unsupported(
        "redis",
        format!("{key} is {what}; only a lock of one string is freed by hand"),
    )
}
