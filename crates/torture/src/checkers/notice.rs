//! I8: a guard tells that it is lost before another can be granted, and never lives again.

use super::told;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation, quantiles};

/// The keeper looks at its clock at least so often, also when its timers stood still.
const LATE: u64 = 1_500_000_000;

/// Follows every lease past its end: when it was told, and when another was granted what it excludes. A notice that
/// came late is explained by a pause of its process; one that never came is not. So is a lease that was freed by
/// hand and not told within a TTL.
#[must_use]
pub fn notice(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I8",
        "notice",
        "a lease that ends by itself is told lost in time, once and for all",
    );
    verdict.of = "leases that ended by themselves";
    let (mut delays, mut slack, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    let keys = story.by_key();
    for hold in story.holds.iter().filter(|hold| hold.granted.is_some()) {
        let Some(due) = due(story, hold) else {
            continue;
        };
        verdict.trials += 1;
        let told_at = hold.lost.as_ref().map(|(at, _)| *at);
        let seen = told_at.unwrap_or(story.time.1);
        let late = seen.saturating_sub(due);
        match (told_at, hold.evicted) {
            (Some(at), Some(when)) => by_hand.push(at.saturating_sub(when)),
            (Some(_), None) => delays.push(late),
            (None, _) => {}
        }
        let rivals = keys.get(hold.key.as_str()).map_or(&[][..], Vec::as_slice);
        if let (Some(at), Some(next)) = (told_at, rival(hold, rivals)) {
            slack.push(next.saturating_sub(at));
        }
        let paused = story.disturbed(&hold.process, due.saturating_sub(story.ttl), seen);
        if late > LATE || hold.revived.is_some() {
            let found = found(story, hold, (due, seen));
            if paused && hold.revived.is_none() && told_at.is_some() {
                verdict.explained.push(found);
            } else {
                verdict.violations.push(found);
            }
        }
    }
    let late = "from the end of a lease to its notice";
    verdict.figures.push(quantiles(late, delays));
    let hand = "from freeing by hand to the notice";
    verdict.figures.push(quantiles(hand, by_hand));
    let left = "from the notice to the next grant to another";
    verdict.figures.push(quantiles(left, slack));
    verdict
}

/// By when it had to be told: `None` if it was released, or its process ended, before.
fn due(story: &Story, hold: &Hold) -> Option<u64> {
    let taken = hold.evicted.filter(|_| !hold.came_back(story.ttl));
    let hand = taken.map(|at| at + story.ttl);
    let due = [hand, hold.until].into_iter().flatten().min()?;
    let told = hold.lost.as_ref().map(|(at, _)| *at);
    let over = [hold.release, hold.died].into_iter().flatten().min();
    let open = over.is_none_or(|over| over > due + LATE);
    // The history may end before anything can be said.
    let visible = told.is_some() || due + LATE < story.time.1;
    ((open || told.is_some()) && visible).then_some(due)
}

fn rival(hold: &Hold, others: &[&Hold]) -> Option<u64> {
    let after = hold.granted?;
    others
        .iter()
        .filter(|other| other.id != hold.id && other.mode.excludes(hold.mode))
        .filter_map(|other| other.granted)
        .filter(|at| *at > after)
        .min()
}

fn found(story: &Story, hold: &Hold, (due, seen): (u64, u64)) -> Violation {
    let how = match (&hold.lost, hold.revived) {
        (_, Some(_)) => "lived again after it was told lost",
        (Some(_), None) => "was told lost late",
        (None, None) => "was never told lost",
    };
    Violation {
        what: format!("{} {how}", told(story, hold)),
        key: hold.key.clone(),
        from: due,
        to: seen,
        holds: vec![hold.id.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn found(tale: Tale) -> (usize, usize) {
        // Somebody is active later, so that the history goes on.
        let verdict = notice(&tale.hold("z", "other", X, (60_000, 60_001), 1).story());
        (verdict.violations.len(), verdict.explained.len())
    }

    fn lease() -> Tale {
        Tale::new().granted(10_000, "w0.0", "a", "k", X, Some(11_000))
    }

    #[test]
    fn a_notice_in_time_is_fine_and_a_late_or_missing_one_is_found() {
        assert_eq!(found(lease().lost(11_003, "w0.0", "a")), (0, 0));
        assert_eq!(found(lease().lost(13_000, "w0.0", "a")), (1, 0));
        assert_eq!(found(lease()), (1, 0));
        assert_eq!(found(lease().release(10_500, "w0.0", "a")), (0, 0));
        assert_eq!(found(lease().dead(10_500, "w0.0")), (0, 0));
    }

    #[test]
    fn a_pause_explains_a_late_notice() {
        let paused = lease()
            .fault("stop", Some("w0"), (10_900, 13_500))
            .lost(13_600, "w0.0", "a");
        assert_eq!(found(paused), (0, 1));
    }

    #[test]
    fn a_lease_that_lives_again_is_found() {
        let tale = lease()
            .lost(11_003, "w0.0", "a")
            .renewed(11_500, "w0.0", "a", 12_500);
        assert_eq!(found(tale), (1, 0));
    }

    #[test]
    fn what_is_freed_by_hand_is_told_within_a_ttl() {
        let tale = |told| {
            Tale::new()
                .granted(10_000, "w0.0", "a", "k", X, Some(11_000))
                .renewed(10_300, "w0.0", "a", 30_000)
                .evicted(10_400, "a")
                .lost(told, "w0.0", "a")
        };
        assert_eq!(found(tale(10_500)), (0, 0));
        assert_eq!(found(tale(14_000)), (1, 0));
    }

    /// Freed while the network held its grant up: a claim that joins anew and is granted again has lost nothing since.
    #[test]
    fn who_was_granted_anew_after_it_had_been_freed_by_hand_has_nothing_to_be_told() {
        let tale = |freed| {
            Tale::new()
                .evicted(freed, "a")
                .granted(10_000, "w0.0", "a", "k", X, Some(10_900))
                .renewed(10_300, "w0.0", "a", 30_000)
                .release(20_000, "w0.0", "a")
        };
        assert_eq!(found(tale(5_000)), (0, 0));
        // This one is the grant that was taken away.
        assert_eq!(found(tale(9_950)), (1, 0));
    }
}
