//! Anything at all at the keys of a lock, on a real server: an answer for every claim, and a grant only where the key says so.

use monban_testkit::{RedisOptions, RedisServer, service};

use super::super::RedisStore;
use super::super::batch::kind_of;
use super::super::names::{FENCE, Side};
use super::value;
use crate::contract::{Attempt, Renewal, Store};
use crate::data::{Claim, ClaimId, Claimant, IfBusy, Keep, Key, Leave, Mode, ProcessId};
use crate::dice::{Dice, Failing};

const CASES: u64 = 250;

/// Puts something at a key.
fn put(server: &RedisServer, dice: &mut Dice, key: &str, member: &str) {
    let number = dice.one(&[
        "0",
        "-1",
        "1e300",
        "-1e300",
        "9007199254740993",
        "inf",
        "5000000001",
        "20000000000",
    ]);
    let length = dice.below(30);
    let odd: String = (0..length)
        .map(|_| dice.one(&['m', 'b', '1', 'x', ':', '9', '-', '\u{e9}', ' ']))
        .collect();
    let huge = "9".repeat(dice.one(&[20, 400, 70_000]));
    let good = value(dice);
    let words: Vec<&str> = match dice.below(9) {
        0 => vec!["SET", key, &odd],
        1 => vec!["SET", key, &huge],
        2 => vec!["SET", key, number],
        3 => vec!["SET", key, &good, "PX", "60000"],
        4 => vec!["LPUSH", key, &odd],
        5 => vec!["HSET", key, &odd, number],
        6 => vec!["SADD", key, member],
        7 => vec!["ZADD", key, number, &odd],
        _ => vec!["ZADD", key, number, member],
    };
    server.ask(&words).expect("a server that takes it");
}

async fn case(server: &RedisServer, store: &RedisStore, seed: u64) {
    let dice = &mut Dice::new(seed);
    server.ask(&["FLUSHALL"]).expect("an empty server");
    let modes = [Mode::Exclusive, Mode::Shared, Mode::Permits { n: 1, of: 3 }];
    let claim = Claim {
        key: Key::new("k").expect("a key"),
        id: ClaimId::random(ProcessId::random()),
        mode: dice.one(&modes),
        ttl: std::time::Duration::from_secs(30),
        if_busy: dice.one(&[IfBusy::Queue, IfBusy::Leave]),
        claimant: Claimant::new("h", 1, ""),
    };
    let sides =
        [Side::Order, Side::Expiry].map(|side| String::from_utf8(side.of(b"k")).expect("a name"));
    let places = ["k", &sides[0], &sides[1], FENCE];
    // An identity is nobody else's: what stands in line under it asks as it does.
    let kind = kind_of(claim.mode);
    let mine = format!("{}:{kind}:h/1/", claim.id);
    if dice.percent(20) {
        let fence = dice.one(&["", "-5", "99999999999999999999", "12", "1:2:3:4"]);
        let held = format!("mb1x:{}:{fence}:h/1/", claim.id);
        server
            .ask(&["SET", "k", &held, "PX", "60000"])
            .expect("a server");
    }
    for _ in 0..1 + dice.below(3) {
        let place = dice.one(&places);
        // What is there may be of a type that does not take it.
        if server.ask(&["TYPE", place]).expect("a type") == "none" {
            put(server, dice, place, &mine);
        }
    }
    let mut fence = None;
    for _ in 0..2 {
        let answers = store.attempt(std::slice::from_ref(&claim)).await;
        assert_eq!(answers.len(), 1);
        if let Ok(Attempt::Granted(grant)) = &answers[0] {
            let at = server.ask(&["GET", "k"]).expect("a value");
            let begins = match claim.mode {
                Mode::Exclusive => format!("mb1x:{}:", claim.id),
                _ => "mb1m:".to_owned(),
            };
            assert!(
                at.starts_with(&begins),
                "{:?} was granted beside {at:.80}",
                claim.mode
            );
            assert_eq!(grant.fence.is_some(), claim.mode != Mode::Shared);
            fence = grant.fence;
            assert!(grant.fence.is_none_or(|fence| fence.as_i64() > 0));
        }
    }
    let keep = Keep {
        claim: claim.clone(),
        fence,
    };
    let renewed = store.renew(std::slice::from_ref(&keep)).await;
    let listed = store.inspect(b"k").await;
    assert_eq!(renewed.len(), 1);
    if claim.mode == Mode::Exclusive && fence.is_none() {
        assert!(
            !matches!(renewed[0], Ok(Renewal::Kept)),
            "nothing was granted"
        );
    }
    if let Err(error) = listed {
        assert!(!error.to_string().is_empty());
    }
    let leave = Leave {
        claim,
        linger: None,
    };
    assert_eq!(store.release(std::slice::from_ref(&leave)).await.len(), 1);
}

#[test]
fn whatever_is_at_the_keys_of_a_lock_grants_nothing() {
    if service::skipped("redis") {
        return;
    }
    let server = RedisServer::start(RedisOptions::new()).expect("a server");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let number = crate::dice::number;
    let seeds = match number("MONBAN_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MONBAN_FUZZ_CASES").map_or(CASES, |cases| cases / 32),
    };
    runtime.block_on(async {
        let store = RedisStore::new(&server.url()).expect("a URL");
        store.open().await.expect("a connection");
        for seed in seeds {
            let failing = Failing(seed);
            case(&server, &store, seed).await;
            drop(failing);
        }
    });
}
