//! I1: the fenced resource takes no write of an older grant after one of a newer grant.

use std::collections::BTreeMap;

use super::told;
use crate::event::What;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation, grouped};

/// Judges the writes that the resource took by when their grants began, not by their fences: so a fence that was given
/// out in the wrong order is found here too. A refused write of the newest grant is a violation as well.
#[must_use]
pub fn resource(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I1",
        "fenced resource",
        "no write of an older grant is accepted after one of a newer grant",
    );
    verdict.of = "writes offered";
    let mut newest: BTreeMap<(&str, Option<u32>), &Hold> = BTreeMap::new();
    let mut stale = 0;
    for event in &story.events {
        let What::Write {
            hold,
            key,
            seat,
            accepted,
            fence,
        } = &event.what
        else {
            continue;
        };
        verdict.trials += 1;
        let Some(writer) = story.named(hold) else {
            continue;
        };
        let last = newest.entry((key, *seat)).or_insert(writer);
        // A grant that was over when it arrived has no place in time: only its fence tells its age.
        let older = match writer.claimed().filter(|_| !writer.heard_too_late()) {
            Some(_) => writer.granted < last.granted,
            None => Some(*fence) < last.fence,
        };
        stale += u64::from(older);
        if writer.id != last.id && older == *accepted {
            verdict
                .violations
                .push(found(story, key, (writer, last), event.t));
        }
        if *accepted && !older {
            *last = writer;
        }
    }
    verdict.figures.push(format!(
        "writes of overtaken holders: {} offered, {} accepted",
        grouped(stale),
        grouped(verdict.violations.len() as u64)
    ));
    verdict
}

fn found(story: &Story, key: &str, (writer, last): (&Hold, &Hold), at: u64) -> Violation {
    let outcome = if writer.granted < last.granted {
        "was accepted after"
    } else {
        "was refused after"
    };
    Violation {
        what: format!(
            "the write of {} {outcome} one of {}",
            told(story, writer),
            told(story, last)
        ),
        key: key.to_owned(),
        from: writer.granted.unwrap_or(at),
        to: at,
        holds: vec![writer.id.clone(), last.id.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn two() -> Tale {
        Tale::new()
            .granted(0, "w0.0", "a", "k", X, Some(10))
            .granted(20, "w1.0", "b", "k", X, Some(40))
    }

    #[test]
    fn a_late_write_that_is_refused_is_what_fencing_is_for() {
        let tale = two()
            .write(5, "a", "k", 1, true)
            .write(25, "b", "k", 2, true)
            .write(30, "a", "k", 1, false);
        let verdict = resource(&tale.story());
        assert!(verdict.holds(), "{verdict:?}");
        assert_eq!(verdict.trials, 3);
        assert!(verdict.figures[0].contains("1 offered, 0 accepted"));
    }

    #[test]
    fn a_late_write_that_is_accepted_is_found_whatever_its_fence() {
        let tale = two()
            .write(25, "b", "k", 1, true)
            .write(30, "a", "k", 2, true);
        assert_eq!(resource(&tale.story()).violations.len(), 1);
    }

    #[test]
    fn of_a_grant_that_was_freed_by_hand_before_it_was_heard_of_the_fence_tells_the_age() {
        let tale = |accepted| {
            Tale::new()
                .hold("b", "k", X, (6, 30), 2)
                .evicted(5, "a")
                .hold("a", "k", X, (7, 40), 1)
                .write(8, "b", "k", 2, true)
                .write(9, "a", "k", 1, accepted)
        };
        assert!(resource(&tale(false).story()).holds());
        assert_eq!(resource(&tale(true).story()).violations.len(), 1);
    }

    #[test]
    fn a_refused_write_of_the_newest_grant_is_found() {
        let tale = two()
            .write(5, "a", "k", 9, true)
            .write(25, "b", "k", 2, false);
        assert_eq!(resource(&tale.story()).violations.len(), 1);
    }
}
