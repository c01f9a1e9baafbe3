//! Random operations, on the store and on the model at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Client, Failure, Stage, Verdict, ensure};
use crate::contract::{Attempt, Fencing, Grant, Release, Renewal};
use crate::data::{
    Claim, ClaimId, EntryId, Error, Fence, IfBusy, Keep, Key, Leave, Mode, Result, Standing,
};
use crate::rule::line::{State, Verdict as Told};
use crate::rule::{Line, Tick};

/// Runs of operations, and operations of a run.
const RUNS: u64 = 12;
const STEPS: usize = 150;

pub async fn random_operations_agree_with_the_model(stage: &Stage<'_>) -> Verdict {
    let fresh = getrandom::u64().unwrap_or(0);
    for run in 0..RUNS {
        // Most seeds are always the same, so that what fails once fails again; the last is new.
        let seed = if run + 1 == RUNS { fresh } else { run };
        let failed = |failure: Failure| failure.while_doing(format_args!("seed {seed}"));
        play(stage, seed).await.map_err(failed)?;
    }
    Ok(())
}

async fn play(stage: &Stage<'_>, seed: u64) -> Verdict {
    let mut world = World::new(stage, seed).await?;
    for step in 0..STEPS {
        let done = world.step().await;
        done.map_err(|failure| failure.while_doing(format_args!("step {step}")))?;
    }
    world.end().await
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn seconds(&mut self, bound: usize) -> Duration {
        Duration::from_secs(self.next() % u64::try_from(bound).unwrap_or(1) + 1)
    }
}

/// A claim that was made, and by whom.
struct Made {
    by: usize,
    claim: Claim,
    released: bool,
}

struct World<'a> {
    stage: &'a Stage<'a>,
    random: Random,
    clients: [Client; 3],
    keys: [Key; 2],
    model: HashMap<Key, Line>,
    minted: i64,
    made: Vec<Made>,
    told: Grants,
    /// The claims that were told last that they hold, with the model's fence.
    hold: HashMap<ClaimId, Option<Fence>>,
}

/// What the store has told of grants.
#[derive(Default)]
struct Grants {
    of: HashMap<ClaimId, (Option<Fence>, Option<u32>)>,
    /// The fences of exclusive grants, by key and by the model's order of granting.
    exclusive: HashMap<Key, BTreeMap<Fence, Fence>>,
    /// The last fence of every seat.
    seats: HashMap<(Key, u32), Fence>,
}

impl<'a> World<'a> {
    async fn new(stage: &'a Stage<'a>, seed: u64) -> Result<Self, Failure> {
        Ok(Self {
            stage,
            random: Random(seed),
            clients: stage.clients().await?,
            keys: ["one", "two"].map(|name| stage.key(&format!("{seed}-{name}"))),
            model: HashMap::new(),
            minted: 0,
            made: Vec::new(),
            told: Grants::default(),
            hold: HashMap::new(),
        })
    }

    /// Does one thing to the store and to the model.
    async fn step(&mut self) -> Verdict {
        match self.random.below(20) {
            0..=6 => self.attempt(true).await,
            7..=10 => self.attempt(false).await,
            11..=12 => self.renew().await,
            13..=16 => self.release(None).await,
            17 if self.can_linger() => {
                let linger = self.time(30);
                self.release(Some(linger)).await
            }
            18 if self.moves_time() => {
                let by = self.random.seconds(12);
                self.stage.pass(by).await;
                Ok(())
            }
            _ => self.compare().await,
        }
    }

    fn moves_time(&self) -> bool {
        self.stage.moves_time()
    }

    /// What lingers for long must be evicted in the end.
    fn can_linger(&self) -> bool {
        let promises = self.stage.promises();
        promises.linger && (self.moves_time() || promises.release_by_hand)
    }

    /// Where time cannot be moved, it must not matter.
    fn time(&mut self, most: usize) -> Duration {
        match self.moves_time() {
            true => self.random.seconds(most),
            false => self.stage.long(),
        }
    }

    /// The store's time, or one that stands still.
    fn now(&self) -> Tick {
        match self.moves_time() {
            true => self.stage.now(),
            false => Tick::default(),
        }
    }

