//! The line of one key: a directory of claim files, locked by their owners for as long as they live.
//!
//! ```text
//! .monban/KEY.line/TICKET.MODE.ID.STATE     x | s | p3-5, and w (waits) | h (holds) | h7 (on seat 7)
//! ```
//!
//! It is there only while somebody waits, or holds a share or permits. The lock of the directory is its
//! *door*: who joins, and who grants shares or permits, does it with the door shut, for microseconds.
//! Looking needs no door: claims join behind, and a name is never used twice. The line decides order and
//! counts permits; that nobody else holds is decided by the lock file alone.
//!
//! Who only looks takes a shared lock for a moment, and an owner's is exclusive, so lookers never take
//! each other for owners.

use std::cell::Cell;
use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;

use super::dir::{self, Dir};
use super::fault::{failed, refused};
use super::name::Name;
use super::patience;
use super::record::{self, Record};
use crate::data::{ClaimId, Mode, Result};

/// An open line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// A wait for the door was given up: a thread may still stand in its queue with this descriptor, and would
    /// open later what we shut.
    given_up: Cell<bool>,
}

/// What the name of a claim file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ticket: u64,
    pub(super) mode: Mode,
    pub(super) id: ClaimId,
    pub(super) standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waits,
    Holds(Option<u32>),
}

impl Place {
    pub(super) fn name(&self) -> String {
        let mode = match self.mode {
            Mode::Exclusive => "x".to_owned(),
            Mode::Shared => "s".to_owned(),
            Mode::Permits { n, of } => format!("p{n}-{of}"),
        };
        let standing = match self.standing {
            Standing::Waits => "w".to_owned(),
            Standing::Holds(None) => "h".to_owned(),
            Standing::Holds(Some(seat)) => format!("h{seat}"),
        };
        format!("{:016x}.{mode}.{}.{standing}", self.ticket, self.id)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let ticket = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mode = match parts.next()? {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            other => {
                let (n, of) = other.strip_prefix('p')?.split_once('-')?;
                Mode::Permits {
                    n: n.parse().ok()?,
                    of: of.parse().ok()?,
                }
            }
        };
        mode.check().ok()?;
        let id = ClaimId::parse(parts.next()?)?;
        let standing = match parts.next()? {
            "w" => Standing::Waits,
            "h" => Standing::Holds(None),
            other => Standing::Holds(Some(other.strip_prefix('h')?.parse().ok()?)),
        };
        let place = Self {
            ticket,
            mode,
            id,
            standing,
        };
        (place.name() == name).then_some(place)
    }
}

impl Line {
    /// Opens the line of a key; `None` if there is none.
    pub(super) fn open(dir: &Dir, name: &Name) -> Result<Option<Self>> {
        let line = name.line();
        let path = dir.side_path(&line);
        match dir::folder(dir.side.as_fd(), &line) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path,
                given_up: Cell::new(false),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => Err(refused(&path, "is not a directory; remove it")),
            Err(e) => Err(failed("open", &path, e)),
        }
    }

    /// Makes the line of a key if there is none, and opens it.
    pub(super) fn make(dir: &Dir, name: &Name) -> Result<Self> {
        loop {
            if let Some(line) = Self::open(dir, name)? {
                return Ok(line);
            }
            let line = name.line();
            match rustix::fs::mkdirat(&dir.side, &line, rustix::fs::Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("make the directory", &dir.side_path(&line), e)),
            }
        }
    }

    /// Removes the directory if nobody is in it: the file system refuses otherwise, which makes it safe.
    pub(super) fn remove_if_empty(dir: &Dir, name: &Name) {
        let _ = rustix::fs::unlinkat(&dir.side, name.line(), AtFlags::REMOVEDIR);
    }

    /// Makes the line fit for another try after the door could not be shut; `false` if it has been removed.
    pub(super) fn mend(&mut self) -> Result<bool> {
        if !self.given_up.get() {
            return Ok(true);
        }
        match dir::folder(self.fd.as_fd(), ".") {
            Ok(fd) => self.fd = fd,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(failed("open", &self.path, e)),
        }
        self.given_up.set(false);
        Ok(true)
    }

    /// Shuts the door; `None` if the line has been removed meanwhile. After an error only once it is
    /// [mended](Self::mend).
    pub(super) fn shut_door(&self) -> Result<Option<Door<'_>>> {
        patience::take(&self.fd, &self.path).inspect_err(|_| self.given_up.set(true))?;
        let door = Door(self);
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| failed("look at", &self.path, e))?;
        Ok((stat.st_nlink > 0).then_some(door))
    }

    /// The claim files there are, in order of tickets, living or dead.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        let entries = match rustix::fs::Dir::read_from(&self.fd) {
            Ok(entries) => entries,
            Err(Errno::NOENT) => return Ok(Vec::new()), // removed
            Err(e) => return Err(failed("list", &self.path, e)),
        };
        let mut places = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &self.path, e))?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            let Some(place) = Place::parse(&name) else {
                return Err(refused(
                    &self.path.join(&*name),
                    "is not a claim of this version of monban, so who is in line cannot be told; remove it",
                ));
            };
            places.push(place);
        }
        places.sort_unstable_by_key(|place| (place.ticket, place.id));
        Ok(places)
    }

    /// Whether the owner of a claim lives: it has the file locked. `false` if the name is gone too.
    pub(super) fn is_alive(&self, place: &Place) -> Result<bool> {
        let name = place.name();
        let path = self.path.join(&name);
        match dir::read_only(self.fd.as_fd(), &name) {
            Ok(fd) => Ok(!patience::try_take(
                &fd,
                FlockOperation::NonBlockingLockShared,
                &path,
            )?),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(failed("open", &path, e)),
        }
    }

    /// Like [`is_alive`](Self::is_alive), and removes the file of a dead claim. Not for a claim that may be
    /// joining just now: with the door shut, or for a claim ahead of one's own.
    pub(super) fn is_alive_or_removed(&self, place: &Place) -> Result<bool> {
        let alive = self.is_alive(place)?;
        if !alive {
            self.unlink(place);
        }
        Ok(alive)
    }

    /// Removes a claim file. One that stays behind is dead once it is unlocked, and removed by whoever looks next.
    pub(super) fn unlink(&self, place: &Place) {
        let _ = rustix::fs::unlinkat(&self.fd, place.name(), AtFlags::empty());
    }

    /// Makes the file of a claim and locks it; `None` if the line has been removed. With the door shut.
    pub(super) fn join(&self, place: &Place, record: &Record) -> Result<Option<OwnedFd>> {
        let name = place.name();
        let path = self.path.join(&name);
        let fd = match dir::create(self.fd.as_fd(), &name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed("create", &path, e)),
        };
        let owned = patience::take(&fd, &path).and_then(|()| record.write(&fd, &path));
        if let Err(error) = owned {
            self.unlink(place);
            return Err(error);
        }
        Ok(Some(fd))
    }

    /// Renames a claim's file to say that it holds now. With the door shut.
    pub(super) fn promote(&self, from: &Place, to: &Place) -> Result<()> {
        let (old, new) = (from.name(), to.name());
        rustix::fs::renameat(&self.fd, &old, &self.fd, &new)
            .map_err(|e| failed("rename", &self.path.join(old), e))
    }

    /// What the file of a claim says of it, if it can be read. For people.
    pub(super) fn record(&self, place: &Place) -> Option<Record> {
        let fd = dir::read_only(self.fd.as_fd(), &place.name()).ok()?;
        record::read(&fd, &self.path).ok()?.record()
    }
}

