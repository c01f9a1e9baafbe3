//! Many processes on one key.

use crate::support::{Place, wait_until};

/// Fifty processes, each of which adds to a counter by reading it, sleeping and writing it.
#[test]
fn fifty_processes_lose_no_update_of_a_counter_that_is_not_atomic() {
    let place = Place::new();
    let counter = place.file("counter");
    std::fs::write(&counter, "0").expect("written");
    let script = format!(
        "n=$(cat '{0}'); sleep 0.002; echo $((n + 1)) > '{0}'",
        counter.display()
    );
    let runs: Vec<_> = (0..50)
        .map(|_| place.start(&["run", "-w", "120", "k", "--", "sh", "-c", &script]))
        .collect();
    for run in runs {
        let run = run.end();
        assert_eq!(run.code, 0, "{}", run.err);
    }
    assert_eq!(
        std::fs::read_to_string(counter).expect("there").trim(),
        "50"
    );
}

#[test]
fn two_hundred_waiting_processes_are_all_served() {
    let place = Place::new();
    let holder = place.hold(&[], "k");
    let log = place.file("log");
    let script = format!("echo x >> '{}'", log.display());
    let runs: Vec<_> = (0..200)
        .map(|_| place.start(&["run", "-w", "300", "k", "--", "sh", "-c", &script]))
        .collect();
    wait_until("all wait", || {
        place.run(&["show", "k"]).out.matches("waiting").count() == 200
    });
    holder.let_go();
    for run in runs {
        let run = run.end();
        assert_eq!(run.code, 0, "{}", run.err);
    }
    assert_eq!(
        std::fs::read_to_string(log).expect("there").lines().count(),
        200
    );
    assert_eq!(place.run(&["ls"]).out, "");
}
