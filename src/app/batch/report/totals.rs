//! Sums over all files.

use super::super::record::{Kind, Reason};
use super::{File, State};
use crate::outcome::{Timings, WarningCode};
use serde::Serialize;
use std::collections::BTreeMap;

/// Sums over all files.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    pub files: usize,
    pub done: usize,
    pub failed: usize,
    /// Of those done: existing transcripts.
    pub transcripts: usize,
    /// Seconds of audio of those done.
    pub seconds: f64,
    pub bytes: u64,
    pub words: usize,
    /// Passages recognised with low confidence, and in how many files.
    pub doubtful: usize,
    pub doubtful_files: usize,
    /// Files that a step after recognition did not work for.
    pub fallbacks: usize,
    /// By language spoken, most audio first.
    pub languages: Vec<Share>,
    /// By route, most files first; empty without `--intent`.
    pub routes: Vec<Share>,
    /// Files with each warning.
    pub warnings: BTreeMap<WarningCode, usize>,
    /// Files with each reason of failure.
    pub failures: BTreeMap<Reason, usize>,
    /// Milliseconds a stage, summed.
    pub stages: Vec<Stage>,
}

/// A part of the files.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Share {
    pub name: String,
    pub files: usize,
    /// Seconds of audio.
    pub seconds: f64,
}

/// What one stage took.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Stage {
    pub name: &'static str,
    pub ms: f64,
}

/// Whether a warning is about the text and not about what was said: something else had to take the place of a step.
pub(super) fn is_fallback(code: WarningCode) -> bool {
    use WarningCode::*;
    !matches!(code, NoSpeech | LowConfidence | AudioTruncated | Interrupted | IntentUndecided)
}

impl Totals {
    pub fn of(files: &[File]) -> Self {
        let mut totals = Totals { files: files.len(), ..Totals::default() };
        let (mut languages, mut routes) = (BTreeMap::new(), BTreeMap::new());
        for file in files {
            totals.bytes += file.bytes;
            if let Some(reason) = file.failure() {
                *totals.failures.entry(reason).or_default() += 1;
            }
            if file.status == State::Failed {
                totals.failed += 1;
                continue;
            }
            let summary = &file.summary;
            totals.done += 1;
            totals.transcripts += usize::from(file.kind == Kind::Transcript);
            totals.seconds += file.seconds;
            totals.words += summary.words;
            totals.doubtful += summary.doubtful.len();
            totals.doubtful_files += usize::from(!summary.doubtful.is_empty());
            totals.fallbacks += usize::from(summary.warnings.iter().any(|warning| is_fallback(warning.code)));
            let mut codes: Vec<WarningCode> = summary.warnings.iter().map(|warning| warning.code).collect();
            codes.sort();
            codes.dedup();
            codes.into_iter().for_each(|code| *totals.warnings.entry(code).or_default() += 1);
            let language = summary.language.map_or_else(|| "none".to_owned(), |lang| lang.code().to_owned());
            add(&mut languages, language, file.seconds);
            if let Some(intent) = &summary.intent {
                add(&mut routes, intent.label.clone(), file.seconds);
            }
        }
        totals.languages = shares(languages, |share| share.seconds);
        totals.routes = shares(routes, |share| share.files as f64);
        totals.stages = stages(files);
        totals
    }
}

fn add(shares: &mut BTreeMap<String, (usize, f64)>, name: String, seconds: f64) {
    let share = shares.entry(name).or_default();
    *share = (share.0 + 1, share.1 + seconds);
}

fn shares(by_name: BTreeMap<String, (usize, f64)>, size: fn(&Share) -> f64) -> Vec<Share> {
    let mut shares: Vec<Share> =
        by_name.into_iter().map(|(name, (files, seconds))| Share { name, files, seconds }).collect();
    shares.sort_by(|a, b| size(b).total_cmp(&size(a)));
    shares
}

fn stages(files: &[File]) -> Vec<Stage> {
    type Of = fn(&Timings) -> Option<f64>;
    let all: [(&'static str, Of); 6] = [
        ("decode", |timings| timings.decode_ms),
        ("vad", |timings| timings.vad_ms),
        ("recognize", |timings| timings.recognize_ms),
        ("clean", |timings| timings.clean_ms),
        ("translate", |timings| timings.translate_ms),
        ("intent", |timings| timings.intent_ms),
    ];
    let sum = |of: Of| files.iter().filter_map(|file| of(&file.summary.timings)).sum::<f64>();
    let stages = all.into_iter().map(|(name, of)| Stage { name, ms: sum(of) });
    stages.filter(|stage| stage.ms > 0.0).collect()
}
