//! Being let in, and being told why not.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Client, least_permissions, leftovers, pause, refused, run, server, woken};
use monban::Error;
use monban::contract::{Attempt, Renewal, Store, Why};
use monban::data::Mode;
use monban::stores::redis::RedisStore;
use monban_testkit::process::Process;
use monban_testkit::{RedisOptions, RedisServer, free_port, redis, service, wait_until};

#[test]
fn the_way_in_is_explained_where_it_is_barred() {
    run(async {
        let server = RedisServer::start(RedisOptions::new().password("sentinel-right")).unwrap();
        let port = server.port();
        let error = refused(&format!("redis://:sentinel-wrong@127.0.0.1:{port}")).await;
        assert!(
            !error.is_transient() && error.to_string().contains("does not accept"),
            "{error}"
        );
        let error = refused(&format!("redis://me:sentinel-right@127.0.0.1:{port}")).await;
        assert!(
            !error.is_transient() && error.to_string().contains("does not accept"),
            "{error}"
        );
        let error = refused(&format!("redis://127.0.0.1:{port}")).await;
        assert!(
            !error.is_transient() && error.to_string().contains("wants a password"),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_none(), "{error:?}");
        Client::of(&server).await;
        let error = refused(&format!("redis://127.0.0.1:{}", free_port().unwrap())).await;
        assert!(
            error.is_transient() && error.to_string().contains("refuses connections"),
            "{error}"
        );
        let error = refused("redis://no-such-host.invalid").await;
        assert!(
            error.is_transient() && error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );
    });
}

#[test]
fn a_server_that_is_no_redis_is_recognized() {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let _ = client.read(&mut [0; 100]);
                let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
        });
        let error = refused(&format!("redis://127.0.0.1:{port}")).await;
        assert!(
            !error.is_transient() && error.to_string().contains("does not speak"),
            "{error}"
        );
    });
}

#[test]
fn servers_that_cannot_keep_the_promise_are_refused() {
    run(async {
        let primary = server();
        let replica = RedisServer::start(RedisOptions::new().replica_of(primary.port())).unwrap();
        let error = refused(&replica.url()).await;
        assert!(
            matches!(error, Error::Rejected { .. }) && error.to_string().contains("replica"),
            "{error}"
        );

        let cluster =
            RedisServer::start(RedisOptions::new().setting("cluster-enabled", "yes")).unwrap();
        let error = refused(&cluster.url()).await;
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains("cluster"),
            "{error}"
        );

        let evicting = RedisOptions::new()
            .setting("maxmemory", "100mb")
            .setting("maxmemory-policy", "allkeys-lru");
        let evicting = RedisServer::start(evicting).unwrap();
        let error = refused(&evicting.url()).await;
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains("allkeys-lru"),
            "{error}"
        );
        Client::at(&format!("{}?evicting=allow", evicting.url())).await;
        evicting
            .ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
            .unwrap();
        Client::of(&evicting).await;

        let full = RedisServer::start(RedisOptions::new().setting("maxclients", "1")).unwrap();
        let one = RedisStore::new(&full.url()).unwrap();
        // The server may not have noticed yet that whoever looked whether it listens has gone.
        while one.open().await.is_err() {
            common::pause(20).await;
        }
        let error = refused(&full.url()).await;
        assert!(
            error.is_transient() && error.to_string().contains("maxclients"),
            "{error}"
        );
    });
}

#[test]
fn a_primary_that_becomes_a_replica_is_not_used_any_more() {
    run(async {
        let (old, new) = (server(), server());
        let client = Client::of(&old).await;
        client.takes(&client.exclusive("before")).await;
        old.ask(&["REPLICAOF", "127.0.0.1", &new.port().to_string()])
            .unwrap();
        let error = client.ask(&client.exclusive("k")).await.unwrap_err();
        assert!(error.to_string().contains("replica"), "{error}");
        old.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
        let claim = client.exclusive("k");
        let mut last = None;
        for _ in 0..100 {
            match client.ask(&claim).await {
                Ok(_) => return,
                Err(error) => last = Some(error),
            }
            common::pause(50).await;
        }
        panic!("{last:?}");
    });
}

