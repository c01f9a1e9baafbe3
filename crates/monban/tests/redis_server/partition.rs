//! Cables that are pulled: the server and its clients on machines of a network of their own.
//!
//! All of it is one process, so all instants are of one clock.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use monban::fenced::Fenced;
use monban::{Error, Fence, Lease, Locks, Loss, Mutex, Options};
use monban_testkit::{Machine, Network, RedisOptions, RedisServer, network};

use crate::common::leftovers;

const TTL: Duration = Duration::from_secs(4);
/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// A server on a machine, and two machines that reach it.
struct Place {
    server: Option<RedisServer>,
    home: Machine,
    url: String,
    far: Machine,
    near: Machine,
    // Keeps the switch.
    _network: Network,
}

impl Place {
    fn new() -> Self {
        let mut network = Network::new().unwrap();
        let mut machine = || network.machine().unwrap();
        let (home, far, near) = (machine(), machine(), machine());
        let start = || {
            let options = RedisOptions::new()
                .setting("bind", "0.0.0.0")
                .setting("protected-mode", "no");
            RedisServer::start(options).unwrap()
        };
        let server = home.run(start).unwrap().join().unwrap();
        let address: Ipv4Addr = home.address();
        let url = format!("redis://{address}:{}?timeout=1s", server.port());
        Self {
            server: Some(server),
            home,
            url,
            far,
            near,
            _network: network,
        }
    }

    /// Does this on the server's machine.
    fn at_home<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&RedisServer) -> T + Send + 'static,
    ) -> T {
        let server = self.server.take().unwrap();
        let both = self.home.run(move || (work(&server), server)).unwrap();
        let (done, server) = both.join().unwrap();
        self.server = Some(server);
        done
    }

    /// Waits until so many stand in the line of the key.
    fn line(&mut self, many: usize) {
        let start = Instant::now();
        loop {
            let count = "local n = 0 for _, k in ipairs(redis.call('KEYS', 'monban:*o:k')) do \
                n = n + redis.call('ZCOUNT', k, 10000000000, '+inf') end return n";
            let standing = self.at_home(move |server| server.ask(&["EVAL", count, "0"]).unwrap());
            if standing == many.to_string() {
                return;
            }
            assert!(start.elapsed() < SOON, "{standing} stand in line");
            sleep(Duration::from_millis(20));
        }
    }

    /// What is at the key.
    fn value(&mut self) -> String {
        self.at_home(|server| server.ask(&["GET", "k"]).unwrap())
    }

    fn nothing_is_left(&mut self) {
        let start = Instant::now();
        loop {
            let left = self.at_home(leftovers);
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < SOON, "left behind: {left:?}");
            sleep(Duration::from_millis(50));
        }
    }
}

fn drive<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

async fn mutex(url: &str) -> Mutex {
    let locks = Locks::connect(url).await.unwrap();
    locks
        .mutex("k")
        .unwrap()
        .with(Options::new().ttl(TTL))
        .unwrap()
}

/// Waits for its turn, however often the server is out of reach: which is all that it may be told.
async fn turn(mutex: &Mutex) -> Lease {
    loop {
        match mutex.lock().within(SOON * 2).await {
            Ok(lease) => return lease,
            Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
        }
    }
}

