//! What this process has in etcd: its claims, and the leases that they are attached to.
//!
//! One lease serves all claims of one TTL, and stays between them. It lives a little longer than they do (see
//! [`lease_seconds`]), so that joining costs no renewal of it: only if the last one is too long ago is it renewed first.
//! What a shared lease cannot do, end one claim that nobody renews while others live, is done here: each claim has an
//! instant from which it is deleted by us.
//!
//! A leader renews leases alone, without asking the others. One that was stopped, or cut off, and has been replaced may
//! renew one before it hears of that, which changes nothing: version 3.4.23 does. So a renewal counts once a majority
//! has confirmed, in answer to something asked later, that there was no election since.
//!
//! A request whose answer was lost may be carried out at any time later, and put a claim that nobody wants any more
//! under a lease that lives on for others. So its lease is *retired*: no new claim gets it, what is attached to it and
//! is nobody's is deleted, and when its last claim has left it is revoked, after which nothing can be put under it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::data::{Claim, ClaimId};
use crate::rule::{Clock, Tick};

/// An unused lease is kept for so long.
const IDLE: Duration = Duration::from_secs(120);
/// How often a retired lease is looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// The TTL as etcd counts it: whole seconds, rounded up.
pub(super) fn whole(ttl: Duration) -> Duration {
    Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
}

/// For how long a lease for claims of this TTL is asked to live: a sixteenth longer, between one and five seconds.
pub(super) fn lease_seconds(ttl: Duration) -> i64 {
    let seconds = whole(ttl).as_secs();
    let margin = (1 + seconds / 16).min(5);
    i64::try_from(seconds + margin).unwrap_or(i64::MAX)
}

/// The claims and leases of a store.
#[derive(Debug)]
pub(super) struct Table {
    clock: Clock,
    inner: Mutex<Inner>,
    /// There is something to look after again.
    pub(super) work: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    claims: HashMap<ClaimId, Known>,
    leases: HashMap<i64, Lease>,
    /// The lease that new claims of a TTL in seconds get.
    current: HashMap<u64, i64>,
}

/// A claim that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) place: Vec<u8>,
    pub(super) lease: i64,
    /// Its create revision; 0 while it is not known to be in line.
    pub(super) create: i64,
    /// The create revision with which it was granted; 0: it was not told that it holds.
    pub(super) held: i64,
    pub(super) until: Tick,
    pub(super) fate: Fate,
    /// The revision at which what it waited for came about; 0: it was not told since it asked last.
    pub(super) told: i64,
}

/// What is to become of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// Nobody wants it any more: it is deleted, again and again until that is certain.
    Leaves,
    /// It is being deleted.
    Leaving,
}

#[derive(Debug)]
struct Lease {
    /// For how long it lives from its last renewal.
    lives: Duration,
    /// When that renewal was sent.
    renewed: Tick,
    /// When the last one was sent that counts.
    counts: Tick,
    /// As of which election the last one was, and when it was answered; `None`: it counts.
    open: Option<(u64, Tick)>,
    used: Tick,
    claims: usize,
    kind: Kind,
    swept: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// New claims of so many seconds get it.
    Current(u64),
    Retired,
    /// Another store made it, and a claim of ours came with it.
    Strange,
}

/// What is to be done in the background.
#[derive(Debug, Default)]
pub(super) struct Chores {
    pub(super) delete: Vec<(ClaimId, Known)>,
    pub(super) renew: Vec<i64>,
    pub(super) sweep: Vec<i64>,
    pub(super) revoke: Vec<i64>,
}

