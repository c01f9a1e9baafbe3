//! I5: nothing is left behind: no claim in the store, no descriptor, thread or watched lease in a process.

use std::collections::BTreeMap;

use crate::event::What;
use crate::story::Story;
use crate::verdict::{Verdict, Violation};

/// What a process may have open more than before its first work: a connection that is being mended.
const SPARE: usize = 2;

/// Compares what every process that ended by itself had open before its first and after its last work, and what the
/// store had after all had ended and a TTL had passed.
#[must_use]
pub fn leaks(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I5",
        "leaks",
        "after everybody has stopped and a TTL has passed, everything is as it was before",
    );
    verdict.of = "processes and stores";
    let mut baseline: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for event in &story.events {
        match &event.what {
            What::Census {
                first: true,
                descriptors,
                threads,
                ..
            } => {
                baseline.insert(&event.p, (*descriptors, *threads));
            }
            What::Census {
                first: false,
                residue,
                descriptors,
                threads,
            } => {
                verdict.trials += 1;
                let before = baseline.get(event.p.as_str()).copied().unwrap_or_default();
                let grown = [
                    ("keys in use or leases watched", *residue, 0),
                    ("descriptors", *descriptors, before.0 + SPARE),
                    ("threads", *threads, before.1 + SPARE),
                ];
                for (what, now, allowed) in grown {
                    if now > allowed {
                        let text = format!("{}: {now} {what}, {allowed} allowed", event.p);
                        verdict.violations.push(left(text, event.t));
                    }
                }
            }
            What::Left { things } => {
                verdict.trials += 1;
                for thing in things {
                    let text = format!("left in the store: {thing}");
                    verdict.violations.push(left(text, event.t));
                }
            }
            _ => {}
        }
    }
    verdict
}

fn left(what: String, at: u64) -> Violation {
    Violation {
        what,
        key: String::new(),
        from: at,
        to: at,
        holds: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::Tale;
    use super::*;

    fn census(first: bool, residue: usize, descriptors: usize, threads: usize) -> What {
        What::Census {
            first,
            residue,
            descriptors,
            threads,
        }
    }

    fn found(after: What) -> usize {
        let tale = Tale::new()
            .event(1, "w0.0", census(true, 0, 10, 4))
            .event(9, "w0.0", after);
        leaks(&tale.story()).violations.len()
    }

    #[test]
    fn what_is_as_before_is_fine_and_what_has_grown_is_found() {
        assert_eq!(found(census(false, 0, 10, 4)), 0);
        assert_eq!(found(census(false, 0, 8, 3)), 0);
        assert_eq!(found(census(false, 1, 10, 4)), 1);
        assert_eq!(found(census(false, 0, 13, 4)), 1);
        assert_eq!(found(census(false, 0, 10, 7)), 1);
    }

    #[test]
    fn what_is_left_in_the_store_is_found() {
        let left = |things: &[&str]| {
            let things = things.iter().map(ToString::to_string).collect();
            found(What::Left { things })
        };
        assert_eq!(left(&[]), 0);
        assert_eq!(left(&["key k", "file f"]), 2);
    }
}
