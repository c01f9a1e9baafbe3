//! Hand-written histories for the tests of the checkers. Times are in milliseconds.
#![allow(clippy::too_many_arguments, reason = "a line of a tale says all")]

use crate::event::{Event, Mode, What};
use crate::story::Story;

pub(crate) const X: Mode = Mode::Exclusive;
const MS: u64 = 1_000_000;

pub(crate) fn permits(n: u32, of: u32) -> Mode {
    Mode::Permits { n, of }
}

#[derive(Clone)]
pub(crate) struct Tale {
    events: Vec<Event>,
    faults: u32,
}

impl Tale {
    /// The TTL of its claims.
    pub(crate) const TTL: u64 = 1_000;

    pub(crate) fn new() -> Self {
        let tale = Self {
            events: Vec::new(),
            faults: 0,
        };
        tale.event(
            0,
            "conductor",
            What::Run {
                store: "memory:".into(),
                seed: 0,
                ttl: Self::TTL * MS,
                facts: vec![],
                ordered: true,
                expires: true,
            },
        )
    }

    pub(crate) fn event(mut self, ms: u64, process: &str, what: What) -> Self {
        let t = ms * MS;
        let p = process.to_owned();
        self.events.push(Event { t, p, what });
        self
    }

    pub(crate) fn story(mut self) -> Story {
        self.events.sort_by_key(|event| event.t);
        Story::of(self.events)
    }

    pub(crate) fn asked(self, at: u64, who: &str, hold: &str, key: &str, mode: Mode) -> Self {
        let (hold, key) = (hold.into(), key.into());
        let waits = true;
        self.event(
            at,
            who,
            What::Asked {
                hold,
                key,
                mode,
                waits,
            },
        )
    }

    pub(crate) fn queued(self, at: u64, who: &str, hold: &str) -> Self {
        self.event(at, who, What::Queued { hold: hold.into() })
    }

    pub(crate) fn given(self, at: u64, who: &str, hold: &str, fence: i64) -> Self {
        let until = None;
        self.event(
            at,
            who,
            What::Granted {
                hold: hold.into(),
                claim: hold.into(),
                fence: Some(fence),
                seat: None,
                until,
            },
        )
    }

    pub(crate) fn granted(
        self,
        at: u64,
        who: &str,
        hold: &str,
        key: &str,
        mode: Mode,
        until: Option<u64>,
    ) -> Self {
        let granted = What::Granted {
            hold: hold.into(),
            claim: hold.into(),
            fence: None,
            seat: None,
            until: until.map(|ms| ms * MS),
        };
        self.asked(at, who, hold, key, mode).event(at, who, granted)
    }

    /// Asked for and granted at once, released and confirmed, in a process of its own.
    pub(crate) fn hold(
        self,
        hold: &str,
        key: &str,
        mode: Mode,
        (from, to): (u64, u64),
        fence: i64,
    ) -> Self {
        let who = format!("{hold}.0");
        self.asked(from, &who, hold, key, mode)
            .given(from, &who, hold, fence)
            .release(to, &who, hold)
    }

    pub(crate) fn seated(
        self,
        hold: &str,
        key: &str,
        mode: Mode,
        (from, to): (u64, u64),
        seat: u32,
    ) -> Self {
        let who = format!("{hold}.0");
        let granted = What::Granted {
            hold: hold.into(),
            claim: hold.into(),
            fence: Some(i64::try_from(from).unwrap()),
            seat: Some(seat),
            until: None,
        };
        self.asked(from, &who, hold, key, mode)
            .event(from, &who, granted)
            .release(to, &who, hold)
    }

    pub(crate) fn renewed(self, at: u64, who: &str, hold: &str, until: u64) -> Self {
        let until = Some(until * MS);
        let hold = hold.into();
        self.event(at, who, What::Renewed { hold, until })
    }

    pub(crate) fn lost(self, at: u64, who: &str, hold: &str) -> Self {
        let (hold, why) = (hold.into(), "expired".into());
        self.event(at, who, What::Lost { hold, why })
    }

    pub(crate) fn release(self, at: u64, who: &str, hold: &str) -> Self {
        let released = What::Released {
            hold: hold.into(),
            ok: true,
            why: String::new(),
        };
        self.event(at, who, What::Release { hold: hold.into() })
            .event(at, who, released)
    }

    pub(crate) fn refused(self, at: u64, who: &str, hold: &str) -> Self {
        let (hold, why) = (hold.into(), "timed out".into());
        self.event(at, who, What::Refused { hold, why })
    }

    pub(crate) fn dead(self, at: u64, who: &str) -> Self {
        let process = who.into();
        self.event(at, "conductor", What::Dead { process })
    }

    pub(crate) fn end(self, at: u64, who: &str) -> Self {
        self.event(at, who, What::End)
    }

    pub(crate) fn stall(self, (from, to): (u64, u64), who: &str) -> Self {
        let ns = (to - from) * MS;
        self.event(to, who, What::Stall { ns })
    }

    pub(crate) fn evicted(self, at: u64, hold: &str) -> Self {
        let claim = hold.into();
        self.event(at, "conductor", What::Evicted { claim })
    }

    pub(crate) fn fault(mut self, kind: &str, on: Option<&str>, (from, to): (u64, u64)) -> Self {
        self.faults += 1;
        let id = self.faults;
        let fault = What::Fault {
            id,
            kind: kind.into(),
            on: on.map(str::to_owned),
            what: kind.into(),
        };
        self.event(from, "conductor", fault)
            .event(to, "conductor", What::Healed { id })
    }

    pub(crate) fn write(self, at: u64, hold: &str, key: &str, fence: i64, accepted: bool) -> Self {
        let what = What::Write {
            hold: hold.into(),
            key: key.into(),
            fence,
            seat: None,
            accepted,
        };
        self.event(at, "resource", what)
    }

    pub(crate) fn counter(self, hold: &str, key: &str, read: (u64, u64), put: (u64, u64)) -> Self {
        let (hold, key) = (hold.to_owned(), key.to_owned());
        let value = read.1;
        let read_it = What::Read {
            hold: hold.clone(),
            key: key.clone(),
            value,
        };
        let value = put.1;
        self.event(read.0, "resource", read_it).event(
            put.0,
            "resource",
            What::Put { hold, key, value },
        )
    }
}
