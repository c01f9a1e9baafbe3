//! What it costs to hold many keys for a long time.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use interop::Outcome;

use crate::Bench;
use crate::server;

/// Those that renew many, or can be made to.
const NAMES: &[&str] = &["monban", "rslock", "redsync"];
const TTL: u32 = 10_000;
/// Three renewals of everything.
const WINDOW: Duration = Duration::from_secs(10);

/// Holds the keys with each client; watches its processor time first, its commands then.
pub(crate) fn measure(bench: &Bench) -> Outcome<String> {
    let keys = bench.plan.held;
    let mut text = format!(
        "## {keys} held keys, TTL {} s, each renewed at a third of it\n\n| client | commands/s | processor, client | \
         processor, server | still held | which commands a second |\n|---|---|---|---|---|---|\n",
        TTL / 1_000,
    );
    for peer in bench.peers(NAMES) {
        eprintln!("  {}", peer.client.name);
        let server = Bench::server()?;
        let mut driver = peer.installed.start(server.port(), "", None)?;
        let answer = driver.ask(&format!("hold {keys} {TTL}"))?;
        if answer != "holding" {
            return Err(format!("{}: {answer}", peer.client.name).into());
        }
        thread::sleep(Duration::from_secs(1));
        let before = (server::used(driver.id())?, server::used(server.id())?);
        thread::sleep(WINDOW);
        let after = (server::used(driver.id())?, server::used(server.id())?);
        let seen = server::watch(server.port(), WINDOW)?
            .join()
            .map_err(|_| "the watch ended")??;
        let held = server.ask(&["KEYS", "hold-*"])?.lines().count();
        let share = |spent: Duration| 100.0 * spent.as_secs_f64() / WINDOW.as_secs_f64();
        let per = WINDOW.as_secs_f64();
        writeln!(
            text,
            "| {} | {:.0} | {:.1} % | {:.1} % | {held} | {} |",
            peer.client.name,
            seen.values().sum::<usize>() as f64 / per,
            share(after.0.saturating_sub(before.0)),
            share(after.1.saturating_sub(before.1)),
            server::shown(&seen, per),
        )?;
    }
    text.push_str("\nTarget for monban: at most 40 commands a second and 1 % of a core (the client's; the server's is beside it).\n\n");
    Ok(text)
}
