//! The named points at which a worker kills or stops itself when the plan says so.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

use crate::event::{Log, What};

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Its request is on its way.
    Asking,
    /// It stands in line.
    Waiting,
    /// It has just been granted the key.
    Granted,
    /// It has checked its lease and is about to write.
    Writing,
    /// Its renewal is on its way.
    Renewing,
    /// It is about to release.
    BeforeRelease,
    /// Its release is on its way.
    Releasing,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Asking,
        Self::Waiting,
        Self::Granted,
        Self::Writing,
        Self::Renewing,
        Self::BeforeRelease,
        Self::Releasing,
    ];

    /// As the plan and the history call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Writing => "writing",
            Self::Renewing => "renewing",
            Self::BeforeRelease => "before-release",
            Self::Releasing => "releasing",
        }
    }
}

/// What is to happen at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Die,
    Stop,
}

/// The point that is armed, if any: whoever of the process's callers comes there first does it.
#[derive(Debug, Default)]
pub(super) struct Points {
    armed: Mutex<Option<(Point, Deed)>>,
}

impl Points {
    pub(super) fn arm(&self, name: &str, deed: Deed) {
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        *self.lock() = point.map(|point| (point, deed));
    }

    pub(super) fn disarm(&self) {
        *self.lock() = None;
    }

    pub(super) fn armed(&self, point: Point) -> bool {
        self.lock().is_some_and(|(at, _)| at == point)
    }

    /// Does here what is armed for here.
    pub(super) fn pass(&self, point: Point, log: &Log) {
        let mut armed = self.lock();
        let Some((_, deed)) = armed.take_if(|(at, _)| *at == point) else {
            return;
        };
        drop(armed);
        let signal = match deed {
            Deed::Die => {
                let point = point.name().to_owned();
                log.now(What::Dying { point });
                Signal::KILL
            }
            Deed::Stop => Signal::STOP,
        };
        kill_process(getpid(), signal).expect("a process may signal itself");
    }

    /// Waits for a future, and passes the point when it has been polled once: its request is on its way then.
    pub(super) async fn under_way<F: Future>(&self, point: Point, log: &Log, of: F) -> F::Output {
        let mut of = pin!(of);
        let mut passed = false;
        std::future::poll_fn(|context| {
            let polled = of.as_mut().poll(context);
            if !std::mem::replace(&mut passed, true) {
                self.pass(point, log);
            }
            polled
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Point, Deed)>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
