//! A history, put in order: which hold lived how long, who was disturbed when.

use std::collections::{BTreeMap, HashMap};

use crate::event::{Event, Mode, What};

/// One acquisition and what became of it.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Its name in the history.
    pub id: String,
    /// Whose it was.
    pub process: String,
    /// The key.
    pub key: String,
    /// How it was asked for.
    pub mode: Mode,
    /// Whether it waited in line.
    pub waits: bool,
    /// When it was asked for.
    pub asked: u64,
    /// When the store said that it stands in line.
    pub queued: Option<u64>,
    /// When it was granted.
    pub granted: Option<u64>,
    /// Until when its guard said, last, that it is valid; `None`: as long as its process lives.
    pub until: Option<u64>,
    /// Until when it said so at first, when it was granted.
    pub until_at_first: Option<u64>,
    /// The fencing token.
    pub fence: Option<i64>,
    /// The seat.
    pub seat: Option<u32>,
    /// When the guard told that it is lost, and how.
    pub lost: Option<(u64, String)>,
    /// When it was renewed after that, which must not be.
    pub revived: Option<u64>,
    /// When its release began.
    pub release: Option<u64>,
    /// When the store had confirmed its release.
    pub released: Option<u64>,
    /// When its asking ended without a grant.
    pub given_up: Option<u64>,
    /// Whether that was an answer, not a silence.
    pub refused: bool,
    /// When it was freed by hand.
    pub evicted: Option<u64>,
    /// When its process died, or ended.
    pub died: Option<u64>,
    /// When the history ends.
    last: u64,
}

/// A fault, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// As the plan calls it.
    pub kind: String,
    /// The worker that it concerns; `None`: all.
    pub on: Option<String>,
    /// In words.
    pub what: String,
    /// When it began.
    pub from: u64,
    /// When it was over.
    pub to: u64,
}

/// How one process lived.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// When it was ready.
    pub start: u64,
    /// When it ended, if it did.
    pub end: Option<u64>,
    /// Whether it was killed.
    pub killed: bool,
    /// When it did not run: from, to.
    pub stalls: Vec<(u64, u64)>,
}

/// A whole history.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Every acquisition, by when it was asked for.
    pub holds: Vec<Hold>,
    /// Every fault, by when it began.
    pub faults: Vec<Span>,
    /// Every process.
    pub lives: BTreeMap<String, Life>,
    /// The TTL, in nanoseconds.
    pub ttl: u64,
    /// Whether the store promises an order.
    pub ordered: bool,
    /// Whether the store frees the key of a silent holder.
    pub expires: bool,
    /// The first and the last instant.
    pub time: (u64, u64),
    /// The events as they were.
    pub events: Vec<Event>,
    by_name: HashMap<String, usize>,
}

impl Hold {
    /// From when to when its guard said that it is valid; nothing if it was over when it began.
    #[must_use]
    pub fn claimed(&self) -> Option<(u64, u64)> {
        let from = self.granted?;
        let ends = [
            self.release,
            self.until,
            self.lost.as_ref().map(|(at, _)| *at),
            self.died,
        ];
        let to = ends.into_iter().flatten().min().unwrap_or(self.last);
        (to > from).then_some((from, to))
    }

    /// Whether it heard of its grant after that had been freed by hand.
    #[must_use]
    pub fn heard_too_late(&self) -> bool {
        self.granted > self.evicted && self.evicted.is_some()
    }

    /// Whether the store granted it after it had been freed by hand, as a claim that had joined the line anew: it is valid
    /// for longer than a grant can be that was there before.
    #[must_use]
    pub fn came_back(&self, ttl: u64) -> bool {
        self.heard_too_late()
            && self
                .evicted
                .zip(self.until_at_first)
                .is_some_and(|(freed, until)| until > freed + ttl)
    }

    /// Until when it was asked for, or held: what another may have been kept back by.
    #[must_use]
    pub fn over(&self) -> u64 {
        let end = self.claimed().map(|(_, to)| to).or(self.given_up);
        end.or(self.died).unwrap_or(self.last)
    }
}

