//! Stores that are wrong in one way each, and the case that must say so.

use std::collections::{BTreeSet, HashMap};
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;

use super::super::{Case, Subject, Time, Wakes, cases};
use super::block_on;
use crate::contract::{
    Attempt, Busy, Ends, Grant, Guarantees, Reach, Release, Renewal, Store, Wake,
};
use crate::data::{
    Barred, Claim, ClaimId, Claimant, Entry, EntryId, Error, Fence, IfBusy, Keep, Key, Leave, Mode,
    Options, Result, Standing,
};
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;

/// How a store is broken. What is behind it is the memory store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum How {
    GrantsTwice,
    GrantsOneProcessTwice,
    LocksAllKeysAtOnce,
    TriesRefuseEachOther,
    ForgetsTheOrder,
    PutsTheLastFirst,
    RefusedTryStays,
    WrongPlace,
    WritersStarve,
    ReadersExclude,
    SmallClaimsOvertake,
    IgnoresExpiry,
    ExpiresTooEarly,
    TtlInOtherUnit,
    TtlInWholeSeconds,
    DeadWaitersStay,
    AskingAgainDoesNotKeep,
    PlacesExpire,
    RenewalRecreates,
    RenewalSaysKept,
    RenewalDoesNothing,
    RenewalOfWaiters,
    RenewalOfAnyGrant,
    RenewalDrawsANewFence,
    RepeatsFences,
    StartsFencesAnew,
    FencesShares,
    DrawsAFenceForEveryAnswer,
    RemembersGrantsForEver,
    ReleasesWhateverHolds,
    ReleasesAllOfTheProcess,
    ReleaseSaysDone,
    ReleaseForgetsHolders,
    ReleaseForgetsWaiters,
    ReleaseTwiceFails,
    DoesNotLinger,
    LingersForEver,
    LingersForTheTtl,
    LingersForWaiters,
    LingersAnew,
    LingerIsKeptAlive,
    WakesNobody,
    WakesTheLate,
    WakesEverybody,
    WakesOneReader,
    DiesWithItsConnection,
    DoesNotTellOfLoss,
    TellsWithoutAGrant,
    TellsWhatIsLeft,
    HidesTheAge,
    DoesNotSayWhen,
    SaysTheNextInstant,
    ForgetsWhoListens,
    SeatsAreOne,
    TakesAnyCapacity,
    MixesReadersAndPermits,
    TakesAnyPermits,
    CountsPermitsAsOne,
    HoldsFewReaders,
    AnswersTooFew,
    AnswersBackwards,
    ActsBackwards,
    FailsAsAWhole,
    TakesSmallBatches,
    RefusesEmptyBatches,
    ShowsBackwards,
    ShowsEverything,
    ShowsByPattern,
    ShowsNeighbours,
    HidesClaimants,
    CutsClaimants,
    FoldsCase,
    CutsKeys,
    MendsText,
    SideNames,
    EvictsByKey,
    EvictsNothing,
    EvictsHoldersOnly,
    DoesNotEvictLingering,
    DeniesPermits,
    DeniesLinger,
    DeniesEviction,
    ClosingEndsHolds,
}

use How::*;

