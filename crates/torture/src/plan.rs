//! What goes wrong, and when: drawn from a seed before the run begins.

use std::time::Duration;

use fastrand::Rng;

use crate::proxy::Weather;
use crate::worker::Point;

/// One fault.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub enum Fault {
    /// A worker kills itself with SIGKILL at a named point; another takes its place.
    Kill { worker: usize, point: Point },
    /// A worker is stopped with SIGSTOP for this long: by itself at a named point, or from outside.
    Stop {
        worker: usize,
        point: Option<Point>,
        lasts: Duration,
    },
    /// A worker is frozen by the system for this long: it cannot notice by a signal.
    Freeze { worker: usize, lasts: Duration },
    /// A worker gets so many hundredths of a processor for this long.
    Starve {
        worker: usize,
        hundredths: u32,
        lasts: Duration,
    },
    /// The clocks of a worker jump ahead, as after a suspend.
    Step { worker: usize, by: Duration },
    /// A claim that holds is freed by hand.
    Evict,
    /// Something is wrong between a worker (`None`: all) and the server.
    Net {
        worker: Option<usize>,
        weather: Weather,
        lasts: Duration,
    },
    /// The server is killed, and is back after this time with its data.
    ServerKill { down: Duration },
    /// The server is killed, and is back after this time without its data.
    ServerWipe { down: Duration },
    /// The server is shut down in order, and is back after this time with its data.
    ServerRestart { down: Duration },
    /// The server ends the sessions of its clients, and lives.
    SessionsEnded,
    /// The server is stopped with SIGSTOP for this long.
    ServerPause { lasts: Duration },
    /// Every flush to the server's disk takes so much longer.
    ServerDisk { by: Duration, lasts: Duration },
    /// The server's wall clock is set by so many milliseconds.
    ServerClock { by: i64, lasts: Duration },
    /// Requests of a store in memory fail.
    Verb {
        verb: &'static str,
        fault: &'static str,
        times: u32,
    },
}

/// A fault and when it begins, from the start of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// Which kind, by name.
    pub kind: &'static str,
    /// What.
    pub fault: Fault,
}

/// What a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Workers that are processes of their own.
    Processes,
    /// Control groups that freeze.
    Freezer,
    /// Control groups that ration processor time.
    Quota,
    /// A clock of the workers that can be moved.
    Clock,
    /// A store on which claims can be freed by hand.
    Hand,
    /// A proxy before the server.
    Proxy,
    /// A server that we started ourselves.
    Server,
    /// Such a server, whose system calls can be delayed.
    Disk,
    /// Such a server, with its wall clock in our hands; asked for by name.
    ServerClock,
    /// Such a server; asked for by name, since it breaks what the store rests on.
    Wipe,
    /// The store in memory.
    Memory,
    /// A server of a kind that can fail like this, and that we started ourselves.
    Its,
}

/// A kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// As the command line and the history call it.
    pub name: &'static str,
    /// What it needs.
    pub need: Need,
    weight: u32,
    draw: fn(&mut Draw<'_>) -> Fault,
}

/// What a fault is drawn with.
struct Draw<'a> {
    random: &'a mut Rng,
    worker: usize,
    ttl: Duration,
}

/// Every kind of fault.
pub const KINDS: &[Kind] = &[
    kind("kill", Need::Processes, 4, |draw| Fault::Kill {
        worker: draw.worker,
        point: draw.point(),
    }),
    kind("stop", Need::Processes, 4, |draw| Fault::Stop {
        worker: draw.worker,
        point: draw.random.bool().then_some(Point::Writing),
        lasts: draw.span(),
    }),
    kind("freeze", Need::Freezer, 2, |draw| Fault::Freeze {
        worker: draw.worker,
        lasts: draw.span(),
    }),
    kind("starve", Need::Quota, 2, |draw| Fault::Starve {
        worker: draw.worker,
        hundredths: draw.random.u32(1..10),
        lasts: draw.ttl * 2,
    }),
    kind("clock-step", Need::Clock, 2, |draw| Fault::Step {
        worker: draw.worker,
        by: draw.span(),
    }),
    kind("freed-by-hand", Need::Hand, 2, |_| Fault::Evict),
    kind("partition", Need::Proxy, 3, |draw| {
        let partition = true;
        draw.net(Weather {
            partition,
            ..Weather::default()
        })
    }),
    kind("partition-all", Need::Proxy, 1, |draw| Fault::Net {
        worker: None,
        weather: Weather {
            partition: true,
            ..Weather::default()
        },
        lasts: draw.span(),
    }),
    kind("delay", Need::Proxy, 3, |draw| {
        let delay = draw.ttl.mul_f64(draw.random.f64() * 0.9);
        let lasts = draw.ttl * 3;
        let weather = Weather {
            delay,
            ..Weather::default()
        };
        Fault::Net {
            worker: Some(draw.worker),
            weather,
            lasts,
        }
    }),
    kind("request-loss", Need::Proxy, 2, |draw| {
        let lose_requests = true;
        draw.net(Weather {
            lose_requests,
            ..Weather::default()
        })
    }),
    kind("reply-loss", Need::Proxy, 2, |draw| {
        let lose_replies = true;
        draw.net(Weather {
            lose_replies,
            ..Weather::default()
        })
    }),
    kind("cut", Need::Proxy, 3, |draw| {
        let after = Some(draw.random.usize(0..2_000));
        let (cut_requests, cut_replies) = if draw.random.bool() {
            (after, None)
        } else {
            (None, after)
        };
        draw.net(Weather {
            cut_requests,
            cut_replies,
            ..Weather::default()
        })
    }),
    kind("server-kill", Need::Server, 1, |draw| Fault::ServerKill {
        down: draw.ttl.mul_f64(draw.random.f64() * 1.5),
    }),
    kind("server-pause", Need::Server, 1, |draw| Fault::ServerPause {
        lasts: draw.span(),
    }),
    kind("server-disk", Need::Disk, 1, |draw| Fault::ServerDisk {
        by: draw.ttl.mul_f64(0.01 + 0.2 * draw.random.f64()),
        lasts: draw.ttl * 2,
    }),
    kind("server-wipe", Need::Wipe, 2, |draw| Fault::ServerWipe {
        down: draw.ttl.mul_f64(draw.random.f64() * 0.3),
    }),
    kind("server-clock", Need::ServerClock, 2, |draw| {
        // More would keep keys taken for as long after the clock is right again, which nobody can help.
        let by = draw.ttl.mul_f64(1.2 + 0.8 * draw.random.f64());
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Fault::ServerClock {
            by: if draw.random.bool() { by } else { -by },
            lasts: draw.ttl * 2,
        }
    }),
    kind("server-restart", Need::Its, 1, |draw| {
        Fault::ServerRestart {
            down: draw.ttl.mul_f64(draw.random.f64() * 1.5),
        }
    }),
    kind("sessions-ended", Need::Its, 3, |_| Fault::SessionsEnded),
    kind("request", Need::Memory, 8, |draw| {
        let verbs = ["attempt", "renew", "release"];
        let faults = ["request-lost", "reply-lost", "request-late", "reply-late"];
        Fault::Verb {
            verb: verbs[draw.random.usize(0..verbs.len())],
            fault: faults[draw.random.usize(0..faults.len())],
            times: draw.random.u32(1..6),
        }
    }),
];

