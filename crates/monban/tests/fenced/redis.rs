//! The script, on a real Redis server.

use monban::fenced::redis::SET_IF_NOT_STALE;
use monban::{Fence, Token};
use monban_testkit::service::skipped;
use monban_testkit::{RedisOptions, RedisServer};

use super::*;

struct Value {
    server: RedisServer,
}

impl Value {
    fn new() -> Self {
        let server = RedisServer::start(RedisOptions::new()).unwrap();
        Self { server }
    }

    fn set(&self, seat: &str, fence: &str, content: &str) -> std::io::Result<String> {
        let words = [
            "EVAL",
            SET_IF_NOT_STALE,
            "2",
            "{v}",
            "{v}:fence",
            seat,
            fence,
            content,
        ];
        self.server.ask(&words)
    }
}

impl Guarded for Value {
    fn write(&self, token: Token, content: &str) -> bool {
        let (seat, fence) = (token.seat_number().to_string(), token.fence().to_string());
        self.set(&seat, &fence, content).unwrap() == "1"
    }

    fn read(&self) -> String {
        self.server.ask(&["GET", "{v}"]).unwrap()
    }
}

#[test]
fn a_redis_value_refuses_a_paused_holder_and_accepts_live_permits() {
    if skipped("redis") {
        return;
    }
    a_paused_holder_is_refused(&Value::new());
    live_holders_of_permits_are_accepted(&Value::new());
}

#[test]
fn fences_beyond_what_a_lua_number_holds_are_compared_exactly() {
    if skipped("redis") {
        return;
    }
    let value = Value::new();
    let token = |number| Token::from(Fence::new(number).unwrap());
    let order = [9, 10, 1 << 53, (1 << 53) + 1, i64::MAX - 1, i64::MAX];
    for (at, number) in order.into_iter().enumerate() {
        assert!(value.write(token(number), "x"), "{number}");
        for lower in &order[..at] {
            assert!(!value.write(token(*lower), "y"), "{lower} after {number}");
        }
    }
    for bad in ["", "-1", "1.5", "x"] {
        assert!(value.set("-1", bad, "z").is_err(), "{bad:?}");
    }
}
