//! Child processes: started from one permanent thread, killed and reaped with their owner.

use super::protocol::WORKER_ARG;
use super::worker::Job;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a process may take to end once it has closed its output.
const END_GRACE: Duration = Duration::from_secs(5);
/// What is kept of a child's standard error, bytes.
const MAX_STDERR: usize = 4096;

/// The ends that a child is given.
pub(super) struct Ends {
    pub stdin: Stdio,
    pub stdout: Stdio,
}

/// A running child. Dropping it kills and reaps it.
pub(super) struct Process {
    child: Arc<Mutex<Child>>,
    /// Drains standard error so that a talkative child never blocks; keeps the end of it.
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// Kills one child from another thread.
#[derive(Clone)]
pub(super) struct Killer(Arc<Mutex<Child>>);

impl Killer {
    pub fn kill(&self) {
        // An error means that it has already ended.
        let _ = lock(&self.0).kill();
    }
}

impl Process {
    /// Starts `worker` on a job. The ends that are piped come back through `Child`.
    pub fn start(worker: &Path, job: &Job, ends: Ends) -> io::Result<(Process, Pipes)> {
        let mut command = Command::new(worker);
        command
            .arg(WORKER_ARG)
            .arg(serde_json::to_string(job)?)
            .env_clear()
            .envs(kept_environment())
            .stdin(ends.stdin)
            .stdout(ends.stdout)
            .stderr(Stdio::piped());
        // Ctrl-C goes to the whole foreground group; what then happens to a decoder is its owner's decision.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = spawn(command)?;
        let pipes = Pipes { stdin: child.stdin.take(), stdout: child.stdout.take() };
        let stderr = child.stderr.take();
        let mut process = Process { child: Arc::new(Mutex::new(child)), stderr: None };
        let drain =
            stderr.map(|stderr| std::thread::Builder::new().name("decoder-stderr".into()).spawn(|| tail(stderr)));
        process.stderr = drain.transpose()?;
        Ok((process, pipes))
    }

    pub fn killer(&self) -> Killer {
        Killer(self.child.clone())
    }

    /// Waits for the end, which is due because the output is closed; what it was, and the end of standard error.
    pub fn end(&mut self) -> (io::Result<ExitStatus>, String) {
        let status = self.wait();
        let text = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    fn wait(&self) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + END_GRACE;
        let mut pause = Duration::from_micros(50);
        loop {
            let mut child = lock(&self.child);
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                return child.wait();
            }
            drop(child);
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // Both fail only where the child is already gone and reaped.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Ends of pipes that were asked for.
pub(super) struct Pipes {
    pub stdin: Option<std::process::ChildStdin>,
    pub stdout: Option<std::process::ChildStdout>,
}

/// The few variables that a program may need to find its own libraries.
pub(super) fn kept_environment() -> impl Iterator<Item = (OsString, OsString)> {
    let keep = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot"];
    std::env::vars_os().filter(move |(name, _)| keep.iter().any(|kept| name == kept))
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tail(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(MAX_STDERR));
    }
    kept
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns from a thread that lives as long as this process: a child's parent-death signal follows the *thread* that
/// started it, and callers' threads (a blocking pool's) come and go.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Option<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let run = move || {
            for (mut command, reply) in orders {
                // A caller that has gone leaves its child to be reaped here.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        };
        std::thread::Builder::new().name("decoder-spawner".into()).spawn(run).ok().map(|_| sender)
    });
    let gone = || io::Error::other("the thread that starts decoders is not running");
    let (reply, answer) = mpsc::sync_channel(1);
    spawner.as_ref().ok_or_else(gone)?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