/// What one who holds, or waits, tells.
struct Turn {
    got: Receiver<(Instant, Fence)>,
    lost: Receiver<Instant>,
    leave: std::sync::mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Turn {
    /// Waits for its turn on that machine, writes, and holds until it is told to leave. Whenever it has lost, it lets go of
    /// its lease, as far as it can, and asks again.
    fn on(machine: &Machine, url: &str, value: &Arc<Fenced<Fence>>) -> Self {
        let (url, value) = (url.to_owned(), Arc::clone(value));
        let (got, has_got) = channel();
        let (lost, has_lost) = channel();
        let (leave, leaves) = channel::<()>();
        let thread = machine.run(move || {
            drive(async {
                let mutex = mutex(&url).await;
                let mut told = tokio::task::spawn_blocking(move || leaves.recv());
                loop {
                    let lease = turn(&mutex).await;
                    let fence = lease.fence().unwrap();
                    value.write(fence, |value| *value = fence).unwrap();
                    got.send((Instant::now(), fence)).unwrap();
                    tokio::select! {
                        error = lease.lost() => {
                            lost.send(Instant::now()).unwrap();
                            let expired = matches!(error, Error::Lost { why: Loss::Expired, .. });
                            assert!(expired, "{error}");
                        }
                        _ = &mut told => break lease.release().await.unwrap(),
                    }
                }
            });
        });
        Self {
            got: has_got,
            lost: has_lost,
            leave,
            thread: thread.unwrap(),
        }
    }

    fn holds(&self) -> (Instant, Fence) {
        self.got.recv_timeout(SOON).unwrap()
    }

    fn waits_on(&self) -> bool {
        self.got.try_recv().is_err()
    }

    fn leaves(self) {
        self.leave.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn a_holder_that_is_cut_off_for_a_moment_keeps_its_lease_and_for_a_ttl_loses_it_before_another_has_it()
 {
    if network::skipped() {
        return;
    }
    let mut place = Place::new();
    let value = Arc::new(Fenced::new(Fence::new(1).unwrap()));
    let holder = Turn::on(&place.far, &place.url, &value);
    let (_, fence) = holder.holds();
    let next = Turn::on(&place.near, &place.url, &value);
    place.line(1);

    // Less than a TTL after a renewal: nothing is lost, and nobody moves up.
    place.far.unplug().unwrap();
    sleep(Duration::from_millis(1_000));
    place.far.plug().unwrap();
    sleep(TTL); // whatever that has broken would show by now
    assert!(holder.lost.try_recv().is_err() && next.waits_on());

    let cut = Instant::now();
    place.far.unplug().unwrap();
    let end = holder.lost.recv_timeout(SOON).unwrap();
    let (got, overtaken_by) = next.holds();
    assert!(end <= got, "granted {:?} before the holder knew", end - got);
    assert!(overtaken_by > fence);
    let stale = value.write(fence, |value| *value = fence);
    assert!(stale.is_err(), "a late write is accepted");

    // It is back, and lets go of what it has lost: which is nobody else's, and it stands behind who holds.
    let theirs = place.value();
    assert!(theirs.starts_with("mb1x:"), "{theirs}");
    place.far.plug().unwrap();
    place.line(1);
    sleep(TTL); // whatever its coming back has broken would show by now
    assert_eq!(place.value(), theirs);
    assert!(next.lost.try_recv().is_err() && holder.waits_on());

    // Nor does it put their end off: it has the key when they have lost it, and no later.
    let cut_again = Instant::now();
    place.near.unplug().unwrap();
    let their_end = next.lost.recv_timeout(SOON).unwrap();
    let (got_again, last) = holder.holds();
    assert!(their_end <= got_again && last > overtaken_by);
    let after = got_again - cut_again;
    assert!(after < TTL + Duration::from_secs(3), "{after:?}");
    place.near.plug().unwrap();
    place.line(1);
    holder.leaves();
    assert!(next.holds().1 > last);
    next.leaves();
    eprintln!(
        "the holder knew {:?} after the cut, and the next had it {:?} later",
        end - cut,
        got - end
    );
    place.nothing_is_left();
}

/// Two stand in line, and the first of them is cut off until its claim has died. The key is free meanwhile, so the server
/// gives it to who cannot hear of it; it is the next one's when that claim has died.
#[test]
fn a_waiter_that_is_cut_off_loses_its_place_and_not_its_turn() {
    if network::skipped() {
        return;
    }
    let mut place = Place::new();
    for freed_after in [Duration::from_millis(200), TTL + Duration::from_secs(2)] {
        let value = Arc::new(Fenced::new(Fence::new(1).unwrap()));
        let holder = Turn::on(&place.near, &place.url, &value);
        let (_, first) = holder.holds();
        let behind = Turn::on(&place.far, &place.url, &value);
        place.line(1);
        let next = Turn::on(&place.near, &place.url, &value);
        place.line(2);
        let cut = Instant::now();
        place.far.unplug().unwrap();
        sleep(freed_after);
        holder.leaves();
        let freed = Instant::now();
        let (got, second) = next.holds();
        assert!(
            second > first && behind.waits_on(),
            "granted to one that is cut off"
        );
        assert!(
            got - freed < TTL + Duration::from_secs(3),
            "{:?}",
            got - freed
        );
        // The one that was cut off has not held meanwhile, nor does it when it is back: it stands in line again.
        sleep((TTL + Duration::from_secs(1)).saturating_sub(cut.elapsed()));
        place.far.plug().unwrap();
        place.line(1);
        sleep(Duration::from_millis(300));
        assert!(behind.waits_on(), "granted beside a holder");
        next.leaves();
        let (_, third) = behind.holds();
        assert!(third > second);
        behind.leaves();
        eprintln!(
            "freed after {freed_after:?}: the next had it {:?} later",
            got - freed
        );
        place.nothing_is_left();
    }
}
