//! llama-server processes: started when wanted, shared between several bestbox, gone when the last of them is.
//!
//! Nobody starts a server directly. `ensure` starts a *keeper*: this program again, hidden (`keeper_main`), which
//! spawns the server as its child and holds on to it. Every user of a server holds a shared lock on one file; the
//! keeper waits for an exclusive one. The kernel drops the locks of a process however it ends, `kill -9` included,
//! so the keeper wakes when the last user is gone, and ends the server: SIGTERM, a grace period, SIGKILL. Should the
//! keeper itself be killed, the kernel kills the server (parent-death signal). No process is ever looked up by name,
//! and only the keeper signals the server, its own child, so a reused process id cannot be hit.
//!
//! Knows program, arguments and health check; knows nothing of prompts or of who asks.

mod command;
mod docker;
mod exit;
mod front;
mod health;
mod keeper;
mod registry;
mod start;

pub use command::find_program;
pub use docker::Docker;
pub use exit::{Exit, ExitKind, ExitReason};
pub use front::{Front, FrontLock, front_key};
pub use keeper::{KEEPER_ARGUMENT, keeper_main};
pub use registry::{Process, Running, running};

use registry::{Home, State};
use start::Start;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often a wait looks again.
const TICK: Duration = Duration::from_millis(25);
/// What to run and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `light` or `heavy`: for messages, logs and the registry.
    pub name: String,
    /// llama-server: see [`find_program`]. In a container it is the image's own.
    pub program: PathBuf,
    /// What runs it.
    pub launcher: Launcher,
    /// GGUF file.
    pub model: PathBuf,
    /// Address to listen on, normally `127.0.0.1`.
    pub host: String,
    /// Port to listen on.
    pub port: Port,
    /// Tokens of context each request may use.
    pub context_per_request: u32,
    /// Requests at once (slots).
    pub parallel: u32,
    /// Tokens to guess ahead by n-grams of the prompt; 0 for none. Builds that cannot do it do without.
    pub speculate: u32,
    /// Layers on the GPU.
    pub gpu_layers: GpuLayers,
    /// CPU threads; the server's own choice if `None`.
    pub threads: Option<u32>,
    /// Devices as `llama-server --list-devices` names them, separated by commas.
    pub device: Option<String>,
    /// Memory for prompts pushed out of their slots, MiB. With 0 a second program that shares the server costs the
    /// first one its warm prefixes; a few hundred keep both (a 2000-token prefix takes 23 MiB at 0.5B, 110 at 7B).
    pub cache_ram_mib: u32,
    /// Folder for prompts that clients ask the server to keep across its runs; must exist. Nothing is kept if `None`.
    pub prompt_dir: Option<PathBuf>,
    /// Key that clients must send; a random one if `None`.
    pub api_key: Option<ApiKey>,
    /// More arguments, after all others, so that they win.
    pub extra_args: Vec<String>,
    /// From the start of the process to its first token.
    pub startup_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Folder of the registry; private to the user (it holds keys).
    pub run_dir: PathBuf,
    /// Folder of the servers' logs.
    pub log_dir: PathBuf,
    /// This very program, which serves as the keeper; `std::env::current_exe()` except in tests.
    pub keeper: PathBuf,
}

impl ServerSettings {
    /// Whether there is a program that could run it.
    ///
    /// # Errors
    /// What is missing and what to do.
    pub fn check(&self) -> Result<(), ServerError> {
        match &self.launcher {
            Launcher::Native => command::check_program(&self.program),
            Launcher::Docker(docker) => docker.check(&self.name),
        }
    }
}

/// What runs llama-server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Launcher {
    /// The program itself.
    #[default]
    Native,
    /// A container.
    Docker(Docker),
}

/// Which port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Any free one.
    Any,
    /// This one, or a free one where it is taken.
    Prefer(u16),
    /// This one, or an error.
    Exactly(u16),
}

impl Port {
    /// 0 is any free port, as in a bind; another one is preferred.
    pub fn preferred(port: u16) -> Self {
        if port == 0 { Port::Any } else { Port::Prefer(port) }
    }
}

/// How much of a model goes to the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GpuLayers {
    /// What fits, where the server can say; all otherwise. Builds without a GPU ignore it.
    #[default]
    Auto,
    /// Everything.
    All,
    /// This many; 0 is CPU only.
    Count(u32),
}

impl From<i32> for GpuLayers {
    /// Negative is `Auto`.
    fn from(layers: i32) -> Self {
        u32::try_from(layers).map_or(GpuLayers::Auto, GpuLayers::Count)
    }
}

