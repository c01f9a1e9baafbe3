//! Text for people: what could mislead a terminal is escaped, durations are short.

use std::fmt::{self, Write};
use std::time::Duration;

/// Writes bytes for people: UTF-8 as it is, but for control, format and direction-changing characters.
pub(crate) fn write_printable(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if misleads(c) {
                write!(out, "{}", c.escape_default())?;
            } else {
                out.write_char(c)?;
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Gives bytes from outside as text that may be shown on a terminal or written to a log line.
#[must_use]
pub fn printable(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_printable(&mut out, bytes.as_ref());
    out
}

/// Control characters (C0, DEL, C1), line separators, and the invisible and direction-changing ones
/// of Unicode's category Cf that change how the rest of a line reads.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Gives a duration as people write it: `250ms`, `12s`, `3m 20s`, `2h 5m`, `4d 1h`.
#[must_use]
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 => format!("{}ms", d.as_millis()),
        1..=59 => format!("{s}s"),
        60..=3599 => two(s / 60, 'm', s % 60, 's'),
        3600..=86_399 => two(s / 3600, 'h', s % 3600 / 60, 'm'),
        _ => two(s / 86_400, 'd', s % 86_400 / 3600, 'h'),
    }
}

fn two(big: u64, unit: char, small: u64, small_unit: char) -> String {
    if small == 0 {
        format!("{big}{unit}")
    } else {
        format!("{big}{unit} {small}{small_unit}")
    }
}

/// Percent-encodes all but letters, digits and `-_.`, so that the result can stand between separators.
pub(crate) fn encode_part(out: &mut String, text: &[u8]) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Undoes [`encode_part`]; `None` if the text was not made by it.
pub(crate) fn decode_part(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let text = |ms| duration(Duration::from_millis(ms));
        assert_eq!(text(250), "250ms");
        assert_eq!(text(12_400), "12s");
        assert_eq!(text(200_000), "3m 20s");
        assert_eq!(text(7_500_000), "2h 5m");
        assert_eq!(text(349_200_000), "4d 1h");
        assert_eq!(text(3_600_000), "1h");
    }

    #[test]
    fn an_encoded_part_comes_back_as_it_was() {
        let odd = "a/b:c%d e\u{e9}\0".as_bytes();
        let mut text = String::new();
        encode_part(&mut text, odd);
        assert!(!text.contains(['/', ':', ' ']));
        assert_eq!(decode_part(&text).unwrap(), odd);
        assert_eq!(decode_part("%G1"), None);
        assert_eq!(decode_part("%A"), None);
    }
}
