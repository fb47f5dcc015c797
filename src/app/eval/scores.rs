//! What one configuration made of the manifest, in figures.

use super::intent::{Decision, IntentScores, score};
use super::items::Item;
use super::punctuation::{Punctuation, punctuation};
use crate::app::wer::{WordErrors, cer, wer};
use crate::language::Lang;
use crate::outcome::{Outcome, Style, Warning, WarningCode};
use crate::text::clean::is_faithful;
use serde::Serialize;
use std::collections::BTreeMap;

/// Word and character errors of one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SpeechScores {
    pub recordings: usize,
    pub seconds: f64,
    /// Reference length, words (characters where the language has no spaces).
    pub words: usize,
    /// Rates, 0 to 1 and above, of the text as recognised.
    pub wer: f64,
    pub cer: f64,
    /// The same of the cleaned text.
    pub wer_cleaned: f64,
    /// Substitutions, deletions and insertions.
    pub errors: (usize, usize, usize),
}

/// What cleanup did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct CleanupScores {
    pub texts: usize,
    /// F1 of commas, stops and question marks; of capitals.
    pub punctuation_f1: Option<f64>,
    pub capitals_f1: Option<f64>,
    /// The same before cleanup: what the recogniser gave.
    pub punctuation_f1_before: Option<f64>,
    /// Share whose words are the speaker's, all of them, in order.
    pub faithful: f64,
    /// Those whose words are not.
    pub unfaithful: Vec<String>,
    /// Share that rules had to clean, because no model answered or its text was refused.
    pub fallbacks: f64,
}

/// What translation did, where one was wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct TranslationScores {
    pub texts: usize,
    /// Share that came out and passed every check: other language, length, numbers, nothing added around it.
    pub sane: f64,
    /// Share that was refused by a check.
    pub refused: f64,
    /// Share without a model to ask.
    pub unavailable: f64,
}

/// Nearest-rank percentiles of a stage, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub count: usize,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Scores {
    /// How the configuration is called.
    pub name: String,
    /// Lines that gave no outcome, with the reason.
    pub failed: Vec<(String, String)>,
    /// By language; `all` besides where there are several.
    pub speech: BTreeMap<String, SpeechScores>,
    pub cleanup: Option<CleanupScores>,
    pub translation: Option<TranslationScores>,
    pub intent: Option<IntentScores>,
    /// By stage.
    pub latency: BTreeMap<&'static str, Latency>,
    /// Warnings by reason.
    pub warnings: BTreeMap<String, usize>,
}

/// One line and what came of it.
pub(super) struct Done {
    pub item: Item,
    pub outcome: Outcome,
}

/// Figures of `done` under the routes `names`.
pub(super) fn scores(name: &str, done: &[Done], failed: Vec<(String, String)>, names: &[String]) -> Scores {
    let mut warnings = BTreeMap::new();
    for warning in done.iter().flat_map(|done| &done.outcome.warnings) {
        *warnings.entry(code(warning)).or_insert(0) += 1;
    }
    let decisions: Vec<Decision> = done
        .iter()
        .filter_map(|done| {
            let (right, intent) = (done.item.route.clone()?, done.outcome.intent.clone()?);
            Some(Decision { name: done.item.name.clone(), right, intent })
        })
        .collect();
    Scores {
        name: name.to_owned(),
        failed,
        speech: speech(done),
        cleanup: cleanup(done),
        translation: translation(done),
        intent: score(&decisions, names),
        latency: latency(done),
        warnings,
    }
}

