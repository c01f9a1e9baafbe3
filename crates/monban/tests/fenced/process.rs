//! A value of this process.

use monban::{Fence, Fenced, Token};

use super::*;

impl Guarded for Fenced<String> {
    fn write(&self, token: Token, content: &str) -> bool {
        Fenced::write(self, token, |value| content.clone_into(value)).is_ok()
    }

    fn read(&self) -> String {
        Fenced::read(self, Clone::clone)
    }
}

#[test]
fn a_value_refuses_a_paused_holder() {
    a_paused_holder_is_refused(&Fenced::new(String::new()));
}

#[test]
fn a_value_accepts_live_holders_of_permits() {
    live_holders_of_permits_are_accepted(&Fenced::new(String::new()));
}

#[test]
fn the_refusal_names_both_fences() {
    let value = Fenced::new(0);
    let fence = |number| Fence::new(number).unwrap();
    value.write(fence(34), |v| *v += 1).unwrap();
    let stale = value.write(fence(33), |v| *v += 1).unwrap_err();
    assert_eq!(stale.highest(), fence(34));
    assert_eq!(
        stale.to_string(),
        "the write with fence 33 is refused: fence 34 has been seen"
    );
    assert_eq!(value.into_inner(), 1);
}