/// Each broken store, and a case that catches it.
const TABLE: &[(How, &str)] = &[
    (GrantsTwice, "a_holder_excludes_every_other_client"),
    (
        GrantsOneProcessTwice,
        "claims_of_one_client_exclude_each_other",
    ),
    (LocksAllKeysAtOnce, "different_keys_do_not_meet"),
    (TriesRefuseEachOther, "of_simultaneous_tries_one_is_granted"),
    (
        GrantsOneProcessTwice,
        "of_claims_that_one_client_makes_at_once_one_is_granted",
    ),
    (WakesTheLate, "no_wake_is_lost_between_look_and_release"),
    (GrantsTwice, "updates_made_in_turn_are_not_lost"),
    (ReleaseForgetsHolders, "updates_made_in_turn_are_not_lost"),
    (ForgetsTheOrder, "a_newcomer_does_not_overtake"),
    (
        ForgetsTheOrder,
        "a_newcomer_does_not_overtake_when_the_holder_has_died",
    ),
    (ForgetsTheOrder, "asking_again_keeps_the_place"),
    (
        WrongPlace,
        "asking_again_far_back_in_the_line_finds_the_place",
    ),
    (
        PutsTheLastFirst,
        "waiting_claims_are_granted_in_the_order_they_came",
    ),
    (
        WrongPlace,
        "waiting_claims_are_granted_in_the_order_they_came",
    ),
    (RefusedTryStays, "a_refused_try_leaves_no_trace"),
    (
        ReleaseForgetsWaiters,
        "a_place_closes_up_when_its_claim_leaves",
    ),
    (
        ReleaseForgetsWaiters,
        "a_waiting_claim_can_leave_and_come_back_at_the_end",
    ),
    (WritersStarve, "a_writer_is_not_starved_by_readers"),
    (
        ReadersExclude,
        "readers_before_a_writer_hold_together_and_those_behind_wait",
    ),
    (ReadersExclude, "a_hundred_readers_hold_at_once"),
    (
        SmallClaimsOvertake,
        "a_great_claim_is_not_starved_by_small_ones",
    ),
    (
        IgnoresExpiry,
        "a_silent_holder_is_outlived_but_not_too_early",
    ),
    (
        ExpiresTooEarly,
        "a_silent_holder_is_outlived_but_not_too_early",
    ),
    (IgnoresExpiry, "one_reader_s_end_is_not_another_s"),
    (
        IgnoresExpiry,
        "a_dead_holder_s_permit_is_free_while_others_hold",
    ),
    (TtlInOtherUnit, "ttls_are_taken_in_the_right_unit"),
    (TtlInWholeSeconds, "ttls_are_taken_in_the_right_unit"),
    (DeadWaitersStay, "a_silent_waiter_does_not_hold_up_the_line"),
    (DeadWaitersStay, "many_dead_waiters_do_not_hold_up_the_line"),
    (
        AskingAgainDoesNotKeep,
        "asking_again_keeps_a_hold_past_its_ttl",
    ),
    (RenewalRecreates, "renewal_never_acquires"),
    (RenewalSaysKept, "renewal_never_acquires"),
    (
        RenewalSaysKept,
        "an_outlived_holder_cannot_harm_its_successor",
    ),
    (
        ReleasesWhateverHolds,
        "an_outlived_holder_cannot_harm_its_successor",
    ),
    (RenewalDoesNothing, "renewal_keeps_a_hold_past_its_ttl"),
    (RenewalDoesNothing, "every_renewal_starts_the_ttl_anew"),
    (
        RenewalDoesNothing,
        "renewal_keeps_readers_and_permits_past_their_ttl",
    ),
    (RenewalDrawsANewFence, "renewal_keeps_a_hold_past_its_ttl"),
    (TellsWhatIsLeft, "a_grant_after_a_wait_lives_as_long_as_any"),
    (HidesTheAge, "a_grant_after_a_wait_lives_as_long_as_any"),
    (
        PlacesExpire,
        "asking_again_keeps_a_waiter_s_place_past_its_ttl",
    ),
    (RenewalOfWaiters, "a_holder_that_has_to_wait_again_has_lost"),
    (RenewalOfAnyGrant, "a_holder_that_is_granted_anew_has_lost"),
    (RepeatsFences, "fences_grow_from_grant_to_grant"),
    (StartsFencesAnew, "fences_outlive_clients_and_keys"),
    (FencesShares, "shares_carry_no_fence"),
    (
        DrawsAFenceForEveryAnswer,
        "the_same_claim_asked_again_is_told_the_same_grant",
    ),
    (
        RemembersGrantsForEver,
        "a_new_grant_of_an_old_claim_has_a_new_fence",
    ),
    (
        RemembersGrantsForEver,
        "a_late_attempt_after_the_release_is_a_new_claim",
    ),
    (DrawsAFenceForEveryAnswer, "a_claim_outlives_its_connection"),
    (DiesWithItsConnection, "a_claim_outlives_its_connection"),
    (ReleasesWhateverHolds, "every_verb_may_be_repeated"),
    (ReleaseTwiceFails, "every_verb_may_be_repeated"),
    (
        ReleaseSaysDone,
        "releasing_what_is_not_in_line_changes_nothing",
    ),
    (ReleasesAllOfTheProcess, "only_its_own_claim_is_released"),
    (
        DoesNotLinger,
        "a_lingering_claim_blocks_until_its_time_is_over",
    ),
    (
        LingersForEver,
        "a_lingering_claim_blocks_until_its_time_is_over",
    ),
    (
        LingersForEver,
        "whoever_waits_behind_a_lingering_claim_is_granted_after_it",
    ),
    (
        SaysTheNextInstant,
        "the_end_of_a_linger_is_told_whoever_waits",
    ),
    (LingersForTheTtl, "linger_is_independent_of_the_ttl"),
    (LingersForWaiters, "a_waiting_claim_does_not_linger"),
    (LingersAnew, "a_lingering_claim_has_no_owner"),
    (LingerIsKeptAlive, "a_lingering_claim_has_no_owner"),
    (WakesNobody, "a_waiter_is_woken_by_a_release"),
    (WakesNobody, "a_refused_try_is_woken_by_a_release"),
    (
        WakesNobody,
        "a_waiter_is_woken_when_the_one_ahead_of_it_left_before",
    ),
    (WakesOneReader, "all_who_are_let_in_together_are_woken"),
    (ForgetsWhoListens, "wakes_that_nobody_awaits_do_no_harm"),
    (WakesEverybody, "a_release_wakes_only_the_next"),
    (DoesNotSayWhen, "a_waiter_knows_when_silence_frees_the_key"),
    (
        TellsWithoutAGrant,
        "what_is_told_of_a_grant_is_what_an_attempt_answers_and_told_once",
    ),
    (
        DoesNotTellOfLoss,
        "evicting_a_holder_lets_the_next_in_and_tells_it",
    ),
    (CountsPermitsAsOne, "permits_are_held_up_to_their_number"),
    (WritersStarve, "an_exclusive_claim_takes_all_permits"),
    (
        TakesAnyCapacity,
        "another_capacity_is_a_mismatch_while_the_key_is_in_use",
    ),
    (
        MixesReadersAndPermits,
        "another_capacity_is_a_mismatch_while_the_key_is_in_use",
    ),
    (TakesAnyPermits, "permits_that_make_no_sense_are_invalid"),
    (SeatsAreOne, "seats_are_unique_and_used_again"),
    (
        SeatsAreOne,
        "permits_that_one_client_asks_for_at_once_have_seats_of_their_own",
    ),
    (
        SeatsAreOne,
        "a_seat_is_not_given_twice_when_a_later_claim_asks_first",
    ),
    (HoldsFewReaders, "a_hundred_readers_hold_at_once"),
    (AnswersTooFew, "elements_of_a_batch_take_effect_in_order"),
    (AnswersBackwards, "answers_come_in_the_order_of_the_batch"),
    (ActsBackwards, "elements_of_a_batch_take_effect_in_order"),
    (FailsAsAWhole, "a_bad_element_spoils_no_other"),
    (TakesSmallBatches, "a_great_batch_is_answered_whole"),
    (RefusesEmptyBatches, "an_empty_batch_has_an_empty_answer"),
    (ShowsBackwards, "a_line_is_shown_in_order_with_who_and_how"),
    (HidesClaimants, "a_line_is_shown_in_order_with_who_and_how"),
    (CutsClaimants, "odd_claimants_come_back_as_they_were"),
    (ShowsEverything, "a_prefix_selects_by_its_bytes"),
    (ShowsByPattern, "a_prefix_selects_by_its_bytes"),
    (ShowsNeighbours, "a_prefix_selects_by_its_bytes"),
    (FoldsCase, "keys_that_look_alike_are_different"),
    (CutsKeys, "keys_that_look_alike_are_different"),
    (MendsText, "odd_keys_are_locked_and_shown_as_they_are"),
    (SideNames, "neighbours_of_a_key_are_not_touched"),
    (ReleaseForgetsWaiters, "many_keys_leave_nothing_behind"),
    (
        EvictsByKey,
        "evicting_what_is_there_no_more_changes_nothing",
    ),
    (
        EvictsNothing,
        "evicting_a_holder_lets_the_next_in_and_tells_it",
    ),
    (EvictsHoldersOnly, "a_waiting_claim_can_be_evicted"),
    (DoesNotEvictLingering, "a_lingering_claim_can_be_evicted"),
    (DeniesPermits, "permits_are_held_up_to_their_number"),
    (
        DeniesLinger,
        "a_lingering_claim_blocks_until_its_time_is_over",
    ),
    (DeniesEviction, "a_waiting_claim_can_be_evicted"),
    (ClosingEndsHolds, "closing_ends_no_claim"),
    (GrantsTwice, "random_operations_agree_with_the_model"),
    (ForgetsTheOrder, "random_operations_agree_with_the_model"),
    (SeatsAreOne, "random_operations_agree_with_the_model"),
    (RepeatsFences, "random_operations_agree_with_the_model"),
    (RenewalRecreates, "random_operations_agree_with_the_model"),
];

