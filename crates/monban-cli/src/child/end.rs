//! Monban's own end after that of the command.

use super::{Outcome, terminal};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::emulate_default_handler;
use std::process::ExitCode;

/// Ends as the command did; called last, after the key was released.
///
/// A shell on whose terminal Ctrl-C was pressed ends its own loop or script only if what it ran was *ended by* the
/// signal. An exit with 130 means to it that the program had a use of its own for Ctrl-C, as an editor has.
pub(crate) fn end(outcome: &Outcome) -> ExitCode {
    if matches!(outcome, Outcome::Signalled(number) if i32::from(*number) == SIGINT)
        && terminal::in_foreground()
    {
        // It returns only if it cannot: then the code must do.
        let _ = emulate_default_handler(SIGINT);
    }
    ExitCode::from(outcome.code())
}
