//! A proxy before a server that loses, delays and cuts what passes through it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is done to bytes that pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Every part is held back for so long.
    pub(crate) delay: Duration,
    /// Requests do not arrive: they are kept.
    pub(crate) keep_requests: bool,
    /// Replies, and messages, do not arrive yet: they are kept.
    pub(crate) keep_replies: bool,
    /// Replies do not arrive. The connection that lost one ends when the plan does, since TCP loses nothing in between.
    pub(crate) drop_replies: bool,
    /// After so many bytes of replies both sides are cut.
    pub(crate) cut_after: Option<usize>,
    /// After that nothing is done to what passes any more.
    pub(crate) once: bool,
    /// After so many bytes of replies the client hears no more, and nothing is closed towards the server.
    pub(crate) half_close_after: Option<usize>,
}

/// Passes connections on to a port of loopback.
pub(crate) struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
    passed: Arc<Mutex<usize>>,
}

impl Proxy {
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            plan: Arc::default(),
            passed: Arc::default(),
        };
        let (plan, passed) = (Arc::clone(&proxy.plan), Arc::clone(&proxy.passed));
        // The threads end with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect((Ipv4Addr::LOCALHOST, server)))
                else {
                    continue;
                };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let there = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (plan_there, plan_back) = (Arc::clone(&plan), Arc::clone(&plan));
                let passed = Arc::clone(&passed);
                thread::spawn(move || requests(there.0, there.1, &plan_there));
                thread::spawn(move || replies(server, client, &plan_back, &passed));
            }
        });
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub(crate) fn plan(&self, plan: Plan) {
        *self.passed.lock().unwrap() = 0;
        *self.plan.lock().unwrap() = plan;
    }

    /// Bytes of replies since the last plan.
    pub(crate) fn passed(&self) -> usize {
        *self.passed.lock().unwrap()
    }
}

/// Keeps requests while that is the plan, whatever becomes of the client, and passes them on then.
fn requests(mut client: TcpStream, mut server: TcpStream, plan: &Mutex<Plan>) {
    let mut buffer = [0; 65_536];
    loop {
        let read = client.read(&mut buffer).unwrap_or(0);
        while plan.lock().unwrap().keep_requests {
            thread::sleep(Duration::from_millis(2));
        }
        let delay = plan.lock().unwrap().delay;
        thread::sleep(delay);
        if read == 0 || server.write_all(&buffer[..read]).is_err() {
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn replies(
    mut server: TcpStream,
    mut client: TcpStream,
    plan: &Mutex<Plan>,
    passed: &Mutex<usize>,
) {
    let mut buffer = [0; 65_536];
    let mut lossy = false;
    loop {
        let read = server.read(&mut buffer).unwrap_or(0);
        let lose = plan.lock().unwrap().drop_replies;
        if read == 0 || lossy && !lose {
            let _ = server.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        while plan.lock().unwrap().keep_replies {
            thread::sleep(Duration::from_millis(2));
        }
        let now = plan.lock().unwrap().clone();
        thread::sleep(now.delay);
        if now.drop_replies {
            lossy = true;
            continue;
        }
        let mut passed = passed.lock().unwrap();
        let limit = now.cut_after.or(now.half_close_after).unwrap_or(usize::MAX);
        let part = read.min(limit.saturating_sub(*passed));
        *passed += part;
        let failed = client.write_all(&buffer[..part]).is_err();
        if part < read && now.half_close_after.is_some() {
            let _ = client.shutdown(Shutdown::Write);
            continue;
        }
        if part < read && now.once {
            *plan.lock().unwrap() = Plan::default();
        }
        if part < read || failed {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
    }
}