#[test]
fn every_broken_store_is_caught_by_the_case_that_names_its_fault() {
    let run = |&(how, case): &(How, &'static str)| {
        let case = named(case);
        thread::spawn(move || (how, case, block_on(case.run(&Workshop::of(how)))))
    };
    let running: Vec<_> = TABLE.iter().map(run).collect();
    for thread in running {
        let (how, case, outcome) = thread.join().unwrap();
        let caught = outcome.failure().is_some();
        assert!(caught, "{how:?} is not caught by {}", case.name());
    }
}

#[test]
fn every_case_catches_something() {
    let caught: BTreeSet<_> = TABLE.iter().map(|(_, case)| *case).collect();
    let all: BTreeSet<_> = cases().iter().map(Case::name).collect();
    assert_eq!(caught, all);
}

#[test]
fn what_is_left_behind_fails_any_case() {
    struct Litters(Workshop);
    #[async_trait]
    impl Subject for Litters {
        async fn connect(&self) -> Result<Arc<dyn Store>> {
            Ok(Arc::new(self.0.store.clone()))
        }
        fn time(&self) -> Time {
            self.0.time()
        }
        async fn residue(&self) -> Vec<String> {
            vec!["a file".to_owned()]
        }
    }
    let outcome = block_on(cases()[0].run(&Litters(Workshop::of(GrantsTwice))));
    assert!(outcome.to_string().contains("a file"), "{outcome}");
}

