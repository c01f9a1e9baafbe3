//! What this process has in lines: the claims that hold, and those that wait.

use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::FlockOperation;

use super::dir::Dir;
use super::line::{Line, Place};
use super::lockfile::{LockFile, Spot};
use super::name::Name;
use super::wake::Watch;
use crate::contract::Grant;
use crate::data::{ClaimId, Fence, Mode};

#[derive(Debug)]
pub(super) enum Slot {
    Held(Box<Held>),
    Waiting(Box<Waiting>),
}

/// A claim that holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: Name,
    pub(super) mode: Mode,
    pub(super) lock: LockFile,
    pub(super) how: How,
    pub(super) fence: Option<Fence>,
    pub(super) seat: Option<u32>,
    /// Somebody else may have the descriptors too, and keep them open.
    pub(super) lent: bool,
}

#[derive(Debug)]
pub(super) enum How {
    /// Alone; where the record is.
    Alone(Spot),
    /// Beside others, in the line.
    Beside(Member),
}

/// A claim's place in a line: the file and its lock.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) line: Line,
    pub(super) fd: OwnedFd,
    pub(super) place: Place,
}

/// A claim that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) name: Name,
    pub(super) member: Member,
    /// Open for as long as it waits: closing it would wake whoever watches it, which may be ourselves.
    pub(super) lock: LockFile,
    pub(super) watches: Vec<(Target, Arc<Watch>)>,
    /// Nobody was ahead: then nobody ever will be, since claims only join behind.
    pub(super) is_head: bool,
}

/// What a waiter watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Lock,
    Claim(ClaimId),
}

impl Slot {
    pub(super) fn mode(&self) -> Mode {
        match self {
            Self::Held(held) => held.mode,
            Self::Waiting(waiting) => waiting.member.place.mode,
        }
    }
}

impl Held {
    pub(super) fn grant(&self) -> Grant {
        Grant {
            fence: self.fence,
            seat: self.seat,
            ttl: None,
            age: Duration::ZERO,
            lost: None,
        }
    }
}

impl Member {
    /// Leaves the line. The name goes first, so that nobody finds it unlocked.
    pub(super) fn leave(self, dir: &Dir, name: &Name) {
        self.line.unlink(&self.place);
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
        drop(self.fd);
        Line::remove_if_empty(dir, name);
    }
}
