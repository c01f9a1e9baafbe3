//! The layers of the library: which folder may name which.
//!
//! Every path that begins with `crate`, `self`, `super` or the crate's own name is resolved to the
//! folder it leads to, in `use` trees, in code and inside macros. A name that the crate root
//! re-exports stands for the folder it comes from. An arrow that is not in [`TABLE`] fails.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenTree};

use super::Finding;
use super::source::{Source, inside, is_ident, is_punct, line};
use crate::shell::Outcome;

const LIBRARY: &str = "crates/monban/src/";

/// The folder (or file) on the left may name those on the right, and itself. The crate root may
/// name all. `stores/*` is any one store: no store names another.
const TABLE: &[(&str, &[&str])] = &[
    ("data", &[]),
    ("rule", &["data"]),
    ("contract", &["data", "rule"]),
    ("stores", &[]),
    ("net", &["data"]),
    ("stores/*", &["data", "rule", "contract", "net"]),
    ("keyed", &[]),
    ("engine", &["data", "rule", "contract", "keyed"]),
    (
        "connect",
        &[
            "data", "rule", "contract", "keyed", "engine", "stores", "stores/*",
        ],
    ),
    ("faces", &["data", "rule", "contract", "engine"]),
    ("fenced", &["data"]),
    ("web", &["data", "rule", "contract", "engine", "faces"]),
    (
        "testing",
        &[
            "data",
            "rule",
            "contract",
            "stores/memory",
            "engine",
            "connect",
        ],
    ),
    ("conformance", &["data", "rule", "contract", "testing"]),
];

/// What the crate root re-exports: a name, and the path it stands for.
type Exports = BTreeMap<String, Vec<String>>;

/// A path from the crate root, and the line it stands on.
struct Named {
    path: Vec<String>,
    line: usize,
}

/// Checks all files of the library together, since the crate root says what its names stand for.
pub(super) fn check(sources: &[Source]) -> Outcome<Vec<Finding>> {
    let mut exports = Exports::new();
    if let Some(root) = sources
        .iter()
        .find(|source| source.path == format!("{LIBRARY}lib.rs"))
    {
        exports = exported(&root.code()?.0);
    }
    let mut findings = Vec::new();
    for source in sources {
        let Some(file) = source.path.strip_prefix(LIBRARY) else {
            continue;
        };
        if file == "lib.rs" || !source.is_rust() || source.is_test_file() {
            continue;
        }
        let module = module_of(file);
        let mut named = Vec::new();
        walk(&source.code()?.0, &module, &mut named);
        let found = named
            .iter()
            .filter_map(|name| refusal(&module, name, &exports));
        findings.extend(found.map(|(line, what)| source.finding(line, what)));
    }
    Ok(findings)
}

/// Why a path may not stand in a module, if so.
fn refusal(module: &[String], named: &Named, exports: &Exports) -> Option<(usize, String)> {
    let from = layer(module);
    let shown = format!("crate::{}", named.path.join("::"));
    let Some((_, allowed)) = TABLE.iter().find(|(row, _)| matches(row, &from)) else {
        return Some((named.line, format!("{from} has no row in the layer table")));
    };
    let first = named.path.first().map_or("*", String::as_str);
    let is_folder = TABLE
        .iter()
        .any(|(row, _)| row.split('/').next() == Some(first));
    let target = match exports.get(first) {
        Some(path) if !is_folder => path,
        None if !is_folder => {
            let what = format!("{from} → crate root: {shown}; name the folder it comes from");
            return Some((named.line, what));
        }
        _ => &named.path,
    };
    let to = layer(target);
    if from == to || allowed.iter().any(|row| matches(row, &to)) {
        return None;
    }
    Some((
        named.line,
        format!("{from} → {to} is not in the layer table: {shown}"),
    ))
}

/// The row's name for a path: its first folder, and for stores the store.
fn layer(path: &[String]) -> String {
    let is_store = path.len() > 1 && path[0] == "stores" && path[1] != "*";
    path[..path.len().min(if is_store { 2 } else { 1 })].join("/")
}

fn matches(row: &str, layer: &str) -> bool {
    match row.strip_suffix('*') {
        Some(folder) => layer.starts_with(folder),
        None => row == layer,
    }
}

/// `data/key.rs` is `data::key`, `data/mod.rs` and `data.rs` are `data`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').map(str::to_owned).collect()
}

