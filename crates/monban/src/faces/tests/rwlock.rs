//! The read-write lock.

use super::*;
use crate::data::Options;

#[test]
fn readers_share_and_a_writer_is_alone() {
    both(|_, [one, two]| {
        let (here, there) = (
            one.locks().rwlock("k").unwrap(),
            two.locks().rwlock("k").unwrap(),
        );
        let readers = [here.read().wait().unwrap(), there.read().wait().unwrap()];
        let third = block_on(here.try_read()).unwrap().unwrap();
        assert!(block_on(there.try_write()).unwrap().is_none());
        assert!(
            block_on(two.locks().mutex("k").unwrap().try_lock())
                .unwrap()
                .is_none()
        );
        drop((readers, third));
        let writer = there.write().wait().unwrap();
        assert!(writer.fence().is_ok());
        assert!(block_on(here.try_read()).unwrap().is_none());
        assert!(block_on(here.try_write()).unwrap().is_none());
        block_on(writer.release()).unwrap();
    });
}

#[test]
fn a_reader_has_no_fence_and_is_told_so() {
    both(|_, [one, _]| {
        let reader = one.locks().rwlock("k").unwrap().read().wait().unwrap();
        assert!(matches!(reader.fence(), Err(Error::Unsupported { .. })));
        assert!(matches!(reader.token(), Err(Error::Unsupported { .. })));
    });
}

#[test]
fn a_waiting_writer_is_not_overtaken_by_readers_that_come_later() {
    both(|rig, [one, two]| {
        let lock = one.locks().rwlock("k").unwrap();
        let reader = lock.read().wait().unwrap();
        let writer = spawn(two.locks().rwlock("k").unwrap().write());
        until_in_line(rig, "k", 2);
        assert!(block_on(lock.try_read()).unwrap().is_none());
        let late = spawn(lock.read());
        until_in_line(rig, "k", 3);
        drop(reader);
        let writer = done(writer).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!late.is_finished());
        drop(writer);
        drop(done(late).unwrap());
    });
}

#[test]
fn a_killed_reader_and_a_killed_writer_are_outlived() {
    both(|rig, [one, _]| {
        for mode in [Mode::Shared, Mode::Exclusive] {
            dead_holder(rig, "k", mode);
            let next = spawn(one.locks().rwlock("k").unwrap().write());
            until_in_line(rig, "k", 2);
            rig.advance(Duration::from_millis(10_100));
            rig.eventually("granted", || next.is_finished());
            block_on(done(next).unwrap().release()).unwrap();
        }
    });
}

#[test]
fn readers_cannot_linger_and_permits_do_not_fit_the_key() {
    both(|_, [one, _]| {
        let lock = one.locks().rwlock("k").unwrap();
        assert!(is_invalid(
            &lock.clone().with(Options::new().linger(secs(1)))
        ));
        assert!(is_invalid(&one.locks().rwlock("")));
        let reader = lock.read().wait().unwrap();
        let permit = one.locks().semaphore("k", 2).unwrap();
        let error = block_on(permit.try_take(1)).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        drop(reader);
    });
}
