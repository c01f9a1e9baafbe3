//! A proxy before a server that loses, delays, keeps and cuts what passes: one for any protocol over TCP.
//!
//! TCP loses nothing in between, so a connection that has lost a byte ends with the fault that lost it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What is done to what passes. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Every part is held back for so long, each way.
    pub delay: Duration,
    /// Nothing arrives, either way, until this is over; then all of it does.
    pub partition: bool,
    /// Requests are lost.
    pub lose_requests: bool,
    /// Replies are lost.
    pub lose_replies: bool,
    /// After so many bytes of requests the connection breaks, both ways.
    pub cut_requests: Option<usize>,
    /// After so many bytes of replies the connection breaks towards the client; what the server was asked it does.
    pub cut_replies: Option<usize>,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Replies,
}

#[derive(Debug, Default)]
struct Sky {
    weather: Weather,
    /// Grows with every change: a connection that lost something ends when it has changed.
    era: u64,
    /// Bytes of requests and replies in this era, on all connections.
    passed: [usize; 2],
}

/// The proxy; it lives as long as this process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    sky: Arc<(Mutex<Sky>, Condvar)>,
}

impl Proxy {
    /// Passes connections to a free port of loopback on to `server`, as `host:port`.
    ///
    /// # Errors
    /// No port.
    pub fn before(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let sky: Arc<(Mutex<Sky>, Condvar)> = Arc::default();
        let (shared, server) = (Arc::clone(&sky), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (sky, server) = (Arc::clone(&shared), server.clone());
                thread::spawn(move || open(client, &server, &sky));
            }
        });
        Ok(Self { port, sky })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        let mut sky = lock(&self.sky.0);
        sky.weather = weather;
        sky.era += 1;
        sky.passed = [0; 2];
        self.sky.1.notify_all();
    }
}

fn lock(sky: &Mutex<Sky>) -> MutexGuard<'_, Sky> {
    sky.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits while nothing may pass.
fn clear(sky: &(Mutex<Sky>, Condvar)) -> (Weather, u64) {
    let guard = lock(&sky.0);
    let guard = sky
        .1
        .wait_while(guard, |sky| sky.weather.partition)
        .unwrap_or_else(PoisonError::into_inner);
    (guard.weather, guard.era)
}

