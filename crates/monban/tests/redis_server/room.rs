//! A server that has no room for its old clients, or does not let them in again, while something is held over it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use monban::Error;
use monban::contract::{Attempt, Release, Renewal};
use monban::data::Claim;
use monban_testkit::{RedisOptions, RedisServer};

use crate::common::{Client, SOON, leftovers, pause, run, sleeps_on, woken};

/// A connection that stays, and asks without looking at what is answered.
struct Control(TcpStream);

impl Control {
    fn of(server: &RedisServer, password: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        let mut control = Self(stream);
        control.ask(&[&format!("AUTH {password}")]);
        control
    }

    /// Each is answered with one line.
    fn ask(&mut self, commands: &[&str]) {
        let all: String = commands.iter().map(|one| format!("{one}\r\n")).collect();
        self.0.write_all(all.as_bytes()).unwrap();
        let mut lines = 0;
        let mut buffer = [0; 1_024];
        while lines < commands.len() {
            let read = self.0.read(&mut buffer).unwrap();
            assert!(read > 0 && !buffer[..read].contains(&b'-'));
            lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
    }

    /// Everybody else is put out, and this is done before they can be back.
    fn without_others(&mut self, what: &str) {
        let normal = "CLIENT KILL TYPE normal SKIPME yes";
        self.ask(&[what, normal, "CLIENT KILL TYPE pubsub SKIPME yes"]);
    }
}

/// What a renewal is told, as soon as this is part of it.
async fn renewals_say(client: &Client, claim: &Claim, what: &str) -> Error {
    let start = Instant::now();
    loop {
        match client.tries_renewal(claim).await {
            Ok(renewal) => assert_eq!(renewal, Renewal::Kept),
            Err(error) if error.to_string().contains(what) => return error,
            Err(_) => {}
        }
        assert!(start.elapsed() < SOON, "{what:?} is not said");
        pause(10).await;
    }
}

/// The same after what was wrong has been mended.
async fn renews_again(client: &Client, claim: &Claim) {
    let start = Instant::now();
    while client.tries_renewal(claim).await.ok() != Some(Renewal::Kept) {
        assert!(start.elapsed() < SOON, "not renewed");
        pause(10).await;
    }
}

#[test]
fn old_clients_that_are_not_let_in_again_are_told_why_and_go_on_when_they_are() {
    run(async {
        for (bars, mends, says, transient) in [
            ("maxclients 1", "maxclients 100", "(maxclients)", true),
            (
                "requirepass new",
                "requirepass old",
                "does not accept",
                false,
            ),
        ] {
            let server = RedisServer::start(RedisOptions::new().password("old")).unwrap();
            let mut control = Control::of(&server, "old");
            let url = format!("{}?timeout=300ms", server.url());
            let (a, b) = (Client::at(&url).await, Client::at(&url).await);
            let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
            let grant = a.takes(&held).await;
            let changed = b.waits(&waiter).await.changed.unwrap();
            control.without_others(&format!("CONFIG SET {bars}"));
            for _ in 0..3 {
                let error = renewals_say(&a, &held, says).await;
                assert_eq!(error.is_transient(), transient, "{error}");
            }
            let error = b.ask(&waiter).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            control.ask(&[&format!("CONFIG SET {mends}")]);
            renews_again(&a, &held).await;
            woken(changed).await; // to ask again, since it may have missed something
            let start = Instant::now();
            let changed = loop {
                match b.ask(&waiter).await {
                    Ok(Attempt::Busy(busy)) => break busy.changed.unwrap(),
                    Ok(granted) => panic!("{granted:?}"),
                    Err(error) => assert!(start.elapsed() < SOON, "{error}"),
                }
                pause(10).await;
            };
            let mut lost = grant.lost.unwrap();
            sleeps_on(&mut lost, 100).await;
            assert_eq!(a.releases(&held).await, Release::Done);
            woken(changed).await;
            assert!(b.takes(&waiter).await.fence > grant.fence, "{bars}");
            b.releases(&waiter).await;
            assert_eq!(leftovers(&server), Vec::<String>::new(), "{bars}");
        }
    });
}
