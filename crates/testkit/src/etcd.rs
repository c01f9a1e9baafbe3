//! An etcd cluster of one's own, of one member or several, to be killed, stopped and started again.

mod member;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use member::{launch, log_path, log_tail};

use crate::network::Machine;
use crate::process::{Process, free_port, wait_until};
use crate::service;

/// Names the server's program, before `PATH` is looked at.
pub const SERVER: &str = "MONBAN_ETCD_SERVER";

/// What the server's program may be called.
pub const PROGRAMS: &[&str] = &["etcd"];

/// Names the program of the command-line client, before `PATH` is looked at.
pub const CLIENT: &str = "MONBAN_ETCDCTL";

/// How long a cluster may take until it answers.
const READY: Duration = Duration::from_secs(60);

/// How a cluster is to be started.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    members: usize,
    election: Option<Duration>,
    tls: Option<Tls>,
    arguments: Vec<String>,
    machines: Vec<Machine>,
}

/// Certificates for the clients' side.
#[derive(Clone, Debug)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    authority: Option<PathBuf>,
}

impl EtcdOptions {
    /// One member, with etcd's own election timeout of a second.
    #[must_use]
    pub fn new() -> Self {
        Self {
            members: 1,
            election: None,
            tls: None,
            arguments: Vec::new(),
            machines: Vec::new(),
        }
    }

    /// One member on each of these machines, and none on loopback.
    #[must_use]
    pub fn on(mut self, machines: &[Machine]) -> Self {
        self.members = machines.len();
        self.machines = machines.to_vec();
        self
    }

    /// So many members.
    #[must_use]
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Elects another leader after so long without one; heartbeats are ten times as frequent.
    #[must_use]
    pub fn election(mut self, timeout: Duration) -> Self {
        self.election = Some(timeout);
        self
    }

    /// Wants TLS of its clients; with an authority also their certificate.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path, authority: Option<&Path>) -> Self {
        self.tls = Some(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            authority: authority.map(Path::to_owned),
        });
        self
    }

    /// Another argument for every member.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }
}

impl EtcdOptions {
    fn host(&self, member: usize) -> Ipv4Addr {
        let machine = self.machines.get(member);
        machine.map_or(Ipv4Addr::LOCALHOST, Machine::address)
    }

    /// A server's program, where that member is.
    fn server(&self, member: usize) -> io::Result<Command> {
        let program = service::program(SERVER, PROGRAMS)?;
        Ok(match self.machines.get(member) {
            Some(machine) => machine.command(program),
            None => Command::new(program),
        })
    }

    /// The client's program, where it reaches every member that can be reached.
    fn client(&self) -> io::Result<Command> {
        let program = service::program(CLIENT, &["etcdctl"])?;
        Ok(match self.machines.first() {
            Some(machine) => machine.beside(program),
            None => Command::new(program),
        })
    }
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A cluster on loopback or on machines of a network of its own; dropping it kills it and removes its directories.
#[derive(Debug)]
pub struct EtcdServer {
    options: EtcdOptions,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    // Declared before the directory: the server dies first, then its files go.
    process: Process,
    client: u16,
    peer: u16,
    home: TempDir,
}

impl EtcdServer {
    /// Starts a cluster and returns when it decides.
    ///
    /// # Errors
    /// `NotFound` without a server program; else the start failed, with the end of a member's log.
    pub fn start(options: EtcdOptions) -> io::Result<Self> {
        let mut outcome = Err(io::Error::other("not tried"));
        // A free port may be taken by somebody else before the server binds it.
        for _ in 0..5 {
            outcome = Self::try_start(&options);
            match &outcome {
                Err(error) if error.to_string().contains("address already in use") => {}
                _ => break,
            }
        }
        outcome
    }

    fn try_start(options: &EtcdOptions) -> io::Result<Self> {
        let ports: Vec<(u16, u16)> = (0..options.members)
            .map(|_| Ok((free_port()?, free_port()?)))
            .collect::<io::Result<_>>()?;
        let peers: Vec<u16> = ports.iter().map(|(_, peer)| *peer).collect();
        let mut members = Vec::new();
        for (at, (client, peer)) in ports.iter().enumerate() {
            let home = TempDir::with_prefix("monban-etcd-")?;
            let process = launch(options, at, (*client, *peer), &peers, home.path())?;
            members.push(Member {
                process,
                client: *client,
                peer: *peer,
                home,
            });
        }
        let mut cluster = Self {
            options: options.clone(),
            members,
        };
        for at in 0..options.members {
            cluster.wait_for(at)?;
        }
        Ok(cluster)
    }

