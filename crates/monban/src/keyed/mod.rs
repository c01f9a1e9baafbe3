//! The in-process lock per key: no store, no TTL, no task, no runtime.
