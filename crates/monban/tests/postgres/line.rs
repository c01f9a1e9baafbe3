//! The tables: what is kept in them, and for how long; keys that look like something else; and what a claim costs.

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Release, Renewal, Store};
use monban::data::{Claim, ClaimId, Leave, Mode, ProcessId};

use crate::client::{
    Client, SOON, lasting, leave, nothing_is_left, pause, run, server, session, shared, woken,
};

/// Rows of the tables that may grow.
fn rows(server: &monban_testkit::PostgresServer) -> [u32; 3] {
    ["head", "claim", "linger"].map(|table| {
        let count = server.ask(&format!("SELECT count(*) FROM monban.{table}"));
        count.unwrap().parse().unwrap()
    })
}

async fn all_leave(client: &Client, batch: &[Claim]) {
    let leaving: Vec<Leave> = batch
        .iter()
        .map(|claim| Leave {
            claim: claim.clone(),
            linger: None,
        })
        .collect();
    let left = client.store.release(&leaving).await;
    assert!(left.iter().all(|one| matches!(one, Ok(Release::Done))));
}

/// Takes so many keys once.
async fn takes_once(client: &Client, keys: std::ops::Range<u32>, mode: Mode) {
    for first in keys.clone().step_by(1_000) {
        let batch: Vec<Claim> = (first..(first + 1_000).min(keys.end))
            .map(|at| client.claim(&format!("idle-{at}"), mode))
            .collect();
        let answers = client.attempts(&batch).await;
        let granted = |answer: &Result<Attempt, _>| matches!(answer, Ok(Attempt::Granted(_)));
        assert!(answers.iter().all(granted), "{:?}", answers[0]);
        all_leave(client, &batch).await;
    }
}

#[test]
fn what_is_kept_of_ten_thousand_keys_that_were_taken_once_is_removed() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        takes_once(&client, 0..9_000, Mode::Exclusive).await;
        takes_once(&client, 9_000..10_000, Mode::Permits { n: 1, of: 2 }).await;
        let held = client.exclusive("held");
        let fence = client.fence(&held).await;
        let early = client.exclusive("idle-7");
        let before = client.fence(&early).await;
        client.releases(&early).await;
        nothing_is_left(&server, "idle").await;
        assert_eq!(rows(&server)[1..], [0, 0]);
        // As if minutes had passed: sweeps are a minute apart, and keys must have been idle as long.
        let mut removed = 0;
        for _ in 0..40 {
            server.ask("UPDATE monban.epoch SET swept = 0, floor = greatest(floor, monban.now() - 1000000)").unwrap();
            let now: i64 = server
                .ask("SELECT monban.sweep(1000)")
                .unwrap()
                .parse()
                .unwrap();
            removed += now.max(0);
        }
        let left = rows(&server);
        assert!(left[0] < 100, "{left:?} after {removed} were removed");
        // The key that is held is not among them, and the next fence of one that was is greater than its last.
        assert_eq!(client.renews(&held).await, Renewal::Kept);
        assert_eq!(client.fence(&held).await, fence);
        let again = client.exclusive("idle-7");
        assert!(client.fence(&again).await > before);
        all_leave(&client, &[held, again]).await;
        nothing_is_left(&server, "").await;
    });
}

/// A crash puts the fences a day ahead of the clock. What is left of keys goes all the same.
#[test]
fn what_is_kept_of_idle_keys_is_removed_after_crashes_too() {
    run(async {
        let mut server = server();
        for crash in 0..2 {
            let client = Client::at(&server.url()).await;
            client.takes(&client.exclusive("before")).await;
            drop(client);
            server.kill9().unwrap();
            server.start_again().unwrap();
            // As if the pause had passed.
            let client = Client::at(&server.url()).await;
            let busy = client.goes_on_waiting(&leave(client.exclusive("k"))).await;
            assert!(busy.free_in.is_some(), "{crash}");
            server
                .ask("UPDATE monban.epoch SET opens = monban.now()")
                .unwrap();
        }
        let client = Client::at(&server.url()).await;
        takes_once(&client, 0..1_000, Mode::Exclusive).await;
        takes_once(&client, 1_000..1_200, Mode::Permits { n: 1, of: 2 }).await;
        let early = client.exclusive("idle-7");
        let mut before = client.fence(&early).await;
        client.releases(&early).await;
        let held = client.exclusive("held");
        let fence = client.fence(&held).await;
        let ahead = "SELECT floor > monban.now() + 3600000000 FROM monban.epoch";
        assert_eq!(server.ask(ahead).unwrap(), "t");
        assert!(rows(&server)[0] > 1_200);
        for round in 0..2 {
            // As if minutes had passed: the first of these sweeps raises the floor, those after it go by that.
            for _ in 0..3 {
                server.ask("UPDATE monban.epoch SET swept = 0").unwrap();
                server.ask("SELECT monban.sweep(1000)").unwrap();
            }
            assert!(rows(&server)[0] < 10, "{round}: {:?}", rows(&server));
            assert_eq!(client.renews(&held).await, Renewal::Kept);
            assert_eq!(client.fence(&held).await, fence);
            // Of one that was removed and is used again, and again.
            for _ in 0..2 {
                let again = client.exclusive("idle-7");
                let next = client.fence(&again).await;
                assert!(next > before, "{next} {before}");
                client.releases(&again).await;
                before = next;
            }
        }
        all_leave(&client, &[held]).await;
        nothing_is_left(&server, "idle").await;
    });
}

