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
    watches.in_line(&claim.id, at(1_000), at(10));
    watches.told(&granted);
    let left = watches.handed(&claim, at(400)).map(|(_, left)| left);
    assert_eq!(left, Some(Duration::from_millis(600)));
    assert_eq!(watches.handed(&claim, at(400)), None, "once");
    for odd in ["0:-1", "-17:-1", "17:-2", "99999999999999999999:-1", "17"] {
        watches.told(&format!("g{}:{odd}", claim.id));
        assert_eq!(watches.handed(&claim, at(400)), None, "{odd} is no grant");
    }
    // It kept its place in time: what is told before or after that is told of this place.
    watches.told(&granted);
    watches.in_line(&claim.id, at(1_900), at(910));
    let left = watches.handed(&claim, at(1_300)).map(|(_, left)| left);
    assert_eq!(left, Some(Duration::from_millis(600)));
}

/// It was held up on its way; the claim was granted, expired, and joined anew.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_is_void_if_the_place_may_have_ended_since() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    let granted = format!("g{}:17:-1", claim.id);
    watches.ask(&claim).unwrap();
    let wake = watches.wait(&claim, None).unwrap();
    watches.in_line(&claim.id, at(1_000), at(10));
    watches.told(&granted);
    watches.in_line(&claim.id, at(3_000), at(2_010));
    assert_eq!(watches.handed(&claim, at(2_100)), None, "it came earlier");
    watches.in_line(&claim.id, at(3_100), at(2_110));
    watches.told(&granted);
    assert_eq!(watches.handed(&claim, at(2_120)), None, "it came later");
    let woken = tokio::time::timeout(Duration::from_millis(1), wake);
    assert!(woken.await.is_ok(), "it asks");
}
