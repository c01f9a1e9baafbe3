//! A command that runs while its keys are held: from taking them to releasing them.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use monban::contract::Exclusion;
use monban::data::ProcessId;
use monban::{Error, Options, Result, block_on};
use serde_json::json;

use super::claim::{Taken, take};
use super::held::{self, Held, Success};
use super::interrupt::SignalWatch;
use super::plan::{AfterLoss, Kind, Plan, Times};
use super::told;
use crate::args::Patience;
use crate::child::{self, Guardian, Job, Outcome, event};
use crate::exit;
use crate::open::{Opened, open};

/// How long monban waits at its end for a store to answer a release.
const CLOSING: Duration = Duration::from_secs(3);
/// How old the place in line may be that a terminal is shown.
const REFRESH: Duration = Duration::from_secs(2);
/// How often one that waits unseen looks again, though nobody has woken it.
const UNSEEN: Duration = Duration::from_secs(60);
/// How long a candidate waits before it asks a store again that did not answer.
const ASIDE: Duration = Duration::from_secs(1);

/// Runs the command under its keys, and ends as it did.
pub(super) fn guard(store: Option<&str>, plan: &Plan) -> ExitCode {
    match guarded(store, plan) {
        Ok(code) => code,
        Err(error) => {
            plan.voice().error(&error);
            ExitCode::from(exit::code(&error))
        }
    }
}

