//! Configuration: profile, files, environment and flags become one validated `Config`. Nothing below `app` reads the
//! environment or flags again.

mod agent;
mod dictate;
mod feedback;
mod foreign;
mod head_start;
mod hotkey;
mod intent;
mod load;
mod serve;
mod shortcut;
mod up;
mod validate;

pub use agent::{AgentConfig, McpConfig};
pub use dictate::{Answer, ApplicationConfig, BindingConfig, DictateConfig, HistoryConfig, PlanKind};
pub use feedback::{FeedbackConfig, OverlayPlace};
pub use head_start::HeadStartConfig;
pub use hotkey::{HotkeyBackend, HotkeyConfig};
pub use intent::{CostsConfig, IntentConfig, SecondOpinion};
pub use load::{Loaded, Origin, Sources, env_name, init_text, project_file, typed_flag, user_file};
pub use serve::{JobsConfig, KeyConfig, RealtimeConfig, ServeConfig, TlsConfig};
pub use shortcut::{KEYS, Key, Modifier, Shortcut, ShortcutError};
pub use up::{LauncherKind, UpConfig, UpTierConfig};

use crate::language::Lang;
use crate::language::LanguageChoice;
use crate::outcome::{ChannelUse, Style, Tier};
use crate::text::clean::{SpokenPunctuation, WrittenText};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A configuration that cannot be used: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that is named or found but cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// Not TOML.
    #[error("{path} is not valid TOML: {reason}")]
    Syntax { path: PathBuf, reason: String },
    /// A key that does not exist.
    #[error("unknown key '{key}' in {origin}; {hint}")]
    UnknownKey { key: String, origin: String, hint: String },
    /// A value of the wrong type or out of range.
    #[error("bad value for '{key}' in {origin}: {reason}")]
    BadValue { key: String, origin: String, reason: String },
    /// `bestbox config init` would overwrite.
    #[error("{path} exists already; edit it, or remove it first")]
    Exists { path: PathBuf },
    /// `bestbox config init` cannot write.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Which set of defaults the other keys start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Whisper tiny.en and SmolLM2-135M: English, small machines.
    Tiny,
    /// Whisper base, Qwen2.5-Coder 0.5B and 1.5B, started and stopped by bestbox.
    #[default]
    Embedded,
    /// The two-server BestBox set-up: Qwen2.5 7B on 8081 and 14B on 8080.
    Seed,
    /// Language model servers that are running already.
    External,
}

/// Which language model tiers there are. One switch goes back to a single model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tiers {
    /// Light for cleanup, translation and intent; heavy for answers.
    #[default]
    Both,
    /// The heavy model does everything.
    HeavyOnly,
    /// The light model does everything.
    LightOnly,
}

impl Tiers {
    /// The tier that really serves `tier` under this switch.
    pub fn serving(self, tier: Tier) -> Tier {
        match self {
            Tiers::Both => tier,
            Tiers::HeavyOnly => Tier::Heavy,
            Tiers::LightOnly => Tier::Light,
        }
    }
}

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Set of defaults.
    pub profile: Profile,
    /// Which tiers there are.
    pub tiers: Tiers,
    /// Decoding and its limits.
    pub audio: AudioConfig,
    /// Recognition.
    pub speech: SpeechConfig,
    /// Names and jargon.
    pub vocabulary: VocabularyConfig,
    /// Cleanup.
    pub cleanup: CleanupConfig,
    /// Translation.
    pub translation: TranslationConfig,
    /// Intent and routes.
    pub intent: IntentConfig,
    /// Answers of the heavy model, and its tools.
    pub agent: AgentConfig,
    /// Answers of the light model to quick questions.
    pub quick: AnswerConfig,
    /// Reading ahead for the heavy model.
    pub head_start: HeadStartConfig,
    /// The light server.
    pub light: TierConfig,
    /// The heavy server.
    pub heavy: TierConfig,
    /// How servers are run.
    pub servers: ServersConfig,
    /// The servers under one supervisor.
    pub up: UpConfig,
    /// Where models are.
    pub models: ModelsConfig,
    /// Subtitles and files.
    pub output: OutputConfig,
    /// The HTTP service.
    pub serve: ServeConfig,
    /// Push-to-talk.
    pub dictate: DictateConfig,
}

