//! I4: a key is granted on within a TTL of its holder's death, and at once after a release; nobody waits for ever.

use super::told;
use crate::story::{Hold, Story};
use crate::verdict::{Verdict, Violation, quantiles};

/// What a machine under load may take beyond what the store promises.
const LATE: u64 = 5_000_000_000;

/// Follows every end of a claim to the next grant of its key, if one stood in line for it meanwhile whose process
/// nothing disturbed; and finds every wait that never ended although its process lived on.
#[must_use]
pub fn next(story: &Story) -> Verdict {
    let mut verdict = Verdict::new(
        "I4",
        "next grant",
        "a waiter gets a key within a TTL of its holder's death or of the end of a fault, and soon after a release",
    );
    verdict.of = "hand-overs";
    let (mut after_death, mut after_release) = (Vec::new(), Vec::new());
    for (key, holds) in story.by_key() {
        for gone in &holds {
            let Some((_, end)) = gone.claimed() else {
                continue;
            };
            // Confirmed by the store: it is free from now on. Else a TTL may have to run out.
            let released = gone.released.filter(|_| gone.lost.is_none());
            let from = released.unwrap_or(end);
            let Some(waiter) = waiting(story, &holds, from) else {
                continue;
            };
            let Some(delay) = delay(story, &holds, waiter, from) else {
                continue;
            };
            verdict.trials += 1;
            let allowed = if released.is_some() { 0 } else { story.ttl };
            if delay > allowed + LATE {
                verdict
                    .violations
                    .push(found(story, key, (gone, waiter), (from, delay)));
            }
            if released.is_some() {
                after_release.push(delay);
            } else {
                after_death.push(delay);
            }
        }
    }
    hung(story, &mut verdict);
    let death = "from death, loss or expiry to the next grant";
    verdict.figures.push(quantiles(death, after_death));
    let release = "from a confirmed release to the next grant";
    verdict.figures.push(quantiles(release, after_release));
    verdict
}

/// The first who stands in line for the key when a claim ends.
fn waiting<'a>(story: &Story, holds: &[&'a Hold], from: u64) -> Option<&'a Hold> {
    let stands = |hold: &&&Hold| {
        let queued = hold.queued.is_some_and(|at| at < from);
        let ends = hold.granted.or(hold.given_up).or(hold.died);
        let patient = ends.unwrap_or(story.time.1) > from;
        hold.waits && queued && patient
    };
    let mut all: Vec<&Hold> = holds.iter().filter(stands).copied().collect();
    all.sort_by_key(|hold| hold.queued);
    all.first().copied()
}

/// How long the key was not granted to anybody while this waiter waited undisturbed; `None`: nothing can be said.
fn delay(story: &Story, holds: &[&Hold], waiter: &Hold, from: u64) -> Option<u64> {
    let grants = holds.iter().filter_map(|hold| hold.granted);
    let next = grants.filter(|at| *at >= from).min();
    let given_up = waiter.given_up.or(waiter.died);
    let to = next.or(given_up).unwrap_or(story.time.1);
    if given_up.is_some_and(|at| at <= to) {
        return None; // it left before anything could be seen
    }
    // Others who hold beside, or stand before it undisturbed or not, are the key's business, not its own.
    let beside = holds.iter().any(|hold| {
        hold.id != waiter.id
            && hold
                .claimed()
                .is_some_and(|(begin, end)| begin < to && end > from)
    });
    if beside {
        return None;
    }
    let start = quiet_since(story, holds, from, to);
    Some(to.saturating_sub(start))
}

