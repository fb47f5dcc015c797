//! Text as units: words, or single characters of scripts without spaces, each with the marks around it.
//!
//! Cleanup may change the marks, the case of a first letter and nothing else, so everything here keeps the core of a
//! unit apart from its marks.

use super::script::{attaches, is_opener, is_punctuation, is_separator, is_terminal, is_unspaced, opening_of};
use crate::outcome::Cue;
use unicode_normalization::UnicodeNormalization;

/// What stands between a unit and the one before it. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Gap {
    /// Nothing: characters of a script without spaces.
    None,
    /// A space.
    #[default]
    Space,
    /// A line break.
    Line,
    /// A blank line.
    Paragraph,
}

impl Gap {
    /// The gap as text.
    pub fn text(self) -> &'static str {
        match self {
            Gap::None => "",
            Gap::Space => " ",
            Gap::Line => "\n",
            Gap::Paragraph => "\n\n",
        }
    }
}

/// A word, or one character of a script without spaces.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unit {
    /// Between this unit and the one before.
    pub gap: Gap,
    /// Marks before the core, with the space after them where there is one (`« `).
    pub lead: String,
    /// The word itself, NFC. Never empty.
    pub core: String,
    /// Marks after the core, with the space before them where there is one (` ?`).
    pub trail: String,
    /// Which cue it came from, counted from 0.
    pub cue: usize,
}

impl Unit {
    /// Whether the core is a character of a script without spaces.
    pub fn is_unspaced(&self) -> bool {
        self.core.chars().next().is_some_and(is_unspaced)
    }

    /// Whether a sentence ends after this unit.
    pub fn ends_sentence(&self) -> bool {
        self.trail.chars().any(is_terminal) || (self.trail.is_empty() && self.core.ends_with('.'))
    }
}

/// The units of one text. Text without any unit (only marks) gives none.
pub fn parse(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    Parser { units: &mut units, pending: String::new(), cue: 0 }.text(text, Gap::Space);
    units
}

/// The units of all cues, in order, each knowing its cue.
pub fn parse_cues(cues: &[Cue]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut carried = Gap::Space;
    for (index, cue) in cues.iter().enumerate() {
        let gap = if cue.paragraph { Gap::Paragraph } else { carried };
        carried = Parser { units: &mut units, pending: String::new(), cue: index }.text(&cue.text, gap);
    }
    units
}

/// The text of units, without the gap before the first.
pub fn join(units: &[Unit]) -> String {
    let mut text = String::new();
    for (index, unit) in units.iter().enumerate() {
        if index > 0 {
            text.push_str(unit.gap.text());
        }
        text.push_str(&unit.lead);
        text.push_str(&unit.core);
        text.push_str(&unit.trail);
    }
    text
}

/// `lead` as it can stand before `core`: a core that starts with a combining mark would take the lead's last mark into
/// itself, so a space comes between.
pub fn lead_for(mut lead: String, core: &str) -> String {
    if core.starts_with(attaches) && lead.ends_with(is_punctuation) {
        lead.push(' ');
    }
    lead
}

struct Parser<'a> {
    units: &'a mut Vec<Unit>,
    /// Marks that wait for the unit they stand before.
    pending: String,
    cue: usize,
}

