//! The guard for Redis: a script that writes a value only under a token as high as any it has seen.
//!
//! It needs no client library of ours: send it with the one you have (`EVAL`, or `SCRIPT LOAD` and
//! `EVALSHA`), as
//!
//! ```text
//! EVAL script 2 KEY GUARD SEAT FENCE VALUE
//! ```
//!
//! * `KEY` is what is written, `GUARD` a hash beside it that remembers; in a cluster both in one slot, as
//!   `{account:7}` and `{account:7}:fence`;
//! * `SEAT` is [`Token::seat_number`](crate::Token::seat_number), -1 for an exclusive lease; `FENCE` is
//!   [`Fence::as_i64`](crate::Fence::as_i64).
//!
//! It answers 1 if the value was written, and 0 if a higher fence has been seen: stop the work. Put another
//! write in the place of its last `SET` to guard more than one value.
//!
//! What it remembers is as durable as the value: a server that loses its data loses both.

/// The script: accept and `SET` in one step.
pub const SET_IF_NOT_STALE: &str = include_str!("redis/set_if_not_stale.lua");
