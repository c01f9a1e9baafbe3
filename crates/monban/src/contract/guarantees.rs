//! What a store promises, as data.

/// What a store promises.
///
/// It switches no code path: it is read when a lock is built, to refuse what the store cannot promise; it is
/// printed; and it selects what the conformance suite asserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// The store's name.
    pub store: &'static str,
    /// How far exclusion goes, and what it rests on.
    pub exclusion: Exclusion,
    /// In which order waiting claims are granted.
    pub order: Order,
    /// What frees the key of a dead holder.
    pub liveness: Liveness,
    /// For how long fences grow.
    pub fencing: Fencing,
    /// Whether shared and counted claims are offered.
    pub permits: bool,
    /// Whether a released claim can keep its place.
    pub linger: bool,
    /// Whether a claim can be freed by hand.
    pub release_by_hand: bool,
}

/// How far exclusion goes, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Among the users of one object in one process.
    Process,
    /// Among the processes of one host, by its kernel.
    Host,
    /// Among all clients, through any failure of a minority of servers.
    Linearizable,
    /// Among all clients of one primary, while it neither loses memory nor steps its clock.
    SinglePrimary,
    /// Among all clients of one primary, through a loss of its memory too, while it keeps its data on disk and does not
    /// step its clock.
    LastingPrimary,
    /// Among all clients, while a majority of independent servers keeps memory and clocks.
    Timing,
}

/// In which order waiting claims are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First come, first served, among all who use the store: nothing but monban does.
    Fifo,
    /// First come, first served, among monban processes; others lock the same keys and stand in no line.
    FifoBesideOthers,
    /// First come, first served, among all clients: those that are not monban stand in the same line.
    FifoAmongAll,
    /// No order is promised.
    Any,
}

/// What frees the key of a dead holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its TTL runs out.
    Ttl,
    /// Its TTL runs out, and then the lease of the store that carried it.
    TtlAndLease,
    /// Its TTL runs out; after a crash of the server, what the store had in reserve for the leases that it lost.
    TtlAndReserve,
    /// Its session with the server ends.
    Session,
    /// Its process ends.
    Process,
}

/// For how long fences grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// Grants carry no fence.
    None,
    /// As long as the store keeps its data, and through a loss of it while its clock does not go back too.
    WhileDataLives,
    /// As long as the store keeps its data: they are counted there, and by no clock.
    WithData,
    /// Always.
    Always,
}

impl Guarantees {
    /// The promises as sentences, each with its condition, for people.
    #[must_use]
    pub fn sentences(&self) -> Vec<&'static str> {
        let mut all = vec![
            self.exclusion.sentence(),
            self.order.sentence(),
            self.liveness.sentence(),
            self.fencing.sentence(),
        ];
        all.push(if self.permits {
            "Shared and counted claims are offered beside exclusive ones."
        } else {
            "Only exclusive claims are offered."
        });
        all.push(if self.linger {
            "A released claim can keep its place for a time (at most once per interval)."
        } else {
            "A released claim cannot keep its place."
        });
        all.push(if self.release_by_hand {
            "A claim can be freed by hand; its owner is told only afterwards."
        } else {
            "A claim cannot be freed by hand: end its process."
        });
        all
    }
}

impl Exclusion {
    /// The promise with its condition.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Process => {
                "At most one holder of a key among the users of one set of locks in one process; \
                 nothing is promised between processes."
            }
            Self::Host => {
                "At most one holder of a key among the processes of one host and one local file system, \
                 kept by the kernel: no clock and no pause can break it. Not across hosts, and not \
                 against programs that ignore the lock or delete its files."
            }
            Self::Linearizable => {
                "At most one valid lease of a key among all clients, through the failure of any minority of the \
                 servers, while a majority keeps its data, and within a TTL the clocks of holder and leader drift apart by \
                 less than 1 % of it plus 2 ms. On etcd before 3.4.31, and on 3.5 before 3.5.13, also while no leader \
                 hangs (in its disk, say) for as long as a TTL: such a leader ends, when it goes on, leases that its \
                 successor has renewed."
            }
            Self::SinglePrimary => {
                "At most one valid lease of a key among all clients of one primary, while the server \
                 neither loses memory (a restart without its data, a fail-over, eviction) nor has the \
                 key deleted or overwritten by hand, nor steps its \
                 wall clock, and within a TTL the clocks of holder and server drift apart by less than 1 % of it \
                 plus 2 ms."
            }
            Self::LastingPrimary => {
                "At most one valid lease of a key among all clients of one primary, through its crashes too, and through \
                 the promotion of a standby that has all its commits, while the old primary has ended, commits reach the \
                 disk (fsync is on), no older backup is restored, the server does not step its wall clock, and within a \
                 TTL the clocks of holder and server drift apart by less than 1 % of it plus 2 ms."
            }
            Self::Timing => {
                "At most one valid lease of a key, if during any TTL a majority of the servers neither \
                 restarts without its data nor steps its clock."
            }
        }
    }
}

