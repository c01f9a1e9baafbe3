//! A PostgreSQL server that is started here can be stopped in each way and started again, and never stays behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use monban_testkit::{
    PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer, service, wait_until,
};

fn is_listening(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// How many processes have this in their command line.
fn processes_naming(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(word))
        .count()
}

#[test]
fn a_server_ends_and_starts_again_in_each_way_with_what_was_committed() {
    if service::skipped("postgres") {
        return;
    }
    let mut server = PostgresServer::start(PostgresOptions::new()).unwrap();
    server
        .ask("CREATE TABLE kept (v int); CREATE UNLOGGED TABLE unlogged (v int)")
        .unwrap();
    server
        .ask("INSERT INTO kept VALUES (1); INSERT INTO unlogged VALUES (1)")
        .unwrap();
    assert_eq!(server.ask("SHOW fsync").unwrap(), "on");
    let (port, first) = (server.port(), server.id());
    let both = "SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM unlogged)";

    server.restart().unwrap();
    assert_ne!(server.id(), first);
    assert_eq!(server.ask(both).unwrap(), "1|1");

    server.kill9().unwrap();
    assert!(!is_listening(port));
    server.start_again().unwrap();
    assert_eq!(
        (server.port(), server.ask(both).unwrap().as_str()),
        (port, "1|0")
    );

    server.stop_signal().unwrap();
    let mut late = server.psql().unwrap();
    let mut late = late
        .args(["-o", "/dev/null", "-c", "SELECT 1"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(late.try_wait().unwrap().is_none());
    server.cont().unwrap();
    assert!(late.wait().unwrap().success());
    assert!(server.processor_time().unwrap() > 0.0);

    let dir = server.dir().to_owned();
    server.stop_signal().unwrap();
    drop(server);
    assert!(!is_listening(port) && !dir.exists());
    assert_eq!(processes_naming(&dir.display().to_string()), 0);
}

/// A connection that was accepted while the server recovered, and says nothing.
#[test]
fn silent_connections_do_not_hold_up_the_end() {
    if service::skipped("postgres") {
        return;
    }
    let mut server = PostgresServer::start(PostgresOptions::new()).unwrap();
    let (port, stop) = (server.port(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let silent = std::thread::spawn(move || {
        let mut silent = Vec::new();
        while !stopped.load(Ordering::SeqCst) {
            silent.extend(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
            std::thread::sleep(Duration::from_millis(2));
        }
        silent
    });
    server.kill9().unwrap();
    server.start_again().unwrap();
    stop.store(true, Ordering::SeqCst);
    let silent = silent.join().unwrap();
    assert!(!silent.is_empty());
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_killed_server_leaves_no_shared_memory() {
    if service::skipped("postgres") {
        return;
    }
    let segments = || fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let mut server = PostgresServer::start(PostgresOptions::new()).unwrap();
    let note = fs::read_to_string(server.dir().join("data/postmaster.pid")).unwrap();
    let segment = note.lines().nth(6).unwrap().split_whitespace().nth(1);
    let segment = format!(" {} ", segment.unwrap());
    assert!(segments().contains(&segment));
    server.kill9().unwrap();
    drop(server);
    assert!(!segments().contains(&segment));
}

#[test]
fn a_standby_of_a_server_with_a_password_can_only_be_read() {
    if service::skipped("postgres") {
        return;
    }
    let options = PostgresOptions::new()
        .password("open sesame")
        .max_connections(20);
    let primary = PostgresServer::start(options).unwrap();
    primary.ask("CREATE TABLE t (v int)").unwrap();
    let standby = primary.standby().unwrap();
    wait_until("the table", Duration::from_secs(20), || {
        Ok(standby.ask("SELECT count(*) FROM t").is_ok())
    })
    .unwrap();
    let refused = standby
        .ask("INSERT INTO t VALUES (1)")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("read-only"), "{refused}");
    let mut psql = primary.psql().unwrap();
    psql.args(["-h", "127.0.0.1", "-w", "-c", "SELECT 1"]);
    let refused = psql.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no password supplied"));
}

#[test]
fn a_pooler_hands_one_session_to_many_and_keeps_no_state_of_theirs() {
    if service::skipped("postgres") || service::skipped("pgbouncer") {
        return;
    }
    let server = PostgresServer::start(PostgresOptions::new()).unwrap();
    let options = PgBouncerOptions::new()
        .setting("default_pool_size", "1")
        .without_prepared_statements();
    let mut pooler = PgBouncer::start(&server, &options).unwrap();
    assert!(pooler.ask("SHOW POOLS").unwrap().contains("transaction"));
    pooler.restart().unwrap();
    let mut psql = server.psql().unwrap();
    psql.env_remove("PGOPTIONS")
        .args(["-h", "127.0.0.1", "-p", &pooler.port().to_string()])
        .args([
            "-o",
            "/dev/null",
            "-c",
            "SET work_mem = '7MB'",
            "-c",
            "SELECT 1",
        ]);
    assert!(psql.status().unwrap().success());
    let mut psql = server.psql().unwrap();
    psql.env_remove("PGOPTIONS")
        .args(["-h", "127.0.0.1", "-p", &pooler.port().to_string()])
        .args(["-c", "SHOW work_mem"]);
    // The other client's: what makes a pooler in transaction mode one.
    assert_eq!(psql.output().unwrap().stdout, b"7MB\n");
}
