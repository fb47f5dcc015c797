//! Speech: utterances out of audio, text out of utterances. Nothing in here knows HTTP, files or language models.

pub mod model;
pub mod queue;
pub mod vad;
pub mod whisper;
mod whisper_align;
mod whisper_decode;
mod whisper_log;
mod whisper_pieces;
mod whisper_rules;
mod whisper_shape;
pub mod worker;

use crate::language::{Lang, LanguageChoice};
use crate::outcome::Task;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Turns utterances into text. One instance works on one utterance at a time and belongs to one thread.
pub trait Recognizer: Send {
    /// Text of one utterance, times on the clock of the file. An utterance without speech is an empty transcript.
    ///
    /// # Errors
    /// [`SpeechError::Cancelled`] within one pass of the encoder after `cancel` fires; [`SpeechError::Failed`] when the
    /// engine gives up.
    fn recognize(
        &mut self,
        utterance: &Utterance,
        options: &SpeechOptions,
        cancel: &CancellationToken,
    ) -> Result<Transcript, SpeechError>;

    /// The language of one utterance with its probability, 0 to 1. English with 1 where the model knows nothing else.
    ///
    /// # Errors
    /// As [`Recognizer::recognize`].
    fn detect_language(
        &mut self,
        utterance: &Utterance,
        cancel: &CancellationToken,
    ) -> Result<(Lang, f32), SpeechError>;
}

/// What is asked of the recogniser.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeechOptions {
    /// Language spoken. `Auto` is heard from the utterance itself at no extra cost, but a caller with a whole file
    /// does better to pin what the first utterances said.
    pub language: LanguageChoice,
    /// Text in the language spoken, or in English.
    pub task: Task,
    /// Times for every word: a second pass over the utterance.
    pub word_times: bool,
    /// Text before the recording: names, spelling, style. Its last part counts when it is too long.
    pub prompt: Option<String>,
    /// Names and jargon. The first entries count when there are too many (about 110 tokens with the prompt).
    pub vocabulary: Vec<String>,
    /// Temperature of the first attempt, 0 to 1. 0 is greedy.
    pub temperature: f32,
    /// The tokens of every segment with their probabilities.
    pub token_logprobs: bool,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The model file cannot be read.
    #[error("cannot read the speech model {path}; `bestbox models list` shows what is installed")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is something else, or damaged.
    #[error("{path} is not a usable Whisper model: {why}; `bestbox models verify` checks installed models")]
    BadModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The model does not speak the language asked for.
    #[error("this speech model knows only English, not '{0}'; choose a multilingual model (one without '.en')")]
    EnglishOnly(Lang),
    /// This model was made before the language was added.
    #[error("this speech model does not know the language '{0}'; large-v3 and turbo know every language of the list")]
    UnknownLanguage(Lang),
    /// The caller no longer wants the text.
    #[error("recognition was cancelled")]
    Cancelled,
    /// The engine gave up.
    #[error("speech recognition failed while {doing}: {why}")]
    Failed {
        /// The step, as in "encoding".
        doing: &'static str,
        /// What the engine said.
        why: String,
    },
    /// A model that several callers waited for could not be loaded.
    #[error("{0}")]
    Load(std::sync::Arc<SpeechError>),
    /// Every recogniser thread is gone.
    #[error("the speech recogniser has stopped; start it again")]
    Stopped,
}

/// A stretch of speech handed to the recogniser: 16 kHz mono, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    samples: Vec<f32>,
    start: f64,
    /// Seconds of padding inside `samples` before and after the speech.
    padding: (f64, f64),
}

impl Utterance {
    /// The whole of `samples` (16 kHz mono) as one utterance that starts at `start` seconds; `None` when empty.
    pub fn whole(samples: Vec<f32>, start: f64) -> Option<Self> {
        Utterance::padded(samples, start, (0.0, 0.0))
    }

    /// As [`Utterance::whole`], where the first and last so many seconds are padding around the speech.
    pub fn padded(samples: Vec<f32>, start: f64, padding: (f64, f64)) -> Option<Self> {
        (!samples.is_empty()).then_some(Utterance { samples, start, padding })
    }

    /// Start and end of the speech itself, seconds from the start of the file.
    pub fn speech(&self) -> (f64, f64) {
        let end = (self.end() - self.padding.1).max(self.start);
        ((self.start + self.padding.0).min(end), end)
    }

    /// 16 kHz mono samples, at least one.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Seconds from the start of the file.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// Seconds from the start of the file.
    pub fn end(&self) -> f64 {
        self.start + self.seconds()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(crate::audio::SPEECH_RATE)
    }
}

/// A word with its time, seconds from the start of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Word {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// The word with the punctuation that touches it; no spaces around it.
    pub word: String,
    /// Mean probability of its tokens, 0 to 1.
    pub probability: f32,
}

/// A piece of recognised text with its time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Segment {
    /// Seconds from the start of the file.
    pub start: f64,
    /// Seconds; never before `start`.
    pub end: f64,
    /// The text, trimmed.
    pub text: String,
    /// Word times, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
    /// Whisper's token ids, without time tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<i32>,
    /// Mean natural-log probability of the tokens.
    pub avg_logprob: f32,
    /// Whisper's probability that there is no speech here, 0 to 1.
    pub no_speech: f32,
    /// Temperature the text was sampled at (0 greedy).
    #[serde(default)]
    pub temperature: f32,
    /// The tokens in `tokens`, spelled and with their probabilities, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_logprobs: Vec<TokenLogprob>,
    /// Who speaks, where that is known: a channel's label, or what a transcript said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Whether a paragraph of a text that was there already starts here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paragraph: bool,
}

/// A token of the text and how sure the model was of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenLogprob {
    /// The token as text, with its leading space. Bytes that are not a whole character by themselves are U+FFFD here.
    pub token: String,
    /// Natural-log probability, at temperature 1.
    pub logprob: f32,
    /// The token's bytes. Those of all tokens in a row are the text in UTF-8.
    pub bytes: Vec<u8>,
}

/// Recognised text of one recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Transcript {
    /// Language spoken, as given or as heard; `None` when nothing was said.
    pub language: Option<Lang>,
    /// In order of their starts. They overlap only where several channels or speakers do.
    pub segments: Vec<Segment>,
}

impl Transcript {
    /// The segments' texts joined (no spaces between them in unspaced languages).
    pub fn text(&self) -> String {
        let separator = if self.language.is_some_and(Lang::is_unspaced) { "" } else { " " };
        let texts: Vec<&str> = self.segments.iter().map(|s| s.text.as_str()).filter(|t| !t.is_empty()).collect();
        texts.join(separator)
    }

    /// Where the text ends, seconds; 0 when there is none.
    pub fn end(&self) -> f64 {
        self.segments.iter().map(|segment| segment.end).fold(0.0, f64::max)
    }
}
