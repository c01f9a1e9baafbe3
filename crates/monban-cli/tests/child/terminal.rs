//! In a pseudo-terminal, under a shell with job control: as without monban.

use crate::support::{alive, at_grant, eventually, ms, send, state, tests};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsString;
use std::fs::{File, read_to_string};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};

tests! {
    a_command_reads_the_terminal,
    ctrl_c_ends_the_command_and_us_with_130,
    ctrl_c_ends_a_loop_of_the_shell_as_it_would_without_us,
    a_command_that_survives_ctrl_c_is_waited_for,
    ctrl_z_stops_both_and_fg_continues_both,
    a_pager_behind_the_command_can_read_the_terminal_and_outlives_a_loss,
    a_monban_killed_on_a_terminal_leaves_nobody_behind,
    a_background_command_has_a_group_of_its_own,
}

/// Becomes a session leader with the terminal named by the first argument, then the program named by the others.
pub(crate) fn session(arguments: &[OsString]) -> ExitCode {
    rustix::process::setsid().expect("a fresh child leads no group");
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(&arguments[0])
        .expect("the terminal is there");
    let error = Command::new(&arguments[1])
        .args(&arguments[2..])
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .exec();
    panic!("{error}");
}

/// A shell with job control in a terminal of its own.
struct Terminal {
    shell: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    dir: tempfile::TempDir,
}

impl Terminal {
    fn open() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let exe = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let shell = Command::new(&exe)
            .args(["session", &name, "bash", "--norc", "--noprofile", "-i"])
            .env("PROBE", format!("{} probe", exe.display()))
            .env("PS1", "")
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let mut terminal = Self {
            shell,
            keyboard,
            screen,
            dir,
        };
        terminal.keys("stty -echo; echo re''ady\n");
        terminal.shows("ready");
        terminal
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn shows(&self, text: &str) {
        let screen = Arc::clone(&self.screen);
        eventually(&format!("{text:?} on the screen"), move || {
            screen.lock().unwrap().contains(text)
        });
    }

    fn pid(&self, name: &str) -> i32 {
        let path = self.dir.path().join(name);
        let mut pid = 0;
        eventually(name, || {
            let text = read_to_string(&path).unwrap_or_default();
            pid = text
                .strip_suffix('\n')
                .and_then(|number| number.parse().ok())
                .unwrap_or(0);
            pid != 0
        });
        pid
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("screen: {}", self.screen.lock().unwrap());
        }
        // The shell's end hangs up the terminal, which ends whoever is left on it.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn a_command_reads_the_terminal() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE -- sh -c 'echo ask; read line; echo got-$line'; echo code-$?\n");
    terminal.shows("ask");
    terminal.keys("hello\n");
    terminal.shows("got-hello");
    terminal.shows("code-0");
}

fn ctrl_c_ends_the_command_and_us_with_130() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE -- sh -c 'echo $$ > pid; exec sleep 60'; echo code-$?\n");
    let pid = terminal.pid("pid");
    sleep(ms(50));
    terminal.keys("\x03");
    terminal.keys("echo code-$?\n");
    terminal.shows("code-130");
    assert!(!alive(pid));
}

fn ctrl_c_ends_a_loop_of_the_shell_as_it_would_without_us() {
    let mut terminal = Terminal::open();
    terminal.keys("for i in 1 2 3; do echo $i > round; $PROBE -- sh -c 'echo $$ > pid; exec sleep 60'; done; echo end\n");
    terminal.pid("pid");
    sleep(ms(50));
    terminal.keys("\x03");
    terminal.keys("echo after-$(cat round)\n");
    terminal.shows("after-1");
}

fn a_command_that_survives_ctrl_c_is_waited_for() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE -- ${PROBE% probe} count; echo code-$?\n");
    let pid = terminal.pid("pid");
    sleep(ms(50));
    terminal.keys("\x03");
    let caught = terminal.dir.path().join("caught");
    eventually("the command catches it", || caught.exists());
    sleep(ms(100));
    // The terminal gives Ctrl-C to the command; we must not give it a second time.
    assert_eq!(read_to_string(caught).unwrap(), "caught\n");
    send(pid, Signal::TERM);
    terminal.shows("code-143");
}

/// A command that notes each Ctrl-C it gets, even two in quick succession.
pub(crate) fn count() -> ExitCode {
    let (mut read, write) = std::os::unix::net::UnixStream::pair().unwrap();
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, write).unwrap();
    std::fs::write("pid", format!("{}\n", std::process::id())).unwrap();
    let mut byte = [0];
    while read.read_exact(&mut byte).is_ok() {
        File::options()
            .create(true)
            .append(true)
            .open("caught")
            .unwrap()
            .write_all(b"caught\n")
            .unwrap();
    }
    ExitCode::SUCCESS
}

fn ctrl_z_stops_both_and_fg_continues_both() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE -- sh -c 'echo $PPID > ppid; echo $$ > pid; read line; echo got-$line; exit 6'; echo code-$?\n");
    let (monban, command) = (terminal.pid("ppid"), terminal.pid("pid"));
    sleep(ms(50));
    terminal.keys("\x1a");
    eventually("both stop", || {
        state(monban) == Some('T') && state(command) == Some('T')
    });
    terminal.shows("Stopped");
    terminal.keys("fg; echo again-$?\n");
    eventually("both continue", || {
        state(monban) == Some('S') && state(command) == Some('S')
    });
    terminal.keys("line\n");
    terminal.shows("got-line");
    terminal.shows("again-6");
}

fn a_pager_behind_the_command_can_read_the_terminal_and_outlives_a_loss() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE --lost-after 500 -- sh -c 'echo $$ > pid; sleep 60 & wait' | (read line < /dev/tty; echo pager-$line; sleep 1; echo over)\n");
    let pid = terminal.pid("pid");
    terminal.keys("key\n");
    terminal.shows("pager-key");
    eventually("the command is ended", || !alive(pid));
    terminal.shows("over");
}

fn a_monban_killed_on_a_terminal_leaves_nobody_behind() {
    let mut terminal = Terminal::open();
    terminal.keys("$PROBE --lock lock -- bash -c 'echo $PPID > ppid; sleep 60 & echo $! > sleeper; echo $$ > pid; wait' | (echo $BASHPID > pager; sleep 3)\n");
    let pids = ["sleeper", "pid"].map(|name| terminal.pid(name));
    let pager = terminal.pid("pager");
    let monban = terminal.pid("ppid");
    send(monban, Signal::KILL);
    let lock = terminal.dir.path().join("lock");
    assert!(!at_grant(&lock, move || pids.iter().any(|pid| alive(*pid))));
    assert!(
        alive(pager),
        "a neighbour in the shell's pipeline is none of ours"
    );
}

fn a_background_command_has_a_group_of_its_own() {
    let mut terminal = Terminal::open();
    terminal.keys(
        "$PROBE -- sh -c 'ps -o pgid= -p $$ | tr -d \" \" > group; echo $$ > pid; sleep 60' &\n",
    );
    assert_eq!(terminal.pid("pid"), terminal.pid("group"));
    terminal.keys("kill %1; wait %1; echo code-$?\n");
    terminal.shows("code-143");
}
