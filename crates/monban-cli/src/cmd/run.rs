//! `monban run`: runs a command while holding a key.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use monban::contract::{Exclusion, Liveness, Why};
use monban::data::duration_text;
use monban::{BusyInfo, Error, Lease, LeaseEvent, Options, Result, block_on};
use serde_json::json;

use super::claim::{SignalWatch, Taken, take, voice};
use crate::args::Run;
use crate::child::{self, Guardian, Job, Outcome, event};
use crate::exit;
use crate::open::{Opened, open};
use crate::say::Voice;

const DEFAULT_TTL: Duration = Duration::from_secs(30);
const MIN_TTL: Duration = Duration::from_secs(1);
const DEFAULT_KILL_AFTER: Duration = Duration::from_secs(5);
/// How long monban waits at its end for a store to answer a release.
const CLOSING: Duration = Duration::from_secs(3);

/// Runs the command under the key, and ends as it did.
pub(super) fn run(store: Option<&str>, run: Run) -> ExitCode {
    let voice = voice(&run);
    match guarded(store, &run, voice) {
        Ok(code) => code,
        Err(error) => {
            voice.error(&error);
            ExitCode::from(exit::code(&error))
        }
    }
}

fn guarded(store: Option<&str>, run: &Run, voice: Voice) -> Result<ExitCode> {
    let times = Times::of(run)?;
    // Started first: its start overlaps with taking the key.
    let guardian = match Guardian::start() {
        Ok(guardian) => guardian,
        Err(error) => {
            let message = format!("the watchdog cannot be started: {error}");
            voice.say("error", &message, json!({ "exit": exit::OTHER }));
            return Ok(ExitCode::from(exit::OTHER));
        }
    };
    let label = label(run);
    let opened = open(store, &label)?;
    let end = with_key(&opened, run, voice, (&times, guardian, label));
    // Whatever has happened: nothing of ours stays in the line.
    close(&opened);
    match end? {
        End::Code(code) => Ok(ExitCode::from(code)),
        End::Command(outcome, guardian) => {
            drop(guardian);
            Ok(child::end(&outcome))
        }
        End::Signal(signal) => {
            // Ends this process as the signal would have; returns only if it cannot.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            Ok(ExitCode::from(128 + u8::try_from(signal).unwrap_or(0)))
        }
    }
}

/// How monban is to end.
enum End {
    Code(u8),
    Command(Outcome, Guardian),
    Signal(i32),
}

fn with_key(
    opened: &Opened,
    run: &Run,
    voice: Voice,
    (times, guardian, label): (&Times, Guardian, String),
) -> Result<End> {
    times.check(opened)?;
    let promised = opened.locks.guarantees();
    if promised.exclusion == Exclusion::Process {
        let what = "it excludes nobody outside this process; use file: or redis: for commands";
        return Err(Error::unsupported(promised.store, what));
    }
    let options = Options::new().ttl(times.ttl).label(label);
    let (lease, watch) = match take(opened, run, options)? {
        Taken::Lease(lease, watch) => (lease, watch),
        Taken::Busy(busy) => return Ok(End::Code(say_busy(opened, run, voice, &busy))),
        Taken::NotDue(busy) => return Ok(End::Code(say_not_due(run, voice, &busy))),
        Taken::Interrupted(signal) => return Ok(End::Signal(signal)),
    };
    let (outcome, guardian) = command(opened, run, (times, watch.as_ref()), guardian, &lease)?;
    explain(run, voice, &outcome);
    let kept = leave(opened, run, voice, (&outcome, lease));
    if !kept && matches!(outcome, Outcome::Exited(_) | Outcome::Signalled(_)) {
        return Ok(End::Code(exit::LOST));
    }
    Ok(End::Command(outcome, guardian))
}

