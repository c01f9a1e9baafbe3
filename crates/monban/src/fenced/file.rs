//! A file that refuses the writes of overtaken holders.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{HighWater, Stale};
use crate::data::Token;

/// A file whose content is replaced only under a token as high as any it has seen, by any process.
///
/// What has been seen stands in a file beside it, `NAME.fence`, one token a line. During check and write
/// `NAME.fence-lock` is locked with `flock(2)`, so exclusion among writers is that of one host and one local
/// file system; not over NFS. Readers open the file itself: it is replaced by a rename, and always whole.
///
/// Everybody who writes must go by this guard. Do not remove the files beside it while old holders may wake.
///
/// # Example
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("state.json");
/// # monban::block_on(async {
/// use monban::{Locks, fenced::FencedFile};
///
/// let state = FencedFile::new(path);
/// let mutex = Locks::in_memory().mutex("state")?;
/// let paused = mutex.lock().await?.token()?; // (the lease ends here)
/// let next = mutex.lock().await?.token()?;
/// state.write(next, b"{}").expect("the holder writes");
/// assert!(state.write(paused, b"old").is_err());
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FencedFile {
    path: PathBuf,
}

/// Why a guarded file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A later holder has written before. *Reaction: stop the work.*
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The file, or what stands beside it, could not be read or written. *Reaction: mend it, try again.*
    #[error("{} could not be written: {source}", path.display())]
    Io {
        /// The guarded file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FencedFile {
    /// Guards the file at this path, which need not exist yet; its directory must.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The guarded file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content, unless a higher token of the same seat has been shown before.
    ///
    /// Waits while another writer writes. When it returns the content is on the disk. If the machine
    /// stops in between, the token counts as seen and the content is the old or the new one, whole.
    ///
    /// # Errors
    ///
    /// [`WriteError::Stale`]: nothing was written, stop the work. [`WriteError::Io`].
    pub fn write(&self, token: impl Into<Token>, content: &[u8]) -> Result<(), WriteError> {
        let io = |source| WriteError::Io {
            path: self.path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.beside(".fence-lock"))
            .map_err(io)?;
        lock.lock().map_err(io)?; // until it is closed
        let marks = self.beside(".fence");
        let mut seen = read_marks(&marks).map_err(io)?;
        seen.admit(token)?;
        let lines: String = seen.iter().map(|token| format!("{token}\n")).collect();
        // First what was seen: a crash in between must not let an older writer in.
        self.replace(&marks, lines.as_bytes()).map_err(io)?;
        self.replace(&self.path, content).map_err(io)
    }

    /// Replaces a file by a rename, so that it is whole at any time, and on the disk at the end.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let next = self.beside(".fence-next");
        let mut file = File::create(&next)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        PathBuf::from(name)
    }
}

/// One token a line. A line that is none is an error: to guess would be to forget.
fn read_marks(path: &Path) -> io::Result<HighWater> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut seen = HighWater::new();
    for line in text.lines() {
        let token: Token = line.parse().map_err(io::Error::other)?;
        seen.admit(token).map_err(io::Error::other)?;
    }
    Ok(seen)
}
