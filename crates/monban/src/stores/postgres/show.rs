//! Showing what is there, and freeing it by hand.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::call::LOCKED;
use super::hub::Hub;
use super::link::{Link, Value};
use super::{faults, names, sql};
use crate::contract::Release;
use crate::data::{Barred, ClaimId, Claimant, Entry, EntryId, Fence, Key, Mode, Result, Standing};
use crate::rule::backoff::Jitter;

pub(super) async fn inspect(hub: &Hub, prefix: &[u8]) -> Result<Vec<Entry>> {
    rows_from(hub, &sql::SHOW, (prefix, end_of(prefix)), entry).await
}

pub(super) async fn inspect_key(hub: &Hub, key: &Key) -> Result<Vec<Entry>> {
    // The next of all keys is this one with a zero behind it.
    let end = [key.as_bytes(), &[0]].concat();
    rows_from(hub, &sql::SHOW, (key.as_bytes(), Some(end)), entry).await
}

/// The keys that begin so of which a transaction bars the next grant.
pub(super) async fn barred(hub: &Hub, prefix: &[u8]) -> Result<Vec<Barred>> {
    rows_from(hub, &sql::BARRED, (prefix, end_of(prefix)), bar).await
}

/// What a function shows of the keys from the first to before the other one.
async fn rows_from<T>(
    hub: &Hub,
    verb: &'static sql::Verb,
    (first, end): (&[u8], Option<Vec<u8>>),
    read: impl Fn(&Row) -> Option<T>,
) -> Result<Vec<T>> {
    let link = hub.link().await?;
    let values: [Value<'_>; 2] = [&first, &end];
    let rows = link.call(verb, &values, hub.address.timeout).await;
    let rows = link.noticing(rows)?;
    let read = |row| read(row).ok_or_else(|| faults::garbled(&link.name));
    rows.iter().map(read).collect()
}

fn bar(row: &Row) -> Option<Barred> {
    let age: Option<i64> = row.try_get(2).ok()?;
    let end: Option<&str> = row.try_get(3).ok()?;
    Some(Barred {
        key: Key::new(row.try_get::<_, &[u8]>(0).ok()?).ok()?,
        by: row.try_get::<_, &str>(1).ok()?.into(),
        age: age.map(names::duration),
        end: end.map(Into::into),
    })
}

/// For how long nothing is granted after a crash of the server.
pub(super) async fn recovers_in(hub: &Hub) -> Result<Option<Duration>> {
    let link = hub.link().await?;
    let rows = link.call(&sql::OPENS_IN, &[], hub.address.timeout).await;
    let rows = link.noticing(rows)?;
    let micros: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
    let micros = micros.ok_or_else(|| faults::garbled(&link.name))?;
    Ok((micros > 0).then(|| names::duration(micros)))
}

/// The first key that does not begin with the prefix any more and comes after those that do; none if there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn entry(row: &Row) -> Option<Entry> {
    let mode = names::mode(row.try_get(3).ok()?, row.try_get(2).ok()?)?;
    let standing: i8 = row.try_get(4).ok()?;
    let ahead: i64 = row.try_get(5).ok()?;
    let fence: Option<i64> = row.try_get(8).ok()?;
    let seat: Option<i32> = row.try_get(9).ok()?;
    let claimant: Option<&str> = row.try_get(10).ok()?;
    let standing = match standing.cast_unsigned() {
        b'h' => Standing::Holding,
        b'l' => Standing::Lingering,
        _ => Standing::Waiting {
            ahead: usize::try_from(ahead).ok()?,
        },
    };
    Some(Entry {
        key: Key::new(row.try_get::<_, &[u8]>(0).ok()?).ok()?,
        id: EntryId::Claim(ClaimId::from_bytes(row.try_get(1).ok()?)?),
        mode: Some(mode),
        standing,
        claimant: claimant.and_then(Claimant::parse),
        age: Some(names::duration(row.try_get(6).ok()?)),
        expires_in: Some(names::duration(row.try_get(7).ok()?)),
        fence: (mode != Mode::Shared)
            .then(|| fence.and_then(Fence::new))
            .flatten(),
        seat: seat.and_then(|seat| u32::try_from(seat).ok()),
    })
}

pub(super) async fn evict(hub: &Hub, entry: &Entry) -> Result<Release> {
    let EntryId::Claim(id) = &entry.id else {
        return Ok(Release::Gone); // there is nobody here but monban
    };
    let link = hub.link().await?;
    let id = id.to_bytes();
    let rows = evict_from(hub, &link, entry.key.as_bytes(), &id).await;
    let rows = rows.map_err(|error| error.of_key(&entry.key))?;
    match rows.first().and_then(|row| row.try_get::<_, i8>(0).ok()) {
        Some(what) if what.cast_unsigned() == b'd' => Ok(Release::Done),
        Some(_) => Ok(Release::Gone),
        None => Err(faults::garbled(&link.name)),
    }
}

/// Asks until the row is free, or the time is over that an answer may take.
async fn evict_from(hub: &Hub, link: &Arc<Link>, key: &[u8], id: &[u8]) -> Result<Vec<Row>> {
    let started = hub.clock.now();
    let mut jitter = Jitter::new();
    let values: [Value<'_>; 2] = [&key, &id];
    loop {
        let asked = link.raw(&sql::EVICT, &values, hub.address.timeout).await;
        match link.noticing(asked)? {
            Ok(rows) => return Ok(rows),
            Err(error) if faults::is_in_the_way(&error) => {}
            Err(error) => return Err(faults::of(error, &link.name)),
        }
        let waited = hub.clock.now().since(started);
        if waited >= hub.address.timeout {
            return Err(faults::locked(&link.name, waited));
        }
        tokio::time::sleep(jitter.up_to(LOCKED)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(end_of(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(end_of(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(end_of(b"\xff"), None);
        assert_eq!(end_of(b""), None);
    }
}
