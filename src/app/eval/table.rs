//! The evaluation as a table: a line a figure, a column a configuration.

use super::Evaluation;
use super::scores::Scores;
use comfy_table::{Table, presets};

/// One figure of every configuration.
pub(super) struct Line {
    pub what: String,
    pub values: Vec<String>,
}

/// The figures in the order of the flow. Those that no configuration has are left out.
pub(super) fn lines(evaluation: &Evaluation) -> Vec<Line> {
    let all = &evaluation.configurations;
    let mut lines = Vec::new();
    let mut add = |what: String, of: &dyn Fn(&Scores) -> Option<String>| {
        let values: Vec<Option<String>> = all.iter().map(of).collect();
        if values.iter().any(Option::is_some) {
            lines.push(Line { what, values: values.into_iter().map(|v| v.unwrap_or_else(|| "–".into())).collect() });
        }
    };
    let mut languages: Vec<&String> = all.iter().flat_map(|scores| scores.speech.keys()).collect();
    languages.sort();
    languages.dedup();
    for language in languages {
        add(format!("WER, {language}"), &|scores| {
            let speech = scores.speech.get(language)?;
            let (s, d, i) = speech.errors;
            Some(format!(
                "{} ({} words: {s} substituted, {d} lost, {i} added; {:.0} s)",
                percent(speech.wer),
                speech.words,
                speech.seconds
            ))
        });
        add(format!("WER after cleanup, {language}"), &|scores| {
            Some(percent(scores.speech.get(language)?.wer_cleaned))
        });
        add(format!("CER, {language}"), &|scores| Some(percent(scores.speech.get(language)?.cer)));
    }
    add("punctuation F1".into(), &|scores| {
        let cleanup = scores.cleanup.as_ref()?;
        Some(format!("{:.3} (before {:.3})", cleanup.punctuation_f1?, cleanup.punctuation_f1_before.unwrap_or(0.0)))
    });
    add("capitals F1".into(), &|scores| Some(format!("{:.3}", scores.cleanup.as_ref()?.capitals_f1?)));
    add("words kept by cleanup".into(), &|scores| {
        let cleanup = scores.cleanup.as_ref()?;
        Some(format!("{} of {} texts", percent(cleanup.faithful), cleanup.texts))
    });
    add("cleaned by rules".into(), &|scores| Some(percent(scores.cleanup.as_ref()?.fallbacks)));
    add("translations sane".into(), &|scores| {
        let translation = scores.translation.as_ref()?;
        Some(format!("{} of {} texts", percent(translation.sane), translation.texts))
    });
    add("intent accuracy".into(), &|scores| {
        let intent = scores.intent.as_ref()?;
        let (low, high) = intent.interval;
        Some(format!("{} ({} to {}; {})", percent(intent.accuracy), percent(low), percent(high), intent.count))
    });
    add("intent macro-F1".into(), &|scores| Some(format!("{:.3}", scores.intent.as_ref()?.macro_f1)));
    add("out-of-scope recall".into(), &|scores| scores.intent.as_ref()?.out_of_scope_recall.map(percent));
    add("calibration error".into(), &|scores| Some(format!("{:.3}", scores.intent.as_ref()?.calibration_error)));
    add("left undecided".into(), &|scores| Some(percent(scores.intent.as_ref()?.undecided)));
    add("sent to the heavy model".into(), &|scores| Some(percent(scores.intent.as_ref()?.heavy)));
    let stages = ["recognition", "cleanup", "translation", "intent", "whole recording", "whole text"];
    for stage in stages {
        add(format!("{stage}, ms"), &|scores| {
            let latency = scores.latency.get(stage)?;
            Some(format!("{:.0} median, {:.0} p95, {:.0} p99", latency.p50, latency.p95, latency.p99))
        });
    }
    add("lines that failed".into(), &|scores| (!scores.failed.is_empty()).then(|| scores.failed.len().to_string()));
    lines
}

/// For a terminal.
pub(super) fn table(evaluation: &Evaluation) -> String {
    let mut table = Table::new();
    let names = evaluation.configurations.iter().map(|scores| scores.name.clone());
    table.load_style(presets::NOTHING).set_header(std::iter::once("FIGURE".to_owned()).chain(names));
    for line in lines(evaluation) {
        table.add_row(std::iter::once(line.what).chain(line.values));
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    let mut text = table.trim_fmt();
    for scores in &evaluation.configurations {
        for (name, reason) in &scores.failed {
            text.push_str(&format!("\n{}: {name}: {reason}", scores.name));
        }
    }
    text
}

/// `0.0712` → `7.1 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
