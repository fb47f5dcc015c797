//! Utterances to text, in order, with every recogniser busy.

use super::decode::Count;
use super::notes::Notes;
use super::write::Spoken;
use super::{Event, Run};
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::{Task, Warning, WarningCode};
use crate::speech::worker::Recognizers;
use crate::speech::{SpeechError, SpeechOptions, Transcript, Utterance};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Seconds of speech after which its language counts as known. One short "yes" can be heard as anything.
const LANGUAGE_SECONDS: f64 = 4.0;

/// Utterances to segments, in order, with as many in flight as there are recognisers.
pub(super) async fn recognize(
    run: Run<'_>,
    mut utterances: mpsc::Receiver<Utterance>,
    spoken: mpsc::UnboundedSender<Spoken>,
    count: &Count,
    notes: &Notes,
) -> Result<Transcript, Error> {
    let mut heard = Heard { run, spoken, count, transcript: Transcript::default(), recognised: 0, busy: Clock::new() };
    let recognizers = run.engine.recognizers()?;
    let mut options = run.engine.speech_options(run.plan);
    // Whisper hears the language of an utterance at no cost, so the first ones go through one by one until it is known;
    // then it is pinned for the rest of the file.
    let mut languages: Vec<(Lang, f64)> = Vec::new();
    let mut first = None;
    if options.language == LanguageChoice::Auto && options.task == Task::TranslateToEnglish {
        // The text will be English, so it says nothing of the language spoken: ask for that.
        let Some(utterance) = next(run, &mut utterances).await else { return Ok(heard.end(notes)) };
        let (spoken, _) = recognizers.detect_language(utterance.clone(), run.cancel.clone()).await?;
        options.language = LanguageChoice::Fixed(spoken);
        first = Some(utterance);
    }
    while options.language == LanguageChoice::Auto {
        let Some(utterance) = next(run, &mut utterances).await else { return Ok(heard.end(notes)) };
        let seconds = utterance.seconds();
        let done = recognize_one(recognizers, utterance, options.clone(), run.cancel.clone()).await;
        let language = done.part.as_ref().ok().and_then(|part| part.language);
        languages.extend(language.map(|language| (language, seconds)));
        if languages.iter().map(|(_, seconds)| seconds).sum::<f64>() >= LANGUAGE_SECONDS {
            options.language = main_language(&languages).map_or(LanguageChoice::Auto, LanguageChoice::Fixed);
        }
        if heard.take(done)?.is_break() {
            return Ok(heard.end(notes));
        }
    }
    let mut in_flight = FuturesOrdered::new();
    let start = |utterance| recognize_one(recognizers, utterance, options.clone(), run.cancel.clone());
    in_flight.extend(first.map(start));
    let mut more = true;
    while more || !in_flight.is_empty() {
        // One more than there are recognisers, so that none waits for its next utterance.
        let room = more && in_flight.len() <= run.engine.recognizer_count();
        tokio::select! {
            utterance = next(run, &mut utterances), if room => match utterance {
                Some(utterance) => in_flight.push_back(start(utterance)),
                None => more = false,
            },
            Some(done) = in_flight.next(), if !in_flight.is_empty() => {
                if heard.take(done)?.is_break() {
                    break;
                }
            }
        }
    }
    drop(in_flight);
    Ok(heard.end(notes))
}

/// An utterance that went through a recogniser.
struct Done {
    part: Result<Transcript, SpeechError>,
    end: f64,
    from: Instant,
    to: Instant,
}

async fn recognize_one(
    recognizers: &Recognizers,
    utterance: Utterance,
    options: SpeechOptions,
    cancel: CancellationToken,
) -> Done {
    let (end, from) = (utterance.end(), Instant::now());
    let part = recognizers.recognize(utterance, options, cancel).await;
    Done { part, end, from, to: Instant::now() }
}

/// The language spoken longest; the earlier one of two equals.
fn main_language(languages: &[(Lang, f64)]) -> Option<Lang> {
    let spoken = |lang: Lang| languages.iter().filter(|(l, _)| *l == lang).map(|(_, s)| s).sum::<f64>();
    languages.iter().rev().map(|(lang, _)| *lang).max_by(|a, b| spoken(*a).total_cmp(&spoken(*b)))
}

/// Time that recognisers were at work, overlaps counted once.
struct Clock {
    busy: Duration,
    until: Instant,
}

impl Clock {
    fn new() -> Self {
        Clock { busy: Duration::ZERO, until: Instant::now() }
    }

    fn add(&mut self, from: Instant, to: Instant) {
        self.busy += to.saturating_duration_since(from.max(self.until));
        self.until = self.until.max(to);
    }
}

/// What was heard so far, passed on piece by piece.
struct Heard<'a> {
    run: Run<'a>,
    spoken: mpsc::UnboundedSender<Spoken>,
    count: &'a Count,
    transcript: Transcript,
    recognised: usize,
    busy: Clock,
}

impl Heard<'_> {
    /// Takes one result; `Break` when the run was given up half-way, so that what was recognised is kept.
    fn take(&mut self, done: Done) -> Result<ControlFlow<()>, Error> {
        let part = match done.part {
            Err(SpeechError::Cancelled) if !self.transcript.segments.is_empty() => return Ok(ControlFlow::Break(())),
            part => part?,
        };
        self.busy.add(done.from, done.to);
        self.recognised += 1;
        if let Some(lang) = part.language.filter(|_| self.transcript.language.is_none() && !part.segments.is_empty()) {
            self.transcript.language = Some(lang);
            (self.run.observer)(Event::Language(lang));
        }
        for segment in &part.segments {
            (self.run.observer)(Event::Segment(segment));
        }
        (self.run.observer)(Event::Progress { seconds: done.end });
        if let Some(lang) = part.language.filter(|_| !part.segments.is_empty()) {
            let segments = part.segments.clone();
            // The receiver lives as long as this: both are halves of one join.
            let _ = self.spoken.send(Spoken { segments, lang, more_follows: self.count.after(self.recognised) });
        }
        self.transcript.segments.extend(part.segments);
        Ok(ControlFlow::Continue(()))
    }

    fn end(self, notes: &Notes) -> Transcript {
        notes.time(|timings| timings.recognize_ms = Some(self.busy.busy.as_secs_f64() * 1000.0));
        self.transcript
    }
}

/// The next utterance; none once the run is given up.
async fn next(run: Run<'_>, utterances: &mut mpsc::Receiver<Utterance>) -> Option<Utterance> {
    run.cancel.run_until_cancelled(utterances.recv()).await.flatten()
}

/// Mean log-probability under which a segment is worth listening to again (Whisper's own `logprob_threshold`).
pub(super) const LOW_CONFIDENCE: f32 = -1.0;

pub(super) fn warn_about_speech(run: Run<'_>, transcript: &Transcript, notes: &Notes) {
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
