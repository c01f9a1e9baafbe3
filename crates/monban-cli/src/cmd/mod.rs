//! The verbs of the command line, one file each.

mod claim;
mod elect;
mod guarantees;
mod guard;
mod held;
mod interrupt;
mod look;
mod plan;
mod release;
mod run;
#[cfg(feature = "postgres")]
mod schema;
mod told;

use std::process::ExitCode;

use crate::args::{Args, Shell, Verb};
use crate::exit;
use crate::open::{Opened, open};
use crate::say::Voice;

/// Does what the command line asks.
pub(crate) fn run(args: Args) -> ExitCode {
    let store = args.store.as_deref();
    match args.verb {
        Verb::Run(options) => run::run(store, *options),
        Verb::Elect(options) => elect::elect(store, *options),
        Verb::Ls { prefix, json } => {
            let prefix = prefix.unwrap_or_default();
            with_store(store, |opened| {
                look::list(opened, prefix.as_encoded_bytes(), json)
            })
        }
        Verb::Show { key, json } => with_store(store, |opened| look::show(opened, &key, json)),
        Verb::Release { key, id, foreign } => with_store(store, |opened| {
            if id.is_none() && !foreign {
                return release::which(opened, &key);
            }
            release::release(opened, &key, id.as_deref())
        }),
        Verb::Guarantees {
            all: true,
            markdown,
        } => guarantees::all(markdown),
        Verb::Guarantees { all: false, .. } => with_store(store, guarantees::of),
        #[cfg(feature = "postgres")]
        Verb::Schema { apply: false } => schema::show(),
        #[cfg(feature = "postgres")]
        Verb::Schema { apply: true } => schema::apply(store),
        Verb::Completions { shell } => completions(shell),
    }
}

/// Opens the store and does something with it; an error is said, and is the exit code.
fn with_store(
    store: Option<&str>,
    work: impl FnOnce(&Opened) -> monban::Result<ExitCode>,
) -> ExitCode {
    let result = open(store, "").and_then(|opened| work(&opened));
    result.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &monban::Error) -> ExitCode {
    Voice::Text.error(error);
    ExitCode::from(exit::code(error))
}

fn completions(shell: Shell) -> ExitCode {
    use clap::CommandFactory;
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Elvish => clap_complete::Shell::Elvish,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    clap_complete::generate(
        shell,
        &mut Args::command(),
        "monban",
        &mut std::io::stdout(),
    );
    ExitCode::SUCCESS
}

/// Prints a line on standard output, and says whether anybody reads on. A reader that has gone (`monban ls | head -1`)
/// ends the listing; any other failure ends monban, since a listing that is cut must not look whole.
fn print(line: &str) -> bool {
    use std::io::{ErrorKind, Write};
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            Voice::Text.say(
                "error",
                &format!("nothing can be printed: {error}"),
                serde_json::Value::Null,
            );
            std::process::exit(i32::from(exit::OTHER));
        }
    }
}
