//! Which stores a build has: features that are called as their stores, in the library and in the command.
//!
//! What a user is told of a store that is left out (`crates/monban/src/connect.rs`) names the feature by the name of
//! the store, so there must be one; and `full` must have every store, also the next.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;
use super::source::Source;
use crate::shell::Outcome;

const STORES: &str = "crates/monban/src/stores/";
const LIBRARY: &str = "monban";
const COMMAND: &str = "monban-cli";

/// Stores without a feature: in every build.
const ALWAYS: &[&str] = &["file", "memory"];
/// What the command has by default beside them. Not etcd: its client is the largest part of a build that has it.
const BY_DEFAULT: &[&str] = &["postgres", "redis"];

type Names<'a> = BTreeSet<&'a str>;

/// Refuses features of the library and of the command that are not those of the stores.
pub(super) fn check(sources: &[Source], metadata: &Value) -> Outcome<Vec<Finding>> {
    let with_feature = &stores(sources) - &ALWAYS.iter().copied().collect();
    let mut findings = Vec::new();
    let mut must = |package: &str, feature: &str, wanted: &Names<'_>| {
        let has = values(metadata, package, feature)?;
        if has.as_ref() != Some(wanted) {
            let what = format!("feature `{feature}` is to be {wanted:?}, and is {has:?}");
            findings.push(finding(sources, package, feature, what));
        }
        Outcome::Ok(())
    };
    must(LIBRARY, "default", &Names::new())?;
    must(COMMAND, "default", &BY_DEFAULT.iter().copied().collect())?;
    must(COMMAND, "full", &with_feature)?;
    for store in &with_feature {
        let of_the_library = format!("{LIBRARY}/{store}");
        must(COMMAND, store, &Names::from([of_the_library.as_str()]))?;
    }
    for store in &with_feature {
        if values(metadata, LIBRARY, store)?.is_none() {
            let what = format!("the store {store} has no feature of its name");
            findings.push(finding(sources, LIBRARY, store, what));
        }
    }
    Ok(findings)
}

/// The folders of stores.
fn stores(sources: &[Source]) -> Names<'_> {
    let inside = sources.iter().filter_map(|s| s.path.strip_prefix(STORES));
    inside
        .filter_map(|rest| Some(rest.split_once('/')?.0))
        .collect()
}

/// What a feature of a package brings, if there is such a feature.
fn values<'a>(metadata: &'a Value, package: &str, feature: &str) -> Outcome<Option<Names<'a>>> {
    let packages = metadata["packages"].as_array();
    let found = packages
        .into_iter()
        .flatten()
        .find(|known| known["name"] == package)
        .ok_or_else(|| format!("cargo metadata knows no package {package}"))?;
    let values = found["features"][feature].as_array();
    Ok(values.map(|all| all.iter().filter_map(Value::as_str).collect()))
}

/// At the feature's line of the manifest, if it has one.
fn finding(sources: &[Source], package: &str, feature: &str, what: String) -> Finding {
    let path = format!("crates/{package}/Cargo.toml");
    let manifest = sources.iter().find(|source| source.path == path);
    let line = manifest.and_then(|source| {
        let mut lines = source.text.lines();
        lines.position(|line| line.split('=').next().map(str::trim) == Some(feature))
    });
    Finding {
        path,
        line: line.map_or(1, |before| before + 1),
        what,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources() -> Vec<Source> {
        let manifest = "[features]\ndefault = []\nfull = []\n";
        let stores = ["etcd", "file", "memory", "postgres", "redis"];
        let modules = stores.iter().map(|s| format!("{STORES}{s}/mod.rs"));
        let mut all: Vec<Source> = modules.map(|path| Source::new(path, "//! A")).collect();
        all.push(Source::new(format!("{STORES}mod.rs"), "//! B"));
        all.push(Source::new("crates/monban-cli/Cargo.toml", manifest));
        all
    }

    fn metadata() -> Value {
        json!({"packages": [
            {"name": "monban", "features": {
                "default": [], "etcd": ["dep:a"], "postgres": [], "redis": [], "tower": [],
            }},
            {"name": "monban-cli", "features": {
                "default": ["postgres", "redis"], "etcd": ["monban/etcd"], "postgres": ["monban/postgres"],
                "redis": ["monban/redis"], "full": ["etcd", "postgres", "redis"],
            }},
        ]})
    }

    fn found(sources: &[Source], metadata: &Value) -> Vec<String> {
        let findings = check(sources, metadata).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_features_of_the_stores_are_accepted() {
        assert_eq!(found(&sources(), &metadata()), Vec::<String>::new());
    }

    #[test]
    fn each_feature_that_is_not_its_store_s_is_refused_at_its_line() {
        let refused = |package: usize, feature: &str, value: Value, says: &str| {
            let mut metadata = metadata();
            metadata["packages"][package]["features"][feature] = value;
            let found = found(&sources(), &metadata);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(says), "{found:?}");
        };
        let command = "crates/monban-cli/Cargo.toml";
        let all = json!(["etcd", "postgres", "redis"]);
        refused(1, "default", all, &format!("{command}:2: "));
        refused(1, "default", json!(["redis"]), "\"redis\"");
        let two = json!(["postgres", "redis"]);
        refused(1, "full", two, &format!("{command}:3: "));
        refused(1, "etcd", json!(["monban/redis"]), "feature `etcd`");
        refused(1, "etcd", Value::Null, "feature `etcd`");
        refused(0, "redis", Value::Null, "no feature of its name");
        refused(0, "default", json!(["redis"]), "crates/monban/Cargo.toml");
    }

    #[test]
    fn a_new_store_needs_its_features() {
        let mut sources = sources();
        sources.push(Source::new(format!("{STORES}fdb/mod.rs"), "//! C"));
        let found = found(&sources, &metadata());
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|one| one.contains("fdb")), "{found:?}");
    }
}
