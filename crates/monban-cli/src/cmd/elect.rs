//! `monban elect`: runs a command while leading, or tells who leads.

use std::process::ExitCode;

use monban::data::{duration_text, printable};
use monban::{Claimant, Fence, Key, Leader, Result, block_on};
use serde_json::{Value, json};

use super::guard::guard;
use super::plan::Plan;
use super::{print, with_store};
use crate::args::Elect;
use crate::open::Opened;

/// Does what the command line asks.
pub(super) fn elect(store: Option<&str>, elect: Elect) -> ExitCode {
    if elect.observe {
        return with_store(store, |opened| {
            observe(opened, &elect.key, elect.guarding.json)
        });
    }
    guard(store, &Plan::of_elect(elect))
}

/// Prints who leads, and every change, until nobody reads it any more.
fn observe(opened: &Opened, key: &Key, as_json: bool) -> Result<ExitCode> {
    let mut changes = opened.locks.election(key)?.observe();
    loop {
        let leader = block_on(changes.next())?;
        let line = if as_json {
            json_of(key, leader.as_ref()).to_string()
        } else {
            sentence(key, leader.as_ref())
        };
        if !print(&line) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn sentence(key: &Key, leader: Option<&Leader>) -> String {
    let Some(leader) = leader else {
        return format!("nobody leads {key}");
    };
    let who = leader
        .claimant()
        .map_or_else(|| "an unknown owner".to_owned(), ToString::to_string);
    let age = leader
        .led_for()
        .map_or_else(String::new, |age| format!(", for {}", duration_text(age)));
    let fence = leader
        .fence()
        .map_or_else(String::new, |fence| format!(", fence {fence}"));
    format!("{key} is led by {who}{age}{fence}")
}

fn json_of(key: &Key, leader: Option<&Leader>) -> Value {
    let leader = leader.map(|leader| {
        let who = leader.claimant();
        json!({
            "host": who.map(|who| printable(who.host())),
            "pid": who.map(Claimant::pid),
            "label": who.map(|who| printable(who.label())),
            "fence": leader.fence().map(Fence::as_i64),
            "led_ms": leader.led_for().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        })
    });
    json!({ "event": "leader", "key": key.to_string(), "leader": leader })
}
