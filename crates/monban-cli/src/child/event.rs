//! What the lease tells the running command's keeper: a pipe of fixed-size records, so that one `poll` waits for it
//! and for signals alike, and so that a sender on any thread needs no lock.

use super::clock::Moment;
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One notice about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The lease was granted or renewed; unless renewed again it is lost at this moment.
    Renewed(Moment),
    /// The lease was taken away, or is no longer known to be ours.
    Lost,
}

/// The lease's end: `Clone`-free on purpose, share it in an `Arc`.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

/// The command's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    pipe: OwnedFd,
    open: Cell<bool>,
}

/// Opens a way for the lease to reach [`run`](super::run).
///
/// # Errors
/// No descriptor is left.
pub(crate) fn channel() -> io::Result<(Sender, Receiver)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((
        Sender(writer),
        Receiver {
            pipe: reader,
            open: Cell::new(true),
        },
    ))
}

impl Sender {
    /// Says until when the lease is good; counted from before the request was sent.
    pub(crate) fn until(&self, moment: Moment) {
        self.send(moment.max(1));
    }

    /// Says that the lease is lost.
    pub(crate) fn lost(&self) {
        self.send(0);
    }

    /// A full pipe means that nobody has read for thousands of renewals, a closed one that the command has ended.
    fn send(&self, record: u64) {
        while write(&self.0, &record.to_ne_bytes()) == Err(Errno::INTR) {}
    }
}

impl Receiver {
    /// Returns the next notice, if there is one.
    pub(crate) fn next(&self) -> Option<Event> {
        let mut record = [0; 8];
        match read(&self.pipe, &mut record) {
            Ok(8) => Some(match u64::from_ne_bytes(record) {
                0 => Event::Lost,
                moment => Event::Renewed(moment),
            }),
            Ok(_) => {
                self.open.set(false);
                None
            }
            Err(_) => None,
        }
    }

    /// Says whether more can come. With the sender gone what was said last holds: the lease expires when it does.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