/// Collects every path that is written from the crate, the module itself or its parents.
fn walk(tokens: &[TokenTree], module: &[String], named: &mut Vec<Named>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let mut module = module.to_vec();
                if at > 1
                    && is_ident(tokens.get(at - 2), "mod")
                    && let TokenTree::Ident(name) = &tokens[at - 1]
                {
                    module.push(name.to_string());
                }
                walk(&inside(group), &module, named);
            }
            TokenTree::Ident(word) if is_path_separator(tokens, at + 1) => {
                let base = match word.to_string().as_str() {
                    "crate" | "monban" => Some(Vec::new()),
                    "self" => Some(module.to_vec()),
                    "super" => Some(parent(module)),
                    _ => None,
                };
                if let Some(base) = base {
                    at = path(tokens, at + 3, base, named);
                    continue;
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// Reads the rest of a path, or of a `use` tree, from `at`; returns where it ended.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    mut so_far: Vec<String>,
    named: &mut Vec<Named>,
) -> usize {
    let start = at.min(tokens.len() - 1);
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) if word == "super" => so_far = parent(&so_far),
            Some(TokenTree::Ident(word)) if word == "self" => {}
            Some(TokenTree::Ident(word)) => so_far.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner = inside(group);
                for branch in inner.split(|token| is_punct(Some(token), ',')) {
                    if !branch.is_empty() {
                        path(branch, 0, so_far.clone(), named);
                    }
                }
                return at + 1;
            }
            Some(token) if is_punct(Some(token), '*') => so_far.push("*".to_owned()),
            _ => break,
        }
        at += 1;
        if !is_path_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    named.push(Named {
        path: so_far,
        line: line(&tokens[start]),
    });
    at
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Reads `pub use` of the crate root: the last word of each path (or its alias) and the path.
fn exported(tokens: &[TokenTree]) -> Exports {
    let mut exports = Exports::new();
    for item in tokens.split(|token| is_punct(Some(token), ';')) {
        let Some(at) = item.iter().position(|token| is_ident(Some(token), "use")) else {
            continue;
        };
        leaves(&item[at + 1..], Vec::new(), &mut exports);
    }
    exports
}

fn leaves(tree: &[TokenTree], mut so_far: Vec<String>, exports: &mut Exports) {
    let mut alias = None;
    for (at, token) in tree.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                alias = tree.get(at + 1).map(ToString::to_string);
                break;
            }
            TokenTree::Ident(word) if word != "crate" && word != "self" => {
                so_far.push(word.to_string());
            }
            TokenTree::Group(group) => {
                for branch in inside(group).split(|token| is_punct(Some(token), ',')) {
                    leaves(branch, so_far.clone(), exports);
                }
                return;
            }
            _ => {}
        }
    }
    if let Some(name) = alias.or_else(|| so_far.last().cloned()) {
        exports.insert(name, so_far);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, text: &str) -> Vec<String> {
        let root =
            "pub mod data; pub use data::{Key, claim::Claim as Wish}; pub use engine::Lease;";
        let sources = [
            Source::new(format!("{LIBRARY}lib.rs"), root),
            Source::new(format!("{LIBRARY}{file}"), text),
        ];
        check(&sources)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_arrow_outside_the_table_is_named_with_its_place() {
        assert_eq!(
            findings("data/key.rs", "//! k\n\nuse crate::rule::Line;"),
            [
                "crates/monban/src/data/key.rs:3: data → rule is not in the layer table: crate::rule::Line"
            ]
        );
    }

    #[test]
    fn arrows_of_the_table_pass() {
        let text = "use crate::{contract::Store, data::*, rule};\nuse super::sibling::X;";
        assert!(findings("stores/file/door.rs", text).is_empty());
        assert!(findings("connect.rs", "use crate::stores::{file::A, memory};").is_empty());
        assert!(findings("testing/mod.rs", "use crate::stores::memory::Memory;").is_empty());
        let inner = "mod inner { use super::Line; use super::super::clock; }";
        assert!(findings("rule/line.rs", inner).is_empty());
    }

    #[test]
    fn no_way_of_writing_a_path_hides_an_arrow() {
        for text in [
            "use crate::engine;",
            "use crate::{data::Key, engine::{self, Gate}};",
            "use super::super::engine::Gate;",
            "use super::super::{data::Key, engine::Gate};",
            "fn f() -> crate::engine::Gate { todo() }",
            "fn f() { let x = monban::engine::Gate::new(); }",
            "macro_rules! m { () => { $crate::engine::gate() } }",
            "m!(crate::engine::X);",
            "mod inner { use super::super::super::super::engine::Gate; }",
            "use crate::Lease;",
        ] {
            assert!(!findings("stores/file/door.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_store_names_no_other_store() {
        for text in [
            "use crate::stores::memory::M;",
            "use super::super::memory::M;",
            "use crate::stores::*;",
        ] {
            assert_eq!(findings("stores/file/door.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn names_of_the_crate_root_stand_for_their_folder_or_are_refused() {
        assert!(findings("rule/line.rs", "use crate::{Key, Wish};").is_empty());
        assert_eq!(findings("rule/line.rs", "use crate::Lease;").len(), 1);
        assert_eq!(findings("rule/line.rs", "use crate::*;").len(), 1);
        assert_eq!(findings("rule/line.rs", "use crate::Unknown;").len(), 1);
    }

    #[test]
    fn a_folder_without_a_row_is_refused() {
        assert_eq!(findings("misc/x.rs", "use crate::data::Key;").len(), 1);
    }

    #[test]
    fn words_strings_and_tests_are_no_arrows() {
        let text = "//! crate::engine::X\n// crate::engine::X\nconst A: &str = \"crate::engine::X\";\n\
                    #[cfg(test)] mod tests { use crate::engine::X; }";
        assert!(findings("data/key.rs", text).is_empty());
    }

    #[test]
    fn the_table_has_no_way_round() {
        // Left never names right: each row names only rows above it, so no cycle can be written.
        for (place, (from, to)) in TABLE.iter().enumerate() {
            for name in *to {
                let above = TABLE[..place]
                    .iter()
                    .any(|(row, _)| matches(row, name) || row == name);
                assert!(above, "{from} → {name}");
            }
        }
    }
}
