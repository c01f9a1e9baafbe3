//! The page: a timeline of holders per key with the faults across it, in one file that loads nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::event::{Mode, What};
use crate::story::{Hold, Story, worker};
use crate::verdict::{Verdict, Violation};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
/// More bars than a browser draws at ease; what is near a counterexample is shown in any case.
const BARS: usize = 40_000;
/// How many counterexamples of one checker the page lists in words.
const LISTED: usize = 50;
/// How near, in nanoseconds.
const NEAR: u64 = 3_000_000_000;

/// The verdict as a page.
#[must_use]
pub(super) fn html(story: &Story, verdicts: &[Verdict], facts: &[String]) -> String {
    let broken = verdicts.iter().filter(|verdict| !verdict.holds()).count();
    let summary = match broken {
        0 => "every invariant held".to_owned(),
        1 => "1 check is broken".to_owned(),
        some => format!("{some} checks are broken"),
    };
    let store = story.events.iter().find_map(|event| match &event.what {
        What::Run { store, seed, .. } => Some(format!("{store}, seed {seed}")),
        _ => None,
    });
    let facts: String = facts
        .iter()
        .map(|fact| format!("<li>{}</li>", escape(fact)))
        .collect();
    let parts: HashMap<&str, String> = HashMap::from([
        ("TITLE", escape(&store.unwrap_or_default())),
        ("CLASS", if broken == 0 { "good" } else { "bad" }.to_owned()),
        ("SUMMARY", summary),
        ("FACTS", facts),
        ("VERDICTS", verdicts.iter().map(row).collect()),
        ("FOUND", lists(story, verdicts)),
        // A `</script>` inside would end the element.
        (
            "DATA",
            data(story, verdicts).to_string().replace('<', "\\u003c"),
        ),
        ("SCRIPT", SCRIPT.to_owned()),
    ]);
    fill(PAGE, &parts)
}

/// Puts parts into the places of a template; what a part says is not read again.
fn fill(template: &str, parts: &HashMap<&str, String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(parts.get(name).map_or("", String::as_str));
        rest = after;
    }
    out + rest
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn row(verdict: &Verdict) -> String {
    let (class, word, of) = if verdict.holds() {
        ("good", "holds", "")
    } else {
        ("bad", "BROKEN", " class=\"broken\"")
    };
    let figures: String = verdict
        .figures
        .iter()
        .map(|figure| format!("<br><small>{}</small>", escape(figure)))
        .collect();
    format!(
        "<tr{of}><td>{}</td><td>{}<br><small>{}</small>{figures}</td><td class=\"{class}\">{word}</td><td class=\"n\">{}</td></tr>",
        verdict.invariant,
        verdict.checker,
        escape(verdict.claim),
        escape(&verdict.rate())
    )
}

/// Counterexamples in words, each with a button that shows it.
fn lists(story: &Story, verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    for verdict in verdicts {
        for (word, found) in [
            ("violations", &verdict.violations),
            ("explained", &verdict.explained),
        ] {
            if found.is_empty() {
                continue;
            }
            out.push_str(&format!(
                "<details{}><summary><b>{} {}</b>: {} {word}</summary><ol class=\"found\">",
                if word == "violations" { " open" } else { "" },
                verdict.invariant,
                verdict.checker,
                found.len()
            ));
            for one in found.iter().take(LISTED) {
                out.push_str(&format!(
                    "<li><button data-f=\"{}\" data-t=\"{}\">show</button> {} {}</li>",
                    micros(story, one.from),
                    micros(story, one.to),
                    escape(&one.key),
                    escape(&one.what)
                ));
            }
            out.push_str("</ol></details>");
        }
    }
    out
}

fn micros(story: &Story, at: u64) -> u64 {
    at.saturating_sub(story.time.0) / 1_000
}

