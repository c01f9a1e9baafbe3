//! Watches over the running command: its end, signals to pass on, news of the lease, and what is due when.

use super::clock::{self, Moment};
use super::event::{Event, Receiver};
use super::members::Members;
use super::signals::Signals;
use super::start::start;
use super::wire::{State, TAG_MAX};
use super::{Grouping, Guardian, Job, Outcome, terminal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// How long before a deadline KILL has been sent. The watchdog uses up one half of it, so that monban comes first.
pub(crate) const MARGIN: Duration = Duration::from_millis(200);

/// How often monban looks whether anybody is left of a command that it is ending.
const LOOK: Duration = Duration::from_millis(10);

/// How long after KILL monban waits for processes that do not go away (not ours to kill, or stuck in the kernel).
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command to its end, or to that of the lease. Gives back the watchdog, dismissed: its end overlaps with
/// what else there is to do, and a drop waits for it.
///
/// With `Lost` and `MaxHold` nobody of the command is left, except who cannot be killed. The key is still the
/// caller's to release. `lease` is for stores with a TTL, and for those that tell of a loss.
pub(crate) fn run(
    job: &Job<'_>,
    mut guardian: Guardian,
    lease: Option<&Receiver>,
) -> (Outcome, Guardian) {
    let grouping = if terminal::in_foreground() {
        Grouping::Shared
    } else {
        Grouping::Own
    };
    let mut state = State {
        own_group: grouping == Grouping::Own,
        tag: job.tag.clone(),
        ..State::default()
    };
    if job.tag.len() > TAG_MAX || job.tag.contains(':') {
        return (
            Outcome::Failed(io::Error::from(io::ErrorKind::InvalidInput)),
            guardian,
        );
    }
    // Before the command starts: from here on the watchdog finds it by its tag, keeps the lock, and knows when the
    // lease ends, should monban be stopped at this moment.
    let mut first = None;
    while let Some(event) = lease.and_then(Receiver::next) {
        match event {
            Event::Lost => return (Outcome::Lost, guardian),
            Event::Renewed(deadline) => first = Some(Due::before(deadline, job.kill_after)),
        }
    }
    if let Some(due) = &first {
        due.note(&mut state);
    }
    if let Err(error) = guardian.tell(&state, job.locks) {
        return (Outcome::Failed(error), guardian);
    }
    let signals = match Signals::listen(grouping, job.deaf_to) {
        Ok(signals) => signals,
        Err(error) => return (Outcome::Failed(error), guardian),
    };
    let child = match start(job, grouping) {
        Ok(child) => child,
        Err(outcome) => return (outcome, guardian),
    };
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("the system numbers processes from 1");
    state.pid = Some(pid);
    let mut members = Members::new(&job.tag);
    members.led_by(state.pid, state.own_group);
    let max_hold = job.max_hold.map(clock::after);
    let mut watch = Watch {
        job,
        pid,
        child,
        guardian,
        state,
        members,
        expires: first.map(|due| due.term),
        max_hold,
        ending: None,
        status: None,
    };
    let outcome = watch.until_the_end(signals, grouping, lease);
    watch.guardian.dismiss();
    (outcome, watch.guardian)
}

/// Why a command is being ended.
#[derive(Clone, Copy)]
enum Why {
    Lost,
    MaxHold,
}

struct Watch<'a> {
    job: &'a Job<'a>,
    pid: Pid,
    child: Child,
    guardian: Guardian,
    state: State,
    members: Members,
    /// When TERM is due if the lease is not renewed.
    expires: Option<Moment>,
    max_hold: Option<Moment>,
    ending: Option<(Why, Moment)>,
    status: Option<ExitStatus>,
}

