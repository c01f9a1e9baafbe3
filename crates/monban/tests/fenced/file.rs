//! A file.

use std::sync::atomic::{AtomicU32, Ordering};

use monban::fenced::{FencedFile, WriteError};
use monban::{Fence, Token};

use super::*;

impl Guarded for FencedFile {
    fn write(&self, token: Token, content: &str) -> bool {
        match FencedFile::write(self, token, content.as_bytes()) {
            Ok(()) => true,
            Err(WriteError::Stale(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

#[test]
fn a_file_refuses_a_paused_holder() {
    let directory = tempfile::tempdir().unwrap();
    a_paused_holder_is_refused(&FencedFile::new(directory.path().join("state")));
}

#[test]
fn a_file_accepts_live_holders_of_permits() {
    let directory = tempfile::tempdir().unwrap();
    live_holders_of_permits_are_accepted(&FencedFile::new(directory.path().join("state")));
}

#[test]
fn a_file_remembers_through_a_restart_and_does_not_guess() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let token = |number| Token::from(Fence::new(number).unwrap());
    assert!(Guarded::write(
        &FencedFile::new(&path),
        token(i64::MAX - 1),
        "new"
    ));
    assert!(!Guarded::write(&FencedFile::new(&path), token(5), "old"));
    let marks = directory.path().join("state.fence");
    assert_eq!(
        fs::read_to_string(&marks).unwrap(),
        format!("{}\n", i64::MAX - 1)
    );
    fs::write(&marks, "12x\n").unwrap();
    let error = FencedFile::new(&path)
        .write(token(i64::MAX), b"")
        .unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn writers_that_come_together_leave_the_highest() {
    let directory = tempfile::tempdir().unwrap();
    let file = FencedFile::new(directory.path().join("state"));
    let accepted = AtomicU32::new(0);
    std::thread::scope(|threads| {
        for number in 1..=8 {
            let (file, accepted) = (&file, &accepted);
            threads.spawn(move || {
                let token = Token::from(Fence::new(number).unwrap());
                if Guarded::write(file, token, &number.to_string()) {
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(file.read(), "8");
    assert!(accepted.into_inner() >= 1);
}
