//! The command over a real Redis server, beside programs that know nothing of monban.

use std::time::{Duration, Instant};

use monban_testkit::{RedisOptions, RedisServer, service};
use rustix::process::Signal;

use crate::support::{Place, Running, wait_until};

/// A server of the test's own, and `monban` over it.
struct Over {
    place: Place,
    server: RedisServer,
}

impl Over {
    fn new() -> Option<Self> {
        if service::skipped("redis") {
            return None;
        }
        let server = RedisServer::start(RedisOptions::new()).expect("redis-server starts");
        Some(Self {
            place: Place::new(),
            server,
        })
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.place.monban(arguments);
        command.env("MONBAN_STORE", self.server.url());
        command
    }

    fn run(&self, arguments: &[&str]) -> crate::support::Ended {
        Running(Some(
            self.command(arguments).spawn().expect("monban starts"),
        ))
        .end()
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running(Some(
            self.command(arguments).spawn().expect("monban starts"),
        ))
    }

    fn ask(&self, words: &[&str]) -> String {
        self.server.ask(words).expect("the server answers")
    }

    /// What is left in the database but for the fence counter.
    fn residue(&self) -> String {
        let keys = self.ask(&["KEYS", "*"]);
        keys.lines()
            .filter(|key| !key.contains("monban:{fence}"))
            .collect()
    }
}

#[test]
fn a_foreign_holder_is_named_and_refused_in_both_directions() {
    let Some(over) = Over::new() else { return };
    over.ask(&["SET", "main:hello", "x", "NX", "PX", "60000"]);
    let busy = over.run(&["run", "main:hello", "--", "true"]);
    assert_eq!(busy.code, 75);
    assert!(
        busy.err.contains("not monban") && busy.err.contains("expires in 59s"),
        "{}",
        busy.err
    );
    let show = over.run(&["show", "main:hello"]).out;
    assert!(
        show.contains("not a monban lock: 1-byte token") && show.contains("expires in 59s"),
        "{show}"
    );
    assert_eq!(over.run(&["ls"]).out, "", "ls lists monban's own");
    let mut waiter = over.start(&["run", "-w", "30", "main:hello", "--", "echo", "in"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiter.is_running());
    let start = Instant::now();
    over.ask(&["DEL", "main:hello"]);
    assert_eq!(waiter.end().out, "in\n");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "woken, not polled: {:?}",
        start.elapsed()
    );
    let inner = over.place.file("inner");
    let script = format!(
        "touch '{0}'; while [ -e '{0}' ]; do sleep 0.01; done",
        inner.display()
    );
    let holder = over.start(&["run", "main:hello", "--", "sh", "-c", &script]);
    wait_until("it runs", || inner.exists());
    assert_eq!(
        over.ask(&["SET", "main:hello", "x", "NX"]),
        "",
        "refused by the server"
    );
    std::fs::remove_file(inner).expect("it is there");
    assert_eq!(holder.end().code, 0);
    assert_eq!(over.residue(), "");
}

#[test]
fn a_foreign_lock_that_never_expires_is_freed_by_hand() {
    let Some(over) = Over::new() else { return };
    over.ask(&["SET", "stuck", "abcdefghijklmnopqrstuvwx"]);
    let show = over.run(&["show", "stuck"]).out;
    assert!(
        show.contains("24-byte token") && show.contains("never expires"),
        "{show}"
    );
    assert!(show.contains("monban release stuck --foreign"), "{show}");
    let freed = over.run(&["release", "stuck", "--foreign"]);
    assert_eq!(freed.code, 0, "{}", freed.err);
    assert!(freed.err.contains("freed by hand"), "{}", freed.err);
    assert_eq!(over.run(&["run", "stuck", "true"]).code, 0);
    assert_eq!(over.run(&["release", "stuck", "--foreign"]).code, 64);
}

