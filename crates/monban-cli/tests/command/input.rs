//! Bad input and bad places: a clear message, the documented code, and never a run.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Place;

#[track_caller]
fn refused(place: &Place, arguments: &[&str], code: i32, says: &str) {
    let ended = place.run(arguments);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (code, ""),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains(says),
        "{says:?} is not in: {}",
        ended.err
    );
}

#[test]
fn input_that_cannot_be_used_is_named() {
    let place = Place::new();
    let echo = ["--", "echo", "ran"];
    let run = |arguments: &[&'static str]| [&["run"], arguments, &echo].concat();
    refused(&place, &run(&[""]), 64, "the key is empty");
    let long = "k".repeat(1025);
    refused(
        &place,
        &["run", &long, "--", "echo", "ran"],
        64,
        "1025 bytes",
    );
    refused(&place, &run(&["--ttl", "0", "k"]), 64, "zero");
    refused(&place, &run(&["--ttl", "0.5", "k"]), 64, "at least 1s");
    refused(&place, &run(&["--every", "0s", "k"]), 64, "zero");
    refused(&place, &run(&["-w", "soon", "k"]), 64, "soon");
    refused(&place, &run(&["--permits", "3/2", "k"]), 64, "at most 2");
    refused(&place, &run(&["--permits", "0/2", "k"]), 64, "at least 1");
    refused(&place, &run(&["--store", "gopher://h", "k"]), 64, "gopher");
    refused(
        &place,
        &run(&["--store", "nonsense", "k"]),
        64,
        "named by a URL",
    );
    refused(
        &place,
        &run(&["--store", "file:relative", "k"]),
        64,
        "from the root",
    );
    refused(
        &place,
        &run(&["--store", "memory:", "k"]),
        64,
        "outside this process",
    );
    refused(&place, &run(&["--every", "1000y", "k"]), 64, "longer than");
    refused(&place, &["run", "k"], 64, "COMMAND");
    refused(&place, &["walk", "k"], 64, "walk");
    refused(&place, &["release", "k"], 64, "--id");
}

#[test]
fn a_password_in_the_url_is_not_printed() {
    let place = Place::new();
    for store in [
        "gopher://u:s3cret@h",
        "s3cret@h",
        "redis://u:s3cret@127.0.0.1:1/0?nonsense=1",
    ] {
        let ended = place.run(&["--store", store, "run", "k", "--", "echo", "ran"]);
        assert_ne!(ended.code, 0);
        assert_eq!(ended.out, "");
        assert!(!ended.err.contains("s3cret"), "{}", ended.err);
    }
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.locks()).expect("made");
    std::fs::set_permissions(place.locks(), PermissionsExt::from_mode(0o777)).expect("set");
    refused(&place, &["run", "k", "--", "echo", "ran"], 69, "chmod 700");
    let elsewhere = Place::new();
    std::fs::create_dir(elsewhere.file("real")).expect("made");
    symlink(elsewhere.file("real"), elsewhere.locks()).expect("linked");
    refused(&elsewhere, &["run", "k", "--", "echo", "ran"], 69, "link");
    let file = Place::new();
    std::fs::write(file.locks(), "").expect("written");
    refused(&file, &["run", "k", "--", "echo", "ran"], 69, "directory");
}

#[test]
fn a_lock_file_that_is_not_a_plain_file_is_refused() {
    let place = Place::new();
    assert_eq!(place.run(&["run", "k", "true"]).code, 0);
    let lock = |key: &str| place.locks().join(format!("{key}.lock"));
    std::fs::write(place.file("target"), "precious").expect("written");
    symlink(place.file("target"), lock("linked")).expect("linked");
    refused(
        &place,
        &["run", "linked", "--", "echo", "ran"],
        69,
        "linked.lock",
    );
    std::fs::create_dir(lock("dir")).expect("made");
    refused(&place, &["run", "dir", "--", "echo", "ran"], 69, "dir.lock");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        lock("fifo"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .expect("made");
    refused(
        &place,
        &["run", "fifo", "--", "echo", "ran"],
        69,
        "fifo.lock",
    );
    assert_eq!(
        std::fs::read(place.file("target")).expect("there"),
        b"precious"
    );
    // A file that somebody else made for flock is used, and left as it is.
    std::fs::write(lock("foreign"), "theirs").expect("written");
    std::fs::set_permissions(lock("foreign"), PermissionsExt::from_mode(0o600)).expect("set");
    assert_eq!(place.run(&["run", "foreign", "true"]).code, 0);
    assert_eq!(std::fs::read(lock("foreign")).expect("there"), b"theirs");
}

#[test]
fn a_holder_cannot_be_freed_by_hand_on_files_and_monban_says_why() {
    let place = Place::new();
    let _holder = place.hold(&[], "k");
    let line = place.run(&["ls", "--json"]).out;
    let entry: serde_json::Value =
        serde_json::from_str(line.lines().next().expect("one")).expect("JSON");
    let id = entry["id"].as_str().expect("an id");
    refused(&place, &["release", "k", "--id", id], 64, "file store");
    refused(
        &place,
        &["release", "k", "--id", "000000000000"],
        64,
        "no claim",
    );
}

/// A secret that was not set would else make locks of this host alone.
#[test]
fn a_store_that_is_set_and_empty_is_refused() {
    let place = Place::new();
    for empty in ["", " "] {
        let mut command = place.monban(&["run", "k", "--", "echo", "ran"]);
        command.env("MONBAN_STORE", empty).env("HOME", place.path());
        let output = command.output().expect("monban starts");
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(output.stdout, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("MONBAN_STORE is empty"), "{said}");
    }
}

#[test]
fn capacities_that_do_not_fit_are_said_as_they_were_asked() {
    let place = Place::new();
    let _holder = place.hold(&["--permits", "2/4"], "k");
    let words = ["run", "--permits", "1/3", "k", "--", "echo", "ran"];
    refused(&place, &words, 64, "at most 3 permits in all");
    refused(&place, &words, 64, "in use as at most 4 permits in all");
}
