//! Fences checked inside users' own transactions, by programs that know nothing of monban but one function.

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Renewal, Store, Why};
use monban::data::{ClaimId, EntryId, Mode};
use monban::stores::postgres::PostgresStore;
use monban::{Fence, Locks};
use monban_testkit::{PostgresOptions, PostgresServer};
use tokio_postgres::Client as Session;

use crate::client::{
    Client, SOON, is_unavailable, lasting, leave, mutex, nothing_is_left, pause, run, server,
    session, shared,
};

/// What a write costs that is refused: its SQLSTATE.
const STALE: &str = "MB001";

async fn check(user: &Session, key: &str, fence: Fence) -> Result<(), String> {
    let checked = user
        .execute(
            "SELECT monban_fence_check($1, $2)",
            &[&key, &fence.as_i64()],
        )
        .await;
    checked.map(drop).map_err(|error| {
        let error = error.as_db_error().expect("the server says so");
        format!("{}: {}", error.code().code(), error.message())
    })
}

/// Frees a claim by hand: its owner does not know yet.
async fn take_away(client: &Client, key: &str, id: ClaimId) {
    let shown = client.store.inspect(key.as_bytes()).await.unwrap();
    let entry = shown.iter().find(|entry| entry.id == EntryId::Claim(id));
    client.store.evict(entry.unwrap()).await.unwrap();
}

#[test]
fn a_late_writer_s_transaction_fails_and_says_by_whom_it_was_overtaken() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let user = session(&shared().url()).await;
        for mode in [Mode::Exclusive, Mode::Permits { n: 1, of: 1 }] {
            let (late, next) = (client.claim("late", mode), client.claim("late", mode));
            let old = client.fence(&late).await;
            check(&user, "late", old).await.unwrap();
            client.releases(&late).await;
            let new = client.fence(&next).await;
            let refused = check(&user, "late", old).await.unwrap_err();
            assert!(refused.starts_with(STALE), "{refused}");
            assert!(refused.contains(&old.to_string()), "{refused}");
            check(&user, "late", new).await.unwrap();
            // One that was never given, and one of a key that nobody had.
            let never = Fence::new(new.as_i64() + 1).unwrap();
            assert!(check(&user, "late", never).await.is_err());
            let unknown = check(&user, "nobody's", new).await.unwrap_err();
            assert!(unknown.starts_with(STALE), "{unknown}");
            // Whoever has no fence has passed no check.
            for none in ["'late', NULL", "NULL, NULL", "'nobody''s', NULL"] {
                let none = format!("SELECT monban_fence_check({none}::bigint)");
                let refused = user.batch_execute(&none).await.unwrap_err();
                assert_eq!(refused.code().unwrap().code(), STALE, "{none}");
            }
            client.releases(&next).await;
        }
        nothing_is_left(shared(), "late").await;
    });
}

#[test]
fn each_holder_of_permits_has_its_own_fence() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let user = session(&shared().url()).await;
        let permits = |client: &Client| client.claim("pool", Mode::Permits { n: 1, of: 2 });
        let (one, two, three) = (permits(&client), permits(&client), permits(&client));
        let (first, second) = (client.fence(&one).await, client.fence(&two).await);
        check(&user, "pool", first).await.unwrap();
        check(&user, "pool", second).await.unwrap();
        client.releases(&one).await;
        let third = client.fence(&three).await;
        assert!(check(&user, "pool", first).await.is_err());
        check(&user, "pool", second).await.unwrap();
        check(&user, "pool", third).await.unwrap();
        for claim in [two, three] {
            client.releases(&claim).await;
        }
        nothing_is_left(shared(), "pool").await;
    });
}

