//! The guard table and its statements, on a real MariaDB server.

use std::thread;

use monban::fenced::sql::MARIADB;
use monban::{Fence, Token};
use monban_testkit::service::{program, skipped};
use monban_testkit::{Process as Server, unprivileged, wait_until};

use super::*;

/// A server of its own that listens on a socket in its directory only; stopped when dropped.
struct Database {
    _server: Server,
    directory: tempfile::TempDir,
}

impl Database {
    fn start() -> Self {
        let directory = unprivileged::home("monban-mariadb-").unwrap();
        let path = directory.path().to_owned();
        let names = ["mariadbd", "/usr/sbin/mariadbd"];
        let server = program("MONBAN_MARIADB_SERVER", &names).unwrap();
        let mut command = unprivileged::command(server, &path).unwrap();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // No system tables: users and rights are not what is tested.
        command.args(["--no-defaults", "--skip-grant-tables", "--skip-networking"]);
        command.arg(format!("--datadir={}", path.display()));
        command.args([
            "--socket=socket",
            "--pid-file=pid",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        let database = Self {
            _server: Server::spawn(&mut command, Some(&path)).unwrap(),
            directory,
        };
        wait_until("the MariaDB server", Duration::from_secs(60), || {
            let mut ask = database.client();
            ask.args(["-e", "CREATE DATABASE IF NOT EXISTS test"]);
            ask.stdout(Stdio::null()).stderr(Stdio::null());
            Ok(ask.status()?.success())
        })
        .unwrap();
        database.run(MARIADB.create);
        database.run(MARIADB.create); // to be run again harmlessly
        database.run("CREATE TABLE state (content TEXT); INSERT INTO state VALUES ('')");
        database
    }

    fn client(&self) -> Command {
        let mut command = Command::new(program("MONBAN_MARIADB", &["mariadb"]).unwrap());
        command.args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--socket",
        ]);
        command.arg(self.directory.path().join("socket"));
        command
    }

    fn run(&self, sql: &str) -> String {
        feed(self.client().arg("test"), &format!("{sql};\n"))
    }

    /// One transaction: accept, and write if accepted. `between` is done in between.
    fn transaction(&self, token: Token, content: &str, between: &str) -> bool {
        let (seat, fence) = (token.seat_number(), token.fence());
        let mut script =
            format!("SET @resource = 'resource', @seat = {seat}, @fence = {fence};\nBEGIN;\n");
        for accept in MARIADB.accept {
            script.push_str(&format!(
                "PREPARE accept FROM \"{accept}\";\nEXECUTE accept USING @resource, @seat, @fence;\n"
            ));
        }
        // What a program does with the number of affected rows, in SQL's means.
        script.push_str(&format!(
            "SET @accepted = ROW_COUNT();\n{between}\n\
             UPDATE state SET content = '{content}' WHERE @accepted = 1;\nCOMMIT;\nSELECT @accepted"
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
fn a_mariadb_table_refuses_a_paused_holder_and_accepts_live_permits() {
    if skipped("mariadb") {
        return;
    }
    let database = Database::start();
    a_paused_holder_is_refused(&database);
    live_holders_of_permits_are_accepted(&database);

    // Who comes while a later holder writes waits, and is refused.
    let high = i64::MAX / 2; // above what the parts before have left
    let token = |number| Token::from(Fence::new(high + number).unwrap());
    thread::scope(|threads| {
        threads.spawn(|| assert!(database.transaction(token(2), "the later", "DO SLEEP(1.5);")));
        thread::sleep(Duration::from_millis(700));
        assert!(!database.write(token(1), "the earlier"));
    });
    assert_eq!(database.read(), "the later");
}
