//! OpenAI's bodies, field by field.

use super::request::Granularities;
use crate::language::Lang;
use crate::outcome::{Outcome, Task};
use crate::speech::{Segment, TokenLogprob, Transcript};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use std::io::Write;
use utoipa::ToSchema;

/// `response_format=json`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TranscriptionJson {
    /// The text.
    pub text: String,
    /// Probability of each token, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub logprobs: Option<Vec<Logprob>>,
    /// Languages heard, for `gpt-transcribe`; none where nothing was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub languages: Option<Vec<Language>>,
    pub usage: Usage,
}

/// `response_format=verbose_json`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct VerboseJson {
    pub task: TaskName,
    /// Full English name, lower case; of the text for a translation.
    #[schema(example = "english")]
    pub language: &'static str,
    /// Length of the recording, seconds.
    pub duration: f64,
    /// The text.
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub segments: Option<Vec<VerboseSegment>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub words: Option<Vec<VerboseWord>>,
    pub usage: Usage,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::app::serve) enum TaskName {
    Transcribe,
    Translate,
}

/// A piece of the text with its time.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct VerboseSegment {
    /// Counted from 0.
    pub id: u32,
    /// Where the segment starts, in Whisper's frames of 10 ms.
    pub seek: u32,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// The text, with the space before it where the language has one: texts in a row are the whole text.
    pub text: String,
    /// Whisper's token ids.
    pub tokens: Vec<i32>,
    /// Temperature the text was sampled at.
    pub temperature: f64,
    /// Mean natural-log probability of the tokens.
    pub avg_logprob: f64,
    /// Bytes of the text per byte of its zlib form; above 2.4 the text probably repeats itself.
    pub compression_ratio: f64,
    /// Probability that nobody speaks here.
    pub no_speech_prob: f64,
}

/// A word with its time.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct VerboseWord {
    pub word: String,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// What the request took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::app::serve) struct Usage {
    #[serde(rename = "type")]
    pub kind: UsageKind,
    /// Seconds of audio, rounded up.
    pub seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::app::serve) enum UsageKind {
    Duration,
}

/// A token with its probability.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Logprob {
    pub token: String,
    /// Natural logarithm.
    pub logprob: f64,
    /// UTF-8 of the token.
    pub bytes: Vec<u8>,
}

/// A language heard.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Language {
    #[schema(example = "en")]
    pub code: Lang,
}

impl Usage {
    /// Of a recording.
    pub fn of(outcome: &Outcome) -> Self {
        // The product of two finite numbers of seconds and a ceiling: far below 2^53.
        Usage { kind: UsageKind::Duration, seconds: outcome.source.duration.unwrap_or(0.0).max(0.0).ceil() as u64 }
    }
}

/// The tokens of the text with their probabilities.
pub(super) fn logprobs(segments: &[Segment]) -> Vec<Logprob> {
    let tokens = segments.iter().flat_map(|segment| &segment.token_logprobs);
    let logprob = |token: &TokenLogprob| Logprob {
        token: token.token.clone(),
        logprob: number(token.logprob),
        bytes: token.bytes.clone(),
    };
    tokens.map(logprob).collect()
}

/// The languages of a recording, as `gpt-transcribe` gives them.
pub(super) fn languages(transcript: &Transcript) -> Vec<Language> {
    transcript.language.map(|code| Language { code }).into_iter().collect()
}

/// The outcome as `verbose_json`. `spoken` is the language asked for, if one was.
pub(super) fn verbose(outcome: &Outcome, task: Task, spoken: Option<Lang>, times: Granularities) -> VerboseJson {
    let transcript = &outcome.transcript;
    let (task, language) = match task {
        Task::Transcribe => (TaskName::Transcribe, transcript.language.or(spoken)),
        Task::TranslateToEnglish => (TaskName::Translate, None),
    };
    let spaced = !transcript.language.is_some_and(Lang::is_unspaced);
    let heard = || transcript.segments.iter().filter(|segment| !segment.text.is_empty());
    let segments = (times != Granularities::Words)
        .then(|| (0..).zip(heard()).map(|(id, segment)| VerboseSegment::new(id, segment, spaced)).collect());
    let words = (times != Granularities::Segments).then(|| {
        let words = heard().flat_map(|segment| &segment.words);
        words
            .map(|word| VerboseWord { word: word.word.clone(), start: millis(word.start), end: millis(word.end) })
            .collect()
    });
    VerboseJson {
        task,
        // Silence has no language; the field has to be there, and English is what Whisper says.
        language: language.unwrap_or(Lang::ENGLISH).english_name(),
        duration: millis(outcome.source.duration.unwrap_or(0.0)),
        text: transcript.text(),
        segments,
        words,
        usage: Usage::of(outcome),
    }
}

