//! The whole flow on one screen: decode → utterances → text → cleanup → translation, intent → answer.
//!
//! Everything overlaps: while an utterance is recognised the next is decoded and the last one is cleaned. Nothing waits
//! for the whole file but the intent, which needs all of the words. Decoding and recognition fail with an error;
//! from there on a failure is a [`Warning`] and the best text so far is delivered.

mod bleed;
mod decide;
mod decode;
mod listen;
mod live;
mod notes;
mod split;
mod write;

use crate::agent::{Confirm, Suspended, Talk};
use crate::audio::Input;
use crate::engine::{self, Engine};
use crate::error::Error;
use crate::language::Lang;
use crate::outcome::*;
use crate::speech::{Segment, Transcript};
use crate::text::clean::MoreFollows;
use decide::{decide_and_answer, resume};
use decode::{Count, Decoded, Recording, decode};
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
    /// A tool is called.
    ToolCall {
        /// Its name.
        tool: &'a str,
        /// Its arguments.
        arguments: &'a serde_json::Value,
    },
    /// What came of a call, or why it was not made.
    ToolResult {
        /// Name of the tool.
        tool: &'a str,
        /// What became of it.
        end: ToolEnd,
        /// The result, or the reason.
        text: &'a str,
    },
    /// A call waits for a person's word; the answer ends here for now.
    Pending(&'a PendingCall),
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
    /// Told once everything is recognised: what is left keeps language models busy, and the recognisers are free for
    /// the next recording.
    pub heard: Option<&'a (dyn Fn() + Send + Sync)>,
    /// Name of the key, or of the front end: whose conversations and confirmations these are.
    pub owner: &'a str,
    /// Who decides about calls of tools that change something; none: nobody is there.
    pub confirm: Option<&'a Confirm>,
}

impl<'a> Run<'a> {
    /// A run for the only caller there is, with nothing kept.
    pub fn new(engine: &'a Engine, plan: &'a Plan, observer: Observer<'a>, cancel: &'a CancellationToken) -> Self {
        Run {
            engine,
            plan,
            observer,
            cancel,
            caller: Caller::default(),
            checkpoint: None,
            heard: None,
            owner: "",
            confirm: None,
        }
    }

    /// The conversation that the words belong to.
    fn conversation(&self) -> Option<&'a str> {
        self.plan.conversation.as_deref()
    }

    /// As the agent knows it.
    fn talk(&self) -> Talk {
        let conversation = self.conversation().map(str::to_owned);
        let confirm = self.confirm.cloned().unwrap_or_else(|| engine::nobody("nobody is there to confirm it"));
        Talk { owner: self.owner.to_owned(), conversation, confirm }
    }
}

/// One recording, from bytes to outcome.
pub async fn run_audio(run: Run<'_>, input: Input, name: &str) -> Result<Outcome, Error> {
    let settings = run.engine.decode_settings();
    match run.plan.channels {
        ChannelUse::Average => run_signal(run, Recording { input, settings }, name, Instant::now()).await,
        ChannelUse::Split => split::run(run, Recording { input, settings }, name).await,
    }
}

