//! Long text in pieces that a small context and a bounded grammar can hold.

use super::rules::begins_after;
use super::units::{Gap, Unit};
use std::ops::Range;

/// A run is closed at the first sentence end after this many units: long enough to share one prompt, short enough to
/// start early and to lose little when a server fails.
const RUN_UNITS: usize = 40;
/// Units and bytes that one request spells at most. 100 words are about 150 tokens in and 150 out: with the prompt well
/// inside 1024 tokens.
const WINDOW_UNITS: usize = 100;
const WINDOW_BYTES: usize = 900;

/// Stretches that end at sentence ends the text itself shows (or paragraphs), so that they can be cleaned at the same
/// time without knowing of each other. A stretch without such ends may be long: see [`window_end`].
pub fn runs(units: &[Unit]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for at in 0..units.len() {
        let paragraph = units.get(at + 1).is_some_and(|next| next.gap == Gap::Paragraph);
        let sentence = begins_after(&units[at]) && at + 1 - start >= RUN_UNITS;
        if paragraph || sentence || at + 1 == units.len() {
            runs.push(start..at + 1);
            start = at + 1;
        }
    }
    runs
}

/// End of the next window in `run`, which starts at `from`: bounded in units and bytes, at least one unit.
pub fn window_end(units: &[Unit], from: usize, run_end: usize) -> usize {
    let mut bytes = 0;
    let mut end = from;
    while end < run_end && end - from < WINDOW_UNITS {
        bytes += weight(&units[end]);
        if bytes > WINDOW_BYTES && end > from {
            break;
        }
        end += 1;
    }
    end
}

/// A "word" too long to be spelled through a model (a data URL, a dump): it stays as it is.
pub fn is_oversized(unit: &Unit) -> bool {
    weight(unit) > WINDOW_BYTES / 2
}

fn weight(unit: &Unit) -> usize {
    unit.lead.len() + unit.core.len() + unit.trail.len() + 1
}

#[cfg(test)]
mod tests {
    use super::super::units::parse;
    use super::*;

    #[test]
    fn runs_end_at_sentences_and_cover_everything() {
        let text = "One two three four five six seven eight nine ten. ".repeat(20);
        let units = parse(&text);
        let runs = runs(&units);
        assert!(runs.iter().all(|run| run.len() == 40 && begins_after(&units[run.end - 1])));
        assert_eq!(runs.len(), 5);
    }

    #[test]
    fn text_without_marks_is_one_run_of_bounded_windows() {
        let units = parse(&"word ".repeat(1000));
        assert_eq!(runs(&units).len(), 1);
        assert_eq!(window_end(&units, 0, 1000), 100);
        assert_eq!(window_end(&units, 950, 1000), 1000);
        assert!(is_oversized(&parse(&"x".repeat(5000))[0]));
    }
}
