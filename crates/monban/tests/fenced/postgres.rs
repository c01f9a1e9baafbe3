//! The guard table and its statement, on a real PostgreSQL server.

use std::thread;

use monban::fenced::sql::POSTGRES;
use monban::{Fence, Token};
use monban_testkit::service::{program, skipped};
use monban_testkit::{Process as Server, free_port, wait_until};

use super::*;

/// A server of its own on loopback, stopped when dropped.
struct Database {
    port: u16,
    _server: Server,
    _directory: tempfile::TempDir,
}

fn server() -> PathBuf {
    let names = [
        "postgres",
        "/usr/lib/postgresql/15/bin/postgres",
        "/usr/lib/postgresql/17/bin/postgres",
    ];
    program("MONBAN_POSTGRES_SERVER", &names).unwrap()
}

impl Database {
    fn start() -> Self {
        let directory = home();
        let data = directory.path().join("data");
        let initdb = server().with_file_name("initdb");
        let made = unprivileged(initdb, directory.path())
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=test",
                "--encoding=UTF8",
                "-D",
            ])
            .arg(&data)
            .status();
        assert!(made.unwrap().success(), "initdb");
        let port = free_port().unwrap();
        let mut command = unprivileged(server(), directory.path());
        command
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        command.args(["-c", "unix_socket_directories=", "-p", &port.to_string()]);
        let database = Self {
            port,
            _server: Server::spawn(&mut command, Some(directory.path())).unwrap(),
            _directory: directory,
        };
        wait_until("the PostgreSQL server", Duration::from_secs(60), || {
            let mut ask = database.psql();
            ask.args(["-c", "SELECT 1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Ok(ask.status()?.success())
        })
        .unwrap();
        database.run(POSTGRES.create);
        database.run("CREATE TABLE state (content text); INSERT INTO state VALUES ('')");
        database
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(program("MONBAN_PSQL", &["psql"]).unwrap());
        command.env("PGOPTIONS", "-c client_min_messages=warning");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
        ]);
        command.args(["-U", "test", "-d", "postgres", "-p", &self.port.to_string()]);
        command
    }

    fn run(&self, sql: &str) -> String {
        feed(&mut self.psql(), &format!("{sql};\n"))
    }

    /// One transaction: accept, and write if accepted. `between` is done in between.
    fn transaction(&self, token: Token, content: &str, between: &str) -> bool {
        let mut script = "BEGIN;\n".to_owned();
        for (number, accept) in POSTGRES.accept.iter().enumerate() {
            let (seat, fence) = (token.seat_number(), token.fence());
            script.push_str(&format!(
                "PREPARE accept_{number} (text, bigint, bigint) AS\n{accept};\nEXECUTE accept_{number} ('resource', {seat}, {fence});\n"
            ));
        }
        // What a program does with the number of affected rows, in psql's means.
        script.push_str("SELECT :ROW_COUNT AS accepted \\gset\n");
        script.push_str(&format!(
            "{between}\nUPDATE state SET content = '{content}' WHERE :accepted = 1;\nCOMMIT;\nSELECT :accepted"
        ));
        match self.run(&script).trim() {
            "1" => true,
            "0" => false,
            other => panic!("{other}"),
        }
    }
}

impl Guarded for Database {
    fn write(&self, token: Token, content: &str) -> bool {
        self.transaction(token, content, "")
    }

    fn read(&self) -> String {
        self.run("SELECT content FROM state").trim_end().to_owned()
    }
}

#[test]
fn a_postgres_table_refuses_a_paused_holder_and_accepts_live_permits() {
    if skipped("postgres") {
        return;
    }
    let database = Database::start();
    database.run(POSTGRES.create); // to be run again harmlessly
    a_paused_holder_is_refused(&database);
    live_holders_of_permits_are_accepted(&database);
    who_comes_while_a_later_holder_writes_waits_and_is_refused(&database);
}

fn who_comes_while_a_later_holder_writes_waits_and_is_refused(database: &Database) {
    let high = i64::MAX / 2; // above what the parts before have left
    let token = |number| Token::from(Fence::new(high + number).unwrap());
    thread::scope(|threads| {
        threads.spawn(|| {
            // Its transaction is open for longer than the other takes to come.
            assert!(database.transaction(
                token(2),
                "the later",
                "DO $$ BEGIN PERFORM pg_sleep(1.5); END $$;"
            ));
        });
        thread::sleep(Duration::from_millis(700));
        assert!(!database.write(token(1), "the earlier"));
    });
    assert_eq!(database.read(), "the later");
}
