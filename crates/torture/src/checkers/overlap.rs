//! I2: no two holders claim what only one may have, at one instant.

use super::told;
use crate::event::Mode;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation};

/// Sweeps the claims of every key in order of time: an exclusive claim beside any other, more permits than there are,
/// one seat twice. Exact, since all processes share one clock.
///
/// A claim that was freed by hand, or whose server lost its memory, ends when its owner had to be told at the latest:
/// a TTL later. Until then an overlap is explained.
#[must_use]
pub fn overlap(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I2",
        "overlap",
        "no two clients claim what only one may have, at one instant",
    );
    verdict.of = "grants";
    for (key, holds) in story.by_key() {
        let mut claims: Vec<(&Hold, (u64, u64))> = holds
            .into_iter()
            .filter_map(|hold| Some((hold, hold.claimed()?)))
            .collect();
        claims.sort_by_key(|(_, (from, _))| *from);
        verdict.trials += claims.len() as u64;
        let mut live: Vec<(&Hold, (u64, u64))> = Vec::new();
        for (hold, (from, to)) in claims {
            live.retain(|(_, (_, end))| *end > from);
            let mut against: Vec<_> = live
                .iter()
                .filter(|(other, _)| clash(hold, other))
                .copied()
                .collect();
            let counted = against.is_empty() && too_many(hold, &live);
            if counted {
                against.clone_from(&live);
            }
            live.push((hold, (from, to)));
            if !against.is_empty() {
                let found = counterexample(story, key, (hold, (from, to)), &against);
                let excused = |(other, _): &(&Hold, _)| taken(story, other, from);
                // Of too many together, one that had been taken is the one too many. And one may hear of its grant after
                // that was taken.
                let explained = if hold.heard_too_late() && taken_by_hand(story, hold, from) {
                    true
                } else if counted {
                    against.iter().any(excused)
                } else {
                    against.iter().all(excused)
                };
                if explained {
                    verdict.explained.push(found);
                } else {
                    verdict.violations.push(found);
                }
            }
        }
    }
    verdict
}

/// Whether two cannot be beside each other, whoever else is there.
fn clash(one: &Hold, other: &Hold) -> bool {
    let seat = one.seat.is_some() && one.seat == other.seat;
    one.mode.excludes(other.mode) || seat
}

fn too_many(hold: &Hold, live: &[(&Hold, (u64, u64))]) -> bool {
    let Mode::Permits { n, of } = hold.mode else {
        return false;
    };
    let taken = |hold: &&(&Hold, (u64, u64))| match hold.0.mode {
        Mode::Permits { n, .. } => n,
        _ => 0,
    };
    n + live.iter().map(|hold| taken(&hold)).sum::<u32>() > of
}

/// Whether this claim had been taken from its owner, who has not been told yet and has time left to be told.
fn taken(story: &Story, hold: &Hold, at: u64) -> bool {
    taken_by_hand(story, hold, at) || story.disturbed_server(hold.granted, at)
}

fn taken_by_hand(story: &Story, hold: &Hold, at: u64) -> bool {
    hold.evicted
        .is_some_and(|when| when <= at && at <= when + story.ttl)
}