/// More than whoever raises the reserve removes with it.
#[test]
fn a_client_that_has_nothing_to_do_removes_what_is_left_of_idle_keys() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        takes_once(&client, 0..3_000, Mode::Exclusive).await;
        assert!(rows(&server)[0] >= 3_000, "{:?}", rows(&server));
        // As if minutes had passed.
        server
            .ask("UPDATE monban.epoch SET swept = 0, floor = greatest(floor, monban.now())")
            .unwrap();
        let start = Instant::now();
        while rows(&server)[0] > 100 {
            assert!(start.elapsed() < SOON, "{:?}", rows(&server));
            pause(200).await;
        }
        nothing_is_left(&server, "idle").await;
    });
}

/// Where nothing uses locks but commands that end at once, each with a key that nobody uses again.
#[test]
fn short_lives_sweep_too() {
    run(async {
        let server = server();
        let first = Client::at(&server.url()).await;
        takes_once(&first, 0..900, Mode::Exclusive).await;
        drop(first);
        let start = Instant::now();
        while rows(&server)[0] > 100 {
            // As if minutes had passed.
            server.ask("UPDATE monban.epoch SET swept = 0, until = 0, floor = greatest(floor, monban.now() - 1000)").unwrap();
            let short = Client::at(&server.url()).await;
            let claim = short.exclusive("short");
            short.takes(&claim).await;
            short.releases(&claim).await;
            drop(short);
            assert!(start.elapsed() < SOON, "{:?}", rows(&server));
        }
    });
}

/// Text that ends strings and statements, bytes that are no text, and the longest keys.
#[test]
fn a_key_is_bytes_and_nothing_else() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let mut keys: Vec<Vec<u8>> = [
            "'; DROP TABLE monban.head; --",
            "\"; DROP SCHEMA monban CASCADE; --",
            "$1",
            "$$; SELECT pg_sleep(100); $$",
            "a'b''c\\d\\\\e",
            "\\x6b",
            "{a,b}",
            "NULL",
            "%_like%",
            "é\u{202e}\n\t",
            "k",
            "K",
            " k",
        ]
        .map(|key| key.as_bytes().to_vec())
        .to_vec();
        keys.push(vec![0]);
        keys.push(vec![0xff, 0, 0xfe, 0x27]);
        keys.push((0..=255).collect());
        keys.push(vec![b'x'; 1_024]);
        keys.push(vec![0xff; 1_024]);
        let claims: Vec<Claim> = keys
            .iter()
            .map(|key| {
                let mut claim = client.exclusive("replaced");
                claim.key = monban::Key::new(key).unwrap();
                claim
            })
            .collect();
        // All at once, and each by itself: they are different keys.
        let answers = client.attempts(&claims).await;
        for (claim, answer) in claims.iter().zip(answers) {
            assert!(
                matches!(answer, Ok(Attempt::Granted(_))),
                "{}: {answer:?}",
                claim.key
            );
        }
        for claim in &claims {
            let mut other = client.exclusive("replaced");
            other.key = claim.key.clone();
            client.waits(&other).await;
            assert_eq!(client.renews(claim).await, Renewal::Kept, "{}", claim.key);
            let shown = client.store.inspect(claim.key.as_bytes()).await.unwrap();
            let line: Vec<_> = shown
                .iter()
                .filter(|entry| entry.key == claim.key)
                .collect();
            assert_eq!(line.len(), 2, "{}", claim.key);
            assert_eq!(client.releases(claim).await, Release::Done);
            client.comes_in(&other).await;
            assert_eq!(client.releases(&other).await, Release::Done);
        }
        nothing_is_left(&server, "").await;
    });
}

