//! Starts the command, as a shell would.

use super::members::TAG_VARIABLE;
use super::{Grouping, Job, Outcome};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// The lock's descriptors get numbers from here on, where scripts do not put their own.
const HIGH: i32 = 200;

/// Starts the command of `job`.
///
/// Nothing here may need code to run between `fork` and `exec`: only then does `Command` use `posix_spawn`, which copies
/// no page tables.
pub(super) fn start(job: &Job<'_>, grouping: Grouping) -> Result<Child, Outcome> {
    let [program, arguments @ ..] = job.command else {
        return Err(Outcome::NotFound);
    };
    // Second descriptors that are inherited, for the moment of the start; the lock's own ones never are.
    let inherited: io::Result<Vec<OwnedFd>> =
        job.locks.iter().map(|lock| inheritable(*lock)).collect();
    let _inherited = inherited.map_err(Outcome::Failed)?;
    let mut command = Command::new(program);
    command.args(arguments);
    prepare(&mut command, job, grouping);
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            start_script(job, grouping, program, arguments)
        }
        started => started,
    }
    .map_err(explain)
}

/// Runs a script without `#!` with the shell, as `execvp` does and `posix_spawn` does not.
fn start_script(
    job: &Job<'_>,
    grouping: Grouping,
    program: &OsString,
    arguments: &[OsString],
) -> io::Result<Child> {
    let named_by_path = program.as_encoded_bytes().contains(&b'/');
    let mut command = Command::new(if named_by_path {
        "/bin/sh".as_ref()
    } else {
        program.as_os_str()
    });
    if named_by_path {
        command.arg(program);
    } else if let Some(path) = std::env::var_os("PATH") {
        // With a PATH of its own `Command` leaves posix_spawn and uses execvp.
        command.env("PATH", path);
    }
    command.args(arguments);
    prepare(&mut command, job, grouping);
    command.spawn()
}

fn prepare(command: &mut Command, job: &Job<'_>, grouping: Grouping) {
    for name in &job.env_remove {
        command.env_remove(name);
    }
    command.envs(job.env.iter().map(|(name, value)| (name, value)));
    command.env(TAG_VARIABLE, tags(std::env::var_os(TAG_VARIABLE), &job.tag));
    if grouping == Grouping::Own {
        command.process_group(0);
    }
}

/// Adds our tag to those of the claims that monban itself runs under: their watchdogs find the command too.
fn tags(outer: Option<OsString>, tag: &str) -> OsString {
    let mut tags = outer.unwrap_or_default();
    if !tags.is_empty() {
        tags.push(":");
    }
    tags.push(tag);
    tags
}

fn inheritable(lock: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Where the limit on descriptors is below it any number must do.
    let copy = fcntl_dupfd_cloexec(lock, HIGH).or_else(|_| fcntl_dupfd_cloexec(lock, 3))?;
    fcntl_setfd(&copy, FdFlags::empty())?;
    Ok(copy)
}

fn explain(error: io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::NotFound => Outcome::NotFound,
        io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => Outcome::Failed(error),
        _ => Outcome::NotExecutable(error),
    }
}
