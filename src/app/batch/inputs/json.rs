//! Transcripts as other programs write them in JSON, told apart by their top-level keys:
//!
//! - bestbox's own outcome: `schema`, `source`, `transcript`;
//! - whisper.cpp (`-oj`, `-ojf`): `transcription: [{offsets: {from, to} in ms, text}]`, `result.language`;
//! - openai-whisper, WhisperX, faster-whisper, OpenAI's `verbose_json` and `diarized_json`:
//!   `segments: [{start, end, text, words, speaker}]`, `language` as a code or an English name, perhaps `words` beside;
//! - a bare list of such segments, and the `chunks` of Hugging Face's pipelines;
//! - OpenAI's `json`: `text` alone, without times.

use super::{Given, InputError};
use crate::language::Lang;
use crate::outcome::SCHEMA;
use crate::speech::{Segment, Transcript, Word};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A pause after which words without segments begin a new one, seconds; and the longest such segment.
const WORDS_PAUSE: f64 = 1.0;
const WORDS_SECONDS: f64 = 15.0;

/// The forms that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Outcome,
    WhisperCpp,
    Segments,
    List,
    Chunks,
    Words,
    Text,
}

/// Which form a text that may be cut off has; none: another kind of JSON.
pub(super) fn form(text: &str) -> Option<Form> {
    let mut seen = Seen::default();
    // Cut off or damaged: the keys up to there are known.
    let _ = serde_json::Deserializer::from_str(text).deserialize_any(Look(&mut seen));
    let has = |key: &str| seen.keys.iter().any(|k| k == key);
    if seen.list {
        return (has("start") && has("text")).then_some(Form::List);
    }
    if has("schema") && has("transcript") {
        return Some(Form::Outcome);
    }
    let by_key = [
        ("transcription", Form::WhisperCpp),
        ("segments", Form::Segments),
        ("chunks", Form::Chunks),
        ("words", Form::Words),
    ];
    let known = by_key.into_iter().find(|(key, _)| has(key)).map(|(_, form)| form);
    // `text` is a common key: alone it counts only with what OpenAI puts beside it.
    let beside = ["text", "task", "language", "duration", "usage", "logprobs", "languages"];
    known.or_else(|| (has("text") && seen.keys.iter().all(|key| beside.contains(&key.as_str()))).then_some(Form::Text))
}

/// Reads a whole file.
pub(super) fn read(text: &str) -> Result<Given, InputError> {
    // JSON itself first: where it is damaged, say where.
    serde_json::from_str::<IgnoredAny>(text).map_err(InputError::Json)?;
    match form(text).ok_or(InputError::OtherJson)? {
        Form::Outcome => {
            let outcome: Own = parse(text)?;
            if outcome.schema > SCHEMA {
                return Err(InputError::NewerSchema(outcome.schema));
            }
            Ok(own(outcome))
        }
        Form::WhisperCpp => {
            let file: CppFile = parse(text)?;
            let piece = |s: CppSegment| {
                let (start, end) = s.offsets.map_or((None, None), |o| (Some(o.from / 1e3), Some(o.to / 1e3)));
                Piece { start, end, text: s.text, speaker: s.speaker.and_then(Label::text), ..Piece::default() }
            };
            let language = file.result.and_then(|result| result.language);
            Ok(given(file.transcription.into_iter().map(piece).collect(), language.as_deref(), None))
        }
        Form::Segments | Form::Words | Form::Text => {
            let file: WhisperFile = parse(text)?;
            let duration = file.duration.and_then(Number::seconds);
            let pieces = match (file.segments, file.words, file.text) {
                (Some(segments), words, _) if !segments.is_empty() => with_words(segments, words.unwrap_or_default()),
                (_, Some(words), text) if !words.is_empty() => from_words(spelled(words, text.as_deref())),
                (_, _, Some(text)) => vec![Piece { text, ..Piece::default() }],
                _ => Vec::new(),
            };
            Ok(given(pieces, file.language.as_deref(), duration))
        }
        Form::List => Ok(given(parse::<Vec<Piece>>(text)?, None, None)),
        Form::Chunks => {
            let file: HfFile = parse(text)?;
            let piece = |c: HfChunk| Piece {
                start: c.timestamp.first().copied().flatten(),
                end: c.timestamp.get(1).copied().flatten(),
                text: c.text,
                ..Piece::default()
            };
            Ok(given(file.chunks.into_iter().map(piece).collect(), None, None))
        }
    }
}

