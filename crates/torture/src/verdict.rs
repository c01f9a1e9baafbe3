//! What the checkers found.

use serde::Serialize;

/// What one checker says of a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The invariant, `I1` to `I8`.
    pub invariant: &'static str,
    /// The checker's name.
    pub checker: &'static str,
    /// What it holds, in one sentence.
    pub claim: &'static str,
    /// How many things it looked at, and what they are.
    pub trials: u64,
    /// What those things are called.
    pub of: &'static str,
    /// What breaks the invariant.
    pub violations: Vec<Violation>,
    /// What would break it under other conditions, and is explained by a fault: counted and shown.
    pub explained: Vec<Violation>,
    /// Further figures, for people.
    pub figures: Vec<String>,
}

/// One counterexample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// In words, with both histories.
    pub what: String,
    /// The key.
    pub key: String,
    /// From when.
    pub from: u64,
    /// To when.
    pub to: u64,
    /// The holds concerned.
    pub holds: Vec<String>,
}

impl Verdict {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(invariant: &'static str, checker: &'static str, claim: &'static str) -> Self {
        Self {
            invariant,
            checker,
            claim,
            trials: 0,
            of: "",
            violations: Vec::new(),
            explained: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Whether the invariant held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// `0 in 41,230 grants, at most 7.28e-5 at 95 %`, and what is explained.
    #[must_use]
    pub fn rate(&self) -> String {
        let mut text = format!(
            "{} in {} {}",
            grouped(self.violations.len() as u64),
            grouped(self.trials),
            self.of
        );
        text.push_str(&share(self.violations.len() as u64, self.trials));
        if !self.explained.is_empty() {
            text.push_str(&format!(
                " (and {} explained)",
                grouped(self.explained.len() as u64)
            ));
        }
        text
    }
}

/// The rate, or, of none, what it is at most with a confidence of 95 %: the rule of three.
fn share(found: u64, trials: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let percent = |part: u64| 100.0 * part as f64 / trials as f64;
    match found {
        0 if trials <= 3 => String::new(),
        0 => format!(", at most {:.2e} at 95 %", percent(3) / 100.0),
        _ if trials == 0 => String::new(),
        found => format!(", {:.3} %", percent(found)),
    }
}

/// `41230` as `41,230`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The quantiles of durations in nanoseconds, as a sentence.
#[must_use]
pub fn quantiles(what: &str, mut all: Vec<u64>) -> String {
    if all.is_empty() {
        return format!("{what}: never");
    }
    all.sort_unstable();
    let at = |part: usize| millis(all[(all.len() - 1) * part / 100]);
    format!(
        "{what}: p50 {}, p99 {}, max {} ({} times)",
        at(50),
        at(99),
        at(100),
        grouped(all.len() as u64)
    )
}

/// Nanoseconds for people.
#[must_use]
pub fn millis(ns: u64) -> String {
    if ns < 10_000_000 {
        format!("{}.{:02} ms", ns / 1_000_000, ns / 10_000 % 100)
    } else {
        format!("{} ms", grouped(ns / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_quantiles_named() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(41_230), "41,230");
        assert_eq!(grouped(1_000_000), "1,000,000");
        let all = (1..=101).map(|ms| ms * 1_000_000).collect();
        assert_eq!(
            quantiles("x", all),
            "x: p50 51 ms, p99 100 ms, max 101 ms (101 times)"
        );
        assert_eq!(quantiles("x", vec![]), "x: never");
        assert_eq!(millis(1_250_000), "1.25 ms");
        assert_eq!(share(0, 41_230), ", at most 7.28e-5 at 95 %");
        assert_eq!(share(3, 200), ", 1.500 %");
        assert_eq!((share(0, 0), share(0, 3)), (String::new(), String::new()));
    }
}
