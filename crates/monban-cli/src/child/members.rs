//! Who belongs to a command: its process group, its descendants, and whoever carries its tag in the environment.
//!
//! What escapes: a process that left the group (`setsid`), whose parents are gone, *and* whose environment was cleared or
//! may not be read (another user's, set-user-id). On files such a process still keeps the key from others, as long as
//! it keeps the inherited descriptor. Without `/proc` only the process group is known.

use rustix::process::{Pid, Signal, getpid, kill_process_group};
use std::fs;
use std::path::Path;

/// Names the tags of all claims under which a process runs, outermost first, separated by colons.
pub(crate) const TAG_VARIABLE: &str = "MONBAN_CLAIM";

/// A command's processes. Whoever was seen to belong to it once does so for good.
#[derive(Debug)]
pub(crate) struct Members {
    leader: Option<Pid>,
    own_group: bool,
    tag: String,
    known: Vec<Process>,
}

/// One living process, told apart by its start time from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    started: u64,
}

impl Members {
    /// Nobody yet but who carries `tag` (none if it is empty); the leader follows when it is known.
    pub(crate) fn new(tag: &str) -> Self {
        Self {
            leader: None,
            own_group: false,
            tag: tag.to_owned(),
            known: Vec::new(),
        }
    }

    /// Names the command itself, and says whether it leads a process group of its own.
    pub(crate) fn led_by(&mut self, leader: Option<Pid>, own_group: bool) {
        (self.leader, self.own_group) = (leader, own_group);
    }

    /// Sends `signal` to all members, and returns how many were found.
    pub(crate) fn signal(&mut self, signal: Signal) -> usize {
        // Looked up before anybody can die of it: a process that left the group may be known by its parent alone.
        self.look();
        if let Some(group) = self.group() {
            // One call for the whole group: nobody can fork away from it. It fails if all are gone.
            let _ = kill_process_group(group, signal);
        }
        let group = self.group().map(Pid::as_raw_pid);
        for process in self
            .known
            .iter()
            .filter(|process| Some(process.group) != group)
        {
            send(process, signal);
        }
        self.known.len()
    }

    /// Says whether any member is alive (a zombie is not).
    pub(crate) fn any_alive(&mut self) -> bool {
        self.look();
        !self.known.is_empty()
    }

    fn group(&self) -> Option<Pid> {
        self.leader.filter(|_| self.own_group)
    }

    #[cfg(target_os = "linux")]
    fn look(&mut self) {
        let all = processes();
        let leader = self.leader.map_or(0, Pid::as_raw_pid);
        let group = self.group().map_or(0, Pid::as_raw_pid);
        let belongs = |process: &Process| {
            process.pid == leader
                || (group != 0 && process.group == group)
                || self.known.iter().any(|known| known.is(process))
                || carries(process.pid, &self.tag)
        };
        let mut found: Vec<Process> = all.iter().copied().filter(belongs).collect();
        // Descendants of members, however deep; children are not always listed after their parents.
        let mut next = 0;
        while next < found.len() {
            let parent = found[next].pid;
            for child in all.iter().filter(|process| process.parent == parent) {
                if !found.iter().any(|known| known.pid == child.pid) {
                    found.push(*child);
                }
            }
            next += 1;
        }
        found.retain(|process| process.pid != getpid().as_raw_pid());
        self.known = found;
    }

    #[cfg(not(target_os = "linux"))]
    fn look(&mut self) {
        let alive = self
            .group()
            .filter(|group| rustix::process::test_kill_process_group(*group).is_ok());
        let leader = |group: Pid| Process {
            pid: group.as_raw_pid(),
            parent: 0,
            group: group.as_raw_pid(),
            started: 0,
        };
        self.known = alive.map(leader).into_iter().collect();
    }
}

impl Process {
    fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }
}

/// Sends a signal to the very process that was seen.
///
/// The handle is opened first and the process looked at again after that: a number given anew in between is not hit.
#[cfg(target_os = "linux")]
fn send(process: &Process, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if look_at(process.pid).is_some_and(|now| now.is(process)) {
        // It fails if the process is gone, or another user's: then there is nothing more to do about it.
        let _ = pidfd_send_signal(handle, signal);
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_: &Process, _: Signal) {}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| look_at(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn look_at(pid: i32) -> Option<Process> {
    parse(
        pid,
        &fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?,
    )
}

/// Reads a line of `/proc/PID/stat`; the name in it may hold spaces and parentheses.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        started,
    })
}

fn carries(pid: i32, tag: &str) -> bool {
    !tag.is_empty()
        && fs::read(Path::new("/proc").join(pid.to_string()).join("environ"))
            .is_ok_and(|environment| names(&environment, tag))
}

fn names(environment: &[u8], tag: &str) -> bool {
    environment.split(|byte| *byte == 0).any(|entry| {
        entry
            .strip_prefix(TAG_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(|tags| {
                tags.split(|byte| *byte == b':')
                    .any(|other| other == tag.as_bytes())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_past() {
        let stat = "77 (a) b (c) S 5 6 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 0 0";
        assert_eq!(
            parse(77, stat),
            Some(Process {
                pid: 77,
                parent: 5,
                group: 6,
                started: 98765
            })
        );
        assert_eq!(parse(77, &stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_tag_is_found_whole_and_only_in_its_variable() {
        assert!(names(b"A=1\0MONBAN_CLAIM=outer:inner\0", "inner"));
        assert!(names(b"MONBAN_CLAIM=outer:inner\0", "outer"));
        assert!(!names(b"MONBAN_CLAIM=outer:inner\0", "inn"));
        assert!(!names(
            b"XMONBAN_CLAIM=outer\0MONBAN_CLAIMS=outer\0",
            "outer"
        ));
    }
}
