//! The permissions that the documentation names are enough for everything, and each of them is needed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use monban::contract::Store;
use monban_testkit::RedisServer;

use crate::common::{Client, least_permissions, leftovers, pause, run, server, woken};
use crate::traffic;

/// What the server has refused since this was asked last: `<why> <what>`, the latest first.
fn refused(server: &RedisServer) -> Vec<String> {
    let log = server.ask(&["ACL", "LOG"]).unwrap();
    server.ask(&["ACL", "LOG", "RESET"]).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let value = |at: usize, name: &str| -> String {
        let found = lines[at..].iter().position(|line| *line == name).unwrap();
        lines[at + found + 1].to_owned()
    };
    let entries = (0..lines.len()).filter(|at| lines[*at] == "reason");
    entries
        .map(|at| format!("{} {}", value(at, "reason"), value(at, "object")))
        .collect()
}

fn url(server: &RedisServer, rest: &str) -> String {
    format!("redis://monban:least@127.0.0.1:{}{rest}", server.port())
}

#[test]
fn the_documented_permissions_are_enough_for_everything() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        traffic::everything(&server, &url(&server, ""), &traffic::keys("app:")).await;
        is_looked_after(&server, &url(&server, "/1?timeout=300ms")).await;
        is_noticed(&server, &url(&server, "")).await;
        assert_eq!(refused(&server), Vec::<String>::new());
        assert_eq!(leftovers(&server), Vec::<String>::new());
        // And for the option, those that are named with it.
        least_permissions(&server, "~lock:*");
        let option = url(&server, "?signal=python-redis-lock");
        let name = "lock:report".to_owned();
        traffic::everything(&server, &option, std::slice::from_ref(&name)).await;
        let log = refused(&server);
        assert!(
            log.iter().any(|line| line.starts_with("key lock-signal:")),
            "{log:?}"
        );
        server
            .ask(&["ACL", "SETUSER", "monban", "~lock-signal:*"])
            .unwrap();
        traffic::everything(&server, &option, std::slice::from_ref(&name)).await;
        assert!(refused(&server).contains(&"command lpush".to_owned()));
        server.ask(&["ACL", "SETUSER", "monban", "+lpush"]).unwrap();
        traffic::everything(&server, &option, std::slice::from_ref(&name)).await;
        assert_eq!(refused(&server), Vec::<String>::new());
        let signals = server.ask(&["KEYS", "lock-signal:*"]).unwrap();
        assert!(signals.contains("lock-signal:report"), "{signals}");
    });
}

/// A server that is silent for a moment, and a connection that is cut while its store is used.
async fn is_looked_after(server: &RedisServer, url: &str) {
    let client = Client::at(url).await;
    let claim = client.exclusive("app:k");
    client.takes(&claim).await;
    server.ask(&["CLIENT", "PAUSE", "450"]).unwrap();
    assert!(client.tries_renewal(&claim).await.is_err());
    pause(500).await;
    server.ask(&["CLIENT", "KILL", "USER", "monban"]).unwrap();
    client.is_rid_of(&claim).await;
}

/// What a stranger deletes is told to its holder, and what is held is listed.
async fn is_noticed(server: &RedisServer, url: &str) {
    let client = Client::at(url).await;
    let claim = client.exclusive("app:k");
    let lost = client.takes(&claim).await.lost.unwrap();
    assert_eq!(client.store.inspect(b"").await.unwrap().len(), 1);
    let shown = client.store.inspect_key(&claim.key).await.unwrap();
    assert_eq!(shown.len(), 1, "{shown:?}");
    pause(20).await; // it is watched by now
    server.ask(&["DEL", "app:k"]).unwrap();
    woken(lost).await;
    client.releases(&claim).await;
}

/// Each permission is taken away alone, and the server sees the store miss it.
#[test]
fn each_documented_permission_is_needed() {
    let server = server();
    let mut unneeded = Vec::new();
    for permission in documented(&server) {
        let (name, without) = (
            permission.trim_start_matches('+'),
            permission.replace('+', "-"),
        );
        least_permissions(&server, "~app:*");
        server.ask(&["ACL", "SETUSER", "monban", &without]).unwrap();
        server.ask(&["FLUSHALL"]).unwrap();
        server.ask(&["SCRIPT", "FLUSH"]).unwrap();
        refused(&server);
        let log = missed(&server);
        if !log.contains(&format!("command {name}")) {
            unneeded.push(format!("{name}: {log:?}"));
        }
    }
    for (without, misses) in [
        ("~app:*", "key app:"),
        ("~monban:{???}[oe]:app:*", "key monban:{"),
        ("~monban:{fence}", "key monban:{fence}"),
        ("&monban:*", "channel monban:"),
    ] {
        least_permissions(&server, "~app:*");
        let kept = PATTERNS.iter().filter(|pattern| **pattern != without);
        let words = ["ACL", "SETUSER", "monban", "resetkeys", "resetchannels"];
        let words: Vec<&str> = words.into_iter().chain(kept.copied()).collect();
        server.ask(&words).unwrap();
        server.ask(&["FLUSHALL"]).unwrap();
        refused(&server);
        let log = missed(&server);
        if !log.iter().any(|line| line.starts_with(misses)) {
            unneeded.push(format!("{without}: {log:?}"));
        }
    }
    assert_eq!(unneeded, Vec::<String>::new());
}

/// The patterns of the documentation.
const PATTERNS: [&str; 4] = [
    "~app:*",
    "~monban:{???}[oe]:app:*",
    "~monban:{fence}",
    "&monban:*",
];

/// The commands of the documentation, as the server has them.
fn documented(server: &RedisServer) -> Vec<String> {
    least_permissions(server, "~app:*");
    let all = server.ask(&["ACL", "LIST"]).unwrap();
    let line = all.lines().find(|line| line.starts_with("user monban "));
    let words = line
        .unwrap()
        .split(' ')
        .filter(|word| word.starts_with('+'));
    let words: Vec<String> = words.map(str::to_owned).collect();
    assert!(words.len() > 25, "{words:?}");
    words
}

/// Does everything for as long as it goes, and tells what was refused. That it fails is what is expected.
fn missed(server: &RedisServer) -> Vec<String> {
    let keys = ["app:k".to_owned(), "app:l".to_owned()];
    let short = url(server, "?timeout=300ms");
    let traffic = || run(traffic::everything(server, &short, &keys));
    let _ = catch_unwind(AssertUnwindSafe(traffic));
    let log = refused(server);
    if !log.is_empty() {
        return log;
    }
    let looked_after = || run(is_looked_after(server, &url(server, "/1?timeout=300ms")));
    let _ = catch_unwind(AssertUnwindSafe(looked_after));
    refused(server)
}