fn counterexample(
    story: &Story,
    key: &str,
    (hold, (from, to)): (&Hold, (u64, u64)),
    against: &[(&Hold, (u64, u64))],
) -> Violation {
    let others: Vec<String> = against.iter().map(|(hold, _)| told(story, hold)).collect();
    let end = against.iter().map(|(_, (_, end))| *end).max();
    let mut holds = vec![hold.id.clone()];
    holds.extend(against.iter().map(|(hold, _)| hold.id.clone()));
    Violation {
        what: format!(
            "{} was granted beside {}",
            told(story, hold),
            others.join(" and ")
        ),
        key: key.to_owned(),
        from,
        to: end.unwrap_or(to).min(to),
        holds,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X, permits};
    use super::*;
    use crate::event::Mode::Shared;

    fn found(tale: Tale) -> (usize, usize) {
        let verdict = overlap(&tale.story());
        (verdict.violations.len(), verdict.explained.len())
    }

    #[test]
    fn holders_one_after_the_other_are_fine() {
        let tale = Tale::new()
            .hold("a", "k", X, (0, 10), 1)
            .hold("b", "k", X, (10, 20), 2)
            .hold("c", "other", X, (5, 15), 1);
        assert_eq!(found(tale), (0, 0));
    }

    #[test]
    fn two_at_one_instant_are_found() {
        let tale = Tale::new()
            .hold("a", "k", X, (0, 10), 1)
            .hold("b", "k", X, (9, 20), 2);
        assert_eq!(found(tale), (1, 0));
    }

    #[test]
    fn a_guard_that_has_said_that_it_is_lost_claims_nothing() {
        let lost = Tale::new()
            .granted(0, "w0.0", "a", "k", X, Some(8))
            .lost(8, "w0.0", "a")
            .hold("b", "k", X, (9, 20), 2);
        assert_eq!(found(lost), (0, 0));
        let silent =
            Tale::new()
                .granted(0, "w0.0", "a", "k", X, Some(12))
                .hold("b", "k", X, (9, 20), 2);
        assert_eq!(found(silent), (1, 0));
    }

    #[test]
    fn a_renewal_prolongs_the_claim_and_death_ends_it() {
        let tale = |death| {
            Tale::new()
                .granted(0, "w0.0", "a", "k", X, Some(6))
                .renewed(3, "w0.0", "a", 20)
                .dead(death, "w0.0")
                .hold("b", "k", X, (9, 20), 2)
        };
        assert_eq!(found(tale(15)), (1, 0));
        assert_eq!(found(tale(8)), (0, 0));
    }

    #[test]
    fn a_clock_that_jumps_ahead_ends_the_claims_of_its_process_only() {
        let ns = 8_000_000;
        let tale = |who| {
            Tale::new()
                .granted(0, "w0.0", "a", "k", X, Some(12))
                .event(2, who, crate::event::What::Step { ns })
                .hold("b", "k", X, (5, 20), 2)
        };
        assert_eq!(found(tale("w0.0")), (0, 0));
        assert_eq!(found(tale("w1.0")), (1, 0));
    }

    #[test]
    fn readers_are_beside_readers_and_no_writer() {
        let readers =
            Tale::new()
                .hold("a", "k", Shared, (0, 10), 1)
                .hold("b", "k", Shared, (5, 20), 2);
        assert_eq!(found(readers), (0, 0));
        let writer = Tale::new()
            .hold("a", "k", Shared, (0, 10), 1)
            .hold("b", "k", X, (5, 20), 2);
        assert_eq!(found(writer), (1, 0));
    }

    #[test]
    fn no_more_permits_than_there_are_and_no_seat_twice() {
        let permit = |n| permits(n, 3);
        let full = Tale::new()
            .seated("a", "k", permit(1), (0, 10), 0)
            .seated("b", "k", permit(1), (1, 10), 1)
            .seated("c", "k", permit(1), (2, 10), 2);
        assert_eq!(found(full.clone()), (0, 0));
        let over = full.seated("d", "k", permit(1), (3, 10), 3);
        assert_eq!(found(over), (1, 0));
        let twice = Tale::new().seated("a", "k", permit(1), (0, 10), 1).seated(
            "b",
            "k",
            permit(1),
            (1, 10),
            1,
        );
        assert_eq!(found(twice), (1, 0));
    }

    #[test]
    fn of_too_many_permits_one_that_was_taken_is_the_one_too_many() {
        let tale = Tale::new()
            .granted(0, "w0.0", "a", "k", permits(2, 3), None)
            .hold("b", "k", permits(1, 3), (1, 20), 1)
            .hold("c", "k", permits(1, 3), (6, 20), 2);
        assert_eq!(found(tale.clone()), (1, 0));
        assert_eq!(found(tale.evicted(5, "a")), (0, 1));
    }

    #[test]
    fn what_was_taken_by_hand_is_explained_for_one_ttl() {
        let tale = |from| {
            Tale::new()
                .granted(0, "w0.0", "a", "k", X, None)
                .evicted(5, "a")
                .hold("b", "k", X, (from, from + 5), 2)
        };
        assert_eq!(found(tale(6)), (0, 1));
        assert_eq!(found(tale(6 + Tale::TTL)), (1, 0), "it should know by now");
    }

    #[test]
    fn who_hears_of_its_grant_after_it_was_freed_by_hand_is_explained_for_one_ttl() {
        let tale = |heard| {
            Tale::new()
                .hold("b", "k", X, (6, 9_000), 2)
                .evicted(5, "a")
                .granted(heard, "w0.0", "a", "k", X, None)
        };
        assert_eq!(found(tale(7)), (0, 1));
        assert_eq!(found(tale(7 + Tale::TTL)), (1, 0));
    }

    #[test]
    fn a_server_that_forgets_explains_what_was_granted_before() {
        let tale = Tale::new()
            .granted(0, "w0.0", "a", "k", X, Some(50))
            .fault("server-wipe", None, (5, 6))
            .hold("b", "k", X, (8, 12), 2)
            .hold("c", "k", X, (9, 11), 3);
        assert_eq!(found(tale), (1, 1));
    }
}
