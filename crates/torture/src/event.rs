//! What happened, one JSON object a line.
//!
//! An acquisition and all that becomes of it carry one name, `hold`. Only [`What::Granted`] counts as held:
//! an acquisition whose outcome is unknown must later be neither held nor left behind, and a release whose
//! outcome is unknown has ended the critical section all the same.
//! Source of that rule: Jepsen's test of etcd's locks.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::now;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub t: u64,
    /// Which process: `w3.1` is the second life of worker 3.
    pub p: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// How a key was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Beside other readers.
    Shared,
    /// So many permits.
    Permits {
        /// Taken.
        n: u32,
        /// That there are.
        of: u32,
    },
}

impl Mode {
    /// Whether two holders of a key exclude each other, by themselves.
    #[must_use]
    pub fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Shared, Self::Shared) => false,
            (Self::Permits { n, of }, Self::Permits { n: m, .. }) => n + m > of,
            _ => true,
        }
    }
}

/// What happened; the fields that all share are in [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum What {
    /// A run begins.
    Run {
        /// The store, without a password.
        store: String,
        /// The seed of the plan.
        seed: u64,
        /// The TTL of every claim, in nanoseconds.
        ttl: u64,
        /// What the store promises, and other facts for a reader.
        facts: Vec<String>,
        /// Whether it promises an order, so that the order is checked.
        ordered: bool,
        /// Whether it frees the key of a silent holder, so that a stopped one is overtaken.
        expires: bool,
    },
    /// A process is ready.
    Start {
        /// Its process id.
        pid: u32,
    },
    /// A process ends by its own will, all its work done.
    End,
    /// A process kills itself with SIGKILL, here.
    Dying {
        /// Where it stands.
        point: String,
    },
    /// The conductor killed or reaped a process; whatever it held is ended from now on at the latest.
    Dead {
        /// Which.
        process: String,
    },
    /// A process found that it had not run for so long, up to now.
    Stall {
        /// Nanoseconds.
        ns: u64,
    },
    /// The clocks of a process jump ahead: its guards are valid for so much less, from now on.
    Step {
        /// Nanoseconds.
        ns: u64,
    },
    /// What a process has open.
    Census {
        /// Before its first work, or after its last.
        first: bool,
        /// Keys in use and leases watched.
        residue: usize,
        /// Open descriptors.
        descriptors: usize,
        /// Threads.
        threads: usize,
    },
    /// An acquisition is about to be asked for.
    Asked {
        /// Its name.
        hold: String,
        /// The key.
        key: String,
        /// How.
        mode: Mode,
        /// Whether it waits in line if the key is busy.
        waits: bool,
    },
    /// The store has said that it stands in line.
    Queued {
        /// Its name.
        hold: String,
    },
    /// It is held.
    Granted {
        /// Its name.
        hold: String,
        /// What the store calls it, for people.
        claim: String,
        /// The fencing token.
        fence: Option<i64>,
        /// The seat of a permit.
        seat: Option<u32>,
        /// Until when its guard says that it is valid; `None`: as long as its process lives.
        until: Option<u64>,
    },
    /// It is not held, for certain.
    Refused {
        /// Its name.
        hold: String,
        /// Why.
        why: String,
    },
    /// Whether the store has granted it is not known, and nobody will use it.
    Unknown {
        /// Its name.
        hold: String,
        /// Why.
        why: String,
    },
    /// Its guard is valid for longer.
    Renewed {
        /// Its name.
        hold: String,
        /// Until when.
        until: Option<u64>,
    },
    /// Its guard has told that it is lost.
    Lost {
        /// Its name.
        hold: String,
        /// How.
        why: String,
    },
    /// Its release begins: nobody relies on it from now on.
    Release {
        /// Its name.
        hold: String,
    },
    /// Its release has ended.
    Released {
        /// Its name.
        hold: String,
        /// Whether the store confirmed it.
        ok: bool,
        /// What was said otherwise.
        why: String,
    },
    /// A write with a fencing token has arrived at the fenced resource.
    Write {
        /// By which hold.
        hold: String,
        /// The resource's key.
        key: String,
        /// The token.
        fence: i64,
        /// The seat.
        seat: Option<u32>,
        /// Whether the resource took it.
        accepted: bool,
    },
    /// The unguarded counter was read.
    Read {
        /// By which hold.
        hold: String,
        /// The counter's key.
        key: String,
        /// What was read.
        value: u64,
    },
    /// The unguarded counter was written.
    Put {
        /// By which hold.
        hold: String,
        /// The counter's key.
        key: String,
        /// What was written.
        value: u64,
    },
    /// A fault begins.
    Fault {
        /// Its number.
        id: u32,
        /// Its kind, as the plan calls it.
        kind: String,
        /// The worker that it concerns; `None`: all.
        on: Option<String>,
        /// In words.
        what: String,
    },
    /// A fault is over.
    Healed {
        /// Its number.
        id: u32,
    },
    /// A claim was freed by hand.
    Evicted {
        /// What the store calls it.
        claim: String,
    },
    /// What is left in the store after all have ended and a TTL has passed.
    Left {
        /// One line for each thing.
        things: Vec<String>,
    },
}

/// Writes events to a file: each is one system call, so that a killed process has written all or nothing of it.
#[derive(Debug)]
pub struct Log {
    file: Mutex<File>,
    process: String,
}

impl Log {
    /// Appends to this file, as this process.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn append(path: &Path, process: &str) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            file: Mutex::new(file),
            process: process.to_owned(),
        })
    }

    /// Writes what happens now.
    pub fn now(&self, what: What) {
        self.at(now(), what);
    }

    /// Writes what happened at an instant.
    ///
    /// # Panics
    /// If it cannot be written: a history with holes proves nothing.
    pub fn at(&self, t: u64, what: What) {
        let p = self.process.clone();
        let mut line = serde_json::to_vec(&Event { t, p, what })
            .expect("an event is made of text and numbers");
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).expect("the history can be written");
    }
}

/// Reads a history, in order of time.
///
/// # Errors
/// It cannot be read, or a line is no event; the message names the line.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for (at, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let event = serde_json::from_str(&line?).map_err(|error| {
            let message = format!("{}:{}: {error}", path.display(), at + 1);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        events.push(event);
    }
    events.sort_by_key(|event: &Event| event.t);
    Ok(events)
}

/// Writes a history.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_comes_back_as_it_was_and_in_order_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let log = Log::append(&path, "w0.0").unwrap();
        let mode = Mode::Permits { n: 1, of: 3 };
        let asked = What::Asked {
            hold: "h".into(),
            key: "k".into(),
            mode,
            waits: true,
        };
        log.at(9, asked.clone());
        log.at(4, What::End);
        let events = read(&path).unwrap();
        assert_eq!((events[0].t, &events[0].what), (4, &What::End));
        assert_eq!((events[1].t, &events[1].what), (9, &asked));
        write(&path, &events).unwrap();
        assert_eq!(read(&path).unwrap(), events);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains(":1:"));
    }
}