fn named(name: &str) -> &'static Case {
    let found = cases().iter().find(|case| case.name() == name);
    found.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// Where a broken store is tested.
struct Workshop {
    clock: Clock,
    store: MemoryStore,
    broken: Arc<Broken>,
}

impl Workshop {
    fn of(how: How) -> Self {
        let clock = Clock::manual();
        let store = MemoryStore::new(clock.clone());
        let broken = Arc::new(Broken {
            how,
            inner: store.clone(),
            grants: Mutex::default(),
            real: Mutex::default(),
            count: Mutex::default(),
        });
        Self {
            clock,
            store,
            broken,
        }
    }
}

#[async_trait]
impl Subject for Workshop {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        let store: Arc<dyn Store> = self.broken.clone();
        Ok(store)
    }

    fn time(&self) -> Time {
        Time::Manual(self.clock.clone())
    }

    async fn kill(&self, _client: Arc<dyn Store>) {
        if self.broken.how == DiesWithItsConnection {
            for entry in self.store.inspect(b"").await.unwrap() {
                self.store.evict(&entry).await.unwrap();
            }
        }
    }

    fn wakes(&self) -> Wakes {
        Wakes::Next
    }
}

/// What was told of a grant.
type Told = (Option<Fence>, Option<u32>);

/// A grant as a renewal names it.
type Named = (ClaimId, Option<Fence>);

#[derive(Debug)]
struct Broken {
    how: How,
    inner: MemoryStore,
    grants: Mutex<HashMap<ClaimId, Told>>,
    /// The grants of the store behind, by those that were told.
    real: Mutex<HashMap<Named, Option<Fence>>>,
    count: Mutex<i64>,
}

fn grant(claim: &Claim, fence: Option<Fence>, seat: Option<u32>) -> Attempt {
    Attempt::Granted(Grant {
        fence,
        seat,
        ttl: Some(claim.ttl),
        age: Duration::ZERO,
        lost: None,
    })
}

