//! The invariants of the line, held against random operations.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::data::{Claimant, Key, ProcessId};

fn claim(mode: Mode, ttl_ms: u64, if_busy: IfBusy) -> Claim {
    Claim {
        key: Key::new("k").unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode,
        ttl: Duration::from_millis(ttl_ms),
        if_busy,
        claimant: Claimant::new("h", 1, ""),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Attempt {
        mode: Mode,
        ttl: u64,
        if_busy: IfBusy,
    },
    Again {
        which: usize,
    },
    Renew {
        which: usize,
        ttl: u64,
    },
    Release {
        which: usize,
        linger: Option<u64>,
    },
    Pass {
        ms: u64,
    },
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        3 => Just(Mode::Exclusive),
        2 => Just(Mode::Shared),
        3 => (1..=3u32).prop_map(|n| Mode::Permits { n, of: 3 }),
        1 => Just(Mode::Permits { n: 1, of: 2 }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let if_busy = prop_oneof![Just(IfBusy::Queue), Just(IfBusy::Leave)];
    prop_oneof![
        4 => (mode(), 1..50u64, if_busy).prop_map(|(mode, ttl, if_busy)| Op::Attempt { mode, ttl, if_busy }),
        2 => (0..8usize).prop_map(|which| Op::Again { which }),
        2 => (0..8usize, 1..50u64).prop_map(|(which, ttl)| Op::Renew { which, ttl }),
        3 => (0..8usize, proptest::option::weighted(0.2, 1..40u64))
            .prop_map(|(which, linger)| Op::Release { which, linger }),
        2 => (0..20u64).prop_map(|ms| Op::Pass { ms }),
    ]
}

struct World {
    line: Line,
    now: Tick,
    last: i64,
    made: Vec<Claim>,
    /// The grants that the claims were told last.
    told: HashMap<ClaimId, Option<Fence>>,
}

impl World {
    fn new() -> Self {
        Self {
            line: Line::new(),
            now: Tick::from_nanos(1),
            last: 0,
            made: Vec::new(),
            told: HashMap::new(),
        }
    }

    fn pick(&self, which: usize) -> Option<Claim> {
        self.made.iter().rev().nth(which).cloned()
    }

    fn apply(&mut self, op: &Op) {
        let mut last = self.last;
        let mut mint = || {
            last += 1;
            Fence::new(last).unwrap()
        };
        match *op {
            Op::Attempt { mode, ttl, if_busy } => {
                let new = claim(mode, ttl, if_busy);
                let answer = self.line.attempt(&new, self.now, &mut mint);
                if let Ok(Verdict::Granted { fence, .. }) = answer {
                    self.told.insert(new.id, fence);
                }
                let inside = self.line.members().iter().any(|m| m.claim.id == new.id);
                let refused =
                    matches!(answer, Ok(Verdict::Busy { .. })) && if_busy == IfBusy::Leave;
                assert_eq!(
                    inside,
                    answer.is_ok() && !refused,
                    "a refused claim leaves no trace"
                );
                self.made.push(new);
            }
            Op::Again { which } => {
                let Some(again) = self.pick(which) else {
                    return;
                };
                let before = self.standing(&again.id);
                let answer = self.line.attempt(&again, self.now, &mut mint);
                if let Ok(Verdict::Granted { fence, .. }) = answer {
                    self.told.insert(again.id, fence);
                }
                if let (Some(State::Holding { fence, seat }), Ok(verdict)) = (before, answer)
                    && self
                        .line
                        .members()
                        .iter()
                        .any(|m| m.claim.id == again.id && m.since < self.now)
                {
                    assert_eq!(
                        verdict,
                        Verdict::Granted { fence, seat },
                        "asking again gives the same grant"
                    );
                }
            }
            Op::Renew { which, ttl } => {
                let Some(mut claim) = self.pick(which) else {
                    return;
                };
                let before = self.line.members().len();
                claim.ttl = Duration::from_millis(ttl);
                let fence = self.told.get(&claim.id).copied().flatten();
                let keep = Keep { claim, fence };
                let kept = self.line.renew(&keep, self.now, &mut mint);
                let holds = match self.standing(&keep.claim.id) {
                    Some(State::Holding { fence: now, .. }) => now == fence,
                    _ => false,
                };
                assert_eq!(kept, holds, "what holds since its grant is kept");
                assert!(
                    self.line.members().len() <= before,
                    "renewal never acquires"
                );
            }
            Op::Release { which, linger } => {
                let Some(old) = self.pick(which) else { return };
                self.line.release(
                    &old.id,
                    linger.map(Duration::from_millis),
                    self.now,
                    &mut mint,
                );
            }
            Op::Pass { ms } => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.line.settle(self.now, &mut mint);
            }
        }
        self.last = last;
    }

    fn standing(&self, id: &ClaimId) -> Option<State> {
        self.line
            .members()
            .iter()
            .find(|m| m.claim.id == *id)
            .map(|m| m.state)
    }

    fn check(&self, before: &[Member]) {
        let members = self.line.members();
        let blocks: Vec<_> = members
            .iter()
            .filter(|m| m.state != State::Waiting)
            .collect();
        let capacity = self.line.capacity().unwrap_or(1);
        let used: u64 = blocks
            .iter()
            .map(|m| u64::from(m.claim.mode.weight(capacity)))
            .sum();
        assert!(
            used <= u64::from(capacity),
            "capacity is exceeded: {members:?}"
        );
        if blocks.iter().any(|m| m.claim.mode == Mode::Exclusive) {
            assert_eq!(blocks.len(), 1, "exclusive is not alone: {members:?}");
        }
        if let Some(head) = members.first() {
            assert_ne!(
                head.state,
                State::Waiting,
                "the head does not hold: {members:?}"
            );
        }
        let seats: Vec<_> = blocks
            .iter()
            .filter_map(|m| match m.state {
                State::Holding { seat, .. } => seat,
                _ => None,
            })
            .collect();
        let distinct: std::collections::HashSet<_> = seats.iter().collect();
        assert_eq!(
            distinct.len(),
            seats.len(),
            "a seat is taken twice: {members:?}"
        );
        for old in before {
            let Some(new) = members.iter().find(|m| m.claim.id == old.claim.id) else {
                continue;
            };
            if let (State::Holding { .. }, State::Waiting) = (old.state, new.state) {
                panic!("granted, then waiting again: {members:?}");
            }
            if let (State::Holding { fence: a, .. }, State::Holding { fence: b, .. }) =
                (old.state, new.state)
            {
                assert_eq!(a, b, "the fence of a grant changed");
            }
        }
    }

    fn greatest_fence(&self) -> Option<Fence> {
        self.line
            .members()
            .iter()
            .filter_map(|m| match m.state {
                State::Holding { fence, .. } => fence,
                _ => None,
            })
            .max()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_for_random_operations(ops in proptest::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        let mut greatest: Option<Fence> = None;
        for op in &ops {
            let before = world.line.members().to_vec();
            world.apply(op);
            world.check(&before);
            for member in world.line.members() {
                let State::Holding { fence: Some(fence), .. } = member.state else { continue };
                let was = before.iter().any(|m| {
                    m.claim.id == member.claim.id && matches!(m.state, State::Holding { .. })
                });
                if !was {
                    prop_assert!(Some(fence) > greatest, "a new grant's fence is not greater");
                }
            }
            greatest = greatest.max(world.greatest_fence());
        }
    }
}

fn minted() -> impl FnMut() -> Fence {
    let mut last = 0;
    move || {
        last += 1;
        Fence::new(last).unwrap()
    }
}

#[test]
fn a_lingering_claim_blocks_without_an_owner() {
    let (mut line, mut mint) = (Line::new(), minted());
    let now = Tick::from_nanos(1);
    let first = claim(Mode::Exclusive, 100, IfBusy::Queue);
    let second = claim(Mode::Exclusive, 100_000, IfBusy::Queue);
    line.attempt(&first, now, &mut mint).unwrap();
    assert!(line.release(&first.id, Some(Duration::from_secs(10)), now, &mut mint));
    assert_eq!(
        line.attempt(&second, now, &mut mint).unwrap(),
        Verdict::Busy { ahead: 1 }
    );
    let keep = Keep {
        claim: first.clone(),
        fence: None,
    };
    assert!(!line.renew(&keep, now, &mut mint), "it has no owner");
    assert!(
        line.release(&first.id, None, now, &mut mint),
        "a repeated release is told the same"
    );
    let later = now.after(Duration::from_secs(10));
    assert!(matches!(
        line.attempt(&second, later, &mut mint).unwrap(),
        Verdict::Granted { .. }
    ));
}

#[test]
fn a_writer_is_not_starved_and_readers_come_in_together() {
    let (mut line, mut mint) = (Line::new(), minted());
    let now = Tick::from_nanos(1);
    let [a, b, c] = [(); 3].map(|()| claim(Mode::Shared, 1_000, IfBusy::Queue));
    let writer = claim(Mode::Exclusive, 1_000, IfBusy::Queue);
    let granted = Verdict::Granted {
        fence: None,
        seat: None,
    };
    assert_eq!(line.attempt(&a, now, &mut mint).unwrap(), granted);
    assert_eq!(
        line.attempt(&writer, now, &mut mint).unwrap(),
        Verdict::Busy { ahead: 1 }
    );
    assert_eq!(
        line.attempt(&b, now, &mut mint).unwrap(),
        Verdict::Busy { ahead: 2 }
    );
    assert_eq!(
        line.attempt(&c, now, &mut mint).unwrap(),
        Verdict::Busy { ahead: 3 }
    );
    line.release(&a.id, None, now, &mut mint);
    line.release(&writer.id, None, now, &mut mint);
    assert_eq!(line.attempt(&b, now, &mut mint).unwrap(), granted);
    assert_eq!(line.attempt(&c, now, &mut mint).unwrap(), granted);
}

#[test]
fn another_capacity_is_a_mismatch_that_names_both() {
    let (mut line, mut mint) = (Line::new(), minted());
    let now = Tick::from_nanos(1);
    line.attempt(
        &claim(Mode::Permits { n: 1, of: 3 }, 1_000, IfBusy::Queue),
        now,
        &mut mint,
    )
    .unwrap();
    let other = claim(Mode::Permits { n: 1, of: 4 }, 1_000, IfBusy::Queue);
    let error = line
        .attempt(&other, now, &mut mint)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4 permits") && error.contains("3 permits"),
        "{error}"
    );
}
