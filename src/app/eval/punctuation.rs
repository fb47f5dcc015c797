//! Precision, recall and F1 of marks and of capitals, at the words that both texts have.
//!
//! As in the IWSLT evaluations: every word of the text is a place for one mark (comma, full stop or question mark);
//! words are aligned first, so that a word heard wrongly does not shift the rest. A mark at a word that only one of the
//! texts has counts against it.

use crate::language::Lang;
use std::ops::AddAssign;
use unicode_segmentation::UnicodeSegmentation;

/// What stands behind a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// `,` `;` `:` and dashes.
    Comma,
    /// `.` `!` `…`
    Stop,
    Question,
}

/// Right, too many and missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub right: usize,
    pub extra: usize,
    pub missing: usize,
}

impl Counts {
    /// 2PR/(P+R); `None` where there is nothing to find and nothing was found.
    pub fn f1(self) -> Option<f64> {
        let wrong = self.extra + self.missing;
        (self.right + wrong > 0).then(|| 2.0 * self.right as f64 / (2 * self.right + wrong) as f64)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = Counts {
            right: self.right + other.right,
            extra: self.extra + other.extra,
            missing: self.missing + other.missing,
        };
    }
}

/// Marks and capitals of one text or a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Punctuation {
    pub marks: Counts,
    pub capitals: Counts,
}

impl AddAssign for Punctuation {
    fn add_assign(&mut self, other: Self) {
        self.marks += other.marks;
        self.capitals += other.capitals;
    }
}

struct Word {
    plain: String,
    capital: bool,
    mark: Mark,
}

/// Marks and capitals of `hypothesis` against `reference`.
pub(super) fn punctuation(reference: &str, hypothesis: &str, lang: Lang) -> Punctuation {
    let (ours, theirs) = (words(hypothesis, lang), words(reference, lang));
    let plain = |words: &[Word]| words.iter().map(|word| word.plain.clone()).collect::<Vec<_>>();
    let mut found = Punctuation::default();
    for pair in align(&plain(&theirs), &plain(&ours)) {
        let (there, here) = (pair.0.map(|at| &theirs[at]), pair.1.map(|at| &ours[at]));
        let mark = |word: Option<&Word>| word.map_or(Mark::None, |word| word.mark);
        match (mark(there), mark(here)) {
            (Mark::None, Mark::None) => {}
            (a, b) if a == b => found.marks.right += 1,
            (a, b) => {
                found.marks.missing += usize::from(a != Mark::None);
                found.marks.extra += usize::from(b != Mark::None);
            }
        }
        match (there.is_some_and(|word| word.capital), here.is_some_and(|word| word.capital)) {
            (true, true) => found.capitals.right += 1,
            (true, false) => found.capitals.missing += 1,
            (false, true) => found.capitals.extra += 1,
            (false, false) => {}
        }
    }
    found
}

fn words(text: &str, lang: Lang) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let pieces: Vec<&str> =
        if lang.is_unspaced() { text.graphemes(true).collect() } else { text.split_word_bounds().collect() };
    for piece in pieces {
        if piece.chars().any(char::is_alphanumeric) {
            let capital = piece.chars().next().is_some_and(char::is_uppercase);
            words.push(Word { plain: piece.to_lowercase().replace('’', "'"), capital, mark: Mark::None });
        } else if let Some(word) = words.last_mut() {
            for mark in piece.chars().map(mark_of).filter(|mark| *mark != Mark::None) {
                // The stronger of `."` or `?!`; a dash after a comma adds nothing.
                if word.mark == Mark::None || mark == Mark::Question {
                    word.mark = mark;
                }
            }
        }
    }
    words
}

fn mark_of(c: char) -> Mark {
    match c {
        ',' | ';' | ':' | '–' | '—' | '、' | '，' | '；' | '：' | '،' => Mark::Comma,
        '.' | '!' | '…' | '。' | '！' | '।' => Mark::Stop,
        '?' | '？' | '؟' => Mark::Question,
        _ => Mark::None,
    }
}

/// Places in either list that belong together; `None` where the other list has nothing. Only equal words are paired.
/// Longest common subsequence by Hirschberg's divide and conquer: memory linear in the hypothesis.
fn align(reference: &[String], hypothesis: &[String]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut equal = Vec::new();
    common(reference, hypothesis, (0, 0), &mut equal);
    let (mut pairs, mut r, mut h) = (Vec::new(), 0, 0);
    for (at_r, at_h) in equal.into_iter().chain([(reference.len(), hypothesis.len())]) {
        pairs.extend((r..at_r).map(|at| (Some(at), None)));
        pairs.extend((h..at_h).map(|at| (None, Some(at))));
        if at_r < reference.len() && at_h < hypothesis.len() {
            pairs.push((Some(at_r), Some(at_h)));
        }
        (r, h) = (at_r + 1, at_h + 1);
    }
    pairs
}

