//! Showing what is there, and freeing it by hand.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::faults::{self, Trouble};
use super::hub::{Doubt, Tries};
use super::proto::{
    KeyValue, LeaseTimeToLiveRequest, RangeRequest, Response, TxnRequest, TxnResponse,
};
use super::sight::{Ours, Place, Sight};
use super::value::State;
use super::{Core, names, ops};
use crate::contract::Release;
use crate::data::{Entry, EntryId, Error, Fence, Key, Mode, Result, Standing};

/// How many keys are read in one step.
const STEP: i64 = 1_000;
/// Leases that are asked for their time; what there is beyond is shown without it.
const LEASES: usize = 1_000;

pub(super) async fn inspect(core: &Core, prefix: &[u8]) -> Result<Vec<Entry>> {
    let mut lines: BTreeMap<Key, Sight> = BTreeMap::new();
    for kv in read(core, prefix).await? {
        let Some((name, _)) = names::part(core.prefix(), &kv.key) else {
            continue;
        };
        let Ok(key) = Key::new(name) else { continue };
        let line = names::line(core.prefix(), &key);
        if key.as_bytes().starts_with(prefix)
            && let Some(place) = Place::read(kv, &line)
        {
            lines.entry(key).or_default().places.push(place);
        }
    }
    let mut times = Times {
        core,
        of: HashMap::new(),
    };
    let mut entries = Vec::new();
    for (key, mut sight) in lines {
        sight.places.sort_by_key(|place| place.create);
        let ours = sight.places.iter().any(|place| place.ours.is_some());
        let asked = key.as_bytes() == prefix;
        for (at, place) in sight.places.iter().enumerate() {
            if ours || asked || is_a_lock(place) {
                let expires_in = times.left(place).await?;
                entries.push(entry(core, &key, &sight, at, expires_in));
            }
        }
    }
    Ok(entries)
}

/// All keys below the prefix, as of one revision, in steps.
async fn read(core: &Core, prefix: &[u8]) -> Result<Vec<KeyValue>> {
    let start = [core.prefix(), prefix].concat();
    let end = names::end(&start);
    let mut request = RangeRequest {
        // The range of all keys is written with zeros.
        key: if start.is_empty() { vec![0] } else { start },
        range_end: if end.is_empty() { vec![0] } else { end },
        limit: STEP,
        ..RangeRequest::default()
    };
    let mut found: Vec<KeyValue> = Vec::new();
    loop {
        let within = core.hub.address.timeout;
        let answer = core.hub.ask(&request, within, Tries::Many).await?;
        let more = answer.more;
        found.extend(answer.kvs);
        match found.last() {
            Some(last) if more => request.key = [&last.key[..], &[0]].concat(),
            _ => return Ok(found),
        }
        if request.revision == 0 {
            request.revision = answer.header.map_or(0, |header| header.revision);
        }
    }
}

/// Whether a foreign key is one that Go's package, or `etcdctl lock`, has made: it is called as its lease.
fn is_a_lock(place: &Place) -> bool {
    let last = place.name.rsplit(|byte| *byte == b'/').next();
    place.lease != 0 && last == Some(format!("{:x}", place.lease).as_bytes())
}

/// How long leases live.
struct Times<'a> {
    core: &'a Core,
    of: HashMap<i64, Option<Duration>>,
}

impl Times<'_> {
    async fn left(&mut self, place: &Place) -> Result<Option<Duration>> {
        let ours = place.ours.as_ref();
        if let Some(left) = ours.and_then(|ours| self.core.table.left(&ours.id)) {
            return Ok(Some(left));
        }
        let lease = place.lease;
        if lease == 0 {
            return Ok(None);
        }
        let left = match self.of.get(&lease) {
            Some(left) => *left,
            None if self.of.len() >= LEASES => None,
            None => {
                let left = self.ask(lease).await?;
                self.of.insert(lease, left);
                left
            }
        };
        // A lease lives longer than the claims under it.
        let most = place.lives().unwrap_or(Duration::MAX);
        Ok(left.map(|left| left.min(most)))
    }

    async fn ask(&self, lease: i64) -> Result<Option<Duration>> {
        let request = LeaseTimeToLiveRequest {
            id: lease,
            keys: false,
        };
        let hub = &self.core.hub;
        match hub.ask(&request, hub.address.timeout, Tries::Many).await {
            Ok(answer) => Ok(u64::try_from(answer.ttl).ok().map(Duration::from_secs)),
            Err(Trouble::LeaseGone) => Ok(Some(Duration::ZERO)),
            Err(trouble) => Err(trouble.into()),
        }
    }
}

