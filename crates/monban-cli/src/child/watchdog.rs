//! The watchdog: monban's own executable in a second process, which outlives monban just long enough to end a command
//! that must not run on.
//!
//! It knows what [`wire::State`] says, holds the lock's descriptor, and reads nothing else. When
//! monban is gone it kills whoever belongs to the command and keeps the descriptor until none of them is left, so that
//! a process which closed its own copy is covered too. When monban is only silent (stopped, or stuck) it kills them
//! before the deadline it was last told.

use super::clock::{self, Moment};
use super::members::Members;
use super::signals;
use super::wire::{self, State};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use std::io::stdin;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// What the watchdog's `argv[0]` says, in listings of processes and to [`requested`].
pub(crate) const NAME: &str = "monban-watchdog";

/// Says whether this process was started as a watchdog.
///
/// Asked before anything else in `main`: a watchdog parses no arguments and reads no configuration.
pub(crate) fn requested() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Guards until monban is gone, and returns when there is nothing left to guard.
pub(crate) fn main() -> ExitCode {
    signals::become_deaf();
    let socket = stdin();
    let mut locks = Vec::new();
    let mut watch: Option<Watch> = None;
    loop {
        let due = watch.as_ref().and_then(Watch::next_due);
        if wait_for_word(due) {
            match wire::receive(socket.as_fd(), &mut locks) {
                Some(state) => watch.get_or_insert_with(|| Watch::new(&state)).learn(state),
                None => break,
            }
        }
        if let Some(watch) = &mut watch {
            watch.act_when_due();
        }
    }
    if let Some(mut watch) = watch {
        watch.end();
    }
    // The descriptor closes with the process, after the last member is gone.
    ExitCode::SUCCESS
}

/// Waits for monban's next word, or its end: `true`; or for `due`: `false`.
fn wait_for_word(due: Option<Moment>) -> bool {
    let socket = stdin();
    let timeout = clock::poll_timeout(due);
    let mut watched = [PollFd::new(&socket, PollFlags::IN)];
    matches!(poll(&mut watched, timeout.as_ref()), Ok(ready) if ready > 0)
}

struct Watch {
    state: State,
    members: Members,
}

impl Watch {
    fn new(state: &State) -> Self {
        Self {
            state: State::default(),
            members: Members::new(&state.tag),
        }
    }

    fn learn(&mut self, state: State) {
        self.members.led_by(state.pid, state.own_group);
        self.state = state;
    }

    fn next_due(&self) -> Option<Moment> {
        self.state
            .term_at
            .into_iter()
            .chain(self.state.kill_at)
            .min()
    }

    fn act_when_due(&mut self) {
        let now = clock::now();
        if self.state.kill_at.is_some_and(|moment| moment <= now) {
            self.end();
            (self.state.term_at, self.state.kill_at) = (None, None);
        } else if self.state.term_at.is_some_and(|moment| moment <= now) {
            self.members.signal(Signal::TERM);
            // A stopped process takes TERM only once it continues.
            self.members.signal(Signal::CONT);
            self.state.term_at = None;
        }
    }

    /// Kills until two looks in a row find nobody: one look may miss a process that is just being forked or executed.
    fn end(&mut self) {
        let mut pause = Duration::from_micros(200);
        let mut quiet = 0;
        while quiet < 2 {
            quiet = if self.members.signal(Signal::KILL) == 0 {
                quiet + 1
            } else {
                0
            };
            sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}