/// What the documentation says of a replica that takes over: both may hold for a time, and the second fence is greater.
/// The replica has no more than what had reached it: here everything, or nothing.
#[test]
fn a_replica_that_takes_over_grants_greater_fences_than_its_primary() {
    run(async {
        let old = server();
        let new = RedisServer::start(RedisOptions::new().replica_of(old.port())).unwrap();
        let first = Client::of(&old).await;
        let held = first.exclusive("held");
        let before = first.fence(&held).await;
        wait_until("replication", common::SOON, || {
            Ok(new.ask(&["EXISTS", "held"])? == "1")
        })
        .unwrap();
        // It does not hear any more of what its primary grants.
        let ask = |words: &[&str]| new.ask(words).unwrap();
        ask(&["REPLICAOF", "127.0.0.1", "1"]);
        let unheard = first.exclusive("unheard");
        let late = first.fence(&unheard).await;
        ask(&["REPLICAOF", "NO", "ONE"]);
        let second = Client::of(&new).await;
        assert_eq!(second.waits(&second.exclusive("held")).await.why, Why::Held);
        // The one that did not get across: two hold it, and both believe it.
        let also = second.exclusive("unheard");
        assert!(second.fence(&also).await > late && late > before);
        assert_eq!(first.renews(&unheard).await, Renewal::Kept);
        assert_eq!(second.renews(&also).await, Renewal::Kept);
    });
}

#[test]
fn a_server_that_cannot_save_says_so_and_is_used_again_when_it_can() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        client.warms_up().await;
        let set = |name, value| server.ask(&["CONFIG", "SET", name, value]).unwrap();
        set("save", "3600 1000000");
        set("rdb-key-save-delay", "60000000");
        server.ask(&["BGSAVE"]).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", server.id());
        let child = std::fs::read_to_string(children).unwrap();
        let killed = Command::new("kill").args(["-9", child.trim()]).status();
        assert!(killed.unwrap().success());
        let saved = |how: &str| -> std::io::Result<bool> {
            let info = server.ask(&["INFO", "persistence"])?;
            Ok(info.contains(&format!("rdb_last_bgsave_status:{how}")))
        };
        wait_until("a failure to save", common::SOON, || saved("err")).unwrap();
        let claim = client.exclusive("k");
        let error = client.ask(&claim).await.unwrap_err();
        let says = error.to_string().contains("cannot save");
        assert!(says && !error.is_transient(), "{error}");
        set("rdb-key-save-delay", "0");
        server.ask(&["BGSAVE"]).unwrap();
        wait_until("data that are saved", common::SOON, || saved("ok")).unwrap();
        client.takes(&claim).await;
        client.releases(&claim).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// A user who lacks one of the documented permissions is told which.
#[test]
fn a_missing_permission_is_named() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        let url = format!("redis://monban:least@127.0.0.1:{}", server.port());
        for missing in [
            "evalsha",
            "info",
            "script|load",
            "client|id",
            "client|tracking",
            "subscribe",
            "publish",
            "set",
            "time",
        ] {
            server
                .ask(&["ACL", "SETUSER", "monban", &format!("-{missing}")])
                .unwrap();
            let error = match RedisStore::new(&url).unwrap().open().await {
                Err(error) => error,
                Ok(_) => {
                    let client = Client::at(&url).await;
                    let (first, second) = (client.exclusive("app:k"), client.exclusive("app:k"));
                    let first_error = client.ask(&first).await.err();
                    let second_error = client.ask(&second).await.err();
                    let released = client.tries_release(&first).await.err();
                    let _ = client.tries_release(&second).await;
                    match first_error.or(second_error).or(released) {
                        Some(error) => error,
                        None if missing == "publish" => {
                            // A hand-over cannot be told then; the release has happened all the same.
                            server
                                .ask(&["ACL", "SETUSER", "monban", "+publish"])
                                .unwrap();
                            continue;
                        }
                        None => panic!("{missing} is not needed"),
                    }
                }
            };
            assert!(
                matches!(error, Error::Rejected { .. }),
                "{missing}: {error}"
            );
            let word = missing.split('|').next_back().unwrap();
            let text = error.to_string();
            // Within a script the server does not say which, so the list is pointed at.
            assert!(
                text.contains(word) || text.contains("the documentation lists it"),
                "{missing}: {text}"
            );
            server
                .ask(&["ACL", "SETUSER", "monban", &format!("+{missing}")])
                .unwrap();
            server.ask(&["FLUSHALL"]).unwrap();
        }
        let client = Client::at(&url).await;
        let error = client
            .ask(&client.exclusive("elsewhere"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        let allowed = client.claim("app:k", Mode::Shared);
        client.takes(&allowed).await;
        client.releases(&allowed).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// By the documented permissions two who lock keys of different prefixes cannot meddle with each other.
#[test]
fn users_of_different_prefixes_are_parted() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        let client = Client::of(&server).await;
        for (key, allowed) in [("app:k", true), ("other:k", false)] {
            let (holder, waiter) = (client.exclusive(key), client.exclusive(key));
            client.takes(&holder).await;
            client.waits(&waiter).await;
            let sides = server.ask(&["KEYS", &format!("monban:*:{key}")]).unwrap();
            let names: Vec<&str> = sides.lines().chain([key]).collect();
            assert_eq!(names.len(), 3, "{names:?}");
            for name in names {
                let mut may = false;
                for words in [
                    &["GET", name][..],
                    &["DEL", name][..],
                    &["ZRANGE", name, "0", "0"][..],
                ] {
                    let dry = [&["ACL", "DRYRUN", "monban"][..], words].concat();
                    may |= server.ask(&dry).unwrap() == "OK";
                }
                assert_eq!(may, allowed, "{name}");
            }
            client.releases(&holder).await;
            client.releases(&waiter).await;
        }
    });
}

