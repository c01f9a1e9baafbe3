//! The verdict for people: as text, and as one page that needs nothing else.

mod page;

use std::collections::BTreeMap;

use crate::event::What;
use crate::story::Story;
use crate::verdict::{Verdict, grouped, millis};

/// How many counterexamples the text shows of each checker.
const SHOWN: usize = 5;

/// The verdict as text.
#[must_use]
pub fn text(story: &Story, verdicts: &[Verdict], notes: &[String]) -> String {
    let mut out = String::new();
    for line in head(story) {
        out.push_str(&line);
        out.push('\n');
    }
    for (kind, times) in faults(story) {
        out.push_str(&format!("  {:>5} x {kind}\n", grouped(times)));
    }
    for note in notes {
        out.push_str(&format!("  {note}\n"));
    }
    out.push('\n');
    for verdict in verdicts {
        let mark = if verdict.holds() { "holds" } else { "BROKEN" };
        out.push_str(&format!(
            "{} {:<16} {mark:<7} {}\n",
            verdict.invariant,
            verdict.checker,
            verdict.rate()
        ));
        for figure in &verdict.figures {
            out.push_str(&format!("      {figure}\n"));
        }
        for found in verdict.violations.iter().take(SHOWN) {
            out.push_str(&format!("      {} ! {}\n", found.key, found.what));
        }
    }
    out
}

/// Store, seed, versions, size.
fn head(story: &Story) -> Vec<String> {
    let mut lines = Vec::new();
    for event in &story.events {
        if let What::Run {
            store, seed, facts, ..
        } = &event.what
        {
            lines.push(format!("store {store}, seed {seed}"));
            lines.extend(facts.iter().cloned());
        }
    }
    let granted = story.holds.iter().filter(|hold| hold.granted.is_some());
    lines.push(format!(
        "{} acquisitions, {} granted, by {} processes in {}; {} faults:",
        grouped(story.holds.len() as u64),
        grouped(granted.count() as u64),
        story.lives.len(),
        millis(story.time.1 - story.time.0),
        grouped(story.faults.len() as u64),
    ));
    lines
}

fn faults(story: &Story) -> BTreeMap<&str, u64> {
    let mut kinds = BTreeMap::new();
    for fault in &story.faults {
        *kinds.entry(fault.kind.as_str()).or_insert(0) += 1;
    }
    kinds
}

/// The verdict as a page.
#[must_use]
pub fn html(story: &Story, verdicts: &[Verdict], notes: &[String]) -> String {
    let mut facts = head(story);
    let kinds = faults(story);
    facts.extend(
        kinds
            .iter()
            .map(|(kind, times)| format!("{times} x {kind}")),
    );
    facts.extend(notes.iter().cloned());
    page::html(story, verdicts, &facts)
}
