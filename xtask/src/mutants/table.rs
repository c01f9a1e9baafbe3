//! `docs/mutants.md`: every planted bug, where it is planted, and the test that finds it.

use std::fmt::Write;
use std::fs;

use super::patch::Mutant;
use crate::shell::{self, Outcome};

const FILE: &str = "docs/mutants.md";

const HEAD: &str = "\
# Planted bugs, and the tests that find them

A test suite is believed when it has been seen to fail. Each row is a bug that is planted in monban on purpose, as a
patch under `mutants/`: mistakes that other locks have made, and some that were made here. `cargo xtask mutants` plants
each in a copy of the work tree and demands that the named test fails, and that it passes without the bug. A bug that
survives fails the gate: then a test is missing.

This table is written by `cargo xtask mutants --table` from the patches; CI checks that it is up to date, that every
patch applies, and that every test exists.

| | bug | planted in | found by |
|---|---|---|---|
";

pub(super) fn write(mutants: &[Mutant]) -> Outcome {
    Ok(fs::write(shell::root().join(FILE), text(mutants))?)
}

pub(super) fn check(mutants: &[Mutant]) -> Outcome {
    let written = fs::read_to_string(shell::root().join(FILE)).unwrap_or_default();
    if written == text(mutants) {
        return Ok(());
    }
    Err(format!("{FILE} is stale; run `cargo xtask mutants --table`").into())
}

fn text(mutants: &[Mutant]) -> String {
    let mut out = HEAD.to_owned();
    for mutant in mutants {
        let number = mutant.name.split('-').next().unwrap_or_default();
        let files: Vec<String> = mutant.files().iter().map(|file| short(file)).collect();
        let test = mutant.test.rsplit("::").next().unwrap_or_default();
        let source = mutant.source.as_ref();
        let source = source.map_or_else(String::new, |source| format!(" ({source})"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {number} | {}{source} | {} | {}`{test}` |",
            mutant.breaks,
            files.join(", "),
            program(&mutant.target),
        );
    }
    out
}

/// The path without what all have in common.
fn short(path: &str) -> String {
    let short = path.strip_prefix("crates/").unwrap_or(path);
    format!("`{}`", short.replacen("/src/", "/", 1))
}

/// Which test program, unless it is that of the library.
fn program(target: &str) -> String {
    let words: Vec<&str> = target.split_whitespace().collect();
    let after = |word| words.iter().skip_while(|w| **w != word).nth(1);
    match (after("--test"), after("--package")) {
        (Some(test), _) => format!("{test}: "),
        (None, Some(package)) if *package != "monban" => format!("{package}: "),
        _ => String::new(),
    }
}
