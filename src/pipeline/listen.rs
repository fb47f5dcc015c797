//! Utterances to text, in order, with every recogniser busy.

use super::decode::Counted;
use super::notes::{Notes, add_ms};
use super::write::Spoken;
use super::{Event, Run};
use crate::audio::SPEECH_RATE;
use crate::engine::Lease;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::{Task, Warning, WarningCode};
use crate::speech::queue::Ticket;
use crate::speech::{SpeechError, SpeechOptions, Transcript, Utterance};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Seconds of speech after which its language counts as known. One short "yes" can be heard as anything.
const LANGUAGE_SECONDS: f64 = 4.0;

/// What the decoder gives.
pub(super) struct Utterances {
    pub found: mpsc::Receiver<Utterance>,
    pub counted: Counted,
}

/// Utterances to segments, in order, with as many in flight as there are recognisers.
pub(super) async fn recognize(
    run: Run<'_>,
    utterances: Utterances,
    spoken: mpsc::UnboundedSender<Spoken>,
    notes: &Notes,
) -> Result<Transcript, Error> {
    let Utterances { found: mut utterances, counted } = utterances;
    // Loaded while the decoder starts.
    let leasing = run.engine.speech()?.lease(run.plan.model.as_deref());
    let Some(lease) = run.cancel.run_until_cancelled(leasing).await else { return Err(Error::Interrupted) };
    let asking = Asking { run, lease: &lease?, lane: counted.clone() };
    let mut heard =
        Heard { run, spoken, counted, transcript: Transcript::default(), recognised: 0, busy: Clock::new() };
    let mut options = run.engine.speech_options(run.plan);
    // Whisper hears the language of an utterance at no cost, so the first ones go through one by one until it is known;
    // then it is pinned for the rest of the file.
    let mut languages: Vec<(Lang, f64)> = Vec::new();
    let mut first = None;
    if options.language == LanguageChoice::Auto && options.task == Task::TranslateToEnglish {
        // The text will be English, so it says nothing of the language spoken: ask for that.
        let Some(utterance) = next(run, &mut utterances).await else { return Ok(heard.end(notes)) };
        options.language = LanguageChoice::Fixed(asking.language(&utterance).await?);
        first = Some(utterance);
    }
    while options.language == LanguageChoice::Auto {
        let Some(utterance) = next(run, &mut utterances).await else { return Ok(heard.end(notes)) };
        let seconds = utterance.seconds();
        let done = asking.text(utterance, options.clone()).await;
        let language = done.part.as_ref().ok().and_then(|part| part.language);
        languages.extend(language.map(|language| (language, seconds)));
        if languages.iter().map(|(_, seconds)| seconds).sum::<f64>() >= LANGUAGE_SECONDS {
            options.language = main_language(&languages).map_or(LanguageChoice::Auto, LanguageChoice::Fixed);
        }
        if heard.take(done).await?.is_break() {
            return Ok(heard.end(notes));
        }
    }
    let mut in_flight = FuturesOrdered::new();
    let start = |utterance| asking.text(utterance, options.clone());
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
                if heard.take(done).await?.is_break() {
                    break;
                }
            }
        }
    }
    drop(in_flight);
    Ok(heard.end(notes))
}

/// An utterance that went through a recogniser, now or in an earlier run.
struct Done {
    part: Result<Transcript, SpeechError>,
    /// First sample of the utterance.
    start: u64,
    /// Seconds.
    end: f64,
    /// When it was in the recogniser's hands; `None`: in an earlier run.
    work: Option<(Instant, Instant)>,
}

/// The way to the recogniser.
struct Asking<'a> {
    run: Run<'a>,
    lease: &'a Lease,
    lane: Counted,
}

impl Asking<'_> {
    async fn text(&self, utterance: Utterance, options: SpeechOptions) -> Done {
        let (start, end) = (first_sample(&utterance), utterance.end());
        if let Some(part) = self.run.checkpoint.and_then(|checkpoint| checkpoint.recall(start)) {
            return Done { part: Ok(part), start, end, work: None };
        }
        let from = Instant::now();
        let part = self.lease.recognize(utterance, options, self.ticket(), self.run.cancel.clone()).await;
        // At once and not in order: what was recognised beside an earlier one must not be repeated either.
        if let (Ok(part), Some(checkpoint)) = (&part, self.run.checkpoint) {
            checkpoint.keep(start, part);
        }
        Done { part, start, end, work: Some((from, Instant::now())) }
    }

    async fn language(&self, utterance: &Utterance) -> Result<Lang, SpeechError> {
        if let Some(language) = self.run.checkpoint.and_then(|checkpoint| checkpoint.recall_language()) {
            return Ok(language);
        }
        let heard = self.lease.detect_language(utterance.clone(), self.ticket(), self.run.cancel.clone()).await;
        let (language, _) = heard?;
        if let Some(checkpoint) = self.run.checkpoint {
            checkpoint.keep_language(language);
        }
        Ok(language)
    }

    fn ticket(&self) -> Ticket {
        Ticket { lane: self.lane.lane(), caller: self.run.caller.0 }
    }
}

/// Where an utterance begins, in samples of 16 kHz.
fn first_sample(utterance: &Utterance) -> u64 {
    (utterance.start() * f64::from(SPEECH_RATE)).round() as u64
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
    counted: Counted,
    transcript: Transcript,
    recognised: usize,
    busy: Clock,
}

impl Heard<'_> {
    /// Takes one result; `Break` when the run was given up half-way, so that what was recognised is kept.
    async fn take(&mut self, done: Done) -> Result<ControlFlow<()>, Error> {
        let part = match done.part {
            Err(SpeechError::Cancelled) if !self.transcript.segments.is_empty() => return Ok(ControlFlow::Break(())),
            part => part?,
        };
        self.recognised += 1;
        match done.work {
            Some((from, to)) => self.busy.add(from, to),
            // While an utterance is recognised the decoder finds out what follows; here it needs a moment for it.
            None => drop(self.run.cancel.run_until_cancelled(self.counted.settled(self.recognised)).await),
        }
        if let Some(lang) = part.language.filter(|_| self.transcript.language.is_none() && !part.segments.is_empty()) {
            self.transcript.language = Some(lang);
            (self.run.observer)(Event::Language(lang));
        }
        for segment in &part.segments {
            (self.run.observer)(Event::Segment(segment));
        }
        (self.run.observer)(Event::Progress { seconds: done.end });
        if let Some(lang) = part.language.filter(|_| !part.segments.is_empty()) {
            let (segments, more_follows) = (part.segments.clone(), self.counted.after(self.recognised));
            // The receiver lives as long as this: both are halves of one join.
            let _ = self.spoken.send(Spoken { utterance: Some(done.start), segments, lang, more_follows });
        }
        self.transcript.segments.extend(part.segments);
        Ok(ControlFlow::Continue(()))
    }

    fn end(self, notes: &Notes) -> Transcript {
        notes.time(|timings| add_ms(&mut timings.recognize_ms, self.busy.busy.as_secs_f64() * 1000.0));
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
