//! From an outcome to timed passages: which text, with which times, and the time of every atom in it.

use super::TextChoice;
use super::atoms::{Atom, atoms, flat, width};
use crate::language::Lang;
use crate::outcome::{Cue, Outcome, Track};
use crate::speech::{Segment, Word};

/// Latest time in seconds that is believed (31 years): keeps milliseconds well inside 64 bits.
const MAX_SECONDS: f64 = 1e9;

/// Above this many cells the word alignment falls back to proportional times (a segment of 2,000 words).
const MAX_ALIGNMENT_CELLS: usize = 4_000_000;

/// A stretch of text with its time; finite, `0 <= start <= end`, inside the recording where its length is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Passage {
    /// Seconds from the start of the recording.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// One line, not empty.
    pub text: String,
    /// Whether a paragraph starts here: said so, or somebody else speaks.
    pub paragraph: bool,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
    words: Vec<Word>,
}

/// An atom with its time in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimedAtom {
    pub atom: Atom,
    pub start: f64,
    pub end: f64,
    /// Whether the time was measured (word times) rather than shared out by length.
    pub exact: bool,
}

/// The chosen text of an outcome.
pub(super) struct Chosen {
    /// Sorted by start; texts that are empty are left out.
    pub passages: Vec<Passage>,
    /// Language of the text.
    pub language: Option<Lang>,
}

/// A passage for those who look for words in it.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedText {
    /// Seconds from the start of the recording.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// One line; single spaces between words.
    pub text: String,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
    /// When each word between two spaces begins, seconds; empty where no times were measured.
    pub words: Vec<f64>,
}

/// The passages of `choice`, or of the best text there is where that one is missing, with the times of their words.
pub fn timed_texts(outcome: &Outcome, choice: TextChoice) -> Vec<TimedText> {
    let with_words = |passage: Passage| {
        let mut words = Vec::new();
        if !passage.words.is_empty() {
            let atoms = passage.timed_atoms(usize::MAX);
            if atoms.iter().any(|timed| timed.exact) {
                for (at, timed) in atoms.iter().enumerate() {
                    // Without a space before it, it goes on with the word before.
                    let goes_on = at > 0 && !timed.atom.space_before;
                    let count = timed.atom.text.split(' ').count() - usize::from(goes_on);
                    words.extend(std::iter::repeat_n(timed.start, count));
                }
            }
        }
        let Passage { start, end, text, speaker, .. } = passage;
        TimedText { start, end, text, speaker, words }
    };
    choose(outcome, choice).passages.into_iter().map(with_words).collect()
}

/// The passages of `choice`, or of the best text there is where that one is missing.
pub(super) fn choose(outcome: &Outcome, choice: TextChoice) -> Chosen {
    let segments = &outcome.transcript.segments;
    let track = track(outcome, choice);
    let (mut passages, language): (Vec<Passage>, _) = match track {
        Some((track, same_words)) => {
            // One cue a segment is the contract; where it does not hold, word times cannot be told apart.
            let aligned = same_words && track.cues.len() == segments.len();
            let words = |i: usize| if aligned { segments[i].words.clone() } else { Vec::new() };
            let passages = track.cues.iter().enumerate().map(|(i, cue)| Passage::of_cue(cue, words(i)));
            (passages.collect(), Some(track.language))
        }
        None => (segments.iter().map(Passage::of_segment).collect(), outcome.transcript.language),
    };
    let limit = outcome.source.duration.filter(|d| d.is_finite() && *d > 0.0).unwrap_or(MAX_SECONDS);
    let mut previous_end = 0.0;
    for passage in &mut passages {
        passage.sanitise(previous_end, limit);
        previous_end = passage.end;
    }
    passages.retain(|p| !p.text.is_empty());
    passages.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut before: Option<Option<String>> = None;
    for passage in &mut passages {
        passage.paragraph |= before.as_ref().is_some_and(|before| *before != passage.speaker);
        before = Some(passage.speaker.clone());
    }
    Chosen { passages, language }
}

impl Chosen {
    /// Whether anybody is named.
    pub fn has_speakers(&self) -> bool {
        self.passages.iter().any(|passage| passage.speaker.is_some())
    }

    /// Who begins to speak with each passage: named at each change of speaker.
    pub fn turns(&self) -> impl Iterator<Item = (&Passage, Option<&str>)> {
        let mut before: Option<&str> = None;
        self.passages.iter().map(move |passage| {
            let now = passage.speaker.as_deref();
            let begins = now.filter(|_| now != before);
            before = now;
            (passage, begins)
        })
    }