impl Config {
    /// The settings of one tier.
    pub fn tier(&self, tier: Tier) -> &TierConfig {
        match tier {
            Tier::Light => &self.light,
            Tier::Heavy => &self.heavy,
        }
    }
}

/// `[audio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioConfig {
    /// Longest recording, seconds of decoded audio.
    pub max_seconds: f64,
    /// Most bytes decoded, counted as 32-bit samples of all channels at the recording's own rate.
    pub max_decoded_bytes: u64,
    /// Most bytes of a pipe or upload kept in a temporary file, where the format needs seeking.
    pub max_spool_bytes: u64,
    /// Memory of the decoding process beyond its own program, bytes.
    pub memory_bytes: u64,
    /// Processor time of the decoding process, seconds.
    pub cpu_seconds: u64,
    /// Whether ffmpeg, where it is on PATH, decodes what we cannot.
    pub ffmpeg: bool,
}

impl Default for AudioConfig {
    fn default() -> Self {
        AudioConfig {
            max_seconds: 12.0 * 3600.0,
            // 12 hours of 48 kHz stereo are 16.6 GB.
            max_decoded_bytes: 32 << 30,
            max_spool_bytes: 8 << 30,
            memory_bytes: 512 << 20,
            cpu_seconds: 1800,
            ffmpeg: true,
        }
    }
}

/// `[speech]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechConfig {
    /// Catalogue name, file name in a model folder, or path of a ggml file.
    pub model: String,
    /// `auto`, a code or an English name.
    pub language: LanguageChoice,
    /// Whisper's own task: English text whatever is spoken.
    pub translate_to_english: bool,
    /// Text before the recording: names, spelling, style.
    pub prompt: String,
    /// Times for every word.
    pub word_times: bool,
    /// Threads of one recogniser; 0: all cores, shared between the recognisers.
    pub threads: u32,
    /// Recognisers working side by side on one model.
    pub recognizers: u32,
    /// Utterances that may wait.
    pub queue: u32,
    /// Seconds without use after which a model is unloaded; 0: at once; negative: never.
    pub keep_alive_seconds: f64,
    /// Memory that loaded speech models may take together, bytes; the longest unused makes room. 0: no limit.
    pub memory_bytes: u64,
    /// Use the GPU of a GPU build.
    pub gpu: bool,
    /// Longest utterance, seconds (Whisper's window is 30).
    pub max_utterance_seconds: f64,
    /// Speech probability above which a frame counts as speech, 0 to 1; 0: the detector's measured default.
    pub vad_threshold: f64,
    /// Channels of a recording: their average, or each on its own (a call with one person in each).
    pub channels: ChannelUse,
    /// Names for the channels, in order, where they are told apart.
    pub speakers: Vec<String>,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        SpeechConfig {
            model: "base-q8_0".into(),
            language: LanguageChoice::Auto,
            translate_to_english: false,
            prompt: String::new(),
            word_times: false,
            threads: 0,
            recognizers: 1,
            queue: 8,
            keep_alive_seconds: 300.0,
            memory_bytes: 0,
            gpu: true,
            max_utterance_seconds: 28.0,
            vad_threshold: 0.0,
            channels: ChannelUse::Average,
            speakers: Vec::new(),
        }
    }
}

/// `[vocabulary]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VocabularyConfig {
    /// Names and jargon.
    pub words: Vec<String>,
    /// A file with one name or term a line; `#` starts a comment.
    pub file: String,
}

/// `[cleanup]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanupConfig {
    /// How far cleanup goes.
    pub style: Style,
    /// Fillers besides the built-in ones of each language.
    pub fillers: Vec<String>,
    /// "comma", "new line" and their like.
    pub spoken_punctuation: SpokenPunctuation,
    /// Whether text that has its marks and capitals already, as Whisper mostly gives it, goes through the model too.
    pub written_text: WrittenText,
    /// Spoken numbers, dates, money and times to digits (English).
    pub inverse_text_normalization: bool,
    /// What is said → what is written.
    pub replacements: BTreeMap<String, String>,
    /// Seconds for one request to the model (at most about 100 words) before rules take over; 0: the default.
    pub deadline_seconds: f64,
}