fn open(client: TcpStream, server: &str, sky: &Arc<(Mutex<Sky>, Condvar)>) {
    clear(sky); // a connection is not made through a partition
    let Ok(server) = TcpStream::connect(server) else {
        return; // as the client is told by the end of its connection
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let there = Arc::clone(sky);
    thread::spawn(move || pass(from, to, Way::Requests, &there));
    pass(server, client, Way::Replies, sky);
}

/// Passes bytes one way until the connection ends.
fn pass(mut from: TcpStream, mut to: TcpStream, way: Way, sky: &(Mutex<Sky>, Condvar)) {
    let mut buffer = [0; 16_384];
    let mut lost_in = None;
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let (weather, era) = clear(sky);
        thread::sleep(weather.delay);
        let lose = match way {
            Way::Requests => weather.lose_requests,
            Way::Replies => weather.lose_replies,
        };
        if read == 0 || lost_in.is_some_and(|lost| lost != era) {
            break;
        }
        if lose {
            lost_in = Some(era);
            continue;
        }
        let part = admitted(sky, way, read);
        if to.write_all(&buffer[..part]).is_err() || part < read {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// How much of what was read passes before the cut.
fn admitted(sky: &(Mutex<Sky>, Condvar), way: Way, read: usize) -> usize {
    let mut sky = lock(&sky.0);
    let (limit, at) = match way {
        Way::Requests => (sky.weather.cut_requests, 0),
        Way::Replies => (sky.weather.cut_replies, 1),
    };
    let Some(limit) = limit else { return read };
    let part = read.min(limit.saturating_sub(sky.passed[at]));
    sky.passed[at] += part;
    if part < read {
        // One cut a fault: the next connection lives.
        sky.weather.cut_requests = None;
        sky.weather.cut_replies = None;
    }
    part
}

impl Weather {
    /// In words.
    #[must_use]
    pub fn told(self) -> String {
        if self.partition {
            "nothing passes".to_owned()
        } else if self.lose_requests {
            "requests are lost".to_owned()
        } else if self.lose_replies {
            "replies are lost".to_owned()
        } else if let Some(bytes) = self.cut_requests {
            format!("cut after {bytes} bytes of requests")
        } else if let Some(bytes) = self.cut_replies {
            format!("cut after {bytes} bytes of replies")
        } else {
            format!("{:.1?} late each way", self.delay)
        }
    }
}

/// The `host:port` of a URL, and the URL with this port of loopback in its place.
#[must_use]
pub fn through(url: &str, port: u16) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    let one = has_port && !host.contains(',');
    one.then(|| {
        let new = format!("{scheme}://{user}127.0.0.1:{port}{path}");
        (host.to_owned(), new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A server that sends back what it gets.
    fn echo() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut out = stream.try_clone().unwrap();
                    let mut from = stream;
                    let _ = io::copy(&mut from, &mut out);
                });
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, text: &str) -> String {
        let _ = stream.write_all(text.as_bytes());
        let mut answer = vec![0; text.len()];
        let mut got = 0;
        while got < answer.len() {
            match stream.read(&mut answer[got..]) {
                Ok(read) if read > 0 => got += read,
                _ => break,
            }
        }
        String::from_utf8(answer[..got].to_vec()).unwrap()
    }

    #[test]
    fn fair_weather_passes_all() {
        let proxy = Proxy::before(&echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, "hello"), "hello");
        proxy.set(Weather {
            delay: Duration::from_millis(40),
            ..Weather::default()
        });
        let start = Instant::now();
        assert_eq!(ask(&mut stream, "hello"), "hello");
        assert!(start.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn a_partition_keeps_what_is_sent_and_delivers_it_when_it_heals() {
        let proxy = Arc::new(Proxy::before(&echo()).unwrap());
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, "a"), "a");
        proxy.set(Weather {
            partition: true,
            ..Weather::default()
        });
        let heal = Arc::clone(&proxy);
        let start = Instant::now();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            heal.set(Weather::default());
        });
        assert_eq!(ask(&mut stream, "late"), "late");
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn what_is_lost_never_arrives_and_its_connection_ends() {
        for way in [Way::Requests, Way::Replies] {
            let proxy = Proxy::before(&echo()).unwrap();
            let mut stream = connect(&proxy);
            assert_eq!(ask(&mut stream, "a"), "a");
            proxy.set(Weather {
                lose_requests: way == Way::Requests,
                lose_replies: way == Way::Replies,
                ..Weather::default()
            });
            stream.write_all(b"lost").unwrap();
            thread::sleep(Duration::from_millis(100));
            proxy.set(Weather::default());
            assert_eq!(ask(&mut stream, "after"), "");
            assert_eq!(ask(&mut connect(&proxy), "new"), "new");
        }
    }

    #[test]
    fn a_cut_lets_so_many_bytes_pass_and_the_next_connection_lives() {
        let proxy = Proxy::before(&echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, "a"), "a");
        proxy.set(Weather {
            cut_replies: Some(3),
            ..Weather::default()
        });
        assert_eq!(ask(&mut stream, "hello"), "hel");
        assert_eq!(ask(&mut connect(&proxy), "again"), "again");
    }

    #[test]
    fn a_url_is_led_through_and_keeps_user_and_path() {
        let (server, url) = through("redis://u:p@here:6400/2?x", 7).unwrap();
        assert_eq!(
            (server.as_str(), url.as_str()),
            ("here:6400", "redis://u:p@127.0.0.1:7/2?x")
        );
        for not in ["file:/x", "memory:", "redis://here", "etcd://a:1,b:2"] {
            assert!(through(not, 7).is_none(), "{not}");
        }
    }
}