/// When the last fault was over that could keep the next grant back: of the server, or of anybody who stands in line.
fn quiet_since(story: &Story, holds: &[&Hold], from: u64, to: u64) -> u64 {
    let concerned = holds
        .iter()
        .filter(|hold| hold.asked <= to && hold.over() >= from);
    let healed = concerned.filter_map(|hold| {
        let fault = story.healed(&hold.process, from, to);
        let stalls = story.lives.get(&hold.process).map(|life| &life.stalls);
        let stall = stalls.into_iter().flatten();
        let stall = stall
            .filter(|(a, b)| *a <= to && *b >= from)
            .map(|(_, b)| *b)
            .max();
        // Who died in line keeps its place for a TTL.
        let died = hold
            .died
            .filter(|at| hold.granted.is_none() && *at <= to && *at >= from)
            .map(|at| at + story.ttl);
        fault.max(stall).max(died)
    });
    healed.max().unwrap_or(from).clamp(from, to)
}

/// Waits that have not ended although their process lived on to the end.
fn hung(story: &Story, verdict: &mut Verdict) {
    for hold in &story.holds {
        let ended = hold.granted.or(hold.given_up).or(hold.died);
        if ended.is_none() && story.time.1.saturating_sub(hold.asked) > story.ttl + LATE {
            verdict.violations.push(Violation {
                what: format!("{} was never answered", told(story, hold)),
                key: hold.key.clone(),
                from: hold.asked,
                to: story.time.1,
                holds: vec![hold.id.clone()],
            });
        }
    }
}

fn found(
    story: &Story,
    key: &str,
    (gone, waiter): (&Hold, &Hold),
    (from, delay): (u64, u64),
) -> Violation {
    Violation {
        what: format!(
            "nobody got the key for {} after {}, while {} waited",
            crate::verdict::millis(delay),
            told(story, gone),
            told(story, waiter)
        ),
        key: key.to_owned(),
        from,
        to: from + delay,
        holds: vec![gone.id.clone(), waiter.id.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tale::{Tale, X};
    use super::*;

    fn found(tale: Tale) -> (usize, u64) {
        let verdict = next(&tale.story());
        (verdict.violations.len(), verdict.trials)
    }

    /// A holder that dies at 100, and one that has waited since 50.
    fn death(granted: u64) -> Tale {
        Tale::new()
            .asked(0, "w0.0", "a", "k", X)
            .given(0, "w0.0", "a", 1)
            .asked(40, "w1.0", "b", "k", X)
            .queued(50, "w1.0", "b")
            .dead(100, "w0.0")
            .given(granted, "w1.0", "b", 2)
            .end(granted + 1, "w1.0")
    }

    #[test]
    fn a_waiter_that_is_served_within_a_ttl_is_fine() {
        assert_eq!(found(death(100 + Tale::TTL)), (0, 1));
    }

    #[test]
    fn a_waiter_that_is_served_far_too_late_is_found() {
        assert_eq!(found(death(100 + Tale::TTL + 5_100)), (1, 1));
    }

    #[test]
    fn a_fault_postpones_it() {
        let tale = death(7_000).fault("server-pause", None, (90, 4_000));
        assert_eq!(found(tale), (0, 1));
        let other = death(7_000).fault("stop", Some("w7"), (90, 4_000));
        assert_eq!(found(other), (1, 1), "nobody who stands in this line");
    }

    #[test]
    fn a_release_that_is_confirmed_hands_over_without_a_ttl() {
        let tale = |at| {
            Tale::new()
                .asked(0, "w0.0", "a", "k", X)
                .given(0, "w0.0", "a", 1)
                .asked(40, "w1.0", "b", "k", X)
                .queued(50, "w1.0", "b")
                .release(100, "w0.0", "a")
                .given(at, "w1.0", "b", 2)
                .end(at + 1, "w1.0")
        };
        assert_eq!(found(tale(110)), (0, 1));
        assert_eq!(found(tale(5_200)), (1, 1));
    }

    #[test]
    fn who_waits_for_ever_is_found() {
        let tale =
            Tale::new()
                .asked(0, "w0.0", "a", "k", X)
                .hold("b", "other", X, (9_000, 9_001), 1);
        assert_eq!(found(tale.clone()).0, 1);
        assert_eq!(found(tale.refused(8_000, "w0.0", "a")).0, 0);
    }
}