/// A share has no fence of its own, and ends the worth of an earlier one all the same: who reads must not see a late write.
#[test]
fn a_share_that_was_granted_since_refuses_the_fence_of_whoever_had_the_key_before() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let user = session(&shared().url()).await;
        let late = client.exclusive("read");
        let old = client.fence(&late).await;
        user.batch_execute("BEGIN").await.unwrap();
        check(&user, "read", old).await.unwrap();
        take_away(&client, "read", late.id).await;
        let reader = client.claim("read", Mode::Shared);
        let asked = client.ask(&reader).await;
        assert!(!matches!(asked, Ok(Attempt::Granted(_))), "{asked:?}");
        user.batch_execute("COMMIT").await.unwrap();
        assert_eq!(client.comes_in(&reader).await.fence, None);
        let second = client.claim("read", Mode::Shared);
        client.comes_in(&second).await;
        assert_eq!(client.renews(&reader).await, Renewal::Kept);
        check(&user, "read", old).await.unwrap_err();
        for share in [&reader, &second] {
            client.releases(share).await;
            check(&user, "read", old).await.unwrap_err();
        }
        let next = client.exclusive("read");
        // The check that was refused may hold its row until its transaction has ended.
        let new = client.comes_in(&next).await.fence.unwrap();
        assert!(new > old);
        check(&user, "read", new).await.unwrap();
        client.releases(&next).await;

        // And of a key that nobody ever had but readers.
        let first = client.claim("readers", Mode::Shared);
        client.takes(&first).await;
        let above = "SELECT fence > floor FROM monban.head, monban.epoch WHERE key = 'readers'";
        assert_eq!(shared().ask(above).unwrap(), "t");
        client.releases(&first).await;
        nothing_is_left(shared(), "read").await;
    });
}

/// Under each isolation level: the check sees what was committed before it, or fails.
#[test]
fn an_open_transaction_that_has_passed_the_check_is_not_overtaken() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            let user = session(&server.url()).await;
            let (late, next) = (client.exclusive("k"), client.exclusive("k"));
            let old = client.fence(&late).await;
            let begin = format!(
                "BEGIN ISOLATION LEVEL {level}; CREATE TABLE mine_{} (v int)",
                level.len()
            );
            user.batch_execute(&begin).await.unwrap();
            check(&user, "k", old).await.unwrap();
            // It loses the key meanwhile, and does not know.
            take_away(&client, "k", late.id).await;
            for _ in 0..10 {
                let asked = client.ask(&next).await;
                let barred = matches!(asked, Ok(Attempt::Busy(_))) || is_unavailable(&asked);
                assert!(barred, "{level}: {asked:?}");
                pause(30).await;
            }
            // Nobody holds it: it is the transaction that is in the way, and of those behind the first too.
            let share = leave(client.claim("k", Mode::Shared));
            for claim in [&next, &leave(client.exclusive("k")), &share] {
                let busy = client.goes_on_waiting(claim).await;
                assert_eq!(busy.why, Why::Barred, "{level}");
            }
            user.batch_execute("COMMIT").await.unwrap();
            let new = client.comes_in(&next).await.fence.unwrap();
            assert!(new > old);
            assert!(check(&user, "k", old).await.is_err(), "{level}");
            let busy = client.waits(&share).await;
            assert_eq!(busy.why, Why::Held, "{level}");
            client.is_rid_of(&next).await;
        }
        nothing_is_left(&server, "k").await;
    });
}

/// The snapshot is older than the next grant: the check does not look at the past.
#[test]
fn a_transaction_that_began_before_the_next_grant_is_refused_under_every_isolation_level() {
    run(async {
        let client = Client::at(&shared().url()).await;
        for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            let user = session(&shared().url()).await;
            let (late, next) = (client.exclusive("snapshot"), client.exclusive("snapshot"));
            let old = client.fence(&late).await;
            let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class");
            user.batch_execute(&begin).await.unwrap();
            client.releases(&late).await;
            client.takes(&next).await;
            let refused = check(&user, "snapshot", old).await.unwrap_err();
            let code = refused.split(':').next().unwrap();
            assert!([STALE, "40001"].contains(&code), "{level}: {refused}");
            client.releases(&next).await;
        }
        nothing_is_left(shared(), "snapshot").await;
    });
}

