//! What is read from outside: it comes back as it was, or is refused; it never panics.

use super::*;
use crate::dice::{Dice, fuzz};

fn text(dice: &mut Dice, good: &str) -> String {
    let bytes = match dice.below(6) {
        0 => dice.bytes(80),
        _ => dice.mangled(good.as_bytes()),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_claimant_that_is_read_is_written_and_read_alike() {
    fuzz(|dice| {
        let part = |dice: &mut Dice| String::from_utf8_lossy(&dice.bytes(300)).into_owned();
        let who = Claimant::new(&part(dice), 7, &part(dice));
        let good = who.encode();
        assert!(
            good.is_ascii() && !good.contains([' ', ':', '=', '\n']),
            "{good}"
        );
        assert_eq!(Claimant::parse(&good), Some(who));
        if let Some(who) = Claimant::parse(&text(dice, &good)) {
            assert_eq!(Claimant::parse(&who.encode()), Some(who));
        }
    });
}

#[test]
fn an_identity_has_one_spelling() {
    fuzz(|dice| {
        let good = ClaimId::random(ProcessId::random()).to_string();
        let text = text(dice, &good);
        if let Some(id) = ClaimId::parse(&text) {
            assert_eq!(id.to_string(), text);
        }
    });
}

#[test]
fn a_token_has_one_spelling() {
    fuzz(|dice| {
        let fence = Fence::new(i64::try_from(dice.next() >> 1).unwrap()).unwrap();
        let seat = u32::try_from(dice.below(9)).unwrap();
        let good = Token::new(fence, dice.percent(50).then_some(seat)).to_string();
        let text = text(dice, &good);
        if let Ok(token) = text.parse::<Token>() {
            assert_eq!(token.to_string(), text);
        }
    });
}

#[test]
fn other_parts_make_another_key() {
    fuzz(|dice| {
        let mut parts =
            || -> Vec<Vec<u8>> { (0..1 + dice.below(3)).map(|_| dice.bytes(4)).collect() };
        let (one, other) = (parts(), parts());
        let own = [b"own".to_vec()];
        let key = |parts: &[Vec<u8>]| Key::join(own.iter().chain(parts)).ok();
        if let (Some(a), Some(b)) = (key(&one), key(&other)) {
            assert_eq!(a == b, one == other, "{one:?} {other:?}");
        }
    });
}

#[test]
fn what_is_shown_misleads_no_terminal() {
    fuzz(|dice| {
        let bytes = dice.bytes(60);
        let shown = printable(&bytes);
        let bad = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!shown.contains(bad), "{shown:?}");
    });
}
