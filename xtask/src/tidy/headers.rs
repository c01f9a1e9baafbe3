//! What a file begins with: a Rust module says what it is for, a script states its algorithm.

use super::Finding;
use super::source::Source;

/// Fewer words than this state no algorithm.
const SCRIPT_WORDS: usize = 15;

/// Refuses a file that begins without a word on itself.
pub(super) fn check(source: &Source) -> Option<Finding> {
    if source.is_rust() {
        let described = source
            .text
            .lines()
            .next()
            .is_some_and(|line| line.starts_with("//! "));
        return (!described)
            .then(|| source.finding(1, "a module begins with `//!`: what it is for"));
    }
    if !source.path.ends_with(".lua") && !source.path.ends_with(".sql") {
        return None;
    }
    let comment = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("--"));
    let words: usize = comment.map(|line| line.split_whitespace().count()).sum();
    let what = "a script begins with a comment that states its algorithm";
    (words < SCRIPT_WORDS).then(|| source.finding(1, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, text: &str) -> bool {
        check(&Source::new(path, text)).is_some()
    }

    #[test]
    fn a_module_without_a_header_is_refused() {
        assert!(!refused("a.rs", "//! Keys.\nfn f() {}"));
        for text in [
            "",
            "fn f() {}\n//! late",
            "// Keys.",
            "//!",
            "/// Keys.\nfn f() {}",
        ] {
            assert!(refused("a.rs", text), "{text}");
        }
    }

    #[test]
    fn a_script_without_its_algorithm_is_refused() {
        let algorithm = "-- Takes the key if nobody holds it, on the server's clock,\n-- and answers with \
                         a fence greater than that of any earlier holder.\nreturn 1";
        for path in ["a.lua", "b.sql"] {
            assert!(!refused(path, algorithm));
            assert!(refused(path, "return 1"));
            assert!(refused(path, "-- acquire\nreturn 1"));
        }
    }
}
