//! Listing who holds and who waits. For people and tests: nothing is decided, and no key disturbed.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::fs::FlockOperation;

use super::dir::{Dir, Place as At};
use super::fault::failed;
use super::kernel::{self, Lock};
use super::line::{Line, Place, Standing as Standing_};
use super::lockfile::LockFile;
use super::name::{Meaning, Name, meaning};
use super::patience;
use super::record::{Content, Record, State};
use crate::data::{Entry, EntryId, Keep, Key, Mode, Result, Standing};

/// A lock without a claim is looked at again after these: monban itself is seen so for an instant, between
/// taking a lock and writing its record, and between clearing the record and letting go.
const PAUSES: [Duration; 3] = [
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(4),
];
/// And after these, if its process is in line, or had the key just before.
const LONGER_PAUSES: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(150),
];

/// The live claims of all keys that begin with `prefix`.
///
/// A key whose line is refused is left out, so that it hides no other; it is an error if `prefix` is that key.
pub(super) fn inspect(dir: &Dir, prefix: &[u8]) -> Result<Vec<Entry>> {
    let mut all = BTreeMap::new();
    let mut bases = bases(dir)?;
    for round in 0.. {
        let locks = kernel::locks();
        let mut again = Vec::new();
        for base in bases {
            let Some((key, name, lock)) = key_of(dir, &base)? else {
                continue;
            };
            if !key.as_bytes().starts_with(prefix) {
                continue;
            }
            match of_key(dir, &key, &name, &lock, &locks) {
                Ok((entries, doubt)) => {
                    all.insert(key, entries);
                    again.extend(Some((base, doubt)).filter(|(_, doubt)| *doubt > Doubt::None));
                }
                Err(error) if error.is_transient() || key.as_bytes() == prefix => {
                    return Err(error.of_key(&key));
                }
                // What an earlier round saw of it is in doubt.
                Err(_) => _ = all.remove(&key),
            }
        }
        let (pause, least) = match round {
            0..=2 => (PAUSES.get(round), Doubt::Little),
            _ => (LONGER_PAUSES.get(round - 3), Doubt::Much),
        };
        again.retain(|(_, doubt)| *doubt >= least);
        let Some(pause) = pause.filter(|_| !again.is_empty()) else {
            break;
        };
        std::thread::sleep(*pause);
        bases = again.into_iter().map(|(base, _)| base).collect();
    }
    Ok(all.into_values().flatten().collect())
}

/// Whether a lock that no claim explains may be monban's after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    Little,
    /// Its process is in line, or had the key just before.
    Much,
}

/// The names of all lock files, without what they end in.
fn bases(dir: &Dir) -> Result<Vec<String>> {
    let failed = |e| failed("list", &dir.path, e);
    let mut bases = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir.root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let base = entry.file_name().to_str().ok();
        bases.extend(
            base.and_then(|name| name.strip_suffix(".lock"))
                .map(str::to_owned),
        );
    }
    Ok(bases)
}

/// The key of a file, and the file; `None` if it is not the file of any key, or is gone by now.
fn key_of(dir: &Dir, base: &str) -> Result<Option<(Key, Name, LockFile)>> {
    let hashed = match meaning(base) {
        Meaning::Nothing => return Ok(None),
        Meaning::Hashed => true,
        Meaning::Key(_) => false,
    };
    let name = Name {
        base: base.to_owned(),
        hashed,
    };
    let file = name.lock();
    let is_file = dir
        .stat(At::Root, &file)?
        .is_some_and(|stat| dir.check(At::Root, &file, &stat).unwrap_or(false));
    let Some(fd) = (if is_file {
        dir.look_at(At::Root, &file)?
    } else {
        None
    }) else {
        return Ok(None);
    };
    let lock = LockFile {
        fd,
        path: dir.path.join(file),
        inode: 0,
    };
    let key = match meaning(base) {
        Meaning::Key(key) => Some(key),
        _ => match lock.content(dir, &name) {
            Content::Record(record) => record.key.filter(|key| Name::of(key) == name),
            _ => None,
        },
    };
    Ok(key.map(|key| (key, name, lock)))
}

