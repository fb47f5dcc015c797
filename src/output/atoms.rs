//! Text as a row of atoms: the smallest pieces that a line break may stand between. A word in spaced languages, a
//! character in unspaced ones, with the punctuation that must not be parted from it.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// One unbreakable piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    /// Never empty, no line breaks, no control characters.
    pub text: String,
    /// Whether a space stands before it when it is on the same line as its predecessor.
    pub space_before: bool,
}

/// Columns that `text` takes: two for each East Asian wide or emoji grapheme, one for each other grapheme.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(grapheme_width).sum()
}

fn grapheme_width(grapheme: &str) -> usize {
    // Clamped: a lone combining mark still takes a place, and a family of emoji takes no more than one emoji.
    grapheme.width().clamp(1, 2)
}

/// Cuts `text` into atoms. Punctuation is glued to its word as long as the two fit in `columns`.
pub(super) fn atoms(text: &str, columns: usize) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = Vec::new();
    let mut opener: Option<String> = None;
    for chunk in chunks(text) {
        let chunk = match opener.take() {
            Some(open) if width(&open) + 1 + width(&chunk) <= columns => format!("{open} {chunk}"),
            Some(open) => {
                atoms.push(Atom { text: open, space_before: true });
                chunk
            }
            None => chunk,
        };
        if matches!(chunk.as_str(), "«" | "‹" | "(" | "[" | "¿" | "¡") {
            opener = Some(chunk);
        } else if let Some(last) = atoms.last_mut().filter(|last| may_attach(&last.text, &chunk, columns)) {
            // French spacing: "Bonjour !" must not start a line with the mark.
            last.text.push(' ');
            last.text.push_str(&chunk);
        } else {
            split_chunk(&chunk, columns, &mut atoms);
        }
    }
    atoms.extend(opener.map(|text| Atom { text, space_before: true }));
    atoms
}

/// Pieces between white space, without control characters. No-break spaces hold a piece together.
fn chunks(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{202f}' | '\u{2007}'))
        .map(|chunk| chunk.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|chunk| !chunk.trim().is_empty())
        .map(|chunk| chunk.trim().to_owned())
}

/// `text` on one line: white space collapsed, control characters gone.
pub(super) fn flat(text: &str) -> String {
    chunks(text).collect::<Vec<_>>().join(" ")
}

/// Joins atoms as they stand on one line.
pub(super) fn join<'a>(atoms: impl IntoIterator<Item = &'a Atom>) -> String {
    let mut line = String::new();
    for atom in atoms {
        if atom.space_before && !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&atom.text);
    }
    line
}

/// Whether `right` follows `left` without a space although they are separate pieces of speech.
pub(super) fn joins_unspaced(left: &str, right: &str) -> bool {
    left.chars().next_back().is_some_and(is_unspaced) && right.chars().next().is_some_and(is_unspaced)
}

fn may_attach(last: &str, chunk: &str, columns: usize) -> bool {
    chunk.chars().count() <= 3
        && chunk.chars().all(|c| matches!(c, '!' | '?' | ':' | ';' | '.' | ',' | '»' | '›' | ')' | ']' | '%' | '…'))
        && last.chars().any(char::is_alphanumeric)
        && last.matches(' ').count() < 3
        && width(last) + 1 + width(chunk) <= columns
}

/// Cuts a piece without spaces wherever its script allows a line break.
fn split_chunk(chunk: &str, columns: usize, atoms: &mut Vec<Atom>) {
    let mut current = String::new();
    let mut first = true;
    for grapheme in chunk.graphemes(true) {
        let cut = match (current.chars().next_back(), grapheme.chars().next()) {
            (Some(before), Some(after)) if is_unspaced(before) || is_unspaced(after) => {
                // Kinsoku rules, but never at the price of a line that runs over.
                !(cannot_start_line(after) || cannot_end_line(before)) || width(&current) + 2 > columns
            }
            _ => false,
        };
        if cut {
            atoms.push(Atom { text: std::mem::take(&mut current), space_before: first });
            first = false;
        }
        current.push_str(grapheme);
    }
    if !current.is_empty() {
        atoms.push(Atom { text: current, space_before: first });
    }
}

/// Scripts that are written without spaces between words: Han, kana, their punctuation, Thai, Lao, Khmer, Burmese,
/// Tibetan. Not Hangul: Korean has spaces.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{3000}'..='\u{312f}' | '\u{31a0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}'
        | '\u{0e00}'..='\u{0fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

/// Marks that stay with what stands before them (JIS X 4051 line start rules, Thai following vowels).
fn cannot_start_line(c: char) -> bool {
    "。、，．：；！？）」』】》〉〕］｝…‥ー々ゝゞぁぃぅぇぉっゃゅょァィゥェォッャュョ・,.:;!?)]}%\"'”’ะาำๅๆฯ་"
        .contains(c)
}

/// Marks that stay with what stands after them (line end rules, Thai and Lao leading vowels).
fn cannot_end_line(c: char) -> bool {
    "（「『【《〈〔［｛([{“‘".contains(c) || matches!(c, '\u{0e40}'..='\u{0e44}' | '\u{0ec0}'..='\u{0ec4}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        atoms(text, 42).into_iter().map(|a| a.text).collect()
    }

    #[test]
    fn width_counts_graphemes_and_doubles_wide_ones() {
        assert_eq!(width("naïve"), 5);
        assert_eq!(width("e\u{301}te\u{301}"), 3, "a combining accent takes no column of its own");
        assert_eq!(width("你好，世界"), 10);
        assert_eq!(width("👨‍👩‍👧"), 2);
    }

    #[test]
    fn spaced_text_is_cut_at_spaces_and_keeps_its_marks() {
        assert_eq!(texts("Hello,\tbig\n\nworld\u{0}!"), ["Hello,", "big", "world!"]);
        assert_eq!(texts("« Bonjour ! » dit-il"), ["« Bonjour ! »", "dit-il"]);
        assert_eq!(texts("10\u{a0}000 francs"), ["10\u{a0}000", "francs"]);
    }

    #[test]
    fn chinese_and_japanese_break_between_characters_but_not_before_a_stop() {
        assert_eq!(texts("你好，世界。"), ["你", "好，", "世", "界。"]);
        assert_eq!(texts("「東京」へ"), ["「東", "京」", "へ"]);
        assert_eq!(texts("用Rust写"), ["用", "Rust", "写"]);
    }

    #[test]
    fn joining_atoms_gives_the_text_back() {
        for text in ["Hello, world", "你好，世界。", "« Oui ! » ok", "用 Rust 写 code"] {
            assert_eq!(join(&atoms(text, 42)), text);
        }
    }

    #[test]
    fn a_run_of_marks_never_glues_into_something_wider_than_a_line() {
        for atom in atoms(&"。".repeat(100), 42).iter().chain(&atoms(&"! ".repeat(100), 42)) {
            assert!(width(&atom.text) <= 42, "{atom:?}");
        }
    }
}
