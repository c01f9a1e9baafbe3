//! Signals that a test's processes are to hear, however the test was started.

use std::fs;
use std::io;
use std::sync::Arc;

use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};

/// What tests send.
const SENT: [i32; 9] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGCONT,
];

/// Sees to it that no signal is ignored in the processes that this one starts.
///
/// `nohup` ignores HUP, and a shell without job control INT and QUIT in what it starts with `&`: commands inherit that,
/// so that a test which sends them would wait in vain. A handler, which does nothing here, becomes the default at
/// `exec`. Signals that are not ignored are left as they are.
///
/// # Errors
///
/// A handler cannot be set.
pub fn hear_what_is_ignored() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let ignored = ignored.unwrap_or(0);
    for signal in SENT {
        if ignored & (1 << (signal - 1)) != 0 {
            signal_hook::flag::register(signal, Arc::default())?;
        }
    }
    Ok(())
}
