//! What `run` and `elect` say on standard error.

use std::time::Duration;

use monban::contract::{Ends, Why};
use monban::data::{duration_text, printable};
use monban::{BusyInfo, Error, Key, Lease, Loss};
use serde_json::json;

use super::plan::{Kind, Plan};
use crate::child::Outcome;
use crate::exit;
use crate::open::Opened;

/// Says what is in the way, unless nobody wants to hear it; returns the exit code.
pub(super) fn busy(opened: &Opened, plan: &Plan, key: &Key, busy: &BusyInfo) -> u8 {
    let code = plan.conflict_exit_code.unwrap_or(exit::BUSY);
    if !plan.quiet {
        let fields = json!({
            "key": key.to_string(),
            "why": format!("{:?}", busy.why).to_lowercase(),
            "host": busy.who.as_ref().map(|who| monban::data::printable(who.host())),
            "pid": busy.who.as_ref().map(monban::Claimant::pid),
            "ahead": busy.ahead,
            "held_ms": busy.held_for.map(millis),
            "free_in_ms": busy.ends.after().map(millis),
            "never_expires": busy.ends == Ends::Never,
            "store": opened.name,
            "exit": code,
        });
        plan.voice()
            .say("busy", &busy_message(opened, plan, key, busy), fields);
    }
    code
}

fn busy_message(opened: &Opened, plan: &Plan, key: &Key, busy: &BusyInfo) -> String {
    let details = |known: &mut Vec<String>| {
        if let Some(d) = busy.held_for {
            known.push(format!("for {}", duration_text(d)));
        }
        format!("{}; store: {}", known.join(", "), opened.name)
            .trim_start_matches("; ")
            .to_owned()
    };
    let who = busy.who.as_ref().map(ToString::to_string);
    let mut known: Vec<String> = who.into_iter().collect();
    match busy.why {
        Why::Held => {
            let deed = match plan.kind {
                Kind::Leader(_) => "leads",
                _ => "is already running",
            };
            format!("Another process {deed} {key} ({})", details(&mut known))
        }
        Why::Queued => {
            let ahead = busy
                .ahead
                .map_or_else(String::new, |n| format!("{n} ahead"));
            known.push(ahead);
            known.retain(|part| !part.is_empty());
            format!("Others are waiting for {key} ({})", details(&mut known))
        }
        Why::Lingering => {
            if let Some(left) = busy.ends.after() {
                known.push(format!("free in {}", duration_text(left)));
            }
            format!("{key} was run and is still kept ({})", details(&mut known))
        }
        Why::Foreign => {
            known.extend(match busy.ends {
                Ends::In(left) => Some(format!("expires in {}", duration_text(left))),
                Ends::Never => Some(
                    "never expires: if nobody runs it, `monban show` says how to release it"
                        .to_owned(),
                ),
                Ends::Unknown => None,
            });
            format!(
                "{key} is held by a process that is not monban ({})",
                details(&mut known)
            )
        }
        // Whoever it is that stands first, it is not he who is in the way.
        Why::Recovering => format!(
            "Nobody is known to hold {key}, but {} (store: {})",
            recovering(busy.ends.after()),
            opened.name
        ),
        Why::Barred => format!("Nobody holds {key}, but {BARRED} (store: {})", opened.name),
    }
}

/// What bars a key that nobody holds.
pub(super) const BARRED: &str = "a transaction that has checked its fence is still open";

/// Why nothing is granted, and for how long.
pub(super) fn recovering(left: Option<Duration>) -> String {
    let left = left.map_or_else(String::new, |left| format!(" for {}", duration_text(left)));
    format!("the store grants nothing{left}: it lost its memory in a crash")
}

/// Says that the interval is not over, unless nobody wants to hear it; returns the exit code.
pub(super) fn not_due(plan: &Plan, busy: &BusyInfo) -> u8 {
    if !plan.quiet {
        let due = busy
            .ends
            .after()
            .map_or_else(String::new, |d| format!(" for {}", duration_text(d)));
        let last = busy
            .who
            .as_ref()
            .map_or_else(String::new, |who| format!(" (last run by {who})"));
        let message = format!("{} is not due{due}{last}", plan.key);
        let fields =
            json!({ "key": plan.key.to_string(), "due_in_ms": busy.ends.after().map(millis) });
        plan.voice().say("not_due", &message, fields);
    }
    0
}

/// Says that a store has given another TTL than was asked for: one that counts whole seconds rounds up.
pub(super) fn ttl(opened: &Opened, plan: &Plan, asked: Duration, leases: &[&Lease]) {
    let given = leases.iter().filter_map(|lease| lease.ttl()).max();
    let Some(given) = given.filter(|given| !plan.quiet && *given > asked) else {
        return;
    };
    let message = format!(
        "the TTL is {}, since {} counts whole seconds",
        duration_text(given),
        opened.locks.guarantees().store,
    );
    let fields = json!({ "ttl_ms": millis(given), "asked_ms": millis(asked) });
    plan.voice().say("ttl", &message, fields);
}

/// Says what the exit code alone does not tell.
pub(super) fn end(opened: &Opened, plan: &Plan, outcome: &Outcome, leases: &[&Lease]) {
    let mut fields = json!({ "key": plan.key.to_string(), "exit": outcome.code() });
    let command = monban::data::printable(plan.command[0].as_encoded_bytes());
    let (event, message) = match outcome {
        Outcome::Exited(_) | Outcome::Signalled(_) => return,
        Outcome::Lost => {
            let (key, told, how) = lost(opened, plan, leases);
            fields["key"] = json!(key.to_string());
            fields["told"] = json!(told);
            let message = format!("the lease on {key} was lost: {how}; the command has been ended");
            ("lost", message)
        }
        Outcome::MaxHold => {
            let limit = plan
                .guarding
                .max_hold
                .map(duration_text)
                .unwrap_or_default();
            (
                "max_hold",
                format!(
                    "{} was held for {limit}; the command has been ended",
                    plan.key
                ),
            )
        }
        Outcome::NotFound => ("not_found", format!("{command}: there is no such command")),
        Outcome::NotExecutable(error) => (
            "not_executable",
            format!("{command} cannot be executed: {error}"),
        ),
        Outcome::Failed(error) => ("error", format!("{command} cannot be run: {error}")),
    };
    plan.voice().say(event, &message, fields);
}

/// Which lease was lost, whether the store said so (and another may hold the key by now), and how, as far as it is
/// known here.
fn lost(opened: &Opened, plan: &Plan, leases: &[&Lease]) -> (Key, bool, String) {
    for lease in leases {
        if let Err(Error::Lost {
            key, why, source, ..
        }) = lease.check()
        {
            let store = opened.locks.guarantees().store;
            let how = match (why, source) {
                (Loss::Taken, _) => taken(store).to_owned(),
                (why, None) => why.to_string(),
                (why, Some(last)) => printable(format!("{why} ({last})")),
            };
            return (key, why == Loss::Taken, how);
        }
    }
    // The command is ended before the lease is: whichever would have ended first.
    let next = leases.iter().min_by_key(|lease| lease.remaining());
    let key = next.map_or(&plan.key, |lease| lease.key()).clone();
    (key, false, "it could not be renewed in time".to_owned())
}

/// How a store can come to have a lease no more. Which of these it was it does not say.
fn taken(store: &str) -> &'static str {
    match store {
        "etcd" => "it was freed by hand (its key deleted), or its lease revoked",
        "postgres" => "it was freed by hand, or the server has forgotten it in a crash",
        "redis" => {
            "it was freed by hand (its key deleted or overwritten), evicted, or forgotten by the server"
        }
        _ => "the store does not have it any more",
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
