//! `cargo xtask tidy`: what the compiler does not hold.
//!
//! Each rule is a module with a function over one file (or over what cargo knows of the workspace), and shows in its tests what it refuses.
//! Test code (items under `#[cfg(test)]` or `#[test]`, files in a `tests` folder) may name any
//! layer and read any clock; the rules on words hold there too.

mod clock;
mod features;
mod headers;
mod layers;
mod length;
mod named;
mod publish;
mod source;
mod words;

use std::fmt;
use std::process::Command;

use crate::shell::{self, Outcome};
use source::Source;

/// One thing that is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every rule, over every file that git knows or would add.
pub(crate) fn run(words: &[String]) -> Outcome {
    if !words.is_empty() {
        return Err("tidy takes no arguments".into());
    }
    let sources = read_all()?;
    let mut findings = check(&sources)?;
    let metadata = shell::metadata(&["--no-deps"])?;
    findings.extend(features::check(&sources, &metadata)?);
    findings.extend(publish::check(&metadata));
    if findings.is_empty() {
        eprintln!("{} files tidy", sources.len());
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(format!("{} findings\n{}", lines.len(), lines.join("\n")).into())
}

fn check(sources: &[Source]) -> Outcome<Vec<Finding>> {
    let mut findings = layers::check(sources)?;
    findings.extend(named::check(sources));
    for source in sources {
        findings.extend(clock::check(source)?);
        findings.extend(words::check(source)?);
        findings.extend(headers::check(source));
        findings.extend(length::check(source)?);
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

/// The text files of the work tree; binary ones have no words.
fn read_all() -> Outcome<Vec<Source>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = shell::output(git.current_dir(shell::root()))?;
    let mut sources = Vec::new();
    for path in listed.split_terminator('\0') {
        // A deleted file is listed until its deletion is committed.
        let Ok(bytes) = std::fs::read(shell::root().join(path)) else {
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source::new(path, text));
        }
    }
    Ok(sources)
}
