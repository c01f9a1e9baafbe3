//! The command over a real etcd server, beside `etcdctl lock`.

use monban_testkit::{EtcdOptions, EtcdServer, service};
use rustix::process::Signal;

use crate::support::{Ended, Place, Running, wait_until};

/// A server of the test's own, and `monban` over it.
struct Over {
    place: Place,
    server: EtcdServer,
}

impl Over {
    fn new() -> Option<Self> {
        if service::skipped("etcd") {
            return None;
        }
        let options = EtcdOptions::new().election(std::time::Duration::from_millis(500));
        let server = EtcdServer::start(options).expect("etcd starts");
        Some(Self {
            place: Place::new(),
            server,
        })
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.place.monban(arguments);
        command.env("MONBAN_STORE", self.server.url());
        Running(Some(command.spawn().expect("monban starts")))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// The keys that are there.
    fn residue(&self) -> String {
        let keys = self.server.ask(&["get", "--prefix", "--keys-only", ""]);
        keys.expect("etcd answers").trim().to_owned()
    }
}

#[test]
fn a_second_start_is_refused_and_says_by_whom() {
    let Some(over) = Over::new() else { return };
    let holder = over.start(&["run", "report", "--", "sleep", "60"]);
    wait_until("it holds", || over.run(&["ls"]).out.contains("held"));
    let second = over.run(&["run", "report", "--", "echo", "ran"]);
    assert_eq!((second.code, second.out.as_str()), (75, ""));
    assert!(second.err.contains("already running"), "{}", second.err);
    holder.signal(Signal::TERM);
    holder.end();
    assert_eq!(over.residue(), "");
    assert_eq!(
        over.run(&["run", "report", "--", "echo", "ran"]).out,
        "ran\n"
    );
    assert_eq!(over.residue(), "");
}

/// The lease of a process that was killed ends by itself, and its command is not left running.
#[test]
fn a_killed_holder_s_key_is_free_when_its_lease_ends() {
    let Some(over) = Over::new() else { return };
    let ttl = ["run", "--ttl", "3", "-k", "0.5", "report", "--"];
    let holder = over.start(&[&ttl[..], &["sleep", "600"]].concat());
    wait_until("it holds", || over.run(&["ls"]).out.contains("held"));
    holder.signal(Signal::KILL);
    holder.end();
    let next = over.run(&["run", "--wait", "60", "report", "--", "echo", "in"]);
    assert_eq!((next.code, next.out.as_str()), (0, "in\n"), "{}", next.err);
}

#[test]
fn a_ttl_that_is_rounded_up_is_said() {
    let Some(over) = Over::new() else { return };
    let ended = over.run(&["run", "--ttl", "1500ms", "k", "--", "echo", "ran"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "ran\n"));
    assert!(ended.err.contains("the TTL is 2s, since"), "{}", ended.err);
    for said_nothing in [&["--ttl", "2"][..], &["--ttl", "1500ms", "--quiet"]] {
        let words = [&["run"], said_nothing, &["k", "--", "true"]].concat();
        let ended = over.run(&words);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    }
}

#[test]
fn a_lease_that_is_freed_by_hand_ends_its_command_with_76() {
    let Some(over) = Over::new() else { return };
    let holder = over.start(&["run", "-k", "1", "k", "--", "sleep", "600"]);
    wait_until("it holds", || over.run(&["ls", "k"]).out.contains("held"));
    let line = over.run(&["show", "--json", "k"]).out;
    let entry: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    let id = entry["id"].as_str().expect("an id");
    assert_eq!(over.run(&["release", "k", "--id", id]).code, 0);
    let holder = holder.end();
    assert_eq!(holder.code, 76, "{}", holder.err);
    let how =
        "the lease on k was lost: it was freed by hand (its key deleted), or its lease revoked";
    assert!(holder.err.contains(how), "{}", holder.err);
    assert_eq!(over.residue(), "");
}

#[test]
fn a_lock_of_etcdctl_is_shown_refused_waited_for_and_freed_by_hand() {
    let Some(over) = Over::new() else { return };
    let foreign = || {
        let mut lock = over.server.etcdctl().expect("etcdctl");
        lock.args(["lock", "k"]).stdin(std::process::Stdio::null());
        lock.stdout(std::process::Stdio::null());
        lock.stderr(std::process::Stdio::null());
        let running = Running(Some(lock.spawn().expect("etcdctl starts")));
        wait_until("it holds", || over.residue().starts_with("k/"));
        running
    };
    let held = foreign();
    let busy = over.run(&["run", "k", "--", "true"]);
    assert_eq!(busy.code, 75, "{}", busy.err);
    assert!(busy.err.contains("not monban"), "{}", busy.err);
    let show = over.run(&["show", "k"]).out;
    assert!(show.contains("not a monban lock"), "{show}");
    let waiter = over.start(&["run", "--wait", "60", "k", "--", "echo", "in"]);
    wait_until("it waits", || over.residue().lines().count() > 1);
    held.signal(Signal::INT);
    held.end();
    assert_eq!(waiter.end().out, "in\n");

    let held = foreign();
    let freed = over.run(&["release", "k", "--foreign"]);
    assert_eq!(freed.code, 0, "{}", freed.err);
    assert_eq!(over.run(&["run", "k", "true"]).code, 0);
    held.signal(Signal::KILL);
    held.end();
}

/// A job of cron that starts each second is not to pile up leases until their TTLs end.
#[test]
fn nothing_is_left_of_a_run_but_what_is_to_linger() {
    let Some(over) = Over::new() else { return };
    let leases = || {
        let said = over.server.ask(&["lease", "list"]).expect("etcd answers");
        said.lines().skip(1).count()
    };
    for code in ["0", "7"] {
        let script = format!("exit {code}");
        let ended = over.run(&["run", "report", "--", "sh", "-c", &script]);
        assert_eq!(ended.code.to_string(), code, "{}", ended.err);
        assert_eq!(leases(), 0);
    }
    let holder = over.start(&["run", "report", "--", "sleep", "60"]);
    wait_until("it holds", || over.run(&["ls"]).out.contains("held"));
    assert_eq!(over.run(&["run", "report", "true"]).code, 75);
    // Three seconds, since a server that has not answered once by then is out of reach: another end (69).
    let late = over.run(&["run", "--wait", "3s", "report", "true"]);
    assert_eq!((late.code, leases()), (75, 1));
    holder.signal(Signal::TERM);
    holder.end();
    assert_eq!(leases(), 0);

    for ran in ["ran\n", ""] {
        let ended = over.run(&["run", "--every", "1h", "due", "--", "echo", "ran"]);
        assert_eq!((ended.code, ended.out.as_str()), (0, ran), "{}", ended.err);
        assert_eq!(leases(), 1);
        assert!(over.residue().starts_with("due/"));
    }
}

/// Whatever answers there: what is said is for people.
#[test]
fn what_does_not_speak_etcd_is_said_without_the_insides_of_the_client() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let _ = std::io::Write::write_all(&mut peer.expect("a peer"), b"-ERR unknown\r\n");
        }
    });
    let place = Place::new();
    let mut command = place.monban(&["run", "k", "--", "echo", "ran"]);
    command.env("MONBAN_STORE", format!("etcd://127.0.0.1:{port}"));
    let refused = Running(Some(command.spawn().expect("monban starts"))).end();
    assert_eq!((refused.code, refused.out.as_str()), (69, ""));
    for inside in ["transport::Error", "Custom {", "hyper::Error(", "source:"] {
        assert!(!refused.err.contains(inside), "{}", refused.err);
    }
    assert!(refused.err.contains(&port.to_string()), "{}", refused.err);
}
