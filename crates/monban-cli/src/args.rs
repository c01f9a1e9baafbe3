//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::{
    ArgMatches, Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use monban::Key;

/// Runs work while holding a key, so that the same work does not run twice.
#[derive(Debug, Parser)]
#[command(name = "monban", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Where the locks are: file:/DIRECTORY, redis://HOST (or valkey://HOST), postgres://USER@HOST, etcd://HOST,HOST, ... [default: $MONBAN_STORE,
    /// then the first line of /etc/monban/store, then files of this host]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) store: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes of `run` and `elect`: the command's own; 128+n if signal n ended it; 75 the key is busy; 76 the lease was \
lost; 124 the maximum hold is reached; 69 the store is out of reach, full, read-only or not ours; 64 bad \
usage; 126 the command cannot be executed; 127 there is no such command; 125 anything else.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run COMMAND while holding KEY
    Run(Box<Run>),
    /// Stand for election as leader of KEY, and run COMMAND while leading
    #[command(
        override_usage = "monban elect [OPTIONS] KEY [--] COMMAND [ARG...]\n       \
        monban elect [OPTIONS] --observe KEY"
    )]
    Elect(Box<Elect>),
    /// List who holds and who waits
    Ls {
        /// Only keys that begin so
        prefix: Option<OsString>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show the line of one key
    Show {
        /// The key
        #[arg(value_parser = KeyParser)]
        key: Key,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Free a claim by hand: if it is still what `show` printed
    Release {
        /// The key
        #[arg(value_parser = KeyParser)]
        key: Key,
        /// The claim's ID, as `ls` and `show` print it
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Free what a program that is not monban left at the key
        #[arg(long, conflicts_with = "id")]
        foreign: bool,
    },
    /// Say what the store promises
    Guarantees {
        /// Of all stores of this build, without asking any
        #[arg(long)]
        all: bool,
        /// As a page for the documentation
        #[arg(long, requires = "all")]
        markdown: bool,
    },
    /// Print the SQL that makes what the PostgreSQL store needs, for an administrator to run
    #[cfg(feature = "postgres")]
    Schema {
        /// Run it in the store's database instead, as the user of its URL
        #[arg(long)]
        apply: bool,
    },
    /// Print shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
}

impl Args {
    /// Reads a command line, and keeps in which order the keys stand there.
    pub(crate) fn read<W>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error>
    where
        W: Into<OsString> + Clone,
    {
        let mut command = Self::command();
        let found = command.try_get_matches_from_mut(words)?;
        let before = found.subcommand_matches("run").map_or(0, before_the_key);
        let mut args =
            Self::from_arg_matches(&found).map_err(|error| error.format(&mut command))?;
        if let Verb::Run(run) = &mut args.verb {
            run.before = before;
        }
        Ok(args)
    }
}

/// How many further keys stand before KEY.
fn before_the_key(run: &ArgMatches) -> usize {
    let key = run.index_of("key").unwrap_or(usize::MAX);
    let also = run.indices_of("also").into_iter().flatten();
    also.filter(|at| *at < key).count()
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Zsh,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Wait for the key: so long (10s, 5m; a bare number is seconds), or `forever`
    #[arg(short, long, value_name = "DURATION", value_parser = patience, conflicts_with = "nonblock")]
    pub(crate) wait: Option<Patience>,
    /// Do not wait (the default)
    #[arg(short, long, visible_alias = "nb")]
    pub(crate) nonblock: bool,
    /// Hold this key too, in the same way; may be repeated. All keys are taken, or none
    #[arg(long, value_name = "KEY", value_parser = KeyParser, conflicts_with = "every")]
    pub(crate) also: Vec<Key>,
    /// How many of `also` stand before `key` on the command line.
    #[arg(skip)]
    pub(crate) before: usize,
    /// Share the key with others that ask so
    #[arg(short, long, conflicts_with_all = ["exclusive", "permits", "every"])]
    pub(crate) shared: bool,
    /// Have the key alone (the default)
    #[arg(short = 'x', short_alias = 'e', long)]
    pub(crate) exclusive: bool,
    /// Take N of K permits; the seat, a number below K that nobody else has, is in MONBAN_SEAT
    #[arg(long, value_name = "N/K", value_parser = permits, conflicts_with_all = ["exclusive", "every"])]
    pub(crate) permits: Option<(u32, u32)>,
    /// Exit with this code, instead of 75, if the key is busy
    #[arg(short = 'E', long, value_name = "CODE")]
    pub(crate) conflict_exit_code: Option<u8>,
    /// Do not say that the key is busy or not due
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Run at most once per interval, counted from the start of a run that succeeded
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) every: Option<Duration>,
    #[command(flatten)]
    pub(crate) guarding: Guarding,
    /// What to lock: any text
    #[arg(value_parser = KeyParser)]
    pub(crate) key: Key,
    /// What to run
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Elect {
    /// Print who leads, and every change, until ended; stands for nothing and runs nothing
    #[arg(long, conflicts_with_all = ["command", "again", "wait", "nonblock", "conflict_exit_code", "quiet", "ttl", "max_hold", "kill_after", "label"])]
    pub(crate) observe: bool,
    /// Stand for election again, and run COMMAND again, when the leadership was lost
    #[arg(long, conflicts_with = "max_hold")]
    pub(crate) again: bool,
    /// Wait so long to lead (10s, 5m; a bare number is seconds) [default: forever]
    #[arg(short, long, value_name = "DURATION", value_parser = patience, conflicts_with = "nonblock")]
    pub(crate) wait: Option<Patience>,
    /// Do not wait: lead if nobody does
    #[arg(short, long, conflicts_with = "again")]
    pub(crate) nonblock: bool,
    /// Exit with this code, instead of 75, if another led until the wait was over
    #[arg(short = 'E', long, value_name = "CODE")]
    pub(crate) conflict_exit_code: Option<u8>,
    /// Do not say that another leads
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) guarding: Guarding,
    /// What to lead: any text
    #[arg(value_parser = KeyParser)]
    pub(crate) key: Key,
    /// What to run while leading
    #[arg(
        required_unless_present = "observe",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

/// How a command is guarded while it runs, and what is said of it.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Guarding {
    /// How long the key stays taken if this machine dies (stores with a TTL) [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// End the command when it has held the key for so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) max_hold: Option<Duration>,
    /// Time between TERM and KILL when the command must end [default: 5s, or a quarter of the TTL]
    #[arg(short, long, value_name = "DURATION", value_parser = duration_or_zero)]
    pub(crate) kill_after: Option<Duration>,
    /// What others are shown as the purpose [default: the command's name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Messages as JSON, one object a line, on standard error
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long to wait for a busy key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    For(Duration),
    Forever,
}

