//! Random operations on the lock and on a list must agree.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::task::Poll;

use proptest::prelude::*;

use super::Hand;
use crate::keyed::{KeyedPermits, KeyedSemaphore, SipState};

const SLOTS: usize = 8;
const KEYS: u8 = 3;
const CAPACITY: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Start(usize, u8, u32),
    Try(usize, u8, u32),
    Poll(usize),
    Keep(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let claim = || (0..SLOTS, 0..KEYS, 1..=CAPACITY);
    prop_oneof![
        4 => claim().prop_map(|(slot, key, permits)| Step::Start(slot, key, permits)),
        1 => claim().prop_map(|(slot, key, permits)| Step::Try(slot, key, permits)),
        3 => (0..SLOTS).prop_map(Step::Poll),
        1 => (0..SLOTS).prop_map(Step::Keep),
        3 => (0..SLOTS).prop_map(Step::Drop),
    ]
}

/// The rule in the plainest form: a line of claims; those hold that fit with all before them.
#[derive(Default)]
struct Rule([VecDeque<(usize, u32)>; KEYS as usize]);

impl Rule {
    fn holds(&self, key: u8, slot: usize) -> bool {
        let mut used = 0;
        for (who, permits) in &self.0[usize::from(key)] {
            used += permits;
            if used > CAPACITY {
                return false;
            }
            if *who == slot {
                return true;
            }
        }
        false
    }

    fn join(&mut self, key: u8, slot: usize, permits: u32) -> bool {
        self.0[usize::from(key)].push_back((slot, permits));
        self.holds(key, slot)
    }

    fn leave(&mut self, key: u8, slot: usize) {
        self.0[usize::from(key)].retain(|(who, _)| *who != slot);
    }

    fn keep_one(&mut self, key: u8, slot: usize) {
        for (who, permits) in &mut self.0[usize::from(key)] {
            if *who == slot {
                *permits = 1;
            }
        }
    }
}

enum Slot<'a, S> {
    Empty,
    Waits(u8, Hand<'a, KeyedPermits<'a, u8, S>>),
    Holds(u8, KeyedPermits<'a, u8, S>),
}

fn agree<S: BuildHasher + Default + Send + Sync>(steps: &[Step]) {
    const NAMES: [u8; KEYS as usize] = [0, 1, 2];
    let map = KeyedSemaphore::<u8, S>::with_shards(1, CAPACITY, S::default());
    let mut rule = Rule::default();
    let mut slots = [(); SLOTS].map(|()| Slot::Empty);
    for step in steps {
        match *step {
            Step::Start(slot, key, permits) if matches!(slots[slot], Slot::Empty) => {
                let mut hand = Hand::of(map.acquire(&NAMES[usize::from(key)], permits));
                let granted = rule.join(key, slot, permits);
                slots[slot] = match hand.poll() {
                    Poll::Ready(held) => Slot::Holds(key, held),
                    Poll::Pending => Slot::Waits(key, hand),
                };
                assert_eq!(granted, matches!(slots[slot], Slot::Holds(..)));
            }
            Step::Try(slot, key, permits) if matches!(slots[slot], Slot::Empty) => {
                let granted = rule.join(key, slot, permits);
                match map.try_acquire(&key, permits) {
                    Some(held) => slots[slot] = Slot::Holds(key, held),
                    None => rule.leave(key, slot),
                }
                assert_eq!(granted, matches!(slots[slot], Slot::Holds(..)));
            }
            Step::Poll(slot) => {
                if let Slot::Waits(key, hand) = &mut slots[slot] {
                    let (key, granted) = (*key, rule.holds(*key, slot));
                    assert_eq!(
                        hand.bell.rung(),
                        usize::from(granted),
                        "woken once, when granted"
                    );
                    let polled = hand.poll();
                    assert_eq!(polled.is_ready(), granted);
                    if let Poll::Ready(held) = polled {
                        slots[slot] = Slot::Holds(key, held);
                    }
                }
            }
            Step::Keep(slot) => {
                if let Slot::Holds(key, held) = &mut slots[slot] {
                    held.keep(1);
                    rule.keep_one(*key, slot);
                }
            }
            Step::Drop(slot) => {
                if let Slot::Waits(key, _) | Slot::Holds(key, _) = slots[slot] {
                    rule.leave(key, slot);
                }
                slots[slot] = Slot::Empty;
            }
            _ => {}
        }
        assert_eq!(
            map.len(),
            rule.0.iter().filter(|line| !line.is_empty()).count()
        );
    }
    drop(slots);
    assert!(map.is_empty());
}

/// Every key in one place of the table: only ids tell entries apart.
#[derive(Default)]
struct Zero;

impl Hasher for Zero {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        0
    }
}

proptest! {
    #[test]
    fn the_lock_and_a_plain_line_agree(steps in prop::collection::vec(step(), 0..120)) {
        agree::<SipState>(&steps);
        agree::<BuildHasherDefault<Zero>>(&steps);
    }
}
