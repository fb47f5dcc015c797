//! `Config` and `Plan` to the settings of each part: the one place that knows both vocabularies.

use super::prompts;
use crate::agent::AgentSettings;
use crate::audio::{Channels, DecodeSettings, Ffmpeg};
use crate::config::{AnswerConfig, Config, VocabularyConfig};
use crate::error::Error;
use crate::models;
use crate::outcome::{Cutting, Plan, Tier};
use crate::servers::{GpuLayers, Launcher, Port, ServerError, ServerSettings, find_program};
use crate::speech::SpeechOptions;
use crate::speech::vad::VadSettings;
use crate::speech::whisper::{Device, ModelSettings, default_threads};
use crate::speech::worker::PoolSettings;
use crate::text::clean::{CleanSettings, Numbers};
use crate::text::intent::{IntentSettings, RouteSet};
use crate::text::translate::TranslateSettings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The slot that keeps the intent's examples cached.
pub(super) const INTENT_SLOT: u32 = 0;

/// The slot that keeps the cleanup's instructions cached: another one, so that both run at once and neither throws the
/// other's prefix out. With a single slot the server shares it.
pub(super) const CLEAN_SLOT: u32 = 1;

/// The slot for translation, where the server has a third one.
const TRANSLATE_SLOT: u32 = 2;

/// The slot for questions beside the first, where the server has a third one. Translation is in it too: the server's
/// prompt cache holds what either pushes out.
pub(super) const OTHER_SLOT: u32 = 2;

pub(super) fn decode(config: &Config, channels: Channels, worker: &Path) -> DecodeSettings {
    let audio = &config.audio;
    DecodeSettings {
        channels,
        max_seconds: audio.max_seconds,
        max_decoded_bytes: audio.max_decoded_bytes,
        max_spool_bytes: audio.max_spool_bytes,
        memory_bytes: audio.memory_bytes,
        cpu_seconds: audio.cpu_seconds,
        ffmpeg: if audio.ffmpeg { Ffmpeg::Auto } else { Ffmpeg::Off },
        worker: worker.to_owned(),
    }
}

pub(super) fn vad(config: &Config) -> VadSettings {
    let defaults = VadSettings::default();
    let threshold = config.speech.vad_threshold;
    VadSettings {
        threshold: if threshold > 0.0 { threshold as f32 } else { defaults.threshold },
        max_utterance: config.speech.max_utterance_seconds,
        ..defaults
    }
}

/// A caller's wishes, kept where recognition still works: with shorter pauses every word would be an utterance of its
/// own, with longer ones an utterance would outgrow Whisper's window, and without padding words lose their edges.
pub(super) fn cutting(configured: VadSettings, wished: Cutting) -> VadSettings {
    VadSettings {
        threshold: wished.threshold.map_or(configured.threshold, |threshold| threshold.clamp(0.1, 0.9)),
        min_silence: wished.pause.map_or(configured.min_silence, |pause| pause.clamp(0.2, 5.0)),
        pad: wished.pad.map_or(configured.pad, |pad| pad.clamp(0.1, 1.0)),
        ..configured
    }
}

pub(super) fn model(config: &Config, path: PathBuf) -> ModelSettings {
    let device = if config.speech.gpu { Device::Gpu(0) } else { Device::Cpu };
    ModelSettings { device, ..ModelSettings::new(path) }
}

pub(super) fn pool(config: &Config) -> PoolSettings {
    let speech = &config.speech;
    let recognizers = speech.recognizers as usize;
    let threads_each = match speech.threads {
        0 => (default_threads() / recognizers).max(1),
        threads => threads as usize,
    };
    PoolSettings { recognizers, threads_each, queue: speech.queue as usize }
}

/// The language is set by the pipeline, once it is known.
pub(super) fn speech_options(plan: &Plan) -> SpeechOptions {
    SpeechOptions {
        language: plan.language,
        task: plan.task,
        word_times: plan.word_times,
        prompt: plan.prompt.clone(),
        vocabulary: plan.vocabulary.clone(),
        temperature: plan.temperature,
        token_logprobs: plan.token_logprobs,
    }
}

/// The routes of a configuration.
///
/// # Errors
/// A file that cannot be read, is no route set, or lacks a route that the configuration names.
pub fn routes(config: &Config) -> Result<RouteSet, Error> {
    let intent = &config.intent;
    let mut routes = if intent.routes.is_empty() { RouteSet::built_in() } else { route_file(&intent.routes)? };
    if !intent.default.is_empty() {
        let named = routes.with_default(&intent.default);
        routes = named.map_err(|error| Error::Usage(format!("intent.default: {error}")))?;
    }
    Ok(routes)
}

/// The routes of a file.
pub(super) fn route_file(file: &str) -> Result<RouteSet, Error> {
    let read = |source| Error::Read { path: PathBuf::from(file), source };
    RouteSet::parse(&std::fs::read_to_string(file).map_err(read)?, file).map_err(|e| Error::Usage(e.to_string()))
}

/// The first question. On the light tier it has a slot of its own; the heavy one has none to spare, and finds it in the
/// server's prompt cache.
pub(super) fn intent(config: &Config, tier: Tier) -> IntentSettings {
    intent_in(config, (tier == Tier::Light).then_some(INTENT_SLOT))
}

