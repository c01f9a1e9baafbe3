//! Enough of Redis's protocol to ask a server one thing on a connection of its own.
//!
//! For tests that look at a server from outside, as `redis-cli` would. It is no client: no pooling,
//! no pipelining, RESP2 only, blocking.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// One blocking connection to a server on loopback.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut connection = Self {
            stream: BufReader::new(stream),
        };
        if let Some(password) = password {
            connection.ask(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Sends one command and reads its reply; an array becomes one line per element.
    pub(crate) fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "-" => Err(io::Error::other(rest.to_owned())),
            "$" => self.bulk(length(rest)?),
            "*" => {
                let lines: io::Result<Vec<String>> = (0..length(rest)?.unwrap_or(0))
                    .map(|_| self.reply())
                    .collect();
                Ok(lines?.join("\n"))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, line.to_owned())),
        }
    }

    fn bulk(&mut self, length: Option<usize>) -> io::Result<String> {
        let Some(length) = length else {
            return Ok(String::new());
        };
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `-1` stands for "nothing".
fn length(text: &str) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, text.to_owned()))
}