fn never() -> Option<Wake> {
    Some(Box::pin(pending()))
}

impl Broken {
    fn count(&self) -> i64 {
        let mut count = self.count.lock().unwrap();
        *count += 1;
        *count
    }

    /// The claim as this store understands it.
    fn understood(&self, claim: &Claim) -> Claim {
        let mut claim = claim.clone();
        let bytes = claim.key.as_bytes();
        let key = match self.how {
            FoldsCase => bytes.to_ascii_lowercase(),
            CutsKeys => bytes[..bytes.len().min(250)].to_vec(),
            MendsText => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
            LocksAllKeysAtOnce => bytes[..1].to_vec(),
            SideNames => bytes.strip_suffix(b":fence").unwrap_or(bytes).to_vec(),
            _ => bytes.to_vec(),
        };
        claim.key = Key::new(&key[..key.len().min(Key::MAX_LEN)]).unwrap();
        claim.ttl = match self.how {
            IgnoresExpiry => Options::MAX,
            ExpiresTooEarly => claim.ttl * 9 / 10,
            TtlInOtherUnit => claim.ttl * 1_000,
            TtlInWholeSeconds => Duration::from_secs(claim.ttl.as_secs()),
            _ => claim.ttl,
        };
        claim.mode = match (self.how, claim.mode) {
            (TakesAnyCapacity, Mode::Permits { n, of: 4 }) => Mode::Permits { n, of: 3 },
            (MixesReadersAndPermits, Mode::Shared) => Mode::Permits { n: 1, of: 3 },
            (TakesAnyPermits, Mode::Permits { n, of }) if n > of => Mode::Permits { n: 1, of: 3 },
            (CountsPermitsAsOne, Mode::Permits { of, .. }) => Mode::Permits { n: 1, of },
            (ReadersExclude, Mode::Shared) => Mode::Exclusive,
            (_, mode) => mode,
        };
        if self.how == RefusedTryStays {
            claim.if_busy = IfBusy::Queue;
        }
        if self.how == CutsClaimants {
            let who = &claim.claimant;
            let label = who.label().get(..10).unwrap_or(who.label());
            claim.claimant = Claimant::new(who.host(), who.pid(), label);
        }
        claim
    }

    async fn ask(&self, claim: &Claim) -> Result<Attempt> {
        self.inner
            .attempt(std::slice::from_ref(claim))
            .await
            .remove(0)
    }

    async fn leave(&self, claim: &Claim, linger: Option<Duration>) -> Result<Release> {
        let claim = claim.clone();
        self.inner
            .release(&[Leave { claim, linger }])
            .await
            .remove(0)
    }

    async fn keep(&self, claim: &Claim, granted: Option<Fence>) -> Result<Renewal> {
        let real = self.real.lock().unwrap().get(&(claim.id, granted)).copied();
        let keep = Keep {
            claim: claim.clone(),
            fence: real.unwrap_or(granted),
        };
        self.inner.renew(&[keep]).await.remove(0)
    }

    async fn line(&self, key: &Key) -> Vec<Entry> {
        let mut all = self.inner.inspect(key.as_bytes()).await.unwrap();
        all.retain(|entry| entry.key == *key);
        all
    }

    async fn entry(&self, claim: &Claim) -> Option<Entry> {
        let line = self.line(&claim.key).await;
        line.into_iter()
            .find(|entry| entry.id == EntryId::Claim(claim.id))
    }