const fn kind(
    name: &'static str,
    need: Need,
    weight: u32,
    draw: fn(&mut Draw<'_>) -> Fault,
) -> Kind {
    Kind {
        name,
        need,
        weight,
        draw,
    }
}

impl Draw<'_> {
    fn point(&mut self) -> Point {
        Point::ALL[self.random.usize(0..Point::ALL.len())]
    }

    /// A time around the TTL: well below, just above, far above.
    fn span(&mut self) -> Duration {
        let parts = [0.3, 0.8, 1.2, 2.5];
        let part = parts[self.random.usize(0..parts.len())];
        self.ttl.mul_f64(part * (0.9 + 0.2 * self.random.f64()))
    }

    fn net(&mut self, weather: Weather) -> Fault {
        Fault::Net {
            worker: Some(self.worker),
            weather,
            lasts: self.span(),
        }
    }
}

/// What a plan is drawn from.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The seed: the same frame gives the same plan.
    pub seed: u64,
    /// How long faults begin.
    pub lasts: Duration,
    /// How many workers there are.
    pub workers: usize,
    /// The TTL of claims.
    pub ttl: Duration,
    /// The mean pause between two faults.
    pub pace: Duration,
}

/// Draws a plan of these kinds. The first fault leaves time for work before it.
#[must_use]
pub fn draw(frame: &Frame, kinds: &[&'static Kind]) -> Vec<Planned> {
    let mut random = Rng::with_seed(frame.seed);
    let mut plan = Vec::new();
    let total: u32 = kinds.iter().map(|kind| kind.weight).sum();
    let mut at = Duration::from_millis(500);
    while total > 0 && at < frame.lasts {
        let mut ticket = random.u32(0..total);
        let chosen = kinds.iter().find(|kind| {
            let hit = ticket < kind.weight;
            ticket = ticket.wrapping_sub(kind.weight);
            hit
        });
        let worker = random.usize(0..frame.workers);
        let mut with = Draw {
            random: &mut random,
            worker,
            ttl: frame.ttl,
        };
        if let Some(kind) = chosen {
            plan.push(Planned {
                at,
                kind: kind.name,
                fault: (kind.draw)(&mut with),
            });
        }
        at += frame.pace.mul_f64(0.5 + random.f64());
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seed: u64) -> Frame {
        Frame {
            seed,
            lasts: Duration::from_secs(200),
            workers: 4,
            ttl: Duration::from_secs(2),
            pace: Duration::from_millis(400),
        }
    }

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        let all: Vec<&Kind> = KINDS.iter().collect();
        let plan = draw(&frame(7), &all);
        assert_eq!(plan, draw(&frame(7), &all));
        assert_ne!(plan, draw(&frame(8), &all));
        assert!(plan.windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn every_kind_that_is_asked_for_is_drawn_and_no_other() {
        let all: Vec<&Kind> = KINDS.iter().collect();
        let plan = draw(&frame(1), &all);
        for kind in KINDS {
            assert!(plan.iter().any(|planned| planned.kind == kind.name));
        }
        let one: Vec<&Kind> = all.into_iter().take(1).collect();
        let plan = draw(&frame(1), &one);
        assert!(plan.iter().all(|planned| planned.kind == "kill"));
        assert!(draw(&frame(1), &[]).is_empty());
    }
}
