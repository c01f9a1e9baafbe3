//! The line on a real server, where a random test would not look: evicted side keys, TTLs that differ, dead waiters,
//! counters, and what is left behind.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;

use std::time::{Duration, Instant};

use common::{Client, SOON, commands, lasting, leave, leftovers, pause, run, server, woken};
use monban::contract::{Attempt, Release, Renewal, Store, Why};
use monban::data::{Claim, EntryId, Leave, Mode, Standing};
use monban::{Error, Locks};
use monban_testkit::RedisServer;

const TWO: Mode = Mode::Permits { n: 1, of: 2 };

#[test]
fn a_newcomer_to_a_free_key_does_not_overtake_who_waits() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        server
            .ask(&["SET", "k", "somebody's", "PX", "60000"])
            .unwrap();
        let waiter = a.exclusive("k");
        drop(a.waits(&waiter).await);
        server.ask(&["DEL", "k"]).unwrap();
        // Nobody has asked since: the key is free and the line is not.
        let busy = b.waits(&leave(b.exclusive("k"))).await;
        assert_eq!(busy.ahead, Some(1), "{busy:?}");
        a.takes(&waiter).await;
        a.releases(&waiter).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_renewal_creates_nothing() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let mut watched = Vec::new();
        for (mode, listens) in [
            (Mode::Exclusive, true),
            (Mode::Exclusive, false),
            (Mode::Shared, true),
            (TWO, false),
        ] {
            let claim = client.claim("k", mode);
            let grant = client.takes(&claim).await;
            if listens {
                watched.push(grant.lost);
            }
            assert_eq!(client.renews(&claim).await, Renewal::Kept);
            server.ask(&["DEL", "k"]).unwrap();
            assert_eq!(client.renews(&claim).await, Renewal::Lost, "{mode:?}");
            assert_eq!(server.ask(&["EXISTS", "k"]).unwrap(), "0");
            server.ask(&["SET", "k", "another's"]).unwrap();
            assert_eq!(client.renews(&claim).await, Renewal::Lost, "{mode:?}");
            assert_eq!(client.releases(&claim).await, Release::Gone, "{mode:?}");
            assert_eq!(server.ask(&["GET", "k"]).unwrap(), "another's");
            server.ask(&["DEL", "k"]).unwrap();
            assert_eq!(leftovers(&server), Vec::<String>::new(), "{mode:?}");
        }
    });
}