impl Story {
    /// Puts a history in order.
    #[must_use]
    pub fn of(events: Vec<Event>) -> Self {
        let mut story = Self {
            time: (
                events.first().map_or(0, |event| event.t),
                events.last().map_or(0, |event| event.t),
            ),
            ..Self::default()
        };
        let mut open: HashMap<u32, usize> = HashMap::new();
        let mut claims: HashMap<String, usize> = HashMap::new();
        for event in &events {
            story.take(event, &mut open, &mut claims);
        }
        for event in &events {
            // A claim may be freed by hand before its owner has heard that it holds.
            if let What::Evicted { claim } = &event.what
                && let Some(at) = claims.get(claim)
            {
                story.holds[*at].evicted.get_or_insert(event.t);
            }
        }
        for hold in &mut story.holds {
            hold.last = story.time.1;
            hold.died = story.lives.get(&hold.process).and_then(|life| life.end);
        }
        story.events = events;
        story
    }

    fn take(
        &mut self,
        event: &Event,
        open: &mut HashMap<u32, usize>,
        claims: &mut HashMap<String, usize>,
    ) {
        match &event.what {
            What::Run {
                ttl,
                ordered,
                expires,
                ..
            } => (self.ttl, self.ordered, self.expires) = (*ttl, *ordered, *expires),
            What::Fault { id, kind, on, what } => {
                open.insert(*id, self.faults.len());
                self.faults.push(Span {
                    kind: kind.clone(),
                    on: on.clone(),
                    what: what.clone(),
                    from: event.t,
                    to: self.time.1,
                });
            }
            What::Healed { id } => {
                if let Some(at) = open.get(id) {
                    self.faults[*at].to = event.t;
                }
            }
            What::Step { ns } => self.step(event, *ns),
            What::Asked {
                hold,
                key,
                mode,
                waits,
            } => {
                self.by_name.insert(hold.clone(), self.holds.len());
                self.holds.push(asked(event, hold, key, (*mode, *waits)));
            }
            what => self.live(event, what, claims),
        }
    }

    fn live(&mut self, event: &Event, what: &What, claims: &mut HashMap<String, usize>) {
        let life = |lives: &mut BTreeMap<String, Life>, of: &str, killed| {
            let life = lives.entry(of.to_owned()).or_default();
            life.end = Some(life.end.map_or(event.t, |end| end.min(event.t)));
            life.killed |= killed;
        };
        match what {
            What::Start { .. } => {
                self.lives.entry(event.p.clone()).or_default().start = event.t;
            }
            What::End => life(&mut self.lives, &event.p, false),
            What::Dying { .. } => life(&mut self.lives, &event.p, true),
            What::Dead { process } => life(&mut self.lives, process, true),
            What::Stall { ns } => {
                let stalls = &mut self.lives.entry(event.p.clone()).or_default().stalls;
                stalls.push((event.t.saturating_sub(*ns), event.t));
            }
            _ => self.hold(event, what, claims),
        }
    }

    fn hold(&mut self, event: &Event, what: &What, claims: &mut HashMap<String, usize>) {
        let Some(at) = named(what).and_then(|name| self.by_name.get(name)).copied() else {
            return;
        };
        let hold = &mut self.holds[at];
        match what {
            What::Queued { .. } => hold.queued = hold.queued.or(Some(event.t)),
            What::Granted {
                claim,
                fence,
                seat,
                until,
                ..
            } => {
                claims.insert(claim.clone(), at);
                hold.granted = Some(event.t);
                (hold.fence, hold.seat, hold.until) = (*fence, *seat, *until);
                hold.until_at_first = *until;
            }
            What::Refused { .. } => (hold.given_up, hold.refused) = (Some(event.t), true),
            What::Unknown { .. } => hold.given_up = Some(event.t),
            What::Renewed { until, .. } => {
                if hold.lost.is_some() {
                    hold.revived = Some(event.t);
                } else {
                    hold.until = hold.until.max(*until);
                }
            }
            What::Lost { why, .. } => {
                hold.lost.get_or_insert((event.t, why.clone()));
            }
            What::Release { .. } => hold.release = Some(event.t),
            What::Released { ok: true, .. } => hold.released = Some(event.t),
            _ => {}
        }
    }

