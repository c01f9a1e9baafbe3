//! What is in the way of a claim, for people. It decides nothing.

use std::time::Duration;

use super::dir::{Dir, Place as At};
use super::kernel;
use super::line::{Line, Place, Standing};
use super::lockfile::LockFile;
use super::name::Name;
use super::record::{Content, Record, State};
use super::slot::Waiting;
use crate::contract::{Busy, Wake, Why};
use crate::data::Claimant;

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Records only.
    Light,
    /// The kernel's list of locks too, if no record says it: about 0.1 ms.
    Deep,
}

#[derive(Clone, Debug)]
pub(super) struct Sight {
    ahead: usize,
    why: Why,
    who: Option<Claimant>,
    held_for: Option<Duration>,
    free_in: Option<Duration>,
    /// A monban that lives is in the way, which closes what it unlocks.
    known: bool,
}

impl Sight {
    /// Whether the kernel will give notice when this has gone: somebody else's program may unlock a file without closing it.
    pub(super) fn gives_notice(&self) -> bool {
        self.known
    }

    pub(super) fn busy(self, changed: Option<Wake>) -> Busy {
        Busy {
            ahead: Some(self.ahead),
            why: self.why,
            who: self.who,
            held_for: self.held_for,
            free_in: self.free_in,
            ends: self.free_in.into(), // only of what lingers
            changed,
        }
    }

    fn of(why: Why, dir: &Dir, record: &Record) -> Self {
        Self {
            ahead: 1,
            why,
            who: Some(record.claimant.clone()),
            held_for: Some(record.age(&dir.boot)),
            free_in: None,
            known: true,
        }
    }

    fn with_ahead(mut self, more: usize) -> Self {
        self.ahead += more;
        self
    }

    /// A released claim that keeps its place.
    pub(super) fn lingering(dir: &Dir, record: &Record, ahead: usize) -> Self {
        let mut sight = Self::of(Why::Lingering, dir, record).with_ahead(ahead);
        sight.free_in = record.lingers(&dir.boot);
        sight
    }

    /// What a record says, if it says that a process holds that lives, or that a claim lingers.
    pub(super) fn of_record(dir: &Dir, content: &Content) -> Option<Self> {
        let Content::Record(record) = content else {
            return None;
        };
        if record.lingers(&dir.boot).is_some() {
            return Some(Self::lingering(dir, record, 0));
        }
        let holds = record.state == State::Held && kernel::is_alive(record.pid);
        holds.then(|| Self::of(Why::Held, dir, record))
    }

    /// The lock was taken when we tried.
    pub(super) fn locked(
        dir: &Dir,
        name: &Name,
        lock: &LockFile,
        ahead: usize,
        search: Search,
    ) -> Self {
        let content = lock.content(dir, name);
        if let Some(sight) = Self::of_record(dir, &content) {
            return sight.with_ahead(ahead);
        }
        let found = match search {
            Search::Deep => Self::by_kernel(dir, name, lock),
            Search::Light => None,
        };
        // Its process is gone, but a child of it may have the lock still.
        let heir = || match &content {
            Content::Record(record) if record.state == State::Held => {
                let known = false;
                Some(Self {
                    known,
                    ..Self::of(Why::Held, dir, record)
                })
            }
            _ => None,
        };
        found
            .or_else(heir)
            .unwrap_or(Self {
                ahead: 1,
                why: Why::Foreign,
                who: None,
                held_for: None,
                free_in: None,
                known: false,
            })
            .with_ahead(ahead)
    }

    fn by_kernel(dir: &Dir, name: &Name, lock: &LockFile) -> Option<Self> {
        let stat = rustix::fs::fstat(&lock.fd).ok()?;
        let holder = kernel::locks()
            .into_iter()
            .find(|known| known.is_of(dir, &stat))?;
        // Read again: whoever had just taken the lock has written its record by now.
        if let Content::Record(record) = lock.content(dir, name)
            && record.state == State::Held
            && (record.pid == holder.pid || kernel::is_alive(record.pid))
        {
            return Some(Self::of(Why::Held, dir, &record));
        }
        Some(Self {
            ahead: 1,
            why: Why::Foreign,
            who: Some(kernel::describe(holder.pid)),
            held_for: None,
            free_in: None,
            known: false,
        })
    }

    /// What a try that meets a line is told.
    pub(super) fn behind(
        dir: &Dir,
        name: &Name,
        line: &Line,
        ahead: &[Place],
        search: Search,
    ) -> Self {
        if let Some(sight) = Self::of_holder(dir, line, ahead) {
            return sight;
        }
        let lock = dir.look_at(At::Root, &name.lock()).ok().flatten();
        let lock = lock.map(|fd| LockFile {
            fd,
            path: dir.path.join(name.lock()),
            inode: 0,
        });
        let found = lock.and_then(|lock| {
            Self::of_record(dir, &lock.content(dir, name)).or_else(|| match search {
                Search::Deep => Self::by_kernel(dir, name, &lock),
                Search::Light => None,
            })
        });
        match found {
            Some(sight) => sight.with_ahead(ahead.len()),
            None => Self::queued(dir, line, ahead),
        }
    }

    /// What one that waits is told.
    pub(super) fn within(dir: &Dir, waiting: &Waiting, ahead: &[Place]) -> Self {
        let line = &waiting.member.line;
        if let Some(sight) = Self::of_holder(dir, line, ahead) {
            return sight;
        }
        match Self::of_record(dir, &waiting.lock.content(dir, &waiting.name)) {
            Some(sight) => sight.with_ahead(ahead.len()),
            None if ahead.is_empty() => {
                Self::locked(dir, &waiting.name, &waiting.lock, 0, Search::Light)
            }
            // Nobody says who has the lock, if that is what is in the way: it may be another program.
            None => Self {
                known: false,
                ..Self::queued(dir, line, ahead)
            },
        }
    }

    /// The first of the line, if it holds a share or permits.
    fn of_holder(dir: &Dir, line: &Line, ahead: &[Place]) -> Option<Self> {
        let first = ahead.first()?;
        if first.standing == Standing::Waits {
            return None;
        }
        let record = line.record(first);
        Some(Self {
            ahead: ahead.len(),
            why: Why::Held,
            held_for: record.as_ref().map(|record| record.age(&dir.boot)),
            who: record.map(|record| record.claimant),
            free_in: None,
            known: true,
        })
    }

    fn queued(dir: &Dir, line: &Line, ahead: &[Place]) -> Self {
        let record = ahead.first().and_then(|first| line.record(first));
        Self {
            ahead: ahead.len(),
            why: Why::Queued,
            held_for: record.as_ref().map(|record| record.age(&dir.boot)),
            who: record.map(|record| record.claimant),
            free_in: None,
            known: true,
        }
    }
}