    async fn attempt_one(&self, claim: &Claim) -> Result<Attempt> {
        let claim = &self.understood(claim);
        let known = self.grants.lock().unwrap().get(&claim.id).copied();
        if let Some((fence, seat)) = known {
            match self.how {
                AskingAgainDoesNotKeep if self.entry(claim).await.is_some() => {
                    return Ok(grant(claim, fence, seat));
                }
                RemembersGrantsForEver => return Ok(grant(claim, fence, seat)),
                _ => {}
            }
        }
        if self.how == PlacesExpire
            && let Some(entry) = self.entry(claim).await
        {
            let mut dying = claim.clone();
            dying.ttl = entry.expires_in.unwrap_or(claim.ttl);
            return self.ask(&dying).await;
        }
        let mut asked = claim.clone();
        if matches!(self.how, TellsWhatIsLeft | HidesTheAge)
            && let Some(entry) = self.entry(claim).await
        {
            asked.ttl = entry.expires_in.unwrap_or(claim.ttl);
        }
        if self.how == TriesRefuseEachOther {
            return self.try_by_joining(claim).await;
        }
        if self.how == HoldsFewReaders && self.line(&claim.key).await.len() > 64 {
            return Err(Error::rejected("broken", "too many"));
        }
        match self.ask(&asked).await? {
            Attempt::Granted(grant) => Ok(Attempt::Granted(self.spoil_grant(claim, grant))),
            Attempt::Busy(busy) => self.spoil_busy(claim, busy).await,
        }
    }

    /// Looks who else is there after having joined: two who do it at once refuse each other.
    async fn try_by_joining(&self, claim: &Claim) -> Result<Attempt> {
        if claim.if_busy == IfBusy::Queue {
            return self.ask(claim).await;
        }
        let mut joined = claim.clone();
        joined.if_busy = IfBusy::Queue;
        let first = self.ask(&joined).await?;
        thread::sleep(Duration::from_micros(200));
        if self.line(&claim.key).await.len() == 1 {
            return Ok(first);
        }
        let busy = Busy {
            ahead: None,
            why: crate::contract::Why::Queued,
            who: None,
            held_for: None,
            free_in: None,
            ends: Ends::Unknown,
            changed: None,
        };
        thread::sleep(Duration::from_micros(200));
        self.leave(claim, None).await?;
        Ok(Attempt::Busy(busy))
    }

    fn spoil_grant(&self, claim: &Claim, mut grant: Grant) -> Grant {
        let real = grant.fence;
        grant.fence = match (self.how, grant.fence) {
            (RepeatsFences, Some(fence)) => Fence::new(fence.as_i64() / 8),
            (StartsFencesAnew, Some(_)) => Fence::new(1),
            (FencesShares, None) => Fence::new(self.count()),
            (DrawsAFenceForEveryAnswer, Some(fence)) => {
                Fence::new(fence.as_i64() * 1_000 + self.count())
            }
            (RenewalDrawsANewFence, Some(fence)) => {
                Fence::new(fence.as_i64() + *self.count.lock().unwrap())
            }
            (_, fence) => fence,
        };
        if self.how == SeatsAreOne {
            grant.seat = grant.seat.map(|_| 0);
        }
        if self.how == HidesTheAge {
            grant.ttl = Some(claim.ttl);
        }
        if self.how == DoesNotTellOfLoss {
            grant.lost = never();
        }
        let told = (grant.fence, grant.seat);
        self.real
            .lock()
            .unwrap()
            .insert((claim.id, grant.fence), real);
        self.grants.lock().unwrap().insert(claim.id, told);
        grant
    }

    async fn spoil_busy(&self, claim: &Claim, mut busy: Busy) -> Result<Attempt> {
        let line = self.line(&claim.key).await;
        let holders = || {
            line.iter()
                .filter(|entry| entry.standing == Standing::Holding)
        };
        let queued = claim.if_busy == IfBusy::Queue;
        match self.how {
            GrantsTwice => return Ok(grant(claim, Fence::new(i64::MAX), None)),
            GrantsOneProcessTwice => {
                let mine = |entry: &Entry| match &entry.id {
                    EntryId::Claim(id) => id.process() == claim.id.process(),
                    EntryId::Foreign(_) | EntryId::Unreadable(_) => false,
                };
                if holders().any(mine) {
                    return Ok(grant(claim, Fence::new(i64::MAX), None));
                }
            }
            WritersStarve if holders().all(|entry| entry.mode == Some(Mode::Shared)) => {
                return Ok(grant(claim, None, None));
            }
            SmallClaimsOvertake => {
                if let Mode::Permits { n: 1, .. } = claim.mode {
                    return Ok(grant(claim, Fence::new(self.count()), Some(1)));
                }
            }
            ForgetsTheOrder if queued => {
                self.leave(claim, None).await?;
            }
            PutsTheLastFirst if queued => self.put_first(claim, &line).await?,
            DeadWaitersStay if queued => {
                let mut immortal = claim.clone();
                immortal.ttl = Options::MAX;
                self.ask(&immortal).await?;
            }
            WrongPlace => busy.ahead = busy.ahead.map(|ahead| ahead + 1),
            WakesNobody => busy.changed = never(),
            WakesEverybody => busy.changed = Some(Box::pin(ready(()))),
            ForgetsWhoListens if self.count() > 60 => busy.changed = never(),
            WakesOneReader if busy.ahead > Some(1) => busy.changed = never(),
            DoesNotSayWhen => busy.free_in = None,
            SaysTheNextInstant => busy.ends = busy.free_in.into(),
            WakesTheLate => {
                thread::sleep(Duration::from_millis(1));
                match self.ask(claim).await? {
                    Attempt::Granted(_) => busy.changed = never(),
                    Attempt::Busy(later) => busy = later,
                }
            }
            _ => {}
        }
        Ok(Attempt::Busy(busy))
    }

