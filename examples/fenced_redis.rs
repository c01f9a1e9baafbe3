//! A paused holder's late write is refused by Redis: the script of `fenced::redis`, sent by any client library.
//!
//! `MONBAN_STORE` names the server, which here keeps the lock and the value both; they could be two.

#[path = "support/overtaken.rs"]
mod overtaken;
mod support;

use std::error::Error;

use monban::Token;
use monban::fenced::redis::SET_IF_NOT_STALE;
use redis::{Connection, cmd};

/// The value, and the hash that remembers the highest fence; in a cluster their braces keep them together.
const VALUE: &str = "{monban:example:balance}";
const GUARD: &str = "{monban:example:balance}:fence";

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("MONBAN_STORE").unwrap_or_default();
    if !url.starts_with("redis://") {
        let how = "MONBAN_STORE names no Redis server: set it to redis://HOST and run this again";
        return Err(how.into());
    }
    let connect = || redis::Client::open(url.as_str())?.get_connection();
    let mut connection = connect()?;
    let outcome = overtaken::overtaken(|token, value| Ok(write(&mut connect()?, token, value)?));
    let value: String = cmd("GET").arg(VALUE).query(&mut connection)?;
    let _: i64 = cmd("DEL").arg(VALUE).arg(GUARD).query(&mut connection)?;
    outcome?;
    println!("the value was written {value}");
    assert_eq!(value, "by the second");
    Ok(())
}

/// Writes if the token is as high as any seen, in one step on the server. Whether it was accepted.
fn write(connection: &mut Connection, token: Token, value: &str) -> redis::RedisResult<bool> {
    cmd("EVAL")
        .arg(SET_IF_NOT_STALE)
        .arg(2)
        .arg(&[VALUE, GUARD])
        .arg(token.seat_number())
        .arg(token.fence().as_i64())
        .arg(value)
        .query(connection)
}
