//! What a front end asks for (`Plan`) and what it gets (`Outcome`). The JSON form of `Outcome` is public: see `SCHEMA`.

use crate::language::{Lang, LanguageChoice};
use crate::speech::Transcript;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Version of the JSON that `Outcome` serialises to. Raised when a field changes meaning or goes; never for a new field.
pub const SCHEMA: u32 = 1;

/// Everything that one request may ask for. Built by a front end, obeyed by the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Spoken language, or let Whisper hear it.
    pub language: LanguageChoice,
    /// Whisper's own task.
    pub task: Task,
    /// Times for every word, at the cost of a second pass of the decoder.
    pub word_times: bool,
    /// How far the cleanup may go.
    pub clean: Style,
    /// Target language of the translation, if one is wanted.
    pub translate: Option<Lang>,
    /// Whether the text is only written, classified, or sent to the agent at once.
    pub route: Route,
    /// A route that is taken whatever is said, by its name or path such as `agent/calendar`; only with [`Route::Auto`]
    /// and [`Route::Intent`].
    pub force: Option<String>,
    /// A route that is likely, by its name or path: its prior is raised (see `intent.hint_weight`).
    pub hint: Option<String>,
    /// Nothing of what is said may be written down by the way: no words in logs.
    pub private: bool,
    /// Text before the recording, for Whisper: names, spelling, style.
    pub prompt: Option<String>,
    /// Names and jargon: given to Whisper and used to correct near misses.
    pub vocabulary: Vec<String>,
    /// Speech model: catalogue name or path; `None`: the configured one.
    pub model: Option<String>,
    /// Temperature of Whisper's first attempt, 0 to 1. 0 is greedy.
    pub temperature: f32,
    /// Every segment's tokens with their probabilities, in the transcript.
    pub token_logprobs: bool,
    /// How the recording is cut into utterances, where the configured way is not wanted.
    pub cutting: Cutting,
    /// What is made of several channels.
    pub channels: ChannelUse,
    /// Labels of the channels in order, where they are told apart; `Speaker N` for those without one.
    pub speakers: Vec<String>,
    /// Conversation that the answer goes on with and is remembered in; none: it stands alone.
    pub conversation: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            language: LanguageChoice::Auto,
            task: Task::Transcribe,
            word_times: false,
            clean: Style::Punctuate,
            translate: None,
            route: Route::Auto,
            force: None,
            hint: None,
            private: false,
            prompt: None,
            vocabulary: Vec::new(),
            model: None,
            temperature: 0.0,
            token_logprobs: false,
            cutting: Cutting::default(),
            channels: ChannelUse::default(),
            speakers: Vec::new(),
            conversation: None,
        }
    }
}

/// What is made of a recording's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ChannelUse {
    /// One signal, the average of all.
    #[default]
    Average,
    /// Each channel is somebody: recognised on its own, with labels. The same signal in all of them is still one.
    Split,
}

/// Settings of voice detection for one recording; what is `None` stays as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cutting {
    /// Score from which a frame counts as voice, 0 to 1.
    pub threshold: Option<f32>,
    /// Seconds of pause that end an utterance.
    pub pause: Option<f64>,
    /// Seconds kept before and after the voice.
    pub pad: Option<f64>,
}

/// Whisper's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Text in the language spoken.
    #[default]
    Transcribe,
    /// English text, whatever was spoken.
    TranslateToEnglish,
}

/// How far cleanup may go. Only `Rewrite` may change words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As recognised; no language model.
    Verbatim,
    /// Punctuation, case and paragraphs.
    #[default]
    Punctuate,
    /// Also drops fillers, stutters and repeated words.
    Tidy,
    /// Free text. Guarded, and never the default.
    Rewrite,
}

/// What happens with the text once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Only text; no classification.
    Text,
    /// The intent decides.
    #[default]
    Auto,
    /// The intent is decided and stands in the outcome; nobody answers. For sorting recordings.
    Intent,
    /// Straight to the heavy model.
    Agent,
}

/// What a front end may be told to do with the text: one of the kinds, or a route by its name or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChoice {
    /// What happens in general.
    Kind(Route),
    /// This route, whatever is said. Not looked up yet.
    Named(String),
}

