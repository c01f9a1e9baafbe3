//! What the URLs of all servers have in common.

use std::time::Duration;

/// Undoes the percent-encoding of a part; `None` if what is left is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    // Decoded as a query is, in which + and & mean something else.
    let pair = format!("a={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    (!decoded.contains(char::REPLACEMENT_CHARACTER)).then_some(decoded)
}

/// What to say of a [`timeout`] that is none.
pub(crate) const TIMEOUT_WANTS: &str =
    "timeout= wants 10ms to 60s, as in timeout=500ms or timeout=2s";

/// Reads the longest wait for an answer.
pub(crate) fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    let millis = number.parse::<u64>().ok()?.saturating_mul(unit);
    (10..=60_000)
        .contains(&millis)
        .then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_decoded_and_a_plus_is_a_plus() {
        assert_eq!(decode("p%23%2B%26s+%2F&").as_deref(), Some("p#+&s+/&"));
        assert_eq!(decode(""), Some(String::new()));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn a_timeout_has_a_unit_and_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(timeout("10ms"), Some(ms(10)));
        assert_eq!(timeout("60s"), Some(ms(60_000)));
        for none in [
            "9ms",
            "61s",
            "0s",
            "5",
            "ms",
            "-1s",
            "1.5s",
            "99999999999999999s",
        ] {
            assert_eq!(timeout(none), None, "{none}");
        }
    }
}
