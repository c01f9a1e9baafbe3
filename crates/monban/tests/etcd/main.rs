//! What the etcd store does beyond the conformance suite: beside others, through faults, and when it is not let in.

#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod access;
#[path = "../common/caller.rs"]
#[allow(dead_code, reason = "the tests of each store use a part of it")]
mod caller;
mod client;
mod cluster;
mod counting;
mod cuts;
mod deaths;
mod faults;
mod giving;
mod line;
mod members;
mod odd;
#[path = "../common/overtaken.rs"]
#[allow(dead_code, reason = "the tests of each store use a part of it")]
mod overtaken;
mod partition;
#[path = "../common/proxy.rs"]
mod proxy;
mod slow;