#[test]
fn a_lease_that_is_freed_by_hand_ends_its_command_with_76() {
    let Some(over) = Over::new() else { return };
    let holder = over.start(&["run", "-k", "1", "k", "--", "sleep", "60"]);
    wait_until("it holds", || over.run(&["ls", "k"]).out.contains("held"));
    let line = over.run(&["show", "--json", "k"]).out;
    let entry: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    let id = entry["id"].as_str().expect("an id");
    let start = Instant::now();
    assert_eq!(over.run(&["release", "k", "--id", id]).code, 0);
    let holder = holder.end();
    assert_eq!(holder.code, 76, "{}", holder.err);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(holder.err.contains("was lost"), "{}", holder.err);
    assert_eq!(over.residue(), "");
}

#[test]
fn whoever_gives_up_waiting_leaves_the_line_before_monban_ends() {
    let Some(over) = Over::new() else { return };
    over.ask(&["SET", "k", "theirs"]);
    for round in 0..10 {
        let waiter = if round % 2 == 0 {
            over.run(&["run", "-w", "0.2", "k", "true"])
        } else {
            let waiter = over.start(&["run", "-w", "forever", "k", "true"]);
            wait_until("it waits", || {
                over.run(&["ls", "k"]).out.contains("waiting")
            });
            waiter.signal(Signal::TERM);
            waiter.end()
        };
        assert_eq!(
            waiter.code,
            if round % 2 == 0 { 75 } else { -15 },
            "{}",
            waiter.err
        );
        assert_eq!(
            over.residue(),
            "k",
            "round {round}: only the foreign lock is left"
        );
    }
}

#[test]
fn a_silent_server_ends_the_command_before_its_lease() {
    let Some(mut over) = Over::new() else { return };
    let log = over.place.file("log");
    let script = format!(
        "trap 'date +%s.%N >> {0}; exit 0' TERM; touch {0}; while :; do sleep 0.02; done",
        log.display()
    );
    let holder = over.start(&[
        "run", "--ttl", "3", "-k", "0.5", "k", "--", "sh", "-c", &script,
    ]);
    wait_until("it runs", || log.exists());
    over.server.stop_signal().expect("it is there");
    let start = Instant::now();
    let holder = holder.end();
    let took = start.elapsed();
    over.server.cont().expect("it is there");
    assert_eq!(holder.code, 76, "{}", holder.err);
    assert!(
        !std::fs::read_to_string(&log).expect("there").is_empty(),
        "it was told before it was killed"
    );
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// Frees by hand what holds the key.
fn free(over: &Over, key: &str) {
    let line = over.run(&["show", "--json", key]).out;
    let entry: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    let id = entry["id"].as_str().expect("an id");
    assert_eq!(over.run(&["release", key, "--id", id]).code, 0);
}

#[test]
fn a_command_under_several_keys_ends_when_any_of_them_is_lost() {
    let Some(over) = Over::new() else { return };
    for lost in ["b", "a"] {
        let holder = over.start(&[
            "run", "--ttl", "10m", "-k", "1", "--also", "a", "--also", "c", "b", "--", "sleep",
            "60",
        ]);
        wait_until("it holds", || over.run(&["ls", "c"]).out.contains("held"));
        free(&over, lost);
        let holder = holder.end();
        assert_eq!(holder.code, 76, "{lost}: {}", holder.err);
        assert!(
            holder.err.contains("has been ended"),
            "by the notice, long before a TTL is over: {}",
            holder.err
        );
        assert_eq!(over.residue(), "", "{lost}");
    }
}

#[test]
fn several_leases_are_renewed_beyond_their_ttl() {
    let Some(over) = Over::new() else { return };
    let sign = over.place.file("sign");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.01; done", sign.display());
    let holder = over.start(&[
        "run", "--ttl", "1", "-k", "0.2", "--also", "a", "b", "--", "sh", "-c", &script,
    ]);
    wait_until("it holds", || over.run(&["ls", "b"]).out.contains("held"));
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(over.run(&["run", "a", "true"]).code, 75);
    std::fs::write(&sign, "").expect("written");
    let holder = holder.end();
    assert_eq!(holder.code, 0, "{}", holder.err);
    assert_eq!(over.residue(), "");
}

#[test]
fn a_leader_that_loses_its_leadership_ends_or_stands_again() {
    let Some(over) = Over::new() else { return };
    let once = over.start(&["elect", "-k", "1", "k", "--", "sleep", "60"]);
    wait_until("it leads", || over.run(&["ls", "k"]).out.contains("held"));
    free(&over, "k");
    let once = once.end();
    assert_eq!(once.code, 76, "{}", once.err);

    let log = over.place.file("log");
    let script = format!(
        "grep SigIgn /proc/self/status >> '{}'; exec sleep 60",
        log.display()
    );
    let elect = over.command(&[
        "elect", "--again", "-k", "1", "k", "--", "sh", "-c", &script,
    ]);
    let mut nohup = std::process::Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(elect.get_program())
        .args(elect.get_args())
        .env("MONBAN_STORE", over.server.url())
        .stderr(std::process::Stdio::piped());
    let again = Running(Some(nohup.spawn().expect("sh starts")));
    let runs = || std::fs::read_to_string(&log).unwrap_or_default();
    for round in 1..4 {
        wait_until("it leads", || runs().lines().count() == round);
        if round < 3 {
            free(&over, "k");
        }
    }
    let ignored: Vec<_> = runs().lines().map(str::to_owned).collect();
    assert!(
        ignored.iter().all(|line| *line == ignored[0]),
        "{ignored:?}"
    );
    assert!(ignored[0].ends_with('1'), "HUP is ignored: {ignored:?}");
    again.signal(Signal::TERM);
    let again = again.end();
    assert_eq!(again.code, 143, "{}", again.err);
    assert_eq!(
        again.err.matches("standing for election again").count(),
        2,
        "{}",
        again.err
    );
    assert_eq!(over.residue(), "");
}

#[test]
fn an_observer_is_told_of_leaders_on_other_hosts() {
    let Some(over) = Over::new() else { return };
    let mut observer = over.start(&["elect", "--observe", "k"]);
    let out = observer.0.as_mut().and_then(|child| child.stdout.take());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out.expect("a pipe")));
    let mut next = || lines.next().expect("one more line").expect("text");
    assert_eq!(next(), "nobody leads k");
    let leader = over.start(&["elect", "--label", "anna", "k", "sleep", "60"]);
    assert!(next().contains("(anna)"));
    leader.signal(Signal::TERM);
    leader.end();
    assert_eq!(next(), "nobody leads k");
    assert_eq!(over.residue(), "");
}

