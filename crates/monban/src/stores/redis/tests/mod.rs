//! What stands at a key, in its line, or among the keys of a server may be anybody's: it is read exactly, or not at all.

use super::names::{self, Side};
use super::value::{At, Member};
use crate::data::{ClaimId, Claimant, ProcessId};
use crate::dice::{Dice, fuzz};

fn id() -> ClaimId {
    ClaimId::random(ProcessId::random())
}

fn value(dice: &mut Dice) -> String {
    let number = dice.next() >> 1;
    let who = Claimant::new("h", 1, "").encode();
    match dice.below(3) {
        0 => format!("mb1x:{}:{number}:{who}", id()),
        1 => format!("mb1l:{}:{number}:{number}:{who}", id()),
        _ => format!("mb1m:{}:{}", dice.below(9), dice.below(9)),
    }
}

#[test]
fn a_value_that_is_not_ours_is_a_strangers() {
    fuzz(|dice| {
        let good = value(dice);
        assert!(At::read(good.as_bytes()) != At::Foreign, "{good}");
        let bytes = match dice.below(8) {
            0 => dice.bytes(90),
            _ => dice.mangled(good.as_bytes()),
        };
        let ours = [b"mb1x:" as &[u8], b"mb1l:", b"mb1m:"];
        if At::read(&bytes) != At::Foreign {
            assert!(ours.iter().any(|kind| bytes.starts_with(kind)));
        }
    });
}

#[test]
fn a_member_is_read_with_the_identity_that_it_has() {
    fuzz(|dice| {
        let kind = dice.one(&["x:1:1", "s:1:9", "p:2:3"]);
        let good = format!("{}:{kind}:h/1/", id());
        assert!(Member::read(good.as_bytes()).is_some());
        let bytes = dice.mangled(good.as_bytes());
        if let Some(member) = Member::read(&bytes) {
            assert!(bytes.starts_with(member.id.to_string().as_bytes()));
        }
    });
}

#[test]
fn a_side_key_leads_back_to_its_key_alone() {
    fuzz(|dice| {
        let key = dice.bytes(30);
        let order = Side::Order.of(&key);
        assert_eq!(names::slot(&order), names::slot(&key));
        assert_eq!(names::key_of_order(&order), Some(&key[..]));
        let other = dice.mangled(&order);
        if let Some(key) = names::key_of_order(&other) {
            assert_eq!(Side::Order.of(key), other);
        }
    });
}
