//! One member of a cluster: how it is started, and its log.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::EtcdOptions;
use crate::process::Process;

/// Starts the member with this number.
pub(super) fn launch(
    options: &EtcdOptions,
    at: usize,
    (client, peer): (u16, u16),
    peers: &[u16],
    home: &Path,
) -> io::Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(home))?;
    let mut command = options.server(at)?;
    let host = options.host(at);
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let cluster: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(at, port)| format!("m{at}=http://{}:{port}", options.host(at)))
        .collect();
    let mut set = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    set("name", &format!("m{at}"));
    set("data-dir", &home.join("data").display().to_string());
    set("listen-client-urls", &format!("{scheme}://{host}:{client}"));
    set(
        "advertise-client-urls",
        &format!("{scheme}://{host}:{client}"),
    );
    set("listen-peer-urls", &format!("http://{host}:{peer}"));
    set(
        "initial-advertise-peer-urls",
        &format!("http://{host}:{peer}"),
    );
    set("initial-cluster", &cluster.join(","));
    set("initial-cluster-token", &format!("monban-{}", peers[0]));
    if let Some(election) = options.election {
        set("election-timeout", &election.as_millis().to_string());
        set(
            "heartbeat-interval",
            &(election / 10).as_millis().max(1).to_string(),
        );
    }
    if let Some(tls) = &options.tls {
        set("cert-file", &tls.certificate.display().to_string());
        set("key-file", &tls.key.display().to_string());
        if let Some(authority) = &tls.authority {
            set("client-cert-auth", "true");
            set("trusted-ca-file", &authority.display().to_string());
        }
    }
    command.args(&options.arguments);
    command
        .current_dir(home)
        .stdout(log.try_clone()?)
        .stderr(log);
    Process::spawn(&mut command, Some(home))
}

pub(super) fn log_path(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

pub(super) fn log_tail(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let start = log.len().saturating_sub(1_500);
    String::from_utf8_lossy(&log[start..]).into_owned()
}