/// Runs the command to its end, or to that of the lease.
fn command(
    opened: &Opened,
    run: &Run,
    (times, watch): (&Times, Option<&SignalWatch>),
    guardian: Guardian,
    lease: &Lease,
) -> Result<(Outcome, Guardian)> {
    lease.check()?; // it may be long ago that it was granted
    let failed = |error| {
        Error::unavailable(opened.locks.guarantees().store, "no pipe can be made").because(error)
    };
    let (sender, receiver) = event::channel().map_err(failed)?;
    let news = lease.remaining().map(|left| {
        sender.renewed(left);
        lease.observe(move |event| match event {
            LeaseEvent::Renewed { remaining } => sender.renewed(remaining),
            _ => sender.lost(),
        });
        &receiver
    });
    let locks = match &opened.files {
        Some(files) => files.held_descriptors(&lease.id())?,
        None => Vec::new(),
    };
    let locks: Vec<_> = locks.iter().map(AsFd::as_fd).collect();
    let job = Job {
        command: &run.command,
        env: environment(lease),
        // Those of a monban around this one: its lease is not ours.
        env_remove: ["MONBAN_FENCE", "MONBAN_SEAT"].map(OsString::from).into(),
        locks: &locks,
        kill_after: times.kill_after,
        max_hold: run.max_hold,
        tag: lease.id().digest(),
        earlier: watch.map(|watch| Box::new(|| watch.seen()) as _),
    };
    Ok(child::run(&job, guardian, news))
}

/// Releases the key; says whether it was ours until now.
fn leave(opened: &Opened, run: &Run, voice: Voice, (outcome, lease): (&Outcome, Lease)) -> bool {
    let succeeded = matches!(outcome, Outcome::Exited(0));
    let linger = match run.every {
        Some(every) if succeeded => every.saturating_sub(lease.held_for()),
        _ => Duration::ZERO,
    };
    let key = lease.key().clone();
    let left = bounded(opened, async move { lease.release_lingering(linger).await });
    let left = left.unwrap_or_else(|| {
        let what = "no answer to the release; the key is free when its TTL has run out";
        Err(Error::unavailable(opened.locks.guarantees().store, what).of_key(&key))
    });
    match left {
        Ok(()) => true,
        Err(error @ Error::Lost { .. }) => {
            if !matches!(outcome, Outcome::Lost) {
                voice.error(&error);
            }
            false
        }
        Err(error) => {
            // The command's own end counts; what could not be released ends with its TTL.
            voice.error(&error);
            true
        }
    }
}

/// Waits, for a limited time, until the store has answered all releases.
fn close(opened: &Opened) {
    let locks = opened.locks.clone();
    bounded(opened, async move { locks.close().await });
}

/// Waits for a future, but not for ever where a store may be out of reach.
fn bounded<T: Send + 'static>(
    opened: &Opened,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    if opened.files.is_some() {
        return Some(block_on(future)); // it has nothing to wait for
    }
    let (sender, receiver) = mpsc::channel();
    let wait = move || drop(sender.send(block_on(future)));
    std::thread::Builder::new().spawn(wait).ok()?;
    receiver.recv_timeout(CLOSING).ok()
}

fn environment(lease: &Lease) -> Vec<(OsString, OsString)> {
    let key = OsString::from_vec(lease.key().as_bytes().to_vec());
    let mut env = vec![(OsString::from("MONBAN_KEY"), key)];
    if let Ok(fence) = lease.fence() {
        env.push(("MONBAN_FENCE".into(), fence.to_string().into()));
    }
    if let Some(seat) = lease.seat() {
        env.push(("MONBAN_SEAT".into(), seat.to_string().into()));
    }
    env
}

/// The times that belong together.
struct Times {
    ttl: Duration,
    kill_after: Duration,
}

impl Times {
    fn of(run: &Run) -> Result<Self> {
        let ttl = run.ttl.unwrap_or(DEFAULT_TTL);
        if ttl < MIN_TTL {
            return Err(Error::invalid(format!(
                "--ttl {} is too short to guard a command; use at least 1s",
                duration_text(ttl)
            )));
        }
        let kill_after = run.kill_after.unwrap_or(DEFAULT_KILL_AFTER.min(ttl / 4));
        Ok(Self { ttl, kill_after })
    }

    /// Where leases have a TTL the command must be gone before it ends, with time for renewals before that.
    fn check(&self, opened: &Opened) -> Result<()> {
        let has_ttl = opened.locks.guarantees().liveness == Liveness::Ttl;
        if has_ttl && self.kill_after + Duration::from_millis(200) > self.ttl / 2 {
            return Err(Error::invalid(format!(
                "--kill-after {} leaves no time within --ttl {}; make the TTL more than twice as long",
                duration_text(self.kill_after),
                duration_text(self.ttl)
            )));
        }
        Ok(())
    }
}