/// Questions for departments, and those of another route file: in a slot without other work, where there is a third one.
/// Otherwise in that of the first question; each finds its prompt in the server's prompt cache then.
pub(super) fn other_intent(config: &Config, tier: Tier) -> IntentSettings {
    let slot = if config.tier(config.tiers.serving(tier)).parallel > OTHER_SLOT { OTHER_SLOT } else { INTENT_SLOT };
    intent_in(config, (tier == Tier::Light).then_some(slot))
}

fn intent_in(config: &Config, slot: Option<u32>) -> IntentSettings {
    let turns = config.intent.context_turns as usize;
    // A label and the template's own tokens beside each turn.
    let max_context_tokens = if turns == 0 { 0 } else { config.intent.context_tokens as usize + turns * 16 };
    IntentSettings { slot, max_context_tokens, ..IntentSettings::default() }
}

pub(super) fn clean(config: &Config) -> CleanSettings {
    let cleanup = &config.cleanup;
    let defaults = CleanSettings::default();
    CleanSettings {
        fillers: cleanup.fillers.clone(),
        spoken_punctuation: cleanup.spoken_punctuation,
        written_text: cleanup.written_text,
        replacements: cleanup.replacements.clone().into_iter().collect(),
        numbers: if cleanup.inverse_text_normalization { Numbers::Digits } else { Numbers::Spoken },
        timeout: if cleanup.deadline_seconds > 0.0 {
            Duration::from_secs_f64(cleanup.deadline_seconds)
        } else {
            defaults.timeout
        },
        slot: Some(CLEAN_SLOT),
        ..defaults
    }
}

pub(super) fn translate(config: &Config) -> TranslateSettings {
    let tier = config.tiers.serving(config.translation.tier);
    let slots = config.tier(tier).parallel;
    // A slot of its own where there is one; otherwise cleanup's, never the one with the intent's long prefix.
    let slot = (tier == config.tiers.serving(Tier::Light)).then(|| TRANSLATE_SLOT.min(slots.saturating_sub(1)));
    TranslateSettings { slot, ..TranslateSettings::default() }
}

/// Settings of an answer; the two tiers differ in their built-in prompt.
pub(super) fn answer(config: &AnswerConfig, tier: Tier) -> AgentSettings {
    let built_in = match tier {
        Tier::Light => AgentSettings::light(),
        Tier::Heavy => AgentSettings::heavy(),
    };
    let prompt = &config.system_prompt;
    AgentSettings {
        system_prompt: if prompt.is_empty() { built_in.system_prompt } else { prompt.clone() },
        max_tokens: config.max_tokens,
        timeout: Duration::from_secs_f64(config.timeout_seconds),
        temperature: config.temperature,
    }
}

/// The llama-server of this configuration.
///
/// # Errors
/// When there is none.
pub fn llama_server(config: &Config) -> Result<PathBuf, ServerError> {
    let configured = &config.servers.program;
    let configured = (!configured.is_empty()).then(|| Path::new(configured.as_str()));
    find_program(configured, &models::cache_dir())
}

/// Folder of the registry of servers.
pub fn run_dir() -> PathBuf {
    models::cache_dir().join("run")
}

/// How a managed server is started.
///
/// # Errors
/// When there is no llama-server.
pub fn server(tier: Tier, config: &Config, model: PathBuf, keeper: &Path) -> Result<ServerSettings, ServerError> {
    Ok(ServerSettings { program: llama_server(config)?, ..server_without_program(tier, config, model, keeper) })
}

/// The same where the program is not on this machine, such as in a container.
pub fn server_without_program(tier: Tier, config: &Config, model: PathBuf, keeper: &Path) -> ServerSettings {
    let (settings, servers) = (config.tier(tier), &config.servers);
    let cache = models::cache_dir();
    let prompts = prompts::folder();
    ServerSettings {
        name: tier.name().to_owned(),
        program: PathBuf::new(),
        launcher: Launcher::Native,
        // Without the folder prompts are read anew each time: slower, nothing else.
        prompt_dir: std::fs::create_dir_all(&prompts).is_ok().then_some(prompts),
        model,
        host: "127.0.0.1".to_owned(),
        port: Port::preferred(settings.port),
        context_per_request: settings.context,
        parallel: settings.parallel,
        speculate: settings.speculate,
        gpu_layers: GpuLayers::from(settings.gpu_layers),
        threads: (settings.threads > 0).then_some(settings.threads),
        device: (!settings.device.is_empty()).then(|| settings.device.clone()),
        // Prompts pushed out of a slot by another program that shares the server are kept here.
        cache_ram_mib: 512,
        api_key: None,
        extra_args: settings.extra_args.clone(),
        startup_timeout: Duration::from_secs_f64(servers.startup_timeout_seconds),
        grace: Duration::from_secs_f64(servers.grace_seconds),
        run_dir: run_dir(),
        log_dir: cache.join("logs"),
        keeper: keeper.to_owned(),
    }
}

/// The user's names and jargon: the list of the configuration and the lines of the file.
///
/// # Errors
/// When the file cannot be read.
pub fn vocabulary_words(config: &VocabularyConfig) -> Result<Vec<String>, Error> {
    let mut words = config.words.clone();
    if !config.file.is_empty() {
        let path = PathBuf::from(&config.file);
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        words.extend(lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned));
    }
    let mut seen = std::collections::HashSet::new();
    words.retain(|word| seen.insert(word.clone()));
    Ok(words)
}
