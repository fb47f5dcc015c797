//! What is written down about running servers: one folder a server (name and hash of its settings) under the run
//! directory. Locks say who is alive; the files only say where. Lock files are never deleted: a lock on a deleted
//! file would be seen by nobody.

use super::exit::{Exit, ExitReason};
use super::keeper::Spec;
use super::{Port, ServerError, ServerSettings};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of one server.
#[derive(Clone, Debug)]
pub(super) struct Home {
    dir: PathBuf,
    log: PathBuf,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Kernel ticks since boot.
    pub started: u64,
}

/// The command that starts a server.
pub(super) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Asks it to end before signals do.
    pub stop: Vec<String>,
    pub container: Option<String>,
}

/// Where a running server is.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub keeper: Process,
    pub server: Process,
    pub host: String,
    pub port: u16,
    pub key: String,
    /// Path of the GGUF file.
    #[serde(default)]
    pub model: PathBuf,
    /// Name of the container it runs in, if it does.
    #[serde(default)]
    pub container: Option<String>,
}

/// A server that runs, whoever started it.
#[derive(Clone)]
pub struct Running {
    /// `light` or `heavy`.
    pub name: String,
    /// The server itself; for a container, docker's client.
    pub process: Process,
    /// Such as `http://127.0.0.1:8081`.
    pub base_url: String,
    /// What clients send as bearer token.
    pub key: String,
    /// Path of the GGUF file; empty where it is not known.
    pub model: PathBuf,
    /// Name of its container, if it runs in one.
    pub container: Option<String>,
    /// Since when.
    pub since: Option<std::time::SystemTime>,
}

/// All servers of this user that run, in the order of their names.
pub fn running(run_dir: &Path) -> Vec<Running> {
    let mut found: Vec<(String, Running)> = Vec::new();
    for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let Some((name, _)) = folder.rsplit_once('-') else { continue };
        let home = Home::existing(entry.path(), PathBuf::new());
        if let Some(state) = home.running_state() {
            let since = fs::metadata(entry.path().join("state.json")).and_then(|meta| meta.modified()).ok();
            let running = Running {
                name: name.to_owned(),
                process: state.server,
                base_url: state.base_url(),
                key: state.key,
                model: state.model,
                container: state.container,
                since,
            };
            found.push((folder, running));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(_, running)| running).collect()
}

impl Home {
    /// Makes the folder of the server with these settings.
    pub fn open(settings: &ServerSettings) -> Result<Home, ServerError> {
        let name = format!("{}-{}", settings.name, fingerprint(settings));
        let dir = settings.run_dir.join(&name);
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| ServerError::Io { what, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io("create", &dir))?;
        // A run directory that was there before may be open to others; this folder holds a key.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(io("protect", &dir))?;
        fs::create_dir_all(&settings.log_dir).map_err(io("create", &settings.log_dir))?;
        Ok(Home { dir, log: settings.log_dir.join(format!("{name}.log")) })
    }