/// Reads JSON lines: one outcome or several without times (`bestbox text --lines`), or a segment a line.
pub(super) fn read_lines(text: &str) -> Result<Given, InputError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    let Some(first) = lines.peek() else { return Ok(given(Vec::new(), None, None)) };
    if !is_segment(first) {
        let all: Vec<Given> = lines.map(read).collect::<Result<_, _>>()?;
        let timed = all.iter().filter(|one| one.duration.is_some()).count();
        if timed > 0 && all.len() > 1 {
            return Err(InputError::Several(all.len()));
        }
        let mut all = all.into_iter();
        let Some(mut joined) = all.next() else { return Ok(given(Vec::new(), None, None)) };
        for next in all {
            joined.transcript.language = joined.transcript.language.or(next.transcript.language);
            joined.transcript.segments.extend(next.transcript.segments);
        }
        return Ok(joined);
    }
    Ok(given(lines.map(parse::<Piece>).collect::<Result<_, _>>()?, None, None))
}

/// Whether a line is a segment by itself.
pub(super) fn is_segment(line: &str) -> bool {
    let mut seen = Seen::default();
    let _ = serde_json::Deserializer::from_str(line).deserialize_any(Look(&mut seen));
    !seen.list && seen.keys.iter().any(|key| key == "start") && seen.keys.iter().any(|key| key == "text")
}

/// An outcome of ours, or as much of it as a transcript is.
#[derive(Deserialize)]
struct Own {
    schema: u32,
    #[serde(default)]
    source: crate::outcome::SourceInfo,
    transcript: Transcript,
}

fn own(outcome: Own) -> Given {
    let end = Some(outcome.transcript.end()).filter(|end| *end > 0.0);
    Given { duration: outcome.source.duration.or(end), transcript: outcome.transcript }
}

#[derive(Deserialize)]
struct CppFile {
    transcription: Vec<CppSegment>,
    result: Option<CppResult>,
}

#[derive(Deserialize)]
struct CppResult {
    language: Option<String>,
}

#[derive(Deserialize)]
struct CppSegment {
    offsets: Option<CppOffsets>,
    text: String,
    /// `--diarize`: the channel. `-tdrz` has none.
    speaker: Option<Label>,
}

/// Milliseconds.
#[derive(Deserialize)]
struct CppOffsets {
    from: f64,
    to: f64,
}

#[derive(Deserialize)]
struct WhisperFile {
    segments: Option<Vec<Piece>>,
    words: Option<Vec<RawWord>>,
    text: Option<String>,
    language: Option<String>,
    duration: Option<Number>,
}

#[derive(Deserialize)]
struct HfFile {
    chunks: Vec<HfChunk>,
}

#[derive(Deserialize)]
struct HfChunk {
    #[serde(default)]
    timestamp: Vec<Option<f64>>,
    text: String,
}

/// A segment as most programs write it. Times in seconds.
#[derive(Default, Deserialize)]
struct Piece {
    start: Option<f64>,
    end: Option<f64>,
    #[serde(default)]
    text: String,
    words: Option<Vec<RawWord>>,
    #[serde(default, deserialize_with = "label")]
    speaker: Option<String>,
    avg_logprob: Option<f32>,
    no_speech_prob: Option<f32>,
    temperature: Option<f32>,
}

/// A word. WhisperX gives none of the times of what it could not align.
#[derive(Clone, Deserialize)]
struct RawWord {
    start: Option<f64>,
    end: Option<f64>,
    #[serde(alias = "text")]
    word: String,
    #[serde(alias = "score")]
    probability: Option<f32>,
    #[serde(default, deserialize_with = "label")]
    speaker: Option<String>,
}

/// A speaker is a name or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Number(i64),
    Other(IgnoredAny),
}

impl Label {
    fn text(self) -> Option<String> {
        match self {
            Label::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != "?"),
            Label::Number(number) => Some(number.to_string()),
            Label::Other(_) => None,
        }
    }
}

fn label<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Label>::deserialize(from)?.and_then(Label::text))
}

/// Older services gave the duration as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(f64),
    Text(String),
}

