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
    /// What is listened to only once the command was started.
    later: Vec<i32>,
}

impl Signals {
    /// Starts to listen to those signals that are not ignored; called before the command is started, so that none of them
    /// ends monban alone while its command begins.
    ///
    /// The others wait for [`listen_to_all`](Self::listen_to_all): a handler turns into the *default* disposition at
    /// `exec`, and a signal that `nohup` or a shell had ignored would no longer be ignored in the command.
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
        let ignored = ignored();
        let (mut later, now): (Vec<i32>, Vec<i32>) =
            heard.partition(|signal| ignored.contains(signal));
        later.push(SIGCHLD);
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, now)?;
        Ok(Self {
            delivery,
            grouping,
            later,
        })
    }

    /// Listens to the rest, too: what was ignored, and news of children. Called after the command was started.
    ///
    /// # Errors
    /// The system does not take a handler.
    pub(crate) fn listen_to_all(&mut self) -> io::Result<()> {
        let handle = self.delivery.handle();
        std::mem::take(&mut self.later)
            .into_iter()
            .try_for_each(|signal| handle.add_signal(signal))
    }

    /// Returns what arrived while the command was being started: all of it is to be passed on. In a group that is shared
    /// the terminal may have had nobody yet to give it to.
    pub(crate) fn first(&mut self) -> Vec<Signal> {
        self.delivery
            .pending()
            .filter(|signal| *signal != SIGCHLD)
            .filter_map(Signal::from_named_raw)
            .collect()
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

/// The signals that are ignored: `nohup` and shells set them so, and the command is to inherit that.
pub(crate) fn ignored() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let bits = bits.unwrap_or(0);
    (1..64)
        .filter(|signal| bits & (1 << (signal - 1)) != 0)
        .collect()
}

/// Makes this process outlive every signal that can be outlived: a watchdog ends when its work is done.
pub(crate) fn become_deaf() {
    let unused = Arc::new(AtomicBool::new(false));
    for signal in DEAF_TO {
        // A handler that cannot be set leaves the default: the watchdog is then easier to kill, and is started again.
        let _ = signal_hook::flag::register(signal, Arc::clone(&unused));
    }
}
