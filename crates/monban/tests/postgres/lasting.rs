//! Claims with a TTL of hours and days: a crash keeps them, and they bar no key but their own.

use std::time::Duration;

use monban::contract::{Release, Renewal, Store};
use monban::data::{Claim, EntryId, Mode};
use monban_testkit::{PostgresOptions, PostgresServer};

use crate::client::{Client, lasting, leave, nothing_is_left, run, server, session, woken};

const HOUR: Duration = Duration::from_secs(3_600);
/// What a crash bars all keys for, at most.
const PAUSE: Duration = Duration::from_secs(80);

fn kill(server: &mut PostgresServer) {
    server.kill9().unwrap();
    server.start_again().unwrap();
}

/// How long all keys are barred; and no longer: as if that time had passed.
async fn pause_ends(server: &PostgresServer, witness: &Client) -> Duration {
    let busy = witness
        .goes_on_waiting(&leave(witness.exclusive("free")))
        .await;
    let opens = "UPDATE monban.epoch SET opens = monban.now()";
    server.ask(opens).unwrap();
    busy.free_in.unwrap()
}

fn written_down(server: &PostgresServer) -> String {
    let rows = "SELECT encode(key, 'escape') FROM monban.lasting ORDER BY key, id";
    server.ask(rows).unwrap().replace('\n', " ")
}

#[test]
fn a_crash_keeps_leases_of_hours_and_bars_other_keys_for_little_more_than_a_minute() {
    run(async {
        let mut server = server();
        let a = Client::at(&server.url()).await;
        let of = |key: &str, mode| lasting(a.claim(key, mode), HOUR);
        let held = of("held", Mode::Exclusive);
        let readers = [of("read", Mode::Shared), of("read", Mode::Shared)];
        let permit = of("pool", Mode::Permits { n: 1, of: 2 });
        let fence = a.fence(&held).await;
        for reader in &readers {
            a.takes(reader).await;
        }
        let seat = a.takes(&permit).await.seat.unwrap();
        // Two that are granted while others ask for nothing but to leave.
        let mut handed = Vec::new();
        for key in ["handed-1", "handed-2"] {
            let first = a.exclusive(key);
            a.takes(&first).await;
            let next = of(key, Mode::Exclusive);
            let changed = a.waits(&next).await.changed.unwrap();
            if key == "handed-1" {
                a.releases(&first).await;
            } else {
                let (one, other) = (first, a.exclusive("other"));
                a.takes(&other).await;
                all_leave(&a, &[one, other]).await;
            }
            woken(changed).await;
            a.takes(&next).await;
            handed.push(next);
        }
        let mut all = vec![held.clone(), permit.clone()];
        all.extend(readers.iter().cloned());
        all.extend(handed.iter().cloned());
        // The others have been asked for once, or not at all, when it crashes.
        for claim in [&held, &permit] {
            assert_eq!(a.renews(claim).await, Renewal::Kept, "{}", claim.key);
        }

        kill(&mut server);
        let b = Client::at(&server.url()).await;
        let pause = pause_ends(&server, &b).await;
        assert!(pause < PAUSE, "{pause:?}");
        for claim in &all {
            assert_eq!(a.keeps(claim).await, Renewal::Kept, "{}", claim.key);
        }
        let user = session(&server.url()).await;
        let check = "SELECT monban_fence_check('held', $1)";
        user.execute(check, &[&fence.as_i64()]).await.unwrap();
        // Others meet them as they met them before, and no other key is barred.
        let free = b.exclusive("free");
        b.takes(&free).await;
        for key in ["held", "read", "handed-1", "handed-2"] {
            let busy = b.waits(&leave(b.exclusive(key))).await;
            assert!(busy.free_in.unwrap() > HOUR / 2, "{key}: {busy:?}");
        }
        let third = leave(b.claim("read", Mode::Shared));
        b.takes(&third).await;
        let other = leave(b.claim("pool", Mode::Permits { n: 1, of: 2 }));
        assert_ne!(b.takes(&other).await.seat.unwrap(), seat);
        b.waits(&leave(b.claim("pool", Mode::Permits { n: 1, of: 2 })))
            .await;

        // And they leave as others do.
        for claim in &all {
            assert_eq!(a.releases(claim).await, Release::Done, "{}", claim.key);
        }
        let next = b.exclusive("held");
        assert!(b.fence(&next).await > fence);
        let refused = user.execute(check, &[&fence.as_i64()]).await;
        refused.unwrap_err();
        all_leave(&b, &[next, free, third, other]).await;
        assert_eq!(written_down(&server), "");
        nothing_is_left(&server, "").await;
    });
}