impl std::str::FromStr for RouteChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("name a route, or text, auto, intent or agent".to_owned());
        }
        let kind = <Route as clap::ValueEnum>::from_str(text, true);
        Ok(kind.map_or_else(|_| RouteChoice::Named(text.to_owned()), RouteChoice::Kind))
    }
}

/// A piece of text with its time in the recording, seconds from the start of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cue {
    /// Seconds.
    pub start: f64,
    /// Seconds; never before `start`.
    pub end: f64,
    /// The text of this stretch, trimmed. A trailing `\n\n` never stands here: see `paragraph`.
    pub text: String,
    /// Whether a new paragraph starts with this cue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paragraph: bool,
    /// Who speaks, where that is known: a channel's label, or what a transcript said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
}

/// Text made from the transcript, with the times of the transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Track {
    /// The cues joined: what a person would paste.
    pub text: String,
    /// Language of the text.
    pub language: Lang,
    /// One cue a transcript segment, in order.
    pub cues: Vec<Cue>,
}

impl Track {
    /// Joins the cues (space between, none in unspaced languages or after a line break, blank line at paragraphs).
    pub fn new(language: Lang, cues: Vec<Cue>) -> Self {
        let mut text = String::new();
        for cue in cues.iter().filter(|cue| !cue.text.is_empty()) {
            if !text.is_empty() {
                text.push_str(match (cue.paragraph, language.is_unspaced() || text.ends_with('\n')) {
                    (true, _) => "\n\n",
                    (false, true) => "",
                    (false, false) => " ",
                });
            }
            text.push_str(&cue.text);
        }
        Track { text, language, cues }
    }
}

/// What made the cleaned text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CleanEngine {
    /// Nothing was done (`verbatim`).
    #[default]
    None,
    /// A language model held to the speaker's words by a grammar.
    Grammar,
    /// A language model whose output was checked against the speaker's words.
    Checked,
    /// Rules alone.
    Rules,
}

/// The cleaned text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cleaned {
    /// What was asked for.
    pub style: Style,
    /// The weakest engine that any sentence needed.
    pub engine: CleanEngine,
    /// The text.
    #[serde(flatten)]
    pub track: Track,
}

/// The intent decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Intent {
    /// Name of the route taken; of a route with departments the first level, see `path`.
    pub label: String,
    /// The route taken from its first level to its department, such as `["agent", "calendar"]`; the first is `label`.
    #[serde(default)]
    pub path: Vec<String>,
    /// Probability of `label` among the labels, 0 to 1. 1 when forced.
    pub probability: f64,
    /// What the route does; a department's own, where it has one.
    pub action: Action,
    /// Whether the model was undecided, so that the configured default was taken.
    pub undecided: bool,
    /// Who decided.
    pub by: DecidedBy,
    /// Probability of each label, renormalised over the labels.
    pub probabilities: BTreeMap<String, f64>,
    /// Only a wake phrase was said: nobody answers; what follows in the same conversation takes this route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attention: bool,
}

/// Who decided the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// One token of the model.
    Model,
    /// A rule of the route file: a wake phrase or a pattern.
    Rule,
    /// One token of the heavy model, as the light one was undecided.
    #[serde(rename = "second-opinion")]
    SecondOpinion,
    /// `--route` or the binding.
    Forced,
    /// The configured default: undecided, or no model to ask.
    Default,
}

/// What a route does with an utterance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The text is the result.
    Text,
    /// The light model answers.
    Light,
    /// The heavy model answers.
    Heavy,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reply {
    /// The answer, thinking stripped.
    pub text: String,
    /// `light` or `heavy`.
    pub tier: Tier,
    /// Model name as the server gives it.
    pub model: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens generated, where the server counts them.
    pub tokens: Option<u32>,
    /// The part to be spoken: what the model set apart with `[SPEECH]`, otherwise the first sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub spoken: Option<String>,
    /// Calls of tools, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolUse>,
    /// A call that waits for a person's word; the answer goes on once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pending: Option<PendingCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolUse {
    /// Name of the tool.
    pub tool: String,
    /// Its arguments.
    #[schema(value_type = Object)]
    pub arguments: serde_json::Value,
    /// What became of it.
    pub end: ToolEnd,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolEnd {
    /// It was made and gave a result.
    Done,
    /// It was made and failed.
    Failed,
    /// It was not made: no such tool, wrong arguments, too many, or made before.
    Refused,
    /// It was not made: nobody said yes.
    Denied,
}

/// A call that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PendingCall {
    /// Confirms exactly this call, once, by whoever asked for the answer.
    pub token: String,
    /// Name of the tool.
    pub tool: String,
    /// Its arguments, whole.
    #[schema(value_type = Object)]
    pub arguments: serde_json::Value,
    /// Until when, seconds since 1970.
    pub expires: f64,
}

