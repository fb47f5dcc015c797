//! llama-server in a container: docker's client is the child process, its output is the log, `docker stop` ends it.
//!
//! Containers carry a label that names their registry folder. Only one keeper can own that folder, so whatever still
//! carries the label when a server is about to start is left over from a crash, and is removed.

use super::command::{self, Flags};
use super::exit::{Exit, ExitKind};
use super::registry::{Launch, fingerprint};
use super::{ServerError, ServerSettings};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where llama-server listens inside.
const INSIDE_PORT: u16 = 8080;
/// For commands that only ask the daemon.
const QUICK: Duration = Duration::from_secs(30);
/// Label of all containers that bestbox starts; its value names the server.
const LABEL: &str = "bestbox.server";

/// What a container is run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    /// The client: a name on `PATH` or a path. Podman's works as well.
    pub program: PathBuf,
    /// The image; its entry point is llama-server.
    pub image: String,
    /// Devices of the host, such as `/dev/kfd`.
    pub devices: Vec<String>,
    /// Groups of the host that may use them, such as `video`.
    pub groups: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// More arguments of `docker run`, before the image.
    pub extra_args: Vec<String>,
}

/// Where a model is inside the container: its folder is mounted.
pub(super) fn model_inside(model: &Path) -> PathBuf {
    Path::new("/models").join(real(model).file_name().unwrap_or_default())
}

/// Without links: where they lead to is not there inside the container.
fn real(model: &Path) -> PathBuf {
    std::fs::canonicalize(model).unwrap_or_else(|_| model.to_path_buf())
}

impl Docker {
    /// Whether there is a client at all.
    pub(super) fn check(&self, name: &str) -> Result<(), ServerError> {
        match command::find_program(Some(&self.program), Path::new("")) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.error(
                name,
                format!("{} is not there; install docker, or use the launcher native", self.program.display()),
            )),
        }
    }

    /// Removes leftovers, fetches the image where it is missing, and asks it for its options.
    pub(super) async fn prepare(
        &self,
        settings: &ServerSettings,
        deadline: Instant,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Arc<Flags>, ServerError> {
        let name = settings.name.as_str();
        let listed = self.run(name, &["ps", "-aq", "--filter", &format!("label={}", label(settings))], QUICK).await?;
        let left: Vec<&str> = listed.split_whitespace().collect();
        if !left.is_empty() {
            progress(&format!("removing {} container(s) that a crash has left", left.len()));
            self.run(name, &[&["rm", "-f"], left.as_slice()].concat(), QUICK).await?;
        }
        if self.run(name, &["image", "inspect", "--format", "{{.Id}}", &self.image], QUICK).await.is_err() {
            self.pull(name, deadline, progress).await?;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let entry = ["run", "--rm", "--label", LABEL, self.image.as_str()];
        command::flags_of(&self.program, &entry, left).await.map_err(|error| match error {
            ServerError::ProgramBroken { reason, .. } => {
                let image = &self.image;
                self.error(
                    name,
                    format!("the image {image} does not run ({reason}); its entry point must be llama-server"),
                )
            }
            other => other,
        })
    }

    async fn pull(
        &self,
        name: &str,
        deadline: Instant,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), ServerError> {
        let began = Instant::now();
        progress(&format!("fetching the image {} for the {name} server", self.image));
        let left = deadline.saturating_duration_since(began);
        let pull = ["pull", self.image.as_str()];
        let mut pull = std::pin::pin!(self.run(name, &pull, left));
        loop {
            match tokio::time::timeout(Duration::from_secs(10), &mut pull).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let said = error.to_string();
                    // The daemon's own trouble is said already.
                    if said.contains(ExitKind::DaemonDown.advice()) || said.contains("within") {
                        return Err(error);
                    }
                    return Err(self.error(name, format!("{} ({})", ExitKind::ImageMissing.advice(), self.image)));
                }
                Err(_elapsed) => {
                    progress(&format!(
                        "still fetching the image {} ({:.0} s)",
                        self.image,
                        began.elapsed().as_secs_f64()
                    ));
                }
            }
        }
    }

    /// The command that starts the server and the one that ends it.
    pub(super) fn launch(&self, settings: &ServerSettings, port: u16, flags: &Flags) -> Launch {
        let container = format!("bestbox-{}-{}", settings.name, fingerprint(settings));
        let folder = real(&settings.model);
        let folder = folder.parent().unwrap_or(Path::new("/")).to_path_buf();
        let mut words: Vec<String> = Vec::new();
        let mut add = |parts: &[&str]| words.extend(parts.iter().map(ToString::to_string));
        add(&["run", "--rm", "--name", &container, "--label", &label(settings), "--init"]);
        add(&["-p", &format!("{}:{port}:{INSIDE_PORT}", bracketed(&settings.host))]);
        add(&["-v", &format!("{}:/models:ro", folder.display())]);
        self.devices.iter().for_each(|device| add(&["--device", device]));
        self.groups.iter().for_each(|group| add(&["--group-add", group]));
        self.env.iter().for_each(|(name, value)| add(&["-e", &format!("{name}={value}")]));
        // The key's value is in the client's environment, not among the arguments.
        add(&["-e", "LLAMA_API_KEY", "-e", "GOMP_SPINCOUNT"]);
        self.extra_args.iter().for_each(|arg| add(&[arg]));
        add(&[&self.image]);
        words.extend(command::arguments(settings, INSIDE_PORT, flags));
        let seconds = settings.grace.as_secs().max(1).to_string();
        let program = self.program.display().to_string();
        let stop = vec![program, "stop".to_owned(), "-t".to_owned(), seconds, container.clone()];
        Launch { program: self.program.clone(), arguments: words, stop, container: Some(container) }
    }

    /// The output of a command, or a sentence.
    async fn run(&self, name: &str, arguments: &[&str], limit: Duration) -> Result<String, ServerError> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let what = arguments.first().copied().unwrap_or_default();
        let output = tokio::time::timeout(limit, command.output())
            .await
            .map_err(|_elapsed| {
                self.error(name, format!("docker {what} does not end within {:.0} s", limit.as_secs_f64()))
            })?
            .map_err(|error| self.error(name, format!("{} does not start ({error})", self.program.display())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim().to_owned();
        let reason = Exit::new(output.status, false, 0).reason(&said);
        Err(match reason.kind {
            ExitKind::DaemonDown => self.error(name, format!("{} ({line})", reason.kind.advice())),
            _ => self.error(name, format!("docker {what} failed ({line})")),
        })
    }

    fn error(&self, name: &str, reason: String) -> ServerError {
        ServerError::Docker { name: name.to_owned(), reason }
    }
}

fn label(settings: &ServerSettings) -> String {
    // Registries of other users or folders are not ours to tidy up.
    let home = settings.run_dir.join(format!("{}-{}", settings.name, fingerprint(settings)));
    format!("{LABEL}={}", home.display())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
