//! What the server sees: how many commands come over the wire, and what processes cost.
//!
//! The server's own statistics count what scripts call as commands too. MONITOR tells both apart, so that is read, and
//! never while time is measured: it slows the server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use interop::Outcome;

/// Commands that came over the wire, by name.
pub(crate) type Seen = BTreeMap<String, usize>;

/// Watches the server's commands for a while, on a thread of its own.
pub(crate) fn watch(port: u16, time: Duration) -> Outcome<JoinHandle<io::Result<Seen>>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"MONITOR\r\n")?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(thread::spawn(move || {
        let (start, mut seen) = (Instant::now(), Seen::new());
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while start.elapsed() < time {
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    if let Some(name) = command(&String::from_utf8_lossy(&line)) {
                        *seen.entry(name).or_default() += 1;
                    }
                    line.clear();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }))
}

/// The command's name in a line of MONITOR; `None` for what a script called, and for keep-alives.
fn command(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('[')?;
    let (client, rest) = rest.split_once("] \"")?;
    let name = rest.split('"').next()?.to_uppercase();
    (!client.ends_with(" lua") && name != "PING").then_some(name)
}

/// The most frequent names, with how often each came for one of `per`.
pub(crate) fn shown(seen: &Seen, per: f64) -> String {
    let mut names: Vec<_> = seen.iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let each = names
        .iter()
        .take(4)
        .map(|(name, count)| format!("{name} {:.1}", **count as f64 / per));
    each.collect::<Vec<_>>().join(", ")
}

/// The processor time that a process has used so far, all its threads together.
pub(crate) fn used(pid: u32) -> Outcome<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let spent = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += spent
            .split(' ')
            .next()
            .ok_or("an empty schedstat")?
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_call_and_keep_alives_are_not_counted() {
        let line =
            |client: &str, name: &str| format!("+1.5 [0 {client}] \"{name}\" \"a [b] \\\"c\"\r\n");
        assert_eq!(
            command(&line("127.0.0.1:5", "evalsha")).as_deref(),
            Some("EVALSHA")
        );
        assert_eq!(command(&line("lua", "set")), None);
        assert_eq!(command(&line("127.0.0.1:5", "PING")), None);
        assert_eq!(command("+OK\r\n"), None);
    }
}
