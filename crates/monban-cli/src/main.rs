//! The `monban` command: run a command while holding a key.

#[expect(
    dead_code,
    unused_imports,
    reason = "`run` is not wired to the library yet"
)]
mod child;

use std::process::ExitCode;

fn main() -> ExitCode {
    if child::watchdog::requested() {
        return child::watchdog::main();
    }
    ExitCode::SUCCESS
}
