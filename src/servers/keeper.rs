//! The keeper: a process of its own that owns one llama-server and ends it when nobody uses it any more.
//!
//! Its main thread spawns the server and lives as long as the keeper: Linux's parent-death signal follows the
//! *thread* that spawned. It leads its own process group, so Ctrl-C in a terminal reaches neither it nor the server,
//! and it holds none of its starter's descriptors, so pipes of the starter close when the starter ends.

use super::ServerError;
use super::exit::{Exit, oom_kills};
use super::registry::{Home, Process, State};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

/// Iterations: well under a millisecond, so that a thread that waits gives its core away.
const SPIN_COUNT: &str = "20000";

/// First argument of the hidden command: the binary must call [`keeper_main`] when it sees it, before anything else.
pub const KEEPER_ARGUMENT: &str = "__keep-server";
/// Size at which a log is set aside (one older one is kept).
const LOG_LIMIT: u64 = 8 << 20;

/// What a keeper is told, through its standard input: it holds a key, which has no place among arguments.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub dir: PathBuf,
    pub log: PathBuf,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// A command that asks the server to end, before signals do; none if empty.
    pub stop: Vec<String>,
    pub model: PathBuf,
    pub container: Option<String>,
    pub host: String,
    pub port: u16,
    pub key: String,
    pub grace_ms: u64,
}

/// A keeper that this process started.
pub(super) struct Spawned {
    ended: Arc<OnceLock<String>>,
}

impl Spawned {
    /// How it ended, if it has.
    pub fn ended(&self) -> Option<String> {
        self.ended.get().cloned()
    }
}

/// Starts a keeper. It outlives this process for as long as somebody uses its server.
pub(super) fn spawn(keeper: &Path, name: &str, spec: &Spec) -> Result<Spawned, ServerError> {
    let failed = |reason: String| ServerError::Keeper { name: name.to_owned(), reason };
    let mut child = Command::new(keeper)
        .args([KEEPER_ARGUMENT, name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("{} does not start ({error})", keeper.display())))?;
    let told = serde_json::to_vec(spec).map_err(std::io::Error::from).and_then(|bytes| {
        let mut stdin = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        stdin.write_all(&bytes)
    });
    let ended = Arc::new(OnceLock::new());
    let writer = Arc::clone(&ended);
    // Only to leave no zombie: the keeper needs nobody to watch it.
    std::thread::spawn(move || {
        let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let _ = writer.set(how);
    });
    told.map_err(|error| failed(format!("it does not listen ({error})")))?;
    Ok(Spawned { ended })
}

/// Runs a keeper: reads its orders from standard input, starts the server, returns when the server has ended.
pub fn keeper_main() -> ExitCode {
    let mut orders = Vec::new();
    // A starter that died in the middle leaves half a document: not an order.
    let Ok(_) = std::io::stdin().take(1 << 20).read_to_end(&mut orders) else { return ExitCode::FAILURE };
    let Ok(spec) = serde_json::from_slice::<Spec>(&orders) else { return ExitCode::FAILURE };
    let home = Home::existing(spec.dir.clone(), spec.log.clone());
    // Held to the end: this lock is what "the keeper is alive" means.
    let Some(_alive) = lock(&home) else { return ExitCode::FAILURE };
    match keep(&spec, &home) {
        Ok(exit) => {
            home.write_end(&exit);
            ExitCode::SUCCESS
        }
        Err(error) => {
            home.write_end(&Exit::unknown(&format!("{} cannot be kept: {error}", spec.program.display())));
            ExitCode::FAILURE
        }
    }
}