impl Order {
    /// Whether claims that wait are granted in the order in which they came.
    #[must_use]
    pub fn is_fifo(self) -> bool {
        !matches!(self, Self::Any)
    }

    /// The promise with its condition.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Fifo => "First come, first served.",
            Self::FifoBesideOthers => {
                "First come, first served among monban processes; programs that lock the same key by other means may come \
                 between."
            }
            Self::FifoAmongAll => {
                "First come, first served among all clients, `etcdctl lock` and Go's `concurrency.Mutex` included."
            }
            Self::Any => "No order among those who wait.",
        }
    }
}

impl Liveness {
    /// Whether claims have a TTL.
    #[must_use]
    pub fn has_ttl(self) -> bool {
        matches!(self, Self::Ttl | Self::TtlAndLease | Self::TtlAndReserve)
    }

    /// The promise with its condition.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Ttl => "The key of a dead holder is free when its TTL has run out.",
            Self::TtlAndLease => {
                "The key of a dead holder is free when its TTL, in whole seconds, and up to 6 s more have passed; a new \
                 leader of the servers counts both anew."
            }
            Self::TtlAndReserve => {
                "The key of a dead holder is free when its TTL has run out. After a crash of the server, or a fail-over, nothing \
                 is granted, of any key, until every lease of up to a minute that it forgot would have ended: for 80 s at most, \
                 43 s with the default TTL. Longer leases survive, and bar their own keys alone."
            }
            Self::Session => {
                "The key of a dead holder is free when the server notices the end of its session."
            }
            Self::Process => {
                "The key of a dead holder is free at once. There is no TTL: a holder that is stopped \
                 keeps the key, and a waiter that is stopped keeps its place."
            }
        }
    }
}

impl Fencing {
    /// The promise with its condition.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::None => "Grants carry no fence.",
            Self::WhileDataLives => {
                "Every exclusive grant of a key carries a fence greater than that of any earlier one, \
                 while the store keeps its data; if it loses them, while its clock has not gone back."
            }
            Self::WithData => {
                "Every exclusive grant of a key carries a fence greater than that of any earlier one, \
                 while the store keeps its data: not after it was set up anew, or from an older backup."
            }
            Self::Always => {
                "Every exclusive grant of a key carries a fence greater than that of any earlier one."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rule::Lifetime;

    /// The allowance that is promised is the one by which leases are given up early.
    #[test]
    fn the_allowance_is_the_one_that_is_kept() {
        let ttl = Duration::from_secs(100);
        let kept = ttl - Lifetime::validity(ttl);
        assert_eq!(kept, ttl / 100 + Duration::from_millis(2));
        let on_clocks = [
            Exclusion::Linearizable,
            Exclusion::SinglePrimary,
            Exclusion::LastingPrimary,
        ];
        for exclusion in on_clocks {
            let sentence = exclusion.sentence();
            assert!(sentence.contains("1 % of it plus 2 ms"), "{sentence}");
        }
    }

    #[test]
    fn a_store_is_not_said_to_do_what_it_does_not() {
        assert!(!Exclusion::LastingPrimary.sentence().contains("evict"));
        assert!(!Order::Fifo.sentence().contains("other"));
        assert!(Order::FifoAmongAll.is_fifo() && !Order::Any.is_fifo());
    }
}