impl Number {
    fn seconds(self) -> Option<f64> {
        match self {
            Number::Number(number) => Some(number),
            Number::Text(text) => text.trim().parse().ok(),
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, InputError> {
    let mut from = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut from)
        .map_err(|error| InputError::Shape { place: error.path().to_string(), why: error.into_inner().to_string() })
}

fn given(pieces: Vec<Piece>, language: Option<&str>, duration: Option<f64>) -> Given {
    let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let before = segments.last().map_or(0.0, |segment| segment.end);
        let start = piece.start.unwrap_or(before);
        let words = piece.words.unwrap_or_default().into_iter().filter_map(RawWord::timed);
        segments.push(Segment {
            start,
            end: piece.end.unwrap_or(start),
            text: piece.text,
            words: words.collect(),
            avg_logprob: piece.avg_logprob.unwrap_or_default(),
            no_speech: piece.no_speech_prob.unwrap_or_default(),
            temperature: piece.temperature.unwrap_or_default(),
            speaker: piece.speaker,
            ..Segment::default()
        });
    }
    Given { transcript: Transcript { language: language.and_then(known), segments }, duration }
}

/// A language nobody here knows is better heard from the text.
fn known(name: &str) -> Option<Lang> {
    name.parse().ok()
}

impl RawWord {
    fn timed(self) -> Option<Word> {
        let (start, end) = (self.start?, self.end?);
        let word = self.word.trim().to_owned();
        (!word.is_empty()).then(|| Word { start, end, word, probability: self.probability.unwrap_or(1.0) })
    }
}

/// Words that stand beside the segments go to the segment in whose time they begin.
fn with_words(mut segments: Vec<Piece>, words: Vec<RawWord>) -> Vec<Piece> {
    if segments.iter().any(|segment| segment.words.as_ref().is_some_and(|words| !words.is_empty())) {
        return segments;
    }
    let starts: Vec<f64> = segments.iter().map(|segment| segment.start.unwrap_or_default()).collect();
    for word in words {
        let Some(start) = word.start else { continue };
        // Rounding may put a word a little before its segment.
        let at = starts.partition_point(|from| *from <= start + 0.01).saturating_sub(1);
        if let Some(segment) = segments.get_mut(at) {
            segment.words.get_or_insert_default().push(word);
        }
    }
    segments
}

/// OpenAI's words have no punctuation; the text beside them has.
fn spelled(mut words: Vec<RawWord>, text: Option<&str>) -> Vec<RawWord> {
    let written: Vec<&str> = text.unwrap_or_default().split_whitespace().collect();
    if written.len() == words.len() {
        words.iter_mut().zip(written).for_each(|(word, written)| written.clone_into(&mut word.word));
    }
    words
}

/// Words alone: a segment ends with a sentence, at a pause, where somebody else speaks, or when it has become long.
fn from_words(words: Vec<RawWord>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut open = false;
    for word in words {
        let text = word.word.trim().to_owned();
        let last = pieces.last().filter(|_| open);
        let goes_on = last.is_some_and(|piece| {
            let pause = word.start.zip(piece.end).map_or(0.0, |(start, end)| start - end);
            let seconds = word.end.zip(piece.start).map_or(0.0, |(end, start)| end - start);
            pause < WORDS_PAUSE && seconds < WORDS_SECONDS && piece.speaker == word.speaker
        });
        if !goes_on {
            let speaker = word.speaker.clone();
            pieces.push(Piece { start: word.start, words: Some(Vec::new()), speaker, ..Piece::default() });
        }
        if let Some(piece) = pieces.last_mut() {
            if !piece.text.is_empty() {
                piece.text.push(' ');
            }
            piece.text.push_str(&text);
            piece.start = piece.start.or(word.start);
            piece.end = word.end.or(piece.end);
            piece.words.get_or_insert_default().push(word);
        }
        open = !text.ends_with(['.', '!', '?', '…', '。', '！', '？']);
    }
    pieces
}

/// The keys of an object, or of the first object of a list.
#[derive(Default)]
struct Seen {
    keys: Vec<String>,
    list: bool,
}

struct Look<'a>(&'a mut Seen);

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.keys.push(key);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.list = true;
        list.next_element_seed(First(self.0))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

struct First<'a>(&'a mut Seen);

impl<'de> serde::de::DeserializeSeed<'de> for First<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(Look(self.0))
    }
}
