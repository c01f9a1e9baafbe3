//! I3: no lease is lost that nothing disturbed.

use super::told;
use crate::story::Story;
use crate::verdict::{Verdict, Violation};

/// Looks, for every lease that was told lost, for a fault that concerned its process, a pause of that process, or a
/// hand that freed it, within the two TTLs before.
#[must_use]
pub fn losses(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I3",
        "spurious losses",
        "no lease is lost while its process runs and can reach the store",
    );
    verdict.of = "leases";
    for hold in &story.holds {
        let Some(granted) = hold.granted else {
            continue;
        };
        verdict.trials += 1;
        let Some((at, why)) = &hold.lost else {
            continue;
        };
        let since = granted.max(at.saturating_sub(2 * story.ttl));
        // A request that was sent before a fault began is answered in it: a third of a TTL early.
        let since = since.saturating_sub(story.ttl / 3);
        let found = Violation {
            what: format!("{} was told lost ({why})", told(story, hold)),
            key: hold.key.clone(),
            from: granted,
            to: *at,
            holds: vec![hold.id.clone()],
        };
        if hold.evicted.is_some() || story.disturbed(&hold.process, since, *at) {
            verdict.explained.push(found);
        } else {
            verdict.violations.push(found);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn lost(tale: Tale) -> (usize, usize) {
        let tale = tale
            .granted(10_000, "w0.0", "a", "k", X, Some(15_000))
            .lost(15_000, "w0.0", "a");
        let verdict = losses(&tale.story());
        (verdict.violations.len(), verdict.explained.len())
    }

    #[test]
    fn a_loss_out_of_the_blue_is_found() {
        assert_eq!(lost(Tale::new()), (1, 0));
        let elsewhere = Tale::new().fault("stop", Some("w1"), (13_500, 14_900));
        assert_eq!(lost(elsewhere), (1, 0));
        let long_ago = Tale::new().fault("stop", Some("w0"), (11_000, 12_000));
        assert_eq!(lost(long_ago), (1, 0));
    }

    #[test]
    fn a_fault_a_stall_or_a_hand_explains_it() {
        let stopped = Tale::new().fault("stop", Some("w0"), (13_500, 14_900));
        assert_eq!(lost(stopped), (0, 1));
        let all = Tale::new().fault("server-pause", None, (13_500, 14_900));
        assert_eq!(lost(all), (0, 1));
        let by_hand = Tale::new().evicted(9_999, "a");
        assert_eq!(lost(by_hand), (0, 1), "before the owner heard of its grant");
        assert_eq!(lost(Tale::new().stall((14_000, 14_800), "w0.0")), (0, 1));
    }
}
