//! The `monban` command: run a command while holding a key.

mod args;
mod child;
mod cmd;
mod exit;
mod open;
mod say;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: this process may be the watchdog of another.
    if child::watchdog::requested() {
        return child::watchdog::main();
    }
    end_all_on_panic();
    let args = match args::Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // Fails only if standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    cmd::run(args)
}

/// Makes a panic the end of the process, without destructors: unwinding would dismiss the watchdog and release the
/// key beside a command that lives on. So the watchdog finds its pipe closed, and ends the command.
fn end_all_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(i32::from(exit::OTHER));
    }));
}
