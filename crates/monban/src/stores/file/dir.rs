//! The directory: made or checked once, then everything is opened relative to its descriptor.
//!
//! Whoever can write into the directory can break every lock in it, so it belongs to this user alone.
//! No link is followed and nothing is truncated. Source: the CVE-2025-68146 class of lock file attacks.

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};

use super::fault::{failed, refused, shown};
use super::fence::Counter;
use super::{STORE, kind, moment};
use crate::data::{Error, Result};

/// Where the side files are, inside the directory.
pub(super) const SIDE: &str = ".monban";

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// `NONBLOCK` so that a FIFO in the place of a file cannot hang us.
const PLAIN: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A checked directory, open.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    pub(super) side: OwnedFd,
    pub(super) counter: Counter,
    pub(super) boot: moment::Boot,
    /// Whether the kernel's list of locks names devices as `stat` does.
    pub(super) same_device: bool,
    owner: Uid,
    /// Descriptors are shared with forked children, which must not use them.
    pub(super) pid: u32,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (root, fresh) = make(path)?;
        let owner = geteuid();
        check_folder(path, &root, owner, fresh)?;
        check_parents(path, owner)?;
        let same_device = kind::check(path, &root)?;
        let side_path = path.join(SIDE);
        let side = subfolder(&root, SIDE, &side_path)?;
        check_folder(&side_path, &side, owner, false)?;
        let boot = moment::Boot::read();
        let counter = Counter::new(side_path.join("fence"));
        Ok(Self {
            path: path.to_owned(),
            root,
            side,
            counter,
            boot,
            same_device,
            owner,
            pid: std::process::id(),
        })
    }

    /// Refuses a forked child: it shares our descriptors, so the kernel takes it for the parent.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        Err(Error::rejected(
            STORE,
            "this store was opened before a fork, and its locks are the parent's; \
             open another one in the child",
        ))
    }

    pub(super) fn is_ours(&self) -> bool {
        std::process::id() == self.pid
    }

    pub(super) fn side_path(&self, name: &str) -> PathBuf {
        self.path.join(SIDE).join(name)
    }

    /// Opens a file of the directory for reading and writing, makes it if it is not there, never
    /// truncates it.
    pub(super) fn file(&self, at: Place, name: &str) -> Result<OwnedFd> {
        // Without O_CREAT first: in a sticky directory fs.protected_regular refuses it for files of others.
        for _ in 0..64 {
            let fd = self.fd(at);
            match rustix::fs::openat(fd, name, OFlags::RDWR | PLAIN, Mode::empty()) {
                Err(Errno::NOENT) => {}
                other => return other.map_err(|e| failed("open", &self.at(at, name), e)),
            }
            match create(fd, name) {
                Err(Errno::EXIST) => {}
                other => return other.map_err(|e| failed("create", &self.at(at, name), e)),
            }
        }
        Err(Error::unavailable(
            STORE,
            format!("{} comes and goes", shown(&self.at(at, name))),
        ))
    }

    /// Opens a file for reading only; `None` if there is none.
    pub(super) fn look_at(&self, at: Place, name: &str) -> Result<Option<OwnedFd>> {
        match rustix::fs::openat(self.fd(at), name, OFlags::RDONLY | PLAIN, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            other => other
                .map(Some)
                .map_err(|e| failed("open", &self.at(at, name), e)),
        }
    }

    /// Checks that an open file is what it should be. `false` if it has been unlinked meanwhile.
    pub(super) fn check(&self, at: Place, name: &str, stat: &Stat) -> Result<bool> {
        check_file(&self.at(at, name), stat, self.owner)
    }

    /// The status of a name; `None` if there is none. Links are not followed.
    pub(super) fn stat(&self, at: Place, name: &str) -> Result<Option<Stat>> {
        match rustix::fs::statat(self.fd(at), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            other => other
                .map(Some)
                .map_err(|e| failed("look at", &self.at(at, name), e)),
        }
    }

    pub(super) fn at(&self, at: Place, name: &str) -> PathBuf {
        match at {
            Place::Root => self.path.join(name),
            Place::Side => self.side_path(name),
        }
    }

    fn fd(&self, at: Place) -> BorrowedFd<'_> {
        match at {
            Place::Root => self.root.as_fd(),
            Place::Side => self.side.as_fd(),
        }
    }
}

/// Which of the two directories.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Root,
    Side,
}

/// Makes a file that is not there, for this user alone.
pub(super) fn create(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
    rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Opens a file of a directory for reading.
pub(super) fn read_only(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, OFlags::RDONLY | PLAIN, Mode::empty())
}

/// Opens a directory in a directory.
pub(super) fn folder(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, FOLDER, Mode::empty())
}

/// Refuses what is not a regular file of this user with one name; `false` if it has no name any more.
pub(super) fn check_file(path: &Path, stat: &Stat, owner: Uid) -> Result<bool> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused(path, "is not a regular file; remove it"));
    }
    if stat.st_uid != owner.as_raw() {
        return Err(refused(
            path,
            &format!(
                "belongs to user {}, not to user {}; remove it, or give it back with chown",
                stat.st_uid,
                owner.as_raw()
            ),
        ));
    }
    match stat.st_nlink {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(refused(path, "has other names (hard links); remove them")),
    }
}