fn guarded(store: Option<&str>, plan: &Plan) -> Result<ExitCode> {
    let times = Times::of(&plan.guarding)?;
    // Started first: its start overlaps with taking the key.
    let Some(guardian) = watchdog(plan) else {
        return Ok(ExitCode::from(exit::OTHER));
    };
    let opened = open(store, &plan.label())?;
    let end = rounds(&opened, plan, &times, guardian);
    // Whatever has happened: nothing of ours stays in the line.
    if !close(&opened) {
        left_behind(&opened, plan, &end);
    }
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

fn watchdog(plan: &Plan) -> Option<Guardian> {
    match Guardian::start() {
        Ok(guardian) => Some(guardian),
        Err(error) => {
            let message = format!("the watchdog cannot be started: {error}");
            plan.voice()
                .say("error", &message, json!({ "exit": exit::OTHER }));
            None
        }
    }
}

/// How monban is to end.
enum End {
    Code(u8),
    Command(Outcome, Guardian),
    Signal(i32),
}

/// One round, or with `--again` as many as it takes until the command ends by itself.
fn rounds(opened: &Opened, plan: &Plan, times: &Times, first: Guardian) -> Result<End> {
    check(opened, times)?;
    let mut watch = None;
    let mut guardian = first;
    loop {
        let began = Instant::now();
        let end = round(opened, plan, (times, guardian), &mut watch);
        if plan.kind != Kind::Leader(AfterLoss::Again) || !is_lost(&end) {
            return end;
        }
        // It is the time of `--wait` that is over, and the store is away: that is no reason to wait anew.
        let over = matches!(plan.patience, Some(Patience::For(limit)) if began.elapsed() >= limit);
        if over && matches!(&end, Err(Error::Unavailable { .. })) {
            return end;
        }
        if let Err(error) = &end {
            plan.voice().error(error);
            std::thread::sleep(ASIDE);
        }
        drop(end); // waits for the end of its watchdog
        // A HUP was for the command: it lived on, and so do we.
        let signal = watch.as_ref().and_then(SignalWatch::take);
        if let Some(signal) = signal.filter(|signal| *signal != signal_hook::consts::SIGHUP) {
            return Ok(End::Signal(signal));
        }
        let message = format!("standing for election again as leader of {}", plan.key);
        let fields = json!({ "key": plan.key.to_string() });
        plan.voice().say("again", &message, fields);
        guardian = match watchdog(plan) {
            Some(guardian) => guardian,
            None => return Ok(End::Code(exit::OTHER)),
        };
    }
}

/// Whether the leadership was lost, or could not be won since the store did not answer.
fn is_lost(end: &Result<End>) -> bool {
    match end {
        Ok(End::Command(outcome, _)) => matches!(outcome, Outcome::Lost),
        Ok(End::Code(code)) => *code == exit::LOST,
        Ok(End::Signal(_)) => false,
        Err(error) => error.is_transient() || matches!(error, Error::Lost { .. }),
    }
}

fn check(opened: &Opened, times: &Times) -> Result<()> {
    times.check(opened)?;
    let promised = opened.locks.guarantees();
    if promised.exclusion == Exclusion::Process {
        let what = "it excludes nobody outside this process; use file: or redis: for commands";
        return Err(Error::unsupported(promised.store, what));
    }
    Ok(())
}

/// Takes the keys, runs the command, releases.
fn round(
    opened: &Opened,
    plan: &Plan,
    (times, guardian): (&Times, Guardian),
    watch: &mut Option<SignalWatch>,
) -> Result<End> {
    let options = Options::new()
        .ttl(ttl(opened, plan, times))
        .label(plan.label());
    let held = match take(opened, plan, options, watch)? {
        Taken::Held(held) => held,
        Taken::Busy(key, busy) => return Ok(End::Code(told::busy(opened, plan, &key, &busy))),
        Taken::NotDue(busy) => return Ok(End::Code(told::not_due(plan, &busy))),
        Taken::Interrupted(signal) => return Ok(End::Signal(signal)),
    };
    told::ttl(opened, plan, times.ttl, &held.leases(plan));
    let (outcome, guardian) = command(opened, plan, (times, watch.as_ref()), guardian, &held)?;
    told::end(opened, plan, &outcome, &held.leases(plan));
    let kept = leave(opened, plan, &outcome, held);
    if !kept && matches!(outcome, Outcome::Exited(_) | Outcome::Signalled(_)) {
        return Ok(End::Code(exit::LOST));
    }
    Ok(End::Command(outcome, guardian))
}

/// The TTL; where claims have none its third is how often who waits looks again of itself.
fn ttl(opened: &Opened, plan: &Plan, times: &Times) -> Duration {
    match (&opened.files, plan.shows_place()) {
        (None, _) => times.ttl,
        (Some(_), true) => 3 * REFRESH,
        (Some(_), false) => 3 * UNSEEN,
    }
}

/// Runs the command to its end, or to that of a lease.
fn command(
    opened: &Opened,
    plan: &Plan,
    (times, watch): (&Times, Option<&SignalWatch>),
    guardian: Guardian,
    held: &Held,
) -> Result<(Outcome, Guardian)> {
    let leases = held.leases(plan);
    for lease in &leases {
        lease.check()?; // it may be long ago that it was granted
    }
    let failed = |error| {
        Error::unavailable(opened.locks.guarantees().store, "no pipe can be made").because(error)
    };
    let (sender, receiver) = event::channel().map_err(failed)?;
    let news = held::report(&leases, sender).then_some(&receiver);
    let mut locks = Vec::new();
    if let Some(files) = &opened.files {
        for lease in &leases {
            locks.extend(files.held_descriptors(&lease.id())?);
        }
    }
    let locks: Vec<_> = locks.iter().map(AsFd::as_fd).collect();
    let again = plan.kind == Kind::Leader(AfterLoss::Again);
    let job = Job {
        command: &plan.command,
        env: held::environment(&plan.key, &leases),
        // Those of a monban around this one: its leases are not ours.
        env_remove: held::of_others(),
        locks: &locks,
        kill_after: times.kill_after,
        max_hold: plan.guarding.max_hold,
        // Not the claim's digest: SHA-256 asks the processor what it can do, which takes longer than the key.
        tag: ProcessId::random().to_string(),
        earlier: watch.map(|watch| Box::new(|| watch.take().and_then(named)) as _),
        deaf_to: watch
            .filter(|_| again)
            .map_or(&[][..], SignalWatch::ignored),
    };
    Ok(child::run(&job, guardian, news))
}

fn named(signal: i32) -> Option<rustix::process::Signal> {
    rustix::process::Signal::from_named_raw(signal)
}

/// Releases the keys; says whether all were ours until now.
fn leave(opened: &Opened, plan: &Plan, outcome: &Outcome, held: Held) -> bool {
    let success = match outcome {
        Outcome::Exited(0) => Success::Yes,
        _ => Success::No,
    };
    let left = bounded(opened, async move { held.release(success).await });
    let left = left.unwrap_or_else(|| {
        let what = "no answer to the release; the key is free when its TTL has run out";
        Err(Error::unavailable(opened.locks.guarantees().store, what).of_key(&plan.key))
    });
    match left {
        Ok(()) => true,
        Err(error) => {
            let kept = !matches!(error, Error::Lost { .. });
            match outcome {
                // It has been said, and that the key is free is the matter of others.
                Outcome::Lost => {}
                Outcome::Exited(_) | Outcome::Signalled(_) if !kept => plan.voice().error(&error),
                // The command's own end counts; what could not be released ends with its TTL.
                _ => plan.voice().unreleased(&error, outcome.code()),
            }
            kept
        }
    }
}

/// Waits, for a limited time, until the store has answered all releases; says whether it did.
fn close(opened: &Opened) -> bool {
    let locks = opened.locks.clone();
    bounded(opened, async move { locks.close().await }).is_some()
}

/// Says that a place in the line, or what was granted by then, could not be given back.
fn left_behind(opened: &Opened, plan: &Plan, end: &Result<End>) {
    let exit = match end {
        Ok(End::Command(..)) => return, // it was said when the key was to be released, or the lease was lost
        Ok(End::Code(code)) => *code,
        Ok(End::Signal(signal)) => 128 + u8::try_from(*signal).unwrap_or(0),
        Err(error) => exit::code(error),
    };
    let what = "no answer to leaving the line; a place there, or the key if its turn comes, may stay taken until its TTL has run out";
    let error = Error::unavailable(opened.locks.guarantees().store, what).of_key(&plan.key);
    plan.voice().unreleased(&error, exit);
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