    /// The whole text with `Name: ` at each change of speaker; `None` where nobody is named.
    pub fn dialogue(&self) -> Option<String> {
        if !self.has_speakers() {
            return None;
        }
        let unspaced = self.language.is_some_and(Lang::is_unspaced);
        let mut text = String::new();
        for (passage, begins) in self.turns() {
            if !text.is_empty() {
                text.push_str(match (passage.paragraph, unspaced) {
                    (true, _) => "\n\n",
                    (false, true) => "",
                    (false, false) => " ",
                });
            }
            if let Some(name) = begins {
                text.push_str(name);
                text.push_str(": ");
            }
            text.push_str(&passage.text);
        }
        Some(text)
    }
}

/// The track that `choice` means, and whether its words are the words that were heard; `None` for the raw text.
/// What is missing gives way to the next best: a transcript is never held back because a later stage failed.
pub(super) fn track(outcome: &Outcome, choice: TextChoice) -> Option<(&Track, bool)> {
    let cleaned = || outcome.cleaned.as_ref().map(|c| (&c.track, true));
    match choice {
        TextChoice::Raw => None,
        TextChoice::Cleaned => cleaned(),
        TextChoice::Best | TextChoice::Translated => {
            outcome.translated.as_ref().map(|track| (track, false)).or_else(cleaned)
        }
    }
}

impl Passage {
    fn of_cue(cue: &Cue, words: Vec<Word>) -> Self {
        let speaker = cue.speaker.as_deref().map(flat).filter(|name| !name.is_empty());
        Passage { start: cue.start, end: cue.end, text: flat(&cue.text), paragraph: cue.paragraph, speaker, words }
    }

    fn of_segment(segment: &Segment) -> Self {
        let Segment { start, end, text, words, paragraph, .. } = segment;
        let speaker = segment.speaker.as_deref().map(flat).filter(|name| !name.is_empty());
        let words = words.clone();
        Passage { start: *start, end: *end, text: flat(text), paragraph: *paragraph, speaker, words }
    }

    fn sanitise(&mut self, previous_end: f64, limit: f64) {
        let start = if self.start.is_finite() { self.start } else { previous_end };
        self.start = start.clamp(0.0, limit.min(MAX_SECONDS));
        let end = if self.end.is_finite() { self.end } else { self.start };
        self.end = end.clamp(self.start, limit.min(MAX_SECONDS).max(self.start));
    }

    /// The atoms with their times: measured where the words are known, in proportion to their width where not.
    pub fn timed_atoms(&self, columns: usize) -> Vec<TimedAtom> {
        let atoms = atoms(&self.text, columns);
        let known = self.word_times(&atoms);
        let mut timed: Vec<TimedAtom> = Vec::with_capacity(atoms.len());
        let mut at = 0;
        while at < atoms.len() {
            let from = timed.last().map_or(self.start, |t| t.end);
            if let Some((start, end)) = known[at] {
                let start = start.clamp(from.min(self.end), self.end);
                let atom = atoms[at].clone();
                timed.push(TimedAtom { atom, start, end: end.clamp(start, self.end), exact: true });
                at += 1;
                continue;
            }
            // A run without times shares out the time up to the next known word.
            let run = known[at..].iter().position(Option::is_some).map_or(atoms.len(), |n| at + n);
            let until = known.get(run).copied().flatten().map_or(self.end, |(start, _)| start).clamp(from, self.end);
            timed.extend(share_out(&atoms[at..run], from, until));
            at = run;
        }
        timed
    }

    fn word_times(&self, atoms: &[Atom]) -> Vec<Option<(f64, f64)>> {
        let mut times = vec![None; atoms.len()];
        let spoken: Vec<TimedAtom> = self
            .words
            .iter()
            .filter(|w| w.start.is_finite() && w.end.is_finite() && w.start <= w.end)
            .flat_map(|w| share_out(&super::atoms::atoms(&w.word, usize::MAX), w.start, w.end))
            .filter(|t| !key(&t.atom.text).is_empty())
            .collect();
        let written: Vec<(usize, String)> =
            atoms.iter().enumerate().map(|(i, a)| (i, key(&a.text))).filter(|(_, key)| !key.is_empty()).collect();
        let left: Vec<&str> = written.iter().map(|(_, key)| key.as_str()).collect();
        let keys: Vec<String> = spoken.iter().map(|t| key(&t.atom.text)).collect();
        let right: Vec<&str> = keys.iter().map(String::as_str).collect();
        let pairs = common(&left, &right);
        // Fewer than half the words found again: this is another text, and its word times would mislead.
        if pairs.len() * 2 >= left.len() {
            for (l, r) in pairs {
                times[written[l].0] = Some((spoken[r].start, spoken[r].end));
            }
        }
        times
    }
}

