//! Transcripts that are there already.

use crate::error::Error;
use crate::outcome::{Cue, Outcome};
use crate::output::parse::{parse_srt, parse_vtt};
use crate::speech::{Segment, Transcript};
use std::io;
use std::path::Path;

/// A transcript that was read.
pub(super) struct Given {
    pub transcript: Transcript,
    /// Seconds, where it has times.
    pub duration: Option<f64>,
}

/// Reads a transcript; none where the file is something else.
pub(super) fn read(path: &Path) -> Result<Option<Given>, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let text = String::from_utf8(std::fs::read(path).map_err(fail)?)
        .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let invalid = |error: crate::output::parse::ParseError| fail(io::Error::new(io::ErrorKind::InvalidData, error));
    let cues = match extension.as_str() {
        "srt" => parse_srt(&text).map_err(invalid)?,
        "vtt" => parse_vtt(&text).map_err(invalid)?,
        "json" => {
            let outcome: Option<Outcome> = serde_json::from_str(&text).ok();
            return Ok(outcome.map(|o| Given { duration: o.source.duration, transcript: o.transcript }));
        }
        "txt" => {
            let cue = |line: &str| Cue { start: 0.0, end: 0.0, text: line.trim().to_owned(), paragraph: false };
            text.lines().filter(|line| !line.trim().is_empty()).map(cue).collect()
        }
        _ => return Ok(None),
    };
    let end = cues.last().map(|cue| cue.end).filter(|end| *end > 0.0);
    let segment = |cue: Cue| Segment { start: cue.start, end: cue.end, text: cue.text, ..Segment::default() };
    let transcript = Transcript { language: None, segments: cues.into_iter().map(segment).collect() };
    Ok(Some(Given { transcript, duration: end }))
}
