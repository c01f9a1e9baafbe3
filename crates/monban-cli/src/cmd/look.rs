//! `monban ls` and `monban show`: who holds, who waits, since when, for how long.

use std::process::ExitCode;
use std::time::Duration;

use monban::data::{Entry, EntryId, Mode, Standing, duration_text, printable};
use monban::{Key, Result, block_on};
use serde_json::{Value, json};

use super::{print, told};
use crate::open::Opened;
use crate::say::Voice;

/// Lists the claims of all keys that begin with the prefix.
pub(super) fn list(opened: &Opened, prefix: &[u8], as_json: bool) -> Result<ExitCode> {
    let entries = block_on(opened.locks.inspect(prefix))?;
    if as_json {
        print_json(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
    if let Some(left) = block_on(opened.locks.recovers_in())? {
        Voice::Text.say("recovering", &told::recovering(Some(left)), json!({}));
    }
    if rows.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["KEY", "STATE", "ID", "SINCE", "EXPIRES", "WHO"].map(str::to_owned);
    let width = |column: usize| {
        rows.iter()
            .chain([&head])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in [&head].into_iter().chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        if !print(line.trim_end()) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the line of one key.
pub(super) fn show(opened: &Opened, key: &Key, as_json: bool) -> Result<ExitCode> {
    let entries = line_of(opened, key)?;
    if as_json {
        print_json(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    if entries.is_empty() {
        let but = block_on(opened.locks.recovers_in())?.map_or_else(String::new, |left| {
            format!(", but {}", told::recovering(Some(left)))
        });
        print(&format!("{key} is free{but} (store: {})", opened.name));
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{key} (store: {})", opened.name));
    for entry in &entries {
        print(&format!("  {}", sentence(entry)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The entries of exactly this key.
pub(super) fn line_of(opened: &Opened, key: &Key) -> Result<Vec<Entry>> {
    block_on(opened.locks.inspect_key(key))
}

fn sentence(entry: &Entry) -> String {
    let age = entry
        .age
        .map_or_else(String::new, |age| format!(" for {}", duration_text(age)));
    let who = who(entry);
    let expires = expires(entry);
    let id = entry.id.digest();
    match (&entry.id, entry.standing) {
        (EntryId::Foreign(value), _) => foreign(entry, value),
        (EntryId::Unreadable(what), _) => format!("not a monban lock: {what}{expires}"),
        (_, Standing::Holding) => {
            let fence = entry
                .fence
                .map_or_else(String::new, |fence| format!(", fence {fence}"));
            let seat = entry
                .seat
                .map_or_else(String::new, |seat| format!(", seat {seat}"));
            format!(
                "{}{age} by {who}{fence}{seat}{expires}, id {id}",
                mode(entry)
            )
        }
        (_, Standing::Waiting { ahead }) => {
            format!("waiting{age}: {who}, {ahead} ahead{expires}, id {id}")
        }
        (_, Standing::Lingering) => {
            format!("kept with no owner{age}, last held by {who}{expires}, id {id}")
        }
        (_, Standing::Foreign) => format!("held by a program that is not monban{age}: {who}"),
    }
}

/// What a foreign program left says little; what to do about it is said in full.
fn foreign(entry: &Entry, value: &[u8]) -> String {
    let id = entry.id.digest();
    let token = format!("not a monban lock: {}-byte token, id {id}", value.len());
    match entry.expires_in {
        Some(left) => format!("{token}, expires in {}", duration_text(left)),
        None => format!(
            "{token}, never expires: if nobody runs it, {}",
            by_hand(&entry.key)
        ),
    }
}

/// What frees the key, as a shell takes it: whoever chose the key chose no command.
fn by_hand(key: &Key) -> String {
    let text = key.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    let word = if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    if word.trim_start_matches('\'').starts_with('-') {
        return format!("monban release --foreign -- {word}");
    }
    format!("monban release {word} --foreign")
}

fn mode(entry: &Entry) -> String {
    match entry.mode {
        Some(Mode::Shared) => "shared".to_owned(),
        Some(Mode::Permits { n, of }) => format!("{n} of {of} permits held"),
        Some(Mode::Exclusive) | None => "held".to_owned(),
    }
}

fn who(entry: &Entry) -> String {
    entry
        .claimant
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn expires(entry: &Entry) -> String {
    entry.expires_in.map_or_else(String::new, |left| {
        format!(", expires in {}", duration_text(left))
    })
}

fn row(entry: &Entry) -> [String; 6] {
    let state = match entry.standing {
        Standing::Holding => mode(entry),
        Standing::Waiting { ahead } => format!("waiting, {ahead} ahead"),
        Standing::Lingering => "lingering".to_owned(),
        Standing::Foreign => "foreign".to_owned(),
    };
    let time = |d: Option<Duration>| d.map_or_else(|| "-".to_owned(), duration_text);
    let id = entry.id.digest();
    [
        entry.key.to_string(),
        state,
        id,
        time(entry.age),
        time(entry.expires_in),
        who(entry),
    ]
}

fn print_json(entries: &[Entry]) {
    for entry in entries {
        if !print(&json_of(entry).to_string()) {
            break;
        }
    }
}

fn json_of(entry: &Entry) -> Value {
    let (state, ahead) = match entry.standing {
        Standing::Holding => ("holding", None),
        Standing::Waiting { ahead } => ("waiting", Some(ahead)),
        Standing::Lingering => ("lingering", None),
        Standing::Foreign => ("foreign", None),
    };
    let (mode, permits) = match entry.mode {
        Some(Mode::Exclusive) => (Some("exclusive"), None),
        Some(Mode::Shared) => (Some("shared"), None),
        Some(Mode::Permits { n, of }) => (Some("permits"), Some(json!({ "n": n, "of": of }))),
        None => (None, None),
    };
    let ms = |d: Option<Duration>| d.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    json!({
        "key": String::from_utf8_lossy(entry.key.as_bytes()),
        "key_hex": entry.key.as_str().is_none().then(|| hex(entry.key.as_bytes())),
        "id": entry.id.digest(),
        "state": state,
        "ahead": ahead,
        "mode": mode,
        "permits": permits,
        "host": entry.claimant.as_ref().map(|who| printable(who.host())),
        "pid": entry.claimant.as_ref().map(monban::Claimant::pid),
        "label": entry.claimant.as_ref().map(|who| printable(who.label())),
        "since_ms": ms(entry.age),
        "expires_ms": ms(entry.expires_in),
        "fence": entry.fence.map(monban::Fence::as_i64),
        "seat": entry.seat,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
