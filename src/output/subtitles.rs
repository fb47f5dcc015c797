//! Subtitle layout: which words stand together, in which lines, from when to when.
//!
//! The text is one row of timed atoms. Dynamic programming picks the cheapest cut into captions (few, ending where
//! a sentence or clause ends, not too long to read or too short to see); so a long passage is split and short
//! neighbours of one sentence are merged by the same rule. Lines are balanced afterwards, then the times are set.

use super::atoms::{Atom, join, joins_unspaced, width};
use super::passages::{Chosen, TimedAtom};
use super::phrasing::break_cost;
use super::timing::set_times;
use crate::language::Lang;

/// Conventions of subtitling, after Netflix's Timed Text Style Guide and the BBC Subtitle Guidelines.
#[derive(Clone, Debug, PartialEq)]
pub struct SubtitleLimits {
    /// Columns of a line; East Asian wide characters take two (42 columns are 21 ideographs).
    pub columns: usize,
    /// Lines of a caption.
    pub lines: usize,
    /// Reading speed in columns a second that display times are extended to reach.
    pub columns_per_second: f64,
    /// Shortest display, seconds (5/6 s: 20 frames at 24).
    pub min_seconds: f64,
    /// Longest display, seconds.
    pub max_seconds: f64,
    /// Pause between captions, seconds (2 frames at 24).
    pub gap_seconds: f64,
}

impl Default for SubtitleLimits {
    fn default() -> Self {
        SubtitleLimits {
            columns: 42,
            lines: 2,
            columns_per_second: 17.0,
            min_seconds: 5.0 / 6.0,
            max_seconds: 7.0,
            gap_seconds: 1.0 / 12.0,
        }
    }
}

/// One subtitle as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// Milliseconds from the start of the recording.
    pub start_ms: u64,
    /// Milliseconds; after `start_ms`, not after the next caption's `start_ms`.
    pub end_ms: u64,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
    pub(super) lines: Vec<Vec<TimedAtom>>,
}

impl Caption {
    /// The lines, none empty.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| join(line.iter().map(|timed| &timed.atom)))
    }
}

/// Passages of silence this long are never bridged by a caption, seconds.
const LONGEST_PAUSE_INSIDE: f64 = 1.0;

/// How a format says who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `Name: ` in the text, at each change of speaker.
    InText,
    /// Beside the text: [`Caption::speaker`].
    Beside,
}

/// Lays the chosen text out. `duration` is the recording's length in seconds, where known.
pub(super) fn captions(chosen: &Chosen, duration: Option<f64>, limits: &SubtitleLimits, names: Names) -> Vec<Caption> {
    let limits = limits.sane();
    let units = units(chosen, limits.columns, names);
    let mut captions: Vec<Caption> = cut(&units, chosen.language, &limits)
        .into_iter()
        .map(|range| caption(&units[range], chosen, &limits))
        .collect();
    // Where two speak at once the end of the one may come after the start of the other. The words of one stay as they are.
    if chosen.has_speakers() {
        captions.sort_by_key(|caption| caption.start_ms);
    }
    if names == Names::InText {
        name_interrupted(&mut captions);
    }
    set_times(&mut captions, duration, &limits);
    captions
}

impl SubtitleLimits {
    /// Nonsense (no columns, no lines, negative times) replaced by the nearest that can be laid out.
    fn sane(&self) -> Self {
        let min_seconds = if self.min_seconds > 0.0 { self.min_seconds } else { 0.001 };
        SubtitleLimits {
            columns: self.columns.max(2),
            lines: self.lines.max(1),
            columns_per_second: if self.columns_per_second > 0.1 { self.columns_per_second } else { 0.1 },
            min_seconds,
            max_seconds: self.max_seconds.max(min_seconds),
            gap_seconds: self.gap_seconds.max(0.0),
        }
    }
}

/// Who goes on after somebody else spoke in between is named once more, though the line may become too long by it.
fn name_interrupted(captions: &mut [Caption]) {
    for at in 1..captions.len() {
        let (before, after) = captions.split_at_mut(at);
        let (before, caption) = (&before[at - 1], &mut after[0]);
        let Some(name) = caption.speaker.clone().filter(|_| caption.speaker != before.speaker) else { continue };
        if let Some(first) = caption.lines.first_mut().and_then(|line| line.first_mut()) {
            let label = format!("{name}:");
            if !first.atom.text.starts_with(&label) {
                first.atom.text = format!("{label} {}", first.atom.text);
            }
        }
    }
}

struct Unit {
    /// Index of its passage.
    passage: usize,
    timed: TimedAtom,
    width: usize,
    starts: Start,
}

#[derive(Clone, Copy, PartialEq)]
enum Start {
    Nothing,
    Passage,
    Paragraph,
}

