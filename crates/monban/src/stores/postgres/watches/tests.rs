//! What is told of a grant, without a server.

use super::*;
use crate::data::Claimant;

fn claim(key: &str) -> Claim {
    Claim {
        key: Key::new(key).unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode: Mode::Exclusive,
        ttl: Duration::from_secs(1),
        if_busy: IfBusy::Queue,
        claimant: Claimant::new("host", 1, ""),
    }
}

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_counts_from_the_request_that_joined() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k"); // for a second
    let granted = format!("g{}:17:-1", claim.id);
    watches.ask(&claim).unwrap();
    let _wake = watches.wait(&claim, None);
    watches.in_line(&claim.id, at(1_000), 10);
    watches.told(&granted);
    let age = watches.handed(&claim, at(400)).map(|(_, age)| age);
    assert_eq!(age, Some(Duration::from_millis(400)));
    assert_eq!(watches.handed(&claim, at(400)), None, "once");
    for odd in ["0:-1", "-17:-1", "17:-2", "99999999999999999999:-1", "17"] {
        watches.told(&format!("g{}:{odd}", claim.id));
        assert_eq!(watches.handed(&claim, at(400)), None, "{odd} is no grant");
    }
    // What was told lives by what was known then, whatever is heard of the place afterwards.
    watches.told(&granted);
    watches.in_line(&claim.id, at(1_900), 16);
    let age = watches.handed(&claim, at(500)).map(|(_, age)| age);
    assert_eq!(age, Some(Duration::from_millis(500)));
}

/// It was held up on its way; the claim was granted, expired, and joined anew.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_is_void_if_the_claim_was_seen_to_wait_after_it() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    let granted = format!("g{}:17:-1", claim.id);
    watches.ask(&claim).unwrap();
    let wake = watches.wait(&claim, None).unwrap();
    watches.in_line(&claim.id, at(1_000), 10);
    watches.told(&granted);
    watches.in_line(&claim.id, at(3_000), 20);
    assert_eq!(watches.handed(&claim, at(2_100)), None, "it came earlier");
    watches.told(&granted);
    assert_eq!(watches.handed(&claim, at(2_120)), None, "it came later");
    let woken = tokio::time::timeout(Duration::from_millis(1), wake);
    assert!(woken.await.is_ok(), "it asks");
}
