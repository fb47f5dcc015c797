//! The whole flow on one screen: decode → utterances → text → cleanup → translation, intent → answer.
//!
//! Everything overlaps: while an utterance is recognised the next is decoded and the last one is cleaned. Nothing waits
//! for the whole file but the intent, which needs all of the words. Decoding and recognition fail with an error;
//! from there on a failure is a [`Warning`] and the best text so far is delivered.

use crate::audio::{self, Input};
use crate::engine::Engine;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::*;
use crate::speech::vad::Segmenter;
use crate::speech::{Segment, SpeechError, SpeechOptions, Transcript, Utterance};
use crate::text::clean::{CleanRequest, MoreFollows};
use futures_util::{StreamExt, stream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Something that happened while an outcome is being made.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The recording was opened; `Some` seconds where its container says how long it is.
    Opened { format: &'a str, duration: Option<f64> },
    /// Recognised up to this second of the recording.
    Progress { seconds: f64 },
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
}

/// What several stages write to.
#[derive(Default)]
struct Notes {
    warnings: Mutex<Vec<Warning>>,
    timings: Mutex<Timings>,
}

impl Notes {
    fn warn(&self, run: Run<'_>, warning: Warning) {
        (run.observer)(Event::Warning(&warning));
        let mut warnings = self.warnings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // One sentence a reason is enough: a dead server fails every utterance of a long recording.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    fn time(&self, write: impl FnOnce(&mut Timings)) {
        write(&mut self.timings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

/// One recording, from bytes to outcome.
pub async fn run_audio(run: Run<'_>, input: Input, name: &str) -> Result<Outcome, Error> {
    let started = Instant::now();
    let notes = Notes::default();
    let (utterances_in, utterances) = mpsc::channel(4);
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    let count = Arc::new(Count::default());
    let listening = async {
        let transcript = recognize(run, utterances, spoken_in, &count, &notes).await?;
        let (intent, reply) = decide_and_answer(run, &transcript, &notes).await;
        Ok::<_, Error>((transcript, intent, reply))
    };
    let (decoded, heard, (cleaned, translated)) =
        tokio::join!(decode(run, input, utterances_in, count.clone()), listening, write(run, spoken, &notes));
    // A recogniser that failed stops the decoder by closing its channel: the recogniser's error is the cause.
    let (transcript, intent, reply) = heard?;
    let decoded = match decoded {
        Err(Error::Interrupted) if !transcript.segments.is_empty() => Decoded::interrupted(transcript.end()),
        decoded => decoded?,
    };
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
        let _ = spoken_in.send(Spoken { segments, lang, more_follows: MoreFollows::No });
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
    let mut timings = notes.timings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    timings.total_ms = ms(started);
    Outcome {
        schema: SCHEMA,
        source: parts.source,
        transcript: parts.transcript,
        cleaned: parts.cleaned,
        translated: parts.translated,
        intent: parts.intent,
        reply: parts.reply,
        warnings: notes.warnings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()),
        timings,
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

struct Decoded {
    format: String,
    seconds: f64,
    truncated: Option<String>,
    decode_ms: f64,
    vad_ms: f64,
}

impl Decoded {
    /// What is known of a recording that was given up at `seconds`.
    fn interrupted(seconds: f64) -> Self {
        Decoded { format: String::new(), seconds, truncated: None, decode_ms: 0.0, vad_ms: 0.0 }
    }
}

/// Bytes to utterances on a blocking thread. A full channel holds the decoder back, so memory stays bounded.
async fn decode(
    run: Run<'_>,
    input: Input,
    utterances: mpsc::Sender<Utterance>,
    count: Arc<Count>,
) -> Result<Decoded, Error> {
    let settings = run.engine.decode_settings();
    let mut segmenter = Segmenter::new(run.engine.vad_settings());
    let cancel = run.cancel.clone();
    let (opened_in, opened) = tokio::sync::oneshot::channel();
    let work = move || -> Result<Decoded, Error> {
        let begun = Instant::now();
        let mut stream = audio::open(input, &settings)?;
        let info = stream.info().clone();
        // Nobody listening only means that the run was given up.
        let _ = opened_in.send((info.format.clone(), info.duration));
        let mut decode_ms = ms(begun);
        let mut vad_ms = 0.0;
        let mut samples = 0u64;
        loop {
            let begun = Instant::now();
            let block = stream.next_block()?;
            decode_ms += ms(begun);
            let begun = Instant::now();
            let ready = match &block {
                Some(block) => {
                    samples += block.len() as u64;
                    segmenter.push(block)
                }
                None => segmenter.finish(),
            };
            vad_ms += ms(begun);
            count.sent.fetch_add(ready.len(), Ordering::Release);
            // After the count and before the utterances, so that the last one is known to be the last.
            count.complete.store(block.is_none(), Ordering::Release);
            for utterance in ready {
                if utterances.blocking_send(utterance).is_err() {
                    return Err(Error::Interrupted);
                }
            }
            if cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if block.is_none() {
                break;
            }
        }
        let seconds = samples as f64 / f64::from(audio::SPEECH_RATE);
        let truncated = stream.truncated().map(ToOwned::to_owned);
        Ok(Decoded { format: info.format, seconds, truncated, decode_ms, vad_ms })
    };
    let worker = tokio::task::spawn_blocking(work);
    if let Ok((format, duration)) = opened.await {
        (run.observer)(Event::Opened { format: &format, duration });
    }
    worker.await.map_err(|panic| Error::Usage(format!("decoding failed unexpectedly: {panic}")))?
}

/// The text of one utterance on its way to cleanup.
struct Spoken {
    segments: Vec<Segment>,
    lang: Lang,
    more_follows: MoreFollows,
}

/// Which utterance is the last: known as soon as the decoder is at the end, mostly long before it is recognised.
#[derive(Default)]
struct Count {
    sent: AtomicUsize,
    complete: AtomicBool,
}

impl Count {
    fn after(&self, recognised: usize) -> MoreFollows {
        let last = self.complete.load(Ordering::Acquire) && recognised >= self.sent.load(Ordering::Acquire);
        if last { MoreFollows::No } else { MoreFollows::Perhaps }
    }
}

/// Utterances to segments, in order, with as many in flight as there are recognisers.
async fn recognize(
    run: Run<'_>,
    mut utterances: mpsc::Receiver<Utterance>,
    spoken: mpsc::UnboundedSender<Spoken>,
    count: &Count,
    notes: &Notes,
) -> Result<Transcript, Error> {
    let mut transcript = Transcript::default();
    let Some(first) = utterances.recv().await else { return Ok(transcript) };
    let recognizers = run.engine.recognizers()?;
    let begun = Instant::now();
    let lang = match run.plan.language {
        LanguageChoice::Fixed(lang) => lang,
        // Once a file, then pinned: detection costs an encode of its own.
        LanguageChoice::Auto => recognizers.detect_language(first.clone(), run.cancel.clone()).await?.0,
    };
    let mut busy_ms = ms(begun);
    let options = SpeechOptions { language: LanguageChoice::Fixed(lang), ..run.engine.speech_options(run.plan) };
    transcript.language = Some(lang);
    let text_lang = if run.plan.task == Task::TranslateToEnglish { Lang::ENGLISH } else { lang };
    let rest = stream::unfold(utterances, |mut utterances| async { utterances.recv().await.map(|u| (u, utterances)) });
    let mut results = std::pin::pin!(
        stream::iter([first])
            .chain(rest)
            .map(|utterance| {
                let end = utterance.end();
                let (options, cancel) = (options.clone(), run.cancel.clone());
                async move {
                    let begun = Instant::now();
                    let part = recognizers.recognize(utterance, options, cancel).await;
                    (part, end, begun, Instant::now())
                }
            })
            // One more than there are recognisers, so that none waits for its next utterance.
            .buffered(run.engine.recognizer_count() + 1)
    );
    let mut idle_from = Instant::now();
    let mut recognised = 0;
    while let Some((part, end, begun, done)) = results.next().await {
        let part = match part {
            // Given up half-way: what was recognised is kept and delivered.
            Err(SpeechError::Cancelled) if !transcript.segments.is_empty() => {
                let message = format!("interrupted; the text goes up to {:.1} s", transcript.end());
                notes.warn(run, Warning::new(WarningCode::Interrupted, message));
                break;
            }
            part => part?,
        };
        // Waiting behind the utterance before does not count twice.
        busy_ms += (done - begun.max(idle_from).min(done)).as_secs_f64() * 1000.0;
        idle_from = idle_from.max(done);
        recognised += 1;
        for segment in &part.segments {
            (run.observer)(Event::Segment(segment));
        }
        (run.observer)(Event::Progress { seconds: end });
        if !part.segments.is_empty() {
            // The receiver lives as long as this: both are halves of one join.
            let segments = part.segments.clone();
            let _ = spoken.send(Spoken { segments, lang: text_lang, more_follows: count.after(recognised) });
        }
        transcript.segments.extend(part.segments);
    }
    if transcript.segments.is_empty() {
        transcript.language = None;
    }
    notes.time(|timings| timings.recognize_ms = Some(busy_ms));
    Ok(transcript)
}

/// Cleanup and translation, utterance by utterance, while later ones are still being recognised.
async fn write(
    run: Run<'_>,
    mut spoken: mpsc::UnboundedReceiver<Spoken>,
    notes: &Notes,
) -> (Option<Cleaned>, Option<Track>) {
    let style = run.plan.clean;
    let mut engine = CleanEngine::None;
    let (mut clean_cues, mut translated_cues) = (Vec::new(), Vec::new());
    let mut lang = None;
    let mut any_translated = false;
    let (mut clean_ms, mut translate_ms) = (0.0, 0.0);
    let mut context = String::new();
    let (mut cleaner, mut translator) = (None, None);
    while let Some(part) = spoken.recv().await {
        lang = Some(part.lang);
        // Asked for when there is text: until then the servers may still be starting.
        let cleaner = match &mut cleaner {
            Some(cleaner) => cleaner,
            none => {
                let (made, warning) = run.engine.cleaner(run.plan).await;
                warning.into_iter().for_each(|warning| notes.warn(run, warning));
                none.insert(made)
            }
        };
        let begun = Instant::now();
        let cues = match style {
            Style::Verbatim => as_recognised(&part.segments),
            _ => cleaner.prepare(&part.segments, part.lang, &run.plan.vocabulary),
        };
        let request = CleanRequest {
            cues: &cues,
            lang: part.lang,
            style,
            before: (!context.is_empty()).then_some(&context),
            more_follows: part.more_follows,
        };
        let (cleaned, warnings) = cleaner.clean(&request, run.cancel).await;
        clean_ms += ms(begun);
        warnings.into_iter().for_each(|warning| notes.warn(run, warning));
        (run.observer)(Event::Cleaned(&cleaned.track.cues));
        engine = weaker(engine, cleaned.engine);
        if let Some(to) = run.plan.translate {
            let translator = match &mut translator {
                Some(translator) => translator,
                none => none.insert(run.engine.translator().await),
            };
            let begun = Instant::now();
            match translator {
                Ok(translator) => {
                    let cues = &cleaned.track.cues;
                    let (track, warnings) = translator.translate(cues, Some(part.lang), to, run.cancel).await;
                    warnings.into_iter().for_each(|warning| notes.warn(run, warning));
                    any_translated |= track.is_some();
                    // What could not be translated keeps its own words, so that subtitles have no hole.
                    let cues = track.map_or_else(|| cues.clone(), |track| track.cues);
                    (run.observer)(Event::Translated(&cues));
                    translated_cues.extend(cues);
                }
                Err(warning) => notes.warn(run, warning.clone()),
            }
            translate_ms += ms(begun);
        }
        context = cleaned.track.text;
        clean_cues.extend(cleaned.track.cues);
    }
    let Some(lang) = lang else { return (None, None) };
    notes.time(|timings| {
        timings.clean_ms = (style != Style::Verbatim).then_some(clean_ms);
        timings.translate_ms = translator.is_some().then_some(translate_ms);
    });
    let translated = run.plan.translate.filter(|_| any_translated).map(|to| Track::new(to, translated_cues));
    (Some(Cleaned { style, engine, track: Track::new(lang, clean_cues) }), translated)
}

fn as_recognised(segments: &[Segment]) -> Vec<Cue> {
    let cue = |s: &Segment| Cue { start: s.start, end: s.end, text: s.text.clone(), paragraph: false };
    segments.iter().map(cue).collect()
}

/// The engine that says least in favour of the whole text.
fn weaker(a: CleanEngine, b: CleanEngine) -> CleanEngine {
    let rank = |engine| match engine {
        CleanEngine::None => 0,
        CleanEngine::Grammar => 1,
        CleanEngine::Checked => 2,
        CleanEngine::Rules => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// Intent from the raw words, and the answer as soon as the intent asks for one.
async fn decide_and_answer(run: Run<'_>, transcript: &Transcript, notes: &Notes) -> (Option<Intent>, Option<Reply>) {
    let text = transcript.text();
    if text.trim().is_empty() || run.plan.route == Route::Text {
        return (None, None);
    }
    let begun = Instant::now();
    let (intent, warning) = run.engine.decide(run.plan.route, &text, run.cancel).await;
    if let Some(warning) = warning {
        notes.warn(run, warning);
    }
    notes.time(|timings| timings.intent_ms = (intent.by != DecidedBy::Forced).then(|| ms(begun)));
    (run.observer)(Event::Intent(&intent));
    let begun = Instant::now();
    let mut first = None;
    let mut on_delta = |delta: &str| {
        first.get_or_insert_with(|| ms(begun));
        (run.observer)(Event::ReplyDelta(delta));
    };
    let (reply, warning) = run.engine.answer(intent.action, &text, run.cancel, &mut on_delta).await;
    if let Some(warning) = warning {
        notes.warn(run, warning);
    }
    if reply.is_some() {
        notes.time(|timings| {
            timings.reply_first_ms = first;
            timings.reply_ms = Some(ms(begun));
        });
    }
    (Some(intent), reply)
}

/// Mean log-probability under which a segment is worth listening to again (Whisper's own `logprob_threshold`).
const LOW_CONFIDENCE: f32 = -1.0;

fn warn_about_speech(run: Run<'_>, transcript: &Transcript, notes: &Notes) {
    if transcript.segments.is_empty() {
        notes.warn(run, Warning::new(WarningCode::NoSpeech, "no speech was found in this recording"));
    }
    let doubtful: Vec<String> = transcript
        .segments
        .iter()
        .filter(|segment| segment.avg_logprob < LOW_CONFIDENCE)
        .map(|segment| format!("{:.1}-{:.1} s", segment.start, segment.end))
        .collect();
    if !doubtful.is_empty() {
        let message = format!("worth listening to again, recognised with low confidence: {}", doubtful.join(", "));
        notes.warn(run, Warning::new(WarningCode::LowConfidence, message));
    }
}