fn common(a: &[String], b: &[String], offset: (usize, usize), out: &mut Vec<(usize, usize)>) {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    out.extend((0..same).map(|at| (offset.0 + at, offset.1 + at)));
    let (a, b, offset) = (&a[same..], &b[same..], (offset.0 + same, offset.1 + same));
    if a.is_empty() || b.is_empty() {
        return;
    }
    if let [only] = a {
        out.extend(b.iter().position(|word| word == only).map(|at| (offset.0, offset.1 + at)));
        return;
    }
    let middle = a.len() / 2;
    let left = lengths(a[..middle].iter(), b.iter(), b.len());
    let right = lengths(a[middle..].iter().rev(), b.iter().rev(), b.len());
    let total = |at: usize| left[at] + right[b.len() - at];
    let cut = (0..=b.len()).rev().max_by_key(|at| total(*at)).unwrap_or(0);
    common(&a[..middle], &b[..cut], offset, out);
    common(&a[middle..], &b[cut..], (offset.0 + middle, offset.1 + cut), out);
}

/// Length of the longest common subsequence of all of `a` with every prefix of `b`.
fn lengths<'a>(
    a: impl Iterator<Item = &'a String>,
    b: impl Iterator<Item = &'a String> + Clone,
    width: usize,
) -> Vec<usize> {
    let mut row = vec![0; width + 1];
    for word in a {
        let mut diagonal = 0;
        for (at, other) in b.clone().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reference: &str, hypothesis: &str) -> Punctuation {
        punctuation(reference, hypothesis, Lang::ENGLISH)
    }

    #[test]
    fn marks_are_compared_word_by_word() {
        let same = of("Yes, I think so. Do you?", "Yes, I think so. Do you?");
        assert_eq!(same.marks, Counts { right: 3, extra: 0, missing: 0 });
        assert_eq!(same.capitals, Counts { right: 3, extra: 0, missing: 0 });
        let other = of("Yes, I think so. Do you?", "Yes I think, so. do you.");
        assert_eq!(other.marks, Counts { right: 1, extra: 2, missing: 2 });
        assert!((other.marks.f1().unwrap() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(other.capitals, Counts { right: 2, extra: 0, missing: 1 });
    }

    #[test]
    fn a_wrong_word_shifts_nothing() {
        let found = of("We met Ann, then Bob. It rained.", "We met and, then Bob. It rained.");
        assert_eq!(found.marks, Counts { right: 2, extra: 1, missing: 1 });
        let found = of("One two three, four.", "One three, four, five.");
        assert_eq!(found.marks, Counts { right: 1, extra: 2, missing: 1 });
    }

    #[test]
    fn unspaced_text_goes_by_characters() {
        let lang: Lang = "zh".parse().unwrap();
        let found = punctuation("你好，世界。", "你好世界。", lang);
        assert_eq!(found.marks, Counts { right: 1, extra: 0, missing: 1 });
    }

    #[test]
    fn nothing_to_find_has_no_score() {
        assert_eq!(of("", "").marks.f1(), None);
        assert_eq!(of("hello", "hello").marks.f1(), None);
        assert_eq!(of("hello.", "hello").marks.f1(), Some(0.0));
    }

    #[test]
    fn long_texts_take_linear_memory_and_align_fully() {
        let text = "the quick brown fox jumps, over the lazy dog. ".repeat(300);
        let found = of(&text, &text.replacen("brown", "black", 1));
        assert_eq!(found.marks, Counts { right: 600, extra: 0, missing: 0 });
    }

    proptest::proptest! {
        #[test]
        fn aligned_pairs_are_equal_in_order_and_whole(a in "[ab ]{0,30}", b in "[ab ]{0,30}") {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let (a, b) = (list(&a), list(&b));
            let pairs = align(&a, &b);
            let left: Vec<usize> = pairs.iter().filter_map(|pair| pair.0).collect();
            let right: Vec<usize> = pairs.iter().filter_map(|pair| pair.1).collect();
            proptest::prop_assert_eq!(left, (0..a.len()).collect::<Vec<_>>());
            proptest::prop_assert_eq!(right, (0..b.len()).collect::<Vec<_>>());
            for pair in pairs {
                if let (Some(x), Some(y)) = pair {
                    proptest::prop_assert_eq!(&a[x], &b[y]);
                }
            }
        }
    }
}
