//! The torture test as a program: not a verb of the command, which is published without what only tests need.

use std::process::ExitCode;

use clap::Parser;

/// Tortures a store and says what its locks were worth.
#[derive(Debug, Parser)]
#[command(name = "monban-torture", version)]
struct Program {
    /// The store
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    args: monban_torture::Args,
}

fn main() -> ExitCode {
    if let Some(part) = monban_torture::requested() {
        return part();
    }
    let program = Program::parse();
    monban_torture::main(program.store.as_deref(), &program.args)
}
