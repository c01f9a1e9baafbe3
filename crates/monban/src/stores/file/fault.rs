//! What the system said, as an error that names the path and says what to do.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::STORE;
use crate::data::{Error, printable};

/// Turns a failed system call into an error. `doing` completes "cannot ... PATH".
pub(super) fn failed(doing: &str, path: &Path, errno: Errno) -> Error {
    let advice = match errno {
        Errno::NOSPC | Errno::DQUOT => "there is no space left (or no quota); free some",
        Errno::ROFS => {
            "the file system is read-only; mount it writable, or choose another directory"
        }
        Errno::ACCESS | Errno::PERM => {
            "this user may not; give the file back to the owner of the directory, or remove it"
        }
        Errno::LOOP | Errno::MLINK => {
            "it is a symbolic link, and links are not followed; remove it"
        }
        Errno::ISDIR | Errno::NXIO => "it is not a regular file; remove it",
        Errno::NOENT | Errno::STALE => {
            "it, or the directory it is in, was removed while in use; start again"
        }
        Errno::MFILE | Errno::NFILE => "too many files are open; raise the limit (ulimit -n)",
        Errno::NOLCK => "the file system cannot lock; choose a directory on a local one",
        _ => "see what the system says",
    };
    let what = format!("cannot {doing} {}: {errno}; {advice}", shown(path));
    let transient = matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::IO | Errno::AGAIN
    );
    let error = if transient {
        Error::unavailable(STORE, what)
    } else {
        Error::rejected(STORE, what)
    };
    error.because(io::Error::from(errno))
}

/// A refusal for what is at `path`.
pub(super) fn refused(path: &Path, why: &str) -> Error {
    Error::rejected(STORE, format!("{} {why}", shown(path)))
}

/// A path for people.
pub(super) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}
