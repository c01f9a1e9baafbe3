//! Three members, of which some are stopped. What a majority has is kept.

use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy};
use monban::data::Claim;
use monban_testkit::{EtcdOptions, EtcdServer, wait_until};

use crate::client::{Client, SOON, nothing_is_left, run, woken};

pub(crate) fn three() -> EtcdServer {
    let options = EtcdOptions::new()
        .members(3)
        .election(Duration::from_millis(1_000));
    EtcdServer::start(options).unwrap()
}

#[test]
fn a_member_that_is_stopped_is_left_for_another() {
    run(async {
        let mut server = three();
        // Connected to the first, which will be stopped: as good as cut off, since it keeps its connections.
        let url = format!("{}?timeout=6s", server.url());
        let (a, b) = (Client::at(&url).await, Client::at(&url).await);
        let (held, waiter) = (a.exclusive("k"), b.exclusive("k"));
        let grant = a.takes(&held).await;
        b.waits(&waiter).await;
        server.stop_signal(0).unwrap();
        let again = a.comes_in(&held).await;
        assert_eq!(again.fence, grant.fence);
        // The waiter's stream of watches hangs at the stopped member until a verb finds that out.
        let changed = b.waits_still(&waiter).await.changed.unwrap();
        a.is_rid_of(&held).await;
        woken(changed).await;
        assert!(b.comes_in(&waiter).await.fence > grant.fence);
        server.cont(0).unwrap();
        b.is_rid_of(&waiter).await;
        nothing_is_left(&server, "k/").await;
    });
}

#[test]
fn without_a_majority_nothing_is_granted_and_with_it_again_all_goes_on() {
    run(async {
        let mut server = three();
        let url = format!("{}?timeout=2s", server.url());
        let client = Client::at(&url).await;
        let held = client.exclusive("k");
        let fence = client.takes(&held).await.fence;
        server.stop_signal(1).unwrap();
        server.stop_signal(2).unwrap();
        let other = client.exclusive("other");
        assert!(crate::client::is_unavailable(&client.ask(&other).await));
        server.cont(1).unwrap();
        server.cont(2).unwrap();
        assert_eq!(client.comes_in(&held).await.fence, fence);
        client.comes_in(&other).await;
        client.is_rid_of(&other).await;
        client.is_rid_of(&held).await;
        nothing_is_left(&server, "").await;
    });
}

/// Which member leads, as soon as one does.
pub(crate) fn leader_of(server: &EtcdServer) -> usize {
    let mut leader = 0;
    let found = wait_until("a leader", SOON * 2, || {
        Ok(server.leader().is_ok_and(|found| {
            leader = found;
            true
        }))
    });
    found.unwrap();
    leader
}

impl Client {
    /// Asks until that is answered.
    async fn waits_still(&self, claim: &Claim) -> Busy {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(Attempt::Busy(busy)) => return busy,
                Ok(Attempt::Granted(grant)) => panic!("{grant:?}"),
                Err(error) => assert!(error.is_transient() && start.elapsed() < SOON, "{error}"),
            }
        }
    }
}