fn units(chosen: &Chosen, columns: usize, names: Names) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (at, (passage, begins)) in chosen.turns().enumerate() {
        let mut atoms = passage.timed_atoms(columns);
        if let (Some(name), Some(first)) = (begins.filter(|_| names == Names::InText), atoms.first_mut()) {
            name_first(first, name);
        }
        for (i, mut timed) in atoms.into_iter().enumerate() {
            let starts = match (i, passage.paragraph) {
                (0, true) => Start::Paragraph,
                (0, false) => Start::Passage,
                _ => Start::Nothing,
            };
            if let (0, Some(last)) = (i, units.last()) {
                timed.atom.space_before = !joins_unspaced(&last.timed.atom.text, &timed.atom.text);
            }
            units.push(Unit { passage: at, width: width(&timed.atom.text), timed, starts });
        }
    }
    units
}

/// The name and the first word are one atom: they are never on two captions, and the layout knows how long they are.
fn name_first(first: &mut TimedAtom, name: &str) {
    first.atom.text = format!("{name}: {}", first.atom.text);
}

/// Ranges of units, one a caption.
fn cut(units: &[Unit], language: Option<Lang>, limits: &SubtitleLimits) -> Vec<std::ops::Range<usize>> {
    // best[j]: cheapest way to cut the first j units, and where its last caption starts.
    let mut best: Vec<(f64, usize)> = vec![(f64::INFINITY, 0); units.len() + 1];
    // phrase[i]: cost of a break before unit i, as far as the words go; 0 at the end of a sentence.
    let text = |i: usize| units[i].timed.atom.text.as_str();
    let phrase: Vec<f64> =
        (0..units.len()).map(|i| if i == 0 { 0.0 } else { break_cost(text(i - 1), text(i), language) }).collect();
    best[0] = (0.0, 0);
    for from in 0..units.len() {
        let base = best[from].0 + if from == 0 { 0.0 } else { cut_cost(&units[from - 1], &units[from], phrase[from]) };
        let (mut lines, mut line, mut columns, mut bridges) = (1, 0, 0, Bridges::default());
        for to in from..units.len() {
            let unit = &units[to];
            if to > from {
                if must_cut(&units[to - 1], unit) {
                    break;
                }
                bridges.add(phrase[to] == 0.0, unit.starts);
            }
            let space = usize::from(to > from && unit.timed.atom.space_before);
            columns += space + unit.width;
            if to > from && line + space + unit.width <= limits.columns {
                line += space + unit.width;
            } else {
                lines += usize::from(to > from);
                line = unit.width;
            }
            if lines > limits.lines {
                break;
            }
            let cost = base
                + bridges.cost(columns > limits.columns)
                + display_cost(units, from..to + 1, columns, limits)
                + line_cost(units, &phrase, from..to + 1, limits);
            if cost < best[to + 1].0 {
                best[to + 1] = (cost, from);
            }
        }
    }
    let mut ranges = Vec::new();
    let mut end = units.len();
    while end > 0 {
        ranges.push(best[end].1..end);
        end = best[end].1;
    }
    ranges.reverse();
    ranges
}

fn pause(before: &Unit, after: &Unit) -> f64 {
    after.timed.start - before.timed.end
}

/// Cost of ending a caption between two units.
fn cut_cost(before: &Unit, after: &Unit, phrase: f64) -> f64 {
    let at_pause = if pause(before, after) >= 0.3 { 0.8 } else { 0.0 };
    let limit = if after.starts == Start::Nothing { f64::INFINITY } else { 0.3 };
    (phrase.min(limit) - at_pause).max(0.0)
}

fn must_cut(before: &Unit, after: &Unit) -> bool {
    after.starts == Start::Paragraph || pause(before, after) > LONGEST_PAUSE_INSIDE
}

/// What a caption runs across instead of ending there.
#[derive(Default)]
struct Bridges {
    sentences: f64,
    passages: f64,
    both: f64,
}

impl Bridges {
    fn add(&mut self, ends_sentence: bool, starts: Start) {
        match (ends_sentence, starts == Start::Nothing) {
            (true, true) => self.sentences += 1.0,
            (false, false) => self.passages += 1.0,
            (true, false) => self.both += 1.0,
            (false, true) => {}
        }
    }

    /// Sentences share a caption where they fit on one line. From two passages they do so only when one of them
    /// would flash by alone.
    fn cost(&self, more_than_a_line: bool) -> f64 {
        self.sentences * if more_than_a_line { 1.3 } else { 0.3 } + self.passages * 0.6 + self.both * 2.6
    }
}