/// Opens the directory, made if it is not there; says whether it was made just now.
fn make(path: &Path) -> Result<(OwnedFd, bool)> {
    let open = || rustix::fs::openat(CWD, path, FOLDER, Mode::empty());
    match open() {
        Ok(fd) => return Ok((fd, false)),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(unusable(path, e)),
    }
    if let Some(parent) = path.parent() {
        make_parents(parent)?;
    }
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        // What is above it is there: this file system lets nobody make one.
        Err(Errno::NOENT) => return Err(refused(path, "cannot be made; choose another directory")),
        Err(e) => return Err(failed("make the directory", path, e)),
    }
    open().map(|fd| (fd, true)).map_err(|e| unusable(path, e))
}

fn make_parents(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_parents(parent)?;
    }
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(failed("make the directory", path, e)),
    }
}

fn subfolder(root: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd> {
    match folder(root.as_fd(), name) {
        Err(Errno::NOENT) => {}
        Err(e) => return Err(unusable(path, e)),
        Ok(fd) => return Ok(fd),
    }
    match rustix::fs::mkdirat(root, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed("make the directory", path, e)),
    }
    folder(root.as_fd(), name).map_err(|e| unusable(path, e))
}

/// `O_DIRECTORY | O_NOFOLLOW` answers `ENOTDIR` for a link as well as for a file.
fn unusable(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::NOTDIR | Errno::LOOP => refused(
            path,
            "is not a directory (or is a symbolic link, which is not followed); \
             name the directory itself",
        ),
        other => failed("open the directory", path, other),
    }
}

fn check_folder(path: &Path, fd: &OwnedFd, owner: Uid, fresh: bool) -> Result<()> {
    let stat = rustix::fs::fstat(fd).map_err(|e| failed("look at", path, e))?;
    if stat.st_uid != owner.as_raw() {
        return Err(refused(
            path,
            &format!(
                "belongs to user {}, not to user {}: whoever may write there can break the locks; \
                 choose another directory",
                stat.st_uid,
                owner.as_raw()
            ),
        ));
    }
    let mode = Mode::from_raw_mode(stat.st_mode).bits() & 0o777;
    if mode != 0o700 {
        let hint = if fresh {
            " (the umask is in the way)"
        } else {
            ""
        };
        return Err(refused(
            path,
            &format!(
                "has mode {mode:o}{hint}, and must be for its owner alone; \
                 run `chmod 700 {}`, or choose another directory",
                shown(path)
            ),
        ));
    }
    Ok(())
}

/// Whoever can write into a parent can put another directory in the place of ours.
fn check_parents(path: &Path, owner: Uid) -> Result<()> {
    let real = path.canonicalize().map_err(|e| {
        Error::rejected(STORE, format!("cannot resolve {}", shown(path))).because(e)
    })?;
    for path in real.ancestors().skip(1) {
        let stat = rustix::fs::stat(path).map_err(|e| failed("look at", path, e))?;
        let parent = Parent {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: Mode::from_raw_mode(stat.st_mode),
        };
        if let Some(fault) = parent.fault(owner) {
            return Err(refused(path, &fault));
        }
    }
    Ok(())
}

/// What decides who may replace things in a directory.
struct Parent {
    uid: u32,
    gid: u32,
    mode: Mode,
}

impl Parent {
    /// Why this user cannot rely on it, if so.
    ///
    /// A group of the user's own may write: with a umask of 002 it has nobody else in it. Root has no such
    /// group but its own.
    fn fault(&self, owner: Uid) -> Option<String> {
        let Self { uid, gid, mode } = *self;
        if uid != 0 && uid != owner.as_raw() {
            return Some(format!(
                "belongs to user {uid}, not to user {} or root, so that user can replace what is in it; \
                 choose another directory",
                owner.as_raw()
            ));
        }
        if mode.contains(Mode::SVTX) {
            return None;
        }
        if mode.contains(Mode::WOTH) {
            return Some(
                "may be written by everybody and is not sticky, so anybody can replace what is in it; \
                 run `chmod o-w` on it, or choose another directory"
                    .to_owned(),
            );
        }
        (mode.contains(Mode::WGRP) && uid == 0 && gid != 0).then(|| {
            format!(
                "may be written by group {gid} and is not sticky, so anybody of that group can replace \
                 what is in it; run `chmod g-w` on it, or choose another directory"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_refused_if_another_user_could_replace_what_is_in_it() {
        const ME: u32 = 1000;
        let judge = |uid, gid, mode| {
            let mode = Mode::from_raw_mode(mode);
            let parent = Parent { uid, gid, mode };
            parent.fault(Uid::from_raw(ME)).is_none()
        };
        for (uid, gid, mode) in [
            (0, 0, 0o755),
            (0, 0, 0o775),   // only root is in root's group
            (0, 0, 0o1777),  // /tmp
            (0, 8, 0o2755),  // may not be written by it
            (0, 50, 0o3775), // sticky
            (ME, ME, 0o775), // a home where the umask is 002
            (ME, ME, 0o700),
        ] {
            assert!(judge(uid, gid, mode), "{uid}:{gid} {mode:o}");
        }
        for (uid, gid, mode) in [
            (0, 0, 0o777),
            (ME, ME, 0o777),
            (0, 50, 0o2775), // /var/local of Debian
            (1001, 0, 0o755),
            (1001, ME, 0o1777), // its owner may, sticky or not
        ] {
            assert!(!judge(uid, gid, mode), "{uid}:{gid} {mode:o}");
        }
        let parent = Parent {
            uid: ME,
            gid: 0,
            mode: Mode::from_raw_mode(0o755),
        };
        assert!(parent.fault(Uid::ROOT).is_some(), "root trusts no user");
    }
}
