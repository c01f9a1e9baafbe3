//! Measures `monban run` beside `flock` and the bare command, the file store's hand-over between
//! processes, and what a waiting process costs; writes `bench/command.md`.
//!
//! Everything compared is interleaved in one run on one machine: ratios can be trusted where
//! absolute figures cannot. `cargo xtask bench run` builds what this needs, in release.

mod handover;
mod machine;
mod overhead;
mod stats;
mod waiting;

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What every part returns; the message is for a person.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How much is measured; one line of the report says it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Seeds the order in which the compared commands take turns.
    seed: u64,
    /// How often each command is started.
    starts: usize,
    /// How often each process of a hand-over takes the key.
    rounds: usize,
    /// Seconds for which a waiting process is watched.
    seconds: u64,
}

/// The built programs.
struct Programs {
    /// A copy, as an installation makes one: what the linker has just written lies in memory in smaller pieces than a
    /// file that was copied or read, and each start would pay for that.
    monban: PathBuf,
    worker: PathBuf,
}

fn main() -> Outcome {
    let plan = plan()?;
    let installed = tempfile::tempdir()?;
    let programs = programs(installed.path())?;
    let mut report = String::from("# The command and the file store\n\n");
    report
        .push_str("Written by `cargo xtask bench run`; ratios within one run are what counts.\n\n");
    writeln!(report, "{}\n", machine::describe(&programs.monban, plan)?)?;
    report.push_str(&overhead::measure(&programs, plan)?);
    report.push_str(&handover::measure(&programs, plan)?);
    report.push_str(&waiting::measure(&programs, plan)?);
    print!("{report}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("command.md"), report)?;
    Ok(())
}

/// `[SEED [STARTS [ROUNDS [SECONDS]]]]`.
fn plan() -> Outcome<Plan> {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, usual: u64| words.get(place).map_or(Ok(usual), |word| word.parse());
    Ok(Plan {
        seed: number(0, 1)?,
        starts: usize::try_from(number(1, 400)?)?,
        rounds: usize::try_from(number(2, 200)?)?,
        seconds: number(3, 10)?,
    })
}

fn programs(installed: &Path) -> Outcome<Programs> {
    let me = env::current_exe()?;
    let built = me.with_file_name("monban");
    if !built.is_file() {
        return Err("no monban beside this program: run `cargo xtask bench run`".into());
    }
    let monban = installed.join("monban");
    fs::copy(built, &monban)?;
    Ok(Programs {
        monban,
        worker: me.with_file_name("handover-worker"),
    })
}