#[test]
fn a_claimant_is_text_and_nothing_else() {
    run(async {
        let client = Client::at(&shared().url()).await;
        for label in [
            "'; DELETE FROM monban.head; --",
            "\0nul",
            "\u{1f512}",
            "",
            "",
        ] {
            let mut claim = client.exclusive("claimant");
            claim.claimant = monban::Claimant::new("ho'st", 7, label);
            client.takes(&claim).await;
            let shown = client.store.inspect(b"claimant").await.unwrap();
            assert_eq!(shown.len(), 1);
            let busy = client.waits(&leave(client.exclusive("claimant"))).await;
            assert!(busy.who.is_some());
            client.releases(&claim).await;
        }
        nothing_is_left(shared(), "claimant").await;
    });
}

#[test]
fn a_long_line_is_joined_and_left_in_order() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let claims: Vec<_> = (0..60).map(|_| client.exclusive("line")).collect();
        client.takes(&claims[0]).await;
        let mut wakes = Vec::new();
        for (at, claim) in claims.iter().enumerate().skip(1) {
            let busy = client.waits(claim).await;
            assert_eq!(busy.ahead, Some(at));
            wakes.push(busy.changed.unwrap());
        }
        for (at, wake) in wakes.into_iter().enumerate() {
            client.releases(&claims[at]).await;
            woken(wake).await;
            client.takes(&claims[at + 1]).await;
        }
        client.releases(claims.last().unwrap()).await;
        nothing_is_left(shared(), "line").await;
    });
}

/// All that is in line for a key expires, and nobody asks for that key again: its rows go all the same.
#[test]
fn what_dead_processes_left_is_removed_though_nobody_asks_for_their_keys_again() {
    run(async {
        let server = server();
        let dead = Client::at(&server.url()).await;
        let ttl = Duration::from_secs(1);
        for at in 0..20 {
            let key = format!("dead-{at}");
            dead.takes(&lasting(dead.exclusive(&key), ttl)).await;
            dead.waits(&lasting(dead.exclusive(&key), ttl)).await;
            let share = lasting(dead.claim(&format!("read-{at}"), Mode::Shared), ttl);
            dead.takes(&share).await;
        }
        // The last in line leaves, and then the line moves on: the head is not told that nobody is left in it.
        let [first, second, last] = [(); 3].map(|()| lasting(dead.exclusive("dead-alone"), ttl));
        dead.takes(&first).await;
        dead.waits(&second).await;
        dead.waits(&last).await;
        dead.releases(&last).await;
        dead.releases(&first).await;
        let moved = "SELECT crowd FROM monban.head WHERE key = 'dead-alone' AND holder IS NOT NULL";
        assert_eq!(server.ask(moved).unwrap(), "t");
        drop(dead);
        pause(1_200).await;
        // As if minutes had passed.
        server.ask("UPDATE monban.claim SET expires = 1; UPDATE monban.head SET expires = 1, fence = 1").unwrap();
        let start = Instant::now();
        while rows(&server) != [0, 0, 0] {
            server.ask("UPDATE monban.epoch SET swept = 0, floor = greatest(floor, monban.now() - 1000000)").unwrap();
            server.ask("SELECT monban.sweep(1000)").unwrap();
            assert!(start.elapsed() < SOON, "{:?}", rows(&server));
            pause(50).await;
        }
    });
}

#[test]
fn a_batch_of_any_size_is_carried_out() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let batch: Vec<Claim> = (0..9_000)
            .map(|at| {
                client.claim(
                    &format!("big-{at}"),
                    [Mode::Exclusive, Mode::Shared][at % 2],
                )
            })
            .collect();
        let answers = client.attempts(&batch).await;
        let granted = |answer: &Result<Attempt, _>| matches!(answer, Ok(Attempt::Granted(_)));
        assert!(answers.iter().all(granted), "{:?}", answers[0]);
        let kept = client.renewals(&batch).await;
        assert!(kept.iter().all(|one| matches!(one, Ok(Renewal::Kept))));
        all_leave(&client, &batch).await;
        nothing_is_left(shared(), "big").await;
    });
}

