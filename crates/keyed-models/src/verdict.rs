//! A verdict for every model, whatever becomes of the process that it runs in.

use std::any::type_name;
use std::env;
use std::process::Command;

/// Says to a test that it is the process of its own.
const INSIDE: &str = "KEYED_MODELS_INSIDE";

/// Runs a model in another process, and fails if that does.
///
/// loom takes down the threads of a schedule that has failed by unwinding them, and what they then drop may panic a
/// second time, which ends the whole process: without this, such a test would say nothing of itself, nor would those
/// after it.
pub(crate) fn in_a_process_of_its_own<F: FnOnce()>(model: F) {
    if env::var_os(INSIDE).is_some() {
        return model();
    }
    // The closure is named after the test that it stands in.
    let path = type_name::<F>().split("::{{").next().unwrap_or_default();
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    let own = env::current_exe().expect("a test has an executable");
    let output = Command::new(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("a test can be started again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("running 1 test"),
        "{test} is not a test:\n{said}"
    );
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{why}", output.status);
}