    /// Lets all who wait join again behind this one.
    async fn put_first(&self, claim: &Claim, line: &[Entry]) -> Result<()> {
        for entry in line {
            let EntryId::Claim(id) = entry.id else {
                continue;
            };
            if id != claim.id && matches!(entry.standing, Standing::Waiting { .. }) {
                let again = Claim {
                    id,
                    claimant: entry.claimant.clone().unwrap(),
                    mode: entry.mode.unwrap(),
                    ..claim.clone()
                };
                self.leave(&again, None).await?;
                self.ask(&again).await?;
            }
        }
        Ok(())
    }

    async fn renew_one(&self, keep: &Keep) -> Result<Renewal> {
        let claim = &self.understood(&keep.claim);
        let mut granted = keep.fence;
        let there = self.entry(claim).await;
        let waits = |entry: &Entry| matches!(entry.standing, Standing::Waiting { .. });
        match self.how {
            RenewalDoesNothing if there.is_some() => return Ok(Renewal::Kept),
            RenewalOfWaiters if there.as_ref().is_some_and(waits) => {
                self.ask(claim).await?;
                return Ok(Renewal::Kept);
            }
            RenewalOfAnyGrant => granted = there.as_ref().and_then(|entry| entry.fence),
            RenewalDrawsANewFence => {
                self.count();
            }
            LingerIsKeptAlive if there.is_some() => return Ok(Renewal::Kept),
            _ => {}
        }
        match (self.how, self.keep(claim, granted).await?) {
            (RenewalRecreates, Renewal::Lost) => {
                self.ask(claim).await?;
                Ok(Renewal::Kept)
            }
            (RenewalSaysKept, Renewal::Lost) => Ok(Renewal::Kept),
            (_, answer) => Ok(answer),
        }
    }

    async fn release_one(&self, leave: &Leave) -> Result<Release> {
        let claim = &self.understood(&leave.claim);
        let line = self.line(&claim.key).await;
        let there = self.entry(claim).await;
        let standing = there.as_ref().map(|entry| entry.standing);
        let waits = matches!(standing, Some(Standing::Waiting { .. }));
        let mut linger = leave.linger;
        match self.how {
            ReleasesWhateverHolds => {
                if let Some(first) = line.first() {
                    return self.inner.evict(first).await;
                }
            }
            ReleasesAllOfTheProcess => {
                for entry in &line {
                    if let EntryId::Claim(id) = entry.id
                        && id.process() == claim.id.process()
                    {
                        self.inner.evict(entry).await?;
                    }
                }
                return Ok(Release::Done);
            }
            ReleaseForgetsWaiters if waits => return Ok(Release::Done),
            ReleaseForgetsHolders if !waits => return Ok(Release::Done),
            ReleaseTwiceFails if there.is_none() => {
                return Err(Error::rejected("broken", "not in line"));
            }
            DoesNotLinger => linger = None,
            LingersForEver => linger = linger.map(|_| Options::MAX),
            LingersForTheTtl => linger = linger.map(|_| claim.ttl),
            LingersForWaiters if waits && linger.is_some() => return Ok(Release::Done),
            LingersAnew if standing == Some(Standing::Lingering) && linger.is_some() => {
                self.inner.evict(&there.unwrap()).await?;
                self.ask(claim).await?;
            }
            _ => {}
        }
        match (self.how, self.leave(claim, linger).await?) {
            (ReleaseSaysDone, Release::Gone) => Ok(Release::Done),
            (_, answer) => Ok(answer),
        }
    }

