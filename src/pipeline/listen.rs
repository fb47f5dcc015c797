//! Utterances to text, in order, with every recogniser busy.

use super::decode::Count;
use super::notes::{Notes, ms};
use super::write::Spoken;
use super::{Event, Run};
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::{Task, Warning, WarningCode};
use crate::speech::{SpeechError, SpeechOptions, Transcript, Utterance};
use futures_util::{StreamExt, stream};
use std::time::Instant;
use tokio::sync::mpsc;

/// Utterances to segments, in order, with as many in flight as there are recognisers.
pub(super) async fn recognize(
    run: Run<'_>,
    mut utterances: mpsc::Receiver<Utterance>,
    spoken: mpsc::UnboundedSender<Spoken>,
    count: &Count,
    notes: &Notes,
) -> Result<Transcript, Error> {
    let mut transcript = Transcript::default();
    let Some(first) = next(run, &mut utterances).await else { return Ok(transcript) };
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
    let rest = stream::unfold(utterances, |mut utterances| async {
        next(run, &mut utterances).await.map(|utterance| (utterance, utterances))
    });
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
            Err(SpeechError::Cancelled) if !transcript.segments.is_empty() => break,
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
