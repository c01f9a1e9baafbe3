//! The kernel's list of locks, for people: it names who holds a lock that monban knows nothing of.

use rustix::fs::Stat;
use rustix::process::{Pid, test_kill_process};

use super::dir::Dir;
use crate::data::Claimant;

/// One lock of flock(2) that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    device: (u32, u32),
    pub(super) inode: u64,
    pub(super) pid: u32,
    pub(super) alone: bool,
}

/// All locks that are held; none where the kernel has no such list.
pub(super) fn locks() -> Vec<Lock> {
    let text = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`; those who wait have `->` behind the number.
fn parse(line: &str) -> Option<Lock> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let alone = words.nth(1)? == "WRITE";
    let pid = words.next()?.parse().ok()?;
    let mut id = words.next()?.split(':');
    let major = u32::from_str_radix(id.next()?, 16).ok()?;
    let minor = u32::from_str_radix(id.next()?, 16).ok()?;
    let inode = id.next()?.parse().ok()?;
    Some(Lock {
        device: (major, minor),
        inode,
        pid,
        alone,
    })
}

impl Lock {
    /// Whether this is a lock of that file.
    pub(super) fn is_of(&self, dir: &Dir, stat: &Stat) -> bool {
        let device = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        );
        self.inode == stat.st_ino && (!dir.same_device || self.device == device)
    }
}

/// Whether a process is there.
pub(super) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// Describes a process that is not monban's.
pub(super) fn describe(pid: u32) -> Claimant {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let here = Claimant::this_process("");
    Claimant::new(here.host(), pid, name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_held_flocks_are_read() {
        let held = "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF";
        let lock = Lock {
            device: (0xfe, 0),
            inode: 1234,
            pid: 4711,
            alone: true,
        };
        assert_eq!(parse(held), Some(lock));
        assert_eq!(
            parse("1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF"),
            None
        );
        assert_eq!(
            parse("2: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF"),
            None
        );
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn a_lock_of_this_process_is_listed_and_named() {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
        let inode = rustix::fs::fstat(&file).unwrap().st_ino;
        let found = locks().into_iter().find(|lock| lock.inode == inode);
        assert_eq!(
            found.map(|lock| (lock.pid, lock.alone)),
            Some((std::process::id(), false))
        );
        assert!(is_alive(std::process::id()) && !is_alive(0));
        assert!(!describe(std::process::id()).label().is_empty());
    }
}
