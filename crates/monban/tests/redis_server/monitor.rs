//! What a server is asked, and what its scripts do, as MONITOR tells it.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use monban_testkit::RedisServer;

/// A connection that is told every command, in the order in which the server carries them out.
pub(crate) struct Monitor(BufReader<TcpStream>);

/// One command.
pub(crate) struct Said {
    /// A script asked, not a client.
    pub(crate) inside: bool,
    pub(crate) words: Vec<String>,
}

/// A call of a script: what it was given, and the keys that it touched.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) declared: Vec<String>,
    pub(crate) touched: HashSet<String>,
}

/// The last command before a monitor is read.
const END: &str = "the end of the traffic";

impl Monitor {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut monitor = Self(BufReader::new(stream));
        assert_eq!(monitor.line(), "+OK");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// All that has been asked until now.
    pub(crate) fn said(mut self, server: &RedisServer) -> Vec<Said> {
        server.ask(&["ECHO", END]).unwrap();
        let mut all = Vec::new();
        loop {
            let line = self.line();
            // `+<time> [<database> <client, or "lua">] "WORD" "WORD"`
            let (head, rest) = line.split_once("] ").unwrap();
            let words = words(rest);
            if words.get(1).is_some_and(|word| word == END) {
                return all;
            }
            let inside = head.ends_with(" lua");
            all.push(Said { inside, words });
        }
    }
}

/// Words in quotation marks; what is escaped in them is none of a key of these tests.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, &mut word) {
            ('"', None) => word = Some(String::new()),
            ('"', Some(_)) => words.extend(word.take()),
            ('\\', Some(word)) => word.extend(letters.next()),
            (letter, Some(word)) => word.push(letter),
            (_, None) => {}
        }
    }
    words
}

/// The scripts that were called, with what they did.
pub(crate) fn calls(said: Vec<Said>) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for Said { inside, words } in said {
        let name = words[0].to_uppercase();
        if inside {
            let call = calls.last_mut().unwrap();
            call.touched.extend(keys_of(&name, &words[1..]));
        } else if name == "EVALSHA" {
            let many: usize = words[2].parse().unwrap();
            calls.push(Call {
                declared: words[3..3 + many].to_vec(),
                touched: HashSet::new(),
            });
        }
    }
    calls
}

/// The keys among the words of a command that a script of ours uses.
fn keys_of(name: &str, words: &[String]) -> Vec<String> {
    match name {
        "TIME" | "PUBLISH" => Vec::new(),
        "GET" | "GETRANGE" | "SETRANGE" | "SET" | "PEXPIRE" | "PTTL" | "TYPE" | "LPUSH" => {
            words[..1].to_vec()
        }
        "DEL" | "EXISTS" | "MGET" => words.to_vec(),
        name if name.starts_with('Z') => words[..1].to_vec(),
        other => panic!("which words of {other} are keys?"),
    }
}
