//! What a face asks of its store: what its claims cost, and nothing beside.

use monban::testing::{Faults, Rig, Verb};
use monban::{Options, block_on};

use crate::each::{FACES, Face, KEY};
use crate::place::spawn;

/// How often a store was asked for anything, verb by verb.
fn verbs(faults: &Faults) -> [u64; 4] {
    [Verb::Attempt, Verb::Release, Verb::Renew, Verb::Inspect].map(|verb| faults.requests(verb))
}

#[test]
fn every_face_is_one_request_to_take_and_one_to_release() {
    for face in FACES {
        let rig = Rig::new();
        let process = rig.process("one");
        let taken = block_on(face.take(process.locks(), Options::new())).unwrap();
        assert_eq!(verbs(process.faults()), [1, 0, 0, 0], "{face:?}");
        block_on(taken.release()).unwrap();
        assert_eq!(verbs(process.faults()), [1, 1, 0, 0], "{face:?}");
        rig.assert_clean();
    }
}

#[test]
fn a_try_that_is_refused_is_one_request() {
    for face in FACES {
        let rig = Rig::new();
        let (process, other) = (rig.process("one"), rig.process("other"));
        let held = other.locks().mutex(KEY).unwrap().lock().wait().unwrap();
        let tried = block_on(face.attempt(process.locks())).unwrap();
        assert!(tried.is_none(), "{face:?}");
        drop(held);
        rig.assert_clean();
        // Only who has found other keys free has something to give back.
        let given_back = u64::from(face == Face::AllOf);
        assert_eq!(verbs(process.faults()), [1, given_back, 0, 0], "{face:?}");
    }
}

#[test]
fn a_wait_is_one_request_to_join_and_one_when_it_is_woken() {
    for face in FACES {
        let rig = Rig::new();
        let (process, other) = (rig.process("one"), rig.process("other"));
        let held = other.locks().mutex(KEY).unwrap().lock().wait().unwrap();
        let wait = spawn(face.take(process.locks(), Options::new()));
        rig.eventually("it waits", || rig.claims(KEY).len() == 2);
        drop(held);
        rig.eventually("it is served", || wait.is_finished());
        block_on(wait.join().unwrap().unwrap().release()).unwrap();
        rig.assert_clean();
        let expected = match face {
            // Tries all; gives back what is behind the busy key; waits for that; tries the rest.
            Face::AllOf => [4, 2, 0, 0],
            // Whether the work is due at all is asked first, without a place in the line.
            Face::Once => [3, 1, 0, 0],
            _ => [2, 1, 0, 0],
        };
        assert_eq!(verbs(process.faults()), expected, "{face:?}");
    }
}

#[cfg(feature = "redis")]
mod over_redis {
    use monban::{Locks, Options, block_on};
    use monban_testkit::service::skipped;
    use monban_testkit::{RedisOptions, RedisServer};

    use crate::each::{FACES, Face};

    /// How often a script was called, which is what every verb is; what scripts call in turn is counted elsewhere.
    fn calls(server: &RedisServer) -> u64 {
        let info = server.ask(&["INFO", "commandstats"]).unwrap();
        let of = |line: &str| {
            let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let asked = matches!(name, "eval" | "evalsha" | "fcall" | "script|load");
            let calls = numbers.strip_prefix("calls=")?.split(',').next()?;
            asked.then(|| calls.parse::<u64>().unwrap())
        };
        info.lines().filter_map(of).sum()
    }

    fn cost(server: &RedisServer, locks: &Locks, face: Face) -> u64 {
        let cycle = || {
            let taken = block_on(face.take(locks, Options::new())).unwrap();
            block_on(taken.release()).unwrap();
        };
        cycle(); // loads the scripts
        let before = calls(server);
        (0..10).for_each(|_| cycle());
        calls(server) - before
    }

    #[test]
    fn every_face_is_one_command_to_take_and_one_to_release() {
        if skipped("redis") {
            return;
        }
        let server = RedisServer::start(RedisOptions::new()).unwrap();
        let locks = block_on(Locks::connect(&server.url())).unwrap();
        for face in FACES {
            // Also of several keys: their claims travel together.
            let asked = cost(&server, &locks, face);
            assert_eq!(asked, 20, "{face:?}: a take and a release, ten times");
        }
    }
}
