//! Typed settings to llama-server's command line, and the program itself.

use super::{GpuLayers, Launcher, ServerError, ServerSettings, docker};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const PROGRAM: &str = "llama-server";
/// Where the last so many tokens stand in the prompt already, what follows there is the guess. Measured on cleanup, whose
/// copy is broken by every mark: one matches by chance too often, three too seldom (docs/measurements.md).
const NGRAM_TOKENS: u32 = 2;
const NGRAM_SIZE: &str = "--spec-ngram-simple-size-n";
/// Loading the program and its libraries from a cold disk.
const HELP_TIMEOUT: Duration = Duration::from_secs(20);

/// Where llama-server is: what the configuration says, else `PATH`, else `CACHE/bin`, where `make setup` puts it.
pub fn find_program(configured: Option<&Path>, cache: &Path) -> Result<PathBuf, ServerError> {
    if let Some(program) = configured {
        let found = if program.components().count() > 1 { Some(program.to_path_buf()) } else { on_path(program) };
        return found
            .filter(|program| is_program(program))
            .ok_or_else(|| ServerError::ProgramMissing { looked: format!("servers.program = {}", program.display()) });
    }
    let built = cache.join("bin").join(PROGRAM);
    if let Some(found) = on_path(Path::new(PROGRAM)) {
        return Ok(found);
    }
    if let Some(packaged) = packaged().filter(|program| is_program(program)) {
        return Ok(packaged);
    }
    if is_program(&built) {
        return Ok(built);
    }
    let looked = format!("servers.program in the configuration, PATH, {}", built.display());
    Err(ServerError::ProgramMissing { looked })
}

/// Where packages put it: beside `bin`, out of the way of other llama.cpp packages.
fn packaged() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.canonicalize().ok()?;
    Some(own.parent()?.parent()?.join("lib/bestbox").join(PROGRAM))
}

/// Fails with advice where there is no such program.
pub(super) fn check_program(program: &Path) -> Result<(), ServerError> {
    if is_program(program) {
        return Ok(());
    }
    let looked = format!("{}; it can stand in servers.program, on PATH, or in bin of the cache", program.display());
    Err(ServerError::ProgramMissing { looked })
}

/// The options that a build of llama-server has.
#[derive(Debug, Default)]
pub(super) struct Flags {
    names: HashSet<String>,
    gpu_layers_auto: bool,
}

impl Flags {
    /// Options are what stands at the start of a line of `--help`, up to the first gap.
    fn parse(help: &str) -> Flags {
        let mut names = HashSet::new();
        let mut gpu_layers_auto = false;
        let mut gpu_layers = false;
        for line in help.lines() {
            if line.starts_with('-') {
                let columns = options_column(line);
                gpu_layers = columns.contains("--gpu-layers,") || columns.contains("--n-gpu-layers");
                names.extend(columns.split([' ', ',']).filter(|word| word.starts_with('-')).map(str::to_owned));
            }
            gpu_layers_auto |= gpu_layers && line.contains("'auto'");
        }
        Flags { names, gpu_layers_auto }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// Options may be separated by runs of blanks themselves ("-t,    --threads N   number of …").
fn options_column(line: &str) -> &str {
    let mut end = line.len();
    for (at, _) in line.match_indices("  ") {
        let rest = line[at..].trim_start();
        if !rest.starts_with('-') {
            end = at;
            break;
        }
    }
    &line[..end]
}

/// The options of this build, asked once a build (path and time of change).
pub(super) async fn flags(program: &Path) -> Result<Arc<Flags>, ServerError> {
    flags_of(program, &[], HELP_TIMEOUT).await
}

/// The same for a program that takes `before` in front of its own arguments, within `limit`.
pub(super) async fn flags_of(program: &Path, before: &[&str], limit: Duration) -> Result<Arc<Flags>, ServerError> {
    type Known = HashMap<(PathBuf, Vec<String>, Option<SystemTime>), Arc<Flags>>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let changed = std::fs::metadata(program).and_then(|meta| meta.modified()).ok();
    let build = (program.to_path_buf(), before.iter().map(ToString::to_string).collect(), changed);
    if let Some(flags) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&build) {
        return Ok(Arc::clone(flags));
    }
    let broken = |reason: String| ServerError::ProgramBroken { program: program.to_path_buf(), reason };
    let mut help = tokio::process::Command::new(program);
    help.args(before).arg("--help").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, help.output())
        .await
        .map_err(|_elapsed| broken("--help does not end".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let flags = Arc::new(Flags::parse(&text));
    if !flags.has("--port") {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no options in its --help");
        return Err(broken(format!("{}; {line}", output.status)));
    }
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(build, Arc::clone(&flags));
    Ok(flags)
}

/// The command line, without the program. The key is not in it: it goes through the environment.
pub(super) fn arguments(settings: &ServerSettings, port: u16, flags: &Flags) -> Vec<String> {
    let mut line = Line { words: Vec::new(), flags };
    let context = settings.context_per_request.saturating_mul(settings.parallel.max(1));
    // In a container: where it is mounted, and reachable through the published port only.
    let (model, host) = match &settings.launcher {
        Launcher::Native => {
            let model = std::path::absolute(&settings.model).unwrap_or_else(|_| settings.model.clone());
            (model, settings.host.as_str())
        }
        Launcher::Docker(_) => (docker::model_inside(&settings.model), "0.0.0.0"),
    };
    line.pair("-m", model.display());
    line.pair("--host", host);
    line.pair("--port", port);
    // The server divides it among its slots.
    line.pair("-c", context);
    line.pair("-np", settings.parallel.max(1));
    if settings.speculate > 0 && flags.has("--spec-type") && flags.has(NGRAM_SIZE) {
        line.pair("--spec-type", "ngram-simple");
        line.pair(NGRAM_SIZE, NGRAM_TOKENS);
        line.pair("--spec-ngram-simple-size-m", settings.speculate.max(NGRAM_TOKENS));
    }
    line.pair("-ngl", gpu_layers(settings.gpu_layers, flags));
    if let Some(threads) = settings.threads {
        line.pair("-t", threads);
    }
    if let Some(device) = &settings.device {
        line.pair("--device", device);
    }
    line.pair_if_known("--cache-ram", settings.cache_ram_mib);
    if let Some(name) = settings.model.file_stem() {
        // Otherwise it names itself by its path, which then stands in every answer.
        line.pair_if_known("--alias", name.to_string_lossy());
    }
    if let (Some(folder), Launcher::Native) = (&settings.prompt_dir, &settings.launcher) {
        line.pair_if_known("--slot-save-path", folder.display());
    }
    line.pair_if_known("--cors-origins", "localhost");
    line.first_known(&["--offline"]);
    line.first_known(&["--no-ui", "--no-webui"]);
    line.first_known(&["--metrics"]);
    // The default of newer builds; older ones ignore a model's own chat template without it.
    line.first_known(&["--jinja"]);
    line.words.extend(settings.extra_args.iter().cloned());
    line.words
}

struct Line<'a> {
    words: Vec<String>,
    flags: &'a Flags,
}

impl Line<'_> {
    fn pair(&mut self, name: &str, value: impl std::fmt::Display) {
        self.words.extend([name.to_owned(), value.to_string()]);
    }
    fn pair_if_known(&mut self, name: &str, value: impl std::fmt::Display) {
        if self.flags.has(name) {
            self.pair(name, value);
        }
    }
    fn first_known(&mut self, names: &[&str]) {
        self.words.extend(names.iter().find(|name| self.flags.has(name)).map(|name| (*name).to_owned()));
    }
}

