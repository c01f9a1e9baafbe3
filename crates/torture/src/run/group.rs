//! Control groups of our own: workers that are frozen, or get next to no processor time.
//!
//! Where this machine does not let us make any, the faults that need them are left out, and the run says so. A
//! guardian, a shell that waits for the end of a pipe, thaws and removes the groups however the run ends.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where groups are made, and the files by which a hierarchy freezes, in both versions of the interface.
const FREEZERS: &[(&str, &str)] = &[
    ("/sys/fs/cgroup/freezer", "freezer.state"),
    ("/sys/fs/cgroup/unified", "cgroup.freeze"),
    ("/sys/fs/cgroup", "cgroup.freeze"),
];
/// The same for the share of the processors.
const QUOTAS: &[(&str, &str)] = &[
    ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"),
    ("/sys/fs/cgroup", "cpu.max"),
];
/// Microseconds, the system's default.
const PERIOD: u32 = 100_000;

const GUARDIAN: &str = r#"read -r _
for group in "$@"; do
  echo THAWED >"$group/freezer.state" || echo 0 >"$group/cgroup.freeze"
done 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  for group in "$@"; do
    [ ! -d "$group" ] || rmdir "$group"
  done 2>/dev/null && exit 0
  sleep 0.1
done"#;

/// The groups of all workers.
#[derive(Debug)]
pub(super) struct Groups {
    freezers: Option<Vec<Group>>,
    quotas: Option<Vec<Group>>,
    guardian: Option<Child>,
}

/// One worker's group in one hierarchy.
#[derive(Debug)]
struct Group {
    dir: PathBuf,
    /// The file that says what is to become of those in it.
    switch: &'static str,
}

/// Whether workers can be frozen, and starved.
#[must_use]
pub(super) fn possible() -> (bool, bool) {
    let probe = |kinds| make("probe", 1, kinds).map(|groups| groups.iter().for_each(Group::remove));
    (probe(FREEZERS).is_some(), probe(QUOTAS).is_some())
}

fn make(name: &str, workers: usize, kinds: &[(&str, &'static str)]) -> Option<Vec<Group>> {
    kinds.iter().find_map(|(root, switch)| {
        let mut groups = Vec::new();
        for worker in 0..workers {
            let own = format!("monban-{name}-{}-{worker}", std::process::id());
            let dir = Path::new(root).join(own);
            let group = fs::create_dir(&dir).map(|()| Group { dir, switch });
            let made = group.is_ok_and(|group| {
                let usable = fs::OpenOptions::new()
                    .write(true)
                    .open(group.dir.join(switch));
                groups.push(group);
                usable.is_ok()
            });
            if !made {
                groups.iter().for_each(Group::remove);
                return None;
            }
        }
        Some(groups)
    })
}

impl Groups {
    /// Makes those that are needed.
    ///
    /// # Errors
    /// The shell that guards them could not be started.
    pub(super) fn make(workers: usize, freeze: bool, starve: bool) -> io::Result<Self> {
        let of = |wanted: bool, name, kinds| wanted.then(|| make(name, workers, kinds)).flatten();
        let mut groups = Self {
            freezers: of(freeze, "freezer", FREEZERS),
            quotas: of(starve, "quota", QUOTAS),
            guardian: None,
        };
        let made = || groups.freezers.iter().chain(&groups.quotas).flatten();
        if made().next().is_some() {
            let guardian = Command::new("/bin/sh")
                .args(["-c", GUARDIAN, "guardian"])
                .args(made().map(|group| &group.dir))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()?;
            groups.guardian = Some(guardian);
        }
        Ok(groups)
    }

    /// Freezes a worker's process, or lets it go on.
    pub(super) fn freeze(&self, worker: usize, process: u32, frozen: bool) {
        let Some(group) = self.freezers.as_ref().and_then(|all| all.get(worker)) else {
            return;
        };
        let word = match (group.switch, frozen) {
            ("freezer.state", true) => "FROZEN",
            ("freezer.state", false) => "THAWED",
            (_, true) => "1",
            (_, false) => "0",
        };
        if frozen {
            group.take_in(process);
        }
        group.say(word);
    }

    /// Lets a frozen worker go on, so that it can be killed.
    pub(super) fn thaw(&self, worker: usize) {
        self.freeze(worker, 0, false);
    }

    /// Gives a worker's process so many hundredths of a processor; `None`: as many as it likes.
    pub(super) fn starve(&self, worker: usize, process: u32, hundredths: Option<u32>) {
        let Some(group) = self.quotas.as_ref().and_then(|all| all.get(worker)) else {
            return;
        };
        let quota = hundredths.map(|hundredths| hundredths * PERIOD / 100);
        let word = match (group.switch, quota) {
            ("cpu.max", Some(quota)) => format!("{quota} {PERIOD}"),
            ("cpu.max", None) => format!("max {PERIOD}"),
            (_, Some(quota)) => quota.to_string(),
            (_, None) => "-1".to_owned(),
        };
        if hundredths.is_some() {
            group.take_in(process);
        }
        group.say(&word);
    }
}

impl Group {
    /// A process that has ended cannot be taken in, and need not.
    fn take_in(&self, process: u32) {
        let _ = fs::write(self.dir.join("cgroup.procs"), process.to_string());
    }

    fn say(&self, word: &str) {
        let _ = fs::write(self.dir.join(self.switch), word);
    }

    fn remove(&self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let Some(guardian) = &mut self.guardian else {
            return;
        };
        if let Some(mut pipe) = guardian.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = guardian.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the machine allows it: a process that counts stands still while it is frozen, and goes on.
    #[test]
    fn a_frozen_process_stands_still_and_its_groups_leave_nothing() {
        let (freezes, starves) = possible();
        if !(freezes && starves) {
            return assert_eq!(counted_groups(), 0);
        }
        let groups = Groups::make(1, true, true).unwrap();
        let mut busy = Command::new("/bin/sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let used = |busy: &Child| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            fields[11].parse::<u64>().unwrap()
        };
        let nap = || std::thread::sleep(std::time::Duration::from_millis(300));
        groups.freeze(0, busy.id(), true);
        nap();
        let before = used(&busy);
        nap();
        assert_eq!(used(&busy), before, "it runs though it is frozen");
        groups.thaw(0);
        groups.starve(0, busy.id(), Some(50));
        while used(&busy) == before {
            nap();
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        drop(groups);
        assert_eq!(counted_groups(), 0);
    }

    fn counted_groups() -> usize {
        let mine = |name: &str| name.contains(&format!("-{}-", std::process::id()));
        let roots = FREEZERS.iter().chain(QUOTAS).map(|(root, _)| root);
        let names = roots.filter_map(|root| fs::read_dir(root).ok()).flatten();
        names
            .flatten()
            .filter(|entry| mine(&entry.file_name().to_string_lossy()))
            .count()
    }
}