impl Watch<'_> {
    fn until_the_end(
        &mut self,
        mut signals: Signals,
        grouping: Grouping,
        lease: Option<&Receiver>,
    ) -> Outcome {
        if let Err(error) = signals.listen_to_all() {
            return self.give_up(error);
        }
        self.tell();
        // While monban waited there was no command yet to pass a signal on to. What came since then is known twice.
        let earlier = job_signal(self.job);
        let come = signals.first();
        for signal in earlier
            .filter(|earlier| !come.contains(earlier))
            .into_iter()
            .chain(come.iter().copied())
        {
            self.pass_on(signal, grouping);
        }
        loop {
            // We were stopped, or late: the watchdog has begun the end by now, and no renewal that comes after it
            // undoes that.
            if is_past(self.state.term_at) {
                self.begin_end(Why::Lost);
            }
            // The lease comes before the command: one that was lost before the command ended is lost, whatever the code.
            while let Some(event) = lease.and_then(Receiver::next) {
                match event {
                    Event::Lost => self.begin_end(Why::Lost),
                    Event::Renewed(moment) => self.renewed(moment),
                }
            }
            if is_past(self.expires) {
                self.begin_end(Why::Lost);
            }
            if self.reap() && self.ending.is_none() {
                return self.outcome();
            }
            if is_past(self.max_hold) {
                self.begin_end(Why::MaxHold);
            }
            if self.ending.is_some() && self.ended() {
                return self.outcome();
            }
            wait(&signals, lease, self.next_due());
            for signal in signals.take() {
                self.pass_on(signal, grouping);
            }
            // It may have been the watchdog that ended. Without one we go on: the next look tries again.
            let _ = self.guardian.check(&self.state, self.job.locks);
        }
    }

    fn next_due(&self) -> Option<Moment> {
        match self.ending {
            Some(_) => Some(clock::after(LOOK)),
            None => self.expires.into_iter().chain(self.max_hold).min(),
        }
    }

    fn renewed(&mut self, deadline: Moment) {
        let due = Due::before(deadline, self.job.kill_after);
        self.expires = Some(due.term);
        if self.ending.is_none() {
            due.note(&mut self.state);
            self.tell();
        }
    }

    fn begin_end(&mut self, why: Why) {
        if self.ending.is_some() {
            return;
        }
        let kill = clock::after(self.job.kill_after);
        // From now on TERM is ours; KILL falls to the watchdog if we are stopped meanwhile.
        let spare = kill.saturating_add(clock::nanos(MARGIN) / 2);
        self.state.term_at = None;
        self.state.kill_at = Some(
            self.state
                .kill_at
                .map_or(spare, |earlier| earlier.min(spare)),
        );
        self.tell();
        self.members.signal(Signal::TERM);
        // A stopped process takes TERM only once it continues.
        self.members.signal(Signal::CONT);
        self.ending = Some((why, kill));
    }

    /// Says whether nobody is left, and kills who is when the time has come.
    fn ended(&mut self) -> bool {
        let Some((_, kill)) = self.ending else {
            return false;
        };
        let now = clock::now();
        let left = if now < kill {
            self.members.any_alive()
        } else {
            self.members.signal(Signal::KILL) > 0
        };
        !left || now > kill.saturating_add(clock::nanos(PATIENCE))
    }

    /// Tells the watchdog. Without one we go on: the next look at it tries again.
    fn tell(&mut self) {
        let _ = self.guardian.tell(&self.state, self.job.locks);
    }

    /// Says whether the command has ended.
    fn reap(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    fn pass_on(&self, signal: Signal, grouping: Grouping) {
        if self.status.is_some() {
            return;
        }
        // Both fail only if nobody is there any more.
        let _ = match grouping {
            Grouping::Own => kill_process_group(self.pid, signal),
            Grouping::Shared => kill_process(self.pid, signal),
        };
        if signal == Signal::TSTP {
            let _ = kill_process(rustix::process::getpid(), Signal::STOP);
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.ending, self.status) {
            (Some((Why::Lost, _)), _) => Outcome::Lost,
            (Some((Why::MaxHold, _)), _) => Outcome::MaxHold,
            (None, Some(status)) => {
                let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
                match (status.code(), status.signal()) {
                    (Some(code), _) => Outcome::Exited(small(code)),
                    (None, signal) => Outcome::Signalled(small(signal.unwrap_or(0))),
                }
            }
            (None, None) => Outcome::Failed(io::Error::from(io::ErrorKind::Other)),
        }
    }

    /// Ends a command that cannot be watched over.
    fn give_up(&mut self, error: io::Error) -> Outcome {
        self.members.signal(Signal::KILL);
        let _ = self.child.wait();
        Outcome::Failed(error)
    }
}

/// What came while monban waited for the key, when there was no command yet to pass it on to.
fn job_signal(job: &Job<'_>) -> Option<Signal> {
    job.earlier.as_ref().and_then(|earlier| earlier())
}

/// When a command must end so that it is gone before its lease.
struct Due {
    term: Moment,
    kill: Moment,
}

impl Due {
    fn before(deadline: Moment, kill_after: Duration) -> Self {
        let margin = clock::nanos(MARGIN);
        let kill = deadline.saturating_sub(margin).max(1);
        let term = kill.saturating_sub(clock::nanos(kill_after)).max(1);
        Self { term, kill }
    }

    /// For the watchdog, half a margin later than monban itself.
    fn note(&self, state: &mut State) {
        let half = clock::nanos(MARGIN) / 2;
        state.term_at = Some(self.term.saturating_add(half));
        state.kill_at = Some(self.kill.saturating_add(half));
    }
}

fn is_past(moment: Option<Moment>) -> bool {
    moment.is_some_and(|moment| moment <= clock::now())
}

fn wait(signals: &Signals, lease: Option<&Receiver>, next: Option<Moment>) {
    let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
    watched.extend(
        lease
            .filter(|lease| lease.is_open())
            .map(|lease| PollFd::new(lease, PollFlags::IN)),
    );
    let timeout = clock::poll_timeout(next);
    // A signal that interrupts it is in the signals' own descriptor.
    let _ = poll(&mut watched, timeout.as_ref());
}
