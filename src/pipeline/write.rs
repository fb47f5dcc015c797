//! Recognised text to clean and translated text, utterance by utterance, while later ones are being recognised.

use super::notes::{Notes, ms};
use super::{Event, Run};
use crate::language::Lang;
use crate::outcome::{CleanEngine, Cleaned, Cue, Style, Track, Warning, WarningCode};
use crate::speech::Segment;
use crate::text::clean::{CleanRequest, MoreFollows};
use std::time::Instant;
use tokio::sync::mpsc;

/// The text of one utterance on its way to cleanup.
pub(super) struct Spoken {
    pub segments: Vec<Segment>,
    pub lang: Lang,
    pub more_follows: MoreFollows,
}

/// Cleanup and translation, utterance by utterance, while later ones are still being recognised.
pub(super) async fn write(
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
    let mut without = None;
    while let Some(part) = spoken.recv().await {
        lang = Some(part.lang);
        // Asked for when there is text: until then the servers may still be starting. And for each text anew: a server
        // may go and come back in the middle of a long recording.
        let (cleaner, warning) = run.engine.cleaner(run.plan).await;
        if warning != without {
            warning.iter().for_each(|warning| notes.warn(run, warning.clone()));
            without = warning;
        }
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
        // Why there is no model has been said.
        let news = |warning: &Warning| without.is_none() || warning.code != WarningCode::CleanupUnavailable;
        warnings.into_iter().filter(news).for_each(|warning| notes.warn(run, warning));
        (run.observer)(Event::Cleaned(&cleaned.track.cues));
        engine = weaker(engine, cleaned.engine);
        if let Some(to) = run.plan.translate {
            let translator = run.engine.translator().await;
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
                Err(warning) => notes.warn(run, warning),
            }
            translate_ms += ms(begun);
        }
        context = cleaned.track.text;
        clean_cues.extend(cleaned.track.cues);
    }
    let Some(lang) = lang else { return (None, None) };
    notes.time(|timings| {
        timings.clean_ms = (style != Style::Verbatim).then_some(clean_ms);
        timings.translate_ms = run.plan.translate.map(|_| translate_ms);
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
