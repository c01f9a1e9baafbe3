//! `cargo xtask guarantees [--check]`: GUARANTEES.md says what the stores say of themselves.
//!
//! The file is what `monban guarantees --all --markdown` prints; nobody edits it.

use std::fs;

use crate::shell::{self, Outcome};

const FILE: &str = "GUARANTEES.md";

/// Writes the file, or with `--check` fails where it differs from what the command prints.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(fs::write(shell::root().join(FILE), generate()?)?),
        ["--check"] => check(),
        _ => Err("say `guarantees [--check]`".into()),
    }
}

fn generate() -> Outcome<String> {
    const COMMAND: &[&str] = &["guarantees", "--all", "--markdown"];
    let run = [
        "run",
        "--quiet",
        "--package",
        "monban-cli",
        "--all-features",
        "--",
    ];
    shell::output(&mut shell::cargo(&[&run[..], COMMAND].concat()))
}

fn check() -> Outcome {
    let path = shell::root().join(FILE);
    let written = fs::read_to_string(&path).map_err(|error| format!("{FILE}: {error}"))?;
    match first_difference(&written, &generate()?) {
        None => Ok(()),
        Some(line) => Err(format!("{FILE}:{line}: stale; run `cargo xtask guarantees`").into()),
    }
}

/// The number of the first line that differs, from 1.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    if left == right {
        return None;
    }
    let same = left
        .lines()
        .zip(right.lines())
        .take_while(|(left, right)| left == right)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn a_stale_file_is_named_by_its_first_differing_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }
}