impl Table {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            inner: Mutex::default(),
            work: Notify::new(),
        }
    }

    /// A claim that is known, kept for another TTL; `None` if it is not.
    pub(super) fn touch(&self, claim: &Claim) -> Option<Known> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let known = inner.claims.get_mut(&claim.id)?;
        known.until = now.after(whole(claim.ttl));
        let known = known.clone();
        if let Some(lease) = inner.leases.get_mut(&known.lease) {
            lease.used = now;
        }
        Some(known)
    }

    /// As [`touch`](Self::touch), for one that asks: it is wanted again, and has heard what it was told.
    pub(super) fn ask(&self, claim: &Claim) -> Option<Known> {
        if let Some(known) = self.lock().claims.get_mut(&claim.id)
            && known.fate == Fate::Leaves
        {
            known.fate = Fate::Lives;
        }
        let known = self.touch(claim)?;
        self.tell(&claim.id, 0);
        Some(known)
    }

    /// What the claim waits for came about at this revision.
    pub(super) fn tell(&self, id: &ClaimId, revision: i64) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.told = revision;
        }
    }

    /// Enters a claim that is about to be put under a lease.
    pub(super) fn enter(&self, claim: &Claim, place: Vec<u8>, lease: i64) {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.forget(&claim.id);
        let known = Known {
            place,
            lease,
            create: 0,
            held: 0,
            until: now.after(whole(claim.ttl)),
            fate: Fate::Lives,
            told: 0,
        };
        inner.claims.insert(claim.id, known);
        if let Some(lease) = inner.leases.get_mut(&lease) {
            lease.claims += 1;
            lease.used = now;
        }
        drop(inner);
        self.work.notify_one();
    }

    /// The claim is in line since this revision.
    pub(super) fn in_line(&self, id: &ClaimId, create: i64) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.create = create;
        }
    }

    /// It has been told that it holds, in line since that revision.
    pub(super) fn holds(&self, id: &ClaimId, create: i64) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.held = create;
        }
    }

    /// The claim is under a lease that another store made.
    pub(super) fn adopt(&self, claim: &Claim, place: Vec<u8>, lease: i64, create: i64) {
        let now = self.clock.now();
        let strange = || Lease {
            lives: Duration::ZERO,
            renewed: Tick::default(),
            counts: Tick::default(),
            open: None,
            used: now,
            claims: 0,
            kind: Kind::Strange,
            swept: now,
        };
        self.lock().leases.entry(lease).or_insert_with(strange);
        self.enter(claim, place, lease);
        self.in_line(&claim.id, create);
    }

    /// The claim is not in line, for certain.
    pub(super) fn forget(&self, id: &ClaimId) {
        self.lock().forget(id);
        self.work.notify_one();
    }

    /// Nobody wants the claim any more: it is about to be deleted.
    pub(super) fn leave(&self, id: &ClaimId) -> Option<Known> {
        let mut inner = self.lock();
        let known = inner.claims.get_mut(id)?;
        known.fate = Fate::Leaving;
        Some(known.clone())
    }

    /// It is still to be deleted: by the tasks of the store, if by nobody before.
    pub(super) fn leave_behind(&self, id: &ClaimId) {
        if let Some(known) = self.lock().claims.get_mut(id) {
            known.fate = Fate::Leaves;
        }
    }

    /// How long a claim that is known here has left.
    pub(super) fn left(&self, id: &ClaimId) -> Option<Duration> {
        let now = self.clock.now();
        let inner = self.lock();
        let known = inner.claims.get(id)?;
        (known.fate == Fate::Lives).then(|| known.until.since(now))
    }

    /// Whether this name is that of a claim that is known here.
    pub(super) fn is_ours(&self, id: &ClaimId) -> bool {
        self.lock().claims.contains_key(id)
    }

    /// The lease that new claims of this TTL get, if there is one.
    pub(super) fn current(&self, ttl: Duration) -> Option<i64> {
        self.lock().current.get(&whole(ttl).as_secs()).copied()
    }

    /// A new lease for claims of this TTL, asked for at `sent`.
    pub(super) fn granted(&self, ttl: Duration, lease: i64, seconds: i64, sent: Tick) {
        let class = whole(ttl).as_secs();
        let made = Lease {
            lives: seconds_of(seconds),
            renewed: sent,
            counts: sent, // a majority has granted it
            open: None,
            used: sent,
            claims: 0,
            kind: Kind::Current(class),
            swept: sent,
        };
        let mut inner = self.lock();
        inner.leases.insert(lease, made);
        inner.current.insert(class, lease);
        drop(inner);
        self.work.notify_one();
    }

    /// Whether a claim of this TTL lives for that long under this lease without another renewal of it.
    pub(super) fn is_fresh(&self, lease: i64, ttl: Duration) -> bool {
        let now = self.clock.now();
        let inner = self.lock();
        let lease = inner.leases.get(&lease);
        lease.is_some_and(|lease| now.after(whole(ttl)) <= lease.renewed.after(lease.lives))
    }

    /// A lease was renewed by a request sent then, at a member that knew of so many elections.
    pub(super) fn renewed(&self, lease: i64, seconds: i64, sent: Tick, term: u64) {
        let now = self.clock.now();
        if let Some(lease) = self.lock().leases.get_mut(&lease) {
            lease.lives = seconds_of(seconds);
            lease.renewed = lease.renewed.max(sent);
            lease.open = (term > 0).then_some((term, now));
            if term == 0 {
                lease.counts = lease.renewed; // something in between keeps the number to itself
            }
        }
    }

    /// A majority has answered what was asked then, and there were so many elections.
    pub(super) fn confirmed(&self, asked: Tick, term: u64) {
        for lease in self.lock().leases.values_mut() {
            match lease.open {
                Some((then, _)) if then < term => {
                    (lease.renewed, lease.open) = (lease.counts, None);
                }
                Some((then, answered)) if then == term && answered <= asked => {
                    (lease.counts, lease.open) = (lease.renewed, None);
                }
                _ => {}
            }
        }
    }

    /// Whether a renewal of this lease may not count.
    pub(super) fn is_open(&self, lease: i64) -> bool {
        let inner = self.lock();
        inner.leases.get(&lease).is_some_and(|l| l.open.is_some())
    }

    /// Whether a claim, as of when it was asked for or renewed, lives for its whole TTL for certain.
    pub(super) fn is_carried(&self, claim: &Claim, asked: Tick) -> bool {
        let inner = self.lock();
        let known = inner.claims.get(&claim.id);
        let lease = known.and_then(|known| inner.leases.get(&known.lease));
        let end = asked.after(whole(claim.ttl));
        lease.is_some_and(|l| l.open.is_none() && end <= l.counts.after(l.lives))
    }

    /// A lease has ended, and all that was under it.
    pub(super) fn ended(&self, lease: i64) {
        let mut inner = self.lock();
        inner.leases.remove(&lease);
        inner.current.retain(|_, current| *current != lease);
        for known in inner
            .claims
            .values_mut()
            .filter(|known| known.lease == lease)
        {
            known.create = 0;
        }
    }

    /// A request under this lease may yet be carried out: no new claim gets it.
    pub(super) fn retire(&self, lease: i64) {
        let mut inner = self.lock();
        inner.current.retain(|_, current| *current != lease);
        if let Some(lease) = inner.leases.get_mut(&lease)
            && lease.kind != Kind::Strange
        {
            lease.kind = Kind::Retired;
        }
        drop(inner);
        self.work.notify_one();
    }

    /// The leases under which nobody has a claim. No new claim gets them, and whether they are ended by the caller or
    /// not, they are not kept any more.
    pub(super) fn close(&self) -> Vec<i64> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let Inner {
            claims,
            leases,
            current,
        } = &mut *inner;
        let wanted = |id: &i64| {
            let mut claims = claims.values();
            claims.any(|known| known.lease == *id && known.fate != Fate::Leaves)
        };
        let mut over = Vec::new();
        for (id, lease) in leases.iter_mut() {
            if lease.kind != Kind::Strange && !wanted(id) {
                (lease.kind, lease.swept) = (Kind::Retired, now);
                over.push(*id);
            }
        }
        current.retain(|_, id| !over.contains(id));
        over
    }

    /// Whether there is nothing to look after.
    pub(super) fn idle(&self) -> bool {
        let inner = self.lock();
        inner.leases.is_empty() && inner.claims.is_empty()
    }

    /// What is to be done now.
    pub(super) fn chores(&self) -> Chores {
        let now = self.clock.now();
        let mut inner = self.lock();
        let mut chores = Chores::default();
        for (id, known) in &mut inner.claims {
            if known.fate == Fate::Lives && known.until < now {
                known.fate = Fate::Leaves;
            }
            if known.fate == Fate::Leaves {
                known.fate = Fate::Leaving;
                chores.delete.push((*id, known.clone()));
            }
        }
        let Inner {
            leases, current, ..
        } = &mut *inner;
        leases.retain(|id, lease| lease.chore(*id, now, &mut chores));
        current.retain(|_, id| leases.contains_key(id));
        chores
    }

    /// How many claims and leases there are.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.claims.len(), inner.leases.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, id: &ClaimId) {
        let Some(known) = self.claims.remove(id) else {
            return;
        };
        if let Some(lease) = self.leases.get_mut(&known.lease) {
            lease.claims = lease.claims.saturating_sub(1);
        }
    }
}

