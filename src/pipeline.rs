//! The whole flow on one screen: decode → utterances → text → cleanup → translation, intent → answer.
//!
//! Everything overlaps: while an utterance is recognised the next is decoded and the last one is cleaned. Nothing waits
//! for the whole file but the intent, which needs all of the words. Decoding and recognition fail with an error;
//! from there on a failure is a [`Warning`] and the best text so far is delivered.

mod decide;
mod decode;
mod listen;
mod live;
mod notes;
mod write;

use crate::audio::Input;
use crate::engine::Engine;
use crate::error::Error;
use crate::language::Lang;
use crate::outcome::*;
use crate::speech::{Segment, Transcript};
use crate::text::clean::MoreFollows;
use decide::decide_and_answer;
use decode::{Count, Decoded, decode};
use listen::{Utterances, recognize, warn_about_speech};
pub use live::{Live, run_live};
use notes::{Notes, ms};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use write::{Spoken, write};

/// Something that happened while an outcome is being made.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The recording was opened; `Some` seconds where its container says how long it is.
    Opened { format: &'a str, duration: Option<f64> },
    /// Recognised up to this second of the recording.
    Progress { seconds: f64 },
    /// The language of the recording, before its first text.
    Language(Lang),
    /// Text was recognised.
    Segment(&'a Segment),
    /// An utterance was cleaned.
    Cleaned(&'a [Cue]),
    /// An utterance was translated.
    Translated(&'a [Cue]),
    /// The intent is known.
    Intent(&'a Intent),
    /// A piece of the answer.
    ReplyDelta(&'a str),
    /// Something did not work.
    Warning(&'a Warning),
}

/// Who is told. Called from the pipeline's own task: must not block.
pub type Observer<'a> = &'a (dyn Fn(Event<'_>) + Send + Sync);

/// Who asks, for fairness between clients: recognition is shared out evenly among callers, not among their requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller(pub u64);

/// Where a run that may be killed keeps its work, utterance by utterance, so that the next run of the same recording
/// with the same plan repeats none of it. Called from the pipeline's own task: must not block for long.
///
/// Only what is known for good is kept: nothing of an utterance whose run was given up half-way.
pub trait Checkpoint: Send + Sync {
    /// What was recognised in the utterance that starts at this sample (16 kHz), if it was.
    fn recall(&self, utterance: u64) -> Option<Transcript>;
    /// Keeps what was recognised.
    fn keep(&self, utterance: u64, part: &Transcript);
    /// The text made of that utterance, if it was.
    fn recall_written(&self, utterance: u64) -> Option<Written>;
    /// Keeps the text made of it.
    fn keep_written(&self, utterance: u64, written: &Written);
    /// The language spoken, where it was listened for on its own (Whisper's translation to English).
    fn recall_language(&self) -> Option<Lang> {
        self.recall(LANGUAGE_HEARD)?.language
    }
    /// Keeps the language spoken.
    fn keep_language(&self, language: Lang) {
        self.keep(LANGUAGE_HEARD, &Transcript { language: Some(language), segments: Vec::new() });
    }
}

/// Under this number, which no sample of a recording has, a [`Checkpoint`] keeps the language spoken. It fits a signed
/// 64-bit column.
const LANGUAGE_HEARD: u64 = i64::MAX as u64;

/// The text made of one utterance.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// Cleaned cues.
    pub cleaned: Vec<Cue>,
    /// What cleaned them.
    pub engine: CleanEngine,
    /// Translated cues, when a translation was asked for and came out.
    pub translated: Option<Vec<Cue>>,
    /// What did not work on the way.
    pub warnings: Vec<Warning>,
}

/// What a run needs besides its input.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Models and servers.
    pub engine: &'a Engine,
    /// What is wanted.
    pub plan: &'a Plan,
    /// Who is told.
    pub observer: Observer<'a>,
    /// Ends the run.
    pub cancel: &'a CancellationToken,
    /// Who asks.
    pub caller: Caller,
    /// Where work is kept that may have to be taken up again.
    pub checkpoint: Option<&'a dyn Checkpoint>,
}

impl<'a> Run<'a> {
    /// A run for the only caller there is, with nothing kept.
    pub fn new(engine: &'a Engine, plan: &'a Plan, observer: Observer<'a>, cancel: &'a CancellationToken) -> Self {
        Run { engine, plan, observer, cancel, caller: Caller::default(), checkpoint: None }
    }
}

/// One recording, from bytes to outcome.
pub async fn run_audio(run: Run<'_>, input: Input, name: &str) -> Result<Outcome, Error> {
    let started = Instant::now();
    let notes = Notes::default();
    let (utterances_in, utterances) = mpsc::channel(4);
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    let (count, counted) = Count::new();
    let listening = async {
        let transcript = recognize(run, Utterances { found: utterances, counted }, spoken_in, &notes).await?;
        let (intent, reply) = decide_and_answer(run, &transcript, &notes).await;
        Ok::<_, Error>((transcript, intent, reply))
    };
    let (decoded, heard, (cleaned, translated)) =
        tokio::join!(decode(run, input, utterances_in, count), listening, write(run, spoken, &notes));
    // A recogniser that failed stops the decoder by closing its channel: the recogniser's error is the cause.
    let (transcript, intent, reply) = heard?;
    let decoded = match decoded {
        Err(Error::Interrupted) if !transcript.segments.is_empty() => Decoded::interrupted(transcript.end()),
        decoded => decoded?,
    };
    if run.cancel.is_cancelled() {
        let message = format!("interrupted; the text goes up to {:.1} s", transcript.end());
        notes.warn(run, Warning::new(WarningCode::Interrupted, message));
    }
    if let Some(damage) = &decoded.truncated {
        let message = format!("the recording is damaged after {:.1} s: {damage}", decoded.seconds);
        notes.warn(run, Warning::new(WarningCode::AudioTruncated, message));
    }
    warn_about_speech(run, &transcript, &notes);
    notes.time(|timings| {
        timings.audio_s = decoded.seconds;
        timings.decode_ms = Some(decoded.decode_ms);
        timings.vad_ms = Some(decoded.vad_ms);
    });
    let source = SourceInfo { name: name.to_owned(), duration: Some(decoded.seconds), format: Some(decoded.format) };
    Ok(assemble(Parts { source, transcript, cleaned, translated, intent, reply }, notes, started))
}

/// Text that is there already: the same plan without the speech.
pub async fn run_text(run: Run<'_>, transcript: Transcript, name: &str) -> Result<Outcome, Error> {
    let started = Instant::now();
    let notes = Notes::default();
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    if !transcript.segments.is_empty() {
        let lang = transcript.language.unwrap_or(Lang::ENGLISH);
        // The receiver lives until `write` returns, so this cannot fail.
        let segments = transcript.segments.clone();
        let _ = spoken_in.send(Spoken { utterance: None, segments, lang, more_follows: MoreFollows::No });
    }
    drop(spoken_in);
    let ((intent, reply), (cleaned, translated)) =
        tokio::join!(decide_and_answer(run, &transcript, &notes), write(run, spoken, &notes));
    if run.cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let source = SourceInfo { name: name.to_owned(), ..SourceInfo::default() };
    Ok(assemble(Parts { source, transcript, cleaned, translated, intent, reply }, notes, started))
}

struct Parts {
    source: SourceInfo,
    transcript: Transcript,
    cleaned: Option<Cleaned>,
    translated: Option<Track>,
    intent: Option<Intent>,
    reply: Option<Reply>,
}

fn assemble(parts: Parts, notes: Notes, started: Instant) -> Outcome {
    let (warnings, mut timings) = notes.into_parts();
    timings.total_ms = ms(started);
    Outcome {
        schema: SCHEMA,
        source: parts.source,
        transcript: parts.transcript,
        cleaned: parts.cleaned,
        translated: parts.translated,
        intent: parts.intent,
        reply: parts.reply,
        warnings,
        timings,
    }
}
