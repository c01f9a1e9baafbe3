//! The builds that `--all-features` is not: without any server, and the command as it is by default.

use std::process::{Command, Output};

use serde_json::Value;

use crate::shell::{self, Outcome};

const COMMAND: &str = "monban-cli";
/// Of `monban`: bad usage, or input that cannot be used.
const USAGE: i32 = 64;
/// One URL of each store that a build may leave out, by its feature. Nothing listens there.
const LEFT_OUT: &[(&str, &str)] = &[
    ("etcd", "etcd://127.0.0.1:1"),
    ("postgres", "postgres://me@127.0.0.1:1/d"),
    ("redis", "redis://127.0.0.1:1"),
];

/// Compiles both, and asks the command that has no server for each of them.
pub(crate) fn check() -> Outcome {
    clippy(&["--package", "monban", "--no-default-features"])?;
    clippy(&["--package", COMMAND])?;
    let program = build(&["--package", COMMAND, "--no-default-features"])?;
    for (feature, url) in LEFT_OUT {
        let mut monban = Command::new(&program);
        monban.args(["run", "--store", url, "k", "--", "echo", "ran"]);
        let ended = monban.output()?;
        judge(feature, &ended).map_err(|what| format!("{url}, without `{feature}`: {what}"))?;
    }
    eprintln!("{} left-out stores are named", LEFT_OUT.len());
    Ok(())
}

fn clippy(build: &[&str]) -> Outcome {
    let mut clippy = shell::cargo(&["clippy", "--locked"]);
    shell::run(clippy.args(build).args(["--", "-D", "warnings"]))
}

/// Builds one program, and says where it is.
fn build(words: &[&str]) -> Outcome<String> {
    let mut cargo = shell::cargo(&["build", "--locked", "--message-format", "json"]);
    let said = shell::output(cargo.args(words))?;
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut programs =
        messages.filter_map(|message: Value| Some(message["executable"].as_str()?.to_owned()));
    Ok(programs.next().ok_or("cargo built no program")?)
}

/// Whether the command named what it lacks, how to get it, and ran nothing.
fn judge(feature: &str, ended: &Output) -> Result<(), String> {
    let said = String::from_utf8_lossy(&ended.stderr);
    let wanted = format!(
        "monban: the {feature} store cannot do this: this build leaves it out; build with feature `{feature}`: \
         `cargo install --locked --path crates/monban-cli --features {feature}` for the command, \
         `cargo add monban --features {feature}` for a program\n"
    );
    if said != wanted {
        return Err(format!("it says {said:?}, not {wanted:?}"));
    }
    match ended.status.code() {
        Some(USAGE) if ended.stdout.is_empty() => Ok(()),
        Some(USAGE) => Err("it ran its command".to_owned()),
        other => Err(format!("it ends with {other:?}, not {USAGE}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn only_the_exact_words_and_code_are_accepted() {
        let words = "monban: the etcd store cannot do this: this build leaves it out; build with feature `etcd`: \
                     `cargo install --locked --path crates/monban-cli --features etcd` for the command, \
                     `cargo add monban --features etcd` for a program\n";
        let ended = |code: i32, out: &str, err: &str| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: out.into(),
            stderr: err.into(),
        };
        assert_eq!(judge("etcd", &ended(64, "", words)), Ok(()));
        for wrong in [
            ended(69, "", words),
            ended(64, "ran\n", words),
            ended(64, "", "monban: the etcd store is unavailable: refused\n"),
        ] {
            assert!(judge("etcd", &wrong).is_err());
        }
        assert!(judge("redis", &ended(64, "", words)).is_err());
    }
}
