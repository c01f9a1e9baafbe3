//! `cargo xtask licences`: what the dependencies allow, by their own statement.
//!
//! Reads `cargo metadata`, so it needs neither the network nor another tool. `deny.toml` carries
//! the same list for those who have cargo-deny and its advisory database; a test compares the two.

use serde_json::Value;
use spdx::{Expression, ParseMode};

use crate::shell::{self, Outcome};

/// Licences that may stand in a dependency without anybody being asked.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Fails on every package whose licence the list does not cover.
pub(crate) fn run(_: &[String]) -> Outcome {
    let metadata = shell::metadata(&["--all-features"])?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata names no packages")?;
    let refused: Vec<String> = packages.iter().filter_map(refusal).collect();
    if refused.is_empty() {
        eprintln!("{} packages, all licences allowed", packages.len());
        return Ok(());
    }
    Err(refused.join("\n").into())
}

/// Why a package may not be used, if so.
fn refusal(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("a package without name");
    let verdict = match package["license"].as_str() {
        None => Err("states no licence".to_owned()),
        Some(licence) => judge(licence),
    };
    verdict.err().map(|why| format!("{name}: {why}"))
}

/// Whether an expression can be satisfied with allowed licences alone.
fn judge(expression: &str) -> Result<(), String> {
    // Lax, since older crates write `MIT/Apache-2.0`.
    let parsed = Expression::parse_mode(expression, ParseMode::LAX)
        .map_err(|error| format!("{expression}: {}", error.reason))?;
    let satisfied = parsed.evaluate(|wish| {
        // An exception only adds permissions to those of the licence before it.
        wish.license
            .id()
            .is_some_and(|licence| ALLOWED.contains(&licence.name))
    });
    if satisfied {
        Ok(())
    } else {
        Err(format!("{expression} is not allowed"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_allowed_side_of_or_suffices_and_and_needs_both() {
        for allowed in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(judge(allowed), Ok(()), "{allowed}");
        }
        for refused in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MPL-2.0",
            "SSPL-1.0 OR GPL-2.0-only",
            "Mine",
        ] {
            assert!(judge(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_refused_by_name() {
        let package = serde_json::json!({"name": "bare", "license": null});
        assert_eq!(refusal(&package).unwrap(), "bare: states no licence");
    }

    #[test]
    fn deny_toml_allows_what_is_allowed_here() {
        let text = fs::read_to_string(shell::root().join("deny.toml")).unwrap();
        let list = text
            .split_once("\nallow = [")
            .unwrap()
            .1
            .split_once(']')
            .unwrap()
            .0;
        let listed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        assert_eq!(listed, ALLOWED);
    }
}
