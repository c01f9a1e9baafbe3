//! The lock file of a key: the one lock on it decides who holds.

use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FlockOperation;

use super::dir::{Dir, Place};
use super::fault::failed;
use super::moment::Moment;
use super::name::Name;
use super::patience;
use super::record::{self, Content, Record, State};
use crate::data::{Claim, Error, Fence, Mode, Result};

/// An open lock file.
#[derive(Debug)]
pub(super) struct LockFile {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) inode: u64,
}

/// Where the record of a lock file is: inside, or beside if its content is somebody else's.
#[derive(Debug)]
pub(super) enum Spot {
    Inside,
    Beside(OwnedFd, PathBuf),
}

/// How taking a lock file went.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is ours, and the record is here.
    Ours(Spot, Content),
    /// Somebody else has it.
    Busy,
    /// A released claim keeps the place; the lock is let go again.
    Lingering(Record),
    /// It is not the file of that name any more; open it again.
    Replaced,
}

impl LockFile {
    pub(super) fn open(dir: &Dir, name: &Name) -> Result<Self> {
        let file = name.lock();
        Ok(Self {
            fd: dir.file(Place::Root, &file)?,
            path: dir.path.join(file),
            inode: 0,
        })
    }

    /// The same open file once more: both have the lock, and only the end of both closes it.
    pub(super) fn same(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)
            .map_err(|e| failed("copy the descriptor of", &self.path, e))?;
        Ok(Self {
            fd,
            path: self.path.clone(),
            inode: self.inode,
        })
    }

    /// Takes the lock if it is free, and the key with it unless a linger keeps it.
    pub(super) fn take(&mut self, dir: &Dir, name: &Name, claim: &Claim) -> Result<Taken> {
        let how = if claim.mode == Mode::Exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        if !patience::try_take(&self.fd, how, &self.path)? {
            return Ok(Taken::Busy);
        }
        let taken = self.judge(dir, name, claim);
        if !matches!(taken, Ok(Taken::Ours(..))) {
            self.unlock();
        }
        taken
    }

    /// With the lock held: whether it is the right file, and free.
    fn judge(&mut self, dir: &Dir, name: &Name, claim: &Claim) -> Result<Taken> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| failed("look at", &self.path, e))?;
        if !dir.check(Place::Root, &name.lock(), &stat)? {
            return Ok(Taken::Replaced);
        }
        self.inode = stat.st_ino;
        let (spot, content) = self.spot(dir, name)?;
        content.check(&self.path)?;
        check_key(name, claim, &content)?;
        match content {
            Content::Record(record) if record.lingers(&dir.boot).is_some() => {
                Ok(Taken::Lingering(record))
            }
            content => Ok(Taken::Ours(spot, content)),
        }
    }

    fn spot(&self, dir: &Dir, name: &Name) -> Result<(Spot, Content)> {
        let content = record::read(&self.fd, &self.path)?;
        if content != Content::Foreign {
            return Ok((Spot::Inside, content));
        }
        let note = name.note();
        let path = dir.side_path(&note);
        let fd = dir.file(Place::Side, &note)?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", &path, e))?;
        dir.check(Place::Side, &note, &stat)?;
        let content = record::read(&fd, &path)?;
        Ok((Spot::Beside(fd, path), content))
    }

    /// What the record says, without the lock: for people, and to explain a refusal.
    pub(super) fn content(&self, dir: &Dir, name: &Name) -> Content {
        let content = record::read(&self.fd, &self.path).unwrap_or(Content::Foreign);
        if content != Content::Foreign {
            return content;
        }
        match dir.look_at(Place::Side, &name.note()) {
            Ok(Some(fd)) => record::read(&fd, &self.path).unwrap_or(Content::Foreign),
            _ => content,
        }
    }

    pub(super) fn write(&self, spot: &Spot, record: &Record) -> Result<()> {
        match spot {
            Spot::Inside => record.write(&self.fd, &self.path),
            Spot::Beside(fd, path) => record.write(fd, path),
        }
    }

    pub(super) fn clear(&self, spot: &Spot) -> Result<()> {
        match spot {
            Spot::Inside => record::clear(&self.fd, &self.path),
            Spot::Beside(fd, path) => record::clear(fd, path),
        }
    }

    /// Lets go of the lock, also for whoever inherited the descriptor.
    pub(super) fn unlock(&self) {
        // It cannot fail for an open descriptor; closing it, which follows, unlocks as well.
        let _ = rustix::fs::flock(self.fd.as_fd(), FlockOperation::Unlock);
    }

    /// Whether the name still leads to this very file.
    pub(super) fn is_current(&self, dir: &Dir, name: &Name) -> Result<bool> {
        let there = dir.stat(Place::Root, &name.lock())?;
        let here = rustix::fs::fstat(&self.fd).map_err(|e| failed("look at", &self.path, e))?;
        Ok(there.is_some_and(|there| there.st_ino == here.st_ino && there.st_dev == here.st_dev))
    }
}

/// The record of a claim that gets its state just now.
pub(super) fn record_of(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    state: State,
    fence: Option<Fence>,
) -> Record {
    Record {
        state,
        id: claim.id,
        pid: std::process::id(),
        boot: dir.boot.clone(),
        since: Moment::now(),
        fence,
        claimant: claim.claimant.clone(),
        key: name.hashed.then(|| claim.key.clone()),
    }
}

/// Two keys with one file name would be one lock; the full key inside shows it.
fn check_key(name: &Name, claim: &Claim, content: &Content) -> Result<()> {
    let Content::Record(record) = content else {
        return Ok(());
    };
    match &record.key {
        Some(other) if name.hashed && *other != claim.key => Err(Error::mismatch(
            &claim.key,
            format!("its file {} is that of the key {other}", name.lock()),
        )),
        _ => Ok(()),
    }
}
