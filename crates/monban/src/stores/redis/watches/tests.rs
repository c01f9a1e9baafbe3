//! Wakes, watches and messages, without a server.

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

/// What scripts call a claim before it is granted.
fn name(claim: &Claim) -> String {
    sha1_smol::Sha1::from(claim.id.to_string())
        .digest()
        .to_string()
}

/// Another claim like this one, which waits until it is told, and lives until then.
fn waiting(watches: &Arc<Watches>, lives: Tick, waited: i64) -> (Claim, Wake) {
    let claim = claim("k");
    watches.ask(&claim).unwrap();
    let wake = watches
        .wait(claim.id, Watching::No, Some(b"x"), None)
        .unwrap();
    watches.in_line(&claim.id, lives, waited);
    (claim, wake)
}

fn at(ms: u64) -> Tick {
    Tick::from_nanos(ms * 1_000_000)
}

fn told(watches: &Arc<Watches>, message: &str) {
    let data = vec![Value::Nil, Value::BulkString(message.as_bytes().to_vec())];
    watches.pushed(&PushInfo {
        kind: PushKind::Message,
        data,
    });
}

async fn is_ready(wake: Wake) -> bool {
    tokio::time::timeout(Duration::from_millis(1), wake)
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_claims_that_are_gone() {
    let watches = Arc::new(Watches::default());
    let claims: Vec<Claim> = (0..100).map(|at| claim(&format!("k{at}"))).collect();
    let mut wakes = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        watches.ask(claim).unwrap();
        wakes.extend(match at % 3 {
            0 => watches.hold(claim.id),
            1 => watches.wait(claim.id, Watching::Soon, None, None),
            _ => {
                watches.pass(&claim.id);
                watches.wait(claim.id, Watching::Soon, None, None)
            }
        });
    }
    assert_eq!(watches.take(true).len(), 0, "not before a whole tick");
    assert_eq!(watches.take(true).len(), 100);
    assert_eq!(watches.counts(), (100, 100));
    drop(wakes);
    assert_eq!(
        watches.counts(),
        (67, 0),
        "the refused are forgotten with their future"
    );
    claims.iter().for_each(|claim| watches.forget(&claim.id));
    assert_eq!(watches.counts(), (0, 0));
    assert!(watches.idle());
}

#[tokio::test(start_paused = true)]
async fn claims_that_are_over_keep_nobody_awake() {
    let watches = Arc::new(Watches::default());
    let (brief, next) = (claim("k"), claim("k"));
    watches.ask(&brief).unwrap();
    let lost = watches.hold(brief.id);
    assert!(!watches.idle(), "it is to be watched soon");
    watches.forget(&brief.id);
    assert!(watches.idle());
    drop(lost);
    watches.ask(&next).unwrap();
    let wake = watches.wait(next.id, Watching::No, Some(b"x"), None);
    told(&watches, &format!("h{}:500", name(&next)));
    assert!(watches.idle(), "monban holds, and tells when it is done");
    tokio::time::sleep(PATIENCE + Duration::from_millis(1)).await;
    assert!(
        !watches.idle(),
        "the head is to be watched if it waits for long"
    );
    drop(wake);
    assert!(watches.idle(), "it waits no more");
    let lost = watches.hold(next.id);
    assert_eq!(watches.take(true).len(), 0);
    assert!(!watches.idle(), "it holds");
    watches.forget(&next.id);
    assert!(watches.idle(), "neither head nor holder any more");
    drop(lost);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_before_the_answer_is_not_lost() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    watches.ask(&claim).unwrap();
    told(&watches, &format!("a{}", name(&claim)));
    assert!(
        is_ready(
            watches
                .wait(claim.id, Watching::No, Some(b"x"), None)
                .unwrap()
        )
        .await
    );
}