impl Lease {
    /// Notes what is to be done about it; whether it is kept.
    fn chore(&mut self, id: i64, now: Tick, chores: &mut Chores) -> bool {
        let over = self.renewed.after(self.lives) < now;
        match self.kind {
            // It is not renewed here, so it ends with the claim that brought it.
            Kind::Strange => self.claims > 0,
            Kind::Retired if self.claims == 0 => {
                if over {
                    return false; // it has ended by itself
                }
                if now >= self.swept.after(SWEEP) {
                    self.swept = now;
                    chores.revoke.push(id);
                }
                true
            }
            Kind::Retired => {
                if now >= self.swept.after(SWEEP) {
                    self.swept = now;
                    chores.sweep.push(id);
                }
                true
            }
            Kind::Current(_) if self.claims > 0 => true, // their renewals renew it
            Kind::Current(_) if over => false,
            Kind::Current(_) if now >= self.used.after(IDLE) => {
                chores.revoke.push(id);
                false
            }
            Kind::Current(_) => {
                if now >= self.renewed.after(self.lives / 2) {
                    chores.renew.push(id);
                }
                true
            }
        }
    }
}

fn seconds_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Claimant, IfBusy, Key, Mode, ProcessId};

    fn claim(seconds: u64) -> Claim {
        Claim {
            key: Key::new("k").unwrap(),
            id: ClaimId::random(ProcessId::random()),
            mode: Mode::Exclusive,
            ttl: Duration::from_secs(seconds),
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("h", 1, ""),
        }
    }

    fn table() -> (Table, Clock) {
        let clock = Clock::manual();
        (Table::new(clock.clone()), clock)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_lives_longer_than_its_claims_in_whole_seconds() {
        for (millis, seconds) in [
            (100, 2),
            (1_000, 2),
            (1_001, 3),
            (30_000, 32),
            (3_600_000, 3_605),
        ] {
            assert_eq!(lease_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn a_lease_is_fresh_while_a_claim_would_live_its_whole_ttl_under_it() {
        let (table, clock) = table();
        let ttl = 10 * SECOND;
        table.granted(ttl, 7, lease_seconds(ttl), clock.now());
        assert!(table.is_fresh(7, ttl));
        clock.advance(SECOND);
        assert!(table.is_fresh(7, ttl));
        clock.advance(Duration::from_millis(1));
        assert!(!table.is_fresh(7, ttl));
        table.renewed(7, lease_seconds(ttl), clock.now(), 1);
        assert!(table.is_fresh(7, ttl));
    }

    #[test]
    fn a_renewal_counts_when_a_majority_has_confirmed_that_there_was_no_election() {
        let (table, clock) = table();
        let held = claim(30);
        let asked = clock.now();
        table.granted(held.ttl, 7, 32, asked);
        table.enter(&held, b"x".to_vec(), 7);
        assert!(table.is_carried(&held, asked));
        let step = |term| {
            clock.advance(10 * SECOND);
            let asked = clock.now();
            clock.advance(Duration::from_millis(1));
            table.renewed(7, 32, asked, term);
            assert!(table.is_fresh(7, held.ttl) && !table.is_carried(&held, asked));
            clock.advance(SECOND);
            asked
        };
        let asked = step(5);
        table.confirmed(asked, 5); // asked for before the renewal was answered: it says nothing
        assert!(table.is_open(7));
        table.confirmed(clock.now(), 5);
        assert!(table.is_carried(&held, asked) && !table.is_open(7));
        let asked = step(5);
        table.confirmed(clock.now(), 6);
        assert!(!table.is_open(7) && !table.is_carried(&held, asked));
        assert!(!table.is_fresh(7, held.ttl), "it is to be renewed again");
        let asked = step(6);
        table.confirmed(clock.now(), 6);
        assert!(table.is_carried(&held, asked));
    }

    #[test]
    fn a_silent_claim_is_deleted_while_its_lease_lives_for_others() {
        let (table, clock) = table();
        let (silent, kept) = (claim(2), claim(2));
        table.granted(silent.ttl, 7, 3, clock.now());
        for claim in [&silent, &kept] {
            table.enter(claim, b"x".to_vec(), 7);
        }
        clock.advance(SECOND);
        table.touch(&kept);
        clock.advance(SECOND + Duration::from_millis(1));
        let chores = table.chores();
        assert_eq!(chores.delete.len(), 1);
        assert_eq!(chores.delete[0].0, silent.id);
        assert!(table.chores().delete.is_empty(), "it is under way");
        table.leave_behind(&silent.id);
        assert_eq!(table.chores().delete.len(), 1);
        table.forget(&silent.id);
        assert_eq!(table.counts(), (1, 1));
    }

    #[test]
    fn a_retired_lease_is_swept_while_it_has_claims_and_then_revoked() {
        let (table, clock) = table();
        let held = claim(30);
        table.granted(held.ttl, 7, 32, clock.now());
        table.enter(&held, b"x".to_vec(), 7);
        table.retire(7);
        assert_eq!(table.current(held.ttl), None);
        clock.advance(2 * SECOND);
        assert_eq!(table.chores().sweep, [7]);
        table.forget(&held.id);
        clock.advance(2 * SECOND);
        assert_eq!(table.chores().revoke, [7]);
        table.ended(7);
        assert_eq!(table.counts(), (0, 0));
    }

    #[test]
    fn an_unused_lease_is_kept_for_a_while_and_then_given_back() {
        let (table, clock) = table();
        table.granted(30 * SECOND, 7, 32, clock.now());
        for _ in 0..7 {
            clock.advance(17 * SECOND);
            assert_eq!(table.chores().renew, [7]);
            table.renewed(7, 32, clock.now(), 1);
        }
        clock.advance(5 * SECOND);
        assert_eq!(table.chores().revoke, [7]);
        assert_eq!(table.counts(), (0, 0));
    }
}
