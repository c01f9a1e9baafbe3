//! The patches: what a header says, and whether the test that it names is there.
//!
//! ```text
//! Breaks: what goes wrong with the bug, in one sentence
//! Source: where it happened to somebody, if it did
//! Target: --package monban --lib --all-features
//! Test: engine::tests::leases::fences_grow_with_every_grant_of_either_process
//! Services: redis
//! Ends: never
//!
//! diff --git …
//! ```
//!
//! `Target` is what `cargo test` is told to build one test program, `Test` the whole name of one test in it. `Services`
//! and `Source` may be left out, and so may `Ends`, which says that the bug makes the test hang.

use std::fs;

use crate::shell::{self, Outcome};

/// One planted bug.
#[derive(Debug)]
pub(crate) struct Mutant {
    /// The file's name without `.patch`.
    pub(super) name: String,
    pub(super) breaks: String,
    pub(super) source: Option<String>,
    pub(super) target: String,
    pub(super) test: String,
    services: Option<String>,
    pub(super) ends: Option<String>,
    /// The whole file: git skips the header.
    pub(super) text: String,
}

const FOLDER: &str = "mutants";

/// What a name begins with; names without a number come last.
fn number(name: &str) -> u32 {
    let digits = name.split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(u32::MAX)
}

/// All mutants, in order of their numbers.
pub(super) fn read_all() -> Outcome<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(shell::root().join(FOLDER))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path
            .extension()
            .is_none_or(|extension| extension != "patch")
        {
            return Err(format!("{FOLDER} holds patches only, not {}", path.display()).into());
        }
        mutants.push(Mutant::parse(&name, fs::read_to_string(&path)?)?);
    }
    mutants.sort_by_key(|mutant: &Mutant| (number(&mutant.name), mutant.name.clone()));
    Ok(mutants)
}

impl Mutant {
    fn parse(name: &str, text: String) -> Outcome<Self> {
        let header: Vec<(&str, &str)> = text
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(": "))
            .collect();
        const KNOWN: &[&str] = &["Breaks", "Source", "Target", "Test", "Services", "Ends"];
        if let Some((other, _)) = header.iter().find(|(word, _)| !KNOWN.contains(word)) {
            return Err(format!("{FOLDER}/{name}.patch: {other} is no word of a header").into());
        }
        let get = |wanted: &str| {
            let found = header.iter().find(|(word, _)| *word == wanted);
            found.map(|(_, value)| value.trim().to_owned())
        };
        let must = |word: &str| {
            get(word).ok_or_else(|| format!("{FOLDER}/{name}.patch has no line `{word}: `"))
        };
        Ok(Self {
            name: name.to_owned(),
            breaks: must("Breaks")?,
            source: get("Source"),
            target: must("Target")?,
            test: must("Test")?,
            services: get("Services"),
            ends: get("Ends"),
            text,
        })
    }

    /// The services that the test needs.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().flat_map(|all| all.split_whitespace())
    }

    /// What is run: the target and the test.
    pub(super) fn trial(&self) -> (String, String) {
        (self.target.clone(), self.test.clone())
    }

    /// The files that the patch changes.
    pub(super) fn files(&self) -> Vec<&str> {
        let named = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("+++ b/"));
        named.map(str::trim).collect()
    }

    pub(super) fn path(&self) -> String {
        format!("{FOLDER}/{}.patch", self.name)
    }
}

/// Looks for the function of the test among the sources of its package. Only a build could say more.
pub(super) fn test_exists(mutant: &Mutant) -> Outcome {
    let package =
        package(&mutant.target).ok_or_else(|| format!("{} names no --package", mutant.path()))?;
    let name = mutant.test.rsplit("::").next().unwrap_or_default();
    let metadata = shell::metadata(&["--no-deps"])?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|known| known["name"] == package)
        .and_then(|known| known["manifest_path"].as_str())
        .ok_or_else(|| format!("{}: no package is called {package}", mutant.path()))?;
    let folder = std::path::Path::new(manifest)
        .parent()
        .unwrap_or(shell::root());
    let mut git = std::process::Command::new("git");
    git.args(["grep", "--quiet", "--untracked", "-e"]);
    git.arg(format!("fn {name}\\b")).args(["--", "*.rs"]);
    if git.current_dir(folder).status()?.success() {
        return Ok(());
    }
    Err(format!("{}: {package} has no test {name}", mutant.path()).into())
}

fn package(target: &str) -> Option<&str> {
    let mut words = target.split_whitespace();
    words.find(|word| *word == "--package")?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Breaks: this\nTarget: --package xtask --bins\nTest: a::b\n\n\
        diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn a_header_is_read_and_a_word_that_is_not_known_is_refused() {
        let mutant = Mutant::parse("01-x", TEXT.to_owned()).unwrap();
        assert_eq!(mutant.breaks, "this");
        assert_eq!(mutant.files(), ["x"]);
        assert_eq!(package(&mutant.target), Some("xtask"));
        let unknown = TEXT.replace("Test:", "Tests:");
        assert!(Mutant::parse("01-x", unknown).is_err());
        let missing = TEXT.replace("Test: a::b\n", "");
        let error = Mutant::parse("01-x", missing).unwrap_err();
        assert!(error.to_string().contains("Test"), "{error}");
    }

    #[test]
    fn a_test_that_is_nowhere_is_named() {
        let mutant = |test: &str| {
            let text = TEXT.replace("a::b", test);
            Mutant::parse("01-x", text).unwrap()
        };
        let here = "mutants::patch::tests::a_test_that_is_nowhere_is_named";
        test_exists(&mutant(here)).unwrap();
        let nowhere = concat!("a::b_is_", "nowhere");
        let error = test_exists(&mutant(nowhere)).unwrap_err();
        assert!(error.to_string().contains("_is_nowhere"), "{error}");
    }
}