/// Two that write for one holder, and one whose write is rolled back.
#[test]
fn checks_of_one_holder_do_not_wait_for_each_other_and_a_rollback_frees_the_key() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let (one, two) = (
            session(&shared().url()).await,
            session(&shared().url()).await,
        );
        let (held, next) = (client.exclusive("both"), client.exclusive("both"));
        let fence = client.fence(&held).await;
        for user in [&one, &two] {
            user.batch_execute("BEGIN").await.unwrap();
            check(user, "both", fence).await.unwrap();
        }
        client.releases(&held).await;
        let asked = client.ask(&next).await;
        assert!(!matches!(asked, Ok(Attempt::Granted(_))), "{asked:?}");
        one.batch_execute("ROLLBACK").await.unwrap();
        let asked = client.ask(&next).await;
        assert!(!matches!(asked, Ok(Attempt::Granted(_))), "{asked:?}");
        drop(two); // its session ends, and its transaction with it
        client.comes_in(&next).await;
        client.releases(&next).await;
        nothing_is_left(shared(), "both").await;
    });
}

/// A report that runs for hours: the lease is renewed and released as ever, and only a later grant of this key waits.
#[test]
fn a_long_transaction_that_has_checked_a_fence_delays_a_later_grant_of_that_key_and_nothing_else() {
    run(async {
        let server = server();
        let ttl = Duration::from_secs(3);
        let holder = mutex(&server.url(), "long", ttl).await;
        let lease = holder.lock().await.unwrap();
        let user = session(&server.url()).await;
        user.batch_execute("BEGIN").await.unwrap();
        check(&user, "long", lease.fence().unwrap()).await.unwrap();

        let other = Locks::connect(&server.url()).await.unwrap();
        let start = Instant::now();
        while start.elapsed() < ttl * 2 {
            // Others at the same time, in the same process and in another one.
            for locks in [&other, &other] {
                let mutex = locks.mutex("other").unwrap();
                let short = mutex.lock().within(SOON).await.unwrap();
                short.release().await.unwrap();
            }
            lease.check().unwrap();
            pause(50).await;
        }
        lease.release().await.unwrap();

        // Waits, and is renewed while it does; so do those behind it, and they keep their order.
        let waits = |url: String| async move {
            let mutex = mutex(&url, "long", ttl).await;
            mutex.lock().within(SOON * 2).await
        };
        let next = tokio::spawn(waits(server.url()));
        tokio::time::sleep(ttl + Duration::from_millis(500)).await;
        assert!(!next.is_finished(), "granted over an open transaction");
        let behind = tokio::spawn(waits(server.url()));
        pause(300).await;
        user.batch_execute("COMMIT").await.unwrap();
        let next = next.await.unwrap().unwrap();
        next.check().unwrap();
        assert!(!behind.is_finished());
        next.release().await.unwrap();
        behind.await.unwrap().unwrap().release().await.unwrap();
        nothing_is_left(&server, "long").await;
    });
}

/// In one batch with others: only the key that is barred has to wait.
#[test]
fn a_batch_is_not_held_up_by_one_key_that_a_transaction_bars() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let user = session(&shared().url()).await;
        let held = client.exclusive("batch-b");
        let fence = client.fence(&held).await;
        user.batch_execute("BEGIN").await.unwrap();
        check(&user, "batch-b", fence).await.unwrap();
        client.releases(&held).await;
        let batch = ["batch-a", "batch-b", "batch-c"].map(|key| client.exclusive(key));
        let start = Instant::now();
        let answers = client.attempts(&batch).await;
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        let granted = |at: usize| matches!(answers[at], Ok(Attempt::Granted(_)));
        assert!(granted(0) && !granted(1) && granted(2), "{answers:?}");
        user.batch_execute("COMMIT").await.unwrap();
        client.comes_in(&batch[1]).await;
        for claim in &batch {
            client.is_rid_of(claim).await;
        }
        nothing_is_left(shared(), "batch").await;
    });
}