/// A hand-over changes the key, and the server tells of that before it tells to whom.
#[tokio::test(start_paused = true)]
async fn a_head_that_is_granted_does_not_read_what_it_watched() {
    let watches = Arc::new(Watches::default());
    for message in ["g", "a"] {
        let claim = claim("k");
        watches.ask(&claim).unwrap();
        let wake = watches.wait(claim.id, Watching::Soon, Some(b"x"), None);
        let seen = [true, true].map(|ticked| watches.take(ticked).len());
        assert_eq!(seen, [0, 1], "watched after a whole tick");
        let key = Value::BulkString(b"k".to_vec());
        watches.pushed(&PushInfo {
            kind: PushKind::Invalidate,
            data: vec![Value::Array(vec![key])],
        });
        let rest = match message {
            "g" => format!("g{}:7:-1", claim.id),
            _ => format!("a{}", name(&claim)),
        };
        told(&watches, &rest);
        assert_eq!(watches.take(false).len(), 0, "{message}");
        assert!(is_ready(wake.unwrap()).await);
        watches.forget(&claim.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_never_waited_is_told_that_it_was_freed_by_hand() {
    let watches = Arc::new(Watches::default());
    let (freed, other) = (claim("k"), claim("l"));
    let [lost, kept] = [&freed, &other].map(|claim| {
        watches.ask(claim).unwrap();
        watches.hold(claim.id).unwrap()
    });
    told(&watches, &format!("l{}", name(&claim("m"))));
    told(&watches, &format!("l{}", name(&freed)));
    assert!(is_ready(lost).await);
    assert!(!is_ready(kept).await);
    [freed, other]
        .iter()
        .for_each(|claim| watches.forget(&claim.id));
    assert_eq!(watches.counts(), (0, 0), "nor are names kept");
}

#[tokio::test(start_paused = true)]
async fn a_new_head_wakes_when_the_key_expires_and_not_by_its_new_owner() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    watches.ask(&claim).unwrap();
    let mut wake = watches
        .wait(claim.id, Watching::No, Some(b"first"), None)
        .unwrap();
    told(&watches, &format!("h{}:500", name(&claim)));
    watches.read(&claim.id, Some(b"second"));
    assert!(
        tokio::time::timeout(Duration::from_millis(499), &mut wake)
            .await
            .is_err()
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(10), wake)
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_when_it_is_read_twice_in_a_row() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    watches.ask(&claim).unwrap();
    let mut lost = watches.hold(claim.id).unwrap();
    let held = format!("mb1x:{}:1:", claim.id);
    for value in [None, Some(held.as_bytes()), Some(b"x".as_slice())] {
        watches.read(&claim.id, value);
        let early = tokio::time::timeout(Duration::from_millis(1), &mut lost);
        assert!(early.await.is_err(), "told at once");
    }
    assert_eq!(watches.take(false).len(), 2, "each doubt is looked into");
    watches.read(&claim.id, None);
    assert!(is_ready(lost).await);
}

#[tokio::test(start_paused = true)]
async fn only_claims_that_are_new_or_outside_the_line_are_forgotten_if_refused() {
    let watches = Arc::new(Watches::default());
    let mut claim = claim("k");
    assert!(watches.ask(&claim).unwrap());
    assert!(!watches.ask(&claim).unwrap(), "in line");
    claim.if_busy = IfBusy::Leave;
    assert!(watches.ask(&claim).unwrap());
    let _lost = watches.hold(claim.id);
    assert!(!watches.ask(&claim).unwrap(), "holding");
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_no_messages_do_no_harm() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k");
    watches.ask(&claim).unwrap();
    let wake = watches.wait(claim.id, Watching::No, None, None).unwrap();
    let (id, name) = (claim.id, name(&claim));
    for odd in [
        String::new(),
        "g".into(),
        "\u{e9}".into(),
        format!("g{}", &id.to_string()[1..]),
        format!("g{name}:17:-1"),
        format!("x{name}"),
        format!("a{}", &name[1..]),
        format!("h{name}"),
        format!("h{name}:x"),
        // By their ids claims are named only in what grants them.
        format!("a{id}"),
        format!("h{id}:0"),
        format!("l{id}"),
    ] {
        told(&watches, &odd);
    }
    assert!(!is_ready(wake).await);
}

#[tokio::test(start_paused = true)]
async fn a_grant_by_message_counts_from_the_request_that_joined() {
    let watches = Arc::new(Watches::default());
    let claim = claim("k"); // for a second
    watches.ask(&claim).unwrap();
    told(&watches, &format!("g{}:17:-1", claim.id));
    assert_eq!(
        watches.handed(&claim, at(100)),
        None,
        "not known to be in line"
    );
    let granted = |claim: &Claim| told(&watches, &format!("g{}:17:-1", claim.id));
    let (claim, mut wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    let woken = tokio::time::timeout(Duration::from_millis(1), &mut wake);
    assert!(woken.await.is_ok());
    let handed = Handed {
        number: 17,
        seat: -1,
    };
    let age = Duration::from_millis(400);
    assert_eq!(watches.handed(&claim, at(400)), Some((handed, age)));
    assert_eq!(watches.handed(&claim, at(400)), None, "once");
    let (claim, _wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    assert_eq!(watches.handed(&claim, at(501)), None, "too little is left");
    for odd in ["0:-1", "-17:-1", "17:-2", "99999999999999999999:-1", "17"] {
        let (claim, _wake) = waiting(&watches, at(1_000), 10);
        told(&watches, &format!("g{}:{odd}", claim.id));
        assert_eq!(watches.handed(&claim, at(400)), None, "{odd} is no grant");
    }
    let (claim, _wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    let mut other = claim.clone();
    other.mode = Mode::Shared;
    assert_eq!(watches.handed(&other, at(400)), None, "another mode");
}

#[tokio::test(start_paused = true)]
async fn a_grant_by_message_is_void_after_what_may_have_ended_it() {
    let watches = Arc::new(Watches::default());
    let granted = |claim: &Claim| told(&watches, &format!("g{}:17:2", claim.id));
    let flushed = PushInfo {
        kind: PushKind::Invalidate,
        data: vec![Value::Nil],
    };
    let ends: [&dyn Fn(&Claim); 5] = [
        &|_: &Claim| watches.reconnected(),
        &|_: &Claim| watches.pushed(&flushed),
        &|claim: &Claim| told(&watches, &format!("l{}", name(claim))),
        &|claim: &Claim| told(&watches, &format!("a{}", name(claim))),
        &|claim: &Claim| told(&watches, &format!("g{}:18:2", claim.id)),
    ];
    for end in ends {
        let (claim, _wake) = waiting(&watches, at(1_000), 10);
        granted(&claim);
        end(&claim);
        assert_eq!(watches.handed(&claim, at(1)), None);
        // Whoever listens knows its id by now, or may: the next could be anybody's.
        granted(&claim);
        assert_eq!(watches.handed(&claim, at(1)), None);
    }
    let (claim, _wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    let seat = watches
        .handed(&claim, at(1))
        .map(|(handed, _)| (handed.number, handed.seat));
    assert_eq!(seat, Some((17, 2)));
}

/// Its claim has left its future for a moment, but others have heard of it.
#[tokio::test(start_paused = true)]
async fn a_grant_by_message_that_nobody_listened_for_is_not_followed_by_another() {
    let watches = Arc::new(Watches::default());
    let (claim, wake) = waiting(&watches, at(1_000), 10);
    drop(wake);
    told(&watches, &format!("g{}:17:-1", claim.id));
    watches.ask(&claim).unwrap();
    told(&watches, &format!("g{}:18:-1", claim.id));
    assert_eq!(watches.handed(&claim, at(1)), None);
}

#[tokio::test(start_paused = true)]
async fn a_grant_by_message_with_a_number_of_the_future_is_asked_for() {
    let watches = Arc::new(Watches::default());
    let second = 1_000_000; // in µs, as the server counts
    let waited = 1_000 * second;
    let last = |number: i64, ms: u64| {
        let (claim, _wake) = waiting(&watches, at(1_000), waited);
        told(&watches, &format!("g{}:{number}:-1", claim.id));
        watches
            .handed(&claim, at(ms))
            .map(|(handed, _)| handed.number)
    };
    // It waited at 0 here, and then by the server's clock: 0.4 s later that shows so much more, and a little.
    assert_eq!(last(waited + 400_000, 400), Some(waited + 400_000));
    assert_eq!(last(waited + second, 0), Some(waited + second));
    assert_eq!(last(waited + 2 * second, 400), None);
    assert_eq!(last(i64::MAX, 400), None);
}

/// It was held up on its way, the claim expired, and joined anew by a request that was answered after it.
#[tokio::test(start_paused = true)]
async fn a_grant_by_message_is_void_if_the_claim_has_waited_since() {
    let watches = Arc::new(Watches::default());
    let granted = |claim: &Claim| told(&watches, &format!("g{}:17:-1", claim.id));
    let (claim, _wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    watches.in_line(&claim.id, at(3_000), 20);
    assert_eq!(
        watches.handed(&claim, at(2_100)),
        None,
        "the answer came later"
    );
    let (claim, _wake) = waiting(&watches, at(3_000), 20);
    granted(&claim);
    assert_eq!(watches.handed(&claim, at(2_100)), None, "it came earlier");
    // By a clock of the server that went back meanwhile: its place is the one that was known when it was told.
    let (claim, _wake) = waiting(&watches, at(1_000), 10);
    granted(&claim);
    watches.in_line(&claim.id, at(3_000), 12);
    assert_eq!(watches.handed(&claim, at(2_100)), None);
    // An answer that was on its way when the turn came is older than the grant.
    let claim = self::claim("k");
    watches.ask(&claim).unwrap();
    let _wake = watches.wait(claim.id, Watching::No, Some(b"x"), None);
    told(&watches, &format!("g{}:30:-1", claim.id));
    watches.in_line(&claim.id, at(3_000), 25);
    let age = watches.handed(&claim, at(2_100)).map(|(_, age)| age);
    assert_eq!(age, Some(Duration::from_millis(100)));
}
