//! Transcripts that are there already: subtitles, text, and the JSON of other programs, to the same [`Transcript`] that
//! speech gives. Times are kept as they are, but put in order.

mod charset;
mod json;

use crate::app::text::written_language;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::Cue;
use crate::output::parse::{ParseError, parse_srt, parse_vtt};
use crate::speech::{Segment, Transcript};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest transcript, bytes: ten times what a day of speech is with every token in it.
const MAX_BYTES: u64 = 256 << 20;

/// How much of a JSON file is looked at to tell whether it is a transcript, bytes.
const HEAD_BYTES: u64 = 64 << 10;

/// A line of text longer than this is a paragraph, not a line that was wrapped, characters.
const WRAPPED: usize = 120;

/// Paragraphs are taken apart at sentences into pieces of about this length, characters: an hour in one line still goes
/// through the language model piece by piece.
const PIECE: usize = 400;

/// A transcript that was read.
#[derive(Debug)]
pub(super) struct Given {
    pub transcript: Transcript,
    /// Seconds, where it has times.
    pub duration: Option<f64>,
}

/// Why a file is no transcript.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// Not subtitles, whatever its name says.
    #[error(transparent)]
    Subtitles(#[from] ParseError),
    /// Zero bytes.
    #[error("it holds zero bytes, so it is no text")]
    Binary,
    /// Damaged JSON.
    #[error("it is not valid JSON ({0})")]
    Json(serde_json::Error),
    /// JSON of something else.
    #[error(
        "this JSON is no transcript: neither bestbox's own nor whisper.cpp's ('transcription'), nor that of Whisper, \
         WhisperX, faster-whisper or OpenAI ('segments')"
    )]
    OtherJson,
    /// A transcript with something unexpected in it.
    #[error("it looks like a transcript, but '{place}' cannot be read: {why}")]
    Shape {
        /// The key.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// An outcome of a later version.
    #[error("it was written by a later version of bestbox (schema {0}); update this one")]
    NewerSchema(u32),
    /// JSON lines of several recordings.
    #[error("it holds the outcomes of {0} recordings; give each a file of its own")]
    Several(usize),
    /// Far too large.
    #[error("it is larger than {} MiB, which no transcript is; split it", MAX_BYTES >> 20)]
    TooLarge,
}

/// Reads a transcript. Its language is the one asked for, else what the file says, else what its words are in, else what
/// its name says (`talk.de.srt`), else English.
///
/// # Errors
/// It cannot be read, or it is something else ([`io::ErrorKind::InvalidData`]).
pub(super) fn read(path: &Path, language: LanguageChoice) -> Result<Given, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(fail)?.take(MAX_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(fail)?;
    let given = if bytes.len() as u64 > MAX_BYTES { Err(InputError::TooLarge) } else { understood(path, &bytes) };
    let mut given = given.map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    put_in_order(&mut given);
    let transcript = &mut given.transcript;
    transcript.language = match language {
        _ if transcript.segments.is_empty() => None,
        LanguageChoice::Fixed(lang) => Some(lang),
        LanguageChoice::Auto => {
            let written = || written_language(&beginning(transcript)).or_else(|| named(path));
            Some(transcript.language.or_else(written).unwrap_or(Lang::ENGLISH))
        }
    };
    Ok(given)
}

/// Whether a JSON file is plainly something else, from its beginning: settings, a program's own data. What only might be
/// a transcript is none of these.
pub(super) fn is_foreign(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    let Some(text) = read.ok().and_then(|_| charset::text(&head)) else { return false };
    if lower_extension(path) == "jsonl" {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        return first.is_some_and(|line| !json::is_segment(line) && json::form(line).is_none());
    }
    // What is no JSON at all is damaged, and said to be.
    text.trim_start().starts_with(['{', '[']) && json::form(&text).is_none()
}

