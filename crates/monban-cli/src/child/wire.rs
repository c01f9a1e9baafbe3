//! What monban tells its watchdog: its whole state in one fixed record each time, so that a watchdog started anew
//! needs one record only, and a half-written one cannot be misread.

use super::clock::Moment;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The longest tag, in bytes.
pub(crate) const TAG_MAX: usize = 64;
const SIZE: usize = 4 + 1 + 8 + 8 + 1 + TAG_MAX;

/// Whom the watchdog guards, and until when they may live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The command, once it is known.
    pub(crate) pid: Option<Pid>,
    /// Whether the command leads a process group of its own.
    pub(crate) own_group: bool,
    /// When the watchdog sends TERM if monban has not.
    pub(crate) term_at: Option<Moment>,
    /// When the watchdog sends KILL if anybody is left.
    pub(crate) kill_at: Option<Moment>,
    /// What the command's descendants carry in their environment.
    pub(crate) tag: String,
}

impl State {
    fn encode(&self) -> [u8; SIZE] {
        let mut record = [0; SIZE];
        let tag = &self.tag.as_bytes()[..self.tag.len().min(TAG_MAX)];
        record[..4].copy_from_slice(&Pid::as_raw(self.pid).to_ne_bytes());
        record[4] = u8::from(self.own_group);
        record[5..13].copy_from_slice(&self.term_at.unwrap_or(0).to_ne_bytes());
        record[13..21].copy_from_slice(&self.kill_at.unwrap_or(0).to_ne_bytes());
        record[21] = u8::try_from(tag.len()).unwrap_or(0);
        record[22..22 + tag.len()].copy_from_slice(tag);
        record
    }

    fn decode(record: &[u8; SIZE]) -> Self {
        let number = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&record[from..from + 8]);
            Some(u64::from_ne_bytes(bytes)).filter(|moment| *moment != 0)
        };
        let pid = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        let tag = &record[22..22 + usize::from(record[21]).min(TAG_MAX)];
        Self {
            pid: Pid::from_raw(pid.max(0)),
            own_group: record[4] != 0,
            term_at: number(5),
            kill_at: number(13),
            tag: String::from_utf8_lossy(tag).into_owned(),
        }
    }
}

/// The most descriptors that are sent; the kernel takes 253.
pub(crate) const LOCKS_MAX: usize = 128;

/// Sends the state, and the lock's descriptors with it if there are any. Never blocks.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    state: &State,
    locks: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LOCKS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !locks.is_empty() && !control.push(SendAncillaryMessage::ScmRights(locks)) {
        return Err(Errno::INVAL);
    }
    let record = state.encode();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&record)], &mut control, flags)).map(|_| ())
}

/// Waits for the next state, and the lock's descriptors if any came with it; `None` once monban is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>, locks: &mut Vec<OwnedFd>) -> Option<State> {
    let mut record = [0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LOCKS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut record[filled..])];
        let got = match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => continue,
            Ok(message) if message.bytes > 0 => message.bytes,
            _ => return None,
        };
        filled += got;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                // The new ones before the old: the lock is held throughout.
                let old = std::mem::replace(locks, descriptors.collect());
                drop(old);
            }
        }
    }
    Some(State::decode(&record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_the_wire() {
        let state = State {
            pid: Pid::from_raw(4321),
            own_group: true,
            term_at: Some(7),
            kill_at: Some(u64::MAX),
            tag: "t".repeat(TAG_MAX),
        };
        assert_eq!(State::decode(&state.encode()), state);
        assert_eq!(State::decode(&State::default().encode()), State::default());
    }
}