/// Others take this lock for an instant to see whether a keeper runs; that is not another keeper.
fn lock(home: &Home) -> Option<File> {
    for _ in 0..100 {
        if let Some(alive) = home.try_keeper_lock().ok()? {
            return Some(alive);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

enum Event {
    /// Nobody uses the server; the lock keeps new users out until the keeper is done.
    Unused(std::io::Result<File>),
    Ended,
}

/// From spawn to end of the server, and of its log; says how it ended.
fn keep(spec: &Spec, home: &Home) -> std::io::Result<Exit> {
    let killed_before = oom_kills();
    let log = Log::open(&spec.log);
    let (output, server) = start(spec)?;
    let (copied, log_is_whole) = mpsc::channel();
    std::thread::spawn(move || {
        log.copy(output);
        copied.send(())
    });
    let ended = watch(spec, home, server);
    // Whoever reads how it ended also reads its last words. A process that inherited the pipe must not hold us up.
    let _ = log_is_whole.recv_timeout(Duration::from_secs(1));
    let (status, asked) = ended?;
    Ok(Exit::new(status, asked, oom_kills().saturating_sub(killed_before)))
}

/// Its status, and whether it was asked to end.
fn watch(spec: &Spec, home: &Home, mut server: Child) -> std::io::Result<(ExitStatus, bool)> {
    let pid = Pid::from_raw(server.id().try_into().map_err(|_| std::io::ErrorKind::InvalidData)?);
    let (events, happened) = mpsc::channel();
    let waiter = events.clone();
    std::thread::spawn(move || {
        // WNOWAIT: the process id stays taken until the main thread reaps it, so no signal can go astray.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        let _ = waiter.send(Event::Ended);
    });
    if let Err(error) = write_state(spec, home, &server) {
        end(&mut server, pid, &happened, spec)?;
        return Err(error);
    }
    let users = home.clone();
    std::thread::spawn(move || events.send(Event::Unused(users.wait_until_unused())));
    match happened.recv() {
        Ok(Event::Ended) => Ok((server.wait()?, false)),
        // No lock, no knowledge of users: better no server than an orphan.
        Ok(Event::Unused(lock)) => {
            let status = end(&mut server, pid, &happened, spec)?;
            drop(lock);
            Ok((status, true))
        }
        Err(mpsc::RecvError) => Ok((end(&mut server, pid, &happened, spec)?, true)),
    }
}

fn start(spec: &Spec) -> std::io::Result<(PipeReader, Child)> {
    let (output, input) = std::io::pipe()?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .env("LLAMA_API_KEY", &spec.key)
        // A llama-server built with GCC's OpenMP waits between two products by spinning, for milliseconds. Beside
        // Whisper on the same cores both then mostly wait: measured, a 7 s clip took 20 s instead of 7. Short spins cost
        // nothing alone. The user's own choice, if there is one, stays.
        .env("GOMP_SPINCOUNT", std::env::var_os("GOMP_SPINCOUNT").unwrap_or_else(|| SPIN_COUNT.into()))
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0);
    #[cfg(target_os = "linux")]
    {
        let keeper = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl and getppid are plain
        // system calls, and nothing here allocates or locks.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // A keeper that died before the line above would not be noticed any more.
                if nix::unistd::getppid() == keeper { Ok(()) } else { Err(Errno::ECANCELED.into()) }
            });
        }
    }
    let child = command.spawn()?;
    Ok((output, child))
}

fn write_state(spec: &Spec, home: &Home, server: &Child) -> std::io::Result<()> {
    let (Some(keeper), Some(server)) = (Process::of(std::process::id()), Process::of(server.id())) else {
        // It ended at once; that is what its end will say.
        return Ok(());
    };
    home.write_state(&State {
        keeper,
        server,
        host: spec.host.clone(),
        port: spec.port,
        key: spec.key.clone(),
        model: spec.model.clone(),
        container: spec.container.clone(),
    })
}

/// The server's own command to end it if it has one; SIGTERM to its group, grace, SIGKILL.
fn end(server: &mut Child, pid: Pid, happened: &mpsc::Receiver<Event>, spec: &Spec) -> std::io::Result<ExitStatus> {
    if let Some((program, arguments)) = spec.stop.split_first() {
        // It returns when the server has ended, within the server's own grace. Should it fail, the signals follow.
        let mut ask = Command::new(program);
        ask.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut asked) = ask.spawn() {
            let limit = std::time::Instant::now() + Duration::from_millis(spec.grace_ms) + Duration::from_secs(10);
            while matches!(asked.try_wait(), Ok(None)) && std::time::Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = asked.kill();
            let _ = asked.wait();
        }
    }
    // Err means that it has just ended by itself.
    let _ = killpg(pid, Signal::SIGTERM);
    let deadline = std::time::Instant::now() + Duration::from_millis(spec.grace_ms);
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match happened.recv_timeout(left) {
            Ok(Event::Ended) => break,
            Ok(Event::Unused(_)) => {}
            Err(_) => {
                let _ = killpg(pid, Signal::SIGKILL);
                break;
            }
        }
    }
    server.wait()
}

/// The server's output on disk, bounded.
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    /// A new log; the one before is kept beside it. Without a file (full disk, …) output is dropped.
    fn open(path: &Path) -> Log {
        let mut older = path.as_os_str().to_owned();
        older.push(".old");
        let _ = std::fs::rename(path, older);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).ok();
        Log { path: path.to_path_buf(), file, size: 0 }
    }

    /// Never stops reading before the end: a full pipe would stop the server.
    fn copy(mut self, mut output: PipeReader) {
        let mut block = [0; 8192];
        loop {
            match output.read(&mut block) {
                Ok(0) => return,
                Ok(length) => self.write(&block[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn write(&mut self, block: &[u8]) {
        if self.size + block.len() as u64 > LOG_LIMIT {
            *self = Log::open(&self.path);
        }
        if let Some(file) = &mut self.file {
            // A full disk costs lines of the log, nothing else.
            let _ = file.write_all(block);
            self.size += block.len() as u64;
        }
    }
}