fn gpu_layers(layers: GpuLayers, flags: &Flags) -> String {
    match layers {
        GpuLayers::Count(count) => count.to_string(),
        GpuLayers::Auto if flags.gpu_layers_auto => "auto".to_owned(),
        // More layers than any model has: the way to say "all" that every build understands.
        GpuLayers::Auto | GpuLayers::All => "999".to_owned(),
    }
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{ApiKey, Port};

    const HELP: &str = "\
----- common params -----
-t,    --threads N                      number of CPU threads (see --not-an-option)
--offline                               no network
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM, either an exact number,
                                        'auto', or 'all' (default: auto)
--cache-ram, -cram N                    in MiB
--port PORT                             port to listen (default: 8080)
--ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI
";

    fn settings() -> ServerSettings {
        ServerSettings {
            name: "light".to_owned(),
            program: PathBuf::from("/bin/llama-server"),
            launcher: Launcher::Native,
            model: PathBuf::from("/models/tiny.gguf"),
            host: "127.0.0.1".to_owned(),
            port: Port::Any,
            context_per_request: 4096,
            parallel: 2,
            speculate: 0,
            gpu_layers: GpuLayers::Auto,
            threads: Some(3),
            device: None,
            cache_ram_mib: 256,
            prompt_dir: Some(PathBuf::from("/cache/prompts")),
            api_key: Some(ApiKey::new("secret-key")),
            extra_args: vec!["--mlock".to_owned()],
            startup_timeout: Duration::from_secs(1),
            grace: Duration::from_secs(1),
            run_dir: PathBuf::new(),
            log_dir: PathBuf::new(),
            keeper: PathBuf::new(),
        }
    }

    #[test]
    fn options_are_read_from_help_and_only_from_its_first_column() {
        let flags = Flags::parse(HELP);
        for name in ["-t", "--threads", "--offline", "-ngl", "--n-gpu-layers", "-cram", "--no-webui"] {
            assert!(flags.has(name), "{name} in {flags:?}");
        }
        assert!(!flags.has("--not-an-option") && flags.gpu_layers_auto);
    }

    #[test]
    fn the_command_line_is_what_the_settings_say_and_what_the_build_knows() {
        let line = arguments(&settings(), 8081, &Flags::parse(HELP)).join(" ");
        assert_eq!(
            line,
            "-m /models/tiny.gguf --host 127.0.0.1 --port 8081 -c 8192 -np 2 -ngl auto -t 3 --cache-ram 256 \
             --offline --no-ui --mlock"
        );
        assert!(!line.contains("secret-key") && !format!("{:?}", settings()).contains("secret-key"));
    }

    #[test]
    fn tokens_are_guessed_ahead_only_by_builds_that_can() {
        let settings = ServerSettings { speculate: 6, ..settings() };
        let old = arguments(&settings, 8081, &Flags::parse(HELP)).join(" ");
        assert!(!old.contains("spec"), "{old}");
        let help = format!("{HELP}\n--spec-type none,ngram-simple    types\n--spec-ngram-simple-size-n N   size\n");
        let line = arguments(&settings, 8081, &Flags::parse(&help)).join(" ");
        let wanted = "--spec-type ngram-simple --spec-ngram-simple-size-n 2 --spec-ngram-simple-size-m 6";
        assert!(line.contains(wanted), "{line}");
        let none = arguments(&ServerSettings { speculate: 0, ..settings }, 8081, &Flags::parse(&help)).join(" ");
        assert!(!none.contains("spec"), "{none}");
    }

    #[test]
    fn a_missing_program_says_where_it_was_looked_for() {
        let cache = Path::new("/nowhere/cache");
        let error = find_program(Some(Path::new("/nowhere/llama-server")), cache).unwrap_err().to_string();
        assert!(error.contains("servers.program = /nowhere/llama-server") && error.contains("make setup"), "{error}");
        assert!(find_program(Some(Path::new("sh")), cache).is_ok());
    }
}
