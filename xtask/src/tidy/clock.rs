//! Only the clock module of the library reads a clock.
//!
//! Elsewhere an instant is an argument, so that time can be paused and moved in tests, and so that
//! one place decides which clock counts a suspended machine.

use proc_macro2::TokenTree;

use super::Finding;
use super::source::{Source, inside, is_ident, is_punct, line};
use crate::shell::Outcome;

const LIBRARY: &str = "crates/monban/src/";

/// The clock itself, and the keyed mutex: it names no layer, and blocks until an instant of std.
const READERS: &[&str] = &[
    "crates/monban/src/rule/clock.rs",
    "crates/monban/src/keyed/",
];

/// Refuses reading a clock in the library's own code.
pub(super) fn check(source: &Source) -> Outcome<Vec<Finding>> {
    let exempt = READERS.iter().any(|reader| source.path.starts_with(reader));
    if !source.path.starts_with(LIBRARY) || !source.is_rust() || source.is_test_file() || exempt {
        return Ok(Vec::new());
    }
    let mut lines = Vec::new();
    walk(&source.code()?.0, &mut lines);
    let what = "reads a clock; only rule/clock.rs does";
    Ok(lines
        .into_iter()
        .map(|line| source.finding(line, what))
        .collect())
}

fn walk(tokens: &[TokenTree], lines: &mut Vec<usize>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            walk(&inside(group), lines);
        }
        if reads(&tokens[at..]) {
            lines.push(line(token));
        }
    }
}

/// `Instant::now`, `SystemTime::now`, `….elapsed(…)`, `clock_gettime`.
fn reads(tokens: &[TokenTree]) -> bool {
    let after = |at: usize| tokens.get(at);
    let named = is_ident(after(0), "Instant") || is_ident(after(0), "SystemTime");
    (named && is_punct(after(1), ':') && is_punct(after(2), ':') && is_ident(after(3), "now"))
        || (is_punct(after(0), '.') && is_ident(after(1), "elapsed"))
        || is_ident(after(0), "clock_gettime")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> usize {
        check(&Source::new(format!("{LIBRARY}{file}"), text))
            .unwrap()
            .len()
    }

    #[test]
    fn a_clock_read_outside_the_clock_module_is_refused() {
        for text in [
            "fn f() { let t = Instant::now(); }",
            "fn f() { let t = std::time::SystemTime::now(); }",
            "fn f() { m!(tokio::time::Instant::now()) }",
            "fn f() { start.elapsed() > limit; }",
            "fn f() { rustix::time::clock_gettime(id); }",
            "fn f() { let read = Instant::now; }",
        ] {
            assert_eq!(found("engine/keeper.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn the_clock_module_the_keyed_mutex_and_tests_read_clocks() {
        let text = "fn f() { Instant::now(); }";
        assert_eq!(
            found("rule/clock.rs", text) + found("keyed/guard.rs", text),
            0
        );
        assert_eq!(
            found(
                "engine/gate.rs",
                &format!("#[cfg(test)] mod t {{ {text} }}")
            ),
            0
        );
    }
}
