//! The `monban` command: run a command while holding a key.

mod args;
mod child;
mod cmd;
mod exit;
mod open;
mod say;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything else: this process may be the watchdog of another.
    if child::watchdog::requested() {
        return child::watchdog::main();
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Fails only if standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    cmd::run(args)
}