#[derive(Clone)]
struct KeyParser;

impl clap::builder::TypedValueParser for KeyParser {
    type Value = Key;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Key, clap::Error> {
        Key::new(value.as_bytes()).map_err(|error| {
            command
                .clone()
                .error(clap::error::ErrorKind::InvalidValue, error)
        })
    }
}

fn patience(text: &str) -> Result<Patience, String> {
    match text {
        "forever" => Ok(Patience::Forever),
        _ => duration_or_zero(text).map(Patience::For),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("zero has no meaning here".to_owned()),
        some => Ok(some),
    }
}

/// A bare number is seconds, as in flock; else as people write it.
fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let hint = "use 10s, 5m, 1h 30m, or a number of seconds";
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    };
    match parsed {
        Ok(duration) if duration > monban::Options::MAX => Err(format!(
            "it is longer than {}",
            monban::data::duration_text(monban::Options::MAX)
        )),
        parsed => parsed.map_err(|error| format!("{error}; {hint}")),
    }
}

fn permits(text: &str) -> Result<(u32, u32), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(n, of)| Some((n.trim().parse().ok()?, of.trim().parse().ok()?)));
    let (n, of) = parsed.ok_or("write it as N/K, for example 1/4")?;
    monban::data::Mode::Permits { n, of }
        .check()
        .map_err(|error| error.to_string())?;
    Ok((n, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str]) -> Result<Run, clap::Error> {
        match Args::read(["monban", "run"].iter().chain(line))?.verb {
            Verb::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_key_is_the_command_with_or_without_dashes() {
        for line in [
            vec!["k", "ls", "-l", "--", "x"],
            vec!["k", "--", "ls", "-l", "--", "x"],
        ] {
            assert_eq!(run(&line).unwrap().command, ["ls", "-l", "--", "x"]);
        }
        assert_eq!(
            run(&["-w", "1.5", "k", "--", "-odd"]).unwrap().command,
            ["-odd"]
        );
        assert!(run(&["k"]).is_err(), "a command is required");
    }

    #[test]
    fn durations_are_seconds_or_as_people_write_them() {
        let wait = |text| run(&["-w", text, "k", "true"]).map(|run| run.wait.unwrap());
        assert_eq!(wait("10").unwrap(), Patience::For(Duration::from_secs(10)));
        assert_eq!(
            wait("0.25").unwrap(),
            Patience::For(Duration::from_millis(250))
        );
        assert_eq!(
            wait("1h 30m").unwrap(),
            Patience::For(Duration::from_secs(5400))
        );
        assert_eq!(wait("forever").unwrap(), Patience::Forever);
        for bad in [
            "-1",
            "nan",
            "1e99",
            "soon",
            "",
            "1000y",
            "18446744073709551615s 900ms",
        ] {
            assert!(wait(bad).is_err(), "{bad}");
        }
        assert!(run(&["--every", "0", "k", "true"]).is_err());
    }

    #[test]
    fn more_keys_come_by_an_option_and_never_from_the_command() {
        let several = run(&["--also", "b", "--also=c", "a", "--", "x", "--also", "d"]).unwrap();
        let names: Vec<_> = several.also.iter().map(ToString::to_string).collect();
        assert_eq!(
            (several.key.to_string().as_str(), names),
            ("a", vec!["b".to_owned(), "c".to_owned()])
        );
        assert_eq!(
            (several.before, several.command),
            (2, vec!["x".into(), "--also".into(), "d".into()])
        );
        let around = run(&["--also", "b", "a", "--also", "c", "--", "x"]).unwrap();
        assert_eq!((around.before, around.also.len()), (1, 2));
        assert!(run(&["--also", "", "a", "x"]).is_err());
        assert!(run(&["--also", "b", "--every", "1h", "a", "x"]).is_err());
    }

    #[test]
    fn an_observer_has_no_command_and_a_candidate_needs_one() {
        let elect = |line: &[&str]| Args::try_parse_from(["monban", "elect"].iter().chain(line));
        assert!(elect(&["--observe", "k"]).is_ok());
        assert!(elect(&["k", "--", "work", "--observe"]).is_ok());
        for bad in [
            &["k"][..],
            &["--observe", "k", "work"],
            &["--observe", "--label", "x", "k"],
            &["--observe"],
        ] {
            assert!(elect(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn impossible_permits_and_keys_are_refused() {
        assert_eq!(
            run(&["--permits", "1/2", "k", "true"]).unwrap().permits,
            Some((1, 2))
        );
        for bad in ["0/2", "3/2", "1", "a/b"] {
            assert!(run(&["--permits", bad, "k", "true"]).is_err(), "{bad}");
        }
        assert!(run(&["", "true"]).is_err());
        assert!(run(&[&"k".repeat(1025), "true"]).is_err());
    }
}
