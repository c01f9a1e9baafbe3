//! The command as its users meet it: real processes over the file store.

mod busy;
mod elect;
#[cfg(feature = "etcd")]
mod etcd;
mod every;
mod guarding;
mod input;
mod listing;
mod many;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod several;
mod support;