    /// The order in which a batch takes effect.
    fn order<'a, T>(&self, batch: &'a [T]) -> Vec<&'a T> {
        let mut order: Vec<_> = batch.iter().collect();
        if self.how == ActsBackwards {
            order.reverse();
        }
        order
    }

    /// The answers to a batch, as this store gives them.
    fn spoil_batch<T>(&self, mut answers: Vec<Result<T>>) -> Vec<Result<T>> {
        let whole = || Error::unavailable("broken", "something was wrong with it");
        match self.how {
            AnswersTooFew => {
                answers.pop();
            }
            AnswersBackwards | ActsBackwards => answers.reverse(),
            FailsAsAWhole if answers.iter().any(Result::is_err) => {
                answers.iter_mut().for_each(|answer| *answer = Err(whole()));
            }
            TakesSmallBatches if answers.len() > 256 => {
                let rest = answers.iter_mut().skip(256);
                rest.for_each(|answer| *answer = Err(whole()));
            }
            RefusesEmptyBatches if answers.is_empty() => answers.push(Err(whole())),
            _ => {}
        }
        answers
    }
}

#[async_trait]
impl Store for Broken {
    async fn open(&self) -> Result<Guarantees> {
        let mut promises = self.inner.open().await?;
        promises.permits &= self.how != DeniesPermits;
        promises.linger &= self.how != DeniesLinger;
        promises.release_by_hand &= self.how != DeniesEviction;
        Ok(promises)
    }

    fn reach(&self) -> Reach {
        Reach::Local
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let mut answers = Vec::new();
        for claim in self.order(claims) {
            answers.push(self.attempt_one(claim).await);
        }
        self.spoil_batch(answers)
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        let mut answers = Vec::new();
        for keep in self.order(keeping) {
            answers.push(self.renew_one(keep).await);
        }
        self.spoil_batch(answers)
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        let mut answers = Vec::new();
        for leave in self.order(leaving) {
            answers.push(self.release_one(leave).await);
        }
        self.spoil_batch(answers)
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        let line = self.line(&entry.key).await;
        match self.how {
            EvictsNothing => return Ok(Release::Done),
            EvictsByKey => {
                if let Some(first) = line.first() {
                    return self.inner.evict(first).await;
                }
            }
            EvictsHoldersOnly if entry.standing != Standing::Holding => {
                return Ok(Release::Gone);
            }
            DoesNotEvictLingering if entry.standing == Standing::Lingering => {
                return Ok(Release::Gone);
            }
            _ => {}
        }
        self.inner.evict(entry).await
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        let prefix = match self.how {
            ShowsEverything => b"",
            ShowsByPattern => prefix.split(|byte| *byte == b'*').next().unwrap_or(prefix),
            _ => prefix,
        };
        let mut entries = self.inner.inspect(prefix).await?;
        if self.how == ShowsBackwards {
            entries.reverse();
        }
        if self.how == HidesClaimants {
            entries.iter_mut().for_each(|entry| entry.claimant = None);
        }
        Ok(entries)
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let mut entries = self.inspect(key.as_bytes()).await?;
        entries.retain(|entry| entry.key == *key || self.how == ShowsNeighbours);
        Ok(entries)
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        self.inner.recovers_in().await
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        self.inner.barred(prefix).await
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        if self.how != TellsWithoutAGrant {
            return self.inner.told(claim);
        }
        Some(Grant {
            fence: Fence::new(1),
            seat: None,
            ttl: Some(claim.ttl),
            age: Duration::ZERO,
            lost: None,
        })
    }

    fn trouble(&self) -> Option<Error> {
        self.inner.trouble()
    }

    async fn close(&self) {
        if self.how == ClosingEndsHolds {
            for entry in self.inner.inspect(b"").await.unwrap_or_default() {
                let _ = self.inner.evict(&entry).await;
            }
        }
    }
}
