//! What the PostgreSQL store does beyond the conformance suite: beside transactions, through faults and a pooler, and
//! when it is not let in.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod access;
mod addresses;
#[path = "../common/caller.rs"]
#[allow(dead_code, reason = "the tests of each store use a part of it")]
mod caller;
mod client;
mod crash;
mod cuts;
mod failover;
mod faults;
mod fencing;
mod lasting;
mod line;
#[path = "../common/overtaken.rs"]
mod overtaken;
mod pooler;
#[path = "../common/proxy.rs"]
mod proxy;
mod roles;
mod strangers;
mod versions;
