//! A paused holder's late write is refused by the database: the guard table of `fenced::sql`, on SQLite.
//!
//! It needs the program `sqlite3` (or names it in `MONBAN_SQLITE`), and no library: the statements are run by whatever
//! you use. With PostgreSQL or MariaDB take `POSTGRES` or `MARIADB` instead; the transaction is the same.

#[path = "support/overtaken.rs"]
mod overtaken;
mod support;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use monban::Token;
use monban::fenced::sql::SQLITE;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("monban-fenced-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let database = directory.join("db");
    let outcome = example(&database);
    fs::remove_dir_all(directory)?;
    outcome
}

fn example(database: &Path) -> Result<(), Box<dyn Error>> {
    sql(database, SQLITE.create)?;
    sql(
        database,
        "CREATE TABLE account (note TEXT); INSERT INTO account VALUES ('')",
    )?;
    overtaken::overtaken(|token, note| write(database, token, note))?;
    let note = sql(database, "SELECT note FROM account")?;
    println!("the account was written {note}");
    assert_eq!(note, "by the second");
    Ok(())
}

/// Writes if the token is as high as any seen: one transaction, the guard first. Whether it was accepted.
fn write(database: &Path, token: Token, note: &str) -> Result<bool, Box<dyn Error>> {
    // The parameters, as this shell wants them: (resource, seat, fence).
    let mut script = format!(
        ".parameter set ?1 \"'account:7'\"\n.parameter set ?2 {}\n.parameter set ?3 {}\nBEGIN IMMEDIATE;\n",
        token.seat_number(),
        token.fence(),
    );
    for accept in SQLITE.accept {
        script.push_str(accept);
        script.push_str(";\n");
    }
    // A program would look at the number of rows, and roll back if there is none; this shell cannot, but SQL can.
    script.push_str("CREATE TEMP TABLE accepted AS SELECT changes() AS n;\n");
    script.push_str(&format!(
        "UPDATE account SET note = '{note}' WHERE (SELECT n FROM accepted) = 1;\nCOMMIT;\nSELECT n FROM accepted"
    ));
    Ok(sql(database, &script)? == "1")
}

fn sql(database: &Path, script: &str) -> Result<String, Box<dyn Error>> {
    let program = std::env::var_os("MONBAN_SQLITE").unwrap_or_else(|| "sqlite3".into());
    let mut shell = Command::new(&program)
        .args(["-batch", "-bail"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let program = program.display();
            format!(
                "{program} cannot be run: {error}; install sqlite3, or name it in MONBAN_SQLITE"
            )
        })?;
    let mut input = shell.stdin.take().ok_or("it has a standard input")?;
    input.write_all(format!("{script};\n").as_bytes())?;
    drop(input);
    let output = shell.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("sqlite3 refused this: {script}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
