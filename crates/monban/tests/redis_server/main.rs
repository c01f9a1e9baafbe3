//! The Redis store and what surrounds it: a server that loads or has no room, a network that is cut, the keys that the
//! store uses, and another version of its format.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

#[path = "../common/mod.rs"]
mod common;
mod keys;
mod loading;
mod long;
mod monitor;
mod partition;
mod permissions;
mod room;
mod traffic;
mod versions;
