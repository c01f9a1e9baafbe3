//! Building one test program and running one test of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use monban_testkit::service;
use serde_json::Value;

use super::patch::Mutant;
use super::tree::Tree;
use crate::shell::{self, Outcome};

/// A test that takes longer has no verdict.
const LIMIT: Duration = Duration::from_secs(180);

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// The test failed, and its program said so: it was not killed and did not abort.
    Failed,
    Endless,
    /// No test has that name.
    Absent,
    /// Its program ended without saying how the test did.
    Broken,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passes",
            Self::Failed => "fails",
            Self::Endless => "does not end",
            Self::Absent => "does not exist",
            Self::Broken => "ends its whole program",
        })
    }
}

/// Where tests are built and run.
pub(super) struct Bench<'a> {
    tree: &'a Tree,
    variables: Vec<(&'static str, String)>,
}

/// A test program, and where it is to be run.
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

impl<'a> Bench<'a> {
    pub(super) fn new(tree: &'a Tree, variables: Vec<(&'static str, String)>) -> Self {
        Self { tree, variables }
    }

    /// Builds the tree as it is now and runs the mutant's test.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(super) fn verdict(&self, mutant: &Mutant) -> Outcome<Verdict> {
        let program = self.build(&mutant.target)?;
        let log = self.tree.target.join("log");
        let mut command = Command::new(&program.path);
        command
            .args(["--exact", &mutant.test])
            .current_dir(&program.folder)
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .env_remove(service::SKIP)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null());
        let ended = end(command.spawn()?, LIMIT)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        Ok(judge(&mutant.test, ended, &said))
    }

    fn build(&self, target: &str) -> Outcome<Program> {
        let mut cargo = shell::cargo(&["test", "--no-run", "--locked", "--message-format", "json"]);
        cargo
            .args(target.split_whitespace())
            .current_dir(&self.tree.root)
            .env("CARGO_TARGET_DIR", &self.tree.target)
            .env("CARGO_INCREMENTAL", "1")
            .stderr(Stdio::piped());
        let output = cargo.output()?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(first_error(&lines, &output.stderr).into());
        }
        let mut programs = lines.lines().filter_map(program_of);
        match (programs.next(), programs.next()) {
            (Some(program), None) => Ok(program),
            _ => Err(format!("`cargo test {target}` is not one test program").into()),
        }
    }
}

/// The test program that a line of cargo's tells of.
fn program_of(line: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| is_test)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some(Program {
        path: path.into(),
        folder: folder.to_owned(),
    })
}

/// What the compiler says first.
fn first_error(lines: &str, stderr: &[u8]) -> String {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["message"]["level"] == "error")
        .and_then(|message| Some(message["message"]["rendered"].as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(stderr).into_owned())
}

/// Waits for the end of a program, which is killed after so long: then there is none.
fn end(mut child: Child, limit: Duration) -> Outcome<Option<i32>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads the words of the test program.
fn judge(test: &str, ended: Option<i32>, said: &str) -> Verdict {
    let line = |how: &str| {
        said.lines()
            .any(|line| line == format!("test {test} ... {how}"))
    };
    match ended {
        None => Verdict::Endless,
        Some(0) if said.contains("running 0 tests") => Verdict::Absent,
        Some(0) if line("ok") => Verdict::Passed,
        Some(101) if line("FAILED") => Verdict::Failed,
        Some(_) => Verdict::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_failed_is_a_failure() {
        let said = |how| format!("\nrunning 1 test\ntest a::b ... {how}\n\ntest result: …\n");
        for (ended, said, verdict) in [
            (Some(0), said("ok"), Verdict::Passed),
            (Some(101), said("FAILED"), Verdict::Failed),
            (Some(0), "\nrunning 0 tests\n".to_owned(), Verdict::Absent),
            (None, "\nrunning 1 test\n".to_owned(), Verdict::Endless),
            (Some(-1), "\nrunning 1 test\n".to_owned(), Verdict::Broken), // by a signal
            (Some(101), "\nrunning 1 test\n".to_owned(), Verdict::Broken),
            (Some(1), said("FAILED"), Verdict::Broken),
        ] {
            assert_eq!(judge("a::b", ended, &said), verdict, "{said}");
        }
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let sleep = |seconds: &str| Command::new("sleep").arg(seconds).spawn().unwrap();
        assert_eq!(end(sleep("0"), LIMIT).unwrap(), Some(0));
        let began = Instant::now();
        assert_eq!(end(sleep("600"), Duration::from_millis(50)).unwrap(), None);
        assert!(began.elapsed() < Duration::from_secs(300));
    }
}
