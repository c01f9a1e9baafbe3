//! A server that is a family of processes: those that its first one has started.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// The processes that a process has started and not reaped.
pub(crate) fn children(id: u32) -> Vec<u32> {
    let known = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    known
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

pub(crate) fn signal_all(ids: &[u32], signal: Signal) {
    for id in ids {
        if let Some(id) = i32::try_from(*id).ok().and_then(Pid::from_raw) {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(id, signal);
        }
    }
}

/// Whether a process is no more, or waits for nothing but to be reaped.
pub(crate) fn has_ended(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Processor time of a process and of the children it has reaped, in ticks of a hundredth of a second.
pub(crate) fn ticks_of(id: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let times = fields.split(' ').skip(11).take(4);
    Ok(times.filter_map(|word| word.parse::<u64>().ok()).sum())
}
