//! `monban run`: runs a command while holding a key, or several.

use std::process::ExitCode;

use super::guard::guard;
use super::plan::Plan;
use crate::args::Run;
use crate::exit;
use crate::say::Voice;

/// Runs the command under its keys, and ends as it did.
pub(super) fn run(store: Option<&str>, run: Run) -> ExitCode {
    let voice = if run.guarding.json {
        Voice::Json
    } else {
        Voice::Text
    };
    match Plan::of_run(run) {
        Ok(plan) => guard(store, &plan),
        Err(error) => {
            voice.error(&error);
            ExitCode::from(exit::code(&error))
        }
    }
}
