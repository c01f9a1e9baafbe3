//! `bench-keyed [--rounds N]` prints the table; `bench-keyed counts [--check | --update]` counts instructions.

use std::process::{Command, ExitCode};

use bench_keyed::peers::{
    Bare, DashTasks, DashThreads, LockMapFold, LockMapSip, Monban, MonbanFold,
};
use bench_keyed::scenarios::{
    Entrant, Scenario, crowd, hot, hot_task, one_thread, random, random_tasks, two_threads,
};
use bench_keyed::{counts, report};

type Pool = lockable::LockPool<String>;
type KeyedThreads = keyed_lock::sync::KeyedLock<String>;
type KeyedTasks = keyed_lock::r#async::KeyedLock<String>;
type Floor = parking_lot::Mutex<()>;
type FloorTasks = tokio::sync::Mutex<()>;

const ROUNDS: usize = 51;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => table(ROUNDS),
        ["--rounds", rounds] => table(rounds.parse().unwrap_or(ROUNDS)),
        ["counts", ref rest @ ..] => counts::main(rest),
        _ => {
            eprintln!("usage: bench-keyed [--rounds N] | counts [--check | --update]");
            ExitCode::from(64)
        }
    }
}

fn table(rounds: usize) -> ExitCode {
    println!("{}", report::header(rounds));
    for scenario in scenarios() {
        print!("{}", report::run(&scenario, rounds));
    }
    // In a process of its own, since counting every allocation would slow the others down.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let heap = Command::new(cargo)
        .args(["run", "--quiet", "--release", "-p", "bench-keyed"])
        .args(["--bin", "bench-keyed-heap"])
        .status();
    match heap {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        other => {
            eprintln!("the heap was not measured: {other:?}");
            ExitCode::FAILURE
        }
    }
}

fn scenarios() -> [Scenario; 6] {
    let one = || -> Vec<Entrant> {
        vec![
            crowd::<FloorTasks>("floor: tokio::sync::Mutex", one_thread()),
            crowd::<Monban>("monban", one_thread()),
            crowd::<DashTasks>("DashMap of tokio::sync::Mutex", one_thread()),
            crowd::<KeyedTasks>("keyed-lock", one_thread()),
            crowd::<Pool>("lockable", one_thread()),
        ]
    };
    let two = || -> Vec<Entrant> {
        vec![
            crowd::<FloorTasks>("floor: tokio::sync::Mutex", two_threads()),
            crowd::<Monban>("monban", two_threads()),
            crowd::<DashTasks>("DashMap of tokio::sync::Mutex", two_threads()),
            crowd::<KeyedTasks>("keyed-lock", two_threads()),
            crowd::<Pool>("lockable", two_threads()),
        ]
    };
    [
        Scenario {
            title: "One hot key, one thread, blocking",
            entrants: vec![
                hot::<Floor>("floor: parking_lot::Mutex"),
                hot::<Bare>("floor: DashMap, insert and remove"),
                hot::<Monban>("monban"),
                hot::<MonbanFold>("monban, foldhash"),
                hot::<LockMapFold>("lockmap (foldhash)"),
                hot::<LockMapSip>("lockmap, std hasher"),
                hot::<DashThreads>("DashMap of parking_lot::Mutex"),
                hot::<KeyedThreads>("keyed-lock"),
                hot::<Pool>("lockable"),
            ],
        },
        Scenario {
            title: "One hot key, one task",
            entrants: vec![
                hot_task::<FloorTasks>("floor: tokio::sync::Mutex"),
                hot_task::<Monban>("monban"),
                hot_task::<MonbanFold>("monban, foldhash"),
                hot_task::<DashTasks>("DashMap of tokio::sync::Mutex"),
                hot_task::<KeyedTasks>("keyed-lock"),
                hot_task::<Pool>("lockable"),
            ],
        },
        Scenario {
            title: "100,000 random keys, two threads, blocking",
            entrants: vec![
                random::<Bare>("floor: DashMap, insert and remove"),
                random::<Monban>("monban"),
                random::<MonbanFold>("monban, foldhash"),
                random::<LockMapFold>("lockmap (foldhash)"),
                random::<LockMapSip>("lockmap, std hasher"),
                random::<DashThreads>("DashMap of parking_lot::Mutex"),
                random::<KeyedThreads>("keyed-lock"),
                random::<Pool>("lockable"),
            ],
        },
        Scenario {
            title: "100,000 random keys, two tasks on two threads",
            entrants: vec![
                random_tasks::<Bare>("floor: DashMap, insert and remove"),
                random_tasks::<Monban>("monban"),
                random_tasks::<MonbanFold>("monban, foldhash"),
                random_tasks::<DashTasks>("DashMap of tokio::sync::Mutex"),
                random_tasks::<KeyedTasks>("keyed-lock"),
                random_tasks::<Pool>("lockable"),
            ],
        },
        Scenario {
            title: "One key, 64 tasks in line, one thread",
            entrants: one(),
        },
        Scenario {
            title: "One key, 64 tasks in line, two threads",
            entrants: two(),
        },
    ]
}
