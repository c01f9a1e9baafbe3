//! What is done to the server.

use std::io;
use std::sync::atomic::Ordering;

use super::{Deed, Stage, begun};
use crate::event::What;
use crate::plan::Fault;
use crate::run::disk::SlowDisk;

impl Stage {
    pub(super) fn server(&mut self, kind: &str, fault: &Fault) -> io::Result<()> {
        let Some(server) = &mut self.target.server else {
            return Ok(());
        };
        if self.server_down {
            return Ok(());
        }
        self.server_down = true;
        // Logged before it is done: what it causes comes after it.
        match fault {
            Fault::ServerPause { lasts } => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                self.log.now(begun(
                    id,
                    kind,
                    None,
                    format!("server stopped for {lasts:.1?}"),
                ));
                server.pause(true)?;
                self.after(*lasts, Deed::Resume(id));
            }
            Fault::ServerKill { down } | Fault::ServerWipe { down } => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                let what = format!("server killed, back after {down:.1?}");
                self.log.now(begun(id, kind, None, what));
                server.kill()?;
                if matches!(fault, Fault::ServerWipe { .. }) {
                    server.wipe()?;
                }
                self.after(*down, Deed::Restart(id));
            }
            Fault::ServerRestart { down } => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                let what = format!("server shut down in order, back after {down:.1?}");
                self.log.now(begun(id, kind, None, what));
                server.shut_down()?;
                self.after(*down, Deed::Restart(id));
            }
            Fault::SessionsEnded => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                let what = "the server ends all sessions".to_owned();
                self.log.now(begun(id, kind, None, what));
                server.end_sessions()?;
                self.server_down = false;
                self.log.now(What::Healed { id });
            }
            Fault::ServerDisk { by, lasts } => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                let what = format!("flushes of the server take {by:.1?} longer for {lasts:.1?}");
                self.log.now(begun(id, kind, None, what));
                self.slow_disk = Some(SlowDisk::of(&server.processes(), *by)?);
                self.after(*lasts, Deed::Resume(id));
            }
            Fault::ServerClock { by, lasts } => {
                let id = self.faults.fetch_add(1, Ordering::SeqCst);
                let what = format!("the server's wall clock is wrong by {by} ms for {lasts:.1?}");
                self.log.now(begun(id, kind, None, what));
                server.set_clock(*by)?;
                self.after(*lasts, Deed::Resume(id));
            }
            _ => self.server_down = false,
        }
        Ok(())
    }
}
