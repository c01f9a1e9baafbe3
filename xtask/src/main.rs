//! The project's own tasks: `cargo xtask test`, `ci`, `tidy`, `services`, `bench`.
fn main() {}
