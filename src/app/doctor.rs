//! `bestbox doctor` and `bestbox devices`: each line is ok, or says what is wrong and what to do.

mod self_test;
#[cfg(all(unix, not(target_os = "macos")))]
mod terminal;
#[cfg(all(unix, not(target_os = "macos")))]
mod window;

use super::dictate::desktop_session::Session;
use super::dictate::hotkey::{self, Hotkey, HotkeyError};
use super::models::store;
use crate::audio::capture::Source;
use crate::cli::DoctorArgs;
use crate::config::{Config, HotkeyBackend, Loaded, TierConfig};
use crate::engine;
use crate::error::Error;
use crate::models::{self, Role, cache_dir};
use crate::outcome::Tier;
use cpal::traits::{DeviceTrait, HostTrait};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Less free disk than this is worth a word: the default models take 1.7 GB.
const LOW_DISK: u64 = 2 << 30;

enum Finding {
    Ok(String),
    /// Works, with a restriction.
    Note(String, &'static str),
    /// Does not work: what is wrong, what to do.
    Wrong(String, String),
}
use Finding::{Note, Ok as Good, Wrong};

/// Checks everything that the configuration needs; an error when something is wrong.
pub(super) async fn run(loaded: Loaded, args: DoctorArgs) -> Result<(), Error> {
    let config = &loaded.config;
    let mut findings = vec![
        ("bestbox", Good(format!("{} ({})", env!("CARGO_PKG_VERSION"), build()))),
        ("cpu", cpu()),
        ("config", Good(configuration(&loaded))),
        ("speech model", model(config, &config.speech.model, Role::Whisper)),
    ];
    for tier in [Tier::Light, Tier::Heavy] {
        if config.tiers.serving(tier) == tier {
            findings.push((tier.name(), server(config, tier, config.tier(tier)).await));
        }
    }
    if config.light.manage || config.heavy.manage {
        findings.push(("llama-server", program(config)));
    }
    findings.push(("ffmpeg", ffmpeg(config)));
    findings.push(("pip", pip()));
    findings.push(("microphone", microphone(config)));
    let session = Session::from_env();
    let hotkeys = hotkey::of(&config.dictate);
    let keys = keys(config, &session, &hotkeys).await;
    let lines = binding_lines(&keys, &session, &hotkeys);
    findings.push(("hotkeys", keys));
    findings.push(("insertion", insertion(&session)));
    findings.push(("cache", disk(&cache_dir())));
    findings.push(("temp", disk(&std::env::temp_dir())));
    if args.self_test {
        findings.extend(self_test::run(config, &session).await);
    }
    let mut wrong = 0;
    for (what, finding) in findings {
        match finding {
            Good(text) => println!("ok     {what}: {text}"),
            Note(text, advice) => println!("note   {what}: {text}; {advice}"),
            Wrong(text, advice) => {
                wrong += 1;
                println!("WRONG  {what}: {text}; {advice}");
            }
        }
    }
    if let Some(lines) = lines {
        println!("\n{lines}");
    }
    if wrong > 0 { Err(Error::Unfit { problems: wrong }) } else { Ok(()) }
}

/// Lists the audio inputs; the first column marks the default.
pub(super) fn devices() -> Result<(), Error> {
    let host = cpal::default_host();
    let default = host.default_input_device().and_then(|device| name(&device));
    let devices: Vec<String> =
        host.input_devices().map(|devices| devices.filter_map(|device| name(&device)).collect()).unwrap_or_default();
    if devices.is_empty() {
        crate::app::say(
            "bestbox: no audio input: plug a microphone in, or check that this user may use the sound system",
        );
    }
    for device in devices {
        println!("{} {device}", if Some(&device) == default.as_ref() { "*" } else { " " });
    }
    Ok(())
}

fn name(device: &cpal::Device) -> Option<String> {
    device.description().ok().map(|description| description.name().to_owned())
}

fn build() -> String {
    let gpu = [
        (cfg!(feature = "cuda"), "cuda"),
        (cfg!(feature = "vulkan"), "vulkan"),
        (cfg!(feature = "hipblas"), "hipblas"),
        (cfg!(feature = "metal"), "metal"),
    ];
    let names: Vec<&str> = gpu.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    if names.is_empty() { "CPU build".to_owned() } else { format!("GPU build: {}", names.join(", ")) }
}

fn cpu() -> Finding {
    let cores = crate::speech::whisper::default_threads();
    let features = features();
    if features.contains(&"avx2") || cfg!(not(target_arch = "x86_64")) {
        Good(format!("{cores} cores, {}", features.join(" ")))
    } else {
        Note(format!("{cores} cores, no AVX2"), "recognition will be several times slower")
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        (std::is_x86_feature_detected!("avx2"), "avx2"),
        (std::is_x86_feature_detected!("fma"), "fma"),
        (std::is_x86_feature_detected!("f16c"), "f16c"),
        (std::is_x86_feature_detected!("avx512f"), "avx512"),
        (std::is_x86_feature_detected!("avx512vnni"), "avx512-vnni"),
    ];
    all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    vec![std::env::consts::ARCH]
}

fn configuration(loaded: &Loaded) -> String {
    let profile = format!("{:?}", loaded.config.profile).to_lowercase();
    let files: Vec<String> = loaded.files.iter().map(|path| path.display().to_string()).collect();
    let from = if files.is_empty() { "no file, defaults".to_owned() } else { files.join(", ") };
    format!("profile {profile} ({from})")
}

fn model(config: &Config, spec: &str, role: Role) -> Finding {
    match store(config).resolve(spec, role) {
        Ok(path) => {
            let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            Good(format!("{spec}, {} ({})", models::size(bytes), path.display()))
        }
        // The message ends with what to do.
        Err(error) => Wrong(format!("{spec} cannot be used"), error.to_string()),
    }
}

async fn server(config: &Config, tier: Tier, settings: &TierConfig) -> Finding {
    if settings.manage {
        return model(config, &settings.model, Role::Llm);
    }
    let url = &settings.base_url;
    let health = format!("{}/v1/models", url.trim_end_matches('/').trim_end_matches("/v1"));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build();
    let answer = match client {
        Ok(client) => client.get(health).send().await,
        Err(error) => return Wrong(url.clone(), error.to_string()),
    };
    match answer {
        // 401 is an answer too: the key is checked when it is used.
        Ok(response) if response.status().is_success() || response.status() == 401 => Good(format!("answers at {url}")),
        Ok(response) => Wrong(format!("{url} answers {}", response.status()), "is it a model server?".into()),
        Err(_) => Wrong(
            format!("nothing answers at {url}"),
            format!("start the server, or let bestbox run it: {}.manage = true", tier.name()),
        ),
    }
}

fn program(config: &Config) -> Finding {
    match engine::llama_server(config) {
        Ok(path) => match first_line(&path.display().to_string(), "--version") {
            Some(version) => Good(format!("{version} ({})", path.display())),
            None => Wrong(format!("{} does not run", path.display()), "run `make setup` to build it again".into()),
        },
        Err(error) => Wrong("missing".into(), error.to_string()),
    }
}

fn ffmpeg(config: &Config) -> Finding {
    match (config.audio.ffmpeg, first_line("ffmpeg", "-version")) {
        (false, _) => Note("switched off".into(), "HE-AAC, AC-3, WMA and AMR cannot be read"),
        (true, Some(version)) => Good(version),
        (true, None) => Note("not on PATH".into(), "install it to read HE-AAC, AC-3, WMA and AMR"),
    }
}

fn pip() -> Finding {
    match first_line("pip", "--version").or_else(|| first_line("pip3", "--version")) {
        Some(version) => Good(version.split(" from ").next().unwrap_or_default().to_owned()),
        None => Note("not on PATH".into(), "models that come in packages cannot be pulled; Hugging Face still works"),
    }
}

fn microphone(config: &Config) -> Finding {
    let host = cpal::default_host();
    let inputs = || host.input_devices().into_iter().flatten().filter_map(|device| name(&device));
    if let Source::Named(wanted) = source(&config.dictate.microphone) {
        let known: Vec<String> = inputs().collect();
        if let Some(name) = known.iter().find(|name| name.to_lowercase().contains(&wanted.to_lowercase())) {
            return Good(name.clone());
        }
        return Wrong(
            format!("dictate.microphone '{wanted}' is not there"),
            "dictation takes the default meanwhile; `bestbox devices` lists what is there".into(),
        );
    }
    // A default is named even where there is no sound card: only one that can be opened counts.
    let usable = host.default_input_device().filter(|device| device.default_input_config().is_ok());
    match usable.and_then(|device| name(&device)) {
        Some(name) => Good(name),
        None => Note("none found".into(), "files still work; plug one in for dictation"),
    }
}

/// Where dictation takes its sound from.
fn source(microphone: &str) -> Source {
    // A source of PulseAudio is the default one: the environment names it.
    let default = microphone.is_empty() || microphone.starts_with(super::dictate::PULSE);
    if default { Source::Default } else { Source::Named(microphone.to_owned()) }
}

/// Whether the configured keys can be had.
async fn keys(config: &Config, session: &Session, hotkeys: &[Hotkey]) -> Finding {
    let names: Vec<String> = hotkeys.iter().map(|hotkey| format!("{} ({})", hotkey.shortcut, hotkey.binding)).collect();
    let names = names.join(", ");
    match hotkey::check(&config.dictate.hotkey, session, hotkeys.to_vec()).await {
        Ok(HotkeyBackend::None) => {
            Note("nobody tells of keys here".into(), "bind them in the compositor, or call `bestbox ctl`")
        }
        Ok(backend) => Good(format!("{names}, through {}", format!("{backend:?}").to_lowercase())),
        Err(error @ HotkeyError::NoPortal { .. }) => {
            Note(error.to_string(), "everything else works without; the lines stand below")
        }
        // While `bestbox dictate` runs, the keys are its own.
        Err(error @ HotkeyError::Taken(_)) => Note(error.to_string(), "unless it is bestbox dictate that has it"),
        Err(error) => Wrong(names, error.to_string()),
    }
}

/// What to write into the compositor's configuration where keys cannot be had otherwise.
fn binding_lines(keys: &Finding, session: &Session, hotkeys: &[Hotkey]) -> Option<String> {
    if matches!(keys, Good(_)) || hotkeys.is_empty() || (session.wayland.is_none() && session.display.is_some()) {
        return None;
    }
    Some(hotkey::lines::for_here("bestbox", hotkeys))
}

/// Whether text can get into windows.
fn insertion(session: &Session) -> Finding {
    let have = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    let tools = |names: &[&str]| names.iter().copied().filter(|name| have(name)).collect::<Vec<_>>().join(", ");
    match (&session.wayland, &session.display) {
        (Some(_), _) => match tools(&["wtype", "ydotool"]) {
            none if none.is_empty() => {
                Good("Wayland, by its own protocols (install wtype or ydotool where the compositor lacks them)".into())
            }
            some => Good(format!("Wayland, by its own protocols, then {some}")),
        },
        (None, Some(display)) => match x11_answers(display) {
            Ok(()) => Good(format!("X11 ({display})")),
            Err(reason) => Wrong(format!("the X server {display} cannot be used"), reason),
        },
        (None, None) if cfg!(any(target_os = "macos", windows)) => Good("the system's".into()),
        (None, None) => Note("there is no display".into(), "text goes to standard output, a file or a command"),
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn x11_answers(display: &str) -> Result<(), String> {
    x11rb::connect(Some(display)).map(drop).map_err(|error| format!("{error}; check DISPLAY and XAUTHORITY"))
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn x11_answers(_: &str) -> Result<(), String> {
    Ok(())
}

fn disk(folder: &Path) -> Finding {
    // The folder may not be there yet: ask its nearest parent.
    let Some(present) = folder.ancestors().find(|path| path.exists()) else {
        return Wrong(folder.display().to_string(), "this path cannot exist".into());
    };
    match models::free_space(present) {
        Some(free) if free < LOW_DISK => Wrong(
            format!("{}, only {} free", folder.display(), models::size(free)),
            "make room, or set BESTBOX_CACHE (models) or TMPDIR (temporary files) to a larger disk".into(),
        ),
        Some(free) => Good(format!("{}, {} free", folder.display(), models::size(free))),
        None => Note(folder.display().to_string(), "free space is not known here"),
    }
}

/// What a program says first about its version, on either stream; `None` when it cannot be run.
fn first_line(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
