//! Which keys the scripts touch: those that they were given, which stand in one slot of a cluster for each lock.

use std::collections::HashMap;

use monban::Error;
use monban_testkit::{RedisOptions, RedisServer};

use crate::common::{leftovers, refused, run, server};
use crate::monitor::{Monitor, calls};
use crate::traffic;

/// A server in cluster mode that owns all slots.
fn cluster() -> RedisServer {
    let options = RedisOptions::new().setting("cluster-enabled", "yes");
    let mut server = RedisServer::start(options.clone()).unwrap();
    // Valkey 9 can have several databases in a cluster, and has one unless it is told.
    let known = ["CONFIG", "GET", "cluster-databases"];
    if !server.ask(&known).unwrap().is_empty() {
        server = RedisServer::start(options.setting("cluster-databases", "16")).unwrap();
    }
    let all = ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"];
    if server.ask(&all).is_err() {
        let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
        let words = ["CLUSTER", "ADDSLOTS"].into_iter();
        let words: Vec<&str> = words.chain(slots.iter().map(String::as_str)).collect();
        server.ask(&words).unwrap(); // before Redis 7.0
    }
    server
}

#[test]
fn every_key_that_a_script_touches_is_declared_and_those_of_a_lock_share_a_slot() {
    run(async {
        let (server, cluster) = (server(), cluster());
        let monitor = Monitor::of(&server);
        let url = format!("{}?signal=python-redis-lock", server.url());
        let mut keys = traffic::keys("");
        keys.push("lock:report".to_owned());
        traffic::everything(&server, &url, &keys).await;
        let left = leftovers(&server);
        assert!(
            left.iter().all(|key| key == "lock-signal:report"),
            "{left:?}"
        );
        let calls = calls(monitor.said(&server));
        let mut slots: HashMap<String, String> = HashMap::new();
        let mut slot = |key: &String| {
            let place = slots
                .entry(key.clone())
                .or_insert_with(|| cluster.ask(&["CLUSTER", "KEYSLOT", key]).unwrap());
            place.clone()
        };
        let (mut alone, mut many, mut both) = (0, 0, 0);
        for call in &calls {
            for key in &call.touched {
                assert!(
                    call.declared.contains(key),
                    "{key} is not declared: {call:?}"
                );
            }
            let of_locks =
                |key: &&String| *key != "monban:{fence}" && !key.contains("lock-signal:");
            let locks: Vec<&String> = call.declared.iter().filter(of_locks).collect();
            // All keys, and then perhaps all orders and all expiries.
            let sides = locks
                .iter()
                .filter(|key| key.starts_with("monban:{"))
                .count();
            let claims = locks.len() - sides;
            assert!(
                claims > 0 && (sides == 0 || sides == 2 * claims),
                "{call:?}"
            );
            for (at, key) in locks.iter().enumerate() {
                assert_eq!(slot(key), slot(locks[at % claims]), "{call:?}");
            }
            alone += usize::from(claims == 1);
            many += usize::from(claims > 1);
            let touched = call
                .touched
                .iter()
                .filter(|key| key.starts_with("monban:{"));
            both += usize::from(touched.filter(|key| *key != "monban:{fence}").count() > 1);
        }
        assert!(
            alone > 100 && many > 10 && both > 50,
            "{alone} {many} {both}"
        );
    });
}

/// One counter serves all keys of a primary, so the keys of a call are in several slots.
#[test]
fn a_node_of_a_cluster_is_refused_whatever_it_owns_and_whichever_database_is_asked_for() {
    run(async {
        let server = cluster();
        for database in ["", "/0", "/3"] {
            let error = refused(&format!("{}{database}", server.url())).await;
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("cluster"), "{error}");
        }
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

#[test]
fn a_database_that_the_server_does_not_have_is_named() {
    run(async {
        let server = RedisServer::start(RedisOptions::new().setting("databases", "4")).unwrap();
        let error = refused(&format!("{}/4", server.url())).await;
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("no database 4"), "{error}");
        let cause = std::error::Error::source(&error);
        assert!(
            cause.is_none(),
            "the client library's words add nothing: {cause:?}"
        );
    });
}
