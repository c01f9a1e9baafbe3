//! monban, Go's `concurrency.Mutex` and `etcdctl lock` on one key of one real cluster: each refuses the other, waits for
//! the other in line, and counts with the other without a loss; and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use interop::pair::TTL;
use interop::{Driver, Installed, client, count, install};
use monban_testkit::{EtcdOptions, EtcdServer, service, wait_until};

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

struct Place {
    server: EtcdServer,
    monban: Installed,
}

fn place() -> Option<Place> {
    if service::skipped("etcd") {
        return None;
    }
    let options = EtcdOptions::new().election(Duration::from_millis(500));
    Some(Place {
        server: EtcdServer::start(options).unwrap(),
        monban: installed("monban-on-etcd")?,
    })
}

fn installed(name: &str) -> Option<Installed> {
    let own = Path::new(env!("CARGO_BIN_EXE_interop-client"));
    install::install(client(name), own).unwrap()
}

impl Place {
    fn start(&self, installed: &Installed) -> Driver {
        installed.start(self.server.port(), "", None).unwrap()
    }

    /// Waits until so many are in the key's line.
    fn are_in_line(&self, key: &str, many: usize) {
        let prefix = format!("{key}/");
        let words = ["get", "--prefix", "--keys-only", &prefix];
        let lined_up = wait_until("a place in line", SOON, || {
            let keys = self.server.ask(&words)?;
            Ok(keys.lines().filter(|key| !key.is_empty()).count() == many)
        });
        assert!(
            lined_up.is_ok(),
            "not {many}: {}",
            self.server.ask(&words).unwrap()
        );
    }

    /// Who had the key and left it, in their order: `true` for monban. As etcd itself tells it, they left in the order in which
    /// they had come.
    fn turns(&self, key: &str, many: usize) -> Vec<bool> {
        let prefix = format!("{key}/");
        let history = self.etcdctl(&["watch", "--prefix", &prefix, "--rev=1"]);
        let mut history = Running::start({ history }.stdin(Stdio::piped()));
        let out = BufReader::new(history.0.stdout.take().unwrap());
        let mut lines = out.lines().map(Result::unwrap);
        let (mut came, mut left) = (Vec::new(), Vec::new());
        while left.len() < many {
            match lines.next().unwrap().as_str() {
                "PUT" => came.push((lines.next().unwrap(), lines.next().unwrap())),
                "DELETE" => left.push(lines.next().unwrap()),
                _ => {}
            }
        }
        let names: Vec<&String> = came.iter().map(|(name, _)| name).collect();
        assert_eq!(names, left.iter().collect::<Vec<_>>());
        let ours = came.iter().map(|(_, value)| value.starts_with("mb1:"));
        ours.collect()
    }

    fn etcdctl(&self, words: &[&str]) -> Command {
        let mut command = self.server.etcdctl().unwrap();
        command.args(words).stdin(Stdio::null());
        command
    }
}