#[test]
fn the_marker_lasts_as_long_as_the_longest_of_those_who_hold() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for short_first in [true, false] {
            let short = lasting(client.claim("k", Mode::Shared), 300);
            let long = lasting(client.claim("k", Mode::Shared), 20_000);
            let (first, second) = if short_first {
                (&short, &long)
            } else {
                (&long, &short)
            };
            client.takes(first).await;
            client.takes(second).await;
            pause(500).await;
            let writer = leave(client.exclusive("k"));
            assert_eq!(client.waits(&writer).await.why, Why::Held);
            assert_eq!(client.releases(&long).await, Release::Done);
            client.takes(&writer).await;
            client.releases(&writer).await;
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

#[test]
fn a_permit_that_expired_is_free_though_another_keeps_the_key() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let (short, long) = (lasting(client.claim("k", TWO), 300), client.claim("k", TWO));
        assert_eq!(client.takes(&short).await.seat, Some(0));
        assert_eq!(client.takes(&long).await.seat, Some(1));
        let third = client.claim("k", TWO);
        let busy = client.waits(&third).await;
        assert!(
            busy.free_in.unwrap() <= Duration::from_millis(301),
            "{busy:?}"
        );
        pause(400).await;
        assert_eq!(client.takes(&third).await.seat, Some(0));
        assert_eq!(client.renews(&short).await, Renewal::Lost);
        for claim in [&long, &third] {
            assert_eq!(client.releases(claim).await, Release::Done);
        }
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// Whatever is left of the line, nobody may hold beside a holder, and nothing may be stuck for longer than a TTL.
#[test]
fn one_side_key_may_vanish_alone() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for side in ["monban:{*}o:k", "monban:{*}e:k"] {
            let reader = lasting(client.claim("k", Mode::Shared), 1_500);
            let writer = client.exclusive("k");
            client.takes(&reader).await;
            drop(client.waits(&writer).await);
            let name = server.ask(&["KEYS", side]).unwrap();
            assert_eq!(server.ask(&["DEL", &name]).unwrap(), "1", "{name}");
            let start = Instant::now();
            let mut kept = true;
            loop {
                let in_time = start.elapsed() < Duration::from_millis(1_400);
                match client.ask(&writer).await.unwrap() {
                    Attempt::Granted(_) => {
                        assert!(
                            !in_time || !kept,
                            "granted beside a reader who is told that it holds"
                        );
                        break;
                    }
                    Attempt::Busy(_) => assert!(start.elapsed() < Duration::from_secs(20), "stuck"),
                }
                if in_time && start.elapsed() < Duration::from_millis(500) {
                    kept = client.renews(&reader).await == Renewal::Kept;
                }
                pause(20).await;
            }
            client.releases(&writer).await;
            client.releases(&reader).await;
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

#[test]
fn ten_thousand_dead_waiters_are_got_rid_of_in_parts() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        server.ask(&["SET", "k", "somebody's"]).unwrap();
        let dead: Vec<_> = (0..10_000)
            .map(|_| lasting(client.exclusive("k"), 60_000))
            .collect();
        for batch in dead.chunks(128) {
            for answer in client.store.attempt(batch).await {
                assert!(matches!(answer, Ok(Attempt::Busy(_))), "{answer:?}");
            }
        }
        let die = "local all = redis.call('ZRANGE', KEYS[1], 0, -1) \
            for _, one in ipairs(all) do redis.call('ZADD', KEYS[1], 1, one) end return #all";
        let expiry = server.ask(&["KEYS", "monban:*e:k"]).unwrap();
        let died = server.ask(&["EVAL", die, "1", &expiry]).unwrap();
        assert_eq!(died, "10000");
        server.ask(&["DEL", "k"]).unwrap();
        server.ask(&["CONFIG", "RESETSTAT"]).unwrap();
        let late = client.exclusive("k");
        client.comes_in(&late).await;
        let calls = commands(&server);
        assert!((10..200).contains(&calls), "done in {calls} parts");
        client.releases(&late).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_line_of_the_dead_does_not_stay() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        server
            .ask(&["SET", "k", "somebody's", "PX", "300"])
            .unwrap();
        drop(client.waits(&lasting(client.exclusive("k"), 300)).await);
        drop(
            client
                .takes(&lasting(client.claim("r", Mode::Shared), 300))
                .await,
        );
        assert!(leftovers(&server).len() > 2);
        pause(300 + 1_000 + 500).await; // by themselves
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn fences_grow_whatever_becomes_of_the_counter() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let mut last = None;
        let mut check = async |what: &str| {
            for mode in [Mode::Exclusive, TWO] {
                let claim = client.claim("k", mode);
                let fence = client.fence(&claim).await;
                assert!(Some(fence) > last, "{what}: {fence:?} after {last:?}");
                last = Some(fence);
                client.releases(&claim).await;
            }
        };
        check("at first").await;
        server.ask(&["FLUSHALL"]).unwrap();
        check("without its counter").await;
        let ahead = "2795382000000000";
        server.ask(&["SET", "monban:{fence}", ahead]).unwrap();
        check("with a counter far ahead, as after a clock that went back").await;
        assert!(last.unwrap().as_i64() > ahead.parse().unwrap());
    });
}

