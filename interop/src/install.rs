//! Brings the clients: each with its language's own package manager, into a folder below the target directory.
//!
//! What is installed is remembered by the content of the files that name it, so that a second run installs nothing. A
//! runtime that this machine lacks is an error in CI and a loud, counted skip elsewhere.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monban_testkit::service;

use crate::clients::{Client, Runtime};
use crate::{Driver, Outcome};

/// A client that can be started.
#[derive(Clone, Debug)]
pub struct Installed {
    name: &'static str,
    program: PathBuf,
    words: Vec<String>,
}

/// Makes a client startable; `Ok(None)` if this machine lacks its runtime.
///
/// `own` is the program of this package that holds the clients written in Rust.
///
/// # Errors
///
/// The package manager failed. In CI also if the runtime is missing.
pub fn install(client: &Client, own: &Path) -> Outcome<Option<Installed>> {
    if let Some(missing) = missing(client.runtime) {
        let message = format!(
            "{} needs {missing}, which is not on this machine",
            client.name
        );
        if in_ci() {
            return Err(message.into());
        }
        count_skip(&message)?;
        return Ok(None);
    }
    let folder = folder(client.runtime)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let (program, mut words) = match client.runtime {
        Runtime::Rust => (own.to_owned(), Vec::new()),
        Runtime::Python => {
            let sources = sources.join("python");
            let named = fs::read_to_string(sources.join("requirements.txt"))?;
            once(&folder, &named, || python(&sources, &folder))?;
            let script = sources.join("client.py");
            (folder.join("venv/bin/python"), vec![text(&script)])
        }
        Runtime::Go | Runtime::GoEtcd => {
            let sources = sources.join(match client.runtime {
                Runtime::GoEtcd => "go-etcd",
                _ => "go",
            });
            let named = contents(&sources, &["go.mod", "go.sum", "main.go"])?;
            once(&folder, &named, || go(&sources, &folder))?;
            (folder.join("client"), Vec::new())
        }
        Runtime::Node => {
            let sources = sources.join("node");
            let named = contents(&sources, &["package.json", "client.js"])?;
            once(&folder, &named, || node(&sources, &folder))?;
            (PathBuf::from("node"), vec![text(&folder.join("client.js"))])
        }
        Runtime::Java => {
            let sources = sources.join("java");
            let named = contents(&sources, &["pom.xml", "src/main/java/interop/Client.java"])?;
            once(&folder, &named, || java(&sources, &folder))?;
            let path = format!("{0}/classes:{0}/jars/*", folder.display());
            (
                PathBuf::from("java"),
                vec!["-cp".to_owned(), path, "interop.Client".to_owned()],
            )
        }
    };
    words.push(client.name.to_owned());
    Ok(Some(Installed {
        name: client.name,
        program,
        words,
    }))
}

impl Installed {
    /// The client's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Starts it against the server on this port of loopback. `retry` is the pause between its tries, in ms; without
    /// it, its own.
    ///
    /// # Errors
    ///
    /// The program could not be started.
    pub fn start(&self, port: u16, option: &str, retry: Option<u32>) -> Outcome<Driver> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).arg(port.to_string());
        command.args(retry.map(|retry| retry.to_string()));
        // Only monban's program reads it; the others have nothing to be told.
        command.env("INTEROP_OPTION", option);
        Driver::start(&mut command)
    }
}

/// What of a runtime is not on this machine.
fn missing(runtime: Runtime) -> Option<&'static str> {
    let programs: &[&str] = match runtime {
        Runtime::Rust => &[],
        Runtime::Python => &["python3"],
        Runtime::Go | Runtime::GoEtcd => &["go"],
        Runtime::Node => &["node", "npm"],
        Runtime::Java => &["java", "javac", "mvn"],
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |name: &&&str| env::split_paths(&path).any(|folder| folder.join(**name).is_file());
    programs.iter().find(|name| !found(name)).copied()
}

fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Counted where the tests of missing servers are counted.
fn count_skip(message: &str) -> Outcome {
    eprintln!("SKIPPED: {message}");
    if let Some(log) = env::var_os(service::SKIP_LOG) {
        let mut log = File::options().append(true).create(true).open(log)?;
        writeln!(log, "interop: {message}")?;
    }
    Ok(())
}

/// Where a runtime's clients are kept: below the target directory that this program was built in.
fn folder(runtime: Runtime) -> Outcome<PathBuf> {
    let name = format!("{runtime:?}").to_lowercase();
    let me = env::current_exe()?;
    let target = me
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target = target.ok_or("this program is not below a target directory")?;
    let folder = target.join("interop").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Runs `work` unless it has been run with the same names; one process at a time.
fn once(folder: &Path, named: &str, work: impl FnOnce() -> Outcome) -> Outcome {
    let turn = File::create(folder.join("turn"))?;
    turn.lock()?;
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|done| done == named) {
        return Ok(());
    }
    work()?;
    Ok(fs::write(mark, named)?)
}

fn python(sources: &Path, folder: &Path) -> Outcome {
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"]);
    run(pip.arg(sources.join("requirements.txt")))
}

fn go(sources: &Path, folder: &Path) -> Outcome {
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(folder.join("client"))
        .arg(".");
    // Its sums are committed and checked; the module must not be changed by a build.
    run(build.current_dir(sources).env("GOFLAGS", "-mod=readonly"))
}

fn node(sources: &Path, folder: &Path) -> Outcome {
    for name in ["package.json", "client.js"] {
        fs::copy(sources.join(name), folder.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]);
    run(npm.current_dir(folder))
}

fn java(sources: &Path, folder: &Path) -> Outcome {
    let mut maven = Command::new("mvn");
    maven.args([
        "--batch-mode",
        "--quiet",
        "dependency:copy-dependencies",
        "--file",
    ]);
    maven.arg(sources.join("pom.xml"));
    maven.arg(format!(
        "-DoutputDirectory={}",
        folder.join("jars").display()
    ));
    run(&mut maven)?;
    let mut javac = Command::new("javac");
    javac
        .arg("-cp")
        .arg(folder.join("jars/*"))
        .arg("-d")
        .arg(folder.join("classes"));
    run(javac.arg(sources.join("src/main/java/interop/Client.java")))
}

fn contents(folder: &Path, names: &[&str]) -> Outcome<String> {
    let read = |name: &&str| fs::read_to_string(folder.join(name));
    Ok(names
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?
        .concat())
}

fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&said)
    )
    .into())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
