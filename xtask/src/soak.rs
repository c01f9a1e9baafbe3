//! `cargo xtask soak [--minutes N] [--seed N] [STORE...]`: the torture test of every store, for minutes.
//!
//! A store is one entry of [`STORES`]. Histories and reports go to `target/torture/STORE`; the verdicts are printed, and
//! belong into `docs/torture.md` with their seeds.

use crate::services;
use crate::shell::{self, Outcome};

/// One store to torture.
struct Store {
    name: &'static str,
    how: How,
}

enum How {
    /// A store without a server.
    Url(fn() -> String),
    /// A server that the torture test starts itself, and so may kill and stop; the service installs it.
    Own(&'static str),
    /// A server that runs as a service: its URL is in this variable.
    Service(&'static str, &'static str),
}

/// Every store. For one whose server torture cannot start, `How::Service("name", "MONBAN_TEST_NAME")`.
const STORES: &[Store] = &[
    store("memory", How::Url(|| "memory:".to_owned())),
    store("file", How::Url(files)),
    store("postgres", How::Own("postgres")),
    store("redis", How::Own("redis")),
    store("etcd", How::Own("etcd")),
    // The same server as somebody else's: no fault of the server itself, all of those around it.
    store("redis-service", How::Service("redis", "MONBAN_TEST_REDIS")),
];

const fn store(name: &'static str, how: How) -> Store {
    Store { name, how }
}

fn files() -> String {
    let dir = shell::root().join("target/torture/file/locks");
    format!("file:{}", dir.display())
}

/// What the command line asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    minutes: u64,
    seed: Option<u64>,
    names: Vec<&'a str>,
}

/// Tortures the named stores, or all.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let asked = parse(&words)?;
    let mut broken = Vec::new();
    for store in STORES {
        if !asked.names.is_empty() && !asked.names.contains(&store.name) {
            continue;
        }
        eprintln!("\n== {}", store.name);
        if let Err(error) = torture(store, &asked) {
            eprintln!("{error}");
            broken.push(store.name);
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("broken: {}", broken.join(", ")).into())
    }
}

fn torture(store: &Store, asked: &Asked<'_>) -> Outcome {
    let mut command = shell::cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "monban-torture",
        "--",
    ]);
    let out = shell::root().join("target/torture").join(store.name);
    std::fs::create_dir_all(&out)?;
    command.arg("--out").arg(&out);
    command.arg("--lasts").arg(format!("{}m", asked.minutes));
    if let Some(seed) = asked.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    let _running = match store.how {
        How::Url(url) => {
            command.arg("--store").arg(url());
            Vec::new()
        }
        How::Own(name) => {
            services::install(&[name])?;
            command.arg("--server").arg(name);
            Vec::new()
        }
        How::Service(name, variable) => {
            let running = services::up(&[name])?;
            let variables = running.iter().flat_map(|one| &one.variables);
            let url = variables.into_iter().find(|(known, _)| *known == variable);
            let Some((_, url)) = url else {
                return Err(format!("the service {name} says no {variable}").into());
            };
            command.arg("--store").arg(url);
            running
        }
    };
    shell::run(&mut command)
}

fn parse<'a>(words: &[&'a str]) -> Outcome<Asked<'a>> {
    let mut asked = Asked {
        minutes: 3,
        seed: None,
        names: Vec::new(),
    };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--minutes" => asked.minutes = number(rest.next())?.max(1),
            "--seed" => asked.seed = Some(number(rest.next())?),
            name if STORES.iter().any(|store| store.name == name) => asked.names.push(name),
            _ => {
                let known: Vec<&str> = STORES.iter().map(|store| store.name).collect();
                let known = known.join("|");
                return Err(format!("say `soak [--minutes N] [--seed N] [{known}]...`").into());
            }
        }
    }
    Ok(asked)
}

fn number(word: Option<&&str>) -> Outcome<u64> {
    let word = word.ok_or("a number is missing")?;
    Ok(word.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_and_the_rest_is_refused() {
        let asked = parse(&["--minutes", "5", "file", "--seed", "9"]).unwrap();
        let minutes = 5;
        let (seed, names) = (Some(9), vec!["file"]);
        assert_eq!(
            asked,
            Asked {
                minutes,
                seed,
                names
            }
        );
        assert!(parse(&["--minutes"]).is_err());
        assert!(parse(&["--minutes", "x"]).is_err());
        assert!(parse(&["oracle"]).is_err());
    }
}