/// Cost of the best place to break a caption of two lines.
fn line_cost(units: &[Unit], phrase: &[f64], range: std::ops::Range<usize>, limits: &SubtitleLimits) -> f64 {
    let spaced = |i: usize| usize::from(units[i].timed.atom.space_before);
    let total: usize = range.clone().map(|i| units[i].width + spaced(i)).sum::<usize>() - spaced(range.start);
    if total <= limits.columns {
        return 0.0;
    }
    let mut best = f64::INFINITY;
    let mut top = units[range.start].width;
    for i in range.start + 1..range.end {
        if top > limits.columns {
            break;
        }
        if total - top - spaced(i) <= limits.columns {
            best = best.min(phrase[i]);
        }
        top += spaced(i) + units[i].width;
    }
    if best.is_finite() { best * 0.35 } else { 0.0 }
}

fn display_cost(units: &[Unit], range: std::ops::Range<usize>, columns: usize, limits: &SubtitleLimits) -> f64 {
    let (start, end) = (units[range.start].timed.start, units[range.end - 1].timed.end);
    let next = units.get(range.end).map_or(f64::INFINITY, |unit| unit.timed.start);
    let shown = (next - start).min(limits.max_seconds).max(0.001);
    let speed = columns as f64 / shown;
    let too_fast = ((speed - limits.columns_per_second * 1.18) / 10.0).clamp(0.0, 2.0);
    let too_short = if shown < limits.min_seconds { 2.0 } else { 0.0 };
    let too_long = (end - start - limits.max_seconds).max(0.0);
    let opens = units[range.start].starts != Start::Nothing;
    let closes = units.get(range.end).is_none_or(|unit| unit.starts != Start::Nothing);
    // A word or two cut off from its passage.
    let orphan = if columns * 5 < limits.columns && !(opens && closes) { 0.8 } else { 0.0 };
    1.0 + too_fast + too_short + too_long + orphan
}

fn caption(units: &[Unit], chosen: &Chosen, limits: &SubtitleLimits) -> Caption {
    let atoms: Vec<&Atom> = units.iter().map(|unit| &unit.timed.atom).collect();
    let mut lines = Vec::new();
    let mut from = 0;
    for end in line_ends(&atoms, chosen.language, limits) {
        lines.push(units[from..end].iter().map(|unit| unit.timed.clone()).collect());
        from = end;
    }
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    let start_ms = units.first().map_or(0, |unit| ms(unit.timed.start));
    // A caption never runs across a change of speaker: a paragraph starts there.
    let speaker = units.first().and_then(|unit| chosen.passages[unit.passage].speaker.clone());
    Caption { start_ms, end_ms: units.last().map_or(start_ms, |unit| ms(unit.timed.end)), speaker, lines }
}

/// Where each line ends: as few lines as hold the text, about equally long, broken at clauses.
pub(super) fn line_ends(atoms: &[&Atom], language: Option<Lang>, limits: &SubtitleLimits) -> Vec<usize> {
    let widths: Vec<usize> = atoms.iter().map(|atom| width(&atom.text)).collect();
    let spaced = |i: usize| usize::from(atoms[i].space_before);
    let mut needed = 1;
    let mut line = 0;
    for (i, columns) in widths.iter().enumerate() {
        let space = if line == 0 { 0 } else { spaced(i) };
        if line > 0 && line + space + columns > limits.columns {
            needed += 1;
            line = *columns;
        } else {
            line += space + columns;
        }
    }
    let total: usize = (0..atoms.len()).map(|i| widths[i] + spaced(i)).sum();
    let even = (total as f64 / needed as f64).max(1.0);
    // best[n][j]: cheapest way to put the first j atoms on n lines, and where the last of them starts.
    let mut best = vec![vec![(f64::INFINITY, 0usize); atoms.len() + 1]; needed + 1];
    best[0][0] = (0.0, 0);
    for n in 1..=needed {
        for from in 0..atoms.len() {
            if best[n - 1][from].0.is_infinite() {
                continue;
            }
            let cut = if from == 0 { 0.0 } else { break_cost(&atoms[from - 1].text, &atoms[from].text, language) };
            let mut columns = 0;
            for to in from..atoms.len() {
                columns += widths[to] + if to == from { 0 } else { spaced(to) };
                if to > from && columns > limits.columns {
                    break;
                }
                let uneven = (columns as f64 - even) / even;
                // Of two equal breaks, the lower line is the longer one: it covers less of the picture.
                let top_heavy = if n < needed && columns as f64 > even { 0.05 } else { 0.0 };
                let cost = best[n - 1][from].0 + cut * 0.35 + uneven * uneven * 2.0 + top_heavy;
                if cost < best[n][to + 1].0 {
                    best[n][to + 1] = (cost, from);
                }
            }
        }
    }
    let mut ends = Vec::with_capacity(needed);
    let mut end = atoms.len();
    for n in (1..=needed).rev() {
        if end == 0 {
            break;
        }
        ends.push(end);
        end = best[n][end].1;
    }
    ends.reverse();
    ends
}

