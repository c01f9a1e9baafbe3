//! A server's wall clock in our hands: a small library, built on the spot and preloaded into the server alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const SOURCE: &str = include_str!("wall.c");

/// By how much a server's wall clock is wrong.
#[derive(Debug)]
pub(super) struct Wall {
    dir: TempDir,
    offset: fs::File,
}

impl Wall {
    /// Builds the library; the clock is right.
    ///
    /// # Errors
    /// There is no C compiler.
    pub(super) fn new() -> io::Result<Self> {
        let dir = TempDir::with_prefix("monban-wall-")?;
        // Servers that do not run as root read it too.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let source = dir.path().join("wall.c");
        fs::write(&source, SOURCE)?;
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&dir.path().join("wall.so"), &source])
            .stdin(Stdio::null())
            .status();
        if !built.is_ok_and(|status| status.success()) {
            let message = "server-clock needs a C compiler, `cc`, and there is none that works";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        fs::write(dir.path().join("offset"), [0; 8])?;
        let offset = fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("offset"))?;
        Ok(Self { dir, offset })
    }

    /// What the server's environment must have.
    pub(super) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        let of = |name| self.dir.path().join(name);
        [("LD_PRELOAD", of("wall.so")), ("MONBAN_WALL", of("offset"))]
    }

    /// From now on the clock is wrong by so much.
    ///
    /// # Errors
    /// The system refused.
    pub(super) fn set(&self, ms: i64) -> io::Result<()> {
        let ns = ms.saturating_mul(1_000_000);
        self.offset.write_all_at(&ns.to_ne_bytes(), 0)
    }
}
