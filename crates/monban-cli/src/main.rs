//! The `monban` command: run a command while holding a key.
fn main() {}