    /// As the keeper finds it.
    pub fn existing(dir: PathBuf, log: PathBuf) -> Home {
        Home { dir, log }
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What the keeper needs to know to start the server.
    pub fn spec(&self, settings: &ServerSettings, port: u16, launch: Launch) -> Result<Spec, ServerError> {
        let key = match &settings.api_key {
            Some(key) => key.expose().to_owned(),
            None => random_key()?,
        };
        Ok(Spec {
            dir: self.dir.clone(),
            log: self.log.clone(),
            program: launch.program,
            arguments: launch.arguments,
            stop: launch.stop,
            model: settings.model.clone(),
            container: launch.container,
            host: settings.host.clone(),
            port,
            key,
            grace_ms: settings.grace.as_millis().try_into().unwrap_or(u64::MAX),
        })
    }

    /// The right to start the server; `None` while somebody else has it.
    pub fn try_start_lock(&self) -> Result<Option<File>, ServerError> {
        let file = self.lock_file("start.lock")?;
        self.locked(file.try_lock()).map(|got| got.then_some(file))
    }

    /// A user's lock; `None` while the keeper is ending the server.
    pub fn try_use(&self) -> Result<Option<File>, ServerError> {
        let file = self.lock_file("users.lock")?;
        self.locked(file.try_lock_shared()).map(|got| got.then_some(file))
    }

    /// Waits until nobody uses the server, and keeps new users out while the file is held.
    pub fn wait_until_unused(&self) -> std::io::Result<File> {
        let file = open_lock(&self.dir.join("users.lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Whether somebody uses the server at this moment.
    pub fn is_used(&self) -> bool {
        let Ok(file) = self.lock_file("users.lock") else { return false };
        if file.try_lock().is_ok() {
            return false;
        }
        // Users share; the keeper, who is ending it, does not.
        file.try_lock_shared().is_ok()
    }

    /// The keeper's own lock, held for its life; `None` where another keeper has it.
    pub fn try_keeper_lock(&self) -> std::io::Result<Option<File>> {
        let file = open_lock(&self.dir.join("keeper.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a keeper is alive.
    pub fn keeper_runs(&self) -> bool {
        // Shared, so that those who only look do not see each other.
        let look = open_lock(&self.dir.join("keeper.lock")).map(|file| file.try_lock_shared());
        matches!(look, Ok(Err(TryLockError::WouldBlock)))
    }

    /// Says where the server is. Only the user can read it.
    pub fn write_state(&self, state: &State) -> std::io::Result<()> {
        let part = self.dir.join("state.part");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        fs::rename(part, self.dir.join("state.json"))
    }

    /// Where the server is, if it and its keeper are alive.
    pub fn running_state(&self) -> Option<State> {
        let bytes = fs::read(self.dir.join("state.json")).ok()?;
        let state: State = serde_json::from_slice(&bytes).ok()?;
        (state.keeper.is_running() && state.server.is_running() && self.keeper_runs()).then_some(state)
    }

    /// Forgets where the server was and says how it ended.
    pub fn write_end(&self, exit: &Exit) {
        // Nothing to be done about a failure: the locks already say that the server is gone.
        let _ = fs::remove_file(self.dir.join("state.json"));
        let text = serde_json::to_string(exit).unwrap_or_default();
        let part = self.dir.join("ended.part");
        let _ = fs::write(&part, text).and_then(|()| fs::rename(part, self.dir.join("ended")));
    }

    /// How the last server ended, in words.
    pub fn end(&self) -> Option<String> {
        self.exit().map(|exit| exit.how)
    }

    /// How the last server ended.
    pub fn exit(&self) -> Option<Exit> {
        serde_json::from_str(&fs::read_to_string(self.dir.join("ended")).ok()?).ok()
    }

    pub fn clear_end(&self) {
        let _ = fs::remove_file(self.dir.join("ended"));
    }

    /// The last lines of the log, at most 12 lines and 4 kB.
    pub fn log_tail(&self) -> String {
        let text = self.log_end(4096);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// What the log ends with, for a machine to search: backtraces are long.
    pub fn log_end(&self, most: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
            let mut bytes = Vec::new();
            file.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Why the last server ended.
    pub fn reason(&self, exit: &Exit) -> ExitReason {
        exit.reason(&self.log_end(16 << 10))
    }

    fn lock_file(&self, name: &str) -> Result<File, ServerError> {
        let path = self.dir.join(name);
        open_lock(&path).map_err(|source| ServerError::Io { what: "open", path, source })
    }

    fn locked(&self, result: Result<(), TryLockError>) -> Result<bool, ServerError> {
        match result {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => {
                Err(ServerError::Io { what: "lock a file in", path: self.dir.clone(), source })
            }
        }
    }
}

impl State {
    pub fn base_url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("http://{host}:{}", self.port)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State {{ keeper: {:?}, server: {:?}, url: {:?} }}", self.keeper, self.server, self.base_url())
    }
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Process> {
        Some(Process { pid, started: start_time(pid)? })
    }

    /// Whether it is this process, and not a zombie.
    pub fn is_running(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Start time of a process that has not ended, in kernel ticks since boot (field 22 of proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    // Fields 4 to 21 stand between the state and the start time.
    let started = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(started)
}

/// Elsewhere only whether there is such a process; the keeper's lock says the rest.
#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> Option<u64> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    nix::sys::signal::kill(pid, None).ok().map(|()| 0)
}

pub(super) fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// 128 random bits.
pub(super) fn random_key() -> Result<String, ServerError> {
    let path = PathBuf::from("/dev/urandom");
    let mut bytes = [0u8; 16];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| ServerError::Io { what: "read", path, source })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// 16 hex digits over all that makes one server different from another: its binary, model and arguments.
pub(super) fn fingerprint(settings: &ServerSettings) -> String {
    let version = |path: &Path| {
        let meta = fs::metadata(path).ok();
        let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
        (fs::canonicalize(path).ok(), meta.map(|meta| meta.len()), modified)
    };
    let port = match settings.port {
        Port::Exactly(port) => Some(port),
        Port::Any | Port::Prefer(_) => None,
    };
    let identity = format!(
        "{:?}",
        (
            (version(&settings.program), version(&settings.model), &settings.host, port),
            (
                settings.context_per_request,
                (settings.parallel, settings.speculate),
                settings.gpu_layers,
                settings.threads
            ),
            (&settings.device, settings.cache_ram_mib, &settings.extra_args),
            settings.api_key.as_ref().map(|key| key.expose()),
            &settings.launcher,
        )
    );
    Sha256::digest(identity).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = Process::of(std::process::id()).expect("this process");
        assert!(me.is_running());
        assert!(!Process { started: me.started + 1, ..me }.is_running());
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = std::process::Command::new("true").spawn().expect("true runs");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut state = Process::of(child.id());
        while state.is_some_and(|process| process.is_running()) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
            state = Process::of(child.id());
        }
        assert!(state.is_none_or(|process| !process.is_running()));
        child.wait().expect("reaped");
    }

    #[test]
    fn keys_are_random_and_long() {
        let (a, b) = (random_key().expect("key"), random_key().expect("key"));
        assert!(a.len() == 32 && a != b, "{a} {b}");
    }
}