async fn all_leave(client: &Client, claims: &[Claim]) {
    let leaving: Vec<_> = claims
        .iter()
        .map(|claim| monban::data::Leave {
            claim: claim.clone(),
            linger: None,
        })
        .collect();
    for left in client.store.release(&leaving).await {
        assert_eq!(left.unwrap(), Release::Done);
    }
}

/// Whoever was granted the key since would believe in it beside him.
#[test]
fn a_lease_of_hours_that_was_freed_by_hand_does_not_come_back_with_a_crash() {
    run(async {
        // Even where commits may be forgotten.
        let forgetful = PostgresOptions::new()
            .setting("synchronous_commit", "off")
            .setting("wal_writer_delay", "10s");
        let mut server = PostgresServer::start(forgetful).unwrap();
        let (a, b) = (
            Client::at(&server.url()).await,
            Client::at(&server.url()).await,
        );
        let share = Mode::Shared;
        for (key, mode) in [("one", Mode::Exclusive), ("many", share)] {
            let held = lasting(a.claim(key, mode), HOUR);
            a.takes(&held).await;
            let shown = b.store.inspect(key.as_bytes()).await.unwrap();
            assert_eq!(shown[0].id, EntryId::Claim(held.id));
            assert_eq!(b.store.evict(&shown[0]).await.unwrap(), Release::Done);
            b.takes(&b.exclusive(key)).await;
            kill(&mut server);
            pause_ends(&server, &b).await;
            assert_eq!(a.keeps(&held).await, Renewal::Lost, "{key}");
        }
    });
}

/// What is written down of one whose process is dead goes, and claims of the usual TTL are never written down.
#[test]
fn what_is_written_down_is_bounded() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let batch: Vec<Claim> = (0..20)
            .map(|at| {
                client.claim(
                    &format!("usual-{at}"),
                    [Mode::Exclusive, Mode::Shared][at % 2],
                )
            })
            .collect();
        for answer in client.attempts(&batch).await {
            answer.unwrap();
        }
        client.takes(&client.exclusive("usual")).await;
        for claim in &batch {
            assert_eq!(client.renews(claim).await, Renewal::Kept);
        }
        assert_eq!(written_down(&server), "");
        for mode in [Mode::Exclusive, Mode::Shared] {
            let dead = lasting(client.claim("dead", mode), HOUR);
            client.takes(&dead).await;
            assert_eq!(written_down(&server), "dead");
            let end = || server.ask("SELECT expires FROM monban.lasting").unwrap();
            let until: i64 = end().parse().unwrap();
            assert_eq!(client.renews(&dead).await, Renewal::Kept);
            assert!(end().parse::<i64>().unwrap() > until);
            // As if hours had passed.
            let late = "UPDATE monban.head SET expires = 1 WHERE key = 'dead'; \
                UPDATE monban.claim SET expires = 1 WHERE key = 'dead'; UPDATE monban.lasting SET expires = 1; \
                UPDATE monban.epoch SET swept = 0; SELECT monban.sweep(1000)";
            server.ask(late).unwrap();
            assert_eq!(written_down(&server), "");
        }
    });
}