impl Parser<'_> {
    /// Gives the gap that the text ends with.
    fn text(&mut self, text: &str, first_gap: Gap) -> Gap {
        let composed: Vec<char> = text.nfc().collect();
        let first_unit = self.units.len();
        let mut gap = first_gap;
        for chunk in composed.chunk_by(|a, b| is_separator(*a) == is_separator(*b)) {
            if is_separator(chunk[0]) {
                gap = gap.max(break_of(chunk));
            } else {
                self.chunk(chunk, &mut gap, first_unit);
            }
        }
        // Characters of scripts without spaces join across cues as they do within one.
        if let [before, first, ..] = &mut self.units[first_unit.saturating_sub(1)..]
            && first_unit > 0
            && first.gap == Gap::Space
            && before.is_unspaced()
            && first.is_unspaced()
        {
            first.gap = Gap::None;
        }
        if !self.pending.is_empty() && self.units.len() > first_unit {
            let rest = std::mem::take(&mut self.pending);
            if let Some(last) = self.units.last_mut() {
                last.trail.push(' ');
                last.trail.push_str(rest.trim_end());
            }
        }
        gap
    }

    /// A stretch without separators.
    fn chunk(&mut self, chunk: &[char], gap: &mut Gap, first_unit: usize) {
        if !self.pending.is_empty() && !self.pending.ends_with(' ') {
            self.pending.push(' ');
        }
        if is_only_punctuation(chunk) {
            let marks: String = chunk.iter().collect();
            let attached = self.units.len() > first_unit && *gap <= Gap::Space && !chunk.iter().all(|c| is_opener(*c));
            match self.units.last_mut().filter(|_| attached && self.pending.is_empty()) {
                Some(last) => {
                    last.trail.push(' ');
                    last.trail.push_str(&marks);
                }
                None => {
                    self.pending.push_str(&marks);
                    self.pending.push(' ');
                }
            }
            return;
        }
        let mut at = 0;
        let mut glued = false;
        while at < chunk.len() {
            let end = piece_end(chunk, at);
            let piece = &chunk[at..end];
            if is_unspaced(piece[0]) {
                self.push(piece, (&[], &[]), gap, &mut glued);
            } else if is_only_punctuation(piece) {
                self.marks_between(piece, glued);
            } else {
                let (from, to) = core_bounds(piece);
                let mut lead = &piece[..from];
                if glued {
                    let split = lead.iter().position(|c| is_opener(*c)).unwrap_or(lead.len());
                    self.marks_between(&lead[..split], true);
                    lead = &lead[split..];
                }
                self.push(&piece[from..to], (lead, &piece[to..]), gap, &mut glued);
            }
            at = end;
        }
    }

    /// Marks directly between two units: up to the first opener they belong to the unit before.
    fn marks_between(&mut self, marks: &[char], glued: bool) {
        let split = marks.iter().position(|c| is_opener(*c)).unwrap_or(marks.len());
        let (after, before) = if glued { marks.split_at(split) } else { marks.split_at(0) };
        if let Some(last) = self.units.last_mut() {
            last.trail.extend(after);
        }
        self.pending.extend(before);
    }

    fn push(&mut self, core: &[char], (lead, trail): (&[char], &[char]), gap: &mut Gap, glued: &mut bool) {
        let mut marks = std::mem::take(&mut self.pending);
        marks.extend(lead);
        let core: String = core.iter().collect();
        let gap_here = if *glued { Gap::None } else { *gap };
        let unit =
            Unit { gap: gap_here, lead: lead_for(marks, &core), core, trail: trail.iter().collect(), cue: self.cue };
        self.units.push(unit);
        *gap = Gap::Space;
        *glued = true;
    }
}

fn break_of(separators: &[char]) -> Gap {
    let lines = separators.iter().filter(|c| matches!(c, '\n' | '\u{2028}')).count();
    match (lines, separators.contains(&'\u{2029}')) {
        (0, false) => Gap::None,
        (1, false) => Gap::Line,
        _ => Gap::Paragraph,
    }
}

/// End of the unit that starts at `at`: one character of a script without spaces with what attaches to it, or all up
/// to the next such character.
fn piece_end(chunk: &[char], at: usize) -> usize {
    let rest = &chunk[at + 1..];
    let length = if is_unspaced(chunk[at]) {
        rest.iter().take_while(|c| attaches(**c)).count()
    } else {
        rest.iter().take_while(|c| !is_unspaced(**c) || attaches(**c)).count()
    };
    at + 1 + length
}

/// A mark that carries a combining character is text, not punctuation.
fn is_free(chars: &[char], at: usize) -> bool {
    is_punctuation(chars[at]) && !chars.get(at + 1).is_some_and(|next| attaches(*next))
}

fn is_only_punctuation(chars: &[char]) -> bool {
    (0..chars.len())
        .all(|at| is_free(chars, at) || (chars[at] == '-' && !chars.get(at + 1).is_some_and(|next| attaches(*next))))
}