/// A shut door; dropping it opens it.
#[derive(Debug)]
pub(super) struct Door<'a>(&'a Line);

impl Drop for Door<'_> {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is open; closing the line would open the door too.
        let _ = rustix::fs::flock(&self.0.fd, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Key, ProcessId};
    use crate::dice::fuzz;

    #[test]
    fn a_door_that_was_given_up_once_is_not_opened_under_whoever_shuts_it_later() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(&place.path().join("locks")).unwrap();
        let name = Name::of(&Key::new("k").unwrap());
        let open = || Line::make(&dir, &name).unwrap();
        let (stopped, mut mine, other) = (open(), open(), open());
        let shut = stopped.shut_door().unwrap().unwrap();
        assert!(mine.shut_door().unwrap_err().is_transient());
        let began = std::time::Instant::now();
        for _ in 0..3 {
            assert!(mine.mend().unwrap());
            assert!(mine.shut_door().unwrap_err().is_transient());
        }
        // One thread stands in the queue already: no other is sent there.
        assert!(began.elapsed() < std::time::Duration::from_secs(4));
        assert!(mine.mend().unwrap());
        drop(shut);
        let shut = mine.shut_door().unwrap().unwrap();
        // Whoever stood in the queue for the one that was given up has been served by now.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let how = FlockOperation::NonBlockingLockExclusive;
        assert!(!patience::try_take(&other.fd, how, &other.path).unwrap());
        drop(shut);
        assert!(patience::try_take(&other.fd, how, &other.path).unwrap());
    }

    #[test]
    fn a_name_that_is_a_place_is_the_name_of_that_place() {
        fuzz(|dice| {
            let n = 1 + u32::try_from(dice.below(5)).unwrap();
            let mode = dice.one(&[Mode::Exclusive, Mode::Shared, Mode::Permits { n, of: 5 }]);
            let standing = dice.one(&[
                Standing::Waits,
                Standing::Holds(None),
                Standing::Holds(Some(n)),
            ]);
            let good = Place {
                ticket: dice.next(),
                mode,
                id: ClaimId::random(ProcessId::random()),
                standing,
            };
            assert_eq!(Place::parse(&good.name()), Some(good.clone()));
            let name = dice.mangled(good.name().as_bytes());
            let name = String::from_utf8_lossy(&name);
            if let Some(place) = Place::parse(&name) {
                assert_eq!(place.name(), name);
            }
        });
    }

    #[test]
    fn a_place_is_read_off_its_name_and_nothing_else_is_one() {
        let id = ClaimId::random(ProcessId::random());
        for (mode, standing) in [
            (Mode::Exclusive, Standing::Waits),
            (Mode::Shared, Standing::Holds(None)),
            (Mode::Permits { n: 3, of: 5 }, Standing::Holds(Some(4))),
        ] {
            let place = Place {
                ticket: 77,
                mode,
                id,
                standing,
            };
            assert_eq!(Place::parse(&place.name()), Some(place));
        }
        for odd in [
            format!("1.x.{id}.w"),
            format!("0000000000000001.p9-5.{id}.w"),
            format!("0000000000000001.x.{id}"),
            format!("0000000000000001.x.{id}.w.w"),
            "fence".to_owned(),
        ] {
            assert_eq!(Place::parse(&odd), None, "{odd}");
        }
    }
}
