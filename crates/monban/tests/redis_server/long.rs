//! A stranger's value may be of any length: of one that was written over a key that is held, only the beginning is read.

use monban::contract::{Attempt, Release, Renewal, Store};
use monban::data::{Claim, Keep, Leave};
use monban_testkit::RedisServer;

use crate::common::{Client, lasting, leftovers, pause, run, server, without_resp3};
use crate::monitor::Monitor;

const LENGTH: &str = "40000000";

/// Writes a value of 40 MB over whatever is at the key.
fn written_over(server: &RedisServer, key: &str) {
    server.ask(&["DEL", key]).unwrap();
    server.ask(&["SETRANGE", key, LENGTH, "x"]).unwrap();
}

fn sent(server: &RedisServer) -> u64 {
    let info = server.ask(&["INFO", "stats"]).unwrap();
    let mut lines = info.lines();
    let bytes = lines.find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    bytes.unwrap().trim().parse().unwrap()
}

/// Without pushes a holder learns of it when it renews, so that renewals and releases meet the value.
#[test]
fn a_long_value_over_a_held_key_is_never_read_as_a_whole() {
    run(async {
        let server = RedisServer::start(without_resp3()).unwrap();
        let client = Client::of(&server).await;
        let monitor = Monitor::of(&server);
        let before = sent(&server);

        // Renewals of several, and a release of one that nobody waits for.
        let (lost, kept) = (client.exclusive("k"), client.exclusive("beside"));
        let kept = lasting(kept, 20_000);
        client.takes(&lost).await;
        client.takes(&kept).await;
        written_over(&server, "k");
        let renewed = client.renewals(&[lost.clone(), kept.clone()]).await;
        assert!(
            matches!(renewed[..], [Ok(Renewal::Lost), Ok(Renewal::Kept)]),
            "{renewed:?}"
        );
        assert_eq!(client.releases(&lost).await, Release::Gone);
        assert_eq!(client.releases(&kept).await, Release::Done);

        // A release while another waits.
        server.ask(&["DEL", "k"]).unwrap();
        let (held, waiter) = (client.exclusive("k"), client.exclusive("k"));
        client.takes(&held).await;
        drop(client.waits(&waiter).await);
        written_over(&server, "k");
        assert_eq!(client.releases(&held).await, Release::Gone);
        assert_eq!(client.releases(&waiter).await, Release::Done);

        // A release of several.
        server.ask(&["DEL", "k"]).unwrap();
        let claims = [client.exclusive("k"), client.exclusive("beside")];
        client.takes(&claims[0]).await;
        client.takes(&claims[1]).await;
        written_over(&server, "k");
        let leaving = claims.map(|claim| Leave {
            claim,
            linger: None,
        });
        let left = client.store.release(&leaving).await;
        assert!(
            matches!(left[..], [Ok(Release::Gone), Ok(Release::Done)]),
            "{left:?}"
        );

        let said = monitor.said(&server);
        let of_scripts = said.iter().filter(|said| said.inside);
        let looks = of_scripts.filter(|said| said.words[1..].iter().any(|word| word == "k"));
        let mut beginnings = 0;
        for look in looks {
            let name = look.words[0].to_uppercase();
            assert!(name != "GET" && name != "MGET", "{:?}", look.words);
            beginnings += usize::from(name == "GETRANGE");
        }
        assert!(beginnings >= 4, "{beginnings} times");
        assert!(sent(&server) - before < 1_000_000, "a long value is sent");
        assert_eq!(server.ask(&["STRLEN", "k"]).unwrap(), "40000001");
        assert_eq!(leftovers(&server), ["k"]);
    });
}

/// A server of version 7.0 watches all keys of a script anew with each command of it that reads: to read them one by one costs the
/// square of their number.
#[test]
fn short_values_of_many_keys_are_read_at_once() {
    run(async {
        let server = server();
        let client = Client::of(&server).await;
        let monitor = Monitor::of(&server);
        let claims: Vec<Claim> = ["a", "b", "c", "d", "e"]
            .map(|key| client.exclusive(key))
            .to_vec();
        let mut grants = Vec::new();
        for answer in client.store.attempt(&claims).await {
            match answer {
                Ok(Attempt::Granted(grant)) => grants.push(grant),
                other => panic!("{other:?}"),
            }
        }
        pause(50).await; // they are watched by now
        let keep = |(claim, fence): (&Claim, _)| Keep {
            claim: claim.clone(),
            fence,
        };
        let fences = grants.iter().map(|grant| grant.fence);
        let keeping: Vec<Keep> = claims.iter().zip(fences).map(keep).collect();
        for renewed in client.store.renew(&keeping).await {
            assert_eq!(renewed.unwrap(), Renewal::Kept);
        }
        let said = monitor.said(&server);
        let inside = said.iter().filter(|said| said.inside);
        let names: Vec<String> = inside.map(|said| said.words[0].to_uppercase()).collect();
        let count = |name: &str| names.iter().filter(|said| *said == name).count();
        assert_eq!(
            count("MGET"),
            2,
            "for the watch, and for the renewal: {names:?}"
        );
        assert_eq!(count("GETRANGE"), 0, "{names:?}");
    });
}