impl Default for CleanupConfig {
    fn default() -> Self {
        CleanupConfig {
            style: Style::Punctuate,
            fillers: Vec::new(),
            spoken_punctuation: SpokenPunctuation::default(),
            written_text: WrittenText::default(),
            inverse_text_normalization: false,
            replacements: BTreeMap::new(),
            deadline_seconds: 0.0,
        }
    }
}

/// `[translation]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslationConfig {
    /// Target language; empty: none.
    pub to: String,
    /// Which tier translates.
    pub tier: Tier,
}

impl Default for TranslationConfig {
    fn default() -> Self {
        TranslationConfig { to: String::new(), tier: Tier::Light }
    }
}

impl TranslationConfig {
    /// The target language, checked when the configuration was loaded.
    pub fn target(&self) -> Option<Lang> {
        self.to.parse().ok()
    }
}

/// `[quick]`, and what `[agent]` has in common with it
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerConfig {
    /// Empty: the built-in one.
    pub system_prompt: String,
    /// Limit on generated tokens.
    pub max_tokens: u32,
    /// Limit on the whole answer, seconds.
    pub timeout_seconds: f64,
    /// 0 is greedy.
    pub temperature: f32,
}

impl Default for AnswerConfig {
    fn default() -> Self {
        AnswerConfig { system_prompt: String::new(), max_tokens: 512, timeout_seconds: 120.0, temperature: 0.0 }
    }
}

/// `[light]` and `[heavy]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierConfig {
    /// bestbox starts and stops this server.
    pub manage: bool,
    /// Where it is when not managed, such as `http://127.0.0.1:8081`.
    pub base_url: String,
    /// Port of a managed server; when taken by another program, a free one is used.
    pub port: u16,
    /// Managed: catalogue name or path of a GGUF file. Otherwise: model name to send.
    pub model: String,
    /// Environment variable that holds the key.
    pub key_env: String,
    /// File that holds the key.
    pub key_file: String,
    /// Tokens of context a request.
    pub context: u32,
    /// Requests at once.
    pub parallel: u32,
    /// Tokens guessed ahead where the text repeats the prompt, as cleanup does (n-gram speculation: the same text, in
    /// less time); 0: none.
    pub speculate: u32,
    /// Layers on the GPU; -1: as many as fit.
    pub gpu_layers: i32,
    /// CPU threads; 0: all cores.
    pub threads: u32,
    /// Device as llama-server names it, such as `Vulkan0`; empty: its default.
    pub device: String,
    /// Further arguments of llama-server.
    pub extra_args: Vec<String>,
    /// To connect, seconds.
    pub connect_timeout_seconds: f64,
    /// For a whole request, seconds.
    pub timeout_seconds: f64,
}

impl Default for TierConfig {
    fn default() -> Self {
        TierConfig {
            manage: true,
            base_url: String::new(),
            port: 0,
            model: String::new(),
            key_env: String::new(),
            key_file: String::new(),
            context: 4096,
            parallel: 1,
            speculate: 0,
            gpu_layers: -1,
            threads: 0,
            device: String::new(),
            extra_args: Vec::new(),
            connect_timeout_seconds: 2.0,
            timeout_seconds: 60.0,
        }
    }
}

/// `[servers]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServersConfig {
    /// Path of llama-server; empty: PATH, then the cache folder.
    pub program: String,
    /// To load the model and answer, seconds.
    pub startup_timeout_seconds: f64,
    /// Between asking a server to end and ending it, seconds.
    pub grace_seconds: f64,
}

impl Default for ServersConfig {
    fn default() -> Self {
        ServersConfig { program: String::new(), startup_timeout_seconds: 300.0, grace_seconds: 5.0 }
    }
}

/// `[models]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsConfig {
    /// Folders to look in before the cache.
    pub folders: Vec<PathBuf>,
}

/// `[output]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Characters on a subtitle line (ideographs count two).
    pub subtitle_columns: u32,
    /// Lines of a subtitle.
    pub subtitle_lines: u32,
    /// Reading speed, characters a second.
    pub subtitle_chars_per_second: f64,
}

impl Default for OutputConfig {
    fn default() -> Self {
        OutputConfig { subtitle_columns: 42, subtitle_lines: 2, subtitle_chars_per_second: 17.0 }
    }
}