    fn new_claim(&mut self) -> Made {
        let by = self.random.below(self.clients.len());
        let key = &self.keys[self.random.below(self.keys.len())];
        let modes = match self.stage.promises().permits {
            true => 8,
            false => 1,
        };
        let mode = match self.random.below(modes) {
            0..=2 => Mode::Exclusive,
            3..=4 => Mode::Shared,
            5 => Mode::Permits { n: 2, of: 3 },
            6 => Mode::Permits { n: 1, of: 2 },
            _ => Mode::Permits { n: 1, of: 3 },
        };
        let mut claim = self.clients[by].claim(key, mode);
        if self.stage.has_ttl() {
            claim.ttl = self.time(40);
        }
        // With no order promised it must not matter: nobody waits.
        if self.random.below(3) == 0 || !self.stage.is_fifo() {
            claim.if_busy = IfBusy::Leave;
        }
        Made {
            by,
            claim,
            released: false,
        }
    }

    /// One of the latest claims.
    fn pick(&mut self) -> Option<usize> {
        let newest = self.made.len().checked_sub(1)?;
        Some(newest.saturating_sub(self.random.below(10)))
    }

    /// A batch: one claim, or some of one client.
    fn batch(&mut self, new: bool) -> Vec<usize> {
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(3) {
            if new {
                let made = self.new_claim();
                self.made.push(made);
                batch.push(self.made.len() - 1);
            } else {
                batch.extend(self.pick());
            }
        }
        let made = &self.made;
        if let Some(&first) = batch.first() {
            batch.retain(|at| made[*at].by == made[first].by);
        }
        batch
    }

    fn claims(&self, batch: &[usize]) -> Vec<Claim> {
        batch
            .iter()
            .map(|at| self.made[*at].claim.clone())
            .collect()
    }

    fn client(&self, batch: &[usize]) -> &Client {
        &self.clients[batch.first().map_or(0, |at| self.made[*at].by)]
    }

    /// Does something to the model's line of a key.
    fn on<T>(
        &mut self,
        key: &Key,
        work: impl FnOnce(&mut Line, Tick, &mut dyn FnMut() -> Fence) -> T,
    ) -> T {
        let (now, minted) = (self.now(), &mut self.minted);
        let mut mint = || {
            *minted += 1;
            Fence::new(*minted).expect("positive")
        };
        let line = self.model.entry(key.clone()).or_default();
        line.settle(now, &mut mint);
        work(line, now, &mut mint)
    }

    async fn attempt(&mut self, new: bool) -> Verdict {
        let mut batch = self.batch(new);
        // What a late attempt after a release is worth is a case of its own.
        batch.retain(|at| !self.made[*at].released);
        let claims = self.claims(&batch);
        let answers = self.client(&batch).attempts(&claims).await?;
        for (claim, answer) in claims.iter().zip(answers) {
            let right = self.on(&claim.key, |line, now, mint| line.attempt(claim, now, mint));
            self.agree(claim, answer, right)?;
        }
        Ok(())
    }

    fn agree(&mut self, claim: &Claim, answer: Result<Attempt>, right: Result<Told>) -> Verdict {
        let text = format!("{claim:?} is answered {answer:?}, by the model {right:?}");
        match right {
            Ok(Told::Granted { fence, .. }) => self.hold.insert(claim.id, fence),
            _ => self.hold.remove(&claim.id),
        };
        match (answer, right) {
            (Ok(Attempt::Granted(grant)), Ok(Told::Granted { fence, .. })) => {
                self.told.hear(self.stage, claim, &grant, fence)?;
                ensure(self.seated_alone(claim, &grant), text)
            }
            (Ok(Attempt::Busy(busy)), Ok(Told::Busy { ahead })) => {
                ensure(busy.ahead.is_none_or(|said| said == ahead), text)
            }
            (Err(Error::Mismatch { .. }), Err(Error::Mismatch { .. })) => Ok(()),
            _ => Err(Failure::new(text)),
        }
    }

    /// Whether nobody else who holds the key was told this seat.
    fn seated_alone(&self, claim: &Claim, grant: &Grant) -> bool {
        let members = self.model.get(&claim.key).map_or(&[][..], Line::members);
        let mut others = members.iter().filter(|m| m.claim.id != claim.id);
        grant.seat.is_none()
            || others.all(|m| {
                let told = self.told.of.get(&m.claim.id);
                told.is_none_or(|(_, seat)| *seat != grant.seat)
            })
    }

    async fn renew(&mut self) -> Verdict {
        let mut batch = self.batch(false);
        // A store need not know of a grant that it has not told, and a share's has no fence to tell it by.
        batch.retain(|at| {
            let claim = &self.made[*at].claim;
            claim.mode != Mode::Shared || self.hold.contains_key(&claim.id)
        });
        let claims = self.claims(&batch);
        let answers = self.client(&batch).renewals(&claims).await?;
        for (claim, answer) in claims.iter().zip(answers) {
            let keep = Keep {
                claim: claim.clone(),
                fence: self.hold.get(&claim.id).copied().flatten(),
            };
            let right = self.on(&claim.key, |line, now, mint| line.renew(&keep, now, mint));
            let kept = answer? == Renewal::Kept;
            ensure(
                kept == right,
                format_args!("{claim:?} is kept: {kept}, by the model {right}"),
            )?;
        }
        Ok(())
    }

