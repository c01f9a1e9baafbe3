//! Words that must not be committed: paths of one machine, registries' hosts, ports of servers that
//! are not ours, tests that do not run, work that is not done.
//!
//! The words are put together here from parts, since this file is read by its own rule.

use proc_macro2::TokenTree;

use super::Finding;
use super::source::{Source, inside, is_ident, is_punct, line};
use crate::shell::Outcome;

/// Names every registry in every line; nobody writes it by hand.
const GENERATED: &str = "Cargo.lock";

const LOCAL_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const HOMES: &str = concat!("/ho", "me/");

const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("proxy.", "golang.org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("repo.", "maven"),
];

const HOSTS: &[&str] = &["127.0.0.1", "localhost", "[::1]"];
const STANDARD_PORTS: &[&str] = &["6379", "5432", "3306", "2379", "2181"];

const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Checks every line of a file, and the tokens of a Rust file.
pub(super) fn check(source: &Source) -> Outcome<Vec<Finding>> {
    if source.path.rsplit('/').next() == Some(GENERATED) {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    let prose = source.path.ends_with(".md");
    for (number, text) in source.text.lines().enumerate() {
        let mut found = |what: Option<String>| {
            findings.extend(what.map(|what| source.finding(number + 1, what)));
        };
        found(local_path(text));
        found(registry(text));
        // Documents tell of standard ports and of the rule itself.
        if !prose {
            found(standard_port(text));
            found(unfinished(text));
        }
        found(untested_example(text));
    }
    if source.is_rust() {
        let mut tokens = Vec::new();
        walk(&source.tokens()?, &mut tokens);
        findings.extend(
            tokens
                .into_iter()
                .map(|(line, what)| source.finding(line, what)),
        );
    }
    Ok(findings)
}

fn local_path(text: &str) -> Option<String> {
    let after_separator = |at: usize| !text[..at].ends_with(is_name);
    let named = LOCAL_PATHS.iter().find(|path| {
        text.match_indices(**path)
            .any(|(at, _)| after_separator(at))
    });
    let mut homes = text
        .match_indices(HOMES)
        .filter(|(at, _)| after_separator(*at));
    let someone = homes.any(|(at, home)| text[at + home.len()..].starts_with(is_name));
    let path = named.copied().or(someone.then_some(HOMES))?;
    Some(format!("names a path of one machine: {path}"))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn registry(text: &str) -> Option<String> {
    let host = REGISTRIES.iter().find(|host| text.contains(**host))?;
    Some(format!("names a registry's host: {host}"))
}

fn standard_port(text: &str) -> Option<String> {
    let mut pairs = HOSTS
        .iter()
        .flat_map(|host| STANDARD_PORTS.iter().map(move |port| (host, port)));
    let (host, port) = pairs.find(|(host, port)| {
        let address = format!("{host}:{port}");
        text.match_indices(&address)
            .any(|(at, _)| !text[at + address.len()..].starts_with(|c: char| c.is_ascii_digit()))
    })?;
    Some(format!(
        "a standard port on loopback may be somebody's server: {host}:{port}"
    ))
}

/// A mark of unfinished work is fine with the number of an issue: `…(#12)`.
fn unfinished(text: &str) -> Option<String> {
    let mark = UNFINISHED.iter().find(|mark| {
        text.match_indices(**mark).any(|(at, _)| {
            let rest = &text[at + mark.len()..];
            let referred = rest
                .strip_prefix("(#")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            !text[..at].ends_with(is_name) && !rest.starts_with(is_name) && !referred
        })
    })?;
    Some(format!("{mark} without an issue"))
}

/// A doc example that is not even compiled.
fn untested_example(text: &str) -> Option<String> {
    let fence = concat!("``", "`ignore");
    text.contains(fence)
        .then(|| "an example that is not compiled".to_owned())
}

fn walk(tokens: &[TokenTree], found: &mut Vec<(usize, String)>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let words = inside(group);
            let is_attribute = at > 0 && is_punct(tokens.get(at - 1), '#');
            if is_attribute && is_ident(words.first(), "ignore") {
                found.push((line(token), "a test that does not run".to_owned()));
            }
            walk(&words, found);
        }
        let unwritten = ["todo", "unimplemented"]
            .iter()
            .find(|name| is_ident(Some(token), name));
        if let Some(name) = unwritten
            && is_punct(tokens.get(at + 1), '!')
        {
            found.push((line(token), format!("{name}!")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text))
            .unwrap()
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn paths_of_one_machine_are_refused_and_web_paths_are_not() {
        for text in [
            concat!("x = \"/ro", "ot/.cargo\""),
            concat!("/wo", "rk/x"),
            concat!("/ho", "me/ann/x"),
        ] {
            assert_eq!(found("a.md", text).len(), 1, "{text}");
        }
        for text in [
            concat!("example.org/wo", "rk/x"),
            concat!("see /ho", "me/<name>"),
        ] {
            assert_eq!(found("a.md", text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn every_registry_is_refused_but_in_the_lock_file() {
        for host in REGISTRIES {
            assert_eq!(
                found("a.sh", &format!("curl https://{host}/x")).len(),
                1,
                "{host}"
            );
            assert!(found("Cargo.lock", host).is_empty());
        }
    }

    #[test]
    fn standard_ports_on_loopback_are_refused_in_code() {
        for host in HOSTS {
            for port in STANDARD_PORTS {
                assert_eq!(found("a.py", &format!("connect('{host}:{port}')")).len(), 1);
                assert_eq!(
                    found("a.py", &format!("connect('{host}:{port}0')")).len(),
                    0
                );
                assert_eq!(found("a.md", &format!("{host}:{port}")).len(), 0);
            }
        }
    }

    #[test]
    fn tests_that_do_not_run_are_refused() {
        assert_eq!(
            found("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn t() {}"),
            ["a test that does not run"]
        );
        assert_eq!(found("a.rs", "//! ```"), Vec::<String>::new());
        assert_eq!(found("a.rs", concat!("//! ``", "`ignore")).len(), 1);
        assert_eq!(
            found("a.rs", "fn f(ignore: bool) { g(ignore) }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn unfinished_work_is_refused_without_an_issue() {
        for mark in UNFINISHED {
            assert_eq!(found("a.lua", &format!("-- {mark}: later")).len(), 1);
            assert_eq!(found("a.lua", &format!("-- {mark}(#12): later")).len(), 0);
            assert_eq!(found("a.lua", &format!("MY_{mark}_LIST")).len(), 0);
        }
        assert_eq!(
            found("a.rs", concat!("fn f() { to", "do!() }")),
            [concat!("to", "do!")]
        );
        assert_eq!(
            found("a.rs", concat!("fn f() { unimple", "mented!(\"x\") }")).len(),
            1
        );
        assert_eq!(
            found("a.rs", "const A: &str = \"unimplemented!\";").len(),
            0
        );
    }
}
