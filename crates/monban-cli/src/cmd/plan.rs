//! What is to be done, whichever verb of the command line asks for it.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use monban::data::duration_text;
use monban::{Error, Key, Result};

use crate::args::{Elect, Guarding, Patience, Run};
use crate::open::Opened;
use crate::say::Voice;

/// A command, and under which keys it is to run.
pub(super) struct Plan {
    pub(super) key: Key,
    /// Further keys, in the order of the command line.
    pub(super) also: Vec<Key>,
    /// How many of them stand before KEY there.
    pub(super) before: usize,
    pub(super) kind: Kind,
    /// `None`: does not wait.
    pub(super) patience: Option<Patience>,
    pub(super) guarding: Guarding,
    pub(super) command: Vec<OsString>,
    pub(super) quiet: bool,
    pub(super) conflict_exit_code: Option<u8>,
}

/// The kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exclusive,
    Shared,
    Permits(u32, u32),
    Every(Duration),
    Leader(AfterLoss),
}

/// What becomes of a candidate that has lost the leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterLoss {
    End,
    Again,
}

/// Each key has up to two descriptors over files, and all of them travel to the watchdog in one message.
const MOST_KEYS: usize = crate::child::LOCKS_MAX / 2;

impl Plan {
    pub(super) fn of_run(run: Run) -> Result<Self> {
        if run.also.len() >= MOST_KEYS {
            return Err(Error::invalid(format!(
                "{} keys are too many for one command; name at most {MOST_KEYS}",
                run.also.len() + 1
            )));
        }
        let kind = match (run.every, run.permits, run.shared) {
            (Some(every), ..) => Kind::Every(every),
            (None, Some((n, of)), _) => Kind::Permits(n, of),
            (None, None, true) => Kind::Shared,
            (None, None, false) => Kind::Exclusive,
        };
        Ok(Self {
            key: run.key,
            also: run.also,
            before: run.before,
            kind,
            patience: run.wait,
            guarding: run.guarding,
            command: run.command,
            quiet: run.quiet,
            conflict_exit_code: run.conflict_exit_code,
        })
    }

    pub(super) fn of_elect(elect: Elect) -> Self {
        let after = if elect.again {
            AfterLoss::Again
        } else {
            AfterLoss::End
        };
        Self {
            key: elect.key,
            also: Vec::new(),
            before: 0,
            kind: Kind::Leader(after),
            patience: (!elect.nonblock).then_some(elect.wait.unwrap_or(Patience::Forever)),
            guarding: elect.guarding,
            command: elect.command,
            quiet: elect.quiet,
            conflict_exit_code: elect.conflict_exit_code,
        }
    }

    /// All keys, in the order of the command line.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> + Clone {
        let (before, after) = self.also.split_at(self.before.min(self.also.len()));
        before.iter().chain([&self.key]).chain(after)
    }

    /// How the command line wants messages.
    pub(super) fn voice(&self) -> Voice {
        if self.guarding.json {
            Voice::Json
        } else {
            Voice::Text
        }
    }

    /// Whether its place in line is shown on a terminal while it waits.
    pub(super) fn shows_place(&self) -> bool {
        !self.quiet
            && self.patience.is_some()
            && self.voice() == Voice::Text
            && std::io::stderr().is_terminal()
    }

    /// What others are shown: by default the command's name, since its arguments may hold secrets.
    pub(super) fn label(&self) -> String {
        let name = || {
            let command = self.command.first().map_or(OsStr::new(""), |word| word);
            Path::new(command)
                .file_name()
                .unwrap_or(OsStr::new(""))
                .to_string_lossy()
                .into_owned()
        };
        self.guarding.label.clone().unwrap_or_else(name)
    }
}

const DEFAULT_TTL: Duration = Duration::from_secs(30);
const MIN_TTL: Duration = Duration::from_secs(1);
const DEFAULT_KILL_AFTER: Duration = Duration::from_secs(5);

/// The times that belong together.
pub(super) struct Times {
    pub(super) ttl: Duration,
    pub(super) kill_after: Duration,
}

impl Times {
    pub(super) fn of(guarding: &Guarding) -> Result<Self> {
        let ttl = guarding.ttl.unwrap_or(DEFAULT_TTL);
        if ttl < MIN_TTL {
            return Err(Error::invalid(format!(
                "--ttl {} is too short to guard a command; use at least 1s",
                duration_text(ttl)
            )));
        }
        let kill_after = guarding
            .kill_after
            .unwrap_or(DEFAULT_KILL_AFTER.min(ttl / 4));
        Ok(Self { ttl, kill_after })
    }

    /// Where leases have a TTL the command must be gone before it ends, with time for renewals before that.
    pub(super) fn check(&self, opened: &Opened) -> Result<()> {
        let has_ttl = opened.locks.guarantees().liveness.has_ttl();
        if has_ttl && self.kill_after + Duration::from_millis(200) > self.ttl / 2 {
            return Err(Error::invalid(format!(
                "--kill-after {} leaves no time within --ttl {}; make the TTL more than twice as long",
                duration_text(self.kill_after),
                duration_text(self.ttl)
            )));
        }
        Ok(())
    }
}