fn entry(core: &Core, key: &Key, sight: &Sight, at: usize, expires_in: Option<Duration>) -> Entry {
    let place = &sight.places[at];
    let holds = sight.fits(place.mode(), at);
    let waiting = Standing::Waiting { ahead: at };
    let Some(Ours { id, mode, .. }) = &place.ours else {
        return Entry {
            key: key.clone(),
            id: EntryId::Foreign(foreign_id(core, key, place)),
            mode: None,
            standing: if holds { Standing::Foreign } else { waiting },
            claimant: None,
            age: None,
            expires_in,
            fence: None,
            seat: None,
        };
    };
    let (standing, fence, seat) = match (place.state(), mode) {
        (State::Lingering, _) => (Standing::Lingering, None, None),
        _ if !holds => (waiting, None, None),
        (State::Seated(seat), _) => (Standing::Holding, Some(place.modified), Some(seat)),
        (State::InLine, Mode::Exclusive) => (Standing::Holding, Some(place.create), None),
        (State::InLine, _) => (Standing::Holding, None, None),
    };
    Entry {
        key: key.clone(),
        id: EntryId::Claim(*id),
        mode: Some(*mode),
        standing,
        claimant: place.claimant(),
        age: None,
        expires_in,
        fence: fence.and_then(Fence::new),
        seat,
    }
}

/// The last part of its name and the revision that it is there since.
fn foreign_id(core: &Core, key: &Key, place: &Place) -> Box<[u8]> {
    let line = names::line(core.prefix(), key);
    let last = &place.name[line.len()..];
    [last, format!("@{}", place.create).as_bytes()]
        .concat()
        .into()
}

pub(super) async fn evict(core: &Core, entry: &Entry) -> Result<Release> {
    let line = names::line(core.prefix(), &entry.key);
    let request = match &entry.id {
        EntryId::Claim(id) => {
            let Some(mode) = entry.mode else {
                return Ok(Release::Gone);
            };
            let place = names::place_of(core.prefix(), &entry.key, mode, id);
            TxnRequest {
                success: vec![ops::delete(&place)],
                ..TxnRequest::default()
            }
        }
        // Never shown by this store.
        EntryId::Unreadable(_) => return Ok(Release::Gone),
        EntryId::Foreign(id) => {
            let Some((last, create)) = read_foreign(id) else {
                return Ok(Release::Gone);
            };
            let place = [&line[..], last].concat();
            TxnRequest {
                compare: vec![ops::since(&place, create)],
                success: vec![ops::delete(&place)],
                failure: Vec::new(),
            }
        }
    };
    let within = core.hub.address.timeout;
    let mut doubt = Doubt::None;
    let answer = core
        .hub
        .send(&request, within, Tries::Many, &mut doubt)
        .await;
    let answer = answer.map_err(|trouble| Error::from(trouble).of_key(&entry.key))?;
    match (deleted(&answer), doubt) {
        (0, Doubt::Some) => {
            // The first of several tries may have done it.
            Err(faults::unavailable(
                "whether it was freed is not known".to_owned(),
            ))
        }
        (0, Doubt::None) => Ok(Release::Gone),
        _ => Ok(Release::Done),
    }
}

fn deleted(answer: &TxnResponse) -> i64 {
    let deleted = answer.responses.iter().map(|op| match &op.response {
        Some(Response::Delete(delete)) => delete.deleted,
        _ => 0,
    });
    deleted.sum()
}

fn read_foreign(id: &[u8]) -> Option<(&[u8], i64)> {
    let at = id.iter().rposition(|byte| *byte == b'@')?;
    let create = std::str::from_utf8(&id[at + 1..]).ok()?.parse().ok()?;
    let last = &id[..at];
    (create > 0 && !last.contains(&b'/')).then_some((last, create))
}