/// What another may see is left out; that nothing can be looked at is no empty list.
#[test]
fn a_list_shows_what_may_be_seen_and_says_if_that_is_nothing() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        let own = Client::at(&format!("redis://monban:least@127.0.0.1:{}", server.port())).await;
        let others = Client::of(&server).await;
        let (seen, hidden) = (own.exclusive("app:k"), others.exclusive("other:k"));
        own.takes(&seen).await;
        others.takes(&hidden).await;
        let listed = own.store.inspect(b"").await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].key, seen.key);
        assert_eq!(others.store.inspect(b"").await.unwrap().len(), 2);
        let words = ["ACL", "SETUSER", "monban", "-getrange"];
        server.ask(&words).unwrap();
        let refused = own.store.inspect(b"").await.unwrap_err();
        assert!(refused.to_string().contains("getrange"), "{refused}");
        server
            .ask(&["ACL", "SETUSER", "monban", "+getrange"])
            .unwrap();
        own.releases(&seen).await;
        others.releases(&hidden).await;
    });
}

/// A right that is taken away concerns the keys that it was about: the others are watched as before.
#[test]
fn a_key_that_may_no_longer_be_read_keeps_nobody_from_hearing_of_another() {
    run(async {
        let server = server();
        least_permissions(&server, "~app:*");
        let rights = |keys: &[&str]| {
            let mut words = vec![
                "ACL",
                "SETUSER",
                "monban",
                "resetkeys",
                "~monban:*",
                "~app:*",
            ];
            words.extend(keys);
            server.ask(&words).unwrap();
        };
        rights(&["~b:*"]);
        let url = format!("redis://monban:least@127.0.0.1:{}", server.port());
        let client = Client::at(&url).await;
        let warm = client.exclusive("app:warm");
        client.takes(&warm).await;
        client.releases(&warm).await;
        let claims = ["b:k", "app:k", "b:l", "app:l"].map(|key| client.exclusive(key));
        let answers = client.attempts(&claims).await;
        // Nothing else runs on this thread: they have not been looked at yet.
        rights(&[]);
        pause(100).await;
        for (at, answer) in answers.into_iter().enumerate() {
            let Ok(Attempt::Granted(grant)) = answer else {
                panic!("{answer:?}")
            };
            if at % 2 == 0 {
                continue;
            }
            server.ask(&["DEL", &claims[at].key.to_string()]).unwrap();
            let start = Instant::now();
            woken(grant.lost.unwrap()).await;
            assert!(start.elapsed() < Duration::from_millis(500));
        }
    });
}

/// Without the right to end the old connection the store works; only its promise about orphans is weaker.
#[test]
fn without_client_kill_a_connection_is_made_again_all_the_same() {
    run(async {
        let server = server();
        least_permissions(&server, "~*");
        server
            .ask(&["ACL", "SETUSER", "monban", "-client|kill"])
            .unwrap();
        let client = Client::at(&format!("redis://monban:least@127.0.0.1:{}", server.port())).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        server.ask(&["CLIENT", "KILL", "USER", "monban"]).unwrap();
        client.is_rid_of(&claim).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());
    });
}