/// Which language model server.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// 7B class: routing, cleanup, translation.
    Light,
    /// 14B class: answers and tools.
    Heavy,
}

impl Tier {
    /// `light` or `heavy`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Light => "light",
            Tier::Heavy => "heavy",
        }
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The token limit.
    Length,
    /// The time limit.
    Timeout,
    /// The connection broke; what came is kept.
    Broken,
}

/// Something after recognition that did not work; the best text so far is delivered all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Machine-readable reason.
    pub code: WarningCode,
    /// One sentence for a person.
    pub message: String,
}

impl Warning {
    /// A warning with its sentence.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Warning { code, message: message.into() }
    }
}

/// Reason codes of warnings. Part of the public JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarningCode {
    /// No server answered for cleanup; rules were used.
    CleanupUnavailable,
    /// The model's text was not the speaker's words; rules were used for that sentence.
    CleanupRejected,
    /// The rewrite changed facts or ran away; a safer style was used.
    RewriteRejected,
    /// No server answered for translation.
    TranslationUnavailable,
    /// The translation failed its checks and was left out for that segment.
    TranslationRejected,
    /// No server answered for the intent; the default route was taken.
    IntentUnavailable,
    /// The model was not sure; the default route was taken.
    IntentUndecided,
    /// No answer from the model the route asks for.
    ReplyUnavailable,
    /// The answer ended before the model was done.
    ReplyTruncated,
    /// A tool was not there for the answer: the model knows no tools, or a server of tools does not run.
    ToolsUnavailable,
    /// A call of a tool was not made because nobody confirmed it.
    ToolDenied,
    /// The recording has no speech in it.
    NoSpeech,
    /// Speech that was recognised only with low confidence.
    LowConfidence,
    /// The run was given up; the text so far is there.
    Interrupted,
    /// The end of the file was damaged or cut; what could be decoded is there.
    AudioTruncated,
}

/// Milliseconds per stage. Stages that did not run are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Timings {
    /// Seconds of audio.
    pub audio_s: f64,
    /// Decoding and resampling (overlaps with recognition on long files).
    pub decode_ms: Option<f64>,
    /// Voice activity detection.
    pub vad_ms: Option<f64>,
    /// Whisper, summed over utterances.
    pub recognize_ms: Option<f64>,
    /// Cleanup, from its start to its end.
    pub clean_ms: Option<f64>,
    /// Translation.
    pub translate_ms: Option<f64>,
    /// Intent decision.
    pub intent_ms: Option<f64>,
    /// From the end of recognition to the first token of the answer.
    pub reply_first_ms: Option<f64>,
    /// The whole answer.
    pub reply_ms: Option<f64>,
    /// Wall clock from the first byte read to the outcome.
    pub total_ms: f64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceInfo {
    /// File name as given, `-` for standard input.
    pub name: String,
    /// Seconds of audio decoded; `None` for text.
    pub duration: Option<f64>,
    /// Container and codec, such as `ogg/opus`.
    pub format: Option<String>,
}

/// Everything that came of one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// `SCHEMA`.
    pub schema: u32,
    /// What was read.
    pub source: SourceInfo,
    /// The raw, timed text.
    pub transcript: Transcript,
    /// Cleaned text; absent only when the transcript is empty.
    pub cleaned: Option<Cleaned>,
    /// Translation, when one was asked for and came out.
    pub translated: Option<Track>,
    /// The intent decision, when one was asked for.
    pub intent: Option<Intent>,
    /// The model's answer, when the route asks for one.
    pub reply: Option<Reply>,
    /// What did not work.
    pub warnings: Vec<Warning>,
    /// Milliseconds per stage.
    pub timings: Timings,
}
