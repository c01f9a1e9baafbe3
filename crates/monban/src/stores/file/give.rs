//! Keeping and giving back what this process has, and freeing by hand.

use std::time::Duration;

use super::STORE;
use super::dir::{Dir, Place as At};
use super::fault::failed;
use super::lockfile::{LockFile, record_of};
use super::name::Name;
use super::patience;
use super::record::{self, Content, State};
use super::slot::{Held, How, Slot};
use crate::contract::{Release, Renewal};
use crate::data::{Claim, ClaimId, Entry, EntryId, Error, Key, Result};

/// Whether a claim is still what it was: somebody may have removed its files.
pub(super) fn renew(dir: &Dir, held: &Held) -> Result<Renewal> {
    let current = held.lock.is_current(dir, &held.name)?;
    let member = match &held.how {
        How::Beside(member) => Some(member),
        How::Alone(_) => None,
    };
    let linked = match member {
        None => true,
        Some(member) => {
            let stat = rustix::fs::fstat(&member.fd)
                .map_err(|e| failed("look at", &member.line.path, e))?;
            stat.st_nlink > 0
        }
    };
    Ok(if linked && current {
        Renewal::Kept
    } else {
        Renewal::Lost
    })
}

/// Leaves the line, in any case; says whether the claim was in it still. An error only says that the linger
/// could not be written.
pub(super) fn leave(dir: &Dir, slot: Slot, linger: Option<(&Claim, Duration)>) -> Result<Release> {
    match slot {
        Slot::Waiting(waiting) => {
            waiting.member.leave(dir, &waiting.name);
            Ok(Release::Done)
        }
        Slot::Held(held) => give_back(dir, *held, linger),
    }
}

fn give_back(dir: &Dir, held: Held, linger: Option<(&Claim, Duration)>) -> Result<Release> {
    let Held {
        name,
        lock,
        how,
        fence,
        lent,
        ..
    } = held;
    let noted = match how {
        How::Beside(member) => {
            member.leave(dir, &name);
            Ok(())
        }
        How::Alone(spot) => match linger {
            Some((claim, linger)) => {
                let record = record_of(dir, &name, claim, State::Lingering(linger), fence);
                lock.write(&spot, &record)
            }
            None => {
                // A record of a lock that is free is ignored: to clear it is a courtesy.
                let _ = lock.clear(&spot);
                Ok(())
            }
        },
    };
    // Unlock, then close: only the close wakes those who wait.
    let inode = lock.inode;
    lock.unlock();
    drop(lock);
    if lent {
        // Somebody may have the descriptor still: then ours was not the last close, and wakes nobody.
        drop(dir.look_at(At::Root, &name.lock()));
    }
    noted?;
    // Only now: those who wait need not wait for this.
    let there = dir.stat(At::Root, &name.lock());
    let ours = there.map_or(true, |there| {
        there.is_some_and(|there| there.st_ino == inode)
    });
    Ok(if ours { Release::Done } else { Release::Gone })
}

/// Whether a claim lingers at its key.
pub(super) fn lingers(dir: &Dir, key: &Key, id: ClaimId) -> Result<bool> {
    let name = Name::of(key);
    let Some(lock) = existing(dir, &name)? else {
        return Ok(false);
    };
    Ok(match lock.content(dir, &name) {
        Content::Record(record) => record.id == id && record.lingers(&dir.boot).is_some(),
        _ => false,
    })
}

fn existing(dir: &Dir, name: &Name) -> Result<Option<LockFile>> {
    let file = name.lock();
    let fd = dir.look_at(At::Root, &file)?;
    Ok(fd.map(|fd| LockFile {
        fd,
        path: dir.path.join(file),
        inode: 0,
    }))
}

/// Frees a claim that lingers. One that lives is freed by the end of its process, and by nothing else.
pub(super) fn evict(dir: &Dir, entry: &Entry) -> Result<Release> {
    let EntryId::Claim(id) = entry.id else {
        return Err(Error::unsupported(
            STORE,
            "a lock of another program ends with that program",
        ));
    };
    if lingers(dir, &entry.key, id)? {
        return end_linger(dir, &entry.key, id);
    }
    if entry.standing == crate::data::Standing::Lingering {
        return Ok(Release::Gone);
    }
    let owner = entry
        .claimant
        .as_ref()
        .map_or_else(|| "its process".to_owned(), ToString::to_string);
    Err(Error::unsupported(
        STORE,
        format!("the kernel frees a key when its holder ends, and only then; end {owner}"),
    ))
}

fn end_linger(dir: &Dir, key: &Key, id: ClaimId) -> Result<Release> {
    let name = Name::of(key);
    let lock = LockFile::open(dir, &name)?;
    patience::take(&lock.fd, &lock.path)?;
    let done = match lock.content(dir, &name) {
        Content::Record(record) if record.id == id && record.lingers(&dir.boot).is_some() => {
            if record::read(&lock.fd, &lock.path)? == Content::Foreign {
                let path = dir.side_path(&name.note());
                record::clear(dir.file(At::Side, &name.note())?, &path)
            } else {
                record::clear(&lock.fd, &lock.path)
            }
            .map(|()| Release::Done)
        }
        _ => Ok(Release::Gone),
    };
    lock.unlock();
    done
}
