//! Places and leases that are taken away.

use std::time::{Duration, Instant};

use monban::data::{Entry, Standing};
use monban::{Error, Options, block_on};

use crate::each::{ALL, FACES, KEY};
use crate::place::{MS, Place, eventually, figure, in_line, spawn};

/// Takes what is in the line away, and says when that was asked for; `None` if the store cannot.
fn take_away(place: &Place, which: impl Fn(&Entry) -> bool) -> Option<Instant> {
    let line = block_on(place.two.inspect(KEY)).unwrap();
    let entry = line.iter().find(|entry| which(entry)).expect("it is there");
    let asked = Instant::now();
    match block_on(place.two.evict(entry)) {
        Ok(_) => Some(asked),
        Err(Error::Unsupported { .. }) => {
            assert!(!place.two.guarantees().release_by_hand);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn a_place_that_is_lost_while_waiting_is_taken_again(place: &Place) {
    for face in FACES {
        let holder = place.two.all_of(ALL).unwrap().lock().wait().unwrap();
        let wait = spawn(face.take(&place.one, Options::new()));
        // `all_of` waits at its first key, the others at theirs.
        let waits = || {
            let lines = ALL.map(|key| in_line(&place.two, key));
            lines.iter().sum::<usize>() == 4
        };
        eventually("it waits", waits);
        let line = block_on(place.two.inspect("")).unwrap();
        let waiter = line
            .into_iter()
            .find(|entry| matches!(entry.standing, Standing::Waiting { .. }))
            .expect("it waits");
        match block_on(place.two.evict(&waiter)) {
            Ok(_) => assert!(place.two.guarantees().release_by_hand),
            Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
        }
        block_on(holder.release()).unwrap();
        eventually(&format!("{face:?} is served"), || wait.is_finished());
        let taken = wait.join().unwrap().unwrap();
        taken.check().unwrap();
        block_on(taken.release()).unwrap();
        place.assert_clean(&format!("{face:?}"));
    }
}

/// Only `all_of` holds a key while it waits for another.
pub(crate) fn a_key_that_is_lost_while_waiting_for_another_ends_the_wait(place: &Place) {
    let holder = place.two.mutex("c").unwrap().lock().wait().unwrap();
    let wait = spawn(place.one.all_of(ALL).unwrap().lock());
    eventually("it holds b and waits for c", || {
        in_line(&place.two, "c") == 2
    });
    if take_away(place, |_| true).is_some() {
        let error = wait.join().unwrap().unwrap_err();
        assert!(matches!(&error, Error::Lost { .. }), "{error}");
        eventually("nothing of it is left", || in_line(&place.two, "") == 1);
        block_on(holder.release()).unwrap();
    } else {
        block_on(holder.release()).unwrap();
        block_on(wait.join().unwrap().unwrap().release()).unwrap();
    }
    place.assert_clean("all_of");
}

pub(crate) fn a_lease_of_every_face_knows_that_it_is_lost(place: &Place) {
    let mut notices: Vec<Duration> = Vec::new();
    for face in FACES {
        // Where nobody is told, the next renewal says so.
        let options = Options::new().ttl(3_000 * MS);
        let held = block_on(face.take(&place.one, options)).unwrap();
        let lost = held.lost();
        let told = spawn(async move { (lost.await, Instant::now()) });
        if let Some(asked) = take_away(place, |_| true) {
            let (error, knew) = told.join().unwrap();
            notices.push(knew - asked);
            assert!(matches!(error, Error::Lost { .. }), "{face:?}: {error}");
            assert!(held.check().is_err(), "{face:?}");
            let released = block_on(held.release());
            let is_lost = matches!(released, Err(Error::Lost { .. }));
            assert!(is_lost, "{face:?}: {released:?}");
        } else {
            held.check().unwrap();
            assert!(!told.is_finished(), "{face:?}");
            block_on(held.release()).unwrap();
        }
        place.assert_clean(&format!("{face:?}"));
    }
    figure(
        place,
        "from freeing by hand until the holder is told",
        notices,
    );
}
