//! Speech: utterances out of audio, text out of utterances. Nothing in here knows HTTP, files or language models.

use crate::language::Lang;
use serde::{Deserialize, Serialize};

/// A stretch of speech handed to the recogniser: 16 kHz mono, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    samples: Vec<f32>,
    start: f64,
}

impl Utterance {
    /// The whole of `samples` (16 kHz mono) as one utterance that starts at `start` seconds; `None` when empty.
    pub fn whole(samples: Vec<f32>, start: f64) -> Option<Self> {
        (!samples.is_empty()).then_some(Utterance { samples, start })
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
}

/// Recognised text of one recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// Language spoken, as given or as heard; `None` when nothing was said.
    pub language: Option<Lang>,
    /// In order of time, no overlaps.
    pub segments: Vec<Segment>,
}

impl Transcript {
    /// The segments' texts joined (no spaces between them in unspaced languages).
    pub fn text(&self) -> String {
        let separator = if self.language.is_some_and(Lang::is_unspaced) { "" } else { " " };
        let texts: Vec<&str> = self.segments.iter().map(|s| s.text.as_str()).filter(|t| !t.is_empty()).collect();
        texts.join(separator)
    }

    /// Where the last segment ends, seconds; 0 when there is none.
    pub fn end(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| segment.end)
    }
}
