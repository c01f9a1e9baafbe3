//! The guard table and its statement, on a real SQLite.

use std::path::PathBuf;

use monban::Token;
use monban::fenced::sql::SQLITE;
use monban_testkit::service::{program, skipped};

use super::*;

struct Database {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let database = Self {
            program: program("MONBAN_SQLITE", &["sqlite3"]).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        database.run(SQLITE.create);
        database.run(SQLITE.create); // to be run again harmlessly
        database.run("CREATE TABLE state (content TEXT); INSERT INTO state VALUES ('')");
        database
    }

    fn run(&self, sql: &str) -> String {
        let file = self.directory.path().join("db");
        let mut command = Command::new(&self.program);
        command
            .args(["-batch", "-bail", "-cmd", ".timeout 5000"])
            .arg(file);
        feed(&mut command, &format!("{sql};\n"))
    }
}

impl Guarded for Database {
    fn write(&self, token: Token, content: &str) -> bool {
        let mut script = format!(
            ".parameter set ?1 \"'resource'\"\n.parameter set ?2 {}\n.parameter set ?3 {}\nBEGIN IMMEDIATE;\n",
            token.seat_number(),
            token.fence()
        );
        for accept in SQLITE.accept {
            script.push_str(accept);
            script.push_str(";\n");
        }
        // What a program does with the number of changed rows, in the shell's means.
        script.push_str("CREATE TEMP TABLE accepted AS SELECT changes() AS n;\n");
        script.push_str(&format!(
            "UPDATE state SET content = '{content}' WHERE (SELECT n FROM accepted) = 1;\nCOMMIT;\nSELECT n FROM accepted"
        ));
        match self.run(&script).trim() {
            "1" => true,
            "0" => false,
            other => panic!("{other}"),
        }
    }

    fn read(&self) -> String {
        self.run("SELECT content FROM state").trim_end().to_owned()
    }
}

#[test]
fn a_sqlite_table_refuses_a_paused_holder_and_accepts_live_permits() {
    if skipped("sqlite") {
        return;
    }
    a_paused_holder_is_refused(&Database::new());
    live_holders_of_permits_are_accepted(&Database::new());
}
