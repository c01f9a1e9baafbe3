//! A server that is started here can be killed, stopped and restarted, and never stays behind.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use monban_testkit::{Persistence, RedisOptions, RedisServer, service, wait_until};

fn is_listening(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_directory() {
    if service::skipped("redis") {
        return;
    }
    let server = RedisServer::start(RedisOptions::new()).unwrap();
    let (port, dir) = (server.port(), server.dir().to_owned());
    assert!(is_listening(port) && dir.is_dir());
    drop(server);
    assert!(!is_listening(port) && !dir.exists());
}

#[test]
fn a_killed_server_restarts_on_its_port_with_what_its_persistence_kept() {
    if service::skipped("redis") {
        return;
    }
    for (persistence, kept) in [(Persistence::Nothing, ""), (Persistence::AofAlways, "v")] {
        let mut server = RedisServer::start(RedisOptions::new().persistence(persistence)).unwrap();
        server.ask(&["SET", "k", "v"]).unwrap();
        let (port, first) = (server.port(), server.id());
        server.kill9().unwrap();
        assert!(!is_listening(port));
        server.restart().unwrap();
        assert_ne!(server.id(), first);
        assert_eq!(
            (server.port(), server.ask(&["GET", "k"]).unwrap().as_str()),
            (port, kept)
        );
    }
}

#[test]
fn a_stopped_server_answers_again_when_continued() {
    if service::skipped("redis") {
        return;
    }
    let mut server = RedisServer::start(RedisOptions::new()).unwrap();
    server.stop_signal().unwrap();
    assert_eq!(
        server.ask(&["PING"]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    server.cont().unwrap();
    assert_eq!(server.ask(&["PING"]).unwrap(), "PONG");
}

#[test]
fn a_replica_with_a_password_follows_its_primary_and_refuses_writes() {
    if service::skipped("redis") {
        return;
    }
    let options = RedisOptions::new().password("open sesame");
    let primary = RedisServer::start(options.clone()).unwrap();
    primary.ask(&["SET", "k", "v"]).unwrap();
    let replica = RedisServer::start(options.replica_of(primary.port())).unwrap();
    assert_eq!(replica.ask(&["GET", "k"]).unwrap(), "v");
    let refused = replica.ask(&["SET", "k", "w"]).unwrap_err().to_string();
    assert!(refused.starts_with("READONLY"), "{refused}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    if service::skipped("redis") {
        return;
    }
    let taken = RedisServer::start(RedisOptions::new()).unwrap();
    let error = RedisServer::start(RedisOptions::new().port(taken.port()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("in use"), "{error}");
    let settings = RedisOptions::new().setting("no-such-setting", "1");
    let error = RedisServer::start(settings).unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}

/// Runs this very test binary again as the process that dies without dropping its server.
#[test]
fn a_server_dies_with_the_process_that_started_it_even_by_kill_9() {
    if service::skipped("redis") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    if let Some(note) = std::env::var_os("TESTKIT_ABANDON") {
        abandon(Path::new(&note));
    }
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_server_dies_with_the_process_that_started_it_even_by_kill_9",
        ])
        .env("TESTKIT_ABANDON", &note)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the inner server", Duration::from_secs(20), || {
        Ok(note.exists())
    })
    .unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    let text = std::fs::read_to_string(&note).unwrap();
    let (port, home) = text.split_once(' ').unwrap();
    let port: u16 = port.parse().unwrap();
    wait_until("the server's death", Duration::from_secs(5), || {
        Ok(!is_listening(port))
    })
    .unwrap();
    wait_until("its files", Duration::from_secs(5), || {
        Ok(!Path::new(home).exists())
    })
    .unwrap();
}

fn abandon(note: &Path) -> ! {
    let server = RedisServer::start(RedisOptions::new()).expect("a server");
    let draft = note.with_extension("draft");
    let text = format!("{} {}", server.port(), server.dir().display());
    std::fs::write(&draft, text).expect("a note");
    std::fs::rename(&draft, note).expect("a whole note");
    loop {
        std::thread::park();
    }
}
