//! I6: fences grow with every exclusive grant of a key, and with every grant of a seat.

use std::collections::BTreeMap;

use super::told;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation};

/// The grants of one key and seat, with their fences.
type Line<'a> = Vec<(&'a Hold, i64)>;

/// Orders the grants of each key (and seat) by when they were valid, and expects a greater fence each time; and no
/// fence twice, also not of a grant that was over when it arrived.
#[must_use]
pub fn fences(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I6",
        "fence order",
        "every exclusive grant carries a greater fence than any earlier one of its key (or seat)",
    );
    verdict.of = "fences";
    let mut lines: BTreeMap<(&str, Option<u32>), Line<'_>> = BTreeMap::new();
    for hold in &story.holds {
        if let (Some(_), Some(fence)) = (hold.granted, hold.fence) {
            let line = lines.entry((&hold.key, hold.seat)).or_default();
            line.push((hold, fence));
        }
    }
    for ((key, _), line) in lines {
        verdict.trials += line.len() as u64;
        verdict.violations.extend(twice(story, key, &line));
        let mut valid = line;
        // One that heard of its grant after that was freed by hand has no place in time.
        valid.retain(|(hold, _)| hold.claimed().is_some() && !hold.heard_too_late());
        valid.sort_by_key(|(hold, _)| hold.granted);
        for pair in valid.windows(2) {
            let ((before, lower), (after, higher)) = (pair[0], pair[1]);
            if higher < lower {
                verdict.violations.push(pair_of(story, key, before, after));
            }
        }
    }
    verdict
}

/// Grants with a fence that an earlier one of the line had.
fn twice(story: &Story, key: &str, line: &[(&Hold, i64)]) -> Vec<Violation> {
    let mut seen: BTreeMap<i64, &Hold> = BTreeMap::new();
    let mut found = Vec::new();
    for (hold, fence) in line {
        if let Some(before) = seen.insert(*fence, hold) {
            found.push(pair_of(story, key, before, hold));
        }
    }
    found
}

fn pair_of(story: &Story, key: &str, before: &Hold, after: &Hold) -> Violation {
    Violation {
        what: format!(
            "{} came after {}, with no greater fence",
            told(story, after),
            told(story, before)
        ),
        key: key.to_owned(),
        from: before.granted.unwrap_or(before.asked),
        to: after.granted.unwrap_or(after.asked),
        holds: vec![before.id.clone(), after.id.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn found(tale: Tale) -> usize {
        fences(&tale.story()).violations.len()
    }

    #[test]
    fn growing_fences_are_fine_with_gaps_and_per_key() {
        let tale = Tale::new()
            .hold("a", "k", X, (0, 1), 7)
            .hold("b", "k", X, (2, 3), 90)
            .hold("c", "other", X, (4, 5), 8);
        assert_eq!(found(tale), 0);
    }

    #[test]
    fn a_lower_fence_and_the_same_again_are_found() {
        let lower = Tale::new()
            .hold("a", "k", X, (0, 1), 9)
            .hold("b", "k", X, (2, 3), 8);
        assert_eq!(found(lower), 1);
        let same = Tale::new()
            .hold("a", "k", X, (0, 1), 9)
            .hold("b", "k", X, (2, 3), 9);
        assert_eq!(found(same), 1);
    }

    #[test]
    fn a_grant_that_was_freed_by_hand_before_it_was_heard_of_has_no_place_in_time() {
        let tale = Tale::new()
            .hold("b", "k", X, (6, 9), 9)
            .hold("a", "k", X, (7, 8), 8);
        assert_eq!(found(tale.evicted(5, "a")), 0);
    }

    #[test]
    fn seats_are_compared_each_with_its_own() {
        let permit = super::super::tale::permits(1, 2);
        let tale = Tale::new()
            .seated("a", "k", permit, (5, 30), 0)
            .seated("b", "k", permit, (6, 7), 1)
            .seated("c", "k", permit, (8, 9), 1);
        assert_eq!(found(tale), 0, "fences are the time of the grant there");
    }
}
