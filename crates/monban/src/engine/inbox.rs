//! What callers have left for the keeper, and whether it may go now.
//!
//! What is ready together travels together: while two requests of a verb are on their way, further claims collect for the
//! next. A second one sets off only if it carries no less than the first: many small requests cost the store more than
//! they save. Few that wait beside many set off when those have been answered.

use std::sync::Arc;

use super::ask::Ask;
use super::hold::Hold;
use super::leave::Leaving;

/// The most claims of one request.
const BATCH: usize = 128;
/// How many requests of a verb are on their way at once. One leaves the store idle between two.
const IN_FLIGHT: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(super) asks: Queue<Ask>,
    pub(super) leaves: Queue<Leaving>,
    pub(super) suspects: Vec<Arc<Hold>>,
}

impl Inbox {
    /// Takes all that waits. What is on its way is still counted until it arrives.
    pub(super) fn empty(&mut self) -> (Vec<Ask>, Vec<Leaving>, Vec<Arc<Hold>>) {
        let Self {
            asks,
            leaves,
            suspects,
        } = self;
        let leaves = std::mem::take(&mut leaves.waiting);
        (
            std::mem::take(&mut asks.waiting),
            leaves,
            std::mem::take(suspects),
        )
    }
}

/// What waits to be sent by one verb, and how many of its requests are on their way.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Vec<T>,
    requests: usize,
    /// How many claims they carry.
    carried: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            requests: 0,
            carried: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Adds what is to be sent. Says whether the keeper is to be told; if not, it looks here by itself when something arrives.
    pub(super) fn add(&mut self, more: impl IntoIterator<Item = T>) -> bool {
        self.waiting.extend(more);
        self.may_go()
    }

    /// Whether something waits, and may go now.
    pub(super) fn may_go(&self) -> bool {
        let waiting = self.waiting.len();
        match self.requests {
            0 => waiting > 0,
            requests => requests < IN_FLIGHT && waiting >= self.carried,
        }
    }

    /// Takes what goes in one request, if one may go. It is on its way until it is said to have arrived.
    pub(super) fn take(&mut self) -> Option<Vec<T>> {
        if !self.may_go() {
            return None;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(BATCH));
        let batch = std::mem::replace(&mut self.waiting, rest);
        self.requests += 1;
        self.carried += batch.len();
        Some(batch)
    }

    /// A request with so many claims has arrived.
    pub(super) fn arrived(&mut self, carried: usize) {
        self.requests -= 1;
        self.carried -= carried;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_request_goes_if_it_carries_no_less_and_the_rest_collects() {
        let mut queue = Queue::default();
        assert!(!queue.may_go(), "nothing waits");
        assert!(queue.add(0..8));
        assert_eq!(queue.take().unwrap().len(), 8);
        assert!(!queue.add(0..7), "fewer than the first carries");
        assert!(queue.take().is_none());
        assert!(queue.add(7..8), "as many");
        assert_eq!(queue.take().unwrap().len(), 8);
        assert!(
            !queue.add(0..100),
            "nobody need be told: two are on their way"
        );
        assert!(queue.take().is_none());
        queue.arrived(8);
        assert!(queue.may_go());
        assert_eq!(queue.take().unwrap().len(), 100);
        queue.arrived(100);
        queue.arrived(8);
        assert!(!queue.may_go(), "all has gone");
    }

    #[test]
    fn the_few_go_when_the_many_have_arrived() {
        let mut queue = Queue::default();
        assert!(queue.add(0..8));
        assert_eq!(queue.take().unwrap().len(), 8);
        assert!(!queue.add(0..1));
        queue.arrived(8);
        assert!(queue.may_go(), "nothing is on its way");
        assert_eq!(queue.take().unwrap().len(), 1);
    }

    #[test]
    fn more_than_one_request_can_carry_goes_in_several() {
        let mut queue = Queue::default();
        queue.add(0..300);
        let sizes = [queue.take(), queue.take(), queue.take()];
        assert_eq!(
            sizes.map(|batch| batch.map(|batch| batch.len())),
            [Some(128), Some(128), None]
        );
        queue.arrived(128);
        assert!(!queue.may_go(), "44 are left, and 128 on their way");
        queue.arrived(128);
        assert_eq!(queue.take().unwrap(), (256..300).collect::<Vec<_>>());
    }
}
