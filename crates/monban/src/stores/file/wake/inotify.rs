//! The kernel's notices of files. Source: inotify(7).

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::Kind;
use crate::contract::blocked::{self, Bell};

#[derive(Debug)]
pub(super) struct Inotify(OwnedFd);

impl Inotify {
    /// `None` if this user has no instance left.
    pub(super) fn new() -> Option<Self> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .ok()
            .map(Self)
    }

    /// Watches an open file, whatever its name is by now; `None` if that cannot be.
    pub(super) fn add(&self, file: BorrowedFd<'_>, kind: Kind) -> Option<i32> {
        let what = match kind {
            Kind::Claim => {
                WatchFlags::CLOSE_WRITE
                    | WatchFlags::ATTRIB
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::DELETE_SELF
            }
            Kind::LockAlone | Kind::LockShared => {
                WatchFlags::CLOSE_WRITE
                    | WatchFlags::CLOSE_NOWRITE
                    | WatchFlags::ATTRIB
                    | WatchFlags::MOVE_SELF
            }
        };
        inotify::add_watch(&self.0, format!("/proc/self/fd/{}", file.as_raw_fd()), what).ok()
    }

    pub(super) fn remove(&self, number: i32) {
        // It fails if the file is gone: then the watch is too.
        let _ = inotify::remove_watch(&self.0, number);
    }

    /// Waits for so long, until there is notice, or until a bell rings; the numbers of the files, each once.
    pub(super) fn wait(&self, bells: &[Option<&Bell>], longest: Duration) -> Vec<i32> {
        match blocked::wait(Some(self.0.as_fd()), bells, longest) {
            true => self.read(),
            false => Vec::new(),
        }
    }

    fn read(&self) -> Vec<i32> {
        let mut numbers = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::IGNORED) {
                continue; // the end of a watch, told before if the file is gone
            }
            let number = if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                -1
            } else {
                event.wd()
            };
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }
}
