//! What `ls`, `show`, `guarantees` and `completions` print.

use crate::support::{Place, wait_until};

#[test]
fn holders_and_waiters_are_listed_in_order() {
    let place = Place::new();
    assert_eq!(place.run(&["ls"]).out, "");
    assert!(place.run(&["show", "k"]).out.contains("k is free"));
    let holder = place.hold(&["--label", "nightly report"], "k");
    let _other = place.hold(&["-s"], "other");
    let waiter = place.start(&["run", "-w", "forever", "k", "true"]);
    wait_until("it waits", || {
        place.run(&["show", "k"]).out.contains("1 ahead")
    });
    let show = place.run(&["show", "k"]).out;
    let lines: Vec<_> = show.lines().collect();
    assert_eq!(lines.len(), 3, "{show}");
    assert!(
        lines[1].contains("held") && lines[1].contains("(nightly report)"),
        "{show}"
    );
    assert!(
        lines[1].contains(&format!("pid {}", holder.running.id())),
        "{show}"
    );
    assert!(lines[1].contains("fence "), "{show}");
    assert!(lines[2].contains(&format!("pid {}", waiter.id())), "{show}");
    let json = place.run(&["show", "--json", "k"]).out;
    let states: Vec<_> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["state"].clone())
        .collect();
    assert_eq!(states, ["holding", "waiting"]);
    let all = place.run(&["ls"]).out;
    assert_eq!(all.lines().count(), 4, "a heading and three: {all}");
    assert!(all.contains("shared"), "{all}");
    assert_eq!(place.run(&["ls", "oth"]).out.lines().count(), 2);
    holder.let_go();
    assert_eq!(waiter.end().code, 0);
}

#[test]
fn what_could_mislead_a_terminal_is_escaped() {
    let place = Place::new();
    let key = "k\u{1b}[2J\u{202e}";
    let _holder = place.hold(&["--label", "x\u{1b}]0;y\u{7}"], key);
    for arguments in [&["ls"][..], &["show", key][..], &["run", key, "true"][..]] {
        let ended = place.run(arguments);
        let all = ended.out + &ended.err;
        assert!(
            !all.contains('\u{1b}') && !all.contains('\u{202e}') && !all.contains('\u{7}'),
            "{all:?}"
        );
        assert!(all.contains("\\u{1b}[2J\\u{202e}"), "{all}");
    }
}

#[test]
fn keys_of_any_bytes_are_kept_apart() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let odd = std::ffi::OsStr::from_bytes(b"\xff/../%2F\n");
    let run = |key: &std::ffi::OsStr| {
        place
            .monban(&["run"])
            .arg(key)
            .arg("true")
            .status()
            .expect("starts")
            .code()
    };
    assert_eq!(run(odd), Some(0));
    let _holder = place.hold(&[], "..");
    assert_eq!(run(odd), Some(0));
    for key in [".", "a/b", "..lock", "K", "k", "k.lock", &"x".repeat(1024)] {
        assert_eq!(run(std::ffi::OsStr::new(key)), Some(0), "{key}");
    }
    assert_eq!(run(std::ffi::OsStr::new("..")), Some(75));
}

#[test]
fn promises_and_completions_are_printed() {
    let place = Place::new();
    let text = place.run(&["guarantees"]).out;
    assert!(text.contains("file (files in"), "{text}");
    assert!(
        text.contains("kept by the kernel") && text.contains("There is no TTL"),
        "{text}"
    );
    let all = place.run(&["guarantees", "--all", "--markdown"]).out;
    assert!(
        all.contains("| file | Host | FifoBesideOthers | Process |"),
        "{all}"
    );
    assert!(all.contains("| memory | Process |"), "{all}");
    for shell in ["bash", "zsh", "fish", "elvish"] {
        assert!(place.run(&["completions", shell]).out.contains("monban"));
    }
    let help = place.run(&["run", "--help"]);
    assert_eq!(help.code, 0);
    assert!(
        help.out.contains("--every") && help.out.contains("--max-hold"),
        "{}",
        help.out
    );
}
