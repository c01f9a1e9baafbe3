//! What the locks protect: a fenced value and an unguarded counter for each key, in a server of their own.
//!
//! The server decides nothing by locks: the value refuses a token lower than the highest it has seen, the counter
//! takes whatever it is given. It logs in the order in which things arrive.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use monban::Token;
use monban::data::Fence;
use monban::fenced::HighWater;

use crate::event::{Log, What};

/// The server's end; it lives as long as this process.
#[derive(Debug)]
pub struct Resource {
    port: u16,
}

#[derive(Debug, Default)]
struct Things {
    seen: HashMap<String, HighWater>,
    counters: HashMap<String, u64>,
}

impl Resource {
    /// Serves on a free port of loopback, logging to this file.
    ///
    /// # Errors
    /// No port, or no file.
    pub fn serve(history: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let log = Arc::new(Log::append(history, "resource")?);
        let things: Arc<Mutex<Things>> = Arc::default();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, things) = (Arc::clone(&log), Arc::clone(&things));
                thread::spawn(move || serve(&client, &log, &things));
            }
        });
        Ok(Self { port })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A client that dies ends its own connection and nothing else.
fn serve(client: &TcpStream, log: &Log, things: &Mutex<Things>) {
    let _ = client.set_nodelay(true);
    let mut out = client;
    for line in BufReader::new(client).lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split(' ').collect();
        let mut things = things.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = things.answer(log, &words);
        drop(things);
        if out.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

impl Things {
    /// Answers one line; under the lock, so that the log has the order of the things.
    fn answer(&mut self, log: &Log, words: &[&str]) -> u64 {
        let owned = |word: &str| word.to_owned();
        match *words {
            ["write", hold, key, fence, seat] => {
                let fence: i64 = fence.parse().unwrap_or(-1);
                let seat = seat.parse().ok();
                let Some(number) = Fence::new(fence) else {
                    return 0;
                };
                let seen = self.seen.entry(owned(key)).or_default();
                let accepted = seen.admit(Token::new(number, seat)).is_ok();
                let (hold, key) = (owned(hold), owned(key));
                log.now(What::Write {
                    hold,
                    key,
                    fence,
                    seat,
                    accepted,
                });
                u64::from(accepted)
            }
            ["read", hold, key] => {
                let value = self.counters.get(key).copied().unwrap_or(0);
                let (hold, key) = (owned(hold), owned(key));
                log.now(What::Read { hold, key, value });
                value
            }
            ["put", hold, key, value] => {
                let value = value.parse().unwrap_or(0);
                self.counters.insert(owned(key), value);
                let (hold, key) = (owned(hold), owned(key));
                log.now(What::Put { hold, key, value });
                value
            }
            _ => 0,
        }
    }
}

/// A caller's connection to the resource.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to this port of loopback.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Writes the fenced value; whether it was taken.
    pub fn write(&mut self, hold: &str, key: &str, token: Token) -> bool {
        let seat = token.seat().map_or("-".to_owned(), |seat| seat.to_string());
        let fence = token.fence().as_i64();
        self.ask(&format!("write {hold} {key} {fence} {seat}\n")) == 1
    }

    /// Reads the counter.
    pub fn read(&mut self, hold: &str, key: &str) -> u64 {
        self.ask(&format!("read {hold} {key}\n"))
    }

    /// Writes the counter.
    pub fn put(&mut self, hold: &str, key: &str, value: u64) {
        self.ask(&format!("put {hold} {key} {value}\n"));
    }

    /// The resource is no part of what is tested: without it there is no test.
    fn ask(&mut self, line: &str) -> u64 {
        let mut answer = String::new();
        let asked = self
            .stream
            .get_mut()
            .write_all(line.as_bytes())
            .and_then(|()| self.stream.read_line(&mut answer));
        asked.expect("the resource answers");
        answer
            .trim_end()
            .parse()
            .expect("the resource answers a number")
    }
}
