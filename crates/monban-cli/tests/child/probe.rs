//! Stands for `monban run`: a flock'ed file for a lock, a scripted lease for a store with a TTL.

use crate::child::{self, Guardian, Job, Outcome, event};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread::{sleep, spawn};
use std::time::Duration;

#[derive(Default)]
struct Options {
    lock: Option<OsString>,
    /// The lease's length; renewed at a third of it, unless `silent`.
    ttl: Option<Duration>,
    silent: bool,
    lost_after: Option<Duration>,
    max_hold: Option<Duration>,
    kill_after: Duration,
    tag: String,
    env: Vec<(OsString, OsString)>,
    env_remove: Vec<OsString>,
    command: Vec<OsString>,
}

pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let options = parse(arguments);
    let guardian = Guardian::start().expect("the watchdog starts");
    let lock = options.lock.as_ref().map(|path| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    });
    let lease = lease(&options);
    let locks: Vec<_> = lock.iter().map(AsFd::as_fd).collect();
    let job = Job {
        command: &options.command,
        env: options.env.clone(),
        env_remove: options.env_remove.clone(),
        locks: &locks,
        kill_after: options.kill_after,
        max_hold: options.max_hold,
        tag: options.tag.clone(),
        earlier: None,
        deaf_to: &[],
    };
    let (outcome, guardian) = child::run(&job, guardian, lease.as_ref());
    if let Some(lock) = &lock {
        flock(lock, FlockOperation::Unlock).unwrap();
    }
    if let Outcome::NotExecutable(error) | Outcome::Failed(error) = &outcome {
        eprintln!("probe: {error}");
    }
    drop(guardian);
    child::end(&outcome)
}

fn lease(options: &Options) -> Option<event::Receiver> {
    let (sender, receiver) = event::channel().unwrap();
    if let Some(after) = options.lost_after {
        spawn(move || {
            sleep(after);
            sender.lost();
        });
        return Some(receiver);
    }
    let ttl = options.ttl?;
    sender.until(child::clock::after(ttl));
    if !options.silent {
        spawn(move || {
            loop {
                sleep(ttl / 3);
                sender.until(child::clock::after(ttl));
            }
        });
    }
    Some(receiver)
}

fn parse(arguments: &[OsString]) -> Options {
    let mut options = Options {
        kill_after: Duration::from_secs(5),
        ..Options::default()
    };
    options.tag = format!("probe-{}", std::process::id());
    let mut arguments = arguments.iter().cloned();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("an option has a value");
        let mut millis = || Duration::from_millis(value().to_str().unwrap().parse().unwrap());
        match argument.to_str().unwrap() {
            "--ttl" => options.ttl = Some(millis()),
            "--lost-after" => options.lost_after = Some(millis()),
            "--max-hold" => options.max_hold = Some(millis()),
            "--kill-after" => options.kill_after = millis(),
            "--silent" => options.silent = true,
            "--lock" => options.lock = Some(value()),
            "--env" => options.env.push((value(), value())),
            "--env-remove" => options.env_remove.push(value()),
            "--" => options.command = arguments.by_ref().collect(),
            other => panic!("unknown option {other}"),
        }
    }
    options
}
