//! A process of the test desktop: its own process group, ended by its id when dropped.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process, or none.
pub struct Process(Option<Child>);

impl Process {
    pub fn none() -> Process {
        Process(None)
    }

    /// Starts `command`; what it prints goes to `log`.
    #[track_caller]
    pub fn start(command: &mut Command, log: PathBuf) -> Process {
        let log = File::create(log).expect("a log");
        let copy = log.try_clone().expect("a log");
        Process(Some(spawn(command.stdin(Stdio::null()).stdout(copy).stderr(log))))
    }

    /// Starts `command` and waits for the first line that it prints.
    #[track_caller]
    pub fn start_reading_line(command: &mut Command, log: PathBuf) -> (Process, String) {
        let log = File::create(log).expect("a log");
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        let process = Process(Some(child));
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(!line.trim().is_empty(), "{command:?} ended without a word");
        (process, line.trim().to_owned())
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.as_ref().expect("a process").id()
    }
}

#[track_caller]
fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_owned();
    command.process_group(0).spawn().unwrap_or_else(|error| panic!("{}: {error}: run make setup", program.display()))
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let Ok(pid) = i32::try_from(child.id()) else { return };
        let group = Pid::from_raw(-pid);
        let _ = kill(group, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Also what the process left in its group.
        let _ = kill(group, Signal::SIGKILL);
        let _ = child.wait();
    }
}
