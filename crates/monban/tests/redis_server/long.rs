//! A stranger's value may be of any length: of one that was written over a key that is held, only the beginning is read.

use monban::contract::{Release, Renewal, Store};
use monban::data::Leave;
use monban_testkit::RedisServer;

use crate::common::{Client, lasting, leftovers, run, without_resp3};
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