    /// Guards of a process whose clock jumps end so much earlier.
    fn step(&mut self, event: &Event, ns: u64) {
        for hold in self.holds.iter_mut().rev() {
            // Nobody holds for longer than this.
            if event.t.saturating_sub(hold.asked) > 100 * self.ttl {
                break;
            }
            if hold.process == event.p && hold.granted.is_some() {
                let ended = |until: u64| until.saturating_sub(ns).max(event.t).min(until);
                hold.until = hold.until.map(ended);
            }
        }
    }

    /// The hold of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Hold> {
        self.by_name.get(name).map(|at| &self.holds[*at])
    }

    /// Whether a fault that concerns this process, or a stall of it, touches this time.
    #[must_use]
    pub fn disturbed(&self, process: &str, from: u64, to: u64) -> bool {
        let fault = self
            .faults
            .iter()
            .any(|fault| fault.concerns(process) && fault.from <= to && fault.to >= from);
        fault || self.stalled(process, from, to) > 0
    }

    /// Whether the server forgot, or its wall clock was moved, between a grant and this instant: outside of what it
    /// promises.
    #[must_use]
    pub fn disturbed_server(&self, granted: Option<u64>, at: u64) -> bool {
        let granted = granted.unwrap_or(at);
        self.faults.iter().any(|fault| {
            matches!(fault.kind.as_str(), "server-wipe" | "server-clock")
                && fault.to >= granted
                && fault.from <= at
                && at <= fault.to + self.ttl
        })
    }

    /// For how long this process did not run within this time, by its own account.
    #[must_use]
    pub fn stalled(&self, process: &str, from: u64, to: u64) -> u64 {
        let stalls = self.lives.get(process).map(|life| life.stalls.as_slice());
        let within = |(a, b): &(u64, u64)| (*b).min(to).saturating_sub((*a).max(from));
        stalls.unwrap_or_default().iter().map(within).sum()
    }

    /// When the last fault that concerns this process and touches this time was over.
    #[must_use]
    pub fn healed(&self, process: &str, from: u64, to: u64) -> Option<u64> {
        let touching = self
            .faults
            .iter()
            .filter(|fault| fault.concerns(process) && fault.from <= to && fault.to >= from);
        touching.map(|fault| fault.to).max()
    }

    /// All holds of each key, by when they were asked for.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Hold>> {
        let mut keys: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
        for hold in &self.holds {
            keys.entry(&hold.key).or_default().push(hold);
        }
        keys
    }
}

impl Span {
    /// Whether it concerns this process: `w3` are all lives of worker 3.
    #[must_use]
    pub fn concerns(&self, process: &str) -> bool {
        self.on.as_deref().is_none_or(|on| worker(process) == on)
    }
}

/// The worker of a process: `w3` of `w3.1`.
#[must_use]
pub fn worker(process: &str) -> &str {
    process.split('.').next().unwrap_or(process)
}

fn asked(event: &Event, id: &str, key: &str, (mode, waits): (Mode, bool)) -> Hold {
    Hold {
        id: id.to_owned(),
        process: event.p.clone(),
        key: key.to_owned(),
        mode,
        waits,
        asked: event.t,
        queued: None,
        granted: None,
        until: None,
        until_at_first: None,
        fence: None,
        seat: None,
        lost: None,
        revived: None,
        release: None,
        released: None,
        given_up: None,
        refused: false,
        evicted: None,
        died: None,
        last: 0,
    }
}

/// Which acquisition an event is of.
fn named(what: &What) -> Option<&str> {
    match what {
        What::Asked { hold, .. }
        | What::Queued { hold }
        | What::Granted { hold, .. }
        | What::Refused { hold, .. }
        | What::Unknown { hold, .. }
        | What::Renewed { hold, .. }
        | What::Lost { hold, .. }
        | What::Release { hold }
        | What::Released { hold, .. } => Some(hold),
        _ => None,
    }
}