fn of_key(
    dir: &Dir,
    key: &Key,
    name: &Name,
    lock: &LockFile,
    locks: &[Lock],
) -> Result<(Vec<Entry>, Doubt)> {
    let stat = rustix::fs::fstat(&lock.fd).map_err(|e| failed("look at", &lock.path, e))?;
    let line = Line::open(dir, name)?;
    let mut waiting = Vec::new();
    let mut sharing = Vec::new(); // processes that hold in the line
    let mut close = Vec::new(); // processes that have, or had, to do with the key
    if let Some(line) = &line {
        for place in line.places()? {
            if line.is_alive(&place)? {
                let record = line.record(&place);
                let pid = record.as_ref().map(|record| record.pid);
                match place.standing {
                    Standing_::Waits => close.extend(pid),
                    Standing_::Holds(_) => sharing.extend(pid),
                }
                waiting.push((place, record));
            }
        }
    }
    let known: Vec<_> = locks.iter().filter(|l| l.is_of(dir, &stat)).collect();
    let record = lock.content(dir, name).record();
    close.extend(record.as_ref().map(|record| record.pid));
    let mut doubt = Doubt::None;
    let mut entries = match record.filter(|record| is_in_force(dir, record, lock, &known)) {
        Some(record) => vec![of_record(dir, key, &record)],
        // Programs that are not monban.
        None => known
            .iter()
            .filter(|l| !sharing.contains(&l.pid))
            .inspect(|l| {
                doubt = doubt.max(match close.contains(&l.pid) {
                    true => Doubt::Much,
                    false => Doubt::Little,
                });
            })
            .map(|l| of_foreign(key, l))
            .collect(),
    };
    for (place, record) in waiting {
        let entry = of_place(dir, key, &place, record.as_ref(), entries.len());
        entries.push(entry);
    }
    Ok((entries, doubt))
}

/// Whether a claim holds by this grant, whoever made it.
pub(super) fn holds(dir: &Dir, keep: &Keep) -> Result<bool> {
    let (key, id) = (&keep.claim.key, EntryId::Claim(keep.claim.id));
    let name = Name::of(key);
    let Some((_, _, lock)) = key_of(dir, &name.base)? else {
        return Ok(false);
    };
    let (entries, _) = of_key(dir, key, &name, &lock, &kernel::locks())?;
    Ok(entries.iter().any(|entry| {
        entry.id == id && entry.standing == Standing::Holding && entry.fence == keep.fence
    }))
}

/// Whether a record says who has the lock alone, or whose place a linger keeps.
fn is_in_force(dir: &Dir, record: &Record, lock: &LockFile, known: &[&Lock]) -> bool {
    match record.state {
        State::Lingering(_) => record.lingers(&dir.boot).is_some(),
        State::Held => {
            let listed = known.iter().any(|l| l.alone && l.pid == record.pid);
            // The list hides processes of other containers; their lock shows itself.
            listed || (known.is_empty() && is_locked(lock))
        }
        State::Free | State::Waiting => false,
    }
}

/// Whether somebody has the lock alone. It takes the lock for an instant: only where it seems to be taken.
fn is_locked(lock: &LockFile) -> bool {
    let how = FlockOperation::NonBlockingLockShared;
    match patience::try_take(lock.fd.as_fd(), how, &lock.path) {
        Ok(true) => {
            lock.unlock();
            false
        }
        _ => true,
    }
}

fn of_record(dir: &Dir, key: &Key, record: &Record) -> Entry {
    let standing = match record.state {
        State::Lingering(_) => Standing::Lingering,
        _ => Standing::Holding,
    };
    Entry {
        key: key.clone(),
        id: EntryId::Claim(record.id),
        mode: Some(Mode::Exclusive),
        standing,
        claimant: Some(record.claimant.clone()),
        age: Some(record.age(&dir.boot)),
        expires_in: record.lingers(&dir.boot),
        fence: record.fence,
        seat: None,
    }
}

fn of_place(dir: &Dir, key: &Key, place: &Place, record: Option<&Record>, ahead: usize) -> Entry {
    let (standing, seat) = match place.standing {
        Standing_::Waits => (Standing::Waiting { ahead }, None),
        Standing_::Holds(seat) => (Standing::Holding, seat),
    };
    Entry {
        key: key.clone(),
        id: EntryId::Claim(place.id),
        mode: Some(place.mode),
        standing,
        claimant: record.map(|record| record.claimant.clone()),
        age: record.map(|record| record.age(&dir.boot)),
        expires_in: None,
        fence: record.and_then(|record| record.fence),
        seat,
    }
}

fn of_foreign(key: &Key, lock: &Lock) -> Entry {
    Entry {
        key: key.clone(),
        id: EntryId::Foreign(format!("flock of process {}", lock.pid).into_bytes().into()),
        mode: None,
        standing: Standing::Foreign,
        claimant: Some(kernel::describe(lock.pid)),
        age: None,
        expires_in: None,
        fence: None,
        seat: None,
    }
}
