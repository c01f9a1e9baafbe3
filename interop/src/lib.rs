//! Other locks of Redis and etcd, and monban, as programs that speak one small language, on one real server.
//!
//! [`clients`] is the table of them, [`install`] brings each with what its language's package manager serves, and
//! [`Driver`] starts one and talks to it. The tests here and the benchmark of the Redis store are built on it. Nothing
//! here is part of what monban publishes.

pub mod clients;
pub mod counting;
pub mod driver;
pub mod install;
pub mod pair;

pub use clients::{Client, Runtime, client};
pub use counting::count;
pub use driver::Driver;
pub use install::Installed;

/// What fallible functions here return; the message is for a person.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
