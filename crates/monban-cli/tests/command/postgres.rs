//! The command over a real PostgreSQL server.

use std::io::{BufRead, Write};

use monban_testkit::{PostgresOptions, PostgresServer, service};
use rustix::process::Signal;

use crate::support::{Ended, Place, Running, wait_until};

/// A server of the test's own, and `monban` over it.
struct Over {
    place: Place,
    server: PostgresServer,
}

impl Over {
    fn new() -> Option<Self> {
        if service::skipped("postgres") {
            return None;
        }
        let server = PostgresServer::start(PostgresOptions::new()).expect("PostgreSQL starts");
        Some(Self {
            place: Place::new(),
            server,
        })
    }

    fn start_at(&self, url: &str, arguments: &[&str]) -> Running {
        let mut command = self.place.monban(arguments);
        command.env("MONBAN_STORE", url);
        Running(Some(command.spawn().expect("monban starts")))
    }

    fn start(&self, arguments: &[&str]) -> Running {
        self.start_at(&self.server.url(), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// What a listing prints for machines.
    fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let out = self.run(arguments).out;
        let lines = out.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    /// Those who hold, wait or linger.
    fn residue(&self) -> String {
        let rows = self.server.ask(
            "SELECT 'held' FROM monban.head WHERE holder IS NOT NULL
             UNION ALL SELECT 'in line' FROM monban.claim UNION ALL SELECT 'lingers' FROM monban.linger",
        );
        rows.expect("the server answers")
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
    let pid = holder.id().to_string();
    assert!(second.err.contains(&pid), "{}", second.err);
    let waiter = over.start(&["run", "--wait", "60", "report", "--", "echo", "in"]);
    wait_until("it waits", || over.residue().contains("in line"));
    holder.signal(Signal::TERM);
    holder.end();
    assert_eq!(waiter.end().out, "in\n");
    assert_eq!(over.residue(), "");
}

/// The claim of a process that was killed ends with its TTL, and its command is not left running.
#[test]
fn a_killed_holder_s_key_is_free_when_its_ttl_ends() {
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
fn a_claim_that_is_freed_by_hand_ends_its_command_with_76() {
    let Some(over) = Over::new() else { return };
    let holder = over.start(&["run", "-k", "1", "k", "--", "sleep", "600"]);
    wait_until("it holds", || over.run(&["ls", "k"]).out.contains("held"));
    let line = over.run(&["show", "--json", "k"]).out;
    let entry: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    let id = entry["id"].as_str().expect("an id");
    assert_eq!(over.run(&["release", "k", "--id", id]).code, 0);
    let holder = holder.end();
    assert_eq!(holder.code, 76, "{}", holder.err);
    assert!(
        holder.err.contains("k was lost: it was freed by hand"),
        "{}",
        holder.err
    );
    assert_eq!(over.residue(), "");
}

/// What a command writes to the same database it checks there, with what its environment says.
#[test]
fn a_command_checks_its_fence_inside_its_own_transaction() {
    let Some(over) = Over::new() else { return };
    let script = "psql -X -q -A -t -v ON_ERROR_STOP=1 -c \"SELECT monban_fence_check('$MONBAN_KEY', $MONBAN_FENCE)\" \
                  \"$DATABASE\"";
    let mut command = over
        .place
        .monban(&["run", "account:1", "--", "sh", "-c", script]);
    command.env("MONBAN_STORE", over.server.url());
    command.env("DATABASE", over.server.url());
    let checked = Running(Some(command.spawn().expect("monban starts"))).end();
    assert_eq!(checked.code, 0, "{}", checked.err);
    // And the same by somebody who was never let in.
    let mut psql = std::process::Command::new("psql");
    psql.args([
        "-X",
        "-q",
        "-c",
        "SELECT monban_fence_check('account:1', 1)",
    ]);
    let refused = psql.arg(over.server.url()).output().expect("psql");
    assert!(!refused.status.success());
}

/// A crash of the server while a command runs: nobody else runs until the command has been ended or its lease has.
#[test]
fn a_server_that_crashes_lets_nobody_else_run_beside_the_command() {
    let Some(mut over) = Over::new() else { return };
    let (begun, ended) = (over.place.file("begun"), over.place.file("ended"));
    let script = format!(
        "touch '{}'; trap 'touch \"{}\"; exit 1' TERM; while :; do sleep 0.05; done",
        begun.display(),
        ended.display()
    );
    let holder = over.start(&[
        "run", "--ttl", "3", "-k", "0.5", "k", "--", "sh", "-c", &script,
    ]);
    wait_until("it runs", || begun.exists());
    over.server.kill9().expect("it is killed");
    over.server.start_again().expect("it starts");
    let look = format!("test -e '{}'", ended.display());
    let next = over.run(&["run", "--wait", "90", "k", "--", "sh", "-c", &look]);
    assert_eq!(next.code, 0, "the first was running still: {}", next.err);
    assert_eq!(holder.end().code, 76);
    assert_eq!(over.residue(), "");
}

/// Nobody runs then, and nobody is said to.
#[test]
fn after_a_crash_each_command_says_that_nothing_is_granted_and_for_how_long() {
    let Some(mut over) = Over::new() else { return };
    assert_eq!(over.run(&["run", "k", "--", "true"]).code, 0);
    over.server.kill9().expect("it is killed");
    over.server.start_again().expect("it starts");
    let pause = "the store grants nothing for ";
    let shown = over.run(&["show", "k"]).out;
    assert!(
        shown.contains("Nobody is known to hold k, but") && shown.contains(pause),
        "{shown}"
    );
    let listed = over.run(&["ls"]);
    assert!(listed.err.contains(pause), "{}", listed.err);
    for (arguments, key) in [
        (&["ls", "--json"][..], None),
        (&["show", "--json", "k"], Some("k")),
    ] {
        let lines = over.json(arguments);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["state"], "recovering");
        assert_eq!(lines[0]["key"].as_str(), key);
        let opens = lines[0]["opens_ms"].as_u64();
        assert!(
            opens.is_some_and(|left| left > 0 && left < 80_000),
            "{lines:?}"
        );
    }
    for arguments in [
        &["run", "k"][..],
        &["run", "--every", "1h", "k"],
        &["run", "--shared", "k"],
        &["elect", "-n", "k"],
    ] {
        let refused = over.run(&[arguments, &["--", "echo", "ran"]].concat());
        assert_eq!((refused.code, refused.out.as_str()), (75, ""));
        assert!(
            refused.err.contains("Nobody is known to hold k"),
            "{}",
            refused.err
        );
        assert!(refused.err.contains(pause), "{}", refused.err);
    }
    let machine = over.run(&["run", "--json", "k", "--", "echo", "ran"]);
    let said: serde_json::Value = serde_json::from_str(machine.err.trim()).expect("JSON");
    assert_eq!(said["why"], "recovering");
    assert!(said["free_in_ms"].as_u64().is_some_and(|left| left > 0));
    let waiter = over.start(&["run", "--wait", "60", "k", "--", "echo", "in"]);
    wait_until("it waits", || over.residue().contains("in line"));
    let opens = "UPDATE monban.epoch SET opens = monban.now()";
    over.server.ask(opens).expect("the pause ends");
    assert_eq!(waiter.end().out, "in\n");
    assert!(!over.run(&["show", "k"]).out.contains(pause));
    assert!(over.json(&["show", "--json", "k"]).is_empty());
}

#[test]
fn a_key_that_an_open_transaction_bars_is_not_said_to_be_held() {
    let Some(over) = Over::new() else { return };
    assert_eq!(over.run(&["run", "k", "--", "true"]).code, 0);
    let last = "SELECT fence FROM monban.head WHERE key = 'k'";
    let fence = over.server.ask(last).expect("the fence");
    let mut user = std::process::Command::new("psql")
        .args(["-X", "-q", "-A", "-t", &over.server.url()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("psql");
    let mut to = user.stdin.take().expect("a pipe");
    let check = format!("BEGIN; SELECT monban.fence_check('k', {fence}); SELECT 'checked';\n");
    to.write_all(check.as_bytes()).expect("psql reads");
    let from = std::io::BufReader::new(user.stdout.take().expect("a pipe"));
    assert!(
        from.lines()
            .any(|line| line.expect("psql writes") == "checked")
    );
    let refused = over.run(&["run", "k", "--", "echo", "ran"]);
    assert_eq!((refused.code, refused.out.as_str()), (75, ""));
    assert!(
        refused.err.contains("Nobody holds k, but a transaction"),
        "{}",
        refused.err
    );
    // Who looks is told by whom, and what ends it.
    let session = over.server.ask(
        "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'psql'",
    );
    let session = session.expect("the session");
    let (by, end) = (
        format!("session {session}, user postgres, psql"),
        format!("SELECT pg_terminate_backend({session})"),
    );
    let shown = over.run(&["show", "k"]).out;
    for part in [
        "Nobody holds k, but a transaction that has checked",
        &by,
        &end,
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let listed = over.run(&["ls"]).out;
    let row = listed.lines().nth(1).unwrap_or_default();
    assert!(
        row.starts_with("k ") && row.contains(" barred ") && row.ends_with(&by),
        "{listed}"
    );
    for arguments in [&["show", "--json", "k"][..], &["ls", "--json"]] {
        let lines = over.json(arguments);
        assert_eq!(lines.len(), 1, "{lines:?}");
        for (field, value) in [
            ("key", "k"),
            ("state", "barred"),
            ("by", &by),
            ("end", &end),
        ] {
            assert_eq!(lines[0][field], value, "{lines:?}");
        }
        assert!(lines[0]["since_ms"].is_u64(), "{lines:?}");
    }
    assert!(over.run(&["show", "other"]).out.contains("other is free"));
    to.write_all(b"COMMIT;\n").expect("psql reads");
    drop(to);
    user.wait().expect("psql ends");
    let next = over.run(&["run", "--wait", "20", "k", "--", "echo", "in"]);
    assert_eq!((next.code, next.out.as_str()), (0, "in\n"), "{}", next.err);
    assert!(over.run(&["show", "k"]).out.contains("k is free"));
    assert_eq!(over.run(&["ls"]).out, "");
}

#[test]
fn a_server_that_is_not_there_is_69_and_no_password_is_shown() {
    let Some(over) = Over::new() else { return };
    let port = monban_testkit::free_port().expect("a port");
    let url = format!("postgres://me:sentinel@127.0.0.1:{port}/postgres");
    let refused = over
        .start_at(&url, &["run", "k", "--", "echo", "ran"])
        .end();
    assert_eq!(
        (refused.code, refused.out.as_str()),
        (69, ""),
        "{}",
        refused.err
    );
    assert!(!refused.err.contains("sentinel"), "{}", refused.err);
}

#[test]
fn a_schema_for_another_store_is_refused_by_name() {
    let place = Place::new();
    let refused = place.run(&["schema", "--apply"]);
    assert_eq!((refused.code, refused.out.as_str()), (64, ""));
    let says = "a schema is for PostgreSQL, and the store that is chosen is file;";
    assert!(refused.err.contains(says), "{}", refused.err);
    // Nobody has read it as a URL: its password may stand anywhere.
    for url in [
        "redis:user:s3cret@h/0",
        "etcd:/root:s3cret@h:2379",
        "redis://u:s3/cret@h/0",
        "s3cret@h:1",
        "u s3cret:x",
    ] {
        let refused = place.run(&["schema", "--apply", "--store", url]);
        assert_eq!(refused.code, 64, "{url}: {}", refused.err);
        let said = refused.err.contains("s3") || refused.err.contains("cret");
        assert!(!said, "{url}: {}", refused.err);
    }
}

/// By an administrator, in either way; then a role that may do no more than lock needs no right to make anything.
#[test]
fn the_schema_is_made_by_an_administrator_and_used_by_a_role_that_may_only_lock() {
    let Some(over) = Over::new() else { return };
    let own = |database: &str, user: &str| {
        let url = over.server.url_of(user, Some("s3cret"));
        let (server, _) = url.rsplit_once('/').expect("a database's name");
        format!("{server}/{database}")
    };
    let ask_in = |database: &str, statements: &str| {
        let there = format!("\\connect {database}\n{statements}");
        over.server.ask(&there).expect("the server answers");
    };
    let owner = over.server.ask("SELECT current_user").expect("a name");
    over.server.ask("CREATE ROLE app LOGIN").expect("a role");
    let printed = over.run(&["schema"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    for database in ["printed", "applied"] {
        over.server
            .ask(&format!("CREATE DATABASE {database}"))
            .expect("a database");
        let refused = over
            .start_at(&own(database, "app"), &["run", "k", "true"])
            .end();
        assert_eq!(refused.code, 69, "{database}: {}", refused.err);
        assert!(refused.err.contains("monban schema"), "{}", refused.err);
        for _ in 0..2 {
            if database == "printed" {
                ask_in(database, &printed.out);
                continue;
            }
            let applied = over
                .start_at(&own(database, &owner), &["schema", "--apply"])
                .end();
            assert_eq!(applied.code, 0, "{}", applied.err);
            assert!(applied.out.contains("is up to date"), "{}", applied.out);
            let said = [applied.out, applied.err].concat();
            assert!(!said.contains("s3cret"), "{said}");
        }
        let rights = "GRANT USAGE ON SCHEMA monban TO app; \
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA monban TO app; \
            GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA monban TO app";
        ask_in(database, rights);
        let ran = over
            .start_at(&own(database, "app"), &["run", "k", "--", "echo", "ran"])
            .end();
        assert_eq!(
            (ran.code, ran.out.trim()),
            (0, "ran"),
            "{database}: {}",
            ran.err
        );
    }
}

#[test]
fn a_cause_is_said_once() {
    if service::skipped("postgres") {
        return;
    }
    let options = PostgresOptions::new().password("right");
    let server = PostgresServer::start(options).expect("PostgreSQL starts");
    for (password, says) in [
        (Some("wrong"), "authentication failed"),
        (None, "wants a password"),
    ] {
        let mut command = Place::new().monban(&["run", "k", "true"]);
        let url = server.url_of("postgres", password);
        command.env("MONBAN_STORE", url).current_dir("/");
        let refused = Running(Some(command.spawn().expect("monban starts"))).end();
        assert_eq!(refused.code, 69, "{}", refused.err);
        assert_eq!(refused.err.matches(says).count(), 1, "{}", refused.err);
        assert!(!refused.err.contains("invalid conf"), "{}", refused.err);
    }
}
