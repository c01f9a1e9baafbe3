//! The file store held to the contract: every case in a directory of its own.
#![cfg(feature = "conformance")]
#![allow(missing_docs, clippy::unwrap_used)] // a test

use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use monban::Result;
use monban::conformance::{Subject, Time};
use monban::contract::Store;
use monban::stores::file::FileStore;

struct Files {
    place: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(place.path().join("locks"))
            .unwrap();
        Self { place }
    }
}

#[async_trait::async_trait]
impl Subject for Files {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(FileStore::new(self.place.path().join("locks"))))
    }

    fn time(&self) -> Time {
        Time::Real {
            unit: Duration::from_millis(300),
            slack: Duration::from_millis(700), // below the nets beside its notices: wakes must be the kernel's
        }
    }

    async fn residue(&self) -> Vec<String> {
        let side = self.place.path().join("locks/.monban");
        std::fs::read_dir(side)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "fence")
            .collect()
    }
}

/// No runtime: the futures of the suite need none, nor do the store's.
fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(case);
}

mod contract {
    monban::conformance_tests! { subject: super::Files::new(), run: super::run }
}
