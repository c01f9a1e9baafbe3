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

    /// The name of the line's order: its tag is a word that falls into the slot of the key.
    fn side_key(&self, key: &str) -> String {
        let waiter = self.start(&["run", "-w", "forever", key, "true"]);
        let mut found = String::new();
        wait_until("somebody waits", || {
            found = self.ask(&["KEYS", &format!("monban:{{???}}o:{key}")]);
            !found.is_empty()
        });
        waiter.signal(Signal::TERM);
        waiter.end();
        found
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
    let came = Instant::now();
    wait_until("it waits", || {
        over.run(&["ls", "main:"]).out.contains("waiting")
    });
    assert!(waiter.is_running());
    let start = Instant::now();
    over.ask(&["DEL", "main:hello"]);
    assert_eq!(waiter.end().out, "in\n");
    let took = start.elapsed();
    // It asked when it came, less than a second ago, and would ask again 5 s after that.
    assert!(came.elapsed() < Duration::from_secs(4), "a slow machine");
    assert!(took < Duration::from_millis(500), "polled: {took:?}");
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

/// Whoever is told it may be the only one that waits, and lives for a shorter time.
#[test]
fn what_is_said_of_the_end_is_that_of_the_holder() {
    let Some(over) = Over::new() else { return };
    for (set, said) in [
        (&["SET", "k", "x", "PX", "600000"][..], "expires in 9m"),
        (&["SET", "k", "x"][..], "never expires: if nobody runs it"),
    ] {
        over.ask(set);
        // Three seconds, since a server that has not answered once by then is out of reach: another end (69).
        for wait in [&["run"][..], &["run", "--wait", "3s", "--ttl", "2s"][..]] {
            let busy = over.run(&[wait, &["k", "--", "true"][..]].concat());
            assert_eq!(busy.code, 75, "{}", busy.err);
            assert!(busy.err.contains(said), "{}", busy.err);
        }
    }
    let every = ["run", "--every", "3h", "job", "--", "true"];
    assert_eq!(over.run(&every).code, 0);
    let waiter = over.start(&["run", "--wait", "20s", "--ttl", "2s", "job", "--", "true"]);
    wait_until("it waits", || {
        over.run(&["show", "job"]).out.contains("ahead")
    });
    let early = over.run(&every);
    assert!(early.err.contains("is not due for 2h 59m"), "{}", early.err);
    drop(waiter);
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
    let how = over.run(&["release", "stuck"]);
    assert_eq!(how.code, 64, "{}", how.err);
    let says = how.err.contains("`monban release stuck --foreign`");
    assert!(says, "{}", how.err);
    let freed = over.run(&["release", "stuck", "--foreign"]);
    assert_eq!(freed.code, 0, "{}", freed.err);
    assert!(freed.err.contains("freed by hand"), "{}", freed.err);
    assert_eq!(over.run(&["run", "stuck", "true"]).code, 0);
    assert_eq!(over.run(&["release", "stuck", "--foreign"]).code, 64);
}

#[test]
fn what_is_no_string_is_shown_for_what_it_is_and_left_alone() {
    let Some(over) = Over::new() else { return };
    for (kind, made) in [
        ("hash", &["HSET", "k", "f", "1"][..]),
        ("list", &["RPUSH", "k", "1"]),
        ("set", &["SADD", "k", "1"]),
        ("zset", &["ZADD", "k", "1", "m"]),
        ("stream", &["XADD", "k", "1-1", "f", "1"]),
    ] {
        for lasting in [false, true] {
            over.ask(&["DEL", "k"]);
            over.ask(made);
            let said = format!("not a monban lock: a {kind} of another program's");
            let (shown, told) = if lasting {
                (
                    format!("{said}, which never expires: free it by the program that wrote it\n"),
                    "never expires",
                )
            } else {
                over.ask(&["PEXPIRE", "k", "600000"]);
                (format!("{said}, expires in 9m "), "expires in 9m")
            };
            // Its content, and the instant of its end.
            let digest = "return redis.sha1hex(redis.call('DUMP', KEYS[1])) .. \
                tostring(redis.call('PEXPIRETIME', KEYS[1]))";
            let state = || over.ask(&["EVAL", digest, "1", "k"]);
            let before = state();
            for mode in [&[][..], &["--shared"], &["--permits", "1/3"]] {
                // A wait is refused like a try; once for each kind will do.
                let waits: &[&[&str]] = if lasting && mode.is_empty() {
                    &[&[], &["--wait", "2s"]]
                } else {
                    &[&[]]
                };
                for wait in waits.iter().copied() {
                    let busy = over.run(&[&["run"], wait, mode, &["k", "--", "true"]].concat());
                    assert_eq!(busy.code, 75, "{kind}: {}", busy.err);
                    assert!(busy.err.contains(told), "{kind}: {}", busy.err);
                }
            }
            let show = over.run(&["show", "k"]);
            assert!(show.out.contains(&shown), "{kind}: {}", show.out);
            let refused = over.run(&["release", "k", "--foreign"]);
            assert_ne!(refused.code, 0, "{kind}: {}", refused.out);
            assert_eq!(state(), before, "{kind}");
        }
    }
}

#[test]
fn what_cannot_be_read_hides_no_other_line() {
    let Some(over) = Over::new() else { return };
    let held = ["spoilt", "sound"].map(|key| over.start(&["run", key, "--", "sleep", "60"]));
    wait_until("they hold", || {
        over.run(&["ls"]).out.matches("held").count() == 2
    });
    let order = over.side_key("spoilt");
    over.ask(&["SET", &order, "somebody's"]);
    over.ask(&["RPUSH", "a list", "1"]);
    let listed = over.run(&["ls"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let row = |key: &str| {
        let row = listed.out.lines().find(|row| row.starts_with(key));
        row.expect("listed").to_owned()
    };
    assert!(row("sound").contains("held"), "{}", listed.out);
    assert!(row("spoilt").contains("foreign"), "{}", listed.out);
    let shown = over.run(&["show", "spoilt"]);
    assert_eq!(shown.code, 69, "{}", shown.out);
    assert!(
        shown.err.contains("spoilt") && shown.err.contains("WRONGTYPE"),
        "{}",
        shown.err
    );
    let shown = over.run(&["show", "a list"]).out;
    assert!(
        shown.contains("not a monban lock: a list of another program's"),
        "{shown}"
    );
    let refused = over.run(&["release", "a list", "--foreign"]);
    assert!(
        refused.code != 0 && refused.err.contains("a list of another program's"),
        "{}",
        refused.err
    );
    assert_eq!(over.ask(&["EXISTS", "a list"]), "1");
    over.ask(&["DEL", &order]);
    drop(held);
}

#[test]
fn a_look_at_one_key_looks_through_no_others() {
    let Some(over) = Over::new() else { return };
    let strangers: Vec<String> = (0..3_000).map(|n| format!("cache:{n}")).collect();
    let mut all = vec!["MSET"];
    for key in &strangers {
        all.extend([key, "value"]);
    }
    over.ask(&all);
    let holder = over.start(&["run", "k", "--", "sleep", "60"]);
    wait_until("it holds", || over.run(&["show", "k"]).out.contains("held"));
    let calls = |command: &str| -> u64 {
        let all = over.ask(&["INFO", "commandstats"]);
        let of = format!("cmdstat_{command}:calls=");
        let count = all.lines().find_map(|line| line.strip_prefix(&of));
        let count = count.and_then(|rest| rest.split(',').next());
        count.map_or(0, |count| count.parse().expect("a number"))
    };
    over.ask(&["CONFIG", "RESETSTAT"]);
    assert!(over.run(&["show", "k"]).out.contains("held"));
    assert_eq!(calls("scan"), 0, "one key is asked for by its name");
    over.ask(&["CONFIG", "RESETSTAT"]);
    assert!(over.run(&["ls"]).out.contains("held"));
    // Of the strangers none; of the holder's own, perhaps a renewal.
    let scripts = calls("evalsha");
    assert!(scripts < 10, "only locks are read as lines");
    // A script reads the beginning of its key too.
    let read = calls("getrange");
    // The strangers, the lock and the counter of fences.
    let right = (3_002..=3_002 + scripts).contains(&read);
    assert!(right, "the beginning of each string, and not {read}");
    holder.signal(Signal::TERM);
    holder.end();
}

#[test]
fn what_a_token_looks_like_is_no_matter_and_a_key_is_no_command() {
    let Some(over) = Over::new() else { return };
    let cases = [
        (
            "",
            "0-byte token",
            "monban release empty --foreign",
            "empty",
        ),
        (
            "\0not a string: list",
            "19-byte token",
            "monban release 'a b; id' --foreign",
            "a b; id",
        ),
        (
            "1",
            "1-byte token",
            r"monban release 'it'\''s' --foreign",
            "it's",
        ),
        (
            "1",
            "1-byte token",
            "monban release --foreign -- -rf",
            "-rf",
        ),
    ];
    for (token, token_words, by_hand, key) in cases {
        over.ask(&["SET", key, token]);
        let shown = over.run(&["show", "--", key]).out;
        assert!(
            shown.contains(token_words) && shown.trim_end().ends_with(by_hand),
            "{shown}"
        );
        let freed = over.run(&["release", "--foreign", "--", key]);
        assert_eq!(freed.code, 0, "{}", freed.err);
        assert_eq!(over.ask(&["EXISTS", key]), "0");
    }
}

#[test]
fn a_waiter_that_is_freed_by_hand_is_said_to_come_again() {
    let Some(over) = Over::new() else { return };
    over.ask(&["SET", "k", "theirs"]);
    let waiter = over.start(&["run", "-w", "forever", "k", "true"]);
    wait_until("it waits", || {
        over.run(&["ls", "k"]).out.contains("waiting")
    });
    let lines = over.run(&["show", "--json", "k"]).out;
    let waiting = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|entry| entry["state"] == "waiting")
        .expect("it is shown");
    let id = waiting["id"].as_str().expect("an id");
    let freed = over.run(&["release", "k", "--id", id]);
    assert_eq!(freed.code, 0, "{}", freed.err);
    assert!(freed.err.contains("may join again"), "{}", freed.err);
    over.ask(&["DEL", "k"]);
    assert_eq!(waiter.end().code, 0);
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
    for round in 0..6 {
        // A server that has not answered once by the end of the wait is out of reach, which is another end (69). So the
        // wait is one in which it answers, on a busy machine too.
        let waiter = if round % 2 == 0 {
            over.run(&["run", "-w", "3", "k", "true"])
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
    // Just renewed: the next renewal is far away, so that the server keeps the lease until then and no longer.
    let (mut before, mut left) = (0.0, 0);
    wait_until("it is renewed", || {
        before = now();
        left = over.ask(&["PTTL", "k"]).parse().unwrap_or(0);
        left > 2_500
    });
    over.server.stop_signal().expect("it is there");
    let holder = holder.end();
    over.server.cont().expect("it is there");
    assert_eq!(holder.code, 76, "{}", holder.err);
    let told = std::fs::read_to_string(&log).expect("there");
    let told: f64 = told.trim().parse().expect("told once, by TERM");
    let over_at = before + Duration::from_millis(left).as_secs_f64();
    assert!(
        told < over_at,
        "{} s after the lease had ended",
        told - over_at
    );
}

/// The seconds that `date +%s.%N` prints.
fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

/// It was busy, seconds ago: nobody can say that it still is, and with `-E 0` that would be a run left out in silence.
#[test]
fn a_server_that_goes_away_during_a_wait_is_not_told_as_a_busy_key() {
    for killed in [true, false] {
        let Some(mut over) = Over::new() else { return };
        let holder = over.start(&["run", "k", "--", "sleep", "60"]);
        wait_until("it holds", || over.ask(&["EXISTS", "k"]) == "1");
        let waiter = over.start(&["run", "-q", "-E", "0", "--wait", "3", "k", "true"]);
        wait_until("it waits", || {
            over.run(&["show", "k"]).out.contains("waiting")
        });
        if killed {
            over.server.kill9().expect("it was there");
        } else {
            over.server.stop_signal().expect("it is there");
        }
        let waiter = waiter.end();
        assert_eq!(waiter.code, 69, "{}", waiter.err);
        if killed {
            assert!(waiter.err.contains("refuse"), "{}", waiter.err);
        }
        assert!(
            waiter.err.contains("may stay taken until"),
            "{}",
            waiter.err
        );
        holder.signal(Signal::TERM);
        holder.end();
        if !killed {
            over.server.cont().expect("it is there");
        }
    }
}

#[test]
fn the_last_event_agrees_with_the_exit_code_when_the_key_cannot_be_released() {
    let last = |err: &str| err.lines().last().unwrap_or_default().to_owned();
    let Some(mut over) = Over::new() else { return };
    let script = "while [ ! -e end ]; do sleep 0.02; done; exit 7";
    let holder = over.start(&["run", "--json", "k", "--", "sh", "-c", script]);
    let lost = over.start(&["run", "--json", "--ttl", "3", "l", "--", "sleep", "60"]);
    wait_until("they hold", || over.ask(&["EXISTS", "k", "l"]) == "2");
    over.server.stop_signal().expect("it is there");
    std::fs::write(over.place.file("end"), "").expect("a file");
    let holder = holder.end();
    assert_eq!(holder.code, 7, "{}", holder.err);
    let event = last(&holder.err);
    assert!(event.contains(r#""event":"unreleased""#), "{event}");
    assert!(event.contains(r#""exit":7"#), "{event}");
    let lost = lost.end();
    assert_eq!(lost.code, 76, "{}", lost.err);
    let event = last(&lost.err);
    assert!(event.contains(r#""event":"lost""#), "{event}");
    assert!(event.contains(r#""exit":76"#), "{event}");
    over.server.cont().expect("it is there");
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
