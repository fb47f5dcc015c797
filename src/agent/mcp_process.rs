//! The process of an MCP server that speaks over standard input and output, and the end of it.
//!
//! Between bestbox and the server stands a guard: bestbox itself, re-executed, as leader of a process group of its own.
//! Linux tells it when the thread that spawned it is gone (`PR_SET_PDEATHSIG`), so even `kill -9` of bestbox ends the
//! whole group: a server that npx or uvx started is a grandchild, which no signal of ours would reach otherwise. The
//! thread that spawns lives as long as the process.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::unistd::{Pid, getpgrp};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// First argument of the hidden command: the binary must call [`guard_main`] when it sees it, before anything else.
pub const GUARD_ARGUMENT: &str = "__guard-tool";
/// What of our environment a server gets: enough to find programs and files, no keys.
const INHERITED: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
];
/// Longest line of a server's standard error in the log, bytes.
const MAX_LINE: u64 = 2000;

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Program, by path or name.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides [`INHERITED`].
    pub env: BTreeMap<String, String>,
    /// bestbox itself.
    pub guard: PathBuf,
}

/// A running server; dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    guard: Child,
}

/// A server's ends of its pipes.
pub(super) type Pipes = (ChildStdout, ChildStdin);

impl Process {
    /// Starts it. Its standard error goes to the log, under `name`.
    ///
    /// # Errors
    /// One sentence.
    pub async fn start(program: &Program, name: &str) -> Result<(Process, Pipes), String> {
        let failed = |error: std::io::Error| format!("'{}' cannot be started: {error}", program.command);
        let mut guard = spawn(command(program)).await.map_err(failed)?;
        let pipes = (guard.stdout.take(), guard.stdin.take(), guard.stderr.take());
        let process = Process { guard };
        let (Some(stdout), Some(stdin), Some(stderr)) = pipes else { return Err("it has no pipes".into()) };
        let stdout = ChildStdout::from_std(stdout).map_err(failed)?;
        let stdin = ChildStdin::from_std(stdin).map_err(failed)?;
        tokio::spawn(log(ChildStderr::from_std(stderr).map_err(failed)?, name.to_owned()));
        Ok((process, (stdout, stdin)))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.guard.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits for an end of its own (its standard input is closed by then), then ends it.
    pub async fn stop(mut self, grace: Duration) {
        let until = Instant::now() + grace;
        while self.ended().is_none() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not reaped before this: the id is still the guard's, and its group's.
        if let (None, Ok(pid)) = (self.ended(), i32::try_from(self.guard.id())) {
            // Err means that it has just ended by itself.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.guard.wait();
    }
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.guard);
    command.arg(GUARD_ARGUMENT).arg(&program.command).args(&program.args);
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(&program.env);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl and getppid are plain system
        // calls, and nothing here allocates or locks.
        unsafe {
            command.pre_exec(move || {
                // Not SIGKILL: the guard must take its group along.
                nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
                if nix::unistd::getppid() == parent { Ok(()) } else { Err(Errno::ECANCELED.into()) }
            });
        }
    }
    command
}

type Spawned = std::io::Result<Child>;
type Order = (Command, tokio::sync::oneshot::Sender<Spawned>);

/// Spawns on the thread that lives as long as the process.
async fn spawn(command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts programs is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in received {
                // Whoever asked may have given up: then the child goes with the unsent answer.
                if let Err(Ok(child)) = reply.send(command.spawn()) {
                    drop(Process { guard: child });
                }
            }
        });
        orders
    });
    let (reply, spawned) = tokio::sync::oneshot::channel();
    spawner.send((command, reply)).map_err(|_| gone())?;
    spawned.await.map_err(|_| gone())?
}

/// Standard error, line by line, into the log; what is too long is cut.
async fn log(stderr: ChildStderr, name: String) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
                tracing::info!(server = name, "{text}");
            }
        }
    }
}

/// The guard: starts the program of its arguments with its own standard streams, and ends the whole group when the
/// program ends or bestbox does.
pub fn guard_main() -> ExitCode {
    let mut args = std::env::args_os().skip(2);
    let Some(program) = args.next() else { return ExitCode::FAILURE };
    let mut ends = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    let mut before = SigSet::empty();
    if sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ends), Some(&mut before)).is_err() {
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(Path::new(&program));
    command.args(args);
    // SAFETY: sigprocmask is async-signal-safe; nothing here allocates or locks.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
            Ok(())
        });
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{} cannot be started: {error}", Path::new(&program).display());
            return ExitCode::FAILURE;
        }
    };
    // The pipes are the program's: bestbox must see their end when the program closes them.
    close_streams();
    std::thread::spawn(move || {
        let _ = child.wait();
        end_group();
    });
    let _ = ends.wait();
    end_group();
    ExitCode::SUCCESS
}

/// Nobody of the group survives, the guard included.
fn end_group() {
    let _ = killpg(getpgrp(), Signal::SIGKILL);
}

fn close_streams() {
    for descriptor in 0..3 {
        // SAFETY: the guard itself uses none of the three from here on.
        unsafe {
            libc::close(descriptor);
        }
    }
}
