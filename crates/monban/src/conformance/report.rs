//! What came of the cases.

use std::fmt;
use std::time::Duration;

use crate::data::{Error, duration_text};

/// Says how a store fails a case.
#[derive(Clone, Debug)]
pub struct Failure(String);

impl Failure {
    pub(super) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }

    /// The same failure, saying what was being done.
    pub(super) fn while_doing(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format_args!("an error that should not be: {error}"))
    }
}

/// How a case ends.
pub(super) type Verdict = Result<(), Failure>;

/// Fails with this text unless `holds`.
pub(super) fn ensure(holds: bool, otherwise: impl fmt::Display) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(otherwise))
    }
}

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(super) case: &'static str,
    pub(super) verdict: Result<(), Failure>,
    pub(super) took: Duration,
}

impl Outcome {
    /// The case's name.
    #[must_use]
    pub fn case(&self) -> &'static str {
        self.case
    }

    /// How the store failed it; `None` if it passed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.verdict.as_ref().err()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration_text(self.took);
        match &self.verdict {
            Ok(()) => write!(f, "passed  {} ({took})", self.case),
            Err(how) => write!(f, "FAILED  {} ({took}): {how}", self.case),
        }
    }
}

/// What came of all cases. Its text has one line for each.
#[derive(Clone, Debug)]
pub struct Report(Vec<Outcome>);

impl Report {
    pub(super) fn of(outcomes: Vec<Outcome>) -> Self {
        Self(outcomes)
    }

    /// Whether the store passed every case.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// All outcomes, in the order of the cases.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.0
    }

    /// Those that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter().filter(|outcome| outcome.failure().is_some())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|outcome| writeln!(f, "{outcome}"))
    }
}