#[test]
fn every_works_between_hosts() {
    let Some(over) = Over::new() else { return };
    let run = || over.run(&["run", "--every", "3h", "report", "--", "echo", "ran"]);
    assert_eq!(run().out, "ran\n");
    let second = run();
    assert_eq!((second.code, second.out.as_str()), (0, ""));
    assert!(
        second.err.contains("is not due for 2h 59m"),
        "{}",
        second.err
    );
}

#[test]
fn what_is_wrong_with_the_server_is_said_without_the_password() {
    let Some(_over) = Over::new() else { return };
    let server = RedisServer::start(RedisOptions::new().password("s3cret")).expect("it starts");
    let place = Place::new();
    let run = |url: &str| {
        let mut command = place.monban(&["run", "k", "--", "echo", "ran"]);
        command.env("MONBAN_STORE", url);
        Running(Some(command.spawn().expect("monban starts"))).end()
    };
    let port = server.port();
    let wrong = run(&format!("redis://:wr0ng@127.0.0.1:{port}"));
    assert_eq!((wrong.code, wrong.out.as_str()), (69, ""));
    assert!(
        wrong.err.to_lowercase().contains("password"),
        "{}",
        wrong.err
    );
    assert!(!wrong.err.contains("wr0ng"), "{}", wrong.err);
    let none = run(&format!("redis://127.0.0.1:{port}"));
    assert_eq!(none.code, 69, "{}", none.err);
    drop(server);
    let refused = run(&format!("redis://:s3cret@127.0.0.1:{port}"));
    assert_eq!(refused.code, 69, "{}", refused.err);
    assert!(!refused.err.contains("s3cret"), "{}", refused.err);
}