/// What is no number, or less than any fence, is as good as nothing: the server's time goes on.
#[test]
fn a_counter_that_says_nothing_is_healed() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let mut last = client.fence(&client.exclusive("first")).await;
        for junk in ["junk", "nan", "-5", "", "-inf"] {
            for mode in [TWO, Mode::Exclusive] {
                server.ask(&["SET", "monban:{fence}", junk]).unwrap();
                let claim = client.claim("k", mode);
                let fence = client.fence(&claim).await;
                assert!(fence > last, "{junk}: {fence:?} after {last:?}");
                last = fence;
                client.releases(&claim).await;
            }
        }
    });
}

/// Whoever may write the counter can bar all: so it is said what is wrong and what mends it, to everybody who wanted a
/// fence and to nobody else; and nothing makes it worse.
#[test]
fn a_counter_that_somebody_spoilt_is_named_to_whoever_wants_a_fence() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for bad in ["9223372036854775807", "9000000000000001", "1e300", "inf"] {
            let claims = [("held", Mode::Exclusive), ("handed", Mode::Exclusive)];
            let [held, handed] = claims.map(|(key, mode)| client.claim(key, mode));
            client.takes(&held).await;
            client.takes(&handed).await;
            let waiter = client.exclusive("handed");
            let waking = client.waits(&waiter).await.changed.unwrap();
            let behind = client.claim("handed", TWO);
            let passed = client.waits(&behind).await.changed.unwrap();
            server.ask(&["SET", "monban:{fence}", bad]).unwrap();
            let names = |error: &Error| {
                let text = error.to_string();
                let said = ["monban:{fence}", bad, "DEL monban:{fence}"];
                assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
                assert!(said.iter().all(|word| text.contains(word)), "{text}");
            };
            // Alone and together, by the plain way and by the other.
            for mode in [Mode::Exclusive, TWO] {
                names(&client.ask(&client.claim("k", mode)).await.unwrap_err());
                let many = ["a", "b"].map(|key| client.claim(key, mode));
                for answer in client.attempts(&many).await {
                    names(&answer.unwrap_err());
                }
            }
            // Those who want none are not concerned.
            let shared = client.claim("shared", Mode::Shared);
            client.takes(&shared).await;
            assert_eq!(client.renews(&held).await, Renewal::Kept);
            client.takes(&held).await; // asked again
            for claim in [&shared, &held] {
                assert_eq!(client.releases(claim).await, Release::Done);
            }
            // A hand-over: who releases is done, who is next hears why not, and then the one behind.
            assert_eq!(client.releases(&handed).await, Release::Done);
            for (wake, claim) in [(waking, &waiter), (passed, &behind)] {
                let start = Instant::now();
                woken(wake).await;
                assert!(start.elapsed() < Duration::from_millis(500));
                names(&client.ask(claim).await.unwrap_err());
                assert_eq!(client.releases(claim).await, Release::Done);
            }
            assert_eq!(server.ask(&["GET", "monban:{fence}"]).unwrap(), bad);
            assert_eq!(leftovers(&server), Vec::<String>::new());
            server.ask(&["DEL", "monban:{fence}"]).unwrap();
            client.fence(&waiter).await;
            client.releases(&waiter).await;
        }
        server.ask(&["DEL", "monban:{fence}"]).unwrap();
        server.ask(&["HSET", "monban:{fence}", "a", "1"]).unwrap();
        let error = client.ask(&client.exclusive("k")).await.unwrap_err();
        assert!(error.to_string().contains("DEL monban:{fence}"), "{error}");
    });
}

