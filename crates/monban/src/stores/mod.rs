//! The stores, one folder each. They see neither each other nor the engine.

#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