/// Whoever writes may do nothing with locks but check a fence.
#[test]
fn a_role_that_may_check_fences_can_do_nothing_else_to_locks() {
    run(async {
        let server = server();
        let client = Client::at(&server.url()).await;
        let held = client.exclusive("k");
        let fence = client.fence(&held).await;
        server.ask("CREATE ROLE writer LOGIN").unwrap();
        let user = session(&server.url_of("writer", None)).await;
        // It bars grants for as long as its transaction is open, so it is not everybody's.
        let code = |refused: String| refused.split(':').next().map(str::to_owned);
        let refused = check(&user, "k", fence).await.unwrap_err();
        assert_eq!(code(refused).as_deref(), Some("42501"));
        server
            .ask("GRANT USAGE ON SCHEMA monban TO writer")
            .unwrap();
        for function in ["monban_fence_check", "monban.fence_check"] {
            for key in ["'k'", "'k'::bytea"] {
                let called = format!("SELECT {function}({key}, {fence})");
                let refused = user.batch_execute(&called).await.unwrap_err();
                assert_eq!(refused.code().unwrap().code(), "42501", "{called}");
            }
        }
        let grant = "GRANT EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) TO writer";
        assert!(PostgresStore::SCHEMA.contains(&grant.replace("writer", "app")));
        server.ask(grant).unwrap();
        check(&user, "k", fence).await.unwrap();
        let qualified = format!("SELECT monban.fence_check('k', {fence})");
        user.batch_execute(&qualified).await.unwrap();
        // What an administrator has granted stays when the functions are made again.
        let again = "GRANT EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) TO PUBLIC";
        server.ask(again).unwrap();
        let (by_default, granted) = (
            "REVOKE EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) FROM PUBLIC",
            "SELECT has_function_privilege('public', 'monban.fence_check(bytea, bigint)', 'EXECUTE')",
        );
        server.ask(PostgresStore::SCHEMA).unwrap();
        assert_eq!(server.ask(granted).unwrap(), "t");
        server.ask(by_default).unwrap();
        for forbidden in [
            "DELETE FROM monban.head",
            "SELECT * FROM monban.claim",
            "SELECT monban.sweep(10)",
            "SELECT monban.prepare(10)",
            "SELECT monban.evict('k', 'k')",
        ] {
            let refused = user.batch_execute(forbidden).await.unwrap_err();
            let code = refused.code().unwrap().code().to_owned();
            assert_eq!(code, "42501", "{forbidden}: {refused}");
        }
        // Whatever else it names so: the function looks nowhere but in its own schema.
        let tricks =
            "CREATE TEMP TABLE head (key bytea, fence bigint); CREATE SCHEMA IF NOT EXISTS pg_temp";
        let _ = user.batch_execute(tricks).await;
        let never = Fence::new(fence.as_i64() + 1).unwrap();
        assert!(check(&user, "k", never).await.is_err());
        client.releases(&held).await;
    });
}

/// A try that is refused since a transaction is open leaves nothing.
#[test]
fn a_try_beside_an_open_transaction_leaves_nothing() {
    run(async {
        let client = Client::at(&shared().url()).await;
        let user = session(&shared().url()).await;
        let held = lasting(client.exclusive("tried"), Duration::from_secs(30));
        let fence = client.fence(&held).await;
        user.batch_execute("BEGIN").await.unwrap();
        check(&user, "tried", fence).await.unwrap();
        client.releases(&held).await;
        for mode in [Mode::Exclusive, Mode::Permits { n: 1, of: 3 }] {
            let tried = leave(client.claim("tried", mode));
            let asked = client.ask(&tried).await;
            assert!(!matches!(asked, Ok(Attempt::Granted(_))), "{asked:?}");
            nothing_is_left(shared(), "tried").await;
        }
        user.batch_execute("COMMIT").await.unwrap();
        let next = leave(client.exclusive("tried"));
        client.takes(&next).await;
        client.releases(&next).await;
    });
}