    /// `etcd://…` with all members.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() {
            "etcds"
        } else {
            "etcd"
        };
        format!("{scheme}://{}", self.places())
    }

    /// `host:port` of all members, with commas between.
    fn places(&self) -> String {
        let places: Vec<String> = (0..self.members.len()).map(|at| self.place(at)).collect();
        places.join(",")
    }

    /// `host:port` of a member.
    #[must_use]
    pub fn place(&self, member: usize) -> String {
        let host = self.options.host(member);
        format!("{host}:{}", self.members[member].client)
    }

    /// The process id of a member.
    #[must_use]
    pub fn id(&self, member: usize) -> u32 {
        self.members[member].process.id()
    }

    /// The ports on which the members listen to clients, the same after a restart.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.members.iter().map(|member| member.client)
    }

    /// The port of the only, or the first, member.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.members[0].client
    }

    /// Which member leads, as each of those that run says.
    ///
    /// # Errors
    /// None says so.
    pub fn leader(&self) -> io::Result<usize> {
        let mut last = io::Error::other("no member leads");
        for at in 0..self.members.len() {
            match self.ctl(at, &["endpoint", "status", "--write-out=fields"]) {
                Ok(said) => {
                    let id = field(&said, "MemberID");
                    if id.is_some() && id == field(&said, "Leader") {
                        return Ok(at);
                    }
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Adds a member that learns, and has no voice yet; returns its number when it answers.
    ///
    /// # Errors
    /// The cluster refuses it, or it does not start.
    pub fn add_learner(&mut self) -> io::Result<usize> {
        let at = self.members.len();
        let (client, peer) = (free_port()?, free_port()?);
        let url = format!("--peer-urls=http://{}:{peer}", self.options.host(at));
        self.change(0, &["member", "add", &format!("m{at}"), "--learner", &url])?;
        let mut peers: Vec<u16> = self.members.iter().map(|member| member.peer).collect();
        peers.push(peer);
        let home = TempDir::with_prefix("monban-etcd-")?;
        let options = self
            .options
            .clone()
            .argument("--initial-cluster-state=existing");
        let process = launch(&options, at, (client, peer), &peers, home.path())?;
        self.members.push(Member {
            process,
            client,
            peer,
            home,
        });
        let status = ["endpoint", "status"];
        wait_until("the learner", READY, || Ok(self.ctl(at, &status).is_ok()))?;
        Ok(at)
    }

    /// Removes a member from the cluster for good, by the voice of the others.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn remove(&self, member: usize) -> io::Result<()> {
        let said = self.ctl(member, &["endpoint", "status", "--write-out=fields"])?;
        let id: u64 = field(&said, "MemberID")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| io::Error::other("a member does not say which it is"))?;
        let other = (member + 1) % self.members.len();
        self.change(other, &["member", "remove", &format!("{id:x}")])
    }

    /// Changes the membership, which a cluster refuses until its members have known each other for some seconds.
    fn change(&self, member: usize, words: &[&str]) -> io::Result<()> {
        wait_until("the change of members", READY, || {
            match self.ctl(member, words) {
                Ok(_) => Ok(true),
                Err(error) if error.to_string().contains("unhealthy cluster") => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Kills a member as `kill -9` does; its ports and files stay for [`restart`](Self::restart).
    ///
    /// # Errors
    /// The system refused.
    pub fn kill9(&mut self, member: usize) -> io::Result<()> {
        self.members[member].process.kill().map(drop)
    }

    /// Starts a member again with the same ports and files, killing it first if need be; returns at once.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start_again(&mut self, member: usize) -> io::Result<()> {
        self.kill9(member)?;
        let peers: Vec<u16> = self.members.iter().map(|member| member.peer).collect();
        let this = &self.members[member];
        let ports = (this.client, this.peer);
        let process = launch(&self.options, member, ports, &peers, this.home.path())?;
        self.members[member].process = process;
        Ok(())
    }

    /// As [`start_again`](Self::start_again), and waits until it takes part.
    ///
    /// # Errors
    /// It does not answer.
    pub fn restart(&mut self, member: usize) -> io::Result<()> {
        self.start_again(member)?;
        self.wait_for(member)
    }

    /// Stops a member where it stands (SIGSTOP): connections stay open and nothing answers, neither clients nor
    /// the other members.
    ///
    /// # Errors
    /// It has ended.
    pub fn stop_signal(&mut self, member: usize) -> io::Result<()> {
        self.members[member].process.signal(Signal::STOP)
    }

    /// Lets a stopped member go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn cont(&mut self, member: usize) -> io::Result<()> {
        self.members[member].process.signal(Signal::CONT)
    }

    /// Asks the cluster something by `etcdctl`; its standard output.
    ///
    /// # Errors
    /// There is no `etcdctl`, or it failed; what it said is the message.
    pub fn ask(&self, words: &[&str]) -> io::Result<String> {
        said(self.etcdctl()?.args(words).output()?)
    }

    /// The command `etcdctl` for this cluster, to be given more words.
    ///
    /// # Errors
    /// There is none.
    pub fn etcdctl(&self) -> io::Result<Command> {
        self.command(&self.places())
    }

    fn ctl(&self, member: usize, words: &[&str]) -> io::Result<String> {
        let mut command = self.command(&self.place(member))?;
        said(
            command
                .args(["--command-timeout=2s"])
                .args(words)
                .output()?,
        )
    }

    fn command(&self, endpoints: &str) -> io::Result<Command> {
        let mut command = self.options.client()?;
        command.env("ETCDCTL_API", "3");
        if let Some(tls) = &self.options.tls {
            command.args(["--insecure-skip-tls-verify", "--insecure-transport=false"]);
            if tls.authority.is_some() {
                command
                    .arg("--cert")
                    .arg(&tls.certificate)
                    .arg("--key")
                    .arg(&tls.key);
            }
        }
        command.args(["--endpoints", endpoints]);
        Ok(command)
    }

    /// Waits until a read through this member is confirmed by a majority.
    fn wait_for(&mut self, at: usize) -> io::Result<()> {
        let log = log_path(self.members[at].home.path());
        let result = wait_until("the etcd server", READY, || {
            if !self.members[at].process.is_running()? {
                return Err(io::Error::other("the etcd server ended"));
            }
            Ok(self.ctl(at, &["get", "monban/ready"]).is_ok())
        });
        result.map_err(|error| {
            let text = format!("{error}; its log ends: {}", log_tail(&log));
            io::Error::new(error.kind(), text)
        })
    }
}

/// One of the fields that `etcdctl --write-out=fields` has written.
fn field<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let head = format!("\"{name}\" : ");
    said.lines().find_map(|line| line.strip_prefix(&head))
}

fn said(output: std::process::Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(said))
}
