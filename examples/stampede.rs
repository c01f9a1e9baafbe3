//! A cached page expires and twenty requests miss it at once: it is computed once, the others wait for it.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use monban::{Error, Locks, Result};

/// Stands for memcached or Redis.
#[derive(Default)]
struct Cache {
    page: Mutex<Option<String>>,
    computed: AtomicU32,
}

impl Cache {
    fn get(&self) -> Option<String> {
        self.page.lock().expect("nobody panics under it").clone()
    }

    fn compute(&self) -> String {
        thread::sleep(Duration::from_millis(200)); // the work
        self.computed.fetch_add(1, Ordering::Relaxed);
        let page = "the page".to_owned();
        *self.page.lock().expect("nobody panics under it") = Some(page.clone());
        page
    }
}

fn request(cache: &Cache, locks: &Locks) -> Result<String> {
    if let Some(page) = cache.get() {
        return Ok(page);
    }
    // Of a process one waits in the store, the others behind it: twenty requests are one place in the line.
    match locks
        .mutex("compute:page")?
        .lock()
        .within(Duration::from_secs(5))
        .wait()
    {
        Ok(_lease) => Ok(cache.get().unwrap_or_else(|| cache.compute())),
        // Rather twice than not at all: the lock saves work here, it protects nothing.
        Err(Error::TimedOut { .. } | Error::Unavailable { .. }) => Ok(cache.compute()),
        Err(error) => Err(error),
    }
}

fn main() -> Result<()> {
    let cache = Arc::new(Cache::default());
    let machines = [support::connect()?, support::connect()?];
    let requests: Vec<_> = (0..20)
        .map(|number| {
            let (cache, locks) = (Arc::clone(&cache), machines[number % 2].clone());
            thread::spawn(move || request(&cache, &locks))
        })
        .collect();
    for request in requests {
        assert_eq!(
            request.join().expect("a request does not panic")?,
            "the page"
        );
    }
    let computed = cache.computed.load(Ordering::Relaxed);
    println!("20 requests, computed {computed} time(s)");
    assert_eq!(computed, 1);
    Ok(())
}