/// A server with TLS, and with a password beside the user whom the test makes.
fn with_tls(certificate: &str, key: &str) -> (RedisServer, u16) {
    with_tls_and(certificate, key, "no")
}

/// The same; it wants certificates of its clients, or does not.
fn with_tls_and(certificate: &str, key: &str, wants: &str) -> (RedisServer, u16) {
    let port = free_port().unwrap();
    let options = RedisOptions::new()
        .password("sentinel-default")
        .setting("tls-port", &port.to_string())
        .setting("tls-cert-file", certificate)
        .setting("tls-key-file", key)
        .setting("tls-ca-cert-file", certificate)
        .setting("tls-auth-clients", wants);
    (RedisServer::start(options).unwrap(), port)
}

/// So a server is when nobody has chosen otherwise.
#[test]
fn a_server_that_wants_a_certificate_is_shown_one() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let file = |ending: &str, text: String| {
                let path = dir.path().join(format!("{name}.{ending}"));
                std::fs::write(&path, text).unwrap();
                path.to_str().unwrap().to_owned()
            };
            (
                file("pem", made.cert.pem()),
                file("key", made.signing_key.serialize_pem()),
            )
        };
        let ((cert, key), (other, other_key)) = (pair("good"), pair("other"));
        let (server, port) = with_tls_and(&cert, &key, "yes");
        let url =
            |more: &str| format!("rediss://:sentinel-default@localhost:{port}?ca={cert}{more}");
        let client = Client::at(&url(&format!("&cert={cert}&key={key}"))).await;
        let claim = client.exclusive("k");
        client.takes(&claim).await;
        client.releases(&claim).await;
        assert_eq!(leftovers(&server), Vec::<String>::new());

        let error = refused(&url("")).await;
        let says = error.to_string().contains("cert=FILE and key=FILE");
        assert!(says && !error.is_transient(), "{error}");
        let error = refused(&url(&format!("&cert={other}&key={other_key}"))).await;
        let says = error.to_string().contains("the certificate of cert=");
        assert!(says && !error.is_transient(), "{error}");
        let error = refused(&url(&format!("&cert={cert}&key={other_key}"))).await;
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        let error = refused(&url(&format!("&cert={cert}&key=/nowhere/a.key"))).await;
        assert!(error.to_string().contains("key=/nowhere/a.key"), "{error}");
    });
}

#[test]
fn a_sentinel_and_a_barred_command_are_named_without_the_text_of_a_script() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("barred.conf");
        std::fs::write(&file, "rename-command EVALSHA \"\"\n").unwrap();
        let options = RedisOptions::new().setting("include", file.to_str().unwrap());
        let server = RedisServer::start(options).unwrap();
        let client = Client::of(&server).await;
        let error = client.ask(&client.exclusive("k")).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
        assert!(text.contains("does not know the command EVALSHA"), "{text}");
        assert!(!text.contains("args") && text.len() < 300, "{text}");

        let file = dir.path().join("sentinel.conf");
        let port = free_port().unwrap();
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n")).unwrap();
        let mut command = Command::new(service::program(redis::SERVER, redis::PROGRAMS).unwrap());
        command.arg(&file).arg("--sentinel").current_dir(dir.path());
        let mut sentinel = Process::spawn(
            command.stdout(std::process::Stdio::null()),
            Some(dir.path()),
        )
        .unwrap();
        let up = || Ok(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        wait_until("a sentinel", common::SOON, up).unwrap();
        let error = refused(&format!("redis://127.0.0.1:{port}")).await;
        let unsupported = matches!(error, Error::Unsupported { .. });
        assert!(
            unsupported && error.to_string().contains("Sentinel"),
            "{error}"
        );
        sentinel.kill().unwrap();
    });
}