/// Shares the time from `start` to `end` out over the atoms in proportion to their width.
fn share_out(atoms: &[Atom], start: f64, end: f64) -> Vec<TimedAtom> {
    let total: usize = atoms.iter().map(|a| width(&a.text)).sum();
    let mut before = 0;
    let at = |columns: usize| start + (end - start) * columns as f64 / total.max(1) as f64;
    atoms
        .iter()
        .map(|atom| {
            let from = before;
            before += width(&atom.text);
            TimedAtom { atom: atom.clone(), start: at(from), end: at(before), exact: false }
        })
        .collect()
}

/// What is compared: letters and digits, lower case. Cleanup changes only case and punctuation.
fn key(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// Index pairs of a longest common subsequence of two rows of words.
fn common(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    let prefix = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let (l, r) = (&left[prefix..], &right[prefix..]);
    let suffix = l.iter().rev().zip(r.iter().rev()).take_while(|(l, r)| l == r).count();
    let (l, r) = (&l[..l.len() - suffix], &r[..r.len() - suffix]);
    let mut pairs: Vec<(usize, usize)> = (0..prefix).map(|i| (i, i)).collect();
    let columns = r.len() + 1;
    if !l.is_empty() && !r.is_empty() && (l.len() + 1).saturating_mul(columns) <= MAX_ALIGNMENT_CELLS {
        // longest[i][j]: length for l[i..] and r[j..].
        let mut longest = vec![0u32; (l.len() + 1) * columns];
        for i in (0..l.len()).rev() {
            for j in (0..r.len()).rev() {
                longest[i * columns + j] = if l[i] == r[j] {
                    longest[(i + 1) * columns + j + 1] + 1
                } else {
                    longest[(i + 1) * columns + j].max(longest[i * columns + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < l.len() && j < r.len() {
            if l[i] == r[j] {
                pairs.push((prefix + i, prefix + j));
                (i, j) = (i + 1, j + 1);
            } else if longest[(i + 1) * columns + j] >= longest[i * columns + j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    pairs.extend((0..suffix).map(|n| (left.len() - suffix + n, right.len() - suffix + n)));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, f64, f64)]) -> Vec<Word> {
        list.iter()
            .map(|(word, start, end)| Word { word: (*word).into(), start: *start, end: *end, probability: 1.0 })
            .collect()
    }

    fn passage(text: &str, words: Vec<Word>) -> Passage {
        Passage { start: 0.0, end: 10.0, text: text.into(), paragraph: false, speaker: None, words }
    }

    #[test]
    fn word_times_map_by_order_onto_cleaned_text() {
        let heard =
            words(&[("um", 0.0, 0.5), ("we", 1.0, 1.5), ("we", 2.0, 2.5), ("can't", 3.0, 4.0), ("go", 8.0, 9.0)]);
        let timed = passage("We can't go!", heard).timed_atoms(42);
        let starts: Vec<f64> = timed.iter().map(|t| t.start).collect();
        // Of a repeated word the last one stays, as in the text.
        assert_eq!(starts, [2.0, 3.0, 8.0]);
        assert!(timed.iter().all(|t| t.exact));
    }

    #[test]
    fn words_that_were_replaced_share_the_time_between_their_neighbours() {
        let heard = words(&[("costs", 1.0, 2.0), ("twenty", 4.0, 5.0), ("three", 5.0, 6.0), ("pounds", 7.0, 8.0)]);
        let timed = passage("costs 23 pounds", heard).timed_atoms(42);
        assert_eq!((timed[1].start, timed[1].end, timed[1].exact), (2.0, 7.0, false));
        assert_eq!(timed[2].start, 7.0);
    }

    #[test]
    fn a_word_of_several_characters_gives_each_its_share() {
        let timed = passage("你好世界。", words(&[("你好", 0.0, 2.0), ("世界", 4.0, 6.0)])).timed_atoms(42);
        let starts: Vec<f64> = timed.iter().map(|t| t.start).collect();
        assert_eq!(starts, [0.0, 1.0, 4.0, 5.0]);
    }

    #[test]
    fn without_words_time_is_shared_out_by_width() {
        let timed = passage("aaaa bbbbbb", vec![]).timed_atoms(42);
        assert_eq!((timed[0].end, timed[1].start, timed[1].end), (4.0, 4.0, 10.0));
        let other = passage("nichts davon wurde gesagt", words(&[("something", 1.0, 2.0)])).timed_atoms(42);
        assert!(other.iter().all(|t| !t.exact));
    }

    #[test]
    fn times_only_grow_even_when_the_words_do_not() {
        let heard = words(&[("a", 5.0, 6.0), ("b", 1.0, 2.0), ("c", f64::NAN, 3.0), ("d", 50.0, 60.0)]);
        let timed = passage("a b c d", heard).timed_atoms(42);
        for pair in timed.windows(2) {
            assert!(pair[0].end <= pair[1].start + 1e-9, "{pair:?}");
        }
        assert!(timed.iter().all(|t| t.end <= 10.0));
    }
}
