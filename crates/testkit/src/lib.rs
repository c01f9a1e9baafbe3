//! Real servers and real processes for monban's own tests and tasks, and what its benchmarks share.
//!
//! A server started here listens on a free port of loopback, keeps its files in a directory of its
//! own, is killed by its process id when its handle is dropped, and is killed as well when the
//! process that started it dies without dropping anything (see [`process`]). Nothing here speaks
//! to a server that it did not start, and nothing here is part of what monban publishes.

pub mod etcd;
mod family;
pub mod network;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod redis;
mod resp;
pub mod service;
pub mod signals;
pub mod slow;
pub mod stats;
pub mod unprivileged;

pub use etcd::{EtcdOptions, EtcdServer};
pub use network::{Machine, Network};
pub use pgbouncer::{PgBouncer, PgBouncerOptions};
pub use postgres::{PostgresOptions, PostgresServer};
pub use process::{Process, free_port, wait_until};
pub use redis::{Persistence, RedisOptions, RedisServer};
pub use slow::SlowDisk;