#[cfg(test)]
mod tests {
    use super::super::{TextChoice, passages::choose, samples};
    use super::*;
    use crate::outcome::Outcome;

    fn shown(outcome: &Outcome) -> Vec<String> {
        let captions = captions(
            &choose(outcome, TextChoice::Raw),
            outcome.source.duration,
            &SubtitleLimits::default(),
            Names::InText,
        );
        captions.iter().map(|caption| caption.lines().collect::<Vec<_>>().join(" / ")).collect()
    }

    fn spoken(segments: &[(f64, f64, &str)]) -> Vec<String> {
        shown(&samples::spoken(segments, 100.0))
    }

    #[test]
    fn short_sentences_stay_as_they_are() {
        assert_eq!(
            spoken(&[(0.0, 2.0, "Good morning."), (2.2, 4.0, "How are you?")]),
            ["Good morning.", "How are you?"]
        );
    }

    #[test]
    fn lines_break_at_clauses_and_are_balanced() {
        assert_eq!(
            spoken(&[(0.0, 5.0, "When the rain had stopped at last, we went out into the garden.")]),
            ["When the rain had stopped at last, / we went out into the garden."]
        );
        assert_eq!(
            spoken(&[(0.0, 5.0, "The old man looked at the house because it was on fire")]),
            ["The old man looked at the house / because it was on fire"]
        );
    }

    #[test]
    fn a_long_passage_is_cut_at_its_sentences() {
        let text = "The first sentence of this is moderately long, as sentences go. The second one follows it and is \
                    just as long as the first. Then there is a third.";
        assert_eq!(
            spoken(&[(0.0, 12.0, text)]),
            [
                "The first sentence of this is moderately / long, as sentences go.",
                "The second one follows it and is just / as long as the first.",
                "Then there is a third."
            ]
        );
    }

    #[test]
    fn pieces_of_one_sentence_are_merged_but_not_across_a_pause_or_a_paragraph() {
        assert_eq!(spoken(&[(0.0, 0.4, "And"), (0.5, 2.0, "then she left.")]), ["And then she left."]);
        assert_eq!(spoken(&[(0.0, 0.4, "And"), (3.0, 5.0, "then she left.")]), ["And", "then she left."]);
    }

    #[test]
    fn measured_word_times_decide_where_a_caption_starts() {
        let text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen. Fifteen sixteen.";
        let mut outcome = samples::spoken(&[(0.0, 60.0, text)], 60.0);
        let starts: Vec<(&str, f64)> = text
            .split(' ')
            .enumerate()
            .map(|(i, w)| (w, if i < 14 { i as f64 * 0.5 } else { 40.0 + i as f64 }))
            .collect();
        outcome.transcript.segments[0].words = samples::words(&starts);
        let chosen = choose(&outcome, TextChoice::Raw);
        let captions = captions(&chosen, Some(60.0), &SubtitleLimits::default(), Names::InText);
        let last = captions.last().unwrap();
        assert_eq!((last.lines().collect::<Vec<_>>(), last.start_ms), (vec!["Fifteen sixteen.".to_owned()], 54_000));
    }

    #[test]
    fn chinese_takes_twenty_one_characters_a_line_and_breaks_after_its_commas() {
        let mut outcome = samples::spoken(
            &[(0.0, 12.0, "今天天气很好，我们决定去公园散步，然后在湖边的小店里喝一杯咖啡，再慢慢走回家。")],
            20.0,
        );
        outcome.transcript.language = "zh".parse().ok();
        let shown = shown(&outcome);
        assert!(shown.iter().flat_map(|c| c.split(" / ")).all(|line| line.chars().count() <= 21), "{shown:?}");
        assert_eq!(shown.concat().replace(" / ", ""), outcome.transcript.segments[0].text);
        assert!(shown[0].ends_with(['，', '。']), "{shown:?}");
    }

    #[test]
    fn an_hour_of_speech_is_laid_out_quickly() {
        let text = "and so it went on, sentence after sentence, without an end. ".repeat(8);
        let segments: Vec<(f64, f64, &str)> =
            (0..130).map(|i| (i as f64 * 28.0, i as f64 * 28.0 + 27.0, text.as_str())).collect();
        let outcome = samples::spoken(&segments, 3640.0);
        let started = std::time::Instant::now();
        assert!(shown(&outcome).len() > 700);
        assert!(started.elapsed().as_secs_f64() < 2.0, "{:?}", started.elapsed());
    }
}