fn data(story: &Story, verdicts: &[Verdict]) -> Value {
    let bad: HashSet<&str> = verdicts
        .iter()
        .flat_map(|verdict| &verdict.violations)
        .flat_map(|found| found.holds.iter().map(String::as_str))
        .collect();
    let found: Vec<Value> = verdicts
        .iter()
        .flat_map(|verdict| {
            let all = verdict.violations.iter().map(|one| (one, false));
            let all = all.chain(verdict.explained.iter().map(|one| (one, true)));
            all.map(move |(one, explained)| found(story, verdict, one, explained))
        })
        .collect();
    let keys: BTreeSet<&str> = story.holds.iter().map(|hold| hold.key.as_str()).collect();
    json!({
        "end": micros(story, story.time.1).max(1),
        "keys": keys,
        "holds": bars(story, verdicts, &bad),
        "faults": story.faults.iter().map(|fault| json!({
            "f": micros(story, fault.from),
            "t": micros(story, fault.to),
            "on": fault.on,
            "kind": fault.kind,
            "what": fault.what,
        })).collect::<Vec<_>>(),
        "writes": refused(story),
        "found": found,
    })
}

fn found(story: &Story, verdict: &Verdict, one: &Violation, explained: bool) -> Value {
    json!({
        "i": verdict.invariant,
        "c": verdict.checker,
        "k": one.key,
        "f": micros(story, one.from),
        "t": micros(story, one.to),
        "what": one.what,
        "explained": explained,
    })
}

/// All claims, or, of very many, those near a counterexample and the first.
fn bars(story: &Story, verdicts: &[Verdict], bad: &HashSet<&str>) -> Vec<Value> {
    let all = story.holds.iter();
    let all: Vec<_> = all
        .filter_map(|hold| Some((hold, hold.claimed()?)))
        .collect();
    let near = |at: u64| {
        let found = verdicts.iter().flat_map(|verdict| &verdict.violations);
        found
            .into_iter()
            .any(|one| one.from <= at + NEAR && at <= one.to + NEAR)
    };
    let few = all.len() <= BARS;
    all.iter()
        .enumerate()
        .filter(|(number, (_, (from, _)))| few || *number < BARS / 2 || near(*from))
        .map(|(_, (hold, claim))| bar(story, hold, *claim, bad))
        .collect()
}

fn bar(story: &Story, hold: &Hold, (from, to): (u64, u64), bad: &HashSet<&str>) -> Value {
    let mode = match hold.mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Permits { n, of } => format!("{n}/{of}"),
    };
    let end = if hold.release == Some(to) {
        "released"
    } else if hold.died == Some(to) {
        "its process died"
    } else if hold.lost.as_ref().is_some_and(|(at, _)| *at == to) {
        "told lost"
    } else {
        "not valid any more"
    };
    let mut bar = json!({
        "id": hold.id,
        "k": hold.key,
        "w": worker(&hold.process),
        "m": mode,
        "f": micros(story, from),
        "t": micros(story, to),
        "n": hold.fence,
        "e": end,
    });
    if bad.contains(hold.id.as_str()) {
        bar["bad"] = json!(true);
    }
    bar
}

fn refused(story: &Story) -> Vec<Value> {
    let writes = story.events.iter().filter_map(|event| match &event.what {
        What::Write {
            hold,
            key,
            fence,
            accepted: false,
            ..
        } => Some(json!({ "t": micros(story, event.t), "k": key, "h": hold, "n": fence })),
        _ => None,
    });
    writes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::check;
    use crate::checkers::tale::{Tale, X};

    #[test]
    fn a_page_shows_the_violation_and_loads_nothing() {
        let story = Tale::new()
            .hold("a", "k</script><b>", X, (0, 10), 1)
            .hold("b", "k</script><b>", X, (9, 20), 2)
            .fault("stop", Some("a"), (3, 8))
            .story();
        let page = html(&story, &check(&story), &["{{DATA}} & <x>".to_owned()]);
        assert!(page.contains("BROKEN") && page.contains("1 check is broken"));
        assert!(page.contains("{{DATA}} &amp; &lt;x&gt;"), "a fact is text");
        assert!(!page.contains("k</script>"), "a key is text");
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        let data = page
            .split_once("id=\"data\">")
            .and_then(|(_, rest)| rest.split_once("</script>"))
            .map(|(data, _)| data)
            .unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["holds"].as_array().unwrap().len(), 2);
        assert_eq!(data["holds"][0]["bad"], true);
        assert_eq!(data["found"][0]["explained"], false);
        assert_eq!(data["faults"][0]["on"], "a");
    }
}
