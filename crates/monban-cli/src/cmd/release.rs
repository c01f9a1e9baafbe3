//! `monban release`: frees by hand what `show` printed, if it is still there.

use std::process::ExitCode;

use monban::contract::Release;
use monban::data::{Entry, EntryId, Standing, printable};
use monban::{Claimant, Error, Key, Result, block_on};
use serde_json::json;

use super::look::{by_hand, line_of};
use crate::exit;
use crate::open::Opened;
use crate::say::Voice;

/// Frees the entry with this ID, or what a foreign program left if there is none.
pub(super) fn release(opened: &Opened, key: &Key, id: Option<&str>) -> Result<ExitCode> {
    let entries = line_of(opened, key)?;
    let wanted = |entry: &&Entry| match id {
        Some(id) => entry.id.digest() == id.trim(),
        None => matches!(entry.id, EntryId::Foreign(_) | EntryId::Unreadable(_)),
    };
    let Some(entry) = entries.iter().find(wanted) else {
        return Ok(nothing(key, id));
    };
    match block_on(opened.locks.evict(entry))? {
        Release::Gone => Ok(nothing(key, id)),
        Release::Done => {
            let whose = match &entry.claimant {
                Some(claimant) => claimant.to_string(),
                None => "an unknown owner".to_owned(),
            };
            let by = Claimant::this_process("");
            let message = format!(
                "{key} freed by hand: claim {} of {whose}, by {by}{}{}",
                entry.id.digest(),
                user(),
                after(entry.standing)
            );
            let fields = json!({ "key": key.to_string(), "id": entry.id.digest() });
            Voice::Text.say("released", &message, fields);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Nothing is named to be freed: says how to name what is there.
pub(super) fn which(opened: &Opened, key: &Key) -> Result<ExitCode> {
    let entries = line_of(opened, key)?;
    let foreign = entries
        .iter()
        .any(|entry| matches!(entry.id, EntryId::Foreign(_)));
    Err(Error::invalid(if foreign {
        format!(
            "what is at {key} is not monban's; free it with `{}`",
            by_hand(key)
        )
    } else {
        "name the claim to be freed by --id ID, as `monban show` prints it".to_owned()
    }))
}

fn nothing(key: &Key, id: Option<&str>) -> ExitCode {
    let what = match id {
        Some(id) => format!("no claim {} is in the line of {key}", printable(id)),
        None => format!("nothing foreign is at {key}"),
    };
    Voice::Text.error(&Error::invalid(format!(
        "{what}; look again with `monban show`"
    )));
    ExitCode::from(exit::USAGE)
}

/// What is still to be known: whoever waits asks again.
fn after(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting { .. } => {
            "; it waited, and may join again at the end of the line: to be rid of it, end its process"
        }
        Standing::Holding | Standing::Lingering | Standing::Foreign => "",
    }
}

/// Who gave the order, for the log.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    match std::env::var("SUDO_USER") {
        Ok(name) => format!(", uid {uid} ({})", printable(name)),
        Err(_) => format!(", uid {uid}"),
    }
}
