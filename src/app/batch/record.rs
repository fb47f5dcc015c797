//! What is known of one file of the folder: the rows of the manifest, of the report and of the progress events.

use crate::language::Lang;
use crate::outcome::{Intent, Outcome, Timings, Warning};
use crate::output::Format;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// One file of IN and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// Below IN.
    pub path: RelativePath,
    /// What became of it.
    pub status: Status,
    /// Recording or existing transcript.
    pub kind: Kind,
    /// Size, bytes.
    pub bytes: u64,
    /// Seconds of audio, or of the transcript's times; 0 when unknown.
    pub seconds: f64,
    /// Wall clock that this file took, seconds. 0 when nothing was done.
    pub wall_s: f64,
    /// When it was finished, seconds since 1970.
    pub finished: i64,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Attempts so far.
    pub attempts: u32,
    /// What came of it; absent when it failed.
    pub summary: Option<Summary>,
    /// Files written for it.
    pub outputs: Vec<OutputFile>,
    /// The stored [`Outcome`] as JSON, below OUT; absent when it failed. Its `source.name` is that of whichever file had
    /// this content first.
    pub outcome: Option<RelativePath>,
    /// What `--then` did.
    pub then: Option<Hook>,
}

/// A path below IN or OUT, `/` between its parts. As text (and in JSON) it is UTF-8 whatever the name: bytes that are
/// none stand as `\xNN` and a backslash of the name as `\\`, so different files never have the same text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RelativePath(String);

impl RelativePath {
    /// Of a path that is relative already.
    pub fn of(path: &Path) -> Self {
        let parts = path.components().map(|part| escaped(part.as_os_str().as_encoded_bytes()));
        RelativePath(parts.collect::<Vec<_>>().join("/"))
    }

    /// Of what [`RelativePath::as_str`] gave.
    pub fn from_text(text: String) -> Self {
        RelativePath(text)
    }

    /// The path again, to be joined to IN or OUT.
    pub fn to_path(&self) -> PathBuf {
        self.0.split('/').map(|part| os_string(unescaped(part))).collect()
    }

    /// The bytes of the path, `/` between its parts: what a percent-encoded link holds.
    #[allow(dead_code, reason = "the report's links are made of it")]
    pub fn to_bytes(&self) -> Vec<u8> {
        unescaped(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (byte, after.first(), hex) {
            (b'\\', Some(b'\\'), _) => (&after[1..], bytes.push(b'\\')),
            (b'\\', Some(b'x'), Some(hex)) => (&after[3..], bytes.push(hex)),
            _ => (after, bytes.push(byte)),
        };
    }
    bytes
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> std::ffi::OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// Worked on in this run.
    Done,
    /// Its content was known from another name or place: only its outputs were written.
    Reused,
    /// Nothing had changed since an earlier run.
    Unchanged,
    /// See [`FileRecord::error`].
    Failed,
    /// Another process has it.
    Elsewhere,
    /// The run ended before it was finished; the next takes it up where it stopped.
    Unfinished,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Sound.
    Audio,
    /// Text with or without times.
    Transcript,
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// Machine-readable reason.
    pub code: Reason,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A reason with its sentence.
    pub fn new(code: Reason, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

/// Reason codes of failures. Part of the report's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reason {
    /// It cannot be opened or read.
    Unreadable,
    /// It is no regular file: a pipe, a device, a link to nothing.
    NotAFile,
    /// Nothing in it.
    Empty,
    /// Not audio.
    NotAudio,
    /// Audio that nothing here decodes.
    Unsupported,
    /// Damaged so that nothing can be decoded.
    Corrupt,
    /// Longer or larger than the limits.
    TooLong,
    /// Recognition failed.
    Speech,
    /// The result cannot be written.
    Output,
    /// No room to write.
    DiskFull,
    /// A text file that is not a transcript.
    NotATranscript,
    /// It changed while it was being read.
    Changed,
    /// Anything else.
    Other,
}

/// What the report shows of an outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Container and codec, such as `ogg/opus`.
    pub format: Option<String>,
    /// Language spoken.
    pub language: Option<Lang>,
    /// Language of the translation.
    pub translated: Option<Lang>,
    /// Words recognised (characters where the language has no spaces).
    pub words: usize,
    /// The intent decision.
    pub intent: Option<Intent>,
    /// What did not work.
    pub warnings: Vec<Warning>,
    /// Passages recognised with low confidence.
    pub doubtful: Vec<Passage>,
    /// Milliseconds a stage.
    pub timings: Timings,
}

/// A passage to listen to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Passage {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// As recognised.
    pub text: String,
    /// Mean natural-log probability of its tokens.
    pub avg_logprob: f32,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutputFile {
    /// Below OUT.
    pub path: RelativePath,
    /// Its format.
    #[serde(with = "format_name")]
    pub format: Format,
    /// Which text it holds; absent for formats that hold them all.
    pub text: Option<Text>,
}

/// Which text of the outcome an output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Text {
    /// As recognised.
    Raw,
    /// Cleaned.
    Cleaned,
    /// Translated.
    Translated,
}

/// What the command of `--then` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hook {
    /// Exit code; absent when it did not start, was ended by a signal, or ran out of time.
    pub code: Option<i32>,
    /// Why it did not succeed.
    pub problem: Option<String>,
}

/// Mean log-probability under which a passage is worth listening to again (Whisper's own `logprob_threshold`).
const LOW_CONFIDENCE: f32 = -1.0;

impl Summary {
    /// The summary of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        let transcript = &outcome.transcript;
        let unspaced = transcript.language.is_some_and(Lang::is_unspaced);
        let words = |text: &str| {
            if unspaced {
                text.chars().filter(|c| c.is_alphanumeric()).count()
            } else {
                text.split_whitespace().count()
            }
        };
        let doubtful = transcript.segments.iter().filter(|segment| segment.avg_logprob < LOW_CONFIDENCE);
        Summary {
            format: outcome.source.format.clone(),
            language: transcript.language,
            translated: outcome.translated.as_ref().map(|track| track.language),
            words: transcript.segments.iter().map(|segment| words(&segment.text)).sum(),
            intent: outcome.intent.clone(),
            warnings: outcome.warnings.clone(),
            doubtful: doubtful
                .map(|segment| Passage {
                    start: segment.start,
                    end: segment.end,
                    text: segment.text.clone(),
                    avg_logprob: segment.avg_logprob,
                })
                .collect(),
            timings: outcome.timings.clone(),
        }
    }
}

/// [`Format`] by its name.
mod format_name {
    use super::Format;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(format: &Format, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(format.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Format, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn any_path_survives_as_text() {
        use std::os::unix::ffi::OsStrExt;
        let names: [&[u8]; 6] = [
            b"a/b.wav",
            b"caf\xe9.wav",
            b"back\\slash \\x41.wav",
            b"new\nline/\xff\xfe",
            "\u{65e5}\u{672c}".as_bytes(),
            b"\\",
        ];
        let mut texts = std::collections::HashSet::new();
        for name in names {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            let text = RelativePath::of(path);
            assert_eq!(text.to_path(), path, "{text}");
            assert_eq!(text.to_bytes(), name, "{text}");
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<RelativePath>(&json).unwrap(), text);
            assert!(texts.insert(text));
        }
    }
}