#[test]
fn a_certificate_that_does_not_fit_is_refused_with_the_reason() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        for (name, from, to, says) in [
            ("localhost", 2020, 4096, None),
            ("localhost", 2020, 2021, Some("expired")),
            ("localhost", 4095, 4096, Some("not valid yet")),
            ("elsewhere.example", 2020, 4096, Some("not valid for name")),
        ] {
            let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
            let pair = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&pair).unwrap();
            let file = |ending: &str, text: String| {
                let path = dir.path().join(format!("{name}-{from}-{to}.{ending}"));
                std::fs::write(&path, text).unwrap();
                path.to_str().unwrap().to_owned()
            };
            let (cert, key) = (
                file("pem", certificate.pem()),
                file("key", pair.serialize_pem()),
            );
            let (server, port) = with_tls(&cert, &key);
            let url = format!("rediss://:sentinel-default@localhost:{port}?ca={cert}");
            match says {
                None => {
                    let client = Client::at(&url).await;
                    let claim = client.exclusive("k");
                    client.takes(&claim).await;
                    client.releases(&claim).await;
                    assert_eq!(leftovers(&server), Vec::<String>::new());
                }
                Some(says) => {
                    let error = refused(&url).await;
                    let rejected = matches!(error, Error::Rejected { .. });
                    assert!(rejected && error.to_string().contains(says), "{error}");
                }
            }
        }
    });
}

/// User and password go by TLS as they do without; and what is wrong is said without either.
#[test]
fn user_and_password_are_let_in_by_tls() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("a.pem"), dir.path().join("a.key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        let (server, port) = with_tls(cert, key);
        least_permissions(&server, "~app:*");
        let url = |who: &str| format!("rediss://{who}@localhost:{port}/3?ca={cert}");
        let client = Client::at(&url("monban:least")).await;
        let claim = client.exclusive("app:k");
        let grant = client.takes(&claim).await;
        server.ask(&["CLIENT", "KILL", "USER", "monban"]).unwrap();
        client.is_rid_of(&claim).await; // on a new connection, let in anew
        assert!(client.fence(&client.exclusive("app:k")).await > grant.fence.unwrap());
        for (who, says) in [
            ("monban:sentinel-wrong", "does not accept"),
            ("nobody:sentinel-wrong", "does not accept"),
            (":sentinel-wrong", "does not accept"),
        ] {
            let error = refused(&url(who)).await;
            assert!(
                matches!(error, Error::Rejected { .. }) && error.to_string().contains(says),
                "{error}"
            );
        }
        let error = refused(&format!("rediss://localhost:{port}?ca={cert}")).await;
        assert!(error.to_string().contains("wants a password"), "{error}");
    });
}

#[test]
fn tls_is_verified() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate =
            |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (good, other) = (certificate("localhost"), certificate("localhost"));
        let good_file = file("good.pem", &good.cert.pem());
        let key_file = file("good.key", &good.signing_key.serialize_pem());
        let other_file = file("other.pem", &other.cert.pem());
        let port = free_port().unwrap();
        let options = RedisOptions::new()
            .setting("tls-port", &port.to_string())
            .setting("tls-cert-file", &good_file)
            .setting("tls-key-file", &key_file)
            .setting("tls-ca-cert-file", &good_file)
            .setting("tls-auth-clients", "no");
        let server = RedisServer::start(options).unwrap();

        let client = Client::at(&format!("rediss://localhost:{port}?ca={good_file}")).await;
        let claim = client.exclusive("k");
        let lost = client.takes(&claim).await.lost.unwrap();
        common::pause(20).await;
        server.ask(&["DEL", "k"]).unwrap();
        common::woken(lost).await;

        for (url, says) in [
            (format!("rediss://localhost:{port}"), "with ca=FILE"),
            (
                format!("rediss://localhost:{port}?ca={other_file}"),
                "the file of ca=",
            ),
            (format!("rediss://127.0.0.1:{port}?ca={good_file}"), "TLS"),
            (
                format!("rediss://localhost:{port}?ca={key_file}"),
                "no certificate",
            ),
            (
                format!("rediss://localhost:{port}?ca=/nowhere/ca.pem"),
                "/nowhere/ca.pem",
            ),
        ] {
            let error = refused(&url).await;
            assert!(
                !error.is_transient() && error.to_string().contains(says),
                "{url}: {error}"
            );
        }
        let url = format!("rediss://localhost:{}?ca={good_file}", server.port());
        let error = refused(&url).await;
        assert!(
            error.is_transient() && error.to_string().contains("port for TLS"),
            "{error}"
        );
        let plain = refused(&format!("redis://127.0.0.1:{port}")).await;
        assert!(
            plain.to_string().contains("port for TLS, write rediss://"),
            "{plain}"
        );
    });
}