/// B10, B11, B12: units, read back from the server.
#[test]
fn ttls_reach_the_server_in_their_unit() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for millis in [500, 1_500, 30_000, 86_400_000, 10 * 366 * 86_400_000] {
            for mode in [Mode::Exclusive, Mode::Shared] {
                let claim = lasting(client.claim("k", mode), millis);
                client.takes(&claim).await;
                let left: u64 = server.ask(&["PTTL", "k"]).unwrap().parse().unwrap();
                assert!(left <= millis && left + 400 > millis, "{left} of {millis}");
                assert_eq!(client.renews(&claim).await, Renewal::Kept);
                client.releases(&claim).await;
            }
            let claim = client.exclusive("k");
            client.takes(&claim).await;
            let linger = Some(Duration::from_millis(millis));
            client.store.release(&[Leave { claim, linger }]).await;
            let left: u64 = server.ask(&["PTTL", "k"]).unwrap().parse().unwrap();
            assert!(left <= millis && left + 400 > millis, "{left} of {millis}");
            server.ask(&["DEL", "k"]).unwrap();
        }
    });
}

#[test]
fn an_uncontended_claim_costs_two_commands_and_so_does_a_hand_over() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        let (first, second) = (a.exclusive("warm"), b.exclusive("warm"));
        a.takes(&first).await;
        drop(b.waits(&second).await);
        a.releases(&first).await;
        b.takes(&second).await;
        b.releases(&second).await;
        server.ask(&["CONFIG", "RESETSTAT"]).unwrap();
        for _ in 0..100 {
            let claim = a.exclusive("k");
            a.takes(&claim).await;
            a.releases(&claim).await;
        }
        let calls = commands(&server);
        assert!(calls <= 220, "{calls} for 100 pairs"); // a pause of the machine may let a watch in
        server.ask(&["CONFIG", "RESETSTAT"]).unwrap();
        let mut held = a.exclusive("k");
        a.takes(&held).await;
        for at in 0..100 {
            let (from, to) = if at % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let next = to.exclusive("k");
            let busy = to.waits(&next).await;
            from.releases(&held).await;
            woken(busy.changed.unwrap()).await;
            to.takes(&next).await;
            held = next;
        }
        let calls = commands(&server);
        assert!(calls <= 290, "{calls} for 100 hand-overs");
        a.releases(&held).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// Longer than what a holder waits before it watches its key, and with others behind the next in line.
