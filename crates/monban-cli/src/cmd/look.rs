//! `monban ls` and `monban show`: who holds, who waits, since when, for how long.

use std::process::ExitCode;
use std::time::Duration;

use monban::data::{Barred, Entry, EntryId, Mode, Standing, duration_text, printable};
use monban::{Key, Result, block_on};
use serde_json::{Value, json};

use super::{print, told};
use crate::open::Opened;
use crate::say::Voice;

/// Lists the claims of all keys that begin with the prefix, and the keys among them that nobody is granted.
pub(super) fn list(opened: &Opened, prefix: &[u8], as_json: bool) -> Result<ExitCode> {
    let entries = block_on(opened.locks.inspect(prefix))?;
    let barred = block_on(opened.locks.barred(prefix))?;
    let pause = block_on(opened.locks.recovers_in())?;
    if as_json {
        print_json(None, &entries, &barred, pause);
        return Ok(ExitCode::SUCCESS);
    }
    if pause.is_some() {
        Voice::Text.say("recovering", &told::recovering(pause), json!({}));
    }
    let rows: Vec<[String; 6]> = entries
        .iter()
        .map(row)
        .chain(barred.iter().map(barred_row))
        .collect();
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

/// Shows the line of one key, and why nobody is granted it.
pub(super) fn show(opened: &Opened, key: &Key, as_json: bool) -> Result<ExitCode> {
    let entries = line_of(opened, key)?;
    let mut barred = block_on(opened.locks.barred(key.as_bytes()))?;
    barred.retain(|bar| bar.key == *key);
    let pause = block_on(opened.locks.recovers_in())?;
    if as_json {
        print_json(Some(key), &entries, &barred, pause);
        return Ok(ExitCode::SUCCESS);
    }
    let store = &opened.name;
    let free = entries.is_empty();
    match (free, barred.is_empty(), pause) {
        (true, true, None) => print(&format!("{key} is free (store: {store})")),
        (true, false, _) => print(&format!(
            "Nobody holds {key}, but {} (store: {store})",
            told::BARRED
        )),
        (true, true, Some(_)) => print(&format!(
            "Nobody is known to hold {key}, but {} (store: {store})",
            told::recovering(pause)
        )),
        (false, ..) => print(&format!("{key} (store: {store})")),
    };
    for entry in &entries {
        print(&format!("  {}", sentence(entry)));
    }
    for bar in &barred {
        print(&format!("  {}", bar_sentence(bar)));
    }
    if pause.is_some() && !(free && barred.is_empty()) {
        print(&format!("  {}", told::recovering(pause)));
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
pub(super) fn by_hand(key: &Key) -> String {
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

/// Until when nobody is granted the key, and how that is ended, is told too.
fn bar_sentence(bar: &Barred) -> String {
    let age = bar
        .age
        .map_or_else(String::new, |age| format!(" for {}", duration_text(age)));
    let end = bar.end.as_ref().map_or_else(String::new, |end| {
        format!("; by hand: {}", printable(&**end))
    });
    format!(
        "barred{age} by {}: granted to nobody before its transaction ends{end}",
        printable(&*bar.by)
    )
}

fn barred_row(bar: &Barred) -> [String; 6] {
    let since = bar.age.map_or_else(|| "-".to_owned(), duration_text);
    let (state, none) = ("barred".to_owned(), "-".to_owned());
    let by = printable(&*bar.by);
    [bar.key.to_string(), state, none.clone(), since, none, by]
}

/// A line for each claim, then for each transaction that bars a key, then for the pause in which nothing is granted.
fn print_json(key: Option<&Key>, entries: &[Entry], barred: &[Barred], pause: Option<Duration>) {
    let claims = entries.iter().map(json_of);
    let bars = barred.iter().map(|bar| {
        let mut line = named(&bar.key, "barred");
        line["by"] = json!(printable(&*bar.by));
        line["since_ms"] = json!(millis(bar.age));
        line["end"] = json!(bar.end.as_deref().map(printable));
        line
    });
    let pause = pause.map(|left| {
        let mut line = key.map_or_else(
            || json!({ "state": "recovering" }),
            |key| named(key, "recovering"),
        );
        line["opens_ms"] = json!(millis(Some(left)));
        line
    });
    for line in claims.chain(bars).chain(pause) {
        if !print(&line.to_string()) {
            break;
        }
    }
}

fn named(key: &Key, state: &str) -> Value {
    json!({
        "key": String::from_utf8_lossy(key.as_bytes()),
        "key_hex": key.as_str().is_none().then(|| hex(key.as_bytes())),
        "state": state,
    })
}

fn millis(d: Option<Duration>) -> Option<u64> {
    d.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
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
        "since_ms": millis(entry.age),
        "expires_ms": millis(entry.expires_in),
        "fence": entry.fence.map(monban::Fence::as_i64),
        "seat": entry.seat,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
