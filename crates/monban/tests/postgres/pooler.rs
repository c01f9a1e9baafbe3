//! Behind a pooler in transaction mode, as it comes: no session is ours for longer than a transaction, nothing is told, and
//! nothing that was prepared stays.

use std::time::{Duration, Instant};

use monban::Locks;
use monban::contract::{Attempt, Renewal, Store};
use monban_testkit::{PgBouncer, PgBouncerOptions, PostgresServer, service};

use crate::client::{
    Client, SOON, is_unavailable, mutex, nothing_is_left, pause, run, server, session,
};

pub(crate) fn pooled(test: impl AsyncFnOnce(PostgresServer, PgBouncer)) {
    if service::skipped("pgbouncer") {
        return;
    }
    run(async {
        let server = server();
        let options = PgBouncerOptions::new()
            .setting("default_pool_size", "2")
            .without_prepared_statements();
        let pooler = PgBouncer::start(&server, &options).unwrap();
        test(server, pooler).await;
    });
}

/// What the pooler's sessions at the server listen to, or have prepared: nothing that the next client would find.
async fn left_in_sessions(pooler: &PgBouncer) -> i64 {
    let user = session(&pooler.url()).await;
    let mut found = 0;
    for _ in 0..4 {
        let rows = user
            .simple_query("SELECT count(*) FROM pg_listening_channels()")
            .await
            .unwrap();
        for row in rows {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = row {
                found += row.get(0).unwrap().parse::<i64>().unwrap();
            }
        }
    }
    found
}

#[test]
fn claims_through_a_pooler_stand_in_one_line_with_those_beside_it() {
    pooled(async |server, pooler| {
        let (through, beside) = (
            Client::at(&pooler.url()).await,
            Client::at(&server.url()).await,
        );
        // More than the pooler has sessions: each of them meets what another client left in its own.
        let others = [
            Client::at(&pooler.url()).await,
            Client::at(&pooler.url()).await,
            Client::at(&pooler.url()).await,
        ];
        for (first, second) in [
            (&through, &beside),
            (&beside, &through),
            (&through, &others[0]),
        ] {
            let (held, waiter) = (first.exclusive("k"), second.exclusive("k"));
            let grant = first.comes_in(&held).await;
            assert_eq!(second.waits(&waiter).await.ahead, Some(1));
            assert_eq!(first.renews(&held).await, Renewal::Kept);
            assert_eq!(second.waits(&waiter).await.ahead, Some(1));
            first.releases(&held).await;
            let start = Instant::now();
            assert!(second.comes_in(&waiter).await.fence > grant.fence);
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            second.releases(&waiter).await;
        }
        for (at, other) in others.iter().enumerate() {
            let claim = other.exclusive(&format!("other-{at}"));
            for _ in 0..20 {
                other.comes_in(&claim).await;
                other.is_rid_of(&claim).await;
            }
        }
        assert_eq!(
            left_in_sessions(&pooler).await,
            0,
            "somebody else's session listens"
        );
        nothing_is_left(&server, "").await;
    });
}

#[test]
fn who_waits_behind_a_pooler_is_served_soon_though_nobody_tells_it() {
    pooled(async |server, pooler| {
        let ttl = Duration::from_secs(60);
        let holder = mutex(&pooler.url(), "k", ttl).await;
        let lease = holder.lock().await.unwrap();
        let waiter = mutex(&pooler.url(), "k", ttl).await;
        let next = tokio::spawn(async move { waiter.lock().within(ttl).await });
        pause(1_500).await;
        assert!(!next.is_finished());
        lease.release().await.unwrap();
        let start = Instant::now();
        let next = next.await.unwrap().unwrap();
        // The engine's own net would take up to five.
        let second = Duration::from_secs(1);
        assert!(start.elapsed() < second, "{:?}", start.elapsed());
        next.release().await.unwrap();
        nothing_is_left(&server, "k").await;
    });
}

/// Sessions are the pooler's: while others use all of them a request waits, and is given up; nothing of it stays.
#[test]
fn a_request_that_waits_for_a_session_in_the_pooler_is_given_up_and_leaves_nothing() {
    pooled(async |server, pooler| {
        let client = Client::at(&format!("{}?timeout=700ms", pooler.url())).await;
        client.warms_up().await;
        let (one, two) = (session(&pooler.url()).await, session(&pooler.url()).await);
        for user in [&one, &two] {
            user.batch_execute("BEGIN").await.unwrap();
        }
        let claim = client.exclusive("k");
        let asked = client.ask(&claim).await;
        assert!(is_unavailable(&asked), "{asked:?}");
        for user in [&one, &two] {
            user.batch_execute("COMMIT").await.unwrap();
        }
        pause(500).await; // if it was still to be carried out, it is now
        client.is_rid_of(&claim).await;
        nothing_is_left(&server, "k").await;
    });
}

#[test]
fn a_pooler_that_is_killed_and_started_again_costs_no_hold() {
    pooled(async |server, mut pooler| {
        let client = Client::at(&pooler.url()).await;
        let claim = client.exclusive("k");
        let fence = client.comes_in(&claim).await.fence;
        pooler.kill9().unwrap();
        assert!(is_unavailable(&client.tries_renewal(&claim).await));
        pooler.restart().unwrap();
        assert_eq!(client.keeps(&claim).await, Renewal::Kept);
        assert_eq!(client.comes_in(&claim).await.fence, fence);
        client.is_rid_of(&claim).await;
        nothing_is_left(&server, "k").await;
    });
}

/// Each verb, in batches.
#[test]
fn a_batch_goes_through_a_pooler() {
    pooled(async |server, pooler| {
        let client = Client::at(&pooler.url()).await;
        let batch: Vec<_> = (0..500)
            .map(|at| client.exclusive(&format!("batch-{at}")))
            .collect();
        for _ in 0..3 {
            let answers = client.attempts(&batch).await;
            let granted = |answer: &Result<Attempt, _>| matches!(answer, Ok(Attempt::Granted(_)));
            assert!(answers.iter().all(granted), "{:?}", answers[0]);
            let kept = client.renewals(&batch).await;
            assert!(kept.iter().all(|one| matches!(one, Ok(Renewal::Kept))));
        }
        assert_eq!(client.store.inspect(b"batch-").await.unwrap().len(), 500);
        for claim in &batch {
            client.releases(claim).await;
        }
        nothing_is_left(&server, "batch").await;
        let locks = Locks::connect(&pooler.url()).await.unwrap();
        assert!(locks.inspect("batch-").await.unwrap().is_empty());
    });
}