/// Many at once want the same keys in different orders: they wait for each other, and never in a ring.
#[test]
fn batches_that_want_the_same_keys_in_different_orders_do_not_lock_each_other_out() {
    run(async {
        let mut tasks = Vec::new();
        for number in 0..4 {
            let url = shared().url();
            tasks.push(tokio::spawn(async move {
                let client = Client::at(&url).await;
                for round in 0..30 {
                    let mut batch: Vec<Claim> = (0..30)
                        .map(|at| leave(client.exclusive(&format!("ring-{at}"))))
                        .collect();
                    let turn = (number * 7 + round) % batch.len();
                    batch.rotate_left(turn);
                    if number % 2 == 0 {
                        batch.reverse();
                    }
                    for answer in client.attempts(&batch).await {
                        answer.unwrap();
                    }
                    client.renewals(&batch).await;
                    for claim in &batch {
                        client.is_rid_of(claim).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        nothing_is_left(shared(), "ring").await;
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
        assert_eq!(shared().ask(deadlocks).unwrap(), "0");
    });
}

/// What is in reserve has fences for as long as the longest claim, and is not used up by asking for more.
#[test]
fn fences_are_in_reserve_for_as_long_as_claims() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let days = |days: u64| Duration::from_secs(days * 86_400);
        client
            .takes(&lasting(client.exclusive("long"), days(30)))
            .await;
        let enough = "SELECT ceiling > until FROM monban.epoch";
        assert_eq!(server.ask(enough).unwrap(), "t");
        let many = "SELECT count(monban.prepare(1000000)) FROM generate_series(1, 100)";
        server.ask(many).unwrap();
        let few = "SELECT ceiling < until + 2 * 86400000000 FROM monban.epoch";
        assert_eq!(server.ask(few).unwrap(), "t");
    });
}

/// A key is removed by a floor that has been known for a minute, in however many goes.
#[test]
fn the_floor_is_not_raised_between_sweeps_that_follow_at_once() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        takes_once(&client, 0..3, Mode::Exclusive).await;
        drop(client); // it sweeps too
        let old = "UPDATE monban.head SET fence = 5; UPDATE monban.epoch SET swept = 0, floor = 10";
        server.ask(old).unwrap();
        let floor = "SELECT floor FROM monban.epoch";
        for removed in ["1", "1", "1"] {
            assert_eq!(server.ask("SELECT monban.sweep(1)").unwrap(), removed);
            assert_eq!(server.ask(floor).unwrap(), "10");
        }
        assert_eq!(server.ask("SELECT monban.sweep(1)").unwrap(), "0");
        assert_ne!(server.ask(floor).unwrap(), "10");
    });
}

/// In a batch no row that another transaction is writing is waited for.
#[test]
fn a_batch_does_not_wait_for_a_row_that_is_being_written() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        takes_once(&client, 0..1, Mode::Exclusive).await;
        let (writer, asker) = (session(&server.url()).await, session(&server.url()).await);
        let writes = "BEGIN; UPDATE monban.head SET since = since";
        writer.batch_execute(writes).await.unwrap();
        let asks = "SET lock_timeout = '5s'; DO $$ BEGIN
            ASSERT (SELECT array_agg(what ORDER BY at) FROM monban.attempt(
              ARRAY['idle-0', 'other']::bytea[], ARRAY['a', 'b']::bytea[], '{0,0}', '{0,0}', '{9,9}', '{t,t}', '{x,x}',
              false, true, false)) = '{x,g}'::\"char\"[];
          END $$";
        asker.batch_execute(asks).await.unwrap();
        writer.batch_execute("ROLLBACK").await.unwrap();
    });
}

/// Who joins a line in one request with somebody of a process that does not listen yet is told all the same.
#[test]
fn who_waits_is_told_whoever_joined_with_it() {
    run(async {
        let (a, b) = (
            Client::at(&shared().url()).await,
            Client::at(&shared().url()).await,
        );
        let keys = ["told-0", "told-1", "told-2"];
        let held = keys.map(|key| a.exclusive(key));
        for claim in &held {
            a.takes(claim).await;
        }
        let first = b.exclusive(keys[0]);
        b.waits(&first).await; // from now on its process is heard
        let mut batch = [b.exclusive(keys[1]), b.exclusive(keys[2])];
        batch[1].id = ClaimId::random(ProcessId::random());
        let mut answers = b.attempts(&batch).await.into_iter();
        let mut wakes = Vec::new();
        for _ in &batch {
            match answers.next() {
                Some(Ok(Attempt::Busy(busy))) => wakes.push(busy.changed.unwrap()),
                other => panic!("{other:?}"),
            }
        }
        for (claim, wake) in held[1..].iter().zip(wakes) {
            a.releases(claim).await;
            woken(wake).await;
        }
        a.releases(&held[0]).await;
        b.releases(&first).await;
        all_leave(&b, &batch).await;
        nothing_is_left(shared(), "told").await;
    });
}
