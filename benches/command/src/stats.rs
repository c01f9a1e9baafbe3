//! Durations as the report shows them.

use std::time::Duration;

use monban_testkit::stats;

/// The value below which this share of the sample lies (nearest rank).
///
/// `share` is from 0 to 1; the sample must not be empty.
pub(crate) fn quantile(sample: &[Duration], share: f64) -> Duration {
    let seconds: Vec<f64> = sample.iter().map(Duration::as_secs_f64).collect();
    Duration::from_secs_f64(stats::quantile(&seconds, share))
}

/// A duration in milliseconds, or microseconds below one.
pub(crate) fn shown(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.0} µs")
    } else {
        format!("{:.2} ms", micros / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_the_unit_that_suits_them() {
        let sample = [3, 1, 2].map(Duration::from_millis);
        assert_eq!(shown(quantile(&sample, 1.0)), "3.00 ms");
        assert_eq!(shown(Duration::from_micros(250)), "250 µs");
    }
}
