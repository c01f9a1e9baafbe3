//! What stands at a key, in its line, or among the keys of a server may be anybody's: it is read exactly, or not at all.

use redis::Value;

use super::names::{self, Side};
use super::reply::{self, Reply};
use super::show::{Seen, Whole};
use super::value::{At, Member};
use super::{call, faults};
use crate::data::{ClaimId, Claimant, Key, ProcessId};
use crate::dice::{Dice, fuzz};

mod spoilt;

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

/// Numbers of every size.
fn number(dice: &mut Dice) -> i64 {
    let any = dice.next().cast_signed();
    dice.one(&[
        0,
        1,
        -1,
        2,
        any,
        i64::MAX,
        i64::MIN,
        i64::from(i32::MAX),
        1_700_000_000_000_000,
    ])
}

/// What is left of an answer after an accident to one of its parts.
fn spoil(dice: &mut Dice, answer: Value) -> Value {
    match answer {
        Value::Array(mut parts) if !parts.is_empty() && dice.percent(80) => {
            let at = dice.below(parts.len());
            match dice.below(8) {
                0 => drop(parts.remove(at)),
                1 => parts.insert(at, parts[at].clone()),
                2 => parts.truncate(at),
                _ => parts[at] = spoil(dice, parts[at].clone()),
            }
            Value::Array(parts)
        }
        Value::BulkString(bytes) if dice.percent(60) => Value::BulkString(dice.mangled(&bytes)),
        Value::Int(_) if dice.percent(70) => Value::Int(number(dice)),
        whole => match dice.below(7) {
            0 => Value::Nil,
            1 => Value::Okay,
            2 => Value::Int(number(dice)),
            3 => Value::BulkString(dice.bytes(12)),
            4 => Value::Array(vec![whole]),
            5 => Value::Double(f64::NAN),
            _ => Value::Map(vec![(whole, Value::Nil)]),
        },
    }
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn answer_to_one(dice: &mut Dice) -> Value {
    let mut int = |most: usize| Value::Int(dice.below(most) as i64);
    let parts = match int(5) {
        Value::Int(1) => vec![Value::Int(1), int(1_000), Value::Int(-1)],
        Value::Int(2) => vec![Value::Int(2), int(9)],
        Value::Int(3) => vec![Value::Int(3)],
        Value::Int(4) => vec![Value::Int(4), text("WRONGTYPE of a key")],
        _ => {
            let (ahead, head, held, free, now) = (int(3), int(2), int(2), int(99), int(1_000_000));
            vec![
                Value::Int(0),
                ahead,
                head,
                held,
                text(&value(dice)),
                free,
                now,
                text(""),
                Value::Int(60),
            ]
        }
    };
    Value::Array(parts)
}

#[test]
fn an_answer_that_cannot_be_read_grants_nothing() {
    fuzz(|dice| {
        let count = 1 + dice.below(3);
        let good = match dice.percent(30) {
            true => Value::Int(1 + dice.below(1_000) as i64),
            false => Value::Array((0..count).map(|_| answer_to_one(dice)).collect()),
        };
        let answer = if dice.percent(10) {
            good
        } else {
            spoil(dice, good)
        };
        let read = reply::read_all(answer.clone(), count, "h", |said| faults::caught(said, "h"));
        assert_eq!(read.len(), count, "{answer:?}");
        for (at, reply) in read.into_iter().enumerate() {
            let Ok(Reply::Granted(handed)) = reply else {
                continue;
            };
            assert!(handed.number > 0 && handed.seat >= -1, "{answer:?}");
            let said = match &answer {
                Value::Int(first) => handed.number == first + at as i64,
                Value::Array(each) => matches!(&each[at], Value::Array(parts)
                    if parts[..2] == [Value::Int(1), Value::Int(handed.number)]),
                _ => false,
            };
            assert!(said, "{answer:?} grants {handed:?}");
        }
    });
}

#[test]
fn an_answer_is_yes_or_no_or_neither() {
    fuzz(|dice| {
        let number = number(dice);
        let said = match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        assert_eq!(call::yes(Value::Int(number)), said);
        let other = spoil(dice, Value::Array(vec![Value::Int(1)]));
        assert!(matches!(other, Value::Int(_)) || call::yes(other).is_none());
    });
}

#[test]
fn a_listing_of_anything_is_read_or_refused() {
    fuzz(|dice| {
        let mut members = Vec::new();
        for _ in 0..dice.below(3) {
            members.push(text(&format!("{}:p:1:3:h/1/", id())));
            members.extend((0..3).map(|_| Value::Int(number(dice))));
        }
        let (left, now) = (Value::Int(number(dice)), Value::Int(number(dice)));
        let at = [value(dice).into_bytes(), dice.bytes(40)][dice.below(2)].clone();
        let parts = vec![
            text("string"),
            Value::BulkString(at),
            left,
            now,
            Value::Array(members),
        ];
        let good = Value::Array(parts);
        let answer = if dice.percent(50) {
            good
        } else {
            spoil(dice, good)
        };
        if let Some(seen) = Seen::read(answer) {
            let key = Key::new("k").expect("a key");
            assert!(seen.entries(&key, Whole::Foreign).len() <= 4);
        }
    });
}
