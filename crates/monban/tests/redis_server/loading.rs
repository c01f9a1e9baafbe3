//! A server that has been started again and is still reading its data: it answers, and serves nothing.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monban::contract::{Release, Renewal, Store};
use monban::data::Mode;
use monban::stores::redis::RedisStore;
use monban::{Error, Locks, Options};
use monban_testkit::{RedisOptions, RedisServer};

use crate::common::{Client, leftovers, pause, run, sleeps_on, woken};

/// A server that takes two seconds to load, once it has been filled, and answers clients meanwhile.
fn slow_to_load() -> RedisServer {
    let options = RedisOptions::new()
        .setting("key-load-delay", "1000")
        .setting("loading-process-events-interval-bytes", "1024");
    RedisServer::start(options).unwrap()
}

/// Fills the server, and has it write down what it has.
fn save(server: &RedisServer) {
    let fill = "for i = 1, 2000 do redis.call('SET', 'filler:' .. i, string.rep('x', 100)) end";
    server.ask(&["EVAL", fill, "0"]).unwrap();
    server.ask(&["SAVE"]).unwrap();
}

/// Kills the server and starts it again; it is handed back when it has loaded.
fn starts_again(mut server: RedisServer) -> JoinHandle<RedisServer> {
    server.kill9().unwrap();
    thread::spawn(move || {
        server.restart().unwrap();
        server
    })
}

fn is_told(error: &Error) -> bool {
    assert!(error.is_transient(), "{error}");
    error.to_string().contains("is still loading its data")
}

/// Without the fillers.
fn left(server: &RedisServer) -> Vec<String> {
    let mut left = leftovers(server);
    left.retain(|key| !key.starts_with("filler:"));
    left
}

#[test]
fn a_server_that_loads_says_so_and_can_be_opened_when_it_has() {
    run(async {
        let server = slow_to_load();
        save(&server);
        let url = server.url();
        let server = starts_again(server);
        let start = Instant::now();
        let (mut told, mut told_of_locks) = (0, 0);
        loop {
            match RedisStore::new(&url).unwrap().open().await {
                Ok(_) => break,
                // Before it loads it refuses connections.
                Err(error) => told += usize::from(is_told(&error)),
            }
            if let Err(error) = Locks::connect(&url).await {
                told_of_locks += usize::from(is_told(&error));
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it does not load"
            );
            pause(20).await;
        }
        assert!(told > 5 && told_of_locks > 5, "{told}, {told_of_locks}");
        let server = server.join().unwrap();
        let client = Client::of(&server).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        assert_eq!(left(&server), Vec::<String>::new());
    });
}

#[test]
fn who_holds_and_who_waits_are_told_that_the_server_loads_and_go_on_when_it_has() {
    run(async {
        for mode in [Mode::Exclusive, Mode::Shared] {
            let server = slow_to_load();
            let url = format!("{}?timeout=300ms", server.url());
            let (a, b) = (Client::at(&url).await, Client::at(&url).await);
            let (held, waiter) = (a.claim("k", mode), b.exclusive("k"));
            let grant = a.takes(&held).await;
            let changed = b.waits(&waiter).await.changed.unwrap();
            save(&server);
            let server = starts_again(server);
            let other = b.exclusive("other"); // the same each time: it must not stand behind itself
            let (mut renewals, mut asked) = (0, 0);
            while !server.is_finished() {
                if let Err(error) = a.tries_renewal(&held).await {
                    renewals += usize::from(is_told(&error));
                }
                if let Err(error) = b.ask(&other).await {
                    asked += usize::from(is_told(&error));
                }
            }
            assert!(renewals > 0 && asked > 0, "{mode:?}: {renewals}, {asked}");
            let server = server.join().unwrap();
            a.warms_up().await; // both have connected again
            b.warms_up().await;
            woken(changed).await; // to ask again, since it may have missed something
            let changed = b.waits(&waiter).await.changed.unwrap();
            let mut lost = grant.lost.unwrap();
            sleeps_on(&mut lost, 200).await;
            assert_eq!(a.renews(&held).await, Renewal::Kept);
            assert_eq!(a.takes(&held).await.fence, grant.fence);
            assert_eq!(a.releases(&held).await, Release::Done);
            woken(changed).await;
            assert!(b.takes(&waiter).await.fence > grant.fence);
            b.releases(&waiter).await;
            server.ask(&["DEL", "other"]).unwrap();
            assert_eq!(left(&server), Vec::<String>::new());
        }
    });
}

/// The same for a lease and its keeper: a server that loads for less than the TTL costs nothing but time.
#[test]
fn a_lease_survives_a_server_that_loads_for_less_than_its_ttl() {
    run(async {
        let server = slow_to_load();
        let options = Options::new().ttl(Duration::from_secs(15));
        let mut mutexes = Vec::new();
        for _ in 0..2 {
            let locks = Locks::connect(&server.url()).await.unwrap();
            mutexes.push(locks.mutex("k").unwrap().with(options.clone()).unwrap());
        }
        let (second, first) = (mutexes.pop().unwrap(), mutexes.pop().unwrap());
        let lease = first.lock().await.unwrap();
        let waits = tokio::spawn(async move {
            loop {
                match second.lock().within(Duration::from_secs(60)).await {
                    Ok(lease) => return lease,
                    Err(error) => assert!(is_told(&error) || error.is_transient(), "{error}"),
                }
            }
        });
        while server.ask(&["KEYS", "monban:*o:k"]).unwrap().is_empty() {
            pause(10).await;
        }
        save(&server);
        let server = starts_again(server);
        while !server.is_finished() {
            lease.check().unwrap();
            pause(20).await;
        }
        let server = server.join().unwrap();
        assert!(!waits.is_finished());
        let fence = lease.fence().unwrap();
        lease.release().await.unwrap();
        let next = waits.await.unwrap();
        assert!(next.fence().unwrap() > fence);
        next.release().await.unwrap();
        assert_eq!(left(&server), Vec::<String>::new());
    });
}