/// A process that is killed by its id when the test ends, however it does.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The first line that it prints.
    fn says(&mut self) -> String {
        let mut line = String::new();
        let out = self.0.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        line
    }

    /// As Ctrl-C, on which `etcdctl lock` frees the key.
    fn interrupt(mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn go_s_mutex_and_monban_refuse_each_other() {
    let (Some(place), Some(go)) = (place(), installed("concurrency")) else {
        return;
    };
    let (mut monban, mut go) = (place.start(&place.monban), place.start(&go));
    let (take, free) = (format!("try k {TTL}"), "release k");
    assert_eq!(go.ask(&take).unwrap(), "held");
    assert_eq!(monban.ask(&take).unwrap(), "busy foreign");
    assert_eq!(go.ask(free).unwrap(), "released");
    assert_eq!(monban.ask(&take).unwrap(), "held");
    assert_eq!(go.ask(&take).unwrap(), "busy");
    assert_eq!(monban.ask(free).unwrap(), "released");
    assert_eq!(go.ask(&take).unwrap(), "held");
    assert_eq!(go.ask(free).unwrap(), "released");
    place.are_in_line("k", 0);
}

#[test]
fn go_s_mutex_and_monban_wait_for_each_other_in_order() {
    let (Some(place), Some(go)) = (place(), installed("concurrency")) else {
        return;
    };
    let mut holder = place.start(&place.monban);
    assert_eq!(holder.ask(&format!("try k {TTL}")).unwrap(), "held");
    let mut line: Vec<Driver> = [&go, &place.monban, &go, &go, &place.monban, &place.monban]
        .into_iter()
        .map(|one| place.start(one))
        .collect();
    for (at, waiter) in line.iter_mut().enumerate() {
        waiter.say(&format!("wait k {TTL} 60000")).unwrap();
        place.are_in_line("k", at + 2);
    }
    let mut before = holder;
    for mut next in line {
        assert_eq!(before.ask("release k").unwrap(), "released");
        // Whoever is next is let in while those behind stay in line, none of whom has said anything.
        assert_eq!(next.hear().unwrap(), "held");
        before = next;
    }
    assert_eq!(before.ask("release k").unwrap(), "released");
    place.are_in_line("k", 0);
}

#[test]
fn two_hundred_increments_by_both_are_all_counted() {
    let (Some(place), Some(go)) = (place(), installed("concurrency")) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let counter = scratch.path().join("counter");
    let workers = [&place.monban, &go, &place.monban, &go];
    let mut workers: Vec<Driver> = workers.into_iter().map(|one| place.start(one)).collect();
    for worker in &mut workers {
        worker.ask(&format!("wait ready {TTL} 60000")).unwrap(); // all are connected before any begins
        worker.ask("release ready").unwrap();
    }
    let changes = count(&mut workers, "k", TTL, 2, &counter).unwrap();
    assert!(
        changes > 20,
        "they did not take turns: only {changes} changes of hands"
    );
    place.turns("k", 200);
    place.are_in_line("k", 0);
}

#[test]
fn etcdctl_lock_and_monban_refuse_and_wait_for_each_other() {
    let Some(place) = place() else { return };
    let mut monban = place.start(&place.monban);
    let take = format!("try k {TTL}");
    let mut held = Running::start(&mut place.etcdctl(&["lock", "k"]));
    assert!(held.says().starts_with("k/"));
    assert_eq!(monban.ask(&take).unwrap(), "busy foreign");
    monban.say(&format!("wait k {TTL} 60000")).unwrap();
    place.are_in_line("k", 2);
    held.interrupt();
    assert_eq!(monban.hear().unwrap(), "held");

    let scratch = tempfile::tempdir().unwrap();
    let mark = scratch.path().join("mark");
    let touch = mark.display().to_string();
    let mut waits = Running::start(&mut place.etcdctl(&["lock", "k", "touch", &touch]));
    place.are_in_line("k", 2);
    assert!(waits.0.try_wait().unwrap().is_none() && !mark.exists());
    assert_eq!(monban.ask("release k").unwrap(), "released");
    assert!(waits.0.wait().unwrap().success());
    assert!(mark.exists());
    place.are_in_line("k", 0);
}

#[test]
fn etcdctl_lock_and_monban_are_served_in_the_order_in_which_they_came() {
    let Some(place) = place() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let order = scratch.path().join("order");
    let append = |who: usize| {
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(&order)
            .unwrap();
        writeln!(file, "{who}").unwrap();
    };
    let mut holder = place.start(&place.monban);
    assert_eq!(holder.ask(&format!("try k {TTL}")).unwrap(), "held");
    let mut line = Vec::new();
    for who in 0..6 {
        line.push(if matches!(who, 0 | 2 | 3) {
            let file = order.display().to_string();
            let script = r#"echo "$1" >>"$2""#;
            let words = [
                "lock",
                "--",
                "k",
                "sh",
                "-c",
                script,
                "sh",
                &who.to_string(),
                &file,
            ];
            Err(Running::start(&mut place.etcdctl(&words)))
        } else {
            let mut waiter = place.start(&place.monban);
            waiter.say(&format!("wait k {TTL} 60000")).unwrap();
            Ok(waiter)
        });
        place.are_in_line("k", who + 2);
    }
    assert_eq!(holder.ask("release k").unwrap(), "released");
    for (who, one) in line.iter_mut().enumerate() {
        match one {
            Ok(monban) => {
                assert_eq!(monban.hear().unwrap(), "held");
                append(who);
                assert_eq!(monban.ask("release k").unwrap(), "released");
            }
            Err(etcdctl) => assert!(etcdctl.0.wait().unwrap().success()),
        }
    }
    assert_eq!(fs::read_to_string(&order).unwrap(), "0\n1\n2\n3\n4\n5\n");
    place.are_in_line("k", 0);
}

#[test]
fn two_hundred_increments_by_etcdctl_lock_and_monban_are_all_counted() {
    let Some(place) = place() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let counter = scratch.path().join("counter");
    fs::write(&counter, "0 nobody").unwrap();
    let mut monban = place.start(&place.monban);
    monban
        .say(&format!("count k {TTL} 150 {} 20", counter.display()))
        .unwrap();
    let file = counter.display().to_string();
    let script = r#"read -r n who < "$1"; sleep 0.001; echo "$((n + 1)) etcdctl" > "$1""#;
    let words = ["lock", "--", "k", "sh", "-c", script, "sh", &file];
    // So many at a time that they keep up with monban, and wait for each other too.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert!(place.etcdctl(&words).status().unwrap().success());
                }
            });
        }
    });
    assert!(monban.hear().unwrap().starts_with("done "));
    let text = fs::read_to_string(&counter).unwrap();
    assert_eq!(text.split(' ').next(), Some("200"), "increments were lost");
    let turns = place.turns("k", 200);
    let changes = turns.windows(2).filter(|two| two[0] != two[1]).count();
    eprintln!("{changes} changes of hands");
    assert!(
        changes > 20,
        "they did not take turns: only {changes} changes of hands"
    );
    place.are_in_line("k", 0);
}
