//! Word and character error rates, comparable with published Whisper figures: both texts go through the rules of
//! OpenAI's text normaliser (`whisper/normalizers`), then are aligned with the least number of edits.
//!
//! English: contractions, numbers to digits, titles, fillers (`hmm`, `uh`, …), symbols and diacritics, as in
//! `EnglishTextNormalizer`. Its table of 1,700 British spellings is left out: `colour` for `color` counts as an error here.
//! Other languages: `BasicTextNormalizer` with combining marks kept (lower case, no symbols, no bracketed remarks).
//! Languages without spaces (Chinese, Japanese, Thai, …) are counted in characters, as in the Whisper paper.

mod english;
mod number_words;
mod numbers;

use crate::language::Lang;
use regex::Regex;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// What differs between a reference and a hypothesis, counted in words or characters. Add them up over a corpus: the
/// rate of the sum is the corpus's rate (long recordings weigh more), not the mean of the rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordErrors {
    /// Right.
    pub hits: usize,
    /// Another one in its place.
    pub substitutions: usize,
    /// In the reference alone.
    pub deletions: usize,
    /// In the hypothesis alone.
    pub insertions: usize,
}

impl WordErrors {
    /// Words (or characters) of the reference: N.
    pub fn reference_len(&self) -> usize {
        self.hits + self.substitutions + self.deletions
    }

    /// S + D + I.
    pub fn errors(&self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }

    /// (S + D + I) / N; may exceed 1. With an empty reference N counts as 1, so that it stays a number.
    pub fn rate(&self) -> f64 {
        self.errors() as f64 / self.reference_len().max(1) as f64
    }
}

impl Add for WordErrors {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        WordErrors {
            hits: self.hits + other.hits,
            substitutions: self.substitutions + other.substitutions,
            deletions: self.deletions + other.deletions,
            insertions: self.insertions + other.insertions,
        }
    }
}

impl AddAssign for WordErrors {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for WordErrors {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(WordErrors::default(), Add::add)
    }
}

/// Errors of `hypothesis` against `reference`: in words, in characters where `lang` is written without spaces.
pub fn wer(reference: &str, hypothesis: &str, lang: Lang) -> WordErrors {
    if lang.is_unspaced() {
        return cer(reference, hypothesis, lang);
    }
    let (reference, hypothesis) = (normalize(reference, lang), normalize(hypothesis, lang));
    align(&reference.split_whitespace().collect::<Vec<_>>(), &hypothesis.split_whitespace().collect::<Vec<_>>())
}

/// Errors in characters (grapheme clusters); spaces do not count.
pub fn cer(reference: &str, hypothesis: &str, lang: Lang) -> WordErrors {
    let characters = |text: &str| normalize(text, lang).split_whitespace().collect::<String>();
    let (reference, hypothesis) = (characters(reference), characters(hypothesis));
    align(&reference.graphemes(true).collect::<Vec<_>>(), &hypothesis.graphemes(true).collect::<Vec<_>>())
}

/// The text as it is compared: words separated by single spaces.
pub fn normalize(text: &str, lang: Lang) -> String {
    let text = if lang == Lang::ENGLISH { english::normalize(text) } else { basic(text) };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[<\[][^>\]]*[>\]]"));
static PARENTHESES: LazyLock<Regex> = LazyLock::new(|| pattern(r"\([^)]+?\)"));
static SYMBOLS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{S}\p{P}]"));

/// Lower case, remarks in brackets or parentheses out, symbols to spaces; marks (vowel signs, accents) stay.
fn basic(text: &str) -> String {
    let text = without_remarks(&text.to_lowercase());
    let composed: String = text.nfkc().collect();
    SYMBOLS.replace_all(&composed, " ").to_lowercase()
}

fn without_remarks(text: &str) -> String {
    PARENTHESES.replace_all(&BRACKETS.replace_all(text, ""), "").into_owned()
}

/// A pattern written in this module.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("patterns of this module are valid")
}

