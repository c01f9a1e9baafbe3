//! Files that have grown too long: a sign that a room is missing.

use super::Finding;
use super::source::Source;
use crate::shell::Outcome;

/// The most lines a file may have, its tests not counted.
const MOST: usize = 500;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Refuses a long source file; files of tests may be long.
pub(super) fn check(source: &Source) -> Outcome<Option<Finding>> {
    let excused = LONGER.iter().any(|(path, _)| *path == source.path);
    if !source.is_rust() || !source.path.contains("src/") || source.is_test_file() || excused {
        return Ok(None);
    }
    let lines = source.text.lines().count() - source.code()?.1;
    let what = || format!("{lines} lines without tests, {MOST} are the most");
    Ok((lines > MOST).then(|| source.finding(1, what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_refused_and_long_tests_are_not() {
        let found = |text: String| {
            check(&Source::new("crates/x/src/a.rs", text))
                .unwrap()
                .is_some()
        };
        let lines = |count: usize| "const A: u8 = 1;\n".repeat(count);
        assert!(found(lines(MOST + 1)));
        assert!(!found(lines(MOST)));
        assert!(!found(format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(MOST),
            lines(MOST)
        )));
    }
}
