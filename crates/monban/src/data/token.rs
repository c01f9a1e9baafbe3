//! What travels with a write: the fence, and the seat whose grants it orders.

use std::fmt;
use std::str::FromStr;

use super::{Error, Fence, Result};

/// The fence of a lease together with its seat: what a guarded resource is shown.
///
/// Fences order exclusive grants, and the grants of one seat. Two holders of permits sit on two seats, so a
/// resource compares only tokens of one seat and accepts both.
///
/// As text, in a header say, it is `17`, or `17;seat=1` for a lease on permits.
///
/// # Example
///
/// ```
/// use monban::Token;
///
/// let token: Token = "17;seat=1".parse()?;
/// assert_eq!((token.fence().as_i64(), token.seat()), (17, Some(1)));
/// assert_eq!(token.to_string(), "17;seat=1");
/// # Ok::<(), monban::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    fence: Fence,
    seat: Option<u32>,
}

impl Token {
    /// The token of an exclusive lease (no seat), or of a lease on permits.
    #[must_use]
    pub fn new(fence: Fence, seat: Option<u32>) -> Self {
        Self { fence, seat }
    }

    /// The fence.
    #[must_use]
    pub fn fence(self) -> Fence {
        self.fence
    }

    /// The seat; `None` for an exclusive lease.
    #[must_use]
    pub fn seat(self) -> Option<u32> {
        self.seat
    }

    /// The seat as a number for a column that cannot be null: -1 for an exclusive lease.
    #[must_use]
    pub fn seat_number(self) -> i64 {
        self.seat.map_or(-1, i64::from)
    }
}

impl From<Fence> for Token {
    fn from(fence: Fence) -> Self {
        Self::new(fence, None)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fence.fmt(f)?;
        match self.seat {
            Some(seat) => write!(f, ";seat={seat}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Reads what `to_string` wrote: digits only, so that no two texts are one token.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let (fence, seat) = match text.split_once(";seat=") {
            Some((fence, seat)) => (fence, Some(seat)),
            None => (text, None),
        };
        let fence = number(fence).and_then(Fence::new);
        let seat = match seat.map(number::<u32>) {
            Some(None) => return Err(unreadable()),
            Some(seat) => seat,
            None => None,
        };
        fence
            .map(|fence| Self { fence, seat })
            .ok_or_else(unreadable)
    }
}

fn number<N: FromStr + ToString>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn unreadable() -> Error {
    Error::invalid(
        "this is no fencing token; it is a number, or a number with ';seat=' and a number",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        for (fence, seat) in [
            (0, None),
            (i64::MAX, None),
            (17, Some(0)),
            (9, Some(u32::MAX)),
        ] {
            let token = Token::new(Fence::new(fence).unwrap(), seat);
            assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        for text in [
            "",
            "-1",
            "+1",
            "01",
            " 1",
            "1 ",
            "9223372036854775808",
            "1;seat=",
            "1;seat=-1",
            "1;seat=4294967296",
            "1;seat=01",
            "1;Seat=1",
            ";seat=1",
            "x",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text:?}");
        }
    }
}