/// Least edits (Levenshtein). Rows of counts instead of a table: the memory is linear in the hypothesis, so that hours
/// of speech can be compared. Of equal paths the one with more hits is taken, then the one with fewer insertions.
fn align(reference: &[&str], hypothesis: &[&str]) -> WordErrors {
    let better = |a: WordErrors, b: WordErrors| {
        let rank = |e: &WordErrors| (e.errors(), usize::MAX - e.hits, e.insertions);
        if rank(&b) < rank(&a) { b } else { a }
    };
    let one = WordErrors::default();
    let mut row: Vec<WordErrors> =
        (0..=hypothesis.len()).map(|n| WordErrors { insertions: n, ..WordErrors::default() }).collect();
    for (i, word) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = WordErrors { deletions: i + 1, ..one };
        for (j, heard) in hypothesis.iter().enumerate() {
            let matched = if word == heard {
                diagonal + WordErrors { hits: 1, ..one }
            } else {
                diagonal + WordErrors { substitutions: 1, ..one }
            };
            let deleted = row[j + 1] + WordErrors { deletions: 1, ..one };
            let inserted = row[j] + WordErrors { insertions: 1, ..one };
            diagonal = row[j + 1];
            row[j + 1] = better(better(matched, deleted), inserted);
        }
    }
    row[hypothesis.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(errors: WordErrors) -> (usize, usize, usize, usize) {
        (errors.hits, errors.substitutions, errors.deletions, errors.insertions)
    }

    fn lang(code: &str) -> Lang {
        code.parse().expect("a language")
    }

    #[test]
    fn counts_by_hand() {
        let en = |r, h| counts(wer(r, h, Lang::ENGLISH));
        assert_eq!(en("the cat sat on the mat", "The cat sat on the mat."), (6, 0, 0, 0));
        assert_eq!(en("the cat sat on the mat", "the cat sit on mat now"), (4, 1, 1, 1));
        assert_eq!(en("a b c", ""), (0, 0, 3, 0));
        assert_eq!(en("", "a b"), (0, 0, 0, 2));
        assert_eq!(en("", ""), (0, 0, 0, 0));
        let errors = wer("the cat sat on the mat", "the cat sit on mat now", Lang::ENGLISH);
        assert_eq!((errors.reference_len(), errors.errors(), errors.rate()), (6, 3, 0.5));
    }

    #[test]
    fn a_corpus_is_weighed_by_its_words() {
        let short = wer("yes", "no", Lang::ENGLISH);
        let long = wer("a b c d e f g h j", "a b c d e f g h j", Lang::ENGLISH);
        let sum: WordErrors = [short, long].into_iter().sum();
        assert_eq!((sum.rate(), short.rate(), long.rate()), (0.1, 1.0, 0.0));
    }

    #[test]
    fn unspaced_languages_count_characters_and_marks_stay_with_their_letters() {
        assert_eq!(counts(wer("今天天气很好。", "今天 天器很好", lang("zh"))), (5, 1, 0, 0));
        assert_eq!(counts(wer("東京へ行く", "東京行く！", lang("ja"))), (4, 0, 1, 0));
        assert_eq!(counts(wer("हिन्दी भाषा", "हिन्दी, भाषा", lang("hi"))), (2, 0, 0, 0));
        assert_eq!(counts(cer("haus", "maus", lang("de"))), (3, 1, 0, 0));
    }

    #[test]
    fn other_languages_keep_their_accents_and_lose_their_symbols() {
        assert_eq!(normalize("Ça va [rires] – très bien!", lang("fr")), "ça va très bien");
        assert_eq!(normalize("Über 20% (leise) Straße", lang("de")), "über 20 straße");
    }

    #[test]
    fn hours_of_speech_are_aligned_in_linear_memory() {
        let words: Vec<String> = (0..6000).map(|n| format!("w{}x", n % 977)).collect();
        let mut heard = words.clone();
        heard.remove(10);
        heard[3000] = "other".into();
        heard.insert(5000, "more".into());
        let errors = wer(&words.join(" "), &heard.join(" "), lang("de"));
        assert_eq!(counts(errors), (5998, 1, 1, 1));
    }
}
