//! A small network of one's own: a switch, and machines on it that can be unplugged one by one.
//!
//! Each is a network namespace without a name, which lives as long as a process in it does. So nothing of it is seen
//! from outside, no address of it can clash with another's, and when its processes die (each has a guardian, see
//! [`crate::process`]) the kernel takes namespaces, cables and switch away, however the test ended.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Process, wait_until};
use crate::service;

/// Names the program `ip` of iproute2, before `PATH` is looked at.
pub const IP: &str = "MONBAN_IP";

/// What that program may be called.
pub const PROGRAMS: &[&str] = &["ip", "/usr/sbin/ip", "/sbin/ip"];

/// The network's addresses begin so; the switch has the first of them.
const NET: [u8; 3] = [10, 231, 7];

/// Whether the running test is to return at once because no network can be made: see [`service::lacks`].
///
/// # Panics
/// In CI, if it can not.
#[must_use]
pub fn skipped() -> bool {
    service::skipped("network") || service::lacks("network", &Network::new().map(drop))
}

/// A switch. Machines keep it alive.
#[derive(Debug)]
pub struct Network {
    switch: Arc<Space>,
    machines: u8,
}

/// What is plugged into the switch: has an address of its own, and nothing else is on it but what is started there.
#[derive(Clone, Debug)]
pub struct Machine(Arc<Plugged>);

#[derive(Debug)]
struct Plugged {
    space: Space,
    switch: Arc<Space>,
    /// The switch's end of the cable.
    port: String,
    address: Ipv4Addr,
}

/// A network namespace.
#[derive(Debug)]
struct Space(Process);

impl Network {
    /// A switch with nothing plugged in.
    ///
    /// # Errors
    /// `PermissionDenied` unless we are root and may make namespaces; or a program is missing (Debian: iproute2).
    pub fn new() -> io::Result<Self> {
        let switch = Space::new()?;
        switch.ip("link add switch type bridge")?;
        switch.ip(&format!("address add {}/24 dev switch", address(1)))?;
        switch.ip("link set switch up")?;
        Ok(Self {
            switch: Arc::new(switch),
            machines: 0,
        })
    }

    /// Where the switch's namespace is, while there is a process in it.
    #[must_use]
    pub fn space(&self) -> PathBuf {
        self.switch.path()
    }

    /// Plugs in a machine.
    ///
    /// # Errors
    /// The system refused.
    pub fn machine(&mut self) -> io::Result<Machine> {
        self.machines += 1;
        let (port, address) = (format!("port{}", self.machines), address(1 + self.machines));
        let space = Space::new()?;
        let switch = &self.switch;
        let far = space.0.id();
        switch.ip(&format!(
            "link add {port} type veth peer name cable netns {far}"
        ))?;
        switch.ip(&format!("link set {port} master switch up"))?;
        space.ip(&format!("address add {address}/24 dev cable"))?;
        space.ip("link set cable up")?;
        Ok(Machine(Arc::new(Plugged {
            space,
            switch: Arc::clone(switch),
            port,
            address,
        })))
    }
}

impl Machine {
    /// What the others reach it by.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.0.address
    }

    /// Where its namespace is, while there is a process in it.
    #[must_use]
    pub fn space(&self) -> PathBuf {
        self.0.space.path()
    }

    /// Takes the cable out: from now on it hears nobody, and nobody hears it. What runs on it is told nothing.
    ///
    /// # Errors
    /// The system refused.
    pub fn unplug(&self) -> io::Result<()> {
        self.0.switch.ip(&format!("link set {} down", self.0.port))
    }

    /// Puts the cable in again.
    ///
    /// # Errors
    /// The system refused.
    pub fn plug(&self) -> io::Result<()> {
        self.0.switch.ip(&format!("link set {} up", self.0.port))
    }

    /// A command that will run on it.
    #[must_use]
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        self.0.space.command(program.into())
    }

    /// A command that will run at the switch, and so reach every machine that is plugged in.
    #[must_use]
    pub fn beside(&self, program: impl Into<PathBuf>) -> Command {
        self.0.switch.command(program.into())
    }

    /// Runs this on a thread that is on the machine, and so are the threads that it starts.
    ///
    /// # Errors
    /// The thread could not be started, or not moved there.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let space = File::open(self.0.space.path())?;
        thread::Builder::new().spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter what it has made");
            drop(space);
            work()
        })
    }
}

impl Space {
    fn new() -> io::Result<Self> {
        let mut sleeps = Command::new("unshare");
        sleeps.args(["--net", "sleep", "infinity"]);
        let mut space = Self(Process::spawn(&mut sleeps, None)?);
        let ours = fs::read_link("/proc/self/ns/net")?;
        wait_until("a network namespace", Duration::from_secs(20), || {
            if !space.0.is_running()? {
                let refused =
                    "no network namespace can be made: that takes root, and a system that lets it";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused));
            }
            Ok(fs::read_link(space.path()).is_ok_and(|there| there != ours))
        })?;
        space.ip("link set lo up")?;
        Ok(space)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display()));
        command.arg("--").arg(program);
        command
    }

    fn ip(&self, words: &str) -> io::Result<()> {
        let mut command = self.command(service::program(IP, PROGRAMS)?);
        let output = command.args(words.split(' ')).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("ip {words}: {said}")))
    }
}

fn address(host: u8) -> Ipv4Addr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, host)
}