fn understood(path: &Path, bytes: &[u8]) -> Result<Given, InputError> {
    let text = charset::text(bytes).ok_or(InputError::Binary)?;
    match lower_extension(path).as_str() {
        "srt" => Ok(timed(parse_srt(&text)?)),
        "vtt" => {
            let mut given = timed(parse_vtt(&text)?);
            given.transcript.language = header_language(&text);
            Ok(given)
        }
        "json" => json::read(&text),
        "jsonl" => json::read_lines(&text),
        _ => Ok(plain(&text)),
    }
}

fn lower_extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn timed(cues: Vec<Cue>) -> Given {
    let segment = |cue: Cue| Segment {
        start: cue.start,
        end: cue.end,
        text: cue.text,
        speaker: cue.speaker,
        ..Segment::default()
    };
    let transcript = Transcript { language: None, segments: cues.into_iter().map(segment).collect() };
    Given { transcript, duration: None }
}

/// Text without times: a line a segment; a blank line, or a line too long to have been wrapped, is a paragraph.
fn plain(text: &str) -> Given {
    let mut segments: Vec<Segment> = Vec::new();
    let mut paragraph = false;
    for line in text.lines().map(str::trim) {
        let long = line.chars().nth(WRAPPED).is_some();
        paragraph |= line.is_empty() || long;
        for piece in sentences(line) {
            let paragraph = std::mem::take(&mut paragraph) && !segments.is_empty();
            segments.push(Segment { text: piece.to_owned(), paragraph, ..Segment::default() });
        }
        paragraph |= long;
    }
    Given { transcript: Transcript { language: None, segments }, duration: None }
}

/// A paragraph in pieces that end where sentences do.
fn sentences(paragraph: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut length) = (Vec::new(), 0, 0);
    let mut chars = paragraph.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        length += 1;
        let next = chars.peek().map(|(_, next)| *next);
        let spaced = ".!?…".contains(c) && next.is_some_and(char::is_whitespace);
        if length >= PIECE && (spaced || "。！？".contains(c)) {
            pieces.push(paragraph[start..at + c.len_utf8()].trim());
            (start, length) = (at + c.len_utf8(), 0);
        }
    }
    pieces.push(paragraph[start..].trim());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Texts on one line, times that are numbers and in order.
fn put_in_order(given: &mut Given) {
    let time = |seconds: f64| if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    let segments = &mut given.transcript.segments;
    for segment in segments.iter_mut() {
        segment.text = segment.text.split_whitespace().collect::<Vec<_>>().join(" ");
        segment.start = time(segment.start);
        segment.end = time(segment.end).max(segment.start);
        segment.words.retain(|word| word.start.is_finite() && word.end.is_finite());
    }
    segments.retain(|segment| !segment.text.is_empty());
    // Stable: what has no times stays as it is.
    segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    let end = segments.iter().map(|segment| segment.end).fold(0.0, f64::max);
    let stated = given.duration.filter(|seconds| seconds.is_finite() && *seconds >= end);
    given.duration = stated.or(Some(end)).filter(|end| *end > 0.0);
}

/// What `NOTE language: de` (ours) or the header `Language: de` says.
fn header_language(vtt: &str) -> Option<Lang> {
    let head = vtt.lines().take_while(|line| !line.contains("-->")).take(20);
    let stated = head.filter_map(|line| line.trim_start_matches("NOTE ").trim().split_once(':'));
    stated.filter(|(key, _)| key.eq_ignore_ascii_case("language")).find_map(|(_, name)| name.parse().ok())
}

/// `de` of `talk.de.srt`.
fn named(path: &Path) -> Option<Lang> {
    let suffix = Path::new(path.file_stem()?).extension()?.to_str()?;
    (suffix.len() <= 3).then(|| suffix.parse().ok()).flatten()
}

/// Enough of the text to hear its language.
fn beginning(transcript: &Transcript) -> String {
    let texts: Vec<&str> = transcript.segments.iter().take(200).map(|segment| segment.text.as_str()).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests;
