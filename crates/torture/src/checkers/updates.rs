//! I2 without any clock: lost updates of a counter that nothing but the lock protects.

use std::collections::BTreeMap;

use super::told;
use crate::event::What;
use crate::story::Story;
use crate::verdict::{Verdict, Violation};

/// A counter's value, and who wrote it when.
type Counter<'a> = (u64, Option<(&'a str, u64)>);

/// Finds writes that were based on a value which another write had replaced by then.
///
/// A holder may be paused between its last check and its write, and no lock can help that: an update which is lost
/// because a write arrived after its own lease had ended is explained. Such writes are what fencing is for.
#[must_use]
pub fn updates(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I2",
        "lost updates",
        "no update of an unguarded counter is lost, but by a holder that was paused past its lease",
    );
    verdict.of = "updates";
    let mut counters: BTreeMap<&str, Counter<'_>> = BTreeMap::new();
    let mut read: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &story.events {
        match &event.what {
            What::Read { hold, value, .. } => {
                read.insert(hold, *value);
            }
            What::Put { hold, key, value } => {
                verdict.trials += 1;
                let counter = counters.entry(key).or_insert((0, None));
                let based_on = read.remove(hold.as_str());
                if based_on != Some(counter.0) {
                    let other = counter.1;
                    let (found, explained) = lost(story, key, (hold, event.t), other);
                    if explained {
                        verdict.explained.push(found);
                    } else {
                        verdict.violations.push(found);
                    }
                }
                *counter = (*value, Some((hold, event.t)));
            }
            _ => {}
        }
    }
    verdict
}

/// The counterexample, and whether one of the two writes came after its own lease had ended.
fn lost(
    story: &Story,
    key: &str,
    (hold, at): (&str, u64),
    other: Option<(&str, u64)>,
) -> (Violation, bool) {
    let mut holds = vec![hold.to_owned()];
    let mut text = Vec::new();
    let mut late = false;
    let writes = [Some((hold, at)), other];
    for (name, at) in writes.into_iter().flatten() {
        let Some(writer) = story.named(name) else {
            continue;
        };
        let valid = writer.claimed().map_or(writer.asked, |(_, to)| to);
        let taken = writer.evicted.is_some_and(|when| when <= at);
        late |= valid <= at || taken || story.disturbed_server(writer.granted, at);
        text.push(told(story, writer));
        holds.push(name.to_owned());
    }
    holds.dedup();
    let violation = Violation {
        what: format!("an update was lost between {}", text.join(" and ")),
        key: key.to_owned(),
        from: other.map_or(at, |(_, at)| at),
        to: at,
        holds,
    };
    (violation, late)
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn found(tale: Tale) -> (usize, usize) {
        let verdict = updates(&tale.story());
        (verdict.violations.len(), verdict.explained.len())
    }

    #[test]
    fn updates_one_after_the_other_are_fine() {
        let tale = Tale::new()
            .hold("a", "k", X, (0, 10), 1)
            .counter("a", "k", (1, 0), (9, 1))
            .hold("b", "k", X, (10, 20), 2)
            .counter("b", "k", (11, 1), (19, 2));
        assert_eq!(found(tale), (0, 0));
    }

    #[test]
    fn a_lost_update_within_two_leases_is_found() {
        let tale = Tale::new()
            .hold("a", "k", X, (0, 20), 1)
            .hold("b", "k", X, (5, 20), 2)
            .counter("a", "k", (1, 0), (9, 1))
            .counter("b", "k", (6, 0), (10, 1));
        assert_eq!(found(tale), (1, 0));
    }

    #[test]
    fn a_write_after_the_end_of_its_lease_explains_it() {
        let tale = Tale::new()
            .granted(0, "w0.0", "a", "k", X, Some(5))
            .hold("b", "k", X, (7, 30), 2)
            .counter("b", "k", (8, 0), (9, 1))
            .counter("a", "k", (1, 0), (10, 1));
        assert_eq!(found(tale), (0, 1));
    }
}