fn code(warning: &Warning) -> String {
    // A code is a plain string in JSON.
    serde_json::to_value(warning.code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn speech(done: &[Done]) -> BTreeMap<String, SpeechScores> {
    let mut groups: BTreeMap<String, Vec<(&Done, &str)>> = BTreeMap::new();
    for done in done.iter().filter(|done| done.item.audio.is_some()) {
        let Some(reference) = done.item.reference.as_deref() else { continue };
        groups.entry(done.item.language.code().to_owned()).or_default().push((done, reference));
    }
    if groups.len() > 1 {
        groups.insert("all".to_owned(), groups.values().flatten().copied().collect());
    }
    groups.into_iter().map(|(language, group)| (language, speech_of(&group))).collect()
}

fn speech_of(group: &[(&Done, &str)]) -> SpeechScores {
    let lang = |done: &Done| done.item.language;
    let raw = |done: &Done| done.outcome.transcript.text();
    let total = |rate: fn(&str, &str, Lang) -> WordErrors, text: &dyn Fn(&Done) -> String| {
        group.iter().map(|(done, reference)| rate(reference, &text(done), lang(done))).sum::<WordErrors>()
    };
    let cleaned = |done: &Done| done.outcome.cleaned.as_ref().map_or_else(String::new, |c| c.track.text.clone());
    let words = total(wer, &raw);
    SpeechScores {
        recordings: group.len(),
        seconds: group.iter().map(|(done, _)| done.outcome.timings.audio_s).sum(),
        words: words.reference_len(),
        wer: words.rate(),
        cer: total(cer, &raw).rate(),
        wer_cleaned: total(wer, &cleaned).rate(),
        errors: (words.substitutions, words.deletions, words.insertions),
    }
}

fn cleanup(done: &[Done]) -> Option<CleanupScores> {
    let (mut after, mut before) = (Punctuation::default(), Punctuation::default());
    let (mut texts, mut faithful, mut fallbacks, mut unfaithful) = (0, 0, 0, Vec::new());
    for done in done {
        let Some(cleaned) = done.outcome.cleaned.as_ref().filter(|cleaned| cleaned.style != Style::Verbatim) else {
            continue;
        };
        texts += 1;
        let raw = done.outcome.transcript.text();
        if let Some(reference) = &done.item.reference {
            after += punctuation(reference, &cleaned.track.text, done.item.language);
            before += punctuation(reference, &raw, done.item.language);
        }
        if is_faithful(&raw, &cleaned.track.text, cleaned.track.language, cleaned.style) {
            faithful += 1;
        } else {
            unfaithful.push(format!("{}: {raw} → {}", done.item.name, cleaned.track.text));
        }
        fallbacks += usize::from(has(
            &done.outcome,
            &[WarningCode::CleanupUnavailable, WarningCode::CleanupRejected, WarningCode::RewriteRejected],
        ));
    }
    let share = |part: usize| part as f64 / texts as f64;
    (texts > 0).then(|| CleanupScores {
        texts,
        punctuation_f1: after.marks.f1(),
        capitals_f1: after.capitals.f1(),
        punctuation_f1_before: before.marks.f1(),
        faithful: share(faithful),
        unfaithful,
        fallbacks: share(fallbacks),
    })
}

fn has(outcome: &Outcome, codes: &[WarningCode]) -> bool {
    outcome.warnings.iter().any(|warning| codes.contains(&warning.code))
}

fn translation(done: &[Done]) -> Option<TranslationScores> {
    let wanted: Vec<&Outcome> = done
        .iter()
        .map(|done| &done.outcome)
        .filter(|outcome| {
            let trouble = [WarningCode::TranslationUnavailable, WarningCode::TranslationRejected];
            outcome.translated.is_some() || has(outcome, &trouble)
        })
        .collect();
    let share = |of: &dyn Fn(&Outcome) -> bool| {
        wanted.iter().filter(|outcome| of(outcome)).count() as f64 / wanted.len() as f64
    };
    let (unavailable, refused) = ([WarningCode::TranslationUnavailable], [WarningCode::TranslationRejected]);
    (!wanted.is_empty()).then(|| TranslationScores {
        texts: wanted.len(),
        sane: share(&|outcome| !has(outcome, &refused) && !has(outcome, &unavailable)),
        refused: share(&|outcome| has(outcome, &refused)),
        unavailable: share(&|outcome| has(outcome, &unavailable)),
    })
}

fn latency(done: &[Done]) -> BTreeMap<&'static str, Latency> {
    let mut stages: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for done in done {
        let timings = &done.outcome.timings;
        let recorded = done.item.audio.is_some();
        let stage = [
            ("recognition", timings.recognize_ms),
            ("cleanup", timings.clean_ms),
            ("translation", timings.translate_ms),
            ("intent", timings.intent_ms),
            ("whole recording", recorded.then_some(timings.total_ms)),
            ("whole text", (!recorded).then_some(timings.total_ms)),
        ];
        for (name, ms) in stage {
            stages.entry(name).or_default().extend(ms);
        }
    }
    stages.retain(|_, values| !values.is_empty());
    stages.into_iter().map(|(name, values)| (name, percentiles(values))).collect()
}

fn percentiles(mut values: Vec<f64>) -> Latency {
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let at = (values.len() as f64 * share).ceil() as usize;
        values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    Latency { count: values.len(), p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{CleanEngine, Cleaned, SCHEMA, SourceInfo, Timings, Track};
    use crate::speech::{Segment, Transcript};
    use std::path::PathBuf;

    fn done(language: &str, reference: &str, raw: &str, cleaned: &str) -> Done {
        let lang: Lang = language.parse().unwrap();
        let line = serde_json::json!({ "audio": "a.wav", "language": language, "text": reference }).to_string();
        let folder = tempfile::tempdir().unwrap();
        let manifest: PathBuf = folder.path().join("m.jsonl");
        std::fs::write(&manifest, line).unwrap();
        let item = super::super::items::read(&[manifest]).unwrap().remove(0);
        let cue =
            crate::outcome::Cue { start: 0.0, end: 1.0, text: cleaned.to_owned(), paragraph: false, speaker: None };
        let track = Track::new(lang, vec![cue]);
        let segment = Segment { text: raw.to_owned(), ..Segment::default() };
        Done {
            item,
            outcome: Outcome {
                schema: SCHEMA,
                source: SourceInfo::default(),
                transcript: Transcript { language: Some(lang), segments: vec![segment] },
                cleaned: Some(Cleaned { style: Style::Punctuate, engine: CleanEngine::Grammar, track }),
                translated: None,
                intent: None,
                reply: None,
                warnings: vec![Warning::new(WarningCode::CleanupRejected, "x")],
                timings: Timings { audio_s: 2.0, clean_ms: Some(5.0), total_ms: 9.0, ..Timings::default() },
            },
        }
    }

    #[test]
    fn languages_are_apart_and_together() {
        let all = [
            done("en", "Ann met Bob today.", "ann met rob today", "Ann met rob today."),
            done("de", "Ja gut.", "ja gut", "Ja gut."),
        ];
        let found = scores("a", &all, vec![], &[]);
        assert_eq!(found.speech["de"].wer, 0.0);
        assert!((found.speech["en"].wer - 0.25).abs() < 1e-9, "{:?}", found.speech["en"]);
        assert!((found.speech["all"].wer - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(found.speech["all"].seconds, 4.0);
        let cleanup = found.cleanup.unwrap();
        assert_eq!((cleanup.faithful, cleanup.fallbacks, cleanup.texts), (1.0, 1.0, 2));
        assert_eq!(cleanup.punctuation_f1, Some(1.0));
        assert_eq!(cleanup.punctuation_f1_before, Some(0.0));
        assert_eq!(found.warnings["cleanup-rejected"], 2);
        assert_eq!(found.latency["cleanup"].p95, 5.0);
    }

    #[test]
    fn a_word_that_cleanup_changed_is_shown() {
        let all = [done("en", "I think so.", "i think so", "I thought so.")];
        let cleanup = scores("a", &all, vec![], &[]).cleanup.unwrap();
        assert_eq!(cleanup.faithful, 0.0);
        assert!(cleanup.unfaithful[0].contains("i think so → I thought so."), "{:?}", cleanup.unfaithful);
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let hundred = percentiles((1..=100).map(f64::from).collect());
        assert_eq!((hundred.p50, hundred.p95, hundred.p99), (50.0, 95.0, 99.0));
    }
}
