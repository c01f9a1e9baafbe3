//! The floor of a hand-over on this machine: a list of names, and a message to the first of them. No time to live, no
//! fence, no runtime: one thread that blocks on a socket. A process that dies here stops everybody.

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

use interop::Outcome;
use redis::{Connection, ConnectionLike, Script, cmd};

use crate::work::now;

const JOIN: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 1 end
    redis.call('RPUSH', KEYS[2], ARGV[1]) return 0";
const LEAVE: &str = "local next = redis.call('LPOP', KEYS[2])
    if not next then return redis.call('DEL', KEYS[1]) end
    redis.call('SET', KEYS[1], next) return redis.call('PUBLISH', next, '1')";

/// One process of the line: what it says, and what it is told.
struct Bare {
    says: Connection,
    hears: Connection,
    name: String,
    join: Script,
    leave: Script,
}

/// Answers line by line, as the others do.
pub(crate) fn serve(port: &str) -> Outcome {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut hears = client.get_connection()?;
    let name = format!("bare-{}", std::process::id());
    hears.req_packed_command(&cmd("SUBSCRIBE").arg(&name).get_packed_command())?;
    let mut bare = Bare {
        says: client.get_connection()?,
        hears,
        name,
        join: Script::new(JOIN),
        leave: Script::new(LEAVE),
    };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match *words {
            ["try", key, _] if bare.joins(key)? => "held".to_owned(),
            ["release", key] => {
                bare.leaves(key)?;
                "released".to_owned()
            }
            ["turns", key, start, end, hold] => {
                let hold = Duration::from_micros(hold.parse()?);
                let notes = bare.turns(key, start.parse()?, end.parse()?, hold)?;
                format!("turns {}", notes.join(" "))
            }
            _ => format!("unknown {words:?}"),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

impl Bare {
    fn joins(&mut self, key: &str) -> Outcome<bool> {
        let mut join = self.join.key(key);
        join.key(format!("{key}-line")).arg(&self.name);
        Ok(join.invoke(&mut self.says)?)
    }

    fn leaves(&mut self, key: &str) -> Outcome {
        let mut leave = self.leave.key(key);
        leave.key(format!("{key}-line"));
        Ok(leave.invoke(&mut self.says)?)
    }

    fn turns(&mut self, key: &str, start: i64, end: i64, hold: Duration) -> Outcome<Vec<String>> {
        let until = |then: i64| Duration::from_nanos(u64::try_from(then - now()).unwrap_or(0));
        thread::sleep(until(start));
        let mut notes = Vec::new();
        loop {
            let asked = now();
            let mut mine = self.joins(key)?;
            while !mine {
                let left = until(end);
                if left.is_zero() {
                    notes.push(format!("{asked},0,0"));
                    return Ok(notes);
                }
                self.hears
                    .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                mine = match self.hears.recv_response() {
                    Ok(_) => true,
                    Err(error) if error.is_timeout() => false,
                    Err(error) => return Err(error.into()),
                };
            }
            let begun = now();
            thread::sleep(hold);
            let ended = now();
            self.leaves(key)?;
            notes.push(format!("{asked},{begun},{ended}"));
            if ended >= end {
                return Ok(notes);
            }
        }
    }
}