#[test]
fn a_hold_that_others_wait_for_costs_four_commands_and_nothing_more_for_its_length() {
    run(async {
        const TURNS: u64 = 12;
        let server = server();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let locks = Locks::connect(&server.url()).await.unwrap();
            let mutex = locks.mutex("k").unwrap();
            mutex.lock().await.unwrap().release().await.unwrap();
            tasks.push(mutex);
        }
        server.ask(&["CONFIG", "RESETSTAT"]).unwrap();
        let tasks = tasks.into_iter().map(|mutex| {
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    let lease = mutex.lock().await.unwrap();
                    pause(40).await;
                    lease.release().await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let (calls, holds) = (commands(&server), 4 * TURNS);
        // Two and a look at the key by whoever holds it, with the permission to watch it; and now and then by who is next.
        assert!(calls <= holds * 4 + holds / 2, "{calls} for {holds} holds");
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// What the message brings is what the server has, and counts from the request that joined the line.
#[test]
fn one_connection_carries_all_claims_of_a_store() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        for number in 0..30 {
            let key = format!("k{number}");
            client.takes(&client.exclusive(&key)).await;
            drop(client.waits(&client.exclusive(&key)).await);
        }
        let list = server.ask(&["CLIENT", "LIST"]).unwrap();
        // Beside the one that asks, and perhaps the one that looked whether the server listens.
        let asks = ["cmd=client|list ", "cmd=client ", "cmd=ping "];
        let others = list
            .lines()
            .filter(|line| !asks.iter().any(|ask| line.contains(ask)));
        assert_eq!(others.count(), 1, "{list}");
    });
}

#[test]
fn a_grant_that_came_by_message_is_the_one_at_the_key() {
    run(async {
        let server = server();
        let (a, b) = (Client::of(&server).await, Client::of(&server).await);
        for (holds, waits) in [
            (Mode::Exclusive, Mode::Exclusive),
            (Mode::Shared, Mode::Exclusive),
            (Mode::Exclusive, TWO),
            (Mode::Exclusive, Mode::Shared),
        ] {
            let (held, waiter) = (a.claim("k", holds), b.claim("k", waits));
            a.takes(&held).await;
            let changed = b.waits(&waiter).await.changed.unwrap();
            pause(30).await;
            a.releases(&held).await;
            woken(changed).await;
            server.ask(&["CONFIG", "RESETSTAT"]).unwrap();
            let told = b.takes(&waiter).await;
            assert_eq!(scripts(&server), 0, "{waits:?}: asked though it was told");
            assert_eq!(told.ttl, Some(waiter.ttl));
            let age = told.age;
            assert!(age >= Duration::from_millis(30) && age < SOON, "{age:?}");
            let left: u64 = server.ask(&["PTTL", "k"]).unwrap().parse().unwrap();
            assert!(left > 10_000, "{left}");
            // Asked for over the wire, it is the same.
            let asked = b.takes(&waiter).await;
            assert_eq!(scripts(&server), 1);
            assert_eq!(
                (told.fence, told.seat),
                (asked.fence, asked.seat),
                "{waits:?}"
            );
            assert_eq!(b.renews(&waiter).await, Renewal::Kept);
            assert_eq!(b.releases(&waiter).await, Release::Done);
            assert_eq!(leftovers(&server), Vec::<String>::new());
        }
    });
}

/// How many scripts were run since the statistics were reset.
fn scripts(server: &RedisServer) -> u64 {
    let info = server.ask(&["INFO", "commandstats"]).unwrap();
    let calls = |command: &str| -> u64 {
        let start = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    // What is run to watch a key follows a command that says so.
    calls("evalsha").saturating_sub(calls("client|caching"))
}

/// The short way of a release hands over only where nothing else is to be done.
#[test]
fn a_release_hands_over_past_the_dead_and_to_others_than_writers() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let held = client.exclusive("k");
        client.takes(&held).await;
        let dead = lasting(client.exclusive("k"), 50);
        drop(client.waits(&dead).await);
        let (first, second) = (client.claim("k", TWO), client.claim("k", TWO));
        let third = client.exclusive("k");
        let mut wakes = Vec::new();
        for claim in [&first, &second, &third] {
            wakes.push(client.waits(claim).await.changed.unwrap());
        }
        pause(100).await;
        client.releases(&held).await;
        let last = wakes.pop().unwrap();
        for wake in wakes {
            woken(wake).await;
        }
        assert_eq!(client.takes(&first).await.seat, Some(0));
        assert_eq!(client.takes(&second).await.seat, Some(1));
        client.releases(&first).await;
        client.releases(&second).await;
        woken(last).await;
        client.takes(&third).await;
        let dead = lasting(client.exclusive("k"), 50);
        let after = client.exclusive("k");
        drop(client.waits(&dead).await);
        let wake = client.waits(&after).await.changed.unwrap();
        pause(100).await;
        client.releases(&third).await;
        woken(wake).await;
        client.takes(&after).await;
        client.releases(&after).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// Permits come and go in batches, some by release and some by silence; those who hold at one time sit apart.
#[test]
fn no_seat_is_given_twice() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let mode = Mode::Permits { n: 1, of: 4 };
        let mut all: Vec<Claim> = (0..24).map(|_| client.claim("k", mode)).collect();
        for at in [2, 7, 9, 13] {
            all[at] = lasting(all[at].clone(), 60_000); // alike in all but this: batches of mixed claims
        }
        let mut done = 0;
        while !all.is_empty() {
            let answers = client.store.attempt(&all).await;
            let mut seats = Vec::new();
            for (claim, answer) in all.iter().zip(answers) {
                if let Attempt::Granted(grant) = answer.unwrap() {
                    seats.push((grant.seat.unwrap(), claim.clone()));
                }
            }
            let mut numbers: Vec<u32> = seats.iter().map(|(seat, _)| *seat).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), seats.len(), "a seat twice");
            assert!(numbers.iter().all(|seat| *seat < 4) && !seats.is_empty());
            // Two of them leave, not those who came first.
            for (_, claim) in seats.iter().rev().take(2) {
                assert_eq!(client.releases(claim).await, Release::Done);
                all.retain(|other| other.id != claim.id);
                done += 1;
            }
        }
        assert_eq!(done, 24);
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn one_release_wakes_the_next_and_the_one_behind_it_alone() {
    run(async {
        let server = server();
        let holder = Client::of(&server).await;
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(Client::of(&server).await);
        }
        for foreign in [false, true] {
            one_wakes(&server, &holder, &others, foreign).await;
        }
    });
}

