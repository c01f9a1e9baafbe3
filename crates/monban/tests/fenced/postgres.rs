//! The guard table and its statement, on a real PostgreSQL server.

use std::thread;

use monban::fenced::sql::POSTGRES;
use monban::{Fence, Token};
use monban_testkit::service::skipped;
use monban_testkit::{PostgresOptions, PostgresServer};

use super::*;

struct Database(PostgresServer);

impl Database {
    fn start() -> Self {
        let options = PostgresOptions::new().setting("fsync", "off");
        let database = Self(PostgresServer::start(options).unwrap());
        database.run(POSTGRES.create);
        database.run("CREATE TABLE state (content text); INSERT INTO state VALUES ('')");
        database
    }

    fn run(&self, sql: &str) -> String {
        self.0.ask(sql).unwrap()
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
