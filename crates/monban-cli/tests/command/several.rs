//! Several keys on one command: all of them, or none.

use crate::support::{Ended, Place, wait_until};

fn is_free(place: &Place, key: &str) -> bool {
    place.run(&["show", key]).out.contains("is free")
}

#[test]
fn all_keys_are_held_while_the_command_runs_and_free_afterwards() {
    let place = Place::new();
    let holder = place.hold(&["--also", "a", "--also", "c"], "b");
    for key in ["a", "b", "c"] {
        let busy = place.run(&["run", key, "true"]);
        assert_eq!(busy.code, 75, "{key}");
        assert!(
            busy.err.contains(&format!("running {key} (pid")),
            "{}",
            busy.err
        );
    }
    assert_eq!(holder.let_go().code, 0);
    for key in ["a", "b", "c"] {
        assert!(is_free(&place, key), "{key}");
    }
}

#[test]
fn if_one_key_is_busy_none_is_taken_and_the_busy_one_is_named() {
    let place = Place::new();
    let holder = place.hold(&[], "b");
    let refused = place.run(&[
        "run", "--also", "b", "--also", "c", "a", "--", "echo", "ran",
    ]);
    assert_eq!((refused.code, refused.out.as_str()), (75, ""));
    assert!(refused.err.contains("running b (pid"), "{}", refused.err);
    assert!(is_free(&place, "a") && is_free(&place, "c"));
    let mut waiter = place.start(&["run", "-w", "60", "--also", "b", "a", "--", "echo", "ran"]);
    wait_until("it waits for b", || {
        place.run(&["show", "b"]).out.contains("waiting")
    });
    assert!(waiter.is_running());
    holder.let_go();
    let waiter = waiter.end();
    assert_eq!(
        (waiter.code, waiter.out.as_str()),
        (0, "ran\n"),
        "{}",
        waiter.err
    );
    let _holder = place.hold(&[], "b");
    let late = place.run(&["run", "-w", "0.2", "--also", "b", "a", "true"]);
    assert_eq!(late.code, 75);
    assert!(late.err.contains("running b (pid"), "{}", late.err);
    assert!(is_free(&place, "a"));
}

#[test]
fn sets_that_overlap_in_any_order_never_wait_in_a_circle() {
    let place = Place::new();
    let log = place.file("log");
    let script = format!(
        "echo in >> '{0}'; sleep 0.01; echo out >> '{0}'",
        log.display()
    );
    let sets = [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"]];
    let runs: Vec<_> = (0..18)
        .map(|n| {
            let [key, one, two] = sets[n % 3];
            let line = ["run", "-w", "120", "--also", one, "--also", two, key];
            place.start(&[&line[..], &["--", "sh", "-c", &script]].concat())
        })
        .collect();
    for run in runs {
        let run = run.end();
        assert_eq!(run.code, 0, "{}", run.err);
    }
    let log = std::fs::read_to_string(log).expect("they ran");
    assert_eq!(log, "in\nout\n".repeat(18), "one at a time");
}

#[test]
fn the_command_is_told_of_every_key_in_the_order_of_the_command_line() {
    let place = Place::new();
    let script = "echo $MONBAN_KEY,$MONBAN_KEYS,$MONBAN_KEY_1,$MONBAN_KEY_2,$MONBAN_KEY_3; \
        echo $MONBAN_FENCE $MONBAN_FENCE_1 $MONBAN_FENCE_2 $MONBAN_FENCE_3";
    let told = place.run(&[
        "run", "--also", "x y", "--also", "a", "m", "--", "sh", "-c", script,
    ]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines[0], "m,3,x y,a,m", "{}", told.err);
    let fences: Vec<i64> = lines[1]
        .split(' ')
        .map(|fence| fence.parse().expect("a number"))
        .collect();
    assert_eq!((fences.len(), fences[0]), (4, fences[3]));
    let script = "echo $MONBAN_KEY,$MONBAN_KEY_1,$MONBAN_KEY_2,$MONBAN_KEY_3";
    let around = [
        "run", "--also", "c", "b", "--also", "a", "--", "sh", "-c", script,
    ];
    let around = place.run(&around);
    assert_eq!(around.out, "b,c,b,a\n", "{}", around.err);
    let seats = place.run(&[
        "run",
        "--permits",
        "1/2",
        "--also",
        "b",
        "a",
        "--",
        "sh",
        "-c",
        "echo $MONBAN_SEAT $MONBAN_SEAT_1 $MONBAN_SEAT_2",
    ]);
    assert_eq!(seats.out, "0 0 0\n", "{}", seats.err);
    let exe = env!("CARGO_BIN_EXE_monban");
    let inner = place.run(&[
        "run",
        "--also",
        "b",
        "a",
        "--",
        exe,
        "run",
        "inner",
        "--",
        "sh",
        "-c",
        "echo $MONBAN_KEY,$MONBAN_KEYS,$MONBAN_KEY_1,$MONBAN_FENCE_2",
    ]);
    assert_eq!(
        inner.out, "inner,,,\n",
        "those of the outer run are not the inner one's"
    );
}

#[test]
fn shares_of_several_keys_run_beside_each_other() {
    let place = Place::new();
    let _one = place.hold(&["-s", "--also", "b"], "a");
    let _two = place.hold(&["-s", "--also", "a"], "b");
    assert_eq!(place.run(&["run", "b", "true"]).code, 75);
}

#[test]
fn after_kill_9_of_monban_no_key_is_free_before_its_command_is_dead() {
    for _ in 0..10 {
        let place = Place::new();
        let pid = place.file("pid");
        let script = format!(
            "trap '' TERM; echo $$ > '{0}.new'; mv '{0}.new' '{0}'; sleep 60",
            pid.display()
        );
        let holder = place.start(&["run", "--also", "b", "a", "--", "sh", "-c", &script]);
        wait_until("it runs", || pid.exists());
        let command = std::fs::read_to_string(&pid).expect("there");
        let probe = format!("[ -e /proc/{}/cwd ] && echo alive; true", command.trim());
        let waiters =
            ["a", "b"].map(|key| place.start(&["run", "-w", "60", key, "--", "sh", "-c", &probe]));
        holder.signal(rustix::process::Signal::KILL);
        for waiter in waiters {
            let Ended { code, out, err } = waiter.end();
            assert_eq!((code, out.as_str()), (0, ""), "{err}");
        }
    }
}

#[test]
fn bad_sets_of_keys_are_refused() {
    let place = Place::new();
    let twice = place.run(&["run", "--also", "a", "a", "true"]);
    assert_eq!(twice.code, 64);
    assert!(twice.err.contains("named twice"), "{}", twice.err);
    assert_eq!(place.run(&["run", "--also", "", "a", "true"]).code, 64);
    assert_eq!(
        place
            .run(&["run", "--also", "b", "--every", "1h", "a", "true"])
            .code,
        64
    );
    let names: Vec<String> = (0..64).map(|n| format!("--also=k{n}")).collect();
    let most = |count: usize| {
        let names = names[..count].iter().map(String::as_str);
        let line: Vec<&str> = ["run", "-s"]
            .into_iter()
            .chain(names)
            .chain(["a", "true"])
            .collect();
        place.run(&line)
    };
    assert_eq!(most(63).code, 0, "as many as there may be");
    let many = most(64);
    assert_eq!(many.code, 64);
    assert!(many.err.contains("at most 64"), "{}", many.err);
}