async fn one_wakes(server: &RedisServer, holder: &Client, others: &[Client], foreign: bool) {
    let held = holder.exclusive("k");
    if foreign {
        server.ask(&["SET", "k", "token", "PX", "60000"]).unwrap();
    } else {
        holder.takes(&held).await;
    }
    let mut waiting = Vec::new();
    for client in others {
        let claim = client.exclusive("k");
        let wake = client.waits(&claim).await.changed.unwrap();
        waiting.push((client, claim, wake));
    }
    pause(50).await; // the head watches by now
    if foreign {
        server.ask(&["DEL", "k"]).unwrap();
    } else {
        holder.releases(&held).await;
    }
    let (first, claim, wake) = waiting.remove(0);
    woken(wake).await;
    first.takes(&claim).await;
    pause(200).await;
    let mut early = 0;
    for (_, _, wake) in &mut waiting {
        early += usize::from(
            tokio::time::timeout(Duration::from_millis(1), wake)
                .await
                .is_ok(),
        );
    }
    assert_eq!(early, 0, "only the one that holds now was to be woken");
    for (client, claim, _) in waiting {
        client.releases(&claim).await;
    }
    first.releases(&claim).await;
    assert_eq!(leftovers(server), Vec::<String>::new());
}

#[test]
fn a_listing_shows_ours_and_a_stranger_only_by_its_whole_name() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        server
            .ask(&[
                "SET",
                "app:foreign",
                "token-of-24-bytes-length",
                "PX",
                "41000",
            ])
            .unwrap();
        server.ask(&["HSET", "app:hash", "uuid:1", "1"]).unwrap();
        server.ask(&["SET", "app:ever", "x"]).unwrap();
        let claim = client.exclusive("app:ours");
        client.takes(&claim).await;
        let listed = client.store.inspect(b"app:").await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].id, EntryId::Claim(claim.id));

        let shown = client
            .store
            .inspect(b"app:foreign")
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(shown.standing, Standing::Foreign);
        assert_eq!(
            shown.id,
            EntryId::Foreign(b"token-of-24-bytes-length".as_slice().into())
        );
        let left = shown.expires_in.unwrap();
        assert!(
            left <= Duration::from_secs(41) && left > Duration::from_secs(30),
            "{left:?}"
        );
        let ever = client
            .store
            .inspect(b"app:ever")
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(ever.expires_in, None);

        let hash = client
            .store
            .inspect(b"app:hash")
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(hash.standing, Standing::Foreign);
        let refused = client.store.evict(&hash).await.unwrap_err();
        assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
        assert!(refused.to_string().contains("hash"), "{refused}");
        assert_eq!(server.ask(&["EXISTS", "app:hash"]).unwrap(), "1");

        server.ask(&["SET", "app:ever", "changed"]).unwrap();
        assert_eq!(client.store.evict(&ever).await.unwrap(), Release::Gone);
        assert_eq!(server.ask(&["GET", "app:ever"]).unwrap(), "changed");
        let waiter = client.exclusive("app:foreign");
        let busy = client.waits(&waiter).await;
        assert_eq!(client.store.evict(&shown).await.unwrap(), Release::Done);
        woken(busy.changed.unwrap()).await;
        client.takes(&waiter).await;
    });
}
