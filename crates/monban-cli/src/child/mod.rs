//! Starts the user's command, guards it while the key is held, and ends it when the key is lost.
//!
//! It knows no store and no lease: it is told by [`event`] what becomes of the lease, and given the lock's descriptor
//! where there is one. How the command is guarded:
//!
//! * The command leads a process group of its own, except in the foreground of a terminal ([`terminal`]).
//! * The lock's descriptors, if any, are inherited by the command and given to a [`watchdog`]: as long as one of them
//!   has them the kernel keeps the key. Monban unlocks explicitly at the normal end, whoever has copies by then.
//! * If monban is killed, the watchdog kills the command; if the watchdog is killed, monban starts another. **If both
//!   are killed at once** (by whoever kills everything of a user) the command runs on: on files still under the lock,
//!   which its descriptor keeps; on a store with a TTL unprotected once the lease expires. A parent-death signal
//!   would not change this: set on ourselves it does not reach the command, and a helper that sets it and executes the
//!   command costs a further start (1 ms) and misses grandchildren.
//! * When the command ends by itself its job is done: what it left in the background on purpose lives on.
//!
//! Of the environment that a command would have without monban, this is different: signals that were blocked are not,
//! `SIGPIPE` has its default action, a standard stream that was closed is `/dev/null` (Rust's runtime sees to these
//! before `main`); and `MONBAN_CLAIM` is set.

pub(crate) mod clock;
mod end;
pub(crate) mod event;
mod guardian;
mod members;
mod signals;
mod start;
mod supervise;
mod terminal;
pub(crate) mod watchdog;
mod wire;

pub(crate) use end::end;
pub(crate) use guardian::Guardian;
pub(crate) use signals::ignored as ignored_signals;
pub(crate) use supervise::run;
pub(crate) use wire::LOCKS_MAX;

use rustix::process::Signal;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What to run, and how to guard it.
pub(crate) struct Job<'a> {
    /// The command and its arguments; not empty.
    pub(crate) command: &'a [OsString],
    /// Added to the environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Taken out of the environment.
    pub(crate) env_remove: Vec<OsString>,
    /// The descriptors of the locks (at most [`LOCKS_MAX`]), which the command and the watchdog inherit.
    pub(crate) locks: &'a [BorrowedFd<'a>],
    /// How long the command has between TERM and KILL.
    pub(crate) kill_after: Duration,
    /// For how long the command may run; counted from the call of [`run`].
    pub(crate) max_hold: Option<Duration>,
    /// What tells this claim from all others, at most 64 bytes without colons; found again in environments.
    pub(crate) tag: String,
    /// A signal that came before the command was started, asked for once monban listens itself.
    pub(crate) earlier: Option<Box<dyn Fn() -> Option<Signal> + 'a>>,
    /// Signals that are ignored and stay so: for whoever starts another command later, which is to find them ignored.
    pub(crate) deaf_to: &'a [i32],
}

/// Whether the command has a process group of its own or shares monban's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grouping {
    Own,
    Shared,
}

/// How a command ended, or why it was ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The command ended with this code.
    Exited(u8),
    /// This signal ended the command.
    Signalled(u8),
    /// The lease was lost before the command ended; it has been ended, whatever its code.
    Lost,
    /// The command ran for longer than it may; it has been ended.
    MaxHold,
    /// There is no such command.
    NotFound,
    /// The command is there and cannot be executed.
    NotExecutable(std::io::Error),
    /// The command could not be started or guarded, for a reason that is not its own.
    Failed(std::io::Error),
}

impl Outcome {
    /// Returns the exit code that says so.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Signalled(signal) => 128_u8.saturating_add(*signal),
            Self::Lost => 76,
            Self::MaxHold => 124,
            Self::NotFound => 127,
            Self::NotExecutable(_) => 126,
            Self::Failed(_) => 125,
        }
    }
}
