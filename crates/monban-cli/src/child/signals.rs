//! The signals that monban passes on, and those that tell it of its children.

use super::Grouping;
use rustix::process::Signal;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
    SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Everything that a group of its own would not hear without monban.
const OWN_GROUP: [i32; 10] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP, SIGCONT,
];

/// In monban's group on a terminal: the terminal itself gives Ctrl-C, Ctrl-\ and Ctrl-Z to the command. Monban outlives
/// the first two to see how the command takes them; it stops and continues like any member of the group.
const SHARED_GROUP: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM];

/// What ends or stops a process by default and may reach a watchdog by mistake.
const DEAF_TO: [i32; 11] = [
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    SIGALRM,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    signal_hook::consts::SIGPIPE,
];

/// Signals received, readable through a descriptor.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    grouping: Grouping,
}

impl Signals {
    /// Starts to listen.
    ///
    /// Called after the command was started, never before: a handler turns into the *default* disposition at `exec`, and
    /// a signal that `nohup` or a shell had ignored would no longer be ignored in the command.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn listen(grouping: Grouping, deaf_to: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let passed: &[i32] = match grouping {
            Grouping::Own => &OWN_GROUP,
            Grouping::Shared => &SHARED_GROUP,
        };
        let heard = passed.iter().filter(|signal| !deaf_to.contains(signal));
        let all = heard.chain(&[SIGCHLD]);
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, all)?;
        Ok(Self { delivery, grouping })
    }

    /// Returns the signals to pass on that arrived since the last call.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        let grouping = self.grouping;
        self.delivery
            .pending()
            .filter(|signal| match grouping {
                Grouping::Own => true,
                Grouping::Shared => ![SIGINT, SIGQUIT].contains(signal),
            })
            .filter(|signal| *signal != SIGCHLD)
            .filter_map(Signal::from_named_raw)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// Makes this process outlive every signal that can be outlived: a watchdog ends when its work is done.
pub(crate) fn become_deaf() {
    let unused = Arc::new(AtomicBool::new(false));
    for signal in DEAF_TO {
        // A handler that cannot be set leaves the default: the watchdog is then easier to kill, and is started again.
        let _ = signal_hook::flag::register(signal, Arc::clone(&unused));
    }
}