/// Who looks is told which keys are barred, by whom, and what ends it; also who may do no more than lock.
#[test]
fn keys_that_transactions_bar_are_shown_with_who_bars_them() {
    run(async {
        let server =
            PostgresServer::start(PostgresOptions::new().setting("max_prepared_transactions", "2"))
                .unwrap();
        server
            .ask("CREATE ROLE app LOGIN; CREATE ROLE other LOGIN")
            .unwrap();
        server.ask(PostgresStore::SCHEMA).unwrap();
        let grants = "GRANT USAGE ON SCHEMA monban TO app, other; \
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA monban TO app; \
            GRANT EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) TO other";
        server.ask(grants).unwrap();
        let client = Client::at(&server.url_of("app", None)).await;
        let barred = async |prefix: &str| {
            let shown = client.store.barred(prefix.as_bytes()).await.unwrap();
            let shown = shown.into_iter();
            let all = shown.map(|bar| (bar.key.to_string(), bar.by, bar.end.unwrap()));
            all.collect::<Vec<_>>()
        };
        let claims = ["a", "b", "c", "d"].map(|key| client.exclusive(key));
        let mut fences = Vec::new();
        for claim in &claims {
            fences.push(client.fence(claim).await);
        }
        assert_eq!(barred("").await, []);
        // A key by two, one of which checks within a savepoint; one in a transaction that was prepared; one by a
        // transaction that has ended; and one that is only written.
        let url = server.url_of("other", None);
        let (one, two, three, done) = (
            session(&url).await,
            session(&url).await,
            session(&url).await,
            session(&url).await,
        );
        for (user, before) in [
            (&one, "BEGIN"),
            (&two, "BEGIN; SAVEPOINT s"),
            (&three, "BEGIN"),
            (&done, "BEGIN"),
        ] {
            user.batch_execute(before).await.unwrap();
        }
        for user in [&one, &two] {
            check(user, "a", fences[0]).await.unwrap();
        }
        check(&three, "b", fences[1]).await.unwrap();
        three
            .batch_execute("PREPARE TRANSACTION 'it''s'")
            .await
            .unwrap();
        check(&done, "c", fences[2]).await.unwrap();
        done.batch_execute("ROLLBACK").await.unwrap();
        let writer = session(&server.url()).await;
        let writes = "BEGIN; UPDATE monban.head SET since = since WHERE key = 'd'";
        writer.batch_execute(writes).await.unwrap();

        let mut right = Vec::new();
        for user in [&one, &two] {
            let row = user
                .query_one("SELECT pg_backend_pid()", &[])
                .await
                .unwrap();
            let session: i32 = row.get(0);
            right.push((
                "a".to_owned(),
                format!("session {session}, user other").into(),
                format!("SELECT pg_terminate_backend({session})").into(),
            ));
        }
        right.sort();
        let prepared = "a prepared transaction, user other";
        right.push((
            "b".to_owned(),
            prepared.into(),
            "ROLLBACK PREPARED 'it''s'".into(),
        ));
        let mut shown = barred("").await;
        shown.sort();
        assert_eq!(shown, right);
        assert_eq!(barred("b").await, right[2..]);
        assert_eq!(barred("c").await, []);
        // To have looked is in nobody's way.
        for claim in [&claims[0], &claims[1], &claims[2]] {
            assert_eq!(client.renews(claim).await, Renewal::Kept);
        }
        // What is said to end it does.
        for (_, _, end) in shown {
            server.ask(&end).unwrap();
        }
        writer.batch_execute("COMMIT").await.unwrap();
        for claim in &claims {
            client.releases(claim).await;
            let next = client.exclusive(&claim.key.to_string());
            client.comes_in(&next).await;
            client.is_rid_of(&next).await;
        }
        assert_eq!(barred("").await, []);
        nothing_is_left(&server, "").await;
    });
}