    async fn release(&mut self, linger: Option<Duration>) -> Verdict {
        let mut batch = self.batch(false);
        if linger.is_some() {
            batch.retain(|at| self.made[*at].claim.mode == Mode::Exclusive);
        }
        let claims = self.claims(&batch);
        let leaving = claims.iter().cloned().map(|claim| Leave { claim, linger });
        let leaving: Vec<_> = leaving.collect();
        let answers = self.client(&batch).releases(&leaving).await?;
        for ((at, claim), answer) in batch.iter().zip(&claims).zip(answers) {
            let there = self.on(&claim.key, |line, now, mint| {
                line.release(&claim.id, linger, now, mint)
            });
            let told = answer?;
            let before = std::mem::replace(&mut self.made[*at].released, true);
            let right = match told {
                Release::Done => there || before,
                Release::Gone => !there,
            };
            ensure(
                right,
                format_args!("{claim:?} is released: {told:?}, by the model {there}"),
            )?;
        }
        Ok(())
    }

    /// The lines are the same, in order. A store may leave it to a waiter to find that it holds.
    async fn compare(&mut self) -> Verdict {
        for key in self.keys.clone() {
            let shown = self.clients[0].line(&key).await?;
            let members = self.on(&key, |line, _, _| line.members().to_vec());
            let ids: Vec<_> = shown.iter().map(|entry| entry.id.clone()).collect();
            let right: Vec<_> = members.iter().map(|m| EntryId::Claim(m.claim.id)).collect();
            let text = || format!("the line is {shown:?}, of the model {members:?}");
            ensure(ids == right, text())?;
            for (entry, member) in shown.iter().zip(&members) {
                let told = self.told.of.contains_key(&member.claim.id);
                let same = match (member.state, entry.standing) {
                    (State::Waiting, Standing::Waiting { .. })
                    | (State::Lingering, Standing::Lingering)
                    | (State::Holding { .. }, Standing::Holding) => true,
                    (State::Holding { .. }, Standing::Waiting { .. }) => !told,
                    _ => false,
                };
                ensure(same, text())?;
            }
        }
        Ok(())
    }

    /// Leaves nothing behind.
    async fn end(&mut self) -> Verdict {
        self.compare().await?;
        for made in &self.made {
            self.clients[made.by].release(&made.claim).await?;
        }
        if self.moves_time() {
            self.stage.pass(Duration::from_secs(60)).await;
        }
        for key in &self.keys {
            for lingering in self.clients[0].line(key).await? {
                self.clients[0].evicts(&lingering).await?;
            }
        }
        Ok(())
    }
}

impl Grants {
    /// The same claim is told the same; fences of exclusive grants grow in the model's order, and those of a
    /// seat as they are told, since one must leave before the next sits down.
    fn hear(
        &mut self,
        stage: &Stage<'_>,
        claim: &Claim,
        grant: &Grant,
        granted: Option<Fence>,
    ) -> Verdict {
        let text = || format!("{claim:?} is granted {grant:?}");
        let fenced = granted.is_some() && stage.promises().fencing != Fencing::None;
        ensure(grant.fence.is_some() == fenced, text())?;
        let seated = matches!(claim.mode, Mode::Permits { .. });
        ensure(grant.seat.is_some() == seated, text())?;
        let is = (grant.fence, grant.seat);
        let was = self.of.insert(claim.id, is);
        let (Some(fence), Some(granted)) = (grant.fence, granted) else {
            return Ok(());
        };
        if was == Some(is) {
            return Ok(());
        }
        if let Some(seat) = grant.seat {
            let last = self.seats.insert((claim.key.clone(), seat), fence);
            return ensure(
                last < Some(fence),
                format_args!("{}, after {last:?}", text()),
            );
        }
        let fences = self.exclusive.entry(claim.key.clone()).or_default();
        let before = fences
            .range(..granted)
            .next_back()
            .is_none_or(|(_, f)| *f < fence);
        let after = fences
            .range(granted..)
            .next()
            .is_none_or(|(_, f)| *f > fence);
        fences.insert(granted, fence);
        ensure(before && after, text())
    }
}
