//! The memory store passes the suite, by a clock that is moved and by the machine's; through a decorator
//! that makes it remote. A store that promises little passes too; broken ones do not.

mod broken;
mod modest;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::together::block_on;
use super::{Subject, Time, Wakes};
use crate::contract::Store;
use crate::data::Result;
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;
use crate::testing::FaultyStore;

/// The memory store, whose clients are its clones.
struct Memory {
    time: Time,
    store: MemoryStore,
    remote: bool,
}

impl Memory {
    fn manual() -> Self {
        let clock = Clock::manual();
        Self {
            time: Time::Manual(clock.clone()),
            store: MemoryStore::new(clock),
            remote: false,
        }
    }

    fn system() -> Self {
        let time = Time::Real {
            unit: Duration::from_secs(1),
            slack: Duration::from_millis(500),
        };
        Self {
            time,
            store: MemoryStore::new(Clock::system()),
            remote: false,
        }
    }

    fn remote() -> Self {
        Self {
            remote: true,
            ..Self::manual()
        }
    }
}

#[async_trait]
impl Subject for Memory {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        Ok(match self.remote {
            true => Arc::new(FaultyStore::new(store, Clock::system())),
            false => store,
        })
    }

    fn time(&self) -> Time {
        self.time.clone()
    }

    async fn residue(&self) -> Vec<String> {
        let keys = self.store.keys();
        (keys > 0)
            .then(|| format!("{keys} keys"))
            .into_iter()
            .collect()
    }

    fn wakes(&self) -> Wakes {
        Wakes::Next
    }
}

mod memory_by_a_clock_that_is_moved {
    use super::{Memory, block_on};

    crate::conformance_tests! { subject: Memory::manual(), run: block_on }
}

mod memory_by_the_machine_s_clock {
    use super::Memory;

    crate::conformance_tests! {
        subject: Memory::system(),
        run: |case| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(case),
    }
}

mod memory_made_remote {
    use super::{Memory, block_on};

    crate::conformance_tests! { subject: Memory::remote(), run: block_on }
}

#[test]
fn all_cases_pass_one_after_the_other_on_one_store() {
    let report = block_on(super::run(&Memory::manual()));
    assert!(report.passed(), "{report}");
    assert_eq!(report.outcomes().len(), super::cases().len());
    let text = report.to_string();
    assert_eq!(text.lines().count(), super::cases().len(), "{text}");
}

#[test]
fn names_of_cases_are_unique() {
    let mut names: Vec<_> = super::cases().iter().map(super::Case::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), super::cases().len());
}
