//! What is published may rest only on what is published: else `cargo publish` fails, and first on the day of a release.

use serde_json::Value;

use super::Finding;

/// Refuses a dependency of a published package on one of the workspace that is not; tests may have such.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = || metadata["packages"].as_array().into_iter().flatten();
    let is_published = |package: &Value| {
        package["publish"]
            .as_array()
            .is_none_or(|to| !to.is_empty())
    };
    let private: Vec<&Value> = packages()
        .filter(|package| !is_published(package))
        .map(|package| &package["name"])
        .collect();
    let mut findings = Vec::new();
    for package in packages().filter(|package| is_published(package)) {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] != "dev" && private.contains(&&dependency["name"]) {
                let name = |of: &Value| of["name"].as_str().unwrap_or_default().to_owned();
                findings.push(Finding {
                    path: "Cargo.toml".to_owned(),
                    line: 1,
                    what: format!(
                        "{} is published, and {} that it needs is not",
                        name(package),
                        name(dependency)
                    ),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_published_package_rests_on_no_private_one_but_in_tests() {
        let found = |kind: Value, publish: Value| {
            let needs = json!([{"name": "kit", "kind": kind}, {"name": "serde", "kind": null}]);
            let metadata = json!({"packages": [
                {"name": "lock", "publish": publish, "dependencies": needs},
                {"name": "kit", "publish": [], "dependencies": []},
            ]});
            let findings = check(&metadata);
            findings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(found(json!("dev"), Value::Null), none);
        assert_eq!(found(Value::Null, json!([])), none);
        for kind in [Value::Null, json!("build")] {
            let found = found(kind, Value::Null);
            assert_eq!(
                found,
                ["Cargo.toml:1: lock is published, and kit that it needs is not"]
            );
        }
    }
}
