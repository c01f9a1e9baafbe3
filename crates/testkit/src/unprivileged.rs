//! Servers that refuse to run as root: their directories, and commands that run as the directories' owner.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// This user has no rights anywhere.
const NOBODY: u32 = 65_534;

/// Makes a directory that only a server may enter; it belongs to nobody if this is root, else to us.
///
/// # Errors
/// The system refused.
pub fn home(prefix: &str) -> io::Result<TempDir> {
    let directory = TempDir::with_prefix(prefix)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
    hand_over(directory.path())?;
    Ok(directory)
}

/// Gives a file to the user that the servers run as.
///
/// # Errors
/// The system refused.
pub(crate) fn hand_over(path: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

/// A program that runs in a directory, as its owner.
///
/// # Errors
/// There is no such directory.
pub fn command(program: PathBuf, directory: &Path) -> io::Result<Command> {
    let mut command = Command::new(program);
    if fs::metadata(directory)?.uid() == NOBODY {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(directory).env("LC_ALL", "C");
    Ok(command)
}