impl VerboseSegment {
    fn new(id: u32, segment: &Segment, spaced: bool) -> Self {
        VerboseSegment {
            id,
            seek: (segment.start * 100.0).max(0.0) as u32,
            start: millis(segment.start),
            end: millis(segment.end),
            text: if spaced { format!(" {}", segment.text) } else { segment.text.clone() },
            tokens: segment.tokens.clone(),
            temperature: number(segment.temperature),
            avg_logprob: number(segment.avg_logprob),
            compression_ratio: compression_ratio(&segment.text),
            no_speech_prob: number(segment.no_speech),
        }
    }
}

/// Whisper's measure of text that repeats itself: bytes over bytes of zlib (openai/whisper, `utils.compression_ratio`).
pub(super) fn compression_ratio(text: &str) -> f64 {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let packed = zlib.write_all(text.as_bytes()).and_then(|()| zlib.finish()).map_or(1, |bytes| bytes.len().max(1));
    text.len() as f64 / packed as f64
}

/// JSON has no infinity: a log-probability of zero is as far down as it gets.
fn number(value: f32) -> f64 {
    if value.is_finite() { f64::from(value) } else { f64::from(f32::MIN) }
}

/// Seconds to the millisecond.
fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{SCHEMA, SourceInfo, Timings};
    use crate::speech::Word;

    fn outcome(language: &str, texts: &[&str]) -> Outcome {
        let segments = (0..).zip(texts).map(|(i, text)| {
            let start = f64::from(i);
            let words = vec![Word { start, end: start + 0.5, word: (*text).into(), probability: 0.9 }];
            Segment { start, end: start + 0.9, text: (*text).into(), words, tokens: vec![1], ..Segment::default() }
        });
        let transcript = Transcript { language: language.parse().ok(), segments: segments.collect() };
        Outcome {
            schema: SCHEMA,
            source: SourceInfo { duration: Some(3.2001), ..SourceInfo::default() },
            transcript,
            cleaned: None,
            translated: None,
            intent: None,
            reply: None,
            warnings: Vec::new(),
            timings: Timings::default(),
        }
    }

    #[test]
    fn segments_in_a_row_are_the_text() {
        for (language, texts, whole) in [("en", ["One.", "Two."], "One. Two."), ("zh", ["今天", "很好"], "今天很好")]
        {
            let body = verbose(&outcome(language, &texts), Task::Transcribe, None, Granularities::Segments);
            let joined: String = body.segments.unwrap().iter().map(|segment| segment.text.as_str()).collect();
            assert_eq!(joined.trim(), whole);
            assert_eq!(body.text, whole);
            assert!(body.words.is_none());
        }
    }

    #[test]
    fn words_only_when_asked_and_then_alone() {
        let body = verbose(&outcome("de", &["Eins."]), Task::Transcribe, None, Granularities::Words);
        assert!(body.segments.is_none() && body.words.unwrap().len() == 1);
        assert_eq!((body.language, body.usage.seconds, body.duration), ("german", 4, 3.2));
        let both = verbose(&outcome("de", &["Eins."]), Task::TranslateToEnglish, None, Granularities::Both);
        assert!(both.segments.is_some() && both.words.is_some());
        assert_eq!(both.language, "english");
    }

    #[test]
    fn compression_ratio_is_whispers() {
        // python3 -c "import zlib; t=('ha '*100).encode(); print(len(t), len(zlib.compress(t)))"  ->  300 15
        assert!((17.0..23.0).contains(&compression_ratio(&"ha ".repeat(100))));
        let plain = compression_ratio("The stale smell of old beer lingers.");
        assert!((0.7..1.0).contains(&plain), "{plain}");
        assert_eq!(compression_ratio(""), 0.0);
    }

    #[test]
    fn nothing_said_is_still_a_whole_body() {
        let mut silent = outcome("en", &[]);
        silent.transcript.language = None;
        let json = serde_json::to_value(verbose(&silent, Task::Transcribe, "fr".parse().ok(), Granularities::Segments));
        let json = json.unwrap();
        assert_eq!((json["language"].as_str(), json["text"].as_str()), (Some("french"), Some("")));
        assert_eq!(json["segments"], serde_json::json!([]));
    }
}
