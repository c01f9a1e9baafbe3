//! Tests that a page names: they are there, or the page claims what nobody tests any more.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

/// The pages whose words in backquotes are names of tests, if they look like one.
const PAGES: &[&str] = &["docs/faults.md"];

/// A test's name is a sentence: so many underscores at least.
const SENTENCE: usize = 3;

/// Refuses a name on one of the pages that no function of the workspace has.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let is_page = |source: &&Source| PAGES.contains(&source.path.as_str());
    let functions: BTreeSet<&str> = sources
        .iter()
        .filter(|source| source.is_rust())
        .flat_map(|source| source.text.split("fn ").skip(1))
        .map(|rest| &rest[..rest.find(|c| !is_part_of_a_name(c)).unwrap_or(rest.len())])
        .collect();
    let mut findings = Vec::new();
    for page in sources.iter().filter(is_page) {
        for (at, line) in page.text.lines().enumerate() {
            let quoted = line.split('`').skip(1).step_by(2);
            for name in quoted.filter(|word| is_sentence(word)) {
                if !functions.contains(name) {
                    findings.push(page.finding(at + 1, format!("there is no test {name}")));
                }
            }
        }
    }
    findings
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn is_sentence(word: &str) -> bool {
    word.chars().all(is_part_of_a_name) && word.matches('_').count() >= SENTENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_nowhere_is_refused_at_its_line() {
        let found = |page: &str, path: &str| {
            let tests = "#[test]\nfn a_holder_is_cut_off() {}\nfn short() {}";
            let sources = [Source::new("a.rs", tests), Source::new(path, page)];
            let findings = check(&sources);
            findings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let page = "a\n`a_holder_is_cut_off`, `server-kill`, `MONBAN_A_B_C`, `x_y`";
        assert_eq!(found(page, PAGES[0]), Vec::<String>::new());
        let gone = "a\n| `a_holder_is_cut` | `a_holder_is_cut_off_again` |";
        assert_eq!(
            found(gone, PAGES[0]),
            [
                "docs/faults.md:2: there is no test a_holder_is_cut",
                "docs/faults.md:2: there is no test a_holder_is_cut_off_again",
            ]
        );
        assert_eq!(found(gone, "docs/other.md"), Vec::<String>::new());
    }
}
