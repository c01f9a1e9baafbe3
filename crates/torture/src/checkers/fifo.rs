//! I7: first come, first served, where the store promises it.

use super::told;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation};

/// Finds pairs of which one stood in line before the other had asked, excluded it, and was served after it.
///
/// Only pairs that cannot hold together tell: two readers may be served at once and hear of it in any order. Who was
/// disturbed may have lost its place.
#[must_use]
pub fn fifo(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I7",
        "order",
        "who stood in line before another had asked is served before it",
    );
    verdict.of = "pairs in line";
    if !story.ordered {
        verdict
            .figures
            .push("this store promises no order".to_owned());
        return verdict;
    }
    for (key, holds) in story.by_key() {
        let mut line: Vec<(&Hold, u64)> = holds
            .into_iter()
            .filter_map(|hold| Some((hold, hold.queued?)))
            .filter(|(hold, _)| hold.granted.is_some())
            .collect();
        line.sort_by_key(|(_, queued)| *queued);
        for (at, (first, queued)) in line.iter().enumerate() {
            let served = first.granted.unwrap_or(u64::MAX);
            let rivals = story.rivals(key, *queued, served);
            let later = line[at + 1..].len();
            verdict.trials += later.min(rivals.len()) as u64;
            for other in rivals {
                if inverted(first, *queued, other) {
                    judge(story, &mut verdict, first, other);
                }
            }
        }
    }
    verdict
}

/// Whether the other asked after the first stood in line, was served before it, and could not be beside it.
fn inverted(first: &Hold, queued: u64, other: &Hold) -> bool {
    let earlier = match (other.claimed(), first.granted) {
        (Some((from, _)), Some(served)) => from < served,
        _ => false,
    };
    earlier && other.asked > queued && first.mode.excludes(other.mode)
}

fn judge(story: &Story, verdict: &mut Verdict, first: &Hold, other: &Hold) {
    let to = first.granted.unwrap_or(story.time.1);
    let found = Violation {
        what: format!(
            "{} was served before {}, which stood in line when it asked",
            told(story, other),
            told(story, first)
        ),
        key: first.key.clone(),
        from: first.queued.unwrap_or(first.asked),
        to,
        holds: vec![first.id.clone(), other.id.clone()],
    };
    if story.disturbed(&first.process, first.asked.saturating_sub(story.ttl), to) {
        verdict.explained.push(found);
    } else {
        verdict.violations.push(found);
    }
}

impl Story {
    /// Who asked for this key within this time.
    fn rivals(&self, key: &str, from: u64, to: u64) -> Vec<&Hold> {
        let start = self.holds.partition_point(|hold| hold.asked <= from);
        self.holds[start..]
            .iter()
            .take_while(|hold| hold.asked < to)
            .filter(|hold| hold.key == key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;
    use crate::event::Mode::{self, Shared};

    /// `a` stands in line from 5 on and is served at 30; `b` asks at 10 and is served at `at`.
    fn pair(at: u64, (first, second): (Mode, Mode)) -> Tale {
        Tale::new()
            .asked(3_000, "w0.0", "a", "k", first)
            .queued(3_005, "w0.0", "a")
            .given(3_030, "w0.0", "a", 1)
            .release(3_035, "w0.0", "a")
            .asked(3_010, "w1.0", "b", "k", second)
            .queued(3_011, "w1.0", "b")
            .given(3_000 + at, "w1.0", "b", 2)
            .release(3_000 + at + 5, "w1.0", "b")
    }

    fn found(tale: Tale) -> (usize, usize) {
        let verdict = fifo(&tale.story());
        assert!(verdict.trials > 0);
        (verdict.violations.len(), verdict.explained.len())
    }

    #[test]
    fn who_came_first_is_served_first() {
        assert_eq!(found(pair(40, (X, X))), (0, 0));
        assert_eq!(found(pair(20, (X, X))), (1, 0));
    }

    #[test]
    fn a_reader_may_not_overtake_a_writer_but_readers_may_hear_in_any_order() {
        assert_eq!(found(pair(20, (X, Shared))), (1, 0));
        assert_eq!(found(pair(20, (Shared, Shared))), (0, 0));
    }

    #[test]
    fn who_was_disturbed_may_have_lost_its_place() {
        let tale = pair(20, (X, X)).fault("partition", Some("w0"), (3_001, 3_002));
        assert_eq!(found(tale), (0, 1));
    }
}