/// A key that never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        ApiKey(key.into())
    }
    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No llama-server anywhere.
    #[error("llama-server is not there (looked at {looked}); run `make setup`, or set servers.program")]
    ProgramMissing { looked: String },
    /// It is there and does not run.
    #[error("{} does not run ({reason}); run `make setup` to build it again, or set servers.program", program.display())]
    ProgramBroken { program: PathBuf, reason: String },
    /// No model file.
    #[error("the model of the {name} server, {}, is not there; run `bestbox models pull`, or set its path", path.display())]
    ModelMissing { name: String, path: PathBuf },
    /// Something else listens there.
    #[error("port {port} of the {name} server is taken by another program; end that, or set another port")]
    PortTaken { name: String, port: u16 },
    /// The process ended by itself.
    #[error("the {name} server ended while starting ({how}); {}\nlast lines of {}:\n{tail}", kind.advice(), log.display())]
    Died { name: String, how: String, kind: ExitKind, log: PathBuf, tail: String },
    /// It runs and does not answer.
    #[error("the {name} server gave no token within {seconds:.0} s ({reason})\nlast lines of {}:\n{tail}", log.display())]
    NotReady { name: String, seconds: f64, reason: String, log: PathBuf, tail: String },
    /// The hidden process that holds the server did not come up.
    #[error("the process that keeps the {name} server could not do its work: {reason}")]
    Keeper { name: String, reason: String },
    /// Docker cannot run the container: what is wrong and what to do.
    #[error("the {name} server cannot run in a container: {reason}")]
    Docker { name: String, reason: String },
    /// A file of the registry or a log.
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

impl ServerError {
    /// The same as the end of a server.
    pub fn exit_reason(&self) -> ExitReason {
        let kind = match self {
            ServerError::Died { kind, .. } => *kind,
            ServerError::ModelMissing { .. } => ExitKind::ModelMissing,
            ServerError::PortTaken { .. } => ExitKind::PortTaken,
            ServerError::NotReady { .. } => ExitKind::Hung,
            ServerError::Cancelled => ExitKind::Asked,
            ServerError::Docker { reason, .. } => {
                let of = |kind: &ExitKind| reason.contains(kind.advice());
                [ExitKind::DaemonDown, ExitKind::ImageMissing].into_iter().find(of).unwrap_or(ExitKind::NotStarted)
            }
            ServerError::ProgramMissing { .. } => ExitKind::ProgramMissing,
            ServerError::ProgramBroken { .. } | ServerError::Keeper { .. } | ServerError::Io { .. } => ExitKind::Failed,
        };
        let how = match self {
            ServerError::Died { how, .. } => how.clone(),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        ExitReason { kind, how, advice: kind.advice() }
    }
}

/// A server in use. Dropping it gives it up; it ends when nobody uses it any more.
#[derive(Debug)]
pub struct Server {
    home: Home,
    state: State,
    shared: bool,
    grace: Duration,
    /// Shared lock: "somebody uses this". Held, not read.
    user: File,
}

/// Makes sure that a server with these settings runs and answers, and registers this process as a user of it.
///
/// A server with the same settings that runs already, started by any bestbox of this user, is shared. `progress`
/// gets a short line whenever there is news. Cancelling, or dropping the future, gives everything up again.
pub async fn ensure(
    settings: &ServerSettings,
    progress: &mut (dyn FnMut(&str) + Send),
    cancel: &CancellationToken,
) -> Result<Server, ServerError> {
    settings.check()?;
    if !settings.model.is_file() {
        return Err(ServerError::ModelMissing { name: settings.name.clone(), path: settings.model.clone() });
    }
    let home = Home::open(settings)?;
    let deadline = Instant::now() + settings.startup_timeout;
    let start = Start { settings, home: &home, deadline };
    match cancel.run_until_cancelled(start.run(progress)).await {
        None => Err(ServerError::Cancelled),
        Some(Err(error)) => Err(error),
        Some(Ok((state, user, shared))) => Ok(Server { home, state, shared, grace: settings.grace, user }),
    }
}

impl Server {
    /// Such as `http://127.0.0.1:8081`.
    pub fn base_url(&self) -> String {
        self.state.base_url()
    }
    /// What clients send as bearer token.
    pub fn api_key(&self) -> &str {
        &self.state.key
    }
    /// Process id of llama-server.
    pub fn pid(&self) -> u32 {
        self.state.server.pid
    }
    /// Whether it ran already when this process asked for it.
    pub fn shared(&self) -> bool {
        self.shared
    }
    /// Whether the process is still there.
    pub fn is_running(&self) -> bool {
        self.state.server.is_running()
    }
    /// How it ended, once it has. Its keeper writes that down a moment later.
    pub async fn how_it_ended(&self) -> String {
        self.why_it_ended().await.how
    }
    /// The same with its reason, as far as its status and its last words tell.
    pub async fn why_it_ended(&self) -> ExitReason {
        // The keeper reads the last of the log for up to a second.
        for _ in 0..48 {
            if let Some(exit) = self.home.exit() {
                return self.home.reason(&exit);
            }
            tokio::time::sleep(TICK).await;
        }
        Exit::unknown("it is gone").reason("")
    }
    /// Whether its health page answers in time.
    ///
    /// # Errors
    /// Why not.
    pub async fn alive(&self, limit: Duration) -> Result<(), String> {
        health::Probe::new(&self.state)?.alive(limit).await
    }
    /// Where its output goes.
    pub fn log(&self) -> &std::path::Path {
        self.home.log()
    }

    /// Gives the server up. If this was its last user, returns when it has ended (at most its grace and a little).
    pub async fn stop(self) {
        let Server { home, user, grace, .. } = self;
        drop(user);
        let deadline = Instant::now() + grace + Duration::from_secs(2);
        let mut used = 0;
        // Twice in a row: the lock that another process takes for just such a look is not a user.
        while used < 2 && home.keeper_runs() && Instant::now() < deadline {
            used = if home.is_used() { used + 1 } else { 0 };
            tokio::time::sleep(TICK).await;
        }
    }
}
