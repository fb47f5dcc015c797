//! The evaluation as one HTML file that asks nobody for anything: table, confusion matrices, reliability plots, mistakes.

use super::Evaluation;
use super::intent::{Bin, IntentScores, UNDECIDED};
use super::scores::Scores;
use super::table::{lines, percent};
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--weak:#777;--accent:#2f6fd0}\
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem}\
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
th{font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}\
td.c{text-align:center;min-width:4rem}small,.weak{color:var(--weak)}svg{max-width:100%;height:auto}\
svg text{font:12px system-ui,sans-serif;fill:currentColor}";

/// The whole page.
pub(super) fn html(evaluation: &Evaluation) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>bestbox eval</title>");
    let _ = write!(page, "<style>{STYLE}</style></head><body><h1>Evaluation</h1><p>{} lines", evaluation.lines);
    if evaluation.fitted_on > 0 {
        let _ = write!(page, "; the intent was fitted on {} others", evaluation.fitted_on);
    }
    if evaluation.interrupted {
        page.push_str("; interrupted: the figures are of the lines before that");
    }
    page.push_str(".</p><table><thead><tr><th>Figure</th>");
    for scores in &evaluation.configurations {
        let _ = write!(page, "<th>{}</th>", escaped(&scores.name));
    }
    page.push_str("</tr></thead><tbody>");
    for line in lines(evaluation) {
        let _ = write!(page, "<tr><td>{}</td>", escaped(&line.what));
        for value in &line.values {
            let _ = write!(page, "<td>{}</td>", escaped(value));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
    evaluation.configurations.iter().for_each(|scores| configuration(&mut page, scores));
    page.push_str("</body></html>\n");
    page
}

fn configuration(page: &mut String, scores: &Scores) {
    let _ = write!(page, "<h2>{}</h2>", escaped(&scores.name));
    if let Some(intent) = &scores.intent {
        confusion(page, intent);
        reliability(page, &intent.reliability);
        mistakes(page, intent);
    }
    if let Some(cleanup) = scores.cleanup.as_ref().filter(|cleanup| !cleanup.unfaithful.is_empty()) {
        page.push_str("<h3>Texts whose words cleanup changed</h3><ul>");
        for text in &cleanup.unfaithful {
            let _ = write!(page, "<li>{}</li>", escaped(text));
        }
        page.push_str("</ul>");
    }
    list(page, "Warnings", scores.warnings.iter().map(|(code, count)| (code.clone(), count.to_string())));
    list(page, "Lines that failed", scores.failed.iter().cloned());
}

fn list(page: &mut String, title: &str, rows: impl ExactSizeIterator<Item = (String, String)>) {
    if rows.len() == 0 {
        return;
    }
    let _ = write!(page, "<h3>{title}</h3><table><tbody>");
    for (a, b) in rows {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(&a), escaped(&b));
    }
    page.push_str("</tbody></table>");
}

fn confusion(page: &mut String, intent: &IntentScores) {
    let mut taken: Vec<&String> = intent.confusion.values().flat_map(|row| row.keys()).collect();
    taken.extend(intent.confusion.keys());
    taken.sort_by_key(|name| (name.as_str() == UNDECIDED, name.as_str()));
    taken.dedup();
    page.push_str("<h3>Routes taken</h3><table><thead><tr><th>should be</th>");
    for name in &taken {
        let _ = write!(page, "<th>{}</th>", escaped(name));
    }
    page.push_str("</tr></thead><tbody>");
    for (right, row) in &intent.confusion {
        let total: usize = row.values().sum();
        let _ = write!(page, "<tr><th>{}</th>", escaped(right));
        for name in &taken {
            let count = row.get(*name).copied().unwrap_or(0);
            let share = count as f64 / total.max(1) as f64 * 60.0;
            let colour = if *name == right { "var(--accent)" } else { "#d0542f" };
            let _ = write!(
                page,
                "<td class=\"c\" style=\"background:color-mix(in srgb,{colour} {share:.0}%,transparent)\">{count}</td>"
            );
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
}

/// Accuracy over probability; the area of a dot is the number of utterances in its bin.
fn reliability(page: &mut String, bins: &[Bin]) {
    let (size, edge) = (320.0, 40.0);
    let at = |share: f64| edge + share * size;
    let up = |share: f64| 10.0 + (1.0 - share) * size;
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
    page.push_str("<h3>Reliability</h3><p class=\"weak\">Share that was right over the probability given; on the line is honest.</p>");
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {0} {0}\" width=\"{0}\" role=\"img\" aria-label=\"reliability plot\">",
        size + 60.0
    );
    let _ = write!(
        page,
        "<rect x=\"{edge}\" y=\"10\" width=\"{size}\" height=\"{size}\" fill=\"none\" stroke=\"var(--line)\"/>\
         <line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"var(--line)\"/>",
        at(0.0),
        up(0.0),
        at(1.0),
        up(1.0)
    );
    for tick in [0.0, 0.5, 1.0] {
        let _ =
            write!(page, "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{tick}</text>", at(tick), size + 28.0);
        let _ =
            write!(page, "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{tick}</text>", edge - 6.0, up(tick) + 4.0);
    }
    for bin in bins.iter().filter(|bin| bin.count > 0) {
        let _ = write!(
            page,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"var(--accent)\" fill-opacity=\".7\"><title>{} utterances: \
             probability {:.2}, right {:.2}</title></circle>",
            at(bin.confidence),
            up(bin.accuracy),
            3.0 + 13.0 * (bin.count as f64 / most).sqrt(),
            bin.count,
            bin.confidence,
            bin.accuracy
        );
    }
    page.push_str("</svg>");
}

fn mistakes(page: &mut String, intent: &IntentScores) {
    if intent.mistakes.is_empty() {
        return;
    }
    page.push_str("<h3>Wrong routes</h3><table><thead><tr><th>Utterance</th><th>should be</th><th>taken</th><th>probability</th></tr></thead><tbody>");
    for (name, right, taken, probability) in &intent.mistakes {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
            escaped(name),
            escaped(right),
            escaped(taken),
            percent(*probability)
        );
    }
    page.push_str("</tbody></table>");
}

pub(in crate::app) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn everything_is_there_and_nothing_of_it_is_markup() {
        let hostile = "<img src=x onerror=\"alert(1)\">";
        let row = BTreeMap::from([("note".to_owned(), 3), (UNDECIDED.to_owned(), 1)]);
        let intent = IntentScores {
            count: 4,
            accuracy: 0.75,
            interval: (0.3, 0.95),
            macro_f1: 0.5,
            out_of_scope_recall: None,
            calibration_error: 0.1,
            undecided: 0.25,
            heavy: 0.0,
            confusion: BTreeMap::from([("note".to_owned(), row)]),
            reliability: vec![Bin { count: 4, confidence: 0.8, accuracy: 0.75 }],
            mistakes: vec![(hostile.to_owned(), "note".into(), "agent".into(), 0.9)],
        };
        let scores = Scores { name: hostile.to_owned(), intent: Some(intent), ..Scores::default() };
        let page = html(&Evaluation { lines: 4, fitted_on: 20, interrupted: true, configurations: vec![scores] });
        assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
        assert!(
            page.contains("interrupted")
                && page.contains("75.0 %")
                && page.contains("<circle")
                && page.contains("fitted on 20")
        );
        assert!(!page.contains("http"), "no request to anybody");
    }
}
