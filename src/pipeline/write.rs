//! Recognised text to clean and translated text, utterance by utterance, while later ones are being recognised.

use super::notes::{Notes, add_ms, ms};
use super::{Event, Run, Written};
use crate::language::Lang;
use crate::outcome::{CleanEngine, Cleaned, Cue, Style, Track, Warning, WarningCode};
use crate::speech::Segment;
use crate::text::clean::{CleanRequest, MoreFollows};
use std::time::Instant;
use tokio::sync::mpsc;

/// The text of one utterance on its way to cleanup.
#[derive(Clone)]
pub(super) struct Spoken {
    /// First sample of the utterance; `None` for text that was never spoken to us.
    pub utterance: Option<u64>,
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
    let mut writer = Writer { run, notes, without: None, clean_ms: 0.0, translate_ms: 0.0 };
    let mut text = Text::default();
    while let Some(part) = spoken.recv().await {
        let kept = part.utterance.zip(run.checkpoint);
        let written = match kept.and_then(|(utterance, checkpoint)| checkpoint.recall_written(utterance)) {
            Some(written) => {
                writer.replay(&written);
                written
            }
            None => {
                let written = writer.write(&part, &text.context).await;
                // What was made of it while the run was being given up is not what would have been.
                if let Some((utterance, checkpoint)) = kept.filter(|_| !run.cancel.is_cancelled()) {
                    checkpoint.keep_written(utterance, &written);
                }
                written
            }
        };
        text.add(part.lang, written);
    }
    let Some(lang) = text.lang else { return (None, None) };
    let style = run.plan.clean;
    notes.time(|timings| {
        if style != Style::Verbatim {
            add_ms(&mut timings.clean_ms, writer.clean_ms);
        }
        if run.plan.translate.is_some() {
            add_ms(&mut timings.translate_ms, writer.translate_ms);
        }
    });
    let translated = run.plan.translate.filter(|_| text.any_translated).map(|to| Track::new(to, text.translated));
    (Some(Cleaned { style, engine: text.engine, track: Track::new(lang, text.cleaned) }), translated)
}

/// What was written so far.
#[derive(Default)]
struct Text {
    lang: Option<Lang>,
    cleaned: Vec<Cue>,
    translated: Vec<Cue>,
    any_translated: bool,
    engine: CleanEngine,
    /// The last utterance's text, which tells how the next one begins.
    context: String,
}

impl Text {
    fn add(&mut self, lang: Lang, written: Written) {
        self.lang = Some(lang);
        self.engine = weaker(self.engine, written.engine);
        self.any_translated |= written.translated.is_some();
        // What could not be translated keeps its own words, so that subtitles have no hole.
        self.translated.extend(written.translated.unwrap_or_else(|| written.cleaned.clone()));
        self.context = Track::new(lang, written.cleaned.clone()).text;
        self.cleaned.extend(written.cleaned);
    }
}

/// What writes. Asks for the servers when there is text: until then they may still be starting.
struct Writer<'a> {
    run: Run<'a>,
    notes: &'a Notes,
    /// Why the last text had no model, which is said once.
    without: Option<Warning>,
    clean_ms: f64,
    translate_ms: f64,
}

impl Writer<'_> {
    async fn write(&mut self, part: &Spoken, context: &str) -> Written {
        let mut warnings = Vec::new();
        let (track, engine) = self.clean(part, context, &mut warnings).await;
        (self.run.observer)(Event::Cleaned(&track.cues));
        let mut written = Written { cleaned: track.cues, engine, translated: None, warnings };
        if let Some(to) = self.run.plan.translate {
            written.translated = self.translate(&written.cleaned, (part.lang, to), &mut written.warnings).await;
        }
        written
    }

    async fn clean(&mut self, part: &Spoken, context: &str, kept: &mut Vec<Warning>) -> (Track, CleanEngine) {
        let plan = self.run.plan;
        // For each text anew: a server may go and come back in the middle of a long recording.
        let (cleaner, warning) = self.run.engine.cleaner(plan).await;
        if warning != self.without {
            note(self.run, self.notes, warning.clone(), kept);
            self.without = warning;
        }
        let begun = Instant::now();
        let cues = match plan.clean {
            Style::Verbatim => as_recognised(&part.segments),
            _ => cleaner.prepare(&part.segments, part.lang, &plan.vocabulary),
        };
        let request = CleanRequest {
            cues: &cues,
            lang: part.lang,
            style: plan.clean,
            before: (!context.is_empty()).then_some(context),
            more_follows: part.more_follows,
        };
        let (cleaned, warnings) = cleaner.clean(&request, self.run.cancel).await;
        self.clean_ms += ms(begun);
        // Why there is no model has been said.
        let news = |warning: &Warning| self.without.is_none() || warning.code != WarningCode::CleanupUnavailable;
        note(self.run, self.notes, warnings.into_iter().filter(news), kept);
        (cleaned.track, cleaned.engine)
    }

    async fn translate(&mut self, cues: &[Cue], (from, to): (Lang, Lang), kept: &mut Vec<Warning>) -> Option<Vec<Cue>> {
        let translator = self.run.engine.translator().await;
        let begun = Instant::now();
        let translated = match translator {
            Ok(translator) => {
                let (track, warnings) = translator.translate(cues, Some(from), to, self.run.cancel).await;
                note(self.run, self.notes, warnings, kept);
                let translated = track.map(|track| track.cues);
                (self.run.observer)(Event::Translated(translated.as_deref().unwrap_or(cues)));
                translated
            }
            Err(warning) => {
                note(self.run, self.notes, Some(warning), kept);
                None
            }
        };
        self.translate_ms += ms(begun);
        translated
    }

    /// What an earlier run wrote, told as if it were written now.
    fn replay(&self, written: &Written) {
        let of_translation = |warning: &&Warning| {
            matches!(warning.code, WarningCode::TranslationUnavailable | WarningCode::TranslationRejected)
        };
        let warn = |warning: &Warning| self.notes.warn(self.run, warning.clone());
        written.warnings.iter().filter(|warning| !of_translation(warning)).for_each(warn);
        (self.run.observer)(Event::Cleaned(&written.cleaned));
        written.warnings.iter().filter(of_translation).for_each(warn);
        let unavailable = written.warnings.iter().any(|w| w.code == WarningCode::TranslationUnavailable);
        match &written.translated {
            Some(cues) => (self.run.observer)(Event::Translated(cues)),
            None if self.run.plan.translate.is_some() && !unavailable => {
                (self.run.observer)(Event::Translated(&written.cleaned));
            }
            None => {}
        }
    }
}

/// Warns, and keeps the warnings with the utterance.
fn note(run: Run<'_>, notes: &Notes, warnings: impl IntoIterator<Item = Warning>, kept: &mut Vec<Warning>) {
    for warning in warnings {
        notes.warn(run, warning.clone());
        kept.push(warning);
    }
}

fn as_recognised(segments: &[Segment]) -> Vec<Cue> {
    let cue = |s: &Segment| Cue {
        start: s.start,
        end: s.end,
        text: s.text.clone(),
        paragraph: s.paragraph,
        speaker: s.speaker.clone(),
    };
    segments.iter().map(cue).collect()
}

/// The engine that says least in favour of the whole text.
pub(super) fn weaker(a: CleanEngine, b: CleanEngine) -> CleanEngine {
    let rank = |engine| match engine {
        CleanEngine::None => 0,
        CleanEngine::Grammar => 1,
        CleanEngine::Checked => 2,
        CleanEngine::Rules => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}
