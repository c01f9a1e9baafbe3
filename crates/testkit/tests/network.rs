//! Cables can be pulled and put back, a disk can be slow for a time, and nothing of it stays behind.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use monban_testkit::{Machine, Network, Process, SlowDisk, network, slow, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn reaches(from: &Machine, there: SocketAddr) -> bool {
    let connect = move || TcpStream::connect_timeout(&there, Duration::from_millis(500)).is_ok();
    from.run(connect).unwrap().join().unwrap()
}

#[test]
fn machines_hear_each_other_while_their_cables_are_in() {
    if network::skipped() {
        return;
    }
    let mut network = Network::new().unwrap();
    let (one, other) = (network.machine().unwrap(), network.machine().unwrap());
    let listens = one.address();
    let bound = one.run(move || TcpListener::bind((listens, 0)).unwrap());
    let listener = bound.unwrap().join().unwrap();
    let there = listener.local_addr().unwrap();
    assert!(reaches(&other, there));
    // Not from here: what is on the network is seen by what is on it.
    assert!(TcpStream::connect_timeout(&there, Duration::from_millis(300)).is_err());
    one.unplug().unwrap();
    assert!(!reaches(&other, there));
    one.plug().unwrap();
    let again = wait_until("the cable", SOON, || Ok(reaches(&other, there)));
    again.unwrap();
    let links = Command::new("ip")
        .args(["-brief", "link"])
        .output()
        .unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    assert!(
        !links.contains("switch") && !links.contains("port1"),
        "{links}"
    );
}

#[test]
fn a_disk_is_slow_for_one_process_and_for_a_time() {
    if slow::skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut flushes = Command::new("sh");
    flushes
        .args(["-c", "while :; do sync -d f; echo >>count; done"])
        .current_dir(dir.path());
    std::fs::write(dir.path().join("f"), "").unwrap();
    let process = Process::spawn(&mut flushes, None).unwrap();
    let count = || std::fs::metadata(dir.path().join("count")).map_or(0, |data| data.len());
    let more = |many: u64| {
        let (start, before) = (Instant::now(), count());
        wait_until("flushes", SOON, || Ok(count() >= before + many)).unwrap();
        start.elapsed()
    };
    more(3);
    let slow = SlowDisk::of(process.id(), Duration::from_millis(600)).unwrap();
    more(1); // which may have begun before
    assert!(more(2) >= Duration::from_millis(600));
    drop(slow);
    more(20);
}

/// Runs this very test binary again as the process that dies without dropping its network.
#[test]
fn a_network_dies_with_the_process_that_made_it_even_by_kill_9() {
    if network::skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    if let Some(note) = std::env::var_os("TESTKIT_ABANDON") {
        abandon(Path::new(&note)).unwrap();
    }
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_network_dies_with_the_process_that_made_it_even_by_kill_9",
        ])
        .env("TESTKIT_ABANDON", &note)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the inner network", SOON, || Ok(note.exists())).unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    let spaces = std::fs::read_to_string(&note).unwrap();
    for space in spaces.lines() {
        let space = Path::new(space);
        wait_until("the end of a namespace", SOON, || Ok(!space.exists())).unwrap();
    }
    assert_eq!(spaces.lines().count(), 2);
}

fn abandon(note: &Path) -> io::Result<()> {
    let mut network = Network::new()?;
    let machine = network.machine()?;
    let spaces = [network.space(), machine.space()];
    let spaces: Vec<String> = spaces
        .iter()
        .map(|space| space.display().to_string())
        .collect();
    std::fs::write(note.with_extension("part"), spaces.join("\n"))?;
    std::fs::rename(note.with_extension("part"), note)?;
    loop {
        std::thread::park();
    }
}