/// Start and end of the word within a piece that is not all punctuation.
fn core_bounds(piece: &[char]) -> (usize, usize) {
    let mut from = 0;
    while from < piece.len() && is_free(piece, from) && !is_leading_point(piece, from) {
        from += 1;
    }
    let mut to = piece.len();
    while to > from && is_free(piece, to - 1) && !closes_own_bracket(&piece[from..to]) {
        to -= 1;
    }
    // Abbreviations made of single letters keep their last point: `U.S.`, `p.m.`
    if piece.get(to) == Some(&'.') && is_free(piece, to) && is_initialism(&piece[from..to]) {
        to += 1;
    }
    (from, to)
}

/// `.5`, `.NET`: a single point directly before a letter or digit is part of the word.
fn is_leading_point(piece: &[char], at: usize) -> bool {
    piece[at] == '.'
        && (at == 0 || piece[at - 1] != '.')
        && piece.get(at + 1).is_some_and(|next| next.is_alphanumeric())
}

/// `f(x)`: a bracket whose partner stands inside the word is part of it.
fn closes_own_bracket(word: &[char]) -> bool {
    let Some((last, inside)) = word.split_last() else { return false };
    opening_of(*last).is_some_and(|opening| {
        inside.iter().filter(|c| **c == opening).count() > inside.iter().filter(|c| *c == last).count()
    })
}

fn is_initialism(word: &[char]) -> bool {
    word.len() >= 3
        && word.len() % 2 == 1
        && word.iter().enumerate().all(|(at, c)| if at % 2 == 0 { c.is_alphabetic() } else { *c == '.' })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(text: &str) -> Vec<String> {
        parse(text).into_iter().map(|unit| unit.core).collect()
    }

    #[test]
    fn words_stay_whole_and_marks_come_off_their_edges() {
        assert_eq!(cores("Well, don't (really) \"go\" …"), ["Well", "don't", "really", "go"]);
        assert_eq!(
            cores("see https://a.b/c?d=e, or f(x). At -5 or .5, 3.5% of .NET!"),
            ["see", "https://a.b/c?d=e", "or", "f(x)", "At", "-5", "or", ".5", "3.5%", "of", ".NET"]
        );
        assert_eq!(cores("the U.S. at 5 p.m. - or th- the"), ["the", "U.S.", "at", "5", "p.m.", "or", "th-", "the"]);
    }

    #[test]
    fn scripts_without_spaces_come_apart_by_character() {
        assert_eq!(cores("他说iPhone很好。"), ["他", "说", "iPhone", "很", "好"]);
        let units = parse("你好，“世界”。");
        assert_eq!((units[1].trail.as_str(), units[2].lead.as_str(), units[2].gap), ("，“", "", Gap::None));
        assert_eq!(join(&units), "你好，“世界”。");
        // か with a combining voicing mark is one character, so nothing can come between.
        assert_eq!(cores("か\u{3099}は").len(), 2);
    }

    #[test]
    fn text_without_loss_comes_back() {
        for text in
            ["Hello, world.", "« Oui » ? Non.", "a\nb\n\nc", "¿Qué? (sí)", "x - y", "— dit-il", "你好 世界", "1,5 kg"]
        {
            assert_eq!(join(&parse(text)), text);
        }
        assert_eq!(join(&parse("  a \t b\u{0}c ")), "a b c");
    }

    #[test]
    fn only_marks_are_no_unit() {
        assert!(parse("... - \"").is_empty());
        assert!(parse("").is_empty());
    }

    #[test]
    fn cues_join_without_space_in_chinese_only() {
        let cue = |text: &str, paragraph| Cue { start: 0.0, end: 1.0, text: text.into(), paragraph, ..Cue::default() };
        assert_eq!(join(&parse_cues(&[cue("你好", false), cue("世界", false)])), "你好世界");
        assert_eq!(join(&parse_cues(&[cue("one", false), cue("two", false), cue("three", true)])), "one two\n\nthree");
    }
}