/// One signal, whatever it was made of.
async fn run_signal(run: Run<'_>, recording: Recording, name: &str, started: Instant) -> Result<Outcome, Error> {
    let _busy = run.engine.busy();
    let notes = Notes::default();
    let (utterances_in, utterances) = mpsc::channel(4);
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    let (count, counted) = Count::new();
    let listening = async {
        let transcript = recognize(run, Utterances { found: utterances, counted }, spoken_in, &notes).await?;
        run.heard.inspect(|heard| heard());
        let (intent, reply) = decide_and_answer(run, &transcript, &notes).await;
        Ok::<_, Error>((transcript, intent, reply))
    };
    let (decoded, heard, (cleaned, translated)) =
        tokio::join!(decode(run, recording, utterances_in, count), listening, write(run, spoken, &notes));
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
    warn_about_damage(run, &decoded, &notes);
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
    let _busy = run.engine.busy();
    let started = Instant::now();
    let notes = Notes::default();
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    for part in text_parts(&transcript) {
        // The receiver lives until `write` returns, so this cannot fail.
        let _ = spoken_in.send(part);
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

/// An answer that waited for a person, to its end. The outcome has only the reply.
pub async fn run_confirmation(run: Run<'_>, suspended: Suspended, approved: bool) -> Result<Outcome, Error> {
    let started = Instant::now();
    let notes = Notes::default();
    let reply = resume(run, (suspended, approved), &notes).await;
    if run.cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let source = SourceInfo { name: "confirmation".to_owned(), ..SourceInfo::default() };
    let transcript = Transcript::default();
    Ok(assemble(Parts { source, transcript, cleaned: None, translated: None, intent: None, reply }, notes, started))
}

/// Text that is there already in pieces that are written, shown and kept one by one, as utterances are: an hour of
/// subtitles that was interrupted goes on where it was. Cut where the text itself ends a sentence or a paragraph, so that
/// the pieces need not know of each other.
fn text_parts(transcript: &Transcript) -> Vec<Spoken> {
    /// Words of a piece: several requests to the model, so that it has more than one at a time.
    const ENOUGH: usize = 300;
    /// Where a text shows no ends of sentences.
    const MOST: usize = 1000;
    let lang = transcript.language.unwrap_or(Lang::ENGLISH);
    let words = |text: &str| if lang.is_unspaced() { text.chars().count() / 2 } else { text.split(' ').count() };
    let mut parts: Vec<Spoken> = Vec::new();
    let (mut count, mut closed) = (0, true);
    for (at, segment) in transcript.segments.iter().enumerate() {
        let ended = count >= ENOUGH && (segment.paragraph || closed);
        match parts.last_mut().filter(|_| !ended && count < MOST) {
            Some(part) => part.segments.push(segment.clone()),
            None => {
                if let Some(part) = parts.last_mut() {
                    part.more_follows = if ended { MoreFollows::No } else { MoreFollows::Perhaps };
                }
                let (utterance, segments) = (Some(at as u64), vec![segment.clone()]);
                parts.push(Spoken { utterance, segments, lang, more_follows: MoreFollows::No });
                count = 0;
            }
        }
        count += words(&segment.text);
        closed =
            segment.text.trim_end_matches(['"', '”', '’', '»', ')']).ends_with(['.', '!', '?', '…', '。', '！', '？']);
    }
    parts
}

fn warn_about_damage(run: Run<'_>, decoded: &Decoded, notes: &Notes) {
    if let Some(damage) = &decoded.truncated {
        let message = format!("the recording is damaged after {:.1} s: {damage}", decoded.seconds);
        notes.warn(run, Warning::new(WarningCode::AudioTruncated, message));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[&str]) -> Vec<(u64, usize, MoreFollows)> {
        let segments = texts.iter().map(|text| Segment { text: (*text).to_owned(), ..Segment::default() }).collect();
        let parts = text_parts(&Transcript { language: Some(Lang::ENGLISH), segments });
        parts.iter().map(|p| (p.utterance.unwrap_or(u64::MAX), p.segments.len(), p.more_follows)).collect()
    }

    #[test]
    fn an_hour_of_subtitles_is_written_piece_by_piece() {
        assert_eq!(parts(&["Short.", "And sweet"]), [(0, 2, MoreFollows::No)]);
        let mut lines = vec!["ten words of a subtitle that goes on and on"; 1000];
        // A sentence ends every seventh line, 70 words.
        lines.iter_mut().skip(6).step_by(7).for_each(|line| *line = "and here it has come to its end at last.");
        let found = parts(&lines);
        assert!(found.len() > 25, "{found:?}");
        assert_eq!(found.iter().map(|(_, count, _)| count).sum::<usize>(), 1000);
        assert!(found.iter().all(|(at, _, more)| at % 7 == 0 && *more == MoreFollows::No), "{found:?}");
    }

    #[test]
    fn text_without_sentences_is_cut_and_may_go_on() {
        let found = parts(&vec!["ten words of a subtitle that goes on and on"; 250]);
        let more: Vec<_> = found.iter().map(|(_, _, more)| *more).collect();
        assert_eq!(more, [MoreFollows::Perhaps, MoreFollows::Perhaps, MoreFollows::No]);
    }
}
