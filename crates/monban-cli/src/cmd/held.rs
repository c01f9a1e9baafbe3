//! What monban holds while the command runs: one lease, or several as one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, PoisonError};

use monban::{Key, Lease, LeaseEvent, LeaseSet, Result, Turn};

use super::plan::Plan;
use crate::child::{clock, event};

/// The keys, taken.
pub(super) enum Held {
    One(Lease),
    All(LeaseSet),
    Turn(Turn),
}

/// How the command did, as far as the keys are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Success {
    Yes,
    No,
}

impl Held {
    /// The leases, in the order of the command line; never none.
    pub(super) fn leases(&self, plan: &Plan) -> Vec<&Lease> {
        match self {
            Self::One(lease) => vec![lease],
            Self::All(set) => plan.keys().filter_map(|key| set.get(key)).collect(),
            Self::Turn(turn) => vec![turn],
        }
    }

    /// Releases everything, and says whether all was ours until now.
    pub(super) async fn release(self, success: Success) -> Result<()> {
        match (self, success) {
            (Self::One(lease), _) => lease.release().await,
            (Self::All(set), _) => set.release().await,
            (Self::Turn(turn), Success::Yes) => turn.succeeded().await,
            (Self::Turn(turn), Success::No) => turn.failed().await,
        }
    }
}

/// Tells the command's keeper what becomes of the leases; `false` if they have no end to tell of.
///
/// The command may live as long as all of them do, so what it is told is the earliest deadline.
pub(super) fn report(leases: &[&Lease], sender: event::Sender) -> bool {
    let deadlines: Option<Vec<_>> = leases
        .iter()
        .map(|lease| lease.remaining().map(clock::after))
        .collect();
    let Some(deadlines) = deadlines else {
        return false;
    };
    sender.until(earliest(&deadlines));
    let shared = Arc::new((sender, Mutex::new(deadlines)));
    for (at, lease) in leases.iter().enumerate() {
        let shared = Arc::clone(&shared);
        lease.observe(move |event| {
            let (sender, deadlines) = &*shared;
            match event {
                LeaseEvent::Renewed { remaining } => {
                    let mut deadlines = deadlines.lock().unwrap_or_else(PoisonError::into_inner);
                    deadlines[at] = clock::after(remaining);
                    sender.until(earliest(&deadlines));
                }
                _ => sender.lost(),
            }
        });
    }
    true
}

fn earliest(deadlines: &[clock::Moment]) -> clock::Moment {
    deadlines.iter().copied().min().unwrap_or(1)
}

/// What the command is told in its environment: of KEY, and with further keys of each by its number.
pub(super) fn environment(key: &Key, leases: &[&Lease]) -> Vec<(OsString, OsString)> {
    let mut env = Vec::new();
    let main = leases.iter().find(|lease| lease.key() == key);
    if let Some(main) = main.or(leases.first()) {
        describe(main, "", &mut env);
    }
    if leases.len() > 1 {
        env.push(("MONBAN_KEYS".into(), leases.len().to_string().into()));
        for (number, lease) in (1..).zip(leases) {
            describe(lease, &format!("_{number}"), &mut env);
        }
    }
    env
}

fn describe(lease: &Lease, suffix: &str, env: &mut Vec<(OsString, OsString)>) {
    let mut add = |name: &str, value| env.push((format!("{name}{suffix}").into(), value));
    add("MONBAN_KEY", text(lease.key()));
    if let Ok(fence) = lease.fence() {
        add("MONBAN_FENCE", fence.to_string().into());
    }
    if let Some(seat) = lease.seat() {
        add("MONBAN_SEAT", seat.to_string().into());
    }
}

fn text(key: &Key) -> OsString {
    OsString::from_vec(key.as_bytes().to_vec())
}

/// The variables of a monban around this one, whose leases are not ours.
pub(super) fn of_others() -> Vec<OsString> {
    let fixed = ["MONBAN_FENCE", "MONBAN_SEAT", "MONBAN_KEYS"].map(OsString::from);
    let numbered = std::env::vars_os().map(|(name, _)| name);
    fixed
        .into_iter()
        .chain(numbered.filter(|name| is_numbered(name)))
        .collect()
}

fn is_numbered(name: &OsStr) -> bool {
    let names: [&[u8]; 3] = [b"MONBAN_KEY_", b"MONBAN_FENCE_", b"MONBAN_SEAT_"];
    names.iter().any(|prefix| {
        let number = name.as_bytes().strip_prefix(*prefix);
        number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    })
}
