//! A started client, and the words it understands. One line in, one line out.
//!
//! | words | answer |
//! |---|---|
//! | `try KEY TTL` | `held` or `busy` (monban says why) |
//! | `wait KEY TTL LIMIT` | `held`, or `busy` after the limit |
//! | `release KEY` | `released`, or `gone` if it was not its own any more |
//! | `count KEY TTL TIMES FILE PAUSE` | `done OTHERS`: increments a counter in a file, not atomically; how often another was the last |
//! | `cycles KEYS SECONDS` | `cycles COUNT P50`: takes and frees keys of its own side by side; half of them within P50 µs |
//! | `turns KEY START END HOLD` | `turns ASKED,FROM,TO ...`: takes one key again and again from START to END, for HOLD µs; FROM is 0 for a wait that the end cut |
//! | `hold KEYS TTL` | `holding`: holds many keys from now on, and renews them |
//! | `lost KEY LIMIT` | `lost AT`: waits until a held key is known to be lost; monban only |
//!
//! Without a unit, times are in ms, instants in ns of the monotonic clock.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Outcome;

/// A running client, killed when dropped. It ends by itself when its standard input does: so it cannot outlive us.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    name: String,
}

impl Driver {
    /// Starts a client's program.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let input = child.stdin.take().ok_or("a client without a pipe")?;
        let output = child.stdout.take().ok_or("a client without a pipe")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            name,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says a line, without waiting for its answer.
    ///
    /// # Errors
    ///
    /// The client has ended.
    pub fn say(&mut self, words: &str) -> Outcome {
        writeln!(self.input, "{words}")
            .map_err(|error| format!("{}: {words}: {error}", self.name).into())
    }

    /// Waits for the answer to the earliest line that has none.
    ///
    /// # Errors
    ///
    /// The client has ended; it says why on standard error.
    pub fn hear(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("{} ended: {}", self.name, self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Says a line and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`say`](Self::say) and [`hear`](Self::hear).
    pub fn ask(&mut self, words: &str) -> Outcome<String> {
        self.say(words)?;
        self.hear()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        if let Err(error) = self.child.wait() {
            eprintln!("{} may be left behind: {error}", self.name);
        }
    }
}
