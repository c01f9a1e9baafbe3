//! `cargo xtask mutants [NAME...]`: bugs planted in monban on purpose, each with the test that must find it.
//!
//! A mutant is a patch under `mutants/` whose header names the bug and the test. The gate applies it to a copy of
//! the work tree, builds, and runs that one test: it must fail, and pass without the patch. A bug that no test finds
//! fails the gate, as does a patch that no longer applies. `--check`, which CI runs, builds nothing: patches apply,
//! the tests that they name exist, and `docs/mutants.md` says what the headers say.

mod patch;
mod table;
mod tree;
mod trial;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::services;
use crate::shell::{self, Outcome};
use patch::Mutant;
use tree::Tree;
use trial::{Bench, Verdict};

/// Runs the gate for the named mutants, or for all.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mutants = patch::read_all()?;
    match words[..] {
        ["--check"] => check(&mutants),
        ["--table"] => table::write(&mutants),
        _ if words.iter().any(|word| word.starts_with('-')) => {
            Err("say `mutants [--check | --table | NAME...]`".into())
        }
        _ => try_all(&chosen(mutants, &words)?),
    }
}

/// Those whose file name begins with one of the words: `07` or `07-renewal` will do.
fn chosen(mutants: Vec<Mutant>, words: &[&str]) -> Outcome<Vec<Mutant>> {
    if let Some(unknown) = words.iter().find(|word| {
        mutants
            .iter()
            .all(|mutant| !mutant.name.starts_with(**word))
    }) {
        return Err(format!("no mutant's name begins with {unknown}").into());
    }
    let wanted =
        |mutant: &Mutant| words.is_empty() || words.iter().any(|w| mutant.name.starts_with(w));
    Ok(mutants.into_iter().filter(wanted).collect())
}

fn check(mutants: &[Mutant]) -> Outcome {
    let mut wrong = Vec::new();
    for mutant in mutants {
        wrong.extend(tree::applies(shell::root(), mutant).err());
        wrong.extend(patch::test_exists(mutant).err());
    }
    wrong.extend(table::check(mutants).err());
    if wrong.is_empty() {
        eprintln!("{} mutants apply, and their tests exist", mutants.len());
        return Ok(());
    }
    let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Err(lines.join("\n").into())
}

fn try_all(mutants: &[Mutant]) -> Outcome {
    let mut names: Vec<&str> = mutants.iter().flat_map(Mutant::services).collect();
    names.sort_unstable();
    names.dedup();
    let running = services::up(&names)?;
    let tree = Tree::copy()?;
    let bench = Bench::new(
        &tree,
        running
            .iter()
            .flat_map(|one| one.variables.clone())
            .collect(),
    );
    let sound = without(&bench, mutants);
    let mut rows = Vec::new();
    for mutant in in_order_of_building(mutants) {
        let start = Instant::now();
        let result = match &sound[&mutant.trial()] {
            Ok(()) => found(&bench, &tree, mutant),
            Err(why) => Err(format!("without the patch {why}")),
        };
        let took = start.elapsed().as_secs_f64();
        let verdict = result.as_ref().map_or_else(String::clone, String::clone);
        eprintln!("mutant {:<34} {took:>6.1} s  {verdict}", mutant.name);
        rows.push((mutant, result));
    }
    report(&rows)
}

/// What is built alike comes together, so that less is built.
fn in_order_of_building(mutants: &[Mutant]) -> Vec<&Mutant> {
    let mut sorted: Vec<&Mutant> = mutants.iter().collect();
    sorted.sort_by(|a, b| (&a.target, &a.name).cmp(&(&b.target, &b.name)));
    sorted
}

type Sound = BTreeMap<(String, String), Result<(), String>>;

/// Runs every test without any patch: a test that fails by itself finds nothing.
fn without(bench: &Bench<'_>, mutants: &[Mutant]) -> Sound {
    let mut sound = Sound::new();
    for mutant in in_order_of_building(mutants) {
        sound
            .entry(mutant.trial())
            .or_insert_with(|| match bench.verdict(mutant) {
                Ok(Verdict::Passed) => Ok(()),
                Ok(other) => Err(format!("its test {other}")),
                Err(error) => Err(format!("it is not built: {error}")),
            });
    }
    sound
}

/// Plants one bug and says how it was found.
fn found(bench: &Bench<'_>, tree: &Tree, mutant: &Mutant) -> Result<String, String> {
    let planted = tree.plant(mutant).map_err(|error| error.to_string())?;
    let verdict = bench
        .verdict(mutant)
        .map_err(|error| format!("cannot be built: {error}"));
    planted.take_out().map_err(|error| error.to_string())?;
    match (verdict?, mutant.ends.as_deref()) {
        (Verdict::Failed, None) => Ok("found".to_owned()),
        (Verdict::Endless, Some("never")) => Ok("found: its test does not end".to_owned()),
        (Verdict::Passed, _) => Err("SURVIVED: its test passes".to_owned()),
        (other, _) => Err(format!("no verdict: its test {other}")),
    }
}

fn report(rows: &[(&Mutant, Result<String, String>)]) -> Outcome {
    let failed: Vec<String> = rows
        .iter()
        .filter_map(|(mutant, result)| Some((mutant, result.as_ref().err()?)))
        .map(|(mutant, why)| format!("{}: {why}\n  {}", mutant.name, mutant.breaks))
        .collect();
    if failed.is_empty() {
        eprintln!("{} mutants, all found", rows.len());
        return Ok(());
    }
    Err(format!(
        "{} of {} mutants\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n")
    )
    .into())
}