/// The command's name: its arguments may hold secrets.
fn label(run: &Run) -> String {
    let name = || {
        let command = run
            .command
            .first()
            .map(OsString::as_os_str)
            .unwrap_or_default();
        Path::new(command)
            .file_name()
            .unwrap_or(OsStr::new(""))
            .to_string_lossy()
            .into_owned()
    };
    run.label.clone().unwrap_or_else(name)
}

fn say_busy(opened: &Opened, run: &Run, voice: Voice, busy: &BusyInfo) -> u8 {
    let code = run.conflict_exit_code.unwrap_or(exit::BUSY);
    if !run.quiet {
        let fields = json!({
            "key": run.key.to_string(),
            "why": format!("{:?}", busy.why).to_lowercase(),
            "host": busy.who.as_ref().map(|who| monban::data::printable(who.host())),
            "pid": busy.who.as_ref().map(monban::Claimant::pid),
            "ahead": busy.ahead,
            "held_ms": busy.held_for.map(millis),
            "free_in_ms": busy.free_in.map(millis),
            "store": opened.name,
            "exit": code,
        });
        voice.say("busy", &busy_message(opened, run, busy), fields);
    }
    code
}

fn busy_message(opened: &Opened, run: &Run, busy: &BusyInfo) -> String {
    let key = &run.key;
    let details = |known: &mut Vec<String>| {
        if let Some(d) = busy.held_for {
            known.push(format!("for {}", duration_text(d)));
        }
        format!("{}; store: {}", known.join(", "), opened.name)
            .trim_start_matches("; ")
            .to_owned()
    };
    let who = busy.who.as_ref().map(ToString::to_string);
    let mut known: Vec<String> = who.into_iter().collect();
    match busy.why {
        Why::Held => {
            format!(
                "Another process is already running {key} ({})",
                details(&mut known)
            )
        }
        Why::Queued => {
            let ahead = busy
                .ahead
                .map_or_else(String::new, |n| format!("{n} ahead"));
            known.push(ahead);
            known.retain(|part| !part.is_empty());
            format!("Others are waiting for {key} ({})", details(&mut known))
        }
        Why::Lingering => {
            if let Some(left) = busy.free_in {
                known.push(format!("free in {}", duration_text(left)));
            }
            format!("{key} was run and is still kept ({})", details(&mut known))
        }
        Why::Foreign => {
            if let Some(left) = busy.free_in {
                known.push(format!("expires in {}", duration_text(left)));
            }
            format!(
                "{key} is held by a process that is not monban ({})",
                details(&mut known)
            )
        }
    }
}

fn say_not_due(run: &Run, voice: Voice, busy: &BusyInfo) -> u8 {
    if !run.quiet {
        let due = busy
            .free_in
            .map_or_else(String::new, |d| format!(" for {}", duration_text(d)));
        let last = busy
            .who
            .as_ref()
            .map_or_else(String::new, |who| format!(" (last run by {who})"));
        let message = format!("{} is not due{due}{last}", run.key);
        let fields = json!({ "key": run.key.to_string(), "due_in_ms": busy.free_in.map(millis) });
        voice.say("not_due", &message, fields);
    }
    0
}

/// Says what the exit code alone does not tell.
fn explain(run: &Run, voice: Voice, outcome: &Outcome) {
    let command = monban::data::printable(run.command[0].as_encoded_bytes());
    let (event, message) = match outcome {
        Outcome::Exited(_) | Outcome::Signalled(_) => return,
        Outcome::Lost => (
            "lost",
            format!(
                "the lease on {} was lost; the command has been ended",
                run.key
            ),
        ),
        Outcome::MaxHold => {
            let limit = run.max_hold.map(duration_text).unwrap_or_default();
            (
                "max_hold",
                format!(
                    "{} was held for {limit}; the command has been ended",
                    run.key
                ),
            )
        }
        Outcome::NotFound => ("not_found", format!("{command}: there is no such command")),
        Outcome::NotExecutable(error) => (
            "not_executable",
            format!("{command} cannot be executed: {error}"),
        ),
        Outcome::Failed(error) => ("error", format!("{command} cannot be run: {error}")),
    };
    voice.say(
        event,
        &message,
        json!({ "key": run.key.to_string(), "exit": outcome.code() }),
    );
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
